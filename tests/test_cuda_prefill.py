"""Pre-fill's CUDA kernels: the reference's bits, what compilers make of them, and how much they load.

Kernels run on a GPU, or small on Numba's simulator: this file runs itself again in a process whose
NUMBA_ENABLE_CUDASIM is 1, because that choice is made at import.
"""

import os
import re
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
from adversarial import KINDS, differing, row

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

from numba import cuda

from fastpath.cuda import available, matmul, window_attention
from fastpath.cuda import compile as compiled
from fastpath.cuda import tensor_cores as cores
from fastpath.cuda.intrinsics import SIMULATED
from fastpath.cuda.matrix import upload
from fastpath.cuda.rows import maxima
from fastpath.cuda.window_attention import loads
from minimistral.arithmetic import Exact
from minimistral.arithmetic.grid import grid, top
from minimistral.attention import attention_scores, attention_values
from minimistral.errors import BadInput, NotFinite
from minimistral.window import window_mask

EXACT = Exact()
TYPES = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16), "float32": np.dtype(np.float32)}
MISSING = available()
HAS_GPU = MISSING is None and not SIMULATED


def on_device(test):
    """A test that runs kernels."""
    return pytest.mark.gpu(pytest.mark.skipif(MISSING is not None, reason=f"needs {MISSING}")(test))


def needs(way: str) -> None:
    """Skips if this GPU is too old for a version of the kernels."""
    oldest = {"plain": (7, 5), "sm_90": (9, 0)}.get(way, (8, 0))
    if HAS_GPU and cuda.get_current_device().compute_capability < oldest:
        pytest.skip(f"needs compute capability {oldest}")


def test_kernels_have_the_references_bits_on_the_simulator():
    if SIMULATED:
        pytest.skip("this is the simulator")
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", "gpu", __file__]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    run = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=900)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) >= 30


# ---- linear --------------------------------------------------------------------------------------------------------
def matrix(n: int, K: int, seed: int, largest: float = 1e30) -> np.ndarray:
    """Rows of all kinds that arithmetic goes wrong on: (n, K) float32."""
    rng = np.random.default_rng(seed)
    return np.stack([np.clip(row(KINDS[i % len(KINDS)], K, rng), -largest, largest) for i in range(n)])


def wrong_in_linear(kernel, T: int, N: int, K: int, kind: str, **options) -> int:
    """How many numbers differ from Exact.linear."""
    x = matrix(T, K, seed=1)
    w = EXACT.weight(matrix(N, K, seed=2, largest=6e4 if kind == "float16" else 1e30).astype(TYPES[kind]))
    with np.errstate(over="ignore"):
        expected = EXACT.linear(x, w)
    x, y, x_max = cuda.to_device(x), cuda.to_device(np.full((T, N), 7, np.float32)), cuda.device_array(T, np.int32)
    maxima(x, x_max, cuda.device_array(2, np.int32), 0)
    kernel(x, x_max, upload([w]), y, **options)
    return differing(y.copy_to_host(), expected)


@on_device
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("version", ["plain", "sm_80", "sm_90"])
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("T", "N", "K"), [(11, 13, 33)] if SIMULATED else [(70, 131, 33), (65, 97, 32768)])
def test_linear_in_float64(version, kind, T, N, K):
    needs(version)
    assert wrong_in_linear(matmul.plain, T, N, K, kind, version=version) == 0


@on_device
@pytest.mark.filterwarnings("ignore:overflow")
def test_linear_in_float64_over_several_tiles():
    assert wrong_in_linear(matmul.plain, 66, 67, 17, "bfloat16") == 0


# One warp, several warps, several tiles a warp; K ends inside a step and at its end.
INT8 = [((1, 1, 1, 1), 21, 13, 70), ((1, 1, 1, 2), 21, 17, 64), ((2, 1, 1, 3), 41, 50, 33)]


@on_device
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(("shape", "T", "N", "K"), INT8)
def test_linear_in_bytes(kind, shape, T, N, K):
    needs("int8")
    assert wrong_in_linear(matmul.tensor, T, N, K, kind, shape=matmul.Shape(*shape)) == 0


@on_device
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(("T", "N", "K"), [(20, 20, 20)] if SIMULATED else [(200, 501, 4096), (65, 97, 32768)])
def test_linear_in_bytes_by_the_block_of_a_gpu(T, N, K):
    needs("int8")
    assert wrong_in_linear(matmul.tensor, T, N, K, "bfloat16") == 0


@on_device
@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize(("every", "K"), [(1, 64), (1, 65), (2, 200)] if SIMULATED else [(matmul.FLUSH, 28000)])
def test_linear_in_bytes_with_flushes(monkeypatch, every, K):
    needs("int8")
    monkeypatch.setattr(matmul, "FLUSH", every)  # the simulator looks it up at every step; a GPU needs a long row
    assert wrong_in_linear(matmul.tensor, 21, 13, K, "bfloat16", shape=matmul.Shape(1, 1, 1, 1)) == 0


@on_device
def test_linear_by_the_kernel_that_is_chosen():
    assert wrong_in_linear(lambda x, x_max, w, y: matmul.linear(x, w, y), 3, 5, 17, "bfloat16") == 0


# ---- the diagonals of byte products --------------------------------------------------------------------------------
def diagonals(x: int, w: int, columns: int) -> list[int]:
    """The six sums of byte products of X (32 bits) and W (24 bits), the same in every column, as Python's integers."""
    x_bytes, w_bytes = (x & 255, x >> 8 & 255, x >> 16 & 255, x >> 24), (w & 255, w >> 8 & 255, w >> 16)
    return [columns * sum(x_bytes[i] * w_bytes[s - i] for i in range(4) if 0 <= s - i < 3) for s in range(6)]


X, W = 2**31 - 1, 2**23 - 1
PLANTED = [(X, W), (-X, W), (X, -W), (-X, -W), (2**24 - 1, W), (255, -W), (-256, 255 - 2**23), (0x12345678, -0x6789AB)]


@pytest.mark.parametrize("K", [1, 13216, 13217, 14336, 32768])
@pytest.mark.parametrize(("x", "w"), PLANTED)
@pytest.mark.skipif(not SIMULATED, reason="calls device functions as Python: on the simulator")
@pytest.mark.gpu
def test_diagonals_fit_and_are_recombined_exactly(x, w, K):
    high = low = done = 0
    while done < K:
        columns = min(matmul.STEP * matmul.FLUSH, K - done)
        d = diagonals(x, w, columns)
        assert all(-(2**31) <= s < 2**31 for s in d)
        low += int(matmul.upper(*(np.int32(s) for s in d[:3])))
        high += int(matmul.upper(*(np.int32(s) for s in d[3:])))
        done += columns
    assert abs(high) < 2**46 and abs(low) < 2**49
    assert high * 2**24 + low == K * x * w
    assert float(matmul.recombined(np.int64(high), np.int64(low))) == float(K * x * w)  # Python rounds half to even


def test_without_a_flush_a_diagonal_would_overflow():
    assert max(diagonals(2**24 - 1, W, 13220)) < 2**31 <= max(diagonals(2**24 - 1, W, 13221))


# ---- attention -----------------------------------------------------------------------------------------------------
def as_integers(x: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """(S, heads, d) -> the gridded integers (heads, S, d) as float32, and their tops' exponents (heads, S)."""
    x = np.ascontiguousarray(x.swapaxes(0, 1))
    t = top(x)
    return (grid(x, bits) / t * 2.0**bits).astype(np.float32), np.log2(t[..., 0]).astype(np.int32)


def queries_keys_values(T: int, H: int, n_kv: int, d: int, S: int):
    """Scores that decide, a key and a query of zeros and subnormals; values whose tops lie far apart."""
    rng = np.random.default_rng(3)
    q, k = (rng.standard_normal((n, h, d)).astype(np.float32) * 3 for n, h in ((T, H), (S, n_kv)))
    k[S // 3], q[T // 2] = 0, q[T // 2] * np.float32(1e-40)
    return q, k, matrix(S * n_kv, d, seed=4).reshape(S, n_kv, d)


def wrong_in_attention(T, H, n_kv, d, window, first, start, S, **options) -> tuple[int, int]:
    """How many outputs and how many scores differ from the reference's."""
    q, k, v = queries_keys_values(T, H, n_kv, d, S)
    seen = window_mask(start + np.arange(T), first + np.arange(S), window or None)
    scores = attention_scores(q, k, seen, EXACT)
    expected = attention_values(scores, v, EXACT)
    arrays = q, *as_integers(k, 23 if d <= 128 else 22), *as_integers(v, 23)
    out, filled = (cuda.to_device(np.full(a.shape, 7, np.float32)) for a in (expected, scores))
    window_attention.attend(*map(cuda.to_device, arrays), first, start, window, out, filled, **options)
    return differing(out.copy_to_host(), expected), differing(filled.copy_to_host(), scores)


Shape = window_attention.Shape
SMALL = Shape(1, 1, 1, 1), Shape(1, 1, 1, 1)  # a warp: 16 rows, 8 keys, 8 columns
OF_A_GPU = window_attention.SCORES, window_attention.VALUES
SIZES = {  # T, H, n_kv, d, window, first, start, S
    "window below a tile": (11, 6, 2, 10, 3, 2, 5, 14),
    "window above a tile": (40, 2, 1, 6, 21, 0, 3, 43),
    "window of all": (9, 2, 2, 32, 9, 0, 0, 9),
    "window of one": (5, 2, 1, 4, 1, 0, 0, 5),
    "no window": (20, 3, 1, 18, 0, 0, 3, 23),
    "22 bits": (3, 2, 1, 130, 0, 0, 0, 3),
}
LARGE = {
    "7B": (1000, 32, 8, 128, 256, 0, 256, 1256),
    "head_dim 512": (100, 4, 4, 512, 33, 50, 82, 132),
    "odd group": (257, 3, 1, 64, 0, 0, 100, 357),
}


@on_device
@pytest.mark.parametrize("name", SIZES)
def test_attention(name):
    assert wrong_in_attention(*SIZES[name], shapes=SMALL, version="plain") == (0, 0)


@on_device
@pytest.mark.parametrize("version", ["plain", "sm_80", "sm_90"])
@pytest.mark.parametrize("name", ["window below a tile"] if SIMULATED else [*SIZES, *LARGE])
def test_attention_by_version(version, name):
    needs(version)
    shapes = SMALL if SIMULATED else OF_A_GPU
    assert wrong_in_attention(*(SIZES | LARGE)[name], version=version, shapes=shapes) == (0, 0)


@on_device
@pytest.mark.parametrize("shapes", [(Shape(2, 2, 1, 1), Shape(2, 2, 1, 2)), OF_A_GPU])
def test_attention_by_blocks_of_several_warps(shapes):
    assert wrong_in_attention(9, 8, 2, 10, 5, 0, 3, 12, shapes=shapes, version="plain") == (0, 0)


@on_device
def test_attention_in_batches_of_tiles(monkeypatch):
    monkeypatch.setattr(window_attention, "STRIPES", 1)
    assert wrong_in_attention(20, 3, 1, 6, 4, 0, 0, 20, shapes=SMALL) == (0, 0)


@on_device
@pytest.mark.skipif(not SIMULATED, reason="watches what is read: on the simulator")
def test_keys_outside_the_window_are_never_loaded():
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    read = set()

    class Watched(np.ndarray):
        def __getitem__(self, at):
            read.add(int(at[1]))
            return np.asarray(self)[at]

    q, k, v = queries_keys_values(4, 4, 1, 6, 24)
    (k, k_top), (v, v_top) = as_integers(k, 23), as_integers(v, 23)
    out = cuda.to_device(np.zeros_like(q))
    for watched in (0, 1):
        keys, values = (
            FakeCUDAArray(a.view(Watched)) if i == watched else cuda.to_device(a) for i, a in enumerate((k, v))
        )
        read.clear()
        window_attention.attend(
            cuda.to_device(q),
            keys,
            cuda.to_device(k_top),
            values,
            cuda.to_device(v_top),
            0,
            20,
            7,
            out,
            None,
            shapes=SMALL,
        )
        assert read == set(range(14, 24))  # positions 20 .. 23 with a window of 7


@on_device
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_largest_score_that_is_infinite_is_marked():
    q, k, v = queries_keys_values(3, 2, 1, 4, 3)
    q[1] = k[1] = 3e38
    with np.errstate(over="ignore"), pytest.raises(NotFinite, match="largest score"):
        attention_values(attention_scores(q, k, window_mask(np.arange(3), np.arange(3), None), EXACT), v, EXACT)
    flags, out = cuda.to_device(np.zeros(5, np.int32)), cuda.to_device(np.zeros_like(q))
    arrays = map(cuda.to_device, (q, *as_integers(k, 23), *as_integers(v, 23)))
    window_attention.attend(*arrays, 0, 0, 0, out, None, flags=flags, stage=2, shapes=SMALL)
    assert flags.copy_to_host().tolist() == [1, 0, 0, 1, 0]


def test_more_keys_than_a_sum_may_have_are_an_error():
    q, tops = np.zeros((1, 1, 2), np.float32), np.zeros((1, 32769), np.int32)
    with pytest.raises(BadInput, match="at most 32768 terms, found 32769"):
        window_attention.attend(q, None, tops, None, tops, 0, 32768, 0, None, None)


# ---- the fragments of tensor cores ---------------------------------------------------------------------------------
def byte_tile(mma):
    """A kernel of one warp: C += A B by the documented maps. uint32 A (16, 8 words of a row), B (8, 8 of a column)."""

    def run(a, b, c):
        g, t = cuda.threadIdx.x // 4, cuda.threadIdx.x % 4
        c[g, 2 * t], c[g, 2 * t + 1], c[g + 8, 2 * t], c[g + 8, 2 * t + 1] = mma(
            a[g, t], a[g + 8, t], a[g, t + 4], a[g + 8, t + 4], b[g, t], b[g, t + 4],
            c[g, 2 * t], c[g, 2 * t + 1], c[g + 8, 2 * t], c[g + 8, 2 * t + 1],
        )  # fmt: skip

    return run


def float64_tile(mma):
    """The same for float64 A (16, 16), B (16, 8)."""

    def run(a, b, c):
        g, t = cuda.threadIdx.x // 4, cuda.threadIdx.x % 4
        c[g, 2 * t], c[g, 2 * t + 1], c[g + 8, 2 * t], c[g + 8, 2 * t + 1] = mma(
            a[g, t], a[g + 8, t], a[g, t + 4], a[g + 8, t + 4],
            a[g, t + 8], a[g + 8, t + 8], a[g, t + 12], a[g + 8, t + 12],
            b[t, g], b[t + 4, g], b[t + 8, g], b[t + 12, g],
            c[g, 2 * t], c[g, 2 * t + 1], c[g + 8, 2 * t], c[g + 8, 2 * t + 1],
        )  # fmt: skip

    return run


BYTES = {"ss": cores.mma_ss, "su": cores.mma_su, "us": cores.mma_us, "uu": cores.mma_uu}


@on_device
@pytest.mark.parametrize("signs", BYTES)
def test_a_product_of_bytes_is_one_of_matrices(signs):
    needs("int8")
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 256, (16, 32), np.uint8), rng.integers(0, 256, (8, 32), np.uint8)
    a[3], b[5] = 255, 128
    c = rng.integers(-(2**30), 2**30, (16, 8)).astype(np.int32)
    A, B = ((m.view(np.int8) if s == "s" else m).astype(np.int64) for m, s in zip((a, b), signs, strict=True))
    out = cuda.to_device(c)
    cuda.jit(byte_tile(BYTES[signs]))[1, 32](cuda.to_device(a.view(np.uint32)), cuda.to_device(b.view(np.uint32)), out)
    assert differing(out.copy_to_host(), (c + A @ B.T).astype(np.int32)) == 0


@on_device
@pytest.mark.parametrize("version", ["sm_80", "sm_90"])
def test_a_product_of_float64_is_one_of_matrices(version):
    needs(version)
    rng = np.random.default_rng(6)
    a, b, c = (rng.integers(-(2**20), 2**20, s).astype(np.float64) for s in ((16, 16), (16, 8), (16, 8)))
    out = cuda.to_device(c)
    mma = cores.mma_f64 if version == "sm_80" else cores.mma_f64_sm90
    cuda.jit(float64_tile(mma))[1, 32](cuda.to_device(a), cuda.to_device(b), out)
    assert np.array_equal(out.copy_to_host(), c + a @ b)


# ---- compiled without a GPU ----------------------------------------------------------------------------------------
def targets(quick: bool) -> list:
    """(kernel, target): quick, those of bfloat16 for the oldest that has their instructions, and bytes for sm_90."""
    found = []
    for name, function, signature, oldest, threads in matmul.KERNELS + window_attention.KERNELS:
        for target in [t for t in compiled.ARCHITECTURES if t >= oldest]:
            first = target == oldest or name == "linear int8 bfloat16"
            if quick == (first and not name.endswith((" float16", " float32"))):
                kernel = compiled.Kernel(name, function, signature, threads)
                found.append(pytest.param(kernel, target, id=f"{name}, sm_{target[0]}{target[1]}"))
    return found


def check_compiled(kernel, target) -> None:
    """Nothing that rule 9 forbids, no spills, no stack; registers and shared memory that a block can have."""
    text = compiled.ptx(kernel, target)
    used = compiled.assembled(text, target)
    assert not compiled.FORBIDDEN.search(text)
    assert used["spill_bytes"] == used["stack_bytes"] == 0, used
    threads, blocks = kernel.threads if isinstance(kernel.threads, tuple) else (kernel.threads, 1)
    assert 0 < used["registers"] * threads * blocks <= 65536 and used["shared_bytes"] * blocks <= 96 * 1024, used
    assert used["shared_bytes"] <= 48 * 1024
    if "int8" in kernel.name:
        assert text.count("mma.sync") == 6 * 12  # tiles of a warp, all unrolled
        assert "cp.async.cg" in text and "ld.global.nc" in text and "st.shared.v4" in text
    elif " sm_" in kernel.name:
        assert "f64.f64.f64.f64" in text


@pytest.mark.skipif(SIMULATED, reason="the simulator compiles nothing")
@pytest.mark.parametrize(("kernel", "target"), targets(quick=True))
def test_kernel_compiles_without_spills_or_approximations(kernel, target):
    check_compiled(kernel, target)


@pytest.mark.slow
@pytest.mark.skipif(SIMULATED, reason="the simulator compiles nothing")
@pytest.mark.parametrize(("kernel", "target"), targets(quick=False))
def test_kernel_compiles_for_other_weights_and_targets(kernel, target):
    check_compiled(kernel, target)


# ---- work, counted -------------------------------------------------------------------------------------------------
def test_a_window_of_4096_at_16k_halves_the_work():
    """Keys loaded, without a window over with one: 2.29 by pairs (the paper: 2x); whole tiles cost little of it."""
    T, window, group = 16384, 4096, 4
    pairs = T * (T + 1) // 2 / (window * (window + 1) // 2 + (T - window) * window)
    ratio = loads(T, 0, group) / loads(T, window, group)
    assert round(pairs, 2) == 2.29 and 2.27 < ratio < pairs


def test_work_grows_with_the_length_beyond_the_window():
    a, b, c = (loads(T, 512, 4) for T in (2048, 4096, 6144))
    assert c - b == b - a == 2048 // 16 * (512 + 15)  # a tile is 16 positions of 4 heads, and sees them and a window
