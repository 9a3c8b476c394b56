"""What a person sees of a check: the table, the picture, the page, the JSON; and what is refused, in one line."""

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minimistral.check import assert_agrees, check_trace
from minimistral.check.describe import describe, describe_added
from minimistral.check.mistakes import MISTAKES
from minimistral.check.reading import ALSO, STAGES, WHOLE, line_of_stage, maker_of, reading
from minimistral.check.shown import ROWS, grouped, stages_shown
from minimistral.check.stages import Setting, compute, inputs_of
from minimistral.check.unknown import advice
from minimistral.cli import main
from minimistral.mistral import Mistral
from minimistral.trace import LAYER_STAGES, stage_names

DOCS = Path(__file__).parents[1] / "docs"
ABOUT = {"format": "minimistral-trace-1", "dtype": "float32", "layout": "mistral"}
T, W = 53, 5  # of 2-deep, which has 6 layers


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the suite, right results, and some of each wrong implementation."""
    place = tmp_path_factory.mktemp("made")
    assert main(["vectors", str(place / "suite"), "--small"]) == 0
    for folder, id in (("right", "none"), ("window", "window-plus-one"), ("shifted", "rope-position-offset")):
        assert main(["vectors", str(place / folder), "--faulty", id]) == 0
    return place


@pytest.fixture
def run(made, monkeypatch, capsys):
    """A command line in that folder: (exit status, standard output, standard error)."""
    monkeypatch.chdir(made)

    def run(*arguments):
        capsys.readouterr()
        status = main(list(map(str, arguments)))
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def changed(made, tmp_path):
    """The right trace of 2-deep, with something changed: a path."""

    def write(change=lambda stages, about: None, case="2-deep"):
        stages, about, path = load_file(made / "right" / f"{case}.safetensors"), dict(ABOUT), tmp_path / "t.safetensors"
        change(stages, about)
        save_file({name: np.ascontiguousarray(x) for name, x in stages.items()}, path, about)
        return path

    return write


# The tutorial.


def blocks(page: str):
    """Of a page: (command, the lines shown after it), and (None, Python)."""
    for python, indented in re.findall(r"^```python\n(.*?)^```$|^((?:    [^\n]*\n)+)", page, re.MULTILINE | re.DOTALL):
        if python:
            yield None, python
        for part in re.split(r"^(?=    minimistral )", indented, flags=re.MULTILINE):
            command, *shown = map(str.strip, part.strip().splitlines() or [""])
            if command.startswith("minimistral "):
                yield command, shown


def alike(a: str, b: str) -> bool:
    """The same words, and about the same numbers: a BLAS may round otherwise."""
    number = r"(?<![\w.])\d+(?:\.\d+)?(?:e[-+]\d+)?(?![\w.])"
    if re.sub(number + r"|\s+", " ", a).split() != re.sub(number + r"|\s+", " ", b).split():
        return False
    return np.allclose(*(list(map(float, re.findall(number, x))) for x in (a, b)), rtol=0.3, atol=0.03)


def test_alike_is_not_too_kind():
    assert alike("q  0.23 1.4e+06 <- first", "q 0.25   1.5e+06 <- first")
    assert not alike("q 0.23 1.4e+06 <- first", "q 0.23 1.4e+05 <- first")
    assert not alike("layers.0.q 0.23", "layers.1.q 0.23") and not alike("from position 5 on", "from position 8 on")


def test_the_tutorial_prints_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    commands = list(blocks((DOCS / "find_the_bug.md").read_text()))
    assert sum(command is not None for command, _ in commands) >= 10
    for command, shown in commands:
        if command is None:
            exec(shown, {})  # noqa: S102 (the page's own lines)
            continue
        capsys.readouterr()
        status = main(shlex.split(command)[1:])
        printed = capsys.readouterr().out.splitlines()
        assert status == (0 if "agrees" in " ".join(shown) or "check" not in command else 1), command
        for line in shown:
            assert any(alike(line, p) for p in printed), f"{command}: {line!r} not in\n" + "\n".join(printed)


def test_the_report_on_the_page_is_what_the_command_prints(run):
    page = (DOCS / "check.md").read_text()
    command, *shown = re.search(r"^    \$ (minimistral check .*\n(?:(?:    .*)?\n)+)", page, re.MULTILINE)[
        1
    ].splitlines()
    assert run("vectors", "results", "--faulty", "gqa-tile")[0] == 0
    status, out, _ = run(*shlex.split(command)[1:])
    assert status == 1 and sum(map(bool, shown)) >= 15
    for line in filter(None, shown):
        assert any(alike(line, printed) for printed in out.splitlines()), line


def test_check_imports_neither_numba_nor_torch_nor_matplotlib(made):
    code = (
        "import sys; from minimistral.cli import main; status = main(sys.argv[1:])\n"
        "assert not {'numba', 'torch', 'matplotlib', 'fastpath'} & set(sys.modules); sys.exit(status)"
    )
    command = ["check", "window/2-deep.safetensors", "--model", "suite/models/deep", "--json", "-"]
    done = subprocess.run([sys.executable, "-c", code, *command], cwd=made, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"") and json.loads(done.stdout)["verdict"] == "differs"


# The terminal.


def test_a_harmless_mistake_is_called_harmless(run):
    status, out, _ = run("check", "shifted/2-deep.safetensors", "--model", "suite/models/deep")
    assert status == 1 and re.search(r"^rope-position-offset at layers.0.[qk]_rope: .*harmless", out, re.MULTILINE)


def test_what_the_trace_says_of_itself_cannot_move_the_cursor(run, changed):
    path = changed(lambda stages, about: about.update(implementation="\x1b[2Jmine <b>\n"))
    status, out, _ = run("check", path, "--model", "suite/models/deep", "--html", path.with_suffix(".html"))
    assert status == 0 and "\x1b" not in out and r"of \x1b[2Jmine <b>\n, against" in out
    assert "mine &lt;b&gt;" in path.with_suffix(".html").read_text()


def of_layers(n_layers: int, wrong) -> SimpleNamespace:
    stages = [f"layers.{i}.{s}" for i in range(n_layers) for s in LAYER_STAGES if s != "scores"]
    names = ["embedding", *stages, "norm", "logits"]
    return SimpleNamespace(stages=dict.fromkeys(names), wrong=[n for n in names if wrong(n)])


@pytest.mark.parametrize("n_layers", [1, 2, 32])
@pytest.mark.parametrize("wrong", ["", "attention", "attention|up", ".*"])
def test_the_table_leaves_out_only_right_stages_and_counts_them(n_layers, wrong):
    report = of_layers(n_layers, lambda name: re.fullmatch(wrong, name.rsplit(".", 1)[-1]))
    shown = stages_shown(report)
    names = [s for s in shown if isinstance(s, str)]
    assert len(names) + sum(s for s in shown if isinstance(s, int)) == len(report.stages)
    assert set(report.wrong[:ROWS]) <= set(names) and len(names) <= ROWS + 2
    assert names[-1] == "logits" and names == [n for n in report.stages if n in names]
    assert 1 not in shown


# The JSON report.


def test_the_json_report_is_what_its_schema_says(made, changed):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed (it comes with Jupyter)")
    schema = json.loads((DOCS / "check.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema)
    deep = made / "suite" / "models" / "deep"
    files = [made / folder / "2-deep.safetensors" for folder in ("right", "window", "shifted")]
    files.append(changed(lambda stages, about: stages["layers.2.gate"].__setitem__((7, 3), np.nan)))
    reports = [json.loads(json.dumps(check_trace(file, deep).as_json(), allow_nan=False)) for file in files]
    for report in reports:
        valid.validate(report)
    assert [r["verdict"] for r in reports] == ["agrees", "differs", "differs", "differs"]
    for key in ("verdict", "stages", "notes"):
        assert not valid.is_valid({k: v for k, v in reports[0].items() if k != key})
    assert not valid.is_valid(reports[0] | {"first_difference": "logits"})
    assert not valid.is_valid(reports[1] | {"diagnosis": []})


def test_every_field_of_the_schema_is_in_the_page():
    schema, page = json.loads((DOCS / "check.schema.json").read_text()), (DOCS / "check.md").read_text()
    for name in schema["properties"]:
        assert f"`{name}`" in page
    for part in ("finding", "stage"):
        for name in schema["$defs"][part]["properties"]:
            assert f"`.{name}`" in page


def test_numbers_that_are_compared_stand_for_what_they_say(made, changed):
    def drop(stages, about):
        for name in list(stages):
            if re.fullmatch(r"layers\.\d\.(?!attention_residual|output).*", name):
                del stages[name]

    report = check_trace(changed(drop), made / "suite/models/deep").as_json()
    came = {s["name"]: s["from"] for s in report["stages"]}
    assert came["embedding"] == ["tokens"] and came["layers.0.attention_residual"] == ["embedding"]
    assert set(came["layers.3.output"]) == {"layers.3.attention_residual", "layers.2.output"} and came["logits"] == [
        "norm"
    ]
    report = check_trace(made / "window" / "2-deep.safetensors", made / "suite/models/deep")
    assert report.first_difference == "layers.0.attention" and report.first_wrong_position("layers.0.attention") == W
    assert report.wrong == [f"layers.{i}.attention" for i in range(6)]
    logits = report.as_json()["stages"][-1]
    assert logits["ok"] and logits["local_relative_l2"] < 1e-6 and 0.5 < logits["relative_l2"] < 2


def test_all_reading_is_there():
    for see in {m.see for m in MISTAKES} | {*STAGES.values(), *sum(ALSO.values(), ()), WHOLE}:
        read = reading(see)
        source = (Path(__file__).parents[1] / read.file).read_text().splitlines()
        assert re.search(rf"(def|class) {read.function.rsplit('.', 1)[-1]}\b", source[read.line - 1]), see
        assert read.lesson is None or (Path(__file__).parents[1] / "notebooks" / f"{read.lesson}.ipynb").is_file()
    assert all(maker_of(f"layers.3.{s}") for s in LAYER_STAGES if s != "scores")
    for stage in ("embedding", "q", "k", "v", "attention_output", "attention_residual", "gate", "output", "logits"):
        source = (Path(__file__).parents[1] / maker_of(stage).split()[0]).read_text().splitlines()
        assert f'{stage}"' in source[line_of_stage(stage) - 1]


# Unknown faults.


def unknown_in_every_layer(made, path):
    """Half of what attention says is added: a run of its own, from the tokens."""
    model = Mistral.from_pretrained(made / "suite/models/deep", arithmetic="float64")
    tokens, found = load_file(made / "right" / "2-deep.safetensors")["tokens"], {}
    for name in (n for n in stage_names(model.config) if not n.endswith(".scores")):
        given = tuple(found[before] for before in inputs_of(name, model.config.n_layers))
        found[name] = compute(name, given, tokens, model.weights, Setting(model.config))
        if name.endswith("attention_residual"):
            found[name] = given[0] + given[2] / 2
    stages = {name: np.ascontiguousarray(x, np.float32) for name, x in found.items()}
    save_file({"tokens": tokens} | stages, path, ABOUT)
    return path


def test_an_unknown_fault_of_all_layers_is_told_once(made, run, tmp_path, monkeypatch):
    monkeypatch.setattr("minimistral.cli.check.PATIENCE", float("inf"))  # else a line tells that it takes long
    path = unknown_in_every_layer(made, tmp_path / "half.safetensors")
    status, out, error = run("check", path, "--model", "suite/models/deep", "--html", tmp_path / "half.html",
                             "--json", tmp_path / "half.json")  # fmt: skip
    assert (status, error) == (1, "") and out.count("unknown at") == 1
    said = "unknown at layers.0.attention_residual (and 5 other layers alike): What you add to the stream is 0.5 times what it should be"
    assert said in out and said in (tmp_path / "half.html").read_text()
    found = json.loads((tmp_path / "half.json").read_text())["diagnosis"]
    assert [f["stage"] for f in found] == [f"layers.{i}.attention_residual" for i in range(6)]
    source = (Path(__file__).parents[1] / found[0]["see"].split()[0]).read_text().splitlines()
    assert ".attention_residual" in source[found[0]["line"] - 1] and not found[0]["anywhere"]
    with pytest.raises(AssertionError, match=r"and 5 other layers alike") as caught:
        assert_agrees(path, made / "suite/models/deep")
    assert str(caught.value).count("\nunknown at") == 1


def test_logits_alone_blame_no_line_and_say_what_to_record(run, changed, tmp_path, monkeypatch):
    monkeypatch.setattr("minimistral.cli.check.PATIENCE", 0)

    def logits_alone(stages, about):
        for name in set(stages) - {"tokens", "logits"}:
            del stages[name]
        stages["logits"][7:] *= 1.5

    path = changed(logits_alone, "1-gqa-3")  # one layer: fewer places to try
    status, out, error = run("check", path, "--model", "suite/models/gqa-3", "--json", tmp_path / "some.json")
    assert status == 1 and f"None of the {len(MISTAKES)} known mistakes" in out and "right line" not in out
    assert "With logits alone the place cannot be said." in out
    assert re.search(
        r"^ +next +record layers.0.output first, and then all stages of the first layer", out, re.MULTILINE
    )
    assert re.fullmatch("note: no known mistake alone explains it; .* may take minutes\n", error)
    (found,) = json.loads((tmp_path / "some.json").read_text())["diagnosis"]
    assert found["anywhere"] and found["see"] == "minimistral/transformer.py transformer"


def test_a_wrong_output_alone_asks_for_the_stages_of_its_layer(made, changed):
    def only_outputs(stages, about):
        for name in set(stages) - {"tokens", "logits", *(f"layers.{i}.output" for i in range(6))}:
            del stages[name]
        stages["layers.2.output"][:, 3] += 1

    (found, *_) = check_trace(changed(only_outputs), made / "suite/models/deep").as_json()["diagnosis"]
    assert found["stage"] == "layers.2.output" and found["anywhere"]
    assert found["next"] == "record all stages of layer 2 too: the fault may lie there (docs/record.md)"
    made_from_tokens = SimpleNamespace(stretch=lambda stage: [f"layers.{i}.output" for i in range(6)] + ["logits"])
    assert advice(made_from_tokens, "logits", []).startswith("record `layers.{i}.output` of every layer first")


def test_attention_with_right_inputs_sends_to_scores_mask_and_softmax(made, run, changed):
    path = changed(lambda s, a: s["layers.1.attention"].__setitem__((slice(9, None), 2), 0))
    status, out, _ = run("check", path, "--model", "suite/models/deep")
    assert status == 1 and "q_rope, k_rope and v are right: so look at the scores, the mask, softmax" in out
    lines = re.search(r"unknown at layers.1.attention: .*\n(?:    .*\n)+", out)[0]
    for name in (
        "attention.py:\\d+ attention_scores",
        "attention.py:\\d+ attention_values",
        "window.py:\\d+ window_mask",
    ):
        assert re.search(name, lines)
    assert "lessons 05_attention, 07_sliding_window" in lines


@pytest.mark.parametrize("weight", [False, True])
def test_a_norm_too_many_is_told_by_what_it_does(weight):
    """Of what is added alone, and of the whole stream."""
    h, a = (np.random.default_rng(seed).standard_normal((29, 60)) for seed in (1, 2))
    w = np.random.default_rng(3).uniform(0.4, 1.6, 60) if weight else np.ones(60)
    normed = lambda x: w * x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-5)
    budget = 1e-6 * np.linalg.norm(h + a, axis=-1)
    said = describe_added(describe(h + normed(a), h + a, budget), h + normed(a), h + a, h, budget)
    begins = (
        "What you add to the stream is multiplied by a number for each row and one for each channel: a norm too many"
    )
    assert said[0].startswith(begins if weight else "Of what you add to the stream, each row is multiplied by a number")
    assert "norm too many" in said[0].lower() and said[1] == "All 29 positions are wrong."
    whole = describe(normed(h + a), h + a, budget)
    begins = "It is multiplied by a number for each row and one for each channel: a norm too many, with its weight?"
    assert whole[0] == begins if weight else whole[0].startswith("Each row is multiplied by a number of its own")
    spoiled = h + a + 0.1 * np.random.default_rng(4).standard_normal(a.shape)
    assert "add" not in " ".join(describe_added(describe(spoiled, h + a, budget), spoiled, h + a, h, budget))


def test_what_is_alike_is_told_once_and_what_is_not_is_not():
    def found(stage, sentence, id="unknown"):
        return {"id": id, "stage": stage, "sentence": sentence}

    a = found("layers.0.q", "All 9 positions are wrong. The error is 0.1 to 1 of a row's length where it is wrong.")
    b = found("layers.1.q", "All 9 positions are wrong. The error is 0.2 to 2 of a row's length where it is wrong.")
    head = found(
        "layers.2.q", "All 9 positions are wrong. Only head 2 of 6 is wrong. The error is 0.2 of a row's length."
    )
    other, known = found("layers.0.k", a["sentence"]), found("layers.3.q", "you", "gqa-tile")
    assert grouped([a, other, b, head, known, known]) == [(a, 1), (other, 0), (head, 0), (known, 0), (known, 0)]


@pytest.mark.parametrize("picture", ["--figure", "--html"])
def test_without_matplotlib_the_diagnosis_is_there(run, monkeypatch, tmp_path, picture):
    find = importlib.util.find_spec
    gone = lambda name, *rest: None if name == "matplotlib" else find(name, *rest)
    for module in ("minimistral.cli.check", "minimistral.check.page"):
        monkeypatch.setattr(f"{module}.find_spec", gone)
    file = tmp_path / {"--figure": "w.png", "--html": "w.html"}[picture]
    status, out, error = run("check", "window/2-deep.safetensors", "--model", "suite/models/deep", picture, file)
    assert "window-plus-one at layers.0.attention" in out and file.exists() == (picture == "--html")
    if picture == "--html":
        assert (status, error) == (1, "") and "matplotlib is not installed" in file.read_text()
    else:
        assert status == 2 and error.count("\n") == 1
        assert "is not drawn: matplotlib is not installed; pip install matplotlib" in error


def test_without_a_model_another_model_is_no_riddle(run):
    status, out, error = run("check", "right/2-deep.safetensors")
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert "is it a trace of another model? No model was given, so the embedded storyteller was taken" in error


# The picture and the page.


def test_an_error_of_the_window_begins_at_the_line_marked_W(made):
    from minimistral.figures.check import errors, errors_narrow

    report = check_trace(made / "window" / "2-deep.safetensors", made / "suite/models/deep")
    picture = errors(report)
    positions = picture.axes[1]
    line = next(line for line in positions.lines if line.get_label() == "layers.0.attention")
    assert (line.get_ydata()[:W] < 1).all() and (line.get_ydata()[W:] > 1000).all()
    assert [t.get_text().strip() for t in positions.texts if "W" in t.get_text()][:2] == [f"W = {W}", "5W"]
    upright = [line.get_xdata()[0] for line in positions.lines if len(set(line.get_xdata())) == 1]
    assert upright == list(range(W, T, W))
    assert (
        "first layers.0.attention, up to 1" in picture.alt
        and f"begins at position {W}, the window's width" in picture.alt
    )
    crosses = [c for c in picture.axes[0].collections if len(c.get_offsets()) == 1]
    assert sorted(tuple(c.get_offsets()[0]) for c in crosses) == [(7, i) for i in range(6)]
    narrow = errors_narrow(report)
    assert narrow.alt == picture.alt and narrow.get_figwidth() < 6


@pytest.mark.parametrize("change", ["nothing", "no number", "logits alone", "one token"])
def test_every_report_can_be_drawn_and_put_on_a_page(made, changed, run, change):
    def change_it(stages, about):
        if change == "no number":
            stages["layers.1.up"][9:] = np.inf
        if change == "logits alone":
            for name in set(stages) - {"tokens", "logits"}:
                del stages[name]

    case, model = ("1-one-token", "gqa-2") if change == "one token" else ("2-deep", "deep")
    if change == "one token":
        model = Path(json.loads((made / "suite/cases/1-one-token.json").read_text())["model"]).name
    path = changed(change_it, case)
    page, picture = path.with_suffix(".html"), path.with_suffix(".png")
    status, out, error = run("check", path, "--model", f"suite/models/{model}", "--figure", picture, "--html", page)
    assert (status, error) == (int(change == "no number"), "") and picture.stat().st_size > 5000
    text = page.read_text()
    assert "<script" not in text and not re.search(r"(src|href)(set)?=\"(?!data:)", text) and "url(" not in text
    assert re.search(r'<img alt="\d+ recorded stages', text) and "prefers-color-scheme: dark" in text
    for tag in ("html", "body", "table", "tbody", "section", "picture", "dl", "h1", "h2"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag
    if change == "no number":
        assert "unknown at layers.1.up: infinity at position 9" in out and "first wrong, from 9" in text


# What is refused, and what is not.


def renamed(old, new):
    return lambda stages, about: stages.__setitem__(new, stages.pop(old))


def put(name, change):
    return lambda stages, about: stages.__setitem__(name, change(stages[name]))


REFUSED = {
    "no format": (lambda s, a: a.pop("format"), "format None, expected 'minimistral-trace-1'"),
    "a dtype that is none": (lambda s, a: a.update(dtype="int8"), 'dtype: "int8", expected float64'),
    "no dtype": (lambda s, a: a.pop("dtype"), "dtype: null, expected float64"),
    "a layout that is none": (lambda s, a: a.update(layout="HF"), 'layout: "HF", expected mistral or hf'),
    "no tokens": (lambda s, a: s.pop("tokens"), "no tensor 'tokens'"),
    "T of 0": (put("tokens", lambda x: x[:0]), "tokens: none; a trace has one at least"),
    "a batch of tokens": (put("tokens", lambda x: x[None]), r"tokens: I64 (1, 53), expected int64 (T,), one sequence"),
    "tokens of floats": (put("tokens", lambda x: x.astype(np.float32)), "tokens: F32 (53,), expected int64 (T,)"),
    "a token too large": (put("tokens", lambda x: np.where(np.arange(53) == 3, 41, x)), "tokens[3]: 41, expected 0 to 40; is it a trace of another model?"),
    "a token below 0": (put("tokens", lambda x: np.where(np.arange(53) == 3, -1, x)), "tokens[3]: -1, expected 0 to 40"),
    "no logits": (lambda s, a: s.pop("logits"), "no tensor 'logits'"),
    "another name": (renamed("layers.0.q_rope", "layers.0.q_rot"), "layers.0.q_rot: not a stage of this model; is it q_rope? docs/trace.md lists all"),
    "no name at all": (renamed("layers.0.q_rope", "layers.0.h"), "layers.0.h: not a stage of this model; a layer has attention_norm, q, k, v,"),
    "a layer too many": (renamed("layers.5.q", "layers.6.q"), "layers.6.q: not a stage of this model of 6 layers"),
    "heads before positions": (put("layers.0.q", lambda x: x.swapaxes(0, 1)), "layers.0.q: shape (6, 53, 4), expected (53, 6, 4); transposed?"),
    "channels before positions": (put("layers.0.up", lambda x: x.T), "layers.0.up: shape (28, 53), expected (53, 28); transposed?"),
    "heads and channels as one": (put("layers.0.k", lambda x: x.reshape(53, 8)), "layers.0.k: shape (53, 8), expected (53, 2, 4); heads and channels in one axis?"),
    "a batch": (put("layers.0.q", lambda x: x[None]), "one sequence a file, without an axis for the batch"),
    "another width": (put("norm", lambda x: x[:, :16]), "norm: shape (53, 16), expected (53, 20); is it a trace of another model?"),
    "fewer rows": (put("norm", lambda x: x[:50]), "norm: shape (50, 20), expected (53, 20)"),
    "logits of the last position": (put("logits", lambda x: x[-1:]), "shape (1, 41), expected (53, 41); of the last position alone? `logits_positions`"),
    "one row of logits": (put("logits", lambda x: x[-1]), "shape (41,), expected (53, 41); of the last position alone?"),
    "positions out of range": (lambda s, a: s.update(logits=s["logits"][:1], logits_positions=np.array([53])), "logits_positions: expected whole numbers from 0 to 52"),
    "positions out of order": (lambda s, a: s.update(logits=s["logits"][:2], logits_positions=np.array([5, 4])), "each larger than the last"),
    "positions of floats": (lambda s, a: s.update(logits=s["logits"][:1], logits_positions=np.array([5.0])), "logits_positions: expected whole numbers"),
    "whole numbers": (put("norm", lambda x: x.astype(np.int32)), "norm: stored as I32, expected F64, F32, BF16, F16"),
    "float8": (put("norm", lambda x: x.astype(ml_dtypes.float8_e4m3fn)), "norm: stored as F8_E4M3, expected F64"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_one_line_and_exit_status_2(name, run, changed):
    change, said = REFUSED[name]
    status, out, error = run("check", changed(change), "--model", "suite/models/deep")
    assert (status, out, error.count("\n")) == (2, "", 1) and said in error, error


def test_files_that_are_none_are_refused(run, changed, tmp_path):
    whole = changed()
    cut = tmp_path / "cut.safetensors"
    for size in (0, 7, 300, whole.stat().st_size - 1):
        cut.write_bytes(whole.read_bytes()[:size])
        status, out, error = run("check", cut, "--model", "suite/models/deep")
        assert (status, out, error.count("\n")) == (2, "", 1) and "not a whole safetensors file" in error
    for path, said in ((tmp_path, "not a file"), (tmp_path / "none", "no such file")):
        status, _, error = run("check", path, "--model", "suite/models/deep")
        assert status == 2 and said in error and error.count("\n") == 1
    for options, said in (
        (["--dtype", "float8"], "dtype"),
        (["--figure", tmp_path / "a.png", "--json", tmp_path / "no" / "file"], "--json"),
        (["--figure", "a.jpg"], "--figure: a.jpg, expected a file that ends in .png, .svg, .pdf"),
        (["--html", tmp_path], "--html"),
        (["--json", tmp_path / "no" / "file"], "--json"),
        (["--model", "suite/models/window"], "is it a trace of another model?"),
        (["--model", tmp_path], str(tmp_path)),
    ):
        status, out, error = run("check", whole, "--model", "suite/models/deep", *options)
        assert (status, out, error.count("\n")) == (2, "", 1) and said in error, error


def to_halves(stages, about):
    """Hugging Face's order of channels."""
    about["layout"] = "hf"
    for name in stages:
        if re.search(r"\.[qk](_rope)?$", name):
            stages[name] = np.concatenate([stages[name][..., 0::2], stages[name][..., 1::2]], axis=-1)


def in_bfloat16(stages, about):
    stages |= {name: x.astype(ml_dtypes.bfloat16) for name, x in stages.items() if name != "tokens"}


ACCEPTED = {
    "Hugging Face's layout": to_halves,
    "the last position's logits": lambda s, a: s.update(logits=s["logits"][-1:], logits_positions=np.array([52])),
    "wider storage": lambda s, a: s.update({n: x.astype(np.float64) for n, x in s.items() if n != "tokens"}),
    "coarser storage": in_bfloat16,
    "small token ids": lambda s, a: s.update(tokens=s["tokens"].astype(np.uint16)),
    "only some stages": lambda s, a: [s.pop(n) for n in list(s) if re.search(r"\.(q|k|attention|up|output)$", n)],
    "scores": lambda s, a: s.update({"layers.0.scores": np.zeros((6, T, T), np.float32)}),
}


# A float32 run stored in bfloat16 rounds every input once more: one draw of that is not enough for 53 rows of 6 heads.
@pytest.mark.parametrize("name", ACCEPTED)
def test_right_traces_of_every_kind_agree(name, made, changed):
    report = check_trace(changed(ACCEPTED[name]), made / "suite/models/deep")
    assert report.agrees and report.findings == []
    assert report.trace.dtype == ("bfloat16" if name == "coarser storage" else "float32")
    assert ("is stored in bfloat16" in " ".join(report.notes)) == (name == "coarser storage")


def test_a_stage_in_a_coarser_type_is_told(made, changed):
    report = check_trace(changed(in_bfloat16), made / "suite/models/deep")
    assert report.trace.dtype == "bfloat16" and "embedding is stored in bfloat16" in report.notes[0]
    assert max(c.worst for c in report.stages.values()) < 2


def test_the_other_layout_is_seen_and_told_if_the_file_denies_it(made, changed):
    """tests/test_check_layout.py has all the ways."""
    report = check_trace(
        changed(lambda s, a: (to_halves(s, a), a.update(layout="mistral"))), made / "suite/models/deep"
    )
    assert report.agrees and report.trace.layout == "hf" and "say layout='hf'" in report.notes[0]
