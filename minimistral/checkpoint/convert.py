"""Writing checkpoints: from one layout to the other, in another type or the same, a tensor at a time."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes
import numpy as np

from minimistral.checkpoint.config_file import config_json, params_json
from minimistral.checkpoint.files import reason, shown
from minimistral.checkpoint.inspect import CONFIG, HF_FILE, MISTRAL_FILE, PARAMS, open_checkpoint
from minimistral.checkpoint.layouts import rope_heads, stored_name, to_hf_rows
from minimistral.checkpoint.load import BLOCK, check_finite, first_not_finite
from minimistral.checkpoint.tensor_file import write_tensors
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.weights import tensor_shapes

LAYOUTS = ("hf", "mistral")
DTYPES = {
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
    "float32": np.dtype(np.float32),
}
TOKENIZER = re.compile(r"tokenizer\.model(\.v\w+)?|tokenizer(_config)?\.json|special_tokens_map\.json|tekken\.json")
Progress = Callable[[int, int], None]


def convert(
    src: str | Path, dst: str | Path, layout: str, dtype: str | None = None, progress: Progress | None = None
) -> list[str]:
    """Write the checkpoint in folder src as a new folder dst in `layout` ("hf" or "mistral"); its notes are returned.

    dtype: "bfloat16", "float16" or "float32" (default: each tensor keeps its type). progress(bytes done, bytes in all).
    Nothing is left behind if it fails. BadInput for a bad source, a dst that is there already, or a value that the
    type cannot hold.
    """
    checkpoint = open_checkpoint(src)
    place = Place(checkpoint.tensors.sources)
    with new_folder(Path(dst), checkpoint.n_bytes) as folder:
        _write(folder, checkpoint.config, checkpoint.tensors, layout, dtype, checkpoint.token_ids, progress, place)
        for path in sorted(checkpoint.folder.iterdir()):
            if TOKENIZER.fullmatch(path.name) and path.is_file():
                shutil.copyfile(path, folder / path.name)
    return checkpoint.notes


def write_checkpoint(
    folder: str | Path,
    config: Config,
    tensors: Mapping[str, np.ndarray],
    layout: str = "mistral",
    dtype: str | None = None,
    token_ids: dict[str, object] | None = None,
) -> None:
    """Write a new checkpoint folder from tensors under Mistral's names, query and key rows in Mistral's order.

    tensors: any mapping; each is asked for once, so they may be made one at a time. dtype None: as they come.
    """
    with new_folder(Path(folder), 0) as unfinished:
        _write(unfinished, config, tensors, layout, dtype, token_ids or {}, None, Place({}))


class Place:
    """Names a tensor in messages, and gives its mapped pages back once it is written."""

    def __init__(self, sources: Mapping):
        self._sources = sources

    def where(self, name: str) -> str:
        if name not in self._sources:
            return name
        file, stored = self._sources[name]
        return f"{shown(file.path)}: {stored}"

    def done(self, name: str) -> None:
        if name in self._sources:
            file, stored = self._sources[name]
            file.release(stored)


def _write(folder, config, tensors, layout, dtype, token_ids, progress, place) -> None:
    if layout not in LAYOUTS:
        raise BadInput(f"layout: {shown(layout)}, expected {' or '.join(LAYOUTS)}")
    if dtype is not None and dtype not in DTYPES:
        raise BadInput(f"dtype: {shown(dtype)}, expected {', '.join(DTYPES)}")
    shapes = tensor_shapes(config)
    announced = {}
    for name, shape in shapes.items():
        kept = DTYPES[dtype] if dtype else _stored_dtype(tensors, name, place)
        announced[stored_name(name, layout)] = (kept, shape)
    main = max(announced.values(), key=lambda item: int(np.prod(item[1])))[0].name
    facts = config_json(config, token_ids, main) if layout == "hf" else params_json(config, token_ids)
    (folder / (CONFIG if layout == "hf" else PARAMS)).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    sizes = [int(np.prod(shape)) * kept.itemsize for kept, shape in announced.values()]

    def blocks() -> Iterator[tuple[str, Iterator[np.ndarray]]]:
        done = 0
        for (name, shape), size in zip(shapes.items(), sizes, strict=True):
            stored = stored_name(name, layout)
            tensor = tensors[name]
            if tensor.shape != shape:
                raise BadInput(f"{place.where(name)}: shape {tensor.shape}, expected {shape}")
            heads = rope_heads(name, config) if layout == "hf" else None
            ordered = tensor if heads is None else to_hf_rows(tensor, heads)
            check_finite(ordered, place.where(name))
            yield stored, _cast(ordered, announced[stored][0], place.where(name))
            place.done(name)
            done += size
            if progress is not None:
                progress(done, sum(sizes))

    write_tensors(folder / (HF_FILE if layout == "hf" else MISTRAL_FILE), announced, blocks())


def _stored_dtype(tensors: Mapping[str, np.ndarray], name: str, place: Place) -> np.dtype:
    dtype = tensors[name].dtype
    if dtype.name not in DTYPES:
        raise BadInput(f"{place.where(name)}: type {dtype.name}, expected {', '.join(DTYPES)}")
    return DTYPES[dtype.name]


def _cast(tensor: np.ndarray, dtype: np.dtype, where: str) -> Iterator[np.ndarray]:
    """The values in another type, a block at a time. BadInput for one that is finite but too large for it."""
    flat = tensor.reshape(-1)
    for n in range(0, flat.size, BLOCK):
        block = flat[n : n + BLOCK]
        with np.errstate(over="ignore"):
            cast = block.astype(dtype, copy=False)
        index = None if cast.dtype == block.dtype else first_not_finite(cast)
        if index is not None:
            at = tuple(map(int, np.unravel_index(n + index[0], tensor.shape)))
            raise BadInput(f"{where}: {block[index]} at index {at} is too large for {dtype.name}")
        yield cast


@contextmanager
def new_folder(dst: Path, n_bytes: int) -> Iterator[Path]:
    """A folder under a temporary name beside dst, which gets dst's name when all has gone well, and else is removed."""
    where = shown(dst)
    unfinished = None
    try:
        if dst.is_symlink() or (dst.exists() and not dst.is_dir()):
            raise BadInput(f"{where}: exists and is not a folder, expected a new name")
        if dst.is_dir() and any(dst.iterdir()):
            raise BadInput(f"{where}: exists and is not empty, expected a new name or an empty folder")
        parent = dst.absolute().parent
        free = shutil.disk_usage(parent).free
        if n_bytes > 2 * free:  # a change of type can halve the size, not more
            raise BadInput(f"{where}: {n_bytes} bytes to write, {free} free")
        unfinished = Path(tempfile.mkdtemp(prefix=f".{dst.name[:100]}.partial-", dir=parent))
        yield unfinished
        mask = os.umask(0)
        os.umask(mask)
        unfinished.chmod(0o777 & ~mask)  # mkdtemp makes it for the owner alone
        if dst.is_dir():
            dst.rmdir()
        unfinished.rename(dst)
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        why = reason(error) if isinstance(error, OSError) else shown(error)
        raise BadInput(f"{where}: cannot be written: {why}") from None
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
