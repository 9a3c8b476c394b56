"""How far information travels through layers of windows: computed exactly, and measured on a model."""

import numpy as np

from minimistral.mistral import Mistral
from minimistral.window import window_mask


def reachable(n_layers: int, window: int | None, T: int) -> np.ndarray:
    """reachable[t, s]: can token s influence position t after n_layers? The mask's boolean matrix power: (T, T) bool.

    >>> reachable(2, 3, 7)[6].astype(int)  # 2 (3 - 1) + 1 = 5 tokens
    array([0, 0, 1, 1, 1, 1, 1])
    """
    mask = window_mask(np.arange(T), np.arange(T), window)
    power = np.eye(T, dtype=bool)
    for _ in range(n_layers):
        power = power.astype(int) @ mask > 0
    return power


def measured_influence(model: Mistral, tokens: np.ndarray, position: int, other: int) -> np.ndarray:
    """Put token `other` at `position` and see which outputs change a bit, layer by layer: (n_layers, T) bool.

    What changes is within reach. What does not change may still be: a small influence can round away.
    """
    changed = np.array(tokens).copy()
    changed[position] = other
    before = model.trace(tokens, only="layers.*.output")
    after = model.trace(changed, only="layers.*.output")
    return np.stack([(before[name] != after[name]).any(axis=-1) for name in before])
