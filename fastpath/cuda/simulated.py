"""The instructions of intrinsics.py in plain Python, for Numba's CUDA simulator; and a simulator that does not spin.

Numba's makes a Python thread for each thread of each block and polls them all; here they stay, and wait for each other
at barriers. That is much faster, and stricter: a thread that misses a barrier is an error, blocks overlap, and shared
memory starts as garbage.
"""

import queue
import struct
import sys
import threading
from math import prod

import numpy as np
from numba.cuda import types
from numba.cuda.np import numpy_support
from numba.cuda.simulator import kernel as simulator
from numba.cuda.simulator import kernelapi

PATIENCE = 60  # seconds a thread waits for its warp or block: then the kernel has a barrier that some threads miss
rint = np.rint


def load4(array, i):
    assert i % 4 == 0, "a 128-bit load that is not aligned"
    flat = array._item._ary.reshape(-1)  # the array inside the simulator's wrapper
    return tuple(flat[int(i) : int(i) + 4])


stream4 = load4


def double(high, low):
    return struct.unpack("<d", struct.pack("<Ii", low, high))[0]


def f64_of_bits(bits):
    return np.int64(bits).view(np.float64)


def bits_of_f64(value):
    return np.float64(value).view(np.int64)


def f32_of_bits(bits):
    return np.int32(bits).view(np.float32)


def bits_of_f32(value):
    return np.float32(value).view(np.int32)


def low_word(value):
    return np.int64(value).astype(np.int32)


def multiply_high(a, b):
    return np.int32(int(a) * int(b) >> 32)


# ---- threads that meet ---------------------------------------------------------------------------------------------
class Warp:
    """32 threads that exchange values. Two rows, used in turn: one barrier a meeting is then enough."""

    def __init__(self, lanes: int):
        self.barrier = threading.Barrier(lanes, timeout=PATIENCE)
        self.rows = [[None] * lanes, [None] * lanes]


def exchange(value) -> list:
    """The values of all lanes of this thread's warp, in every lane."""
    thread = threading.current_thread()
    warp = thread._manager.warps[thread.thread_id >> 5]
    thread.meetings += 1
    row = warp.rows[thread.meetings & 1]
    row[thread.thread_id & 31] = value
    warp.barrier.wait()
    return list(row)


def warp_sum(value):
    return sum(exchange(value))


def warp_sums(values):
    values[:] = np.sum(exchange(np.array(values)), axis=0)


def warp_max(value):
    return max(exchange(value))


# ---- a simulator whose threads stay --------------------------------------------------------------------------------
class Block:
    """What the threads of one block share."""

    def __init__(self, size: int):
        self.barrier = threading.Barrier(size, timeout=PATIENCE)
        self.warps = [Warp(min(32, size - start)) for start in range(0, size, 32)]
        self.shared = {}

    def abort(self) -> None:
        for meeting in (self, *self.warps):
            meeting.barrier.abort()


class Launch:
    """One launch: every thread walks over all blocks; a block's threads meet where the kernel says so."""

    def __init__(self, function, grid, block, arguments):
        self.function, self.grid, self.block, self.arguments = function, grid, block, arguments
        self.blocks: dict[tuple, Block] = {}
        self.lock, self.done = threading.Lock(), threading.Semaphore(0)
        self.errors = []

    def run(self, worker: "Worker") -> None:
        try:
            for point in np.ndindex(*self.grid):
                with self.lock:
                    if self.errors:
                        return
                    worker._manager = self.blocks.setdefault(point, None) or Block(prod(self.block))
                    self.blocks[point] = worker._manager
                worker.blockIdx = kernelapi.Dim3(*point)
                worker.meetings = 0
                self.function(*self.arguments)
        except Exception as error:  # noqa: BLE001  (handed to who launched; nobody shall wait for this thread)
            with self.lock:
                self.errors.append(error)
                for block in self.blocks.values():
                    block.abort()
        finally:
            self.done.release()


class Worker(threading.Thread):
    """One thread of every block that is run; it knows itself by the names that the simulator's own threads have."""

    def __init__(self):
        super().__init__(daemon=True)
        self.launches = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while True:
            self.launches.get().run(self)

    def syncthreads(self) -> None:
        self._manager.barrier.wait()


_workers: list[Worker] = []


def _run(manager, grid_point, *arguments):
    """Numba's simulator calls this for each block in turn: the first call runs them all."""
    if any(grid_point):
        return
    launch = Launch(manager._f, manager._grid_dim, manager._block_dim, arguments)
    points = list(np.ndindex(*manager._block_dim[::-1]))
    while len(_workers) < len(points):
        _workers.append(Worker())
    for number, (worker, point) in enumerate(zip(_workers, points)):
        worker.thread_id, worker.threadIdx = number, kernelapi.Dim3(*point[::-1])
        worker.launches.put(launch)
    for _ in points:
        launch.done.acquire()
    if launch.errors:
        raise next((e for e in launch.errors if not isinstance(e, threading.BrokenBarrierError)), launch.errors[0])


def _shared_array(self, shape, dtype, alignment=None):
    """A shared array is known by its block and its line; it starts as what no kernel may rely on."""
    block, caller = threading.current_thread()._manager, sys._getframe(1)
    dtype = numpy_support.as_dtype(dtype) if isinstance(dtype, types.Type) else np.dtype(dtype)
    key = (caller.f_code, caller.f_lineno)
    if key not in block.shared:
        block.shared.setdefault(key, np.full(shape, np.nan if dtype.kind == "f" else 77, dtype))
    return block.shared[key]


simulator.BlockManager.run = _run
kernelapi.FakeCUDAShared.array = _shared_array
