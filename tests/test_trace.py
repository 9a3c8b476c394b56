"""A trace holds exactly the stages and shapes of the table, in the arithmetic's own type, and chunks change nothing."""

import re
import shlex
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open

from minimistral.arithmetic import NAMES
from minimistral.cli import main
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.mistral import Mistral
from minimistral.trace import stage_names, stage_shape, write_trace

PAGE = (Path(__file__).parents[1] / "docs" / "trace.md").read_text()
CONFIG = Config(
    dim=24, n_layers=2, head_dim=10, hidden_dim=40, n_heads=6, n_kv_heads=2, vocab_size=61, window=5
)  # fmt: skip
TOKENS = np.random.default_rng(1).integers(0, 61, 13)
ALL = ["*", "*.scores"]

# Written out from the format's table, not from the code.
SHAPES = {
    "attention_norm": (13, 24), "q": (13, 6, 10), "k": (13, 2, 10), "v": (13, 2, 10), "q_rope": (13, 6, 10),
    "k_rope": (13, 2, 10), "scores": (6, 13, 13), "attention": (13, 6, 10), "attention_output": (13, 24),
    "attention_residual": (13, 24), "ffn_norm": (13, 24), "gate": (13, 40), "up": (13, 40), "ffn_hidden": (13, 40),
    "ffn_output": (13, 24), "output": (13, 24),
}  # fmt: skip


def expected(scores: bool) -> dict:
    layers = {f"layers.{i}.{n}": s for i in range(2) for n, s in SHAPES.items() if scores or n != "scores"}
    return {"embedding": (13, 24), **layers, "norm": (13, 24), "logits": (13, 61)}


def test_the_stages_and_shapes_are_those_of_the_table():
    stages = Mistral.random(CONFIG).trace(TOKENS)
    assert {n: x.shape for n, x in stages.items()} == expected(scores=False)
    assert list(stages) == [n for n in stage_names(CONFIG) if not n.endswith("scores")]
    with_scores = Mistral.random(CONFIG).trace(TOKENS, only=ALL)
    assert {n: x.shape for n, x in with_scores.items()} == expected(scores=True)
    assert {n: stage_shape(n, 13, CONFIG) for n in with_scores} == expected(scores=True)


@pytest.mark.parametrize("chunk", [1, 2, 4, 5, 6, 12])
def test_a_chunked_trace_has_the_same_bits(chunk):
    model = Mistral.random(CONFIG)
    whole, chunked = model.trace(TOKENS, only=ALL), model.trace(TOKENS, chunk=chunk, only=ALL)
    assert all(np.array_equal(whole[n], chunked[n]) for n in whole)


def test_scores_are_masked_with_minus_infinity_outside_the_window():
    scores = Mistral.random(CONFIG).trace(TOKENS, only="layers.1.scores")["layers.1.scores"]
    t, s = np.indices((13, 13))
    assert (np.isfinite(scores) == ((s <= t) & (s > t - 5))).all()


def test_only_keeps_what_it_names():
    model = Mistral.random(CONFIG)
    assert list(model.trace(TOKENS, only=["layers.1.q*", "norm"])) == ["layers.1.q", "layers.1.q_rope", "norm"]
    assert "layers.0.scores" not in model.trace(TOKENS, only="layers.0.*")
    with pytest.raises(BadInput, match="matches no stage"):
        model.trace(TOKENS, only="layers.7.q")


def test_logits_of_a_trace_are_the_models():
    model = Mistral.random(CONFIG)
    assert np.array_equal(model.trace(TOKENS)["logits"], model(TOKENS))


@pytest.mark.parametrize("arithmetic", NAMES)
def test_a_trace_file_opens_with_safetensors(arithmetic, tmp_path):
    model = Mistral.random(CONFIG, arithmetic=arithmetic)
    stages = model.trace(TOKENS)
    write_trace(tmp_path / "t.safetensors", TOKENS, stages, model.arithmetic)
    stored = {"exact": ("float32", "F32"), "float32": ("float32", "F32"), "float64": ("float64", "F64"),
              "bfloat16": ("bfloat16", "BF16"), "float16": ("float16", "F16")}[arithmetic]  # fmt: skip
    with safe_open(tmp_path / "t.safetensors", "np") as file:
        metadata = file.metadata()
        assert metadata["format"] == "minimistral-trace-1" and metadata["layout"] == "mistral"
        assert metadata["dtype"] == stored[0]
        assert metadata.get("arithmetic") == ("exact" if arithmetic == "exact" else None)
        assert set(file.keys()) == set(expected(scores=False)) | {"tokens"}
        assert file.get_tensor("tokens").dtype == np.int64 and (file.get_tensor("tokens") == TOKENS).all()
        assert file.get_slice("layers.1.gate").get_dtype() == stored[1]
        assert file.get_slice("layers.1.gate").get_shape() == [13, 40]
    assert list(tmp_path.iterdir()) == [tmp_path / "t.safetensors"]


def test_an_unwritable_trace_leaves_nothing_behind(tmp_path):
    model = Mistral.random(CONFIG)
    with pytest.raises(BadInput, match="cannot write"):
        write_trace(tmp_path / "missing" / "t", TOKENS, model.trace(TOKENS), model.arithmetic)
    assert list(tmp_path.iterdir()) == []


def test_narrow_arithmetics_keep_their_type():
    assert Mistral.random(CONFIG, arithmetic="bfloat16").trace(TOKENS)["norm"].dtype == ml_dtypes.bfloat16


def test_the_pages_commands_run_and_the_second_names_the_first_tokens_of_the_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = []
    for command in re.findall(r"^    minimistral (trace .*)$", PAGE, re.MULTILINE):
        assert main(shlex.split(command)) == 0
        with safe_open("run.safetensors", "np") as file:
            found.append((file.get_tensor("tokens").tolist(), set(file.keys())))
    (prompt, every), (ids, few) = found
    assert ids == prompt[: len(ids)] == [1, 565, 566]
    assert few < every and {name.split(".")[0] for name in few} == {"tokens", "layers", "logits"}
