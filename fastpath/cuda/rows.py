"""What happens to whole rows between the matrices: embedding, residuals and norms, SwiGLU, maxima.

Each kernel also leaves the row's largest magnitude (for the grid of the linear layer that follows) and marks stages that
hold a NaN or an infinity: flags[0] and flags[s + 1] become 1 for stage s. All writers write the same, so order is no
matter. Limit of them all: the launch and the latency of memory; a row is a few KB.
"""

from functools import lru_cache
from math import sqrt

import numpy as np
from numba import cuda

from fastpath.cuda.exp import swiglu
from fastpath.cuda.grids import INFINITY, exponent64, magnitude, power
from fastpath.cuda.intrinsics import SIMULATED, bits_of_f64, device, f32_of_bits, kernel, rint, warp_max, warp_sum
from fastpath.cuda.widen import PAIRS

i32, i64, f32, f64 = np.int32, np.int64, np.float32, np.float64
THREADS = 32 if SIMULATED else 512
WARPS = THREADS // 32


@device
def block_max(value, shared):
    """The largest int32 of all threads of the block, in every thread; shared: int32, one a warp."""
    value = warp_max(value)
    if WARPS > 1:
        lane = cuda.threadIdx.x & 31
        cuda.syncthreads()
        if lane == 0:
            shared[cuda.threadIdx.x >> 5] = value
        cuda.syncthreads()
        value = warp_max(shared[lane % WARPS])
    return value


@device
def block_sum(value, shared):
    """The sum over all threads of the block, in every thread; shared: float64, one a warp."""
    value = warp_sum(value)
    if WARPS > 1:
        lane = cuda.threadIdx.x & 31
        cuda.syncthreads()
        if lane == 0:
            shared[cuda.threadIdx.x >> 5] = value
        cuda.syncthreads()
        value = warp_sum(shared[lane] if lane < WARPS else 0.0)
    return value


@device
def mark(largest, flags, stage):
    """Marks the stage if a magnitude in it is not finite."""
    if largest >= i32(INFINITY):
        flags[stage + 1] = i32(1)
        flags[0] = i32(1)


@device
def square_step(largest):
    """The exponent e of top(h^2) of a row whose largest magnitude has these bits."""
    peak = f64(f32_of_bits(largest))
    return exponent64(bits_of_f64(peak * peak))


@device
def square(x, inverse):
    """x^2 as a whole number of steps."""
    return rint(f64(x) * f64(x) * inverse)


@device
def root(S, step, n, eps):
    """sqrt(mean of squares + eps), S whole steps in all."""
    return sqrt(S * step / f64(n) + eps)


@device
def normed(x, r, weight):
    """store(x / r * weight)."""
    return f32(f64(x) / r * f64(weight)) + f32(0)


@device
def added(a, b):
    """store(a + b)."""
    return f32(f64(a) + f64(b)) + f32(0)


@lru_cache(None)
def make_embed(kind: str):
    """The embedding for one type of weight."""
    widen, shift = PAIRS[kind]
    per_word = 1 if kind == "float32" else 2
    scale = 2.0**shift

    def embed_kernel(tokens, bits, stride, h, flags, stage):
        """h[t] = the embedding's row tokens[t], its own values; a zero is +0.

        Grid T, block 512. tokens int32 (T,), bits uint32 as in DeviceMatrix, h float32 (T, dim).
        Reads T dim weights, writes T dim floats.
        """
        t = cuda.blockIdx.x
        largest = i32(0)
        for j in range(cuda.threadIdx.x, h.shape[1], THREADS):
            a, b = widen(bits[i64(tokens[t]) * i64(stride) + i64(j // per_word)])
            x = f32((b if j % per_word == 1 else a) * scale) + f32(0)
            h[t, j] = x
            largest = max(largest, magnitude(x))
        mark(largest, flags, stage)

    return embed_kernel


def norm_kernel(h, a, add, weight, eps, c, y, y_max, later, flags, stage_a, stage_h, stage_y):
    """A residual where add is 1, then RMSNorm (rule 4): h = store(h + a); y = store(h / sqrt(S / n + eps) * weight).

    S = the sum of rint(h^2 2^(52 - c) / top(h^2)), c = bits of n - 1: integers below 2^52 together, exact in any order.
    Grid T, block 512. h, a, y float32 (T, n), weight float32 (n,), y_max int32 (T,); later int32 (2, T) is set to 0
    for the kernels that take maxima into it. Reads h and a once from memory (h twice more from cache), writes h and y:
    16 T n bytes. About 8 float64 operations and a division a number.
    """
    t, n = cuda.blockIdx.x, h.shape[1]
    words = cuda.shared.array(WARPS, i32)
    numbers = cuda.shared.array(WARPS, f64)
    largest, largest_a = i32(0), i32(0)
    for j in range(cuda.threadIdx.x, n, THREADS):
        x = h[t, j]
        if add == 1:
            largest_a = max(largest_a, magnitude(a[t, j]))
            x = added(x, a[t, j])
            h[t, j] = x
        largest = max(largest, magnitude(x))
    mark(largest_a, flags, stage_a)
    mark(largest, flags, stage_h)
    e = square_step(block_max(largest, words))
    inverse = power(i32(52) - i32(c) - e)
    S = 0.0
    for j in range(cuda.threadIdx.x, n, THREADS):
        S += square(h[t, j], inverse)
    r = root(block_sum(S, numbers), power(e - i32(52) + i32(c)), n, eps)
    largest = i32(0)
    for j in range(cuda.threadIdx.x, n, THREADS):
        z = normed(h[t, j], r, weight[j])
        y[t, j] = z
        largest = max(largest, magnitude(z))
    mark(largest, flags, stage_y)
    largest = block_max(largest, words)
    if cuda.threadIdx.x == 0:
        y_max[t] = largest
        later[0, t] = i32(0)
        later[1, t] = i32(0)


def swiglu_kernel(x, y, y_max, flags, stage):
    """y = store(gate / (1 + e^-gate) * up) (rule 5), gate the first half of a row of x and up the second.

    Grid (n / 512, T), block 512. x float32 (T, 2 n), y float32 (T, n), y_max int32 (T,): raised to the row's maximum,
    0 before. Reads 8 T n bytes, writes 4 T n. Seven 32-bit multiplications, a division, 6 float64 operations a number.
    """
    t, j, n = cuda.blockIdx.y, cuda.grid(1), y.shape[1]
    words = cuda.shared.array(WARPS, i32)
    largest = i32(0)
    if j < n:
        gate, up = x[t, j], x[t, n + j]
        z = swiglu(gate, up)
        y[t, j] = z
        mark(magnitude(gate), flags, stage)
        mark(magnitude(up), flags, stage + 1)
        largest = magnitude(z)
        mark(largest, flags, stage + 2)
    largest = block_max(largest, words)
    if cuda.threadIdx.x == 0:
        cuda.atomic.max(y_max, t, largest)


def maxima_kernel(x, x_max, flags, stage):
    """The largest magnitude of each row, as bits: float32 x (T, n) -> int32 (T,). Grid T, block 512; reads 4 T n bytes."""
    t = cuda.blockIdx.x
    words = cuda.shared.array(WARPS, i32)
    largest = i32(0)
    for j in range(cuda.threadIdx.x, x.shape[1], THREADS):
        largest = max(largest, magnitude(x[t, j]))
    mark(largest, flags, stage)
    largest = block_max(largest, words)
    if cuda.threadIdx.x == 0:
        x_max[t] = largest


# ---- launches ------------------------------------------------------------------------------------------------------
def embed(tokens, table, h, flags, stage: int, stream=0) -> None:
    """h (T, dim) = rows of the table, a DeviceMatrix."""
    kernel(make_embed(table.kind), THREADS)[h.shape[0], THREADS, stream](
        tokens, table.bits, table.stride, h, flags, stage
    )


def norm(h, a, weight, eps: float, y, y_max, later, flags, stages: tuple[int, int, int], stream=0) -> None:
    """y = rms_norm(h), or of h = h + a where a is not None. stages: those of a, h and y."""
    T, n = h.shape
    kernel(norm_kernel, THREADS)[T, THREADS, stream](
        h, h if a is None else a, int(a is not None), weight, eps, (n - 1).bit_length(), y, y_max, later, flags, *stages
    )


def gated(x, y, y_max, flags, stage: int, stream=0) -> None:
    """y (T, n) = swiglu of the halves of x (T, 2 n). stage: that of the gate; up and the result follow it."""
    T, n = y.shape
    kernel(swiglu_kernel, THREADS)[(-(-n // THREADS), T), THREADS, stream](x, y, y_max, flags, stage)


def maxima(x, x_max, flags, stage: int, stream=0) -> None:
    """x_max (T,) = the largest magnitudes of the rows of x (T, n), as bits."""
    kernel(maxima_kernel, THREADS)[x.shape[0], THREADS, stream](x, x_max, flags, stage)
