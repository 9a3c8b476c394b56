"""Checkpoints of random weights, of any size: what a speed test needs. They go to disk block by block.

The numbers are those of `random_tensors`, drawn in the same order, so a seed means the same model in both.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from math import prod
from pathlib import Path

import ml_dtypes
import numpy as np

from minimistral.checkpoint.config_file import config_json, params_json
from minimistral.checkpoint.convert import LAYOUTS, new_folder
from minimistral.checkpoint.files import shown
from minimistral.checkpoint.inspect import CONFIG, HF_FILE, MISTRAL_FILE, PARAMS
from minimistral.checkpoint.layouts import rope_heads, stored_name, to_hf_rows
from minimistral.checkpoint.tensor_file import write_tensors
from minimistral.config import MISTRAL_7B, Config
from minimistral.errors import BadInput
from minimistral.weights import random_rows, tensor_shapes

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
BLOCK = 2**20  # values drawn at a time
SMALL_FILES = 2**20  # bytes: the config and the header
SIZES = {  # by the round number of their parameters
    "130M": Config(
        dim=768, n_layers=12, head_dim=64, hidden_dim=2048, n_heads=12, n_kv_heads=4, vocab_size=32000, window=256
    ),
    "1B": Config(
        dim=2048, n_layers=16, head_dim=128, hidden_dim=7168, n_heads=16, n_kv_heads=4, vocab_size=32000, window=1024
    ),  # the proportions of the 7B
    "7B": MISTRAL_7B,
}


def size_named(name: str) -> Config:
    """The config called `name`; BadInput if there is none.

    >>> size_named("130M").dim
    768
    """
    if name not in SIZES:
        raise BadInput(f"--params: {shown(name)!r}, expected one of {', '.join(SIZES)}")
    return SIZES[name]


def bytes_needed(config: Config) -> int:
    """Bytes of the folder in bfloat16, rounded up by a little."""
    return sum(prod(shape) for shape in tensor_shapes(config).values()) * BFLOAT16.itemsize + SMALL_FILES


def write_random_checkpoint(
    dst: str | Path,
    config: Config,
    layout: str = "mistral",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """A new folder dst with random bfloat16 weights of this config, in `layout` ("mistral" or "hf"); no tokenizer.

    progress(bytes done, bytes in all). Memory does not grow with the model; nothing is left behind if it fails.
    BadInput for a dst that is there already, or if the disk has no room.
    """
    if layout not in LAYOUTS:
        raise BadInput(f"layout: {shown(layout)}, expected {' or '.join(LAYOUTS)}")
    dst = Path(dst)
    _check_room(dst, bytes_needed(config))
    with new_folder(dst, 0) as folder:
        facts = config_json(config, {}, BFLOAT16.name) if layout == "hf" else params_json(config, {})
        text = json.dumps(facts, indent=2) + "\n"
        (folder / (CONFIG if layout == "hf" else PARAMS)).write_text(text, encoding="utf-8")
        shapes = tensor_shapes(config)
        announced = {stored_name(name, layout): (BFLOAT16, shape) for name, shape in shapes.items()}
        blocks = _tensors(config, layout, seed, progress)
        write_tensors(folder / (HF_FILE if layout == "hf" else MISTRAL_FILE), announced, blocks)


def _check_room(dst: Path, needed: int) -> None:
    parent = dst.absolute().parent
    if not parent.is_dir():
        raise BadInput(f"{shown(dst)}: {shown(parent)} is not a folder")
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise BadInput(f"{shown(dst)}: needs {needed / 1e9:.3g} GB, but the disk has {free / 1e9:.3g} GB free")


def _tensors(config: Config, layout: str, seed: int, progress) -> Iterator[tuple[str, Iterator[np.ndarray]]]:
    """(stored name, blocks of rows) of every tensor. One generator draws them all, in this order."""
    rng = np.random.default_rng(seed)
    shapes = tensor_shapes(config)
    total, done = sum(map(prod, shapes.values())), 0
    for name, shape in shapes.items():
        yield stored_name(name, layout), _blocks(rng, name, shape, rope_heads(name, config) if layout == "hf" else None)
        done += prod(shape)
        if progress is not None:
            progress(done * BFLOAT16.itemsize, total * BFLOAT16.itemsize)


def _blocks(rng: np.random.Generator, name: str, shape: tuple[int, ...], heads: int | None) -> Iterator[np.ndarray]:
    """A tensor's rows, some at a time; whole heads where the layout puts each head's rows in another order."""
    unit = 1 if heads is None else shape[0] // heads
    row = prod(shape[1:])  # 1 for a vector
    rows = max(1, BLOCK // (row * unit)) * unit
    for start in range(0, shape[0], rows):
        n = min(rows, shape[0] - start)
        block = random_rows(rng, name, (n, *shape[1:])).astype(BFLOAT16)
        yield block if heads is None else to_hf_rows(block, n // unit)
