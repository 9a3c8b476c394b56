"""minimistral figure: a picture of the course, as a file."""

from pathlib import Path
from typing import Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.options import read_whole, writable
from minimistral.errors import BadInput

SUFFIXES = (".png", ".svg", ".pdf", ".gif", ".html")


def figure(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Which; without it, all are listed.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A picture is .png, .svg or .pdf; one that moves is .gif or .html."),
    ] = None,
    dpi: Annotated[str, typer.Option(metavar="N", help="Dots per inch of a .png or .gif.")] = "150",
) -> None:
    """Draw a figure of the course from real arrays, and say in words what it shows.

    The words are for the page that shows it: they go to standard output.
    """
    from minimistral.figures import figures

    known = figures()
    if name is None:
        if output is not None:
            raise BadInput("--output: which figure? Give its NAME too")
        terminal.write(listed(known))
        return
    if name not in known:
        import difflib

        near = difflib.get_close_matches(name, known, n=1)
        meant = f"is it {near[0]}?" if near else "`minimistral figure` lists them"
        raise BadInput(f"figure: no {name!r}; {meant}")
    if output is None or output.suffix not in SUFFIXES:
        raise BadInput(f"--output: {output or 'not given'}, expected a file that ends in {', '.join(SUFFIXES)}")
    path = writable("--output", output)
    dots = read_whole("--dpi", dpi, 20, 1200)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise BadInput("figure: matplotlib is not installed; pip install matplotlib") from None
    picture = known[name]()
    picture.save(path, dots)
    terminal.write(f"{picture.alt}\n")


def listed(known: dict) -> str:
    """A line a figure: its name and the first sentence of its description."""
    import inspect

    width = max(map(len, known))
    lines = [f"{name:{width}}  {inspect.getdoc(draw).splitlines()[0]}" for name, draw in known.items()]
    return "\n".join(lines) + "\n"
