"""`exact` gives one set of bits: whatever the chunks, batches, threads, BLAS kernels and machine."""

import os
import subprocess
import sys
from pathlib import Path

import known_bits
import numpy as np
import pytest
from known_bits import CONFIG, TOKENS, outlier_model, sha256

# Made once; a machine of any other type that runs this test must find the same.
KNOWN = {
    "float32": "70f9a23471ff8b6a47c98a173cfc9b63eb522b92b95267d21447ea2d70ddc4ee",
    "bfloat16": "68ecfc1bffdd617e5d40096e7d3ec4668aea4ef34b3a5a59a463e9b020b4f2b5",
}


@pytest.fixture(scope="module", params=list(KNOWN))
def model(request):
    model = outlier_model(request.param)
    model.known = KNOWN[request.param]
    return model


def test_one_shot_gives_the_known_hash(model):
    assert sha256(model(TOKENS, chunk=len(TOKENS))) == model.known


@pytest.mark.parametrize("chunk", [1, 2, 7, 17, 23, 24, 25, 32, 51, 64])  # 23, 24, 25, 51: W - 1, W, W + 1, 2 W + 3
def test_chunked_prefill_gives_the_same_bits(model, chunk):
    assert sha256(model(TOKENS, chunk=chunk)) == model.known


def test_float32_does_depend_on_chunks():
    model = outlier_model("float32", arithmetic="float32")
    assert sha256(model(TOKENS, chunk=100)) != sha256(model(TOKENS, chunk=7))  # so the tests above can fail


def test_ragged_batch_gives_the_same_bits_as_each_alone(model):
    parts = [TOKENS, TOKENS[:3], TOKENS[40:91], TOKENS[:24]]
    for chunk in (100, 19):
        batch = model(parts, [model.new_cache() for _ in parts], chunk=chunk)
        for logits, tokens in zip(batch, parts, strict=True):
            assert sha256(logits) == sha256(model(tokens, chunk=5))
        assert sha256(batch[0]) == model.known


@pytest.mark.parametrize("chunk", [1, 7, 23, 24, 25, 51, 70])
def test_generation_after_chunked_prefill_gives_the_same_bits(model, chunk):
    """A long chunk, then 2 W tokens one by one: a ring written in the wrong place shows here and nowhere else."""
    start = 100 - 2 * CONFIG.window
    cache = model.new_cache()
    rows = [model(TOKENS[:start], cache, chunk=chunk)]
    rows += [model(TOKENS[t : t + 1], cache) for t in range(start, 100)]
    assert sha256(np.concatenate(rows)) == model.known
    assert cache.length == 100 and all(len(k) == CONFIG.window for k in cache.keys)


def test_next_logits_is_the_last_row(model):
    assert sha256(model.next_logits(TOKENS)) == sha256(model(TOKENS)[-1])


def _dispatched_features() -> str:
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return " ".join(f for f in __cpu_dispatch__ if __cpu_features__.get(f))


ENVIRONMENTS = [
    *({"OPENBLAS_CORETYPE": core} for core in ("Haswell", "SkylakeX", "Zen", "Nehalem")),
    {"OPENBLAS_NUM_THREADS": "1"},
    {"OPENBLAS_NUM_THREADS": "2"},
    {"NPY_DISABLE_CPU_FEATURES": _dispatched_features()},
    {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "1", "NPY_DISABLE_CPU_FEATURES": _dispatched_features()},
]


@pytest.mark.parametrize(
    "environment", ENVIRONMENTS, ids=lambda e: "-".join(e).lower() + "-" + "-".join(e.values())[:9]
)
def test_other_kernels_and_threads_give_the_same_bits(environment):
    run = subprocess.run(
        [sys.executable, known_bits.__file__],
        check=False,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        timeout=120,
    )
    if run.returncode < 0:
        pytest.skip(f"this processor cannot run {environment}: the process ended on signal {-run.returncode}")
    assert run.stdout.split() == list(KNOWN.values()), run.stderr
