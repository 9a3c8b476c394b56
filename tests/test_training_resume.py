"""A run that was killed, at any moment, ends in the same bits as one that was not."""

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.training import pieces
from minimistral.training.documents import Documents, counted
from minimistral.training.initial import initial_parameters
from minimistral.training.loop import Run, Settings, identity, train
from minimistral.training.result import clean, write_model
from minimistral.training.state import NAME, read_state

CONFIG = Config(dim=12, n_layers=2, head_dim=4, hidden_dim=20, n_heads=6, n_kv_heads=2, vocab_size=29, window=5,
                context_len=40, tied_embeddings=True)  # fmt: skip
SETTINGS = Settings(steps=90, batch_tokens=90, accumulate=2, learning_rate=5e-3, warm_up=20, save_every=3,
                    validate_every=7, seed=3)  # fmt: skip
KILLS = 20
LOADED = (
    "pytest",
    "minimistral.training.loop",
    "minimistral.training.result",
    "minimistral.bench.machine",
    "safetensors.numpy",
)  # before the processes are forked: loading them 20 times would take longer than the rest


def sentence(n: int):
    """Document n: what comes next depends on the id before, and lengths are mixed."""
    rng = np.random.default_rng(n)
    ids = [1]
    for _ in range(int(rng.integers(5, 35))):
        ids.append(3 + (ids[-1] * 7 + int(rng.integers(0, 3))) % 26)
    return counted([*ids, 2])


DOCUMENTS = Documents("sentences", sentence, [sentence(10**6 + n) for n in range(5)], 77, {"sha256 of the data": "a"})


def whole_run(folder: str, save_every: int = 3) -> None:
    """What `minimistral train --resume` does after its options are read."""
    place = Path(folder)
    clean(place)

    def saved(state):
        write_model(place, CONFIG, state, "float32", {})

    settings = replace(SETTINGS, save_every=save_every)
    saved(train(CONFIG, initial_parameters(CONFIG, 3), DOCUMENTS, settings, pieces, place, None, saved))


@pytest.fixture(scope="module")
def not_killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    whole_run(str(folder))
    return folder


def test_twenty_kills_at_random_moments_change_no_bit(tmp_path, not_killed):
    seed = random.randrange(2**32)
    rng = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    killed, reached, runs = 0, set(), 0
    while killed < KILLS:  # a run that comes to its end before its time is killed no more: then another begins
        folder = tmp_path / f"run {runs}"
        folder.mkdir(exist_ok=True)
        process = context.Process(target=whole_run, args=(str(folder),))
        process.start()
        first = read_state(folder)[0].step if (folder / NAME).exists() else 0
        wait_for_step(folder / "metrics.jsonl", first + rng.randrange(9), process)
        process.join(rng.uniform(0, 0.01))
        if process.exitcode is None:
            process.kill()
            process.join()
            killed += 1
            assert read_state(folder)[0].step >= first, f"seed {seed}"
            reached.add(read_state(folder)[0].step)
        else:
            assert process.exitcode == 0, f"seed {seed}"
            assert_same(folder, not_killed, seed)
            runs += 1
    whole_run(str(folder))
    assert_same(folder, not_killed, seed)
    assert len(reached) >= KILLS // 3, f"seed {seed}: killed at few places, {sorted(reached)}"


def killed_while_writing(folder: str, what: str) -> None:
    """A run that is killed when half of its third state, or of its third model, is written."""
    from minimistral.training import result

    calls, write_bytes, write_checkpoint = [], Path.write_bytes, result.write_checkpoint

    def third() -> bool:
        calls.append(1)
        return len(calls) == 3

    def half_a_state(path, data):
        if "state" in path.name and third():
            write_bytes(path, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write_bytes(path, data)

    def half_a_model(path, *arguments):
        write_checkpoint(path, *arguments)
        if third():
            os.truncate(path / "consolidated.safetensors", 100)
            os.kill(os.getpid(), signal.SIGKILL)

    if what == "state":
        Path.write_bytes = half_a_state
    else:
        result.write_checkpoint = half_a_model
    whole_run(folder)


@pytest.mark.parametrize(("what", "saved"), [("state", 3), ("model", 9)])
def test_a_kill_in_the_middle_of_a_write_leaves_the_state_before(tmp_path, not_killed, what, saved):
    process = multiprocessing.get_context("forkserver").Process(target=killed_while_writing, args=(str(tmp_path), what))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and list(tmp_path.glob(".*"))  # half of something is there
    assert read_state(tmp_path)[0].step == saved
    whole_run(str(tmp_path))
    assert_same(tmp_path, not_killed, 0)


def wait_for_step(metrics: Path, step: int, process) -> None:
    """Until the run has come so far, or to its end: by its own count, as a busy machine may take its time."""
    end = time.monotonic() + 60
    while process.exitcode is None and time.monotonic() < end:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= step:
            return
        time.sleep(0.001)


def assert_same(folder: Path, other: Path, seed: int) -> None:
    """The same state to the bit, the same model file, and metrics with every step once."""
    here, there = read_state(folder)[0], read_state(other)[0]
    assert here.step == there.step == SETTINGS.steps and here.document == there.document
    for own, expected in zip(groups(here), groups(there), strict=True):
        for name, tensor in expected.items():
            assert own[name].tobytes() == tensor.tobytes(), f"{name}, seed {seed}"
    assert (folder / "consolidated.safetensors").read_bytes() == (other / "consolidated.safetensors").read_bytes()
    lines, expected = metrics_of(folder), metrics_of(other)
    assert [line["step"] for line in lines] == list(range(1, SETTINGS.steps + 1))
    for key in ("tokens", "loss", "learning_rate", "gradient_norm", "validation_loss"):
        assert [line.get(key) for line in lines] == [line.get(key) for line in expected], f"{key}, seed {seed}"
    assert not [path for path in folder.iterdir() if path.name.startswith(".")], "something half is left"


def groups(state):
    return state.parameters, state.means, state.squares


def metrics_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_run_that_is_resumed_has_learnt_something(not_killed):
    lines = metrics_of(not_killed)
    assert lines[-1]["loss"] < 0.9 * lines[0]["loss"]


def test_how_often_a_state_is_saved_changes_no_bit(tmp_path, not_killed):
    whole_run(str(tmp_path), save_every=1000)
    for name, tensor in read_state(not_killed)[0].parameters.items():
        assert read_state(tmp_path)[0].parameters[name].tobytes() == tensor.tobytes(), name


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 4e-3}, "learning_rate: the run has 0.005, found 0.004"),
        ({"steps": 91}, "steps: the run has 90, found 91"),
        ({"betas": (0.9, 0.99)}, r"betas: the run has \[0.9, 0.95\], found \[0.9, 0.99\]"),
        ({"batch_tokens": 91}, "batch_tokens: the run has 90, found 91"),
        ({"accumulate": 1}, "accumulate: the run has 2, found 1"),
        ({"seed": 4}, "seed: the run has 3, found 4"),
    ],
)
def test_other_settings_are_refused_by_name(not_killed, change, named):
    with pytest.raises(BadInput, match=named):
        train(CONFIG, initial_parameters(CONFIG, 3), DOCUMENTS, replace(SETTINGS, **change), pieces, not_killed)


def test_another_model_other_data_another_tokenizer_and_another_backend_are_refused_by_name(not_killed):
    def refused(config, documents, module, named):
        with pytest.raises(BadInput, match=named):
            train(config, initial_parameters(config, 3), documents, SETTINGS, module, not_killed)

    refused(replace(CONFIG, window=6), DOCUMENTS, pieces, "window: the run has 5, found 6")
    other = DOCUMENTS._replace(identity={"sha256 of the data": "b"})
    refused(CONFIG, other, pieces, "sha256 of the data: the run has a, found b")
    more = DOCUMENTS._replace(identity={"sha256 of the data": "a", "sha256 of the tokenizer": "c"})
    refused(CONFIG, more, pieces, "sha256 of the tokenizer: the run has None, found c")
    fast = pytest.importorskip("fastpath.training", reason="Numba is not here")
    refused(CONFIG, DOCUMENTS, fast, "backend: the run has minimistral.training.pieces, found fastpath.training")


def test_what_changes_no_bit_may_change_when_a_run_goes_on(not_killed):
    free = replace(SETTINGS, save_every=9, validate_every=2, recompute=True)
    assert identity(Run(CONFIG, DOCUMENTS, free, pieces)) == identity(Run(CONFIG, DOCUMENTS, SETTINGS, pieces))


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "other"])
def test_a_damaged_state_is_refused_in_a_line(tmp_path, not_killed, damage):
    from safetensors.numpy import save_file

    path, whole = tmp_path / NAME, (not_killed / NAME).read_bytes()
    path.write_bytes({"cut": whole[:-5], "text": b"hello" * 9, "empty": b"", "other": b""}[damage])
    if damage == "other":
        save_file({"metrics": np.zeros(3, np.uint8)}, path)
    with pytest.raises(BadInput, match=NAME) as found:
        train(CONFIG, initial_parameters(CONFIG, 3), DOCUMENTS, SETTINGS, pieces, tmp_path)
    assert "\n" not in str(found.value)


def test_a_state_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    whole_run(str(tmp_path), save_every=1000)
    before = (tmp_path / NAME).read_bytes()

    def full(path, data):
        path.write_text("half of a state")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    from minimistral.training.state import State, write_state

    with pytest.raises(BadInput, match="No space left"):
        write_state(tmp_path, State(initial_parameters(CONFIG, 0)), {})
    assert (tmp_path / NAME).read_bytes() == before and not list(tmp_path.glob(".*"))


def test_metrics_beyond_the_last_state_are_written_again_once(tmp_path, not_killed):
    """A killed run may have written lines, and half a line, after its last state."""
    for name in (NAME, "metrics.jsonl"):
        (tmp_path / name).write_bytes((not_killed / name).read_bytes())
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 91, "loss": 9.0}\n{"step": 9')
    whole_run(str(tmp_path))
    assert [line["step"] for line in metrics_of(tmp_path)] == list(range(1, SETTINGS.steps + 1))
