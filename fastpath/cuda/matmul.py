"""Pre-fill's linear layer: y = x W^T for many rows, every sum exact, with tensor cores or without.

    y[t, n] = fl32(fl64(sum_k X[t, k] W[n, k])) + 0,   X = grid(x, 31), W = grid(w, 23)

`tensor` cuts the integers of X and W into bytes for the int8 tensor cores; `plain` multiplies in float64, X as
high + low, by multiply-adds or on the float64 tensor cores. All give the reference's bits, and the same tests run over
all. Not yet verified on a GPU.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import cuda
from numba.cuda import types

from fastpath.cuda.grids import exponent, power, snapped
from fastpath.cuda.intrinsics import SIMULATED, device, kernel, rint, stream4
from fastpath.cuda.matrix import KINDS, DeviceMatrix
from fastpath.cuda.rows import maxima
from fastpath.cuda.tensor_cores import (
    copies_done,
    copy4,
    f32_of_word,
    half,
    load2,
    mma_ss,
    mma_su,
    mma_us,
    mma_uu,
    multiplier,
    pick,
    store4,
)
from fastpath.cuda.widen import PAIRS

u32, i32, i64, f32, f64 = np.uint32, np.int32, np.int64, np.float32, np.float64
THREADS = 256
X_LIMIT = 2.0**31 - 1

# ---- float64: readable, and right on any GPU -----------------------------------------------------------------------
TILE, DEPTH, PITCH = 64, 16, 20  # of y, of k; with 20 doubles a row the lanes of a half warp meet in no bank
AREA = TILE * PITCH


@lru_cache(None)
def make_plain(kind: str, version: str = "plain"):
    """The float64 kernel for weights of this kind; version "plain" (any GPU), "sm_80" or "sm_90" (tensor cores)."""
    multiply = multiplier(version, rows=2, columns=2, pitch=PITCH, step_k=1, step_n=PITCH)
    widen, shift = PAIRS[kind]
    unscale = 2.0**shift
    per_word = 1 if kind == "float32" else 2

    def plain(x, x_max, w, stride, y):
        """y = X W^T; X = high + low, 16 bits each, so both float64 sums are exact in any order; added once.

        Grid (ceil(T / 64), ceil(N / 64)), block 256: 2 x 4 warps, 32 x 16 of y each. x (T, K), y (T, N) float32, x_max
        (T,) largest magnitudes as bits, w words of a DeviceMatrix. 31 KB of shared memory: 64 rows of high, of low and
        of W, 16 columns at a time. Reads K (4 T N / 64 + 2 T N / 64) bytes (16-bit weights), mostly from L2, writes
        4 T N; 4 T N K flops. Limit: the float64 units. Computed for an H100's 132 SMs at 1.7 GHz, 64 multiply-adds a
        clock and SM (128 on tensor cores), two for each product: 7 (14) T products a second at most.
        """
        high_x = cuda.shared.array(AREA, f64)
        low_x = cuda.shared.array(AREA, f64)
        tile_w = cuda.shared.array(AREA, f64)
        thread = u32(cuda.threadIdx.x)
        lane, warp = thread & u32(31), thread >> u32(5)
        g, t = lane >> u32(2), lane & u32(3)
        warp_row, warp_column = (warp & u32(1)) * u32(32), (warp >> u32(1)) * u32(16)
        T, K, N = x.shape[0], x.shape[1], y.shape[1]
        row0, column0 = cuda.blockIdx.x * TILE, cuda.blockIdx.y * TILE
        high_sums = cuda.local.array(16, f64)
        low_sums = cuda.local.array(16, f64)
        for i in range(16):
            high_sums[i] = 0.0
            low_sums[i] = 0.0
        for k0 in range(0, K, DEPTH):
            cuda.syncthreads()
            for i in range(4):
                place = i32(thread) + i * THREADS
                r, c = place // DEPTH, place % DEPTH
                row, column, k = min(row0 + r, T - 1), min(column0 + r, N - 1), k0 + c  # beyond the edge: not stored
                at = u32(r * PITCH + c)
                inverse = power(i32(31) - exponent(x_max[row]))
                n = snapped(x[row, k], inverse, X_LIMIT) if k < K else 0.0
                upper = rint(n * 2.0**-16) * 65536.0
                high_x[at] = upper
                low_x[at] = n - upper
                first, second = widen(w[i64(column) * i64(stride) + i64(k // per_word)])  # w 2^-shift
                tile_w[at] = second if k % per_word == 1 else first
            cuda.syncthreads()
            multiply(high_sums, high_x, warp_row * u32(PITCH), tile_w, warp_column * u32(PITCH), g, t)
            multiply(low_sums, low_x, warp_row * u32(PITCH), tile_w, warp_column * u32(PITCH), g, t)
        for i in range(16):
            row = row0 + i32(warp_row + g) + 16 * (i // 8) + 8 * (i // 2 % 2)
            column = column0 + i32(warp_column + u32(2) * t) + 8 * (i // 4 % 2) + i % 2
            if row < T and column < N:
                total = (high_sums[i] + low_sums[i]) * unscale * power(exponent(x_max[row]) - i32(31))
                y[row, column] = f32(total) + f32(0)

    return plain


# ---- bytes: int8 tensor cores --------------------------------------------------------------------------------------
STEP = 32  # columns of one byte product
# Steps between flushes of the int32 sums, 13216 columns: the largest, d2 <= (2 x 255 x 255 + 255 x 127) K, stays below
# 2^31 up to K = 13220.
FLUSH = 413
GROUP = 16  # row tiles that go through the weights together: what they read stays in L2
# Words of a row in shared memory, so that the lanes of a half warp meet in no bank: 4 planes of 8 and 8 more; 3 planes.
X_PITCH, W_PITCH = 40, 24


def byte_planes(x, x_max, planes):
    """X's integers as bytes: x3 2^24 + x2 2^16 + x1 2^8 + x0, x3 signed, the others not.

    planes, uint32: word ((t steps + s) 4 + p) 8 + i holds the bytes x_p of columns 32 s + 4 i .. + 3 of row t; beyond K
    they are 0. Grid (T, ceil(steps / 32)), block 256, a thread makes a word of each plane. Reads 4 T K bytes and writes
    as many: bound by memory.
    """
    row = cuda.blockIdx.x
    four = cuda.blockIdx.y * THREADS + cuda.threadIdx.x  # columns 4 four .. + 3
    K = x.shape[1]
    steps = (K + STEP - 1) // STEP
    if four < 8 * steps:
        inverse = power(i32(31) - exponent(x_max[row]))
        n = cuda.local.array(4, u32)
        for i in range(4):
            k = 4 * four + i
            n[i] = u32(i32(snapped(x[row, k], inverse, X_LIMIT))) if k < K else u32(0)
        to = i64(row) * i64(32 * steps) + i64(four // 8 * 32 + four % 8)
        a, b = pick(n[0], n[1], u32(0x5140)), pick(n[2], n[3], u32(0x5140))
        planes[to] = pick(a, b, u32(0x5410))
        planes[to + 8] = pick(a, b, u32(0x7632))
        a, b = pick(n[0], n[1], u32(0x7362)), pick(n[2], n[3], u32(0x7362))
        planes[to + 16] = pick(a, b, u32(0x5410))
        planes[to + 24] = pick(a, b, u32(0x7632))


@device
def low_bfloat16(word):
    return f32_of_word(word << u32(16))


@device
def high_bfloat16(word):
    return f32_of_word(word & u32(0xFFFF0000))


@device
def high_float16(word):
    return half(word >> u32(16))


HALVES = {
    "bfloat16": (low_bfloat16, high_bfloat16),
    "float16": (half, high_float16),
    "float32": (f32_of_word, f32_of_word),
}


@device
def power32(e):
    """2^e as float32, e from -126 to 127."""
    return f32_of_word(u32((i32(e) + i32(127)) << i32(23)))


@device
def upper(d3, d4, d5):
    """The upper three diagonals of byte products as one int64: d5 2^16 + d4 2^8 + d3."""
    return (i64(d5) << i64(16)) + (i64(d4) << i64(8)) + i64(d3)


@device
def recombined(high, low):
    """fl64(high 2^24 + low). |high| < 2^46 and |low| < 2^49, exact in float64, as is the shift: only the sum rounds."""
    return f64(high) * 16777216.0 + f64(low)


def tile_of(block, row_tiles, column_tiles):
    """Where a block works: groups of 16 row tiles, so that blocks which run together share what they read.

    >>> [tile_of(block, 17, 2) for block in (0, 1, 15, 16, 31, 32, 33)]
    [(0, 0), (1, 0), (15, 0), (0, 1), (15, 1), (16, 0), (16, 1)]
    """
    area = GROUP * column_tiles
    first = block // area * GROUP
    height = min(GROUP, row_tiles - first)
    return first + block % area % height, block % area // height


tile_of_block = device(tile_of)


class Shape(NamedTuple):
    """How a block's warps share a tile of y; the default is for GPUs, tests use smaller ones."""

    warp_rows: int = 2
    warp_columns: int = 4
    down: int = 2  # a warp's tiles of 16 rows
    across: int = 3  # its tiles of 8 columns: at most 3, and 2 warp_rows, or threads would be too few to bring W

    @property
    def threads(self) -> int:
        return 32 * self.warp_rows * self.warp_columns

    @property
    def rows(self) -> int:
        return 16 * self.down * self.warp_rows

    @property
    def columns(self) -> int:
        return 8 * self.across * self.warp_columns

    @property
    def outputs(self) -> int:
        """Of one thread."""
        return 4 * self.down * self.across


BLOCK = Shape()


@lru_cache(None)
def make_tensor(kind: str, shape: Shape = BLOCK):
    """The int8 kernel for weights of this kind."""
    warp_rows, _, down, across = shape
    assert across <= min(3, 2 * warp_rows), shape
    threads, rows, columns = shape.threads, shape.rows, shape.columns
    x_words, w_words = rows * X_PITCH, columns * W_PITCH
    both_x, both_w = 2 * x_words, 2 * w_words
    tiles = down * across
    sums, outputs = 24 * tiles, shape.outputs
    copies, x_rows = rows * 8 // threads, threads // 8
    words = 16 if kind == "float32" else 8  # of 16 weights
    low, high = HALVES[kind]

    @device
    def weight(held, i, first, second):
        """The integer w 2^(23 - e) of weight i of 16 (i constant), by two exact float32 products."""
        if words == 16:
            value = low(held[i])
        elif i & 1:
            value = high(held[i >> 1])
        else:
            value = low(held[i >> 1])
        return u32(i32(value * first * second))

    @device
    def store_weights(held, first, second, tile, at):
        """16 weights to the three planes: 4 words of each."""
        l = cuda.local.array(4, u32)
        m = cuda.local.array(4, u32)
        h = cuda.local.array(4, u32)
        for q in range(4):
            n0, n1 = weight(held, 4 * q, first, second), weight(held, 4 * q + 1, first, second)
            n2, n3 = weight(held, 4 * q + 2, first, second), weight(held, 4 * q + 3, first, second)
            a, b = pick(n0, n1, u32(0x5140)), pick(n2, n3, u32(0x5140))
            l[q], m[q] = pick(a, b, u32(0x5410)), pick(a, b, u32(0x7632))
            h[q] = pick(pick(n0, n1, u32(0x0062)), pick(n2, n3, u32(0x0062)), u32(0x5410))
        store4(tile, at, l[0], l[1], l[2], l[3])
        store4(tile, at + u32(8), m[0], m[1], m[2], m[3])
        store4(tile, at + u32(16), h[0], h[1], h[2], h[3])

    @device
    def add(mma, d, i, a, b0, b1):
        d[i], d[i + 1], d[i + 2], d[i + 3] = mma(a[0], a[1], a[2], a[3], b0, b1, d[i], d[i + 1], d[i + 2], d[i + 3])

    @device
    def products(d, c, x, a0, w, b0):
        """One step's 12 byte products for column c of the warp's tiles; x_i w_j goes to diagonal i + j.

        A lane reads words 2 t and 2 t + 1 of a plane where the map says t and t + 4: one load for both, and the order
        of columns does not matter as long as X and W agree in it.
        d: number i of diagonal s of tile (r, c) at 24 (r across + c) + 4 s + i. c is constant: a loop over it is not
        unrolled, and what is indexed by it would leave the registers.
        """
        b = b0 + u32(8 * c * W_PITCH)
        (l0, l1), (m0, m1), (h0, h1) = load2(w, b), load2(w, b + u32(8)), load2(w, b + u32(16))
        for r in range(down):
            for p in range(4):
                q = a0 + u32(16 * r * X_PITCH + 8 * p)
                (u, v), (s, t) = load2(x, q), load2(x, q + u32(8 * X_PITCH))
                a = u, s, v, t
                i = 24 * (r * across + c) + 4 * p
                if p < 3:
                    add(mma_uu, d, i, a, l0, l1)
                    add(mma_uu, d, i + 4, a, m0, m1)
                    add(mma_us, d, i + 8, a, h0, h1)
                else:
                    add(mma_su, d, i, a, l0, l1)
                    add(mma_su, d, i + 4, a, m0, m1)
                    add(mma_ss, d, i + 8, a, h0, h1)

    @device
    def flush(d, c, totals, at, again):
        """Adds column c's diagonals to their totals in memory (the first time: puts them there) and clears them."""
        for r in range(down):
            for i in range(4):
                j = 24 * (r * across + c) + i
                k = at + i64(2 * threads * (4 * (r * across + c) + i))
                totals[k] = upper(d[j + 12], d[j + 16], d[j + 20]) + (totals[k] if again else i64(0))
                totals[k + threads] = upper(d[j], d[j + 4], d[j + 8]) + (totals[k + threads] if again else i64(0))
                for s in range(6):
                    d[j + 4 * s] = i32(0)

    @device
    def finish(d, c, totals, at, flushed, x_max, exponents, y, row0, column0):
        """y of column c of the warp's tiles, from what is in d and, if there was a flush, the totals."""
        for r in range(down):
            for i in range(4):
                row, column = row0 + 16 * r + 8 * (i // 2), column0 + 8 * c + i % 2
                if row < y.shape[0] and column < y.shape[1]:
                    j = 24 * (r * across + c) + i
                    high_part, low_part = upper(d[j + 12], d[j + 16], d[j + 20]), upper(d[j], d[j + 4], d[j + 8])
                    if flushed:
                        k = at + i64(2 * threads * (4 * (r * across + c) + i))
                        high_part += totals[k]
                        low_part += totals[k + threads]
                    scale = power(exponent(x_max[row]) + exponents[column] - i32(54))
                    y[row, column] = f32(recombined(high_part, low_part) * scale) + f32(0)

    def tensor(planes, steps, x_max, w, stride, exponents, totals, y):
        """y = X W^T by 12 byte products a step, added up in 6 int32 diagonals and recombined exactly.

        Grid ceil(T / 64) ceil(N / 96), block 256: 2 x 4 warps, each 32 x 24 of y (144 sums in registers). planes: from
        byte_planes; x_max (T,); w, exponents: of a DeviceMatrix; y (T, N) float32; totals int64, for each thread twice
        its outputs if steps > 413, else not touched.
        39 KB of shared memory: two stages of 64 rows of X and 96 of W, 32 columns each. While the warps multiply one
        stage, the next arrives: X by cp.async, W through registers, where weights become bytes. One barrier a step.
        Reads K (4 T N / 96 + 2 T N / 64) bytes, mostly from L2; 24 T N K integer operations. Computed: 164 byte
        products for each byte read; 12 multiply-adds a product: an H100's 1979 T operations a second (the dense int8
        peak) would make 82 T products a second, and mma.sync, unlike wgmma, is expected to reach about 60 % of it.
        Limit: the tensor cores; then L2 (computed: 16 bytes a clock and SM at that rate).
        """
        x_tiles = cuda.shared.array(both_x, u32, alignment=16)
        w_tiles = cuda.shared.array(both_w, u32, alignment=16)
        thread = u32(cuda.threadIdx.x)
        lane, warp = thread & u32(31), thread >> u32(5)
        g, t = lane >> u32(2), lane & u32(3)
        T, N = i32(y.shape[0]), i32(y.shape[1])
        row_tile, column_tile = tile_of_block(
            i32(cuda.blockIdx.x), (T + rows - 1) // rows, (N + columns - 1) // columns
        )
        row0, column0 = i32(row_tile * rows), i32(column_tile * columns)
        warp_row, warp_column = warp % u32(warp_rows) * u32(16 * down), warp // u32(warp_rows) * u32(8 * across)
        a0 = (warp_row + g) * u32(X_PITCH) + u32(2) * t
        b0 = (warp_column + g) * u32(W_PITCH) + u32(2) * t
        # this thread's part of a stage: half a step of one row of W, and `copies` times four words of X
        mine = min(column0 + i32(thread >> u32(1)), N - 1)
        shift = i32(23) - exponents[mine]
        first, second = power32(shift >> i32(1)), power32(shift - (shift >> i32(1)))
        w_from = i64(mine) * i64(stride) + i64((thread & u32(1)) * u32(words))
        w_to = (thread >> u32(1)) * u32(W_PITCH) + (thread & u32(1)) * u32(4)
        total_at = i64(cuda.blockIdx.x) * i64(2 * outputs * threads) + i64(thread)
        x_row, x_chunk = thread >> u32(3), (thread & u32(7)) * u32(4)
        x_to = x_row * u32(X_PITCH) + x_chunk
        x_from = cuda.local.array(copies, i64)
        for i in range(copies):
            row = min(row0 + i32(x_row) + i * x_rows, T - 1)
            x_from[i] = i64(row) * i64(steps) * i64(32) + i64(x_chunk)
        held = cuda.local.array(words, u32)
        d = cuda.local.array(sums, i32)
        for i in range(sums):
            d[i] = i32(0)
        for step in range(-1, steps):
            coming = min(step + 1, steps - 1)
            now, then = u32(step & 1), u32((step + 1) & 1)
            for i in range(copies):
                copy4(
                    x_tiles,
                    then * u32(x_words) + x_to + u32(i * x_rows * X_PITCH),
                    planes,
                    x_from[i] + i64(32 * coming),
                )
            for i in range(words // 4):
                four = stream4(w, w_from + i64(coming * (2 * words) + 4 * i))
                held[4 * i], held[4 * i + 1], held[4 * i + 2], held[4 * i + 3] = four
            if step >= 0:
                a, b = now * u32(x_words) + a0, now * u32(w_words) + b0
                products(d, 0, x_tiles, a, w_tiles, b)
                if across > 1:
                    products(d, 1, x_tiles, a, w_tiles, b)
                if across > 2:
                    products(d, 2, x_tiles, a, w_tiles, b)
            if thread < u32(2 * columns):
                store_weights(held, first, second, w_tiles, then * u32(w_words) + w_to)
            copies_done()
            cuda.syncthreads()
            if step % FLUSH == FLUSH - 1 and 0 <= step < steps - 1:
                flush(d, 0, totals, total_at, step >= FLUSH)
                if across > 1:
                    flush(d, 1, totals, total_at, step >= FLUSH)
                if across > 2:
                    flush(d, 2, totals, total_at, step >= FLUSH)
        row, column = row0 + i32(warp_row + g), column0 + i32(warp_column + u32(2) * t)
        flushed = steps > FLUSH
        finish(d, 0, totals, total_at, flushed, x_max, exponents, y, row, column)
        if across > 1:
            finish(d, 1, totals, total_at, flushed, x_max, exponents, y, row, column)
        if across > 2:
            finish(d, 2, totals, total_at, flushed, x_max, exponents, y, row, column)

    return tensor


# ---- launches ------------------------------------------------------------------------------------------------------
def bounds(version: str) -> int | tuple[int, int]:
    """Threads of a block of a float64 kernel; where it needs few registers, two of them to a multiprocessor."""
    return THREADS if version == "sm_90" else (THREADS, 2)


def plain(x, x_max, w: DeviceMatrix, y, stream=0, version: str = "plain") -> None:
    """y = linear(x, w) in float64. x (T, K), y (T, N) device float32; x_max (T,) int32: largest magnitudes, as bits."""
    grid = -(-x.shape[0] // TILE), -(-w.N // TILE)
    kernel(make_plain(w.kind, version), bounds(version))[grid, THREADS, stream](x, x_max, w.bits, w.stride, y)


_kept: dict[type, object] = {}  # the largest workspace of a type so far


def workspace(size: int, dtype: type):
    """At least so many elements, kept for the next launch: so one stream at a time."""
    if dtype not in _kept or _kept[dtype].size < size:
        _kept.pop(dtype, None)  # freed before the new one is made
        _kept[dtype] = cuda.device_array(size, dtype)
    return _kept[dtype]


def tensor(x, x_max, w: DeviceMatrix, y, stream=0, shape: Shape = BLOCK) -> None:
    """The same on int8 tensor cores, sm_80 on."""
    T, K = x.shape
    steps = -(-K // STEP)
    blocks = -(-T // shape.rows) * -(-w.N // shape.columns)
    planes = workspace(T * steps * STEP, np.uint32)
    totals = workspace(2 * blocks * shape.outputs * shape.threads if steps > FLUSH else 1, np.int64)
    kernel(byte_planes, THREADS)[(T, -(-8 * steps // THREADS)), THREADS, stream](x, x_max, planes)
    run = kernel(make_tensor(w.kind, shape), shape.threads)
    run[blocks, shape.threads, stream](planes, steps, x_max, w.bits, w.stride, w.exponents, totals, y)


def launch(x, x_max, w: DeviceMatrix, y, stream=0) -> None:
    """y = linear(x, w) by the kernel for this GPU: int8 tensor cores from sm_80 on, else multiply-adds."""
    best = plain if SIMULATED or cuda.get_current_device().compute_capability < (8, 0) else tensor
    best(x, x_max, w, y, stream)


def linear(x, w: DeviceMatrix, y, stream=0) -> None:
    """y = store(x W^T), every sum exact: device float32 x (T, K) -> y (T, N)."""
    x_max = cuda.device_array(x.shape[0], np.int32)
    maxima(x, x_max, cuda.device_array(2, np.int32), 0, stream)  # flags that nobody reads
    launch(x, x_max, w, y, stream)


def _kernels() -> list:
    """Every kernel with what compiles it: (name, function, types, oldest compute capability, threads of a block)."""
    f2, i1, u1, l1, n = types.float32[:, ::1], types.int32[::1], types.uint32[::1], types.int64[::1], types.int64
    found = [("byte planes", byte_planes, (f2, i1, u1), (7, 5), THREADS)]
    for kind in KINDS:
        for version, oldest in (("plain", (7, 5)), ("sm_80", (8, 0)), ("sm_90", (9, 0))):
            made = make_plain(kind, version)
            found.append((f"linear {version} {kind}", made, (f2, i1, u1, n, f2), oldest, bounds(version)))
        types_of = (u1, n, i1, u1, n, i1, l1, f2)
        found.append((f"linear int8 {kind}", make_tensor(kind), types_of, (8, 0), BLOCK.threads))
    return found


KERNELS = _kernels()
