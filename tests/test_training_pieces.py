"""Gradients by hand against differences of the loss, in plain NumPy float64; and what packing, windows and memory promise.

`FAULTS` are backward functions that are wrong in one place: every check here must see each of them.
"""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from minimistral.config import Config
from minimistral.errors import BadInput, NotFinite
from minimistral.mistral import Mistral
from minimistral.training import attention as attention_module
from minimistral.training import model as model_module
from minimistral.training import pieces
from minimistral.training.batch import Batch, packed
from minimistral.training.model import loss_and_gradients, loss_only
from minimistral.weights import random_tensors, tensor_shapes

LIMIT = (
    1e-9  # relative; differences of fourth order leave about 1e-11 of a piece, and of the whole model ten times that
)
CONFIG = Config(
    dim=14, n_layers=3, head_dim=4, hidden_dim=22, n_heads=6, n_kv_heads=2, vocab_size=31, window=(3, None, 5),
    norm_eps=1e-2, rope_theta=50.0,
)  # fmt: skip
LENGTHS = (9, 2, 71, 16)  # tokens of the documents: 94 positions, so a block ends inside the third


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def slope(f: Callable[[float], float], step: float = 2e-4) -> float:
    """f'(0), by differences of fourth order."""
    return (8 * (f(step) - f(-step)) - (f(2 * step) - f(-2 * step))) / (12 * step)


def by_differences(f: Callable[[], float], x: np.ndarray) -> np.ndarray:
    """The gradient of f by x, one coordinate after another; f reads x, which is changed in place and set back."""

    def along(i) -> float:
        def moved(by: float) -> float:
            before, x[i] = x[i], x[i] + by
            value = f()
            x[i] = before
            return value

        return slope(moved)

    return np.array([along(i) for i in np.ndindex(x.shape)]).reshape(x.shape)


def case(name: str) -> tuple[list[np.ndarray], Callable, Callable]:
    """A piece with random inputs: (what it is differentiated by, () -> loss, backward function -> gradients)."""
    rng = np.random.default_rng(7)
    normal = rng.standard_normal
    if name == "linear":
        x, w, dy = normal((5, 3)), normal((4, 3)), normal((5, 4))
        return [x, w], lambda: (dy * pieces.linear(x, w)).sum(), lambda f: f(dy, x, w)
    if name == "rms_norm":
        x, w, dy = normal((5, 6)), normal(6), normal((5, 6))
        return [x, w], lambda: (dy * pieces.rms_norm(x, w, 0.01)).sum(), lambda f: f(dy, x, w, 0.01)
    if name == "rope":
        turns = pieces.rope_table(np.array([0, 1, 2, 0, 9]), 6, 20.0, "float64")
        x, dy = normal((5, 3, 6)), normal((5, 3, 6))
        return [x], lambda: (dy * pieces.rope(x, *turns)).sum(), lambda f: (f(dy, *turns),)
    if name == "swiglu":
        gate, up, dy = 2 * normal((5, 7)), normal((5, 7)), normal((5, 7))
        return [gate, up], lambda: (dy * pieces.swiglu(gate, up)).sum(), lambda f: f(dy, gate, up)
    if name == "embedding":
        table, tokens, dy = normal((6, 3)), np.array([4, 0, 4, 5, 4]), normal((5, 3))
        return [table], lambda: (dy * pieces.embedding(tokens, table)).sum(), lambda f: (f(dy, tokens, 6),)
    if name == "cross_entropy":
        logits, targets, weights = 2 * normal((5, 7)), np.array([0, 6, 2, 2, 5]), np.array([1, 0, 1, 0.5, 1])
        log_sums = pieces.cross_entropy(logits, targets, weights)[1]
        loss = lambda: pieces.cross_entropy(logits, targets, weights)[0]
        return [logits], loss, lambda f: (f(logits, log_sums, targets, weights),)
    window = None if name == "attention, no window" else 3
    starts = np.array([0, 0, 0, 0, 0, 0, 6, 7, 7, 7, 7])
    q, k, v, dout = 1.5 * normal((11, 6, 2)), normal((11, 2, 2)), normal((11, 2, 2)), normal((11, 6, 2))
    kept = pieces.attention(q, k, v, starts, window)
    loss = lambda: (dout * pieces.attention(q, k, v, starts, window)[0]).sum()
    return [q, k, v], loss, lambda f: f(dout, q, k, v, *kept, starts, window)


CASES = ("linear", "rms_norm", "rope", "swiglu", "embedding", "cross_entropy", "attention", "attention, no window")


def backward_of(name: str) -> str:
    return name.split(",")[0] + "_backward"


def largest_difference(name: str, backward: Callable) -> float:
    """Of a piece's gradients from their differences, relative, the worst of them."""
    inputs, loss, gradients = case(name)
    return max(relative(g, by_differences(loss, x)) for x, g in zip(inputs, gradients(backward), strict=True))


@pytest.fixture
def small_blocks(monkeypatch):
    """Queries by four, so that eleven positions are three blocks."""
    monkeypatch.setattr(attention_module, "QUERIES", 4)


@pytest.mark.parametrize("name", CASES)
def test_each_backward_function_is_the_gradient_by_differences(name, small_blocks):
    assert largest_difference(name, getattr(pieces, backward_of(name))) < LIMIT


def last_of_a_token_wins(dh, tokens, vocab_size):
    dtable = np.zeros((vocab_size, dh.shape[1]))
    dtable[tokens] = dh
    return dtable


def keys_not_scaled(dout, q, *rest):
    dq, dk, dv = pieces.attention_backward(dout, q, *rest)
    return dq, dk * q.shape[2] ** 0.5, dv


def softmax_alone(dout, q, k, v, out, *rest):
    return pieces.attention_backward(dout, q, k, v, 0 * out, *rest)


def other_documents_seen(dout, q, k, v, out, log_sums, starts, window):
    return pieces.attention_backward(dout, q, k, v, out, log_sums, 0 * starts, window)


def a_key_too_few(dout, q, k, v, out, log_sums, starts, window):
    return pieces.attention_backward(dout, q, k, v, out, log_sums, starts, window and window - 1)


def no_term_of_the_mean(dy, x, weight, eps):
    return dy * weight / np.sqrt((x * x).mean(-1, keepdims=True) + eps), pieces.rms_norm_backward(dy, x, weight, eps)[1]


def sigmoid_for_slope(dy, gate, up):
    s = 1 / (1 + np.exp(-gate))
    return dy * up * s, dy * gate * s


FAULTS = {  # (piece, the claim it breaks): a wrong backward function
    ("linear", "dx and dw belong to the same y"): lambda dy, x, w: (dy @ w, dy.T @ (x * (1 + 1e-6))),
    ("rms_norm", "what lies along x is taken out"): no_term_of_the_mean,
    ("rms_norm", "eps is in the root here too"): lambda dy, x, w, eps: pieces.rms_norm_backward(dy, x, w, 0.999 * eps),
    ("rope", "the gradient is turned back"): lambda dy, cos, sin: pieces.rope(dy, cos, sin),
    ("swiglu", "silu's slope is more than its sigmoid"): sigmoid_for_slope,
    ("embedding", "a token's gradients are added"): last_of_a_token_wins,
    ("cross_entropy", "weights count"): lambda z, s, t, w: pieces.cross_entropy_backward(z, s, t, 0 * w + 1),
    ("cross_entropy", "the target is subtracted"): lambda z, s, t, w: w[:, None] * np.exp(z - s[:, None]),
    ("attention", "a larger p makes the others smaller"): softmax_alone,
    ("attention", "scores are scaled"): keys_not_scaled,
    ("attention", "each document is its own"): other_documents_seen,
    ("attention", "the window is W keys"): a_key_too_few,
}


@pytest.mark.parametrize("fault", FAULTS, ids=" ".join)
def test_differences_show_each_planted_fault_of_a_piece(fault, small_blocks):
    assert largest_difference(fault[0], FAULTS[fault]) > 10 * LIMIT


def with_fault(fault: tuple[str, str]) -> SimpleNamespace:
    """The pieces, one of them wrong."""
    return SimpleNamespace(**{**vars(pieces), backward_of(fault[0]): FAULTS[fault]})


def documents(seed: int, lengths=LENGTHS, vocab_size: int = CONFIG.vocab_size) -> list[tuple[np.ndarray, np.ndarray]]:
    """Documents of random tokens; about a third of the targets count nothing, and some a half."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, vocab_size, n), rng.choice([0, 0.5, 1], n)) for n in lengths]


def worst_slope(config: Config, batch: Batch, pieces_) -> float:
    """Of every tensor, two coordinates and a random direction: the worst difference of the loss from the gradient.

    Relative to the gradient's size along such a direction (its root mean square for a coordinate).
    """
    rng = np.random.default_rng(3)
    parameters = random_tensors(config, 1, "float64")
    _, gradients = loss_and_gradients(parameters, config, batch, pieces_)
    worst = 0.0
    for name, g in gradients.items():
        directions = rng.standard_normal((3, g.size)) / g.size**0.5
        directions[1:] = np.eye(1, g.size)[0], np.eye(1, g.size, int(rng.integers(g.size)))[0]
        for d in directions.reshape(3, *g.shape):

            def moved(by, name=name, d=d) -> float:
                return loss_only({**parameters, name: parameters[name] + by * d}, config, batch)

            worst = max(worst, abs(slope(moved) - (g * d).sum()) / (np.linalg.norm(g) / g.size**0.5))
    return worst


@pytest.mark.parametrize("tied", [False, True])
def test_the_models_gradient_is_the_slope_of_its_loss(tied):
    assert worst_slope(replace(CONFIG, tied_embeddings=tied), packed(documents(0)), pieces) < 10 * LIMIT


@pytest.mark.parametrize("fault", FAULTS, ids=" ".join)
def test_the_models_slopes_show_each_planted_fault(fault):
    assert worst_slope(replace(CONFIG, n_layers=1), packed(documents(0)), with_fault(fault)) > 100 * LIMIT


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tied", [False, True])
def test_recompute_gives_the_same_bits_in_the_type_of_the_parameters(dtype, tied):
    config = replace(CONFIG, tied_embeddings=tied)
    parameters, batch = random_tensors(config, 2, dtype), packed(documents(1))
    loss, gradients = loss_and_gradients(parameters, config, batch)
    again, others = loss_and_gradients(parameters, config, batch, recompute=True)
    assert loss == again == loss_only(parameters, config, batch)
    assert list(gradients) == list(others) == list(tensor_shapes(config))
    for name, shape in tensor_shapes(config).items():
        assert gradients[name].dtype == dtype and gradients[name].shape == shape
        assert (gradients[name] == others[name]).all(), name


def test_float32_gradients_are_those_of_float64_to_rounding():
    batch = packed(documents(1))
    _, expected = loss_and_gradients(random_tensors(CONFIG, 2, "float64"), CONFIG, batch)
    _, found = loss_and_gradients(random_tensors(CONFIG, 2, "float32"), CONFIG, batch)
    assert max(relative(found[n], expected[n]) for n in expected) < 1e-5


def test_a_packed_batch_is_the_sum_of_its_documents():
    parameters, own = random_tensors(CONFIG, 3, "float64"), documents(2)
    loss, gradients = loss_and_gradients(parameters, CONFIG, packed(own))
    alone = [loss_and_gradients(parameters, CONFIG, packed([d])) for d in own]
    assert abs(loss - sum(one for one, _ in alone)) < 1e-12 * loss
    assert max(relative(gradients[n], sum(g[n] for _, g in alone)) for n in gradients) < 1e-12


@pytest.mark.parametrize("window", [None, 1, 3, 200, (3, None, 5)])
def test_the_loss_is_that_of_the_models_own_forward_pass(window):
    config = replace(CONFIG, window=window)
    parameters, own = random_tensors(config, 4, "float64"), documents(3)
    model, expected = Mistral.from_tensors(parameters, config, "float64"), 0.0
    for ids, weights in own:
        logits = model(ids[:-1])
        nats = np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(ids) - 1), ids[1:]]
        expected += (weights[1:] * nats).sum()
    assert abs(loss_only(parameters, config, packed(own)) - expected) < 1e-12 * expected


def test_targets_of_weight_0_count_nothing_however_many_a_chunk_holds(monkeypatch):
    parameters, batch = random_tensors(CONFIG, 5, "float64"), packed(documents(4))
    loss, gradients = loss_and_gradients(parameters, CONFIG, batch)
    other = batch._replace(targets=np.where(batch.weights == 0, 30 - batch.targets, batch.targets))
    monkeypatch.setattr(model_module, "CHUNK", 7)
    again, others = loss_and_gradients(parameters, CONFIG, other)
    assert abs(loss - again) < 1e-12 * loss
    assert max(relative(others[n], gradients[n]) for n in gradients) < 1e-12
    nothing, zeros = loss_and_gradients(parameters, CONFIG, batch._replace(weights=0 * batch.weights))
    assert nothing == 0 and not any(g.any() for g in zeros.values())


def test_no_piece_and_no_model_writes_into_what_it_is_given(small_blocks):
    for name in CASES:
        inputs, _, gradients = case(name)
        before = [x.copy() for x in inputs]
        gradients(getattr(pieces, backward_of(name)))
        assert all((x == y).all() for x, y in zip(inputs, before, strict=True)), name
    parameters, batch = random_tensors(CONFIG, 1), packed(documents(0))
    for array in [*parameters.values(), *batch]:
        array.flags.writeable = False
    loss_and_gradients(parameters, CONFIG, batch, recompute=True)


def attention_inputs(T: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(T)
    q, dout = rng.standard_normal((2, T, 6, 4))
    return (dout, q, *rng.standard_normal((2, T, 2, 4)))


@pytest.mark.parametrize("window", [None, 1, 64, 65, 100])
def test_blocks_of_queries_change_nothing(window, monkeypatch):
    dout, q, k, v = attention_inputs(150)
    starts = np.repeat([0, 70, 128, 130], [70, 58, 2, 20])

    def both_ways():
        kept = pieces.attention(q, k, v, starts, window)
        return *kept, *pieces.attention_backward(dout, q, k, v, *kept, starts, window)

    blocks = both_ways()
    monkeypatch.setattr(attention_module, "QUERIES", 150)
    assert max(relative(x, y) for x, y in zip(blocks, both_ways(), strict=True)) < 1e-13


def score_entries(T: int, starts: np.ndarray, window: int | None, monkeypatch) -> list[int]:
    """The sizes of the arrays of scores that attention makes, forward and backward."""
    sizes: list[int] = []

    def counted(*args):
        scores = scaled_scores(*args)
        sizes.append(scores.size)
        return scores

    scaled_scores = attention_module.scaled_scores
    with monkeypatch.context() as patch:
        patch.setattr(attention_module, "scaled_scores", counted)
        dout, q, k, v = attention_inputs(T)
        kept = pieces.attention(q, k, v, starts, window)
        pieces.attention_backward(dout, q, k, v, *kept, starts, window)
    return sizes


def test_attention_costs_in_proportion_to_length_past_the_window(monkeypatch):
    n_heads, window = 6, 10
    one, two = (score_entries(T, np.zeros(T, int), window, monkeypatch) for T in (640, 1280))
    assert max(one) == max(two) == n_heads * 64 * (64 + window - 1)  # the largest array knows nothing of T
    assert sum(two) - sum(one) == 2 * n_heads * 640 * (64 + window - 1)  # both ways; each further query costs the same
    whole = score_entries(1280, np.zeros(1280, int), None, monkeypatch)
    assert sum(whole) > 5 * sum(two)  # so the count can tell


def test_without_a_window_attention_costs_in_proportion_to_the_number_of_documents(monkeypatch):
    few, many = (score_entries(n * 100, np.repeat(np.arange(n) * 100, 100), None, monkeypatch) for n in (4, 12))
    assert max(many) <= 6 * 64 * 164  # a block sees at most the document that it begins in, and its own rows
    assert sum(many) < 3.3 * sum(few)


def peak_bytes(config: Config, batch: Batch, recompute: bool) -> int:
    """The most memory held during one call, the gradients included and the parameters not."""
    parameters = random_tensors(config, 0)
    tracemalloc.start()
    loss_and_gradients(parameters, config, batch, recompute=recompute)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_recompute_keeps_one_array_a_layer():
    batch, dim = packed(documents(0, (700, 325))), 24
    config = Config(dim, 2, 8, 40, 6, 2, 31, window=16)
    kept, recomputed = (
        [peak_bytes(replace(config, n_layers=n), batch, recompute) for n in (2, 8)] for recompute in (False, True)
    )
    a_layers_input, gradients = 4 * 1023 * dim, sum(4 * np.prod(s) for s in tensor_shapes(config).values()) / 2
    assert (recomputed[1] - recomputed[0]) / 6 < 1.1 * (a_layers_input + gradients)
    assert (kept[1] - kept[0]) / 6 > 8 * a_layers_input  # so the measure can tell


def test_memory_for_logits_does_not_grow_with_length():
    config = Config(8, 1, 4, 12, 2, 1, 3000, window=16)
    one, two = (peak_bytes(config, packed(documents(0, (n, 550), vocab_size=3000)), False) for n in (1500, 3000))
    assert two - one < 0.2 * 4 * 1500 * config.vocab_size < 0.3 * one


@pytest.mark.parametrize(
    "name, value, stage",
    [
        ("tok_embeddings.weight", np.nan, "embedding"),
        ("layers.0.attention.wk.weight", np.inf, "layers.0.output"),
        ("layers.1.feed_forward.w2.weight", 3e38, "layers.1.output"),
        ("layers.2.ffn_norm.weight", np.nan, "layers.2.output"),
        ("output.weight", np.inf, "logits"),
    ],
)
def test_what_is_not_finite_is_named_by_its_stage(name, value, stage):
    parameters, batch = random_tensors(CONFIG, 0), packed(documents(0))
    parameters[name] = np.full_like(parameters[name], value)
    for run in (loss_and_gradients, loss_only):
        with np.errstate(all="raise"), pytest.raises(NotFinite, match=f"^{stage}: a value is NaN or infinite"):
            run(parameters, CONFIG, batch)


@pytest.mark.parametrize(
    "given, message",
    [
        ([], "documents: none, expected one or more"),
        (
            [([1, 5, 2], [1, 1, 1]), ([1], [1])],
            "document 1: 1 tokens, expected 2 or more (one to read, one to predict)",
        ),
        ([([1, 5, 2], [1, 1])], "document 0: 2 weights for 3 tokens"),
    ],
)
def test_what_cannot_be_packed_is_named(given, message):
    with pytest.raises(BadInput) as error:
        packed(given)
    assert str(error.value) == message
