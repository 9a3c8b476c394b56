"""Numbers on a grid: whole multiples of one power of two. Their sums are sums of integers, exact in any order.

A float64 holds every integer up to 2^53. Give each row of a matrix its own step, so that its values are integers of
24 or 32 bits, and no order, blocking or fused multiply-add can change the sum of their products.
"""

import numpy as np

from minimistral.errors import NotFinite

TINY = 2.0**-126  # the smallest normal float32; no grid is finer than its


def top(v: np.ndarray) -> np.ndarray:
    """The smallest power of two greater than max|v| (and at least 2^-125), a row at a time: (..., n) -> (..., 1).

    >>> top(np.array([[3.0, -4.0], [0.5, 0.1]])).tolist()
    [[8.0], [1.0]]
    """
    largest = np.max(np.abs(v), axis=-1, keepdims=True, initial=0).astype(np.float64)
    if not np.isfinite(largest).all():
        raise NotFinite("a value is NaN or infinite")
    return np.ldexp(1.0, np.frexp(np.maximum(largest, TINY))[1])


def snap(v: np.ndarray, step: np.ndarray | float) -> np.ndarray:
    """v to the nearest multiple of step, a power of two; ties to even.

    >>> snap(np.array([0.5, 1.5, 2.5, -0.5, 2.6]), 1.0).tolist()
    [0.0, 2.0, 2.0, -0.0, 3.0]
    """
    return np.rint(v / step) * step


def grid(v: np.ndarray, bits: int) -> np.ndarray:
    """v in float64, each row (last axis) on its own grid: n top / 2^bits with |n| < 2^bits.

    The largest n is 2^bits - 1, not 2^bits: so n fits its integer, the value fits v's type, the row's top stays
    where it was, and doing it twice changes nothing.

    >>> grid(np.array([0.9, 0.125, -0.9, 0.375, -0.7]), 2).tolist()
    [0.75, 0.0, -0.75, 0.5, -0.75]
    """
    step, largest = top(v) * 2.0**-bits, 2.0**bits - 1
    return np.clip(np.rint(v.astype(np.float64) / step), -largest, largest) * step
