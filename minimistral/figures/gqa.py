"""Pictures of lesson 06: which query head reads which key head, and what shared heads save."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from minimistral.attention import heads_of
from minimistral.config import MISTRAL_7B, Config
from minimistral.costs import cache_bytes
from minimistral.figures.style import CACHE, GREY, INK, KEY, KEY_INK, QUERY, card, letters_on, squares, tidy

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["cache_by_key_heads", "head_wiring", "heads_that_change"]

GIB = 2**30


def head_wiring(n_heads: int = 32, power: int = 3) -> "Picture":
    """A line from each query head to the key head that it reads, of 2^power key heads."""
    from matplotlib.patches import Rectangle

    n_kv_heads = 2**power
    group = n_heads // n_kv_heads
    wide = n_heads > 8
    picture = card(
        9 if wide else 3.6, 2.4, f"a row of {n_heads} query heads, {n_kv_heads} below for keys: each is joined to "
        f"{group} above, side by side")  # fmt: skip
    axes = picture.subplots()
    for g in range(n_kv_heads):
        heads = np.arange(n_heads)[heads_of(g, n_heads, n_kv_heads)]
        middle = heads.mean()
        for h in heads:
            axes.plot([h, middle], [0.75, 0.25], color=GREY, lw=1.2, zorder=0)
            box(axes, Rectangle, h, 1, 0.8, h, QUERY)
        box(axes, Rectangle, middle, 0, min(group, 2) * 0.8, g, KEY)
    one = "key head and value head" if n_kv_heads == 1 else "key heads and value heads"
    axes.text((n_heads - 1) / 2, 1.42, f"{n_heads} query heads", ha="center", color=QUERY)
    axes.text((n_heads - 1) / 2, -0.42, f"{n_kv_heads} {one}", ha="center", va="top", color=KEY_INK)
    axes.set(xlim=(-0.7, n_heads - 0.3), ylim=(-0.9, 1.75))
    axes.set_axis_off()
    return picture


def box(axes, rectangle, x: float, y: float, width: float, name: int, colour: str) -> None:
    """A coloured box with a number, its middle at (x, y)."""
    axes.add_patch(rectangle((x - width / 2, y - 0.25), width, 0.5, facecolor=colour, edgecolor="white"))
    axes.text(x, y, name, ha="center", va="center", size=9, color=letters_on(colour))


def heads_that_change(n_heads: int = 12, n_kv_heads: int = 4, T: int = 13) -> "Picture":
    """Change one key head's weights and see whose scores change: (n_kv_heads, n_heads), measured on a random model."""
    config = Config(
        dim=24, n_layers=1, head_dim=10, hidden_dim=40, n_heads=n_heads, n_kv_heads=n_kv_heads, vocab_size=61
    )
    changed = measured_wiring(config, T)
    picture = card(
        7, 2.9, f"{n_kv_heads} rows, a changed key head each: row g has {n_heads // n_kv_heads} coloured squares side "
        f"by side, the query heads whose scores change; they form a staircase")  # fmt: skip
    axes = picture.subplots()
    squares(axes, changed, QUERY)
    for g, h in np.argwhere(changed):
        axes.text(h, g, h, ha="center", va="center", color="white", size=9)
    axes.set(xticks=range(n_heads), yticks=range(n_kv_heads))
    axes.set_xlabel("query head: do its scores change?", color=QUERY)
    axes.set_ylabel("changed key head", color=KEY_INK)
    return picture


def measured_wiring(config: Config, T: int) -> np.ndarray:
    """wiring[g, h]: do the scores of query head h change in any bit when the weights of key head g are halved?"""
    from minimistral.mistral import Mistral
    from minimistral.weights import random_tensors

    tokens = np.random.default_rng(0).integers(0, config.vocab_size, T)
    name, stage = "layers.0.attention.wk.weight", "layers.0.scores"
    before = Mistral.random(config).trace(tokens, only=stage)[stage]  # (n_heads, T, T)
    wiring = []
    for g in range(config.n_kv_heads):
        tensors = random_tensors(config)
        tensors[name][g * config.head_dim : (g + 1) * config.head_dim] /= 2
        after = Mistral.from_tensors(tensors, config).trace(tokens, only=stage)[stage]
        wiring.append((before != after).any(axis=(1, 2)))
    return np.array(wiring)


def cache_by_key_heads(length: int = 32768) -> "Picture":
    """Keys and values of Mistral 7B in GiB for 1, 2, 4 ... 32 key heads, without a window; and with its window at 8."""
    heads = [1, 2, 4, 8, 16, 32]
    full = replace(MISTRAL_7B, window=None)
    sizes = [cache_bytes(replace(full, n_kv_heads=n), length) / GIB for n in heads]
    ring = cache_bytes(MISTRAL_7B, length) / GIB
    picture = card(
        7.5, 3.4, f"bars that double from {sizes[0]:g} GiB at 1 key head to {sizes[-1]:g} GiB at 32; Mistral's 8 take "
        f"{sizes[3]:g} GiB, and {ring:g} GiB with its window")  # fmt: skip
    axes = picture.subplots()
    looks = [{"color": CACHE if n == 8 else "#E3D3DC"} for n in heads] + [{"color": CACHE, "hatch": "////"}]
    for place, (size, look) in enumerate(zip([*sizes, ring], looks, strict=True)):
        bar = axes.bar([place], [size], 0.6, **look)
        bar[0].set_edgecolor(INK)
        axes.bar_label(bar, [f"{size:g} GiB"], padding=2)
    names = {1: "1\nall share one", 8: "8\nMistral 7B", 32: "32\none each"}
    axes.set_xticks(range(len(heads) + 1), [*(names.get(n, str(n)) for n in heads), "8, and\nthe window"])
    axes.set(xlabel="key and value heads, for 32 query heads", ylabel="GiB", ylim=(0, 18.5))
    axes.set_title(f"keys and values of {length} tokens, 2 bytes a number", size=11)
    tidy(axes)
    return picture
