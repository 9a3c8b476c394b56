"""A trace of someone's implementation, read with every mistake in the file found first (docs/trace.md has the format)."""

import json
import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.trace import LAYER_STAGES, stage_names, stage_shape

DTYPES = ("float64", "float32", "bfloat16", "float16")
LAYOUTS = ("mistral", "hf")
STORED = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
FROM_FINE = ("float64", "float32", "float16", "bfloat16")  # to coarse
ANOTHER = "is it a trace of another model?"
WHOLE = ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8")


class Trace(Mapping[str, np.ndarray]):
    """Stages by name, float64 and in Mistral's layout, each read when it is asked for. `scores` are left out.

    dtype: the format that it is judged by: the one computed in, or the one stored in if that is coarser. layout: the
    one that q and k are read as: what the file says (layout_said), unless check/layout.py finds that it is the other.
    """

    def __init__(self, path: Path, config: Config, dtype: str | None = None):
        from safetensors import SafetensorError, safe_open

        self.path, self.config = Path(path), config
        if not self.path.is_file():
            raise BadInput(f"{path}: no such file" if not os.path.lexists(path) else f"{path}: not a file")
        try:
            self.file = safe_open(self.path, framework="numpy")
        except (SafetensorError, OSError) as error:
            raise BadInput(f"{path}: not a whole safetensors file: {error}") from None
        about = self.file.metadata() or {}
        if about.get("format") != "minimistral-trace-1":
            raise BadInput(f"{path}: format {about.get('format')!r}, expected 'minimistral-trace-1' in its metadata")
        self.dtype = one_of(f"{path}: dtype", dtype or about.get("dtype"), DTYPES)
        self.layout = self.layout_said = one_of(f"{path}: layout", about.get("layout", "mistral"), LAYOUTS)
        self.implementation = about.get("implementation", "")
        self.exact = about.get("arithmetic") == "exact"
        held = set(self.file.keys())
        self.tokens = self._tokens(held)
        known = set(stage_names(config))
        unknown = sorted(held - known - {"tokens", "logits_positions"})
        if unknown:
            raise BadInput(f"{path}: {unknown[0]}: not a stage of this model{meant(unknown[0], config.n_layers)}")
        if "logits" not in held:
            raise BadInput(f"{path}: no tensor 'logits'; a trace holds tokens and logits at least")
        self.names = [n for n in stage_names(config) if n in held and not n.endswith(".scores")]
        self.logits_positions = self._logits_positions(held)
        self.notes: list[str] = []
        self._judge_by({name: self._look_at(name) for name in self.names})

    def _header(self, name: str) -> tuple[str, tuple[int, ...]]:
        part = self.file.get_slice(name)
        return part.get_dtype(), tuple(part.get_shape())

    def _tokens(self, held: set[str]) -> np.ndarray:
        if "tokens" not in held:
            raise BadInput(f"{self.path}: no tensor 'tokens'")
        stored, shape = self._header("tokens")
        if stored not in WHOLE or len(shape) != 1:
            raise BadInput(f"{self.path}: tokens: {stored} {shape}, expected int64 (T,), one sequence")
        tokens = self.file.get_tensor("tokens").astype(np.int64)
        if not len(tokens):
            raise BadInput(f"{self.path}: tokens: none; a trace has one at least")
        bad = np.flatnonzero((tokens < 0) | (tokens >= self.config.vocab_size))
        if len(bad):
            raise BadInput(
                f"{self.path}: tokens[{bad[0]}]: {tokens[bad[0]]}, expected 0 to {self.config.vocab_size - 1}; {ANOTHER}"
            )
        return tokens

    def _logits_positions(self, held: set[str]) -> np.ndarray:
        T = len(self.tokens)
        if "logits_positions" not in held:
            return np.arange(T)
        stored, shape = self._header("logits_positions")
        at = self.file.get_tensor("logits_positions") if stored in WHOLE and len(shape) == 1 else np.array([-1])
        if not len(at) or at.min() < 0 or at.max() >= T or (np.diff(at.astype(np.int64)) <= 0).any():
            raise BadInput(
                f"{self.path}: logits_positions: expected whole numbers from 0 to {T - 1} (n,), each larger than the last"
            )
        return at.astype(np.int64)

    def _look_at(self, name: str) -> str:
        """The format that it is stored in. BadInput if it is none of ours, or the shape cannot be."""
        stored, shape = self._header(name)
        if stored not in STORED:
            raise BadInput(f"{self.path}: {name}: stored as {stored}, expected {', '.join(STORED)}")
        expected = stage_shape(name, len(self.tokens), self.config)
        if name == "logits":
            expected = (len(self.logits_positions), expected[1])
        if shape != expected:
            raise BadInput(f"{self.path}: {name}: shape {shape}, expected {expected}{why(name, shape, expected)}")
        return STORED[stored]

    def _judge_by(self, stored: Mapping[str, str]) -> None:
        """The coarsest of what it says and how it is stored: a number that was rounded once more cannot be held to less."""
        coarsest = max(stored.values(), key=FROM_FINE.index)
        if FROM_FINE.index(coarsest) > FROM_FINE.index(self.dtype):
            name = next(name for name, dtype in stored.items() if dtype == coarsest)
            self.notes.append(f"{name} is stored in {coarsest}, so all is judged as {coarsest} and not as {self.dtype}")
            self.dtype = coarsest

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise KeyError(name)
        x = self.file.get_tensor(name).astype(np.float64)
        if self.layout == "hf" and name.rsplit(".", 1)[-1] in ("q", "k", "q_rope", "k_rope"):
            a, b = np.split(x, 2, axis=-1)
            x = np.stack([a, b], axis=-1).reshape(x.shape)
        return x

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def why(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What the shape may come from.

    >>> why("layers.0.q", (8, 300, 64), (300, 8, 64))
    '; transposed?'
    """
    if name == "logits" and shape in (expected[1:], (1, *expected[1:])):
        return "; of the last position alone? `logits_positions` then says which"
    if len(shape) == len(expected) + 1 and shape[0] == 1:
        return "; one sequence a file, without an axis for the batch"
    if len(shape) == len(expected) and sorted(shape) == sorted(expected):
        return "; transposed?"
    if np.prod(shape) == np.prod(expected):
        return "; heads and channels in one axis?" if len(expected) == 3 else "; flattened?"
    if shape[:1] == expected[:1]:
        return f"; {ANOTHER}"
    return ""


def meant(name: str, n_layers: int) -> str:
    """What a stage that is none may be: a layer too many, or another name.

    >>> meant("layers.7.q", 6)
    ' of 6 layers; is it a trace of another model?'
    >>> meant("layers.0.queries_rope", 6)
    '; is it q_rope or k_rope? docs/trace.md lists all'
    """
    layer, _, kind = name.removeprefix("layers.").partition(".")
    if kind in LAYER_STAGES or not (layer.isdecimal() and int(layer) < n_layers):
        return f" of {n_layers} layers; {ANOTHER}"
    near = get_close_matches(kind, LAYER_STAGES, n=2, cutoff=0.55)
    known = f"is it {' or '.join(near)}?" if near else f"a layer has {', '.join(LAYER_STAGES)};"
    return f"; {known} docs/trace.md lists all"


def one_of(what: str, found: str | None, allowed: tuple[str, ...]) -> str:
    if found not in allowed:
        raise BadInput(f"{what}: {json.dumps(found)}, expected {', '.join(allowed[:-1])} or {allowed[-1]}")
    return found
