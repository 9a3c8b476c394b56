"""Every kernel -> PTX -> cubin, without a GPU: what the compiler made of them, and whether it may (rule 9).

python -m fastpath.cuda.compile --output FILE   writes registers, spills and memory of each as JSON
"""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ARCHITECTURES = ((7, 5), (8, 0), (9, 0))
# What a compiler must not have done: approximate division, root or exponential, subnormals flushed to zero.
FORBIDDEN = re.compile(r"\.approx|\.ftz|\b(ex2|lg2|sin|cos|rsqrt|tanh)\.")


class Kernel(NamedTuple):
    """A kernel as it is launched."""

    name: str
    function: Callable
    signature: tuple
    threads: int | tuple[int, int]  # of a block; a pair: and blocks a multiprocessor must hold
    oldest: tuple[int, int] = ARCHITECTURES[0]  # compute capability that has its instructions


def kernels() -> list[Kernel]:
    """All kernels, with the types they are called with; those that are made for a size, for the sizes that matter."""
    from numba.cuda import types

    from fastpath.cuda import decode_attention, gemv, heads, matmul, ring, rows, sample, window_attention

    f1, f2, f3 = (types.Array(types.float32, n, "C") for n in (1, 2, 3))
    i1, i2 = (types.Array(types.int32, n, "C") for n in (1, 2))
    u1, l1, l2 = types.Array(types.uint32, 1, "C"), types.Array(types.int64, 1, "C"), types.Array(types.int64, 2, "C")
    d1, d3 = types.Array(types.float64, 1, "C"), types.Array(types.float64, 3, "C")
    n, real = types.int64, types.float64
    found = []
    for kind in ("bfloat16", "float16", "float32"):
        found.append(Kernel(f"embed {kind}", rows.make_embed(kind), (i1, u1, n, f2, i1, n), rows.THREADS))
        for tokens in (1, 2, 4):
            made = gemv.make(kind, tokens, gemv.rows_for(tokens))
            found.append(Kernel(f"gemv {kind}, {tokens} rows", made, (u1, n, f2, i1, f2), gemv.BOUNDS))
            made = gemv.make_gated(kind, tokens, gemv.rows_for(tokens))
            found.append(Kernel(f"gated gemv {kind}, {tokens} rows", made, (u1, n, f2, i1, f2, i1, i1, n), gemv.BOUNDS))
    found += [
        Kernel("norm", rows.norm_kernel, (f2, f2, n, f1, real, n, f2, i1, i2, i1, n, n, n), rows.THREADS),
        Kernel("swiglu", rows.swiglu_kernel, (f2, f2, i1, i1, n), rows.THREADS),
        Kernel("maxima", rows.maxima_kernel, (f2, i1, i1, n), rows.THREADS),
        Kernel("heads", heads.heads_kernel, (f2, f2, n, f3, f3, i2, i1, f3, i2, f3, i2, i1, n), 32),
        Kernel("ring write", ring.write_kernel, (f3, i2, n, n, f3, i2), 32),
        Kernel("ring gather", ring.gather_kernel, (f3, i2, n, f3, i2, n, n, f3, i2), 32),
        Kernel(
            "attention weights",
            decode_attention.make_weights(4),
            (f2, i1, i2, i1, l1, l1, i1, n),
            decode_attention.THREADS,
        ),
        Kernel("sample", sample.sample_kernel, (f2, real, real, n, d1, l2, i1, i1, n), sample.THREADS),
    ]
    for d, group in ((128, 4), (64, 4), (128, 1), (20, 3), (256, 2), (512, 8)):
        name = f"head_dim {d}, group {group}"
        made = decode_attention.make_scores(d, group)
        found.append(Kernel(f"attention scores, {name}", made, (f2, i1, f3, i2, i1, f2, i1), decode_attention.THREADS))
        made, threads = decode_attention.make_values(d, group)
        found.append(
            Kernel(f"attention values, {name}", made, (f2, i1, l1, l1, f3, i2, i1, d3, i1, f2, i1, i1, n), threads)
        )
    for module in (matmul, window_attention):
        for name, function, signature, oldest, threads in getattr(module, "KERNELS", ()):
            found.append(Kernel(name, function, signature, threads, oldest))
    return found


def ptx(kernel: Kernel, architecture: tuple[int, int]) -> str:
    """The kernel in NVIDIA's assembly language for a compute capability."""
    from numba import cuda

    return cuda.compile(
        kernel.function, kernel.signature, cc=architecture, device=False, abi="numba", launch_bounds=kernel.threads
    )[0]


def assembled(text: str, architecture: tuple[int, int]) -> dict[str, int]:
    """What ptxas says of a PTX text: registers a thread, bytes of spills, stack and shared memory."""
    from cuda.core import Linker, LinkerOptions, ObjectCode

    options = LinkerOptions(arch="sm_{}{}".format(*architecture), ptxas_options=["-v"])
    linker = Linker(ObjectCode.from_ptx(text.encode()), options=options)
    linker.link("cubin")
    said = linker.get_info_log() or ""

    def number(pattern: str) -> int:
        found = re.search(pattern, said)
        return int(found[1]) if found else 0

    return {
        "registers": number(r"Used (\d+) registers"),
        "spill_bytes": number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
        "stack_bytes": number(r"(\d+) bytes stack frame"),
        "shared_bytes": sum(int(n) for n in re.findall(r"\.shared .*\[(\d+)\];", text)),
    }


def table() -> list[dict]:
    """A row for each kernel and architecture; raises AssertionError if a kernel has what rule 9 forbids."""
    rows = []
    for kernel in kernels():
        for architecture in [a for a in ARCHITECTURES if a >= kernel.oldest]:
            text = ptx(kernel, architecture)
            assert not (wrong := FORBIDDEN.search(text)), f"{kernel.name}: {wrong[0]}"
            target = "sm_{}{}".format(*architecture)
            threads = kernel.threads[0] if isinstance(kernel.threads, tuple) else kernel.threads
            rows.append({"kernel": kernel.name, "target": target, "threads": threads} | assembled(text, architecture))
    return rows


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    output = parser.parse_args().output
    rows = table()
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    lines = ",\n".join(json.dumps(row) for row in rows)
    partial.write_text(f"[\n{lines}\n]\n")
    partial.replace(output)
    print(f"{output}: {len(rows)} rows, {sum(r['spill_bytes'] > 0 for r in rows)} with spills")


if __name__ == "__main__":
    main()
