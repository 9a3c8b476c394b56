"""Imports run one way: the pieces know nothing of files or terminals, and `import minimistral` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = {
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
    for p in (ROOT / "minimistral").rglob("*.py")
}


def imports(path: Path, everywhere: bool) -> set[str]:
    """Names imported at the top of a module; everywhere: also inside functions."""
    tree = ast.parse(path.read_text())
    typing_only = [n for n in tree.body if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test)]
    names = set()
    for node in ast.walk(tree) if everywhere else [n for n in tree.body if n not in typing_only]:
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return names


GRAPH = {name: {i for i in imports(path, everywhere=False) if i in FILES} for name, path in FILES.items()}


def test_there_are_no_circles():
    seen, path = set(), []

    def visit(name):
        assert name not in path, " -> ".join([*path, name])
        if name in seen:
            return
        path.append(name)
        for other in GRAPH[name]:
            if not name.startswith(other + "."):  # a package is there before its modules
                visit(other)
        seen.add(path.pop())

    for name in GRAPH:
        visit(name)


def test_the_pieces_know_nothing_of_files_tokens_or_the_terminal():
    upstairs = ("minimistral.checkpoint", "minimistral.tokenizer", "minimistral.cli", "minimistral.mistral",
                "minimistral.trace", "minimistral.embedded", "minimistral.stories")  # fmt: skip
    pieces = [
        "config",
        "errors",
        "rms_norm",
        "rope",
        "window",
        "attention",
        "rolling_cache",
        "swiglu",
        "sampling",
        "weights",
        "transformer",
    ]
    rooms = [f"minimistral.{p}" for p in pieces] + [n for n in FILES if n.startswith("minimistral.arithmetic")]
    for name in rooms:
        assert not [i for i in imports(FILES[name], everywhere=True) if i.startswith(upstairs)], name


def test_only_the_command_line_knows_fastpath_and_only_one_file_of_it():
    for name, path in FILES.items():
        found = [i for i in imports(path, everywhere=True) if i.split(".")[0] == "fastpath"]
        assert not found or name == "minimistral.cli.backend", name


def test_only_the_command_line_knows_the_terminal():
    for name, path in FILES.items():
        found = {i.split(".")[0] for i in imports(path, everywhere=True)} & {"typer", "rich", "click"}
        assert not found or name.startswith("minimistral.cli"), name


def test_import_is_light():
    heavy = ["numba", "torch", "transformers", "matplotlib", "sentencepiece", "typer", "rich", "IPython"]
    code = f"import sys, minimistral; minimistral.Mistral; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
    assert run.stdout.strip() == "[]", run.stdout + run.stderr
