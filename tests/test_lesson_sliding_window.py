"""Lesson 07: its solutions are the package's functions, and its pictures are drawn from the known numbers."""

import numpy as np
import pytest

from minimistral.costs import attended_pairs
from minimistral.exercises import find
from minimistral.window import reach, window_mask


def test_the_solutions_are_the_packages():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        for name, theirs in (("window-mask", window_mask), ("reach", reach), ("window-pairs", attended_pairs)):
            inputs = find(name).make_inputs(rng)
            assert np.array_equal(find(name).solution(*inputs), theirs(*inputs))


def test_the_pictures_show_55_of_91_pairs_17_changes_and_131_041_tokens():
    pytest.importorskip("matplotlib")
    from minimistral.figures.sliding_window import measured_pyramid, pairs_in_a_window, reach_of_mistral_7b

    assert pairs_in_a_window().axes[0].get_title() == "W = 5: 55 of 91 pairs"
    words = [text.get_text() for text in measured_pyramid().axes[0].texts]
    assert words[:4] == ["5 changed", "9 changed", "13 changed", "17 changed"]
    left, right = reach_of_mistral_7b().axes
    assert left.lines[0].get_ydata()[-1] * 1000 == pytest.approx(131_041)
    paper, ours = (line.get_ydata() for line in right.lines)
    assert set(paper.tolist()) == {1} and ours[-1] == 131_041 - 131_072
