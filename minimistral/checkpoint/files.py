"""Reading files that may be anything: only plain files are opened, sizes are bounded, and every failure is one line."""

import json
import math
import os
import stat
from pathlib import Path
from typing import BinaryIO

from minimistral.errors import BadInput

JSON_LIMIT = 8 * 2**20  # bytes; the index of a model with a thousand layers has 1 MB


def shown(text: object, limit: int = 120) -> str:
    """Text from a file, safe to print on one line: control characters are escaped, long text is cut.

    >>> shown("two\\nlines")
    'two\\\\nlines'
    """
    try:
        text = str(text)
    except RecursionError:
        text = "something nested too deep"
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def as_json(value: object) -> str:
    """A value from a JSON file as it stands there, for a message."""
    try:
        return shown(json.dumps(value, ensure_ascii=False), 60)
    except (RecursionError, ValueError):
        return shown(value, 60)


def reason(error: OSError) -> str:
    """What the system said, without the path, which the message already has."""
    return shown(error.strerror or error)


def open_plain(path: Path) -> tuple[BinaryIO, int]:
    """A plain file opened for reading, and its size. BadInput for folders, pipes, dangling links, no rights."""
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise BadInput(f"{shown(path)}: is a folder, expected a file")
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for ever
            raise BadInput(f"{shown(path)}: is a pipe or a device, expected a plain file")
        return open(path, "rb"), found.st_size
    except OSError as error:
        raise BadInput(f"{shown(path)}: cannot be read: {reason(error)}") from None


def read_plain(path: Path, limit: int) -> bytes:
    """All bytes of a plain file of at most `limit` bytes."""
    file, size = open_plain(path)
    with file:
        if size > limit:
            raise BadInput(f"{shown(path)}: {size} bytes, expected at most {limit}")
        try:
            return file.read(limit)
        except OSError as error:
            raise BadInput(f"{shown(path)}: cannot be read: {reason(error)}") from None


def parse_json(data: bytes, where: str) -> dict:
    """A JSON object. BadInput, naming `where`, for anything else, and for a key given twice or a number without end."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise BadInput(f"{where}: JSON nested too deep") from None
    except (ValueError, OverflowError) as error:  # also not UTF-8, and whole numbers of thousands of digits
        raise BadInput(f"{where}: not JSON: {shown(error)}") from None
    if not isinstance(found, dict):
        raise BadInput(f"{where}: a JSON {type(found).__name__}, expected an object")
    return found


def read_json(path: Path) -> dict:
    """The JSON object in a file."""
    return parse_json(read_plain(path, JSON_LIMIT), shown(path))


def _unique(pairs: list[tuple[str, object]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"{shown(twice)} is given twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {shown(text, 40)} is not finite")
    return value
