"""Tops and grids (rule 2) from the bits of numbers: a row's maximum is the maximum of integers, exact in any order.

The bits of |x|, read as an integer, are in the order of |x|; infinity and NaN lie above every finite number. So one
integer maximum a row gives its top and says whether all of it is finite.
"""

import numpy as np

from fastpath.cuda.intrinsics import bits_of_f32, device, f64_of_bits, rint

i32, i64, f32, f64 = np.int32, np.int64, np.float32, np.float64
MAGNITUDE, INFINITY = 0x7FFFFFFF, 0x7F800000


@device
def magnitude(x):
    """The bits of |x|, float32 -> int32."""
    return bits_of_f32(x) & i32(MAGNITUDE)


@device
def power(e):
    """2^e in float64, e an int of -1022 to 1023."""
    return f64_of_bits(i64(e + 1023) << i64(52))


@device
def exponent(largest):
    """e with 2^e = top of a float32 row whose largest magnitude has these bits; at least -125."""
    return max(largest >> i32(23), i32(1)) - i32(126)


@device
def exponent64(largest):
    """The same for a row of float64 numbers, not negative: bits (int64) -> e (int32)."""
    return i32(max((largest >> i64(52)) - i64(1022), i64(-125)))


@device
def snapped(x, inverse, limit):
    """The integer n of grid(x): rint(x inverse), inverse = 2^bits / top; |n| <= limit = 2^bits - 1. In float64."""
    return min(max(rint(f64(x) * inverse), -limit), limit)


@device
def ordered(bits):
    """float32 bits as an int32 in the order of the floats; its own inverse."""
    return bits ^ ((bits >> i32(31)) & i32(MAGNITUDE))
