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

from fastpath.cpu.kernels import prepare

SHARE = 500_000  # weights for each thread at least: with fewer, meeting costs more than sharing gains


def threads_for(weights: int) -> int:
    """As many threads as NUMBA_NUM_THREADS says; if it says nothing, as there are processors and enough weights."""
    if "NUMBA_NUM_THREADS" in os.environ:
        return config.NUMBA_NUM_THREADS
    return max(1, min(config.NUMBA_NUM_THREADS, weights // SHARE))


class Team:
    """So many threads; the caller is one of them."""

    def __init__(self, threads: int):
        self.threads = threads
        self._lock = threading.Lock()  # two callers that share the workers would wait for each other
        self._workers, self._process = None, None

    def run(self, kernel: Callable, *arguments) -> None:
        """kernel(me, n, counter, *arguments) in every thread; returns when all have."""
        counter = np.zeros(1, np.int64)
        n, address = self.threads, counter.ctypes.data
        prepare(kernel, 0, n, address, *arguments)
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
