"""The command line of the study."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from minimistral.cli import terminal
from minimistral.cli.backend import training_pieces
from minimistral.cli.module import Parser, status_of
from minimistral.cli.options import read_whole
from minimistral.errors import BadInput
from minimistral.whole_file import whole_file
from minimistral.window_memory.run import run, whole_report

NAME = "window-memory"


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line; None: the program's own."""
    parser = Parser(
        prog="python -m minimistral.window_memory",
        description="How far a fact travels: trains models and asks them at every distance. It can be stopped: models that "
        "are finished are kept in DIR and not trained again. In the end DIR has window-memory.json and .png.",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="where finished models are kept")
    parser.add_argument("--small", action="store_true", help="windows 8 and 16, 2 and 4 layers: minutes")
    parser.add_argument("--jobs", metavar="N", default="1", help="models trained at a time, a core each (default 1)")
    parser.add_argument("--backend", metavar="NAME", default="auto", help="auto, numpy or cpu: what computes")
    return parser.parse_args(arguments)


def study(options: argparse.Namespace) -> None:
    """Train what is missing, and write the report and the figure."""
    kind, jobs = "small" if options.small else "full", read_whole("--jobs", options.jobs, 1, 64)
    training_pieces(options.backend)  # BadInput now, rather than in every process
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--output: {options.output}: {error.strerror or error}") from None
    for name in run(kind, options.output, options.backend, jobs):
        terminal.say(f"finished: {name}")
    report = whole_report(kind, options.output)
    with whole_file(options.output / f"{NAME}.json", "--output") as partial:
        partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    draw(report, options.output / f"{NAME}.png")
    terminal.write(f"{len(report['models']) + len(report['sudden'])} models: {options.output / NAME}.json and .png\n")


def draw(report: dict, path: Path) -> None:
    """The figure as PNG; without matplotlib, a line that says so."""
    try:
        from minimistral.window_memory.figure import figure
    except ImportError:
        terminal.say("note: matplotlib is not installed, so no figure was drawn")
        return
    figure(report).save(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit status."""
    return status_of(lambda: study(read_options(arguments)))
