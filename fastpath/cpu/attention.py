"""Attention on integers (contract, rule 7): scores, their largest, the weights' grid, then one exact weighted sum.

    score_j = fl32(fl64(Q . K_j) / sqrt(d))       p_j = exp(score_j - largest)       D = sum of p_j on a grid of 2^-36
    out = fl32(fl64(sum_j X_j V_j) / D)           X = grid of the row p_j t_j, t_j the power of two of value j

One token of a sequence reads the ring where it lies, in the order of slots. A chunk copies the ring and its own keys
in the order of positions, where the keys that a query sees are one run, and multiplies in tiles; keys that no query of
a block sees are not touched.
"""

from typing import NamedTuple

import numpy as np

from fastpath.cpu.bits import bits32, bits64, clear, copy, inline, int32s, jit
from fastpath.cpu.numbers import (
    INFINITY,
    LOWER,
    exp,
    largest_bits,
    power,
    stored,
    to_grid,
    top_exponent,
    top_exponent64,
)
from fastpath.cpu.simd import LANES, MOST, TILE_ROWS, TILE_TOKENS, tile

UNSEEN = np.float32(-np.inf)
P_STEP = np.float64(2.0**36)  # parts of 1 in which the denominator is summed


@jit
def rotate(x, cos, sin, out):
    """One head (d,) turned by its position: pairs (2i, 2i + 1). Returns the largest bits."""
    worst = np.int32(0)
    for i in range(cos.size):
        a, b, c, s = np.float64(x[2 * i]), np.float64(x[2 * i + 1]), np.float64(cos[i]), np.float64(sin[i])
        out[2 * i], out[2 * i + 1] = stored(a * c - b * s), stored(a * s + b * c)
        worst = max(worst, max(bits32(out[2 * i]), bits32(out[2 * i + 1])) & np.int32(0x7FFFFFFF))
        worst = max(worst, min(bits32(out[2 * i]), bits32(out[2 * i + 1])) & np.int32(0x7FFFFFFF))
    return worst


@jit
def vector_to_grid(x, bits, out):
    """A key, value or query (d,) as integers; the exponent of its power of two."""
    e = top_exponent(largest_bits(x))
    for i in range(x.size):
        out[i] = to_grid(np.float64(x[i]), e, bits)
    return e


class AttentionScratch(NamedTuple):
    """One thread's own memory. S: the most keys of a call, in whole tiles; B: 1 for single tokens, or TILE_TOKENS."""

    q: np.ndarray  # int32 (d, TILE_TOKENS), flat: queries as integers
    exponents: np.ndarray  # int32 (S,): of one head's values, for single tokens
    scores: np.ndarray  # float32 (S, B), flat
    weights: np.ndarray  # float64 (S, B), flat: p t
    integers: np.ndarray  # int32 (S, B), flat: p t on its grid
    sums: np.ndarray  # int64 (TILE_ROWS, TILE_TOKENS) or (d,), flat
    totals: np.ndarray  # int64, two of the same: high and low halves
    rows: np.ndarray  # float64 (5, TILE_TOKENS): of each query of a block, what ROW_ names


ROW_SCALE, ROW_LARGEST, ROW_TOTAL, ROW_STEP, ROW_TOP = range(5)


def attention_scratch_for(threads: int, keys: int, head_dim: int, blocks: bool) -> AttentionScratch:
    """Room for `keys` keys, one more axis in front; blocks: whether any sequence brings more than one token."""
    S = -(-keys // TILE_ROWS) * TILE_ROWS
    flat = S * (TILE_TOKENS if blocks else 1)
    size = max(TILE_ROWS * TILE_TOKENS, head_dim)
    return AttentionScratch(
        np.zeros((threads, head_dim * TILE_TOKENS), np.int32),
        np.zeros((threads, S), np.int32),
        np.zeros((threads, flat), np.float32),
        np.zeros((threads, flat)),
        np.zeros((threads, flat), np.int32),
        np.zeros((threads, size), np.int64),
        np.zeros((threads, 2 * size), np.int64),
        np.zeros((threads, 5, TILE_TOKENS)),
    )


@inline
def is_finite(x):
    return bits32(x) & np.int32(0x7FFFFFFF) < np.int32(0x7F800000)


@inline
def weight_of(score, largest):
    """p = exp(score - largest); nothing for a key that is not seen."""
    return exp(np.float64(score) - largest) if score != UNSEEN else 0.0


@jit
def attend_one(q, own, ring, slots, length, window, heads, g, bits, scale, scratch, scores_out, out):
    """One query head over the ring and its own key: q (d,) rotated -> out (d,).

    own: key, value (d,) as integers, and their exponents. ring: addresses of a layer's keys, values and exponents.
    scores_out: (S + 1,) in the order of slots, own key last; or empty.
    Returns the largest bits of out, and how many keys count; (INFINITY, -1) if there is no softmax.
    """
    key, value, key_exponent, value_exponent = own
    d, filled = q.size, min(length, slots)
    keys, values = int32s(ring[0], slots * heads * d), int32s(ring[1], slots * heads * d)
    key_exponents, value_exponents = int32s(ring[2], slots * heads), int32s(ring[3], slots * heads)
    qi, scores, p, n = scratch.q[:d], scratch.scores, scratch.weights, filled + 1
    e = vector_to_grid(q, bits, qi)
    leaves = length % slots if window > 0 and length >= window else -1  # that slot's position is W back: not seen
    largest = UNSEEN
    for j in range(n):
        k = keys[(j * heads + g) * d : (j * heads + g + 1) * d] if j < filled else key
        scratch.exponents[j] = value_exponents[j * heads + g] if j < filled else value_exponent
        ek = key_exponents[j * heads + g] if j < filled else key_exponent
        total = np.int64(0)
        for i in range(d):
            total += np.int64(qi[i]) * np.int64(k[i])
        scores[j] = stored(np.float64(total) * power(e + ek - 2 * bits) * scale) if j != leaves else UNSEEN
        largest = max(largest, scores[j])
    if scores_out.size:
        copy(scores, scores_out[:n])
    if not is_finite(largest):
        return INFINITY, -1
    D, top, count = np.int64(0), np.int64(0), 0
    for j in range(n):
        w = weight_of(scores[j], np.float64(largest))
        count += w > 0
        D += np.int64(np.rint(w * P_STEP))
        p[j] = w * power(scratch.exponents[j])
        top = max(top, bits64(p[j]))
    row = top_exponent64(top)
    high, low, sums = scratch.totals[:d], scratch.totals[d : 2 * d], scratch.sums[:d]
    clear(high)
    clear(low)
    for first in range(0, n, MOST):
        clear(sums)
        for j in range(first, min(first + MOST, n)):
            v = values[(j * heads + g) * d : (j * heads + g + 1) * d] if j < filled else value
            x = np.int64(to_grid(p[j], row, 31))
            for i in range(d):
                sums[i] += x * np.int64(v[i])
        for i in range(d):
            high[i] += sums[i] >> 32
            low[i] += sums[i] & LOWER
    worst, step, total_p = np.int32(0), power(row - 54), np.float64(D) / P_STEP
    for i in range(d):
        out[i] = stored((np.float64(high[i]) * 4294967296.0 + np.float64(low[i])) * step / total_p)
        worst = max(worst, bits32(out[i]) & np.int32(0x7FFFFFFF))
    return worst, count


@jit
def attend_block(q, r0, rows, group, g, keys, values, key_exponents, value_exponents, before, window, bits, scale,
                 scratch, scores_out, out):  # fmt: skip
    """A block of queries of one key/value head: rows r0 to r0 + rows, row r being head r mod group of token r // group.

    q (T, n_heads, d) rotated; keys, values int32 (S, d) and exponents (S,) in the order of positions; token t is key
    before + t and sees it and the window - 1 before it (window 0: all before it).
    scores_out: (n_heads, T, S), or of size 0. -> out (T, n_heads, d). Returns as attend_one does.
    """
    d, B = q.shape[2], TILE_TOKENS
    last = before + (r0 + rows - 1) // group + 1  # keys first .. last - 1 are seen by some query of the block
    first = max(0, before + r0 // group + 1 - window) if window > 0 else 0
    S = last - first
    clear(scratch.q)
    for c in range(rows):
        t, h = (r0 + c) // group, g * group + (r0 + c) % group
        e = top_exponent(largest_bits(q[t, h]))
        scratch.rows[ROW_SCALE, c] = power(e - 2 * bits)
        for i in range(d):
            scratch.q[i * B + c] = to_grid(np.float64(q[t, h, i]), e, bits)
    # Scores: a tile is TILE_ROWS keys by B queries.
    row = scratch.rows
    for c in range(B):
        row[ROW_LARGEST, c] = UNSEEN
    for j0 in range(0, S, TILE_ROWS):
        k = keys[first + j0]
        tile(k.ctypes.data, d * 4, 4, scratch.q.ctypes.data, d, scratch.sums.ctypes.data)
        for j in range(j0, min(j0 + TILE_ROWS, S)):
            key_scale = power(key_exponents[first + j])
            for c in range(rows):
                t = before + (r0 + c) // group
                total = scratch.sums[(j - j0) * B + c % 2 * LANES + c // 2]
                score = stored(np.float64(total) * (row[ROW_SCALE, c] * key_scale) * scale)
                seen = first + j <= t and (window == 0 or first + j > t - window)
                scratch.scores[j * B + c] = score if seen else UNSEEN
                row[ROW_LARGEST, c] = max(row[ROW_LARGEST, c], np.float64(scratch.scores[j * B + c]))
    for c in range(rows):
        if scores_out.size:
            t, h = (r0 + c) // group, g * group + (r0 + c) % group
            for j in range(S):
                scores_out[h, t, first + j] = scratch.scores[j * B + c]
        if not is_finite(np.float32(row[ROW_LARGEST, c])):
            return INFINITY, -1
    # Weights: p, its sum D, and p t on its grid.
    D, top, counts = scratch.totals[:B], scratch.totals[B : 2 * B], scratch.sums[:B]
    clear(D)
    clear(top)
    clear(counts)
    for j in range(S):
        t = power(value_exponents[first + j])
        for c in range(rows):
            w = weight_of(scratch.scores[j * B + c], row[ROW_LARGEST, c])
            counts[c] += w > 0
            D[c] += np.int64(np.rint(w * P_STEP))
            scratch.weights[j * B + c] = w * t
            top[c] = max(top[c], bits64(w * t))
    count = np.int64(0)
    for c in range(rows):
        e = top_exponent64(top[c])
        row[ROW_TOTAL, c], row[ROW_STEP, c], row[ROW_TOP, c] = np.float64(D[c]) / P_STEP, power(e - 54), e
        count = max(count, counts[c])
    for j in range(S):
        for c in range(rows):
            scratch.integers[j * B + c] = to_grid(scratch.weights[j * B + c], np.int64(row[ROW_TOP, c]), 31)
        for c in range(rows, B):
            scratch.integers[j * B + c] = 0
    # Values: a tile is TILE_ROWS dimensions by B queries, summed over MOST keys at a time.
    size, worst = TILE_ROWS * B, np.int32(0)
    for i0 in range(0, d, TILE_ROWS):
        clear(scratch.totals)
        for j0 in range(0, S, MOST):
            v, x = values[first + j0, i0:], scratch.integers[j0 * B :]
            tile(v.ctypes.data, 4, d * 4, x.ctypes.data, min(MOST, S - j0), scratch.sums.ctypes.data)
            for i in range(size):
                scratch.totals[i] += scratch.sums[i] >> 32
                scratch.totals[size + i] += scratch.sums[i] & LOWER
        for c in range(rows):
            t, h = (r0 + c) // group, g * group + (r0 + c) % group
            for i in range(i0, min(i0 + TILE_ROWS, d)):
                at = (i - i0) * B + c % 2 * LANES + c // 2
                s = np.float64(scratch.totals[at]) * 4294967296.0 + np.float64(scratch.totals[size + at])
                out[t, h, i] = stored(s * row[ROW_STEP, c] / row[ROW_TOTAL, c])
                worst = max(worst, bits32(out[t, h, i]) & np.int32(0x7FFFFFFF))
    return worst, count
