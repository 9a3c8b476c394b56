"""The layout says how the rows of wq and wk lie. A program may say the wrong one, or turn pairs that do not fit: two things.

The program is the one of docs/record.md, NumPy alone: with rows of either layout, a RoPE of either kind, and either word.
"""

import re
from itertools import product
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from minimistral.check import assert_agrees, check_trace
from minimistral.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "record.md").read_text()
LAYOUTS = ("mistral", "hf")
TURNS = {  # the line of the page's `rotate`, and the one that turns halves; the second stands on the page too
    "mistral": ("a, b = x[..., 0::2], x[..., 1::2]", "return np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape)"),
    "hf": ("a, b = np.split(x, 2, axis=-1)", "return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)"),
}  # fmt: skip
ROWS = """
for name in w:
    if "wq" in name or "wk" in name:  # the even rows of each head first: as Hugging Face's files have them
        heads = w[name].reshape(-1, d, c["dim"])
        w[name] = np.concatenate([heads[:, 0::2], heads[:, 1::2]], axis=1).reshape(w[name].shape)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("layout")
    assert main(["vectors", str(place / "suite"), "--small"]) == 0
    return place


def program(rows="mistral", turned="mistral", said="mistral", change=()) -> str:
    """The program of the page, changed."""
    (source,) = (b for b in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) if "suite/" in b)
    changes = [*zip(TURNS["mistral"], TURNS[turned], strict=True), ('layout="mistral"', f'layout="{said}"'), *change]
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return source.replace("\nrec = Recorder", f"{ROWS if rows == 'hf' else ''}\nrec = Recorder")


def run(place, monkeypatch, *given, **changed):
    """Its trace, checked."""
    monkeypatch.chdir(place)
    exec(compile(program(*given, **changed), "docs/record.md", "exec"), {})  # noqa: S102
    return check_trace("run.safetensors", "suite/models/deep")


def names(report):
    return {(f.mistake.id if f.mistake else "unknown", f.stage) for f in report.findings}


@pytest.mark.parametrize("rows, turned, said", list(product(LAYOUTS, repeat=3)))
def test_the_rows_are_seen_whatever_the_trace_says(place, monkeypatch, rows, turned, said):
    """Right RoPE or wrong, right word or wrong: a right program agrees, a wrong RoPE is named, a wrong word is told."""
    report = run(place, monkeypatch, rows, turned, said)
    assert names(report) == (set() if rows == turned else {("rope-pairing", "layers.0.q_rope")})
    assert report.agrees == (rows == turned) and report.trace.layout == rows
    notes = [note for note in report.notes if "layout=" in note]
    told = f"q and k have the rows of `{rows}`, but the trace says `{said}`: judged as `{rows}`; say layout='{rows}'"
    assert [note.startswith(told) for note in notes] == ([] if rows == said else [True])
    about = report.as_json()
    assert (about["layout"], about["layout_said"], about["notes"]) == (rows, said, report.notes)


@pytest.mark.parametrize("rows, turned", list(product(LAYOUTS, repeat=2)))
@pytest.mark.parametrize("kept", ["_rope", "q_rope", "[qk]", "k"])
def test_some_of_these_stages_are_enough(place, monkeypatch, rows, turned, kept):
    run(place, monkeypatch, rows, turned, *(layout for layout in LAYOUTS if layout != rows))
    stages = load_file("run.safetensors")
    few = {n: x for n, x in stages.items() if n in ("tokens", "logits") or re.search(rf"\.[qk]?{kept}$", n)}
    save_file(few, "few.safetensors", {"format": "minimistral-trace-1", "dtype": "float32", "layout": "mistral"})
    report = check_trace("few.safetensors", "suite/models/deep")
    assert report.agrees == (rows == turned) and {id for id, _ in names(report)} == (
        set() if rows == turned else {"rope-pairing"}
    )
    assert report.trace.layout == rows and len(report.notes) == (rows != "mistral")


def test_a_right_program_that_says_the_wrong_layout_has_exit_status_0_and_is_told(place, monkeypatch, capsys):
    run(place, monkeypatch, "hf", "hf", "mistral")
    capsys.readouterr()
    assert main(["check", "run.safetensors", "--model", "suite/models/deep", "--html", "run.html"]) == 0
    out = capsys.readouterr().out
    assert "agrees: all 93 recorded stages are right" in out
    said = "ote: q and k have the rows of `hf`, but the trace says `mistral`: judged as `hf`"
    assert f"\nn{said}" in out and f"N{said}" in Path("run.html").read_text()


def test_other_faults_leave_the_word_of_the_trace_alone(place, monkeypatch):
    """Keys alone in the other order, and queries of no order at all: nothing of it is what another layout would be."""
    for change in (
        [('k = rec(at + "k", (x @ wk.T).reshape(T, n_kv_heads, d))',
          'k = rec(at + "k", TURNED((x @ wk.T).reshape(T, n_kv_heads, d)))'),
         ("\n\ndef rotate", "\n\nTURNED = lambda x: np.concatenate([x[..., 0::2], x[..., 1::2]], axis=-1)\n\n\ndef rotate")],
        [("x @ wq.T", "x @ wq[::-1].T"), ("x @ wk.T", "x @ wk[::-1].T")],
    ):  # fmt: skip
        report = run(place, monkeypatch, change=change)
        assert not report.agrees and report.trace.layout == "mistral" and report.notes == []
        assert report.first_difference in ("layers.0.q", "layers.0.k")


def test_the_page_says_which_lines_turn_the_halves():
    assert "\n".join(f"    {line}" for line in TURNS["hf"]) in PAGE
    assert "`rope-pairing` is named, at `layers.0.q_rope`" in PAGE


def test_a_mistake_in_the_program_of_the_page_is_named(place, monkeypatch):
    report = run(place, monkeypatch, change=[("head // (n_heads // n_kv_heads)", "head % n_kv_heads")])
    assert names(report) == {("gqa-tile", "layers.0.attention")}
    assert len(report.findings) == 1 and len(report.stages) == 93


def test_a_test_of_ones_own_is_told_too(place, monkeypatch):
    run(place, monkeypatch, "hf", "mistral", "mistral")
    with pytest.raises(AssertionError, match=r"rope-pairing at layers\.0\.q_rope(.|\n)*say layout='hf'"):
        assert_agrees("run.safetensors", "suite/models/deep")
