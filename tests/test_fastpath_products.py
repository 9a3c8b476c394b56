"""The compiled pieces one by one, fast and simple, against the reference's functions, on adversarial rows."""

import ml_dtypes
import numpy as np
import pytest
from adversarial import KINDS as ROWS
from adversarial import differing, rows
from numba import njit

from fastpath.cpu import attention, linear, numbers, simple
from fastpath.cpu.kernels import row_scales
from fastpath.cpu.linear import KINDS
from fastpath.cpu.team import Team
from minimistral.arithmetic import by_name
from minimistral.arithmetic.functions import exp
from minimistral.rms_norm import rms_norm
from minimistral.swiglu import swiglu

EXACT = by_name("exact")
DTYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16, "float32": np.float32}


def entry(function):
    return njit(error_model="numpy")(function.py_func)


FAST, SIMPLE, QUANTIZE = entry(linear.linear), entry(simple.linear), entry(linear.quantize)


def matrix_of(w: np.ndarray):
    scales, factors = np.empty(len(w), np.float32), np.empty(len(w))
    kind = KINDS[w.dtype.name]
    Team(1).run(row_scales, kind, w.ctypes.data, *w.shape, scales, factors)
    return linear.Matrix(w.ctypes.data, scales.ctypes.data, factors.ctypes.data, kind, *w.shape), (w, scales, factors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [1, 31, 32, 100, 768, 2049, 4500])
@pytest.mark.parametrize("product", [FAST, SIMPLE], ids=["fast", "simple"])
def test_products_are_the_references(product, K, dtype):
    w = rows(K, 1)
    w = w[[ROWS.index(kind) for kind in ROWS if kind not in ("subnormal", "huge")] * 2]  # those rows: see the model
    w = EXACT.weight((w / np.maximum(1, np.abs(w).max(axis=1, keepdims=True) / 6e4)).astype(DTYPES[dtype]))
    matrix, kept = matrix_of(w)
    for T in (1, 3, 4, 7, 8, 9, 21):
        x = np.concatenate([rows(K, 2), rows(K, 3), rows(K, 4)])[:T]
        integers, y = linear.integers_for(T, K), np.zeros((T, len(w)), np.float32)
        for t in range(T):
            QUANTIZE(x[t], t, T, integers)
        scratch = linear.Scratch(*(a[0] for a in linear.scratch_for(1, T)))
        worst = product(matrix, integers, T, y, 0, len(w), scratch)
        assert differing(y, EXACT.linear(x, w)) == 0
        assert worst == (y.view(np.int32) & 0x7FFFFFFF).max()
    del kept


def test_exp_is_the_references():
    rng = np.random.default_rng(0)
    x = np.concatenate([
        rng.uniform(-700, 700, 300_000), -rng.exponential(3, 300_000), rng.normal(0, 1e-6, 100_000),
        [0.0, -0.0, 600, -600, np.nextafter(600, 601), -np.inf, np.inf, 1e300, 5e-324], np.arange(-600, 600) / 1.4426950408889634,
    ])  # fmt: skip
    compiled = njit(lambda x: [numbers.exp(v) for v in x])
    assert differing(np.array(compiled(x)), exp(x)) == 0


@pytest.mark.parametrize("n", [1, 3, 64, 768, 4097])
def test_rms_norm_and_swiglu_are_the_references(n):
    x, weight = rows(n, 5), np.random.default_rng(1).uniform(0.5, 1.5, n)
    norm, y = entry(numbers.rms_norm), np.empty((len(x), n), np.float32)
    for row, out in zip(x, y, strict=True):
        norm(row, weight, 1e-5, out)
    assert differing(y, rms_norm(x, weight, 1e-5, EXACT)) == 0
    gate, up = rows(n, 6) * np.float32(10), rows(n, 7)
    with np.errstate(over="ignore"):
        expected = swiglu(gate, up, EXACT)
    gated = njit(lambda g, u: numbers.stored(numbers.silu(np.float64(g)) * np.float64(u)))
    found = np.array([gated(g, u) for g, u in zip(gate.ravel(), up.ravel(), strict=True)], np.float32)
    assert differing(found.reshape(expected.shape), expected) == 0


@pytest.mark.parametrize("bits", [22, 23, 31])
def test_grids_are_the_references(bits):
    from minimistral.arithmetic.grid import grid, top

    to_grid = njit(lambda x, out, bits: attention.vector_to_grid(x, bits, out))
    for x in rows(257, 8):
        integers = np.empty(257, np.int32)
        e = to_grid(x, integers, bits)
        assert 2.0**e == top(x[None])[0, 0]
        assert (integers * 2.0 ** (e - bits) == grid(x[None], bits)[0]).all()
        assert np.abs(integers.astype(np.int64)).max() < 2**bits
