"""Lesson 10: its solution is the package's swiglu, and its pictures show the numbers of the plan and of the model."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from minimistral.arithmetic import by_name
from minimistral.exercises import find
from minimistral.figures.swiglu import feed_forward_share, gates_in_use, losses_when_closed, silu, story_loss
from minimistral.swiglu import swiglu


def test_the_solution_is_the_packages_swiglu():
    gate, up = 10 * np.random.default_rng(0).standard_normal((2, 13, 40))
    theirs = swiglu(gate, up, by_name("float64"))
    assert np.allclose(find("swiglu").solution(gate, up), theirs, rtol=1e-13, atol=1e-300)
    assert np.allclose(silu(gate) * up, theirs, rtol=1e-13, atol=1e-300)


def test_the_bar_shows_the_weights_of_mistral_7b():
    widths = [patch.get_width() for patch in feed_forward_share().axes[0].patches]
    assert np.allclose(widths, [32 * 0.176160768, 32 * 0.041943040, 2 * 0.131072])
    assert "77.8" in feed_forward_share().alt


def test_the_parts_of_the_gates_are_all_of_them():
    parts = [patch.get_width() for patch in gates_in_use().axes[1].patches]
    assert len(parts) == 24 and sum(parts) == pytest.approx(600)


def test_units_closed_by_their_gates_cost_least_and_at_random_most():
    shares, losses = losses_when_closed()
    assert shares[-2:] == (0.75, 0.9)
    for most in (-2, -1):
        random, up, gate = (losses[n][most] for n in ("at random", "smallest |up|", "smallest |silu(gate)|"))
        assert gate < up < random
    assert losses["smallest |silu(gate)|"][0] == story_loss()
