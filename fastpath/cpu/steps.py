"""Measures what each step of making the product fast gained: `python -m fastpath.cpu.steps` prints the table of steps.md.

One thread. Every version gives the same bits (tests/test_fastpath_cpu.py); decode is compared with a plain read of the
same bytes, pre-fill with float32's product by NumPy's BLAS, in the same run and in turns.
"""

import time
from collections.abc import Callable

import ml_dtypes
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from fastpath.cpu import linear, simple
from fastpath.cpu.bits import float32_of, jit, uint16s
from fastpath.cpu.kernels import row_scales
from fastpath.cpu.simd import BLOCK, I32, I64, LANES, TILE_ROWS, TILE_TOKENS, load, loop, make_dot, tile
from fastpath.cpu.team import Team
from minimistral.arithmetic.exact import Exact

REPEATS = 15


def measure(versions: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Seconds of each, the median of REPEATS taken in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in versions}
    for run in versions.values():
        run()
    for _ in range(REPEATS):
        for name, run in versions.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(s)) for name, s in seconds.items()}


# ---- the steps that linear.py left behind ---------------------------------------------------------------------------


@njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def dot_float64(words, high, low, N, K, out):
    """Two float64 multiply-adds a weight, the activation in two halves of 16 bits; the compiler makes the vectors."""
    w = uint16s(words, N * K)
    for n in range(N):
        h, s = 0.0, 0.0
        for k in range(K):
            v = np.float64(float32_of(np.int32(w[n * K + k]) << 16))
            h += v * high[k]
            s += v * low[k]
        out[n] = h + s


def four_rows():
    """`dot` with four rows at a time, for rows of any length."""
    dot = make_dot("bfloat16", 4, 1)

    @jit
    def four(words, x, scales, N, K, out):
        for n in range(0, N, 4):
            dot(words + n * K * 2, K * 2, x.ctypes.data, 0, K // BLOCK, scales.ctypes.data + 4 * n, out.ctypes.data)

    return four


@intrinsic
def bytes_tile(typing, w, x, steps, out):
    """The multiplications of a tile of byte products: 12 vpdpbusd for each 64 exact products (4 bytes by 3)."""
    lanes = ir.VectorType(I32, 16)

    def code(context, builder, signature, arguments):
        w, x, steps, out = arguments
        kind = ir.FunctionType(lanes, [lanes, lanes, lanes])
        multiply = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
        sums = [ir.Constant(lanes, [0] * 16)] * 24  # 4 rows, 6 diagonals
        pointer = lanes.as_pointer()
        for k, phis, new in loop(builder, steps, sums):
            new.extend(phis)
            at = builder.add(x, builder.mul(k, I64(256)))
            planes = [load(builder, lanes, builder.add(at, I64(64 * p))) for p in range(4)]
            for r in range(4):
                for q in range(3):
                    word = builder.add(w, builder.add(builder.mul(k, I64(4)), I64(4096 * (3 * r + q))))
                    one = builder.load(builder.inttoptr(word, I32.as_pointer()))
                    undefined = ir.Constant(lanes, ir.Undefined)
                    one = builder.insert_element(undefined, one, I32(0))
                    one = builder.shuffle_vector(one, undefined, ir.Constant(lanes, [0] * 16))
                    for p in range(4):
                        i = 6 * r + p + q
                        new[i] = builder.call(multiply, [new[i], planes[p], one])
        for i, total in enumerate(sums):
            builder.store(total, builder.inttoptr(builder.add(out, I64(64 * i)), pointer)).align = 4
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), code


# ---- the measurements -----------------------------------------------------------------------------------------------


def prepared(N: int, K: int):
    """A gridded bfloat16 matrix, as the kernels have it, and what must stay in memory."""
    w = Exact().weight(np.random.default_rng(0).standard_normal((N, K)).astype(ml_dtypes.bfloat16))
    scales, factors = np.empty(N, np.float32), np.empty(N)
    Team(1).run(row_scales, linear.BFLOAT16, w.ctypes.data, N, K, scales, factors)
    matrix = linear.Matrix(w.ctypes.data, scales.ctypes.data, factors.ctypes.data, linear.BFLOAT16, N, K)
    return matrix, w, scales, factors


@jit
def quantize_all(x, out):
    for t in range(len(x)):
        linear.quantize(x[t], t, len(x), out)


def entry(function):
    """A kernel's part, as something that Python can call."""
    return njit(nogil=True, error_model="numpy")(function.py_func)


@njit(nogil=True, fastmath={"reassoc"})
def read(a):
    s = np.int64(0)
    for i in range(a.size):
        s += a[i]
    return s


def decode(N: int, K: int) -> list[tuple[str, float, float]]:
    """(version, GB/s of weights, share of a plain read) for one row of activations."""
    matrix, w, scales, _ = prepared(N, K)
    x = np.random.default_rng(1).standard_normal((1, K)).astype(np.float32)
    integers, y = linear.integers_for(1, K), np.zeros((1, N), np.float32)
    njit(quantize_all.py_func)(x, integers)
    one = linear.Scratch(*(a[0] for a in linear.scratch_for(1, 1)))
    high = np.rint(integers.n[:K] * 2.0**-16) * 2.0**16
    low, out, flat = integers.n[:K] - high, np.zeros(N), w.view(np.int64).ravel()
    simple_, fast, four = entry(simple.linear), entry(linear.linear), entry(four_rows())
    seconds = measure({
        "plain loops (simple.py)": lambda: simple_(matrix, integers, 1, y, 0, N, one),
        "two float64 multiply-adds a weight, vectors by the compiler": lambda: dot_float64(
            w.ctypes.data, high, low, N, K, out),
        "integers, in LLVM's vectors, 4 rows at a time": lambda: four(w.ctypes.data, integers.lanes, scales, N, K, out),
        "as it is: short rows one at a time, in the order of memory": lambda: fast(
            matrix, integers, 1, y, 0, N, one),
        "a plain read": lambda: read(flat),
    })  # fmt: skip
    return [(name, w.nbytes / s / 1e9, seconds["a plain read"] / s) for name, s in seconds.items()]


def prefill(N: int, K: int, T: int) -> list[tuple[str, float, float]]:
    """(version, 1e9 products/s, share of float32's by BLAS) for T rows."""
    matrix, w, _, _ = prepared(N, K)
    x = np.random.default_rng(1).standard_normal((T, K)).astype(np.float32)
    integers, y = linear.integers_for(T, K), np.zeros((T, N), np.float32)
    njit(quantize_all.py_func)(x, integers)
    one = linear.Scratch(*(a[0] for a in linear.scratch_for(1, T)))
    wide, plain, steps = w.astype(np.float32), 16, 100
    tile_out, k = np.zeros(TILE_ROWS * TILE_TOKENS, np.int64), min(K, 512)
    simple_, fast = entry(simple.linear), entry(linear.linear)

    @njit(nogil=True)
    def tiles(count):
        for _ in range(count):
            tile(w.ctypes.data, k * 4, 4, integers.columns.ctypes.data, k, tile_out.ctypes.data)

    versions = {
        "plain loops (simple.py)": (lambda: simple_(matrix, integers, plain, y, 0, N, one), N * K * plain),
        "as it is: tiles of 8 rows by 16 tokens": (lambda: fast(matrix, integers, T, y, 0, N, one), N * K * T),
        "sgemm": (lambda: x @ wide.T, N * K * T),
    }
    columns, words = integers.columns, np.zeros(TILE_ROWS * 512, np.int32)
    only = njit(nogil=True)(_only_tiles)
    only(columns, words, k, steps, tile_out)
    versions["the tile's loop alone"] = (
        lambda: only(columns, words, k, steps, tile_out), TILE_ROWS * TILE_TOKENS * k * steps)  # fmt: skip
    if LANES == 8 and _has_vnni():
        b, out = np.zeros(4096 * 16, np.uint8), np.zeros(24 * 16, np.int32)
        dots = njit(nogil=True)(_only_bytes)
        versions["byte products, their loop alone: 12 vpdpbusd for 64"] = (
            lambda: dots(b, columns, steps, out), 64 * 4 * 128 * steps)  # fmt: skip
    seconds = measure({name: run for name, (run, _) in versions.items()})
    base = versions["sgemm"][1] / seconds["sgemm"]
    return [(n, work / seconds[n] / 1e9, work / seconds[n] / base) for n, (_, work) in versions.items()]


def _only_tiles(columns, words, k, count, out):
    for _ in range(count):
        tile(words.ctypes.data, k * 4, 4, columns.ctypes.data, k, out.ctypes.data)


def _only_bytes(w, x, count, out):
    for _ in range(count):
        bytes_tile(w.ctypes.data, x.ctypes.data, 128, out.ctypes.data)


def _has_vnni() -> bool:
    from llvmlite import binding

    return bool(binding.get_host_cpu_features().get("avx512vnni"))


def window_at_16k() -> tuple[float, float]:
    """Seconds of attention alone for a pre-fill of 16384 tokens: without a window, and with one of 4096."""
    from fastpath.cpu.model import CpuMistral
    from minimistral import Config, Mistral

    tokens = np.zeros(16384, np.int64)
    seconds = []
    for window in (None, 4096):
        config = Config(
            dim=8, n_layers=1, head_dim=128, hidden_dim=8, n_heads=8, n_kv_heads=2, vocab_size=8, window=window
        )
        reference = Mistral.random(config)
        model = CpuMistral(config, reference.weights, reference.arithmetic, threads=2)
        model.next_logits(tokens[:300])
        start = time.perf_counter()
        model.next_logits(tokens)
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]


def main() -> None:
    """Print the tables."""
    for N, K in ((32000, 768), (8192, 4096)):
        print(f"\n| one token, {N} rows of {K} | GB/s of weights | of a plain read |\n| --- | ---: | ---: |")
        for name, speed, share in decode(N, K):
            print(f"| {name} | {speed:.1f} | {share:.2f} |")
    N, K, T = 2048, 768, 256
    print(f"\n| {T} tokens, {N} rows of {K} | 10^9 products/s | of sgemm |\n| --- | ---: | ---: |")
    for name, speed, share in prefill(N, K, T):
        print(f"| {name} | {speed:.1f} | {share:.2f} |")
    full, windowed = window_at_16k()
    print("\n| attention alone, 16384 tokens, 8 heads of 128 | seconds |\n| --- | ---: |")
    print(f"| every key before | {full:.1f} |\n| a window of 4096 | {windowed:.1f} |")
    print(f"| ratio (2.29 by pairs) | {full / windowed:.2f} |")


if __name__ == "__main__":
    main()
