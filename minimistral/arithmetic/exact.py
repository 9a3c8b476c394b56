"""The arithmetic with one result: every sum is a sum of integers, rounded once. docs/exact.md tells why."""

import numpy as np

from minimistral.arithmetic import functions
from minimistral.arithmetic.grid import grid, snap, top
from minimistral.arithmetic.widen import widen
from minimistral.errors import BadInput

if np.float32(2.0**-149) * np.float32(1) == 0:
    raise ImportError("subnormal numbers are flushed to zero in this process: a library loaded before has set that")

X_BITS, W_BITS = 31, 23  # left and right of a product, beside the sign
P_STEP = 2.0**-36  # on which attention's denominator is summed
TERMS = 32768  # of one sum: 2^15 terms of 2^15 x 2^23 make 2^53
TOO_MANY = f"exact arithmetic sums at most {TERMS} terms; try float32"
ROWS = 128  # of a matrix widened at a time (or more): both products are made while it is in the processor's cache
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The exact sum over k of x_k w_k, rounded once to float64: x (..., T, K), w (N, K) on its grid -> (..., T, N).

    x = high + low, 16 bits each; with 23 bits of w neither sum passes 2^53, so both are exact in any order.
    At most 32768 terms, or BadInput; one that is 0 (a key that is not seen has weight 0) does not count.
    """
    if x.shape[-1] > TERMS and np.count_nonzero(x, axis=-1).max() > TERMS:
        raise BadInput(TOO_MANY)
    x = grid(x, X_BITS)
    high = snap(x, top(x) * 2.0**-15)
    both = np.concatenate([high, x - high], axis=-2)  # (..., 2T, K)
    rows = max(ROWS, both.shape[-2])  # the more there is to do with them, the more are taken
    y = [both @ widen(w[n : n + rows], FLOAT64).T for n in range(0, len(w), rows)]
    high, low = np.split(np.concatenate(y, axis=-1), 2, axis=-2)
    return high + low


class Exact:
    """float32 between stages; inside a stage float64, on grids."""

    name = "exact"
    dtype = FLOAT32

    def weight(self, w: np.ndarray) -> np.ndarray:
        """A matrix (N, K) with each row on its grid, in the type it came in."""
        y = np.empty_like(w)
        for n in range(0, len(w), 1024):  # in float64 the whole matrix would be four times the file
            y[n : n + 1024] = grid(widen(w[n : n + 1024], FLOAT64), W_BITS).astype(w.dtype)
        return y

    def wide(self, x: np.ndarray) -> np.ndarray:
        """x in float64, in which a stage is computed."""
        return widen(x, FLOAT64)

    def store(self, x: np.ndarray) -> np.ndarray:
        """How a stage ends: to float32, once; a zero is +0."""
        with np.errstate(over="ignore"):  # an infinity is reported with the stage's name
            return widen(x, FLOAT32) + np.float32(0)

    def linear(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """x (T, K), w (N, K) on its grid -> (T, N)."""
        return self.store(product(x, w))

    def mean_square(self, x: np.ndarray) -> np.ndarray:
        """The mean of x^2 over the last axis: (T, n) float64 -> (T, 1); each square on a grid that n of them fit."""
        n = x.shape[-1]
        square = x * x
        step = top(square) * 2.0 ** -(52 - (n - 1).bit_length())
        return snap(square, step).sum(axis=-1, keepdims=True) / n

    exp = staticmethod(functions.exp)
    frequencies = staticmethod(functions.turns)
    cos_sin = staticmethod(functions.cos_sin)

    def scores(self, q: np.ndarray, k: np.ndarray) -> np.ndarray:
        """q (..., T, d) and k (S, d) -> q . k / sqrt(d), (..., T, S)."""
        d = q.shape[-1]
        bits = 23 if d <= 128 else 22  # 22 up to d = 512: d products of 2 x bits must stay below 2^53
        return self.store(grid(q, bits) @ grid(k, bits).T * (1.0 / np.sqrt(np.float64(d))))

    def weighted_mean(self, p: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The mean of v's rows (S, d) with weights p (..., T, S) -> (..., T, d).

        Each value row has a grid of its own; its power of two moves onto its weight, and a plain product is left.
        """
        t = top(v)  # (S, 1)
        total = snap(p, P_STEP).sum(axis=-1, keepdims=True)
        return self.store(product(p * t.T, (grid(v, W_BITS) / t).T) / total)
