"""From stored bits to float64 by integer operations: exact for every finite value, with no special cases.

A float64 has 11 bits of exponent, a bfloat16 or float32 8, a float16 5. Move the sign to the top, the rest so that
both exponents start at the same bit, and the value is the stored one times a fixed power of two; the subnormal ones
become subnormal float64. What is computed with them is scaled back at its end.
"""

import numpy as np

from fastpath.cuda.intrinsics import device, double

i32, u32 = np.int32, np.uint32


@device
def bfloat16_pair(word):
    """Two bfloat16, low half first, as float64 times 2^-896."""
    low = (i32(word << u32(16)) >> i32(3)) & i32(-0x70000001)
    high = (i32(word) >> i32(3)) & i32(-0x70002000)  # this mask also clears what the low half left
    return double(low, u32(0)), double(high, u32(0))


@device
def float16_pair(word):
    """Two float16, low half first, as float64 times 2^-1008."""
    low = (i32(word << u32(16)) >> i32(6)) & i32(-0x7E000001)
    high = (i32(word) >> i32(6)) & i32(-0x7E000400)
    return double(low, u32(0)), double(high, u32(0))


@device
def float32_one(word):
    """One float32 as float64 times 2^-896; the second number means nothing."""
    return double((i32(word) >> i32(3)) & i32(-0x70000001), word << u32(29)), 0.0


PAIRS = {"bfloat16": (bfloat16_pair, 896), "float16": (float16_pair, 1008), "float32": (float32_one, 896)}
