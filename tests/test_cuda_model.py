"""CudaMistral against the reference, whole: on a GPU, or tiny on Numba's simulator.

Without a GPU test_cuda_simulator.py runs this file in a process whose NUMBA_ENABLE_CUDASIM is 1.
"""

from dataclasses import replace

import numpy as np
import pytest
from adversarial import differing

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

from fastpath.cuda import CudaMistral, available

if (missing := available()) is not None:
    pytest.skip(f"needs {missing}; test_cuda_simulator.py runs these small", allow_module_level=True)

from fastpath.cuda.intrinsics import SIMULATED
from fastpath.cuda.model import check_memory
from minimistral import Mistral
from minimistral.config import Config
from minimistral.errors import BadInput, NotFinite
from minimistral.trace import stage_names
from minimistral.weights import random_tensors

pytestmark = pytest.mark.gpu
TINY = Config(dim=12, n_layers=2, head_dim=6, hidden_dim=20, n_heads=4, n_kv_heads=2, vocab_size=31, window=3)
SMALL = Config(dim=768, n_layers=3, head_dim=64, hidden_dim=2048, n_heads=12, n_kv_heads=4, vocab_size=3001, window=50)
SIZE = TINY if SIMULATED else SMALL
T = 5 if SIMULATED else 150
PLAIN = [True] if SIMULATED else [True, False]  # the fast kernels of prefill have their own tests on the simulator


def pair(config: Config, dtype: str = "float32", plain: bool = True, seed: int = 5) -> tuple[Mistral, CudaMistral]:
    """The reference with outlier channels, and the same weights on the GPU."""
    tensors = random_tensors(config, seed, dtype)
    tensors["layers.0.attention_norm.weight"][3] *= 30
    tensors["layers.0.feed_forward.w2.weight"][7] *= 50
    reference = Mistral.from_tensors(tensors, config)
    return reference, CudaMistral(config, reference.weights, reference.arithmetic, plain=plain)


def tokens(n: int = T, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, SIZE.vocab_size, n)


@pytest.mark.parametrize("plain", PLAIN)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_stage_has_the_references_bits(dtype, plain):
    reference, model = pair(SIZE, dtype, plain)
    ids, everything = tokens(), ["*", "*scores"]
    expected = reference.trace(ids, only=everything)
    for chunk in [2] if dtype == "bfloat16" and SIMULATED else [None, 2]:  # goes around a window of 3
        found = model.trace(ids, chunk, only=everything)
        assert list(found) == list(expected)
        assert {n: differing(found[n], expected[n]) for n in found if differing(found[n], expected[n])} == {}
    assert [n for n in stage_names(SIZE) if n not in found] == []


@pytest.mark.skipif(not SIMULATED, reason="the test above has the same kernels on a GPU")
def test_every_stage_of_a_prefill_by_tensor_cores():
    reference, model = pair(replace(SIZE, n_layers=1), "bfloat16", plain=False)
    ids = tokens(9)  # more rows than the kernels of decoding take
    expected, found = (m.trace(ids, only=["*", "*scores"]) for m in (reference, model))
    assert {n: differing(found[n], expected[n]) for n in expected if differing(found[n], expected[n])} == {}


@pytest.mark.parametrize("plain", PLAIN)
@pytest.mark.parametrize("window", [None, (3, None)] if SIMULATED else [None, 50, (50, None, 7)])
def test_chunks_and_batches_change_no_bit(window, plain):
    reference, model = pair(replace(SIZE, window=window), "float16", plain, seed=6)
    a, b = tokens(), tokens(T - 1, seed=2)
    together = [model.new_cache(), model.new_cache()]
    first = model([a[:3], b[:1]], together)
    steps = [model([a[3:4], b[1:2]], together)]  # one token each: straight into the rings
    steps.append(model([a[4:], b[2:]], together))
    expected = reference(a), reference(b)
    for i in range(2):
        assert differing(np.concatenate([first[i], *(s[i] for s in steps)]), expected[i]) == 0


def test_stages_come_in_the_references_order_with_one_token_a_sequence():
    reference, model = pair(SIZE)
    caches = {m: [m.new_cache(), m.new_cache()] for m in (reference, model)}
    parts = [tokens(4, seed=3), tokens(2, seed=4)]
    seen = {reference: [], model: []}
    for m in (reference, model):
        m(parts, caches[m])
        m.hidden([parts[0][:1], parts[1][:1]], caches[m], lambda name, x, m=m: seen[m].append((name, x)) or x)
    assert [n for n, _ in seen[model]] == [n for n, _ in seen[reference]]
    for (name, x), (_, y) in zip(seen[model], seen[reference], strict=True):
        assert differing(x, np.asarray(y, np.float32)) == 0, name


@pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 0.8, "top_p": 0.9, "top_k": 20}])
def test_generation_draws_what_the_reference_draws(options):
    reference, model = pair(SIZE)
    prompts, steps, seeds = [tokens(3), tokens(1, seed=8)], 3 if SIMULATED else 120, [3, 4]
    expected = list(reference.generate(prompts, steps, seed=seeds, **options))
    assert list(model.generate(prompts, steps, seed=seeds, **options)) == expected
    if not SIMULATED:
        assert model.notes == []  # the step was captured as a graph


@pytest.mark.skipif(not SIMULATED, reason="launches are counted on the simulator")
def test_a_step_is_ten_launches_a_layer_and_four_more(monkeypatch):
    from fastpath.cuda import simulated
    from fastpath.cuda.decode import Decoder

    class Counted(simulated.Launch):
        launches = 0

        def __init__(self, *arguments):
            Counted.launches += 1
            super().__init__(*arguments)

    monkeypatch.setattr(simulated, "Launch", Counted)
    _, model = pair(TINY)
    Decoder(model.forward, [model.new_cache()], [1], (0.7, 0.9, 0), [0], []).step()
    assert Counted.launches == 10 * TINY.n_layers + 4


def test_a_sequence_that_ends_leaves_the_others_as_they_were():
    reference, model = pair(SIZE)
    prompts, steps = [tokens(2, seed=i) for i in range(2)], 4 if SIMULATED else 60
    plain = list(reference.generate(prompts, steps, temperature=0.9, seed=[1, 2]))
    ending = next(t for step in plain[1:] for t in step if t is not None)  # becomes the id that ends a text
    for m in (reference, model):
        type(m).eos_id, m.kept = property(lambda self: ending), type(m).__dict__.get("eos_id")
    try:
        expected = list(reference.generate(prompts, steps, temperature=0.9, seed=[1, 2]))
        assert any(None in step for step in expected) or len(expected) < steps
        assert list(model.generate(prompts, steps, temperature=0.9, seed=[1, 2])) == expected
    finally:
        del CudaMistral.eos_id
        Mistral.eos_id = reference.kept


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        ("tok_embeddings.weight", np.inf),
        ("layers.1.attention.wo.weight", 3e38),
        ("layers.0.feed_forward.w1.weight", 3e38),
        ("layers.1.attention.wq.weight", 1e37),  # finite queries, infinite scores
        ("norm.weight", 3e38),
    ],
)
@pytest.mark.parametrize("n", [1, 4])
def test_the_same_stage_is_named_when_a_number_is_not_finite(tensor, value, n):
    tensors = random_tensors(SIZE, 7)
    tensors[tensor] = np.copysign(np.float32(value), tensors[tensor])
    if ".wq." in tensor:
        tensors["layers.1.attention.wk.weight"] *= np.float32(1e6)
    reference = Mistral.from_tensors(tensors, SIZE)
    model = CudaMistral(SIZE, reference.weights, reference.arithmetic, plain=True)
    ids = tokens(n)
    with np.errstate(all="ignore"):
        with pytest.raises(NotFinite) as expected:
            reference(ids)
        cache = model.new_cache()
        with pytest.raises(NotFinite) as found:
            model(ids, cache)
    assert str(found.value) == str(expected.value)
    assert cache.length == 0 or "logits" in str(found.value)


def test_a_failed_call_leaves_the_cache_as_it_was():
    tensors = random_tensors(SIZE, 7)
    tensors["tok_embeddings.weight"][5, 2] = np.nan  # an id that cannot be used
    reference = Mistral.from_tensors(tensors, SIZE)
    model = CudaMistral(SIZE, reference.weights, reference.arithmetic, plain=True)
    good = np.where(tokens(4) == 5, 6, tokens(4))
    caches = [m.new_cache() for m in (reference, model)]
    reference(good, caches[0])
    model(good, caches[1])
    for bad in ([5], [1, 5]):
        with np.errstate(all="ignore"), pytest.raises(NotFinite):
            model(bad, caches[1])
    assert differing(model(good, caches[1]), reference(good, caches[0])) == 0


def test_a_cache_of_the_reference_is_an_error():
    reference, model = pair(SIZE)
    with pytest.raises(BadInput, match="caches: made by another model"):
        model([1], reference.new_cache())


@pytest.mark.parametrize("field", ["dim", "hidden_dim"])
def test_more_terms_than_exact_arithmetic_sums_are_an_error_before_any_work(field):
    from minimistral.arithmetic import by_name

    with pytest.raises(BadInput, match="at most 32768 terms"):
        CudaMistral(replace(SIZE, **{field: 32770}), None, by_name("exact"))


def test_weights_that_do_not_fit_are_an_error_of_one_line():
    reference = Mistral.random(TINY)
    numbers = sum(t.size for t in random_tensors(TINY).values())
    check_memory(TINY, reference.weights, 4 * numbers)
    with pytest.raises(
        BadInput, match=r"^backend: cuda needs 0\.\d+ GB of GPU memory for the weights, 0\.\d+ GB is free$"
    ):
        check_memory(TINY, reference.weights, 4 * numbers - 1)


def test_another_arithmetic_is_an_error():
    other = Mistral.random(TINY, arithmetic="float32")
    with pytest.raises(BadInput, match="cuda computes exact only"):
        CudaMistral(TINY, other.weights, other.arithmetic)


@pytest.mark.skipif(SIMULATED, reason="too much for the simulator: needs an NVIDIA GPU")
def test_known_bits_and_a_long_context():
    from known_bits import CONFIG, TOKENS, outlier_model

    for dtype in ("float32", "bfloat16"):
        reference = outlier_model(dtype)
        for plain in (True, False):
            model = CudaMistral(CONFIG, reference.weights, reference.arithmetic, plain=plain)
            assert differing(model(TOKENS), reference(TOKENS)) == 0
            assert differing(model(TOKENS, chunk=17), reference(TOKENS)) == 0


@pytest.mark.skipif(SIMULATED, reason="CUDA graphs: needs an NVIDIA GPU")
def test_steps_with_and_without_a_graph_are_the_same():
    from fastpath.cuda.decode import Decoder

    _, model = pair(replace(SMALL, window=None))  # the cache grows: the graph is made again
    drawn = []
    for capture in (True, False):
        cache = model.new_cache()
        model(tokens(), cache)
        decoder = Decoder(model.forward, [cache], [1], (0.9, 0.95, 0), [7], model.notes)
        decoder.may_capture = capture
        drawn.append([decoder.step() for _ in range(200)])
        assert (decoder.graph is not None) == capture
    assert drawn[0] == drawn[1]
