"""The picture under a wrong answer: yours, the right one, and where they differ."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.figures.style import SIGN, SIZE, WRONG, card

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

MOST = 40  # rows and columns that are drawn


def answer_picture(mine: np.ndarray, right: np.ndarray) -> "Picture":
    """Your array, the right array, and their difference, for the inputs of this try.

    Arrays of more than two axes are shown where they first differ; long ones are cut.
    """
    wrong_at = np.argwhere(np.nan_to_num(np.asarray(mine, float)) != np.nan_to_num(np.asarray(right, float)))
    leading = tuple(wrong_at[0][: max(right.ndim - 2, 0)]) if len(wrong_at) else (0,) * max(right.ndim - 2, 0)
    mine, right = (np.atleast_2d(np.asarray(a, dtype=float)[leading])[:MOST, :MOST] for a in (mine, right))
    differ = mine - right
    picture = card(
        9, 1.3 + 2.6 * min(right.shape[0] / right.shape[1], 1), "your array, the right array, and their difference"
    )
    low, high = np.nanmin([mine, right]), np.nanmax([mine, right])
    most = np.nanmax(np.abs(np.where(np.isfinite(differ), differ, 0))) or 1.0
    at = f" at [{', '.join(map(str, leading))}]" if leading else ""
    panels = [(mine, f"yours{at}", SIZE, low, high), (right, f"right{at}", SIZE, low, high),
              (differ, "difference", SIGN, -most, most)]  # fmt: skip
    for axes, (array, title, colours, least, largest) in zip(picture.subplots(1, 3), panels, strict=True):
        image = axes.imshow(array, cmap=colours, vmin=least, vmax=largest, interpolation="none")
        axes.set(title=title, xlabel="last axis", ylabel="axis before it")
        picture.colorbar(image, ax=axes, shrink=0.7)
    rows, columns = np.nonzero(~np.isclose(mine, right, equal_nan=True))
    axes.scatter(columns, rows, marker="x", color=WRONG, s=18, linewidths=1)
    return picture
