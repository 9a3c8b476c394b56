"""Weights on demand, within a memory budget.

A matrix comes out of the mapped file when the forward pass asks for it. What the arithmetic makes of it (a widened or
gridded copy) is kept while all that is kept fits the budget, and otherwise made anew at each use. The layers are used
in a cycle, so the first copies stay and the later ones are made anew: throwing out the oldest would keep none.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from minimistral.arithmetic import Arithmetic
from minimistral.arithmetic.exact import TERMS
from minimistral.checkpoint.files import shown
from minimistral.checkpoint.inspect import Checkpoint
from minimistral.checkpoint.tensor_file import DTYPES
from minimistral.errors import BadInput, NotFinite
from minimistral.weights import LAYER_NAMES, Layer

BLOCK = 2**18  # values looked at or prepared at a time, so that what is made on the way stays small
SPARE = 64 * 2**20  # bytes of a large budget left for what is made on the way
# The unsigned integer of a type's size, and its exponent bits: all set in NaN and infinity alone.
EXPONENT = {
    "bfloat16": (np.uint16, np.uint16(0x7F80)),
    "float16": (np.uint16, np.uint16(0x7C00)),
    "float32": (np.uint32, np.uint32(0x7F800000)),
}


class LazyWeights:
    """minimistral.weights.Weights from a checkpoint. NotFinite at the first use of a tensor with NaN or infinity."""

    def __init__(self, checkpoint: Checkpoint, arithmetic: Arithmetic, memory: int):
        self._checkpoint, self._arithmetic = checkpoint, arithmetic
        room = memory - min(SPARE, memory // 8)
        self._pages = _Pages(checkpoint, room)
        self._kept: dict[str, np.ndarray] = {}
        self._checked: set[str] = set()
        self._room = room - _largest_copy(checkpoint, arithmetic)  # one copy may be in use but not kept
        self.layers: Sequence[Layer] = _Layers(self, checkpoint.config.n_layers)

    @property
    def tok_embeddings(self) -> np.ndarray:
        """(vocab_size, dim), as stored: a view of the file, of which only the rows of the tokens are read."""
        name = "tok_embeddings.weight"
        self._check(name)
        return self._checkpoint.tensors[name]

    @property
    def norm(self) -> np.ndarray:
        """(dim,), as stored."""
        return self.vector("norm.weight")

    @property
    def output(self) -> np.ndarray:
        """(vocab_size, dim); a prepared copy of the embedding where the config ties them."""
        tied = self._checkpoint.config.tied_embeddings
        return self.matrix("tok_embeddings.weight" if tied else "output.weight")

    @property
    def kept_bytes(self) -> int:
        """Bytes of the copies that are kept."""
        return sum(w.nbytes for w in self._kept.values())

    @property
    def all_kept(self) -> bool:
        """Whether every matrix has been used and is kept, so that none will be made anew."""
        sources = self._checkpoint.tensors.sources
        return len(self._kept) == sum(len(file.entries[name].shape) == 2 for file, name in sources.values()) - (
            not self._checkpoint.config.tied_embeddings  # the embedding is read by rows, from the file
        )

    def vector(self, name: str) -> np.ndarray:
        """A norm's weight, as stored."""
        self._check(name)
        return self._checkpoint.tensors[name]

    def matrix(self, name: str) -> np.ndarray:
        """A matrix as `arithmetic.linear` wants it."""
        if name in self._kept:
            return self._kept[name]
        self._check(name)
        ready = self._prepared(name)
        if np.may_share_memory(ready, self._pages.view(name)):
            self._pages.use(name)
        else:
            self._pages.release(name)
            if self.kept_bytes + ready.nbytes <= self._room:
                self._kept[name] = ready
        self._pages.trim(self.kept_bytes)
        return ready

    def _prepared(self, name: str) -> np.ndarray:
        """arithmetic.weight, some rows at a time: what it makes on the way is then small, and rows do not mix."""
        stored = self._checkpoint.tensors[name]
        rows = max(1, BLOCK // stored.shape[1])
        first = self._arithmetic.weight(stored[:rows])
        if np.may_share_memory(first, stored):
            return self._arithmetic.weight(stored)
        ready = np.empty(stored.shape, first.dtype)
        for n in range(0, len(stored), rows):
            ready[n : n + rows] = self._arithmetic.weight(stored[n : n + rows])
            self._pages.release(name, n * stored.strides[0], (n + rows) * stored.strides[0])
        if ready.dtype != stored.dtype and ready.dtype.itemsize == 2:
            self._check_range(name, ready)
        return ready

    def _check_range(self, name: str, ready: np.ndarray) -> None:
        """What is finite as stored may be too large for a narrow arithmetic."""
        index = first_not_finite(ready)
        if index is not None:
            value = self._checkpoint.tensors[name][index]
            raise BadInput(f"{self._where(name)}: {value} at index {index} is too large for {self._arithmetic.name}")

    def _check(self, name: str) -> None:
        if name not in self._checked:
            self._pages.check(name, self._where(name))
            self._checked.add(name)

    def _where(self, name: str) -> str:
        file, stored = self._checkpoint.tensors.sources[name]
        return f"{shown(file.path)}: {stored}"


class _Pages:
    """Views of the mapped files that are in use; the oldest are given back to the system when memory is short."""

    def __init__(self, checkpoint: Checkpoint, memory: int):
        self._sources, self._memory = checkpoint.tensors.sources, memory
        self._in_use: dict[str, int] = {}  # bytes, the oldest first

    def view(self, name: str) -> np.ndarray:
        """The tensor as it lies in the file."""
        file, stored = self._sources[name]
        return file[stored]

    def use(self, name: str) -> None:
        """Note that this view is in use, as the latest."""
        self._in_use.pop(name, None)
        self._in_use[name] = self.view(name).nbytes

    def trim(self, other_bytes: int) -> None:
        """Release what the budget has no room for beside `other_bytes`, but not the view used last."""
        while len(self._in_use) > 1 and sum(self._in_use.values()) + other_bytes > self._memory:
            self.release(next(iter(self._in_use)))

    def check(self, name: str, where: str) -> None:
        """check_finite, giving the pages back as it goes."""
        check_finite(self.view(name), where, lambda start, end: self.release(name, start, end))

    def release(self, name: str, start: int = 0, end: int | None = None) -> None:
        """Give the pages of a tensor's bytes start to end back."""
        self._in_use.pop(name, None)
        file, stored = self._sources[name]
        n_bytes = file.entries[stored].end - file.entries[stored].start
        file.release(stored, start, n_bytes if end is None else min(end, n_bytes))


def _largest_copy(checkpoint: Checkpoint, arithmetic: Arithmetic) -> int:
    """Bytes of the largest matrix as the arithmetic makes it."""
    entries = [file.entries[name] for file, name in checkpoint.tensors.sources.values()]
    itemsize = {t: arithmetic.weight(np.zeros((1, 1), DTYPES[t])).dtype.itemsize for t in {e.dtype for e in entries}}
    return max(math.prod(e.shape) * itemsize[e.dtype] for e in entries)


class _LazyLayer:
    """A Layer whose matrices are prepared one at a time, each when it is asked for."""

    def __init__(self, weights: LazyWeights, layer: int):
        self._weights, self._layer = weights, layer

    def __getattr__(self, attribute: str) -> np.ndarray:
        if attribute not in LAYER_NAMES:
            raise AttributeError(attribute)
        name = f"layers.{self._layer}.{LAYER_NAMES[attribute]}.weight"
        return self._weights.vector(name) if attribute.endswith("norm") else self._weights.matrix(name)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (getattr(self, attribute) for attribute in LAYER_NAMES)


class _Layers(Sequence):
    def __init__(self, weights: LazyWeights, n_layers: int):
        self._weights, self._n_layers = weights, n_layers

    def __len__(self) -> int:
        return self._n_layers

    def __getitem__(self, layer: int) -> _LazyLayer:
        if not -self._n_layers <= layer < self._n_layers:
            raise IndexError(layer)
        return _LazyLayer(self._weights, layer % self._n_layers)


def load_weights(checkpoint: Checkpoint, arithmetic: Arithmetic, memory: int | None = None) -> LazyWeights:
    """The weights of a checkpoint, made ready for an arithmetic as they are used.

    memory: bytes for prepared copies and mapped pages together; by default half of what is free. One matrix being used
    needs its room whatever the budget. BadInput if `exact` cannot sum rows of this length.
    """
    config = checkpoint.config
    longest = max(config.dim, config.hidden_dim, config.n_heads * config.head_dim)
    if arithmetic.name == "exact" and longest > TERMS:
        raise BadInput(f"{shown(checkpoint.folder)}: rows of {longest}: exact sums at most {TERMS}; try float32")
    if memory is not None and memory < 0:
        raise BadInput(f"memory: {memory} bytes, expected 0 or more")
    return LazyWeights(checkpoint, arithmetic, free_memory() // 2 if memory is None else memory)


def free_memory() -> int:
    """Bytes that programs can still have, also by a container's limit; 4 GiB where the system does not say."""
    free = [_number("/proc/meminfo", "MemAvailable:", 1024), _number("/sys/fs/cgroup/memory.max", "", 1)]
    return min((n for n in free if n is not None), default=4 * 2**30)


def _number(path: str, before: str, unit: int) -> int | None:
    """The number after `before` in one of the system's files; None if there is none."""
    try:
        lines = Path(path).read_text(encoding="ascii").splitlines()
        return next(int(line.removeprefix(before).split()[0]) * unit for line in lines if line.startswith(before))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _nothing(start: int, end: int) -> None:
    pass


def first_not_finite(w: np.ndarray, after_block: Callable[[int, int], None] = _nothing) -> tuple[int, ...] | None:
    """The index of the first NaN or infinity, found from the exponent bits alone.

    after_block(start, end) is called with the bytes that have been looked at.

    >>> first_not_finite(np.array([[1, 2], [3, np.inf]], np.float32))
    (1, 1)
    """
    if w.dtype.name not in EXPONENT:
        found = np.argwhere(~np.isfinite(w))
        return tuple(map(int, found[0])) if len(found) else None
    integer, exponent = EXPONENT[w.dtype.name]
    bits = w.reshape(-1).view(integer)
    for n in range(0, len(bits), BLOCK):
        block = bits[n : n + BLOCK] & exponent
        if block.max() == exponent:
            return tuple(map(int, np.unravel_index(n + int(np.argmax(block == exponent)), w.shape)))
        after_block(n * w.itemsize, (n + len(block)) * w.itemsize)
    return None


def check_finite(w: np.ndarray, where: str, after_block: Callable[[int, int], None] = _nothing) -> None:
    """NotFinite, naming `where` and the index, if a tensor has a NaN or an infinity anywhere."""
    index = first_not_finite(w, after_block)
    if index is not None:
        kind = "NaN" if np.isnan(np.float32(w[index])) else "infinity"
        raise NotFinite(f"{where}: {kind} at index {index[0] if len(index) == 1 else index}, expected finite numbers")
