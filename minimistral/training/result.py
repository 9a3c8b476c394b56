"""What a run leaves: a Mistral folder with its tokenizer, and training.json, which says how it was made."""

import json
import shutil
from functools import cache
from pathlib import Path

from minimistral.checkpoint import write_checkpoint
from minimistral.config import Config
from minimistral.training.state import State
from minimistral.whole_file import whole_file

TOKENIZER = "tokenizer.model"
REPORT = "training.json"
UNFINISHED = ".model"  # the new files lie here until they are whole


def write_model(folder: Path, config: Config, state: State, dtype: str, about: dict) -> None:
    """params.json, consolidated.safetensors and training.json in the folder, each put in place when it is whole."""
    unfinished = folder / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    write_checkpoint(unfinished, config, state.parameters, "mistral", dtype, {"bos_token_id": 1, "eos_token_id": 2})
    for path in sorted(unfinished.iterdir()):
        path.replace(folder / path.name)
    unfinished.rmdir()
    with whole_file(folder / REPORT) as partial:
        partial.write_text(json.dumps(report(state, dtype, about), indent=1) + "\n", encoding="utf-8")


def report(state: State, dtype: str, about: dict) -> dict:
    """training.json: what the caller knows, what the run has done so far, and the metrics of every validation."""
    from minimistral.bench.machine import threads_used

    log = [line for line in state.metrics if "validation_loss" in line]
    done = {"steps": state.step, "tokens": state.tokens, "hours": round(state.seconds / 3600, 4), "dtype": dtype}
    return about | done | machine() | {"threads": threads_used(), "log": log}


@cache
def machine() -> dict:
    """The machine and the versions: they stay as they are while a run lasts, and to ask takes time."""
    from minimistral import __version__
    from minimistral.bench.machine import describe, versions

    return {"machine": describe(), "versions": {"minimistral": __version__} | versions()}


def leftovers(folder: Path) -> list[Path]:
    """What a killed run was writing."""
    half = (UNFINISHED, f".{UNFINISHED}.partial-")
    return [p for p in folder.glob(".*") if (p.name.startswith(half) if p.is_dir() else ".partial" in p.name)]


def clean(folder: Path) -> None:
    """Take away what a killed run was writing."""
    for path in leftovers(folder):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
