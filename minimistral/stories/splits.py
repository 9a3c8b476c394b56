"""Which combinations belong to validation: pairs of words, such as a colour and a thing, that no training story joins.

For every second word (kite), one first word (red) of its list is held out: the one whose SHA-256 with the second is
smallest. So with 13 colours 1/13 of the pairs is seen only in validation. The same on all machines and versions.
"""

from functools import cache
from hashlib import sha256
from random import Random

SPLITS = ("train", "validation")


@cache
def held_out(second: str, firsts: tuple[str, ...]) -> str:
    """The first word that only validation joins with the second.

    >>> held_out("kite", ("red", "blue", "green")), held_out("ball", ("red", "blue", "green"))
    ('blue', 'red')
    """
    return min(firsts, key=lambda first: sha256(f"{first}|{second}".encode()).digest())


@cache
def allowed(split: str, second: str, firsts: tuple[str, ...]) -> tuple[str, ...]:
    """The first words that the split joins with the second.

    >>> allowed("train", "kite", ("red", "blue", "green")), allowed("validation", "kite", ("red", "blue", "green"))
    (('red', 'green'), ('blue',))
    """
    kept = held_out(second, firsts)
    return (kept,) if split == "validation" else tuple(first for first in firsts if first != kept)


@cache
def pairs(split: str, firsts: tuple[str, ...], seconds: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """All pairs of the split."""
    return tuple((first, second) for second in seconds for first in allowed(split, second, firsts))


def drawn(
    rng: Random, split: str, firsts: tuple[str, ...], seconds: tuple[str, ...], taken: tuple[str, ...] = ()
) -> tuple[str, str]:
    """A pair (first, second) of the split, neither of its words taken.

    >>> drawn(Random(1), "train", ("red", "blue", "green"), ("kite", "ball"), taken=("kite", "red"))
    ('blue', 'ball')
    """
    while True:
        first, second = rng.choice(pairs(split, firsts, seconds))
        if first not in taken and second not in taken:
            return first, second
