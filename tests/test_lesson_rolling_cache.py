"""Lesson 08: its solutions are the package's functions, and its pictures show the package's numbers."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from minimistral.config import MISTRAL_7B
from minimistral.costs import cache_bytes
from minimistral.exercises import find
from minimistral.figures.picture import Film
from minimistral.figures.rolling_cache import ring_film, ring_memory, ring_strip
from minimistral.rolling_cache import slot_of, slot_positions


def test_the_solutions_are_the_packages_functions():
    slot, slot_position = find("slot").solution, find("slot-position").solution
    for n in range(1, 40):
        for window in range(1, 9):
            assert slot(n, window) == slot_of(np.array(n), window)
            held = [slot_position(s, n, window) for s in range(window)]
            assert held == slot_positions(n, window).tolist()
    for length in (1, 4096, 32768):
        c = MISTRAL_7B
        mine = find("cache-bytes").solution(length, c.n_layers, c.n_heads, c.n_kv_heads, c.head_dim, c.window)
        assert mine == cache_bytes(c, length)
    assert mine == 512 * 2**20 and cache_bytes(replace(c, window=None), 32768) == 4 * 2**30


def test_the_strip_shows_what_each_slot_holds_at_each_step():
    shown = {text.get_position(): int(text.get_text()) for text in ring_strip().axes[0].texts}
    for n in range(1, 14):
        for slot, position in enumerate(slot_positions(n, 5).tolist()):
            assert shown.get((n - 1, slot), -1) == position


def test_the_film_is_a_small_gif_and_a_page(tmp_path):
    from PIL import Image

    film = ring_film()
    assert isinstance(film, Film) and "10 11 12 8 9" in film.alt
    film.save(tmp_path / "ring.gif")
    film.save(tmp_path / "ring.html")
    assert (tmp_path / "ring.gif").stat().st_size <= 150_000
    with Image.open(tmp_path / "ring.gif") as gif:
        assert gif.n_frames == film.n_frames == 13
    page = (tmp_path / "ring.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") and page.count("data:image/png;base64") == 13


def test_the_rings_memory_is_level_and_without_a_window_it_grows():
    labels = {line.get_label(): line.get_ydata() for line in ring_memory().axes[0].lines}
    assert set(labels["a ring of 5 slots"][4:]) == {2400}
    assert labels["no window: arrays grow by doubling"][-1] == 128 * 480
