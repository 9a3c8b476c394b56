"""The compiled pieces of training: equal to the plain ones to rounding, and the same bits for any number of threads."""

import numpy as np
import pytest

import fastpath.training
from fastpath.training import products
from fastpath.training.threads import Threads, run_parts, use_threads
from minimistral.config import Config
from minimistral.training import pieces
from minimistral.training.initial import initial_parameters
from minimistral.training.model import loss_and_gradients

NEAR = {np.float32: 3e-6, np.float64: 3e-14}  # of the largest number of an array
# (documents, n_heads, n_kv_heads, head_dim, window): groups of 4, 1, 3 and 2; windows within, beyond and without documents
SHAPES = [
    ([100, 300, 290, 10], 8, 2, 24, 64),
    ([137], 3, 3, 5, 7),
    ([50, 400, 150], 6, 2, 6, None),
    ([531], 2, 1, 10, 300),
    ([1, 2, 70], 4, 2, 8, 2),
    ([620], 2, 2, 4, None),
]


@pytest.fixture(autouse=True)
def two_threads():
    """Two threads, so that parts are really shared."""
    use_threads(2)
    yield
    use_threads()


def near(got, expected, dtype):
    """Arrays of the same type and shape that differ by rounding; tuples of them."""
    if not isinstance(expected, tuple):
        got, expected = (got,), (expected,)
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert np.abs(a - b).max() <= NEAR[dtype] * np.abs(b).max()


def attention_case(rng, dtype, documents, n_heads, n_kv_heads, head_dim, window):
    """q, k, v, dout, starts, window; some scores are large."""
    T, starts = sum(documents), np.repeat(np.cumsum(documents) - documents, documents)
    heads = (n_heads, n_kv_heads, n_kv_heads, n_heads)
    q, k, v, dout = (rng.standard_normal((T, n, head_dim)).astype(dtype) for n in heads)
    q[rng.random(T) < 0.1] *= 8
    return q, k, v, dout, starts, window


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_attention_is_that_of_the_plain_pieces(dtype, shape):
    q, k, v, dout, starts, window = attention_case(np.random.default_rng(1), dtype, *shape)
    forward = pieces.attention(q, k, v, starts, window)
    near(fastpath.training.attention(q, k, v, starts, window), forward, dtype)
    backward = (dout, q, k, v, *forward, starts, window)
    near(fastpath.training.attention_backward(*backward), pieces.attention_backward(*backward), dtype)


def others(rng, dtype):
    """(name, arguments) of every other piece."""

    def normal(*shape):
        return rng.standard_normal(shape).astype(dtype)

    T, dim = 1031, 37
    x, dy, weight, w = normal(T, dim), normal(T, dim), normal(dim), normal(53, dim)
    logits, tokens = 4 * normal(T, 203), rng.integers(0, 203, T)
    counted, sums = (rng.random(T) < 0.7).astype(np.float32), pieces.cross_entropy(logits, tokens, np.ones(T))[1]
    turns = pieces.rope_table(np.arange(T), 6, 100.0, dtype)
    return [
        ("linear", (x, w)),
        ("linear_backward", (normal(T, 53), x, w)),
        ("rms_norm", (x, weight, 1e-5)),
        ("rms_norm_backward", (dy, x, weight, 1e-5)),
        ("rope", (normal(T, 5, 6), *turns)),
        ("rope_backward", (normal(T, 5, 6), *turns)),
        ("swiglu", (9 * x, dy)),
        ("swiglu_backward", (dy, 9 * x, normal(T, dim))),
        ("embedding", (tokens, normal(203, dim))),
        ("embedding_backward", (dy, tokens, 207)),
        ("cross_entropy_backward", (logits, sums, tokens, counted)),
    ]


@pytest.mark.parametrize("dtype", NEAR)
def test_every_other_piece_is_the_plain_one(dtype, monkeypatch):
    monkeypatch.setattr(products, "BLAS_ALONE", True)
    rng = np.random.default_rng(2)
    for name, arguments in others(rng, dtype):
        near(getattr(fastpath.training, name)(*arguments), getattr(pieces, name)(*arguments), dtype)
    logits, targets, weights = 4 * rng.standard_normal((301, 203)), rng.integers(0, 203, 301), rng.random(301)
    got, expected = (m.cross_entropy(logits.astype(dtype), targets, weights) for m in (fastpath.training, pieces))
    assert type(got[0]) is float and got[0] == pytest.approx(expected[0], rel=NEAR[dtype])
    near(got[1], expected[1], dtype)


@pytest.mark.parametrize("dtype", NEAR)
def test_adamw_is_the_plain_one_in_place(dtype):
    rng = np.random.default_rng(3)
    first = [rng.standard_normal((301, 107)).astype(dtype) for _ in range(3)]
    first.append(rng.random((301, 107)).astype(dtype))
    mine, plain = [x.copy() for x in first], [x.copy() for x in first]
    for step in (1, 2, 30):
        for module, arrays in ((fastpath.training, mine), (pieces, plain)):
            module.adamw(*arrays, step, 1e-2, (0.9, 0.95), 1e-8, 0.1)
    near(tuple(mine), tuple(plain), dtype)
    assert not (mine[0] == first[0]).any()


def test_the_modules_offer_the_same_names():
    assert set(pieces.__all__) <= set(fastpath.training.__all__)
    assert all(callable(getattr(fastpath.training, name)) for name in pieces.__all__)


def test_any_number_of_threads_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(products, "BLAS_ALONE", True)
    found = []
    for threads in (1, 2, 3):
        use_threads(threads)
        rng, bits = np.random.default_rng(4), []
        for shape in SHAPES[:3]:
            q, k, v, dout, starts, window = attention_case(rng, np.float32, *shape)
            out, sums = fastpath.training.attention(q, k, v, starts, window)
            bits += [out, sums, *fastpath.training.attention_backward(dout, q, k, v, out, sums, starts, window)]
        for name, arguments in others(rng, np.float32):
            result = getattr(fastpath.training, name)(*arguments)
            bits += result if isinstance(result, tuple) else [result]
        found.append(bits)
    for bits in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], bits, strict=True))


def test_the_whole_model_has_the_plain_loss_and_gradients():
    from minimistral.training.batch import packed

    config = Config(24, 2, 6, 40, 4, 2, 67, window=9, tied_embeddings=True)
    rng, parameters = np.random.default_rng(5), initial_parameters(config, 5)
    batch = packed([(rng.integers(0, 67, n), np.ones(n)) for n in (90, 7, 301)])
    loss, gradients = loss_and_gradients(parameters, config, batch)
    got, found = loss_and_gradients(parameters, config, batch, fastpath.training)
    assert got == pytest.approx(loss, rel=1e-6)
    for name, gradient in gradients.items():
        assert np.abs(found[name] - gradient).max() <= 1e-5 * np.abs(gradient).max(), name


def test_a_number_that_is_none_is_passed_on():
    """The loop stops at a loss that is NaN: no kernel may hide one."""
    q, k, v, _, starts, window = attention_case(np.random.default_rng(6), np.float32, *SHAPES[0])
    for x in (q, k, v):
        bad = x.copy()
        bad[5, 0, 3] = np.nan
        out, _ = fastpath.training.attention(*(bad if y is x else y for y in (q, k, v)), starts, window)
        assert np.isnan(out[5, 0]).any()
    logits = np.zeros((3, 40), np.float32)
    logits[1, 39] = np.nan
    loss, sums = fastpath.training.cross_entropy(logits, np.zeros(3, int), np.ones(3))
    assert np.isnan(loss) and np.isnan(sums).tolist() == [False, True, False]
    x = np.full((1, 40), np.nan, np.float32)
    assert np.isnan(fastpath.training.rms_norm(x, x[0], 1e-5)).all()
    assert np.isnan(fastpath.training.swiglu(x, x)).all()


def test_exp_is_within_two_units_of_the_last_place():
    from numba import njit

    from fastpath.training.softmax import exp

    @njit
    def each(x, y):
        for i in range(x.size):
            y[i] = exp(x[i])

    x = np.linspace(-87.3, 88.3, 100_001).astype(np.float32)
    y, expected = np.empty_like(x), np.exp(x.astype(np.float64))
    each(x, y)
    assert (np.abs(y - expected) <= 2 * np.spacing(expected.astype(np.float32))).all()
    edges, out = np.float32([np.nan, -np.inf, -200, 0]), np.empty(4, np.float32)
    each(edges, out)
    assert np.isnan(out[0]) and out[1:].tolist() == [0, 0, 1]


def test_parts_are_done_once_each_and_an_error_is_not_lost():
    done = []
    run_parts([lambda n=n: done.append(n) for n in range(100)])
    assert sorted(done) == list(range(100))

    def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_parts([fails])
    threads = Threads(3)
    threads.all_do(lambda: done.append(0))
    assert len(done) == 103


def test_without_a_folder_for_the_cache_a_kernel_is_compiled_all_the_same():
    from fastpath.training.compiled import kernel

    made = {}
    exec("def twice(x):\n    return 2 * x", made)  # noqa: S102 (of no file: Numba finds no place for a cache)
    assert kernel(made["twice"])(3) == 6
