"""Right answers in place of the reader's: the solutions of minimistral.exercises, written into a lesson's cells."""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable
from types import ModuleType

from minimistral.classroom.lesson import BEGIN, END, bound, parsed, what_is_checked
from minimistral.exercises import Exercise, exercises, guesses


def text(cell: dict) -> str:
    """The source of a cell of a notebook's JSON."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def about(cell: dict) -> dict:
    """What nbgrader knows of a cell."""
    return cell["metadata"].get("nbgrader", {})


def pairs(cells: list[dict]) -> list[tuple[dict, str, str]]:
    """Of each exercise: the cell of the answer, the exercise's name, and the variable that is checked."""
    found, answer = [], None
    for cell in cells:
        answer = cell if about(cell).get("solution") else answer
        if about(cell).get("grade"):
            found.append((answer, *what_is_checked(text(cell), cell["id"])))
    return found


def fill_in(cells: list[dict]) -> None:
    """Put right answers between the markers of all answer cells."""
    known = bound("\n".join(text(cell) for cell in cells if cell["id"] == "set-up"))
    for answer, name, variable in pairs(cells):
        answer["source"] = right_answer(exercises()[name], variable, text(answer), known)


def guess_right(cells: list[dict]) -> None:
    """Put right guesses into all guesses. nbgrader and otter would leave them to the students."""
    for cell in cells:
        if cell["cell_type"] == "code":
            cell["source"] = with_right_guesses(text(cell))


def empty(cells: list[dict]) -> None:
    """Put the markers into all answer cells, and nothing but `...` between them."""
    for answer, _, variable in pairs(cells):
        head, indent = stub(text(answer), variable)
        answer["source"] = with_region(head, indent, "...")


def with_right_guesses(source: str) -> str:
    """A cell with its guesses made, and right."""

    def right(asked: re.Match) -> str:
        return f'guess("{asked[1]}", {guesses()[asked[1]].right!r})'

    return re.sub(r'guess\("([\w-]+)", \.\.\.\)', right, source)


def stub(source: str, variable: str) -> tuple[str, str]:
    """The lines of an answer cell that stay, and how far what comes after them is indented.

    >>> stub("def f(x):\\n    '''Exercise.'''\\n    return ...", "f")
    ("def f(x):\\n    '''Exercise.'''", '    ')
    >>> stub("size = ...  # in bytes", "size")
    ('size = ...  # in bytes', '')
    """
    last = next((node.body[-1] for node in parsed(source).body if getattr(node, "name", None) == variable), None)
    dots = isinstance(last, ast.Return | ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is ...
    if not dots:
        return source.rstrip("\n"), ""
    return "\n".join(source.splitlines()[: last.lineno - 1]), " " * last.col_offset


def with_region(head: str, indent: str, body: str) -> str:
    """A cell with this between its markers."""
    return head + "\n" + textwrap.indent(f"{BEGIN}\n{body}\n{END}", indent)


def right_answer(exercise: Exercise, variable: str, source: str, known: set[str]) -> str:
    """An answer cell with the solution in it, written out if it can be, else called.

    known: names that the lesson's set-up makes
    """
    head, indent = stub(source, variable)
    body = None
    if exercise.asks_for_a_function == bool(indent):  # a function's body goes into a function
        body = written_out(exercise.solution, variable, known) if stands_alone(exercise.solution) else None
    if body is None or (
        indent and arguments(source, variable) != list(inspect.signature(exercise.solution).parameters)
    ):
        value = "solution" if exercise.asks_for_a_function else "solution()"
        call = f'from minimistral.exercises import find\n\n{variable} = find("{exercise.name}").{value}'
        return with_region(source.rstrip("\n"), "", call)
    return with_region(head, indent, body)


def arguments(source: str, variable: str) -> list[str]:
    """The arguments of a function that a cell defines."""
    function = next(node for node in parsed(source).body if getattr(node, "name", None) == variable)
    return [argument.arg for argument in function.args.args]


def stands_alone(function: Callable) -> bool:
    """Does it need nothing of its module but other modules?"""
    outside = inspect.getclosurevars(function)
    return not outside.nonlocals and all(isinstance(value, ModuleType) for value in outside.globals.values())


def written_out(function: Callable, variable: str, known: set[str]) -> str | None:
    """The lines of a solution: of a function its body; of a value, `variable = `. None where they cannot be told apart."""
    outside = inspect.getclosurevars(function).globals
    imports = [f"import {m.__name__} as {name}" for name, m in outside.items() if name not in known]
    imports = [line.removesuffix(f" as {line.split()[1]}") for line in imports]
    if function.__name__ == "<lambda>":
        body = the_lambda(function)
        lines = None if body is None or inspect.signature(function).parameters else f"{variable} = {body}"
    else:
        source = textwrap.dedent(inspect.getsource(function)).rstrip("\n")
        takes = inspect.signature(function).parameters
        lines = body_of(source) if takes else f"{source}\n\n\n{variable} = {function.__name__}()"
    return None if lines is None else "\n".join([*imports, lines])


def body_of(source: str) -> str:
    """The body of a function, without its docstring."""
    function = ast.parse(source).body[0]
    body = function.body[1:] if ast.get_docstring(function) else function.body
    lines = source.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
    return textwrap.dedent("\n".join(lines))


def the_lambda(function: Callable) -> str | None:
    """What a lambda gives, as it stands in its file; None if its line holds more than one."""
    source = inspect.getsource(inspect.getmodule(function))
    line = function.__code__.co_firstlineno
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Lambda) and node.lineno == line]
    return ast.get_source_segment(source, found[0].body) if len(found) == 1 else None
