"""What an implementation in some number format may make of a value: roundings to draw, so that a budget can be computed.

Everything is held in float64, and rounded where an implementation would round. Where implementations differ (what is
kept wide inside a stage, in which order a sum is made, whether angles are formed in float32), each way is one `Number`.
"""

from dataclasses import dataclass

import ml_dtypes
import numpy as np

UNIT = {"float64": 2.0**-53, "float32": 2.0**-24, "bfloat16": 2.0**-8, "float16": 2.0**-11}  # of a rounding, relative
TYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}


@dataclass(frozen=True)
class Number:
    """One way to compute in a format. `Number("float64")` with nothing else is the reference: no rounding of ours.

    dtype         the format in which stages are kept
    every_step    inside a stage too, each step is rounded to `dtype` (else to float32, as fused kernels keep it)
    in_a_row      sums are made one term after the other in float32 (float64 in float64): the worst common order
    wide_inputs   a stage's inputs were wider than the trace kept them: rounded by up to half a unit
    angles        the format in which the angles of the rotation are formed
    seed          of the roundings that are drawn
    """

    dtype: str
    every_step: bool = False
    in_a_row: bool = False
    wide_inputs: bool = False
    angles: str = "float64"
    seed: int = 0

    def store(self, x: np.ndarray) -> np.ndarray:
        """How a stage ends."""
        return rounded(x, self.dtype)

    def step(self, x: np.ndarray) -> np.ndarray:
        """A step inside a stage."""
        return rounded(x, self.dtype if self.every_step or self.dtype == "float64" else "float32")

    def linear(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        """x (..., T, K), w (..., N, K) -> (..., T, N), with the error of a sum in a row."""
        y = product(x, w)
        if self.in_a_row:  # the k-th partial sum is rounded: K of them, each about as large as sqrt(sum of squares)
            unit = UNIT["float64" if self.dtype == "float64" else "float32"]
            size = np.sqrt(product(x * x, w * w))
            y = y + self.noise(y) * unit * np.sqrt(x.shape[-1] / 2) * size
        return y

    def given(self, x: np.ndarray) -> np.ndarray:
        """An input of a stage as the implementation may have had it."""
        return x + self.noise(x) * x * UNIT[self.dtype] / np.sqrt(3) if self.wide_inputs else x

    def mean_square(self, x: np.ndarray) -> np.ndarray:
        """Of each row, with the error of a sum in a row: (..., n) -> (..., 1)."""
        mean = np.mean(x * x, axis=-1, keepdims=True)
        if self.in_a_row:  # partial sums of squares grow evenly
            unit = UNIT["float64" if self.dtype == "float64" else "float32"]
            mean = mean * (1 + self.noise(mean) * unit * np.sqrt(x.shape[-1] / 3))
        return mean

    def noise(self, x: np.ndarray) -> np.ndarray:
        return np.random.default_rng(self.seed).standard_normal(x.shape)


BLOCK = 2**18  # products that a BLAS makes without starting threads: thousands of small ones wait for each other else


def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x w^T: (..., T, K), (..., N, K) -> (..., T, N); small ones a few rows at a time."""
    T, rows, w = x.shape[-2], BLOCK // (w.shape[-1] * w.shape[-2]), w.swapaxes(-1, -2)
    if rows < 4 or rows >= T:
        return x @ w
    return np.concatenate([x[..., t : t + rows, :] @ w for t in range(0, T, rows)], axis=-2)


REFERENCE = Number("float64")


def draws(dtype: str) -> list[Number]:
    """Ways to compute that are all right in a format; a budget covers every one of them."""
    if dtype == "float64":
        return [Number(dtype, in_a_row=True, seed=1), Number(dtype, in_a_row=True, wide_inputs=True, seed=2)]
    if dtype == "float32":
        in_a_row = [Number(dtype, in_a_row=True, seed=seed) for seed in range(1, 5)]
        return [Number(dtype), *in_a_row, Number(dtype, in_a_row=True, angles="float32", wide_inputs=True, seed=5)]
    return [
        Number(dtype),
        Number(dtype, every_step=True, in_a_row=True, seed=1),
        Number(dtype, every_step=True, angles="float32", seed=2),
        *(Number(dtype, wide_inputs=True, angles="float32", seed=seed) for seed in (3, 4, 5)),
    ]


def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    """x to the nearest number of a format, still held in float64.

    >>> rounded(np.array([1.001]), "bfloat16")
    array([1.])
    """
    if dtype == "float64":
        return x
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(np.float32).astype(TYPES[dtype]).astype(np.float64)
