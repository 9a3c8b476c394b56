"""Every stage of a run by name, and the file that holds them (format minimistral-trace-1; docs/trace.md)."""

import os
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from minimistral.arithmetic import Arithmetic
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.rolling_cache import RollingCache
from minimistral.transformer import finite

LAYER_STAGES = (
    "attention_norm", "q", "k", "v", "q_rope", "k_rope", "scores", "attention", "attention_output",
    "attention_residual", "ffn_norm", "gate", "up", "ffn_hidden", "ffn_output", "output",
)  # fmt: skip


def stage_names(config: Config) -> list[str]:
    """All stages of a model, in the order they are made."""
    layers = [f"layers.{i}.{stage}" for i in range(config.n_layers) for stage in LAYER_STAGES]
    return ["embedding", *layers, "norm", "logits"]


def stage_shape(name: str, T: int, config: Config) -> tuple[int, ...]:
    """The shape of a stage for T tokens.

    >>> from minimistral.config import MISTRAL_7B
    >>> stage_shape("layers.3.k_rope", 13, MISTRAL_7B)
    (13, 8, 128)
    """
    stage, c = name.split(".")[-1], config
    if stage == "scores":
        return (c.n_heads, T, T)
    if stage in ("k", "v", "k_rope"):
        return (T, c.n_kv_heads, c.head_dim)
    if stage in ("q", "q_rope", "attention"):
        return (T, c.n_heads, c.head_dim)
    if stage in ("gate", "up", "ffn_hidden"):
        return (T, c.hidden_dim)
    return (T, c.vocab_size if stage == "logits" else c.dim)


def chosen_stages(config: Config, only: str | Iterable[str] | None) -> list[str]:
    """The stages that shell patterns choose; none given: all but the scores, which must be named."""
    names = stage_names(config)
    if only is None:
        return [n for n in names if not n.endswith(".scores")]
    patterns = [only] if isinstance(only, str) else list(only)
    for pattern in patterns:
        if not any(fnmatchcase(n, pattern) for n in names):
            raise BadInput(f"only: {pattern!r} matches no stage; try 'layers.0.*', '*.q_rope' or 'logits'")

    def wanted(name: str, pattern: str) -> bool:
        return fnmatchcase(name, pattern) and (not name.endswith(".scores") or pattern.endswith("scores"))

    return [n for n in names if any(wanted(n, p) for p in patterns)]


def recorder(stages: dict[str, np.ndarray], T: int, cache: RollingCache, config: Config) -> Callable:
    """A stage function that writes each chunk's rows into `stages`, whose keys are the names to keep.

    Scores come as (n_heads, chunk, cache + chunk): their columns are put back at their positions.
    """

    def stage(name: str, x: np.ndarray) -> np.ndarray:
        if name in stages:
            if stages[name] is None:
                empty = -np.inf if name.endswith(".scores") else 0
                stages[name] = np.full(stage_shape(name, T, config), empty, x.dtype)
            if name.endswith(".scores"):
                rows = cache.length + np.arange(x.shape[1])
                columns = np.concatenate([cache.read(int(name.split(".")[1]))[2], rows])
                stages[name][:, rows[:, None], columns] = x
            else:
                # The cache is written just before the last two stages: by then its length is the chunk's end.
                start = cache.length - (len(x) if name in ("norm", "logits") else 0)
                stages[name][start : start + len(x)] = x
        return finite(name, x)

    return stage


def write_trace(path: Path | str, tokens: np.ndarray, stages: Mapping[str, np.ndarray], arithmetic: Arithmetic) -> None:
    """A trace file of this project's own run."""
    about = {"dtype": str(arithmetic.dtype), "layout": "mistral", "implementation": "minimistral"}
    if arithmetic.name == "exact":
        about["arithmetic"] = "exact"
    write_whole(path, {"tokens": np.asarray(tokens, np.int64), **stages}, about)


def write_whole(path: Path | str, tensors: Mapping[str, np.ndarray], about: dict[str, str]) -> None:
    """A trace file, its format put before what else is said about it; under a temporary name first, so that no half of
    one is ever seen. BadInput if it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        whole = {name: np.ascontiguousarray(x) for name, x in tensors.items()}
        save_file(whole, partial, {"format": "minimistral-trace-1"} | about)
        os.umask(umask := os.umask(0))
        partial.chmod(0o666 & ~umask)  # as any other new file: safetensors' own are for their owner's eyes alone
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadInput(f"{path}: cannot write the trace: {reason}") from error
    finally:
        partial.unlink(missing_ok=True)
