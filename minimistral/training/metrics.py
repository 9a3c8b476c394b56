"""metrics.jsonl: a line a step, in their order, none twice and none missing, however often the run was stopped."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from minimistral.errors import BadInput
from minimistral.whole_file import whole_file

NAME = "metrics.jsonl"


@contextmanager
def metrics_file(folder: Path | None, before: list[dict]) -> Iterator[Callable[[dict], None]]:
    """A function that adds a line to folder/metrics.jsonl; without a folder it does nothing.

    The file is first written anew from the lines `before`: what a killed run wrote after its last state is done again.
    """
    if folder is None:
        yield lambda line: None
        return
    path = folder / NAME
    with whole_file(path) as partial:
        partial.write_text("".join(map(as_line, before)), encoding="utf-8")
    try:
        with open(path, "a", encoding="utf-8", buffering=1) as file:
            yield lambda line: file.write(as_line(line))
    except OSError as error:
        raise BadInput(f"{path}: cannot be written: {error.strerror or error}") from None


def as_line(metrics: dict) -> str:
    """JSON of one line; numbers to six digits, what is not known left out.

    >>> as_line({"step": 3, "loss": 2 / 3, "validation_loss": None})
    '{"step": 3, "loss": 0.666667}\\n'
    """
    known = {key: value for key, value in metrics.items() if value is not None}
    return json.dumps({key: rounded(value) for key, value in known.items()}) + "\n"


def rounded(value):
    """Six digits; whole numbers as they are.

    >>> rounded(1234567), rounded(0.000123456789)
    (1234567, 0.000123457)
    """
    return float(f"{value:.6g}") if isinstance(value, float) and math.isfinite(value) else value
