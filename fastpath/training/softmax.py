"""What a softmax is made of: e^x and the largest of a row, without a branch, so that LLVM can use its vectors.

e^x is a few multiplications. The largest is found among integers: a float's bits have the order of the floats once
those of negative ones are turned around, and LLVM takes several of them at once, which it may not with floats (NaN).
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

from fastpath.cpu.bits import bits32, bits64, float32_of, float64_of
from fastpath.training.compiled import jit, summed

LOW, HIGH = np.float32(-87.33), np.float32(88.37)  # beyond these e^x is 0, or as good as infinite, in float32
LOG2E = np.float32(1.44269504)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)  # n LN2_HIGH is exact for |n| < 2^14
# p(r) with e^r = 1 + r + r^2 p(r) for |r| <= ln 2 / 2: minimistral's own fit, at Chebyshev's points; off by 1.4e-9
P0, P1, P2, P3, P4, P5 = (
    np.float32(c) for c in (1.9891279e-4, 1.393391e-3, 8.3333105e-3, 4.1666463e-2, 1.6666667e-1, 0.5)
)
ONE, ZERO = np.float32(1), np.float32(0)


@jit
def exp32(x):
    """e^x for float32, within 2 units of the last place; 0 below LOW; NaN for NaN.

    x = n ln 2 + r with a whole n: 2^n is made of its bits, e^r is a polynomial of degree 7.
    """
    y = max(x, LOW)
    y = min(y, HIGH)
    n = np.float32(np.rint(y * LOG2E))
    r = (y - n * LN2_HIGH) - n * LN2_LOW
    p = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
    p = (p * (r * r) + r) + ONE
    p = p * float32_of((np.int32(n) + np.int32(127)) << np.int32(23))
    return ZERO if x < LOW else p


def exp(x):
    """e^x in compiled code: exp32 for float32, the library's for float64."""
    return math.exp(x)


@overload(exp)
def _exp(x):
    if x == types.float32:
        return lambda x: exp32(x)
    return lambda x: math.exp(x)


@jit
def order32(bits):
    """A float32's bits as an int32 that grows with the float; applied twice, the bits again."""
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@jit
def order64(bits):
    """The same for float64."""
    return bits ^ ((bits >> 63) & np.int64(0x7FFFFFFFFFFFFFFF))


@jit
def largest32(row):
    best = order32(bits32(row[0]))
    for i in range(row.size):
        best = max(best, order32(bits32(row[i])))
    return float32_of(order32(best))


@jit
def largest64(row):
    best = order64(bits64(row[0]))
    for i in range(row.size):
        best = max(best, order64(bits64(row[i])))
    return float64_of(order64(best))


def largest(row):
    """The largest of a row in compiled code; a NaN counts as more than infinity."""
    return row.max()


@overload(largest)
def _largest(row):
    if row.dtype == types.float32:
        return lambda row: largest32(row)
    return lambda row: largest64(row)


@summed
def exp_sum(row, shift):
    """sum of e^(row - shift)."""
    total = shift - shift
    for i in range(row.size):
        total += exp(row[i] - shift)
    return total


@summed
def exponentials(row, shift):
    """row = e^(row - shift); the sum."""
    total = shift - shift
    for i in range(row.size):
        row[i] = exp(row[i] - shift)
        total += row[i]
    return total
