"""Attention of one query a head over a ring of slots, in three kernels: scores, weights, values (rule 7).

    score_j = store(Q K_j / sqrt(d));  p_j = exp(score_j - max);  D = sum of rint(p_j 2^36)
    attention = store(N / D),  N = sum_j grid(p t, 31)_j V_j,  t_j the top of value j

Every sum is of integers, so keys may lie in any order and blocks may add up in any order (float64 and int64 atomics).
p depends on the largest score, and its grid on the largest p t: each is known only when a kernel has ended.
Keys and values are read once; exp is computed twice, which is cheaper than storing it.
"""

from functools import lru_cache
from math import sqrt

import numpy as np
from numba import cuda

from fastpath.cuda.exp import exp
from fastpath.cuda.grids import MAGNITUDE, exponent64, magnitude, ordered, power, snapped
from fastpath.cuda.intrinsics import (
    SIMULATED,
    bits_of_f32,
    bits_of_f64,
    device,
    f32_of_bits,
    kernel,
    load4,
    rint,
    warp_max,
    warp_sum,
    warp_sums,
)
from fastpath.cuda.rows import mark

i32, u32, i64, f32, f64 = np.int32, np.uint32, np.int64, np.float32, np.float64
WARPS = 1 if SIMULATED else 8
THREADS = 32 * WARPS
LOWEST = -0x80000000  # below every float's ordered bits
P_LIMIT = 2.0**31 - 1
CHUNK = 128  # keys whose weights are in shared memory at a time
AHEAD = 8  # values that a thread loads before it uses the first; times `strips` it divides CHUNK


@device
def score_of(total, e, scale):
    """store(sum Q K scale): a whole number in units of 2^e."""
    return f32(total * power(e) * scale) + f32(0)


@device
def quotient(high, low, e, D):
    """store(N / D): N in units of 2^(e - 54), D of 2^-36."""
    return f32((high + low) * 2.0**-54 * power(e) / (f64(D) * 2.0**-36)) + f32(0)


@device
def weight(score, highest):
    """p = exp(score - best), 0 where the score is -infinity; highest: best's bits."""
    p = exp(f64(score) - f64(f32_of_bits(highest)))
    return p if score > f32(-np.inf) else 0.0


def heads_at_once(d: int, group: int) -> int:
    """Query heads that share one reading of a key or value: 4, 2 or 1, as registers and the group's size allow.

    >>> heads_at_once(128, 4), heads_at_once(256, 4), heads_at_once(64, 3)
    (4, 2, 1)
    """
    fit = 4 if d <= 128 else 2 if d <= 256 else 1
    return next(n for n in (4, 2, 1) if n <= fit and group % n == 0)


@lru_cache(None)
def make_scores(d: int, group: int):
    """The kernel of scores for one head size and group; d = 128 takes a key by one 128-bit load a lane."""
    heads, vector = heads_at_once(d, group), d % 128 == 0
    bits = 23 if d <= 128 else 22
    per_lane = -(-d // 32)
    held = heads * per_lane
    scale = 1.0 / sqrt(d)
    limit = 2.0**bits - 1

    @device
    def element(lane, i):
        """Which element of a head a lane's i-th number is."""
        return i // 4 * 128 + lane * 4 + i % 4 if vector else i * 32 + lane

    def scores_kernel(q, q_exponent, k, k_exponent, span, s, best):
        """s[h, j] = store(sum Q K_j scale) for span[0] <= j < span[1], and best[h], the largest, as ordered bits.

        Grid (blocks, Hkv, group / heads), block 256: a warp a key, which `heads` query heads share.
        q float32 (H, d), q_exponent int32 (H,), k float32 (Hkv, S, d) integers, k_exponent int32 (Hkv, S),
        span int32 (3,) -> s float32 (H, S'), best int32 (H,). Reads 4 d + 4 bytes a key, writes 4 a score; one float64
        FMA an element and head, five shuffles of 64 bits a score. Limit: memory.
        """
        lane, warp, kv = i32(cuda.threadIdx.x) & i32(31), i32(cuda.threadIdx.x) >> i32(5), cuda.blockIdx.y
        first = kv * group + cuda.blockIdx.z * heads
        Q = cuda.local.array(held, f64)
        sums = cuda.local.array(heads, f64)
        highest = i32(LOWEST)  # of the head whose number is this lane's
        for h in range(heads):
            inverse = power(i32(bits) - q_exponent[first + h])
            for i in range(per_lane):
                e = element(lane, i)
                Q[h * per_lane + i] = snapped(q[first + h, e], inverse, limit) if e < d else 0.0
        for j in range(span[0] + cuda.blockIdx.x * WARPS + warp, span[1], cuda.gridDim.x * WARPS):
            for h in range(heads):
                sums[h] = 0.0
            if vector:
                for i in range(0, per_lane, 4):
                    x = load4(k, (i64(kv) * i64(k.shape[1]) + i64(j)) * i64(d) + i64(element(lane, i)))
                    for h in range(heads):
                        at = h * per_lane + i
                        a = f64(x[0]) * Q[at] + f64(x[1]) * Q[at + 1]
                        sums[h] += a + f64(x[2]) * Q[at + 2] + f64(x[3]) * Q[at + 3]
            else:
                for i in range(per_lane):
                    e = element(lane, i)
                    x = f64(k[kv, j, e]) if e < d else 0.0
                    for h in range(heads):
                        sums[h] += x * Q[h * per_lane + i]
            warp_sums(sums)
            for h in range(heads):
                e = q_exponent[first + h] + k_exponent[kv, j] - i32(2 * bits)
                y = score_of(sums[h], e, scale)
                if lane == h:
                    s[first + h, j] = y
                    highest = max(highest, ordered(bits_of_f32(y)))
        if lane < heads:
            cuda.atomic.max(best, first + lane, highest)

    return scores_kernel


@lru_cache(None)
def make_weights(group: int):
    """The kernel of the denominator for one size of group."""

    def weights_kernel(s, best, v_exponent, span, top, D, flags, stage):
        """D[h] += rint(p_j 2^36) and top[h] = the largest bits of p_j t_j, p = exp(s - best).

        Grid (blocks, H), block 256. s float32 (H, S'), best int32 (H,), v_exponent int32 (Hkv, S), span int32 (3,)
        -> top, D int64 (H,). Marks `stage` if the largest score is not finite.
        Reads 8 bytes a score. About 40 instructions a score, most of them exp's integers. Limit: latency.
        """
        h = cuda.blockIdx.y
        highest = ordered(best[h])
        mark(highest & i32(MAGNITUDE), flags, stage)
        total, largest = 0.0, i64(0)
        for j in range(span[0] + cuda.grid(1), span[1], cuda.gridsize(1)):
            p = weight(s[h, j], highest)
            total += rint(p * 2.0**36)
            largest = max(largest, bits_of_f64(p * power(v_exponent[h // group, j])))
        total, largest = warp_sum(total), warp_max(largest)
        if cuda.threadIdx.x & 31 == 0:
            cuda.atomic.add(D, h, i64(total))
            cuda.atomic.max(top, h, largest)

    return weights_kernel


@lru_cache(None)
def make_values(d: int, group: int):
    """The kernel of the numerator for one head size and group."""
    heads = heads_at_once(d, group)
    width = -(-d // 32) * 32  # threads for one value row
    strips = 1 if SIMULATED else max(1, 256 // width)  # rows that a block reads at the same time
    threads = strips * width
    held, buffered = heads * CHUNK, 2 * heads * width
    both = 2 * held

    def values_kernel(s, best, top, D, v, v_exponent, span, sums, arrived, y, y_max, flags, stage):
        """y = store(N / D): sums[0, h] += high halves, sums[1, h] += low halves, of grid(p t, 31)_j V_j over the keys.

        Grid (chunks, Hkv, group / heads), block 256 or so: a thread an element, `strips` value rows at a time, each
        shared by `heads` query heads. The block that comes last of those with the same heads divides, and leaves best,
        top, D, sums and arrived as the next call wants them. s float32 (H, S'), best int32, top, D int64 (H,), v float32
        (Hkv, S, d) integers, v_exponent int32 (Hkv, S), span int32 (3,), sums float64 (2, H, d), arrived int32 (H,) ->
        y float32 (H, d); y_max int32 (1,) is raised to the largest magnitude. Reads 4 d + 4 bytes a key and 4 a score;
        two float64 FMAs an element and head, an exp a score. Limit: memory; then float64.
        """
        thread, kv = i32(cuda.threadIdx.x), cuda.blockIdx.y
        first, e, strip = kv * group + cuda.blockIdx.z * heads, thread % i32(width), thread // i32(width)
        n = cuda.shared.array(both, f64)
        merged = cuda.shared.array(buffered, f64)
        last = cuda.shared.array(1, i32)
        high = cuda.local.array(heads, f64)
        low = cuda.local.array(heads, f64)
        x = cuda.local.array(AHEAD, f32)
        for h in range(heads):
            high[h] = 0.0
            low[h] = 0.0
        for start in range(span[0] + cuda.blockIdx.x * CHUNK, span[1], cuda.gridDim.x * CHUNK):
            count = min(i64(CHUNK), i64(span[1]) - i64(start))
            cuda.syncthreads()
            for i in range(thread, held, threads):
                h, j = first + i // CHUNK, start + i % CHUNK
                whole = 0.0
                if i % CHUNK < count:
                    p = weight(s[h, j], ordered(best[h])) * power(v_exponent[kv, j])
                    whole = snapped(p, power(i32(31) - exponent64(top[h])), P_LIMIT)
                upper = rint(whole * 2.0**-16) * 65536.0
                n[i] = upper
                n[held + i] = whole - upper
            cuda.syncthreads()
            if e < d:
                for row in range(strip, count, strips * AHEAD):
                    for a in range(AHEAD):  # beyond the last row, the last again: its weight there is 0
                        x[a] = v[u32(kv), u32(start + min(row + a * strips, count - 1)), u32(e)]
                    for a in range(AHEAD):
                        at = u32(row + a * strips)
                        for h in range(heads):
                            high[h] += n[at + u32(h * CHUNK)] * f64(x[a])
                            low[h] += n[at + u32(held + h * CHUNK)] * f64(x[a])
        for turn in range(strips):  # the strips of a block add up in shared memory
            if strip == turn:
                for h in range(heads):
                    at, other = h * width + e, (heads + h) * width + e
                    merged[at] = high[h] + (merged[at] if turn > 0 else 0.0)
                    merged[other] = low[h] + (merged[other] if turn > 0 else 0.0)
            cuda.syncthreads()
        if strip == 0 and e < d:
            for h in range(heads):
                cuda.atomic.add(sums, (0, first + h, i64(e)), merged[h * width + e])
                cuda.atomic.add(sums, (1, first + h, i64(e)), merged[(heads + h) * width + e])
        cuda.threadfence()  # these sums are seen before this block counts as arrived
        cuda.syncthreads()
        if thread == 0:
            before = cuda.atomic.add(arrived, first, i32(1))
            last[0] = i32(1 if before == cuda.gridDim.x - 1 else 0)
        cuda.syncthreads()
        if last[0] == 1:
            cuda.threadfence()
            largest = i32(0)
            for i in range(thread, heads * d, threads):
                h, at = first + i // d, i % d
                # added 0: an atomic reads what other blocks' atomics left
                z = quotient(
                    cuda.atomic.add(sums, (0, h, at), 0.0),
                    cuda.atomic.add(sums, (1, h, at), 0.0),
                    exponent64(top[h]),
                    D[h],
                )
                y[h, at] = z
                sums[0, h, at] = 0.0
                sums[1, h, at] = 0.0
                largest = max(largest, magnitude(z))
            mark(largest, flags, stage)
            cuda.atomic.max(y_max, 0, largest)
            cuda.syncthreads()
            if thread < heads:
                best[first + thread] = i32(LOWEST)
                top[first + thread] = i64(0)
                D[first + thread] = i64(0)
            if thread == 0:
                arrived[first] = i32(0)

    return values_kernel, threads


class Scratch:
    """Device arrays that one query's attention needs: (H, d) heads over at most `slots` keys; each call leaves them so."""

    def __init__(self, H: int, d: int, slots: int):
        self.scores = cuda.device_array((H, slots), np.float32)
        self.best = cuda.to_device(np.full(H, LOWEST, np.int32))
        self.top, self.D = cuda.to_device(np.zeros(H, np.int64)), cuda.to_device(np.zeros(H, np.int64))
        self.sums = cuda.to_device(np.zeros((2, H, d)))
        self.arrived = cuda.to_device(np.zeros(H, np.int32))


def attend(q, q_exponent, keys, values, span, y, y_max, scratch: Scratch, flags, stage: int, stream=0) -> None:
    """y (H, d) = attention of q (H, d) over the keys and values at span[0] <= j < span[1].

    keys, values: (integers (Hkv, S, d), exponents (Hkv, S)); y_max int32 (1,), 0 before; stage: that of the scores,
    attention's follows it. scratch.scores then holds the scores at their j.
    """
    (H, d), (n_kv, S) = q.shape, keys[1].shape
    group, s = H // n_kv, scratch
    sharing = group // heads_at_once(d, group)
    blocks = max(1, min(-(-S // (2 * WARPS)), 64))
    run = kernel(make_scores(d, group), THREADS)
    run[(blocks, n_kv, sharing), THREADS, stream](q, q_exponent, *keys, span, s.scores, s.best)
    run = kernel(make_weights(group), THREADS)
    blocks = max(1, min(-(-S // THREADS), 16))
    run[(blocks, H), THREADS, stream](s.scores, s.best, values[1], span, s.top, s.D, flags, stage)
    values_kernel, threads = make_values(d, group)
    run = kernel(values_kernel, threads)
    run[(-(-S // CHUNK), n_kv, sharing), threads, stream](
        s.scores, s.best, s.top, s.D, *values, span, s.sums, s.arrived, y, y_max, flags, stage + 1
    )
