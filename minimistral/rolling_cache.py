"""The rolling buffer: position i lies in slot i mod W, so W slots are enough for ever (paper, section 2, figure 2)."""

import numpy as np

from minimistral.config import Config


def slot_of(positions: np.ndarray, window: int | None) -> np.ndarray:
    """Where a position is kept: i mod W; without a window, i itself.

    >>> slot_of(np.array([3, 4, 5, 6]), window=5)
    array([3, 4, 0, 1])
    """
    return positions if window is None else positions % window


def slot_positions(length: int, slots: int) -> np.ndarray:
    """Which position each slot holds after `length` tokens: (slots,); -1 where it is still empty.

    >>> slot_positions(13, 5)
    array([10, 11, 12,  8,  9])
    >>> slot_positions(3, 5)
    array([ 0,  1,  2, -1, -1])
    """
    slot = np.arange(slots)
    return np.where(slot < length, slot + (length - 1 - slot) // max(slots, 1) * slots, -1)


class RollingCache:
    """One sequence's keys (rotated) and values, layer by layer, and how many tokens it has seen.

    Memory is taken as it is needed, up to W slots a layer; without a window it grows with the sequence.
    """

    def __init__(self, config: Config, dtype: np.dtype):
        self.length = 0  # tokens seen, so also the position of the next one
        self.windows = [config.layer_window(i) for i in range(config.n_layers)]
        self.keys = [np.zeros((0, config.n_kv_heads, config.head_dim), dtype) for _ in self.windows]
        self.values = [k.copy() for k in self.keys]

    def fits(self, config: Config, dtype: np.dtype) -> bool:
        """Whether a model of this config and type can continue it."""
        windows = [config.layer_window(i) for i in range(config.n_layers)]
        heads = (config.n_kv_heads, config.head_dim)
        return self.windows == windows and all(k.shape[1:] == heads and k.dtype == dtype for k in self.keys)

    def read(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Keys and values (S, n_kv_heads, head_dim) in slot order, and their positions (S,)."""
        slots = len(self.keys[layer])
        filled = min(self.length, slots)
        return self.keys[layer][:filled], self.values[layer][:filled], slot_positions(self.length, slots)[:filled]

    def write(self, keys: list[np.ndarray], values: list[np.ndarray]) -> None:
        """A chunk's keys and values (T, n_kv_heads, head_dim), one entry a layer, after every layer has read.

        Of a chunk longer than the window only its last W positions stay.
        """
        positions = self.length + np.arange(len(keys[0]))
        for layer, window in enumerate(self.windows):
            kept = positions if window is None else positions[-window:]
            self.keys[layer] = _grown(self.keys[layer], self.length + len(positions), window)
            self.values[layer] = _grown(self.values[layer], self.length + len(positions), window)
            self.keys[layer][slot_of(kept, window)] = keys[layer][kept - self.length]
            self.values[layer][slot_of(kept, window)] = values[layer][kept - self.length]
        self.length += len(positions)


def _grown(buffer: np.ndarray, needed: int, window: int | None) -> np.ndarray:
    """The buffer with room for `needed` positions, but never more than `window` slots; room doubles."""
    limit = needed * 2 if window is None else window
    if len(buffer) >= min(needed, limit):
        return buffer
    slots = min(max(needed, 2 * len(buffer)), limit)
    return np.concatenate([buffer, np.zeros((slots - len(buffer), *buffer.shape[1:]), buffer.dtype)])
