"""make-checkpoint: the weights that a seed says, in both layouts, in memory that does not grow, or one clear line."""

import json
import tracemalloc
from dataclasses import replace
from math import prod

import numpy as np
import pytest

from minimistral.checkpoint import open_checkpoint, random_checkpoint
from minimistral.checkpoint.random_checkpoint import SIZES, bytes_needed, write_random_checkpoint
from minimistral.cli import main
from minimistral.config import MISTRAL_7B, Config
from minimistral.errors import BadInput
from minimistral.mistral import Mistral
from minimistral.weights import random_tensors, tensor_shapes

SMALL = Config(dim=28, n_layers=2, head_dim=6, hidden_dim=44, n_heads=6, n_kv_heads=3, vocab_size=67, window=5)
TIED = replace(SMALL, tied_embeddings=True)


@pytest.mark.parametrize("block", [1, 333, 2**20])
@pytest.mark.parametrize("layout", ["mistral", "hf"])
@pytest.mark.parametrize("config", [SMALL, TIED])
def test_the_file_holds_what_random_weights_say(tmp_path, monkeypatch, config, layout, block):
    monkeypatch.setattr(random_checkpoint, "BLOCK", block)
    write_random_checkpoint(tmp_path / "made", config, layout, seed=11)
    checkpoint = open_checkpoint(tmp_path / "made")
    assert (checkpoint.config, checkpoint.layout, checkpoint.dtype) == (config, layout, "bfloat16")
    assert checkpoint.notes == []
    expected = random_tensors(config, 11, "bfloat16")
    assert set(checkpoint.tensors) == set(expected)
    for name, w in expected.items():
        assert (checkpoint.tensors[name].view(np.uint16) == w.view(np.uint16)).all(), name


def test_both_layouts_are_the_same_model_and_another_seed_is_another(tmp_path):
    for name, layout, seed in (("a", "mistral", 3), ("b", "hf", 3), ("c", "hf", 4)):
        write_random_checkpoint(tmp_path / name, SMALL, layout, seed)
    a, b, c = (Mistral.from_pretrained(tmp_path / name)([1, 5, 66, 7, 2, 9, 4, 30]) for name in "abc")
    assert (a.view(np.uint32) == b.view(np.uint32)).all()
    assert (a != c).any()


def test_transformers_computes_the_same_from_the_hf_layout(tmp_path):
    torch = pytest.importorskip("torch", reason="transformers needs PyTorch: pip install 'minimistral[oracle]'")
    transformers = pytest.importorskip("transformers", reason="pip install 'minimistral[oracle]'")
    write_random_checkpoint(tmp_path / "hf", SMALL, "hf", 5)
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", local_files_only=True).float().eval()
    tokens = np.random.default_rng(0).integers(0, 67, 17)
    with torch.inference_mode():
        expected = peer(torch.from_numpy(tokens)[None]).logits[0].numpy()
    got = Mistral.from_pretrained(tmp_path / "hf", "float32")(tokens)
    assert np.linalg.norm(got - expected) < 1e-4 * np.linalg.norm(expected)


def test_memory_does_not_grow_with_the_model(tmp_path):
    peaks = []
    for name, dim in (("warm", 32), ("small", 256), ("large", 1024)):  # the largest matrix: 2 and 8 blocks
        config = Config(dim, 1, 32, 4 * dim, dim // 32, dim // 32, 8192, window=7)
        tracemalloc.start()
        write_random_checkpoint(tmp_path / name, config, "hf", 0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.01 * peaks[1], peaks
    assert peaks[2] < random_checkpoint.BLOCK * 30, peaks  # bytes a value of one block: float64 on the way, twice


def test_sizes_are_what_their_names_say():
    totals = {name: sum(map(prod, tensor_shapes(config).values())) for name, config in SIZES.items()}
    assert totals == {"130M": 124_668_672, "1B": 1_003_554_816, "7B": 7_241_732_096}
    assert SIZES["7B"] is MISTRAL_7B and SIZES["130M"].window == 256
    assert 2 * totals["7B"] < bytes_needed(MISTRAL_7B) < 2.001 * totals["7B"]


def one_line(capsys, *arguments) -> str:
    """What the program says after it could not do its work."""
    status = main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert (status, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    return err


def test_the_command_makes_a_folder_under_its_name_and_leaves_no_other(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(SIZES, "130M", SMALL)
    assert main(["make-checkpoint", str(tmp_path / "new"), "--params", "130M", "--layout", "hf", "--seed", "9"]) == 0
    assert capsys.readouterr() == ("", "")
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    assert json.loads((tmp_path / "new" / "config.json").read_text())["sliding_window"] == 5
    norm = open_checkpoint(tmp_path / "new").tensors["norm.weight"]
    assert (norm == random_tensors(SMALL, 9, "bfloat16")["norm.weight"]).all()


def test_a_small_disk_is_one_line_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    class Usage:
        free = 3_000_000_000

    monkeypatch.setattr(random_checkpoint.shutil, "disk_usage", lambda path: Usage)
    err = one_line(capsys, "make-checkpoint", tmp_path / "big", "--params", "7B")
    assert "needs 14.5 GB, but the disk has 3 GB free" in err
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    make = ("make-checkpoint", tmp_path / "new")
    assert "'13B', expected one of 130M, 1B, 7B" in one_line(capsys, *make, "--params", "13B")
    assert "expected hf or mistral" in one_line(capsys, *make, "--params", "130M", "--layout", "gguf")
    assert "--seed: '-1'" in one_line(capsys, *make, "--params", "130M", "--seed", "-1")
    assert "--params" in one_line(capsys, *make)
    assert "not empty" in one_line(capsys, "make-checkpoint", tmp_path / "full", "--params", "130M")
    assert "is not a folder" in one_line(capsys, "make-checkpoint", tmp_path / "no" / "new", "--params", "130M")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full"]


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def stop(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_random_checkpoint(tmp_path / "new", SMALL, "mistral", 0, stop)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match="layout"):
        write_random_checkpoint(tmp_path / "new", SMALL, "other")
