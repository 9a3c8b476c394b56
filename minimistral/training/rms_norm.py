"""RMSNorm, forward and backward: each token is divided by its own root mean square."""

import numpy as np


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """y = x / sqrt(mean(x^2) + eps) * weight: x (T, dim), weight (dim,) -> (T, dim).

    >>> rms_norm(np.array([[3.0, -4.0, 0.0, 12.0]]), np.array([1.0, 1.0, 0.5, 2.0]), 1e-5).round(4)
    array([[ 0.4615, -0.6154,  0.    ,  3.6923]])
    """
    return x / rms(x, eps) * weight


def rms_norm_backward(dy: np.ndarray, x: np.ndarray, weight: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """dx (T, dim) and dweight (dim,): dy and x (T, dim), weight (dim,).

    For each token y = n weight, with n = x / r and r = sqrt(mean(x^2) + eps).
    By y = n weight:    dweight_i = sum_t dy_i n_i    and    dn_i = dy_i weight_i.
    x_j acts on n_j with slope 1 / r, and through r on every n_i: the slope of r by x_j is x_j / (dim r) = n_j / dim,
    that of n_i by r is -x_i / r^2 = -n_i / r. Together, dx_j = (dn_j - n_j mean_i(dn_i n_i)) / r.
    What of dn lies along x is taken out: a longer x gives the same y (but for eps).

    >>> dx, dweight = rms_norm_backward(np.array([[3.0, 4.0]]), np.array([[3.0, 4.0]]), np.ones(2), 0.0)
    >>> dx.round(12) + 0, dweight.round(4)
    (array([[0., 0.]]), array([2.5456, 4.5255]))
    """
    r = rms(x, eps)  # (T, 1)
    n = x / r  # (T, dim)
    dn = dy * weight  # (T, dim)
    return (dn - n * mean(dn, n)) / r, np.einsum("ti,ti->i", dy, n)


def rms(x: np.ndarray, eps: float) -> np.ndarray:
    """sqrt(mean(x^2) + eps) of each token: (T, dim) -> (T, 1)."""
    return np.sqrt(mean(x, x) + eps)


def mean(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The mean of x y over the last axis, without an array of the products: (T, dim) -> (T, 1)."""
    return np.einsum("ti,ti->t", x, y)[:, None] / x.shape[-1]
