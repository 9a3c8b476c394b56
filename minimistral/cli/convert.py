"""minimistral convert: the same model in the other layout, or in another type."""

from pathlib import Path
from typing import Annotated

import typer

from minimistral.cli import terminal

Source = Annotated[Path, typer.Argument(metavar="SRC", show_default=False, help="The folder to read.")]
Destination = Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="The folder to make.")]
Layout = Annotated[str, typer.Option(metavar="NAME", show_default=False, help="hf or mistral.")]
Dtype = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="bfloat16, float16 or float32; without it, each tensor keeps its own."),
]


def convert(src: Source, dst: Destination, layout: Layout, dtype: Dtype = None) -> None:
    """Write a checkpoint in Hugging Face's layout or in Mistral's.

    The new folder appears when it is whole; the old one is not touched.
    """
    from minimistral.checkpoint import convert as convert_folder

    with terminal.progress("converting") as bar:
        notes = convert_folder(src, dst, layout, dtype, bar)
    terminal.tell(notes)
