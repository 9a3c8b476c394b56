"""Pictures of lesson 00: what the model expects, where its parameters are, and which file is which piece."""

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from minimistral import Mistral
from minimistral.config import MISTRAL_7B, Config
from minimistral.costs import parameters
from minimistral.figures.style import GREY, INK, KEY, QUERY, SIZE, VALUE, card, letters_on

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minimistral.figures.picture import Picture

__all__ = ["next_pieces", "package_map", "parameter_stack"]

OUT, UP, EDGE = "#56B4E9", "#DDDDDD", "#F0E442"  # wo; the feed-forward's matrices; embedding and output


def next_pieces(text: str = "Once upon a time, there lived a girl called Ida.", best: int = 4) -> "Picture":
    """What the storyteller expects after each token of a text: the `best` likeliest pieces, from its (T, V) scores.

    A framed piece is the one that the text goes on with.
    """
    from matplotlib import colormaps
    from matplotlib.colors import rgb2hex

    model = Mistral.from_pretrained()
    ids = model.tokenizer.encode(text)
    scores = model(ids).astype(np.float64)  # (T, V)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    order = np.argsort(-shares, axis=1)[:, :best]  # (T, best)
    names = [piece_name(model, i) for i in ids]
    hits = sum(ids[t + 1] == order[t, 0] for t in range(len(ids) - 1))
    picture = card(8.4, 0.34 * len(ids) + 0.9, f"a table with a row for each of {len(ids)} tokens and the {best} pieces "
                   f"that the model thinks likeliest next; {hits} of {len(ids) - 1} times the likeliest is what follows")  # fmt: skip
    axes = picture.subplots()
    for (t, rank), token in np.ndenumerate(order):
        colour = rgb2hex(colormaps[SIZE](shares[t, token]))
        follows = t + 1 < len(ids) and ids[t + 1] == token
        if follows:
            draw_box(axes, rank, t, 0.99, 0.96, "black")
            draw_box(axes, rank, t, 0.97, 0.84, "white")
        draw_box(axes, rank, t, 0.95, 0.74, colour)
        share = f"{100 * shares[t, token]:.0f} %" if shares[t, token] >= 0.005 else "< 1 %"
        axes.text(rank, t, f"{piece_name(model, token)}   {share}", ha="center", va="center",
                  color=letters_on(colour), size=9)  # fmt: skip
    axes.set(xlim=(-0.5, best - 0.5), ylim=(len(ids) - 0.5, -0.5))
    axes.set_xticks(range(best), [f"{n}. of V = {model.config.vocab_size}" for n in range(1, best + 1)])
    axes.set_yticks(range(len(ids)), [f"{name}   {t}" for t, name in enumerate(names)])
    axes.set(ylabel="token read, and its position", title="likeliest next pieces; framed: what the text goes on with")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    colours = picture.colorbar(scale_of_shares(), ax=axes, shrink=0.8, pad=0.02)
    colours.set_label("share of the probability, %")
    return picture


def piece_name(model: Mistral, token: int) -> str:
    """A piece as it is read, its space as a mark; BOS and EOS by their names."""
    names = {model.tokenizer.bos_id: "BOS", model.tokenizer.eos_id: "EOS"}
    return names.get(int(token)) or model.tokenizer.piece_bytes(token).decode(errors="replace").replace(" ", "\u2581")


def scale_of_shares():
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0, 100), SIZE)


def draw_box(axes: "Axes", x: float, y: float, width: float, height: float, colour: str, **look) -> None:
    """A rectangle around (x, y)."""
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x - width / 2, y - height / 2), width, height, facecolor=colour, **look))


def parameter_stack(config: Config = MISTRAL_7B) -> "Picture":
    """All matrices of a model in one scale: areas are parameters (Table 1). Above one layer, below the whole stack.

    Every matrix has one side of dim, which is drawn upwards, so that its other side is its width.
    """
    c, counts = config, parameters(config)
    sides = {"wq": c.n_heads * c.head_dim, "wk": c.n_kv_heads * c.head_dim, "wv": c.n_kv_heads * c.head_dim,
             "wo": c.n_heads * c.head_dim, "w1": c.hidden_dim, "w3": c.hidden_dim, "w2": c.hidden_dim}  # fmt: skip
    looks = {"wq": QUERY, "wk": KEY, "wv": VALUE, "wo": OUT, "w1": UP, "w3": UP, "w2": UP}
    share = {part: 100 * n / counts["total"] for part, n in counts.items()}
    attention, feed_forward = share["attention"], share["feed_forward"]
    picture = card(9, 5.2, f"{c.n_layers} equal bands between the embedding and the output, which are narrower: of "
                   f"each band the seven matrices, attention {attention:.1f} % and feed-forward {feed_forward:.1f} % "
                   "of all parameters")  # fmt: skip
    one, stack = picture.subplots(2, 1, gridspec_kw={"height_ratios": (1, 3.6)}, sharex=True)
    starts = np.cumsum([0, *sides.values()])[:-1]
    for (name, side), start in zip(sides.items(), starts, strict=True):
        draw_box(one, start + side / 2, 0.5, side, 1, looks[name], edgecolor="white")
        narrow = side < 0.04 * sum(sides.values())
        one.text(start + side / 2, 0.5, f"{name}  {side}" if narrow else f"{name}\n{side}", ha="center", va="center",
                 color=letters_on(looks[name]), size=9, rotation=90 if narrow else 0)  # fmt: skip
        for layer in range(c.n_layers):
            draw_box(stack, start + side / 2, layer + 1.5, side, 1, looks[name], edgecolor="white", linewidth=0.6)
    one.set(
        yticks=[0, 1],
        yticklabels=["0", f"{c.dim}"],
        ylabel="dim",
        title="one layer: each matrix is dim high, and as wide as it says",
    )
    for row, name in ((-0.2, "embedding"), (c.n_layers + 1.2, "output")):
        draw_box(stack, c.vocab_size / 2, row + 0.5, c.vocab_size, 1, EDGE, edgecolor="white")
        words = f"{name}, {c.vocab_size} wide: {share[name]:.1f} %"
        stack.text(c.vocab_size * 1.02, row + 0.5, words, va="bottom" if row > 0 else "top", color=INK, size=9)
    split = sum(list(sides.values())[:4])
    middle = c.n_layers / 2 + 1
    for x, words in ((split / 2, f"attention\n{attention:.1f} %"), ((split + starts[-1] + sides["w2"]) / 2,
                     f"feed-forward, three matrices a layer\n{feed_forward:.1f} %")):  # fmt: skip
        stack.text(x, middle, words, ha="center", va="center", size=11,
                   bbox={"facecolor": "white", "edgecolor": GREY, "boxstyle": "round"})  # fmt: skip
    stack.set(xlim=(0, sum(sides.values())), ylim=(-1.4, c.n_layers + 3.4), xlabel="the other side of a matrix")
    stack.set_yticks([0.5, 1.5, c.n_layers + 0.5, c.n_layers + 1.5], ["", "layer 0", f"layer {c.n_layers - 1}", ""])
    stack.set_ylabel(f"bands, each dim = {c.dim} high")
    stack.set_title(f"the whole model: {counts['total'] / 1e9:.2f} billion parameters, areas in one scale")
    one.set_ylim(0, 1)
    for axes in (one, stack):
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    return picture


def package_map(text: str = "Once upon a time, there lived a girl called Ida.") -> "Picture":
    """Which file of the package is which piece of the model; under the arrows, the storyteller's shapes for this text.

    Boxes with names in .py are files, grey boxes are matrices; a line above a row is the residual stream.
    """
    model = Mistral.from_pretrained()
    ids = model.tokenizer.encode(text)
    trace = model.trace(ids, only=["embedding", "layers.0.*", "norm", "logits"])
    shapes = {name.removeprefix("layers.0."): str(x.shape).replace(" ", "") for name, x in trace.items()}
    rows = {  # height: what a row consists of, from left to right: (centre, width, words, shape that it gives)
        54: [(12, 9, "text", ""), (33, 17, "tokenizer.py", f"({len(ids)},)"), (60, 19, "embedding", shapes["embedding"])],
        38: [(12, 15, "rms_norm.py", shapes["attention_norm"]),
             (33, 11, "wq wk wv", f"{shapes['q']}\n{shapes['k']}\n{shapes['v']}"), (50, 9, "rope.py", ""),
             (66, 18, "window.py\nattention.py\nrolling_cache.py", shapes["attention"]),
             (85, 4, "wo", shapes["attention_output"]), (97, 3, "+", "")],
        19: [(12, 15, "rms_norm.py", shapes["ffn_norm"]), (33, 11, "w1 w3", f"{shapes['gate']}\n{shapes['up']}"),
             (51, 13, "swiglu.py", shapes["ffn_hidden"]), (66, 4, "w2", shapes["ffn_output"]), (97, 3, "+", "")],
        3: [(12, 15, "rms_norm.py", shapes["norm"]), (33, 10, "output", shapes["logits"]),
            (60, 15, "sampling.py", "one id"), (85, 17, "joins the ids", "")],
    }  # fmt: skip
    files = [words for boxes in rows.values() for _, _, words, _ in boxes if words.endswith(".py")]
    picture = card(9, 5.4, f"the files {', '.join(dict.fromkeys(' '.join(files).split()))} as boxes, and the matrices "
                   f"between them, in the order in which {len(ids)} ids pass through {model.config.n_layers} layers and "
                   f"become scores {shapes['logits']}")  # fmt: skip
    axes = picture.subplots()
    axes.set(xlim=(1, 103), ylim=(-1, 59))
    axes.set_axis_off()
    draw_box(axes, 50.7, 28.2, 97.6, 36.5, "#FAFAFA", edgecolor=GREY)
    axes.text(
        99, 47.9, f"transformer.py: this, {model.config.n_layers} times", ha="right", va="center", size=9, color=INK
    )
    for y, boxes in rows.items():
        for left, right in pairwise(boxes):
            draw_arrow(axes, [(left[0] + left[1] / 2, y), (right[0] - right[1] / 2, y)])
            middle = (left[0] + left[1] / 2 + right[0] - right[1] / 2) / 2
            axes.text(middle, y - 1, left[3], ha="center", va="top", size=8, color=INK, linespacing=1.1)
        for x, width, words, _ in boxes:
            draw_piece(axes, x, y, width, words)
    for y, below, turn in ((54, 38, 49.5), (38, 19, 29), (19, 3, 8.3)):
        end = rows[y][-1]
        start = (end[0] + end[1] / 2, y) if y == 54 else (end[0], y - 2)
        corner = [(83, y), (83, turn)] if y == 54 else [(end[0], turn)]
        draw_arrow(axes, [start, *corner, (2.6, turn), (2.6, below), (4.5, below)])
        if below != 3:
            draw_arrow(axes, [(2.6, below), (2.6, below + 6), (97, below + 6), (97, below + 2.2)])
            axes.text(49, below + 6.3, "residual stream", ha="center", va="bottom", size=8, color=INK)
    axes.text(83.6, 52, shapes["embedding"], size=8, color=INK)
    draw_arrow(axes, [(92, 3), (101.5, 3), (101.5, 57.5), (46, 57.5), (46, 54.3)])
    return picture


def draw_piece(axes: "Axes", x: float, y: float, width: float, words: str) -> None:
    """A file's box in the colour of values, a matrix's grey, other words bare."""
    if ".py" in words:
        look = {"colour": VALUE, "edgecolor": "white"}
    elif words in ("text", "+", "joins the ids"):
        look = {"colour": "white", "edgecolor": INK if words == "+" else "white"}
    else:
        look = {"colour": UP, "edgecolor": INK}
    lines = words.count("\n") + 1
    draw_box(axes, x, y, width, 2.2 + 2.2 * lines, look.pop("colour"), zorder=3, **look)
    axes.text(x, y, words, ha="center", va="center", size=9, zorder=4,
              color="white" if ".py" in words else INK, weight="bold" if ".py" in words else "normal")  # fmt: skip


def draw_arrow(axes: "Axes", points: list[tuple[float, float]]) -> None:
    """A line through some points, with a head at the last."""
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, color=INK, linewidth=1, zorder=1)
    axes.annotate(
        "", points[-1], points[-2], arrowprops={"arrowstyle": "-|>", "color": INK, "shrinkA": 0, "shrinkB": 0}
    )
