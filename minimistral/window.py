"""Sliding-window attention: who sees whom, and how far layers carry it (paper, section 2 and figure 1)."""

import numpy as np


def window_mask(query_positions: np.ndarray, key_positions: np.ndarray, window: int | None) -> np.ndarray:
    """seen[t, s]: query t sees key s if it is not in the future and fewer than `window` positions back: (T, S) bool.

    A question about positions, never about the order of arrays: keys may lie in any order, as in a ring.
    A key at position -1 is an empty slot. W keys are seen, i-W+1 .. i: what the released code's cache of W slots
    holds. (The paper's text says i-W .. i, which is W+1.)

    >>> window_mask(np.array([3, 4]), np.array([4, 1, 2, 3, -1]), window=3).astype(int)
    array([[0, 1, 1, 1, 0],
           [1, 0, 1, 1, 0]])
    """
    back = query_positions[:, None] - key_positions[None, :]  # (T, S)
    seen = (back >= 0) & (key_positions >= 0)
    return seen if window is None else seen & (back < window)


def reach(n_layers: int, window: int) -> int:
    """How many tokens, itself included, can influence a position after n_layers: k (W - 1) + 1.

    Each layer looks W - 1 further back. (With the paper's W + 1 keys: k W back. Either way about k x W.)

    >>> reach(1, 5), reach(2, 5), reach(32, 4096)
    (5, 9, 131041)
    """
    return n_layers * (window - 1) + 1
