"""Pictures of lesson 07: which keys a query sees, and how far layers carry."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.figures.style import KEY_INK, QUERY, WRONG, card, squares
from minimistral.window import window_mask

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["window_masks"]


def window_masks(T: int = 13, W: int = 5) -> "Picture":
    """The masks of a window of W keys and of W + 1 (the paper's text), with the pairs each needs: (T, T) each."""
    from matplotlib.patches import Rectangle

    positions = np.arange(T)
    ours, paper = (window_mask(positions, positions, window) for window in (W, W + 1))
    picture = card(9, 4.6, f"two masks: left a band of {W} keys, {ours.sum()} pairs; right one more key in each row "
                   f"from {W} on, {paper.sum()} pairs")  # fmt: skip
    left, right = picture.subplots(1, 2, sharey=True)
    for axes, seen, name in ((left, ours, f"W = {W} keys"), (right, paper, f"the paper's text, W + 1 = {W + 1} keys")):
        squares(axes, seen)
        axes.set(xticks=positions, yticks=positions, title=f"{name}: {seen.sum()} pairs")
        axes.set_xlabel("key position", color=KEY_INK)
        axes.set_ylabel("query position", color=QUERY)
    for i, s in np.argwhere(paper & ~ours):
        right.add_patch(Rectangle((s - 0.5, i - 0.5), 1, 1, facecolor=WRONG, edgecolor="white"))
        right.text(s, i, "+", ha="center", va="center", color="white", weight="bold", size=14)
    return picture
