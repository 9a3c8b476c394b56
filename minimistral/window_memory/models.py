"""The models of the study: each is trained on the same texts, and then asked at every distance."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import NamedTuple

import numpy as np

from minimistral.config import Config
from minimistral.mistral import Mistral
from minimistral.training import pieces as plain_numpy
from minimistral.training.adamw import decay_of
from minimistral.training.clipping import clip_by_global_norm
from minimistral.training.initial import initial_parameters
from minimistral.training.model import loss_and_gradients
from minimistral.training.schedule import learning_rate
from minimistral.window_memory.task import WORDS, Text, batch_of, test_text, training_text, without_facts

SIZE = Config(
    dim=64, n_layers=2, head_dim=16, hidden_dim=128, n_heads=4, n_kv_heads=2, vocab_size=len(WORDS),
    rope_theta=100.0, tied_embeddings=True,
)  # fmt: skip
BETAS, EPS, DECAY, CLIP, WARM_UP = (0.9, 0.99), 1e-8, 0.01, 1.0, 50
Progress = Callable[[int, int, float], None]


class Study(NamedTuple):
    """What is trained, and what is asked."""

    windows: tuple[int | None, ...]  # None: full attention
    layers: tuple[int, ...]
    curriculum: tuple[tuple[int, int], ...]  # (words of a text, steps)
    batch_words: int  # of a step
    rate: float  # the highest learning rate
    edges: tuple[int, ...]  # of the bins of distances
    asked: int  # questions a bin
    seed: int = 0


EDGES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 64, 80, 100, 126, 159, 200, 252, 318, 400, 504, 640)
FULL = Study(
    windows=(16, 32, 64, None),
    layers=(2, 4, 8),
    curriculum=((32, 450), (64, 400), (128, 350), (256, 300), (512, 300), (704, 200)),
    batch_words=2112,
    rate=3e-3,
    edges=EDGES,
    asked=200,
)
SMALL = FULL._replace(
    windows=(8, 16, None),
    layers=(2, 4),
    curriculum=((32, 450), (64, 400), (112, 350)),
    edges=EDGES[: EDGES.index(80) + 1],
)


def sudden(study: Study, window: int, n_layers: int) -> Study:
    """One of a study's models with as many steps, all of them on the longest texts: what the curriculum is worth.

    >>> sudden(SMALL, 16, 4).curriculum
    ((112, 1200),)
    """
    steps, (length, _) = sum(n for _, n in study.curriculum), study.curriculum[-1]
    return study._replace(windows=(window,), layers=(n_layers,), curriculum=((length, steps),))


def config_of(window: int | None, n_layers: int) -> Config:
    """One model of the study."""
    return replace(SIZE, window=window, n_layers=n_layers)


def train(
    study: Study, config: Config, pieces: ModuleType = plain_numpy, progress: Progress | None = None
) -> tuple[dict[str, np.ndarray], list[float]]:
    """Parameters by Mistral's names, trained through the curriculum, and each step's loss in nats a question.

    The texts, their order and the number of steps depend on the study alone: all models see the same. Texts grow
    longer by the curriculum: a fact is first found in the window, and then handed on over ever longer ways.
    progress(step, steps, loss).
    """
    parameters, losses = initial_parameters(config, study.seed), []
    means, squares = ({name: np.zeros_like(w) for name, w in parameters.items()} for _ in range(2))
    rng, lengths = np.random.default_rng(study.seed), [length for length, n in study.curriculum for _ in range(n)]
    for step, length in enumerate(lengths, 1):
        batch = batch_of([training_text(rng, length) for _ in range(study.batch_words // length)])
        loss, gradients = loss_and_gradients(parameters, config, batch, pieces)
        asked = float(batch.weights.sum())
        for gradient in gradients.values():
            gradient /= asked
        clip_by_global_norm(gradients, CLIP)
        rate = learning_rate(step, len(lengths), study.rate, WARM_UP)
        for name, w in parameters.items():
            moments = means[name], squares[name]
            pieces.adamw(w, gradients[name], *moments, step, rate, BETAS, EPS, decay_of(w, DECAY))
        losses.append(loss / asked)
        if progress is not None:
            progress(step, len(lengths), losses[-1])
    return parameters, losses


def ask(model: Mistral, texts: list[Text]) -> tuple[int, int]:
    """How many questions were asked, and how many had the right colour as the likeliest word."""
    asked = right = 0
    for text in texts:
        questions = np.flatnonzero(text.distances)
        h = model.hidden([text.tokens], [model.new_cache()])  # (T, dim)
        answers = model.output(h[questions]).argmax(axis=-1)
        asked, right = asked + len(questions), right + int((answers == text.answers[questions]).sum())
    return asked, right


def recall(study: Study, config: Config, parameters: dict[str, np.ndarray]) -> dict:
    """Accuracy by distance: a row a bin, the control with the facts taken out, and what lies around the two bounds.

    The weights are read by `Mistral`, in float32: the reference's own forward pass, not that of training.
    """
    model = Mistral.from_tensors(parameters, config, "float32")
    bins = list(zip(study.edges, study.edges[1:], strict=False))
    rows = [row(model, study, low, high) for low, high in bins]
    control = [row(model, study, low, high, without_facts) for low, high in bins[:: max(1, len(bins) // 4)]]
    report = {"bins": rows, "control": pooled(control)}
    if config.window is not None:
        seen = config.n_layers * (config.window - 1)  # the largest distance within the receptive field
        paper = config.n_layers * config.window
        around = {"last within": (seen - 3, seen + 1), "between the bounds": (seen + 1, paper + 1),
                  "beyond both": (paper + 1, paper + paper // 4 + 1)}  # fmt: skip
        report |= {name: row(model, study, *ends) for name, ends in around.items()}
    return report


def row(model: Mistral, study: Study, low: int, high: int, change: Callable | None = None) -> dict:
    """One bin: distances low to high - 1, `study.asked` questions or a few more."""
    rng, texts, asked = np.random.default_rng([study.seed, low, high, 1]), [], 0
    while asked < study.asked:
        text = test_text(rng, low, high)
        texts.append(text if change is None else change(rng, text))
        asked += int((text.distances > 0).sum())
    return shares(low, high, *ask(model, texts))


def shares(low: int, high: int, asked: int, right: int) -> dict:
    """A row: the share that was right, and Wilson's 95 % interval.

    >>> shares(1, 2, 100, 95)
    {'low': 1, 'high': 2, 'asked': 100, 'right': 95, 'accuracy': 0.95, 'interval': [0.8882, 0.9785]}
    """
    z, share = 1.96, right / asked
    middle = (share + z * z / (2 * asked)) / (1 + z * z / asked)
    half = z / (1 + z * z / asked) * math.sqrt(share * (1 - share) / asked + (z / (2 * asked)) ** 2)
    interval = [round(middle - half, 4), round(middle + half, 4)]
    return {"low": low, "high": high, "asked": asked, "right": right, "accuracy": round(share, 4), "interval": interval}


def pooled(rows: list[dict]) -> dict:
    """Several rows as one."""
    asked, right = (sum(r[key] for r in rows) for key in ("asked", "right"))
    return shares(rows[0]["low"], rows[-1]["high"], asked, right)


def reached(bins: list[dict], share: float) -> int:
    """The largest distance up to which every bin is at least `share` right; 0 if the first is not.

    >>> rows = [shares(1, 4, 10, 10), shares(4, 8, 10, 9), shares(8, 16, 10, 3)]
    >>> reached(rows, 0.95), reached(rows, 0.5), reached(rows, 0.2)
    (3, 7, 15)
    """
    last = 0
    for found in bins:
        if found["accuracy"] < share:
            break
        last = found["high"] - 1
    return last
