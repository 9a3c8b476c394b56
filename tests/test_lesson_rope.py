"""Lesson 04: its solution is the package's rotation, and its pictures are drawn from the numbers they name."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from minimistral.arithmetic import by_name
from minimistral.exercises import find
from minimistral.figures.rope import angle_errors, mean_score, score_by_distance, turning_arrows
from minimistral.rope import rope_table, rotate

FLOAT64 = by_name("float64")


def test_the_solution_turns_as_the_package_does():
    rng = np.random.default_rng(0)
    x, positions = rng.standard_normal((13, 6, 10)), 7 + np.arange(13)
    theirs = rotate(x, *rope_table(positions, 10, 1e4, FLOAT64), FLOAT64)
    assert np.abs(find("rotate").solution(x, positions, 1e4) - theirs).max() < 1e-14


def test_the_longest_wavelength_of_table_1_and_the_pairs_that_turn_within_the_window():
    assert round(find("wavelength").solution(128, 1e4)) == 54_410
    turns = {theta: 2 * np.pi / FLOAT64.frequencies(128, theta) <= 4096 for theta in (1e4, 1e6)}
    assert [int(t.sum()) for t in turns.values()] == [46, 31]


def test_the_angle_between_two_arrows_is_the_same_along_a_row():
    axes = turning_arrows().axes[0]
    ends = {}
    for line in axes.lines:
        (x0, x1), (y0, y1) = line.get_data() if len(line.get_xdata()) == 2 else ((0, 0), (0, 0))
        if (x0, y0) != (x1, y1):
            ends.setdefault((x0, y0), []).append(np.arctan2(y1 - y0, x1 - x0))
    between = {place: (query - key) % (2 * np.pi) for place, (key, query) in ends.items()}
    assert len(between) == 6 * 9
    for row in range(6):
        assert np.ptp([angle for (_, y), angle in between.items() if y == row]) < 1e-12
    assert between[0, 5] == pytest.approx(2)  # pair 0, two positions apart: 2 radians


def test_scores_fall_with_distance_as_the_mean_cosine_does_and_peak_where_the_query_was_turned_back_to():
    distances = np.arange(41)
    cosines = np.cos(distances[:, None] * FLOAT64.frequencies(128, 1e4)).mean(axis=1)
    assert np.abs(mean_score(distances, 1e4) - cosines).max() < 1e-12
    assert all(int(line.get_ydata().argmax()) == 10 for line in score_by_distance().axes[1].lines[:2])


def test_angles_in_16_bits_are_lost_within_a_context_and_float32_angles_within_none():
    curves = angle_errors().axes[0].lines[:3]  # the fourth is the largest possible
    bfloat16, float16, float32 = (line.get_ydata()[line.get_xdata() <= 8192][-1] for line in curves)
    assert bfloat16 > 1.9 and float16 > 1.9 and 1e-5 < float32 < 1e-3
