"""A lesson as a class sees it: cells by their ids, exercises, and what an answer needs of the cells before it."""

import ast
import json
import symtable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from minimistral.errors import BadInput

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"
LARGEST = 50_000_000  # bytes of a notebook; ours have less than a million


@dataclass(frozen=True)
class Cell:
    """id, the source, and answer, check or what else it is: code, markdown, raw."""

    id: str
    source: str
    kind: str


@dataclass(frozen=True)
class Asked:
    """An exercise as a lesson asks it.

    exercise    its name
    expression  what check_exercise is given: nearly always the name of a variable
    answer      the id of the cell that is the student's
    check       the id of the cell that asks
    """

    exercise: str
    expression: str
    answer: str
    check: str


@dataclass(frozen=True)
class Lesson:
    """A teacher's copy of a lesson."""

    name: str  # as in 07_sliding_window
    cells: list[Cell]

    @cached_property
    def asked(self) -> list[Asked]:
        """The exercises in order. An answer is the nearest answer cell before its check."""
        found, answer = [], None
        for cell in self.cells:
            answer = cell.id if cell.kind == "answer" else answer
            if cell.kind == "check":
                name, expression = what_is_checked(cell.source, f"{self.name}: cell {cell.id}")
                if answer is None:
                    raise BadInput(f"{self.name}: cell {cell.id}: no answer cell before it")
                found.append(Asked(name, expression, answer, cell.id))
        return found


def read_lesson(path: Path) -> Lesson:
    """A lesson from its notebook. BadInput if it is none, or asks nothing."""
    lesson = Lesson(path.stem, read_cells(path))
    if not lesson.asked:
        raise BadInput(f"{path}: no exercise: no cell carries nbgrader's metadata and calls check_exercise")
    return lesson


def read_cells(path: Path) -> list[Cell]:
    """The cells of a notebook, whoever wrote it. BadInput, one line, if it is no notebook."""
    if path.is_symlink() or not path.is_file():
        raise BadInput(f"{path}: not a plain file")
    if path.stat().st_size > LARGEST:
        raise BadInput(f"{path}: {path.stat().st_size} bytes: too large for a lesson")
    try:
        notebook = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not a notebook: {str(error).splitlines()[0]}") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise BadInput(f"{path}: not a notebook of format 4: it has no list of cells")
    return [read_cell(cell, n, path) for n, cell in enumerate(notebook["cells"])]


def read_cell(cell: object, n: int, path: Path) -> Cell:
    """A cell of a notebook's JSON. Its id is nbgrader's, which every editor keeps, or else its own."""
    source = cell.get("source") if isinstance(cell, dict) else None
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise BadInput(f"{path}: not a notebook: cell {n} has no source")
    metadata = cell.get("metadata")
    about = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    about = about if isinstance(about, dict) else {}
    kind = "answer" if about.get("solution") else "check" if about.get("grade") else str(cell.get("cell_type"))
    return Cell(str(about.get("grade_id") or cell.get("id") or ""), source, kind)


def what_is_checked(source: str, where: str) -> tuple[str, str]:
    """The arguments of check_exercise: the exercise's name, and the answer as an expression.

    >>> what_is_checked('check_exercise("reach", my_reach)', "here")
    ('reach', 'my_reach')
    """
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    except SyntaxError:
        calls = []
    for call in calls:
        named = isinstance(call.func, ast.Name) and call.func.id == "check_exercise" and len(call.args) == 2
        if named and isinstance(call.args[0], ast.Constant):
            return str(call.args[0].value), ast.unparse(call.args[1])
    raise BadInput(f"{where}: no check_exercise(name, answer) in it")


def not_written(source: str, stub: str) -> bool:
    """Is it still the stub: but for markers, spaces, and whether the dots are returned?

    >>> not_written("def f(x):\\n    # BEGIN SOLUTION\\n    ...\\n    # END SOLUTION", "def f(x):\\n    return ...")
    True
    """

    def bare(text: str) -> str:
        lines = [line.strip() for line in text.splitlines() if line.strip() not in ("", BEGIN, END, "...")]
        return "\n".join(line for line in lines if line != "return ...")

    return bare(source) == bare(stub)


def used(source: str) -> set[str]:
    """The global names that code reads, in its functions too.

    >>> sorted(used("def f(x):\\n    return [g(i, x) for i in range(W)]"))
    ['W', 'g', 'range']
    """
    return {s.get_name() for top, s in symbols(source) if s.is_referenced() and (top or s.is_global())}


def bound(source: str) -> set[str]:
    """The global names that code makes or changes: `a[0] = 1` changes a, and so may `a.append(1)`."""
    made = {
        s.get_name() for top, s in symbols(source) if (s.is_assigned() or s.is_imported()) and (top or s.is_global())
    }
    for node in ast.walk(parsed(source)):
        stored = isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del)
        called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        changed = node if stored else node.value.func if called else None
        while isinstance(changed, ast.Attribute | ast.Subscript):
            changed = changed.value
            if isinstance(changed, ast.Name):
                made.add(changed.id)
    return made


def symbols(source: str) -> list[tuple[bool, symtable.Symbol]]:
    """Every symbol of a source's scopes, and whether its scope is the top one; none if it is not Python."""
    try:
        tables = [symtable.symtable(source, "<cell>", "exec")]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    while tables:
        table = tables.pop()
        found += [(table.get_type() == "module", symbol) for symbol in table.get_symbols()]
        tables += table.get_children()
    return found


def parsed(source: str) -> ast.Module:
    """The tree of a source; an empty one if it is not Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


def pieces(cell: Cell) -> list[Cell]:
    """A cell of a lesson with each of its imports on its own, so that an answer waits for no import it does not use."""
    tree = parsed(cell.source)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if not imports or cell.kind != "code":
        return [cell]
    rest = ast.Module([node for node in tree.body if node not in imports], [])
    return [Cell(cell.id, ast.unparse(node), cell.kind) for node in (*imports, rest)]


def needed(lesson: Lesson, asked: Asked, answers: dict[str, str]) -> list[Cell]:
    """What runs for one exercise: the cells before its check whose names the answer needs, and the answer itself.

    answers: the student's, by id; in place of the lesson's own answer cells.
    """
    before = []
    for cell in lesson.cells:
        if cell.id == asked.check:
            break
        if cell.kind == "answer" and cell.id in answers:
            before.append(Cell(cell.id, answers[cell.id], "answer"))
        elif cell.kind in ("code", "answer"):
            before += pieces(cell)
    wanted, kept = used(asked.expression), []
    for cell in reversed(before):
        if cell.id == asked.answer or bound(cell.source) & wanted:
            kept.append(cell)
            wanted |= used(cell.source)
    return kept[::-1]
