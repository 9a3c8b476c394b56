"""Lesson 15: kernels for many threads. They are run here one thread after the other, so that each race is found.

`launch` runs a kernel as a GPU may: the threads of a block in an unlucky order, the last one first, each from barrier
to barrier. A kernel is a function of `cuda` and its arrays; `yield` is the barrier (Numba: cuda.syncthreads()). All
reads and writes are logged, and two threads that touch one number without a barrier between them raise a Race.
"""

import inspect
from itertools import zip_longest
from types import SimpleNamespace

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess

WARP = 8  # lanes that read together, and numbers of one line of memory; on a GPU 32 lanes, and lines of 128 bytes
PATIENCE = 1000  # barriers that a kernel may pass


class Race(Exception):
    """Two threads touch one number between two barriers, and at least one of them writes it."""


class BarrierMissed(Exception):
    """Some threads of a block wait at a barrier that others never reach."""


class Memory:
    """An array that logs who touches it. What lies behind its end is somebody else's, and nobody checks: as on a GPU.

    values   1 or 2 axes
    behind   numbers of the neighbour, behind the end
    """

    def __init__(self, name: str, values: np.ndarray, behind: tuple = ()):
        self.name, self.shape, self.size = name, values.shape, values.size
        self.row = -(-values.shape[-1] // WARP) * WARP  # from one row to the next: rows begin with a line
        self.cells = np.concatenate([values.ravel(), np.array(behind, values.dtype)])
        self.thread, self.phase, self.reads, self.writes = None, {}, {}, {}

    def __len__(self) -> int:
        return self.shape[0]

    def place(self, key) -> int:
        """The cell of an index."""
        cell = key if len(self.shape) == 1 else key[0] * self.shape[1] + key[1]
        if not 0 <= cell < len(self.cells):
            raise IndexError(f"{self.name}[{key}] is far outside")
        return int(cell)

    def touch(self, key, kind: str, counts: dict) -> int:
        cell = self.place(key)
        self.phase.setdefault(cell, []).append((self.thread, kind))
        address = cell if len(self.shape) == 1 else key[0] * self.row + key[1]
        counts.setdefault(self.thread, []).append(int(address))
        return cell

    def __getitem__(self, key):
        return self.cells[self.touch(key, "reads", self.reads)]

    def __setitem__(self, key, value):
        self.cells[self.touch(key, "writes", self.writes)] = value

    def add(self, key, value):
        """An atomic addition: nobody can come between its read and its write."""
        self.cells[self.touch(key, "adds", self.writes)] += value

    def end_of_phase(self) -> None:
        """A barrier, or the end: raise a Race if two threads could have met."""
        for cell, touched in sorted(self.phase.items()):
            threads, kinds = {thread for thread, _ in touched}, {kind for _, kind in touched}
            if len(threads) > 1 and len(kinds - {"reads"}) and kinds != {"adds"}:
                writer = next(thread for thread, kind in touched if kind != "reads")
                other = next(thread for thread in sorted(threads) if thread != writer)
                raise Race(f"threads {writer[1]} and {other[1]} touch {self.name}[{cell}] with no barrier between")
        self.phase.clear()


def launch(kernel, blocks: int, threads: int, *memories: Memory, log: list[Memory] | None = None):
    """Run a kernel on so many blocks of so many threads. `...` if it is not written yet.

    log: gets the blocks' shared arrays, with their reads and writes.

    >>> x, y = Memory("x", np.arange(3)), Memory("y", np.zeros(3, int))
    >>> def twice(cuda, x, y):
    ...     y[cuda.grid(1)] = 2 * x[cuda.grid(1)]
    >>> launch(twice, 1, 3, x, y)
    >>> y.cells.tolist()
    [0, 2, 4]
    """
    for block in range(blocks):
        shared: list[Memory] = []
        waiting = {t: start(kernel, block, t, threads, shared, memories) for t in reversed(range(threads))}
        for _ in range(PATIENCE):
            arrived = {}
            for thread, rest in waiting.items():
                for memory in (*memories, *shared):
                    memory.thread = (block, thread)
                try:
                    next(rest)
                    arrived[thread] = rest
                except StopIteration as end:
                    if end.value is ...:
                        return ...
            for memory in (*memories, *shared):
                memory.end_of_phase()
            if 0 < len(arrived) < len(waiting):
                raise BarrierMissed(
                    f"{len(arrived)} of {len(waiting)} threads wait at a barrier, the others have ended"
                )
            waiting = arrived
            if not waiting:
                break
        if log is not None:
            log.extend(shared)
        if waiting:
            raise RuntimeError(f"more than {PATIENCE} barriers: does the loop end?")
    return None


def start(kernel, block: int, thread: int, threads: int, shared: list[Memory], memories: tuple):
    """One thread, ready to run: it stops at each barrier."""
    asked = []

    def shared_array(size, dtype=np.int64):
        """The block's own array: all threads that ask for it get the same. It starts as garbage."""
        if len(asked) == len(shared):
            shared.append(Memory("s", np.full(size, 77777, dtype)))
            shared[-1].thread = (block, thread)
        asked.append(shared[len(asked)])
        return asked[-1]

    cuda = SimpleNamespace(
        threadIdx=SimpleNamespace(x=thread),
        blockIdx=SimpleNamespace(x=block),
        blockDim=SimpleNamespace(x=threads),
        grid=lambda axes: block * threads + thread,
        shared=SimpleNamespace(array=shared_array),
        atomic=SimpleNamespace(add=Memory.add),
        syncthreads=use_yield,
    )
    done = kernel(cuda, *memories)
    return (yield from done) if inspect.isgenerator(done) else done


def use_yield():
    raise RuntimeError("here the barrier is a line of its own: yield")


def lines_read(memory: Memory) -> int:
    """Lines that the warps fetched: in each step, the lines on which a warp's lanes read."""
    warps: dict[tuple, list] = {}
    for (block, thread), addresses in memory.reads.items():
        warps.setdefault((block, thread // WARP), []).append(addresses)
    steps = [step for lanes in warps.values() for step in zip_longest(*lanes)]
    return sum(len({address // WARP for address in step if address is not None}) for step in steps)


# ---- guard -----------------------------------------------------------------------------------------------------------
def guarded(cuda, x, y):
    i = cuda.grid(1)
    if i < len(x):
        y[i] = 2 * x[i]


def no_guard(cuda, x, y):
    i = cuda.grid(1)
    y[i] = 2 * x[i]


def one_row_too_many(cuda, x, y):
    i = cuda.grid(1)
    if i <= len(x):
        y[i] = 2 * x[i]


def last_row_left(cuda, x, y):
    i = cuda.grid(1)
    if i < len(x) - 1:
        y[i] = 2 * x[i]


def first_block_only(cuda, x, y):
    i = cuda.threadIdx.x
    if i < len(x) and cuda.blockIdx.x == 0:
        y[i] = 2 * x[i]


def doubled(kernel, x, threads):
    """y, and behind it what lies there in memory: a row that is written too far is seen."""
    a = Memory("x", x, behind=(5,) * threads)
    b = Memory("y", np.zeros_like(x), behind=(-1,) * threads)
    unwritten = launch(kernel, -(-len(x) // threads), threads, a, b)
    return unwritten if unwritten is ... else b.cells


def rows_and_threads(rng):
    threads = 8
    return rng.integers(10, 99, threads * int(rng.integers(1, 4)) + int(rng.integers(2, threads - 2))), threads


# ---- reduce ----------------------------------------------------------------------------------------------------------
def tree_sum(cuda, x, y):
    t = cuda.threadIdx.x
    s = cuda.shared.array(cuda.blockDim.x)
    s[t] = x[cuda.grid(1)]
    yield
    stride = cuda.blockDim.x // 2
    while stride > 0:
        if t < stride:
            s[t] += s[t + stride]
        yield
        stride //= 2
    if t == 0:
        y[cuda.blockIdx.x] = s[0]


def no_barrier(cuda, x, y):
    t = cuda.threadIdx.x
    s = cuda.shared.array(cuda.blockDim.x)
    s[t] = x[cuda.grid(1)]
    stride = cuda.blockDim.x // 2
    while stride > 0:
        if t < stride:
            s[t] += s[t + stride]
        stride //= 2
    if t == 0:
        y[cuda.blockIdx.x] = s[0]


def barrier_for_some(cuda, x, y):
    t = cuda.threadIdx.x
    s = cuda.shared.array(cuda.blockDim.x)
    s[t] = x[cuda.grid(1)]
    yield
    stride = cuda.blockDim.x // 2
    while stride > 0:
        if t < stride:
            s[t] += s[t + stride]
            yield
        stride //= 2
    if t == 0:
        y[cuda.blockIdx.x] = s[0]


def stride_stays(cuda, x, y):
    t = cuda.threadIdx.x
    s = cuda.shared.array(cuda.blockDim.x)
    s[t] = x[cuda.grid(1)]
    yield
    stride = cuda.blockDim.x // 2
    for _ in range(cuda.blockDim.x.bit_length() - 1):
        if t < stride:
            s[t] += s[t + stride]
        yield
    if t == 0:
        y[cuda.blockIdx.x] = s[0]


def last_step_left(cuda, x, y):
    t = cuda.threadIdx.x
    s = cuda.shared.array(cuda.blockDim.x)
    s[t] = x[cuda.grid(1)]
    yield
    stride = cuda.blockDim.x // 2
    while stride > 1:
        if t < stride:
            s[t] += s[t + stride]
        yield
        stride //= 2
    if t == 0:
        y[cuda.blockIdx.x] = s[0]


def sums_of_blocks(kernel, x, threads):
    y = Memory("y", np.full(len(x) // threads, -1))
    unwritten = launch(kernel, len(x) // threads, threads, Memory("x", x), y)
    return unwritten if unwritten is ... else y.cells


def whole_blocks(rng):
    threads = int(rng.choice([4, 8, 16]))
    return rng.integers(10, 1000, threads * int(rng.integers(2, 4))), threads


# ---- coalesce --------------------------------------------------------------------------------------------------------
def a_warp_for_each_row(cuda, w, y):
    n, lane = cuda.blockIdx.x, cuda.threadIdx.x
    total = 0
    for k in range(lane, w.shape[1], cuda.blockDim.x):
        total += w[n, k]
    cuda.atomic.add(y, n, total)


def a_thread_for_each_row(cuda, w, y):
    n = cuda.grid(1)
    if n < w.shape[0]:
        for k in range(w.shape[1]):
            cuda.atomic.add(y, n, w[n, k])


def a_piece_for_each_lane(cuda, w, y):
    n, lane, piece = cuda.blockIdx.x, cuda.threadIdx.x, -(-w.shape[1] // cuda.blockDim.x)
    total = 0
    for k in range(lane * piece, min((lane + 1) * piece, w.shape[1])):
        total += w[n, k]
    cuda.atomic.add(y, n, total)


def each_lane_all(cuda, w, y):
    total = 0
    for k in range(w.shape[1]):
        total += w[cuda.blockIdx.x, k]
    cuda.atomic.add(y, cuda.blockIdx.x, total)


def whole_steps_only(cuda, w, y):
    n, lane = cuda.blockIdx.x, cuda.threadIdx.x
    total = 0
    for step in range(w.shape[1] // cuda.blockDim.x):
        total += w[n, step * cuda.blockDim.x + lane]
    cuda.atomic.add(y, n, total)


def not_atomic(cuda, w, y):
    n, lane = cuda.blockIdx.x, cuda.threadIdx.x
    for k in range(lane, w.shape[1], cuda.blockDim.x):
        y[n] += w[n, k]


def sums_and_lines(kernel, w):
    """The row sums, and last the number of lines fetched; the launch: a block of one warp for each row."""
    memory, y = Memory("w", w), Memory("y", np.zeros(len(w), int))
    unwritten = launch(kernel, len(w), WARP, memory, y)
    return unwritten if unwritten is ... else np.append(y.cells, lines_read(memory))


def a_matrix(rng):
    K = WARP * int(rng.integers(2, 5)) + int(rng.integers(2, WARP - 1))
    return (rng.integers(1, 100, (int(rng.integers(9, 14)), K)),)


EXERCISES = [
    Exercise(
        "guard",
        "Write y = 2 x, a thread for each row, when the blocks hold more threads than there are rows.",
        guarded,
        wrong={
            "none": (no_guard, "13 rows, blocks of 8: count the threads; what do the last ones write to?"),
            "one-too-many": (one_row_too_many, "rows count from 0: which is the last row?"),
            "last-row": (last_row_left, "the last row is not written: count again"),
            "first-block": (first_block_only, "only the first block's rows are written: where does a block begin?"),
        },
        make_inputs=rows_and_threads,
        call=doubled,
    ),
    Exercise(
        "coalesce",
        "Add up each row of w, a warp for each row, so that the warp fetches as few lines as possible.",
        a_warp_for_each_row,
        wrong={
            "thread-per-row": (a_thread_for_each_row, "a thread for each row: neighbours read far apart"),
            "piece-per-lane": (a_piece_for_each_lane, "a piece for each lane: what do the lanes read in one step?"),
            "each-all": (each_lane_all, "each lane adds up the whole row: the sum comes as often as there are lanes"),
            "tail": (whole_steps_only, "the last columns are missing: K is no multiple of the lanes"),
            "not-atomic": (not_atomic, "lanes write one number at the same time: which addition waits its turn?"),
        },
        make_inputs=a_matrix,
        call=sums_and_lines,
    ),
    Exercise(
        "reduce",
        "Add up each block's numbers in shared memory, as a tree.",
        tree_sum,
        wrong={
            "no-barrier": (no_barrier, "someone reads early: has the other thread written by then?"),
            "barrier-for-some": (barrier_for_some, "only some threads reach a barrier: all of them must, or all wait"),
            "stride-stays": (stride_stays, "the stride stays the same: how many numbers are left after a step?"),
            "last-step": (last_step_left, "two numbers are left: one step is missing"),
        },
        make_inputs=whole_blocks,
        call=sums_of_blocks,
    ),
]

GUESSES = {
    "threads-for-13": Guess(
        "how many threads run for 13 rows, in blocks of 8",
        16,
        [(13, "a block is launched whole"), (8, "8 is one block: are 13 rows done?")],
    ),
    "lines-of-a-step": Guess(
        "how many lines 8 lanes fetch in one step, each in a row of its own",
        8,
        [(1, "they would have to lie side by side"), (64, "one number of each row, not all of it")],
    ),
    "barriers-for-8": Guess(
        "how many barriers a tree sum of 8 numbers passes, the one after loading included",
        4,
        [(3, "and the one after loading?"), (8, "how often can 8 be halved?"), (7, "7 additions, but many at a time")],
    ),
    "sums-over-block-sizes": Guess(
        "how many different integer sums four block sizes give",
        1,
        [(4, "does the order of additions change an integer sum?")],
    ),
}
