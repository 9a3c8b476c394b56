"""What a mistake is: a line that somebody wrote in place of the right one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from minimistral.check import lines as right
from minimistral.config import Config


class Case(NamedTuple):
    """What a mistake may depend on: the model, the length, and the first and the last position that is wrong."""

    config: Config
    T: int
    first_wrong: int = 0
    last_wrong: int = 0

    @property
    def windows(self) -> list[int | None]:
        """Of the layers, each once."""
        return list(dict.fromkeys(map(self.config.layer_window, range(self.config.n_layers))))


Variants = Mapping[str, Mapping[str, Callable]]  # variant -> {line of lines.py: the wrong one}


@dataclass(frozen=True)
class Mistake:
    """A family of wrong lines under one id.

    id         part of the interface: reports and users' scripts name it
    sentence   to the person whose code it is: "you attend to W + 1 keys"
    computes   the formula that the wrong line computes
    instead    the formula that it should compute
    source     where somebody made it in public: "owner/repo #123, #124; owner/other #5", or nothing
    see        the module of this project that has the right line, and the function
    variants   what people write: {variant: {line: function}}; or a function of the Case that gives them
    also       more of them, that depend on the Case
    """

    id: str
    sentence: str
    computes: str
    instead: str
    source: str
    see: str
    variants: Variants | Callable[[Case], Variants]
    also: Callable[[Case], Variants] | None = None

    def written(self, case: Case) -> Variants:
        """The variants for this model and length."""
        written = dict(self.variants(case) if callable(self.variants) else self.variants)
        return written | dict(self.also(case)) if self.also else written


def that_show(case: Case, written: Mapping[str, Callable]) -> Variants:
    """{variant: wrong `seen`}, without those that see here what is right, or what one before them sees."""
    kept, met = {}, {tuple(fingerprint(right.seen, case.T, w) for w in case.windows)}
    for name, seen in written.items():
        this = tuple(fingerprint(seen, case.T, w) for w in case.windows)
        if this not in met:
            kept[name] = {"seen": seen}
        met.add(this)
    return kept


@lru_cache(maxsize=4096)
def fingerprint(seen: Callable, T: int, window: int | None) -> int:
    """The same number for the same mask."""
    return hash(np.asarray(seen(T, window), np.int8).tobytes())


def chunk_sizes(case: Case) -> list[int]:
    """Chunks that people choose: a window, its double and half, one more, one less, powers of two, a few small ones; and
    what the first wrong position hints at: it is often where a chunk begins, or the row after."""
    windows = [w for w in case.windows if w]
    sizes = {n for w in windows for n in (w, 2 * w, 2 * w + 3, w // 2, w - 1, w + 1)}
    sizes |= {3, 5, 7, 10, 100, *(2**n for n in range(1, 14))}
    for hint in (case.first_wrong, case.first_wrong - 1):
        sizes |= {n for n in range(2, hint + 1) if hint % n == 0}
    return sorted(n for n in sizes if 1 < n < case.T)
