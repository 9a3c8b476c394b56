"""Pictures of lesson 18: recall of a fact against its distance, in the study's models and in small ones trained there."""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minimistral.figures.style import GREY, INK, KEY_INK, QUERY, VALUE, WRONG, card, tidy
from minimistral.window_memory.models import config_of, pooled, reached, row, shares, train
from minimistral.window_memory.task import CHANCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minimistral.figures.picture import Picture
    from minimistral.mistral import Mistral
    from minimistral.window_memory.models import Study

__all__ = ["around_the_wall", "recall_by_distance", "recall_by_reach", "recall_of_small_models"]

FILE = Path(__file__).with_name("window_memory.json")  # what docs/data/window-memory.json counted, made by its test
WINDOWS = {16: (KEY_INK, "o", "-"), 32: (VALUE, "s", "-"), 64: (QUERY, "D", "-"), None: (GREY, "^", "--")}
DEPTHS = {2: (KEY_INK, "o"), 4: (VALUE, "s"), 8: (QUERY, "D")}
AROUND = (("last within", VALUE, "o", "the last four distances within k (W - 1)"),
          ("between the bounds", WRONG, "s", "past k (W - 1), up to k W"), ("beyond both", GREY, "^", "past k W"))  # fmt: skip
TICKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


@lru_cache
def measured(kind: str = "models") -> tuple[dict, ...]:
    """The study's models: window, layers, back (how far k layers see; None: all), bins and `around`, rows of `shares`.

    kind: "models", or "sudden", the one that was trained without a curriculum.
    """
    found = json.loads(FILE.read_text(encoding="utf-8"))[kind]
    return tuple(
        {
            "window": m["window"],
            "layers": m["layers"],
            "back": None if m["window"] is None else m["layers"] * (m["window"] - 1),
            "bins": [shares(*counts) for counts in m["bins"]],
            "around": {name: shares(*counts) for name, counts in m["around"].items()},
        }
        for m in found
    )


def name_of(model: dict) -> str:
    """As in: W 16, 2 layers."""
    return f"{'full' if model['window'] is None else 'W ' + str(model['window'])}, {model['layers']} layers"


def middle(low: int, high: int) -> float:
    """Where a bin of distances low to high - 1 is drawn, on a logarithmic axis.

    >>> middle(5, 6), middle(4, 10)
    (5.0, 6.0)
    """
    return float((low * (high - 1)) ** 0.5)


def curve(axes: "Axes", bins: Sequence[dict], unit: float, colour: str, marker: str, line: str, name: str) -> None:
    """Shares of right answers, and their 95 % intervals as a band; distances in this unit."""
    x = [middle(bin_["low"], bin_["high"]) / unit for bin_ in bins]
    axes.fill_between(x, *zip(*(bin_["interval"] for bin_ in bins), strict=True), color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, [bin_["accuracy"] for bin_ in bins], line, marker=marker, color=colour, ms=3.5, lw=1.6, label=name)


def share_axis(axes: "Axes") -> None:
    """From 0 to 100 %, with the line of chance."""
    axes.axhline(CHANCE, color=GREY, lw=1, ls=(0, (4, 3)))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    axes.set_ylim(0, 1.04)


def distance_axis(axes: "Axes", last: int) -> None:
    """Distances that double."""
    axes.set_xscale("log", base=2)
    axes.set_xlim(0.9, last)
    axes.set_xticks([t for t in TICKS if t <= last], [str(t) for t in TICKS if t <= last])
    axes.minorticks_off()


def wall(axes: "Axes", back: float, words: str, colour: str) -> None:
    """A line where k layers end to see, named above the axes."""
    axes.axvline(back, color=colour, lw=1.1)
    axes.annotate(words, (back, 1.045), ha="center", va="bottom", size=8.5, color=colour, annotation_clip=False)


def recall_by_distance(layers: tuple[int, ...] = (2, 4, 8)) -> "Picture":
    """The study: a panel for each number of layers, a curve for each window and for full attention, k (W - 1) as lines."""
    models = [m for m in measured() if m["layers"] in layers]
    last = models[0]["bins"][-1]["high"]
    said = "; ".join(f"{name_of(m)} {half_right(m)}" for m in models)
    picture = card(11, 3.9, "right answers against the distance of the fact, a panel for each depth, lines at k (W - 1); "
                   f"half of them are right up to: {said}")  # fmt: skip
    panels = picture.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, depth in zip(panels, layers, strict=True):
        for model in (m for m in models if m["layers"] == depth):
            colour, marker, line = WINDOWS[model["window"]]
            name = "full attention" if model["window"] is None else f"W = {model['window']}"
            curve(axes, model["bins"], 1, colour, marker, line, name)
            if model["back"] is not None:
                wall(axes, model["back"], str(model["back"]), colour)
        axes.set_title(f"{depth} layers", size=11, pad=18)
        distance_axis(axes, last)
    share_axis(panels[0])
    for axes in panels[1:]:
        axes.axhline(CHANCE, color=GREY, lw=1, ls=(0, (4, 3)))
    panels[0].set_ylabel("right answers")
    panels[0].text(1, CHANCE - 0.02, "chance", color=GREY, size=8.5, va="top")
    panels[0].legend(loc="lower left", bbox_to_anchor=(0, 0.17), frameon=False, fontsize=9)
    picture.supxlabel("distance from the question back to the colour, words", size=10)
    tidy(*panels)
    return picture


def half_right(model: dict) -> int:
    """The last distance before the first bin in which less than half is right."""
    return reached(model["bins"], 0.5)


def recall_by_reach() -> "Picture":
    """The study's models with a window, each distance divided by the model's own k (W - 1): the wall is at 1."""
    models = [m for m in measured() if m["back"] is not None]
    beyond = pooled([bin_ for m in models for bin_ in m["bins"] if bin_["low"] > m["back"]])["accuracy"]
    picture = card(8.5, 4.2, f"nine curves of right answers against distance in units of k (W - 1): past 1 all are at "
                   f"chance, {100 * beyond:.0f} %; before it 2 and 4 layers stay high, and 8 layers fall early")  # fmt: skip
    axes = picture.subplots()
    for model in models:
        colour, marker = DEPTHS[model["layers"]]
        first = model["window"] == models[0]["window"]
        name = f"{model['layers']} layers" if first else "_"
        curve(axes, model["bins"], model["back"], colour, marker, "-", name)
    wall(axes, 1, "as far as k layers see", INK)
    share_axis(axes)
    axes.text(0.0042, CHANCE - 0.02, "chance", color=GREY, size=8.5, va="top")
    axes.set_xscale("log", base=2)
    axes.set_xticks(
        [2.0**n for n in range(-7, 4)], ["1/128", "1/64", "1/32", "1/16", "1/8", "1/4", "1/2", "1", "2", "4", "8"]
    )
    axes.minorticks_off()
    axes.set(xlabel="distance, in units of k (W - 1)", ylabel="right answers", xlim=(0.004, 11))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 0.17), frameon=False)
    tidy(axes)
    return picture


def around_the_wall() -> "Picture":
    """The study's models with a window: right answers just before k (W - 1), just after it, and after k W."""
    models = [m for m in measured() if m["back"] is not None]
    whole = {name: pooled([m["around"][name] for m in models])["accuracy"] for name, *_ in AROUND}
    said = ", ".join(f"{words} {100 * whole[name]:.1f} %" for name, _, _, words in AROUND)
    picture = card(9, 4, f"three marks for each of nine models, with intervals; all together: {said}; chance is 12.5 %")
    axes = picture.subplots()
    for i, (name, colour, marker, words) in enumerate(AROUND):
        found = [m["around"][name] for m in models]
        x, y = np.arange(len(models)) + 0.22 * (i - 1), np.array([f["accuracy"] for f in found])
        low, high = np.array([f["interval"] for f in found]).T
        axes.errorbar(x, y, (y - low, high - y), fmt=marker, color=colour, ms=6, capsize=2, lw=1.2, label=words)
    share_axis(axes)
    axes.text(-0.45, CHANCE - 0.02, "chance", color=GREY, size=8.5, va="top", ha="right")
    axes.set_xlim(-1, len(models) - 0.4)
    axes.set_xticks(np.arange(len(models)), [name_of(m).replace(", ", "\n") for m in models], size=9)
    axes.set_ylabel("right answers")
    axes.legend(loc="upper right", frameon=False)
    tidy(axes)
    return picture


def trained(study: "Study", window: int | None, n_layers: int) -> "Mistral":
    """One small model of a study, as `Mistral` in float32; of a study without steps, as it is before training."""
    from minimistral.mistral import Mistral

    config = config_of(window, n_layers)
    return Mistral.from_tensors(train(study, config)[0], config, "float32")


def recalled(model: "Mistral", study: "Study") -> list[dict]:
    """What a model recalls: a row of `shares` for each bin of the study's edges."""
    return [row(model, study, low, high) for low, high in zip(study.edges, study.edges[1:], strict=False)]


def recall_of_small_models(curves: dict[str, list[dict]] | None = None, back: int = 30, paper: int = 32) -> "Picture":
    """Right answers of models with one window and depth: {name: rows of `shares`}; lines at k (W - 1), `back`, and at k W.

    Not given: the study's model with W = 16 and 2 layers, up to twice that far.
    """
    curves = curves or {"as trained": [r for r in measured()[0]["bins"] if r["high"] <= 2 * paper]}
    looks = ((VALUE, "o", "-."), (GREY, "^", ":"), (KEY_INK, "s", "--"), (QUERY, "D", "-"))[-len(curves) :]
    ends = "; ".join(
        f"{name} {100 * pooled([r for r in rows if r['low'] <= back])['accuracy']:.0f} % up to {back}, "
        f"{100 * pooled([r for r in rows if r['low'] > back])['accuracy']:.0f} % after it"
        for name, rows in curves.items()
    )
    picture = card(8.5, 4, f"right answers against distance: {ends}")
    axes = picture.subplots()
    for (name, rows), (colour, marker, line) in zip(curves.items(), looks, strict=True):
        curve(axes, rows, 1, colour, marker, line, name)
    wall(axes, back, f"k (W - 1) = {back}", INK)
    axes.axvline(paper, color=WRONG, lw=1.3, ls=":")
    axes.annotate(f"k W = {paper}", (paper, 0.98), (4, 0), textcoords="offset points", va="top", size=8.5, color=WRONG)
    one = paper // (paper - back) - 1  # paper - back is k
    wall(axes, one, f"W - 1 = {one}", GREY)
    share_axis(axes)
    axes.text(0.1, CHANCE - 0.015, "chance", color=GREY, size=8.5, va="top")
    axes.set(xlabel="distance from the question back to the colour, words", ylabel="right answers", xlim=(0, None))
    axes.set_ylim(-0.03, 1.04)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.85), frameon=False)
    tidy(axes)
    return picture
