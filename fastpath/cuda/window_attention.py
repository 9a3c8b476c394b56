"""Pre-fill's attention: many queries at consecutive positions, and of the keys only those in reach of the window.

    score = store(fl64(sum_c Q_c K_c) / sqrt(d)),  Q = grid(q, b), K = grid(k, b), b = 23 up to d = 128, else 22
    p_j = exp(score_j - largest);  D = sum_j rint(p_j 2^36);  N = sum_j grid(p t, 31)_j V_j,  t_j = top(v_j)
    attention = store(N / D)

A tile is 64 rows, a row one head's query: the heads of a group over a run of positions, so that a key is read once for
all of them. A tile sees the positions from its first one - W + 1 to its last: no other key is ever loaded, and work and
memory grow with T W, not T^2. p needs the largest score, and grid(p t) the largest p t, of all keys: three kernels, and
the scores wait in a stripe of memory for each tile. All sums are of integers and exact in float64, in any order.
Not yet verified on a GPU.
"""

from functools import lru_cache
from math import sqrt
from typing import NamedTuple

import numpy as np
from numba import cuda
from numba.cuda import types

from fastpath.cuda.decode_attention import LOWEST, P_LIMIT, weight
from fastpath.cuda.grids import INFINITY, MAGNITUDE, exponent, exponent64, magnitude, ordered, power, snapped
from fastpath.cuda.intrinsics import SIMULATED, bits_of_f32, bits_of_f64, device, kernel, rint, warp_max, warp_sum
from fastpath.cuda.tensor_cores import multiplier
from minimistral.arithmetic.exact import TERMS
from minimistral.errors import BadInput

u32, i32, i64, f32, f64 = np.uint32, np.int32, np.int64, np.float32, np.float64
DEPTH, PITCH = 16, 20  # columns (of queries and keys) or keys (of values) at a time; doubles of such a row in memory
STRIPES = 2**30  # bytes that the scores of one batch of tiles may take
UNSEEN = -np.inf


class Shape(NamedTuple):
    """How a block's warps share a tile of rows and keys, or rows and columns of values."""

    warp_rows: int
    warp_columns: int
    down: int  # a warp's tiles of 16 rows
    across: int  # its tiles of 8 keys or columns

    @property
    def threads(self) -> int:
        return 32 * self.warp_rows * self.warp_columns

    @property
    def rows(self) -> int:
        return 16 * self.down * self.warp_rows


SCORES, VALUES = Shape(4, 2, 1, 4), Shape(2, 4, 2, 4)  # for GPUs: 64 rows, by 64 keys and by 128 columns


# ---- who sees whom -------------------------------------------------------------------------------------------------
def keys_of(row0, rows, group, T, first, start, window, S):
    """The keys that a tile sees: low <= j < high. Row r is head r % group at position start + r // group.

    Key j of S is at position first + j; window 0: all that are not in the future.

    >>> keys_of(0, 64, 4, 100, 0, 0, 10, 100), keys_of(128, 64, 4, 100, 0, 0, 10, 100)
    ((0, 16), (23, 48))
    """
    last = start + (min(row0 + rows, T * group) - 1) // group
    low = start + row0 // group - window + 1 - first if window > 0 else 0
    return max(low, 0), min(last + 1 - first, S)


def job_of(job, n_kv, all_rows, rows):
    """Key head and first row of a job. Tiles come from the last to the first: without a window the longest start first.

    >>> [job_of(job, 2, 130, 64) for job in range(6)]
    [(0, 128), (1, 128), (0, 64), (1, 64), (0, 0), (1, 0)]
    """
    return job % n_kv, ((all_rows + rows - 1) // rows - 1 - job // n_kv) * rows


tile_keys, tile_of_job = device(keys_of), device(job_of)


def loads(T: int, window: int, group: int, rows: int = SCORES.rows) -> int:
    """How many times a key head's keys are read, over all tiles, for T queries from position 0.

    >>> loads(4, 0, 1, rows=1), loads(4, 2, 1, rows=1)
    (10, 7)
    """
    tiles = (keys_of(row0, rows, group, T, 0, 0, window, T) for row0 in range(0, T * group, rows))
    return sum(high - low for low, high in tiles)


# ---- kernels -------------------------------------------------------------------------------------------------------
def queries_kernel(q, integers, exponents):
    """integers = grid(q, b) 2^b / top, and the tops' exponents, in the order of tiles: row t group + g of a key head.

    q float32 (T, H, d) -> integers float32 (Hkv, T group, d), exponents int32 (Hkv, T group).
    Grid (H, T), block 32. Reads 4 T H d bytes and writes as many: bound by memory.
    """
    h, t, d = cuda.blockIdx.x, cuda.blockIdx.y, q.shape[2]
    group = q.shape[1] // integers.shape[0]
    kv, r = h // group, t * group + h % group
    largest = i32(0)
    for c in range(cuda.threadIdx.x, d, 32):
        largest = max(largest, magnitude(q[t, h, c]))
    e = exponent(warp_max(largest))
    bits = i32(23) if d <= 128 else i32(22)
    inverse, limit = power(bits - e), power(bits) - 1.0
    for c in range(cuda.threadIdx.x, d, 32):
        integers[kv, r, c] = f32(snapped(q[t, h, c], inverse, limit))
    if cuda.threadIdx.x == 0:
        exponents[kv, r] = e


def unseen_kernel(scores):
    """-infinity everywhere. Grid (ceil(S / 128), T, H), block 128; writes 4 H T S bytes: bound by memory."""
    j = cuda.grid(1)
    if j < scores.shape[2]:
        scores[cuda.blockIdx.z, cuda.blockIdx.y, j] = f32(UNSEEN)


def show_kernel(stripe, group, first, start, window, job0, scores):
    """A batch's stripes, to where they belong in scores (H, T, S). Grid (jobs, rows), block 128; for traces."""
    job, r, rows = cuda.blockIdx.x, cuda.blockIdx.y, stripe.shape[1]
    T, S = scores.shape[1], scores.shape[2]
    kv, row0 = tile_of_job(job0 + job, scores.shape[0] // group, T * group, rows)
    low, high = tile_keys(row0, rows, group, T, first, start, window, S)
    if row0 + r < T * group:
        token, h = (row0 + r) // group, kv * group + (row0 + r) % group
        for j in range(low + cuda.threadIdx.x, high, 128):
            scores[h, token, j] = stripe[job, r, j - low]


@lru_cache(None)
def make_scores(version: str = "plain", shape: Shape = SCORES):
    """The first kernel; version "plain" (any GPU), "sm_80" or "sm_90" (float64 tensor cores)."""
    warp_rows, warp_columns, down, across = shape
    threads, rows, warps = shape.threads, shape.rows, warp_rows * warp_columns
    keys = 8 * across * warp_columns
    s_pitch, k_start = keys + 2, rows * PITCH
    area = max((rows + keys) * PITCH, rows * s_pitch)
    q_parts, k_parts, n_sums = rows * DEPTH // threads, keys * DEPTH // threads, 4 * down * across
    stride = threads // DEPTH
    multiply = multiplier(version, down, across, pitch=PITCH, step_k=1, step_n=PITCH)

    def scores_kernel(q, q_exponent, k, k_exponent, group, first, start, window, job0, scale, stripe, best):
        """score = store(fl64(sum_c Q_c K_c) scale) where a key is seen, else -infinity; best, the largest of a row.

        Grid: (tile, key head) jobs of a batch, block 256: 4 x 2 warps, 16 queries x 32 keys each. q float32
        (Hkv, T group, d), q_exponent int32 (Hkv, T group); k float32 (Hkv, S, d), k_exponent int32 (Hkv, S);
        -> stripe float32 (jobs, 64, width), best int32 (jobs, 64): ordered bits.
        34 KB of shared memory: 64 queries and 64 keys, 16 columns at a time, or a tile of scores. A tile with n keys
        reads 8 n d bytes (half of them queries, again and again from L2), writes 256 n; 128 n d flops in 64 n d
        multiply-adds. Limit: the float64 units. Computed for an H100 (132 SMs, 1.7 GHz, 128 multiply-adds a clock and
        SM on tensor cores), d = 128: 4.5 ps a score.
        """
        shared = cuda.shared.array(area, f64)
        highest = cuda.shared.array(rows, i32)
        thread = i32(cuda.threadIdx.x)
        lane, warp = u32(thread & 31), u32(thread >> 5)
        g, t = lane >> u32(2), lane & u32(3)
        warp_row, warp_column = warp % u32(warp_rows) * u32(16 * down), warp // u32(warp_rows) * u32(8 * across)
        n_kv, S, d, all_rows = i32(k.shape[0]), i32(k.shape[1]), i32(k.shape[2]), i32(q.shape[1])
        group, first, start, window = i32(group), i32(first), i32(start), i32(window)
        T = all_rows // group
        job = i32(cuda.blockIdx.x)
        kv, row0 = tile_of_job(i32(job0) + job, n_kv, all_rows, rows)
        low, high = tile_keys(row0, rows, group, T, first, start, window, S)
        last_row = min(all_rows - row0, rows) - 1  # rows after it are copies of it
        for r in range(thread, rows, threads):
            highest[r] = i32(LOWEST)
        # what this thread brings of a stage: every stride-th row, one column
        own_row, c = thread // DEPTH, thread % DEPTH
        own_at = u32(own_row * PITCH + c)
        held_q = cuda.local.array(q_parts, f32)
        held_k = cuda.local.array(k_parts, f32)
        sums = cuda.local.array(n_sums, f64)
        for i in range(n_sums):
            sums[i] = 0.0
        j0, c0, j_next, c_next = low, d, low, i32(0)  # the stage that is multiplied, and the one that arrives
        while j0 < high:
            for i in range(q_parts):
                r = row0 + min(own_row + i * stride, last_row)
                held_q[i] = q[u32(kv), u32(r), u32(c_next + c)] if c_next + c < d else f32(0)
            for i in range(k_parts):
                j = min(j_next + own_row + i * stride, high - 1)
                held_k[i] = k[u32(kv), u32(j), u32(c_next + c)] if c_next + c < d else f32(0)
            if c0 < d:
                multiply(sums, shared, warp_row * u32(PITCH), shared, u32(k_start) + warp_column * u32(PITCH), g, t)
            cuda.syncthreads()
            if c0 < d <= c0 + DEPTH:  # a tile of sums is complete
                for i in range(n_sums):
                    r = warp_row + g + u32(16 * (i // 4 // across) + 8 * (i // 2 % 2))
                    key = warp_column + u32(2) * t + u32(8 * (i // 4 % across) + i % 2)
                    shared[r * u32(s_pitch) + key] = sums[i]
                    sums[i] = 0.0
                cuda.syncthreads()
                for r in range(i32(warp), last_row + 1, warps):
                    ahead = start + (row0 + r) // group - first - j0  # of the tile's first key
                    e = q_exponent[u32(kv), u32(row0 + r)] - i32(46 if d <= 128 else 44)
                    largest = i32(LOWEST)
                    for key in range(i32(lane), min(keys, high - j0), 32):
                        back = ahead - key
                        s = f32(UNSEEN)
                        if back >= 0 and (window == 0 or back < window):
                            total = (
                                shared[u32(r * s_pitch + key)] * scale * power(e + k_exponent[u32(kv), u32(j0 + key)])
                            )
                            s = f32(total) + f32(0)
                        stripe[u32(job), u32(r), u32(j0 + key - low)] = s
                        largest = max(largest, ordered(bits_of_f32(s)))
                    largest = warp_max(largest)
                    if lane == u32(0):
                        highest[u32(r)] = max(highest[u32(r)], largest)
                cuda.syncthreads()
            for i in range(q_parts):
                shared[own_at + u32(i * stride * PITCH)] = f64(held_q[i])
            for i in range(k_parts):
                shared[own_at + u32(k_start + i * stride * PITCH)] = f64(held_k[i])
            cuda.syncthreads()
            j0, c0, c_next = j_next, c_next, c_next + DEPTH
            if c_next >= d:
                j_next, c_next = j_next + keys, i32(0)
        for r in range(thread, rows, threads):
            best[u32(job), u32(r)] = highest[u32(r)] if r <= last_row else i32(0)

    return scores_kernel


WEIGHT_WARPS = 4


def weights_kernel(stripe, best, v_exponent, H, T, first, start, window, rows, job0, top, D, flags, stage):
    """D = sum_j rint(p_j 2^36) as float64, top = the largest bits of p_j t_j, p = exp(score - best).

    Grid (jobs, ceil(rows / 4)), block 128, a warp a row. stripe, best as they were written; v_exponent int32 (Hkv, S);
    -> top int64, D float64 (jobs, rows). Marks flags[stage + 1], and flags[0], if a row's largest score is not finite:
    1, or 2 if it is -infinity; empty flags: no mark. Reads 8 bytes a score. Limit: the integers of exp (61 PTX
    instructions a score in all); computed for an H100, 64 a clock and SM: 4 ps a score.
    """
    job, lane = u32(cuda.blockIdx.x), i32(cuda.threadIdx.x & 31)
    r = i32(cuda.blockIdx.y) * WEIGHT_WARPS + i32(cuda.threadIdx.x >> 5)
    n_kv, S = i32(v_exponent.shape[0]), i32(v_exponent.shape[1])
    T, group, rows = i32(T), i32(H) // n_kv, i32(rows)
    first, start, window = i32(first), i32(start), i32(window)
    kv, row0 = tile_of_job(i32(job0) + i32(job), n_kv, T * group, rows)
    low, high = tile_keys(row0, rows, group, T, first, start, window, S)
    if r < rows:
        highest = ordered(best[job, u32(r)])
        total, largest = 0.0, i64(0)
        for j in range(low + lane, high if row0 + r < T * group else low, 32):  # rows that do not exist: 0
            p = weight(stripe[job, u32(r), u32(j - low)], highest)
            total += rint(p * 2.0**36)
            largest = max(largest, bits_of_f64(p * power(v_exponent[u32(kv), u32(j)])))
        total, largest = warp_sum(total), warp_max(largest)
        if lane == 0:
            D[job, u32(r)] = total
            top[job, u32(r)] = largest
            if flags.shape[0] > 0 and highest & i32(MAGNITUDE) >= i32(INFINITY):
                cuda.atomic.max(flags, stage + 1, i32(2 if highest < 0 else 1))
                flags[0] = i32(1)


@lru_cache(None)
def make_values(version: str = "plain", shape: Shape = VALUES):
    """The third kernel; version as in make_scores."""
    warp_rows, warp_columns, down, across = shape
    threads, rows = shape.threads, shape.rows
    columns = 8 * across * warp_columns
    v_pitch = columns + 4  # like PITCH 4 more than a multiple of 16, or 12: the lanes of a half warp meet in no bank
    assert threads % columns == 0, shape
    row_area, v_area = rows * PITCH, DEPTH * v_pitch
    p_parts, v_parts, n_sums = rows * DEPTH // threads, DEPTH * columns // threads, 4 * down * across
    p_stride, v_stride = threads // DEPTH, threads // columns
    multiply = multiplier(version, down, across, pitch=PITCH, step_k=v_pitch, step_n=1)

    @device
    def finish(high_sums, low_sums, n, r0, last_row, c0, row0, group, kv, top, D, job, out):
        """out for the warp's n-th column of tiles; n is constant."""
        for m in range(2 * down):
            r = r0 + 8 * m
            if r <= last_row:
                token, h = (row0 + r) // group, kv * group + (row0 + r) % group
                scale, total = power(exponent64(top[job, u32(r)]) - i32(54)), D[job, u32(r)] * 2.0**-36
                for odd in range(2):
                    i, c = 4 * ((m >> 1) * across + n) + 2 * (m & 1) + odd, c0 + 8 * n + odd
                    if c < out.shape[2]:
                        N = (high_sums[i] + low_sums[i]) * scale
                        out[u32(token), u32(h), u32(c)] = f32(N / total) + f32(0)

    def values_kernel(stripe, best, top, D, v, v_exponent, first, start, window, job0, out):
        """attention = store(N / D), N = fl64(sum_j grid(p t, 31)_j V_j), grid(p t) as high + low, 16 bits each.

        Grid (jobs, ceil(d / 128)), block 256: 2 x 4 warps, 32 rows x 32 columns of values each. stripe, best, top, D
        as they were written; v float32 (Hkv, S, d), integers, v_exponent int32 (Hkv, S); -> out float32 (T, H, d).
        37 KB of shared memory: high and low of 64 rows and 128 columns of values, for 16 keys. For n keys of a tile:
        reads 4 n d + 256 n bytes, 256 n d flops in 128 n d multiply-adds. Limit: the float64 units, computed as for the
        scores: 9 ps a score; exp again takes its integers at the same time.
        """
        high_tile = cuda.shared.array(row_area, f64)
        low_tile = cuda.shared.array(row_area, f64)
        v_tile = cuda.shared.array(v_area, f64)
        thread = i32(cuda.threadIdx.x)
        lane, warp = u32(thread & 31), u32(thread >> 5)
        g, t = lane >> u32(2), lane & u32(3)
        warp_row, warp_column = warp % u32(warp_rows) * u32(16 * down), warp // u32(warp_rows) * u32(8 * across)
        T, H, d, n_kv, S = i32(out.shape[0]), i32(out.shape[1]), i32(out.shape[2]), i32(v.shape[0]), i32(v.shape[1])
        group, c0 = H // n_kv, i32(cuda.blockIdx.y) * columns
        first, start, window = i32(first), i32(start), i32(window)
        job = u32(cuda.blockIdx.x)
        kv, row0 = tile_of_job(i32(job0) + i32(job), n_kv, T * group, rows)
        low, high = tile_keys(row0, rows, group, T, first, start, window, S)
        last_row = min(T * group - row0, rows) - 1
        # what this thread brings of a stage: one key's weight for some rows, one column of some values
        p_row, p_key, v_row, v_column = thread // DEPTH, thread % DEPTH, thread // columns, thread % columns
        p_at, v_at = u32(p_row * PITCH + p_key), u32(v_row * v_pitch + v_column)
        held_s = cuda.local.array(p_parts, f32)
        held_v = cuda.local.array(v_parts, f32)
        high_sums = cuda.local.array(n_sums, f64)
        low_sums = cuda.local.array(n_sums, f64)
        for i in range(n_sums):
            high_sums[i] = 0.0
            low_sums[i] = 0.0
        count = (high - low + DEPTH - 1) // DEPTH
        for step in range(-1, count):  # multiply one stage while the next arrives
            j0 = low + min(step + 1, count - 1) * DEPTH
            for i in range(v_parts):
                j = min(j0 + v_row + i * v_stride, high - 1)
                held_v[i] = v[u32(kv), u32(j), u32(c0 + v_column)] if c0 + v_column < d else f32(0)
            j = j0 + p_key
            held_e = v_exponent[u32(kv), u32(min(j, high - 1))]
            for i in range(p_parts):
                r = p_row + i * p_stride
                held_s[i] = stripe[job, u32(r), u32(j - low)] if j < high and r <= last_row else f32(UNSEEN)
            if step >= 0:
                multiply(high_sums, high_tile, warp_row * u32(PITCH), v_tile, warp_column, g, t)
                multiply(low_sums, low_tile, warp_row * u32(PITCH), v_tile, warp_column, g, t)
            cuda.syncthreads()
            for i in range(v_parts):
                v_tile[v_at + u32(i * v_stride * v_pitch)] = f64(held_v[i])
            for i in range(p_parts):
                r = u32(p_row + i * p_stride)
                p = weight(held_s[i], ordered(best[job, r])) * power(held_e)
                n = min(rint(p * power(i32(31) - exponent64(top[job, r]))), P_LIMIT)
                upper = rint(n * 2.0**-16) * 65536.0
                high_tile[p_at + u32(i * p_stride * PITCH)] = upper
                low_tile[p_at + u32(i * p_stride * PITCH)] = n - upper
            cuda.syncthreads()
        r, c = i32(warp_row + g), c0 + i32(warp_column + u32(2) * t)
        finish(high_sums, low_sums, 0, r, last_row, c, row0, group, kv, top, D, job, out)
        if across > 1:
            finish(high_sums, low_sums, 1, r, last_row, c, row0, group, kv, top, D, job, out)
        if across > 2:
            finish(high_sums, low_sums, 2, r, last_row, c, row0, group, kv, top, D, job, out)
            finish(high_sums, low_sums, 3, r, last_row, c, row0, group, kv, top, D, job, out)

    return values_kernel


# ---- launches ------------------------------------------------------------------------------------------------------
def bounds(version: str, shape: Shape) -> int | tuple[int, int]:
    """Threads of a block of the first kernel; where it needs few registers, two of them to a multiprocessor."""
    return (shape.threads, 2) if version == "sm_90" else shape.threads


def best_version() -> str:
    """The kernels for this GPU: "sm_90", "sm_80" or "plain"."""
    capability = (0, 0) if SIMULATED else cuda.get_current_device().compute_capability
    return "sm_90" if capability >= (9, 0) else "sm_80" if capability >= (8, 0) else "plain"


@lru_cache(maxsize=1)
def workspace(n_kv: int, T: int, d: int, batch: int, rows: int, width: int) -> tuple:
    """What the kernels hand to one another, kept for the next layer: so one stream at a time."""
    integers, exponents = cuda.device_array((n_kv, T, d), np.float32), cuda.device_array((n_kv, T), np.int32)
    stripe = cuda.device_array((batch, rows, width), np.float32)
    best, top = cuda.device_array((batch, rows), np.int32), cuda.device_array((batch, rows), np.int64)
    return integers, exponents, stripe, best, top, cuda.device_array((batch, rows), np.float64)


def attend(
    q, k, ktop, v, vtop, first: int, start: int, window: int, out, scores, stream=0,
    flags=None, stage: int = 0, version: str | None = None, shapes: tuple[Shape, Shape] = (SCORES, VALUES),
) -> None:  # fmt: skip
    """out = rule 7's attention of T queries. Arrays lie on the device: float32, tops and flags int32.

    q (T, H, d), rotated; k, v (Hkv, S, d): the gridded integers, ktop, vtop (Hkv, S) the exponents of their tops; key j
    is at position first + j, query t at start + t; window: an int, 0 for none; out (T, H, d).
    scores: (H, T, S), filled with the scores and -infinity where a key is not seen, or None.
    flags: if a query's largest score is not finite, flags[0] = 1 and flags[stage + 1] = 1 (NaN, +infinity) or 2
    (-infinity: no key), for the host to raise; None: not looked at. q, k and v must be finite.
    version: "plain", "sm_80" or "sm_90", None: as this GPU likes. BadInput if a query sees more than 32768 keys.
    """
    (T, H, d), (n_kv, S) = q.shape, ktop.shape
    seen = min(start + T - first, window or TERMS + 1)
    if seen > TERMS:
        raise BadInput(f"exact arithmetic sums at most {TERMS} terms, found {seen}; try float32")
    version = version or best_version()
    for_scores, for_values = shapes
    rows, columns, group = for_scores.rows, 8 * for_values.across * for_values.warp_columns, H // n_kv
    width = min(S, window + rows // group + 1) if window else S  # the positions of a tile, and the window before them
    jobs = -(-T * group // rows) * n_kv
    batch = min(jobs, max(1, STRIPES // (4 * rows * width)))
    integers, exponents, stripe, best, top, D = workspace(n_kv, T * group, d, batch, rows, width)
    if scores is not None:
        kernel(unseen_kernel, 128)[(-(-S // 128), T, H), 128, stream](scores)
    if flags is None:
        flags = cuda.device_array(0, np.int32)
    kernel(queries_kernel, 32)[(H, T), 32, stream](q, integers, exponents)
    one = kernel(make_scores(version, for_scores), bounds(version, for_scores))
    two = kernel(weights_kernel, 32 * WEIGHT_WARPS)
    three = kernel(make_values(version, for_values), for_values.threads)
    for job in range(0, jobs, batch):
        n, where = min(batch, jobs - job), (first, start, window)
        one[n, for_scores.threads, stream](
            integers, exponents, k, ktop, group, *where, job, 1.0 / sqrt(d), stripe, best
        )
        if scores is not None:
            kernel(show_kernel, 128)[(n, rows), 128, stream](stripe, group, *where, job, scores)
        two[(n, -(-rows // WEIGHT_WARPS)), 32 * WEIGHT_WARPS, stream](
            stripe, best, vtop, H, T, *where, rows, job, top, D, flags, stage
        )
        three[(n, -(-d // columns)), for_values.threads, stream](stripe, best, top, D, v, vtop, *where, job, out)


def _kernels() -> list:
    """Every kernel with what compiles it: (name, function, types, oldest compute capability, threads of a block)."""
    f3, i2, i1 = types.float32[:, :, ::1], types.int32[:, ::1], types.int32[::1]
    l2, d2, n, real = types.int64[:, ::1], types.float64[:, ::1], types.int64, types.float64
    scores = (f3, i2, f3, i2, n, n, n, n, n, real, f3, i2)
    weights = (f3, i2, i2, n, n, n, n, n, n, n, l2, d2, i1, n)
    values = (f3, i2, l2, d2, f3, i2, n, n, n, n, f3)
    found = [
        ("attend queries", queries_kernel, (f3, f3, i2), (7, 5), 32),
        ("attend unseen", unseen_kernel, (f3,), (7, 5), 128),
        ("attend show", show_kernel, (f3, n, n, n, n, n, f3), (7, 5), 128),
        ("attend weights", weights_kernel, weights, (7, 5), 32 * WEIGHT_WARPS),
    ]
    for version, oldest in (("plain", (7, 5)), ("sm_80", (8, 0)), ("sm_90", (9, 0))):
        found.append((f"attend scores {version}", make_scores(version), scores, oldest, bounds(version, SCORES)))
        found.append((f"attend values {version}", make_values(version), values, oldest, VALUES.threads))
    return found


KERNELS = _kernels()
