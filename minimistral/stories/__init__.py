"""An endless stream of small stories: a child, an animal, a place, an object, something that goes wrong and is mended.

Names, colours and reasons come back later in the text, so a model that learns from it learns to remember.
See docs/stories.md.
"""

from collections.abc import Iterator
from itertools import count
from random import Random
from typing import NamedTuple

from minimistral.errors import BadInput
from minimistral.stories.plots import PLOTS
from minimistral.stories.splits import SPLITS
from minimistral.stories.world import Fact, World

__all__ = ["SPLITS", "Fact", "Story", "stories", "story", "tell"]


class Story(NamedTuple):
    """A story, the name of its plot, and what it states, in the order of telling."""

    text: str
    plot: str
    facts: tuple[Fact, ...]


def tell(seed: int, split: str = "train") -> Story:
    """The story of a seed: a world is drawn, then a plot, then a phrasing for every sentence.

    BadInput for another split.

    >>> tell(1) == tell(1), tell(1) == tell(2), tell(1) == tell(1, "validation")
    (True, False, False)
    """
    if split not in SPLITS:
        raise BadInput(f"split: found {split!r}, expected one of {', '.join(SPLITS)}")
    rng = Random(seed)
    plot = rng.choice(PLOTS)
    world = World(rng, split)
    text = " ".join(plot(world))
    return Story(text, plot.__name__, tuple(world.facts))


def story(seed: int, split: str = "train") -> str:
    """The text alone of tell(seed, split)."""
    return tell(seed, split).text


def stories(seed: int, split: str = "train") -> Iterator[str]:
    """Endless: the stories of seed, seed + 1, and so on.

    >>> next(stories(7)) == story(7)
    True
    """
    return (story(s, split) for s in count(seed))
