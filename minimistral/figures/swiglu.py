"""Pictures of lesson 10: three gates, where the weights are, and the gates of a trained model at work."""

from collections.abc import Callable
from functools import cache
from math import erf
from typing import TYPE_CHECKING

import numpy as np

from minimistral.config import MISTRAL_7B
from minimistral.costs import parameters
from minimistral.figures.style import GREY, INK, KEY, QUERY, VALUE, WRONG, card, tidy

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["closed_gates", "feed_forward_share", "gate_functions", "gates_in_use", "one_tokens_gates"]

LOWEST = 0.2785  # silu is never below -0.2785 (at g = -1.2785)


def silu(g: np.ndarray) -> np.ndarray:
    """g / (1 + e^-g), any shape."""
    return g / (1 + np.exp(-g))


def gelu(g: np.ndarray) -> np.ndarray:
    """g times the share of a normal distribution that lies below g, any shape."""
    return g * (1 + np.vectorize(erf)(g / np.sqrt(2))) / 2


@cache
def teller():
    """The storyteller."""
    from minimistral.mistral import Mistral

    return Mistral.from_pretrained()


@cache
def unread_stories() -> list[np.ndarray]:
    """Three stories that the storyteller was not trained on: ids, the end of the text included."""
    from minimistral.stories import story

    model = teller()
    return [np.array([*model.tokenizer.encode(story(3 * 10**9 + i)), model.eos_id]) for i in range(3)]


def story_loss(hidden: Callable | None = None) -> float:
    """Nats a token of the storyteller on three unread stories; hidden(gate, up) replaces silu(gate) * up in all layers."""
    model, stories, branch = teller(), unread_stories(), {}

    def stage(name: str, x: np.ndarray) -> np.ndarray:
        kind = name.split(".")[-1]
        branch[kind] = x  # remembers gate and up, (T, hidden_dim) each
        if kind == "ffn_hidden" and hidden is not None:
            return hidden(branch["gate"].astype(np.float64), branch["up"].astype(np.float64)).astype(np.float32)
        return x

    caches = [model.new_cache() for _ in stories]
    scores = model.output(model.hidden([ids[:-1] for ids in stories], caches, stage)).astype(np.float64)
    scores -= scores.max(axis=-1, keepdims=True)
    log_p = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    return float(-np.mean(log_p[np.arange(len(log_p)), np.concatenate([ids[1:] for ids in stories])]))


def keep_largest(share: float, size: Callable) -> Callable:
    """hidden(gate, up) that keeps, for each token, the share of its units whose size(gate, up) is largest; others are 0."""

    def hidden(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
        sizes = size(gate, up)
        kept = round(share * sizes.shape[-1])
        smallest = np.sort(sizes, axis=-1)[:, -kept]
        return np.where(sizes >= smallest[:, None], silu(gate) * up, 0)

    return hidden


def gate_functions(widest: float = 5.0) -> "Picture":
    """SiLU, GELU and ReLU: what comes out for a gate g, and how far each is open, output / g."""
    g = np.linspace(-widest, widest, 401)
    kinds = {"SiLU": (silu(g), QUERY, "-"), "GELU": (gelu(g), KEY, "--"), "ReLU": (np.maximum(g, 0), INK, ":")}
    picture = card(9, 3.8, f"left: SiLU dips to {silu(g).min():.2f} near g = {g[silu(g).argmin()]:.1f}, GELU to "
                   f"{gelu(g).min():.2f}, ReLU never below 0; right: how far each is open, from 0 to 1, a gentle slope for "
                   "SiLU, a steeper one for GELU, a step for ReLU")  # fmt: skip
    left, right = picture.subplots(1, 2)
    for name, (y, colour, line) in kinds.items():
        left.plot(g, y, line, color=colour, lw=2.2, label=name)
        right.plot(g, np.divide(y, g, where=g != 0, out=np.full(g.shape, np.nan)), line, color=colour, lw=2.2)
    left.axhspan(-LOWEST, LOWEST, color="#E8E8E8", zorder=0)
    left.text(widest, -0.75, f"grey: within ±{LOWEST:.2f}", ha="right", color=INK)
    left.set(xlabel="gate g", ylabel="what comes out", title="g times its opening", ylim=(-1, widest))
    right.set(xlabel="gate g", ylabel="opening (0 to 1)", title="the opening")
    left.legend(frameon=False, loc="upper left")
    tidy(left, right)
    return picture


def feed_forward_share() -> "Picture":
    """Where the weights of Mistral 7B are: one bar, a part for each kind, with counts and percents."""
    counts = parameters(MISTRAL_7B)
    total = counts["total"]
    parts = {"feed-forward (w1, w2, w3)": (counts["feed_forward"], VALUE, ""),
             "attention (wq, wk, wv, wo)": (counts["attention"], QUERY, "//"),
             "embedding and output": (counts["embedding"] + counts["output"], KEY, "..")}  # fmt: skip
    said = "; ".join(f"{name} {n / total:.1%}" for name, (n, _, _) in parts.items())
    picture = card(9, 1.9, f"a bar of {total / 1e9:.2f} thousand million weights: {said}; the norms are too few to see")
    axes = picture.subplots()
    start = 0.0
    for name, (n, colour, hatch) in parts.items():
        label = f"{name}: {n / total:.1%}".replace("%", " %")
        axes.barh(0, n / 1e9, left=start, color=colour, hatch=hatch, edgecolor="white", height=0.8, label=label)
        start += n / 1e9
    axes.set(yticks=[], xlim=(0, total / 1e9), xlabel="weights of Mistral 7B, thousand millions")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return picture


def one_tokens_gates(text: str = "Lena had a green boat.", layer: int = 5, units: int = 32) -> "Picture":
    """The last token's first hidden units in one layer: what the gates let through, what is carried, their product."""
    model = teller()
    trace = model.trace(
        model.tokenizer.encode(text), only=[f"layers.{layer}.{s}" for s in ("gate", "up", "ffn_hidden")]
    )
    gate, up, hidden = (
        trace[f"layers.{layer}.{s}"][-1, :units].astype(np.float64) for s in ("gate", "up", "ffn_hidden")
    )
    loudest = int(np.abs(hidden).argmax())
    closed = int((np.abs(silu(gate)) <= LOWEST).sum())
    picture = card(9, 4.6, f"three rows of {units} bars: {closed} of the gates let through less than {LOWEST:.2f} either way; "
                   f"of the products most are near 0, and unit {loudest} has the largest, {hidden[loudest]:.1f}")  # fmt: skip
    rows = picture.subplots(3, 1, sharex=True)
    bars = (("silu(gate)", silu(gate), QUERY), ("up", up, VALUE), ("product", hidden, INK))
    for axes, (name, y, colour) in zip(rows, bars, strict=True):
        axes.bar(range(units), y, color=colour)
        axes.axhline(0, color=GREY, lw=0.8)
        axes.set_ylabel(name, color=colour)
    rows[0].axhspan(-LOWEST, LOWEST, color="#DDDDDD", zorder=0)
    rows[0].set_title(
        f"layer {layer}, last token of “{text}”, {units} of {model.config.hidden_dim} hidden units", size=11
    )
    rows[2].set_xlabel("hidden unit")
    tidy(*rows)
    return picture


def gates_in_use() -> "Picture":
    """What the storyteller's gates let through on three unread stories: all layers together, and layer by layer."""
    model = teller()
    traces = [model.trace(ids, only="*.gate") for ids in unread_stories()]
    through = [silu(np.concatenate([t[f"layers.{i}.gate"] for t in traces]).astype(np.float64))
               for i in range(model.config.n_layers)]  # fmt: skip  # (T, hidden_dim) a layer
    edges = (-np.inf, 0, LOWEST, 1, np.inf)
    shares = np.array([np.histogram(s, bins=edges)[0] / s.size for s in through])  # (layers, 4)
    closed = shares[:, :2].sum(axis=1)
    picture = card(9.5, 3.9, f"left: what gates let through piles up near 0, with a tail up to {max(s.max() for s in through):.0f}; "
                   f"right: in each layer from {closed.min():.0%} to {closed.max():.0%} of the gates let through "
                   f"at most {LOWEST:.2f} either way")  # fmt: skip
    left, right = picture.subplots(1, 2, width_ratios=(1, 1.25))
    left.hist(np.concatenate([s.ravel() for s in through]), bins=np.linspace(-0.5, 6.5, 71), color=QUERY)
    left.axvspan(-LOWEST, LOWEST, color="#DDDDDD", zorder=0)
    left.set(yscale="log", xlabel="silu(gate)", ylabel="gates (a log scale)", title="all six layers")
    looks = (("below 0", GREY, "////"), (f"0 to {LOWEST:.2f}", "#D9D9D9", ""), (f"{LOWEST:.2f} to 1", "#7FB8D8", ""),
             ("above 1", QUERY, ""))  # fmt: skip
    starts = np.zeros(len(shares))
    for (name, colour, hatch), part in zip(looks, 100 * shares.T, strict=True):
        right.barh(range(len(shares)), part, left=starts, color=colour, hatch=hatch, edgecolor="white", label=name)
        for i, (start, width) in enumerate(zip(starts, part, strict=True)):
            if width >= 6:
                ink = "white" if colour == QUERY else "black"
                box = {"facecolor": GREY, "edgecolor": "none", "pad": 1} if hatch else None
                right.text(start + width / 2, i, f"{width:.0f}", ha="center", va="center", color=ink, size=9, bbox=box)
        starts += part
    right.invert_yaxis()
    right.set(xlabel="gates, %", ylabel="layer", xlim=(0, 100))
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, fontsize=9, columnspacing=1)
    tidy(left)
    right.spines[["top", "right"]].set_visible(False)
    return picture


@cache
def losses_when_closed() -> tuple[tuple[float, ...], dict[str, list[float]]]:
    """Shares of units closed, and the storyteller's loss for each; which are closed is chosen in three ways."""
    rng = np.random.default_rng(0)
    sizes = {"at random": lambda gate, up: rng.random(gate.shape), "smallest |up|": lambda gate, up: np.abs(up),
             "smallest |silu(gate)|": lambda gate, up: np.abs(silu(gate))}  # fmt: skip
    shares, whole = (0.0, 0.5, 0.75, 0.9), story_loss()
    return shares, {
        name: [whole, *(story_loss(keep_largest(1 - share, size)) for share in shares[1:])]
        for name, size in sizes.items()
    }


def closed_gates() -> "Picture":
    """The storyteller's loss when a part of each token's hidden units is closed: at random, by |up|, by |silu(gate)|."""
    shares, losses = losses_when_closed()
    ends = "; ".join(f"{name} {loss[-2]:.2f}" for name, loss in losses.items())
    picture = card(7.5, 4, f"the loss is {losses['at random'][0]:.2f} with all units open; with three quarters of them closed, "
                   f"by how they are chosen: {ends}")  # fmt: skip
    axes = picture.subplots()
    looks = ((WRONG, "s:", 1.17), (VALUE, "^--", 1.17), (QUERY, "o-", 0.84))
    for (name, loss), (colour, look, beside) in zip(losses.items(), looks, strict=True):
        axes.plot(100 * np.array(shares), loss, look, color=colour, lw=2, label=name)
        axes.text(74, loss[-2] * beside, f"{loss[-2]:.2f}", color=colour, ha="right", va="center")
    axes.set(yscale="log", xlabel="hidden units closed for each token, %", ylabel="loss, nats a token (a log scale)")
    axes.set_yticks([0.2, 0.5, 1, 2, 5, 10], ["0.2", "0.5", "1", "2", "5", "10"])
    axes.set_yticks([], minor=True)
    axes.set(ylim=(0.16, 20))
    axes.set_title("which units can be closed?", size=11)
    axes.legend(frameon=False, loc="upper left")
    tidy(axes)
    return picture
