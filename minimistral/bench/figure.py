"""A report as a picture: speed, cost against length, speed against batch; only the panels that have data."""

import os
from pathlib import Path

from minimistral.errors import BadInput


def need_matplotlib() -> None:
    """BadInput if matplotlib is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise BadInput("--figure: matplotlib is not installed; pip install matplotlib") from None


def draw(report: dict, path: Path) -> None:
    """Write the report as a PNG at `path`, under a temporary name first. BadInput if it cannot be written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [_bars("prefill"), _bars("decode")]
    if report["lengths"]:
        panels += [_length_lines("decode"), _length_lines("prefill")]
    if len(report["settings"]["batches"]) > 1:
        panels += [_batch_lines("prefill"), _batch_lines("decode")]
    figure, axes = pyplot.subplots(len(panels) // 2, 2, figsize=(11, 3.4 * len(panels) // 2), layout="constrained")
    for axis, panel in zip(axes.ravel(), panels, strict=True):
        panel(axis, report)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    figure.suptitle(f"{report['model']['name']} on {report['machine']['gpu'] or report['machine']['cpu']}, "
                    f"{report['threads']['asked']} threads", fontsize=11)  # fmt: skip
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        figure.savefig(partial, format="png", dpi=130)
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"--figure: {path}: {error.strerror or error}") from None
    finally:
        pyplot.close(figure)
        partial.unlink(missing_ok=True)


def _colours(report: dict) -> dict[str, str]:
    """Peers grey, ours in colour, the same in every panel."""
    ours, greys = iter(f"C{n}" for n in range(10)), iter(["0.45", "0.65", "0.8", "0.3"] * 3)
    return {side["name"]: next(greys if side["peer"] else ours) for side in report["sides"]}


def _whiskers(rates: dict) -> list[list[float]]:
    return [[rates["median"] - rates["min"]], [rates["max"] - rates["median"]]]


def _bars(what: str):
    """Tokens a second of every side at the first batch size; whiskers from the slowest to the fastest repeat."""

    def panel(axis, report: dict) -> None:
        batch, colours = report["settings"]["batches"][0], _colours(report)
        rows = [row for row in report["prompt"] if row["batch"] == batch]
        for n, row in enumerate(rows):
            rates = row[f"{what}_tokens_per_s"]
            axis.barh(n, rates["median"], color=colours[row["side"]])
            axis.errorbar(rates["median"], n, xerr=_whiskers(rates), color="black", capsize=3, linewidth=1)
            axis.annotate(f"{rates['median']:.4g}", (rates["max"], n), (5, 0), textcoords="offset points", va="center")
        axis.set_yticks(range(len(rows)), [row["side"] for row in rows])
        axis.invert_yaxis()
        axis.margins(x=0.15)
        tokens = report["settings"]["prompt_tokens" if what == "prefill" else "new_tokens"]
        name = {"prefill": "pre-fill", "decode": "decode"}[what]
        axis.set_title(f"{name} of {tokens} tokens, batch {batch}: tokens/s", fontsize=10)

    return panel


def _lines(axis, report: dict, rows: list[dict], x: str, value) -> None:
    for side, colour in _colours(report).items():
        own = [row for row in rows if row["side"] == side]
        if own:
            spreads = [value(row) for row in own]
            axis.plot([row[x] for row in own], [s["median"] for s in spreads], "o-", color=colour, label=side)
            axis.fill_between([row[x] for row in own], [s["min"] for s in spreads], [s["max"] for s in spreads],
                              color=colour, alpha=0.15)  # fmt: skip
    axis.set_xscale("log", base=2)
    axis.set_xticks(sorted({row[x] for row in rows}), sorted({row[x] for row in rows}))
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)


def _length_lines(what: str):
    """Milliseconds of one more token after `length` tokens; a dotted line at the window."""

    def panel(axis, report: dict) -> None:
        def milliseconds(row: dict) -> dict:
            return {key: 1e3 * value for key, value in row[f"{what}_s_per_token"].items()}

        _lines(axis, report, report["lengths"], "length", milliseconds)
        window = report["model"]["config"]["window"]
        if isinstance(window, int):
            axis.axvline(window, color="black", linewidth=0.8, linestyle=":")
        name = {"prefill": "pre-filled", "decode": "decoded"}[what]
        axis.set_title(f"one more {name} token, by how many came before: ms", fontsize=10)

    return panel


def _batch_lines(what: str):
    """Tokens a second of all sequences together, by batch size."""

    def panel(axis, report: dict) -> None:
        _lines(axis, report, report["prompt"], "batch", lambda row: row[f"{what}_tokens_per_s"])
        name = {"prefill": "pre-fill", "decode": "decode"}[what]
        axis.set_title(f"{name} by batch size: tokens/s, all sequences together", fontsize=10)

    return panel
