"""SwiGLU, forward and backward: one branch passes through SiLU and gates the other."""

import numpy as np


def swiglu(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """silu(gate) * up, silu(g) = g sigmoid(g): gate = w1 x and up = w3 x, each (T, hidden_dim) -> the same.

    >>> swiglu(np.array([[1.0, -1.0]]), np.array([[2.0, 2.0]])).round(4)
    array([[ 1.4621, -0.5379]])
    """
    y = sigmoid(gate)
    y *= gate
    y *= up
    return y


def swiglu_backward(dy: np.ndarray, gate: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dgate and dup of y = silu(gate) * up, all (T, hidden_dim).

    s = sigmoid(g) = 1 / (1 + e^-g) has the slope e^-g / (1 + e^-g)^2 = s (1 - s).
    So silu(g) = g s has the slope s + g s (1 - s) = s + silu(g) (1 - s), and
        dup = dy silu(g)
        dgate = dy up (s + silu(g) (1 - s))

    >>> dgate, dup = swiglu_backward(np.array([[1.0, 1.0]]), np.array([[0.0, 1.0]]), np.array([[2.0, 2.0]]))
    >>> dgate.round(4), dup.round(4)
    (array([[1.    , 1.8553]]), array([[0.    , 0.7311]]))
    """
    s = sigmoid(gate)
    silu = gate * s
    dgate = 1 - s
    dgate *= silu
    dgate += s  # the slope of silu
    dgate *= up
    dgate *= dy
    silu *= dy  # dup
    return dgate, silu


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), in one new array; an e^-x that is too large becomes infinity, and the sigmoid 0."""
    y = np.negative(x)
    with np.errstate(over="ignore"):
        np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)
