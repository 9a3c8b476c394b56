"""Plain NumPy in float32 or float64: each primitive is what a textbook would write."""

import numpy as np

from minimistral.arithmetic.widen import widen


class Floating:
    """float32 or float64 throughout; sums in the order that NumPy and its BLAS choose."""

    def __init__(self, name: str):
        self.name = name
        self.dtype = np.dtype(name)

    def weight(self, w: np.ndarray) -> np.ndarray:
        """A matrix (N, K) as `linear` wants it."""
        return widen(w, self.dtype)

    def wide(self, x: np.ndarray) -> np.ndarray:
        """x in the type that one stage computes in."""
        return widen(x, self.dtype)

    def store(self, x: np.ndarray) -> np.ndarray:
        """How a stage ends: x in the type that stages are kept in."""
        return widen(x, self.dtype)

    def linear(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """x (T, K), w (N, K) -> (T, N)."""
        return x @ w.T

    def mean_square(self, x: np.ndarray) -> np.ndarray:
        """The mean of x^2 over the last axis: (T, n) -> (T, 1)."""
        return np.mean(x * x, axis=-1, keepdims=True)

    def exp(self, x: np.ndarray) -> np.ndarray:
        """e^x; what is too large becomes infinity, silently: 1 / (1 + e^-g) is then 0."""
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(x)

    def scores(self, q: np.ndarray, k: np.ndarray) -> np.ndarray:
        """q (..., T, d) and k (S, d) -> q . k / sqrt(d), (..., T, S)."""
        return q @ k.T * self.dtype.type(1.0 / np.sqrt(q.shape[-1]))

    def weighted_mean(self, p: np.ndarray, v: np.ndarray) -> np.ndarray:
        """The mean of v's rows (S, d) with weights p (..., T, S) -> (..., T, d)."""
        return p @ v / p.sum(axis=-1, keepdims=True)

    def frequencies(self, head_dim: int, theta: float) -> np.ndarray:
        """theta^(-2i / head_dim) for pair i, in radians a position: (head_dim / 2,)."""
        return theta ** (-np.arange(0, head_dim, 2) / head_dim)

    def cos_sin(self, positions: np.ndarray, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """cos and sin of position x frequency, each (T, head_dim / 2); the angle is formed in float64."""
        angles = positions[:, None] * frequencies
        return np.cos(angles).astype(self.dtype), np.sin(angles).astype(self.dtype)
