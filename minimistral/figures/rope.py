"""Pictures of lesson 04: pairs that turn, scores by distance, and angles in few bits."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.arithmetic import by_name
from minimistral.config import MISTRAL_7B
from minimistral.figures.style import GREY, INK, KEY, QUERY, WRONG, card, tidy
from minimistral.rope import rope_table, rotate

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["angle_errors", "score_by_distance", "turning_arrows"]

FLOAT64 = by_name("float64")


def turning_arrows(distance: int = 2, theta: float = 1e4) -> "Picture":
    """One query (position m) and one key (position m - distance), both an arrow to the right before they are turned.

    A row for each of six pairs of a head of 128 numbers, a column for each m. Both arrows turn from column to column;
    the angle between them (shaded) stays as it is along a row.
    """
    from matplotlib.patches import Circle, Wedge

    head_dim, pairs = MISTRAL_7B.head_dim, np.array([63, 32, 24, 16, 8, 0])  # the last on top: y grows upwards
    queries = distance + np.arange(9)
    x = np.zeros((len(queries), 1, head_dim))
    x[..., 0::2] = 1  # each pair is (1, 0)
    turned = {
        name: rotate(x, *rope_table(positions, head_dim, theta, FLOAT64), FLOAT64)[:, 0].reshape(len(queries), -1, 2)
        for name, positions in (("query", queries), ("key", queries - distance))
    }  # (9, 64 pairs, 2) each
    waves = 2 * np.pi / FLOAT64.frequencies(head_dim, theta)  # (64,) positions a turn
    picture = card(
        8, 5.3, f"six rows of nine dials: in each, a query's arrow and the arrow of the key {distance} positions before "
        f"it; pair 0 turns once in {words(waves[0])} positions, pair 63 in {words(waves[63])}; the shaded angle between "
        "the two is the same along each row")  # fmt: skip
    axes = picture.subplots()
    for row, pair in enumerate(pairs):
        for column in range(len(queries)):
            axes.add_patch(Circle((column, row), 0.45, facecolor="white", edgecolor="#BDBDBD"))
            (qx, qy), (kx, ky) = turned["query"][column, pair], turned["key"][column, pair]
            start, end = np.degrees(np.arctan2(ky, kx)), np.degrees(np.arctan2(qy, qx))
            axes.add_patch(Wedge((column, row), 0.45, *sorted_wedge(start, end), facecolor="#DCE8F0"))
            for dx, dy, colour, width in ((kx, ky, KEY, 4), (qx, qy, QUERY, 1.8)):
                axes.plot([column, column + 0.42 * dx], [row, row + 0.42 * dy], color=colour, lw=width)
    axes.set(xlim=(-0.6, 8.6), ylim=(-0.6, 5.6), aspect="equal")
    axes.set(xticks=range(9), xticklabels=queries, yticks=range(6), yticklabels=[f"pair {p}" for p in pairs])
    axes.set(xlabel=f"position m of the query (the key is at m - {distance})")
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(6), [f"a turn in {words(waves[p])}\npositions" for p in pairs])
    for frame in (axes, right):
        frame.spines[:].set_visible(False)
        frame.tick_params(length=0)
    handles = [axes.plot([], [], color=c, lw=w, label=n)[0] for c, w, n in ((QUERY, 1.8, "query"), (KEY, 4, "key"))]
    picture.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    return picture


def sorted_wedge(start: float, end: float) -> tuple[float, float]:
    """The two ends of the smaller angle between two directions, in degrees, anticlockwise.

    >>> sorted_wedge(350.0, 10.0), sorted_wedge(10.0, 350.0)
    ((350.0, 10.0), (350.0, 10.0))
    """
    return (start, end) if (end - start) % 360 <= 180 else (end, start)


def words(wave: float) -> str:
    """A wavelength to three or four digits, a thin space at thousands.

    >>> words(6.283), words(54410.1)
    ('6.28', '54\\u2009410')
    """
    return f"{wave:.3g}" if wave < 1000 else f"{wave:,.0f}".replace(",", "\u2009")


def mean_score(distances: np.ndarray, theta: float, turned_back: int = 0) -> np.ndarray:
    """Score of a query and an equal key, all pairs of one length, divided by its largest: (len(distances),).

    The query is first turned back by `turned_back` positions. Computed by turning arrays, not by the formula.
    """
    head_dim = MISTRAL_7B.head_dim
    x = np.zeros((len(distances), 1, head_dim))
    x[..., 0::2] = np.sqrt(2 / head_dim)  # of length 1 in all
    query = rotate(x, *rope_table(distances - turned_back, head_dim, theta, FLOAT64), FLOAT64)
    key = rotate(x, *rope_table(0 * distances, head_dim, theta, FLOAT64), FLOAT64)
    return (query * key).sum(axis=(1, 2))


def score_by_distance(turned_back: int = 10) -> "Picture":
    """Left: the score of equal vectors by distance, theta 1e4 and 1e6; right: the query first turned back.

    Heads of 128 numbers, every pair of the same length; 1 is the score of two vectors that point the same way.
    """
    far = np.unique(np.geomspace(1, 131_072, 1500).astype(int))
    near = np.arange(41)
    thetas = ((1e4, "theta = 1e4", QUERY, "-", (30, 0.38)), (1e6, "theta = 1e6", INK, "--", (60, 0.8)))
    at_window = [mean_score(np.array([4096]), theta)[0] for theta, *_ in thetas]
    picture = card(
        9, 3.9, f"left: two curves fall from 1 with distance, at 4096 to {at_window[0]:.2f} for theta 1e4 and to "
        f"{at_window[1]:.2f} for theta 1e6; right: the same curves for a query turned back by {turned_back}, highest at "
        f"distance {turned_back}")  # fmt: skip
    left, right = picture.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for theta, name, colour, line, place in thetas:
        left.plot(far, mean_score(far, theta), color=colour, lw=0.9)
        left.text(*place, name, color=colour, weight="bold", ha="right" if theta == 1e4 else "left")
        right.plot(near, mean_score(near, theta, turned_back), line, color=colour, lw=1.6, label=name)
    tidy(left, right)
    left.axhline(0, color=GREY, lw=1)
    left.axvline(4096, color=GREY, ls=":")
    left.text(4096 * 0.9, 0.97, "W = 4096", ha="right", va="top", color=INK)
    left.set(xscale="log", xlabel="distance m - n (positions)", ylabel="score, as a part of the largest")
    left.set_title("equal vectors")
    right.axvline(turned_back, color=GREY, ls=":")
    right.set(xlabel="distance m - n (positions)", title=f"the query turned back by {turned_back}")
    right.legend(loc="lower right", frameon=False)
    return picture


def angles_in(dtype: np.dtype, positions: np.ndarray, theta: float) -> np.ndarray:
    """Position x frequency where both and their product are kept in `dtype`: (T, 64) float64."""
    frequencies = FLOAT64.frequencies(MISTRAL_7B.head_dim, theta)
    with np.errstate(over="ignore"):  # float16 ends at 65504
        product = positions.astype(dtype)[:, None] * frequencies.astype(dtype)
    return product.astype(dtype).astype(np.float64)


def angle_errors(theta: float = 1e4) -> "Picture":
    """How far a cosine is off when angles are kept in bfloat16, float16 or float32, by position; largest of 64 pairs.

    The truth is the package's own table (docs/exact.md). 2 is the most that two cosines can differ by.
    """
    import ml_dtypes

    positions = np.unique(np.geomspace(1, 131_072, 700).astype(int))
    true = rope_table(positions, MISTRAL_7B.head_dim, theta, by_name("exact"))[0]
    kinds = (
        ("bfloat16", ml_dtypes.bfloat16, WRONG, ":", (9, 0.06)),
        ("float16", np.float16, INK, "--", (60, 0.005)),
        ("float32", np.float32, QUERY, "-", (200, 2e-6)),
    )
    worst = {}
    for name, dtype, *_ in kinds:
        fits = positions <= (65504 if name == "float16" else 131_072)  # float16 has nothing beyond
        error = np.abs(np.cos(angles_in(dtype, positions[fits], theta)) - true[fits]).max(axis=1)
        worst[name] = positions[fits], np.maximum.accumulate(error)
    picture = card(
        7.5, 3.9, "three rising curves, the largest error of a cosine up to a position: at 4096 it is "
        + ", ".join(f"{error[at <= 4096][-1]:.1g} in {name}" for name, (at, error) in worst.items())
        + "; the most that two cosines can differ is 2")  # fmt: skip
    axes = picture.subplots()
    for name, _, colour, line, place in kinds:
        axes.plot(*worst[name], line, color=colour, lw=1.8)
        axes.text(*place, name, color=colour, weight="bold", ha="right" if name == "bfloat16" else "left")
    axes.axhline(2, color=GREY, lw=1)
    axes.text(1, 2.3, "the most that two cosines can differ: 2", color=INK, va="bottom")
    axes.set(xscale="log", yscale="log", ylim=(2e-8, 20), xlabel="position", ylabel="largest error of a cosine so far")
    tidy(axes)
    return picture
