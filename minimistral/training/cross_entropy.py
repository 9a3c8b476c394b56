"""Cross-entropy, forward and backward: how surprised the model is by the token that came, in nats."""

import numpy as np


def cross_entropy(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The sum of weight * -log softmax(logits)[target], and log_sums, log sum exp of each row.

    logits (T, vocab_size), targets (T,), weights (T,) -> a float (summed in float64) and (T,).

    >>> loss, log_sums = cross_entropy(np.log([[1.0, 3.0], [1.0, 1.0]]), np.array([1, 0]), np.array([1.0, 0.0]))
    >>> round(loss, 4), log_sums.round(4)  # -log(3/4), and the second row does not count
    (0.2877, array([1.3863, 0.6931]))
    """
    largest = logits.max(axis=-1, keepdims=True)  # taken out, so that no e^x is too large
    p = logits - largest
    log_sums = np.log(np.exp(p, out=p).sum(axis=-1)) + largest[:, 0]  # (T,)
    nats = log_sums - logits[np.arange(len(targets)), targets]  # (T,)
    return float(np.dot(nats.astype(np.float64), weights.astype(np.float64))), log_sums


def cross_entropy_backward(
    logits: np.ndarray, log_sums: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """dlogits (T, vocab_size) of the sum that `cross_entropy` gives; log_sums (T,) as it gave them.

    L = sum_t weight_t (log sum_v exp(z_tv) - z_t,target). The logarithm's derivative by z_tv is
        exp(z_tv) / sum_u exp(z_tu) = p_tv, the softmax; the last term's is 1 at the target. So
        dz_tv = weight_t (p_tv - [v = target_t]).
    Each row sums to 0: probability is only moved.

    >>> logits, targets, weights = np.log([[1.0, 3.0], [1.0, 1.0]]), np.array([1, 0]), np.array([1.0, 0.0])
    >>> cross_entropy_backward(logits, np.log([4.0, 2.0]), targets, weights).round(4) + 0
    array([[ 0.25, -0.25],
           [ 0.  ,  0.  ]])
    """
    dlogits = logits - log_sums[:, None]
    np.exp(dlogits, out=dlogits)
    dlogits[np.arange(len(targets)), targets] -= 1
    dlogits *= weights[:, None].astype(logits.dtype)
    return dlogits
