"""Pictures of lesson 09: a text cut into chunks, the mask of one chunk, and mistakes that only some chunks show."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.config import Config
from minimistral.costs import attended_pairs, computed_pairs
from minimistral.figures.style import CACHE, INK, KEY, KEY_INK, PALE, QUERY, WRONG, card, letters_on, squares
from minimistral.mistral import Mistral
from minimistral.rolling_cache import RollingCache, slot_positions
from minimistral.window import window_mask

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["chunk_mask", "chunked_text", "ring_mistakes"]

CONFIG = Config(
    dim=24, n_layers=1, head_dim=10, hidden_dim=40, n_heads=6, n_kv_heads=2, vocab_size=61, window=5
)  # one layer is enough to show a key that is lost


def chunked_text(T: int = 13, chunk: int = 4, W: int = 5) -> "Picture":
    """The mask of a whole text (T, T), and around each chunk's rows the keys that it is handed: ring and chunk."""
    from matplotlib.patches import Rectangle

    positions = np.arange(T)
    needed, computed = attended_pairs(T, W), computed_pairs(T, W, chunk)
    picture = card(
        6.2, 5.4, f"a band of {needed} squares, cut by rows into chunks of {chunk}; each chunk's frame spans the {W} keys "
        f"before it and its own, in all {computed} of {T * T} squares")  # fmt: skip
    axes = picture.subplots()
    squares(axes, window_mask(positions, positions, W))
    for start in range(0, T, chunk):
        rows, held = min(chunk, T - start), min(start, W)
        for left, width, colour, line in ((start - held, held, CACHE, "--"), (start, rows, QUERY, "-")):
            if width > 0:
                look = {"edgecolor": colour, "linestyle": line, "linewidth": 3, "fill": False}
                axes.add_patch(Rectangle((left - 0.45, start - 0.45), width - 0.1, rows - 0.1, **look))
    axes.set(xticks=positions, yticks=positions)
    axes.set_title(f"{needed} pairs needed, {computed} computed, {T * T} without chunks")
    axes.set_xlabel("key position", color=KEY_INK)
    axes.set_ylabel("query position", color=QUERY)
    handles = [
        Rectangle((0, 0), 1, 1, fill=False, lw=3, edgecolor=colour, linestyle=line, label=name)
        for colour, line, name in ((CACHE, "--", "from the ring"), (QUERY, "-", "the chunk's own"))
    ]
    picture.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    return picture


def chunk_mask(seen: int = 9, chunk: int = 4, W: int = 5) -> "Picture":
    """The mask of a chunk after `seen` tokens: (chunk, slots + chunk), the ring's columns as they lie in memory.

    Under it the ring after the chunk is written. A cross: a pair that would be lost if that came first.
    """
    from matplotlib.patches import Rectangle

    own = seen + np.arange(chunk)
    held = slot_positions(seen, W)[: min(seen, W)]
    after = slot_positions(seen + chunk, W)
    keys = np.concatenate([held, own])
    mask = window_mask(own, keys, W)
    lost = mask & ~np.isin(keys, after) & (keys < seen)
    columns, first = len(held) + chunk, len(held)
    picture = card(
        0.33 * (W + chunk) + 1.8, 0.33 * chunk + 1.9,
        f"a mask of {chunk} queries by {columns} keys, {len(held)} of the ring in the order "
        f"{' '.join(map(str, held.tolist())) or 'none'}, then the chunk's own; {lost.sum()} pairs with a cross would be "
        "lost if the chunk were written first")  # fmt: skip
    axes = picture.subplots()
    squares(axes, mask)
    for row, column in np.argwhere(mask & (np.arange(columns) < first)):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=CACHE, edgecolor="white"))
    for row, column in np.argwhere(lost):
        axes.plot(column, row, "x", color=INK, markersize=8, markeredgewidth=2.5)
    for slot, position in enumerate(after.tolist()):
        colour = PALE if position < 0 else KEY if position >= seen else CACHE
        axes.add_patch(Rectangle((slot - 0.5, chunk + 0.5), 1, 1, facecolor=colour, edgecolor="white"))
        axes.text(
            slot, chunk + 1, position if position >= 0 else "", ha="center", va="center", color=letters_on(colour)
        )
    if lost.any():
        axes.text(-0.5, chunk + 2, "\u00d7 lost, if the ring were written first", va="center", color=INK, size=9)
    axes.axvline(first - 0.5, ymin=2.9 / (chunk + 2.9), color=INK, lw=2)
    axes.set(xlim=(-0.5, max(columns, W) - 0.5), ylim=(chunk + 2.4, -0.5))
    axes.set(xticks=range(columns), xticklabels=keys, yticks=[*range(chunk), chunk + 1])
    axes.set_yticklabels([*(f"query {i}" for i in own), "ring after"])
    axes.set_xlabel(f"key position: {len(held)} from the ring | own", color=KEY_INK)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return picture


class WritesFirst(RollingCache):
    """The chunk is written before its queries read: of the old keys, those that it overwrites are gone."""

    coming = 0  # tokens in the chunk

    def read(self, layer):
        keys, values, held = super().read(layer)
        left = held >= self.length + self.coming - self.windows[layer]
        return keys[left], values[left], held[left]


class KeepsTheFirst(RollingCache):
    """Of a chunk longer than W, the first W stay and not the last."""

    def write(self, keys, values):
        W, length = self.windows[0], self.length + len(keys[0])
        super().write([k[:W] for k in keys], [v[:W] for v in values])
        self.length = length


class CountsFromTheChunk(RollingCache):
    """Of a chunk of W or more, the last W go to slots 0, 1, ... W - 1, wherever in the text they stand."""

    def write(self, keys, values):
        W, long = self.windows[0], len(keys[0]) >= self.windows[0]
        super().write(keys, values)
        for layer in range(len(keys)) if long else ():
            self.keys[layer][:], self.values[layer][:] = keys[layer][-W:], values[layer][-W:]


class SeesTheChunkOnly(RollingCache):
    """A chunk attends to itself and not to the ring; single tokens do it right."""

    coming = 0

    def read(self, layer):
        keys, values, held = super().read(layer)
        left = np.full(len(held), self.coming == 1)
        return keys[left], values[left], held[left]


KINDS = {
    "no mistake": RollingCache,
    "writes before it reads": WritesFirst,
    "keeps the first W": KeepsTheFirst,
    "counts slots from the chunk": CountsFromTheChunk,
    "sees the chunk only": SeesTheChunkOnly,
}


def cut(length: int, chunk: int, then: int = 0) -> list[int]:
    """Sizes of the chunks of a prompt, and `then` tokens one by one.

    >>> cut(13, 5, then=2)
    [5, 5, 3, 1, 1]
    """
    return [min(chunk, length - start) for start in range(0, length, chunk)] + [1] * then


def logits_in_chunks(model: Mistral, text: np.ndarray, sizes: list[int], kind: type = RollingCache) -> np.ndarray:
    """Logits of a text handed over in chunks of these sizes, with a right ring or a wrong one: (T, vocab_size)."""
    cache, rows = kind(model.config, model.arithmetic.dtype), []
    for part in np.split(text, np.cumsum(sizes)[:-1]):
        cache.coming = len(part)
        rows.append(model.output(model.hidden([part], [cache])))
    return np.concatenate(rows)


def first_wrong(T: int = 13, then: int = 10) -> np.ndarray:
    """The first position whose logits differ in a bit, -1 for none: a row for each kind, a column for chunks 1 to T."""
    model = Mistral.random(CONFIG)
    text = np.random.default_rng(0).integers(0, CONFIG.vocab_size, T + then)
    right = model(text, chunk=len(text))
    table = np.full((len(KINDS), T), -1)
    for (row, column), _ in np.ndenumerate(table):
        kind = list(KINDS.values())[row]
        wrong = (logits_in_chunks(model, text, cut(T, column + 1, then), kind) != right).any(axis=1)
        table[row, column] = np.argmax(wrong) if wrong.any() else -1
    return table


def ring_mistakes(T: int = 13, then: int = 10) -> "Picture":
    """Which mistakes in a ring of 5 slots show at which chunk sizes: measured, (5 kinds, T), logits bit by bit.

    A prompt of T tokens in chunks, then more tokens one by one. In a square: the first position that is wrong.
    """
    from matplotlib.patches import Rectangle

    table = first_wrong(T, then)
    looks = {
        "nothing shows": {"facecolor": PALE, "edgecolor": "white"},
        "shows in the prompt": {"facecolor": WRONG, "edgecolor": "white"},
        "shows only after the prompt": {"facecolor": "white", "edgecolor": WRONG, "hatch": "////"},
    }
    counts = ", ".join(f"{name}: {(row >= 0).sum()}" for name, row in zip(KINDS, table, strict=True))
    picture = card(9, 3.3, f"at how many of {T} chunk sizes a wrong logit shows: {counts}")
    axes = picture.subplots()
    for (row, column), position in np.ndenumerate(table):
        name = list(looks)[0 if position < 0 else 1 if position < T else 2]
        axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, **looks[name]))
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1} if position >= T else None
        if position >= 0:
            colour = INK if position >= T else letters_on(WRONG)
            axes.text(column, row, position, ha="center", va="center", color=colour, bbox=box)
    axes.set(xlim=(-0.5, T - 0.5), ylim=(len(KINDS) - 0.5, -0.5), yticks=range(len(KINDS)), yticklabels=KINDS)
    axes.set(xticks=range(T), xticklabels=range(1, T + 1), xlabel="chunk size (tokens); W = 5")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    handles = [Rectangle((0, 0), 1, 1, label=name, **look) for name, look in looks.items()]
    picture.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return picture
