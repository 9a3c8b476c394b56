"""minimistral check: is another implementation right for its number format, and which line of it is not?"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.json_file import as_json, write_json
from minimistral.cli.options import Json, Model, writable
from minimistral.errors import BadInput

if TYPE_CHECKING:
    from minimistral.check.report import Report

TraceFile = Annotated[
    Path, typer.Argument(metavar="TRACE", show_default=False, help="A safetensors file: tokens, logits, any stages.")
]
Dtype = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The format computed in, if the file does not say: float64, float32, bfloat16, float16."),
]  # fmt: skip
Figure = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Draw errors by layer and stage, and by position: .png, .svg, .pdf; needs matplotlib."),
]  # fmt: skip
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Write all of it as one page, the picture inside.")]
SUFFIXES = (".png", ".svg", ".pdf")
PATIENCE = 3  # seconds, before anything is said of how far it is
WAIT = "note: no known mistake alone explains it; each in one place, and several together: it may take minutes"


def check(
    trace: TraceFile,
    model: Model = None,
    dtype: Dtype = None,
    json: Json = None,
    figure: Figure = None,
    html: Html = None,
) -> None:
    """Check another implementation's run, and say which line of it is wrong.

    Each recorded stage is computed again from those recorded before it; what differs by more than the number format
    explains is compared with every known mistake. docs/find_the_bug.md shows how.
    Exit status: 0 if it agrees, 1 if it differs.
    """
    path = None if json in (None, "-") else writable("--json", json)
    picture = None if figure is None else drawable(figure)
    page_path = None if html is None else writable("--html", html)
    from minimistral.check.report import check_trace

    with watching() as watch:
        report = check_trace(trace, model, dtype, watch)
    if path is not None:
        write_json(path, report.as_json())
    drawn = picture is None or draw(report, picture)
    if page_path is not None:
        from minimistral.check.page import write_page

        write_page(page_path, report)
    terminal.write(as_json(report.as_json()) if json == "-" else in_words(report))
    if not drawn:
        raise BadInput(f"--figure: {picture} is not drawn: matplotlib is not installed; pip install matplotlib")
    if not report.agrees:
        raise typer.Exit(1)


def drawable(path: Path) -> Path:
    """A file that a picture can be written to."""
    if path.suffix not in SUFFIXES:
        raise BadInput(f"--figure: {path}, expected a file that ends in {', '.join(SUFFIXES)}")
    return writable("--figure", path)


def draw(report: "Report", path: Path) -> bool:
    """False if matplotlib is not there: the diagnosis is worth more than the picture, and is printed first."""
    if find_spec("matplotlib") is None:
        return False
    from minimistral.figures.check import errors

    errors(report).save(path)
    return True


@contextmanager
def watching() -> Iterator[Callable[[str, int, int], None]]:
    """A function of (what, done, total): after a while it draws a bar on a terminal; elsewhere it says one line, once."""
    begun, said = time.monotonic(), []
    if not sys.stderr.isatty():

        def say(what: str, done: int, total: int) -> None:
            is_long = "in one place" in what or "mistakes" in what  # no known mistake alone has explained it
            if is_long and not said and time.monotonic() - begun > PATIENCE:
                said.append(what)
                terminal.say(WAIT)

        yield say
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("")

    def show(what: str, done: int, total: int) -> None:
        bar.update(task, description=what, completed=done, total=total)
        if time.monotonic() - begun > PATIENCE:
            bar.start()

    try:
        yield show
    finally:
        bar.stop()


def in_words(report: "Report") -> str:
    """What was checked, the table, the verdict, what is behind it."""
    from minimistral.check.shown import finding_in_words, grouped, headline

    about = report.as_json()
    of = f" of {about['implementation']}" if about["implementation"] else ""
    first = f"{about['trace']}: {about['tokens']} tokens in {about['dtype']}{of}, against {about['model']}"
    lines = [headline(report)]
    for found, others in grouped(about["diagnosis"]):
        sentence, under = finding_in_words(found, others)
        lines += ["", sentence, *(f"    {word:<12}  {text}" for word, text in under)]
    lines += ["", *(f"note: {note}" for note in about["notes"])] if about["notes"] else []
    return "\n".join([terminal.one_line(first), "", *table(report), "", *map(terminal.one_line, lines), ""])


def table(report: "Report") -> list[str]:
    """The stages, a rule between layers; the first that is wrong by itself is marked."""
    from rich.console import Console

    from minimistral.check.shown import number, stages_shown

    console = Console(file=sys.stdout, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 100)
    title = f"Each stage from those recorded before it; 1 budget is what {report.trace.dtype} explains"
    entries, layer = {e["name"]: e for e in report.as_json()["stages"]}, None
    with console.capture() as captured:
        made = terminal.table(console, title, "stage", "error, budgets", "of its size", "with all before it", "")
        made.columns[-1].justify = "left"
        for shown in stages_shown(report):
            if isinstance(shown, int):
                made.add_row(f"... {shown} right", style="dim")
                continue
            here = shown.rpartition(".")[0]
            if layer not in (None, here):
                made.add_section()
            layer, e = here, entries[shown]
            mark = "" if e["ok"] else "<- first wrong" if shown == report.first_difference else "<- wrong"
            numbers = (number(e[key]) for key in ("worst", "local_relative_l2", "relative_l2"))
            made.add_row(shown, *numbers, mark, style=None if e["ok"] else "bold red")
        console.print(made)
    return [line.rstrip() for line in captured.get().strip().splitlines()]
