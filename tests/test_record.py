"""A run is recorded as it was: right ones agree with the reference, and a planted fault is named."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from checkpoint_folders import make
from safetensors import safe_open
from safetensors.numpy import load_file

from minimistral.check import assert_agrees, check_trace
from minimistral.check.trace_file import Trace
from minimistral.cli import main
from minimistral.config import MISTRAL_7B, Config
from minimistral.errors import BadInput
from minimistral.mistral import Mistral
from minimistral.record import Recorder
from minimistral.trace import stage_names, stage_shape
from minimistral.weights import random_tensors

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "record.md").read_text()
CONFIG = Config(
    dim=20, n_layers=2, head_dim=8, hidden_dim=28, n_heads=6, n_kv_heads=2, vocab_size=31, window=5, context_len=64
)
T = 17
TOKENS = [int(t) for t in np.random.default_rng(5).integers(0, CONFIG.vocab_size, T)]
STAGES = [name for name in stage_names(CONFIG) if not name.endswith(".scores")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make(tmp_path_factory.mktemp("record") / "mistral-hf", "hf", CONFIG)


@pytest.fixture(scope="module")
def ours():
    return Mistral.from_tensors(random_tensors(CONFIG, 0), CONFIG, "float32")


def named(report):
    return [f["id"] for f in report.as_json()["diagnosis"]]


# Plain callables


def test_a_recorder_gives_back_what_it_was_given_and_the_file_agrees(tmp_path, folder, ours):
    rec = Recorder(TOKENS, implementation="mine", config=CONFIG)
    for name, x in ours.trace(TOKENS).items():
        assert rec(name, x) is x
    rec.save(tmp_path / "t.safetensors")
    with safe_open(tmp_path / "t.safetensors", "numpy") as file:
        about = {"format": "minimistral-trace-1", "dtype": "float32", "layout": "mistral", "implementation": "mine"}
        assert file.metadata() == about
    assert check_trace(tmp_path / "t.safetensors", folder).agrees
    assert os.listdir(tmp_path) == ["t.safetensors"]


@pytest.mark.parametrize("chunk", [1, 4, T])
def test_rows_that_come_in_chunks_are_put_together(tmp_path, folder, ours, chunk):
    stages = ours.trace(TOKENS)
    rec = Recorder(TOKENS)
    for start in range(0, T, chunk):
        for name, x in stages.items():
            rec(name, x[start : start + chunk][None])  # a batch of one
    assert all((rec.stages[name] == stages[name]).all() for name in STAGES)
    assert assert_agrees(rec, folder).agrees


def test_what_is_written_into_later_is_recorded_as_it_was():
    rec, h = Recorder([1, 2]), np.ones((2, 4), np.float32)
    rec("embedding", h)
    h += 1
    assert (rec.stages["embedding"] == 1).all()


@pytest.mark.parametrize("shape", [(T, 48), (1, T, 48), (T, 6, 8), (1, T, 6, 8)])
def test_a_config_cuts_rows_into_heads(shape):
    rec = Recorder(TOKENS, config=CONFIG)
    x = np.arange(T * 48, dtype=np.float32).reshape(shape)
    rec("layers.1.q", x)
    assert rec.stages["layers.1.q"].shape == (T, 6, 8) and (rec.stages["layers.1.q"].ravel() == x.ravel()).all()


def test_logits_of_some_positions(tmp_path, folder, ours):
    logits = ours(TOKENS)
    for rows, positions, given in ((logits[-1], [T - 1], None), (logits[[3, 8]], [3, 8], [3, 8])):
        rec = Recorder(TOKENS)
        rec("logits", rows, positions=given)
        rec.save(tmp_path / "t.safetensors")
        assert load_file(tmp_path / "t.safetensors")["logits_positions"].tolist() == positions
        assert check_trace(tmp_path / "t.safetensors", folder).agrees


def test_the_format_is_the_coarsest_that_came():
    rec = Recorder([1])
    assert rec.dtype == "float32"
    for dtype in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16):
        rec(f"layers.{len(rec.stages)}.output", np.ones((1, 4), dtype))
        assert rec.dtype == np.dtype(dtype).name
    assert Recorder([1], dtype="float16").dtype == "float16"


class Refuses:
    def __array__(self, *_, **__):
        raise TypeError("use x.get()\nand so on")


BAD = {
    "layers.0.query: not a stage of a model of 2 layers": ("layers.0.query", np.ones((T, 6, 8))),
    "layers.2.q: not a stage of a model of 2 layers": ("layers.2.q", np.ones((T, 6, 8))),
    "layers.0.q: shape (6, 17, 8), expected (17, 6, 8); heads first": ("layers.0.q", np.ones((6, T, 8))),
    "layers.0.k: shape (17, 6, 8), expected (17, 2, 8)": ("layers.0.k", np.ones((T, 6, 8))),
    "embedding: 18 rows by now, but the trace has 17 tokens": ("embedding", np.ones((18, 20))),
    "embedding: int64, expected bfloat16": ("embedding", np.ones((T, 20), int)),
    "embedding: <U4, expected bfloat16": ("embedding", "text"),
    "embedding: a Refuses cannot be made a NumPy array: use x.get()": ("embedding", Refuses()),
    "norm: positions are given for logits alone": ("norm", np.ones((T, 20)), [0]),
    "logits: positions [17] for 1 rows": ("logits", np.ones((1, 31)), [17]),
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_a_stage_is_one_line(message):
    name, x, *positions = BAD[message]
    with pytest.raises(BadInput, match=re.escape(message)) as caught:
        Recorder(TOKENS, config=CONFIG)(name, x, *positions)
    assert "\n" not in str(caught.value)


def test_a_trace_that_lacks_something_is_not_written(tmp_path):
    path = tmp_path / "t.safetensors"
    for given, message in {
        ("embedding",): "no logits recorded",
        ("logits", "logits"): "logits: 2 rows for 3 tokens",
        ("logits", "embedding"): "embedding: 1 rows, expected 3",
    }.items():
        rec = Recorder([1, 2, 3])
        for name in given:
            rec(name, np.ones((1, 4)))
        with pytest.raises(BadInput, match=message):
            rec.save(path)
    for tokens in ([], [[1], [2]], [1.5], "text"):
        with pytest.raises(BadInput, match="tokens: "):
            Recorder(tokens)
    for wrong in ({"layout": "gguf"}, {"dtype": "int8"}):
        with pytest.raises(BadInput, match=f"{next(iter(wrong))}: .*, expected"):
            Recorder([1], **wrong)
    assert not path.exists()


# In a test


def test_a_right_model_agrees_however_it_is_given(folder, ours, tmp_path):
    stages = ours.trace(TOKENS)
    ways = [ours, lambda tokens: ours(tokens)[-1], lambda tokens: ours.trace(tokens), stages]
    for mine in ways:
        assert assert_agrees(mine, folder, tokens=TOKENS).agrees
    rounded = {n: x.astype(ml_dtypes.bfloat16) for n, x in Mistral.from_tensors(
        random_tensors(CONFIG, 0), CONFIG, "bfloat16").trace(TOKENS).items()}  # fmt: skip
    assert assert_agrees(rounded, folder, tokens=TOKENS).trace.dtype == "bfloat16"
    with pytest.raises(BadInput, match="tokens: not given"):
        assert_agrees(ours, folder)


def test_a_wrong_model_is_told_what_is_wrong(folder):
    config = replace(CONFIG, window=6)
    model = Mistral.from_tensors(random_tensors(CONFIG, 0), config, "float32")

    def my_model(tokens):
        return model(tokens)

    with pytest.raises(AssertionError) as caught:
        assert_agrees(my_model, folder, tokens=TOKENS)
    message = str(caught.value)
    assert message.startswith("window-plus-one at logits: my_model is off by ")
    assert "computes    keys i - W .. i\n" in message and "Judged as float32" in message
    with pytest.raises(AssertionError, match=r"window-plus-one at layers\.0\.attention: the recorded run is off by"):
        assert_agrees(model.trace(TOKENS), folder, tokens=TOKENS, dtype="float32")


def test_pytest_shows_the_diagnosis_and_the_line_of_the_test(tmp_path, folder):
    (tmp_path / "test_mine.py").write_text(f"""
import numpy as np
from minimistral.check import assert_agrees

def test_mine():
    assert_agrees(lambda tokens: np.ones((1, 31), np.float32), {str(folder)!r}, tokens=[1, 2, 3])
""")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 1
    assert re.search(r"^E +AssertionError: .* at logits: <lambda> is off by", run.stdout, re.MULTILINE)
    assert "test_mine.py:6: AssertionError" in run.stdout and "testing.py" not in run.stdout


# PyTorch


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'minimistral[oracle]'")


@pytest.fixture
def transformers(torch):
    found = pytest.importorskip(
        "transformers", reason="transformers is not installed: pip install 'minimistral[oracle]'"
    )
    found.utils.logging.disable_progress_bar()
    return found


def hf_model(transformers, folder, dtype="float32", attention="sdpa", **changes):
    """transformers' model of a folder, its config changed."""
    config = transformers.AutoConfig.from_pretrained(folder)
    for key, value in changes.items():
        setattr(config, key, value)
    keyword = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
    how = {keyword: dtype, "attn_implementation": attention, "config": config}
    return transformers.AutoModelForCausalLM.from_pretrained(folder, **how)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_transformers_as_it_comes_agrees(tmp_path, transformers, folder, dtype, attention):
    from minimistral.record.torch import record

    model = hf_model(transformers, folder, dtype, attention)
    function = sys.modules[type(model).__module__].apply_rotary_pos_emb
    rec = record(model, TOKENS, tmp_path / "t.safetensors")
    assert list(rec.stages) and set(rec.stages) == set(STAGES)
    assert all(x.shape == stage_shape(n, T, CONFIG) and x.dtype == dtype for n, x in rec.stages.items())
    report = check_trace(tmp_path / "t.safetensors", folder)
    # their angles and norms are float32 in a float64 model too: a finding, but no fault of the recording
    assert report.trace.layout == "hf" and (report.agrees or dtype == "float64")
    assert attention in report.trace.implementation
    assert sys.modules[type(model).__module__].apply_rotary_pos_emb is function
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


PLANTED = {
    "window-plus-one": {"sliding_window": 6},
    "window-ignored": {"sliding_window": None},
    "rope-theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}, "rope_theta": 1e6},
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_in_their_config_is_named(tmp_path, transformers, folder, fault, dtype):
    from minimistral.record.torch import record

    model = hf_model(transformers, folder, dtype, "eager", **PLANTED[fault])
    record(model, TOKENS, tmp_path / "t.safetensors")
    assert set(named(check_trace(tmp_path / "t.safetensors", folder))) == {fault}


def test_assert_agrees_takes_their_model(transformers, folder):
    assert assert_agrees(hf_model(transformers, folder), folder, tokens=TOKENS).agrees
    with pytest.raises(AssertionError, match=r"window-minus-one at layers\.0\.attention: MistralForCausalLM is off by"):
        assert_agrees(hf_model(transformers, folder, sliding_window=4), folder, tokens=TOKENS)


@pytest.mark.parametrize("chunk", [1, 4, 6])
def test_a_run_in_chunks_through_their_cache_agrees(tmp_path, transformers, folder, chunk):
    from minimistral.record.torch import record
    from minimistral.record.transformers import run_in_chunks

    model = hf_model(transformers, folder)
    rec = record(model, TOKENS, tmp_path / "t.safetensors", run=lambda ids: run_in_chunks(model, ids, chunk))
    assert set(rec.stages) == set(STAGES) and check_trace(tmp_path / "t.safetensors", folder).agrees


def test_tensors_of_every_kind_are_taken(torch):
    x = torch.linspace(-3, 3, T * 20).reshape(T, 20)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        rec = Recorder(torch.tensor([TOKENS]))
        y = x.to(dtype, copy=True).requires_grad_().T.contiguous().T  # not contiguous, and with a gradient
        assert rec("embedding", y) is y
        assert (rec.stages["embedding"].astype(np.float64) == x.to(dtype).double().numpy()).all()
        assert f"torch.{rec.dtype}" == str(dtype)
    with pytest.raises(BadInput, match="embedding: a Tensor cannot be made a NumPy array|embedding: float8"):
        Recorder(TOKENS)("embedding", x.to(torch.float8_e4m3fn))


def mine(torch):
    """A Mistral of one's own: one matrix for queries, keys and values; RoPE of neighbours, by a function called twice."""
    from torch import nn
    from torch.nn import functional as F

    c = CONFIG

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.wqkv = nn.Linear(c.dim, (c.n_heads + 2 * c.n_kv_heads) * c.head_dim, bias=False)
            self.wo = nn.Linear(c.n_heads * c.head_dim, c.dim, bias=False)

        def forward(self, x):
            n = len(x)
            q, k, v = self.wqkv(x).view(n, -1, c.head_dim).split([c.n_heads, c.n_kv_heads, c.n_kv_heads], dim=1)
            q, k = rotate_in_test_record(q), rotate_in_test_record(x=k)
            k, v = (m.repeat_interleave(c.n_heads // c.n_kv_heads, dim=1).transpose(0, 1) for m in (k, v))
            seen = torch.ones(n, n, dtype=torch.bool).tril() & ~torch.ones(n, n, dtype=torch.bool).tril(-c.window)
            a = F.scaled_dot_product_attention(q.transpose(0, 1), k, v, attn_mask=seen)
            return self.wo(a.transpose(0, 1).reshape(n, -1)), None

    class FeedForward(nn.Module):
        def __init__(self):
            super().__init__()
            self.w1, self.w3 = (nn.Linear(c.dim, c.hidden_dim, bias=False) for _ in range(2))
            self.w2 = nn.Linear(c.hidden_dim, c.dim, bias=False)

        def forward(self, *, x):
            return self.w2(F.silu(self.w1(x)) * self.w3(x))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.feed_forward = Attention(), FeedForward()
            self.attention_norm, self.ffn_norm = (nn.RMSNorm(c.dim, eps=c.norm_eps) for _ in range(2))

        def forward(self, h):
            h = h + self.attention(self.attention_norm(h))[0]
            h += self.feed_forward(x=self.ffn_norm(h))  # in place
            return {"h": h}

    class Mine(nn.Module):
        def __init__(self):
            super().__init__()
            self.tok_embeddings = nn.Embedding(c.vocab_size, c.dim)
            self.layers = nn.ModuleList(Block() for _ in range(c.n_layers))
            self.norm = nn.RMSNorm(c.dim, eps=c.norm_eps)
            self.output = nn.Linear(c.dim, c.vocab_size, bias=False)

        def forward(self, tokens):
            h = self.tok_embeddings(tokens)
            for layer in self.layers:
                h = layer(h)["h"]
            return self.output(self.norm(h))

    model, tensors = Mine(), random_tensors(CONFIG, 0)
    for i in range(c.n_layers):
        parts = [tensors.pop(f"layers.{i}.attention.w{x}.weight") for x in "qkv"]
        tensors[f"layers.{i}.attention.wqkv.weight"] = np.concatenate(parts)
    model.load_state_dict({name: torch.from_numpy(np.asarray(w)) for name, w in tensors.items()})
    return model


def rotate_in_test_record(x):  # (T, heads, head_dim)
    import torch

    angle = torch.arange(len(x))[:, None, None] * CONFIG.rope_theta ** -(torch.arange(0, x.shape[-1], 2) / x.shape[-1])
    a, b = x[..., ::2], x[..., 1::2]
    return (
        torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).flatten(-2).to(x.dtype)
    )


def my_names():
    from minimistral.record.torch import Place

    q, kv = CONFIG.n_heads * CONFIG.head_dim, CONFIG.n_kv_heads * CONFIG.head_dim
    layer = "layers.{i}"
    return {
        "embedding": "tok_embeddings",
        f"{layer}.attention_norm": f"{layer}.attention_norm",
        f"{layer}.q": Place(f"{layer}.attention.wqkv", reshape=lambda x: x[:, :q]),
        f"{layer}.k": Place(f"{layer}.attention.wqkv", reshape=lambda x: x[:, q : q + kv]),
        f"{layer}.v": Place(f"{layer}.attention.wqkv", reshape=lambda x: x[:, q + kv :]),
        f"{layer}.q_rope": Place(f"{layer}.attention", calls="rotate_in_test_record", nth=0),
        f"{layer}.k_rope": Place(f"{layer}.attention", calls="rotate_in_test_record", nth=1),
        f"{layer}.attention": Place(f"{layer}.attention.wo", side="input", reshape=(T, CONFIG.n_heads, -1)),
        f"{layer}.attention_output": Place(f"{layer}.attention", which=0),
        f"{layer}.attention_residual": Place(f"{layer}.ffn_norm", side="input"),
        f"{layer}.ffn_norm": Place(f"{layer}.feed_forward", side="input", which="x"),
        f"{layer}.ffn_output": f"{layer}.feed_forward",
        f"{layer}.output": Place(layer, which="h"),
        "norm": Place("output", side="input"),
        "logits": "output",
    }


def test_a_model_of_ones_own_is_recorded_by_a_map_of_names(torch, tmp_path, folder):
    from minimistral.record.torch import record

    model = mine(torch).train()
    rec = record(model, TOKENS, tmp_path / "t.safetensors", my_names(), config=folder, run=lambda ids: model(ids[0]))
    assert set(STAGES) - set(rec.stages) == {f"layers.{i}.{n}" for i in range(2) for n in ("gate", "up", "ffn_hidden")}
    assert check_trace(tmp_path / "t.safetensors", folder).agrees and model.layers[0].attention.training
    assert rec.implementation == "Mine" and rec.layout == "mistral"


def test_only_some_stages_are_kept_and_the_format_is_still_seen(torch):
    from minimistral.record.torch import record

    model = mine(torch).bfloat16()
    model.output.float().register_forward_pre_hook(lambda module, args: args[0].float())  # as some models end
    rec = record(model, TOKENS, names=my_names(), config=CONFIG, only=[], run=lambda ids: model(ids[0]))
    assert set(rec.stages) == {"logits"} and rec.stages["logits"].dtype == np.float32 and rec.dtype == "bfloat16"
    assert set(
        record(model, TOKENS, names=my_names(), config=CONFIG, only="*.q", run=lambda ids: model(ids[0])).stages
    ) == {
        "layers.0.q",
        "layers.1.q",
        "logits",
    }


def test_a_map_that_does_not_fit_is_one_line(torch):
    from minimistral.record.torch import Place, record

    model = mine(torch)

    def run(ids):
        model(ids[0])

    for change, message in (
        ({"norm": "final_norm"}, "norm: Mine has no module final_norm"),
        ({"layers.{i}.q": "layers.{i}.wq"}, r"layers.\{i\}.q: Mine has no module layers.\{i\}.wq"),
        ({"layers.{i}.q_rope": Place("layers.{i}.attention", calls="turn")}, "has no function turn, which Attention"),
        ({"layers.{i}.q_rope": Place("layers.{i}.attention", calls="rotate_in_test_record", nth=2)}, "was not called"),
        ({"layers.{i}.output": Place("layers.{i}", which=3)}, r"layers.0.output: no output 3 of layers.0"),
        ({"layers.{i}.output": Place("layers.{i}.attention", which=1)}, "is a NoneType, expected a tensor"),
    ):
        with pytest.raises(BadInput, match=message):
            record(model, TOKENS, names=my_names() | change, config=CONFIG, run=run)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
        assert rotate_in_test_record.__name__ == "rotate_in_test_record"
    with pytest.raises(BadInput, match=r"expected a transformers MistralForCausalLM, or names="):
        record(model, TOKENS)
    with pytest.raises(BadInput, match="only: 'nothing' matches no stage"):
        record(model, TOKENS, names=my_names(), config=CONFIG, only="nothing")
    with pytest.raises(BadInput, match="expected one sequence of ids"):
        record(model, torch.ones(2, 3, dtype=torch.int64), names=my_names())


# The command line


def command(*arguments):
    """minimistral record-hf, in a process of its own."""
    code = """
import sys, typer
from minimistral.cli.program import run
from minimistral.cli.record_hf import record_hf
program = typer.Typer()
program.command()(record_hf)
sys.exit(run(None, program, "minimistral record-hf"))
"""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_record_hf_writes_a_trace_that_agrees(transformers, tmp_path, folder):
    path = tmp_path / "t.safetensors"
    run = command(folder, "--tokens", " ".join(map(str, TOKENS)), "--dtype", "bfloat16", "--attention", "eager",
                  "--chunk", "4", "--output", path)  # fmt: skip
    assert run.returncode == 0 and run.stdout == "" and run.stderr == "", run.stderr
    report = check_trace(path, folder)
    assert report.agrees and report.trace.dtype == "bfloat16" and len(report.trace) == len(STAGES)
    assert re.fullmatch(r"transformers [0-9.]+\S*, eager", report.trace.implementation)


def test_record_hf_says_in_one_line_what_is_wrong(transformers, tmp_path, monkeypatch, folder):
    mistral, path = make(tmp_path / "native", "mistral", CONFIG), tmp_path / "t.safetensors"
    cases = [
        ((mistral, "--tokens", "1"), rf"minimistral convert {mistral} OUT --layout hf"),
        ((tmp_path / "nowhere", "--tokens", "1"), "cannot be read: No such file"),
        ((folder, "--tokens", "99"), "id 99, expected 0 to 30"),
        ((folder, "--prompt", "hi"), "has no tokenizer"),
        ((folder,), "neither given"),
        ((folder, "--tokens", "1", "--dtype", "int8"), "--dtype: 'int8', expected"),
        ((folder, "--tokens", "1", "--attention", "paged"), "--attention: 'paged', expected eager, sdpa or"),
        ((folder, "--tokens", "1", "--device", "tpu"), "--device: 'tpu', expected cpu or cuda"),
        ((folder, "--tokens", "1", "--chunk", "0"), "--chunk: '0'"),
    ]
    for arguments, message in cases:
        with pytest.raises(BadInput, match=re.escape(message)):
            in_process(*arguments, output=path)
    for name in ("transformers", "torch"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
        message = f"record-hf: {name} is not installed; pip install 'minimistral[oracle]'"
        with pytest.raises(BadInput, match=re.escape(message)):
            in_process(folder, "--tokens", "1", output=path)
    assert not path.exists()


def in_process(folder, *options, output):
    from minimistral.cli.record_hf import record_hf

    given = dict(zip([o.removeprefix("--") for o in options[::2]], options[1::2], strict=True))
    record_hf(folder, output, **given)


# The page

PROGRAMS = {  # language of the block: file, how it is compiled, how it is run
    "c": ("program.c", "cc -std=c99 -Wall -Wextra -Werror -O2 -o program program.c", "./program"),
    "cpp": ("program.cpp", "c++ -std=c++17 -Wall -Wextra -Werror -O2 -o program program.cpp", "./program"),
    "rust": ("program.rs", "rustc --edition 2021 -D warnings -o program program.rs", "./program"),
    "go": ("program.go", "go build -o program program.go", "./program"),
    "js": ("program.js", "node --check program.js", "node program.js"),
}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_programs_on_the_page_write_a_trace(tmp_path, language):
    file, compiled, run = PROGRAMS[language]
    compiler = compiled.split()[0]
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} on this machine")
    (source,) = blocks(language)
    (tmp_path / file).write_text(source)
    caches = {"GOCACHE": str(tmp_path / "cache"), "GOPATH": str(tmp_path / "go"), "GO111MODULE": "off"}
    for line in (compiled, f"{run} out.safetensors"):
        how = {"cwd": tmp_path, "env": os.environ | caches, "capture_output": True, "text": True, "timeout": 300}
        done = subprocess.run(line.split(), **how, check=False)
        assert done.returncode == 0, done.stderr
    found = load_file(tmp_path / "out.safetensors")
    assert found["tokens"].tolist() == [1, 3, 2] and found["tokens"].dtype == np.int64
    assert found["embedding"].tolist() == [[1, -2], [3, -4], [0.5, 6]]
    assert (found["logits"] == np.arange(12, dtype=np.float32).reshape(3, 4)).all()
    tiny = replace(CONFIG, dim=2, vocab_size=4)
    assert list(Trace(tmp_path / "out.safetensors", tiny)) == ["embedding", "logits"]


def python_blocks():
    """Each python block of the page; each stands by itself."""
    return [pytest.param(b, id=f"{n}{'-jax' * ('import jax' in b)}") for n, b in enumerate(blocks("python"))]


@pytest.mark.parametrize("source", python_blocks())
def test_the_python_on_the_page_runs(tmp_path, monkeypatch, folder, source):
    needed = re.findall(r"^(?:import|from) (torch|transformers|jax)\b", source, re.MULTILINE)
    for name in [*needed, *(["torch"] if "record.torch" in source else [])]:
        pytest.importorskip(name, reason=f"{name} is not installed")
    monkeypatch.chdir(tmp_path)
    Path("mistral-hf").symlink_to(folder)
    if "suite/" in source:
        assert main(["vectors", "suite", "--small"]) == 0
    names = {}
    exec(compile(source, "docs/record.md", "exec"), names)  # noqa: S102
    if "test_my_model" in names:
        names["test_my_model"]()
    if "rec.save" in source:
        assert load_file("run.safetensors")["tokens"].ndim == 1
    if "suite/" in source:
        assert check_trace("run.safetensors", "suite/models/deep").agrees


def test_a_7b_run_is_as_large_as_the_page_says():
    per_token = sum(np.prod(stage_shape(n, 1, MISTRAL_7B)) for n in stage_names(MISTRAL_7B) if "scores" not in n)
    assert "has 5.4 MB a token in bfloat16" in PAGE and round(2 * per_token / 1e6, 1) == 5.4


def test_neither_recorder_nor_check_imports_pytorch():
    code = "import sys, minimistral.check, minimistral.record, minimistral.record.torch; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "False"
