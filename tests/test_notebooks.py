"""The lessons run offline, without a warning, and print what is committed; and filled with right answers all are right.

After a change that is meant to show: `python tests/test_notebooks.py notebooks/07_sliding_window.ipynb` runs a lesson
again and keeps its outputs.
"""

import copy
import os
import re
import statistics
import sys
import time
from functools import cache
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks are run with nbformat, nbclient, ipykernel, matplotlib")
nbclient = pytest.importorskip("nbclient", reason="notebooks are run with nbclient")
pytest.importorskip("ipykernel", reason="notebooks are run with ipykernel")
pytest.importorskip("matplotlib", reason="notebooks draw with matplotlib")

from minimistral.classroom.right import fill_in, guess_right
from minimistral.exercises import LESSONS, of_lesson

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 90
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MACHINE_PATH = re.compile(r"/(home|root|tmp|Users|usr|work|opt|var)/|[A-Z]:\\\\|site-packages")
WIDGET = "application/vnd.jupyter.widget-view+json"
PREPARE = """\
import socket, warnings
import matplotlib.font_manager  # its first start on a machine is slow and says so
def offline(*_): raise OSError("a lesson runs offline")
socket.socket.connect = offline
warnings.simplefilter("error")
"""


def run(notebook):
    """A copy of the notebook as it is after a clean run."""
    done = copy.deepcopy(notebook)
    done.cells.insert(0, nbformat.v4.new_code_cell(PREPARE))
    done.cells.append(nbformat.v4.new_code_cell('warnings.simplefilter("default")'))  # shutting down is Jupyter's
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {name: v for name, v in os.environ.items() if name != "MPLBACKEND"}
    env |= {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}  # tests run side by side
    nbclient.NotebookClient(
        done,
        timeout=SECONDS,
        kernel_name="python3",
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],  # not that a kernel on this machine is reached without encryption
        resources={"metadata": {"path": str(ROOT / "notebooks")}},
    ).execute(env=env)
    del done.cells[0], done.cells[-1]
    for number, cell in enumerate((c for c in done.cells if c.cell_type == "code"), start=1):
        cell.execution_count = number
        cell.metadata.pop("execution", None)  # times of day
        cell.outputs = [out for out in cell.outputs if WIDGET not in out.get("data", {})]  # alive only with a kernel
        for out in cell.outputs:
            if out.output_type == "execute_result":
                out.execution_count = number
            if out.output_type == "error":
                out.traceback = out.traceback[-1:]  # the lines before it name this machine's folders
    done.metadata.pop("widgets", None)
    return done


def shown(cell) -> list[tuple[str, str]]:
    """What a cell shows, as far as it is the same on every machine: text, errors, a picture's alt text."""
    seen = []
    for out in cell.outputs:
        if out.output_type == "stream":
            seen.append((out.name, out.text))
        elif out.output_type == "error":
            seen.append((out.ename, out.evalue))
        else:
            seen.append(("text", out.data.get("text/plain", "")))
            seen += [("picture", out.metadata.get(kind, {}).get("alt", "")) for kind in PICTURES if kind in out.data]
    return seen


PICTURES = ("image/png", "image/gif")


def differences(committed, fresh) -> list[str]:
    """The cells that show something else than before, those tagged `varies` left out."""
    pairs = [(a, b) for a, b in zip(committed.cells, fresh.cells, strict=True) if a.cell_type == "code"]
    changed = [(a, b) for a, b in pairs if "varies" not in a.metadata.get("tags", []) and shown(a) != shown(b)]
    return [f"cell {a.id}: committed {shown(a)}, now {shown(b)}" for a, b in changed]


@cache
def read(path: Path):
    return nbformat.read(path, as_version=4)


def printed(cell) -> str:
    return "".join(text for _, text in shown(cell))


def kind(cell) -> str:
    """answer, check, or what else it is."""
    about = cell.metadata.get("nbgrader", {})
    return "answer" if about.get("solution") else "check" if about.get("grade") else cell.cell_type


def asked(notebook, prefix: str) -> list[str]:
    """The names in the ids of cells: of exercises (`check-`) or guesses (`guess-`)."""
    return [cell.id.removeprefix(prefix) for cell in notebook.cells if cell.id.startswith(prefix)]


def filled(notebook):
    """The set-up, the guesses and the exercises of a notebook, with right answers in place of the reader's."""
    done = copy.deepcopy(notebook)
    done.cells = [c for c in done.cells if c.id == "set-up" or c.id.startswith(("answer-", "check-", "guess-"))]
    before = {cell.id: cell.source for cell in done.cells}
    fill_in(done.cells)
    guess_right(done.cells)
    for cell in done.cells:
        changed = cell.id.startswith(("answer-", "guess-"))
        assert (cell.source != before[cell.id]) == changed, f"{cell.id}: {cell.source}"
    return done


each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


@each
def test_a_lesson_runs_clean_and_shows_what_is_committed(path):
    start = time.monotonic()
    fresh = run(read(path))
    seconds, changed = time.monotonic() - start, differences(read(path), fresh)
    assert not changed, "\n".join(changed)
    answers_are(fresh, "not done yet", "0.0")
    assert seconds < SECONDS


@each
def test_with_right_answers_a_lesson_says_that_they_are_right(path):
    answers_are(run(filled(read(path))), "right", "1.0")


def answers_are(notebook, words: str, score: str) -> None:
    """Every exercise and every guess got these words."""
    for cell in notebook.cells:
        if kind(cell) == "check":
            assert printed(cell) == f"{cell.id.removeprefix('check-')}: {words}\n{score}", printed(cell)
        if cell.id.startswith("guess-"):
            assert printed(cell) == f"{cell.id.removeprefix('guess-')}: {words}\n", printed(cell)


@each
def test_a_lesson_asks_its_exercises_and_guesses_once_each(path):
    lesson = of_lesson(path.stem[3:])
    assert asked(read(path), "check-") == [exercise.name for exercise in lesson.EXERCISES]
    assert asked(read(path), "answer-") == asked(read(path), "check-")
    assert asked(read(path), "guess-") == list(lesson.GUESSES) and len(lesson.GUESSES) >= 2


@each
def test_a_lesson_keeps_the_conventions(path):
    notebook = read(path)
    nbformat.validate(notebook)
    cells, code = notebook.cells, [c for c in notebook.cells if c.cell_type == "code"]
    lines = [len(c.source.splitlines()) for c in code]
    words = sum(len(c.source.split()) for c in cells if c.cell_type == "markdown")
    assert 25 <= len(cells) <= 40 and 800 <= words <= 1500, f"{len(cells)} cells, {words} words"
    assert max(lines) <= 15 and statistics.median(lines) <= 7, lines
    assert all(SLUG.fullmatch(c.id) for c in cells) and len({c.id for c in cells}) == len(cells)
    assert cells[0].source.startswith("# ") and all(w in cells[0].source for w in ("You will", "You need", "minutes"))
    assert notebook.metadata.kernelspec.name == "python3"
    assert path.stat().st_size <= 1_000_000
    assert sum("raises-exception" in c.metadata.get("tags", []) for c in code) == 1
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1)), "not one clean run"
    assert cells[-1].id == "claims" and "assert" in cells[-1].source and cells[-2].id == "keep"
    assert "**One sentence:**" in cells[-2].source


@each
def test_answer_and_check_cells_carry_what_nbgrader_reads(path):
    for cell in read(path).cells:
        if kind(cell) in ("answer", "check"):
            about = cell.metadata.nbgrader
            assert about.schema_version == 3 and about.grade_id == cell.id and not about.task
            assert about.locked == about.grade == (kind(cell) == "check") and about.get("points", 1) == 1
            assert kind(cell) == "check" or "..." in cell.source


@each
def test_outputs_are_small_have_alt_texts_and_name_no_machine(path):
    for cell in (c for c in read(path).cells if c.cell_type == "code"):
        for out in cell.outputs:
            texts = [out.get("text", ""), *out.get("traceback", []), out.get("data", {}).get("text/plain", "")]
            assert not any(MACHINE_PATH.search(t) for t in texts), f"cell {cell.id}: {texts}"
            assert out.get("name") != "stderr", f"cell {cell.id} prints to stderr"
            for picture in (p for p in PICTURES if p in out.get("data", {})):
                size = len(out.data[picture]) * 3 // 4
                assert size <= 150_000, f"cell {cell.id}: picture of {size} bytes"
                assert len(out.metadata[picture]["alt"]) > 20, f"cell {cell.id}: no alt text"


NUMBER = re.compile(r"(?<![\w.,-])\d[\d\u2009\u202f\u00a0 _,]*\d(?:\.\d+)?(?![\w])|(?<![\w.,-])\d+\.\d+(?![\w])")


def digits(text: str) -> str:
    """The text with whole numbers written as Python does: 131 041, 131,041 and 131_041 are 131041."""
    return re.sub(r"(?<=\d)[\u2009\u202f\u00a0 _,](?=\d{3}(?!\d))", "", text)


@each
def test_every_number_in_the_prose_is_computed_or_asserted_in_a_cell(path):
    notebook = read(path)
    code = digits("\n".join(c.source + "\n" + printed(c) for c in notebook.cells if c.cell_type == "code"))
    lost = []
    for cell in (c for c in notebook.cells if c.cell_type == "markdown"):
        prose = re.sub(
            r"\*\*\d+ minutes\.?\*\*|[Ll]essons? \d\d( (to|and) \d\d)?|arXiv [\d.]+|\]\([^)]*\)|^#+ \d+\.",
            "",
            cell.source,
            flags=re.MULTILINE,
        )
        for number in NUMBER.findall(digits(prose)):
            if not re.search(rf"(?<![\d.]){re.escape(number)}(?!\d)", code):
                lost.append(f"{cell.id}: {number}")
    assert not lost, lost


def test_there_is_a_notebook_for_each_lesson_in_order():
    """Numbers may be left out: a lesson that is still to come has its place."""
    assert [path.stem[3:] for path in NOTEBOOKS] == list(LESSONS)
    numbers = [int(path.stem[:2]) for path in NOTEBOOKS]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import warnings\nwarnings.warn('old way')", "old way"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 9))", "a lesson runs offline"),
    ],
    ids=["warning", "connection"],
)
def test_a_warning_or_a_connection_stops_a_lesson(source, words):
    with pytest.raises(nbclient.exceptions.CellExecutionError, match=words):
        run(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)]))


def test_a_stale_output_is_found():
    committed = read(ROOT / "notebooks" / "07_sliding_window.ipynb")
    stale = copy.deepcopy(committed)
    cell = next(
        c for c in stale.cells if c.cell_type == "code" and "7" in printed(c) and c.outputs[0].output_type == "stream"
    )
    cell.outputs[0].text = cell.outputs[0].text.replace("7", "8")
    assert len(differences(committed, stale)) == 1
    cell.metadata.tags = ["varies"]
    assert differences(stale, committed) == []


def test_a_wrong_answer_in_a_lesson_gets_its_hint_and_a_picture():
    lesson = filled(read(ROOT / "notebooks" / "07_sliding_window.ipynb"))
    cells = {c.id: n for n, c in enumerate(lesson.cells)}
    lesson.cells = [
        lesson.cells[n] for n in sorted(cells[i] for i in ("set-up", "answer-window-mask", "check-window-mask"))
    ]
    lesson.cells[
        1
    ].source = 'from minimistral.exercises import find\nmy_mask = find("window-mask").wrong["window-plus-one"][0]'
    check = run(lesson).cells[-1]
    assert "count a row" in check.outputs[0].text and "image/png" in check.outputs[1].data
    assert check.outputs[-1].data["text/plain"] == "0.0"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        nbformat.write(run(read(Path(name))), name)
