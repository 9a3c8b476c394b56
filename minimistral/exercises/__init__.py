"""Exercises that check themselves: fresh inputs at every call, and a hint for each mistake that is often made.

    from minimistral.exercises import check_exercise, guess

    guess("keys-of-a-query", 5)                # a prediction, before the measurement
    check_exercise("window-mask", my_mask)     # a function, an array or a number; prints words, returns 1.0 or 0.0

Each lesson has its module here, by the notebook's name. The solutions are there too: scores are for learning.
"""

import difflib
from importlib import import_module

import numpy as np

from minimistral.course import LESSONS
from minimistral.errors import BadInput
from minimistral.exercises.exercise import Exercise, Guess
from minimistral.exercises.judge import judge, same

__all__ = ["LESSONS", "Exercise", "Guess", "check_exercise", "exercises", "find", "guess", "guesses"]


def exercises() -> dict[str, Exercise]:
    """Every exercise by its name, in the order of the lessons."""
    return {exercise.name: exercise for lesson in LESSONS for exercise in of_lesson(lesson).EXERCISES}


def guesses() -> dict[str, Guess]:
    """Every guess by its name."""
    return {name: asked for lesson in LESSONS for name, asked in of_lesson(lesson).GUESSES.items()}


def of_lesson(lesson: str):
    return import_module(f"minimistral.exercises.{lesson}")


def find(name: str) -> Exercise:
    """The exercise of that name. BadInput if there is none."""
    return by_name("exercise", exercises(), name)


def by_name(kind: str, known: dict, name: str):
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        raise BadInput(f"{kind}: no {name!r}" + (f"; is it {near[0]!r}?" if near else ""))
    return known[name]


def check_exercise(name: str, answer: object, seed: int | None = None) -> float:
    """Judge an answer, say how it went, and return the score: 1.0 or 0.0. The last line of its cell.

    `...` is 'not done yet'. The inputs are new at every call, unless a `seed` is given.
    """
    exercise = find(name)
    verdict = judge(exercise, answer, np.random.default_rng(seed))
    print(f"{name}: {verdict.words}")
    if verdict.mine is not None and verdict.right.ndim > 0:
        show_difference(verdict.mine, verdict.right, exercise.axes)
    return verdict.score


def guess(name: str, answer: object) -> None:
    """Say how a prediction went: right, or a hint. The measurement comes in the next cell."""
    asked = by_name("guess", guesses(), name)
    if answer is ... or answer is None:
        print(f"{name}: not done yet")
    elif alike(answer, asked.right):
        print(f"{name}: right")
    else:
        hints = [hint for wrong, hint in asked.wrong if alike(answer, wrong)]
        print(f"{name}: {hints[0] if hints else 'not quite: measure it in the next cell'}")


def alike(answer: object, known: object) -> bool:
    """`same`, but in words capitals and spaces around do not matter."""
    if isinstance(answer, str) and isinstance(known, str):
        return answer.strip().casefold() == known.casefold()
    return same(answer, known)


def show_difference(mine: np.ndarray, right: np.ndarray, axes: tuple[str, str]) -> None:
    """In a notebook, a picture of both and of their difference; elsewhere nothing."""
    try:
        from IPython import get_ipython
        from IPython.display import display

        from minimistral.figures.answer import answer_picture
    except ImportError:
        return
    if get_ipython() is not None:
        display(answer_picture(mine, right, axes))
