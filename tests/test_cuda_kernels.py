"""Each CUDA kernel against minimistral's own function, bit for bit: on a GPU, or small on Numba's simulator.

Without a GPU test_cuda_simulator.py runs this file in a process whose NUMBA_ENABLE_CUDASIM is 1.
"""

import numpy as np
import pytest
from adversarial import KINDS, differing, row, rows

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

from fastpath.cuda import available

if (missing := available()) is not None:
    pytest.skip(f"needs {missing}; test_cuda_simulator.py runs these small", allow_module_level=True)

import ml_dtypes
from numba import cuda

from fastpath.cuda import decode_attention, gemv, heads, ring, sample
from fastpath.cuda import rows as kernels
from fastpath.cuda.exp import exp
from fastpath.cuda.intrinsics import SIMULATED, kernel
from fastpath.cuda.matrix import upload
from minimistral import sampling
from minimistral.arithmetic import Exact, functions
from minimistral.arithmetic.grid import grid, top
from minimistral.attention import attention_scores, attention_values
from minimistral.config import Config
from minimistral.rms_norm import rms_norm
from minimistral.rope import rope_table, rotate
from minimistral.swiglu import swiglu

pytestmark = pytest.mark.gpu
EXACT = Exact()
TYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16), "float32": np.dtype(np.float32)}


def zeros(*shape: int):
    return cuda.to_device(np.zeros(shape, np.int32))


def floats(*shape: int):
    return cuda.to_device(np.full(shape, np.nan, np.float32))  # what a kernel forgets to write is seen


def magnitudes(x: np.ndarray) -> np.ndarray:
    return np.abs(x).max(axis=-1).view(np.int32)


def exp_kernel(x, y):
    i = cuda.grid(1)
    if i < x.shape[0]:
        y[i] = exp(x[i])


def test_exp_has_the_references_bits():
    rng = np.random.default_rng(1)
    special = [0, -1, 1, -0.5, -(2.0**-40), -20, 88.5, -103.5, -1e30, 1e30, np.inf, -np.inf, 5e-324, -0.0]
    x = np.concatenate([special, rng.uniform(-30, 2, 200 if SIMULATED else 10**6), rng.uniform(-650, 650, 100)])
    y = cuda.device_array(len(x), np.float64)
    kernel(exp_kernel, 32)[-(-len(x) // 32), 32](cuda.to_device(x), y)
    assert differing(y.copy_to_host(), functions.exp(x)) == 0


@pytest.mark.parametrize("n", [12, 70] if SIMULATED else [12, 70, 4096, 14336])
def test_norm_of_a_row_and_of_a_sum(n):
    h, a = rows(n, 2), rows(n, 3, KINDS[::-1])
    weight = np.random.default_rng(4).uniform(0.5, 1.5, n).astype(np.float32)
    T = len(h)
    for added, total in ((None, h), (a, EXACT.store(h.astype(np.float64) + a))):
        on_gpu, y, y_max, later, flags = (
            cuda.to_device(h),
            floats(T, n),
            zeros(T),
            cuda.to_device(np.ones((2, T), np.int32)),
            zeros(9),
        )
        given = None if added is None else cuda.to_device(added)
        kernels.norm(on_gpu, given, cuda.to_device(weight), 1e-5, y, y_max, later, flags, (1, 2, 3))
        expected = rms_norm(total, weight, 1e-5, EXACT)
        assert differing(on_gpu.copy_to_host(), total) == 0
        assert differing(y.copy_to_host(), expected) == 0
        assert (y_max.copy_to_host() == magnitudes(expected)).all()
        assert not later.copy_to_host().any() and not flags.copy_to_host().any()


def test_an_infinite_sum_is_marked_where_it_arises():
    h = np.full((2, 40), 3e38, np.float32)
    a = np.where(np.arange(40) == 33, [[0], [1]], 0).astype(np.float32) * np.float32(3e38)
    flags, T = zeros(9), 2
    later = zeros(2, T)
    with np.errstate(all="ignore"):
        kernels.norm(
            cuda.to_device(h), cuda.to_device(a), cuda.to_device(np.ones(40, np.float32)), 1e-5, floats(T, 40), zeros(T),
            later, flags, (1, 2, 3),
        )  # fmt: skip
    found = flags.copy_to_host()
    assert (found[0], found[2], found[3]) == (1, 0, 1)  # any; what was added; the sum


def test_swiglu():
    gate, up = rows(50, 5), rows(50, 6, KINDS[::-1])
    gate[0, :6], up[0, :6] = [88.5, -103.5, -200, 3e38, -0.0, -100], [1, 1, 3e38, 1, 1, 3e5]
    T, n = gate.shape
    y, y_max, flags = floats(T, n), zeros(T), zeros(9)
    kernels.gated(cuda.to_device(np.hstack([gate, up])), y, y_max, flags, 1)
    expected = swiglu(gate, up, EXACT)
    assert differing(y.copy_to_host(), expected) == 0
    assert (y_max.copy_to_host() == magnitudes(expected)).all() and not flags.copy_to_host().any()


@pytest.mark.parametrize("kind", TYPES)
def test_embedding_is_the_checkpoints_value(kind):
    table = rows(20, 7).astype(TYPES[kind])
    table[0, :2] = -0.0
    table[~np.isfinite(table.astype(np.float32))] = 1  # float16 has no 1e30
    tokens = np.array([7, 0, 9, 2], np.int32)
    h, flags = floats(4, 20), zeros(9)
    kernels.embed(cuda.to_device(tokens), upload([table]), h, flags, 0)
    assert differing(h.copy_to_host(), EXACT.store(table[tokens])) == 0
    assert not flags.copy_to_host().any()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("T", "N", "K"), [(1, 5, 300), (3, 7, 20), (5, 3, 2304)] if SIMULATED else
                         [(1, 4097, 300), (3, 7, 20), (4, 130, 4096), (8, 1000, 14336)])  # fmt: skip
def test_linear_layer_of_a_few_rows(kind, T, N, K):
    rng = np.random.default_rng(K + T)
    w = np.stack([row(KINDS[i % len(KINDS)], K, rng) for i in range(N)]).astype(TYPES[kind])
    w[~np.isfinite(w.astype(np.float32))] = 2
    x = np.stack([row(KINDS[(3 * i + 4) % len(KINDS)], K, rng) for i in range(T)])
    w = EXACT.weight(w)
    y = floats(T, N)
    gemv.linear(cuda.to_device(x), upload([w[:2], w[2:]]), y)
    assert differing(y.copy_to_host(), EXACT.linear(x, w)) == 0


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("T", "N", "K"), [(1, 5, 300), (6, 3, 20)] if SIMULATED else [(1, 2049, 4096), (7, 130, 300)])
def test_gate_and_up_in_one_launch(kind, T, N, K):
    w1, w3 = (EXACT.weight(rows(N * K, s, ["normal"]).reshape(N, K).astype(TYPES[kind])) for s in (40, 41))
    x = rows(K, 42)[:T]
    y, y_max, flags = floats(T, N), zeros(T), zeros(9)
    on_gpu, x_max = cuda.to_device(x), cuda.to_device(magnitudes(x))
    gemv.launch_gated(on_gpu, x_max, upload([w1, w3]), y, y_max, flags, 1)
    expected = swiglu(EXACT.linear(x, w1), EXACT.linear(x, w3), EXACT)
    assert differing(y.copy_to_host(), expected) == 0
    assert (y_max.copy_to_host() == magnitudes(expected)).all() and not flags.copy_to_host().any()


def test_linear_layer_whose_budget_is_met_exactly():
    K = 2048 if SIMULATED else 32768  # all products of one sign, x and w just below a power of two
    x = np.full((1, K), np.nextafter(np.float32(1), np.float32(0)))
    w = np.full((2, K), np.nextafter(np.float32(1), np.float32(0)))
    w[1] *= -1
    y = floats(1, 2)
    gemv.linear(cuda.to_device(x), upload([EXACT.weight(w)]), y)
    assert differing(y.copy_to_host(), EXACT.linear(x, EXACT.weight(w))) == 0


@pytest.mark.parametrize("d", [4, 70, 128] if SIMULATED else [4, 70, 128, 512])
def test_heads_are_turned_and_gridded(d):
    H, n_kv, theta = 4, 2, 1e4
    x = rows((H + 2 * n_kv) * d, 8, ("normal", "subnormal", "outlier"))
    positions = np.array([0, 4095, 131071])
    table = rope_table(positions, d, theta, EXACT)
    T, bits = len(x), 23 if d <= 128 else 22
    q, k, q_exponent = floats(T, H, d), floats(T, n_kv, d), zeros(T, H)
    keys, values = ring.empty(n_kv, 5, d), ring.empty(n_kv, 5, d)
    place, flags = cuda.to_device(np.array([4, 0, 2], np.int32)), zeros(20)
    on_gpu = cuda.to_device(np.hstack(table))
    heads.heads(cuda.to_device(x), on_gpu, q, k, q_exponent, place, keys, values, flags, 1)
    raw = x.reshape(T, -1, d)
    turned = rotate(raw[:, :H], *table, EXACT), rotate(raw[:, H : H + n_kv], *table, EXACT)
    assert differing(q.copy_to_host(), turned[0]) == 0
    assert differing(k.copy_to_host(), turned[1]) == 0
    assert (2.0 ** q_exponent.copy_to_host() == top(turned[0])[..., 0]).all()
    kept = ring.on_host(keys, bits, [4, 0, 2]), ring.on_host(values, 23, [4, 0, 2])
    assert differing(kept[0], grid(turned[1], bits).astype(np.float32)) == 0
    assert differing(kept[1], grid(raw[:, H + n_kv :], 23).astype(np.float32)) == 0
    assert not flags.copy_to_host().any()


CASES = [(4, 1, 2, 9), (128, 4, 1, 7), (70, 3, 1, 5)]
if not SIMULATED:
    CASES = [(4, 1, 2, 9), (128, 4, 8, 4096), (70, 3, 2, 500), (64, 4, 3, 257), (256, 2, 1, 300), (512, 8, 1, 1000)]


@pytest.mark.parametrize(("d", "group", "n_kv", "S"), CASES)
def test_attention_of_one_query(d, group, n_kv, S):
    rng = np.random.default_rng(d)
    H, bits = group * n_kv, 23 if d <= 128 else 22
    q = np.stack([row(k, d, rng) for k in np.resize(["normal", "outlier", "subnormal", "equal"], H)])[None]
    k = np.stack([row(t, n_kv * d, rng) for t in np.resize(["normal", "powers", "zeros"], S)]).reshape(S, n_kv, d)
    v = np.stack([row(t, n_kv * d, rng) for t in np.resize(["normal", "subnormal", "mixed", "huge"], S)])
    v = v.reshape(S, n_kv, d)
    begin, end = 1, S - 1
    seen = np.zeros((1, S), bool)
    seen[:, begin:end] = True
    scores = attention_scores(q, k, seen, EXACT)
    expected = attention_values(scores, v, EXACT)[0]

    def vectors(x, b):
        x = np.ascontiguousarray(x.swapaxes(0, 1))  # (n_kv, S, d)
        tops = top(x)
        numbers = np.rint(grid(x, b) / tops * 2.0**b).astype(np.float32)
        return ring.Vectors(cuda.to_device(numbers), cuda.to_device((np.frexp(tops)[1] - 1)[..., 0].astype(np.int32)))

    y, y_max, flags = floats(H, d), zeros(1), zeros(20)
    scratch = decode_attention.Scratch(H, d, S)
    span = cuda.to_device(np.array([begin, end, 0], np.int32))
    q_exponent = cuda.to_device((np.frexp(top(q[0]))[1] - 1)[:, 0].astype(np.int32))
    decode_attention.attend(
        cuda.to_device(q[0]), q_exponent, vectors(k, bits), vectors(v, 23), span, y, y_max, scratch, flags, 1
    )
    found = scratch.scores.copy_to_host()[:, begin:end]
    assert differing(np.ascontiguousarray(found), np.ascontiguousarray(scores[:, 0, begin:end])) == 0
    assert differing(y.copy_to_host(), expected) == 0
    assert y_max.copy_to_host()[0] == magnitudes(expected.ravel())
    assert not flags.copy_to_host().any()


@pytest.mark.parametrize("window", [3, None, (4, None)])
@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 9])
def test_ring_holds_what_the_references_holds(window, chunk, monkeypatch):
    monkeypatch.setattr(ring, "FIRST_SLOTS", 2)  # so that it grows, and what it holds moves
    config = Config(dim=8, n_layers=2, head_dim=4, hidden_dim=8, n_heads=2, n_kv_heads=2, vocab_size=9, window=window)
    x = np.random.default_rng(chunk).integers(1, 2**20, (10, 2, 4)).astype(np.float32)  # (T, n_kv, d)
    exponents = np.arange(20, dtype=np.int32).reshape(2, 10)  # (n_kv, T)
    cache = ring.DeviceCache(config)
    for start in range(0, 10, chunk):
        part = x[start : start + chunk]
        # row 1 of a longer array: another sequence's row lies before it
        numbers = np.ascontiguousarray(np.concatenate([np.zeros((1, 2, 4), np.float32), part]).swapaxes(0, 1))
        own = np.concatenate([np.zeros((2, 1), np.int32), exponents[:, start : start + chunk]], axis=1)
        vectors = ring.Vectors(cuda.to_device(numbers), cuda.to_device(own))
        cache.reserve(start + len(part))
        for layer in range(2):
            filled = cache.filled(layer)
            gathered = ring.empty(2, filled + len(part), 4)
            ring.gather(cache.keys[layer], filled, vectors, 1, start, gathered)
            assert (gathered.numbers.copy_to_host() == x[start - filled : start + len(part)].swapaxes(0, 1)).all()
            assert (gathered.exponents.copy_to_host() == exponents[:, start - filled : start + len(part)]).all()
        for layer in range(2):
            ring.write(vectors, 1, len(part), cache, layer, cache.keys[layer])
            ring.write(vectors, 1, len(part), cache, layer, cache.values[layer])
        cache.length += len(part)
        for layer in range(2):
            keys, values, positions = cache.read(layer)
            held = min(cache.length, config.layer_window(layer) or cache.length)
            assert sorted(positions) == list(range(cache.length - held, cache.length))
            for found in (keys, values):
                scale = 2.0 ** (exponents.T[positions] - 23)
                assert (found == (x[positions] * scale[..., None]).astype(np.float32)).all()


def test_draws_are_those_of_the_reference():
    rng = np.random.default_rng(9)
    for trial in range(24 if SIMULATED else 500):
        V = int(rng.choice([4, 31, 300] if SIMULATED else [4, 31, 2048, 32000]))
        logits = (rng.standard_normal((2, V)) * rng.choice([0, 1, 6, 50])).astype(np.float32)
        logits = np.round(logits) + np.float32(0) if trial % 3 == 0 else logits  # many equal ones; never -0
        options = (
            float(rng.choice([0, 0.7, 1, 1e-3, 5])),
            float(rng.choice([1, 0.9, 0.5, 0.01])),
            int(rng.choice([0, 1, 3, 50])),
        )
        seeds, positions = rng.integers(0, 2**63, 2).tolist(), rng.integers(0, 1000, 2).tolist()
        u = np.array([sampling.uniform(s, p) for s, p in zip(seeds, positions, strict=True)])
        token, flags = zeros(2), zeros(9)
        sample.sample(
            cuda.to_device(logits), *options, cuda.to_device(u), cuda.device_array((2, V), np.int64), token, flags, 1
        )
        expected = [sampling.sample(x, *options, s, p) for x, s, p in zip(logits, seeds, positions, strict=True)]
        assert token.copy_to_host().tolist() == expected, (trial, V, options, seeds, positions)


def test_measuring_runs_every_kernel_of_a_step():
    from fastpath.cuda.measure import decode_kernels

    config = Config(dim=12, n_layers=3, head_dim=6, hidden_dim=20, n_heads=4, n_kv_heads=2, vocab_size=31, window=5)
    found = {row["kernel"]: row for row in decode_kernels(config, 5)}
    assert all(row["seconds"] > 0 for row in found.values())
    matrices = ("q, k, v", "attention output", "gate, up, SwiGLU", "down", "logits")
    read = sum(found[name]["calls"] * found[name]["bytes"] for name in matrices)
    assert read == 2 * (3 * (12 * (24 + 12 + 12) + 24 * 12 + 3 * 12 * 20) + 31 * 12)


def test_drawing_a_product_that_rounds_up_to_the_sum_itself():
    logits = np.array([[0.0, -1.0, 0.0]], np.float32)
    token, u = zeros(1), cuda.to_device(np.array([1 - 2.0**-53]))
    sample.sample(cuda.to_device(logits), 1.0, 1.0, 0, u, cuda.device_array((1, 3), np.int64), token, zeros(9), 1)
    n = np.rint(functions.exp(logits[0].astype(np.float64)) * 2**36)
    order = [0, 2, 1]
    above = np.cumsum(n[order]) > (1 - 2.0**-53) * n.sum()
    assert token.copy_to_host()[0] == order[int(np.argmax(above))]
