"""Where words go: text to standard output, everything else to standard error; bars only where a person looks."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minimistral.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

LONGEST = 2000  # characters of a line to the user: an option may be a megabyte


def open_streams() -> None:
    """UTF-8 out whatever the locale says; a stream that the parent closed swallows what it gets."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (lives as long as the program)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")


def write(text: str) -> None:
    """Text to standard output, at once. BadInput if it cannot be written; BrokenPipeError if nobody reads it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_output()
        raise BadInput(f"standard output: cannot be written: {error.strerror or error}") from None


def flush() -> None:
    """What is still in a buffer, written now, so that a failure is seen here and not at the interpreter's end."""
    write("")


def drop_output() -> None:
    """Let what is left in the buffers go nowhere: the interpreter flushes once more when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    except (OSError, ValueError):
        pass  # not a file of the system
    finally:
        os.close(nowhere)


def one_line(text: str) -> str:
    """Safe to print on one line: what is not printable is escaped, and very long text is cut.

    >>> print(one_line("two\\nlines, red \\x1b[31m"))
    two\\nlines, red \\x1b[31m
    """
    text = text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(message: str) -> None:
    """One line on standard error; if that is closed, nobody is there to hear."""
    try:
        encoding = sys.stderr.encoding or "utf-8"
        line = one_line(message).encode(encoding, "backslashreplace").decode(encoding)
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        pass


def tell_person(notes: list[str]) -> None:
    """On a terminal, say these notes now, and take them off the list."""
    if sys.stderr.isatty():
        for note in notes:
            say(f"note: {note}")
        notes.clear()


def tell(notes: list[str]) -> None:
    """All the notes that nobody was told yet, on one line: off a terminal that is the only one."""
    if notes:
        say(f"note: {'; '.join(notes)}")


def table(console: "Console", title: str, *columns: str) -> "Table":
    """Prints the title, and gives an empty table to go under it: the first column to the left, numbers to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console.print(Text(title, style="bold"), soft_wrap=True)
    made = Table(box=box.SIMPLE)
    for i, column in enumerate(columns):
        made.add_column(column, justify="right" if i else "left", overflow="fold")
    return made


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A function of (done, total) that draws a bar on a terminal, and takes it away when all is done; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=None)

    def show(done: int, total: int) -> None:
        bar.update(task, completed=done, total=total)
        if done < total:
            bar.start()
        else:
            bar.stop()

    try:
        yield show
    finally:
        bar.stop()
