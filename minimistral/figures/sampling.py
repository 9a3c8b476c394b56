"""Pictures of lesson 12: what temperature and top-p leave, and where a seed's numbers fall."""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from minimistral import Mistral
from minimistral.figures.style import GREY, INK, KEY, KEY_INK, PALE, QUERY, card, tidy
from minimistral.sampling import uniform

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["draws_of_a_seed", "kept_pieces"]

PROMPT = "Once upon a time, in an old mill, there lived a girl called Lena."
SHOWN = 10  # pieces with a bar of their own
OTHERS, EDGE = "#D9D9D9", "#7A7A7A"  # pieces that are not drawn; the line around what is dropped

storyteller = cache(Mistral.from_pretrained)


@cache
def logits_after(text: str) -> np.ndarray:
    """The storyteller's scores for what follows a text: (V,) float64."""
    model = storyteller()
    return model.next_logits(model.tokenizer.encode(text)).astype(np.float64)


def sorted_probabilities(logits: np.ndarray, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Ids, most likely first, and their probabilities: (V,) each."""
    p = np.exp((logits - logits.max()) / temperature)
    p /= p.sum()
    order = np.argsort(-p, kind="stable")
    return order, p[order]


def kept_of(p: np.ndarray, top_p: float) -> int:
    """How many of some probabilities, largest first, top-p keeps.

    >>> kept_of(np.array([0.5, 0.25, 0.125, 0.125]), 0.8)
    3
    """
    return len(p) if top_p >= 1 else 1 + int(np.argmax(np.cumsum(p) >= top_p))


def piece_of(token: int) -> str:
    """A piece as it is read, its space as a mark."""
    return storyteller().tokenizer.piece_bytes(int(token)).decode(errors="replace").replace(" ", "\u2581")


def kept_pieces(tenths: int = 10, percent: int = 90, text: str = PROMPT) -> "Picture":
    """The storyteller's probabilities after a text, sorted, at temperature tenths / 10; what top-p keeps is solid.

    A bar for each of the ten likeliest pieces, and one for all others together; percent: 100 top_p.
    """
    order, p = sorted_probabilities(logits_after(text), tenths / 10)
    n = kept_of(p, percent / 100)
    kept = np.arange(len(p)) < n
    picture = card(3.4, 3.5, f"sorted probabilities at temperature {tenths / 10:g}: the likeliest piece has "
                   f"{100 * p[0]:.0f} %; top-p {percent / 100:g} keeps {n} of {len(p)} pieces")  # fmt: skip
    axes = picture.subplots()
    rows = np.arange(SHOWN + 1)
    solid, hatched = (100 * np.append((p * part)[:SHOWN], (p * part)[SHOWN:].sum()) for part in (kept, ~kept))
    axes.barh(rows, solid, color=KEY, edgecolor="white", label=f"kept: {n}")
    axes.barh(rows, hatched, left=solid, color=PALE, edgecolor=EDGE, hatch="////", linewidth=0.6,
              label=f"dropped: {len(p) - n}")  # fmt: skip
    axes.set_yticks(rows, [*(piece_of(i) for i in order[:SHOWN]), f"{len(p) - SHOWN} others"])
    axes.set(
        ylim=(SHOWN + 0.6, -0.6),
        xlim=(0, max(54, 105 * p[0])),
        xlabel="probability, %",
        ylabel="piece, likeliest first",
    )
    axes.set_title(f"t = {tenths / 10:g}, top-p {percent / 100:g}")
    axes.legend(loc="center right", framealpha=1, fontsize=9)
    tidy(axes)
    return picture


def draws_of_a_seed(seed: int = 1, tenths: int = 10, tokens: int = 16, text: str = PROMPT) -> "Picture":
    """How one seed writes: a row for each drawn token, its kept probabilities side by side, and where u falls.

    The piece under the mark is drawn. Temperature tenths / 10, top-p 0.9; u depends on the seed and the position.
    """
    model = storyteller()
    ids = model.tokenizer.encode(text)
    T = len(ids)
    drawn = list(model.generate(ids, tokens, temperature=tenths / 10, top_p=0.9, seed=seed))
    logits = model(ids + drawn).astype(np.float64)
    said = model.tokenizer.decode(ids + drawn)[len(text) :].strip()
    picture = card(9, 0.29 * len(drawn) + 0.9, f"{len(drawn)} bars of the pieces that top-p kept, each with a mark at "
                   f"the number u of seed {seed} and its position; the pieces under the marks read: {said}")  # fmt: skip
    axes = picture.subplots()
    for row, token in enumerate(drawn):
        order, p = sorted_probabilities(logits[T - 1 + row], tenths / 10)
        order, p = order[: kept_of(p, 0.9)], p[: kept_of(p, 0.9)]
        edges, u = np.append(0, np.cumsum(p) / p.sum()), uniform(seed, T + row)
        for piece, left, right in zip(order, edges[:-1], edges[1:], strict=True):
            hit = piece == token
            axes.barh(row, right - left, left=left, color=KEY if hit else OTHERS, edgecolor="white", height=0.8)
            if right - left > 0.014 * (len(piece_of(piece)) + 1):
                ends = ((left, u) if u - left > right - u else (u, right)) if hit else (left, right)  # beside the mark
                axes.text(sum(ends) / 2, row, piece_of(piece), ha="center", va="center", size=8,
                          weight="bold" if hit else "normal", color="black" if hit else INK)  # fmt: skip
        for colour, width in (("white", 4.5), (QUERY, 2)):
            axes.plot([u, u], [row - 0.45, row + 0.45], color=colour, lw=width)
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(drawn)), [piece_of(token) for token in drawn])
    right.set_ylabel("drawn", color=KEY_INK)
    axes.set_yticks(range(len(drawn)), range(T, T + len(drawn)))
    axes.set(xlim=(0, 1), ylim=(len(drawn) - 0.5, -0.5), ylabel="position of the drawn token")
    axes.set_xlabel("u, and the running sum of the kept probabilities (1: all that is kept)")
    axes.set_title(f"seed {seed}, t = {tenths / 10:g}, top-p 0.9: blue is u, orange the piece that it falls on")
    for frame in (axes, right):
        frame.spines[:].set_visible(False)
        frame.tick_params(length=0)
    axes.tick_params(axis="x", length=3, color=GREY)
    return picture
