"""Lesson 17: its solutions are the package's backward functions, and its pictures are drawn from what is measured."""

from types import SimpleNamespace

import numpy as np
import pytest

from minimistral.config import Config
from minimistral.exercises import find, guesses
from minimistral.figures.training import errors_of_a_norm, misses, one_sided, smooth, two_sided
from minimistral.training import pieces
from minimistral.training.batch import packed
from minimistral.weights import random_tensors

CONFIG = Config(dim=24, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=10, hidden_dim=40, vocab_size=61, window=5)


def drawn(name: str, seed: int) -> tuple:
    return find(name).make_inputs(np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(20))
def test_the_solutions_are_the_packages_backward_functions_and_the_slopes(seed):
    dy, x, weight, eps = inputs = drawn("rms-norm-grad", seed)
    found = find("rms-norm-grad").solution(*inputs)
    assert np.abs(found - pieces.rms_norm_backward(*inputs)[0]).max() < 1e-13
    assert np.allclose(found, two_sided(lambda: (dy * pieces.rms_norm(x, weight, eps)).sum(), x, 1e-5), atol=1e-7)
    dy, cos, sin = inputs = drawn("rope-grad", seed)
    found = find("rope-grad").solution(*inputs)
    assert np.abs(found - pieces.rope_backward(*inputs)).max() < 1e-13
    x = np.ones_like(dy)
    assert np.allclose(found, two_sided(lambda: (dy * pieces.rope(x, cos, sin)).sum(), x, 1e-5), atol=1e-7)


def test_differences_miss_a_cube_by_delta_or_its_square_and_leave_x_as_it_was():
    x = np.array([2.0, 5.0])
    assert two_sided(lambda: (x**3).sum(), x, 0.1) == pytest.approx([12.01, 75.01])
    assert one_sided(lambda: (x**3).sum(), x, 0.1) == pytest.approx([12.61, 76.51])
    assert x.tolist() == [2, 5]
    asked = guesses()["smaller-delta"]
    assert asked.right == 12.01 and 12.61 in [wrong for wrong, _ in asked.wrong]


def test_the_errors_of_a_norm_are_a_v_that_turns_at_1e_5():
    deltas = [1e-11, 1e-8, 1e-5, 1e-2]
    falling, low, lowest, rising = errors_of_a_norm(two_sided, deltas, "float64")
    assert falling > 100 * low > 1e4 * lowest and rising > 1e3 * lowest
    assert guesses()["best-delta"].right == deltas[2] and lowest < 1e-9
    assert errors_of_a_norm(one_sided, deltas[2:3], "float64")[0] > 1000 * lowest
    assert errors_of_a_norm(two_sided, deltas[3:], "float32")[0] > 1000 * lowest


def test_what_is_said_of_single_numbers_is_what_the_pieces_give():
    dh = np.array([[1.0], [10.0], [100.0]])
    assert pieces.embedding_backward(dh, np.array([2, 0, 2]), 4)[2, 0] == guesses()["row-of-two"].right
    x = np.array([[3.0, 4.0]])
    assert np.allclose(pieces.rms_norm_backward(x, x, np.ones(2), 0.0)[0], guesses()["along-x"].right)
    w, mean, square = np.array([1.0]), np.zeros(1), np.zeros(1)
    pieces.adamw(w, np.array([-0.002]), mean, square, 1, 0.1, (0.9, 0.95), 1e-8, 0.0)
    assert w[0] == pytest.approx(guesses()["first-step"].right, abs=1e-5)


def last_wins(dh, tokens, vocab_size):
    table = np.zeros((vocab_size, dh.shape[1]))
    table[tokens] = dh
    return table


@pytest.mark.parametrize(
    ("change", "ids", "wrong_in_layer_1", "wrong"),
    [
        ({}, [5, 3, 8, 3, 60, 2], 0, 0),
        ({"rope_backward": pieces.rope}, [5, 3, 8, 3, 60, 2], guesses()["spoilt-by-rope"].right, 13),
        ({"embedding_backward": last_wins}, [5, 3, 8, 3, 60, 2], 0, 1),
        ({"embedding_backward": last_wins}, [5, 3, 8, 9, 60, 2], 0, 0),  # no token comes twice: not seen
    ],
    ids=["right", "rope", "embedding", "embedding unseen"],
)
def test_directions_show_which_gradients_a_fault_spoils(change, ids, wrong_in_layer_1, wrong):
    kind, batch = SimpleNamespace(**vars(pieces) | change), packed([(ids, np.ones(6))])
    found = misses(random_tensors(CONFIG, 0, "float64"), CONFIG, batch, kind)
    spoilt = [name for name, error in found.items() if error > 1e-6]
    assert len(found) == 21 and len(spoilt) == wrong
    assert sum(name.startswith("layers.1.") for name in spoilt) == wrong_in_layer_1


def test_the_curves_are_drawn_from_the_losses_that_are_given():
    pytest.importorskip("matplotlib")
    from minimistral.figures.training import loss_curves

    runs = {"by hand": [6.0] * 40 + [3.0] * 40, "wrong": [6.0] * 80}
    axes = loss_curves(runs, {"a level": 5.0}).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert np.array_equal(lines["by hand"], smooth(runs["by hand"], 25)) and lines["by hand"][-1] == 3
    assert set(lines["wrong"]) == {6} and [text.get_text() for text in axes.texts] == ["a level: 5.00"]
