"""Rows on which arithmetic that is almost right goes wrong."""

import numpy as np

LARGEST = np.finfo(np.float32).max
KINDS = ("normal", "zeros", "subnormal", "mixed", "outlier", "equal", "powers", "neighbours", "huge", "one")


def row(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) float32 of one kind; none is infinite, and no sum of squares or products of `huge` is taken as finite."""
    x = rng.standard_normal(n)
    if kind == "zeros":
        x = 0 * x
    elif kind == "subnormal":
        x = x * 1e-41
    elif kind == "mixed":
        x = x * 10.0 ** rng.integers(-30, 3, n)
    elif kind == "outlier":
        x[rng.integers(n)] = 3e4
    elif kind == "equal":
        x = np.full(n, x[0])
    elif kind in ("powers", "neighbours"):
        x = np.sign(x) * 2.0 ** rng.integers(-20, 4, n)
    elif kind == "huge":
        x = x / np.abs(x).max() * 1e30
    elif kind == "one":
        x = np.where(np.arange(n) == rng.integers(n), x, 0)
    x = x.astype(np.float32)
    if kind == "neighbours":
        x = np.nextafter(x, np.float32(0))
    return x


def rows(n: int, seed: int, kinds=KINDS) -> np.ndarray:
    """One row of each kind: (len(kinds), n) float32."""
    rng = np.random.default_rng(seed)
    return np.stack([row(kind, n, rng) for kind in kinds])


def differing(a: np.ndarray, b: np.ndarray) -> int:
    """How many numbers of two arrays of one shape and type differ in a bit."""
    assert (a.shape, a.dtype) == (b.shape, b.dtype)
    integers = f"u{a.dtype.itemsize}"
    return int((np.ascontiguousarray(a).view(integers) != np.ascontiguousarray(b).view(integers)).sum())
