"""An object that is called with each stage where it is made, and writes the trace file (docs/trace.md has the format)."""

from collections.abc import Iterable, Sequence
from math import prod
from pathlib import Path
from typing import TypeVar

import ml_dtypes
import numpy as np

from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.trace import LAYER_STAGES, stage_names, stage_shape, write_whole

DTYPES = ("bfloat16", "float16", "float32", "float64")  # the coarsest first
LAYOUTS = ("mistral", "hf")
WITH_HEADS = ("q", "k", "v", "q_rope", "k_rope", "scores", "attention")
AnyArray = TypeVar("AnyArray")


class Recorder:
    """The stages of one run over one sequence.

    >>> rec = Recorder([1, 5, 9], implementation="mine")
    >>> h = rec("embedding", np.ones((3, 8), np.float32))
    >>> rec("logits", h[-1:] @ np.ones((8, 31), np.float32)).shape
    (1, 31)
    >>> rec.dtype, rec.logits_positions.tolist()
    ('float32', [2])

    tokens: (T,) ids. dtype: the format computed in; None: the coarsest of the arrays that come. layout: of the rows of wq
    and wk: "mistral" as in Mistral's files, "hf" as in Hugging Face's; not what RoPE does to them. config: a Config, or
    the checkpoint's folder: then names and shapes are looked at as they come, and heads that are one long row are cut.
    """

    def __init__(
        self,
        tokens: Sequence[int] | np.ndarray,
        dtype: str | None = None,
        layout: str = "mistral",
        implementation: str = "",
        config: Config | Path | str | None = None,
    ):
        self.tokens = token_ids(tokens)
        self.layout = one_of("layout", layout, LAYOUTS)
        self.implementation = implementation
        self.config = config_of(config)
        self._dtype = None if dtype is None else one_of("dtype", dtype, DTYPES)
        self._seen: set[str] = set()  # types of what came
        self._parts: dict[str, list[np.ndarray]] = {}
        self._positions: list[int] = []

    def __call__(self, name: str, array: AnyArray, positions: Iterable[int] | None = None) -> AnyArray:
        """Record a stage, and give the array back, so that the call can stand inside an expression.

        array: anything with __array__, or a PyTorch tensor, on any device, with or without an axis of 1 for the batch.
        A stage that comes again, as when a run goes chunk by chunk or token by token, continues with its next rows.
        positions: of logits alone, the positions of these rows; needed where neither all nor only the last are there.
        """
        rows = self._rows(name, as_numpy(name, array))
        parts = self._parts.setdefault(name, [])
        if parts and (name.endswith(".scores") or rows.shape[1:] != parts[0].shape[1:]):
            why = "scores are recorded once, whole" if name.endswith(".scores") else f"its first rows {parts[0].shape}"
            raise BadInput(f"{name}: shape {rows.shape}, and {why}")
        if positions is not None:
            self._positions += self._checked_positions(name, list(positions), len(rows))
        T, count = len(self.tokens), len(rows) + sum(len(part) for part in parts)
        if count > T and not name.endswith(".scores"):
            raise BadInput(f"{name}: {count} rows by now, but the trace has {T} tokens; a recorder is for one run")
        parts.append(rows)
        self.saw(str(rows.dtype))
        return array

    def saw(self, dtype: str) -> None:
        """A type that the run computes in, whether or not the array is kept."""
        self._seen.add(dtype)

    @property
    def stages(self) -> dict[str, np.ndarray]:
        """What is recorded, by name."""
        return {name: parts[0] if len(parts) == 1 else np.concatenate(parts) for name, parts in self._parts.items()}

    @property
    def dtype(self) -> str:
        """The format computed in: as given, or the coarsest of what was seen."""
        return self._dtype or next((d for d in DTYPES if d in self._seen), "float32")

    @property
    def logits_positions(self) -> np.ndarray:
        """The positions of the rows of `logits`. BadInput if that cannot be known."""
        T, count = len(self.tokens), sum(len(part) for part in self._parts.get("logits", []))
        if self._positions and len(self._positions) == count:
            return np.array(self._positions)
        if self._positions or count not in (1, T):
            raise BadInput(f"logits: {count} rows for {T} tokens; rec('logits', rows, positions=[...]) says which")
        return np.arange(T - count, T)

    def save(self, path: Path | str) -> None:
        """Write the trace. BadInput if a stage lacks rows or there are no logits."""
        stages, T = self.stages, len(self.tokens)
        if "logits" not in stages:
            raise BadInput(f"{path}: no logits recorded; a trace holds tokens and logits at least")
        for name, x in stages.items():
            if name != "logits" and len(x) != T and not name.endswith(".scores"):
                raise BadInput(f"{name}: {len(x)} rows, expected {T}, one for each token")
        tensors = {"tokens": self.tokens} | stages
        if len(stages["logits"]) != T:
            tensors["logits_positions"] = self.logits_positions
        about = {"dtype": self.dtype, "layout": self.layout}
        if self.implementation:
            about["implementation"] = self.implementation
        write_whole(path, tensors, about)

    def _rows(self, name: str, x: np.ndarray) -> np.ndarray:
        """A stage with one row a token, and its heads apart."""
        self._know(name)
        if self.config is not None:
            return fitted(name, x, stage_shape(name, len(self.tokens), self.config))
        axes = 3 if name.rsplit(".", 1)[-1] in WITH_HEADS else 2
        while x.ndim > axes and len(x) == 1:
            x = x[0]
        if x.ndim == axes - 1 == 1:
            x = x[None]
        if x.ndim != axes:
            expected = "(T, heads, head_dim)" if axes == 3 else "(T, channels)"
            hint = "; Recorder(..., config=FOLDER) cuts rows into heads" if axes == 3 and x.ndim == 2 else ""
            raise BadInput(f"{name}: shape {x.shape}, expected {expected}{hint}")
        return x

    def _know(self, name: str) -> None:
        if self.config is None:
            parts = name.split(".")
            layer = len(parts) == 3 and parts[0] == "layers" and parts[1].isdecimal() and parts[2] in LAYER_STAGES
            known = layer or name in ("embedding", "norm", "logits")
        else:
            known = name in stage_names(self.config)
        if not known:
            layers = "" if self.config is None else f" of a model of {self.config.n_layers} layers"
            raise BadInput(f"{name}: not a stage{layers}; expected embedding, layers.0.q and so on (docs/trace.md)")

    def _checked_positions(self, name: str, positions: list[int], count: int) -> list[int]:
        T = len(self.tokens)
        if name != "logits":
            raise BadInput(f"{name}: positions are given for logits alone; other stages have a row for each token")
        if len(positions) != count or not all(0 <= p < T for p in positions):
            raise BadInput(f"logits: positions {positions} for {count} rows, expected as many, from 0 to {T - 1}")
        return [int(p) for p in positions]


def fitted(name: str, x: np.ndarray, expected: tuple[int, ...]) -> np.ndarray:
    """x in the shape that the stage has, but for the number of rows: without a batch of one, heads cut apart."""
    tail = expected[1:]
    for rows in (x, x[0] if x.ndim > 1 and len(x) == 1 else x):
        if rows.shape[1:] == tail:
            return rows
        if rows.shape == (*rows.shape[:1], prod(tail)):  # heads side by side in one row
            return rows.reshape(-1, *tail)
    if x.shape == (prod(tail),) or x.shape == tail:  # one token
        return x.reshape(1, *tail)
    turned = len(tail) == 2 and x.ndim >= 3 and (x.shape[-3], x.shape[-1]) == tail
    hint = "; heads first? transpose to (T, heads, head_dim)" if turned else ""
    raise BadInput(f"{name}: shape {x.shape}, expected {expected}{hint}")


def as_numpy(name: str, x: object) -> np.ndarray:
    """A copy, as code may go on to write into what it has handed over; in the type that it has."""
    try:
        if hasattr(x, "detach"):  # a PyTorch tensor, whose bfloat16 NumPy does not take
            x = x.detach().cpu()
            narrow = str(x.dtype) == "torch.bfloat16"
            x = x.float().numpy().astype(ml_dtypes.bfloat16) if narrow else x.numpy()
        found = np.array(x)
    except Exception as error:  # whatever another library raises
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise BadInput(f"{name}: a {type(x).__name__} cannot be made a NumPy array: {why}") from error
    if str(found.dtype) not in DTYPES:
        raise BadInput(f"{name}: {found.dtype}, expected {', '.join(DTYPES[:-1])} or {DTYPES[-1]}")
    return found


def token_ids(tokens: object) -> np.ndarray:
    """Ids of one sequence, (T,) or (1, T), from a list, an array or a tensor."""
    found = tokens.detach().cpu().numpy() if hasattr(tokens, "detach") else np.asarray(tokens)
    if found.ndim == 2 and len(found) == 1:
        found = found[0]
    if found.ndim != 1 or not found.size or found.dtype.kind not in "iu":
        raise BadInput(f"tokens: {found.dtype} of shape {found.shape}, expected one sequence of ids, (T,)")
    return found.astype(np.int64)


def config_of(config: Config | Path | str | None) -> Config | None:
    if config is None or isinstance(config, Config):
        return config
    from minimistral.checkpoint import open_checkpoint

    return open_checkpoint(config).config


def one_of(what: str, found: str, allowed: tuple[str, ...]) -> str:
    if found not in allowed:
        raise BadInput(f"{what}: {found!r}, expected {', '.join(allowed[:-1])} or {allowed[-1]}")
    return found
