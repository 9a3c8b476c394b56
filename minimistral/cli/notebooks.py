"""minimistral notebooks: the course in a folder of the reader's own; exported for a class; and what comes back, graded."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.options import LARGEST, cut, read_memory, read_number, read_whole, writable
from minimistral.errors import BadInput

if TYPE_CHECKING:
    from minimistral.classroom.grade import Row
    from minimistral.classroom.handins import HandIns
    from minimistral.classroom.lesson import Lesson
    from minimistral.classroom.process import Limits

HERE = Path("minimistral-course")
EXAMPLES = """Examples:
minimistral notebooks
minimistral notebooks --to my-course --no-open
minimistral notebooks export class
minimistral notebooks grade hand-ins --output grades.csv"""
EXPORT_EXAMPLES = """Examples:
minimistral notebooks export class
minimistral notebooks export answers --solutions
minimistral notebooks export course --for nbgrader"""
GRADE_EXAMPLES = """Examples:
minimistral notebooks grade hand-ins --output grades.csv
minimistral notebooks grade hand-ins --output week3.csv --only 06,07 --jobs 8
minimistral notebooks grade course --output marks.csv --own-code-only --exercises mine.py"""

notebooks = typer.Typer(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})

To = Annotated[
    Path, typer.Option(metavar="DIR", help="Where the course goes. Lessons that are there stay as they are.")
]
NoOpen = Annotated[bool, typer.Option("--no-open", help="Copy only.")]


@notebooks.callback(epilog=EXAMPLES)
def copy_and_open(context: typer.Context, to: To = HERE, no_open: NoOpen = False) -> None:
    """Copy the lessons to a folder and open JupyterLab there; or, for a class, export them, and grade what comes back.

    Your own work is never overwritten: for a fresh copy of a lesson, rename yours first.
    """
    if context.invoked_subcommand is not None:
        if no_open or to != HERE:
            raise BadInput(f"{'--no-open' if no_open else '--to'}: does not go with {context.invoked_subcommand}")
        return
    from minimistral.course import copy_course

    if not no_open and importlib.util.find_spec("jupyterlab") is None:
        raise BadInput(
            "notebooks: JupyterLab is not installed; pip install '.[notebooks]', or only copy with --no-open"
        )
    first = to / "00_start_here.ipynb"
    tell_what_was_copied(*copy_course(to), "lessons")
    terminal.tell([f"begin with: jupyter lab {first}"] if no_open else [])
    terminal.write(f"{to}\n")
    if not no_open:
        subprocess.run([sys.executable, "-m", "jupyterlab", str(first)], check=False)


def tell_what_was_copied(copied: list[str], kept: list[str], what: str) -> None:
    notes = [f"{len(copied)} {what} copied" if copied else f"all {what} are there already, none is copied"]
    notes += [f"{len(kept)} kept as they are in your folder: {', '.join(kept)}"] if kept else []
    terminal.tell(notes)


Class = Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="The folder. What is in it stays.")]
Solutions = Annotated[
    bool | None,
    typer.Option(
        "--solutions/--student",
        show_default=False,
        help="With right answers; or empty, which is what you get without either.",
    ),
]
Tool = Annotated[
    str | None,
    typer.Option("--for", metavar="TOOL", help="nbgrader or otter: a teacher's course for it, with solutions."),
]


@notebooks.command(epilog=EXPORT_EXAMPLES)
def export(folder: Class, solutions: Solutions = None, tool: Tool = None) -> None:
    """Write the lessons for a class: each answer between two marks, and empty, or right.

    For nbgrader and otter the answers are right: these tools make the students' copies by taking out what is between
    the marks.
    """
    from minimistral.classroom.export import TOOLS
    from minimistral.classroom.export import export as write

    if tool is not None and tool not in TOOLS:
        raise BadInput(f"--for: {cut(tool)}, expected {' or '.join(TOOLS)}")
    tell_what_was_copied(*write(folder, tool is not None if solutions is None else solutions, tool), "files")
    terminal.write(f"{folder}\n")


Folder = Annotated[
    Path, typer.Argument(metavar="DIR", show_default=False, help="STUDENT/NN_lesson.ipynb, or nbgrader's submitted/.")
]
Output = Annotated[
    Path, typer.Option(metavar="FILE", show_default=False, help="grades.csv; mistakes.csv is written beside it.")
]
Lessons = Annotated[
    Path | None, typer.Option("--lessons", metavar="DIR", help="Your own copies of the lessons. Else the package's.")
]
Only = Annotated[
    str | None,
    typer.Option("--only", metavar="NN,NN", help="The lessons that are expected. Else all that anybody handed in."),
]
Exercises = Annotated[
    Path | None,
    typer.Option("--exercises", metavar="FILE", help="Your own exercises: a module with a list EXERCISES."),
]
OwnCode = Annotated[bool, typer.Option("--own-code-only", help="No credit for an answer that calls minimistral's own.")]
Trust = Annotated[bool, typer.Option("--trust", help="Run hand-ins even where this machine cannot hold them back.")]
Jobs = Annotated[str | None, typer.Option("--jobs", metavar="N", help="Answers at a time. Else one for each core.")]
Seconds = Annotated[str, typer.Option("--seconds", metavar="N", help="For one answer.")]
Memory = Annotated[str, typer.Option("--memory", metavar="SIZE", help="For one answer, as in 500MB or 2GiB.")]
Seed = Annotated[str | None, typer.Option("--seed", metavar="N", help="Of the inputs. Else new ones at every run.")]


@notebooks.command(epilog=GRADE_EXAMPLES)
def grade(
    folder: Folder,
    output: Output,
    lessons: Lessons = None,
    only: Only = None,
    exercises: Exercises = None,
    own_code_only: OwnCode = False,
    trust: Trust = False,
    jobs: Jobs = None,
    seconds: Seconds = "20",
    memory: Memory = "2GiB",
    seed: Seed = None,
) -> None:
    """Grade hand-ins: their answer cells only, in your copies of the lessons, each answer in a process of its own.

    That process reaches no network, no file but its own, and no other process; Linux only. grades.csv has a row for
    each exercise and a reason for each lost point; mistakes.csv counts the mistakes: the next lecture starts there.
    """
    output = writable("--output", output)
    if output.name == "mistakes.csv":
        raise BadInput("--output: mistakes.csv is written beside it; take another name")
    writable("--output", output.with_name("mistakes.csv"))
    workers = None if jobs is None else read_whole("--jobs", jobs, 1, 1000)
    start = None if seed is None else read_whole("--seed", seed, 0, LARGEST)
    limits = read_limits(seconds, memory)
    from minimistral.classroom import grade as grading

    found, expected = expected_lessons(folder, lessons, only)
    drawn = grading.draw(expected, grading.known_exercises(exercises), start)
    notes: list[str] = []
    rules = grading.Rules(limits, wrapper_of(limits, trust, notes), own_code_only)
    terminal.tell_person(notes)
    with terminal.progress("grading") as bar:
        rows = grading.grade(found, expected, drawn, rules, workers or grading.cores(), bar)
    beside = grading.write_tables(output, rows)
    terminal.tell([*notes, in_words(rows, found)])
    terminal.write(f"{output}\n{beside}\n")


def read_limits(seconds: str, memory: str) -> "Limits":
    from minimistral.classroom.process import Limits

    size = read_memory(memory)
    if size < 2**29:
        raise BadInput(f"--memory: {cut(memory)}, expected 512MiB or more: Python and NumPy need that")
    return Limits(read_number("--seconds", seconds, 0.1, 86400), size)


def expected_lessons(folder: Path, lessons: Path | None, only: str | None) -> tuple["HandIns", list["Lesson"]]:
    """What was handed in, and the teacher's copies of the lessons that are expected."""
    from minimistral.classroom.handins import find_handins
    from minimistral.classroom.lesson import read_lesson
    from minimistral.course import lessons as ours

    paths = ours() if lessons is None else sorted({*lessons.glob("*.ipynb"), *lessons.glob("source/*/*.ipynb")})
    if not paths:
        raise BadInput(f"--lessons: {lessons}: no notebooks")
    found = find_handins(folder, [path.stem for path in paths])
    wanted = found.lessons if only is None else read_only(only, paths)
    return found, [read_lesson(path) for path in paths if path.stem in wanted]


def read_only(only: str, paths: list[Path]) -> set[str]:
    """The lessons that --only names, by number or by name."""
    wanted = set()
    for word in only.split(","):
        named = {p.stem for p in paths if word.strip() in (p.stem, p.stem.split("_")[0])}
        if not named:
            raise BadInput(f"--only: no lesson {cut(word)}, expected numbers or names such as 03,07_sliding_window")
        wanted |= named
    return wanted


def wrapper_of(limits: "Limits", trust: bool, notes: list[str]) -> str:
    """bubblewrap's path or nothing, after a try of what holds here. BadInput if something does not, and no --trust."""
    from minimistral.classroom.probe import find_sandbox

    sandbox = find_sandbox(limits)
    if sandbox.trouble:
        raise BadInput(f"grade: no answer can run: {sandbox.trouble}")
    if sandbox.leaks and not trust:
        raise BadInput(
            f"grade: this machine does not hold back: {', '.join(sandbox.leaks)}; that takes Linux 6.2, or bubblewrap. "
            "--trust runs the hand-ins as they are, with your rights"
        )
    notes.append(sandbox.words)
    return sandbox.wrapper


def in_words(rows: list["Row"], found: "HandIns") -> str:
    """One line on how it went."""
    from minimistral.classroom.grade import mistakes

    students = f"{len(found.students)} student{'s' * (len(found.students) != 1)}"
    points = f"{students}, {sum(r.score for r in rows):g} of {len(rows)} points"
    often = "".join(f"; most often: {name} {wrong} ({n})" for name, wrong, n, _ in mistakes(rows)[:1])
    strange = f"; {len(found.strange)} files are no lesson, or older copies of one" if found.strange else ""
    return points + often + strange
