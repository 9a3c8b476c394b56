"""A class gets lessons without a solution; teachers get them with, and as a course for nbgrader and otter."""

import ast
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minimistral.classroom.export import export
from minimistral.classroom.grade import GRADES
from minimistral.classroom.lesson import BEGIN, END, Cell, Lesson, bound, needed, not_written, read_lesson, used
from minimistral.classroom.own_code import calls
from minimistral.classroom.right import right_answer, with_right_guesses
from minimistral.cli import main
from minimistral.course import lessons
from minimistral.errors import BadInput
from minimistral.exercises import Exercise, exercises, guesses

ROOT = Path(__file__).parents[1]
NAMES = [path.stem for path in lessons()]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
REGION = re.compile(rf"^( *){BEGIN}\n(.*?)\n *{END}$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Every kind of export, once."""
    place = tmp_path_factory.mktemp("exported")
    for name, arguments in {"student": (False,), "solutions": (True,), "nbgrader": (True, "nbgrader"), "otter": (True, "otter")}.items():  # fmt: skip
        export(place / name, *arguments)
    return place


def cells_of(path: Path) -> list[dict]:
    cells = json.loads(path.read_text())["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in cells]


def written(exercise: Exercise) -> list[str]:
    """The lines of a solution that say something."""
    source = inspect.getsource(exercise.solution)
    lines = [line.split("#")[0].strip().removeprefix("lambda: ").rstrip(",") for line in source.splitlines()]
    return [line for line in lines if len(line) > 9 and not line.startswith(("def ", '"'))]


@pytest.mark.parametrize("name", NAMES)
def test_a_students_lesson_holds_no_solution_and_shows_no_score(name, exported):
    cells = cells_of(exported / "student" / f"{name}.ipynb")
    lesson = read_lesson(exported / "student" / f"{name}.ipynb")
    answers = {one.answer: exercises()[one.exercise] for one in lesson.asked}
    checks = {one.check for one in lesson.asked}
    assert answers
    for cell in cells:
        if cell["id"] in answers:
            assert [region[2] for region in REGION.finditer(cell["source"])] == [f"{region_indent(cell)}..."]
            assert not set(written(answers[cell["id"]])) & {line.strip() for line in cell["source"].splitlines()}
        if cell["id"] in answers or cell["id"] in checks:
            assert cell["outputs"] == [] and cell["execution_count"] is None
        if cell["id"].startswith("guess-"):
            assert "..." in cell["source"]
        shown = cell["source"] + json.dumps(cell.get("outputs", []))
        for exercise in answers.values():  # lessons may show a line of one, but never all
            assert not written(exercise) or not all(line in shown for line in written(exercise)), exercise.name


def test_solutions_are_written_out_where_that_is_possible(exported):
    """So each line of them is there to be found: looking for it in the students' lessons can fail."""
    out, called = 0, []
    for name in NAMES:
        for cell in cells_of(exported / "solutions" / f"{name}.ipynb"):
            exercise = exercises().get(cell["id"].removeprefix("answer-"))
            if exercise and cell["id"].startswith("answer-"):
                if "import find" in cell["source"]:
                    called.append(exercise.name)
                else:
                    assert all(line in cell["source"] for line in written(exercise)), cell["source"]
                    out += 1
    assert out >= 36 and len(called) <= out / 4, called


def region_indent(cell: dict) -> str:
    return REGION.search(cell["source"])[1]


@pytest.mark.parametrize("name", NAMES)
def test_solutions_fill_the_answers_and_all_else_is_as_in_the_students_lesson(name, exported):
    pairs = zip(*(cells_of(exported / kind / f"{name}.ipynb") for kind in ("student", "solutions")), strict=True)
    for theirs, ours in pairs:
        if theirs["id"].startswith("answer-"):
            assert REGION.sub("", theirs["source"]) == REGION.sub("", ours["source"])
            assert REGION.search(ours["source"])[2].strip() != "..."
            ast.parse(theirs["source"]), ast.parse(ours["source"])
        elif theirs["id"].startswith("guess-"):
            asked = theirs["id"].removeprefix("guess-")
            assert ours["source"] == theirs["source"].replace("...", repr(guesses()[asked].right), 1)
        else:
            assert theirs == ours


def test_a_solution_that_cannot_be_written_out_is_called():
    other_arguments = Exercise("window-mask", "?", lambda a, b: a, {}, make_inputs=lambda rng: (1, 2))
    stub = "def mine(x, y):\n    return ..."
    source = right_answer(other_arguments, "mine", stub, set())
    assert (
        source
        == f'{stub}\n{BEGIN}\nfrom minimistral.exercises import find\n\nmine = find("window-mask").solution\n{END}'
    )
    space = {}
    exec(source, space)  # noqa: S102
    assert space["mine"] is exercises()["window-mask"].solution


def test_a_solution_brings_the_modules_that_a_lesson_has_not():
    exercise = exercises()["safe-bits"]
    stub = "def mine(x_bits, w_bits, K):\n    return ..."
    assert "    import math\n" in right_answer(exercise, "mine", stub, set())
    assert "import" not in right_answer(exercise, "mine", stub, {"math"})


def test_a_guess_is_made_right():
    assert with_right_guesses('guess("two-layers", ...)  # how many?') == 'guess("two-layers", 9)  # how many?'


def test_what_is_in_a_folder_stays(tmp_path, capsys):
    folder = tmp_path / "class"
    assert main(["notebooks", "export", str(folder)]) == 0
    assert capsys.readouterr() == (f"{folder}\n", f"note: {len(NAMES)} files copied\n")
    mine = folder / f"{NAMES[0]}.ipynb"
    mine.write_text("mine")
    assert main(["notebooks", "export", str(folder), "--solutions"]) == 0
    assert mine.read_text() == "mine" and len(os.listdir(folder)) == len(NAMES)
    assert f"{len(NAMES)} kept as they are" in capsys.readouterr().err


def test_without_a_verb_of_its_own_it_copies_as_before(tmp_path, capsys):
    assert main(["notebooks", "--no-open", "--to", str(tmp_path / "course")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'course'}\n"
    assert sorted(os.listdir(tmp_path / "course")) == [path.name for path in lessons()]


BAD = {
    "tool": (["export", "{new}/x", "--for", "moodle"], "--for: 'moodle', expected nbgrader or otter"),
    "otter-student": (["export", "{new}/x", "--for", "otter", "--student"], "--student: otter makes"),
    "export-into-a-file": (["export", "{file}"], "file: not a folder"),
    "export-nowhere": (["export"], "Missing argument 'DIR'"),
    "unknown": (["mark", "{new}"], "No such command 'mark'"),
    "option-of-another": (["--no-open", "export", "{new}/x"], "--no-open: does not go with export"),
    "grade-nothing": (["grade", "{new}", "--output", "{new}/g.csv"], "no hand-in; expected STUDENT/00_start_here.ipynb"),
    "grade-nowhere": (["grade", "{new}/none", "--output", "{new}/g.csv"], "none: not there"),
    "grade-a-file": (["grade", "{file}", "--output", "{new}/g.csv"], "file: not a folder"),
    "no-output": (["grade", "{new}"], "Missing option '--output'"),
    "output-nowhere": (["grade", "{class}", "--output", "{new}/no/g.csv"], "no is not a folder"),
    "output-mistakes": (["grade", "{class}", "--output", "{new}/mistakes.csv"], "take another name"),
    "jobs": (["grade", "{class}", "--output", "{new}/g.csv", "--jobs", "0"], "--jobs: '0'"),
    "seconds": (["grade", "{class}", "--output", "{new}/g.csv", "--seconds", "nan"], "--seconds: 'nan'"),
    "memory": (["grade", "{class}", "--output", "{new}/g.csv", "--memory", "1MB"], "expected 512MiB or more"),
    "memory-words": (["grade", "{class}", "--output", "{new}/g.csv", "--memory", "much"], "--memory: 'much'"),
    "only": (["grade", "{class}", "--output", "{new}/g.csv", "--only", "3,99"], "--only: no lesson '3'"),
    "lessons": (["grade", "{class}", "--output", "{new}/g.csv", "--lessons", "{new}"], "no notebooks"),
    "exercises": (["grade", "{class}", "--output", "{new}/g.csv", "--exercises", "{file}"], "--exercises: "),
    "seed": (["grade", "{class}", "--output", "{new}/g.csv", "--seed", "-1"], "--seed: '-1'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_command_line_is_one_clear_line(name, tmp_path, capsys):
    places = {"new": tmp_path / "new", "class": tmp_path / "class", "file": tmp_path / "file"}
    places["new"].mkdir()
    (places["class"] / "ann").mkdir(parents=True)
    (places["class"] / "ann" / f"{NAMES[3]}.ipynb").write_bytes(lessons()[3].read_bytes())
    places["file"].write_text("x = (")
    arguments = [re.sub(r"\{(\w+)\}", lambda m: str(places[m[1]]), a) for a in BAD[name][0]]
    assert main(["notebooks", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert BAD[name][1] in err and os.listdir(places["new"]) == []


# --- a lesson as cells ------------------------------------------------------------------------------------------------


def test_the_names_that_code_reads_and_makes():
    source = "import numpy as np\nx = a\nfor i in y:\n    def f(n, z=w):\n        global made\n        made = n + k\n"
    assert used(source) >= {"a", "y", "w", "k"} and not used(source) & {"n", "z", "np"}
    assert bound(source) == {"np", "x", "i", "f", "made"}
    assert bound("a[0].b = 1\nc.append(2)\nprint(d)") == {"a", "c"}
    assert used("this is no Python") == bound("this is no Python") == set()


@pytest.mark.parametrize(
    "source",
    ["x = " + "1 + " * 20_000 + "1", "x = " + "-" * 50_000 + "1", "a" + ".b" * 20_000, "f(" * 30_000, "a" + "()" * 20_000,
     "[" * 150 + "]" * 150, "x\x00y", "x = '\ud800'", "if x: pass\n" + "elif x: pass\n" * 5000],
    ids=range(9),
)  # fmt: skip
def test_a_source_that_nobody_would_write_stops_no_reader(source):
    lesson = read_lesson(ROOT / "notebooks" / "07_sliding_window.ipynb")
    asked = lesson.asked[0]
    ran = needed(lesson, asked, {asked.answer: source})
    assert ran[-1] == Cell(asked.answer, source, "answer")
    assert calls(lesson, asked, {asked.answer: source}) == []


def test_an_answer_runs_with_what_it_needs_and_nothing_else():
    cells = [
        Cell("set-up", "import numpy as np\nimport math\nheavy = train()", "code"),
        Cell("words", "x = 1", "markdown"),
        Cell("sizes", "T = np.arange(3)", "code"),
        Cell("grown", "T[0] = 7", "code"),
        Cell("a", "def helper(): return T", "answer"),
        Cell("check-a", 'check_exercise("reach", helper)', "check"),
        Cell("b", "def f(): return ...", "answer"),
        Cell("later", "T = None", "code"),
        Cell("check-b", 'check_exercise("slot", f)', "check"),
    ]
    lesson = Lesson("x", [*cells[:7], cells[8], cells[7]])
    asked = lesson.asked[1]
    assert (asked.exercise, asked.expression, asked.answer, asked.check) == ("slot", "f", "b", "check-b")
    ran = needed(lesson, asked, {"a": "def helper(): return T", "b": "def f(): return helper()"})
    assert [(c.id, c.source) for c in ran] == [("set-up", "import numpy as np"), ("sizes", "T = np.arange(3)"),
                                               ("grown", "T[0] = 7"), ("a", "def helper(): return T"),
                                               ("b", "def f(): return helper()")]  # fmt: skip
    assert [c.id for c in needed(lesson, asked, {"b": "def f(): return 1"})] == ["b"]


@pytest.mark.parametrize("name", NAMES)
def test_every_form_of_an_empty_answer_is_known_as_empty(name, exported):
    ours = {c.id: c.source for c in read_lesson(ROOT / "notebooks" / f"{name}.ipynb").cells}
    for kind, empty in (("student", True), ("solutions", False)):
        for cell in read_lesson(exported / kind / f"{name}.ipynb").cells:
            if cell.kind == "answer":
                assert not_written(cell.source, ours[cell.id]) == empty


def test_a_lesson_that_asks_nothing_is_bad_input(tmp_path):
    (tmp_path / "a.ipynb").write_text('{"cells": []}')
    with pytest.raises(BadInput, match="no exercise"):
        read_lesson(tmp_path / "a.ipynb")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def my_mask(q, k, window):\n    return window_mask(q, k, window)", ["calls minimistral.window.window_mask"]),
        ("from minimistral import window as w\nmy_mask = w.window_mask", ["calls minimistral.window.window_mask"]),
        ("import minimistral.rope\nf = minimistral.rope.rotate", ["calls minimistral.rope.rotate"]),
        ("from minimistral.config import MISTRAL_7B\ndef my_mask(q, k, w):\n    return MISTRAL_7B.dim", []),
        ("from minimistral.window import *", ["imports all of minimistral.window"]),
        ("my_mask = eval('window' + '_mask')", ["uses eval"]),
        ("import importlib\nmy_mask = importlib.import_module('x')", ["uses importlib"]),
        ("from minimistral.exercises import find\nmy_mask = find('x').solution", ["calls minimistral.exercises.find"]),
        ("def my_mask(q, k, window):\n    return k[None] <= q[:, None]", []),
    ],
)
def test_an_answer_that_calls_the_packages_function_is_told(source, found):
    import minimistral.rope

    assert hasattr(minimistral.rope, "rotate") or "rope" not in source
    lesson = read_lesson(ROOT / "notebooks" / "07_sliding_window.ipynb")
    assert calls(lesson, lesson.asked[0], {"answer-window-mask": source}) == found


# --- nbgrader and otter, where they are -------------------------------------------------------------------------------

COLLECT = """
from nbgrader.api import Gradebook
for student in ("ann", "bob", "cy"):
    book = Gradebook("sqlite:///gradebook.db")
    print(student, book.find_submission({name!r}, student).score)
"""


def tool(name: str) -> str:
    """The command of a tool, beside this Python or on the PATH."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: object, folder: Path) -> str:
    """What a command says; its neighbours are on the PATH, as nbgrader calls some of them."""
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ["PATH"]])
    done = subprocess.run([*map(str, command)], cwd=folder, env=ENVIRONMENT | {"PATH": path}, capture_output=True,
                          text=True, timeout=300, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout + done.stderr


def test_nbgrader_makes_the_students_copy_and_grades_hand_ins(exported, tmp_path):
    nbgrader, name = tool("nbgrader"), "03_rms_norm"
    course = tmp_path / "course"
    shutil.copytree(exported / "nbgrader", course)
    run(nbgrader, "generate_assignment", name, folder=course)
    release = course / "release" / name / f"{name}.ipynb"
    theirs = cells_of(release)
    assert not any("SOLUTION" in cell["source"] for cell in theirs)
    assert [c["source"].splitlines()[-1].strip() for c in theirs if c["id"].startswith("answer-")] == ["...", "..."]
    assert 'guess("rms-of-four", ...)' in "".join(c["source"] for c in theirs)
    hand_ins = {"ann": course / "source" / name / f"{name}.ipynb", "bob": release, "cy": half_right(release, tmp_path)}
    for student, path in hand_ins.items():
        place = course / "submitted" / student / name
        place.mkdir(parents=True)
        shutil.copy(path, place / f"{name}.ipynb")
    run(nbgrader, "autograde", name, folder=course)
    python = Path(nbgrader).parent / "python"
    out = run(python if python.exists() else sys.executable, "-c", COLLECT.format(name=name), folder=course)
    assert out.splitlines()[-3:] == ["ann 2.0", "bob 0.0", "cy 1.0"]


def half_right(path: Path, place: Path) -> Path:
    """A hand-in with the first answer right, and the second wrong."""
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        if cell["id"] == "answer-rms-norm":
            cell["source"] = 'from minimistral.exercises import find\nmy_rms_norm = find("rms-norm").solution'
        if cell["id"] == "answer-size-for-point-six":
            cell["source"] = "my_size = 0.6"
    (place / "half.ipynb").write_text(json.dumps(notebook))
    return place / "half.ipynb"


def test_otter_makes_the_students_copy_and_right_answers_pass_its_tests(exported, tmp_path):
    otter, name = tool("otter"), "03_rms_norm"
    shutil.copytree(exported / "otter" / name, tmp_path / name)
    run(otter, "assign", f"{name}/{name}.ipynb", "made", folder=tmp_path)  # runs the tests on the solutions, too
    theirs = cells_of(tmp_path / "made" / "student" / f"{name}.ipynb")
    assert not any("SOLUTION" in cell["source"] or "check_exercise(" in cell["source"] for cell in theirs)
    assert [c["source"] for c in theirs if "grader.check(" in c["source"]] == [
        'grader.check("rms-norm")',
        'grader.check("size-for-point-six")',
    ]
    assert not any(line in cell["source"] for line in written(exercises()["rms-norm"]) for cell in theirs)


# --- the teacher's pages ----------------------------------------------------------------------------------------------


def test_the_guide_names_mistakes_that_exist_and_every_lecture_has_its_parts():
    guide = (ROOT / "docs" / "teachers-guide.md").read_text()
    named = re.findall(r"^\| `([\w-]+)` \| `([\w-]+)` \|", guide, re.MULTILINE)
    assert len(named) > 30
    assert [(name, wrong) for name, wrong in named if wrong not in exercises()[name].wrong] == []
    lectures = re.split(r"^## \d\. ", guide, flags=re.MULTILINE)[1:]
    assert len(lectures) == 8
    for lecture in lectures:
        questions = lecture.split("**Five questions**")[1].split("**Where they stick")[0]
        assert len(re.findall(r"^- \*", questions, re.MULTILINE)) == 5, lecture[:30]
        assert len(re.findall(r"^\d\. ", lecture.split("**On the board.**")[0], re.MULTILINE)) == 3, lecture[:30]
        for part in ("On the board.", "Timing.", "Homework.", "Exit question.", "To cut."):
            assert f"**{part}**" in lecture, f"{lecture[:30]}: {part}"


def test_the_guide_gives_the_minutes_of_the_notebooks():
    guide = (ROOT / "docs" / "teachers-guide.md").read_text()
    minutes = {}
    for path in lessons():
        first = json.loads(path.read_text())["cells"][0]
        minutes[path.stem[:2]] = int(re.search(r"\*\*(\d+) minutes", "".join(first["source"]))[1])
    rows = re.findall(r"^\| \[\d\..*?\| ([\d ]+) \| (\d+)", guide, re.MULTILINE)
    assert len(rows) == 8
    for numbers, said in rows:
        if all(n in minutes for n in numbers.split()):
            assert sum(minutes[n] for n in numbers.split()) == int(said), numbers


def test_the_page_for_teachers_says_what_the_command_has():
    page = (ROOT / "docs" / "classroom.md").read_text()
    help_text = subprocess.run([sys.executable, "-m", "minimistral", "notebooks", "grade", "--help"], env=ENVIRONMENT,
                               capture_output=True, text=True, check=True).stdout  # fmt: skip
    for option in set(re.findall(r"--[a-z][a-z-]+", page)) - {"--solutions", "--for"}:
        assert option in help_text, option
    for word in GRADES:
        assert f"`{word}`" in page
