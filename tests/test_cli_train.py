"""minimistral train: what it writes, how it is stopped and goes on, and one line for every mistake."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import typer
from safetensors.numpy import load_file

from minimistral.cli.backend import training_pieces
from minimistral.cli.program import run
from minimistral.cli.train import train
from minimistral.errors import BadInput
from minimistral.mistral import Mistral
from minimistral.stories import story
from minimistral.training import pieces
from minimistral.training.state import read_state

ROOT = Path(__file__).parents[1]
PROGRAM = typer.Typer(add_completion=False)
PROGRAM.command()(train)
OPTIONS = ("--preset", "tiny", "--backend", "numpy", "--batch-tokens", "600", "--steps", "12", "--save-every", "5")
STARTED = """
import sys, typer
from minimistral.cli.program import run
from minimistral.cli.train import train
program = typer.Typer(add_completion=False)
program.command()(train)
try:
    sys.exit(run(sys.argv[1:], program, "train"))
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.fixture
def command(capsys, monkeypatch):
    """Run `train` in this process: (status, standard output, standard error)."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))

    def call(*arguments):
        status = run([str(a) for a in arguments], PROGRAM, "train")
        return status, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """Eighty stories in one file."""
    path = tmp_path_factory.mktemp("text") / "tales.txt"
    path.write_text("\n".join(story(n) for n in range(80)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def made(text, tmp_path_factory):
    """A folder that twelve steps have made, and what they said."""
    folder = tmp_path_factory.mktemp("made") / "model"
    found = subprocess.run([sys.executable, "-c", STARTED, *OPTIONS, "--data", text, "--output", folder],
                           capture_output=True, text=True, timeout=100, check=False)  # fmt: skip
    return folder, found


def test_the_result_is_a_model_that_goes_on_with_a_text(made):
    folder, found = made
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("step 12: loss ") and found.stdout.endswith(f"the model is in {folder}\n")
    model = Mistral.from_pretrained(folder)
    assert model.config.window == 32 and model.config.tied_embeddings and model.config.context_len == 512
    assert len(list(model.generate(model.tokenizer.encode("The"), 5))) == 5
    weights = load_file(folder / "consolidated.safetensors")
    assert {w.dtype.name for w in weights.values()} == {"bfloat16"}
    state = read_state(folder)[0]
    np.testing.assert_allclose(weights["norm.weight"].astype(np.float32), state.parameters["norm.weight"], rtol=2**-8)


def test_training_json_tells_how_it_was_made_without_a_path(made, text):
    folder, _ = made
    about = json.loads((folder / "training.json").read_text())
    assert about["command"] == (
        "minimistral train --preset tiny --data tales.txt --steps 12 --seed 0 --backend numpy "
        "--batch-tokens 600 --output model"
    )
    assert about["sha256 of the data"] == sha256(text.read_bytes()).hexdigest()
    assert about["sha256 of the tokenizer"] == sha256((folder / "tokenizer.model").read_bytes()).hexdigest()
    assert (about["preset"], about["seed"], about["steps"], about["data"]) == ("tiny", 0, 12, "tales.txt")
    assert about["tokens"] == read_state(folder)[0].tokens > 12 * 400 and about["hours"] > 0
    assert {"machine", "versions", "threads"} <= set(about) and about["log"][-1]["step"] == 12
    for path in folder.iterdir():
        assert str(folder.parent).encode() not in path.read_bytes(), path.name


def test_metrics_and_the_curve_are_there(made):
    folder, _ = made
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 13))
    names = {"step", "tokens", "loss", "learning_rate", "gradient_norm", "tokens_per_s", "minutes"}
    assert set(lines[0]) == names and lines[-1]["loss"] < lines[0]["loss"]
    assert set(lines[-1]) == names | {"validation_loss", "validation_loss_per_character"}
    pytest.importorskip("matplotlib", reason="draws the curve")
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_a_note_says_so(command, text, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, out, err = command(*OPTIONS, "--steps", 1, "--data", text, "--output", tmp_path / "m")
    assert (status, err) == (0, "note: no loss.png: matplotlib is not installed\n") and out.startswith("step 1: ")


def test_a_finished_run_that_is_resumed_says_the_same(command, made, text):
    folder, found = made
    status, out, _ = command(*OPTIONS, "--data", text, "--output", folder, "--resume")
    assert (status, out) == (0, found.stdout)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_same_bits(command, made, text, tmp_path, how):
    folder = tmp_path / "model"
    options = (*OPTIONS, "--data", text, "--output", folder)
    process = subprocess.Popen([sys.executable, "-c", STARTED, *map(str, options)], stderr=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    metrics = folder / "metrics.jsonl"
    for _ in range(4000):
        if process.poll() is not None or (metrics.exists() and metrics.read_text().count("\n") >= 6):
            break
        time.sleep(0.005)
    process.send_signal(how)
    err = process.communicate(timeout=60)[1]
    if process.returncode == 0:
        pytest.skip("this machine was too quick")
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    if how == signal.SIGINT:
        assert err == f"stopped; the state saved last is in {folder}: the same command with --resume goes on\n"
    assert read_state(folder)[0].step in (5, 10)
    assert command(*options)[0] == 2  # only with --resume
    assert command(*options, "--resume")[0] == 0
    for name in ("consolidated.safetensors", "tokenizer.model", "params.json"):
        assert (folder / name).read_bytes() == (made[0] / name).read_bytes(), name
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert steps == list(range(1, 13)) and not list(folder.glob(".*"))


def test_a_run_killed_before_its_first_state_can_begin_again(command, made, text, tmp_path):
    """Then the folder has no more than a tokenizer, and half of something."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes((made[0] / "tokenizer.model").read_bytes())
    (folder / ".state.7.partial.safetensors").write_bytes(b"half")
    status, _, err = command(*OPTIONS, "--steps", 1, "--data", text, "--output", folder, "--resume")
    assert status == 0, err
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--steps", "13"), "steps: the run has 12, found 13; expected the same to go on"),
        (("--batch-tokens", "601"), "batch_tokens: the run has 600, found 601"),
        (("--seed", "1"), "seed: the run has 0, found 1"),
        (("--learning-rate", "0.1"), "learning_rate: the run has 0.005, found 0.1"),
        (("--backend", "cpu"), "backend: the run has minimistral.training.pieces, found fastpath.training"),
    ],
)
def test_resume_refuses_other_options_by_name(command, made, text, options, expected):
    if "cpu" in options:
        pytest.importorskip("fastpath.training", reason="Numba is not here")
    status, out, err = command(*OPTIONS, *options, "--data", text, "--output", made[0], "--resume")
    assert status == 2 and out == "" and err.count("\n") == 1 and expected in err, err


def test_resume_refuses_other_data_and_another_tokenizer(command, made, text, tmp_path):
    other = tmp_path / "tales.txt"
    other.write_text(text.read_text() + "!")
    before = (made[0] / "tokenizer.model").read_bytes()
    status, _, err = command(*OPTIONS, "--data", other, "--output", made[0], "--resume")
    assert status == 2 and "sha256 of the data: the run has " in err and err.count("\n") == 1
    assert command(*OPTIONS, "--data", other, "--steps", 1, "--output", tmp_path / "second")[0] == 0
    tokenizer = tmp_path / "second" / "tokenizer.model"
    if tokenizer.read_bytes() == before:  # one letter more need not change it
        tokenizer.write_bytes(before + b"\x0a\x00")
    status, _, err = command(*OPTIONS, "--data", text, "--tokenizer", tokenizer, "--output", made[0], "--resume")
    assert status == 2 and err.count("\n") == 1 and "tokenizer" in err, err
    assert (made[0] / "tokenizer.model").read_bytes() == before


def test_a_tokenizer_that_is_given_is_used(command, made, text, tmp_path):
    tokenizer = made[0] / "tokenizer.model"
    options = ("--steps", 1, "--tokenizer", tokenizer, "--dtype", "float32", "--output", tmp_path / "m")
    assert command(*OPTIONS, "--data", text, *options)[0] == 0
    assert (tmp_path / "m" / "tokenizer.model").read_bytes() == tokenizer.read_bytes()
    assert load_file(tmp_path / "m" / "consolidated.safetensors")["norm.weight"].dtype == np.float32
    assert "--tokenizer tokenizer.model" in json.loads((tmp_path / "m" / "training.json").read_text())["command"]


def test_training_goes_on_from_a_model_and_its_tokenizer(command, made, text, tmp_path):
    options = (
        "--data",
        text,
        "--from",
        made[0],
        *OPTIONS[:-2],
        "--learning-rate",
        "1e-9",
        "--output",
        tmp_path / "more",
    )
    status, _, err = command(*options)
    assert (status, err) == (0, "")
    before, after = (json.loads((f / "training.json").read_text())["log"][-1] for f in (made[0], tmp_path / "more"))
    assert abs(after["validation_loss"] - before["validation_loss"]) < 0.01  # the same weights, but for their rounding
    assert (tmp_path / "more" / "tokenizer.model").read_bytes() == (made[0] / "tokenizer.model").read_bytes()
    more = json.loads((tmp_path / "more" / "training.json").read_text())
    assert "--from model" in more["command"] and more["from"] == json.loads((made[0] / "training.json").read_text())


def test_auto_is_numpy_where_the_kernels_are_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastpath.training", None)
    assert training_pieces("auto") is training_pieces("numpy") is pieces
    with pytest.raises(BadInput, match="--backend: cpu: fastpath.training is not installed; try numpy"):
        training_pieces("cpu")


def bad_files(place: Path) -> None:
    (place / "empty.txt").write_bytes(b"")
    (place / "blank.txt").write_bytes(b" \n\n")
    (place / "binary.txt").write_bytes(b"one\ntwo\nthr\xffee\n")
    (place / "zero.txt").write_bytes(b"one\ntw\0o\n")
    (place / "short.txt").write_text("A little too little. " * 3)
    (place / "folder").mkdir()
    (place / "folder" / "picture.png").write_bytes(b"\x89PNG")
    (place / "mixed").mkdir()
    (place / "mixed" / "a.txt").write_text("some text")
    (place / "mixed" / "b.txt").write_bytes(b"\xfe")
    (place / "full").mkdir()
    (place / "full" / "params.json").write_text("{}")
    (place / "full" / ".note.partial").write_text("another program's, not to be touched")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--data empty.txt", "--data: empty.txt: empty, expected text in UTF-8"),
        ("--data blank.txt", "--data: blank.txt: only blanks, expected text in UTF-8"),
        ("--data binary.txt", "--data: binary.txt: line 3: not UTF-8: byte 0xff at 11, expected text"),
        ("--data zero.txt", "--data: zero.txt: line 2: a zero byte: a binary file, expected text in UTF-8"),
        ("--data gone.txt", "--data: gone.txt: cannot be read: No such file or directory"),
        ("--data folder", "--data: folder: no .txt file in this folder, expected one or more"),
        ("--data mixed", "--data: mixed/b.txt: line 1: not UTF-8: byte 0xfe at 0, expected text"),
        ("--data short.txt --tokenizer TOK", " tokens to train on, expected more than 512, the length of a document"),
        ("--data short.txt", "tokenizer: the data have pieces for a vocabulary of at most 28"),
        ("--tokenizer TOK --preset storyteller", "--tokenizer: TOK: a vocabulary of 512, expected 2048, that of --preset storyteller"),
        ("--tokenizer short.txt", "short.txt: not a sentencepiece model"),
        ("--tokenizer gone.model", "gone.model: cannot be read: No such file or directory"),
        ("--preset table1", "--preset table1: 7.24 billion parameters need 116 GB to be trained (16 bytes each), "),
        ("--preset huge", "--preset: 'huge', expected one of storyteller, tiny, shakespeare, table1"),
        ("--steps 0", "--steps: '0', expected a whole number from 1 to 2147483647"),
        ("--steps many", "--steps: 'many', expected a whole number from 1 to 2147483647"),
        ("--batch-tokens -3", "--batch-tokens: '-3', expected a whole number from 1 to 2147483647"),
        ("--accumulate 0", "--accumulate: '0', expected a whole number from 1 to 2147483647"),
        ("--save-every 0", "--save-every: '0', expected a whole number from 1 to 2147483647"),
        ("--validate-every x", "--validate-every: 'x', expected a whole number from 1 to 2147483647"),
        ("--seed -1", "--seed: '-1', expected a whole number from 0 to 2147483647"),
        ("--learning-rate nan", "--learning-rate: 'nan', expected a number from "),
        ("--dtype int8", "--dtype: 'int8', expected one of bfloat16, float16, float32"),
        ("--backend cuda", "--backend: 'cuda', expected one of auto, numpy, cpu"),
        ("--output full", "--output: full is not empty and holds no run, expected a new name or an empty folder"),
        ("--output full --resume", "--output: full is not empty and holds no run, expected a folder with state.safetensors"),
        ("--output short.txt", "--output: short.txt is not a folder"),
        ("--output gone --resume", "--resume: gone is not there, expected the folder of a run"),
        ("--output gone/deep", "--output: gone/deep: No such file or directory"),
        ("--recall 0.5 --data stories", "--recall: '0.5', expected a number from 1 to 1e+03"),
        ("--recall 8", "--recall: '8', but --data is neither stories nor questions, expected 1"),
        ("--from gone", "gone"),
        ("--from MADE --preset storyteller", "--from: MADE: a model of other sizes, expected those of the preset"),
        ("--output MADE", "--output: MADE holds a run; --resume goes on with it, or take a new name"),
    ],
)  # fmt: skip
def test_every_mistake_is_one_line_and_status_2(command, made, text, tmp_path, monkeypatch, line, expected):
    monkeypatch.chdir(tmp_path)
    bad_files(tmp_path)
    monkeypatch.setattr("minimistral.checkpoint.load.free_memory", lambda: 10**10)
    names = {"TOK": str(made[0] / "tokenizer.model"), "MADE": str(made[0])}
    words = [names.get(word, word) for word in line.split()]
    for name, path in names.items():
        expected = expected.replace(name, path)
    words += [] if "--output" in words else ["--output", "new"]
    words += [] if "--data" in words else ["--data", text]
    words += [] if "--preset" in words else ["--preset", "tiny"]
    status, out, err = command("--backend", "numpy", "--steps", "1", *words)
    assert status == 2 and out == "" and err.count("\n") == 1 and err.startswith("error: ") and expected in err, err
    assert {path.name for path in (tmp_path / "full").iterdir()} == {"params.json", ".note.partial"}
