"""Pictures of lesson 17: how well differences know a gradient, and what a loss curve does not show."""

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from minimistral.figures.style import CACHE, GREY, INK, KEY_INK, QUERY, VALUE, WRONG, card, tidy
from minimistral.training import pieces

if TYPE_CHECKING:
    from minimistral.config import Config
    from minimistral.figures.picture import Picture
    from minimistral.tokenizer import Tokenizer
    from minimistral.training.batch import Batch
    from minimistral.training.documents import Documents

__all__ = ["error_against_delta", "loss_curves"]

LOOKS = ((QUERY, "-", 2.5), (WRONG, "--", 2), (KEY_INK, "-.", 2), (CACHE, ":", 3))  # colour, line, width
SMOOTH = 25  # steps in a mean


def two_sided(loss: Callable[[], float], x: np.ndarray, delta: float) -> np.ndarray:
    """(loss with x_i + delta - loss with x_i - delta) / (2 delta) for each number x_i; loss() reads x. -> x's shape."""
    return difference(loss, x, delta, -delta)


def one_sided(loss: Callable[[], float], x: np.ndarray, delta: float) -> np.ndarray:
    """(loss with x_i + delta - loss) / delta for each number x_i."""
    return difference(loss, x, delta, 0)


def difference(loss: Callable[[], float], x: np.ndarray, up: float, down: float) -> np.ndarray:
    """How the loss differs between x_i + up and x_i + down, by up - down: one number after another, each set back."""
    slopes = np.empty_like(x)
    for i in np.ndindex(x.shape):
        before = x[i]
        x[i] = before + up
        higher = loss()
        x[i] = before + down
        lower = loss()
        x[i] = before
        slopes[i] = (higher - lower) / (up - down)
    return slopes


def errors_of_a_norm(slopes: Callable, deltas: Iterable[float], dtype: str, seed: int = 0) -> list[float]:
    """By how much differences miss RMSNorm's gradient, relative to its length, for each delta: x is (13, 24)."""
    rng = np.random.default_rng(seed)
    x, dy = rng.standard_normal((2, 13, 24)).astype(dtype)
    w = rng.uniform(0.5, 1.5, 24).astype(dtype)
    right, _ = pieces.rms_norm_backward(dy, x, w, 1e-5)

    def loss():
        return (dy * pieces.rms_norm(x, w, 1e-5)).sum()

    number = np.dtype(dtype).type
    found = [slopes(loss, x, number(delta)) for delta in deltas]
    return [float(np.linalg.norm(f - right) / np.linalg.norm(right)) for f in found]


def misses(
    parameters: dict[str, np.ndarray], config: "Config", batch: "Batch", kind: SimpleNamespace, delta: float = 1e-5
) -> dict[str, float]:
    """For each tensor, the loss's slope along a random direction d against sum g d: {name: difference / length of g}.

    kind: the pieces that make the gradients; the loss is made by the right ones.
    """
    from minimistral.training.model import loss_and_gradients, loss_only

    found = {}
    for name, g in loss_and_gradients(parameters, config, batch, kind)[1].items():
        d = np.random.default_rng(seed=1).standard_normal(g.shape)
        moved = [parameters | {name: parameters[name] + step * d} for step in (delta, -delta)]
        up, down = (loss_only(each, config, batch) for each in moved)
        found[name] = abs((up - down) / (2 * delta) - (g * d).sum()) / np.linalg.norm(g)
    return found


def error_against_delta() -> "Picture":
    """Relative error of RMSNorm's gradient by differences, against their step delta: one side or two, 32 bits or 64."""
    deltas = 10.0 ** np.arange(-14, 1)
    kinds = (("two-sided, float64", two_sided, "float64", QUERY, "-o"), ("one-sided, float64", one_sided, "float64",
             KEY_INK, "--s"), ("two-sided, float32", two_sided, "float32", VALUE, ":^"))  # fmt: skip
    errors = {name: errors_of_a_norm(slopes, deltas, dtype) for name, slopes, dtype, _, _ in kinds}
    best = {name: deltas[int(np.argmin(e))] for name, e in errors.items()}
    picture = card(8.5, 4.3, "three lines like a V on logarithmic axes; lowest is the two-sided difference in float64, "
                   f"at delta {best['two-sided, float64']:g}; the one-sided one is best at {best['one-sided, float64']:g}, "
                   f"and float32 at {best['two-sided, float32']:g}")  # fmt: skip
    axes = picture.subplots()
    for name, _, dtype, colour, line in kinds:
        shown = slice(7 if dtype == "float32" else 0, None)  # below 1e-7 a float32 does not change at all
        axes.loglog(deltas[shown], errors[name][shown], line, color=colour, lw=2, ms=5, label=name)
    axes.annotate("too few digits\nare left", (2e-13, 6e-8), color=INK, ha="center")
    axes.annotate("the loss\nis curved", (0.1, 6e-8), color=INK, ha="center")
    axes.set(xlabel="step of the difference, delta", ylabel="relative error of the gradient", ylim=(1e-11, 10))
    axes.set_title("RMSNorm backward by hand, against differences", size=11)
    axes.legend(loc="lower left", frameon=False)
    tidy(axes)
    return picture


def story_data(config: "Config", texts: int = 1000) -> tuple["Tokenizer", "Documents"]:
    """A tokenizer learnt from the first stories, with as many pieces as the model knows, and all stories in its ids."""
    from itertools import islice

    from minimistral.tokenizer import Tokenizer
    from minimistral.training.documents import story_documents, training_stories
    from minimistral.training.tokenizer import train_tokenizer

    with TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.model"
        path.write_bytes(train_tokenizer(islice(training_stories(), texts), config.vocab_size))
        tokenizer = Tokenizer(path)
    return tokenizer, story_documents(tokenizer, config.context_len)


def short_runs(steps: int = 80) -> dict[str, list[float]]:
    """The losses of the first steps of the preset `tiny`: by hand, and as if rms were a constant in backward."""
    from dataclasses import replace

    from minimistral.exercises.training import rms_held_still
    from minimistral.training.initial import initial_parameters
    from minimistral.training.loop import train
    from minimistral.training.presets import PRESETS

    def wrong(*inputs):
        return rms_held_still(*inputs), pieces.rms_norm_backward(*inputs)[1]

    config, settings = PRESETS["tiny"]
    _, stories = story_data(replace(config, context_len=256))
    settings, stories = replace(settings, steps=steps, batch_tokens=256), stories._replace(validation=[])
    kinds = {"by hand": pieces, "norm wrong": SimpleNamespace(**vars(pieces) | {"rms_norm_backward": wrong})}
    runs = {name: train(config, initial_parameters(config, 0), stories, settings, kind) for name, kind in kinds.items()}
    return {name: [m["loss"] for m in state.metrics] for name, state in runs.items()}


def loss_curves(runs: dict[str, list[float]] | None = None, levels: dict[str, float] | None = None) -> "Picture":
    """Loss of each step, a mean over the steps around it: {name: losses}, at most four. Not given: two short runs, now.

    levels: {words: loss} of lines to compare with; not given, that of 512 tokens guessed alike.
    """
    runs = runs or short_runs()
    levels = levels or {"all of 512 tokens alike": np.log(512)}
    ends = ", ".join(f"{name} {np.mean(losses[-SMOOTH:]):.2f}" for name, losses in runs.items())
    steps = max(map(len, runs.values()))
    picture = card(8.5, 4.3, f"losses fall over {steps} steps; at the end: {ends}")
    axes = picture.subplots()
    for (name, losses), (colour, line, width) in zip(runs.items(), LOOKS, strict=False):
        means = smooth(losses, SMOOTH)
        axes.plot(np.arange(1, len(means) + 1), means, line, color=colour, lw=width, label=name)
    for words, level in levels.items():
        axes.axhline(level, color=GREY, lw=1)
        axes.text(steps, level + 0.04, f"{words}: {level:.2f}", ha="right", color=INK, size=9)
    top = max(*levels.values(), *(losses[0] for losses in runs.values())) + 0.4
    axes.set(xlabel="step", ylabel="loss, nats a token", xlim=(0, steps * 1.02), ylim=(None, top))
    axes.set_title(f"loss of each batch (mean of {SMOOTH} steps)", size=11)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.6), frameon=False)
    tidy(axes)
    return picture


def smooth(losses: list[float], steps: int) -> np.ndarray:
    """The mean of so many steps around each, of fewer at both ends.

    >>> smooth([1, 2, 6, 4, 2], 3).tolist()
    [1.5, 3.0, 4.0, 4.0, 3.0]
    """
    half = steps // 2
    return np.array([np.mean(losses[max(0, i - half) : i + half + 1]) for i in range(len(losses))])
