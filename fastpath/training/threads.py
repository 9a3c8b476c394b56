"""How work is shared: cut into parts of a fixed size, and a thread takes the next part that nobody has.

Each part writes numbers of its own, and what several parts add up is added in their order, so a result never depends
on the number of threads or on who was quicker. Between two calls the threads sleep: they would be in the way of BLAS.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, takewhile

import numpy as np
from numba.core import config

SMALL = 20_000  # numbers: with fewer, waking threads costs more than they save


class Threads:
    """So many threads; the caller is one of them. Nothing is started before it is needed."""

    def __init__(self, n: int):
        self.n, self._pool, self._process = n, None, None

    def all_do(self, work: Callable[[], None]) -> None:
        """work() in every thread, at once; returns when all have."""
        if self.n > 1 and self._process != os.getpid():  # threads do not survive a fork
            self._pool, self._process = ThreadPoolExecutor(self.n - 1, "training"), os.getpid()
        others = [self._pool.submit(work) for _ in range(self.n - 1)]
        work()
        for other in others:
            other.result()


THREADS = Threads(config.NUMBA_NUM_THREADS)


def use_threads(n: int | None = None) -> None:
    """So many threads from now on; None, as at first: as many as NUMBA_NUM_THREADS says, or one a processor."""
    global THREADS
    THREADS = Threads(n or config.NUMBA_NUM_THREADS)


def run_kernel(kernel: Callable, numbers: int, *arguments) -> None:
    """A kernel in all threads; in this one alone if it has few numbers to compute."""
    counter = np.zeros(1, np.int64)
    address = counter.ctypes.data
    if numbers < SMALL or THREADS.n == 1:
        kernel(address, *arguments)
    else:
        THREADS.all_do(lambda: kernel(address, *arguments))


def run_parts(parts: list[Callable[[], None]]) -> None:
    """Calls that let go of Python's lock, such as matrix products, each by the next thread that is free."""
    numbers = count()  # next() is one step of the interpreter: no two threads get the same

    def work() -> None:
        for n in takewhile(lambda n: n < len(parts), numbers):
            parts[n]()

    THREADS.all_do(work)
