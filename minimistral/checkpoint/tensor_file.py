"""The safetensors format: eight bytes of length, a JSON header, and the numbers, mapped into memory, never read whole.

    N (uint64, little-endian) | {"name": {"dtype": "BF16", "shape": [4, 6], "data_offsets": [0, 48]}, ...} | bytes

The tensors fill the bytes after the header without a gap, so a file that is cut short or was joined wrongly is seen
from its header alone.
"""

import json
import math
import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from minimistral.checkpoint.files import open_plain, parse_json, reason, shown
from minimistral.errors import BadInput

HEADER_LIMIT = 8 * 2**20  # bytes; a model with a thousand layers needs 1 MB
MAX_AXES = 16
NEIGHBOURS = 2**18  # bytes around a page that Linux may map with it (64 KB unless set otherwise)
# Bits of one value of every type in the format; only those in DTYPES can be weights here.
BITS = {"BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64, "F16": 16}
BITS |= {"BF16": 16, "F32": 32, "F64": 64, "C64": 64, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8}
BITS |= {"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4}
DTYPES = {"BF16": np.dtype(ml_dtypes.bfloat16), "F16": np.dtype(np.float16), "F32": np.dtype(np.float32)}
DTYPES |= {"I32": np.dtype(np.int32), "I64": np.dtype(np.int64), "F64": np.dtype(np.float64)}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class Entry(NamedTuple):
    """One tensor of a file: where its bytes lie, counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class TensorFile:
    """A safetensors file, its header checked and its bytes mapped. BadInput if anything in it contradicts itself."""

    def __init__(self, path: Path):
        self.path = Path(path)
        file, size = open_plain(self.path)
        with file:
            self.entries, self.data_start, self.metadata = _read_header(file, size, shown(self.path))
            self._map = _mapped(file, shown(self.path))

    def __getitem__(self, name: str) -> np.ndarray:
        """A read-only view of one tensor, in its stored type; nothing is read until it is used."""
        entry = self.entries[name]
        start = self.data_start + entry.start
        return np.ndarray(entry.shape, DTYPES[entry.dtype].newbyteorder("<"), self._map, start)

    def release(self, name: str, start: int = 0, end: int | None = None) -> None:
        """Let the system drop the pages of a tensor's bytes start to end; they are read again if used again."""
        entry = self.entries[name]
        tensor = self.data_start + entry.start
        # A page that is touched brings its neighbours with it, also those released a moment ago: begin before them.
        first = max(tensor + start - NEIGHBOURS, 0) // mmap.PAGESIZE * mmap.PAGESIZE
        last = tensor + (entry.end - entry.start if end is None else end)
        if last > first and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)


def _mapped(file, where: str) -> mmap.mmap:
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise BadInput(f"{where}: cannot be mapped into memory: {shown(error)}") from None


def _read_header(file, size: int, where: str) -> tuple[dict[str, Entry], int, dict]:
    """({name: Entry}, where the tensors begin, metadata)."""
    if size < 8:
        raise BadInput(f"{where}: {size} bytes, expected a safetensors file (a header of 8 bytes and more)")
    try:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if start == b"version ":  # what git leaves in place of a large file
            raise BadInput(f"{where}: is a git-lfs pointer of {size} bytes, expected the tensors: run git lfs pull")
        if length > size - 8:
            raise BadInput(f"{where}: header of {length} bytes in a file of {size}: cut short, or not safetensors")
        if not 2 <= length <= HEADER_LIMIT:
            raise BadInput(f"{where}: header of {length} bytes, expected 2 to {HEADER_LIMIT}")
        header = file.read(length)
    except OSError as error:
        raise BadInput(f"{where}: cannot be read: {reason(error)}") from None
    found = parse_json(header, f"{where}: header")
    metadata = found.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise BadInput(f"{where}: __metadata__: expected an object of strings")
    entries = {name: _entry(fields, f"{where}: {shown(name)}") for name, fields in found.items()}
    _check_places(entries, size - 8 - length, where)
    return entries, 8 + length, metadata


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _entry(fields: object, where: str) -> Entry:
    """One tensor's line of the header, checked against itself: shape x bits of a value = bytes."""
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise BadInput(f"{where}: expected dtype, shape and data_offsets, found {shown(fields)}")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise BadInput(f"{where}: dtype {shown(dtype)} is not a safetensors type")
    if not isinstance(shape, list) or len(shape) > MAX_AXES or not all(map(_is_count, shape)):
        raise BadInput(f"{where}: shape {shown(shape)}, expected a list of at most {MAX_AXES} counts")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_count, offsets)):
        raise BadInput(f"{where}: data_offsets {shown(offsets)}, expected two counts")
    start, end = offsets
    expected = math.prod(shape) * BITS[dtype]
    if start > end or (end - start) * 8 != expected:
        raise BadInput(f"{where}: {end - start} bytes, expected {-(-expected // 8)} for {dtype} {shown(shape)}")
    return Entry(dtype, tuple(shape), start, end)


def _check_places(entries: dict[str, Entry], n_bytes: int, where: str) -> None:
    """The tensors, in the order of their bytes, must follow one another and fill the file."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != position:
            what = "overlaps the tensor before it" if entry.start < position else "leaves a gap before it"
            raise BadInput(f"{where}: {shown(name)}: begins at byte {entry.start}, expected {position}: it {what}")
        position = entry.end
    if position != n_bytes:
        what = "cut short" if n_bytes < position else "something follows the last tensor"
        raise BadInput(f"{where}: {n_bytes} bytes of tensors, expected {position} from the header: {what}")


def write_tensors(
    path: Path, tensors: dict[str, tuple[np.dtype, tuple[int, ...]]], blocks: Iterable[tuple[str, Iterator[np.ndarray]]]
) -> None:
    """Write a safetensors file a block at a time, so that no tensor need be in memory whole.

    tensors: {name: (dtype, shape)}; blocks: for each of them, in the same order, its name and an iterator of arrays
    whose bytes together are the tensor's. The file has a temporary name until it is complete. OSError as it comes.
    """
    header, position = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape) in tensors.items():
        end = position + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 64)  # so that tensors of every type lie aligned
    unfinished = path.with_name(path.name + ".partial")
    try:
        with open(unfinished, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for (name, parts), expected in zip(blocks, tensors, strict=True):
                if name != expected:
                    raise ValueError(f"tensor {name} comes where {expected} was announced")
                file.writelines(np.ascontiguousarray(part).view(np.uint8).data for part in parts)
            if file.tell() != 8 + len(text) + position:
                raise ValueError("the blocks do not add up to the announced shapes")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
