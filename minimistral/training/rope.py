"""Rotary positions, forward and backward: a turn, and the same turn back."""

import numpy as np


def rope_table(
    positions: np.ndarray, head_dim: int, theta: float, dtype: np.dtype | str
) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of position x theta^(-2i / head_dim): positions (T,) -> two arrays (T, head_dim / 2) of `dtype`.

    The angle is formed in float64: at position 4000 an angle in float32 is good to three decimals only.

    >>> cos, sin = rope_table(np.array([0, 1]), 4, 100.0, "float64")
    >>> sin.round(4)
    array([[0.    , 0.    ],
           [0.8415, 0.0998]])
    """
    angles = positions[:, None] * theta ** (-np.arange(0, head_dim, 2) / head_dim)  # (T, head_dim / 2)
    return np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)


def rope(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """(a, b) -> (a cos - b sin, a sin + b cos) for each pair (2i, 2i + 1): x (T, heads, head_dim) -> the same.

    Neighbours in memory are a complex number a + ib, and the turn is a product with cos + i sin.

    >>> quarter = np.array([[0.0]]), np.array([[1.0]])  # cos, sin of 90 degrees
    >>> rope(np.array([[[3.0, 4.0]]]), *quarter)
    array([[[-4.,  3.]]])
    """
    pairs = np.ascontiguousarray(x).view(np.result_type(x, np.complex64))  # (T, heads, head_dim / 2)
    turn = (cos + 1j * sin)[:, None]  # (T, 1, head_dim / 2), for every head
    return (pairs * turn).view(x.dtype)


def rope_backward(dy: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """dx of y = rope(x): dy (T, heads, head_dim) -> the same.

    a acts on y_a with slope cos and on y_b with slope sin; b with slopes -sin and cos. So
        da =  dy_a cos + dy_b sin
        db = -dy_a sin + dy_b cos
    which is the turn by minus the angle: the same cos, the opposite sin. (A rotation's transpose is its inverse.)

    >>> rope_backward(np.array([[[-4.0, 3.0]]]), np.array([[0.0]]), np.array([[1.0]]))
    array([[[3., 4.]]])
    """
    return rope(dy, cos, -sin)
