"""bfloat16 or float16 as in GPU inference: stages and weights are rounded to 16 bits, sums are made in float32."""

import ml_dtypes
import numpy as np

from minimistral.arithmetic.floating import Floating
from minimistral.arithmetic.widen import FLOAT32, widen

ROWS = 512  # of a matrix widened at a time, so that the float32 copy stays in the processor's cache
_float32 = Floating("float32")


class Narrow:
    """Each stage is computed in float32 and rounded once, at its end."""

    def __init__(self, name: str):
        self.name = name
        self.dtype = np.dtype({"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}[name])

    def weight(self, w: np.ndarray) -> np.ndarray:
        """A matrix (N, K), rounded."""
        return self.store(w)

    def wide(self, x: np.ndarray) -> np.ndarray:
        """x in float32, in which a stage is computed."""
        return widen(x, FLOAT32)

    def store(self, x: np.ndarray) -> np.ndarray:
        """How a stage ends: rounded to nearest, ties to even. What is too large becomes infinity (and is reported)."""
        with np.errstate(over="ignore"):
            return widen(x, self.dtype)

    def linear(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """x (T, K), w (N, K) -> (T, N)."""
        x = self.wide(x)
        y = [self.store(x @ self.wide(w[n : n + ROWS]).T) for n in range(0, len(w), ROWS)]
        return np.concatenate(y, axis=1)

    mean_square = staticmethod(_float32.mean_square)
    exp = staticmethod(_float32.exp)
    frequencies = staticmethod(_float32.frequencies)
    cos_sin = staticmethod(_float32.cos_sin)

    def scores(self, q: np.ndarray, k: np.ndarray) -> np.ndarray:
        """q (..., T, d) and k (S, d) -> q . k / sqrt(d), (..., T, S)."""
        return self.store(_float32.scores(self.wide(q), self.wide(k)))

    def weighted_mean(self, p: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The mean of v's rows (S, d) with weights p (..., T, S) -> (..., T, d)."""
        return self.store(_float32.weighted_mean(p, self.wide(v)))
