"""Gradient clipping: one unusual batch is not to move the model far."""

import math

import numpy as np


def clip_by_global_norm(gradients: dict[str, np.ndarray], limit: float) -> float:
    """Scale all gradients together, in place, so that their norm is at most `limit`; the norm before is returned.

    norm = sqrt(sum of all g^2), over every number of every tensor; g = g limit / norm if norm > limit. The direction
    stays. A norm that is not finite is returned as it is, and nothing is scaled.

    >>> g = {"a": np.array([3.0]), "b": np.array([[4.0]])}
    >>> clip_by_global_norm(g, 2.5), g["a"].tolist(), g["b"].tolist()
    (5.0, [1.5], [[2.0]])
    """
    norm = math.sqrt(sum(square_sum(g) for g in gradients.values()))
    if limit < norm < math.inf:
        for g in gradients.values():
            g *= limit / norm
    return norm


def square_sum(x: np.ndarray) -> float:
    """The sum of x^2 in float64. Not a BLAS product: the same bits for any number of threads."""
    return float(np.sum(np.square(x, dtype=np.float64)))
