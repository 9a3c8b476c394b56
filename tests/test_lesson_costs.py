"""Lesson 16: its answers are the package's counts, and its pictures are drawn from the known numbers of Mistral 7B."""

from dataclasses import replace

import numpy as np
import pytest

from minimistral import costs
from minimistral.config import MISTRAL_7B
from minimistral.exercises import find, guesses

WEIGHTS = costs.parameters(MISTRAL_7B)


def test_the_numbers_asked_for_are_those_of_the_package():
    assert find("decode-bytes").solution() == costs.decode_bytes(MISTRAL_7B, 0) == 14_221_328_384
    assert find("speedup-16k").solution() == 2.286
    exercise = find("rectangles")
    for seed in range(20):
        sizes = exercise.make_inputs(np.random.default_rng(seed))
        assert exercise.solution(*sizes) == costs.computed_pairs(*sizes)
    assert [exercise.solution(16_384, 4096, n) for n in (4096, 1024, 256)] == [117_440_512, 73_400_320, 62_390_272]


@pytest.mark.parametrize(
    ("mistake", "weights"),
    [
        ("all-weights", WEIGHTS["total"]),
        ("weights-not-bytes", costs.weights_read(MISTRAL_7B) / 2),
        ("no-embedding", costs.weights_read(MISTRAL_7B) - MISTRAL_7B.dim),
        ("no-norms", costs.weights_read(MISTRAL_7B) - WEIGHTS["norms"]),
        ("no-output", costs.weights_read(MISTRAL_7B) - WEIGHTS["output"]),
    ],
)
def test_wrong_counts_of_bytes_are_those_of_the_mistakes(mistake, weights):
    assert find("decode-bytes").wrong[mistake][0]() == 2 * weights


def test_wrong_gains_are_those_of_the_mistakes():
    wrong = {name: function() for name, (function, _) in find("speedup-16k").wrong.items()}
    pairs, full = costs.attended_pairs, replace(MISTRAL_7B, window=None)
    whole = costs.prefill_flops(full, 16_384) / costs.prefill_flops(MISTRAL_7B, 16_384)
    assert wrong["length-by-window"] == 16_384 / 4096
    assert wrong["whole-model"] == round(whole, 3) == guesses()["whole-model-16k"].right
    assert wrong["window-plus-one"] == round(pairs(16_384) / pairs(16_384, 4097), 3)
    assert wrong["not-rounded"] == pairs(16_384) / pairs(16_384, 4096)
    assert guesses()["computed-at-chunk-w"].right == round(117_440_512 / pairs(16_384, 4096), 2)


def drawn(axes) -> dict[str, dict[float, float]]:
    """{line's label: {x: y}} of the lines of a picture."""
    return {line.get_label(): dict(zip(*line.get_data(), strict=True)) for line in axes.lines}


def test_the_cache_picture_draws_16_4_and_half_a_gib_at_32k():
    pytest.importorskip("matplotlib")
    from minimistral.figures.costs import cache_by_length

    lines = drawn(cache_by_length().axes[0])
    at_32k = [lines[name][32_768] for name in ("32 key heads", "8 key heads", "8 and the window")]
    assert at_32k == [16, 4, 0.5]
    assert lines["8 and the window"][4096] == lines["8 and the window"][131_072] == 0.5


def test_the_flops_picture_draws_what_the_window_saves():
    pytest.importorskip("matplotlib")
    from minimistral.figures.costs import flops_by_length

    left, right = (drawn(axes) for axes in flops_by_length().axes)
    assert left["attention, no window"][4096] * 1e9 == pytest.approx(2**31)
    assert left["attention, window"][131_072] == left["attention, window"][4096]
    assert left["matrices"][0] == pytest.approx(14.2208, abs=5e-5)
    gains = right["attention alone"]
    assert [round(gains[n], 3) for n in (8192, 16_384, 32_768)] == [1.333, 2.286, 4.267]
    assert round(right["the whole model"][16_384], 3) == 1.15


def test_the_blocks_picture_counts_as_the_package_does():
    pytest.importorskip("matplotlib")
    from minimistral.figures.costs import chunk_blocks

    for chunk in (1, 2, 4, 5, 7, 13):
        axes = chunk_blocks(chunk).axes[0]
        crosses = len(axes.lines[0].get_xdata())
        assert crosses + 55 == costs.computed_pairs(13, 5, chunk)
        assert axes.get_title() == f"chunks of {chunk}: {crosses + 55} computed, 55 needed"


def test_the_roof_is_drawn_from_the_limits_that_are_given():
    pytest.importorskip("matplotlib")
    from minimistral.figures.costs import roofline

    axes = roofline(limits=(20e9, 100e9), points=[(1, 0.5, 9e9), (64, 32, 80e9)]).axes[0]
    slope, level = axes.lines[:2]
    assert slope.get_ydata() == pytest.approx([2, 100]) and slope.get_xdata() == pytest.approx([0.1, 5])
    assert list(level.get_ydata()) == [100, 100]
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines[3:]]
    assert points == [(0.5, 9), (32, 80)]
