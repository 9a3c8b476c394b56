"""The suite as files: the same bytes on every machine (tests/test_vectors_suite.py has their hash).

models/NAME/     a checkpoint folder, as Mistral or Hugging Face have them
traces/TEXT      the float64 trace: tokens, stages, logits        } files of the trace format,
exact/TEXT       tokens, and the logits of the exact arithmetic   } one sequence each
cases/NAME.json  which model, tokens and calls; the budgets
index.json       levels and cases
SHA256SUMS       of every other file; its own hash is the suite's
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import numpy as np

from minimistral.arithmetic import Arithmetic, by_name
from minimistral.checkpoint import write_checkpoint
from minimistral.checkpoint.convert import new_folder
from minimistral.checkpoint.tensor_file import NAMES
from minimistral.config import Config
from minimistral.mistral import Mistral
from minimistral.vectors.budgets import stored
from minimistral.vectors.in_order import InOrder
from minimistral.vectors.suite import LEVELS, LOGITS_ONLY, MODELS, TEXTS, VERSION, Case, cases
from minimistral.weights import from_tensors

FORMAT = f"minimistral-vectors-{VERSION}"
SUMS = "SHA256SUMS"
Progress = Callable[[int, int], None]


def write_suite(folder: Path | str, small: bool = False, progress: Progress | None = None) -> str:
    """Write the suite as a new folder; returns its hash. small: of the stages, the logits only."""
    with new_folder(Path(folder), 0) as unfinished:
        for sub in ("models", "traces", "exact", "cases"):
            (unfinished / sub).mkdir()
        for name, model in MODELS.items():
            write_checkpoint(unfinished / "models" / name, model.config, model.tensors(), model.layout)
        sums = {}
        for done, name in enumerate(TEXTS, 1):
            sums[name] = write_text(unfinished, name, small)
            if progress is not None:
                progress(done, len(TEXTS))
        for case in cases().values():
            write_json(unfinished / "cases" / f"{case.name}.json", case_json(case, sums))
        write_json(unfinished / "index.json", index_json(small))
        (unfinished / "README.md").write_bytes(Path(__file__).with_name("suite_readme.md").read_bytes())
        (unfinished / SUMS).write_text("".join(sum_lines(unfinished)), encoding="utf-8", newline="\n")
        return suite_hash(unfinished)


def suite_hash(folder: Path) -> str:
    """Of the file of hashes: so of everything. What `sha256sum SHA256SUMS` prints."""
    return hashlib.sha256((folder / SUMS).read_bytes()).hexdigest()


def sum_lines(folder: Path) -> Iterator[str]:
    """As `sha256sum` writes them, in the order of the names."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS):
        yield f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"


def text_tokens(name: str) -> np.ndarray:
    text = TEXTS[name]
    return text.tokens(MODELS[text.model].config.vocab_size)


@lru_cache(maxsize=2)
def model_in(name: str, arithmetic: str) -> Mistral:
    """A model of the suite; "in order": float64 with the same bits everywhere."""
    numbers: Arithmetic = InOrder() if arithmetic == "in order" else by_name(arithmetic)
    config = MODELS[name].config
    return Mistral(config, from_tensors(MODELS[name].tensors(), config, numbers), numbers)


def write_text(folder: Path, name: str, small: bool) -> str:
    """Both files of a text; the hash of its exact logits."""
    tokens, model = text_tokens(name), TEXTS[name].model
    only = "logits" if small or name in LOGITS_ONLY else None
    about = {"format": "minimistral-trace-1", "layout": "mistral", "implementation": "minimistral"}
    stages = model_in(model, "in order").trace(tokens, only=only)
    write_tensors(folder / "traces" / f"{name}.safetensors", {"tokens": tokens} | stages, about | {"dtype": "float64"})
    exact = model_in(model, "exact").trace(tokens, only="logits")
    about |= {"dtype": "float32", "arithmetic": "exact"}
    write_tensors(folder / "exact" / f"{name}.safetensors", {"tokens": tokens} | exact, about)
    return hashlib.sha256(exact["logits"].astype("<f4").tobytes()).hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], about: Mapping[str, str]) -> None:
    """A safetensors file whose bytes follow from what is in it: the library's own writer shuffles the metadata."""
    header: dict = {"__metadata__": dict(sorted(about.items()))}
    position = 0
    for name, x in tensors.items():
        header[name] = {
            "dtype": NAMES[x.dtype],
            "shape": list(x.shape),
            "data_offsets": [position, position + x.nbytes],
        }
        position += x.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    parts = [np.ascontiguousarray(x).astype(x.dtype.newbyteorder("<"), copy=False).tobytes() for x in tensors.values()]
    path.write_bytes(b"".join([len(text).to_bytes(8, "little"), text, *parts]))


def case_json(case: Case, exact_sums: Mapping[str, str]) -> dict:
    model = TEXTS[case.texts[0]].model
    return {
        "format": f"{FORMAT}-case",
        "name": case.name,
        "level": case.level,
        "about": case.about,
        "model": f"models/{model}",
        "config": config_json(MODELS[model].config, MODELS[model].layout),
        "sequences": [
            {
                "tokens": text_tokens(name).tolist(),
                "trace": f"traces/{name}.safetensors",
                "exact": f"exact/{name}.safetensors",
                "exact_logits_sha256": exact_sums[name],
                "budget": stored()[name],
            }
            for name in case.texts
        ],
        "calls": [list(counts) for counts in case.calls],
    }


def config_json(config: Config, layout: str) -> dict:
    """The config once more under one set of names, so that a first reader needs neither params.json nor config.json."""
    found = {name: value for name, value in asdict(config).items() if name != "context_len"}
    return found | {"layout": layout}


def index_json(small: bool) -> dict:
    by_level = {level: [c.name for c in cases().values() if c.level == level] for level in LEVELS}
    return {
        "format": FORMAT,
        "small": small,
        "levels": [{"level": n, "title": title, "cases": by_level[n]} for n, title in LEVELS.items()],
    }


def write_json(path: Path, found: dict) -> None:
    """Lists of numbers on one line, so that a person can read the rest."""
    text = json.dumps(found, indent=1)
    path.write_text(one_line_lists(text) + "\n", encoding="utf-8", newline="\n")


def one_line_lists(text: str) -> str:
    """
    >>> one_line_lists(json.dumps({"calls": [[1, 2], [3]]}, indent=1))
    '{\\n "calls": [\\n  [1, 2],\\n  [3]\\n ]\\n}'
    """
    import re

    return re.sub(r"\[([\s\d,]*)\]", lambda m: "[" + re.sub(r"\s+", " ", m[1]).strip() + "]", text)
