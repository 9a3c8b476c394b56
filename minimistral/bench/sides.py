"""What is measured, behind two calls: start a batch, feed it tokens. Backend and arithmetic make a side."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from minimistral import costs
from minimistral.errors import BadInput
from minimistral.mistral import Mistral


class Side(NamedTuple):
    """A model to be timed; its own or the peer's."""

    name: str
    start: Callable[[int], Any]  # sequences -> their empty caches
    feed: Callable[[Any, np.ndarray], np.ndarray]  # caches, ids (B, T) -> logits of the last position (B, vocab_size)
    cache_bytes: Callable[[Any], int]
    bytes_per_weight: int  # of a matrix as it is read in a forward pass
    facts: dict  # backend, arithmetic, peer (bool), weights_bytes: for the report


def choose(backends: Sequence[str], arithmetics: Sequence[str]) -> list[tuple[str, str]]:
    """(backend, arithmetic) of each side: NumPy in each arithmetic, the compiled backends in exact, which is all they do.

    >>> choose(["numpy", "cpu"], ["float32", "bfloat16"])
    [('numpy', 'float32'), ('numpy', 'bfloat16'), ('cpu', 'exact')]
    """
    if "numpy" not in backends and "exact" not in arithmetics:
        found = ",".join(arithmetics)
        raise BadInput(f"--arithmetic: {found}, but --backend {','.join(backends)} computes exact only; try numpy")
    return [(b, a) for b in backends for a in (arithmetics if b == "numpy" else ["exact"])]


def side_of(model: Mistral, backend: str, stored: np.dtype) -> Side:
    """A side of this model, whose checkpoint stores its matrices as `stored`."""

    def start(batch: int) -> list:
        return [model.new_cache() for _ in range(batch)]

    def feed(caches: list, tokens: np.ndarray) -> np.ndarray:
        return np.stack(model.next_logits(list(tokens), caches))

    arithmetic = model.arithmetic.name
    per_weight = model.arithmetic.weight(np.zeros((1, 1), stored)).dtype.itemsize
    parts = costs.parameters(model.config)
    rest = parts["norms"] + parts["embedding"]  # as stored
    matrices = costs.weights_read(model.config) - parts["norms"] - model.config.dim
    facts = {"backend": backend, "arithmetic": arithmetic, "peer": False}
    facts["weights_bytes"] = matrices * per_weight + rest * stored.itemsize
    return Side(f"{backend} {arithmetic}", start, feed, cache_bytes, per_weight, facts)


def cache_bytes(caches: list) -> int:
    """Bytes of these sequences' caches: of every array in them, and in lists of arrays."""
    held = [value for cache in caches for value in vars(cache).values()]
    arrays = [a for value in held for a in (value if isinstance(value, list | tuple) else [value])]
    return sum(int(a.nbytes) for a in arrays if hasattr(a, "nbytes"))


@contextmanager
def compile_seconds():
    """Yields a function that tells how long Numba has compiled since; 0 where it found everything in its cache."""
    try:
        from numba.core import event
    except ImportError:  # a Numba of another build
        yield lambda: None
        return
    timer = event.TimingListener()
    with event.install_listener("numba:compile", timer):
        yield lambda: timer.duration if timer.done else 0.0
