"""Checkpoints: read in every form, converted there and back, and used within a memory budget."""

import json
import os
import shutil
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from checkpoint_folders import FORMS, SMALL, edit_json, make

from minimistral.arithmetic import NAMES, by_name
from minimistral.checkpoint import convert, load_weights, open_checkpoint, write_checkpoint
from minimistral.checkpoint.layouts import hf_name, to_hf_rows, to_mistral_rows
from minimistral.checkpoint.tensor_file import TensorFile, write_tensors
from minimistral.errors import BadInput, NotFinite
from minimistral.mistral import Mistral
from minimistral.weights import LAYER_NAMES, from_tensors, random_tensors

TOKENS = [1, 5, 30, 7, 2, 9, 4, 11, 3, 17, 25]
CONFIGS = {
    "window": SMALL,
    "no-window": replace(SMALL, window=None, context_len=None, rope_theta=1e6),
    "per-layer": replace(SMALL, window=(5, None, 5)),
    "tied": replace(SMALL, tied_embeddings=True, norm_eps=1e-6),
    "one-layer": replace(SMALL, n_layers=1, n_kv_heads=6),
}


def same(a, b) -> bool:
    return set(a) == set(b) and all(np.array_equal(a[n], b[n]) and a[n].dtype == b[n].dtype for n in a)


def logits(folder: Path, arithmetic: str = "exact") -> np.ndarray:
    return Mistral.from_pretrained(folder, arithmetic)(TOKENS)


def touch_all(weights) -> list[np.ndarray]:
    used = [np.array(w) for layer in weights.layers for w in layer]
    return [np.array(weights.tok_embeddings), *used, np.array(weights.norm), np.array(weights.output)]


# Reading


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_form_gives_the_tensors_and_the_config_that_were_written(tmp_path, form, config):
    checkpoint = open_checkpoint(make(tmp_path / "model", form, config))
    assert checkpoint.config == config
    assert same(checkpoint.tensors, random_tensors(config))
    assert checkpoint.layout == form.split("-")[0]
    assert checkpoint.dtype == "float32"
    assert checkpoint.n_bytes == sum(t.nbytes for t in random_tensors(config).values())
    assert [note for note in checkpoint.notes if "layer_types" not in note] == []


def test_stories260k_has_equal_tensors_in_both_layouts(stories260k):
    native, hf = open_checkpoint(stories260k / "native"), open_checkpoint(stories260k / "hf")
    assert same(native.tensors, hf.tensors)
    assert replace(hf.config, context_len=None) == native.config


def test_row_orders_against_a_loop_over_heads():
    heads, d, dim = 3, 6, 5
    w = np.arange(heads * d * dim).reshape(heads * d, dim)
    hf = to_hf_rows(w, heads)
    for head in range(heads):
        for pair in range(d // 2):
            first, second = head * d + pair, head * d + pair + d // 2
            assert (hf[first] == w[head * d + 2 * pair]).all() and (hf[second] == w[head * d + 2 * pair + 1]).all()
    assert (to_mistral_rows(hf, heads) == w).all()


def test_official_safetensors_reads_what_is_written_and_the_reverse(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    arrays = {
        "a": np.arange(12, dtype=np.float32).reshape(3, 4),
        "b": np.arange(5, dtype=np.float16),
        "c": np.ones((2, 0)),
    }
    arrays["c"] = arrays["c"].astype(np.float32)
    announced = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    write_tensors(tmp_path / "ours", announced, ((name, iter([array])) for name, array in arrays.items()))
    assert same(safetensors.load_file(tmp_path / "ours"), arrays)
    safetensors.save_file(arrays, tmp_path / "theirs")
    file = TensorFile(tmp_path / "theirs")
    assert same({name: file[name] for name in file.entries}, arrays)


def test_a_header_of_odd_length_leaves_tensors_unaligned_but_right(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    header = b'{"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'
    (tmp_path / "odd").write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes())
    assert len(header) % 4 and (TensorFile(tmp_path / "odd")["x"] == values).all()


def test_an_unaligned_checkpoint_gives_the_same_bits(tmp_path):
    folder = make(tmp_path / "model", "hf", dtype="bfloat16")
    expected, file = logits(folder), folder / "model.safetensors"
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    file.write_bytes((length + 1).to_bytes(8, "little") + data[8 : 8 + length] + b" " + data[8 + length :])
    for arithmetic in NAMES:
        assert logits(folder, arithmetic).size
    assert logits(folder).tobytes() == expected.tobytes()


def test_a_folder_of_both_kinds_is_read_as_mistrals(tmp_path):
    make(tmp_path / "model", "mistral", seed=1)
    make(tmp_path / "hf", "hf", seed=2)
    for path in (tmp_path / "hf").iterdir():
        shutil.copy(path, tmp_path / "model")
    assert open_checkpoint(tmp_path / "model").layout == "mistral"
    (tmp_path / "model" / "consolidated.safetensors").unlink()
    assert open_checkpoint(tmp_path / "model").layout == "hf"


def test_a_folder_of_links_is_read(tmp_path):
    make(tmp_path / "blobs", "hf")
    (tmp_path / "model").mkdir()
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "model" / path.name).symlink_to(path)
    assert open_checkpoint(tmp_path / "model").config == SMALL


def test_mixed_types_are_kept_and_noted(tmp_path):
    tensors = random_tensors(SMALL)
    tensors["layers.1.attention.wv.weight"] = tensors["layers.1.attention.wv.weight"].astype(np.float16)
    tensors["norm.weight"] = tensors["norm.weight"].astype(ml_dtypes.bfloat16)
    write_checkpoint(tmp_path / "model", SMALL, tensors, "hf")
    checkpoint = open_checkpoint(tmp_path / "model")
    assert same(checkpoint.tensors, tensors)
    assert any("several types: F16, F32" in note for note in checkpoint.notes)


# What config files say


@pytest.mark.parametrize(
    ("changes", "field", "expected", "note"),
    [
        (
            {"rope_theta": "(removed)", "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
            "rope_theta",
            5e5,
            "",
        ),
        ({"rope_theta": 5e5, "rope_scaling": None}, "rope_theta", 5e5, ""),
        ({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 5e5}}, "rope_theta", 5e5, ""),
        ({"rope_theta": "(removed)", "rope_parameters": {"full_attention": {"rope_theta": 7}}}, "rope_theta", 7.0, ""),
        ({"rope_theta": "(removed)"}, "rope_theta", 1e4, "rope_theta: not given"),
        ({"sliding_window": None}, "window", None, ""),
        ({"sliding_window": "(removed)"}, "window", 4096, "4096 taken"),
        ({"sliding_window": "(removed)", "model_type": "ministral"}, "window", None, ""),
        ({"sliding_window": 9, "use_sliding_window": False}, "window", None, ""),
        ({"sliding_window": 9, "use_sliding_window": True}, "window", 9, ""),
        ({"sliding_window": 9, "model_type": "llama"}, "window", None, "ignored"),
        ({"layer_types": ["full_attention"] * 3}, "window", None, ""),
        ({"layer_types": ["sliding_attention"] * 3}, "window", 5, ""),
        ({"layer_types": ["full_attention", "sliding_attention", "full_attention"]}, "window", (None, 5, None), "kept"),
        ({"head_dim": None, "num_attention_heads": 5, "num_key_value_heads": 1}, "head_dim", 4, ""),
        ({"max_position_embeddings": "(removed)"}, "context_len", None, ""),
        ({"rms_norm_eps": "(removed)"}, "norm_eps", 1e-6, "rms_norm_eps: not given"),
        ({"num_key_value_heads": None}, "n_kv_heads", 6, ""),
        ({"num_key_value_heads": "(removed)", "num_attention_heads": 16}, "n_kv_heads", 8, "8 taken"),
        (
            {"num_key_value_heads": "(removed)", "model_type": "llama", "sliding_window": None},
            "n_kv_heads",
            6,
            "6 taken",
        ),
        ({"hidden_act": "(removed)", "torch_dtype": "(removed)"}, "dim", 20, ""),
    ],
)
def test_hugging_face_config(tmp_path, changes, field, expected, note):
    from minimistral.checkpoint.config_file import read_config

    edit_json("config.json", **changes)(make(tmp_path / "model", "hf"))
    config, _, notes = read_config(tmp_path / "model" / "config.json")
    assert getattr(config, field) == expected
    assert (note in " ".join(notes)) if note else notes == []


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"sliding_window": [4]}, "window", 4),
        ({"sliding_window": [None, 4, 6]}, "window", (None, 4, 6)),
        ({"sliding_window": "(removed)", "_sliding_window": [None, 4, 4]}, "window", (None, 4, 4)),
        ({"sliding_window": None}, "window", None),
        ({"rope_theta": "(removed)"}, "rope_theta", 1e4),
        ({"rope_theta": "(removed)", "sliding_window": None}, "rope_theta", 1e6),
        ({"n_kv_heads": "(removed)"}, "n_kv_heads", 6),
        ({"moe": None, "quantization": None}, "dim", 20),
    ],
)
def test_mistral_params(tmp_path, changes, field, expected):
    from minimistral.checkpoint.config_file import read_params

    edit_json("params.json", **changes)(make(tmp_path / "model", "mistral"))
    assert getattr(read_params(tmp_path / "model" / "params.json").config, field) == expected


def test_a_pattern_of_windows_is_repeated_over_the_layers(tmp_path):
    make(tmp_path / "model", "mistral", replace(SMALL, n_layers=4))
    edit_json("params.json", sliding_window=[None, 3])(tmp_path / "model")
    assert open_checkpoint(tmp_path / "model").config.window == (None, 3, None, 3)


def test_the_output_is_tied_only_if_the_config_says_so(tmp_path):
    folder = make(tmp_path / "model", "hf", CONFIGS["tied"])
    weights = load_weights(open_checkpoint(folder), by_name("float32"))
    assert np.array_equal(weights.output, weights.tok_embeddings)
    edit_json("config.json", tie_word_embeddings=False)(folder)
    with pytest.raises(BadInput, match=r"lm_head.weight: missing.*does not tie"):
        open_checkpoint(folder)


@pytest.mark.parametrize("form", ["mistral", "hf"])
def test_a_tied_folder_with_an_output_tensor_is_noted(tmp_path, form):
    folder = make(tmp_path / "model", form)
    file = "params.json" if form == "mistral" else "config.json"
    edit_json(file, **{"tied_embeddings" if form == "mistral" else "tie_word_embeddings": True})(folder)
    checkpoint = open_checkpoint(folder)
    assert "output.weight" not in checkpoint.tensors
    assert any("not used, as the config ties" in note for note in checkpoint.notes)


def test_unknown_tensors_are_a_note(tmp_path):
    folder = make(tmp_path / "model", "hf")
    file = TensorFile(folder / "model.safetensors")
    arrays = {name: file[name] for name in file.entries} | {"rotary_emb.inv_freq\n": np.ones(2, np.int64)}
    announced = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    write_tensors(folder / "model.safetensors", announced, ((name, iter([array])) for name, array in arrays.items()))
    assert open_checkpoint(folder).notes == ["1 tensor not used: rotary_emb.inv_freq\\n"]


# Weights on demand


@pytest.mark.parametrize("arithmetic", NAMES)
@pytest.mark.parametrize("form", ["mistral", "hf"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_lazy_weights_are_the_ones_that_lie_in_memory_whatever_the_budget(tmp_path, arithmetic, form, dtype):
    numbers = by_name(arithmetic)
    checkpoint = open_checkpoint(make(tmp_path / "model", form, dtype=dtype))
    expected = touch_all(from_tensors(dict(checkpoint.tensors), SMALL, numbers))
    for memory in (0, 6000, None):
        weights = load_weights(checkpoint, numbers, memory)
        for _ in range(2):
            found = touch_all(weights)
            assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(found, expected, strict=True))
        assert weights.kept_bytes <= (memory if memory is not None else 10**9)
        assert memory != 0 or weights.kept_bytes == 0


def test_copies_are_kept_within_the_budget_and_made_once(tmp_path):
    checkpoint = open_checkpoint(make(tmp_path / "model", "mistral"))
    weights = load_weights(checkpoint, by_name("exact"))
    assert weights.layers[1].wq is weights.layers[1].wq
    assert load_weights(checkpoint, by_name("exact"), 0).layers[1].wq is not weights.layers[1].wq
    assert not load_weights(checkpoint, by_name("float32")).output.flags.owndata  # a view of the file: no copy at all


def test_the_first_use_finds_a_nan_anywhere_and_names_it(tmp_path):
    tensors = random_tensors(SMALL)
    write_checkpoint(tmp_path / "model", SMALL, tensors)
    file = TensorFile(tmp_path / "model" / "consolidated.safetensors")
    entry = file.entries["layers.2.feed_forward.w2.weight"]
    with open(file.path, "r+b") as f:
        f.seek(file.data_start + entry.start + (3 * 28 + 11) * 4)
        f.write(np.float32(np.nan).tobytes())
    weights = load_weights(open_checkpoint(tmp_path / "model"), by_name("float32"))
    assert weights.layers[1].w2.size
    with pytest.raises(
        NotFinite, match=r"consolidated.safetensors: layers.2.feed_forward.w2.weight: NaN at index \(3, 11\)"
    ):
        _ = weights.layers[2].w2


def test_a_value_that_a_narrow_arithmetic_cannot_hold_is_named(tmp_path):
    tensors = random_tensors(SMALL)
    tensors["output.weight"][4, 7] = 1e6
    write_checkpoint(tmp_path / "model", SMALL, tensors)
    checkpoint = open_checkpoint(tmp_path / "model")
    assert load_weights(checkpoint, by_name("bfloat16")).output.size
    with pytest.raises(BadInput, match=r"output.weight: 1000000.0 at index \(4, 7\) is too large for float16"):
        _ = load_weights(checkpoint, by_name("float16")).output


def test_exact_refuses_rows_that_it_cannot_sum(tmp_path):
    config = replace(SMALL, n_layers=1, hidden_dim=32769)
    checkpoint = open_checkpoint(make(tmp_path / "model", "mistral", config, "float16"))
    with pytest.raises(BadInput, match="32769"):
        load_weights(checkpoint, by_name("exact"))
    assert load_weights(checkpoint, by_name("float32")).layers[0].w2.size


# Converting


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_there_and_back_gives_the_same_bytes_of_logits(tmp_path, form, config, dtype):
    source = make(tmp_path / "source", form, config, dtype)
    (source / "tokenizer.model.v3").write_bytes(b"any")
    other = {"mistral": "hf", "hf": "mistral"}
    there, layout = tmp_path / "there", form.split("-")[0]
    convert(source, there, other[layout])
    convert(there, tmp_path / "back", layout)
    first, second, third = (open_checkpoint(f) for f in (source, there, tmp_path / "back"))
    assert first.config == second.config == third.config == config
    assert same(first.tensors, second.tensors) and same(first.tensors, third.tensors)
    assert logits(source).tobytes() == logits(there).tobytes() == logits(tmp_path / "back").tobytes()
    assert (tmp_path / "back" / "tokenizer.model.v3").read_bytes() == b"any"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back", "source", "there"]


def test_token_ids_and_types_survive(tmp_path):
    source = make(tmp_path / "source", "hf")
    edit_json("config.json", bos_token_id=3, eos_token_id=[4, 5])(source)
    convert(source, tmp_path / "there", "mistral", "bfloat16")
    convert(tmp_path / "there", tmp_path / "back", "hf")
    found = json.loads((tmp_path / "back" / "config.json").read_text())
    assert (found["bos_token_id"], found["eos_token_id"], found["torch_dtype"]) == (3, [4, 5], "bfloat16")
    expected = {n: t.astype(ml_dtypes.bfloat16) for n, t in random_tensors(SMALL).items()}
    assert same(open_checkpoint(tmp_path / "back").tensors, expected)


def test_progress_counts_all_bytes(tmp_path):
    seen: list[tuple[int, int]] = []
    convert(make(tmp_path / "source", "hf"), tmp_path / "there", "mistral", None, lambda *counts: seen.append(counts))
    total = open_checkpoint(tmp_path / "source").n_bytes
    assert seen[-1] == (total, total) and seen == sorted(seen)


def test_what_cannot_be_converted_leaves_nothing_behind(tmp_path):
    tensors = random_tensors(SMALL)
    tensors["layers.2.attention.wk.weight"][5, 6] = -1e5
    write_checkpoint(tmp_path / "source", SMALL, tensors)
    with pytest.raises(BadInput, match=r"layers.2.attention.wk.weight: -100000.0 at index .* too large for float16"):
        convert(tmp_path / "source", tmp_path / "there", "hf", "float16")
    write_checkpoint(tmp_path / "windows", replace(SMALL, window=(4, 5, 6)), tensors)
    with pytest.raises(BadInput, match="one size"):
        convert(tmp_path / "windows", tmp_path / "there", "hf")
    for layout, dtype in (("gguf", None), ("hf", "int8")):
        with pytest.raises(BadInput, match="expected"):
            convert(tmp_path / "source", tmp_path / "there", layout, dtype)
    with pytest.raises(KeyboardInterrupt):
        convert(
            tmp_path / "source", tmp_path / "there", "hf", progress=lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source", "windows"]


def test_a_destination_that_is_there_is_refused_unless_it_is_an_empty_folder(tmp_path):
    source = make(tmp_path / "source", "hf")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("full", "file", "link", "source", "no/such/parent", "file/inside", "nul\0"):
        with pytest.raises(BadInput, match=r"exists and is not|cannot be written"):
            convert(source, tmp_path / name, "mistral")
    (tmp_path / "empty").mkdir()
    convert(source, tmp_path / "empty", "mistral")
    assert open_checkpoint(tmp_path / "empty").config == SMALL


@pytest.mark.parametrize("name", ["window", "no-window", "tied", "per-layer"])
def test_transformers_reads_a_converted_folder_and_gives_the_same_logits(tmp_path, name):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    make(tmp_path / "native", "mistral", CONFIGS[name])
    convert(tmp_path / "native", tmp_path / "hf", "hf")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    with torch.no_grad():
        theirs = model(torch.tensor([TOKENS])).logits[0].numpy()
    ours = logits(tmp_path / "native", "float64")
    assert np.linalg.norm(theirs - ours) < 1e-5 * np.linalg.norm(ours)


def test_transformers_gives_the_same_logits_for_stories260k_converted(tmp_path, stories260k):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    convert(stories260k / "native", tmp_path / "hf", "hf")
    load = transformers.AutoModelForCausalLM.from_pretrained
    with torch.no_grad():
        ours, theirs = (
            load(folder, dtype=torch.float32)(torch.tensor([TOKENS])).logits
            for folder in (tmp_path / "hf", stories260k / "hf")
        )
    assert torch.equal(ours, theirs)


def test_names_against_what_transformers_calls_its_parameters():
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    config = transformers.MistralConfig(
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=9,
    )
    theirs = set(dict(transformers.MistralForCausalLM(config).named_parameters()))
    names = [f"layers.{i}.{name}.weight" for i in range(2) for name in LAYER_NAMES.values()]
    assert {hf_name(n) for n in [*names, "tok_embeddings.weight", "norm.weight", "output.weight"]} == theirs


# A gigabyte in half a gigabyte

LARGE = replace(SMALL, dim=2048, n_layers=10, head_dim=128, hidden_dim=6144, n_heads=16, n_kv_heads=4, vocab_size=16000)
RUN = """
import sys
from minimistral.mistral import Mistral
import minimistral.checkpoint
model = Mistral.from_pretrained  # everything is imported before the first measurement
def peak():  # not getrusage: that counts the parent's memory at the fork
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
before = peak()
model = Mistral.from_pretrained(sys.argv[1], sys.argv[2], memory=int(sys.argv[3]))
cache = model.new_cache()
for token in (1, 2, 3):
    logits = model.next_logits([token], cache)
print(peak() - before, model.weights.kept_bytes, logits.argmax())
"""


class Random(dict):
    """Tensors made when they are asked for, so that a large checkpoint is written in little memory."""

    def __getitem__(self, name: str) -> np.ndarray:
        shape = super().__getitem__(name)
        if len(shape) == 1:
            return np.ones(shape, ml_dtypes.bfloat16)
        bits = np.random.default_rng(zlib.crc32(name.encode())).integers(0, 2**16, shape, np.uint16)
        return ((bits & np.uint16(0x807F)) | np.uint16(0x3C00)).view(ml_dtypes.bfloat16)  # +-0.0078 to 0.0156


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures resident memory as Linux does")
@pytest.mark.parametrize("layout", ["mistral", "hf"])
def test_a_checkpoint_of_1_gb_runs_in_a_budget_of_500_mb(tmp_path, layout):
    from minimistral.weights import tensor_shapes

    if shutil.disk_usage(tmp_path).free < 3e9:
        pytest.skip("needs 3 GB of disk")
    write_checkpoint(tmp_path / "model", LARGE, Random(tensor_shapes(LARGE)), layout)
    assert open_checkpoint(tmp_path / "model").n_bytes > 1e9
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"}
    for arithmetic in ("exact", "bfloat16", "float32"):
        command = [sys.executable, "-c", RUN, str(tmp_path / "model"), arithmetic, str(500 * 10**6)]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        grown, kept, _ = map(int, result.stdout.split())
        print(f"{layout} {arithmetic}: grew by {grown / 1e6:.0f} MB, copies kept {kept / 1e6:.0f} MB")
        assert grown < 500e6
    shutil.rmtree(tmp_path / "model")
