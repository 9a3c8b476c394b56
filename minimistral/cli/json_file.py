"""A report as JSON: the same text for standard output and for a file."""

import json
from pathlib import Path

from minimistral.whole_file import whole_file


def as_json(report: dict) -> str:
    return json.dumps(report, indent=2) + "\n"


def write_json(path: Path, report: dict) -> None:
    """Under a temporary name first, so that no half of a file is seen."""
    with whole_file(path, "--json") as partial:
        partial.write_text(as_json(report), encoding="utf-8")
