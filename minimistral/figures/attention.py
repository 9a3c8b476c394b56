"""Pictures of lesson 05: a weighted mean of value rows, why scores are scaled, and one head of the storyteller."""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from minimistral.figures.style import GREY, INK, KEY_INK, QUERY, SIGN, SIZE, VALUE, WRONG, card, squares, tidy

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["largest_weights", "one_head", "weighted_mean"]


def weighted_mean(third: int = 4) -> "Picture":
    """Three value rows as points of the plane and their mean with weights 1 : 3 : third, which lies between them.

    third: e to the third key's score; 0 is a key that is not seen (score -inf).
    """
    values = np.array([[8, 0], [0, 16], [8, 24]])  # (S 3, 2)
    parts = np.array([1, 3, third])
    weights = parts / parts.sum()
    mean = weights @ values
    place = f"({mean[0]:.3g}, {mean[1]:.3g})"
    picture = card(3.5, 3.9, f"a triangle of three value rows, and inside or on its edge the mean {place}")
    axes = picture.subplots()
    axes.fill(*values.T, facecolor="#E0F2EC", edgecolor=GREY, lw=1)
    axes.scatter(*values.T, s=20 + 500 * weights, facecolor=VALUE, edgecolor="white", zorder=3)
    for (x, y), part, (dx, dy) in zip(values, parts, ((-1, -0.7), (0, 3.4), (0, 2.2)), strict=True):
        axes.text(x + dx, y + dy, f"{part}/{parts.sum()}", ha="right" if dx else "center", va="center", color=INK)
    axes.plot(*mean, "X", color=INK, markeredgecolor="white", ms=12, zorder=4)
    axes.set(xlim=(-2.5, 10.5), ylim=(-3.5, 29), xlabel="first number", ylabel="second number")
    axes.set(xticks=range(-2, 11, 2))
    axes.set_title(f"weights 1 : 3 : {third}, mean {place}", size=11)
    tidy(axes)
    return picture


def largest_weights(T: int = 13, rows: int = 200, seed: int = 5) -> "Picture":
    """Random queries and keys: the largest of T softmax weights, by head_dim, with and without 1 / sqrt(head_dim)."""
    sizes = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
    rng = np.random.default_rng(seed)
    found = {"no scale": [], "scores / sqrt(head_dim)": []}
    for head_dim in sizes:
        q, k = rng.standard_normal((rows, 1, head_dim)), rng.standard_normal((rows, T, head_dim))
        scores = (q * k).sum(axis=-1)  # (rows, T)
        for name, s in zip(found, (scores, scores / np.sqrt(head_dim)), strict=True):
            p = np.exp(s - s.max(axis=-1, keepdims=True))
            found[name].append((p / p.sum(axis=-1, keepdims=True)).max(axis=-1).mean())
    bare, scaled = found.values()
    picture = card(7, 3.7, f"the mean largest of {T} weights: without a scale it rises from {bare[0]:.2f} to "
                   f"{bare[-1]:.2f} at 512 numbers a head; with 1 / sqrt(head_dim) it stays near "
                   f"{scaled[-1]:.2f}")  # fmt: skip
    axes = picture.subplots()
    for (name, largest), colour, look in zip(found.items(), (WRONG, QUERY), ("s--", "o-"), strict=True):
        axes.plot(sizes, largest, look, color=colour, label=name)
    axes.axhline(1 / T, color=GREY, ls=":")
    axes.text(1, 1 / T + 0.02, f"all keys alike: 1/{T}", color=INK)
    axes.set(xscale="log", ylim=(0, 1.05), xlabel="numbers in a head (head_dim)", ylabel="mean of the largest weight")
    axes.set_xticks(sizes, sizes, minor=False)
    axes.set_xticks([], minor=True)
    axes.legend(loc="upper left", frameon=False)
    tidy(axes)
    return picture


@cache
def head_arrays(text: str, layer: int, head: int) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """The storyteller's pieces of a text, one head's scores before any mask, what is seen, and weights: (T, T) each."""
    from minimistral import Mistral

    model = Mistral.from_pretrained()
    ids = model.tokenizer.encode(text)
    trace = model.trace(ids, only=[f"layers.{layer}.{stage}" for stage in ("q_rope", "k_rope", "scores")])
    q = trace[f"layers.{layer}.q_rope"][:, head].astype(np.float64)  # (T, head_dim)
    k = trace[f"layers.{layer}.k_rope"][:, head // (model.config.n_heads // model.config.n_kv_heads)]
    masked = trace[f"layers.{layer}.scores"][head].astype(np.float64)  # (T, T), -inf where no key is seen
    p = np.exp(masked - masked.max(axis=-1, keepdims=True))
    pieces = ["start", *(model.tokenizer.decode([i]) for i in ids[1:])]
    return pieces, q @ k.T / np.sqrt(model.config.head_dim), masked > -np.inf, p / p.sum(axis=-1, keepdims=True)


def one_head(text: str = "A girl named Lena had a red kite. One morning", layer: int = 2, head: int = 3) -> "Picture":
    """Scores, mask and weights of one head of the storyteller, side by side: (T, T) each, a row for each query."""
    pieces, scores, seen, weights = head_arrays(text, layer, head)
    T = len(pieces)
    last = int(weights[-1].argmax())
    picture = card(
        11, 4.3, f"three tables of {T} queries by {T} keys, layer {layer}, head {head}: scores from {scores.min():.1f} to "
        f"{scores.max():.1f}; the causal mask, a triangle; weights, the last token '{pieces[-1]}' giving "
        f"{weights[-1, last]:.2f} to '{pieces[last]}'")  # fmt: skip
    left, middle, right = picture.subplots(1, 3, sharey=True)
    far = np.abs(scores).max()
    shown = left.imshow(scores, cmap=SIGN, vmin=-far, vmax=far)
    picture.colorbar(shown, ax=left, shrink=0.6)
    squares(middle, seen)
    shown = right.imshow(weights, cmap=SIZE, vmin=0, vmax=1)
    picture.colorbar(shown, ax=right, shrink=0.6)
    for (row, column), weight in np.ndenumerate(weights):
        if weight >= 0.095:
            colour = "black" if weight > 0.5 else "white"
            right.text(column, row, f"{100 * weight:.0f}", ha="center", va="center", size=8, color=colour)
    names = "scores, q · k / sqrt(head_dim)", "mask: which key is seen", "weights (numbers in %)"
    for axes, name in zip((left, middle, right), names, strict=True):
        axes.set_xticks(range(T), pieces, rotation=60, ha="right", rotation_mode="anchor", color=KEY_INK)
        axes.set_title(name, size=11)
        axes.set_xlabel("key", color=KEY_INK)
    left.set_yticks(range(T), pieces, color=QUERY)
    left.set_ylabel("query", color=QUERY)
    return picture
