"""Pictures of lesson 07: which keys a query sees, and how far layers carry."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.config import MISTRAL_7B, Config
from minimistral.figures.style import INK, KEY_INK, QUERY, WRONG, card, squares, tidy
from minimistral.window import reach, window_mask

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["measured_pyramid", "pairs_in_a_window", "reach_of_mistral_7b", "window_masks"]

SIZES = {"dim": 24, "n_heads": 6, "n_kv_heads": 2, "head_dim": 10, "hidden_dim": 40, "vocab_size": 61}


def pairs_in_a_window(W: int = 5, T: int = 13) -> "Picture":
    """The causal mask, and in it what a window of W keys leaves: (T, T); hatched is what full attention sees beside."""
    from matplotlib.patches import Rectangle

    positions = np.arange(T)
    seen, past = (window_mask(positions, positions, window) for window in (W, None))
    picture = card(3.6, 4, f"a triangle of {past.sum()} pairs; in it, along the diagonal, the {seen.sum()} pairs "
                   f"of a window of {W} keys")  # fmt: skip
    axes = picture.subplots()
    squares(axes, seen)
    for i, s in np.argwhere(~past):
        axes.add_patch(Rectangle((s - 0.5, i - 0.5), 1, 1, facecolor="white", edgecolor="#E0E0E0"))
    axes.set(xticks=positions[::2], yticks=positions[::2])
    axes.set_title(f"W = {W}: {seen.sum()} of {past.sum()} pairs", size=11)
    axes.set_xlabel("key position", color=KEY_INK)
    axes.set_ylabel("query position", color=QUERY)
    return picture


def window_masks(T: int = 13, W: int = 5) -> "Picture":
    """The masks of a window of W keys and of W + 1 (the paper's text), with the pairs each needs: (T, T) each."""
    from matplotlib.patches import Rectangle

    positions = np.arange(T)
    ours, paper = (window_mask(positions, positions, window) for window in (W, W + 1))
    picture = card(9, 5.1, f"two masks: left a band of {W} keys, {ours.sum()} pairs; right one more key in each row "
                   f"from {W} on, {paper.sum()} pairs")  # fmt: skip
    left, right = picture.subplots(1, 2, sharey=True)
    for axes, seen, name in ((left, ours, f"W = {W} keys"), (right, paper, f"the paper's text, W + 1 = {W + 1} keys")):
        squares(axes, seen)
        axes.set(xticks=positions, yticks=positions, title=f"{name}: {seen.sum()} pairs")
        axes.set_xlabel("key position", color=KEY_INK)
        axes.set_ylabel("query position", color=QUERY)
    for i, s in np.argwhere(paper & ~ours):
        right.add_patch(Rectangle((s - 0.5, i - 0.5), 1, 1, facecolor=WRONG, edgecolor="white"))
        right.text(s, i, "+", ha="center", va="center", color="white", weight="bold", size=14)
    return picture


def measured_pyramid(W: int = 5, layers: int = 4, position: int = 3, T: int = 28, seed: int = 0) -> "Picture":
    """Which outputs of each layer change when one token changes, measured on a random model: (layers, T) squares."""
    from minimistral.mistral import Mistral
    from minimistral.receptive_field import measured_influence

    model = Mistral.random(Config(n_layers=layers, window=W, **SIZES))
    tokens = np.random.default_rng(seed).integers(0, 61, size=T)
    changes = measured_influence(model, tokens, position, other=(tokens[position] + 1) % 61)  # (layers, T)
    rows = np.vstack([changes[::-1], np.arange(T) == position])  # the last layer on top, the token below
    ends = ", ".join(str(np.flatnonzero(row)[-1]) for row in changes)
    picture = card(9, 0.34 * layers + 1.15, f"a stair: token {position} changes the outputs of the positions from "
                   f"{position} to {ends} after layers 1 to {layers}")  # fmt: skip
    axes = picture.subplots()
    squares(axes, rows, colour=QUERY)
    for k in range(1, layers + 1):
        y, name = layers - k, "k W after it" if k == 1 else None
        axes.plot([position + k * W] * 2, [y - 0.45, y + 0.45], color=WRONG, lw=3, label=name)
        axes.text(T, y, f"{changes[k - 1].sum()} changed", va="center", color=QUERY)
    axes.text(position, layers, str(position), ha="center", va="center", color="white", weight="bold")
    names = [*(f"layer {k}" for k in range(layers, 0, -1)), "token"]
    axes.set(xticks=range(0, T, 3), yticks=range(layers + 1), yticklabels=names, xlabel="position")
    axes.set_title(f"outputs that change when the token at position {position} changes (W = {W})", size=11)
    axes.legend(loc="lower right", framealpha=1)
    return picture


def reach_of_mistral_7b() -> "Picture":
    """Tokens that k layers of 4096 keys see, for k up to 32; and by how many k x 4096 misses them, in both readings."""
    W, layers, context = MISTRAL_7B.window, MISTRAL_7B.n_layers, MISTRAL_7B.context_len
    k = np.arange(1, layers + 1)
    ours, paper = reach(k, W), reach(k, W + 1)
    last, misses = f"{ours[-1]:,}".replace(",", " "), ours[-1] - layers * W
    picture = card(9, 3.3, f"left a straight line up to {last} tokens after {layers} layers; right, against k x {W}: "
                   f"W keys see ever fewer, {misses} in the end, and W + 1 keys always one more")  # fmt: skip
    left, right = picture.subplots(1, 2)
    left.plot(k, ours / 1000, color=QUERY, lw=2)
    left.plot(layers, ours[-1] / 1000, "o", color=QUERY)
    left.text(layers - 1.5, ours[-1] / 1000, last, ha="right", va="center", color=QUERY)
    left.axhline(context / 1000, color=INK, ls="--", lw=1)
    left.text(layers, context / 1000 + 3, f"context {context}", ha="right", color=INK)
    left.set(xlabel="layers k", ylabel="thousand tokens", title=f"tokens seen, W = {W} keys")
    for seen, colour, marker, name in ((paper, WRONG, "^", "W + 1 keys (text)"), (ours, QUERY, "o", "W keys")):
        right.plot(k, seen - k * W, marker, color=colour, ms=4, label=name)
    right.set(xlabel="layers k", ylabel="tokens seen, itself too, less k W", title=f"against k × {W}")
    right.legend(frameon=False)
    tidy(left, right)
    return picture
