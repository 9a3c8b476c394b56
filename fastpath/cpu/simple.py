"""The product with weights in plain loops: what linear.py computes, to be read first and to be tested against.

Any order of the sums is allowed, so this one is the order of the page. It is several times slower than memory.
"""

import numpy as np

from fastpath.cpu.bits import bits32, float32s, float64s, jit
from fastpath.cpu.linear import widen
from fastpath.cpu.numbers import LOWER, power, stored
from fastpath.cpu.simd import MOST


@jit
def linear(matrix, x, T, y, n0, n1, scratch):
    """Outputs n0 to n1 of every row: x the integers of (T, K), y float32 (T, N). Returns the largest bits stored."""
    K, worst = matrix.K, np.int32(0)
    scales, factors, w = float32s(matrix.scales, n1), float64s(matrix.factors, n1), scratch.weights
    for t in range(T):
        for n in range(n0, n1):
            high, low = np.int64(0), np.int64(0)
            for first in range(0, K, MOST):
                terms = min(MOST, K - first)
                widen(matrix, n * K + first, scales[n], terms, w)
                total = np.int64(0)  # of at most MOST products, so it cannot overflow
                for k in range(terms):
                    total += np.int64(w[k]) * np.int64(x.n[t * K + first + k])
                high += total >> 32
                low += total & LOWER
            s = np.float64(high) * 4294967296.0 + np.float64(low)  # the one rounding to float64
            y[t, n] = stored(s * factors[n] * power(x.exponent[t] - 31))
            worst = max(worst, bits32(y[t, n]) & np.int32(0x7FFFFFFF))
    return worst
