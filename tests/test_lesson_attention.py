"""Lesson 05: its solutions are the package's attention and mask, and its pictures are drawn from a real head."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from minimistral.arithmetic import by_name
from minimistral.attention import attention_scores, attention_values
from minimistral.exercises import find
from minimistral.figures.attention import largest_weights, one_head, weighted_mean
from minimistral.window import window_mask

FLOAT64 = by_name("float64")


def test_the_solution_attends_as_the_package_does():
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((rows, 6, 10)) for rows in (13, 17, 17))
    seen = window_mask(4 + np.arange(13), rng.permutation(17), None)
    theirs = attention_values(attention_scores(q, k, seen, FLOAT64), v, FLOAT64)
    assert np.abs(find("attend").solution(q, k, v, seen) - theirs).max() < 1e-14


def test_the_solutions_mask_is_the_packages_without_a_window():
    queries, keys = np.array([9, 10, 12]), np.array([10, 11, 12, 7, 8, 9])
    assert (find("causal-mask").solution(queries, keys) == window_mask(queries, keys, None)).all()


def test_the_mean_lies_where_the_weights_say():
    points = [line.get_xydata()[0].tolist() for line in weighted_mean(third=4).axes[0].lines]
    assert points == [[5, 18]]
    assert "(2, 12)" in weighted_mean(third=0).alt


def test_without_a_scale_one_key_takes_nearly_all_and_with_it_the_size_does_not_matter():
    bare, scaled = (line.get_ydata() for line in largest_weights().axes[0].lines[:2])
    assert bare[-1] > 0.9 and np.ptp(scaled) < 0.1 and bare[0] == scaled[0]


def test_the_head_in_the_picture_looks_at_the_name():
    scores, mask, weights = one_head().axes[:3]
    scores, weights = (np.asarray(axes.images[0].get_array()) for axes in (scores, weights))
    assert scores.shape == weights.shape == (12, 12) and len(mask.patches) == 144
    assert np.abs(weights.sum(axis=1) - 1).max() < 1e-12 and not np.triu(weights, 1).any()
    assert weights[-1, 4] > 0.99 and np.triu(scores, 1).any()
