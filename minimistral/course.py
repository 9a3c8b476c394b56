"""The course: its lessons, where their notebooks are, and how they come into a reader's own folder."""

import json
import os
from pathlib import Path

from minimistral.errors import BadInput

LESSONS = (  # the name of a notebook without its number, and of its module in exercises/ and in figures/
    "start_here",
    "tokens",
    "embedding",
    "rms_norm",
    "rope",
    "attention",
    "gqa",
    "sliding_window",
    "rolling_cache",
    "chunked_prefill",
    "swiglu",
    "whole_model",
    "sampling",
    "exact_sums",
    "numba_cpu",
    "cuda",
    "costs",
    "training",
    "window_memory",
    "instruct",
    "bug_hunt",
)

PACKAGE = Path(__file__).resolve().parent


def lessons() -> list[Path]:
    """The notebooks in order: those in the installed package, or in the checkout that it is run from.

    Raises BadInput if there are none.
    """
    for folder in (PACKAGE / "notebooks", PACKAGE.parent / "notebooks"):
        found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
        if found:
            return found
    raise BadInput(f"{PACKAGE / 'notebooks'}: no notebooks; install minimistral again")


def copy_course(folder: Path) -> tuple[list[str], list[str]]:
    """Copy the lessons into a folder, made if it is not there. What is there already is a reader's, and stays.

    Returns the names that were copied, and those that were kept although ours is another (by an edit, or a run).
    Raises BadInput if something in the way is no folder, or nothing can be written.
    """
    return copy_files(folder, {lesson.name: as_file(not_run(lesson)) for lesson in lessons()})


def not_run(lesson: Path) -> dict:
    """A notebook without what its cells showed: a reader is to guess before they see it."""
    notebook = json.loads(lesson.read_bytes())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    return notebook


def as_file(notebook: dict) -> bytes:
    """As nbformat writes it."""
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def copy_files(folder: Path, files: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """The same for any files, by their names in the folder."""
    copied, kept = [], []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, ours in files.items():
            theirs = folder / name
            theirs.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(theirs):
                put(theirs, ours)
                copied.append(name)
            elif not theirs.is_file() or theirs.read_bytes() != ours:
                kept.append(name)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadInput(f"{error.filename or folder}: not a folder") from None
    except OSError as error:
        raise BadInput(f"{error.filename or folder}: {error.strerror or error}") from None
    return copied, kept


def put(path: Path, content: bytes) -> None:
    """Write a new file, whole or not at all, and never over one that came in the meantime."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        try:
            os.link(partial, path)  # fails where something is, unlike rename
        except FileExistsError:
            pass
        except OSError:  # a file system without hard links
            partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
