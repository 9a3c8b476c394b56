"""One style for every picture: a light card, a colour for each role (Okabe and Ito's), never colour alone."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minimistral.figures.picture import Picture

QUERY, KEY, VALUE, CACHE, WRONG = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00"
INK, PALE, GREY = "#333333", "#F2F2F2", "#9A9A9A"  # text; what is masked; other lines
KEY_INK = "#8A5A00"  # the key's colour, dark enough for letters
SIZE, SIGN = "cividis", "PuOr"  # colour maps: how much; which sign, centred


def card(width: float, height: float, alt: str) -> "Picture":
    """An empty picture, inches. `alt` says in a sentence what can be seen, for who cannot see it. Loads matplotlib."""
    from minimistral.figures.picture import Picture

    return Picture(width, height, alt)


def tidy(*many: "Axes") -> None:
    """Only the two axes that carry numbers, and quiet lines behind the data."""
    for axes in many:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)


def squares(axes: "Axes", seen: np.ndarray, colour: str = KEY) -> None:
    """A coloured square where `seen` (rows, columns) is True, a hatched grey one elsewhere; row 0 on top."""
    from matplotlib.patches import Rectangle

    for (row, column), on in np.ndenumerate(seen):
        look = {"facecolor": colour, "edgecolor": "white"} if on else {"facecolor": PALE, "edgecolor": "#BDBDBD"}
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, hatch=None if on else "////", **look))
    axes.set(xlim=(-0.5, seen.shape[1] - 0.5), ylim=(seen.shape[0] - 0.5, -0.5), aspect="equal")


def letters_on(colour: str) -> str:
    """Black or white: what can be read on this colour.

    >>> letters_on(KEY), letters_on(QUERY)
    ('black', 'white')
    """
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"


def strip(pictures: list["Picture"], alt: str) -> "Picture":
    """Several small pictures side by side, as one."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn = []
    for picture in pictures:
        canvas = FigureCanvasAgg(picture)
        canvas.draw()
        drawn.append(np.asarray(canvas.buffer_rgba()))
    height = max(image.shape[0] for image in drawn)
    padded = [np.pad(d, ((0, height - d.shape[0]), (0, 0), (0, 0)), constant_values=255) for d in drawn]
    whole = np.hstack(padded)
    made = card(whole.shape[1] / 100, height / 100, alt)
    made.set_layout_engine("none")
    axes = made.add_axes((0, 0, 1, 1))
    axes.imshow(whole, interpolation="none", aspect="auto")
    axes.set_axis_off()
    return made
