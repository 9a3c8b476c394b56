"""How the kernels are compiled: the flags, and the cache.

No flag lets LLVM assume anything about a value. `jit` lets it fuse a * b + c, `summed` also lets it add up a row in
lanes. What comes out depends on the machine and the sizes, never on the number of threads (see threads).
"""

import zlib
from pathlib import Path

from numba import njit

from fastpath.cpu.bits import atomic_add


def jit(function):
    """Compiled, without Python's lock; part of the kernel that calls it."""
    return njit(nogil=True, error_model="numpy", fastmath={"contract"}, no_cpython_wrapper=True)(function)


def summed(function):
    """The same where LLVM may add a sum in another order: as many sums side by side as a vector has lanes."""
    return njit(nogil=True, error_model="numpy", fastmath={"contract", "reassoc"}, no_cpython_wrapper=True)(function)


def kernel(function):
    """What Python calls: kept in Numba's cache if a folder for it can be written."""
    try:
        return njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError:  # no folder for a cache
        return njit(nogil=True, error_model="numpy")(function)


@jit
def next_part(counter):
    """The number of a part that no other thread has; counter: the address of an int64, 0 at first."""
    return atomic_add(counter, 1)


def source_number() -> int:
    """A number that changes with any file of this package: part of a kernel's key in the cache."""
    return zlib.crc32(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))))
