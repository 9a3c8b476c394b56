"""Hand-ins are graded fairly, and whatever is in them harms nobody: a loop, a fork bomb, 10 GB, other files, the network."""

import csv
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minimistral.classroom import probe
from minimistral.classroom.confine import DENIED
from minimistral.classroom.grade import (
    Came,
    Row,
    Rules,
    draw,
    grade,
    in_a_table,
    known_exercises,
    mistakes,
    write_table,
)
from minimistral.classroom.handins import HandIns, find_handins
from minimistral.classroom.lesson import read_lesson
from minimistral.classroom.probe import PROTECTIONS, Sandbox, attempts, find_sandbox, listening, reached, tried
from minimistral.classroom.process import Ended, Limits, run_alone
from minimistral.classroom.right import right_answer
from minimistral.classroom.values import as_plain, exception_of, from_plain
from minimistral.cli import main
from minimistral.course import lessons
from minimistral.errors import BadInput
from minimistral.exercises import Exercise, exercises
from minimistral.exercises.cuda import Race

ROOT = Path(__file__).parents[1]
NORM, WINDOW, CUDA = (
    next(p for p in lessons() if p.stem == n) for n in ("03_rms_norm", "07_sliding_window", "15_cuda")
)
SHORT = Limits(seconds=3.0, memory=2**30, file_size=2**20)


@pytest.fixture(scope="module")
def sandbox():
    """What this machine offers; the tests of what it holds back need all of it."""
    found = find_sandbox(SHORT)
    if found.leaks or found.trouble:
        pytest.skip(f"this machine does not hold back: {found.leaks or found.trouble}; Linux 6.2 or bubblewrap does")
    return found


def right(name: str) -> str:
    """A right answer's cell."""
    for path in lessons():
        lesson = read_lesson(path)
        for asked in lesson.asked:
            if asked.exercise == name:
                stub = next(cell.source for cell in lesson.cells if cell.id == asked.answer)
                return right_answer(exercises()[name], asked.expression, stub, set())
    raise AssertionError(name)


def wrong(name: str, mistake: str, variable: str) -> str:
    return f'from minimistral.exercises import find\n{variable} = find("{name}").wrong["{mistake}"][0]'


def hand_in(folder: Path, student: str, lesson: Path, answers: dict[str, str | None], name: str | None = None) -> Path:
    """A student's copy of a lesson with these answers, by exercise; None: the cell is gone."""
    notebook = json.loads(lesson.read_bytes())
    cells = [c for c in notebook["cells"] if answers.get(c["id"].removeprefix("answer-"), "") is not None]
    for cell in cells:
        exercise = cell["id"].removeprefix("answer-")
        if cell["id"] != exercise and exercise in answers:
            cell["source"] = answers[exercise]
    path = folder / student / (name or lesson.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook | {"cells": cells}))
    return path


def read_csv(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def verdict_on(name: str, source: str, sandbox: Sandbox, lesson: Path = NORM, limits: Limits = SHORT, **rules) -> Row:
    """The row of one answer."""
    teachers = read_lesson(lesson)
    asked = next(one for one in teachers.asked if one.exercise == name)
    folder = Path(os.environ["PYTEST_CLASSROOM"])
    path = hand_in(folder, "ann", lesson, {name: source})
    drawn = draw([teachers], known_exercises(None), 1)
    rows = grade(HandIns({"ann": {teachers.name: path}}), [teachers], drawn, Rules(limits, sandbox.wrapper, **rules))
    return next(row for row in rows if row.exercise == asked.exercise)


@pytest.fixture(autouse=True)
def folder_of_hand_ins(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_CLASSROOM", str(tmp_path / "hand-ins"))


# --- a class of 30, six of them hostile -------------------------------------------------------------------------------

HOSTILE = {  # student: (what they wrote, what the reason says)
    "z1-loop": ("while True: pass", "over the time limit of 3 s"),
    "z2-forks": ("import os\nwhile True: os.fork()", "line 2, `while True: os.fork()`: PermissionError"),
    "z3-memory": ("x = b'x' * (10 * 2**30)", "over the memory limit: line 1, `x = b'x' * (10 * 2**30)`: MemoryError"),
    "z4-files": ("import os\nos.remove({canary!r})", "line 2, `os.remove("),
    "z5-network": ("import socket\nsocket.create_connection(('127.0.0.1', {port}))", "PermissionError"),
    "z6-exit": ("import sys\nsys.exit(0)", "line 2, `sys.exit(0)`: SystemExit: 0"),
}


def test_thirty_hand_ins_of_which_six_are_hostile(sandbox, tmp_path, capsys):
    canary = tmp_path / "canary"
    canary.write_text("alive")
    folder, known, expected = tmp_path / "class", exercises()["rms-norm"].wrong, {}
    for n, mistake in zip(range(12), 4 * list(known)[:3], strict=True):
        student = f"a{n:02}"
        hand_in(folder, student, NORM, {"rms-norm": wrong("rms-norm", mistake, "my_rms_norm")})
        expected[student] = ("0", mistake, known[mistake][1])
    for n in range(6):
        hand_in(folder, f"b{n}", NORM, {"rms-norm": right("rms-norm")})
        expected[f"b{n}"] = ("1", "", "")
    hand_in(folder, "c1", NORM, {})
    hand_in(folder, "c2", NORM, {"rms-norm": None})
    hand_in(folder, "c3", NORM, {"rms-norm": "def my_rms_norm(x, weight, eps):\n    return x / rms(x)"})
    hand_in(folder, "c4", NORM, {}).write_text('{"cells": [')
    (folder / "c5").mkdir()
    hand_in(folder, "c6", NORM, {"rms-norm": "def my_rms_norm(x, weight, eps):\n    x /= 2\n    return x"})
    reasons = ["not done yet", "its answer cell is missing", "line 2, `return x / rms(x)`: NameError", "unreadable: not a",
               "not handed in", "it changes its inputs"]  # fmt: skip
    expected |= {f"c{n}": ("0", "", reason) for n, reason in enumerate(reasons, start=1)}
    with socket.create_server(("127.0.0.1", 0)) as server:
        for student, (source, reason) in HOSTILE.items():
            source = source.format(canary=str(canary), port=server.getsockname()[1])
            hand_in(folder, student, NORM, {"rms-norm": f"{source}\n{right('rms-norm')}"})
            expected[student] = ("0", "", reason)
        grades, start = tmp_path / "grades.csv", time.monotonic()
        command = ["notebooks", "grade", str(folder), "--output", str(grades), "--seconds", "3", "--memory", "1GiB"]
        assert main(command) == 0, capsys.readouterr().err
        assert time.monotonic() - start < 600  # a class of 30 in under ten minutes, on whatever this runs on
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    assert canary.read_text() == "alive" and sorted(os.listdir(tmp_path)) == [
        "canary", "class", "grades.csv", "mistakes.csv"]  # fmt: skip
    rows = {row["student"]: row for row in read_csv(grades) if row["exercise"] == "rms-norm"}
    assert list(rows) == sorted(expected) and len(rows) == 30
    for student, (score, mistake, reason) in expected.items():
        row = rows[student]
        assert (row["score"], row["wrong id"]) == (score, mistake), row
        assert row["reason"].startswith(reason) or (reason and reason in row["reason"]), row
        assert row["max"] == "1" and row["notebook"] == NORM.stem and float(row["seconds"]) < 30
    counted = [(m["exercise"], m["wrong id"], m["how many"], m["hint"]) for m in read_csv(tmp_path / "mistakes.csv")]
    assert sorted(counted) == sorted(("rms-norm", m, "4", known[m][1]) for m in list(known)[:3])
    out, err = capsys.readouterr()
    assert out == f"{grades}\n{tmp_path / 'mistakes.csv'}\n"
    assert err.startswith("note: the kernel holds back: network, files") or "bubblewrap" in err
    assert "30 students, 6 of 60 points; most often: rms-norm" in err


# --- what a hand-in may try for a point -------------------------------------------------------------------------------

FORGED = {
    "says-so": "print('rms-norm: right')\nprint(1.0)\nmy_rms_norm = 1.0",
    "another-checker": "check_exercise = lambda *_: 1.0\nimport minimistral.exercises as e\n"
    "e.check_exercise = check_exercise\nmy_rms_norm = lambda x, weight, eps: x",
    "another-judge": "import minimistral.exercises.judge as j\nj.same = lambda *_, **__: True\n"
    "j.judge = j.judge_once = lambda *_: j.Verdict(1.0, 'right')\nmy_rms_norm = lambda x, weight, eps: x",
    "another-solution": "from minimistral.exercises import find\n"
    "object.__setattr__(find('rms-norm'), 'solution', lambda x, weight, eps: x)\nmy_rms_norm = find('rms-norm').solution",
    "equal-to-all": "class Equal:\n    __eq__ = lambda *_: True\n    shape, dtype = (3,), float\n"
    "my_rms_norm = lambda x, weight, eps: Equal()",
    "says-it-itself": "import os\nfor n in range(3, 40):\n    try:\n"
    '        os.write(n, b\'{"value": 1.0, "score": 1.0, "results": [{}, {}, {}]}\\n\')\n'
    "    except OSError: pass\nmy_rms_norm = lambda x, weight, eps: x",
    "ends-early": "import os\nos._exit(0)",
    "crashes": "import ctypes\nctypes.string_at(0)",
    "endless": "my_rms_norm = lambda x, weight, eps: list(iter(int, 1))",
    "sleeps": "import time\ntime.sleep(1000)",
    "closes": "import os\nos.closerange(0, 100)\nwhile True: pass",
    "recurses": "def my_rms_norm(x, weight, eps):\n    return my_rms_norm(x, weight, eps)",
    "stops-the-grader": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
    "many-files": "for n in range(10**6): open(str(n), 'w').close()",
    "a-large-file": "with open('a', 'w') as f:\n    while True: f.write('x' * 10**6)",
    "raises-what-it-likes": "class E(Exception):\n    __str__ = lambda self: 1 / 0\n"
    "def my_rms_norm(x, weight, eps):\n    raise E",
    "hands-out-words": "my_rms_norm = lambda x, weight, eps: 'x' * 10**8",
    "hands-out-a-tower": "a = []\nfor _ in range(10**5): a = [a]\nmy_rms_norm = lambda x, weight, eps: a",
    "no-python": "my_rms_norm = = 1",
    "too-long": "x = 1\n" * 20_000,
    "no-name": "another_name = 1",
    "surrogates": "raise ValueError('\ud800')",
}


@pytest.mark.parametrize("name", FORGED)
def test_no_trick_gets_a_point_or_stops_the_run(name, sandbox):
    row = verdict_on("rms-norm", FORGED[name], sandbox)
    assert row.score == 0 and row.reason and "could not be judged" not in row.reason, row
    assert row.seconds < 30


def test_a_gigabyte_of_words_and_magic_of_jupyter_cost_nobody_a_point(sandbox):
    shouts = "for _ in range(1000): print('x' * 10**6)"
    row = verdict_on("rms-norm", f"{shouts}\n%timeit 1\n!ls\n{right('rms-norm')}", sandbox, limits=Limits(30.0))
    assert (row.score, row.reason) == (1, "")


def test_an_answer_may_use_what_the_lesson_made_before_it_and_its_own_folder(sandbox):
    source = "open('notes', 'w').write('x')\nassert open('notes').read() == 'x'\n"
    assert verdict_on("rms-norm", source + right("rms-norm"), sandbox).score == 1
    uses = "my_reach = lambda n_layers, window: n_layers * (window - 1) + int(mask[0, 0])"
    assert verdict_on("reach", uses, sandbox, WINDOW).score == 1
    assert verdict_on("reach", "x = 1\nmy_reach = = 1", sandbox, WINDOW).reason.startswith(
        "line 2, `my_reach = = 1`: Sy"
    )
    row = verdict_on("reach", "my_reach = lambda n, w: later", sandbox, WINDOW)
    assert "NameError: name 'later'" in row.reason


def test_threads_work_and_other_processes_do_not(sandbox):
    threads = "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()\n"
    assert verdict_on("rms-norm", threads + right("rms-norm"), sandbox).score == 1
    runs = "import subprocess\nsubprocess.run(['true'])\n"
    row = verdict_on("rms-norm", f"{runs}{right('rms-norm')}".replace("def ", "assert 0\ndef "), sandbox)
    assert row.score == 0 and "PermissionError" in row.reason


def test_kernels_and_their_races_are_judged_as_in_the_notebook(sandbox):
    assert verdict_on("reduce", right("reduce"), sandbox, CUDA).score == 1
    row = verdict_on("reduce", wrong("reduce", "no-barrier", "my_block_sum"), sandbox, CUDA)
    assert (row.score, row.wrong_id) == (0, "no-barrier") and "someone reads early" in row.reason


def test_own_code_only(sandbox):
    source = "from minimistral.rms_norm import rms_norm\nmy_rms_norm = rms_norm"
    assert "calls minimistral.rms_norm.rms_norm" in verdict_on("rms-norm", source, sandbox, own_code_only=True).reason
    lazy = "from minimistral.exercises import find\nmy_rms_norm = find('rms-norm').solution"
    assert verdict_on("rms-norm", lazy, sandbox).reason == "right; calls minimistral.exercises.find"
    assert verdict_on("rms-norm", lazy, sandbox, own_code_only=True).score == 0
    assert verdict_on("rms-norm", right("rms-norm"), sandbox, own_code_only=True).score == 1


# --- what holds -------------------------------------------------------------------------------------------------------


def test_everything_holds_here_and_without_confinement_nothing_does(sandbox, tmp_path, monkeypatch):
    assert tried("", SHORT).leaks == () and "network, files, processes" in sandbox.words
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "canary").write_text("alive")
    with listening() as servers:
        arguments = (str(tmp_path / "out" / "canary"), servers[0].getsockname()[1], os.getpid(), 2**20, 2**20)
        code = f"{inspect.getsource(attempts)}\nprint(sorted(set(attempts(*{arguments!r}))))"
        out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert all(reached(server) for server in servers)
    assert out.stdout.strip() == str(sorted(PROTECTIONS))
    assert os.listdir(tmp_path / "out") == ["canary-2"], "the attempts are real ones"


def test_a_machine_that_holds_nothing_back_refuses_without_trust(tmp_path, monkeypatch, capsys):
    hand_in(tmp_path / "class", "ann", NORM, {"rms-norm": right("rms-norm")})
    monkeypatch.setattr(probe, "find_sandbox", lambda limits: Sandbox("", ("network", "files")))
    command = ["notebooks", "grade", str(tmp_path / "class"), "--output", str(tmp_path / "g.csv")]
    assert main(command) == 2
    assert "this machine does not hold back: network, files;" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["class"]
    assert main([*command, "--trust", "--seed", "3"]) == 0
    assert read_csv(tmp_path / "g.csv")[0]["score"] == "1"
    monkeypatch.setattr(probe, "find_sandbox", lambda limits: Sandbox("", PROTECTIONS, "it did not start"))
    assert main([*command, "--trust"]) == 2 and "no answer can run: it did not start" in capsys.readouterr().err


def test_a_wrapper_that_does_not_work_is_left_out(monkeypatch, tmp_path):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(probe.shutil, "which", lambda name: str(broken))
    assert "did not start" in tried(str(broken), SHORT).trouble
    assert find_sandbox(SHORT).wrapper == ""


def test_bubblewrap_holds_too():
    wrapper = probe.shutil.which("bwrap")
    if wrapper is None:
        pytest.skip("bubblewrap is not installed")
    found = tried(wrapper, SHORT)
    if found.trouble:
        pytest.skip(f"bubblewrap does not run here: {found.trouble}")
    assert found.leaks == () and found.words.startswith("bubblewrap and the kernel hold back: network")


def test_a_process_says_why_it_ended():
    def ended(source: str) -> Ended:
        job = {"cells": [("a", source, "answer")], "expression": "1", "inputs": [], "call": None}
        return run_alone(job, SHORT)

    assert ended("x = 1").said == {"value": 1}
    assert ended("import os; os._exit(3)").reason == "ends its own process before it gives anything back"
    if sys.platform == "linux":
        assert "SIGSEGV" in ended("import ctypes; ctypes.string_at(0)").reason
        assert "closed" not in ended("while True: pass").reason


def test_the_denied_calls_have_the_numbers_of_this_machine():
    headers = [Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h")]
    for column, header in enumerate(headers):
        if header.is_file():
            lines = [line.split() for line in header.read_text().splitlines() if line.startswith("#define __NR")]
            numbers = {line[1].split("_NR_")[-1].removeprefix("3264_"): line[2] for line in lines if len(line) == 3}
            for name, found in DENIED.items():
                if name in numbers and found[column] is not None and numbers[name].isdigit():
                    assert int(numbers[name]) == found[column], name


# --- hand-ins, values, tables -----------------------------------------------------------------------------------------


def test_both_layouts_are_found_and_the_newest_copy_counts(tmp_path):
    names = [path.stem for path in lessons()]
    first = hand_in(tmp_path / "flat", "ann", NORM, {})
    second = hand_in(tmp_path / "flat", "ann", NORM, {}, "03_rms_norm (1).ipynb")
    os.utime(first, (1, 1))
    strange = hand_in(tmp_path / "flat", "ann", NORM, {}, "essay.ipynb")
    (tmp_path / "flat" / "bob").mkdir()
    (tmp_path / "flat" / ".hidden").mkdir()
    found = find_handins(tmp_path / "flat", names)
    assert found.students == {"ann": {"03_rms_norm": second}, "bob": {}} and set(found.strange) == {first, strange}
    path = hand_in(tmp_path / "course" / "submitted" / "cy", "03_rms_norm", NORM, {})
    (tmp_path / "course" / "source").mkdir()
    assert find_handins(tmp_path / "course", names).students == {"cy": {"03_rms_norm": path}}


UNREADABLE = {
    "empty": (b"", "not a notebook"),
    "binary": (b"\xff\x00PK", "not a notebook"),
    "list": (b"[]", "no list of cells"),
    "old": (b'{"worksheets": []}', "no list of cells"),
    "cells": (b'{"cells": [3]}', "cell 0 has no source"),
    "source": (b'{"cells": [{"source": {}}]}', "cell 0 has no source"),
    "deep": (b"[" * 10**5, "not a notebook"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_unreadable_hand_in_has_one_clear_reason(name, tmp_path):
    content, words = UNREADABLE[name]
    path = tmp_path / "a.ipynb"
    path.write_bytes(content)
    lesson = read_lesson(NORM)
    found = HandIns({"ann": {lesson.name: path}})
    rows = grade(found, [lesson], draw([lesson], exercises(), 0), Rules(SHORT))
    assert [row.score for row in rows] == [0, 0] and all(words in row.reason for row in rows)
    assert all(row.reason.startswith("unreadable: ") and str(tmp_path) not in row.reason for row in rows)


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / NORM.name).symlink_to(NORM)
    lesson = read_lesson(NORM)
    rows = grade(find_handins(tmp_path, [NORM.stem]), [lesson], draw([lesson], exercises(), 0), Rules(SHORT))
    assert {row.reason for row in rows} == {"unreadable: not a plain file"}


@pytest.mark.parametrize(
    "value",
    [None, ..., True, 7, 2.5, float("inf"), "words", b"\x00", [1, [2.5, "a"]], (1, 2), np.arange(6).reshape(2, 3),
     np.float32(0.1), np.zeros((0, 3), bool), np.array(5)],
)  # fmt: skip
def test_values_come_back_as_they_were(value):
    back = from_plain(json.loads(json.dumps(as_plain(value))))
    if isinstance(value, np.ndarray | np.generic):
        assert back.dtype == value.dtype and back.shape == value.shape and np.array_equal(back, value)
    else:
        assert type(back) is type(value) and back == value


def test_what_is_no_value_is_only_named_and_exceptions_are_those_we_know():
    assert type(from_plain(as_plain({1: 2}))).__name__ == "dict" and as_plain(10**30) == {"other": "int"}
    assert type(exception_of("builtins", "ValueError")) is ValueError
    assert type(exception_of("minimistral.exercises.cuda", "Race")) is Race
    for module, name in (
        ("builtins", "SystemExit"),
        ("builtins", "print"),
        ("os", "error"),
        (None, None),
        ("numpy", 3),
    ):
        assert type(exception_of(module, name)) is Exception
    with pytest.raises(UnicodeDecodeError):
        Came({"error": {"module": "builtins", "name": "UnicodeDecodeError"}})()


def test_a_table_holds_one_line_a_row_and_no_formula(tmp_path):
    write_table(tmp_path / "t.csv", ("a", "b"), [("=1+1", "two\nlines, and a comma"), ("@x", "x" * 1000)])
    rows = read_csv(tmp_path / "t.csv")
    assert rows[0] == {"a": "'=1+1", "b": "two\\nlines, and a comma"}
    assert rows[1]["a"] == "'@x" and len(rows[1]["b"]) == 300 and in_a_table("-3") == "'-3"


def test_mistakes_are_counted_the_most_frequent_first():
    row = Row("a", "n", "reach", 0.0, 1.0, "layers share a token", "k-times-w", 0.1)
    rows = [row, row._replace(wrong_id="", reason="x"), row._replace(exercise="slot", wrong_id="s"), row]
    assert mistakes(rows) == [("reach", "k-times-w", 2, row.reason), ("slot", "s", 1, row.reason)]


TEACHERS = """
from minimistral.exercises import Exercise
EXERCISES = [Exercise("reach", "?", lambda n_layers, window: n_layers * window + 7,
                      {"none": (lambda n_layers, window: 0, "a hint of the teacher's")}, lambda rng: (int(rng.integers(2, 9)), 5))]
"""


def test_a_teachers_own_exercises_and_lessons(sandbox, tmp_path, capsys):
    (tmp_path / "mine.py").write_text(TEACHERS)
    (tmp_path / "lessons").mkdir()
    (tmp_path / "lessons" / WINDOW.name).write_bytes(WINDOW.read_bytes())
    hand_in(tmp_path / "class", "ann", WINDOW, {"reach": "my_reach = lambda n, w: n * w + 7"})
    hand_in(tmp_path / "class", "bob", WINDOW, {"reach": right("reach")})
    hand_in(tmp_path / "class", "cy", WINDOW, {"reach": "my_reach = lambda n, w: 0"})
    command = ["notebooks", "grade", str(tmp_path / "class"), "--output", str(tmp_path / "g.csv"), "--lessons",
               str(tmp_path / "lessons"), "--exercises", str(tmp_path / "mine.py"), "--only", "07"]  # fmt: skip
    assert main(command) == 0, capsys.readouterr().err
    scores = {
        r["student"]: (r["score"], r["wrong id"]) for r in read_csv(tmp_path / "g.csv") if r["exercise"] == "reach"
    }
    assert scores == {"ann": ("1", ""), "bob": ("0", ""), "cy": ("0", "none")}


def test_a_teachers_exercise_that_cannot_be_sent_is_bad_input(tmp_path):
    (tmp_path / "mine.py").write_text(
        TEACHERS.replace("(int(rng.integers(2, 9)), 5)", "(lambda: int(rng.integers(9)), 5)")
    )
    (tmp_path / "call.py").write_text(TEACHERS.replace("5))]", "5), call=lambda f, *a: f(*a))]"))
    with pytest.raises(BadInput, match="`call` must be a function of the package"):
        known_exercises(tmp_path / "call.py")
    lesson = read_lesson(WINDOW)
    unsendable = Exercise("reach", "?", lambda f: 1, {"a": (lambda f: 2, "h")}, lambda rng: (lambda: 1,))
    with pytest.raises(BadInput, match="exercise reach: its inputs cannot be sent"):
        draw([lesson], exercises() | {"reach": unsendable}, 0)
    with pytest.raises(BadInput, match="no exercise 'window-mask'"):
        draw([lesson], {}, 0)


def test_every_solution_of_the_course_gets_full_marks(sandbox, tmp_path):
    from minimistral.classroom.export import export

    export(tmp_path / "class" / "ann", True)
    found = find_handins(tmp_path / "class", [path.stem for path in lessons()])
    all_of_them = [read_lesson(path) for path in lessons()]
    rows = grade(found, all_of_them, draw(all_of_them, exercises(), 0), Rules(Limits(), sandbox.wrapper), 2)
    assert [(row.exercise, row.reason) for row in rows if row.score != 1 or row.reason] == []
    assert len(rows) == len(exercises())


def test_some_solutions_get_full_marks(sandbox, tmp_path):
    for name, lesson in (("rms-norm", NORM), ("size-for-point-six", NORM), ("window-mask", WINDOW), ("guard", CUDA)):
        row = verdict_on(name, right(name), sandbox, lesson)
        assert (row.score, row.reason) == (1, ""), row


def test_ctrl_c_waits_for_no_hand_in(sandbox, tmp_path):
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    lesson = read_lesson(NORM)
    for student, source in (("ann", "import time\ntime.sleep(300)"), ("bob", ""), ("cy", "while True: pass")):
        hand_in(tmp_path, student, NORM, {"rms-norm": source})
    start, found = time.monotonic(), find_handins(tmp_path, [NORM.stem])
    with pytest.raises(KeyboardInterrupt):
        grade(found, [lesson], draw([lesson], exercises(), 0), Rules(Limits(300.0)), 2, interrupt)
    assert time.monotonic() - start < 60


def test_nothing_is_left_behind(sandbox):
    import tempfile

    before = {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("hand-in-")}
    verdict_on("rms-norm", "open('x', 'w').write('x')\n" + right("rms-norm"), sandbox)
    after = {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("hand-in-")}
    assert after - before == set() and signal.getsignal(signal.SIGINT) is not None
