"""minimistral notebooks: the course in a folder of the reader's own, opened in JupyterLab."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from minimistral.cli import terminal
from minimistral.errors import BadInput


def notebooks(
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the course goes. Lessons that are there stay as they are.")
    ] = Path("minimistral-course"),
    no_open: Annotated[bool, typer.Option("--no-open", help="Copy only.")] = False,
) -> None:
    """Copy the lessons to a folder and open JupyterLab there.

    Your own work is never overwritten: for a fresh copy of a lesson, rename yours first.
    """
    from minimistral.course import copy_course

    if not no_open and importlib.util.find_spec("jupyterlab") is None:
        raise BadInput(
            "notebooks: JupyterLab is not installed; pip install '.[notebooks]', or only copy with --no-open"
        )
    copied, kept = copy_course(to)
    notes = [f"{len(copied)} lessons copied"] if copied else []
    notes += [f"{len(kept)} kept as they are in your folder: {', '.join(kept)}"] if kept else []
    terminal.tell(notes)
    terminal.write(f"{to}\n")
    if not no_open:
        first = to / "00_start_here.ipynb"
        subprocess.run([sys.executable, "-m", "jupyterlab", str(first)], check=False)
