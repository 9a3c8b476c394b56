"""Options that mean the same everywhere, and how the ones that are no plain number are read."""

import os
import re
import stat
import sys
from pathlib import Path
from typing import Annotated

import typer

from minimistral.errors import BadInput

LARGEST = 2**31 - 1
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
         "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}  # fmt: skip

Model = Annotated[
    Path | None,
    typer.Option(
        "--model", metavar="DIR", help="Mistral or Hugging Face folder; without it, the embedded storyteller."
    ),
]
Arithmetic = Annotated[
    str, typer.Option("--arithmetic", metavar="NAME", help="exact, float32, float64, bfloat16 or float16.")
]
Backend = Annotated[
    str,
    typer.Option("--backend", metavar="NAME", help="auto, numpy, cpu or cuda: what computes; all give the same bits."),
]
Memory = Annotated[
    str | None,
    typer.Option("--memory", metavar="SIZE", help="For weights, as in 500MB or 3GB. Without it, half of what is free."),
]
Window = Annotated[
    str | None,
    typer.Option("--window", metavar="N", help="Another window than the model's; 'none' takes it away."),
]
Json = Annotated[
    str | None,
    typer.Option("--json", metavar="FILE", help="Also write it as JSON; - is standard output, and then alone."),
]
Tokens = Annotated[
    str | None, typer.Option("--tokens", metavar="IDS", help="Token ids, as in '1 403 407', taken as they are.")
]


def read_whole(option: str, text: str, low: int, high: int) -> int:
    """A whole number from low to high.

    >>> read_whole("--seed", "7", 0, 9)
    7
    """
    if re.fullmatch(r"[+-]?[0-9]{1,40}", text, re.ASCII) is None or not low <= int(text) <= high:
        raise BadInput(f"{option}: {cut(text)}, expected a whole number from {low} to {high}")
    return int(text)


def read_number(option: str, text: str, low: float, high: float) -> float:
    """A number from low to high; NaN is not.

    >>> read_number("--temperature", "0.7", 0, 10)
    0.7
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise BadInput(f"{option}: {cut(text)}, expected a number from {low:.3g} to {high:.3g}")
    return value


def cut(text: str) -> str:
    """Some of what was found, for a message."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def read_memory(text: str | None) -> int | None:
    """A number of bytes.

    >>> read_memory("3GB"), read_memory("1.5 MiB"), read_memory(None)
    (3000000000, 1572864, None)
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([KMGT]?I?)B?\s*", text, re.IGNORECASE | re.ASCII)
    if match is None or match[2].upper() not in UNITS:
        raise BadInput(f"--memory: {cut(text)}, expected bytes such as 500MB, 3GB or 2GiB")
    return int(float(match[1]) * UNITS[match[2].upper()])


def read_window(text: str | None) -> int | str | None:
    """What `Mistral.from_pretrained` calls window: "config" where the option is not given.

    >>> read_window("7"), read_window("none"), read_window(None)
    (7, None, 'config')
    """
    if text is None:
        return "config"
    if text == "none":
        return None
    return read_whole("--window", text, 1, LARGEST)


def read_tokens(text: str) -> list[int]:
    """Token ids between spaces or commas.

    >>> read_tokens("1 403, 407")
    [1, 403, 407]
    """
    words = text.replace(",", " ").split()
    for word in words:
        if re.fullmatch(r"-?[0-9]{1,18}", word, re.ASCII) is None:
            raise BadInput(f"--tokens: {cut(word)}, expected ids such as '1 403 407'")
    if not words:
        raise BadInput("--tokens: no id, expected ids such as '1 403 407'")
    return [int(word) for word in words]


def writable(option: str, path: str | Path) -> Path:
    """The path of a file that can be made or replaced. Looked at before any work: the answer may take an hour."""
    path = Path(os.path.realpath(path))
    try:
        found = os.stat(path)
    except FileNotFoundError:
        found = None
    except (OSError, ValueError) as error:
        raise BadInput(f"{option}: {path}: {getattr(error, 'strerror', None) or error}") from None
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise BadInput(f"{option}: {path} is not a plain file")
    if not path.parent.is_dir():
        raise BadInput(f"{option}: {path.parent} is not a folder")
    if not os.access(path.parent, os.W_OK):
        raise BadInput(f"{option}: {path.parent}: no right to write there")
    return path


def read_drawing(temperature: str, top_p: str, top_k: str, seed: str) -> dict:
    """How tokens are drawn, as `Mistral.generate` takes it."""
    return {
        "temperature": read_number("--temperature", temperature, 0, sys.float_info.max),
        "top_p": read_number("--top-p", top_p, sys.float_info.min, 1),
        "top_k": read_whole("--top-k", top_k, 0, LARGEST),
        "seed": read_whole("--seed", seed, 0, 2**64 - 1),
    }
