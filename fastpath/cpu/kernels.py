"""The kernels as the model calls them: compiled once for a machine, and kept in Numba's cache.

Numba looks for changes in the file of a cached function only; a number made of all sources of this package is part of
the key here, so that an edit anywhere compiles anew. A cache folder that cannot be written is no error: the kernels are
then compiled in every process.
"""

import sys
import threading
from collections.abc import Callable

from numba import njit, typeof

from fastpath.cpu import layers
from fastpath.cpu.compiled import remember, source_number

PATIENCE = 1.0  # seconds before a person is told what takes so long: longer than loading from the cache


def _entries(source: int) -> tuple[Callable, ...]:
    def compiled(function):
        try:
            return njit(nogil=True, error_model="numpy", cache=True)(function)
        except RuntimeError:  # no folder for a cache
            return njit(nogil=True, error_model="numpy")(function)

    @compiled
    def forward(me, n, counter, first, end, finish, most, shape, weights, s, x, new, gathered, batch, scratch,
                attention_scratch):  # fmt: skip
        if source >= 0:
            layers.forward(me, n, counter, first, end, finish, most, shape, weights, s, x, new, gathered, batch,
                           scratch, attention_scratch)  # fmt: skip

    @compiled
    def row_scales(me, n, counter, kind, words, N, K, scales, factors):
        if source >= 0:
            layers.row_scales(me, n, counter, kind, words, N, K, scales, factors)

    return forward, row_scales


forward, row_scales = _entries(source_number())


def prepare(kernel: Callable, *arguments) -> None:
    """Compile a kernel for these arguments, or load it; done before the first call only."""
    if kernel.signatures:
        return
    teller = threading.Timer(PATIENCE, _tell)
    teller.daemon = True
    teller.start()
    try:
        kernel.compile(tuple(typeof(a) for a in arguments))
    finally:
        teller.cancel()
    if kernel is forward:
        remember(kernel.stats.cache_path)


def _tell() -> None:
    """On a terminal or in a notebook, one line that compiling takes a while."""
    stream = sys.stderr
    if stream is not None and (stream.isatty() or type(stream).__module__.startswith("ipykernel")):
        print("compiling the kernels for this processor: some seconds, once", file=stream)
