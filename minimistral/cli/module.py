"""What a `python -m minimistral.SOMETHING` needs: options by argparse, and every error as one line."""

import argparse
from collections.abc import Callable

from minimistral.cli import terminal
from minimistral.errors import BadInput


class Parser(argparse.ArgumentParser):
    """What is wrong with an option becomes BadInput: one line."""

    def error(self, message: str) -> None:
        raise BadInput(message)


def status_of(work: Callable[[], None]) -> int:
    """Do it; the exit status: 0, 2 after an error, which is one line on standard error, 130 after Ctrl-C."""
    terminal.open_streams()
    try:
        work()
    except BadInput as error:
        terminal.say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
