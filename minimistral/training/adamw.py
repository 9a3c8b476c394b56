"""AdamW: each number has its own step size, and decay that the step size does not touch (arXiv 1711.05101)."""

import numpy as np


def adamw(
    parameter: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    step: int,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """One step, in place, of one tensor; mean and square (its shape) start at zero and belong to it. step: 1, 2, ...

    m = b1 m + (1 - b1) g          the gradient, averaged over about 1 / (1 - b1) steps
    v = b2 v + (1 - b2) g^2        its square, likewise
    w = w - rate decay w - rate m' / (sqrt(v') + eps),   m' = m / (1 - b1^step), v' = v / (1 - b2^step)

    m' and v' make up for the start at zero. The decay is decoupled: it is no part of the gradient, so it is not
    divided by sqrt(v'). The first step moves each number by the learning rate, whatever its gradient's size:

    >>> w, m, v = np.array([1.0, 1.0]), np.zeros(2), np.zeros(2)
    >>> adamw(w, np.array([3.0, -0.002]), m, v, 1, 0.1, (0.9, 0.95), 1e-8, 0.0)
    >>> w.round(4).tolist()
    [0.9, 1.1]
    """
    beta1, beta2 = betas
    mean *= beta1
    mean += (1 - beta1) * gradient
    square *= beta2
    square += (1 - beta2) * gradient * gradient
    size = np.sqrt(square) / (1 - beta2**step) ** 0.5 + eps
    parameter *= 1 - learning_rate * weight_decay
    parameter -= learning_rate / (1 - beta1**step) * mean / size


def decay_of(parameter: np.ndarray, weight_decay: float) -> float:
    """The decay of one tensor: matrices are pulled towards zero, norm weights (vectors) are not.

    >>> decay_of(np.ones((2, 3)), 0.1), decay_of(np.ones(3), 0.1)
    (0.1, 0.0)
    """
    return weight_decay if parameter.ndim == 2 else 0.0
