"""The rolling buffer of the compiled model: keys and values lie in it as the integers that attention multiplies."""

import numpy as np

from fastpath.cpu.bits import int32s, jit
from minimistral.config import Config
from minimistral.rolling_cache import RollingCache, _grown, slot_positions


class IntegerCache(RollingCache):
    """A RollingCache whose vectors were put on their grids when they were written: int32, and 2^exponent beside them."""

    def __init__(self, config: Config):
        super().__init__(config, np.dtype(np.int32))
        self.bits = key_bits(config.head_dim)
        self.key_exponents = [k[:, :, 0] for k in self.keys]  # (slots, n_kv_heads)
        self.value_exponents = [k.copy() for k in self.key_exponents]

    def fits(self, config: Config, dtype: np.dtype) -> bool:
        """Whether a compiled model of this config can continue it."""
        return super().fits(config, np.dtype(np.int32))  # whatever the model's own type

    def read(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Keys and values on their grids, (S, n_kv_heads, head_dim) float32, and their positions (S,)."""
        filled = min(self.length, len(self.keys[layer]))
        keys = np.ldexp(self.keys[layer].astype(float), self.key_exponents[layer][..., None] - self.bits)
        values = np.ldexp(self.values[layer].astype(float), self.value_exponents[layer][..., None] - 23)
        positions = slot_positions(self.length, len(keys))
        return keys[:filled].astype(np.float32), values[:filled].astype(np.float32), positions[:filled]

    def write(self, keys, values) -> None:
        """Not here: the kernels write."""
        raise NotImplementedError("the compiled model writes its own cache")

    def make_room(self, n: int) -> bool:
        """Slots for n more tokens, up to the window; whether any array was replaced."""
        before = [len(k) for k in self.keys]
        for arrays in (self.keys, self.values, self.key_exponents, self.value_exponents):
            for layer, window in enumerate(self.windows):
                arrays[layer] = _grown(arrays[layer], self.length + n, window)
        return before != [len(k) for k in self.keys]

    @property
    def filled(self) -> int:
        """The most positions that any layer holds."""
        return max(min(self.length, len(k)) for k in self.keys)

    def addresses(self) -> list[list[int]]:
        """Of keys, values, and their exponents, and how many slots there are; a row a layer."""
        arrays = zip(self.keys, self.values, self.key_exponents, self.value_exponents, strict=True)
        return [[*(a.ctypes.data for a in layer), len(layer[0])] for layer in arrays]


def key_bits(head_dim: int) -> int:
    """Of a key's and a query's grid: so that head_dim products fit 53 bits."""
    return 23 if head_dim <= 128 else 22


@jit
def write_ring(ring, slots, length, new, first, count):
    """Positions length to length + count into their slots; of more than there are slots, the last.

    ring: addresses of keys, values and exponents of one layer; new: the same as arrays of rows, from row `first` on.
    """
    keys, values, key_exponents, value_exponents = new
    width, heads = keys.shape[1], key_exponents.shape[1]
    k, v = int32s(ring[0], slots * width), int32s(ring[1], slots * width)
    ke, ve = int32s(ring[2], slots * heads), int32s(ring[3], slots * heads)
    for t in range(max(0, count - slots), count):
        slot = (length + t) % slots
        for i in range(width):
            k[slot * width + i] = keys[first + t, i]
            v[slot * width + i] = values[first + t, i]
        for h in range(heads):
            ke[slot * heads + h] = key_exponents[first + t, h]
            ve[slot * heads + h] = value_exponents[first + t, h]
