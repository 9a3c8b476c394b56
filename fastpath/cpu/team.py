"""A few threads that run one kernel together, and meet at barriers inside it.

Every thread gets the same call but for its number, and takes its share of each loop, as blocks do on a GPU. Only one
wake-up is paid a call, not one a loop.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba.core import config

from fastpath.cpu.bits import atomic_add, give_way, inline, jit

SPINS = 2000  # looks at the counter before the processor is offered to others


@jit
def barrier(counter, n):
    """Wait for the n threads of the team. The counter only grows: each n arrivals are one meeting."""
    if n > 1:
        goal = (atomic_add(counter, 1) // n + 1) * n
        spins = 0
        while atomic_add(counter, 0) < goal:
            spins += 1
            if spins > SPINS:
                give_way()


@inline
def share(count, me, n, unit):
    """This thread's part of range(count), in whole units but for the end: (first, end)."""
    units = (count + unit - 1) // unit
    return min(units * me // n * unit, count), min(units * (me + 1) // n * unit, count)


class Team:
    """`threads` threads (None: as many as Numba uses, so NUMBA_NUM_THREADS holds); the caller is one of them."""

    def __init__(self, threads: int | None = None):
        self.threads = config.NUMBA_NUM_THREADS if threads is None else threads
        self._lock = threading.Lock()  # two callers that share the workers would wait for each other
        self._workers, self._process = None, None

    def run(self, kernel: Callable, *arguments) -> None:
        """kernel(me, n, counter, *arguments) in every thread; returns when all have."""
        counter = np.zeros(1, np.int64)
        n, address = self.threads, counter.ctypes.data
        if n == 1:
            kernel(0, 1, address, *arguments)
            return
        with self._lock:
            if self._process != os.getpid():  # threads do not survive a fork
                self._workers, self._process = ThreadPoolExecutor(n - 1, "minimistral"), os.getpid()
            others = [self._workers.submit(kernel, me, n, address, *arguments) for me in range(1, n)]
            kernel(0, n, address, *arguments)
            for other in others:
                other.result()
