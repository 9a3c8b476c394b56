"""Lesson 09: its solutions are what the package does, and each planted mistake shows where the lesson says."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from minimistral.exercises import find
from minimistral.figures.chunked_prefill import CONFIG, KINDS, first_wrong, ring_mistakes
from minimistral.rolling_cache import RollingCache, slot_positions

W = CONFIG.window


def test_the_solutions_are_what_the_ring_reads_and_holds():
    rng = np.random.default_rng(0)
    for _ in range(50):
        n, size = (int(x) for x in rng.integers(1, 3 * W, 2))
        cache = RollingCache(CONFIG, np.dtype(np.float32))
        rows = np.zeros((n, CONFIG.n_kv_heads, CONFIG.head_dim), np.float32)
        cache.write([rows], [rows])
        read = [*cache.read(0)[2].tolist(), *range(n, n + size)]
        assert sorted(read) == find("chunk-keys").solution(n, size, W).tolist()
        after = find("chunk-write").solution(slot_positions(n, W), n, size)
        assert after.tolist() == slot_positions(n + size, W).tolist()


def test_each_mistake_shows_at_the_chunk_sizes_that_the_lesson_names():
    shows = dict(zip(KINDS, first_wrong(T=13, then=2 * W), strict=True))
    sizes = {name: (np.flatnonzero(row >= 0) + 1).tolist() for name, row in shows.items()}
    assert sizes["no mistake"] == []
    assert sizes["writes before it reads"] == sizes["sees the chunk only"] == list(range(2, 12))
    assert sizes["keeps the first W"] == list(range(W + 1, 14))
    assert sizes["counts slots from the chunk"] == [6, 7, 8, 9, 11, 12, 13]
    assert shows["keeps the first W"][12] == shows["counts slots from the chunk"][12] == 13  # only after the prompt


def test_the_picture_shows_the_first_wrong_positions():
    texts = {text.get_position(): int(text.get_text()) for text in ring_mistakes().axes[0].texts}
    for (row, column), position in np.ndenumerate(first_wrong()):
        assert texts.get((column, row), -1) == position
