"""SwiGLU: one branch passes through SiLU and gates the other (Shazeer 2020; the paper's feed-forward)."""

import numpy as np

from minimistral.arithmetic import Arithmetic


def swiglu(gate: np.ndarray, up: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """silu(gate) * up, silu(g) = g / (1 + e^-g): gate = w1 x and up = w3 x, each (T, hidden_dim) -> the same.

    >>> from minimistral.arithmetic import by_name
    >>> swiglu(np.array([[1.0, -1.0]]), np.array([[2.0, 2.0]]), by_name("float64")).round(4)
    array([[ 1.4621, -0.5379]])
    """
    g = arithmetic.wide(gate)
    return arithmetic.store(g / (1 + arithmetic.exp(-g)) * arithmetic.wide(up))
