"""The compiled CPU kernels give the reference's bits: whatever the chunks, batches, threads, and the processor."""

import os
import subprocess
import sys
from pathlib import Path

import known_bits
import numpy as np
import pytest
from known_bits import TOKENS, outlier_model, sha256
from test_same_bits import KNOWN

import fastpath
from fastpath.cpu.model import CpuMistral
from fastpath.cpu.team import threads_for
from minimistral import BadInput, Config, Mistral
from minimistral.errors import NotFinite
from minimistral.weights import random_tensors


def compiled(model: Mistral, threads: int = 2) -> CpuMistral:
    return CpuMistral(model.config, model.weights, model.arithmetic, threads)


@pytest.fixture(scope="module", params=list(KNOWN))
def model(request):
    model = compiled(outlier_model(request.param))
    model.known = KNOWN[request.param]
    return model


@pytest.mark.parametrize("chunk", [1, 2, 7, 17, 23, 24, 25, 32, 51, 64, 100])
def test_the_known_hash_in_chunks(model, chunk):
    assert sha256(model(TOKENS, chunk=chunk)) == model.known


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_the_known_hash_with_any_number_of_threads(threads):
    for dtype, known in KNOWN.items():
        model = compiled(outlier_model(dtype), threads)
        assert sha256(model(TOKENS, chunk=17)) == known


@pytest.mark.parametrize(
    "environment",
    [
        {"NUMBA_CPU_NAME": "generic"},
        {"NUMBA_CPU_NAME": "generic", "NUMBA_NUM_THREADS": "1"},
        {"NUMBA_NUM_THREADS": "1"},
    ],
    ids=["generic", "generic-1-thread", "1-thread"],
)
def test_the_known_hash_on_other_processors(environment, tmp_path):
    """generic: no AVX and no fused multiply-add, so other vectors and other orders of every sum."""
    run = subprocess.run(
        [sys.executable, known_bits.__file__, "cpu"], check=False, env=os.environ | environment, capture_output=True,
        text=True, cwd=Path(__file__).parents[1], timeout=300,
    )  # fmt: skip
    assert run.stdout.split() == list(KNOWN.values()) * 3, run.stderr


def test_a_ragged_batch_gives_the_bits_of_each_alone(model):
    parts = [TOKENS, TOKENS[:3], TOKENS[:1], TOKENS[40:91], TOKENS[:24]]
    for chunk in (100, 19, 1):
        batch = model(parts, [model.new_cache() for _ in parts], chunk=chunk)
        for logits, tokens in zip(batch, parts, strict=True):
            assert sha256(logits) == sha256(model(tokens, chunk=5))
        assert sha256(batch[0]) == model.known


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("window", [None, 1, 7, (5, None, 9)])
def test_every_stage_is_the_references(dtype, window):
    config = Config(
        dim=44, n_layers=3, head_dim=14, hidden_dim=71, n_heads=6, n_kv_heads=2, vocab_size=53, window=window
    )
    reference = Mistral.random(config, seed=3, dtype=dtype)
    model = compiled(reference)
    tokens = np.random.default_rng(1).integers(0, 53, 41)
    for chunk in (41, 6, 1):
        for only in (None, "*.scores"):
            expected, found = (m.trace(tokens, chunk, only) for m in (reference, model))
            assert list(found) == list(expected)
            for name, x in expected.items():
                assert found[name].dtype == x.dtype and found[name].shape == x.shape
                np.testing.assert_array_equal(found[name].view(np.int32), x.view(np.int32), err_msg=f"{name} {chunk}")


@pytest.mark.parametrize("head_dim", [2, 64, 128, 130, 256, 512])
def test_head_dimensions(head_dim):
    config = Config(
        dim=24, n_layers=1, head_dim=head_dim, hidden_dim=40, n_heads=3, n_kv_heads=1, vocab_size=29, window=11
    )
    reference = Mistral.random(config, dtype="bfloat16")
    tokens = np.random.default_rng(1).integers(0, 29, 30)
    for chunk in (30, 1):
        assert sha256(compiled(reference)(tokens, chunk=chunk)) == sha256(reference(tokens))


def test_rows_longer_than_one_int64_can_sum():
    """hidden_dim 9000: several times 512 terms a lane, and a tail that is not a whole vector."""
    config = Config(dim=16, n_layers=1, head_dim=8, hidden_dim=9001, n_heads=2, n_kv_heads=1, vocab_size=23)
    tensors = random_tensors(config, dtype="float32")
    tensors["layers.0.feed_forward.w2.weight"][:] = np.float32(1 - 2.0**-24)  # every product as large as it can be
    for name in ("w1", "w3"):
        tensors[f"layers.0.feed_forward.{name}.weight"][:] = np.float32(2)
    reference = Mistral.from_tensors(tensors, config)
    for tokens in ([3], list(range(20))):
        assert sha256(compiled(reference)(tokens)) == sha256(reference(tokens))


def test_tiny_and_zero_rows_of_weights():
    config = Config(dim=40, n_layers=1, head_dim=8, hidden_dim=24, n_heads=2, n_kv_heads=1, vocab_size=23)
    for dtype in ("bfloat16", "float16", "float32"):
        tensors = random_tensors(config, dtype=dtype)
        for name in ("attention.wq", "feed_forward.w1", "feed_forward.w2"):
            w = tensors[f"layers.0.{name}.weight"]
            w[0], w[1] = 0, w[1] * w.dtype.type(1e-38 if dtype != "float16" else 1e-6)
            w[2] = np.finfo(np.float32).smallest_subnormal if dtype == "float32" else w[2] * w.dtype.type(2.0**-14)
        reference = Mistral.from_tensors(tensors, config)
        for tokens in ([3], list(range(20))):
            expected, found = reference.trace(tokens), compiled(reference).trace(tokens)
            for name in expected:
                assert sha256(found[name]) == sha256(expected[name]), (dtype, name)


def test_generation_draws_the_same(model):
    reference = Mistral(model.config, model.weights, model.arithmetic)
    prompts = [TOKENS[:5], TOKENS[:40], TOKENS[7:9]]
    expected = list(reference.generate(prompts, 60, seed=[1, 2, 3]))
    assert list(model.generate(prompts, 60, seed=[1, 2, 3])) == expected


def test_storyteller_and_next_logits():
    model, reference = fastpath.load(), Mistral.from_pretrained()
    tokens = model.tokenizer.encode("Once upon a time")
    assert list(model.generate(tokens, 80)) == list(reference.generate(tokens, 80))
    assert sha256(model.next_logits(tokens)) == sha256(reference(tokens)[-1])


@pytest.mark.parametrize("memory", [0, 10**6, None])
def test_any_memory_gives_the_same_bits(memory):
    tokens = [1, 5, 9, 700]
    model, cache = fastpath.load(memory=memory), None
    for _ in range(2):  # the second time, kept matrices are used again
        cache = model.new_cache()
        found = [model.next_logits(tokens, cache), model.next_logits(tokens[:1], cache)]
    reference = Mistral.from_pretrained()
    expected = reference(tokens + tokens[:1])
    assert sha256(np.stack(found)) == sha256(expected[-2:])


def test_the_cache_holds_the_window_and_can_be_read():
    reference = Mistral.random(Config(dim=16, n_layers=2, head_dim=8, hidden_dim=24, n_heads=2, n_kv_heads=1,
                                      vocab_size=23, window=5))  # fmt: skip
    model = compiled(reference)
    caches = model.new_cache(), reference.new_cache()
    tokens = np.arange(17) % 23
    for m, cache in zip((model, reference), caches, strict=True):
        m(tokens, cache, chunk=4)
    assert caches[0].length == caches[1].length == 17
    for layer in range(2):
        (keys, values, positions), (k, v, p) = caches[0].read(layer), caches[1].read(layer)
        assert (positions == p).all() and keys.shape == k.shape
        np.testing.assert_allclose(keys, k, rtol=0, atol=np.abs(k).max() * 2.0**-22)
        np.testing.assert_allclose(values, v, rtol=0, atol=np.abs(v).max() * 2.0**-22)
    with pytest.raises(BadInput, match="made by another model"):
        model([1], caches[1])
    with pytest.raises(BadInput, match="made by another model"):
        reference([1], caches[0])


BROKEN = {  # a tensor made too large, and the stage where that shows
    "layers.0.attention_norm.weight": 3e38,
    "layers.1.attention.wq.weight": 3e38,
    "layers.1.attention.wq.weight layers.1.attention.wk.weight": 3e30,  # scores
    "layers.0.attention.wv.weight": 3e38,
    "layers.1.feed_forward.w1.weight": 3e38,
    "layers.0.feed_forward.w2.weight": 3e38,
    "norm.weight": 3.4e38,
    "output.weight": 3e38,
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_same_error_for_the_same_stage(name):
    config = Config(dim=16, n_layers=2, head_dim=8, hidden_dim=24, n_heads=2, n_kv_heads=1, vocab_size=23, window=9)
    tensors = random_tensors(config)
    for one in name.split():
        tensors[one] = np.sign(tensors[one]) * np.float32(BROKEN[name])
    reference = Mistral.from_tensors(tensors, config)
    model = compiled(reference)
    for tokens, chunk in ((np.arange(20), 20), (np.arange(20), 1), ([3], 1)):
        with pytest.raises(NotFinite) as expected:
            reference(tokens, chunk=chunk)
        cache = model.new_cache()
        with pytest.raises(NotFinite) as found:
            model(tokens, cache, chunk=chunk)
        assert str(found.value) == str(expected.value)
        assert name == "output.weight" or cache.length == 0


def test_threads_are_as_many_as_are_worth_it(monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.setattr("numba.core.config.NUMBA_NUM_THREADS", 8)
    assert [threads_for(n) for n in (1000, 10**6, 1_700_000, 10**9)] == [1, 2, 3, 8]
    monkeypatch.setenv("NUMBA_NUM_THREADS", "8")
    assert threads_for(1000) == 8


def test_other_arithmetics_are_refused():
    with pytest.raises(BadInput, match="exact only"):
        CpuMistral.from_pretrained(arithmetic="float32")
    with pytest.raises(BadInput, match="expected one of cpu, cuda"):
        fastpath.load(backend="gpu")


def test_two_threads_can_use_one_model(model):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        hashes = list(pool.map(lambda chunk: sha256(model(TOKENS, chunk=chunk)), [100, 7, 1, 33, 50, 3]))
    assert set(hashes) == {model.known}


def test_a_cache_folder_that_cannot_be_written_is_no_error():
    """Numba raises where it finds no folder that it may write; the kernels are then compiled without one."""
    code = """
from numba.core import caching
caching.CompileResultCacheImpl._locator_classes = []
import numpy as np
from fastpath.cpu.kernels import row_scales
from fastpath.cpu.team import Team
w, scales, factors = np.array([[1.5, -3.0]], np.float32), np.zeros(1, np.float32), np.zeros(1)
Team(1).run(row_scales, 2, w.ctypes.data, 1, 2, scales, factors)
print(row_scales.stats.cache_path, factors[0] * 2**21)
"""
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True,
                         cwd=Path(__file__).parents[1], timeout=120)  # fmt: skip
    assert run.stdout.split() == ["None", "1.0"], run.stderr
