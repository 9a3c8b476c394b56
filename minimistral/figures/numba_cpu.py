"""Pictures of lesson 14: a sum in lanes, and how fast compiled loops read a matrix."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.figures.style import CACHE, GREY, INK, KEY, QUERY, VALUE, WRONG, card, letters_on, tidy

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["kernel_speeds", "sum_in_lanes"]

EIGHT = (2**24, 1, 1, 1, -(2**24), 1, 1, 1)
MEASURED = {  # one run of lesson 14 on 2 cores of an AMD EPYC (Zen 4): GB/s
    "Python loops": 0.0024,
    "columns first": 0.5,
    "rows first": 33.5,
    "rows, all threads": 65.0,
    "float32, rows first": 2.3,
    "copying": 25.9,
}


def added(numbers: np.ndarray) -> np.generic:
    """The sum from left to right, in the numbers' own type.

    >>> int(added(np.array([2**24, 1, 1], np.float32))), int(added(np.array([2**24, 1, 1])))
    (16777216, 16777218)
    """
    return np.cumsum(numbers, dtype=numbers.dtype)[-1]


def lanes_then_sum(numbers: np.ndarray, lanes: int) -> tuple[np.ndarray, np.generic]:
    """Each lane adds every lanes-th number; then the lanes are added: (lanes,) and the sum."""
    each = np.array([added(numbers[i::lanes]) for i in range(lanes)])
    return each, added(each)


def sum_in_lanes(numbers: tuple = EIGHT, lanes: int = 4) -> "Picture":
    """One sum one by one, and the same in lanes, as a processor's vectors make it; in float32 and in int64."""
    from matplotlib.patches import Rectangle

    small, whole = np.array(numbers, np.float32), np.array(numbers, np.int64)
    each, in_lanes = lanes_then_sum(small, lanes)
    by_lane = [(QUERY, KEY, VALUE, CACHE)[i % lanes % 4] for i in range(len(small))]
    orders = [
        ("one by one", [QUERY] * len(small), added(small), added(whole)),
        (f"in {lanes} lanes", by_lane, in_lanes, lanes_then_sum(whole, lanes)[1]),
    ]
    picture = card(9, 2.9, f"{len(small)} numbers added one by one, float32 gives {added(small):.0f}; in {lanes} lanes "
                   f"{in_lanes:.0f}; whole numbers give {added(whole)} in both orders")  # fmt: skip
    axes = picture.subplots()
    for row, (name, colours, float32, integer) in enumerate(orders):
        for i, (number, colour) in enumerate(zip(numbers, colours, strict=True)):
            axes.add_patch(Rectangle((i - 0.46, row - 0.3), 0.92, 0.6, facecolor=colour, edgecolor="white"))
            sign, size = "-" if number < 0 else "", abs(number)
            text = f"{sign}$2^{{{size.bit_length() - 1}}}$" if size > 1 else str(number)
            axes.text(i, row - 0.04, text, ha="center", va="center", color=letters_on(colour), size=12)
            lane = i % lanes if row else 0
            axes.text(i, row + 0.4, f"lane {lane}" if row else f"{i + 1}.", ha="center", va="center", color=INK, size=9)
        x = len(numbers)
        right = float32 == integer
        axes.text(x + 0.35, row, f"{float32:.0f}", ha="center", va="center", size=15, weight="bold",
                  color=VALUE if right else WRONG)  # fmt: skip
        axes.text(x + 1.75, row, str(integer), ha="center", va="center", size=15, weight="bold", color=VALUE)
        axes.text(-0.7, row, name, ha="right", va="center", color=INK, size=11)
    for x, name in ((len(numbers) + 0.35, "float32"), (len(numbers) + 1.75, "whole numbers")):
        axes.text(x, -0.62, name, ha="center", color=INK, size=10)
    axes.text(
        3.5, 1.68, "lane sums in float32: " + ", ".join(f"{s:.0f}" for s in each), ha="center", color=INK, size=10
    )
    axes.set(xlim=(-2.3, len(numbers) + 2.6), ylim=(1.9, -0.8))
    axes.set_axis_off()
    return picture


def kernel_speeds(speeds: dict[str, float] | None = None) -> "Picture":
    """GB of weights that each kernel reads in a second; the dashed line is the machine's own `copying`, read + written.

    speeds: {name of the kernel: GB/s}, with one called "copying"; without it, one run of lesson 14 (Zen 4, 2 cores).
    """
    speeds = dict(MEASURED if speeds is None else speeds)
    copying = speeds.pop("copying")
    said = ", ".join(f"{name} {speed:.2g}" for name, speed in speeds.items())
    picture = card(9, 0.45 * len(speeds) + 1.1, f"bars, GB/s on a logarithmic scale: {said}; copying {copying:.2g}")
    axes = picture.subplots()
    for row, (name, speed) in enumerate(speeds.items()):
        floats = name.startswith("float32")
        axes.barh(row, speed, color=WRONG if floats else QUERY, hatch="///" if floats else None, edgecolor="white")
        percent = 100 * speed / copying
        share = f"{percent:.0f}" if percent >= 1 else f"{percent:.1g}"
        axes.text(speed * 1.12, row, f"{speed:.2g}  ({share} %)", va="center", color=INK, size=10)
    axes.axvline(copying, color=GREY, ls="--", lw=1.5)
    axes.text(copying, -0.72, f"copying {copying:.3g}", ha="right", va="bottom", color=INK, size=9)
    axes.set(xscale="log", yticks=range(len(speeds)), yticklabels=list(speeds), ylim=(len(speeds) - 0.5, -0.75))
    axes.set(xlim=(min(speeds.values()) / 2, max(*speeds.values(), copying) * 12))
    axes.set_xlabel("GB of weights a second (in brackets: of copying)")
    tidy(axes)
    return picture
