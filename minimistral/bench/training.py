"""`bench --train`: training tokens a second and memory, of NumPy, of the compiled pieces and of PyTorch, in one run.

All sides train the same model from the same weights on the same batches: random ids in documents of about 250, packed.
Each side has a process of its own, so its memory is its own; the processes take turns, step by step, and the waiting
ones sleep. First some steps are taken that are not timed, and their losses must agree.
"""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import ModuleType
from typing import NamedTuple

import numpy as np

from minimistral import __version__
from minimistral.bench import machine
from minimistral.bench.report import spread
from minimistral.config import Config
from minimistral.errors import BadInput, NotFinite
from minimistral.training.adamw import decay_of
from minimistral.training.batch import Batch, packed
from minimistral.training.clipping import clip_by_global_norm
from minimistral.training.initial import initial_parameters
from minimistral.training.model import loss_and_gradients

FORMAT = "minimistral-bench-train-1"
OPTIONS = {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1, "clip": 1.0}
LENGTHS = 180, 320  # of documents: 250 in the middle
FAR = 1e-3  # nats: losses that differ by more are not of the same training
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Step = Callable[[Batch, float], float]  # a batch and a learning rate -> the loss before the step
Progress = Callable[[int, int], None]


class Case(NamedTuple):
    """What all sides do."""

    name: str
    config: Config
    batch_tokens: int = 4096
    learning_rate: float = 1e-3
    warm_up: int = 3  # steps before the clock
    repeats: int = 5  # timed steps of each side
    pause: float = 0.2  # seconds before each: the threads of the side before must have gone to sleep
    seed: int = 0


class TrainingSide(NamedTuple):
    """load() and make() are called in the side's own process: so they must be functions that can be sent there."""

    name: str
    peer: bool
    load: Callable[[], object]  # imports what the side needs: libraries are no part of its memory
    make: Callable[[Case, int], Step]
    blas_threads: int  # what OPENBLAS_NUM_THREADS and its like say


def batch_of(case: Case, n: int) -> Batch:
    """Batch n, the same for every side: batch_tokens positions.

    >>> from minimistral.config import Config
    >>> batch = batch_of(Case("small", Config(8, 1, 4, 8, 2, 1, 40), batch_tokens=600), 3)
    >>> len(batch.tokens), len(set(batch.starts.tolist()))
    (600, 3)
    """
    rng, documents, left = np.random.default_rng([case.seed, n]), [], case.batch_tokens
    while left > 0:
        length = min(left, int(rng.integers(*LENGTHS)))
        ids = rng.integers(0, case.config.vocab_size, length + 1)
        documents.append((ids, np.ones(length + 1)))
        left -= length
    return packed(documents)


def stepper(case: Case, pieces: ModuleType) -> Step:
    """Our step with a module of pieces: gradients of the mean, clipping, AdamW."""
    parameters, n = initial_parameters(case.config, case.seed), 0
    means, squares = ({name: np.zeros_like(w) for name, w in parameters.items()} for _ in range(2))

    def step(batch: Batch, rate: float) -> float:
        nonlocal n
        n += 1
        loss, gradients = loss_and_gradients(parameters, case.config, batch, pieces)
        count = float(batch.weights.sum())
        for g in gradients.values():
            g /= count
        clip_by_global_norm(gradients, OPTIONS["clip"])
        for name, w in parameters.items():
            decay = decay_of(w, OPTIONS["weight_decay"])
            pieces.adamw(
                w, gradients[name], means[name], squares[name], n, rate, OPTIONS["betas"], OPTIONS["eps"], decay
            )
        return loss / count

    return step


def torch_side(case: Case, threads: int) -> Step:
    """The peer's step."""
    from minimistral.bench.training_peer import torch_stepper

    return torch_stepper(case.config, initial_parameters(case.config, case.seed), threads, OPTIONS)


def serve(link: Connection, case: Case, side: TrainingSide, threads: int) -> None:
    """A side's process: for each batch number that comes, (seconds, CPU seconds, loss) goes back; for None, memory and versions."""
    try:
        side.load()
        memory = machine.Memory()
        memory.reset()
        step = side.make(case, threads)
        while (n := link.recv()) is not None:
            batch = batch_of(case, n)
            start, cpu = time.perf_counter(), time.process_time()
            loss = step(batch, case.learning_rate)
            link.send((time.perf_counter() - start, time.process_time() - cpu, loss))
        link.send(memory.peak() | {"threads": machine.threads_used()})
    except (EOFError, KeyboardInterrupt):
        pass
    except (BadInput, NotFinite, ImportError, MemoryError, RuntimeError) as error:  # told by the parent, in one line
        link.send(error)


class Running:
    """A side in its process."""

    def __init__(self, case: Case, side: TrainingSide, threads: int):
        before = {name: os.environ.get(name) for name in THREADS}
        os.environ.update(dict.fromkeys(THREADS, str(side.blas_threads)), NUMBA_NUM_THREADS=str(threads))
        self.name, (self._link, theirs) = side.name, get_context("spawn").Pipe()
        try:
            arguments = (theirs, case, side, threads)
            self._process = get_context("spawn").Process(target=serve, args=arguments, daemon=True)
            self._process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        theirs.close()

    def ask(self, what: int | None):
        """The answer to a batch's number, or to None. BadInput if the side failed."""
        try:
            self._link.send(what)
            answer = self._link.recv()
        except (EOFError, OSError):
            raise BadInput(f"{self.name}: its process ended; nothing was measured") from None
        if isinstance(answer, Exception):
            raise BadInput(f"{self.name}: {answer}") from None
        return answer

    def end(self) -> None:
        self._link.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()


def run(case: Case, sides: list[TrainingSide], threads: int, progress: Progress | None = None) -> dict:
    """The report: rates, ratios of turns in the same repeat, memory, losses. BadInput if losses do not agree."""
    started, load_before = datetime.now(UTC), machine.load_average()
    running: list[Running] = []
    total, done = (case.warm_up + case.repeats) * len(sides), 0
    seconds, cpu, losses = ({side.name: [] for side in sides} for _ in range(3))
    try:
        running += [Running(case, side, threads) for side in sides]
        for n in range(case.warm_up + case.repeats):
            for side in running:
                time.sleep(case.pause if n >= case.warm_up else 0)
                took, took_cpu, loss = side.ask(n)
                losses[side.name].append(loss)
                if n >= case.warm_up:
                    seconds[side.name].append(took)
                    cpu[side.name].append(took_cpu)
                done += 1
                if progress is not None:
                    progress(done, total)
            check_losses(losses)
        facts = {side.name: side.ask(None) for side in running}
    finally:
        for side in running:
            side.end()
    commit, changed = machine.commit()
    return {
        "format": FORMAT,
        "started": started.isoformat(timespec="seconds"),
        "project": {"version": __version__, "commit": commit, "changed": changed},
        "machine": machine.describe() | {"load_before": load_before, "load_after": machine.load_average()},
        "versions": machine.versions(),
        "threads": threads,
        "model": {"name": case.name, "config": vars(case.config), "parameters": count_of(case.config)},
        "settings": case._replace(config=None)._asdict() | OPTIONS,
        "sides": [
            {
                "name": side.name,
                "peer": side.peer,
                "tokens_per_s": spread([case.batch_tokens / s for s in seconds[side.name]]),
                "step_s_runs": seconds[side.name],
                "step_cpu_s_runs": cpu[side.name],
                "losses": losses[side.name],
            }
            | facts[side.name]
            for side in sides
        ],
        "ratios": ratios(sides, seconds),
        "largest_loss_difference": difference(losses),
    }


def count_of(config: Config) -> int:
    """Numbers that are trained."""
    from minimistral.weights import tensor_shapes

    return sum(int(np.prod(shape)) for shape in tensor_shapes(config).values())


def difference(losses: dict[str, list[float]]) -> float:
    """The largest difference of two sides' losses at one step, in nats.

    >>> difference({"a": [7.0, 6.5], "b": [7.0, 6.25]})
    0.25
    """
    by_step = zip(*losses.values(), strict=True)
    return max((max(step) - min(step) for step in by_step), default=0.0)


def check_losses(losses: dict[str, list[float]]) -> None:
    """BadInput if a side's last loss is FAR from the first side's: a ratio of their times would mean nothing."""
    (first, values), *others = losses.items()
    for name, theirs in others:
        if not abs(theirs[-1] - values[-1]) <= FAR:  # NaN is FAR too
            raise BadInput(
                f"{name} and {first}: losses of step {len(values)} are {theirs[-1]:.5g} and {values[-1]:.5g}, so they "
                "do not train the same; nothing is reported"
            )


def ratios(sides: list[TrainingSide], seconds: dict[str, list[float]]) -> list[dict]:
    """How many times the peer's speed each side has, a step against the peer's step of the same repeat."""
    return [
        {"side": a.name, "peer": b.name,
         "speed": spread([y / x for x, y in zip(seconds[a.name], seconds[b.name], strict=True)])}
        for a in sides for b in sides if b.peer and not a.peer
    ]  # fmt: skip
