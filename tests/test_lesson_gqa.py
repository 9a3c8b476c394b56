"""Lesson 06: its solutions are the package's attention, and its pictures show measured heads and counted bytes."""

import numpy as np
import pytest

from minimistral.arithmetic import by_name
from minimistral.attention import attention_scores, attention_values, heads_of
from minimistral.exercises import find


@pytest.mark.parametrize("seed", range(20))
def test_the_solution_attends_as_the_package_does(seed):
    exercise, float64 = find("gqa"), by_name("float64")
    q, k, v, seen = exercise.make_inputs(np.random.default_rng(seed))
    theirs = attention_values(attention_scores(q, k, seen, float64), v, float64)
    assert np.abs(exercise.solution(q, k, v, seen) - theirs).max() < 1e-14


def test_the_key_head_is_the_one_whose_group_holds_the_query_head():
    for n_heads, n_kv_heads in ((6, 2), (32, 8), (15, 5), (7, 1)):
        for h in range(n_heads):
            group = heads_of(find("kv-head").solution(h, n_heads, n_kv_heads), n_heads, n_kv_heads)
            assert h in range(n_heads)[group]


def test_pictures_show_a_staircase_of_heads_and_the_caches_of_mistral_7b():
    pytest.importorskip("matplotlib")
    from minimistral.figures.gqa import cache_by_key_heads, heads_that_change

    named = [(round(t.get_position()[1]), int(t.get_text())) for t in heads_that_change().axes[0].texts]
    assert named == [(h // 3, h) for h in range(12)]
    bars = [bar.get_height() for bar in cache_by_key_heads().axes[0].patches]
    assert bars == [0.5, 1, 2, 4, 8, 16, 0.5]  # GiB: 8 key heads 4, 32 key heads 16, with the window 512 MiB
