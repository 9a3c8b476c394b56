"""Training beside PyTorch: the same losses step by step, and the bench's figures from planted times."""

import json
import re
from functools import partial

import numpy as np
import pytest

from minimistral.bench import training
from minimistral.bench.training import OPTIONS, Case, TrainingSide, batch_of, check_losses, ratios, run, stepper
from minimistral.cli import main
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.training import pieces
from minimistral.training.batch import packed
from minimistral.training.initial import initial_parameters
from minimistral.training.schedule import learning_rate

CONFIG = Config(24, 2, 6, 40, 4, 2, 67, window=9, tied_embeddings=True)
UNTIED = Config(20, 3, 4, 28, 6, 3, 59, window=(5, None, 70))
STEPS, PEAK, WARM_UP = 300, 5e-3, 20


def counting_batch(n: int):
    """Batch n of documents that can be learnt: each counts up from a random number, by a random step."""
    rng, documents = np.random.default_rng([7, n]), []
    for length in (40, 7, 23, 58):
        ids = (rng.integers(0, 67) + rng.integers(1, 4) * np.arange(length + 1)) % 67
        documents.append((ids, (rng.random(length + 1) < 0.9).astype(float)))
    return packed(documents)


def curve(step, steps=STEPS) -> np.ndarray:
    """The losses of so many steps, with warm-up and cosine."""
    return np.array([step(counting_batch(n), learning_rate(n + 1, STEPS, PEAK, WARM_UP)) for n in range(steps)])


@pytest.fixture(scope="module")
def torch_curve():
    pytest.importorskip("torch", reason="the peer: pip install 'minimistral[oracle]'")
    from minimistral.bench.training_peer import torch_stepper

    return curve(torch_stepper(CONFIG, initial_parameters(CONFIG, 0), 1, OPTIONS))


def test_300_steps_have_the_losses_of_pytorch(torch_curve):
    import fastpath.training

    case = Case("small", CONFIG)
    losses = curve(stepper(case, fastpath.training))
    assert losses[0] > 4 and losses[-20:].mean() < 1.5  # it learns: two equal lines prove little
    assert np.abs(losses - torch_curve).max() < 1e-3


def test_the_plain_pieces_have_the_losses_of_pytorch(torch_curve):
    losses = curve(stepper(Case("small", CONFIG), pieces), 60)
    assert np.abs(losses - torch_curve[:60]).max() < 1e-3


def test_the_peer_has_our_loss_and_gradients_with_several_windows_and_an_output_matrix():
    torch = pytest.importorskip("torch", reason="the peer: pip install 'minimistral[oracle]'")
    from minimistral.bench.training_peer import torch_loss
    from minimistral.training.model import loss_and_gradients

    parameters, batch = initial_parameters(UNTIED, 1), batch_of(Case("untied", UNTIED, batch_tokens=333), 0)
    batch = batch._replace(weights=(np.arange(333) % 3 > 0).astype(np.float32))
    loss, gradients = loss_and_gradients(parameters, UNTIED, batch)
    weights = {name: torch.nn.Parameter(torch.from_numpy(w)) for name, w in parameters.items()}
    mean = torch_loss(weights, UNTIED, batch)
    mean.backward()
    count = batch.weights.sum()
    assert mean.item() == pytest.approx(loss / count, rel=1e-6)
    for name, g in gradients.items():
        assert np.abs(weights[name].grad.numpy() - g / count).max() < 1e-5 * np.abs(g / count).max(), name


# --- the bench ------------------------------------------------------------------------------------------------------


def no_load():
    """A planted side needs nothing."""


def planted_step(loss, case, threads):
    """A side that trains nothing."""
    return lambda batch, rate: loss


def broken_step(case, threads):
    raise MemoryError("planted")


def side(name, loss, peer=False):
    return TrainingSide(name, peer, no_load, partial(planted_step, loss), 1)


QUICK = Case("planted", CONFIG, batch_tokens=64, warm_up=1, repeats=2, pause=0)


def test_ratios_are_those_of_the_planted_times():
    sides = [side("ours", 1), side("torch", 1, True)]
    (row,) = ratios(sides, {"ours": [1, 2, 4], "torch": [3, 4, 2]})
    assert row == {"side": "ours", "peer": "torch", "speed": {"min": 0.5, "median": 2, "max": 3}}


def test_sides_in_their_own_processes_are_reported():
    report = run(QUICK, [side("a", 1.5), side("b", 1.5, True)], 1)
    assert [s["losses"] for s in report["sides"]] == [[1.5] * 3] * 2
    assert report["largest_loss_difference"] == 0 and len(report["ratios"]) == 1
    for one in report["sides"]:
        rates = sorted(64 / s for s in one["step_s_runs"])
        assert (one["tokens_per_s"]["min"], one["tokens_per_s"]["max"]) == (rates[0], rates[-1])
        assert one["peak_rss_bytes"] > 10 * 2**20


def test_sides_that_train_something_else_are_not_reported():
    with pytest.raises(BadInput, match=r"b and a: losses of step 1 are 1.6 and 1.5, .* nothing is reported"):
        run(QUICK, [side("a", 1.5), side("b", 1.6)], 1)
    with pytest.raises(BadInput):
        check_losses({"a": [1.5], "b": [float("nan")]})


def test_a_side_that_fails_is_one_line():
    with pytest.raises(BadInput, match="bad: planted"):
        run(QUICK, [TrainingSide("bad", False, no_load, broken_step, 1)], 1)


@pytest.fixture
def bench(capsys, monkeypatch):
    """Run `minimistral bench --train` on a model that takes no time: (status, standard output, standard error)."""
    from minimistral.training.loop import Settings
    from minimistral.training.presets import PRESETS, Preset

    monkeypatch.setattr(
        "os.sched_getaffinity", lambda process: {0}, raising=False
    )  # one thread: quick on a busy machine
    monkeypatch.setitem(PRESETS, "tiny", Preset(CONFIG, Settings(steps=1, batch_tokens=200)))

    def command(*arguments):
        status = main(["bench", "--train", *map(str, arguments)])
        return status, *capsys.readouterr()

    return command


def test_the_command_measures_all_sides_in_one_run(bench, tmp_path):
    pytest.importorskip("torch", reason="the peer: pip install 'minimistral[oracle]'")
    status, out, err = bench("--params", "tiny", "--against", "torch", "--repeats", "2", "--json", tmp_path / "r.json")
    assert (status, err) == (0, "")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["format"] == training.FORMAT and report["largest_loss_difference"] < 1e-5
    assert [s["name"] for s in report["sides"]] == ["numpy", "cpu", "torch"]
    assert [(r["side"], r["peer"]) for r in report["ratios"]] == [("numpy", "torch"), ("cpu", "torch")]
    assert all(re.search(rf"^ *{name} ", out, re.MULTILINE) for name in ("numpy", "cpu", "torch"))
    assert all(len(line) <= 120 for line in out.splitlines()[1:])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--params", "7B"], "--params: '7B', expected one of storyteller"),
        (["--backend", "cuda"], "--backend: 'cuda', expected some of numpy, cpu"),
        (["--against", "transformers"], "--against: 'transformers', expected torch"),
        (["--repeats", "0"], "--repeats: '0'"),
        (["--threads", "0"], "--threads: '0'"),
        (["--model", "x"], "--train: takes --params"),
        (["--lengths", "W"], "--train: takes --params"),
    ],
)
def test_a_bad_option_is_one_line(bench, options, expected):
    status, out, err = bench(*options)
    assert (status, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert expected in err


def test_without_pytorch_one_line_says_so(bench, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    status, out, err = bench("--against", "torch")
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "torch is not installed; pip install" in err


def test_torch_is_a_peer_of_training_only(capsys):
    assert main(["bench", "--against", "torch"]) == 2
    assert "expected transformers" in capsys.readouterr().err
