"""Pictures of lesson 15: which thread reads what, and the tree by which a block adds up."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.figures.style import CACHE, GREY, INK, KEY, PALE, QUERY, VALUE, WRONG, card, letters_on

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["tree_sum", "who_reads_what"]

LANES = 8  # of a small warp; a line of memory holds as many numbers


def first_reads(by_row: bool, rows: int, K: int) -> np.ndarray:
    """Which lane reads which number of a (rows, K) matrix in the first step of its sums; -1: none does.

    >>> first_reads(True, 2, 3).tolist()
    [[0, -1, -1], [1, -1, -1]]
    """
    lanes = np.arange(LANES)
    read = np.full((rows, K), -1)
    row, column = (lanes, 0 * lanes) if by_row else (0 * lanes, lanes)
    inside = (row < rows) & (column < K)
    read[row[inside], column[inside]] = lanes[inside]
    return read


def who_reads_what(rows: int = 9, K: int = 24) -> "Picture":
    """The first numbers that the 8 lanes of a small warp read, and the lines that come for them: (rows, K) each."""
    from matplotlib.patches import Rectangle

    reads = [first_reads(by_row, rows, K) for by_row in (True, False)]
    fetched = [{(r, c // LANES) for r, c in np.argwhere(read >= 0)} for read in reads]
    picture = card(9, 3.3, f"two matrices of {rows} rows in lines of {LANES} numbers: with a thread for each row, "
                   f"{LANES} lanes fetch {len(fetched[0])} lines for {LANES} numbers; along a row, {len(fetched[1])} line")  # fmt: skip
    names = "a thread for each row", "a warp along a row"
    for axes, read, lines, name in zip(picture.subplots(1, 2, sharey=True), reads, fetched, names, strict=True):
        for (r, c), lane in np.ndenumerate(read):
            here = (r, c // LANES) in lines
            colour = QUERY if lane >= 0 else KEY if here else PALE
            hatch = "////" if here and lane < 0 else None
            axes.add_patch(
                Rectangle((c - 0.5, r - 0.5), 1, 1, facecolor=colour, edgecolor="white", hatch=hatch, lw=0.7)
            )
            if lane >= 0:
                axes.text(c, r, str(lane), ha="center", va="center", color=letters_on(colour), size=8)
        for line in range(0, K + 1, LANES):
            axes.plot([line - 0.5] * 2, [-0.5, rows - 0.5], color=INK, lw=1)
        count = "1 line" if len(lines) == 1 else f"{len(lines)} lines"
        axes.set_title(f"{name}: {count} for {LANES} numbers", size=11)
        axes.set(xlim=(-0.6, K - 0.4), ylim=(rows - 0.4, -0.6), xticks=range(0, K, LANES), yticks=range(rows))
        axes.set_xlabel("column k (a line every 8)")
        axes.spines[:].set_visible(False)
    picture.axes[0].set_ylabel("row n")
    looks = {
        "read by this lane": (QUERY, None),
        "fetched, not read in this step": (KEY, "////"),
        "not fetched": (PALE, None),
    }
    handles = [Rectangle((0, 0), 1, 1, facecolor=c, hatch=h, edgecolor=GREY, label=n) for n, (c, h) in looks.items()]
    picture.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return picture


def tree_steps(numbers: np.ndarray) -> list[np.ndarray]:
    """Shared memory after loading and after each step, for a power of two of numbers.

    >>> [s.tolist() for s in tree_steps(np.array([3, 1, 4, 1]))]
    [[3, 1, 4, 1], [7, 2, 4, 1], [9, 2, 4, 1]]
    """
    steps, stride = [np.array(numbers)], len(numbers) // 2
    while stride > 0:
        after = steps[-1].copy()
        after[:stride] += after[stride : 2 * stride]
        steps.append(after)
        stride //= 2
    return steps


def tree_sum(numbers: tuple = (3, 1, 4, 1, 5, 9, 2, 6)) -> "Picture":
    """Shared memory, a row after each barrier; lines show which two numbers a thread added: (steps + 1, threads)."""
    from matplotlib.patches import Rectangle

    steps = tree_steps(np.array(numbers))
    n = len(numbers)
    picture = card(8, 0.95 * len(steps) + 0.4, f"{n} numbers of shared memory become {n // 2}, then half as many, "
                   f"until one sum of {steps[-1][0]} is left after {len(steps) - 1} steps, with a barrier after each")  # fmt: skip
    axes, alive = picture.subplots(), n
    for row, values in enumerate(steps):
        y = 2 * row
        for t, value in enumerate(values):
            colour = (VALUE if row else QUERY) if t < alive else PALE
            axes.add_patch(Rectangle((t - 0.42, y - 0.42), 0.84, 0.84, facecolor=colour, edgecolor=GREY,
                                     hatch=None if t < alive else "////"))  # fmt: skip
            ink = letters_on(colour) if t < alive else GREY
            axes.text(t, y, str(value), ha="center", va="center", color=ink, size=12)
        if row + 1 < len(steps):
            stride = alive // 2
            for t in range(stride):
                axes.plot([t, t], [y + 0.42, y + 1.58], color=INK, lw=1.5)
                axes.plot([t + stride, t], [y + 0.42, y + 1.58], color=CACHE, lw=1.5)
            alive = stride
        axes.plot([-0.6, n - 0.4], [y + 0.62] * 2, color=WRONG, ls="--", lw=1.2)
        said = (
            "loaded"
            if row == 0
            else f"stride {n >> row}: {n >> row} {'threads add' if n >> row > 1 else 'thread adds'}"
        )
        axes.text(-0.75, y, said, ha="right", va="center", color=INK, size=10)
        axes.text(n - 0.3, y + 0.62, "barrier", va="center", color=WRONG, size=10)
    axes.set(xlim=(-3.2, n + 0.7), ylim=(2 * len(steps) - 1, -1.1))
    axes.text((n - 1) / 2, -0.85, "shared memory s[0], s[1], …", ha="center", va="center", color=INK, size=10)
    axes.set_axis_off()
    return picture
