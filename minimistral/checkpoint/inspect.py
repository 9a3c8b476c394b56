"""Opening a checkpoint folder: everything that its config promises is checked against the tensors before any work.

Only headers are read here; the numbers themselves are looked at when they are first used (load.py).
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minimistral.checkpoint.config_file import Facts, read_config, read_params
from minimistral.checkpoint.files import read_json, reason, shown
from minimistral.checkpoint.layouts import rope_heads, stored_name, to_mistral_rows
from minimistral.checkpoint.tensor_file import TensorFile
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.weights import tensor_shapes

WEIGHT_TYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
PARAMS, CONFIG, INDEX = "params.json", "config.json", "model.safetensors.index.json"
MISTRAL_FILE, HF_FILE = "consolidated.safetensors", "model.safetensors"
SHARD = re.compile(r"consolidated-(\d{5})-of-(\d{5})\.safetensors")
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")


class Source(NamedTuple):
    """Where a tensor lies: its file, and its name there."""

    file: TensorFile
    name: str


class Tensors(Mapping[str, np.ndarray]):
    """Mistral's name -> the tensor, in its stored type, query and key rows in Mistral's order.

    A read-only view of the file, but for Hugging Face's query and key matrices, which are put in order in memory.
    """

    def __init__(self, config: Config, layout: str, sources: dict[str, Source]):
        self._config, self._layout, self.sources = config, layout, sources

    def __getitem__(self, name: str) -> np.ndarray:
        file, stored = self.sources[name]
        heads = rope_heads(name, self._config) if self._layout == "hf" else None
        return file[stored] if heads is None else to_mistral_rows(file[stored], heads)

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)


class Checkpoint(NamedTuple):
    """A folder whose config and tensors agree."""

    folder: Path
    config: Config
    layout: str  # "mistral" or "hf"
    notes: list[str]  # a line each: what was left out and taken, and what was not used
    tensors: Tensors
    dtype: str  # of most of the weights
    n_bytes: int  # of all tensors that the config names
    token_ids: dict[str, object]  # bos_token_id and eos_token_id, where the config has them


def open_checkpoint(folder: str | Path) -> Checkpoint:
    """A Mistral folder (params.json, consolidated.safetensors) or a Hugging Face one (config.json, model.safetensors).

    A folder that is both is read as Mistral's. BadInput, naming file and tensor, if anything is missing or contradicts
    anything else.
    """
    folder = Path(folder)
    names = _listing(folder)
    layout = _layout(folder, names)
    facts = read_params(folder / PARAMS) if layout == "mistral" else read_config(folder / CONFIG)
    found = _mistral_sources(folder, names) if layout == "mistral" else _hf_sources(folder, names)
    config_name = shown(folder / (PARAMS if layout == "mistral" else CONFIG))
    _check_layers(facts.config, layout, found, config_name)
    sources = {}
    for name, shape in tensor_shapes(facts.config).items():
        sources[name] = _check_tensor(found, stored_name(name, layout), shape, folder, config_name)
    notes = facts.notes + _notes(facts, layout, found, sources)
    dtype, n_bytes = _sizes(sources)
    tensors = Tensors(facts.config, layout, sources)
    return Checkpoint(folder, facts.config, layout, notes, tensors, dtype, n_bytes, facts.token_ids)


def _listing(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except NotADirectoryError:
        raise BadInput(f"{shown(folder)}: is a file, expected a checkpoint folder") from None
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else shown(error)
        raise BadInput(f"{shown(folder)}: cannot be read: {why}") from None


def _layout(folder: Path, names: list[str]) -> str:
    """Which layout the folder has; where it has neither, what is missing and what to do."""
    mistral_tensors = MISTRAL_FILE in names or any(SHARD.fullmatch(name) for name in names)
    hf_tensors = HF_FILE in names or INDEX in names
    if PARAMS in names and mistral_tensors:
        return "mistral"
    if CONFIG in names and hf_tensors:
        return "hf"
    where = shown(folder)
    if mistral_tensors or hf_tensors:
        missing = PARAMS if mistral_tensors else CONFIG
        raise BadInput(f"{where}: has weights, but no {missing}: expected it beside them, as published")
    pickle = next((name for name in names if name.endswith(PICKLES)), None)
    if pickle is not None:
        raise BadInput(
            f"{where}: {shown(pickle)} is a pickle, which can run any code when it is read, so it is refused; "
            "download the safetensors files of the same model, or save it again with safetensors"
        )
    expected = f"{PARAMS} and {MISTRAL_FILE}, or {CONFIG} and {HF_FILE}"
    raise BadInput(f"{where}: not a checkpoint: expected {expected}, found {_few(names) if names else 'nothing'}")


def _few(names: list[str]) -> str:
    return shown(", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else ""))


def _all_entries(file: TensorFile) -> dict[str, Source]:
    return {name: Source(file, name) for name in file.entries}


def _mistral_sources(folder: Path, names: list[str]) -> dict[str, Source]:
    if MISTRAL_FILE in names:
        return _all_entries(TensorFile(folder / MISTRAL_FILE))
    shards = [name for name in names if SHARD.fullmatch(name)]
    totals = {SHARD.fullmatch(name)[2] for name in shards}
    numbers = {int(SHARD.fullmatch(name)[1]) for name in shards}
    total = int(max(totals))
    if len(totals) > 1 or len(shards) != total or numbers != set(range(1, total + 1)):
        raise BadInput(f"{shown(folder)}: found {_few(shards)}, expected all {total} files of one set")
    found: dict[str, Source] = {}
    for shard in shards:
        more = _all_entries(TensorFile(folder / shard))
        twice = next((name for name in more if name in found), None)
        if twice is not None:
            raise BadInput(f"{shown(folder / shard)}: {shown(twice)}: also in {found[twice].file.path.name}")
        found |= more
    return found


def _hf_sources(folder: Path, names: list[str]) -> dict[str, Source]:
    """From the one file, or from the files that the index names (as transformers does, the one file comes first)."""
    if HF_FILE in names:
        return _all_entries(TensorFile(folder / HF_FILE))
    index = folder / INDEX
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
        raise BadInput(f"{shown(index)}: weight_map: expected an object of file names")
    files = {}
    for place in sorted(set(places.values())):
        if not place.endswith(".safetensors") or place != os.path.basename(place) or "\0" in place:
            raise BadInput(f"{shown(index)}: weight_map: {shown(place)}, expected a .safetensors file in this folder")
        if place not in names:
            raise BadInput(f"{shown(index)}: weight_map names {shown(place)}, which is not in the folder")
        files[place] = TensorFile(folder / place)
    for name, place in places.items():
        if name not in files[place].entries:
            raise BadInput(f"{shown(folder / place)}: {shown(name)}: missing, but {INDEX} says that it is there")
    return {name: Source(files[place], name) for name, place in places.items()}


def _check_layers(config: Config, layout: str, found: dict[str, Source], config_name: str) -> None:
    """A number of layers that the files cannot hold is seen before a name is made for each."""
    prefix = "model.layers." if layout == "hf" else "layers."
    rest = (name.removeprefix(prefix).split(".")[0] for name in found if name.startswith(prefix))
    layers = {number for number in rest if number.isdecimal() and number.isascii()}
    if len(layers) != config.n_layers:
        raise BadInput(f"{config_name}: {config.n_layers} layers, but the tensor files have {len(layers)}")


def _check_tensor(found: dict[str, Source], name: str, shape: tuple, folder: Path, config_name: str) -> Source:
    """The tensor is there, in a type that can be computed with, in the shape that follows from the config."""
    if name not in found:
        files = {source.file.path for source in found.values()}
        where = shown(files.pop() if len(files) == 1 else folder)
        tie = "; the config does not tie it to the embedding" if name in ("output.weight", "lm_head.weight") else ""
        raise BadInput(f"{where}: {name}: missing, expected shape {shape} from {config_name}{tie}")
    source = found[name]
    entry = source.file.entries[name]
    where = f"{shown(source.file.path)}: {name}"
    if entry.dtype not in WEIGHT_TYPES:
        raise BadInput(f"{where}: dtype {entry.dtype}, expected {', '.join(WEIGHT_TYPES)}")
    if entry.shape != shape:
        raise BadInput(f"{where}: shape {shown(entry.shape)}, expected {shape} from {config_name}")
    return source


def _notes(facts: Facts, layout: str, found: dict[str, Source], sources: dict[str, Source]) -> list[str]:
    notes = []
    used = {source.name for source in sources.values()}
    unknown = [name for name in found if name not in used]
    output = stored_name("output.weight", layout)
    if facts.config.tied_embeddings and output in unknown:
        unknown.remove(output)
        notes.append(f"{output}: not used, as the config ties the output to the embedding")
    if unknown:
        notes.append(f"{len(unknown)} tensor{'s' if len(unknown) > 1 else ''} not used: {_few(sorted(unknown))}")
    matrices = {s.file.entries[s.name].dtype for s in sources.values() if len(s.file.entries[s.name].shape) == 2}
    if len(matrices) > 1:
        notes.append(f"matrices of several types: {', '.join(sorted(matrices))}")
    return notes


def _sizes(sources: dict[str, Source]) -> tuple[str, int]:
    """(the type that most bytes have, all bytes)."""
    by_type: Counter[str] = Counter()
    for file, name in sources.values():
        entry = file.entries[name]
        by_type[entry.dtype] += entry.end - entry.start
    return WEIGHT_TYPES[by_type.most_common(1)[0][0]], by_type.total()
