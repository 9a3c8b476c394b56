"""exp and SwiGLU as the contract defines them (rule 5): a polynomial in 32-bit fixed point, no float64 polynomial."""

import numpy as np

from fastpath.cuda.intrinsics import device, f64_of_bits, low_word, multiply_high, rint
from minimistral.arithmetic.functions import EXP2, LOG2E

i32, i64, f32, f64 = np.int32, np.int64, np.float32, np.float64
C0, C1, C2, C3, C4, C5, C6, C7 = EXP2


@device
def exp(x):
    """e^x = 2^k 2^f: y = x log2(e) in units of 2^-32, f its low 32 bits as a signed number, k the rest.

    Seven 32-bit high multiplications and one exact float64 product, whose factor 2^(k - 31) is made from its bits.
    """
    y = i64(rint(min(max(x, -600.0), 600.0) * LOG2E))
    f = low_word(y)
    k = (y - i64(f)) >> i64(32)
    p = multiply_high(i32(C0), f) + i32(C1)
    p = multiply_high(p, f) + i32(C2)
    p = multiply_high(p, f) + i32(C3)
    p = multiply_high(p, f) + i32(C4)
    p = multiply_high(p, f) + i32(C5)
    p = multiply_high(p, f) + i32(C6)
    whole = i64(multiply_high(p, f)) + i64(C7)  # may pass 2^31
    return f64(whole) * f64_of_bits((k + i64(1023 - 31)) << i64(52))


@device
def swiglu(gate, up):
    """store(gate / (1 + e^-gate) * up), float32 -> float32."""
    g = f64(gate)
    return f32(g / (1.0 + exp(-g)) * f64(up)) + f32(0)
