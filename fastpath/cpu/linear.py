"""y = x W^T, exact: activations as 32-bit integers, weights widened to 24-bit integers in registers, int64 sums.

    y[t, n] = fl32(fl64(sum_k X[t, k] W[n, k]) 2^(x's exponent - 31) 2^(w's exponent - 23))

`quantize` makes the integers X of rows, once for all matrices that read them; `linear` makes a share of the outputs.
Few rows (decode) take `dot`: each weight is read once from memory, which is what limits it. Many rows (pre-fill) take
`tile`: blocks of weights are widened once and kept in the cache for all rows; multiplication is what limits it.
steps.md has what each step gained; simple.py has the same in plain loops.
"""

from typing import NamedTuple

import numpy as np

from fastpath.cpu.bits import bits32, clear, float32_of, float32s, float64s, inline, jit, uint16s
from fastpath.cpu.numbers import LOWER, largest_bits, power, stored, to_grid, top_exponent
from fastpath.cpu.simd import BLOCK, LANES, MOST, TILE_ROWS, TILE_TOKENS, make_dot, tile

BFLOAT16, FLOAT16, FLOAT32 = 0, 1, 2  # kinds of weights, as numbers that a kernel can branch on
KINDS = {"bfloat16": BFLOAT16, "float16": FLOAT16, "float32": FLOAT32}
FEW = 8  # rows that go through `dot`; from here on `tile` is faster, though it takes TILE_TOKENS at a time
SHORT = 2048  # columns: of a shorter row the activations stay in the first cache, and one row of weights goes at a time
BLOCKS = MOST // 4  # of BLOCK weights, that a lane can sum: it takes four of each


class Integers(NamedTuple):
    """Rows of activations on their grids, in the three orders that the loops read."""

    n: np.ndarray  # int32 (T, K), flat: integers of 31 bits and a sign
    exponent: np.ndarray  # int32 (T,): top = 2^exponent
    lanes: np.ndarray  # int64 (few T, K / BLOCK, 4, LANES), flat: as `dot` multiplies them
    columns: np.ndarray  # int32 (T / TILE_TOKENS, K, TILE_TOKENS), flat: as `tile` does


def integers_for(rows: int, longest: int) -> Integers:
    """Room for so many rows of at most so many values."""
    padded = -(-rows // TILE_TOKENS) * TILE_TOKENS
    few = min(rows, FEW)
    return Integers(
        np.zeros(padded * longest, np.int32),
        np.zeros(padded, np.int32),
        np.zeros(few * longest, np.int64),
        np.zeros(padded * longest if rows > FEW else 0, np.int32),
    )


@jit
def quantize(x, t, T, out):
    """Row t of T, float32 (K,), to integers in `out`. Rows are independent: threads share them."""
    K = x.size
    e = top_exponent(largest_bits(x))
    out.exponent[t] = e
    n = out.n[t * K : (t + 1) * K]
    for k in range(K):
        n[k] = to_grid(np.float64(x[k]), e, 31)
    if T <= FEW:
        lanes = out.lanes[t * (K // BLOCK) * BLOCK : (t + 1) * (K // BLOCK) * BLOCK]
        for b in range(K // BLOCK):
            for c in range(4):
                for i in range(LANES):
                    lanes[b * BLOCK + c * LANES + i] = n[b * BLOCK + 4 * i + c]
    else:
        column = out.columns[t // TILE_TOKENS * K * TILE_TOKENS :]
        for k in range(K):
            column[k * TILE_TOKENS + t % TILE_TOKENS] = n[k]


@jit
def widened16(words, start, scale, half, count, out):
    """`count` weights from `start` as integers: out[k] = weight * scale."""
    if half:
        for k in range(count):
            b = (np.int32(np.int32(words[start + k]) << 16) >> 3) & np.int32(-0x70000001)
            out[k] = np.int32(float32_of(b) * np.float32(2.0**112) * scale)
    else:
        for k in range(count):
            out[k] = np.int32(float32_of(np.int32(words[start + k]) << 16) * scale)


@jit
def widen(matrix, start, scale, count, out):
    """`count` weights of a matrix from `start` (in weights) as integers."""
    if matrix.kind == FLOAT32:
        words = float32s(matrix.words, start + count)
        for k in range(count):
            out[k] = np.int32(words[start + k] * scale)
    else:
        widened16(uint16s(matrix.words, start + count), start, scale, matrix.kind == FLOAT16, count, out)


class Matrix(NamedTuple):
    """A matrix (N, K) by its addresses."""

    words: int  # of the weights as stored, gridded, row after row
    scales: int  # of float32 (N,): weight * scale is the integer
    factors: int  # of float64 (N,): integer * factor is the weight
    kind: int
    N: int
    K: int


def _dots(kind: str):
    """For one kind of weights: products of `tokens` rows with the rows n0 to n1 of a matrix, through `dot`."""
    one, four, pair = make_dot(kind, 1, 1), make_dot(kind, 4, 1), make_dot(kind, 2, 4)
    size = 4 if kind == "float32" else 2

    @jit
    def dots(matrix, x, x_stride, n0, n1, first, blocks, tokens, sums):
        """sums[n - n0, t] gets (high, low) of the products of `blocks` blocks from block `first`."""
        stride = matrix.K * size
        w, xs = matrix.words + first * BLOCK * size, x.ctypes.data + first * BLOCK * 8
        at, scales, n = sums.ctypes.data, matrix.scales, n0
        if tokens == 4:
            while n + 2 <= n1:
                pair(w + n * stride, stride, xs, x_stride, blocks, scales + 4 * n, at + (n - n0) * 64)
                n += 2
        elif matrix.K >= SHORT:
            while n + 4 <= n1:
                four(w + n * stride, stride, xs, x_stride, blocks, scales + 4 * n, at + (n - n0) * 16)
                n += 4
        while n < n1:
            for t in range(tokens):
                one(w + n * stride, stride, xs + t * x_stride, x_stride, blocks, scales + 4 * n,
                    at + ((n - n0) * tokens + t) * 16)  # fmt: skip
            n += 1

    return dots


dots_bfloat16, dots_float16, dots_float32 = (_dots(kind) for kind in KINDS)
GROUP = 64  # outputs made before they are rounded and stored


@jit
def linear_few(matrix, x, T, y, n0, n1, scratch):
    """y[:, n0:n1] for T <= FEW rows. Returns the largest bits stored."""
    K, worst = matrix.K, np.int32(0)
    blocks, factors, scales = K // BLOCK, float64s(matrix.factors, n1), float32s(matrix.scales, n1)
    tail = scratch.weights[: K - blocks * BLOCK]
    t0 = 0
    while t0 < T:
        tokens = 4 if T - t0 >= 4 else 1
        lanes = x.lanes[t0 * blocks * BLOCK :]
        for g0 in range(n0, n1, GROUP):
            g1 = min(g0 + GROUP, n1)
            total = scratch.totals[: 2 * (g1 - g0) * tokens]
            clear(total)
            for first in range(0, blocks, BLOCKS):
                sums = scratch.sums[: 2 * (g1 - g0) * tokens]
                some = min(BLOCKS, blocks - first)
                if matrix.kind == BFLOAT16:
                    dots_bfloat16(matrix, lanes, blocks * BLOCK * 8, g0, g1, first, some, tokens, sums)
                elif matrix.kind == FLOAT16:
                    dots_float16(matrix, lanes, blocks * BLOCK * 8, g0, g1, first, some, tokens, sums)
                else:
                    dots_float32(matrix, lanes, blocks * BLOCK * 8, g0, g1, first, some, tokens, sums)
                for i in range(sums.size):
                    total[i] += sums[i]
            for n in range(g0, g1):
                if tail.size:
                    widen(matrix, n * K + blocks * BLOCK, scales[n], tail.size, tail)
                for t in range(tokens):
                    at = 2 * ((n - g0) * tokens + t)
                    for k in range(tail.size):
                        product = np.int64(tail[k]) * np.int64(x.n[(t0 + t) * K + blocks * BLOCK + k])
                        total[at] += product >> 32
                        total[at + 1] += product & LOWER
                    s = np.float64(total[at]) * 4294967296.0 + np.float64(total[at + 1])
                    y[t0 + t, n] = stored(s * factors[n] * power(x.exponent[t0 + t] - 31))
                    worst = max(worst, bits32(y[t0 + t, n]) & np.int32(0x7FFFFFFF))
        t0 += tokens
    return worst


@jit
def linear_many(matrix, x, T, y, n0, n1, scratch):
    """y[:, n0:n1] for more rows. Returns the largest bits stored."""
    K, worst = matrix.K, np.int32(0)
    factors, scales = float64s(matrix.factors, n1), float32s(matrix.scales, n1)
    size = TILE_ROWS * TILE_TOKENS
    w, sums = scratch.weights, scratch.sums[:size]
    for g0 in range(n0, n1, TILE_ROWS):
        rows = min(TILE_ROWS, n1 - g0)
        clear(w)
        for first in range(0, K, MOST):
            terms = min(MOST, K - first)
            for r in range(rows):
                widen(matrix, (g0 + r) * K + first, scales[g0 + r], terms, w[r * MOST : r * MOST + terms])
            for b in range((T + TILE_TOKENS - 1) // TILE_TOKENS):
                total = scratch.totals[2 * b * size : 2 * (b + 1) * size]
                columns = x.columns[(b * K + first) * TILE_TOKENS :]
                tile(w.ctypes.data, MOST * 4, 4, columns.ctypes.data, terms, sums.ctypes.data)
                if first == 0:
                    clear(total)
                for i in range(size):
                    total[i] += sums[i] >> 32
                    total[size + i] += sums[i] & LOWER
        for b in range((T + TILE_TOKENS - 1) // TILE_TOKENS):
            total = scratch.totals[2 * b * size : 2 * (b + 1) * size]
            for t in range(min(TILE_TOKENS, T - b * TILE_TOKENS)):
                row = y[b * TILE_TOKENS + t]
                scale = power(x.exponent[b * TILE_TOKENS + t] - 31)
                at = t % 2 * LANES + t // 2
                for r in range(rows):
                    i = r * TILE_TOKENS + at
                    s = np.float64(total[i]) * 4294967296.0 + np.float64(total[size + i])
                    row[g0 + r] = stored(s * factors[g0 + r] * scale)
                    worst = max(worst, bits32(row[g0 + r]) & np.int32(0x7FFFFFFF))
    return worst


class Scratch(NamedTuple):
    """One thread's own memory."""

    weights: np.ndarray  # int32 (TILE_ROWS, MOST), flat: widened
    sums: np.ndarray  # int64: what `dot` and `tile` leave
    totals: np.ndarray  # int64: high halves and low halves


def scratch_for(threads: int, rows: int) -> Scratch:
    """Every thread's, with one more axis in front."""
    size = TILE_ROWS * TILE_TOKENS
    blocks = -(-rows // TILE_TOKENS)
    return Scratch(
        np.zeros((threads, TILE_ROWS * MOST), np.int32),
        np.zeros((threads, max(8 * GROUP, size)), np.int64),
        np.zeros((threads, max(8 * GROUP, 2 * blocks * size)), np.int64),
    )


@inline
def linear(matrix, x, T, y, n0, n1, scratch):
    """Outputs n0 to n1 of every row: x the integers of (T, K), y float32 (T, N). Returns the largest bits stored."""
    if T <= FEW:
        return linear_few(matrix, x, T, y, n0, n1, scratch)
    return linear_many(matrix, x, T, y, n0, n1, scratch)
