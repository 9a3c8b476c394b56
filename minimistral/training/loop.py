"""The training loop: a batch, its gradients, one step of the optimiser; and again.

    documents n, n+1, ...  ->  batch  ->  loss, gradients  ->  clipped  ->  AdamW at this step's rate

Everything that a step depends on is in `State`: parameters, AdamW's two moments, the step, the next document's number.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np

from minimistral.config import Config
from minimistral.errors import NotFinite
from minimistral.training import pieces as plain_numpy
from minimistral.training.adamw import decay_of
from minimistral.training.clipping import clip_by_global_norm, square_sum
from minimistral.training.documents import Documents
from minimistral.training.metrics import metrics_file
from minimistral.training.model import loss_and_gradients, loss_only
from minimistral.training.packing import next_batch, validation_batches
from minimistral.training.schedule import learning_rate
from minimistral.training.state import NAME, State, resume, write_state

Tensors = dict[str, np.ndarray]
SAME_BITS = ("save_every", "validate_every", "recompute")  # settings that may change when a run goes on


@dataclass(frozen=True)
class Settings:
    """How to train. The model's size is in Config, the data in Documents."""

    steps: int
    batch_tokens: int = 4096  # inputs of a batch, at most
    accumulate: int = 1  # batches whose gradients are added up for one step
    learning_rate: float = 2e-3  # the highest
    warm_up: int = 100  # steps
    floor: float = 0.05  # of the learning rate, at the end
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1  # of matrices
    clip: float = 1.0  # the largest norm of all gradients together
    seed: int = 0
    save_every: int = 100  # steps
    validate_every: int = 100
    recompute: bool = False  # layers again in the backward pass: less memory, the same bits


class Objective(NamedTuple):
    """What is made small: a batch's loss with its gradients by what is trained, and alone. LoRA has its own two."""

    loss_and_gradients: Callable[..., tuple[float, Tensors]] = loss_and_gradients  # both as in model.py
    loss_only: Callable[..., float] = loss_only


MODEL = Objective()


class Run(NamedTuple):
    """What stays the same from step to step."""

    config: Config
    documents: Documents
    settings: Settings
    pieces: ModuleType
    objective: Objective = MODEL


def train(
    config: Config,
    parameters: Tensors,
    documents: Documents,
    settings: Settings,
    pieces: ModuleType = plain_numpy,
    folder: Path | None = None,
    progress: Callable[[dict, int], None] | None = None,
    saved: Callable[[State], None] | None = None,
    objective: Objective = MODEL,
) -> State:
    """Train `parameters` (by Mistral's names, changed in place) and return the last state, with the metrics.

    folder: where state.safetensors and metrics.jsonl are written; a state that is there is gone on with, to the same
    bits as a run that was never stopped. progress(the step's metrics, steps in all); saved(state) after each save.
    objective: how loss and gradients come from `parameters`, where these are not the model's own.
    NotFinite, with step and layer, for a loss that is NaN, infinite or explodes; BadInput for a state of another run.
    """
    run = Run(config, documents, settings, pieces, objective)
    state = first_state(run, parameters, folder)
    start = time.monotonic() - state.seconds
    with metrics_file(folder, state.metrics) as write:
        for step in range(state.step + 1, settings.steps + 1):
            began = time.monotonic()
            loss, gradients, tokens = mean_gradients(run, state, step)
            norm = clip_by_global_norm(gradients, settings.clip)
            check(run, step, loss, norm, gradients)
            rate = learning_rate(step, settings.steps, settings.learning_rate, settings.warm_up, settings.floor)
            update(run, state, gradients, step, rate)
            line = {"step": step, "tokens": state.tokens, "loss": loss, "learning_rate": rate, "gradient_norm": norm,
                    "tokens_per_s": tokens / (time.monotonic() - began)}  # fmt: skip
            if due(step, settings.validate_every, settings.steps):
                line |= validation(run, parameters)
            state.seconds = time.monotonic() - start
            state.metrics.append(line | {"minutes": state.seconds / 60})
            write(state.metrics[-1])
            if folder is not None and due(step, settings.save_every, settings.steps):
                save(run, state, folder, saved)
            if progress is not None:
                progress(state.metrics[-1], settings.steps)
    return state


def due(step: int, every: int, steps: int) -> bool:
    """Whether it is time, and always at the end.

    >>> [step for step in range(1, 12) if due(step, 5, 11)]
    [5, 10, 11]
    """
    return step % every == 0 or step == steps


def first_state(run: Run, parameters: Tensors, folder: Path | None) -> State:
    """The one in the folder, or that of a run that has done nothing yet."""
    if folder is not None and (folder / NAME).exists():
        return resume(folder, parameters, identity(run))
    state = State(parameters)
    if folder is not None:
        write_state(folder, state, identity(run))
    return state


def identity(run: Run) -> dict:
    """All that decides the bits of a run, as it can stand in JSON."""
    chosen = {key: value for key, value in asdict(run.settings).items() if key not in SAME_BITS}
    return run.documents.identity | asdict(run.config) | chosen | {"backend": run.pieces.__name__}


def mean_gradients(run: Run, state: State, step: int) -> tuple[float, Tensors, int]:
    """The mean loss of this step's batches, its gradients, and how many tokens; state.document and tokens move on."""
    nats, counted, tokens, gradients = 0.0, 0.0, 0, {}
    for _ in range(run.settings.accumulate):
        batch, state.document = next_batch(run.documents, state.document, run.settings.batch_tokens)
        try:
            arguments = state.parameters, run.config, batch, run.pieces, run.settings.recompute
            loss, new = run.objective.loss_and_gradients(*arguments)
        except NotFinite as error:
            raise NotFinite(f"step {step}: {error}; {hint(run)}") from None
        nats, counted, tokens = nats + loss, counted + float(batch.weights.sum()), tokens + len(batch.tokens)
        gradients = {name: gradients[name] + g for name, g in new.items()} if gradients else new
    for gradient in gradients.values():
        gradient /= counted
    state.tokens += tokens
    return nats / counted, gradients, tokens


def update(run: Run, state: State, gradients: Tensors, step: int, rate: float) -> None:
    """One step of the optimiser, for every tensor."""
    s = run.settings
    for name, w in state.parameters.items():
        mean, square = state.means[name], state.squares[name]
        run.pieces.adamw(w, gradients[name], mean, square, step, rate, s.betas, s.eps, decay_of(w, s.weight_decay))
    state.step = step


def validation(run: Run, parameters: Tensors) -> dict:
    """The mean loss of the held-out documents, in nats a token and a character; nothing where none are held out."""
    nats, counted = 0.0, 0.0
    for batch in validation_batches(run.documents.validation, run.settings.batch_tokens):
        nats += run.objective.loss_only(parameters, run.config, batch, run.pieces)
        counted += float(batch.weights.sum())
    if not counted:
        return {}
    characters = run.documents.characters
    a_character = {"validation_loss_per_character": nats / characters} if characters else {}
    return {"validation_loss": nats / counted} | a_character


def save(run: Run, state: State, folder: Path, saved: Callable[[State], None] | None) -> None:
    """Write the state, unless the last step has spoilt it: then the one before stays."""
    bad = [name for name, w in state.parameters.items() if not np.isfinite(w).all()]
    if bad:
        name = bad[0].removesuffix(".weight")
        raise NotFinite(f"step {state.step}: {name}: a value is NaN or infinite after the step; {hint(run)}")
    write_state(folder, state, identity(run))
    if saved is not None:
        saved(state)


def check(run: Run, step: int, loss: float, norm: float, gradients: Tensors) -> None:
    """NotFinite, with the step and the layer, if the loss or a gradient is NaN or infinite, or the loss explodes.

    It explodes where, after the warm-up, it is above twice log(vocab_size): guessing alike has log(vocab_size).
    """
    limit = 2 * math.log(run.config.vocab_size)
    exploding = step > run.settings.warm_up and loss > limit
    if math.isfinite(loss) and math.isfinite(norm) and not exploding:
        return
    # The backward pass goes from the last tensor to the first: the last that is bad was bad first.
    bad = [name for name, g in gradients.items() if not np.isfinite(g).all()]
    if bad:
        what = f"{bad[-1].removesuffix('.weight')}: a value of its gradient is NaN or infinite"
    else:
        largest = max(gradients, key=lambda name: square_sum(gradients[name])).removesuffix(".weight")
        what = f"{largest}: has the largest gradient where the loss explodes: {loss:.4g}, above {limit:.4g}, "
        what += "twice log(vocab_size)"
    raise NotFinite(f"step {step}: {what}; {hint(run)}")


def hint(run: Run) -> str:
    """What can be done."""
    return f"the state saved last is whole; try a learning rate below {run.settings.learning_rate:.3g}"
