"""A matrix product, forward and backward: two more products."""

import numpy as np


def linear(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """y = x w^T: x (T, in), w (out, in) -> (T, out).

    >>> linear(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [0.0, 1.0], [5.0, 0.0]]))
    array([[11.,  2.,  5.]])
    """
    return x @ w.T


def linear_backward(dy: np.ndarray, x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dx (T, in) and dw (out, in) of y = x w^T: dy (T, out), x (T, in), w (out, in).

    y_to = sum_i x_ti w_oi, and the loss depends on x and w through y alone. (dy is the gradient of the loss by y.)
    x_ti acts on y_to for every o, with slope w_oi:    dx_ti = sum_o dy_to w_oi,    so dx = dy w
    w_oi acts on y_to for every t, with slope x_ti:    dw_oi = sum_t dy_to x_ti,    so dw = dy^T x

    >>> x, w = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [0.0, 1.0], [5.0, 0.0]])
    >>> dx, dw = linear_backward(np.array([[1.0, 10.0, 0.0]]), x, w)
    >>> dx
    array([[ 3., 14.]])
    >>> dw
    array([[ 1.,  2.],
           [10., 20.],
           [ 0.,  0.]])
    """
    return dy @ w, dy.T @ x
