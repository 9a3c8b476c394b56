"""A file is seen whole or not at all: it is written under a temporary name, and renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minimistral.errors import BadInput


@contextmanager
def whole_file(path: Path, option: str = "") -> Iterator[Path]:
    """A temporary path beside `path`, with its suffix; renamed if all went well. BadInput, with the option, if not.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole_file(Path(folder) / "a.txt") as partial:
    ...         _ = partial.write_text("all of it")
    ...     (Path(folder) / "a.txt").read_text(), partial.exists()
    ('all of it', False)
    """
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"{option}{': ' if option else ''}{path}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
