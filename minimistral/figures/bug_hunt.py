"""Pictures of lesson 22: where a wrong program differs, by layer and position, and where it is wrong by itself."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.exercises.bug_hunt import CONFIG, ROUNDING, STAGES, T, recorded, remade_right, right
from minimistral.figures.style import SIZE, card

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from minimistral.figures.picture import Picture

__all__ = ["errors_of_a_program", "six_programs"]

ROWS = ("embedding", *(f"layer {i}" for i in range(CONFIG.n_layers)), "norm", "logits")
LEAST, MOST = 1e-8, 1.0


def errors_of_a_program(program: int = 0) -> "Picture":
    """Left what differs from a right run, right what is wrong by itself: the worst stage of each layer, by position."""
    trace = recorded(program)
    whole = worst({stage: by_position(trace[stage], right()[stage]) for stage in STAGES})
    own = own_errors(program)
    picture = card(11, 3.6, f"two tables of layers by positions: left {count(whole)} of {whole.size} squares differ by "
                   f"more than rounding, right {count(own)}, {where(own)}")  # fmt: skip
    left, right_panel = picture.subplots(1, 2, sharey=True)
    draw(left, whole, "from a right run: inherited errors too")
    image = draw(right_panel, own, "its own error, from its own inputs")
    left.set_yticks(range(len(ROWS)), ROWS)
    left.set_ylabel("layer")
    bar(picture, image, [left, right_panel])
    picture.suptitle(f"program {program} (cross: more than rounding)", fontsize=11)
    return picture


def six_programs() -> "Picture":
    """The own errors of programs 1 to 6: the worst stage of each layer, by position."""
    tables = {program: own_errors(program) for program in range(1, 7)}
    said = "; ".join(f"program {program}: {where(own)}" for program, own in tables.items())
    picture = card(11, 5.6, f"six tables of layers by positions, crosses where a program is wrong by itself. {said}")
    panels = picture.subplots(2, 3, sharex=True, sharey=True)
    for axes, (program, own) in zip(panels.flat, tables.items(), strict=True):
        image = draw(axes, own, f"program {program}")
    for axes in panels[0]:
        axes.set_xlabel("")
    for axes in panels[:, 0]:
        axes.set_yticks(range(len(ROWS)), ROWS)
        axes.set_ylabel("layer")
    bar(picture, image, panels)
    return picture


def own_errors(program: int) -> np.ndarray:
    """(rows of the picture, positions)"""
    trace = recorded(program)
    return worst({stage: by_position(trace[stage], remade_right(stage, trace)) for stage in STAGES})


def by_position(mine: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The error of each position, as a part of the stage's typical row: (T, ...), (T, ...) -> (T,)."""
    error, size = (np.linalg.norm(x.reshape(T, -1), axis=1) for x in (mine - right, right))
    return error / np.sqrt(np.mean(size * size))


def worst(errors: dict[str, np.ndarray]) -> np.ndarray:
    """The largest of the stages that share a row: {stage: (T,)} -> (rows, T)."""
    rows = {name: [] for name in ROWS}
    for stage, error in errors.items():
        rows[f"layer {stage.split('.')[1]}" if "." in stage else stage].append(error)
    return np.array([np.max(row, axis=0) for row in rows.values()])


def count(errors: np.ndarray) -> int:
    return int((errors > ROUNDING).sum())


def where(errors: np.ndarray) -> str:
    """In words: which rows have crosses, and at which positions."""
    wrong = errors > ROUNDING
    rows = [ROWS[row] for row in np.flatnonzero(wrong.any(axis=1))]
    layers = np.array([int(row.split()[1]) for row in rows if row.startswith("layer")])
    others = "".join(f" and {row}" for row in rows if not row.startswith("layer"))
    return f"in layer {runs(layers)}{others}, positions {runs(np.flatnonzero(wrong.any(axis=0)))}"


def runs(numbers: np.ndarray) -> str:
    """Neighbours together.

    >>> runs(np.array([4, 5, 6, 8]))
    '4-6, 8'
    """
    groups = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return ", ".join(f"{group[0]}-{group[-1]}" if len(group) > 1 else str(group[0]) for group in groups)


def draw(axes: "Axes", errors: np.ndarray, title: str) -> "AxesImage":
    """A square each, its colour the size of the error; a cross where that is more than rounding."""
    from matplotlib.colors import LogNorm

    shown = np.clip(errors, LEAST, MOST)
    image = axes.imshow(shown, norm=LogNorm(LEAST, MOST), cmap=SIZE, aspect="auto", interpolation="none")
    for colour, here in (("black", shown > 1e-3), ("white", shown <= 1e-3)):
        rows, positions = np.nonzero((errors > ROUNDING) & here)
        axes.scatter(positions, rows, marker="x", s=22, color=colour)
    axes.set_xticks(range(0, T, 2))
    axes.set(xlabel="position", title=title)
    axes.title.set_fontsize(10)
    axes.spines[:].set_visible(False)
    return image


def bar(picture: "Picture", image: "AxesImage", panels: object) -> None:
    """The scale, and on it what rounding explains."""
    made = picture.colorbar(image, ax=panels, pad=0.02, aspect=25)
    made.set_label("error (1: all of it)")
    made.ax.axhline(ROUNDING, color="white", lw=2)
