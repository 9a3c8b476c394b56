"""The picture of the study: recall against distance, a panel a window, a colour a depth. Loads matplotlib."""

from typing import TYPE_CHECKING

from minimistral.figures.style import GREY, INK, KEY, QUERY, VALUE, WRONG, card, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minimistral.figures.picture import Picture

MARKS = "lines: solid k (W - 1), as far as k layers see; dotted k W, the paper's bound; bands: 95 % intervals"
LOOK = {2: (KEY, "o"), 4: (VALUE, "s"), 8: (QUERY, "D")}  # colour and marker of a depth
TICKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
ALT = "Recall of a fact against its distance on a logarithmic axis, a panel a window, the last with full attention: "


def figure(report: dict) -> "Picture":
    """Panels side by side, two in a row: the share of right answers, its 95 % interval, and the marks of the bounds."""
    windows = list(dict.fromkeys(model["window"] for model in report["models"]))
    rows = (len(windows) + 1) // 2
    picture = card(11, 0.6 + 3.3 * rows, ALT + "; ".join(in_words(model) for model in report["models"]))
    panels = picture.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, window in zip(panels, windows, strict=False):
        panel(axes, [model for model in report["models"] if model["window"] == window], report)
    for axes in panels[len(windows) :]:
        axes.set_axis_off()
    for axes in panels[max(0, len(windows) - 2) : len(windows)]:
        axes.set_xlabel("distance from the fact to the question, words", color=INK)
        axes.tick_params(labelbottom=True)
    for axes in panels[::2]:
        axes.set_ylabel("right answers", color=INK)
    picture.supxlabel(MARKS, size=9, color=GREY)
    return picture


def in_words(model: dict) -> str:
    """One model for the alt text."""
    window = "full attention" if model["window"] is None else f"window {model['window']}"
    return f"{window}, {model['layers']} layers: half right up to {model['50 % right up to']}"


def panel(axes: "Axes", models: list[dict], report: dict) -> None:
    """One window: a curve for each depth; its reach k (W - 1) as a line, the paper's k W as a dotted one."""
    chance, last = report["study"]["chance"], max(report["study"]["edges"])
    axes.axhline(chance, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(1.05, chance - 0.015, "chance", color=GREY, size=8, va="top")
    for model in models:
        curve(axes, model)
    window = models[0]["window"]
    if window is not None:
        axes.axvline(window, color=INK, linewidth=0.8, alpha=0.6)
        axes.annotate("W", (window, 1.03), ha="center", va="bottom", size=9, color=INK, annotation_clip=False)
    axes.set_xscale("log", base=2)
    axes.set(xlim=(0.9, last), ylim=(0, 1.03))
    axes.set_xticks([t for t in TICKS if t <= last], [str(t) for t in TICKS if t <= last])
    axes.minorticks_off()
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    name = "full attention" if window is None else f"window W = {window}"
    axes.set_title(name, loc="left", size=12, color=INK, pad=16)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 0.14), fontsize=8.5, framealpha=0.9, edgecolor="none")
    tidy(axes)


def curve(axes: "Axes", model: dict) -> None:
    """One model: accuracy by bin at the bin's geometric middle, its interval as a band, its two bounds as marks."""
    colour, marker = LOOK.get(model["layers"], (WRONG, "^"))
    middles = [(bin_["low"] * max(bin_["low"], bin_["high"] - 1)) ** 0.5 for bin_ in model["bins"]]
    accuracy, intervals = ([bin_[key] for bin_ in model["bins"]] for key in ("accuracy", "interval"))
    axes.fill_between(middles, *zip(*intervals, strict=True), color=colour, alpha=0.18, linewidth=0)
    axes.plot(middles, accuracy, marker=marker, markersize=3.5, color=colour, linewidth=1.6,
              label=f"{model['layers']} layers")  # fmt: skip
    if model["window"] is not None:
        axes.axvline(model["reach"] - 1, color=colour, linewidth=1.1, alpha=0.9)
        axes.axvline(model["paper's bound"], color=colour, linewidth=1.1, linestyle=":", alpha=0.9)
        label = f"{model['layers']}(W-1)"
        axes.annotate(label, (model["reach"] - 1, 1.03), ha="center", va="bottom", size=8, color=colour,
                      annotation_clip=False)  # fmt: skip
