"""A report as JSON: the same text for standard output and for a file."""

import json
import os
from pathlib import Path

from minimistral.errors import BadInput


def as_json(report: dict) -> str:
    return json.dumps(report, indent=2) + "\n"


def write_json(path: Path, report: dict) -> None:
    """Under a temporary name first, so that no half of a file is seen."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(as_json(report), encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise BadInput(f"--json: {path}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
