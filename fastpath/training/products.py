"""Matrix products by NumPy's BLAS, one thread a product, several products at once.

BLAS can use threads itself, and does if nothing says otherwise. It then cuts a product into as many equal pieces as
there are threads and waits for the slowest, in every product; and where it cuts may change the last bits. With
OPENBLAS_NUM_THREADS=1 (or OMP_, MKL_; set before NumPy is loaded) the products are shared here as everything else is:
an eighth of the positions of y and dx, and ROWS rows of dw, each a product of its own. (Smaller ones are slower: BLAS
copies its operands in an order of its own before it multiplies.)
"""

import os

import numpy as np

from fastpath.training.threads import run_parts
from minimistral.training import pieces

EIGHTH, ROWS = 8, 256
FEWEST = 128  # positions of a part
BLAS_ALONE = "1" == next(filter(None, (os.environ.get(f"{n}_NUM_THREADS") for n in ("OPENBLAS", "MKL", "OMP"))), None)


def linear(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y = x w^T: x (T, in), w (out, in) -> (T, out)."""
    if not BLAS_ALONE:
        return pieces.linear(x, w)
    y = np.empty((len(x), len(w)), np.result_type(x, w))
    run_parts(by_rows(x, w.T, y, positions(x)))
    return y


def linear_backward(dy: np.ndarray, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dx (T, in) = dy w and dw (out, in) = dy^T x: dy (T, out), x (T, in), w (out, in)."""
    if not BLAS_ALONE:
        return pieces.linear_backward(dy, x, w)
    dx, dw = np.empty((len(dy), w.shape[1]), np.result_type(dy, w)), np.empty(w.shape, np.result_type(dy, x))
    run_parts(by_rows(dy.T, x, dw, ROWS) + by_rows(dy, w, dx, positions(dy)))
    return dx, dw


def by_rows(a: np.ndarray, b: np.ndarray, out: np.ndarray, rows: int) -> list:
    """out = a b as one call for each `rows` rows of a."""

    def part(n: int):
        return lambda: np.matmul(a[n : n + rows], b, out=out[n : n + rows])

    return [part(n) for n in range(0, len(a), rows)]


def positions(x: np.ndarray) -> int:
    """Of a part: depends on x alone, not on who works."""
    return max(FEWEST, -(-len(x) // EIGHTH))
