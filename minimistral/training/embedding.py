"""The embedding, forward and backward: rows are taken out, and gradients put back where they were taken."""

import numpy as np


def embedding(tokens: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Each token's row: tokens (T,), table (vocab_size, dim) -> (T, dim).

    >>> embedding(np.array([2, 0, 2]), np.array([[1.0], [2.0], [3.0]])).ravel()
    array([3., 1., 3.])
    """
    return table[tokens]


def embedding_backward(dh: np.ndarray, tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """dtable (vocab_size, dim) of h = table[tokens]: dh (T, dim), tokens (T,).

    h = S table, where row t of S (T, vocab_size) is 0 but for a 1 at tokens[t]. As in `linear`,
        dtable = S^T dh:  row v is the sum of dh_t over the positions t that hold token v.
    S is never made: positions are sorted by their token, and each run of one token is summed, in order of t.

    >>> embedding_backward(np.array([[1.0], [10.0], [100.0]]), np.array([2, 0, 2]), 4).ravel()
    array([ 10.,   0., 101.,   0.])
    """
    dtable = np.zeros((vocab_size, dh.shape[1]), dh.dtype)
    order = np.argsort(tokens, kind="stable")
    seen, first = np.unique(tokens[order], return_index=True)
    dtable[seen] = np.add.reduceat(dh[order], first, axis=0)
    return dtable
