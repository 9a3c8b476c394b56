"""What an exercise is, and what a guess is: data. How they are judged is in judge.py."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Exercise:
    """A question whose answer can be checked, and the mistakes that are often made in it.

    name          what `check_exercise` calls it, as in "window-mask"
    question      one sentence, as a teacher would ask it
    solution      a right answer: a function like the one that is asked for. Where a number or an array is asked for,
                  a function of nothing that gives it
    wrong         wrong answers of the same kind: {id: (function, hint)}. A hint asks or reminds; it never gives code
    make_inputs   fresh arguments for one try, from a random generator: sizes that differ from one another. None where a
                  number or an array is asked for
    call          call(answer, *inputs) -> result, where it is not answer(*inputs): a kernel to be launched
    bits          the same bits and type are asked for, not 9 digits
    kind_of       kind_of(answer) -> the id in `wrong` of an answer that is not right, where many answers are the same
                  mistake: the functions in `wrong` are then an example each. None: the answer is compared with them
    axes          what the last two axes of the result are, as the picture under a wrong one calls them
    """

    name: str
    question: str
    solution: Callable
    wrong: dict[str, tuple[Callable, str]]
    make_inputs: Callable[[np.random.Generator], tuple] | None = None
    call: Callable | None = None
    bits: bool = False
    kind_of: Callable[[object], str] | None = None
    axes: tuple[str, str] = ("the axis before it", "last axis")

    @property
    def asks_for_a_function(self) -> bool:
        return self.make_inputs is not None


@dataclass(frozen=True)
class Guess:
    """A prediction before a measurement: the right one, and what to say to others.

    >>> Guess("how many keys a query sees, W = 5", 5, [(6, "does W count the query itself?")]).right
    5
    """

    question: str
    right: object
    wrong: list[tuple[object, str]] = field(default_factory=list)
