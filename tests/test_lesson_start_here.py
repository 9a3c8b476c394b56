"""Lesson 00: its counts are the package's, and its wrong answers for Table 1 are the plan's numbers."""

from dataclasses import astuple

import numpy as np
import pytest

from minimistral.config import MISTRAL_7B, Config
from minimistral.costs import parameters
from minimistral.exercises import find
from minimistral.sampling import argmax

TABLE_1 = astuple(MISTRAL_7B)[:7]  # dim to vocab_size


def test_parameters_are_counted_as_the_package_does():
    exercise = find("parameter-count")
    for seed in range(20):
        sizes = exercise.make_inputs(np.random.default_rng(seed))
        assert exercise.solution(*sizes) == parameters(Config(*sizes))["total"]
    assert exercise.solution(*TABLE_1) == 7_241_732_096


@pytest.mark.parametrize(
    ("mistake", "count"),
    [
        ("keys-for-every-head", 8_047_038_464),
        ("tied-output", 7_110_660_096),
        ("two-matrices", 5_362_683_904),
        ("no-norms", 7_241_732_096 - 266_240),
    ],
)
def test_the_wrong_counts_of_table_1(mistake, count):
    assert find("parameter-count").wrong[mistake][0](*TABLE_1) == count


def test_the_next_token_is_the_greedy_one():
    exercise = find("next-token")
    for seed in range(20):
        (logits,) = exercise.make_inputs(np.random.default_rng(seed))
        assert exercise.solution(logits) == argmax(logits[-1])


def test_the_stack_shows_the_shares_and_its_areas_are_the_parameters():
    pytest.importorskip("matplotlib")
    from matplotlib.patches import Rectangle

    from minimistral.figures.start_here import parameter_stack

    _, stack = parameter_stack().axes
    words = " ".join(text.get_text() for text in stack.texts)
    assert "18.5 %" in words and "77.8 %" in words and words.count("1.8 %") == 2
    areas = [p.get_width() * p.get_height() for p in stack.patches if type(p) is Rectangle]
    assert MISTRAL_7B.dim * sum(areas) + 266_240 == 7_241_732_096  # the norms are not drawn
