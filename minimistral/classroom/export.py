"""The lessons for a class: as they are handed out, with right answers, or as a course for nbgrader or otter."""

from pathlib import Path

from minimistral.classroom.right import about, empty, fill_in, guess_right, pairs
from minimistral.course import as_file, copy_files, lessons, not_run
from minimistral.errors import BadInput

TOOLS = ("nbgrader", "otter")
NBGRADER_CONFIG = '''\
"""The course for nbgrader: run it in this folder, as in `nbgrader generate_assignment 07_sliding_window`."""

c = get_config()  # noqa: F821 (nbgrader gives it)
c.CourseDirectory.course_id = "minimistral"
c.ClearSolutions.code_stub = {"python": "..."}  # nbgrader's own stub raises, and an unfilled lesson would not run
c.Execute.timeout = 300  # seconds a cell; nbgrader's own 30 are too few for some lessons
'''


def export(folder: Path, solutions: bool, tool: str | None = None) -> tuple[list[str], list[str]]:
    """Write all lessons to a folder; what is there already stays. The names that were written, and those kept.

    tool: nbgrader or otter; both make the students' copies from the teacher's, by what stands between the markers
    """
    if tool == "otter" and not solutions:
        raise BadInput("--student: otter makes the students' copies itself, from the one with solutions")
    files = {}
    for path in lessons():
        notebook = not_run(path)
        (fill_in if solutions else empty)(notebook["cells"])
        if solutions and tool is None:
            guess_right(notebook["cells"])
        if tool == "otter":
            notebook["cells"] = for_otter(notebook["cells"])
        place = {None: "", "nbgrader": f"source/{path.stem}/", "otter": f"{path.stem}/"}[tool]
        files[place + path.name] = as_file(notebook)
    if tool == "nbgrader":
        files["nbgrader_config.py"] = NBGRADER_CONFIG.encode()
    return copy_files(folder, files)


def for_otter(cells: list[dict]) -> list[dict]:
    """The same cells with otter's raw cells around answers and checks, and in checks what right answers show."""
    answers = {answer["id"]: name for answer, name, _ in pairs(cells)}
    made = [raw("otter-assignment", "# ASSIGNMENT CONFIG\nsolutions_pdf: false\nexport_cell: false")]
    asked = ""
    for cell in cells:
        if cell["id"] in answers:
            asked = answers[cell["id"]]
            made += [raw(f"otter-question-{asked}", f"# BEGIN QUESTION\nname: {asked}\npoints: 1\nmanual: false"),
                     raw(f"otter-solution-{asked}", "# BEGIN SOLUTION"), cell,
                     raw(f"otter-solution-end-{asked}", "# END SOLUTION")]  # fmt: skip
        elif about(cell).get("grade"):
            cell["outputs"] = right_outputs(asked)
            made += [raw(f"otter-tests-{asked}", "# BEGIN TESTS"), cell,
                     raw(f"otter-tests-end-{asked}", "# END TESTS"), raw(f"otter-end-{asked}", "# END QUESTION")]  # fmt: skip
        else:
            made.append(cell)
    return made


def raw(cell_id: str, source: str) -> dict:
    return {"cell_type": "raw", "id": cell_id[:64], "metadata": {}, "source": source}


def right_outputs(name: str) -> list[dict]:
    """What check_exercise shows for a right answer."""
    return [
        {"name": "stdout", "output_type": "stream", "text": f"{name}: right\n"},
        {"data": {"text/plain": "1.0"}, "execution_count": None, "metadata": {}, "output_type": "execute_result"},
    ]
