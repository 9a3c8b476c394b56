"""Pictures of lesson 13: sums of floats depend on their order, sums of grid points do not."""

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from minimistral import Mistral
from minimistral.arithmetic.exact import TERMS, W_BITS, X_BITS, Exact
from minimistral.arithmetic.grid import grid, snap, top
from minimistral.figures.style import CACHE, GREY, INK, KEY, VALUE, WRONG, card, tidy
from minimistral.figures.style import KEY as BEFORE
from minimistral.figures.style import QUERY as AFTER
from minimistral.weights import Arrays, Layer

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["bit_budget", "five_orders", "reordered_model", "sums_on_a_grid"]

ORDERS = 2000
MARKS = {"forward": ">", "backward": "<", "in pairs": "s", "small ones first": "^", "shuffled": "o"}


def sums_in_five_orders(numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers (a power of two of them) added one by one in their own type, in five orders: {name of the order: sum}.

    >>> sums_in_five_orders(np.array([1, 2, 3, 4], np.float16))["backward"]
    np.float16(10.0)
    """
    pairs = numbers
    while len(pairs) > 1:
        pairs = pairs[0::2] + pairs[1::2]
    orders = {
        "forward": np.arange(len(numbers)),
        "backward": np.arange(len(numbers))[::-1],
        "small ones first": np.argsort(np.abs(numbers), kind="stable"),
        "shuffled": np.random.default_rng(0).permutation(len(numbers)),
    }
    one_by_one = {name: np.cumsum(numbers[order])[-1] for name, order in orders.items()}
    return one_by_one | {"in pairs": pairs[0]}


def errors_of_adding(K: int = 4096, seed: int = 0) -> dict[str, dict[str, float]]:
    """|sum - true sum of the very numbers that were added|, by number type and order; the truth is in fractions.

    K products of random x and w, rounded to each type; and x and w on their grids, the two halves of x apart.
    """
    x, w = np.random.default_rng(seed).standard_normal((2, K))
    errors = {}
    for dtype in (np.float16, np.float32, np.float64):
        products = x.astype(dtype) * w.astype(dtype)
        true = sum(map(Fraction, products.tolist()))
        sums = sums_in_five_orders(products)
        errors[np.dtype(dtype).name] = {name: float(abs(Fraction(float(s)) - true)) for name, s in sums.items()}
    X, W = grid(x, X_BITS), grid(w, W_BITS)
    high = snap(X, top(x) * 2.0**-15)
    true = sum(Fraction(a) * Fraction(b) for a, b in zip(X.tolist(), W.tolist(), strict=True))
    halves = [sums_in_five_orders(high * W), sums_in_five_orders((X - high) * W)]
    errors["on grids"] = {
        name: float(abs(Fraction(float(halves[0][name])) + Fraction(float(halves[1][name])) - true)) for name in MARKS
    }
    return errors


def five_orders(K: int = 4096, seed: int = 0) -> "Picture":
    """One sum of K products in five orders, in three float types and on grids: how far each adding is from the truth."""
    errors = errors_of_adding(K, seed)
    zero = 1e-18  # where 0 is drawn
    worst = {row: max(by_order.values()) for row, by_order in errors.items()}
    picture = card(9, 3.2, f"errors of one sum of {K} products in five orders: "
                   + ", ".join(f"at most {worst[row]:.1g} in {row}" for row in errors if worst[row])
                   + "; on grids all five errors are 0")  # fmt: skip
    axes = picture.subplots()
    for at, (row, by_order) in enumerate(errors.items()):
        for place, (order, mark) in enumerate(MARKS.items()):
            x, y = max(by_order[order], zero), at + 0.13 * (place - 2)  # apart, so that equal ones can be seen
            colour = VALUE if row == "on grids" else WRONG
            axes.plot(x, y, mark, color=colour, markeredgecolor=INK, markersize=8, linestyle="none")
    for order, mark in MARKS.items():
        axes.plot([], [], mark, color="white", markeredgecolor=INK, markersize=8, linestyle="none", label=order)
    axes.axvline(3e-18, color=GREY, ls=":")
    axes.set(xscale="log", xlim=(3e-19, 3), ylim=(len(errors) - 0.5, -0.5))
    axes.set_yticks(range(len(errors)), errors)
    axes.set_xticks([zero, *10.0 ** np.arange(-16, 1, 4)], ["0", *(f"$10^{{{e}}}$" for e in range(-16, 1, 4))])
    axes.set_xticks([], minor=True)
    axes.set(xlabel="distance from the true sum of the numbers added", ylabel="numbers")
    axes.set_title(f"one sum of {K} products, five orders")
    tidy(axes)
    picture.legend(loc="outside right center", title="order", frameon=False)
    return picture


def bit_budget(x_bits: int = 31, w_bits: int = 23, log2_terms: int = 15) -> "Picture":
    """The bits that a sum of 2^log2_terms products of whole numbers may need, beside what number types hold exactly."""
    needed = x_bits + w_bits + log2_terms
    limits = (("float32", 24), ("float64", 53), ("int64", 63))
    holds = [name for name, bits in limits if needed <= bits]
    words = ", ".join(holds) if holds else "none of the three"
    picture = card(3.6, 2.4, f"{x_bits} + {w_bits} + {log2_terms} = {needed} bits, beside the 24, 53 and 63 that "
                   f"float32, float64 and int64 hold: it fits {words}")  # fmt: skip
    axes = picture.subplots()
    start = 0
    for bits, colour, hatch, name in (
        (x_bits, BEFORE, "", "x"),
        (w_bits, AFTER, "//", "w"),
        (log2_terms, GREY, "..", "K"),
    ):
        axes.barh(0, bits, left=start, color=colour, edgecolor="white", hatch=hatch, height=0.5)
        axes.text(start + bits / 2, -0.42, f"{name} {bits}", ha="center", va="center", size=9, color=INK)
        start += bits
    for name, bits in limits:
        fits = needed <= bits
        axes.plot([bits, bits], [-0.3, 0.75], color=VALUE if fits else WRONG, lw=2, ls="-" if fits else "--")
        side = 1 if name == "int64" else -1
        axes.text(bits + 0.8 * side, 0.6, f"{name} {bits}", ha="left" if side > 0 else "right", va="center", size=9,
                  color=VALUE if fits else WRONG)  # fmt: skip
    axes.set(xlim=(0, 82), ylim=(1.05, -0.65), yticks=[], xlabel="bits of the largest sum")
    axes.set_title(f"{needed} bits: fits {words}", size=10)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return picture


def with_hidden_units_in_order(model: Mistral, order: np.ndarray) -> Mistral:
    """The same model with its hidden units in another order, in every layer: only sums of w2 are reordered."""
    w = model.weights
    layers = [Layer(*layer) for layer in w.layers]
    layers = [layer._replace(w1=layer.w1[order], w3=layer.w3[order], w2=layer.w2[:, order]) for layer in layers]
    return Mistral(model.config, Arrays(w.tok_embeddings, layers, w.norm, w.output), model.arithmetic)


def differences_by_layer(arithmetic: str, text: str, seed: int = 0) -> dict[str, float]:
    """The storyteller against itself with its hidden units shuffled: |a - b| / |a| (l2), stage by stage; 64 tokens at most."""
    model = Mistral.from_pretrained(arithmetic=arithmetic)
    order = np.random.default_rng(seed).permutation(model.config.hidden_dim)
    ids = model.tokenizer.encode(text)[:64]
    stages = ["embedding", "layers.*.output", "logits"]
    a, b = (m.trace(ids, only=stages) for m in (model, with_hidden_units_in_order(model, order)))
    a, b = ({name: x.astype(np.float64) for name, x in trace.items()} for trace in (a, b))
    return {name: float(np.linalg.norm(a[name] - b[name]) / np.linalg.norm(a[name])) for name in a}


def reordered_model(seed: int = 1) -> "Picture":
    """The trained storyteller with its hidden units in another order: how far stages move, in each arithmetic.

    The text is the beginning of a story, 64 tokens.
    """
    from minimistral.stories import story

    looks = {"bfloat16": (WRONG, "v"), "float16": (CACHE, "^"), "float32": (KEY, "s"), "float64": (INK, "D"),
             "exact": (VALUE, "o")}  # fmt: skip
    found = {name: differences_by_layer(name, story(seed), seed) for name in looks}
    names = list(found["exact"])
    zero = 1e-18
    picture = card(8, 4.2, "differences of stages after the hidden units were shuffled: at the end highest in the "
                   "16-bit types, below 1e-6 in float32, below 1e-14 in float64, and in exact 0 at every stage")  # fmt: skip
    axes = picture.subplots()
    for name, (colour, mark) in looks.items():
        y = np.maximum(list(found[name].values()), zero)
        axes.plot(range(len(names)), y, mark, ls="-", color=colour, markeredgecolor=INK, label=name)
    axes.axhline(6e-18, color=GREY, ls=":")
    axes.set(yscale="log", ylim=(2e-19, 0.1), xlabel="stage", ylabel="relative difference")
    axes.set_yticks([zero, *10.0 ** np.arange(-16, 0, 3)], ["0", *(f"$10^{{{e}}}$" for e in range(-16, 0, 3))])
    axes.set_yticks([], minor=True)
    axes.set_xticks(range(len(names)), ["embedding", *(f"layer {n}" for n in range(len(names) - 2)), "logits"])
    axes.set_title("one model, its hidden units in two orders")
    tidy(axes)
    picture.legend(loc="outside right center", title="arithmetic", frameon=False)
    return picture


def sums_on_a_grid() -> "Picture":
    """Why sums on a grid are exact: a row put on its grid, the room that a sum has, and one sum in 2000 orders."""
    figure = card(
        11,
        3.6,
        "five values put on a grid become whole numbers; the bits of the largest sum stay below those that a number type "
        "holds; one sum in 2000 orders has many results in float32 and one in integers",
    )
    row, room, orders = figure.subplots(1, 3, width_ratios=(1.15, 1, 1))
    _a_row(row)
    _the_room(room)
    _the_orders(orders)
    return figure


def _a_row(axes) -> None:
    """Five values and 2 bits: whole multiples of a quarter of their power of two."""
    x = np.array([0.9, 0.125, -0.9, 0.375, -0.7])
    y, t, k = grid(x, 2), top(x)[0], np.arange(5)
    for n in range(-3, 4):
        axes.axhline(n * t / 4, color="#cccccc", linewidth=0.8, zorder=0)
    axes.scatter(k, x, marker="o", facecolors="none", edgecolors=BEFORE, s=60, label="a value")
    axes.scatter(k, y, marker="s", color=AFTER, s=36, label="on its grid")
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        axes.plot([i, i], [a, b], color=INK, linewidth=0.8)
        axes.annotate(f"{round(4 * b / t):d}", (i, b), (8, -3), textcoords="offset points", color=AFTER)
    axes.set(title="A row becomes integers (2 bits)", xlabel="channel", ylabel="value", xlim=(-0.5, 4.8))
    axes.set(yticks=[-1, -0.5, 0, 0.5, 1], ylim=(-1.1, 1.35))
    axes.legend(loc="upper right", ncols=2, frameon=False, fontsize=8)


def _the_room(axes) -> None:
    """Bits of the largest sum, beside the bits that a number type holds exactly."""
    terms = TERMS.bit_length() - 1
    sums = [
        ("float64: each half\nof an activation", (X_BITS + 1) // 2 - 1, W_BITS, terms, 53),
        ("int64: a whole one,\n512 at a time", X_BITS, W_BITS, 9, 63),
    ]
    for at, (_, x, w, many, limit) in enumerate(sums):
        start = 0
        for bits, colour, text in ((x, BEFORE, "x"), (w, AFTER, "w"), (many, "#767676", "terms")):
            axes.barh(at, bits, left=start, color=colour, edgecolor="white", height=0.5)
            axes.text(
                start + bits / 2,
                at,
                f"{text} {bits}" if bits > 12 else f"{bits}",
                ha="center",
                va="center",
                color="white",
                fontsize=8,
            )
            start += bits
        axes.plot([limit, limit], [at - 0.4, at + 0.4], color=WRONG, linewidth=2)
        axes.text(limit, at + 0.42, f"{limit} bits", color=WRONG, ha="right", va="bottom", fontsize=8)
    axes.set(title="No sum outgrows its number", xlabel="bits", xlim=(0, 66), ylim=(-0.7, 1.8))
    axes.set_yticks(range(len(sums)), [s[0] for s in sums], fontsize=8)


def _the_orders(axes) -> None:
    """One dot product of 768 terms, summed in many orders: float32 gives many results, integers one."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 768)).astype(np.float32), rng.standard_normal((1, 768)).astype(np.float32)
    exact = Exact()
    w = exact.weight(w)
    one = exact.linear(x, w)[0, 0]
    by_float, by_integer = [], set()
    for _ in range(ORDERS):
        order = rng.permutation(768)
        by_float.append(np.cumsum(x[0, order] * w[0, order])[-1])
        by_integer.add(exact.linear(x[:, order], w[:, order])[0, 0].tobytes())
    steps = (np.array(by_float, np.float64) - one) / np.spacing(np.abs(one))
    axes.hist(
        steps,
        bins=np.arange(steps.min() - 0.5, steps.max() + 1),
        color=BEFORE,
        label=f"float32: {len(set(by_float))} results",
    )
    axes.axvline(0, color=AFTER, linewidth=3, label=f"exact: {len(by_integer)} result")
    axes.set(title=f"One sum in {ORDERS} orders", xlabel="units in the last place from exact", ylabel="orders")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.3)
    axes.legend(loc="upper right", frameon=False, fontsize=8)
