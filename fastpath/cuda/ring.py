"""The rolling buffer in the GPU's memory: position i in slot i mod W, keys and values as gridded integers.

A gridded number is an integer of 23 bits and a sign times a power of two that its vector shares; the integers are kept
as float32, exactly, and the exponents beside them, so attention grids nothing again.
"""

from typing import NamedTuple

import numpy as np
from numba import cuda

from fastpath.cuda.intrinsics import kernel
from minimistral.config import Config
from minimistral.rolling_cache import slot_positions

FIRST_SLOTS = 256  # of a new cache; room doubles, up to the window


class Vectors(NamedTuple):
    """Keys or values of S positions: vector s of head h is numbers[h, s] 2^(exponents[h, s] - bits)."""

    numbers: object  # device float32 (n_kv_heads, S, head_dim), whole numbers
    exponents: object  # device int32 (n_kv_heads, S)


def empty(n_kv: int, slots: int, d: int) -> Vectors:
    """Room for `slots` vectors a head."""
    return Vectors(cuda.device_array((n_kv, slots, d), np.float32), cuda.device_array((n_kv, slots), np.int32))


class DeviceCache:
    """One sequence's keys (rotated) and values, layer by layer, and how many tokens it has seen."""

    def __init__(self, config: Config):
        self.length = 0  # tokens seen, so also the position of the next one
        self.windows = [config.layer_window(i) for i in range(config.n_layers)]
        self.n_kv, self.head_dim = config.n_kv_heads, config.head_dim
        self.keys: list[Vectors | None] = [None] * config.n_layers
        self.values: list[Vectors | None] = [None] * config.n_layers

    def fits(self, config: Config, dtype: np.dtype) -> bool:
        """Whether a model of this config can continue it."""
        windows = [config.layer_window(i) for i in range(config.n_layers)]
        return self.windows == windows and (self.n_kv, self.head_dim) == (config.n_kv_heads, config.head_dim)

    def slots(self, layer: int) -> int:
        """Slots that a layer has now."""
        return 0 if self.keys[layer] is None else self.keys[layer].exponents.shape[1]

    def filled(self, layer: int) -> int:
        """Positions that a layer holds."""
        return min(self.length, self.slots(layer))

    def reserve(self, length: int) -> bool:
        """Room for `length` positions, never more than the window; True if anything moved. Room doubles."""
        moved = False
        for layer, window in enumerate(self.windows):
            limit = max(2 * length, FIRST_SLOTS) if window is None else window
            old = self.slots(layer)
            if old < min(length, limit):
                slots = min(max(length, 2 * old, FIRST_SLOTS), limit)
                self.keys[layer] = self._grown(self.keys[layer], slots)
                self.values[layer] = self._grown(self.values[layer], slots)
                moved = True
        return moved

    def _grown(self, old: Vectors | None, slots: int) -> Vectors:
        new = empty(self.n_kv, slots, self.head_dim)
        if old is not None:
            for h in range(self.n_kv):
                new.numbers[h, : old.numbers.shape[1]].copy_to_device(old.numbers[h])
                new.exponents[h, : old.exponents.shape[1]].copy_to_device(old.exponents[h])
        return new

    def place(self, layer: int, position: int) -> tuple[int, int, int]:
        """For the query at `position`, itself written: the slots it sees, from and to, and its own slot."""
        window = self.windows[layer]
        if window is None:
            return 0, position + 1, position
        return 0, min(position + 1, window), position % window

    def read(self, layer: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Keys and values (S, n_kv_heads, head_dim) on the host, in slot order, and their positions (S,)."""
        filled = self.filled(layer)
        if not filled:
            nothing = np.zeros((0, self.n_kv, self.head_dim), np.float32)
            return nothing, nothing, np.zeros(0, np.int64)
        bits = 23 if self.head_dim <= 128 else 22
        some = np.arange(filled)
        keys, values = on_host(self.keys[layer], bits, some), on_host(self.values[layer], 23, some)
        return keys, values, slot_positions(self.length, self.slots(layer))[:filled]


def on_host(vectors: Vectors, bits: int, some: np.ndarray) -> np.ndarray:
    """Some of the gridded vectors themselves, by index: (len(some), n_kv_heads, head_dim) float32."""
    numbers, exponents = vectors.numbers.copy_to_host()[:, some], vectors.exponents.copy_to_host()[:, some]
    return np.ldexp(numbers.astype(np.float64), exponents[..., None] - bits).astype(np.float32).swapaxes(0, 1)


def write_kernel(chunk, chunk_exponents, row, position, numbers, exponents):
    """slot(position + t) = row + t of the chunk, for t < gridDim.x: copies of vectors.

    Grid (T, Hkv), block 32. chunk float32 (Hkv, T', d), its exponents int32 (Hkv, T') -> numbers float32 (Hkv, S, d),
    exponents int32 (Hkv, S). Reads and writes 4 d + 4 bytes a vector. Limit: memory.
    """
    t, h, slots = cuda.blockIdx.x, cuda.blockIdx.y, numbers.shape[1]
    slot = (position + t) % slots
    for e in range(cuda.threadIdx.x, numbers.shape[2], 32):
        numbers[h, slot, e] = chunk[h, row + t, e]
    if cuda.threadIdx.x == 0:
        exponents[h, slot] = chunk_exponents[h, row + t]


def gather_kernel(numbers, exponents, filled, chunk, chunk_exponents, row, start, out, out_exponents):
    """What a ring holds, and then a chunk's own vectors, in the order of positions: out[s] is position start - filled + s.

    Grid (S, Hkv), block 32. numbers float32 (Hkv, slots, d) and chunk float32 (Hkv, T', d) with their exponents ->
    out float32 (Hkv, S, d), out_exponents int32 (Hkv, S). Reads and writes 4 d + 4 bytes a vector. Limit: memory.
    """
    s, h, slots = cuda.blockIdx.x, cuda.blockIdx.y, numbers.shape[1]
    slot, own = (start - filled + s) % slots, row + s - filled
    for e in range(cuda.threadIdx.x, out.shape[2], 32):
        out[h, s, e] = numbers[h, slot, e] if s < filled else chunk[h, own, e]
    if cuda.threadIdx.x == 0:
        out_exponents[h, s] = exponents[h, slot] if s < filled else chunk_exponents[h, own]


def write(chunk: Vectors, row: int, length: int, cache: DeviceCache, layer: int, into: Vectors, stream=0) -> None:
    """A chunk's vectors, rows row .. row + length, into the ring; of a chunk longer than it only the end stays.

    The ring has room for them (DeviceCache.reserve); cache.length is not changed.
    """
    kept = length if cache.windows[layer] is None else min(length, cache.windows[layer])
    skipped = length - kept
    run = kernel(write_kernel, 32)
    run[(kept, cache.n_kv), 32, stream](*chunk, row + skipped, cache.length + skipped, *into)


def gather(ring: Vectors | None, filled: int, chunk: Vectors, row: int, start: int, out: Vectors, stream=0) -> None:
    """out = the ring's `filled` vectors before position `start`, then the chunk's from row `row`, by position."""
    n_kv, S = out.exponents.shape
    run = kernel(gather_kernel, 32)
    run[(S, n_kv), 32, stream](*(chunk if ring is None else ring), filled, *chunk, row, start, *out)
