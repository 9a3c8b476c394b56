"""Which of the package's functions an answer calls: for who gives marks, as the solutions ship with the package."""

import ast
from importlib import import_module

from minimistral.classroom.lesson import Asked, Cell, Lesson, needed, parsed

ROUNDABOUT = {"__import__", "__builtins__", "__dict__", "__globals__", "__subclasses__", "builtins", "compile", "eval",
              "exec", "getattr", "globals", "importlib", "locals", "modules", "open", "pkgutil", "runpy", "vars"}  # fmt: skip


def calls(lesson: Lesson, asked: Asked, answers: dict[str, str]) -> list[str]:
    """What of the package an answer uses, as words: 'calls minimistral.rope.rotate', 'uses eval'.

    Earlier answers that it needs count too, and names that the lesson's own cells imported.
    """
    cells = needed(lesson, asked, answers)
    names = imported(cells)
    found = []
    for cell in (c for c in cells if c.kind == "answer"):
        for node in ast.walk(parsed(cell.source)):
            word = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
            found += [f"uses {word}"] if word in ROUNDABOUT else []
            found += [f"calls {path}" for path in (dotted(node, names),) if path and is_ours(path)]
            found += [f"uses {name}" for name in imports_of(node) if name.split(".")[0] in ROUNDABOUT]
            found += [f"imports all of {node.module}" for name in imports_of(node) if name.endswith(".*")]
    return longest(list(dict.fromkeys(found)))


def imports_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []


def imported(cells: list[Cell]) -> dict[str, str]:
    """The package's things by the names that cells give them: {"window_mask": "minimistral.window.window_mask"}."""
    names = {}
    for cell in cells:
        for node in ast.walk(parsed(cell.source)):
            for full, alias in zip(imports_of(node), getattr(node, "names", ()), strict=False):
                if full.split(".")[0] == "minimistral":
                    whole = alias.asname or isinstance(node, ast.ImportFrom)
                    names[alias.asname or alias.name.split(".")[0]] = full if whole else "minimistral"
    return names


def dotted(node: ast.AST, names: dict[str, str]) -> str | None:
    """The full path of `window.window_mask`, if its first name came from the package."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, names)
        return before and f"{before}.{node.attr}"
    return None


def is_ours(path: str) -> bool:
    """Is it a function or a class of the package? Its constants, as MISTRAL_7B, are for everybody."""
    parts = path.split(".")
    for n in range(len(parts) - 1, 0, -1):
        try:
            thing = import_module(".".join(parts[:n]))
        except ImportError:
            continue
        for part in parts[n:]:
            thing = getattr(thing, part, None)
        return callable(thing)
    return False


def longest(found: list[str]) -> list[str]:
    """Without what another one says more exactly: of minimistral.Mistral and minimistral.Mistral.random the second."""
    return [one for one in found if not any(other.startswith(f"{one}.") for other in found)]
