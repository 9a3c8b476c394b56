"""What students handed in: a notebook for each lesson, in folders that teachers and nbgrader know."""

from dataclasses import dataclass, field
from pathlib import Path

from minimistral.classroom.lesson import Asked, read_cells
from minimistral.errors import BadInput


@dataclass(frozen=True)
class HandIns:
    """students: {name: {lesson: path}}; strange: notebooks that are no lesson, or an older copy of one."""

    students: dict[str, dict[str, Path]]
    strange: list[Path] = field(default_factory=list)

    @property
    def lessons(self) -> set[str]:
        """Lessons that somebody handed in."""
        return {lesson for theirs in self.students.values() for lesson in theirs}


def find_handins(folder: Path, lessons: list[str]) -> HandIns:
    """STUDENT/NN_lesson.ipynb, or nbgrader's submitted/STUDENT/ASSIGNMENT/NB.ipynb. BadInput if there is none."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: {'not a folder' if folder.exists() else 'not there'}")
    root = folder / "submitted" if (folder / "submitted").is_dir() else folder
    students, strange = {}, []
    for student in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        theirs = students[student.name] = {}
        for path in sorted((*student.glob("*.ipynb"), *student.glob("[!.]*/*.ipynb")), key=age):
            lesson = lesson_of(path.stem, lessons)
            if lesson is None or lesson in theirs:
                strange.append(theirs.get(lesson, path))
            if lesson is not None:
                theirs[lesson] = path  # the newest of several
    if not any(students.values()):
        raise BadInput(f"{folder}: no hand-in; expected STUDENT/{lessons[0]}.ipynb or submitted/STUDENT/.../*.ipynb")
    return HandIns(students, strange)


def age(path: Path) -> float:
    return path.lstat().st_mtime


def lesson_of(stem: str, lessons: list[str]) -> str | None:
    """The lesson that a file is named for; browsers and students add to a name.

    >>> lesson_of("07_sliding_window (1)", ["07_sliding_window"])
    '07_sliding_window'
    >>> lesson_of("07_sliding_windows", ["07_sliding_window"])
    """
    for lesson in lessons:
        if stem == lesson or (stem.startswith(lesson) and not stem[len(lesson)].isalnum()):
            return lesson
    return None


def read_answers(path: Path, asked: list[Asked]) -> dict[str, str]:
    """The answers in a hand-in, by the ids of their cells: nothing else of it is taken. BadInput if it is unreadable."""
    wanted = {one.answer for one in asked}
    return {cell.id: cell.source for cell in read_cells(path) if cell.id in wanted}
