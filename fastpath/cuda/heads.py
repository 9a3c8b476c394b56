"""Between the projections and attention: heads are turned by their positions, keys and values go on their grids."""

import numpy as np
from numba import cuda

from fastpath.cuda.grids import exponent, magnitude, power, snapped
from fastpath.cuda.intrinsics import device, kernel, warp_max
from fastpath.cuda.rows import mark

i32, i64, f32, f64 = np.int32, np.int64, np.float32, np.float64
V_LIMIT, V_BITS = 2.0**23 - 1, 23


@device
def turned(a, b, cos, sin):
    """A pair, turned: products of float32 are exact in float64, so that a fused multiply-add rounds the same."""
    a, b, cos, sin = f64(a), f64(b), f64(cos), f64(sin)
    return f32(a * cos - b * sin) + f32(0), f32(a * sin + b * cos) + f32(0)


def heads_kernel(x, table, bits, q, k, q_exponent, place, keys, key_exponents, values, value_exponents, flags, stage):
    """RoPE (rule 6) and the grids of attention (rule 7), a warp a head.

    (a, b) -> (store(a cos - b sin), store(a sin + b cos)) for the pairs (2 i, 2 i + 1) of queries and keys. Then keys
    become integers of `bits` bits, values of 23, kept as float32, with their tops' exponents beside them, in slot place[t].

    x float32 (T, (H + 2 Hkv) d): queries, keys, values of a token; table float32 (T, d): d / 2 cosines, then the sines.
    -> q float32 (T, H, d), k float32 (T, Hkv, d), rotated; q_exponent int32 (T, H);
    keys, values float32 (Hkv, S, d), key_exponents, value_exponents int32 (Hkv, S).
    Grid (H + 2 Hkv, T), block 32. Reads 4 T (H + 2 Hkv) d bytes, writes as many for queries, twice for keys. Limit: latency.
    """
    head, t, lane = cuda.blockIdx.x, cuda.blockIdx.y, cuda.threadIdx.x
    H, n_kv, d = q.shape[1], k.shape[1], q.shape[2]
    start = head * d
    largest, largest_raw = i32(0), i32(0)
    if head < H + n_kv:
        out = q if head < H else k
        own = head if head < H else head - H
        for i in range(lane, d // 2, 32):
            a, b = x[t, start + 2 * i], x[t, start + 2 * i + 1]
            y, z = turned(a, b, table[t, i], table[t, d // 2 + i])
            out[t, own, 2 * i] = y
            out[t, own, 2 * i + 1] = z
            largest_raw = max(largest_raw, max(magnitude(a), magnitude(b)))
            largest = max(largest, max(magnitude(y), magnitude(z)))
        mark(largest_raw, flags, stage + (0 if head < H else 1))
        mark(largest, flags, stage + (3 if head < H else 4))
        largest = warp_max(largest)
        e = exponent(largest)
        if head < H:
            if lane == 0:
                q_exponent[t, head] = e
        else:
            inverse, limit = power(i32(bits) - e), power(i32(bits)) - 1.0
            for i in range(lane, d // 2, 32):  # this lane's own two numbers again
                keys[own, place[t], 2 * i] = f32(snapped(k[t, own, 2 * i], inverse, limit))
                keys[own, place[t], 2 * i + 1] = f32(snapped(k[t, own, 2 * i + 1], inverse, limit))
            if lane == 0:
                key_exponents[own, place[t]] = e
    else:
        own = head - H - n_kv
        for i in range(lane, d, 32):
            largest = max(largest, magnitude(x[t, start + i]))
        mark(largest, flags, stage + 2)
        e = exponent(warp_max(largest))
        inverse = power(i32(V_BITS) - e)
        for i in range(lane, d, 32):
            values[own, place[t], i] = f32(snapped(x[t, start + i], inverse, V_LIMIT))
        if lane == 0:
            value_exponents[own, place[t]] = e


def heads(x, table, q, k, q_exponent, place, keys, values, flags, stage: int, stream=0) -> None:
    """Queries, keys and values of T tokens from x; keys and values: pairs of integers and exponents to write into."""
    T, H, d = q.shape
    run = kernel(heads_kernel, 32)
    run[(H + 2 * k.shape[1], T), 32, stream](
        x, table, 23 if d <= 128 else 22, q, k, q_exponent, place, *keys, *values, flags, stage
    )
