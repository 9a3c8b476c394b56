"""What the kernels of decoding reach on this GPU: seconds and bytes of each, against a plain copy.

    python -m fastpath.cuda.measure --output FILE   for Mistral 7B's sizes, bfloat16, a full window; 4 GB of GPU memory

Each kernel runs many times in one CUDA graph, over arrays that together are larger than a GPU's cache.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from numba import cuda

from fastpath.cuda import decode_attention, gemv, ring, rows, sample
from fastpath.cuda.graph import capture, run
from fastpath.cuda.heads import heads
from fastpath.cuda.intrinsics import SIMULATED
from fastpath.cuda.matrix import DeviceMatrix, words
from minimistral.cli.json_file import write_json
from minimistral.config import MISTRAL_7B, Config

CACHE = 2**28  # bytes: more than any GPU keeps on its chip
REPEATS = 9


def seconds(launches: list[Callable]) -> float:
    """One launch's seconds: the median of some runs of a graph of them all; each takes a stream."""

    def every(stream) -> None:
        for launch in launches:
            launch(stream)

    every(0)
    graph = None if SIMULATED else capture(every)
    taken = []
    for _ in range(1 if SIMULATED else REPEATS):
        cuda.synchronize()
        start = time.perf_counter()
        every(0) if graph is None else run(graph)
        cuda.synchronize()
        taken.append((time.perf_counter() - start) / len(launches))
    return median(taken)


def copy_bandwidth(size: int = 2**30) -> float:
    """Bytes read and written a second by a device-to-device copy of `size` bytes."""
    a, b = cuda.to_device(np.zeros(size, np.uint8)), cuda.device_array(size, np.uint8)
    taken = []
    for _ in range(REPEATS):
        cuda.synchronize()
        start = time.perf_counter()
        b.copy_to_device(a)
        cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return 2 * size / median(taken)


def decode_kernels(config: Config, slots: int, kind: str = "bfloat16", tokens: int = 1) -> list[dict]:
    """Each kernel of a decode step over `slots` keys: {kernel, calls (a step), bytes, seconds}, of random weights."""
    c, size = config, 4 if kind == "float32" else 2
    q, kv, T = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim, tokens
    flags, later = cuda.to_device(np.zeros(16, np.int32)), cuda.to_device(np.zeros((2, T), np.int32))
    x_max = cuda.to_device(np.full(T, np.float32(1).view(np.int32)))
    found = []

    def floats(*shape: int):
        return cuda.to_device(np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32))

    def add(name: str, calls: int, read: int, launches: list[Callable]) -> None:
        found.append({"kernel": name, "calls": calls, "bytes": read, "seconds": seconds(launches)})

    def linear(name: str, N: int, K: int, calls: int, gated: bool = False) -> None:
        bytes_of_one = N * words(K, kind) * 4
        copies = 1 if SIMULATED else max(2, -(-CACHE // bytes_of_one))
        x, y = floats(T, K), cuda.device_array((T, N // 2 if gated else N), np.float32)
        bits = [cuda.to_device(np.full(N * words(K, kind), 0x3C003C00, np.uint32)) for _ in range(copies)]
        matrices = [DeviceMatrix(b, kind, None, N, K) for b in bits]
        if gated:
            launches = [lambda s, w=w: gemv.launch_gated(x, x_max, w, y, later[1], flags, 1, s) for w in matrices]
        else:
            launches = [lambda s, w=w: gemv.launch(x, x_max, w, y, s) for w in matrices]
        add(name, calls, N * K * size, launches)

    linear("q, k, v", q + 2 * kv, c.dim, c.n_layers)
    linear("attention output", c.dim, q, c.n_layers)
    linear("gate, up, SwiGLU", 2 * c.hidden_dim, c.dim, c.n_layers, gated=True)
    linear("down", c.dim, c.hidden_dim, c.n_layers)
    linear("logits", c.vocab_size, c.dim, 1)

    h, x, weight = floats(T, c.dim), floats(T, c.dim), floats(c.dim)
    many = 1 if SIMULATED else 100
    y = cuda.device_array((T, c.dim), np.float32)
    maxima = cuda.to_device(np.zeros(T, np.int32))
    one = [lambda s: rows.norm(h, x, weight, c.norm_eps, y, maxima, later, flags, (1, 2, 3), s)]
    add("residual, norm", 2 * c.n_layers + 1, 16 * T * c.dim, one * many)

    held = 4 * c.n_kv_heads * (c.head_dim + 1) * slots  # bytes of keys, and of values
    layers = 1 if SIMULATED else max(2, CACHE // (2 * held) + 1)
    caches = [[ring.empty(c.n_kv_heads, slots, c.head_dim) for _ in range(2)] for _ in range(layers)]
    for pair in caches:
        for vectors in pair:
            vectors.numbers.copy_to_device(np.ones(vectors.numbers.shape, np.float32))
            vectors.exponents.copy_to_device(np.ones(vectors.exponents.shape, np.int32))
    qkv, table = floats(1, q + 2 * kv), floats(1, c.head_dim)
    turned, k = floats(1, c.n_heads, c.head_dim), floats(1, c.n_kv_heads, c.head_dim)
    exponents, place = cuda.to_device(np.zeros((1, c.n_heads), np.int32)), cuda.to_device(np.zeros(1, np.int32))
    launches = [lambda s, p=p: heads(qkv, table, turned, k, exponents, place, *p, flags, 1, s) for p in caches]
    add("rotate, grid", T * c.n_layers, 8 * (q + 2 * kv), launches)
    scratch = decode_attention.Scratch(c.n_heads, c.head_dim, slots)
    span, out = cuda.to_device(np.array([0, slots, 0], np.int32)), floats(c.n_heads, c.head_dim)
    launches = [
        lambda s, p=p: decode_attention.attend(
            turned[0], exponents[0], *p, span, out, later[0, :1], scratch, flags, 1, s
        )
        for p in caches
    ]
    add(f"attention over {slots} keys", T * c.n_layers, 2 * held, launches)

    logits, counts = floats(T, c.vocab_size), cuda.device_array((T, c.vocab_size), np.int64)
    token, u = cuda.to_device(np.zeros(T, np.int32)), cuda.to_device(np.full(T, 0.5))
    one = [lambda s: sample.sample(logits, 0.7, 0.9, 0, u, counts, token, flags, 1, s)]
    add("sample", 1, 4 * T * c.vocab_size, one * min(many, 10))
    return found


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    output = parser.parse_args().output
    copied = copy_bandwidth()
    kernels = decode_kernels(MISTRAL_7B, MISTRAL_7B.window)
    for row in kernels:
        row["share_of_copy"] = row["bytes"] / row["seconds"] / copied
    name = cuda.get_current_device().name
    report = {
        "gpu": name.decode() if isinstance(name, bytes) else name,
        "copy_bytes_per_second": copied,
        "step_seconds": sum(row["calls"] * row["seconds"] for row in kernels),
        "kernels": kernels,
    }
    write_json(output, report)
    for row in kernels:
        print(
            f"{row['kernel']:28} {1e6 * row['seconds']:8.1f} us  {100 * row['share_of_copy']:5.1f} % of a copy's bandwidth"
        )


if __name__ == "__main__":
    main()
