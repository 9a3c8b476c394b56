"""The mistakes that are known, as data: one function each that reads like the wrong line, beside the right one.

A new one is a function and ten lines in the module of its piece; its id goes into the documentation by itself, and a
test is made for it.
"""

from minimistral.check.mistakes.cache import MISTAKES as CACHE
from minimistral.check.mistakes.feed_forward import MISTAKES as FEED_FORWARD
from minimistral.check.mistakes.heads import MISTAKES as HEADS
from minimistral.check.mistakes.mistake import Case, Mistake
from minimistral.check.mistakes.norms import MISTAKES as NORMS
from minimistral.check.mistakes.rope import MISTAKES as ROPE
from minimistral.check.mistakes.tokens import MISTAKES as TOKENS
from minimistral.check.mistakes.window import MISTAKES as WINDOW

__all__ = ["MISTAKES", "Case", "Mistake", "by_id"]

MISTAKES: tuple[Mistake, ...] = (*WINDOW, *ROPE, *HEADS, *NORMS, *FEED_FORWARD, *CACHE, *TOKENS)


def by_id(name: str) -> Mistake:
    """The mistake of that id. KeyError if there is none."""
    return next(mistake for mistake in MISTAKES if mistake.id == name)
