"""Lesson 03: its solution is the package's norm, and its pictures are drawn from what the norm gives."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from minimistral.arithmetic import by_name
from minimistral.config import MISTRAL_7B
from minimistral.costs import parameters
from minimistral.exercises import find, guesses
from minimistral.figures.rms_norm import bend_at_eps, circle_or_two_points, norm_stages, sizes_before_and_after
from minimistral.rms_norm import rms_norm
from minimistral.trace import stage_names

FLOAT64 = by_name("float64")


def test_the_solution_is_the_packages_norm():
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((13, 24)), rng.uniform(0.5, 1.5, 24)
    assert np.abs(find("rms-norm").solution(x, weight, 0.3) - rms_norm(x, weight, 0.3, FLOAT64)).max() < 1e-14


def test_an_input_of_the_solutions_size_comes_out_with_size_0_6():
    x = np.full((1, 24), find("size-for-point-six").solution())
    assert rms_norm(x, np.ones(24), 1e-5, FLOAT64) == pytest.approx(0.6)


def test_the_curve_is_straight_left_of_the_bend_and_flat_right_of_it():
    curve = {line.get_label(): line.get_xydata().T for line in bend_at_eps().axes[0].lines}["RMSNorm: eps inside"]
    s, out = curve
    assert np.allclose(out, s / np.sqrt(s**2 + 1e-5), rtol=1e-9)
    assert out[s > 1].min() > 0.9999 and np.allclose((out / s)[s < 1e-5], 1e-5**-0.5, rtol=1e-4)


def test_in_the_plane_one_norm_gives_a_circle_and_the_other_two_points():
    circle, two = (
        next(line.get_xydata() for line in axes.lines if line.get_label() == "after")
        for axes in circle_or_two_points().axes
    )
    assert np.allclose((circle**2).sum(axis=1), 2) and len(np.unique(circle.round(9), axis=0)) == len(circle)
    assert np.unique(two.round(9), axis=0).tolist() == [[-1, 1], [1, -1]]


def test_each_norm_is_drawn_before_and_after_and_leaves_one_size():
    before, after = norm_stages(6)
    names = stage_names(MISTRAL_7B)
    assert len(before) == len(after) == 13 and set(before + after) <= set(names)
    assert all(names.index(a) < names.index(b) for a, b in zip(before[:-1], after[:-1], strict=True))
    squares = [line for line in sizes_before_and_after().axes[0].lines if line.get_marker() == "s"]
    assert len(squares) == 13 and all(np.ptp(line.get_ydata()) < 0.1 for line in squares)


def test_the_norms_of_table_1():
    assert guesses()["norm-weights"].right == parameters(MISTRAL_7B)["norms"] == 266_240
