"""Lesson 14: its solution is the exact product, and its pictures show the sums they speak of."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from minimistral.exercises import find
from minimistral.exercises.numba_cpu import whole_numbers
from minimistral.figures.numba_cpu import EIGHT, kernel_speeds, lanes_then_sum, sum_in_lanes


def test_the_solution_is_the_product_of_pythons_integers():
    for seed in range(20):
        w, x = whole_numbers(np.random.default_rng(seed))
        y = find("gemv").solution(w, x)
        assert y.astype(int).tolist() == (w.astype(int).astype(object) @ x.astype(int).astype(object)).tolist()


def test_lanes_change_a_float32_sum_and_no_integer_sum():
    eight = np.array(EIGHT)
    assert np.cumsum(eight.astype(np.float32))[-1] == 3 and lanes_then_sum(eight.astype(np.float32), 4)[1] == 6
    assert {int(lanes_then_sum(eight, lanes)[1]) for lanes in range(1, 9)} == {6}
    shown = [text.get_text() for text in sum_in_lanes().axes[0].texts]
    assert shown.count("6") == 3 and shown.count("3") == 1


def test_each_bar_is_as_long_as_its_kernel_is_fast():
    bars = [
        bar.get_width() for bar in kernel_speeds({"mine": 3.0, "float32, mine": 5.0, "copying": 4.0}).axes[0].patches
    ]
    assert bars == [3.0, 5.0]
