"""Lesson 13: what a student writes agrees with the package's grid, and the pictures draw what was measured."""

import numpy as np
import pytest

from minimistral.arithmetic.exact import TERMS, W_BITS
from minimistral.arithmetic.grid import grid
from minimistral.exercises import find


@pytest.mark.parametrize("seed", range(20))
def test_the_solution_is_the_packages_grid(seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3, 11)) * 10.0 ** rng.integers(-9, 9, (3, 1))
    for bits in (2, 15, 31):
        assert (find("snap").solution(x, bits) == grid(x, bits)).all()


@pytest.mark.parametrize("K", [1, 2, 3, 5, 8, 14_336, TERMS])
def test_so_many_bits_hold_the_largest_sum(K):
    largest = K * (2**15) * (2**W_BITS - 1)
    assert largest < 2 ** find("safe-bits").solution(15, W_BITS, K) <= 2**53


@pytest.mark.parametrize("seed", range(5))
def test_only_sums_on_grids_have_no_error_in_any_order(seed):
    pytest.importorskip("matplotlib")
    from minimistral.figures.exact_sums import errors_of_adding

    errors = errors_of_adding(seed=seed)
    assert set(errors["on grids"].values()) == {0.0} and len(errors["on grids"]) == 5
    assert all(len(set(errors[row].values())) > 1 for row in ("float16", "float32", "float64"))


def test_the_five_orders_add_the_same_numbers():
    from minimistral.figures.exact_sums import MARKS, sums_in_five_orders

    sums = sums_in_five_orders(np.arange(64.0))
    assert set(sums) == set(MARKS) and set(sums.values()) == {64 * 63 / 2}


def test_shuffled_hidden_units_move_every_arithmetic_but_exact():
    from minimistral.figures.exact_sums import differences_by_layer

    text = "Once upon a time, in an old mill, there lived a girl called Lena."
    assert set(differences_by_layer("exact", text).values()) == {0.0}
    assert 1e-9 < differences_by_layer("float32", text)["logits"] < 1e-5
    assert 1e-18 < differences_by_layer("float64", text)["logits"] < 1e-13


def test_the_bar_is_as_long_as_its_bits():
    pytest.importorskip("matplotlib")
    from minimistral.figures.exact_sums import bit_budget

    axes = bit_budget(15, 23, 15).axes[0]
    assert max(bar.get_x() + bar.get_width() for bar in axes.patches) == 53
    assert axes.get_title() == "53 bits: fits float64, int64"
