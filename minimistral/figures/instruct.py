"""Pictures of lesson 19: what counts in the loss, what that teaches, and the three templates; and a small fine-tuning."""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from minimistral.chat import TEMPLATES, chat_spans
from minimistral.embedded import STORYTELLER
from minimistral.figures.style import CACHE, GREY, INK, KEY, PALE, QUERY, VALUE, WRONG, card, letters_on, tidy
from minimistral.tokenizer import SPACE, Tokenizer, find_tokenizer
from minimistral.training.batch import packed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minimistral.figures.picture import Picture
    from minimistral.training.documents import Document

__all__ = ["masks_of_a_conversation", "three_templates", "what_masks_teach"]

MASKS = ("answers", "everything", "no EOS")
PARTS = ("questions", "answers", "EOS")
NAMES, COLOURS = ("Anna", "Ben", "Ella", "Ida", "Leo", "Max", "Mia", "Nora", "Tim", "Tom"), ("blue", "brown", "green",
         "red", "white", "yellow")  # fmt: skip
THINGS = ("ball", "basket", "boat", "drum", "kite", "wagon")
HELD_OUT = (1002, 1003, 1004, 1006, 1007, 1009, 1010, 1011, 1013, 1018)  # greetings that are none of the first 200
TALK = (("user", "Who ran?"), ("assistant", "The fox."), ("user", "Why?"), ("assistant", "It was late."))
LOOKS = ((GREY, "...."), (VALUE, ""), (QUERY, "//"), (WRONG, "xx"))  # of bars: colour, hatching


def greeting(n: int) -> list[dict]:
    """Conversation n: somebody says a name and shows a thing, and both come back in the answer."""
    name, colour, thing = (
        str(np.random.default_rng([n, i]).choice(words)) for i, words in enumerate((NAMES, COLOURS, THINGS))
    )
    said = (
        ("user", f"I am {name}. I have a {colour} {thing}."),
        ("assistant", f"Hello {name}! I like your {colour} {thing}."),
    )
    return [{"role": role, "content": content} for role, content in said]


def masked(messages: list[dict], tokenizer: Tokenizer, mask: str, template: str = "v0.3") -> "Document":
    """The ids of a conversation, and what each of them counts where it is to be predicted: (T,) each."""
    spans = chat_spans(messages, tokenizer, template)
    ids = np.concatenate([part for part, _ in spans])
    counts = np.concatenate([np.full(len(part), counts or mask == "everything") for part, counts in spans])
    if mask == "no EOS":
        counts &= ids != tokenizer.eos_id
    return ids, counts.astype(np.float32)


def fine_tuned(mask: str, steps: int = 20) -> dict[str, np.ndarray]:
    """The storyteller's tensors after so many steps on greetings, about 8 at a time."""
    from minimistral.checkpoint import open_checkpoint
    from minimistral.training.documents import Documents
    from minimistral.training.finetune import finetune
    from minimistral.training.loop import Settings

    tokenizer = find_tokenizer(STORYTELLER)
    greetings = Documents("greetings", lambda n: masked(greeting(n), tokenizer, mask), [], 0, {})
    settings = Settings(steps=steps, batch_tokens=200, learning_rate=1e-3, warm_up=3, weight_decay=0)
    return finetune(open_checkpoint(STORYTELLER), greetings, settings).tensors


def nats(tensors: dict[str, np.ndarray]) -> dict[str, float]:
    """Nats a token that a model loses on held-out greetings: on their questions (brackets too), their answers, their EOS."""
    from minimistral.training.model import loss_only

    config, tokenizer = storyteller_config(), find_tokenizer(STORYTELLER)
    found = dict.fromkeys(PARTS, 0.0)
    for part in PARTS:
        batch = packed([only(part, masked(greeting(n), tokenizer, "answers"), tokenizer.eos_id) for n in HELD_OUT])
        found[part] = loss_only(tensors, config, batch) / float(batch.weights.sum())
    return found


def only(part: str, document: "Document", eos: int) -> "Document":
    """A document in which one of the three parts counts."""
    ids, counts = document
    return ids, np.where(ids == eos, part == "EOS", np.where(counts > 0, part == "answers", part == "questions"))


@cache
def storyteller_config():
    from minimistral.checkpoint import open_checkpoint

    return open_checkpoint(STORYTELLER).config


def shown(ids: list[int], tokenizer: Tokenizer) -> list[str]:
    """Pieces as a person reads them: <s> and </s> for BOS and EOS, a mark for a space."""
    names = {tokenizer.bos_id: "<s>", tokenizer.eos_id: "</s>"}
    names |= {tokenizer.control_id(bracket): bracket for bracket in ("[INST]", "[/INST]")}
    texts = (tokenizer.piece_bytes(int(i)).decode(errors="replace").replace(" ", SPACE) for i in ids)
    return [names.get(int(i)) or text.replace("\n", "<0x0A>") for i, text in zip(ids, texts, strict=True)]


def masks_of_a_conversation(talk: tuple[tuple[str, str], ...] = TALK) -> "Picture":
    """The tokens of a conversation, coloured where they count; below, the right mask of what is predicted and wrong ones."""
    tokenizer = find_tokenizer(STORYTELLER)
    ids, counts = masked([{"role": role, "content": text} for role, text in talk], tokenizer, "answers")
    right = counts[1:] > 0  # of the predictions, by the token that is predicted
    rows = {"answers and EOS": right, "prompt counted": np.ones_like(right), "one late": counts[:-1] > 0,
            "no EOS": right & (ids[1:] != tokenizer.eos_id)}  # fmt: skip
    misses = ", ".join(f"{name} {(mask != right).sum()}" for name, mask in list(rows.items())[1:])
    picture = card(10, 2.9, f"{len(ids)} tokens in boxes, {right.sum()} of them green: the answers and their EOS; below "
                   f"rows of squares, where a wrong mask differs marked by a cross: {misses}")  # fmt: skip
    axes = picture.subplots()
    edges = draw_pieces(axes, 0, shown(ids, tokenizer), [VALUE if c else PALE for c in counts])
    for row, (name, mask) in enumerate(rows.items(), start=1):
        axes.text(-0.4, row, name, ha="right", va="center", size=9, color=INK)
        for left, width, on, wrong in zip(edges[1:-1], np.diff(edges)[1:], mask, mask != right, strict=True):
            draw_square(axes, left, row, width, bool(on), bool(wrong))
    axes.text(-0.4, 0, "token", ha="right", va="center", size=9, color=INK)
    for row in range(1, len(rows) + 1):
        axes.text(edges[1] / 2, row, "–", ha="center", va="center", color=INK)  # nothing predicts the first token
    legend(
        axes, picture, ((VALUE, None, "counts"), (PALE, "////", "does not count"), (WRONG, None, "x: not as it should"))
    )
    axes.set(xlim=(-7.5, edges[-1] + 0.2), ylim=(4.6, -0.6))
    axes.set_axis_off()
    return picture


def draw_pieces(axes: "Axes", row: float, words: list[str], colours: list[str]) -> list[float]:
    """A row of boxes with pieces in them; gives back their edges, one more than boxes."""
    from matplotlib.patches import Rectangle

    edges = [0.0]
    for word, colour in zip(words, colours, strict=True):
        width = 0.62 * len(word) + 0.7
        look = {"facecolor": colour, "edgecolor": "white" if colour != PALE else "#BDBDBD"}
        axes.add_patch(Rectangle((edges[-1], row - 0.36), width, 0.72, linewidth=1.2, **look))
        axes.text(edges[-1] + width / 2, row, word, ha="center", va="center", size=8, color=letters_on(colour))
        edges.append(edges[-1] + width)
    return edges


def draw_square(axes: "Axes", left: float, row: float, width: float, on: bool, wrong: bool) -> None:
    """What one prediction counts, in one mask; a cross where that is wrong."""
    from matplotlib.patches import Rectangle

    look = {"facecolor": VALUE, "edgecolor": "white"} if on else {"facecolor": PALE, "edgecolor": "#BDBDBD"}
    look["hatch"] = None if on else "////"
    if wrong:
        look["edgecolor"], look["facecolor"] = ("white", WRONG) if on else (WRONG, PALE)
    axes.add_patch(Rectangle((left + 0.06, row - 0.33), width - 0.12, 0.66, linewidth=1.2, **look))
    if wrong:
        box = None if on else {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
        colour = "white" if on else WRONG
        axes.text(left + width / 2, row, "x", ha="center", va="center", size=9, weight="bold", color=colour, bbox=box)


def legend(axes: "Axes", picture: "Picture", looks: tuple[tuple[str, str | None, str], ...]) -> None:
    """Under the picture, what the colours mean."""
    from matplotlib.patches import Patch

    made = [Patch(facecolor=colour, edgecolor=GREY, hatch=hatch, label=name) for colour, hatch, name in looks]
    picture.legend(handles=made, loc="outside lower center", ncols=len(made), frameon=False, fontsize=9)


def three_templates(system: str = "Be kind.", talk: tuple[tuple[str, str], ...] = TALK[:3]) -> "Picture":
    """One conversation in the three templates, a box a token: control pieces, the brackets in plain text, system, texts."""
    tokenizer = find_tokenizer(STORYTELLER)
    messages = [{"role": role, "content": text} for role, text in (("system", system), *talk)]
    rows = {name: [i for part, _ in chat_spans(messages, tokenizer, name) for i in part] for name in TEMPLATES}
    counts = ", ".join(f"{name} {len(ids)} tokens" for name, ids in rows.items())
    controls = sum(not tokenizer.piece_bytes(i) for i in rows["v0.3"])
    picture = card(10.5, 2.6, f"three rows of boxes, {counts}; the rows of v0.1 and v0.2 are the same; in v0.3, {controls} "
                   "boxes are control pieces, and the system message comes before the last question")  # fmt: skip
    axes, ends = picture.subplots(), []
    for row, (name, ids) in enumerate(rows.items()):
        axes.text(-0.4, 1.1 * row, f"{name}: {len(ids)}", ha="right", va="center", size=9, color=INK)
        words = shown(ids, tokenizer)
        ends.append(draw_pieces(axes, 1.1 * row, words, coloured(ids, words, tokenizer))[-1])
    legend(
        axes,
        picture,
        ((CACHE, None, "control piece"), (KEY, None, "bracket in plain text"), (PALE, None, "other text")),
    )
    axes.set(xlim=(-6, max(ends) + 0.2), ylim=(2.8, -0.6))
    axes.set_axis_off()
    return picture


def coloured(ids: list[int], words: list[str], tokenizer: Tokenizer) -> list[str]:
    """A colour for each token: control pieces; the pieces of [INST] and [/INST] in plain text; others."""
    colours, inside = [], False
    for token, word in zip(ids, words, strict=True):
        control = not tokenizer.piece_bytes(token)
        begins = not control and "[" in word
        inside = inside or begins
        colours.append(CACHE if control else KEY if inside or word == SPACE else PALE)
        inside = inside and "]" not in word
    return colours


def what_masks_teach(found: dict[str, dict[str, float]] | None = None) -> "Picture":
    """Nats a token on held-out questions, answers and EOS: {name: nats of each}. Not given: the base, and 6 steps a mask."""
    found = found or {"base": nats(fine_tuned("answers", 0))} | {mask: nats(fine_tuned(mask, 6)) for mask in MASKS}
    ends = "; ".join(
        f"{name} " + ", ".join(f"{part} {loss[part]:.1f}" for part in PARTS) for name, loss in found.items()
    )
    picture = card(8.5, 3.6, f"bars of nats a token, in three groups: {ends}")
    axes = picture.subplots()
    width = 0.8 / len(found)
    for i, ((name, loss), (colour, hatch)) in enumerate(zip(found.items(), LOOKS, strict=True)):
        x, heights = np.arange(len(PARTS)) + (i - 1.5) * width, [loss[part] for part in PARTS]
        axes.bar(x, heights, width * 0.92, color=colour, hatch=hatch, edgecolor="white", label=name)
        for at, height in zip(x, heights, strict=True):
            axes.text(at, height + 0.1, f"{height:.1f}", ha="center", size=9, color=INK)
    axes.set(xticks=np.arange(len(PARTS)), xticklabels=PARTS, ylabel="nats a token")
    axes.set_title("loss on conversations that were not trained on", size=11)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    tidy(axes)
    return picture
