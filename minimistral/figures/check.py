"""The picture of a check: where errors are, by layer and stage and by position. Drawn from a Report."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.figures.style import GREY, INK, PALE, QUERY, SIZE, WRONG, card, tidy
from minimistral.trace import LAYER_STAGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minimistral.check.report import Report
    from minimistral.figures.picture import Picture

__all__ = ["errors", "errors_narrow"]

COLUMNS = ("embedding", *(stage for stage in LAYER_STAGES if stage != "scores"), "norm", "logits")
LEAST, MOST = 1e-2, 1e8  # budgets that are told apart; what is no number is drawn as MOST
MARKS = 12  # multiples of the window at most, or only the first gets a line


def errors(report: "Report") -> "Picture":
    """Left: the worst row of each stage, a row a layer. Right: the first wrong stage and all right ones, by position.

    Errors are each stage's own, in budgets: 1 is what the number format explains.
    """
    picture = card(11, height_of(report), alt(report))
    draw(picture, *picture.subplots(1, 2, width_ratios=(1, 1.05)), report)
    return picture


def errors_narrow(report: "Report") -> "Picture":
    """The same, one panel under the other: for a telephone."""
    picture = card(5.2, 4 + height_of(report), alt(report))
    draw(picture, *reversed(picture.subplots(2, 1, height_ratios=(4, height_of(report)))), report)
    return picture


def height_of(report: "Report") -> float:
    return float(np.clip(3.4 + 0.16 * report.config.n_layers, 3.8, 7.5))


def draw(picture: "Picture", stages: "Axes", positions: "Axes", report: "Report") -> None:
    by_stage(stages, report)
    by_position(positions, report)
    ids = dict.fromkeys("unknown fault" if f.mistake is None else f.mistake.id for f in report.findings)
    said = f"{report.trace.path.name}: {' and '.join(ids) if ids else 'agrees'}"
    picture.suptitle(said, fontsize=11, x=0.01, ha="left", color=INK)


def by_stage(axes: "Axes", report: "Report") -> None:
    """A square a stage, its colour the error of its worst row; wrong ones have a cross, what is not recorded is hatched."""
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    n_layers = report.config.n_layers
    place = {f"layers.{i}.{stage}": (i, x) for i in range(n_layers) for x, stage in enumerate(COLUMNS[1:-2], 1)}
    place |= {"embedding": (0, 0), "norm": (n_layers - 1, len(COLUMNS) - 2), "logits": (n_layers - 1, len(COLUMNS) - 1)}
    squares = np.full((n_layers, len(COLUMNS)), np.nan)
    for name, (y, x) in place.items():
        if name in report.stages:
            squares[y, x] = np.clip(report.stages[name].worst, LEAST, MOST)
        else:
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=PALE, edgecolor="#BDBDBD", hatch="////", lw=0))
    image = axes.imshow(squares, norm=LogNorm(LEAST, MOST), cmap=SIZE, aspect="auto", interpolation="none")
    size = float(np.clip(110 / n_layers, 8, 45))
    for name in report.wrong:
        y, x = place[name]
        axes.scatter(x, y, s=size, marker="x", color="white" if squares[y, x] < 1e3 else "black", linewidths=1.5)
    if report.first_difference:
        y, x = place[report.first_difference]
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=WRONG, lw=3, zorder=5))
    axes.set_xticks(range(len(COLUMNS)), COLUMNS, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    step = 1 if n_layers <= 12 else 4
    axes.set_yticks(range(0, n_layers, step))
    axes.set(ylabel="layer", title="each stage's own error (cross: wrong; hatched: not recorded)")
    axes.title.set_fontsize(9)
    axes.spines[:].set_visible(False)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.02, aspect=30)
    bar.set_label("worst row, budgets")
    bar.ax.axhline(1, color="white", lw=2)


def by_position(axes: "Axes", report: "Report") -> None:
    """The first wrong stage, the others that are wrong, the largest of all right ones; multiples of the window marked."""
    T, first = len(report.trace.tokens), report.first_difference
    drawn = {name: np.clip(report.by_position(name), LEAST, MOST) for name in report.stages}
    marker = "o" if T <= 64 else None
    right = np.full(T, np.nan)
    for name in (n for n in drawn if report.stages[n].ok):
        at = report.positions(name)
        right[at] = np.fmax(right[at], drawn[name])
    others = [n for n in report.wrong if n != first]
    for n, name in enumerate(others):
        label = f"{len(others)} other wrong stage{'s' * (len(others) > 1)}" if n == 0 else None
        axes.plot(report.positions(name), drawn[name], color=GREY, lw=0.8, ls="--", label=label)
    if np.isfinite(right).any():
        label = "the largest of all right stages" if first else "the largest of all stages"
        axes.plot(right, color=QUERY, lw=1.2, marker=marker, ms=3, label=label)
    if first:
        axes.plot(report.positions(first), drawn[first], color=WRONG, lw=2, marker=marker and "s", ms=3.5, label=first)
    axes.axhspan(LEAST / 4, 1, color="#DDEBDD", zorder=0)
    axes.axhline(1, color=INK, lw=1, ls=":")
    highest = max([10.0, *(float(d.max()) for d in drawn.values())])
    axes.set(yscale="log", xlim=(-0.5, max(T - 0.5, 0.5)), ylim=(LEAST / 4, highest * 30))
    axes.text(
        T - 0.5, LEAST / 2.5, f"what {report.trace.dtype} explains ", ha="right", va="bottom", fontsize=8, color=INK
    )
    mark_windows(axes, report.window(first or "logits"), T)
    axes.set(xlabel="position of the token", ylabel="worst row there, budgets", title="by position")
    axes.title.set_fontsize(9)
    tidy(axes)
    axes.legend(loc="upper left", fontsize=8, frameon=False, bbox_to_anchor=(0, -0.16))


def mark_windows(axes: "Axes", window: int | None, T: int) -> None:
    """A line at W, 2W, ...: an error that begins at the first says `window`."""
    if window is None or window >= T:
        said = "no window" if window is None else f"W = {window} is beyond the last position"
        axes.text(0.99, 0.97, said, ha="right", va="top", fontsize=8, color=INK, transform=axes.transAxes)
        return
    marked = range(window, T, window) if T <= MARKS * window else [window]
    named = 1 if T <= 6 * window else 5  # every line has a name if there is room
    for n, at in enumerate(marked, 1):
        axes.axvline(at, color=INK, lw=1.4 if n == 1 else 0.7, ls="--", zorder=1)
        if n == 1 or (n % named == 0 and at < 0.95 * T):
            said = f" W = {window}" if n == 1 else f" {n}W"
            axes.text(at, 0.99, said, va="top", fontsize=8, color=INK, transform=axes.get_xaxis_transform())


def alt(report: "Report") -> str:
    """What can be seen, in a sentence or two."""
    said = f"{len(report.stages)} recorded stages of {report.config.n_layers} layers, errors in budgets: "
    first = report.first_difference
    if first is None:
        worst = max(c.worst for c in report.stages.values())
        return said + f"none is over 1, the largest is {worst:.2g}; by position all lines stay below the line at 1"
    at, W = report.first_wrong_position(first), report.window(first)
    size = f"up to {report.stages[first].worst:.2g}" if np.isfinite(report.stages[first].worst) else "not finite"
    begins = f"begins at position {at}" + (f", the window's width W = {W}" if at == W else "")
    return said + f"{len(report.wrong)} wrong, first {first}, {size}; by position its error {begins}"
