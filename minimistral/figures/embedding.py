"""Pictures of lesson 02: what a row look-up is, and who wrote how much into the residual stream."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.figures.style import CACHE, INK, KEY, SIGN, VALUE, card, squares, tidy

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["one_hot_product", "shares_of_the_stream", "who_wrote_how_much"]

TABLE = ((1, -3, 6), (2, -7, 4), (3, 1, -2), (0, 9, -5), (8, 0, 5), (-4, 7, 2), (-6, 3, 1))  # (V 7, dim 3)
TEXT = "Once upon a time, in an old mill, there lived a girl called Lena. Her father had made a purple boat long ago."


def one_hot_product(ids: tuple[int, ...] = (4, 1, 4), table: tuple[tuple[int, ...], ...] = TABLE) -> "Picture":
    """A row of zeros with a single 1 for each id, (T, V), times the table (V, dim), is the fetched rows (T, dim)."""
    E, T = np.array(table), len(ids)
    V, dim = E.shape
    fetched = ", ".join(str(i) for i in ids)
    picture = card(8, 3.6, f"a matrix of {T} rows, each with one 1 in {V} places, times a table of {V} rows "
                   f"of {dim} numbers gives rows {fetched} of the table")  # fmt: skip
    left, middle, right = picture.subplots(1, 3, width_ratios=(V, dim, dim))
    one_hot = np.arange(V) == np.array(ids)[:, None]  # (T, V)
    used = np.isin(np.arange(V), ids)[:, None] & np.ones((1, dim), bool)
    for axes, seen, numbers, title in (
        (left, one_hot, one_hot.astype(int), f"one-hot ({T}, {V})"),
        (middle, used, E, f"× table ({V}, {dim})"),
        (right, np.ones((T, dim), bool), one_hot @ E, f"= rows ({T}, {dim})"),
    ):
        squares(axes, seen, colour=KEY)
        for (row, column), number in np.ndenumerate(numbers):
            box = None if seen[row, column] else {"facecolor": "white", "edgecolor": "none", "pad": 1}
            axes.text(column, row, str(number), ha="center", va="center", color=INK, bbox=box)
        axes.set(xticks=range(seen.shape[1]), yticks=range(len(seen)))
        axes.set_title(title, size=11)
    left.set(xlabel="row of the table", ylabel="token", yticklabels=[f"id {i}" for i in ids])
    middle.set(xlabel="number", ylabel="row of the table")
    right.set(xlabel="number", ylabel="token", yticklabels=[f"id {i}" for i in ids])
    return picture


def written(text: str) -> tuple[list[str], list[str], np.ndarray]:
    """The storyteller's stream for a text: pieces (T), names of writers (n), and what each wrote (n, T, dim)."""
    from minimistral.mistral import Mistral

    model = Mistral.from_pretrained(arithmetic="float64")
    ids = model.tokenizer.encode(text)
    pieces = ["BOS", *(model.tokenizer.decode([ids[0], i]) for i in ids[1:])]
    names = ["embedding"]
    for i in range(model.config.n_layers):
        names += [f"layers.{i}.attention_output", f"layers.{i}.ffn_output"]
    stages = model.trace(ids, only=names)
    return pieces, names, np.stack([stages[name] for name in names])


def size(x: np.ndarray) -> np.ndarray:
    """The root of the mean square of the last axis: (..., dim) -> (...)."""
    return np.sqrt((x * x).mean(axis=-1))


def who_wrote_how_much(text: str = TEXT) -> "Picture":
    """Sizes of what attention and feed-forward add in each layer, and of the stream after it; the median token."""
    _, _, parts = written(text)  # (1 + 2 n_layers, T, dim)
    sizes = np.median(size(parts), axis=1)
    stream = np.median(size(np.cumsum(parts, axis=0)), axis=1)[::2]  # after the embedding, and after each layer
    attention, ffn = sizes[1::2], sizes[2::2]
    layers = np.arange(len(ffn))
    picture = card(8, 3.7, f"bars for each layer: attention adds {attention[0]:.2f} to {attention[-1]:.2f}, "
                   f"the feed-forward {ffn[0]:.2f} to {ffn[-1]:.2f}; a line above them, the stream, grows "
                   f"from {stream[0]:.2f} to {stream[-1]:.2f}")  # fmt: skip
    axes = picture.subplots()
    axes.bar(layers - 0.19, attention, 0.36, color=VALUE, label="attention adds")
    axes.bar(layers + 0.19, ffn, 0.36, color=CACHE, hatch="///", edgecolor="white", label="feed-forward adds")
    axes.plot(np.arange(-1, len(ffn)), stream, "o-", color=INK, label="the stream after it")
    for x, y in ((-1, stream[0]), (layers[-1], stream[-1])):
        axes.annotate(f"{y:.2f}", (x, y), (0, 7), textcoords="offset points", ha="center", color=INK)
    axes.set(xticks=np.arange(-1, len(ffn)), xticklabels=["embedding", *(f"layer {i}" for i in layers)])
    axes.set(ylabel="size (root mean square)", ylim=(0, 1.12 * max(stream)))
    axes.set_title("what each part writes into the stream of the storyteller; the median token", size=11)
    axes.legend(frameon=False, loc="upper left")
    tidy(axes)
    return picture


def shares_of_the_stream(text: str = TEXT) -> "Picture":
    """Each writer's share of each token's final stream, (writers, T), %; a column sums to 100; some are negative."""
    pieces, names, parts = written(text)
    final = parts.sum(axis=0)  # (T, dim)
    shares = (parts * final).sum(axis=-1) / (final * final).sum(axis=-1)  # (n, T)
    last = np.median(shares[-1])
    low = np.unravel_index(shares.argmin(), shares.shape)
    short = [name.replace("layers.", "layer ").replace("_output", "").replace(".", " ") for name in names]
    picture = card(10, 4.6, f"a table of {len(names)} writers by {len(pieces)} tokens: the last feed-forward has the "
                   f"largest shares, {last:.0%} for the median token; the lowest share is {shares.min():.1%}, "
                   f"{short[low[0]]} at token {low[1]}")  # fmt: skip
    axes = picture.subplots()
    image = axes.imshow(100 * shares, cmap=SIGN, vmin=-100, vmax=100, aspect="auto")
    for row, column in np.argwhere(np.abs(shares) >= 0.095):
        share = shares[row, column]
        colour = "white" if abs(share) > 0.65 else INK
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", size=8, color=colour)
    axes.set_xticks(range(len(pieces)), pieces, rotation=60, ha="right", rotation_mode="anchor", size=9)
    axes.set_yticks(range(len(names)), short, size=9)
    axes.set(xlabel="token", title="share of the final stream, % (written from 10 % on)")
    picture.colorbar(image, label="share, %", ticks=range(-100, 101, 50))
    return picture
