"""Pictures of lesson 01: a text in its pieces, and what merges save."""

from itertools import pairwise
from typing import TYPE_CHECKING

from minimistral.embedded import STORYTELLER
from minimistral.figures.style import GREY, INK, KEY, PALE, QUERY, VALUE, card, letters_on, tidy
from minimistral.stories import story
from minimistral.tokenizer import SPACE, Tokenizer, find_tokenizer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minimistral.figures.picture import Picture

__all__ = ["coloured_pieces", "merges_save_ids"]

TEXTS = ("Once upon a time, there lived a girl.", "Queen Ida hummed.", "안녕 Ida!", "Hi 👋🏽")
FIRST_BYTE, FIRST_MERGE = 5, 261  # ids: five control tokens, 256 bytes, then the merges in order, then characters
BYTE, WORD, CHARACTER = KEY, VALUE, "#56B4E9"


def coloured_pieces(texts: tuple[str, ...] = TEXTS) -> "Picture":
    """Each text as the storyteller's tokenizer cuts it: a box for each id, coloured by what kind of piece it is.

    The mark is a space. A bracket joins the bytes of one character, which is named by its number in Unicode.
    """
    tokenizer = find_tokenizer(STORYTELLER)
    cut = [tokenizer.encode(text) for text in texts]
    counts = "; ".join(f"{len(text)} characters, {len(ids)} ids" for text, ids in zip(texts, cut, strict=True))
    picture = card(9, 1.15 * len(texts) + 0.5, f"rows of boxes, one box for each id, in three colours for pieces, single "
                   f"characters and bytes, brackets around the bytes of a character: {counts}")  # fmt: skip
    axes = picture.subplots()
    ends = [
        draw_row(axes, 1.25 * row, text, ids, tokenizer) for row, (text, ids) in enumerate(zip(texts, cut, strict=True))
    ]
    axes.set(xlim=(-0.3, max(ends)), ylim=(1.25 * len(texts) - 0.5, -0.7))
    axes.set_axis_off()
    for colour, name in (
        (WORD, "piece made by merges"),
        (CHARACTER, "single character"),
        (BYTE, "byte"),
        (PALE, "BOS"),
    ):
        axes.scatter([], [], marker="s", s=70, color=colour, edgecolor=GREY, label=name)
    picture.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return picture


def draw_row(axes: "Axes", row: float, text: str, ids: list[int], tokenizer: Tokenizer) -> float:
    """One text; gives back where it ends."""
    from matplotlib.patches import Rectangle

    left, held, begun = 0.0, b"", 0.0
    for token in ids:
        data = tokenizer.piece_bytes(token)
        is_byte = FIRST_BYTE <= token < FIRST_MERGE
        words = f"{data[0]:02X}" if is_byte else data.decode().replace(" ", SPACE) or "BOS"
        colour = BYTE if is_byte else PALE if not data else WORD if len(data.decode()) > 1 else CHARACTER
        width = max(1.6, 0.62 * len(words) + 0.7)
        axes.add_patch(Rectangle((left, row - 0.3), width, 0.42, facecolor=colour, edgecolor="white", linewidth=1.5))
        axes.text(left + width / 2, row - 0.1, words, ha="center", va="center", size=9, color=letters_on(colour))
        axes.text(left + width / 2, row + 0.23, str(token), ha="center", va="center", size=8, color=INK)
        begun = left if is_byte and not held else begun
        held = held + data if is_byte else b""
        left += width
        if is_byte and complete(held):
            axes.plot([begun + 0.1, begun + 0.1, left - 0.1, left - 0.1], [row + 0.35, row + 0.41, row + 0.41, row + 0.35],
                      color=INK, linewidth=1)  # fmt: skip
            axes.text((begun + left) / 2, row + 0.55, f"U+{ord(held.decode()):04X}", ha="center", va="center", size=8,
                      color=INK)  # fmt: skip
            held = b""
    axes.text(0, row - 0.48, f"{len(text)} characters, {len(ids)} ids", size=9, color=INK, va="center")
    return left


def complete(data: bytes) -> bool:
    """Whether these bytes are whole characters."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


LANGUAGES = {  # the storyteller's own kind of text, and others
    "emoji": "👋🌍🎈🐴🏠🌙",
    "Korean": "옛날 작은 집에 미나가 살았어요. 미나는 노란 연을 만들었어요.",
    "German": "Es war einmal ein Mädchen, das wohnte in einem kleinen Haus am Rande der Stadt.",
    "English": "On Monday the parliament will vote on a new budget for public transport.",
    "its own stories": " ".join(story(seed) for seed in (1, 2, 3)),
}


def merges_save_ids(languages: dict[str, str] = LANGUAGES) -> "Picture":
    """Ids per character when only the first n of the tokenizer's merges may be used, n from 0 to all (BOS left out)."""
    tokenizer = find_tokenizer(STORYTELLER)
    ranks = merge_ranks(tokenizer)
    steps = [0, *(2**n for n in range(11) if 2**n < len(ranks)), len(ranks)]
    rates = {
        name: [count_ids(text, ranks, n, tokenizer) / len(text) for n in steps] for name, text in languages.items()
    }
    said = ", ".join(f"{name} {values[0]:.2f} to {values[-1]:.2f}" for name, values in rates.items())
    picture = card(8.4, 4.4, f"ids per character against merges, from none to all {len(ranks)}: {said}")
    axes = picture.subplots()
    looks = [("D", "#D55E00"), ("s", KEY), ("^", "#CC79A7"), ("v", VALUE), ("o", QUERY)]
    for (name, values), (marker, colour) in zip(rates.items(), looks, strict=True):
        axes.plot(steps, values, marker=marker, color=colour, markersize=5)
        axes.annotate(f"{name}: {values[-1]:.2f}", (steps[-1], values[-1]), (8, 0), textcoords="offset points", va="center",
                      size=9, color=INK)  # fmt: skip
    tidy(axes)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_yscale("log", base=2)
    axes.set_xticks(steps, [str(n) if n != 1024 else "" for n in steps])  # no room before the last
    axes.set_yticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    axes.minorticks_off()
    axes.set(xlim=(-0.1, 4 * steps[-1]), ylim=(0.2, 5), xlabel="merges that may be used", ylabel="ids per character",
             title=f"{len(ranks)} merges, learned from small English stories")  # fmt: skip
    return picture


def merge_ranks(tokenizer: Tokenizer) -> dict[str, int]:
    """The pieces that merges made, in order: {piece: which merge}. Single characters are no merges."""
    pieces = [tokenizer.piece_bytes(i).decode().replace(" ", SPACE) for i in range(FIRST_MERGE, tokenizer.vocab_size)]
    return {piece: n for n, piece in enumerate(piece for piece in pieces if len(piece) > 1)}


def count_ids(text: str, ranks: dict[str, int], most: int, tokenizer: Tokenizer) -> int:
    """How many ids a text has when only the first `most` merges are used; all of them: as many as `encode` gives."""
    single = {tokenizer.piece_bytes(i).decode() for i in range(FIRST_MERGE, tokenizer.vocab_size)}
    total = 0
    for word in text.split(" "):
        pieces = list(SPACE + word)
        while pairs := [
            (ranks[a + b], n) for n, (a, b) in enumerate(pairwise(pieces)) if ranks.get(a + b, most) < most
        ]:
            _, n = min(pairs)
            pieces[n : n + 2] = ["".join(pieces[n : n + 2])]
        total += sum(1 if len(p) > 1 or p.replace(SPACE, " ") in single else len(p.encode()) for p in pieces)
    return total
