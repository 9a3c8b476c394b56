"""The kernels as the model calls them: compiled once for a machine, and kept in Numba's cache.

Numba looks for changes in the file of a cached function only; a number made of all sources of this package is part of
the key here, so that an edit anywhere compiles anew. A cache folder that cannot be written is no error: the kernels are
then compiled in every process.
"""

import zlib
from collections.abc import Callable
from pathlib import Path

from numba import njit

from fastpath.cpu import layers

SOURCES = sorted(Path(__file__).parent.glob("*.py"))


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


forward, row_scales = _entries(zlib.crc32(b"".join(path.read_bytes() for path in SOURCES)))
