"""Lesson 12: what a student writes agrees with the package's own draw, and the pictures show real draws."""

import numpy as np
import pytest

from minimistral.exercises import find
from minimistral.mistral import Mistral
from minimistral.sampling import sample, uniform


@pytest.mark.parametrize("seed", range(20))
def test_the_solutions_together_draw_what_the_package_draws(seed):
    rng = np.random.default_rng(seed)
    logits = (3 * rng.standard_normal(61)).astype(np.float32)
    t, share = float(rng.uniform(0.3, 2)), float(rng.uniform(0.2, 0.99))
    left = find("top-p").solution(find("temperature").solution(logits.astype(np.float64), t), share)
    order = np.argsort(-left, kind="stable")
    for position in range(30):
        drawn = order[np.argmax(left[order].cumsum() > uniform(seed, position))]
        assert drawn == sample(logits, t, share, 0, seed, position)
    assert np.argmax(find("temperature").solution(logits, 0)) == sample(logits, 0, 1, 0, seed, 0)


def test_the_next_position_is_the_caches():
    model = Mistral.from_pretrained()
    cache = model.new_cache()
    model([1, 5, 9, 7], cache)
    model([3], cache)  # the first that was drawn
    assert cache.length == find("next-position").solution(4, 1) == 5


def test_pictures_show_what_is_kept_and_what_is_drawn():
    pytest.importorskip("matplotlib")
    from minimistral.figures.sampling import draws_of_a_seed, kept_pieces

    for tenths, kept in ((5, 3), (10, 10), (15, 27)):
        labels = kept_pieces(tenths).axes[0].get_legend_handles_labels()[1]
        assert labels == [f"kept: {kept}", f"dropped: {2048 - kept}"]
    axes = draws_of_a_seed(seed=2, tokens=5).axes[0]
    marks = [line.get_xdata()[0] for line in axes.lines]
    assert sorted(set(marks)) == sorted(uniform(2, position) for position in range(18, 23))
