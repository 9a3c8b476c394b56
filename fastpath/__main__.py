"""python -m fastpath: proofs about the compiled backends."""

import sys
from collections.abc import Sequence

import typer

from fastpath.gpu_report import gpu_report
from minimistral.cli.verify import verify

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
app.command(epilog="Examples:\npython -m fastpath verify\npython -m fastpath verify --seed 7 --case 12")(verify)
app.command(epilog="Example:\npython -m fastpath gpu-report --output report")(gpu_report)


@app.callback()
def fastpath() -> None:
    """The compiled backends: whether they give the reference's bits.

    Exit status: 0; 1 if verify finds a difference or a step of gpu-report fails; 2 after an error, which is one line.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: the program's own); the exit status, 130 after Ctrl-C."""
    try:
        from minimistral.cli.program import run

        return run(arguments, app, "python -m fastpath")
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
