"""A gridded matrix as the kernels read it: the checkpoint's own bits, each row padded to whole 128-bit loads."""

from typing import NamedTuple

import numpy as np

from minimistral.arithmetic.grid import TINY

PAD = 256  # weights of a row are a multiple of this: one step of a warp, 32 lanes of 8 weights
KINDS = ("bfloat16", "float16", "float32")


class DeviceMatrix(NamedTuple):
    """A matrix (N, K) in the GPU's memory. Weights beyond K are 0 and take no part.

    Weight k of row n, for 16-bit kinds: half k % 2 (0: the low half) of word n * stride + k // 2, stride = words(K, kind).
    """

    bits: object  # device uint32 (N * stride,): two 16-bit weights a word, or one float32
    kind: str  # "bfloat16", "float16" or "float32"
    exponents: object  # device int32 (N,): row n lies below its top, 2^exponents[n]
    N: int
    K: int

    @property
    def stride(self) -> int:
        """Words from one row to the next."""
        return words(self.K, self.kind)


def words(K: int, kind: str) -> int:
    """uint32 words of one padded row.

    >>> words(4096, "bfloat16"), words(20, "float32")
    (2048, 256)
    """
    padded = -(-K // PAD) * PAD
    return padded if kind == "float32" else padded // 2


def packed(w: np.ndarray) -> np.ndarray:
    """(N, K) of a storage type -> (N, words) uint32, rows padded with zeros."""
    N, K = w.shape
    if K % PAD == 0:
        return np.ascontiguousarray(w).view(np.uint32)
    padded = np.zeros((N, -(-K // PAD) * PAD), w.dtype)
    padded[:, :K] = w
    return padded.view(np.uint32)


def row_exponents(w: np.ndarray) -> np.ndarray:
    """Each row's exponent e, 2^e = top(row): (N, K) -> (N,) int32. Rows are finite.

    >>> row_exponents(np.array([[3.0, -4.0], [0.0, 0.5]], np.float32)).tolist()
    [3, 0]
    """
    integers = np.dtype(f"u{w.itemsize}")  # without the sign, bits are in the order of what they mean
    bits = np.ascontiguousarray(w).view(integers) & integers.type(2 ** (8 * w.itemsize - 1) - 1)
    largest = bits.max(axis=1, initial=0).view(w.dtype).astype(np.float64)
    return np.frexp(np.maximum(largest, TINY))[1].astype(np.int32)


def upload(matrices: list[np.ndarray]) -> DeviceMatrix:
    """Gridded matrices with the same K, one below the other, copied to the GPU; of different types, as float32."""
    from numba import cuda

    types = {w.dtype for w in matrices}
    storage = types.pop() if len(types) == 1 else np.dtype(np.float32)
    kind, K, N = storage.name, matrices[0].shape[1], sum(len(w) for w in matrices)
    bits = cuda.device_array((N, words(K, kind)), np.uint32)
    exponents = cuda.device_array(N, np.int32)
    start = 0
    for w in matrices:
        for n in range(0, len(w), 4096):  # a piece at a time: the padded copy stays small
            piece = w[n : n + 4096].astype(storage, copy=False)
            bits[start : start + len(piece)].copy_to_device(packed(piece))
            exponents[start : start + len(piece)].copy_to_device(row_exponents(piece))
            start += len(piece)
    return DeviceMatrix(bits.reshape(N * words(K, kind)), kind, exponents, N, K)
