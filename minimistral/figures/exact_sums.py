"""Pictures of lesson 13: sums of floats depend on their order, sums of grid points do not."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.arithmetic.exact import TERMS, W_BITS, X_BITS, Exact
from minimistral.arithmetic.grid import grid, top
from minimistral.figures.style import INK, WRONG, card
from minimistral.figures.style import KEY as BEFORE
from minimistral.figures.style import QUERY as AFTER

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["sums_on_a_grid"]

ORDERS = 2000


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
