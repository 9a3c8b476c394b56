"""minimistral make-checkpoint: random weights of a given size, for measuring speed."""

from pathlib import Path
from typing import Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.options import read_whole

Destination = Annotated[Path, typer.Argument(metavar="DST", show_default=False, help="The folder to make.")]
Params = Annotated[str, typer.Option(metavar="SIZE", show_default=False, help="130M, 1B or 7B (Table 1's).")]
Layout = Annotated[str, typer.Option(metavar="NAME", help="mistral or hf.")]
Seed = Annotated[str, typer.Option(metavar="N", help="Of the random weights.")]


def make_checkpoint(dst: Destination, params: Params, layout: Layout = "mistral", seed: Seed = "0") -> None:
    """Make a checkpoint of random bfloat16 weights.

    It writes nonsense at the speed of a real one. There is no tokenizer in it: use --tokens. The folder appears when
    it is whole; memory stays the same for every size.
    """
    number = read_whole("--seed", seed, 0, 2**63 - 1)
    from minimistral.checkpoint.random_checkpoint import size_named, write_random_checkpoint

    config = size_named(params)
    with terminal.progress("writing") as bar:
        write_random_checkpoint(dst, config, layout, number, bar)
