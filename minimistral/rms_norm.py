"""RMSNorm: each token divided by its own root mean square (paper, section 2; Zhang and Sennrich 2019)."""

import numpy as np

from minimistral.arithmetic import Arithmetic


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float, arithmetic: Arithmetic) -> np.ndarray:
    """y = x / sqrt(mean(x^2) + eps) * weight: x (T, dim), weight (dim,) -> (T, dim). No mean is removed.

    >>> from minimistral.arithmetic import by_name
    >>> rms_norm(np.array([[3.0, -4.0, 0.0, 12.0]]), np.array([1.0, 1.0, 0.5, 2.0]), 1e-5, by_name("float64")).round(4)
    array([[ 0.4615, -0.6154,  0.    ,  3.6923]])
    """
    x = arithmetic.wide(x)
    rms = np.sqrt(arithmetic.mean_square(x) + eps)  # (T, 1)
    return arithmetic.store(x / rms * arithmetic.wide(weight))
