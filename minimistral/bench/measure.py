"""The clock around the calls. Sides take turns within each repeat, so what disturbs the machine disturbs them alike."""

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minimistral.bench.sides import Side
from minimistral.errors import BadInput

Clock = Callable[[], float]
CHECKED_STEPS = 2  # decoded tokens of a warm-up, whose logits are compared too
# Relative l2 distance of logits beyond which two sides are said to compute different things; models that differ in
# their weights are at about 1.4. A type of 16 bits loses three decimal digits that float32 has.
FAR, FAR_16_BITS = 0.01, 0.2


class Times(NamedTuple):
    """One run: seconds to the first token, and for each token decoded after it."""

    first_token: float
    steps: list[float]


class Probe(NamedTuple):
    """The cost of one more token at one length: decoded ones, and a chunk of a pre-fill; seconds."""

    steps: list[float]
    chunk: float
    cache_bytes: int


def timed(clock: Clock, side: Side, caches: Any, tokens: np.ndarray) -> float:
    """Seconds that one call takes."""
    start = clock()
    side.feed(caches, tokens)
    return clock() - start


def prompt_run(side: Side, tokens: np.ndarray, prompt_tokens: int, clock: Clock) -> Times:
    """Pre-fill of the first tokens of each sequence, tokens (B, T), then the others one at a time."""
    caches = side.start(len(tokens))
    first = timed(clock, side, caches, tokens[:, :prompt_tokens])
    return Times(first, [timed(clock, side, caches, tokens[:, [t]]) for t in range(prompt_tokens, tokens.shape[1])])


def length_run(
    side: Side, tokens: np.ndarray, lengths: Sequence[int], new: int, chunk: int, clock: Clock
) -> list[Probe]:
    """One text through all lengths: at each, `new` tokens are decoded and then a chunk is pre-filled. tokens (1, T)."""
    caches, at, probes = side.start(1), 0, []
    for length in lengths:
        if at < length:
            side.feed(caches, tokens[:, at:length])
        steps = [timed(clock, side, caches, tokens[:, [t]]) for t in range(length, length + new)]
        at = length + new + chunk
        n_bytes = side.cache_bytes(caches)
        probes.append(Probe(steps, timed(clock, side, caches, tokens[:, at - chunk : at]), n_bytes))
    return probes


def in_turns(
    sides: Sequence[Side],
    repeats: int,
    run: Callable[[Side], Any],
    pause: float,
    after: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] | None = None,
) -> dict[str, list]:
    """ABAB...: each side's runs, by its name. A pause lets the threads of the side before stop spinning."""
    runs: dict[str, list] = {side.name: [] for side in sides}
    for _ in range(repeats):
        for side in sides:
            gc.collect()  # now, and so less likely inside
            (sleep or time.sleep)(pause)
            runs[side.name].append(run(side))
            after()
    return runs


def warm_up(side: Side, tokens: np.ndarray, prompt_tokens: int, clock: Clock) -> tuple[float, np.ndarray]:
    """A run whose time does not count: (seconds, logits (1 + CHECKED_STEPS, B, vocab_size)).

    Here weights are prepared, kernels are compiled, and the logits are taken that must agree.
    """
    start = clock()
    caches = side.start(len(tokens))
    logits = [side.feed(caches, tokens[:, :prompt_tokens])]
    logits += [side.feed(caches, tokens[:, [t]]) for t in range(prompt_tokens, prompt_tokens + CHECKED_STEPS)]
    return clock() - start, np.stack(logits).astype(np.float32)


def agreement(side: Side, logits: np.ndarray, other: Side, expected: np.ndarray) -> dict:
    """How far a side's logits are from another's. BadInput if too far: a ratio of their times would mean nothing."""
    difference = logits.astype(np.float64) - expected
    distance = float(np.linalg.norm(difference) / max(np.linalg.norm(expected.astype(np.float64)), 1e-300))
    narrow = {"bfloat16", "float16"} & {side.facts["arithmetic"], other.facts["arithmetic"]}
    if not distance <= (FAR_16_BITS if narrow else FAR):
        raise BadInput(
            f"{side.name} and {other.name}: logits differ by {distance:.2g} (relative), so they do not compute the "
            "same thing; nothing was timed"
        )
    return {
        "with": other.name,
        "relative_l2": distance,
        "max_abs": float(np.abs(difference).max()),
        "largest_logit": float(np.abs(expected).max()),
        "same_bits": same_bits(logits, expected),
    }


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays of float32 hold the same bits.

    >>> same_bits(np.float32([0.0]), np.float32([-0.0]))
    False
    """
    return bool((a.view(np.uint32) == b.view(np.uint32)).all())
