"""Rotary positions: a query and a key are turned by their positions, so a score knows only their distance."""

import numpy as np

from minimistral.arithmetic import Arithmetic


def rope_table(
    positions: np.ndarray, head_dim: int, theta: float, arithmetic: Arithmetic
) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of position x theta^(-2i / head_dim) for each pair i: two arrays (T, head_dim / 2).

    Pair 0 turns by one radian a position, the last pair almost not at all. Positions start at 0.

    >>> from minimistral.arithmetic import by_name
    >>> cos, sin = rope_table(np.array([0, 1]), 4, 100.0, by_name("float64"))
    >>> sin.round(4)  # sin(0), sin(0); sin(1), sin(0.1)
    array([[0.    , 0.    ],
           [0.8415, 0.0998]])
    """
    return arithmetic.cos_sin(positions, arithmetic.frequencies(head_dim, theta))


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """(a, b) -> (a cos - b sin, a sin + b cos) for each pair (a, b) of a head: x (T, heads, head_dim) -> the same.

    Mistral's pairs are neighbours, (2i, 2i + 1). Hugging Face's are (i, i + head_dim / 2), on rows permuted to match.

    >>> from minimistral.arithmetic import by_name
    >>> quarter = np.array([[0.0]]), np.array([[1.0]])  # cos, sin of 90 degrees
    >>> rotate(np.array([[[3.0, 4.0]]]), *quarter, by_name("float64"))
    array([[[-4.,  3.]]])
    """
    a, b = arithmetic.wide(x[..., 0::2]), arithmetic.wide(x[..., 1::2])  # (T, heads, head_dim / 2)
    cos, sin = arithmetic.wide(cos)[:, None], arithmetic.wide(sin)[:, None]  # (T, 1, head_dim / 2), for every head
    return arithmetic.store(np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape))
