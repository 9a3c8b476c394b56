"""Lesson 15: its small machine finds races and missed barriers for certain, and its pictures show what it counts."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from minimistral.exercises import find
from minimistral.exercises.cuda import (
    WARP,
    BarrierMissed,
    Memory,
    Race,
    launch,
    lines_read,
    sums_and_lines,
    sums_of_blocks,
)
from minimistral.exercises.judge import judge
from minimistral.figures.cuda import first_reads, tree_steps, tree_sum, who_reads_what


def test_a_tree_sums_each_block_and_counts_as_the_formula_says():
    x, seen = np.arange(48) ** 2, []
    assert sums_of_blocks(find("reduce").solution, x, 16).tolist() == x.reshape(3, 16).sum(axis=1).tolist()
    launch(find("reduce").solution, 1, 16, Memory("x", x[:16]), Memory("y", np.zeros(1, int)), log=seen)
    reads, writes = (sum(map(len, counts.values())) for counts in (seen[0].reads, seen[0].writes))
    assert (reads, writes) == (2 * 15 + 1, 16 + 15)


@pytest.mark.parametrize(("mistake", "error"), [("no-barrier", Race), ("barrier-for-some", BarrierMissed)])
def test_a_missing_barrier_is_found_for_certain(mistake, error):
    for threads in (2, 4, 8, 16):
        with pytest.raises(error):
            sums_of_blocks(find("reduce").wrong[mistake][0], np.arange(2 * threads), threads)


def test_reads_of_the_same_number_and_atomic_additions_are_no_race():
    def kernel(cuda, x, y):
        cuda.atomic.add(y, 0, x[0])

    y = Memory("y", np.zeros(1, int))
    launch(kernel, 2, 8, Memory("x", np.array([3])), y)
    assert y.cells.tolist() == [48]


def test_a_warp_along_a_row_fetches_each_line_once():
    w = np.random.default_rng(0).integers(1, 100, (9, 29))
    *sums, lines = sums_and_lines(find("coalesce").solution, w)
    assert sums == w.sum(axis=1).tolist() and lines == 9 * -(-29 // WARP)
    assert sums_and_lines(find("coalesce").wrong["thread-per-row"][0], w)[-1] == 9 * 29


def test_the_picture_of_reads_is_what_the_machine_logs():
    def first_step(cuda, w):
        w[cuda.threadIdx.x, 0]

    w = Memory("w", np.zeros((9, 24), int))
    launch(first_step, 1, WARP, w)
    assert lines_read(w) == 8 and "fetch 8 lines" in who_reads_what().alt
    logged = {tuple(divmod(address, w.row)): thread for (_, thread), (address,) in w.reads.items()}
    assert {
        tuple(map(int, at)): int(lane) for at, lane in np.ndenumerate(first_reads(True, 9, 24)) if lane >= 0
    } == logged


def test_the_tree_in_the_picture_ends_with_the_sum():
    assert tree_steps(np.arange(16))[-1][0] == 120 and "one sum of 31 is left after 3 steps" in tree_sum().alt


def test_who_writes_numbas_barrier_is_told_of_yield():
    verdict = judge(find("reduce"), lambda cuda, x, y: cuda.syncthreads(), np.random.default_rng(0))
    assert "yield" in verdict.words and verdict.score == 0
