"""CUDA kernels without a GPU: what compilers make of them, and that fusing multiply and add changes no bit."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
from adversarial import differing, rows

from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.mistral import Mistral

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
from numba.cuda import config as settings

if settings.ENABLE_CUDASIM:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

import numba
from llvmlite import ir
from numba import cuda, types
from numba.cuda.dispatcher import CUDADispatcher
from numba.extending import intrinsic

from fastpath.cuda import available, decode_attention, exp, gemv, grids, heads
from fastpath.cuda import compile as compiled
from fastpath.cuda import rows as row_kernels

ALL = {k.name: k for k in compiled.kernels()}
# One of each kind of kernel; test_cuda_prefill.py compiles those of matmul and window_attention.
QUICK = ["gemv bfloat16, 1 rows", "gemv float32, 4 rows", "norm", "swiglu", "heads",
         "attention weights", "attention scores, head_dim 128, group 4", "attention values, head_dim 128, group 4"]  # fmt: skip


def check(kernel, architecture) -> str:
    """PTX without what rule 9 forbids, and machine code without spills or a stack: -> the PTX."""
    text = compiled.ptx(kernel, architecture)
    assert not compiled.FORBIDDEN.search(text)
    used = compiled.assembled(text, architecture)
    assert used["spill_bytes"] == used["stack_bytes"] == 0, used
    threads, blocks = kernel.threads if isinstance(kernel.threads, tuple) else (kernel.threads, 1)
    assert 0 < used["registers"] <= 65536 // (threads * blocks)
    assert used["shared_bytes"] <= 48 * 1024
    return text


@pytest.mark.parametrize("name", QUICK)
def test_kernel_compiles_without_spills_or_approximations(name):
    text = check(ALL[name], (9, 0))
    if name == "gemv bfloat16, 1 rows":
        assert len(re.findall(r"ld\.global\.nc\.L1::no_allocate\.v4\.u32", text)) == gemv.rows_for(1)
        assert "fma.rn.f64" in text
        assert "ld.local" not in text
    if name == "norm":
        assert "sqrt.rn.f64" in text and "div.rn.f64" in text
    if name.startswith("attention scores"):
        assert "ld.global.nc.v4.f32" in text


@pytest.mark.slow
@pytest.mark.parametrize("architecture", compiled.ARCHITECTURES)
@pytest.mark.parametrize("name", ALL)
def test_every_kernel_compiles_for_every_architecture(name, architecture):
    if architecture < ALL[name].oldest:
        pytest.skip(f"needs compute capability {ALL[name].oldest}")
    text = compiled.ptx(ALL[name], architecture)
    assert not compiled.FORBIDDEN.search(text)
    assert compiled.assembled(text, architecture)["registers"] > 0


def test_the_committed_table_is_of_these_kernels():
    rows_of_table = json.loads((Path(__file__).parents[1] / "docs" / "kernels_cuda.json").read_text())
    assert {r["kernel"] for r in rows_of_table} == set(ALL)
    targets = {r["target"] for r in rows_of_table}
    assert targets == {"sm_{}{}".format(*a) for a in compiled.ARCHITECTURES}
    assert not any(r["spill_bytes"] for r in rows_of_table)


def test_the_search_for_what_is_forbidden_finds_it():
    def careless(x, y):
        y[0] = x[0] / x[1]

    single = types.Array(types.float32, 1, "C")
    text = cuda.compile(careless, (single, single), cc=(9, 0), device=False, abi="numba", fastmath=True)[0]
    assert compiled.FORBIDDEN.search(text)


def test_table_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    one = [ALL["maxima"]._replace(oldest=(9, 0))]
    monkeypatch.setattr(compiled, "kernels", lambda: one)
    monkeypatch.setattr(sys, "argv", ["compile", "--output", str(tmp_path / "table.json")])
    compiled.main()
    assert [p.name for p in tmp_path.iterdir()] == ["table.json"]
    (row,) = json.loads((tmp_path / "table.json").read_text())
    assert (row["kernel"], row["target"], row["spill_bytes"]) == ("maxima", "sm_90", 0) and row["registers"] > 0


# ---- the same functions, compiled for this processor with and without fused multiply-adds -------------------------------
def reinterpret(to, of, target):
    @intrinsic
    def read_as(typing, value):
        return to(of), lambda context, builder, signature, arguments: builder.bitcast(arguments[0], target)

    return numba.njit(lambda value: read_as(value))


@numba.njit
def multiply_high(a, b):
    return np.int32((np.int64(a) * np.int64(b)) >> 32)


@numba.njit
def low_word(value):
    return np.int32(value & 0xFFFFFFFF)


ON_CPU = {
    "rint": numba.njit(lambda x: np.rint(x)),
    "multiply_high": multiply_high,
    "low_word": low_word,
    "f64_of_bits": reinterpret(types.float64, types.int64, ir.DoubleType()),
    "bits_of_f64": reinterpret(types.int64, types.float64, ir.IntType(64)),
    "f32_of_bits": reinterpret(types.float32, types.int32, ir.FloatType()),
    "bits_of_f32": reinterpret(types.int32, types.float32, ir.IntType(32)),
}


def on_cpu(function, fused: bool):
    """A device function's own text, compiled for this processor."""
    text = getattr(function, "py_func", function)
    names = {n: v for n, v in text.__globals__.items() if n in text.__code__.co_names}
    for name, value in names.items():
        if name in ON_CPU:
            names[name] = ON_CPU[name]
        elif isinstance(value, CUDADispatcher):
            names[name] = on_cpu(value, fused)
    return numba.njit(fastmath={"contract"} if fused else False)(FunctionType(text.__code__, names))


LOOPS = {  # by the number of arguments
    1: lambda one: lambda a: [one(a[i]) for i in range(len(a))],
    2: lambda one: lambda a, b: [one(a[i], b[i]) for i in range(len(a))],
    3: lambda one: lambda a, b, c: [one(a[i], b[i], c[i]) for i in range(len(a))],
    4: lambda one: lambda a, b, c, d: [one(a[i], b[i], c[i], d[i]) for i in range(len(a))],
}


def both(function, *arrays: np.ndarray) -> list[np.ndarray]:
    """What a function makes of arrays of (n,), element by element: not fused, and fused where LLVM likes."""
    found = []
    for fused in (False, True):
        loop = LOOPS[len(arrays)](on_cpu(function, fused))
        found.append(np.array(numba.njit(fastmath={"contract"} if fused else False)(loop)(*arrays)))
    return found


def careless(a, b, c):
    return a * b + c


def test_fusing_is_seen_where_it_does_harm():
    rng = np.random.default_rng(0)
    plain, fused = both(careless, *rng.standard_normal((3, 10000)))
    if differing(plain, fused) == 0:
        pytest.skip("this processor has no fused multiply-add")
    assert differing(plain, fused) > 100


N = 10**6


def numbers(seed: int, n: int = N) -> np.ndarray:
    """(n,) float32 of every adversarial kind, shuffled."""
    x = rows(n // 10, seed).ravel()
    return np.random.default_rng(seed).permutation(x)


def exponents(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-60, 40, N).astype(np.int32)


def whole(seed: int, bits: int) -> np.ndarray:
    return np.rint(
        np.random.default_rng(seed).uniform(-1, 1, N) * 2.0 ** np.random.default_rng(seed + 1).integers(0, bits, N)
    )


CASES = {
    "exp": (exp.exp, lambda: (np.concatenate([np.random.default_rng(1).uniform(-40, 2, N // 2), numbers(2, N // 2).astype(float)]),)),
    "swiglu": (exp.swiglu, lambda: (numbers(3), numbers(4))),
    "rotation": (heads.turned, lambda: (numbers(5), numbers(6), *np.random.default_rng(7).uniform(-1, 1, (2, N)).astype("f4"))),
    "grid": (grids.snapped, lambda: (numbers(8), 2.0 ** (31.0 - exponents(9)), np.full(N, 2.0**31 - 1))),
    "square": (row_kernels.square, lambda: (numbers(10), 2.0 ** (40.0 - exponents(11)))),
    "root": (row_kernels.root, lambda: (np.abs(whole(12, 52)), 2.0 ** (exponents(13) - 52.0), np.random.default_rng(14).integers(1, 32769, N), np.full(N, 1e-5))),
    "norm": (row_kernels.normed, lambda: (numbers(15), np.abs(numbers(16)).astype(float) + 1e-3, numbers(17))),
    "residual": (row_kernels.added, lambda: (numbers(18), numbers(19))),
    "score": (decode_attention.score_of, lambda: (whole(20, 53), exponents(21), np.full(N, 1 / np.sqrt(128)))),
    "weight": (decode_attention.weight, lambda: (-np.abs(numbers(22)), np.abs(numbers(23)).view(np.int32))),
    "quotient": (decode_attention.quotient, lambda: (whole(24, 53), whole(26, 53), exponents(28), np.abs(whole(29, 50)).astype(np.int64) + 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_fusing_changes_no_bit(name):
    function, made = CASES[name]
    plain, fused = both(function, *made())
    assert plain.shape[0] == N and differing(plain, fused) == 0


def test_sums_of_a_linear_layer_fused_or_not():
    """A dot product of gridded numbers in halves, as gemv's `use` makes it: every product and sum is exact."""

    def dot(x, w):
        high, low = 0.0, 0.0
        for k in range(len(x)):
            h = np.rint(x[k] * 2.0**-16) * 65536.0
            high += h * w[k]
            low += (x[k] - h) * w[k]
        return high + low

    rng = np.random.default_rng(30)
    versions = [numba.njit(fastmath=flags)(dot) for flags in (False, {"contract"}, {"contract", "reassoc"})]
    for _ in range(10):
        x, w = np.rint(rng.uniform(-1, 1, 32768) * (2.0**31 - 1)), np.rint(rng.uniform(-1, 1, 32768) * (2.0**23 - 1))
        found = {version(x, w) for version in versions}
        assert found == {float(sum(int(a) * int(b) for a, b in zip(x, w, strict=True)))}


# ---- machines that cannot run it ------------------------------------------------------------------------------------
def test_import_is_light_and_a_machine_without_a_gpu_is_told_so():
    code = "import sys; from fastpath.cuda import CudaMistral; print([m for m in ('numba', 'llvmlite') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[]"
    if available() is not None:
        model = Mistral.random(Config(8, 1, 4, 8, 2, 1, 9))
        from fastpath.cuda import CudaMistral

        with pytest.raises(BadInput, match=r"^backend: cuda needs [^\n]*$"):
            CudaMistral(model.config, model.weights, model.arithmetic)
