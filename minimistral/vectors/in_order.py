"""float64 with the same bits on every machine: what the suite's traces are computed in.

A BLAS sums in an order of its own, and libraries differ in the last bit of exp, sin and cos. IEEE 754 defines +, -, x,
/ and the square root to the bit; so here every sum goes from left to right, one NumPy operation a step, and exp, sin
and cos are polynomials. The result is as good as any other float64; `exact` is what a faster machine should match.
"""

import math

import numpy as np

from minimistral.arithmetic import functions
from minimistral.arithmetic.floating import Floating

LOG2E = float.fromhex("0x1.71547652b82fep+0")
LN2 = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")  # the first 32 bits, and the next 53
TAYLOR = [1 / math.factorial(n) for n in range(13, -1, -1)]  # of e^r, highest power first
LARGEST = 700.0  # e^700 is still a number


class InOrder(Floating):
    """float64, as `Floating`, but every operation and its place in the order is said."""

    def __init__(self):
        super().__init__("float64")

    def linear(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """x (..., T, K), w (N, K) -> (..., T, N): term after term."""
        y = np.zeros((*x.shape[:-1], len(w)))
        for k in range(x.shape[-1]):
            y = y + x[..., k, None] * w[:, k]
        return y

    def mean_square(self, x: np.ndarray) -> np.ndarray:
        """(T, n) -> (T, 1)."""
        return total(x * x) / x.shape[-1]

    def exp(self, x: np.ndarray) -> np.ndarray:
        """e^x = 2^k e^r, |r| <= ln(2) / 2, within two units in the last place."""
        x = np.clip(x, -LARGEST, LARGEST)
        k = np.rint(x * LOG2E)
        r = (x - k * LN2[0]) - k * LN2[1]
        return np.ldexp(np.polyval(TAYLOR, r), k.astype(int))

    def scores(self, q: np.ndarray, k: np.ndarray) -> np.ndarray:
        """q (..., T, d) and k (S, d) -> q . k / sqrt(d), (..., T, S)."""
        return self.linear(q, k) * (1.0 / np.sqrt(np.float64(q.shape[-1])))

    def weighted_mean(self, p: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The mean of v's rows (S, d) with weights p (..., T, S) -> (..., T, d)."""
        return self.linear(p, v.T) / total(p)

    frequencies = staticmethod(functions.turns)  # as in `exact`: turns a position, fractions of 2^64

    def cos_sin(self, positions: np.ndarray, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """cos and sin of position x frequency, each (T, head_dim / 2); off by position / 2^65 of a turn at most."""
        u = positions.astype(np.uint64)[:, None] * frequencies  # the product wraps: whole turns fall away
        quarter = (u + np.uint64(1 << 61)) >> np.uint64(62)
        x = (u - (quarter << np.uint64(62))).astype(np.int64) * 2.0**-64 * functions.TURN
        s, c = np.polyval(functions.SIN, x * x) * x, np.polyval(functions.COS, x * x)
        q = (quarter & np.uint64(3)).astype(int)
        return np.choose(q, (c, -s, -c, s)), np.choose(q, (s, c, -s, -c))


def total(x: np.ndarray) -> np.ndarray:
    """The sum over the last axis, from left to right: (..., n) -> (..., 1)."""
    y = np.zeros((*x.shape[:-1], 1))
    for k in range(x.shape[-1]):
        y = y + x[..., k, None]
    return y
