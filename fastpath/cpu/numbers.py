"""The contract's arithmetic for one number or one row: powers of two, grids, exp. docs/exact.md has the why."""

import numpy as np

from fastpath.cpu.bits import bits32, bits64, float64_of, inline, jit
from minimistral.arithmetic.functions import EXP2, LOG2E

INFINITY = np.int32(0x7F800000)  # and NaN: these bits or more, without the sign
LOWER = np.int64(0xFFFFFFFF)
C0, C1, C2, C3, C4, C5, C6, C7 = (np.int64(c) for c in EXP2)


@inline
def power(e):
    """2^e as float64."""
    return float64_of((np.int64(e) + 1023) << 52)


@jit
def largest_bits(x):
    """Of a float32 row, the bits of the largest magnitude; INFINITY or more if a value is not finite."""
    worst = np.int32(0)
    for k in range(x.size):
        worst = max(worst, bits32(x[k]) & np.int32(0x7FFFFFFF))
    return worst


@inline
def top_exponent(worst):
    """e of top = 2^e, the power of two above a float32 row's largest magnitude, at least 2^-125; from its bits."""
    return max(worst >> 23, np.int32(1)) - np.int32(126)


@inline
def top_exponent64(worst):
    """The same for a float64 row (positive numbers) from the largest bits."""
    return max((worst >> 52) - 1022, -125)


@inline
def to_grid(x, e, bits):
    """The integer nearest to x 2^bits / 2^e, kept below 2^bits: float64 -> int32."""
    most = np.float64((1 << bits) - 1)
    return np.int32(min(max(np.rint(x * power(bits - e)), -most), most))


@jit
def exp(x):
    """e^x, float64: minimistral/arithmetic/functions.py, number by number."""
    y = np.int64(np.rint(min(max(x, -600.0), 600.0) * LOG2E))
    f = np.int64(np.int32(y))  # the lower 32 bits with their sign: the fraction
    k = (y - f) >> 32
    p = (C0 * f >> 32) + C1
    p = (p * f >> 32) + C2
    p = (p * f >> 32) + C3
    p = (p * f >> 32) + C4
    p = (p * f >> 32) + C5
    p = (p * f >> 32) + C6
    p = (p * f >> 32) + C7
    return np.float64(p) * float64_of((k + (1023 - 31)) << 52)


@inline
def stored(x):
    """float64 -> float32, a zero as +0."""
    return np.float32(x) + np.float32(0)


@inline
def silu(g):
    return g / (1.0 + exp(-g))


@jit
def rms_norm(x, weight, eps, y):
    """y = x / sqrt(mean(x^2) + eps) * weight for one row: float32 (n,), float64 (n,) -> float32 (n,); worst bits."""
    n = x.size
    largest = np.int64(0)
    for k in range(n):
        largest = max(largest, bits64(np.float64(x[k]) * np.float64(x[k])))
    c = 0
    while (1 << c) < n:  # (n - 1).bit_length()
        c += 1
    e = top_exponent64(largest)
    finer, total = power(52 - c - e), np.int64(0)
    for k in range(n):
        total += np.int64(np.rint(np.float64(x[k]) * np.float64(x[k]) * finer))
    r = np.sqrt(np.float64(total) * power(e - 52 + c) / n + eps)
    worst = np.int32(0)
    for k in range(n):
        y[k] = stored(np.float64(x[k]) / r * weight[k])
        worst = max(worst, bits32(y[k]) & np.int32(0x7FFFFFFF))
    return worst
