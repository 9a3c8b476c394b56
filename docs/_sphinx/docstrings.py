"""This project's docstrings are plain text with `names` in it; Sphinx reads reStructuredText. This is the way across."""

import re

from sphinx.application import Sphinx

SPECIAL = re.compile(r"([\\*|_])")
ALIGNED = re.compile(r"^\S+( \S+)* {2,}\S")  # two columns, as in a list of modules


def blocks(lines: list[str]) -> list[list[str]]:
    """What stands between empty lines."""
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line)
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


def escaped(line: str) -> str:
    """A line of words: `names` as code, and no other mark has a meaning.

    >>> escaped("silu(g) * up, of `gate_up`")
    'silu(g) \\\\* up, of ``gate_up``'
    """
    parts = line.split("`")
    if len(parts) % 2 == 0:
        return SPECIAL.sub(r"\\\1", line.replace("`", "'"))
    return "".join(f"``{part}``" if n % 2 else SPECIAL.sub(r"\\\1", part) for n, part in enumerate(parts))


def as_rst(block: list[str]) -> list[str]:
    """An example stays, what is indented or in columns is shown as it is, and the rest is words."""
    if block[0].lstrip().startswith(">>> "):
        return block
    if block[0].startswith("    ") or any(ALIGNED.match(line) for line in block):
        return ["::", "", *("    " + line for line in block)]
    return [escaped(line) for line in block]


def convert(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    made = [[*as_rst(block), ""] for block in blocks(lines)]
    lines[:] = [line for block in made for line in block]


def setup(app: Sphinx) -> dict:
    app.connect("autodoc-process-docstring", convert)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
