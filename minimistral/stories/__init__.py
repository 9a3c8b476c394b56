"""An endless stream of small stories: a child, an animal, a place, an object, something that goes wrong and is mended.

Names, colours and facts come back later in the text, so a model that learns from it learns to remember.
"""

from collections.abc import Iterator
from itertools import count
from random import Random

from minimistral.stories.plots import PLOTS, World


def story(seed: int) -> str:
    """One story, the same for the same seed: a world is drawn, then a plot, then a phrasing for every sentence.

    >>> story(1) == story(1), story(1) == story(2)
    (True, False)
    """
    rng = Random(seed)
    world = World(rng)
    return " ".join(rng.choice(PLOTS)(world))


def stories(seed: int) -> Iterator[str]:
    """Endless: the stories of seed, seed + 1, and so on.

    >>> next(stories(7)) == story(7)
    True
    """
    return map(story, count(seed))
