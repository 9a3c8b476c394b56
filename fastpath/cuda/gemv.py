"""A linear layer for a few rows: each weight is read once, and that is what it costs.

    y[t, n] = store(sum_k X[t, k] W[n, k]),  X = grid(x, 31)

The weights come as they are stored, 16 bits each, and are widened by two integer operations: shifted three (float16:
six) places to the right under a mask, a bfloat16 is the upper half of a float64 of value w 2^-896 (float16: w 2^-1008),
subnormal or not. X is an integer of 31 bits, high + low of 16 bits each, so both sums are below 2^53: exact, in any
order, split over any lanes. Scaled at the end, rounded once.
"""

from functools import lru_cache

import numpy as np
from numba import cuda

from fastpath.cuda.exp import swiglu
from fastpath.cuda.grids import exponent, magnitude, power, snapped
from fastpath.cuda.intrinsics import SIMULATED, device, kernel, rint, stream4, warp_sums
from fastpath.cuda.matrix import PAD, DeviceMatrix
from fastpath.cuda.rows import mark, maxima
from fastpath.cuda.widen import PAIRS

i32, u32, i64, f32, f64 = np.int32, np.uint32, np.int64, np.float32, np.float64
WARPS = 1 if SIMULATED else 8
THREADS = 32 * WARPS
X_LIMIT = 2.0**31 - 1
SHARED = 4096  # float64 numbers in shared memory: 32 KiB of x
BOUNDS = (THREADS, 2)  # two blocks a multiprocessor: at most 128 registers a thread


@device
def below(first, r, N):
    """Row r of a warp's: they lie below each other; beyond the last row, the last again."""
    return min(first + i32(r), N - i32(1))


@device
def paired(first, r, N):
    """The same in a matrix of two halves: a row of the first, its partner of the second, and so on."""
    half = N >> i32(1)
    return min(first + i32(r // 2), half - i32(1)) + i32(r % 2) * half


def make_sums(kind: str, tokens: int, rows: int, row_of):
    """What the kernels below share: a warp's sums for `rows` rows of the matrix and `tokens` rows of x."""
    widen, _ = PAIRS[kind]
    per_word = 1 if kind == "float32" else 2
    per_lane = 4 * per_word  # weights of one 128-bit load
    step = 32 * per_lane  # columns that a warp takes at a time
    tile = SHARED // (2 * tokens)  # columns in shared memory
    plane, loaded = tile * tokens, 4 * rows  # the low halves lie behind the high ones

    @device
    def use(word, at, shared, high, low, r):
        """One word's weights of row r into the sums of every token."""
        a, b = widen(word)
        for t in range(tokens):
            p = at + u32(t * tile)
            i = t * rows + r
            high[i] += a * shared[p]
            low[i] += a * shared[p + u32(plane)]
            if per_word == 2:
                high[i] += b * shared[p + u32(32)]
                low[i] += b * shared[p + u32(plane + 32)]

    @device
    def add_up(bits, stride, x, x_max, N, first, shared, high, low):
        """high and low [t * rows + r] = the sums of row_of(first, r) and x[t], in every lane. Threads walk together."""
        thread, K = i32(cuda.threadIdx.x), i32(x.shape[1])
        lane = thread & i32(31)
        ahead = cuda.local.array(loaded, u32)
        for i in range(tokens * rows):
            high[i] = 0.0
            low[i] = 0.0
        for start in range(0, K, tile):
            cuda.syncthreads()
            for t in range(tokens):
                inverse = power(i32(31) - exponent(x_max[t]))
                for k in range(thread, min(tile, K - start + PAD - 1), 32 * WARPS):
                    n = 0.0
                    if start + k < K:
                        n = snapped(x[t, u32(start + k)], inverse, X_LIMIT)
                    h = rint(n * 2.0**-16) * 65536.0
                    # column k of its step is element j of lane k // per_lane: no two lanes meet in a bank
                    at = u32(t * tile + k // step * step + k % per_lane * 32 + k % step // per_lane)
                    shared[at] = h
                    shared[at + u32(plane)] = n - h
            cuda.syncthreads()
            for column in range(0, min(tile, K - start), step):
                at = u32(column + lane)
                word = i64((start + column) // per_word + 4 * lane)
                for r in range(rows):  # all loads before the first use
                    four = stream4(bits, i64(row_of(first, r, N)) * i64(stride) + word)
                    ahead[4 * r] = four[0]
                    ahead[4 * r + 1] = four[1]
                    ahead[4 * r + 2] = four[2]
                    ahead[4 * r + 3] = four[3]
                for r in range(rows):
                    for i in range(4):
                        use(ahead[4 * r + i], at + u32(32 * per_word * i), shared, high, low, r)
        warp_sums(high)
        warp_sums(low)

    return add_up


@lru_cache(None)
def make(kind: str, tokens: int, rows: int):
    """The kernel for one type of weight, `tokens` rows of x at once and `rows` rows of the matrix a warp."""
    add_up, unscale, sums = make_sums(kind, tokens, rows, below), f64(2.0 ** PAIRS[kind][1]), tokens * rows

    def gemv(bits, stride, x, x_max, y):
        """y[t, n] = store(sum_k X[t, k] W[n, k]).

        Grid ceil(N / (8 rows)), block 256: a warp takes `rows` rows, a lane 16 bytes of each at a time; x is gridded by
        each block into 32 KiB of shared memory. bits uint32 (N * stride,), x float32 (T, K), x_max int32 (T,):
        magnitudes -> y float32 (T, N). Reads N K weights once, 2 or 4 bytes each, and 4 T K bytes of x a block (from
        L2); writes 4 T N. 2 T float64 FMAs a weight. Limit: memory, while float64 keeps up: where a GPU has 64 FMAs a
        clock and SM (sm_80, sm_90), to T = 3 or 4 (computed); where it has 2 (sm_75, sm_86, sm_89), float64.
        """
        shared = cuda.shared.array(SHARED, f64)
        high = cuda.local.array(sums, f64)
        low = cuda.local.array(sums, f64)
        lane, warp = i32(cuda.threadIdx.x) & i32(31), i32(cuda.threadIdx.x) >> i32(5)
        N, first = i32(y.shape[1]), (i32(cuda.blockIdx.x) * i32(WARPS) + warp) * i32(rows)
        add_up(bits, stride, x, x_max, N, first, shared, high, low)
        for i in range(sums):
            t, n = i // rows, first + i32(i % rows)
            if lane == i % 32 and n < N:
                y[t, n] = stored(high[i] + low[i], unscale, x_max[t])

    return gemv


@lru_cache(None)
def make_gated(kind: str, tokens: int, rows: int):
    """The same for gate and up, one matrix above the other, and SwiGLU of what they give."""
    add_up, unscale, pairs = make_sums(kind, tokens, rows, paired), f64(2.0 ** PAIRS[kind][1]), tokens * rows // 2
    sums, each = tokens * rows, rows // 2

    def gated(bits, stride, x, x_max, y, y_max, flags, stage):
        """y = store(g / (1 + e^-g) * up), g = store(x W1), up = store(x W3): gate and up never leave the registers.

        As gemv; a warp takes rows / 2 of each matrix. y float32 (T, N / 2), y_max int32 (T,): raised to the rows' largest
        magnitudes; marks stage (gate), stage + 1 (up), stage + 2 (y). Writes 2 T N bytes.
        """
        shared = cuda.shared.array(SHARED, f64)
        high = cuda.local.array(sums, f64)
        low = cuda.local.array(sums, f64)
        lane, warp = i32(cuda.threadIdx.x) & i32(31), i32(cuda.threadIdx.x) >> i32(5)
        half, first = i32(y.shape[1]), (i32(cuda.blockIdx.x) * i32(WARPS) + warp) * i32(each)
        add_up(bits, stride, x, x_max, i32(2) * half, first, shared, high, low)
        for i in range(pairs):
            t, n = i // each, first + i32(i % each)
            if lane == i % 32 and n < half:
                gate = stored(high[2 * i] + low[2 * i], unscale, x_max[t])
                up = stored(high[2 * i + 1] + low[2 * i + 1], unscale, x_max[t])
                z = swiglu(gate, up)
                y[t, n] = z
                mark(magnitude(gate), flags, stage)
                mark(magnitude(up), flags, stage + 1)
                mark(magnitude(z), flags, stage + 2)
                cuda.atomic.max(y_max, t, magnitude(z))

    return gated


@device
def stored(total, unscale, x_max):
    """store(the sum): weights are scaled by 1 / unscale, x by 2^31 / top."""
    return f32(total * unscale * power(exponent(x_max) - i32(31))) + f32(0)


def rows_for(tokens: int) -> int:
    """Rows of the matrix a warp takes: with one token two are enough to hide the reads of x; blocks then fill a GPU."""
    return 2 if tokens == 1 else 4


def parts(T: int) -> list[tuple[slice, int, int]]:
    """T rows cut into fours, a two, a one: (rows of x, how many, rows of the matrix a warp).

    >>> [(part.start, tokens, rows) for part, tokens, rows in parts(7)]
    [(0, 4, 4), (4, 2, 4), (6, 1, 2)]
    """
    found, t = [], 0
    while t < T:
        tokens = 4 if T - t >= 4 else 2 if T - t >= 2 else 1
        found.append((slice(t, t + tokens), tokens, rows_for(tokens)))
        t += tokens
    return found


def launch(x, x_max, w: DeviceMatrix, y, stream=0) -> None:
    """y = linear(x, w) where the largest magnitudes of x's rows, (T,) int32, are known; up to four rows at a time."""
    for part, tokens, rows in parts(x.shape[0]):
        run = kernel(make(w.kind, tokens, rows), BOUNDS)
        run[-(-w.N // (rows * WARPS)), THREADS, stream](w.bits, w.stride, x[part], x_max[part], y[part])


def launch_gated(x, x_max, w: DeviceMatrix, y, y_max, flags, stage: int, stream=0) -> None:
    """y (T, N / 2) = swiglu of the halves of linear(x, w); y_max is raised to its rows' largest magnitudes."""
    for part, tokens, rows in parts(x.shape[0]):
        run = kernel(make_gated(w.kind, tokens, rows), BOUNDS)
        run[-(-w.N // (rows * WARPS)), THREADS, stream](
            w.bits, w.stride, x[part], x_max[part], y[part], y_max[part], flags, stage
        )


def linear(x, w: DeviceMatrix, y, stream=0) -> None:
    """y = store(x W^T), every sum exact: device float32 x (T, K) -> y (T, N)."""
    x_max = cuda.device_array(x.shape[0], np.int32)
    maxima(x, x_max, cuda.device_array(2, np.int32), 0, stream)  # flags that nobody reads
    launch(x, x_max, w, y, stream)
