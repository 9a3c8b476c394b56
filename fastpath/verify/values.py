"""Weights that are hard on an implementation: outliers, equal rows, zeros, subnormals, powers of two, overflow.

Each of PLANTS changes some tensors of a random model in place, in float32; `weights` casts them to their stored types.
"""

from collections.abc import Callable

import ml_dtypes
import numpy as np

from minimistral.config import Config
from minimistral.weights import random_tensors

Tensors = dict[str, np.ndarray]
DTYPES = ("bfloat16", "float16", "float32")
MOST_PLANTS = 3


def weights(config: Config, rng: np.random.Generator) -> tuple[Tensors, list[str], int | None]:
    """Tensors of a model by Mistral's names, what was planted in them, and the id whose embedding is not finite."""
    tensors = random_tensors(config, int(rng.integers(2**32)))
    dtype = np.dtype(DTYPES[rng.integers(len(DTYPES))])
    names = sorted(PLANTS)
    planted = [names[i] for i in sorted(rng.choice(len(names), rng.integers(MOST_PLANTS + 1), replace=False))]
    for plant in planted:
        with np.errstate(over="ignore"):
            PLANTS[plant](tensors, rng, dtype)
    types = dict.fromkeys(tensors, dtype)
    if rng.random() < 0.1:  # each tensor of a checkpoint may have its own type
        types = {name: np.dtype(DTYPES[rng.integers(len(DTYPES))]) for name in tensors}
        planted.append("mixed types")
    stored = {name: stored_as(w, types[name]) for name, w in tensors.items()}
    bad_id = None
    if rng.random() < 0.06:
        # One token's embedding, so that some calls fail and others do not; or a norm's weight, and all calls fail.
        norms = [name for name in stored if stored[name].ndim == 1]
        name = "tok_embeddings.weight" if rng.random() < 0.7 else norms[rng.integers(len(norms))]
        place = int(rng.integers(stored[name].size))
        stored[name].reshape(-1)[place] = rng.choice([np.nan, np.inf, -np.inf])
        planted.append(f"not finite: {name}")
        bad_id = place // config.dim if stored[name].ndim == 2 else None
    return stored, [str(dtype), *planted], bad_id


def stored_as(w: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float32 -> a storage type; what is too large becomes the largest value there is."""
    largest = float(ml_dtypes.finfo(dtype).max)
    return np.clip(w, -largest, largest).astype(dtype)


def some(tensors: Tensors, rng: np.random.Generator, matrices: bool = True) -> list[np.ndarray]:
    """One to four of the matrices (or of all tensors)."""
    names = [n for n, w in tensors.items() if w.ndim == 2 or not matrices]
    return [tensors[n] for n in rng.choice(names, min(len(names), rng.integers(1, 5)), replace=False)]


def some_rows(w: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of about a third of the rows, or all."""
    return np.flatnonzero(rng.random(len(w)) < rng.choice([0.3, 1.0]))


def outlier_channels(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """A few channels are much larger than the others, as in trained models."""
    for name, w in tensors.items():
        if name.endswith("norm.weight"):
            w[rng.integers(len(w))] *= 30
        if name.endswith("feed_forward.w2.weight"):
            w[rng.integers(len(w))] *= 50


def one_huge_value(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """Everything else in its row lies near the end of the grid, or below it."""
    for w in some(tensors, rng, matrices=False):
        w.reshape(-1)[rng.integers(w.size)] = rng.choice([-1, 1]) * 2.0 ** rng.uniform(4, 40)


def equal_rows(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """Every value of a row the same: at 1 - 1 ulp the sums come as near to 2^53 as they can."""
    below_one = 1 - float(ml_dtypes.finfo(dtype).eps) / 2
    for w in some(tensors, rng):
        rows = some_rows(w, rng)
        w[rows] = rng.choice([below_one, -below_one, 1.0, 0.75 * rng.random()])


def zeros(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """Rows of zeros, also of negative ones: a top of 2^-125, and sums without a term."""
    for w in some(tensors, rng):
        w[some_rows(w, rng)] = rng.choice([0.0, -0.0])


def subnormals(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """Rows below the smallest normal number of the type."""
    for w in some(tensors, rng):
        w[some_rows(w, rng)] *= float(ml_dtypes.finfo(dtype).tiny) * 2.0 ** rng.uniform(-6, 2)


def powers_of_two(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """Powers of two and their neighbours: where a top, a tie or a carry is decided."""
    eps = float(ml_dtypes.finfo(dtype).eps)
    for w in some(tensors, rng, matrices=False):
        power = 2.0 ** rng.integers(-4, 4, w.shape) * rng.choice([-1, 1], w.shape)
        w[:] = power * rng.choice([1, 1 + eps, 1 - eps / 2], w.shape)


def few_bits(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """Small multiples of 1/4: many products and sums fall on ties."""
    for w in some(tensors, rng, matrices=False):
        w[:] = rng.integers(-3, 4, w.shape) / 4


def sharp_attention(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """Scores far apart: one key takes all the weight, the others' weights end below the grid of the sum."""
    for name, w in tensors.items():
        if ".wq." in name or ".wk." in name:
            w *= 2.0 ** rng.uniform(1, 4)


def far_values(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """Value vectors of very different sizes: their grids lie far apart."""
    embedding = tensors["tok_embeddings.weight"]
    embedding *= 2.0 ** rng.uniform(-12, 6, (len(embedding), 1))
    for name, w in tensors.items():
        if ".wv." in name:
            w *= 2.0 ** rng.uniform(-30, 8, (len(w), 1))


def equal_tokens(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """Rows of the output matrix that are copies: logits tie, and the lowest id must win."""
    w = tensors.get("output.weight", tensors["tok_embeddings.weight"])
    w[:] = w[rng.integers(min(len(w), 4), size=len(w))]


def large(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """Matrices many binades up or down; where a stage overflows, both sides must say so in the same words."""
    for w in some(tensors, rng, matrices=False):
        w *= 2.0 ** rng.uniform(-40, 40)


def overflow(tensors: Tensors, rng: np.random.Generator, dtype: np.dtype) -> None:
    """Weights so large that stages become infinite, or scores do."""
    for w in some(tensors, rng, matrices=False):
        w *= np.float32(2.0 ** rng.uniform(60, 126))


PLANTS: dict[str, Callable[[Tensors, np.random.Generator, np.dtype], None]] = {
    f.__name__.replace("_", " "): f
    for f in (outlier_channels, one_huge_value, equal_rows, zeros, subnormals, powers_of_two, few_bits,
              sharp_attention, far_values, equal_tokens, large, overflow)
}  # fmt: skip
