"""The picture under a wrong answer: yours, the right one, and where they differ."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.figures.style import KEY, QUERY, SIGN, SIZE, WRONG, card, squares, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minimistral.figures.picture import Picture

MOST = 40  # rows and columns that are drawn


def answer_picture(mine: np.ndarray, right: np.ndarray, axes_are: tuple[str, str]) -> "Picture":
    """Your array, the right array, and their difference, for the inputs of this try; crosses where they differ.

    Arrays of more than two axes are shown where they first differ; what is longer than 40 is cut. A mask of 0 and 1 is a
    mask. axes_are: what the last two axes are.
    """
    if right.dtype == bool and np.isin(mine, (0, 1)).all():
        mine = mine.astype(bool)
    wrong = ~np.isclose(mine, right, rtol=1e-9, atol=1e-12, equal_nan=True)
    many = max(right.ndim - 2, 0)
    leading = tuple(int(i) for i in (np.argwhere(wrong)[0][:many] if wrong.any() else (0,) * many))
    cut = leading + (slice(MOST),) * min(right.ndim, 2)
    mine, right, wrong = mine[cut], right[cut], wrong[cut]
    title = f" at [{', '.join(map(str, leading))}]" if leading else ""
    if right.ndim == 1:
        return _one_row(mine.astype(float), right.astype(float), wrong)
    tall = np.clip(2.7 * right.shape[0] / right.shape[1], 0.6, 3.6)
    alt = f"your array, the right array, and their difference{title}: {wrong.sum()} of {wrong.size} numbers differ"
    picture = card(9, 1.1 + tall, alt)
    panels = picture.subplots(1, 3, sharex=True, sharey=True)
    if {mine.dtype.kind, right.dtype.kind} == {"b"}:
        _masks(panels, mine, right, wrong)
    else:
        _numbers(picture, panels, mine.astype(float), right.astype(float))
    for axes, name in zip(panels, ("yours", "right", "difference"), strict=True):
        axes.set(title=name + title, xlabel=axes_are[1])
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.yaxis.get_major_locator().set_params(integer=True)
    panels[0].set_ylabel(axes_are[0])
    rows, columns = np.nonzero(wrong)
    for colour, width in (("white", 3), (WRONG, 1.4)):  # to be seen on any colour
        panels[2].scatter(columns, rows, marker="x", color=colour, s=24, linewidths=width)
    return picture


def _masks(panels: list["Axes"], mine: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> None:
    """True is a coloured square, False a hatched grey one; in the third panel the squares that differ."""
    for axes, array, colour in zip(panels, (mine, right, wrong), (KEY, KEY, "#FBE3D6"), strict=True):
        squares(axes, array, colour)


def _numbers(picture: "Picture", panels: list["Axes"], mine: np.ndarray, right: np.ndarray) -> None:
    """Yours and the right one in the same colours, their difference in colours for its sign."""
    low, high = np.nanmin([mine, right]), np.nanmax([mine, right])
    differ = mine - right
    most = np.max(np.abs(differ[np.isfinite(differ)]), initial=0.0) or 1.0
    for axes, array in zip(panels, (mine, right), strict=False):
        both = axes.imshow(array, cmap=SIZE, vmin=low, vmax=high, interpolation="none")
    picture.colorbar(both, ax=panels[:2], shrink=0.8)
    picture.colorbar(
        panels[2].imshow(differ, cmap=SIGN, vmin=-most, vmax=most, interpolation="none"), ax=panels[2], shrink=0.8
    )


def _one_row(mine: np.ndarray, right: np.ndarray, wrong: np.ndarray) -> "Picture":
    picture = card(9, 2.4, f"your numbers and the right ones: {wrong.sum()} of {wrong.size} differ")
    both, differ = picture.subplots(1, 2, sharex=True)
    at = np.arange(len(right))
    both.plot(at, right, "s", color=QUERY, markersize=8, markerfacecolor="none", label="right")
    both.plot(at, mine, "x", color=WRONG, label="yours")
    differ.bar(at, mine - right, color=WRONG)
    both.set(title="yours and right", xlabel="index", ylabel="value")
    differ.set(title="difference", xlabel="index", ylabel="yours - right")
    both.legend(fontsize=8, frameon=False)
    both.xaxis.get_major_locator().set_params(integer=True)
    tidy(both, differ)
    return picture
