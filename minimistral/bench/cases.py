"""What is run: the settings of a bench, and the tokens that every side gets."""

import re
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.mistral import CHUNK


class Settings(NamedTuple):
    """One bench. Sizes are counts of tokens, times are seconds."""

    prompt_tokens: int = 512
    new_tokens: int = 32
    repeats: int = 5
    batches: tuple[int, ...] = (1,)
    lengths: tuple[int, ...] = ()  # where the cost of one more token is measured
    pause: float = 0.2  # before each side's turn: the threads of the side before it must have gone to sleep
    seed: int = 0  # of the tokens


def tokens_of(settings: Settings, config: Config, batch: int, length: int) -> np.ndarray:
    """Random ids (batch, length): all sides are fed the same ones, also where a model would choose its own."""
    rng = np.random.default_rng(settings.seed)
    return rng.integers(0, config.vocab_size, (batch, length))


def window_of(config: Config) -> int | None:
    """The largest window of any layer; None if some layer has none."""
    windows = [config.layer_window(i) for i in range(config.n_layers)]
    return None if None in windows else max(windows)


def read_lengths(text: str, config: Config) -> tuple[int, ...]:
    """Lengths in tokens or in windows.

    >>> from minimistral.config import MISTRAL_7B
    >>> read_lengths("512, W, 2W", MISTRAL_7B)
    (512, 4096, 8192)
    """
    window, found = window_of(config), []
    for word in text.replace(",", " ").split():
        match = re.fullmatch(r"([0-9]{0,9})(W?)", word, re.ASCII)
        if match is None or (match[1] == "" and match[2] == ""):
            raise BadInput(f"--lengths: {word[:60]!r}, expected tokens or windows, as in '512,W,2W'")
        if match[2] and window is None:
            raise BadInput(f"--lengths: {word}, but the model has no window; expected tokens")
        found.append(int(match[1] or 1) * (window if match[2] else 1))
    if not found or min(found) < 1 or sorted(set(found)) != found:
        raise BadInput(f"--lengths: {text[:60]!r}, expected growing lengths from 1")
    return tuple(found)


def probe(settings: Settings, lengths: tuple[int, ...]) -> tuple[int, int]:
    """(decoded tokens, tokens of one more chunk) measured at each length: they must end before the next begins."""
    room = min((b - a for a, b in pairwise(lengths)), default=2 * CHUNK)
    new = min(settings.new_tokens, room // 2)
    if new < 1 or room - new < 1:
        raise BadInput(f"--lengths: {', '.join(map(str, lengths))}: too close together, expected 2 tokens between")
    return new, min(CHUNK, room - new)
