"""minimistral check: is another implementation right for its number format, and which line of it is not?"""

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
    Path | None, typer.Option(metavar="FILE", help="Draw errors by layer and stage, and by position: .png, .svg, .pdf.")
]
Html = Annotated[Path | None, typer.Option(metavar="FILE", help="Write all of it as one page, the picture inside.")]
SUFFIXES = (".png", ".svg", ".pdf")


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

    report = check_trace(trace, model, dtype)
    if path is not None:
        write_json(path, report.as_json())
    if picture is not None:
        from minimistral.figures.check import errors

        errors(report).save(picture)
    if page_path is not None:
        from minimistral.check.page import write_page

        write_page(page_path, report)
    terminal.write(as_json(report.as_json()) if json == "-" else in_words(report))
    if not report.agrees:
        raise typer.Exit(1)


def drawable(path: Path) -> Path:
    """A file that a picture can be written to."""
    if path.suffix not in SUFFIXES:
        raise BadInput(f"--figure: {path}, expected a file that ends in {', '.join(SUFFIXES)}")
    path = writable("--figure", path)
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise BadInput("--figure: matplotlib is not installed; pip install matplotlib")
    return path


def in_words(report: "Report") -> str:
    """What was checked, the table, the verdict, what is behind it."""
    from minimistral.check.shown import finding_in_words, headline

    about = report.as_json()
    of = f" of {about['implementation']}" if about["implementation"] else ""
    first = f"{about['trace']}: {about['tokens']} tokens in {about['dtype']}{of}, against {about['model']}"
    lines = [headline(report)]
    for found in about["diagnosis"]:
        sentence, under = finding_in_words(found)
        lines += ["", sentence, *(f"    {word:<12}  {text}" for word, text in under)]
    lines += ["", *(f"note: {note}" for note in about["notes"])] if about["notes"] else []
    return "\n".join([terminal.one_line(first), "", *table(report), "", *map(terminal.one_line, lines), ""])


def table(report: "Report") -> list[str]:
    """The stages, a rule between layers; the first that is wrong by itself is marked."""
    import sys

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
