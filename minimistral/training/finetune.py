"""Fine-tuning: the training loop on a model that can already write, in full or by LoRA."""

import json
import shutil
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from minimistral.checkpoint import Checkpoint, write_checkpoint
from minimistral.checkpoint.convert import TOKENIZER
from minimistral.checkpoint.files import shown
from minimistral.checkpoint.load import check_finite
from minimistral.config import Config
from minimistral.costs import parameters as parameter_counts
from minimistral.errors import BadInput
from minimistral.tokenizer import find_tokenizer
from minimistral.training import pieces as plain_numpy
from minimistral.training.batch import Batch
from minimistral.training.documents import Documents
from minimistral.training.loop import MODEL, Objective, Settings, Tensors, train
from minimistral.training.lora import MATRICES, lora_gradients, lora_parameters, lora_shapes, merged
from minimistral.training.model import loss_and_gradients, loss_only
from minimistral.training.result import REPORT, UNFINISHED, report
from minimistral.training.state import State
from minimistral.weights import tensor_shapes

FULL_BYTES = 16  # a parameter in full: itself, its gradient, AdamW's two moments
LORA_BYTES = 12  # a parameter by LoRA: the base's, the merged one, its gradient


class Lora(NamedTuple):
    """Which matrices learn through two thin ones, and how thin."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = MATRICES

    @property
    def scale(self) -> float:
        """What B A is multiplied with."""
        return self.alpha / self.rank


class Tuned(NamedTuple):
    """A model after some steps: its tensors by Mistral's names, merged if LoRA made them; and the run's state."""

    tensors: Tensors
    state: State


def finetune(
    checkpoint: Checkpoint,
    documents: Documents,
    settings: Settings,
    lora: Lora | None = None,
    pieces: ModuleType = plain_numpy,
    folder: Path | None = None,
    progress: Callable[[dict, int], None] | None = None,
    saved: Callable[[Tuned], None] | None = None,
) -> Tuned:
    """A checkpoint's model, trained on. The checkpoint stays as it is. lora None: every parameter learns.

    folder, progress, saved: as in `train`, but that saved is given a Tuned. NotFinite also for a checkpoint with NaN or
    infinity.
    """
    base = base_parameters(checkpoint)
    known = {"crc32 of the base": crc32(base), "lora": None if lora is None else list(lora)}
    documents = documents._replace(identity=documents.identity | known)
    trained, objective = base, MODEL
    if lora is not None:
        trained = lora_parameters(base, lora.rank, settings.seed, lora.targets)
        objective = lora_objective(base, lora.scale)

    def tuned(state: State) -> Tuned:
        return Tuned(state.parameters if lora is None else merged(base, state.parameters, lora.scale), state)

    after = None if saved is None else lambda state: saved(tuned(state))
    return tuned(
        train(checkpoint.config, trained, documents, settings, pieces, folder, progress, after, objective=objective)
    )


def lora_objective(base: Tensors, scale: float) -> Objective:
    """The loss of the merged model, and its gradients by A and B."""
    return Objective(partial(lora_loss_and_gradients, base, scale), partial(lora_loss_only, base, scale))


def lora_loss_and_gradients(
    base: Tensors,
    scale: float,
    lora: Tensors,
    config: Config,
    batch: Batch,
    pieces: ModuleType = plain_numpy,
    recompute: bool = False,
) -> tuple[float, Tensors]:
    """`loss_and_gradients` of the merged model, the gradients by A and B."""
    loss, gradients = loss_and_gradients(merged(base, lora, scale), config, batch, pieces, recompute)
    return loss, lora_gradients(gradients, lora, scale)


def lora_loss_only(
    base: Tensors, scale: float, lora: Tensors, config: Config, batch: Batch, pieces: ModuleType = plain_numpy
) -> float:
    """`loss_only` of the merged model."""
    return loss_only(merged(base, lora, scale), config, batch, pieces)


def base_parameters(checkpoint: Checkpoint) -> Tensors:
    """Every tensor in float32, in memory. NotFinite, with file and tensor, for a NaN or an infinity."""
    found = {}
    for name, stored in checkpoint.tensors.items():
        file, stored_name = checkpoint.tensors.sources[name]
        check_finite(stored, f"{shown(file.path)}: {stored_name}")
        found[name] = np.array(stored, np.float32)  # a copy: the file is only read
    return found


def crc32(tensors: Tensors) -> int:
    """A number that another model would not have."""
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(np.ascontiguousarray(tensors[name]), value)
    return value


def rows_like(output: np.ndarray, token: int) -> int:
    """How many other rows of the output matrix (vocab_size, dim) point where this token's does (cosine above 0.99).

    Tokens that a model never met in training are such rows. A hidden state that makes one likely makes all of them
    likely, so training only what comes before the output matrix can hardly teach the model to write one of them.

    >>> rows_like(np.array([[1.0, 2], [2, 4.01], [2, -1], [1, 2]]), 0)
    2
    """
    w = np.asarray(output, np.float32)
    lengths = np.linalg.norm(w, axis=1) * np.linalg.norm(w[token]) + np.float32(1e-30)
    return int((w @ w[token] > 0.99 * lengths).sum()) - 1


def check_size(config: Config, lora: Lora | None, where: str, free: int) -> None:
    """BadInput if the model, its gradients and what the optimiser keeps do not fit in `free` bytes.

    Also if LoRA's rank is larger than a matrix.

    >>> from minimistral.config import MISTRAL_7B
    >>> check_size(MISTRAL_7B, Lora(8, 16.0), "mistral-7b", 64 * 10**9)
    Traceback (most recent call last):
    minimistral.errors.BadInput: mistral-7b: fine-tuning needs 86.9 GB (12 bytes a parameter), 64 GB are free
    """
    if lora is not None:
        lora_shapes(tensor_shapes(config), lora.rank, lora.targets)
    each = FULL_BYTES if lora is None else LORA_BYTES
    needed = parameter_counts(config)["total"] * each
    if needed > free:
        other = "; --lora-rank 8 needs less" if lora is None else ""
        amounts = f"{needed / 1e9:.3g} GB ({each} bytes a parameter), {free / 1e9:.3g} GB are free"
        raise BadInput(f"{where}: fine-tuning needs {amounts}{other}")


class Result(NamedTuple):
    """What is left in a run's folder, beside its state."""

    folder: Path
    layout: str  # "mistral" or "hf"
    dtype: str
    about: dict  # for training.json


def write_tuned(result: Result, base: Checkpoint, tuned: Tuned) -> None:
    """An ordinary checkpoint with the base's tokenizer, and training.json; each file in place when it is whole."""
    tokenizer = find_tokenizer(base.folder)
    ids = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
    unfinished = result.folder / UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    write_checkpoint(unfinished, base.config, tuned.tensors, result.layout, result.dtype, ids)
    for path in base.folder.iterdir():
        if TOKENIZER.fullmatch(path.name) and path.is_file():
            shutil.copyfile(path, unfinished / path.name)
    text = json.dumps(report(tuned.state, result.dtype, result.about), indent=1) + "\n"
    (unfinished / REPORT).write_text(text, encoding="utf-8")
    for path in sorted(unfinished.iterdir()):
        path.replace(result.folder / path.name)
    unfinished.rmdir()
