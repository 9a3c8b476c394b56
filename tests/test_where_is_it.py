"""docs/where_is_it.md sends a reader to lines that exist, and docs/claims.md to tests that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CELL = r" *`([^`]+)` *\|"
ROWS = re.findall(rf"^\|([^|`]+)\|{CELL}{CELL}{CELL}$", (ROOT / "docs" / "where_is_it.md").read_text(), re.MULTILINE)
CLAIMS = re.findall(
    r"^\|.*\]\(\.\./(tests/\w+\.py)\) `(\w+)` \|$", (ROOT / "docs" / "claims.md").read_text(), re.MULTILINE
)
ASKED = ("RMSNorm", "rotation", "head grouping", "window mask", "slot i mod W", "chunked pre-fill", "SwiGLU", "top-p")


def test_every_idea_is_listed():
    ideas = [idea.strip() for idea, *_ in ROWS]
    assert len(ideas) == len(set(ideas)) == (ROOT / "docs" / "where_is_it.md").read_text().count("\n| ") - 2
    for asked in ASKED:
        assert any(idea.startswith(asked) for idea in ideas), asked


@pytest.mark.parametrize("idea, file, function, line", ROWS, ids=[idea.strip() for idea, *_ in ROWS])
def test_the_line_is_in_the_function(idea, file, function, line):
    source = (ROOT / file).read_text()
    found = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == function]
    assert len(found) == 1, f"{file}: {function}"
    assert line in ast.get_source_segment(source, found[0])


@pytest.mark.parametrize("file, name", CLAIMS)
def test_the_test_that_proves_a_claim_is_there(file, name):
    assert f"\ndef {name}(" in (ROOT / file).read_text()


def test_every_claim_has_a_test():
    table = (ROOT / "docs" / "claims.md").read_text().split("| claim | test |")[1].split("\n\n")[0]
    assert len(CLAIMS) == table.count("\n| ") - 1 > 20
