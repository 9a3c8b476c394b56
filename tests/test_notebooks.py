"""The lessons run offline, without a warning, and print what is committed; their exercises know right from wrong.

After a change that is meant to show: `python tests/test_notebooks.py notebooks/07_sliding_window.ipynb` runs a lesson
again and keeps its outputs.
"""

import copy
import os
import re
import statistics
import sys
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="notebooks are run with nbformat, nbclient, ipykernel, matplotlib")
nbclient = pytest.importorskip("nbclient", reason="notebooks are run with nbclient")
pytest.importorskip("ipykernel", reason="notebooks are run with ipykernel")
pytest.importorskip("matplotlib", reason="notebooks draw with matplotlib")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 90
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
MACHINE_PATH = re.compile(r"/(home|root|tmp|Users|usr|work|opt|var)/|[A-Z]:\\\\|site-packages")
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
    env = {name: v for name, v in os.environ.items() if name != "MPLBACKEND"} | {"PYTHONPATH": path}
    nbclient.NotebookClient(
        done,
        timeout=SECONDS,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(ROOT / "notebooks")}},
    ).execute(env=env)
    del done.cells[0], done.cells[-1]
    for number, cell in enumerate((c for c in done.cells if c.cell_type == "code"), start=1):
        cell.execution_count = number
        cell.metadata.pop("execution", None)  # times of day
        for out in cell.outputs:
            if out.output_type == "execute_result":
                out.execution_count = number
            if out.output_type == "error":
                out.traceback = out.traceback[-1:]  # the lines before it name this machine's folders
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
            if "image/png" in out.data:
                seen.append(("picture", out.metadata.get("image/png", {}).get("alt", "")))
    return seen


def differences(committed, fresh) -> list[str]:
    """The cells that show something else than before, those tagged `varies` left out."""
    pairs = [(a, b) for a, b in zip(committed.cells, fresh.cells, strict=True) if a.cell_type == "code"]
    changed = [(a, b) for a, b in pairs if "varies" not in a.metadata.get("tags", []) and shown(a) != shown(b)]
    return [f"cell {a.id}: committed {shown(a)}, now {shown(b)}" for a, b in changed]


def read(path: Path):
    return nbformat.read(path, as_version=4)


def filled(notebook, answers: dict[str, str]):
    """The notebook with a reader's answers in place of its own cells, by cell id; cells tagged `slow` are left out."""
    copied = copy.deepcopy(notebook)
    copied.cells = [cell for cell in copied.cells if "slow" not in cell.metadata.get("tags", [])]
    cells = {cell.id: cell for cell in copied.cells}
    for cell_id, source in answers.items():
        cells[cell_id].source = source
    return copied


def printed(notebook) -> dict[str, str]:
    return {c.id: "".join(text for _, text in shown(c)) for c in notebook.cells if c.cell_type == "code"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_lesson_runs_clean_and_shows_what_is_committed(path):
    start = time.monotonic()
    committed = read(path)
    changed = differences(committed, run(committed))
    assert not changed, "\n".join(changed)
    assert time.monotonic() - start < SECONDS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_lesson_keeps_the_conventions(path):
    notebook = read(path)
    nbformat.validate(notebook)
    cells, code = notebook.cells, [c for c in notebook.cells if c.cell_type == "code"]
    lines = [len(c.source.splitlines()) for c in code]
    open_cells = [n for n, c in zip(lines, code, strict=True) if not c.metadata.get("jupyter", {}).get("source_hidden")]
    words = sum(len(c.source.split()) for c in cells if c.cell_type == "markdown")
    assert 25 <= len(cells) <= 40 and 800 <= words <= 1500, f"{len(cells)} cells, {words} words"
    assert max(lines) <= 15 and statistics.median(open_cells) <= 7, lines
    assert all(SLUG.fullmatch(c.id) for c in cells) and len({c.id for c in cells}) == len(cells)
    assert cells[0].source.startswith("# ") and all(w in cells[0].source for w in ("You will", "You need", "minutes"))
    assert notebook.metadata.kernelspec.name == "python3"
    assert path.stat().st_size <= 1_000_000
    assert sum("raises-exception" in c.metadata.get("tags", []) for c in code) == 1
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1)), "not one clean run"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_small_have_alt_texts_and_name_no_machine(path):
    for cell in (c for c in read(path).cells if c.cell_type == "code"):
        for out in cell.outputs:
            texts = [out.get("text", ""), *out.get("traceback", []), out.get("data", {}).get("text/plain", "")]
            assert not any(MACHINE_PATH.search(t) for t in texts), f"cell {cell.id}: {texts}"
            assert out.get("name") != "stderr", f"cell {cell.id} prints to stderr"
            picture = out.get("data", {}).get("image/png", "")
            assert len(picture) * 3 / 4 <= 150_000, f"cell {cell.id}: picture of {len(picture) * 3 // 4} bytes"
            assert not picture or len(out.metadata["image/png"]["alt"]) > 20, f"cell {cell.id}: no alt text"


WINDOW_RIGHT = {
    "predict-keys": "my_keys_of_7 = [3, 4, 5, 6, 7]",
    "exercise-mask": """def my_mask(query_positions, key_positions, window):
    back = query_positions[:, None] - key_positions[None, :]
    return (back >= 0) & (back < window)""",
    "predict-slots": "my_slots = 5",
    "exercise-pairs": "def my_pairs(T, window):\n    return sum(min(i + 1, window) for i in range(T))",
    "predict-two-layers": "my_two_layers = 9",
    "exercise-reach": "def my_reach(n_layers, window):\n    return n_layers * (window - 1) + 1",
    "predict-changed": "my_changed = 17",
    "predict-layers": "my_layers = 3",
}
WINDOW_CHECKS = {
    "small-mask", "check-mask", "small-slots", "check-pairs", "small-two-layers", "check-reach",
    "measure-logits", "mistral-7b-reach",
}  # fmt: skip
WINDOW_WRONG = [  # answers, the cell that judges them, its hint
    [("exercise-mask", "return (back >= 0) & (back <= window)", "check-mask", "count a row"),
     ("exercise-pairs", "return T * window", "check-pairs", "first rows are short"),
     ("exercise-reach", "return n_layers * window", "check-reach", "share a token"),
     ("predict-layers", "my_layers = 2", "mistral-7b-reach", "one token short")],
    [("exercise-mask", "return back < window", "check-mask", "future"),
     ("exercise-pairs", "return T * (T + 1) // 2", "check-pairs", "no window"),
     ("exercise-reach", "return n_layers * window + 1", "check-reach", "W + 1 keys"),
     ("predict-changed", "my_changed = 20", "measure-logits", "k W")],
    [("exercise-mask", "return np.tril(np.ones(back.shape, dtype=bool))", "check-mask", "order"),
     ("exercise-pairs", "return sum(min(i, window) + 1 for i in range(T))", "check-pairs", "W + 1"),
     ("exercise-reach", "return n_layers * (window - 1)", "check-reach", "itself"),
     ("predict-two-layers", "my_two_layers = 10", "small-two-layers", "twice")],
]  # fmt: skip


def window_lesson():
    return read(ROOT / "notebooks" / "07_sliding_window.ipynb")


def test_right_answers_in_the_window_lesson_are_called_right():
    text = printed(run(filled(window_lesson(), WINDOW_RIGHT)))
    assert {cell for cell in WINDOW_CHECKS if text[cell].rstrip().endswith("right")} == WINDOW_CHECKS


@pytest.mark.parametrize("wrong", WINDOW_WRONG, ids=["first", "second", "third"])
def test_a_known_mistake_in_the_window_lesson_gets_its_own_hint(wrong):
    answers = dict(WINDOW_RIGHT)
    for cell, body, _, _ in wrong:
        right = WINDOW_RIGHT[cell]
        answers[cell] = right[: right.rindex("return")] + body if body.startswith("return") else body
    text = printed(run(filled(window_lesson(), answers)))
    for cell, _, judge, hint in wrong:
        assert hint in text[judge].splitlines()[-1], f"{cell}: {text[judge]}"


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
    committed = window_lesson()
    stale = copy.deepcopy(committed)
    cell = next(c for c in stale.cells if c.id == "small-slots")
    cell.outputs[0].text = cell.outputs[0].text.replace("7", "8")
    assert len(differences(committed, stale)) == 1
    cell.metadata.tags = ["varies"]
    assert differences(stale, committed) == []


if __name__ == "__main__":
    for name in sys.argv[1:]:
        nbformat.write(run(read(Path(name))), name)
