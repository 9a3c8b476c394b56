"""The command line: a thin file a verb. Options in, one call, words out.

program    the verbs, and what becomes of every error
options    options that mean the same everywhere, and how they are read
module     what a `python -m minimistral.SOMETHING` shares
json_file  a report as JSON
terminal   what goes to standard output and what to standard error
backend    --backend: which program computes
generate, chat, train, finetune, inspect, trace, ...    the verbs
"""

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (None: the program's own); the exit status, 0 or 2, or 130 after Ctrl-C."""
    try:
        from minimistral.cli.program import run  # here, so that Ctrl-C is silent while it loads, too

        return run(arguments)
    except KeyboardInterrupt:
        return 130
