"""How an answer is judged: on fresh inputs, against the solution and against the mistakes that are known."""

import copy
import inspect
import linecache
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np

from minimistral.exercises.exercise import Exercise

TRIES = 3  # different inputs that an answer must get right
DRAWS = 200  # inputs drawn at most until all known answers differ
DIGITS, TINY = 1e-9, 1e-12  # floats agree to 9 digits, or both are next to nothing


@dataclass(frozen=True)
class Verdict:
    """1.0 or 0.0, the words for the student, which known mistake it was, and what a picture can show."""

    score: float
    words: str
    mistake: str | None = None
    mine: np.ndarray | None = None
    right: np.ndarray | None = None


def judge(exercise: Exercise, answer: object, rng: np.random.Generator) -> Verdict:
    """Try an answer on fresh inputs. The words never hold code, and a hint comes before a number."""
    if answer is ... or answer is None:
        return Verdict(0.0, "not done yet")
    if exercise.asks_for_a_function != callable(answer):
        asked = signature(exercise.solution) if exercise.asks_for_a_function else "a value, not a function"
        return Verdict(0.0, f"expected {asked}")
    for _ in range(TRIES if exercise.asks_for_a_function else 1):
        verdict = judge_once(exercise, answer, fresh_inputs(exercise, rng))
        if verdict.score == 0:
            return verdict
    return Verdict(1.0, "right")


def judge_once(exercise: Exercise, answer: object, inputs: tuple) -> Verdict:
    """One try, in this order: an exception, nothing given back, changed inputs, a known mistake, and then by shape."""
    own = copy.deepcopy(inputs)
    try:
        mine = result(exercise, answer, own)
    except Exception as error:  # noqa: BLE001 (a student's code may raise anything)
        known = known_mistake(exercise, error, inputs)
        return known or Verdict(0.0, the_line_that_failed(error))
    if mine is ... or mine is None:
        return Verdict(0.0, "not done yet" if mine is ... else "not done yet: it gives nothing back")
    if not same(own, inputs, bits=True):
        return Verdict(0.0, "it changes its inputs: work on a copy")
    right = result(exercise, exercise.solution, copy.deepcopy(inputs))
    if same(mine, right, exercise.bits):
        return Verdict(1.0, "right")
    known = known_mistake(exercise, mine, inputs)
    words = known.words if known else how_it_differs(mine, right, exercise.bits)
    mine, right = as_numbers(mine), as_numbers(right)
    shown = {} if mine is None or right is None or mine.shape != right.shape else {"mine": mine, "right": right}
    return Verdict(0.0, words, known and known.mistake, **shown)


def result(exercise: Exercise, answer: object, inputs: tuple) -> object:
    """What an answer gives for these inputs; a value is itself."""
    if not callable(answer):
        return answer
    with np.errstate(all="ignore"):
        return exercise.call(answer, *inputs) if exercise.call else answer(*inputs)


def outcome(exercise: Exercise, answer: Callable, inputs: tuple) -> object:
    """`result`, or the exception that came instead."""
    try:
        return result(exercise, answer, copy.deepcopy(inputs))
    except Exception as error:  # noqa: BLE001 (the same)
        return error


def fresh_inputs(exercise: Exercise, rng: np.random.Generator) -> tuple:
    """Inputs for which the solution and each known mistake give different results, pair by pair."""
    if not exercise.asks_for_a_function:
        return ()
    answers = [exercise.solution, *(function for function, _ in exercise.wrong.values())]
    for _ in range(DRAWS):
        inputs = exercise.make_inputs(rng)
        results = [outcome(exercise, answer, inputs) for answer in answers]
        if not any(same(a, b, exercise.bits) for a, b in combinations(results, 2)):
            return inputs
    raise AssertionError(f"{exercise.name}: no inputs in {DRAWS} draws tell its known answers apart")


def known_mistake(exercise: Exercise, mine: object, inputs: tuple) -> Verdict | None:
    """The known mistake that gives the same for these inputs, as a verdict with its hint."""
    if exercise.kind_of is not None:
        mistake = exercise.kind_of(mine)
        return Verdict(0.0, exercise.wrong[mistake][1], mistake)
    for mistake, (function, hint) in exercise.wrong.items():
        if same(mine, outcome(exercise, function, inputs), exercise.bits):
            return Verdict(0.0, hint, mistake)
    return None


def same(a: object, b: object, bits: bool = False) -> bool:
    """Do two results agree? Integers must be equal, floats to 9 digits (or bit by bit), exceptions of one type.

    >>> same(np.array([1.0, 2.0]), [1, 2]), same([1, 2], (1, 3)), same("a", "b")
    (True, False, False)
    """
    if isinstance(a, Exception) or isinstance(b, Exception):
        return type(a) is type(b)
    if isinstance(a, str | bytes) or isinstance(b, str | bytes) or a is None or b is None:
        return type(a) is type(b) and a == b
    x, y = as_numbers(a), as_numbers(b)
    if x is None or y is None:
        many = isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b)
        return many and all(same(i, j, bits) for i, j in zip(a, b, strict=True))
    if x.shape != y.shape:
        return False
    if bits:
        return x.dtype == y.dtype and x.tobytes() == y.tobytes()
    if x.dtype.kind in "biu" and y.dtype.kind in "biu":
        return np.array_equal(x, y)
    return np.allclose(x, y, rtol=DIGITS, atol=TINY, equal_nan=True)


def as_numbers(value: object) -> np.ndarray | None:
    """The value as an array of numbers; None if it is something else: words, arrays of several sizes."""
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    return array if array.dtype.kind in "biuf" else None


def how_it_differs(mine: object, right: object, bits: bool) -> str:
    """A line about a wrong answer that no known mistake explains: first its shape, then its type, then its numbers."""
    x, y = as_numbers(mine), as_numbers(right)
    if y is None:
        return not_numbers(mine, right)
    if x is None:
        return f"expected numbers, this is {type(mine).__name__}"
    if x.shape != y.shape:
        if sorted(x.shape) == sorted(y.shape) and any(
            same(x.transpose(p), y, bits) for p in permutations(range(x.ndim))
        ):
            return f"right numbers in shape {x.shape}, expected {y.shape}: axes exchanged"
        return f"shape {x.shape}, expected {y.shape if y.ndim else 'one number'}"
    for p in list(permutations(range(x.ndim)))[1:]:
        if x.transpose(p).shape == y.shape and same(x.transpose(p), y, bits):
            return "right numbers, axes exchanged"
    if bits and x.dtype != y.dtype:
        return f"type {x.dtype}, expected {y.dtype}"
    if np.isnan(x).any() and not np.isnan(y).any():
        return f"NaN at {place(np.isnan(x))}"
    wrong = x.view(bits_type(x)) != y.view(bits_type(y)) if bits else ~close(x, y)
    if x.ndim == 0:
        return "not right yet"
    at = place(wrong)
    a, b = x[at_index(wrong)], y[at_index(wrong)]
    return f"{wrong.sum()} of {wrong.size} differ, first at {at}: yours {shown(a)}, right {shown(b)}"


def not_numbers(mine: object, right: object) -> str:
    """The same for words and for lists of several things."""
    if type(mine) is not type(right) and not isinstance(mine, list | tuple):
        return f"expected {type(right).__name__}, this is {type(mine).__name__}"
    if isinstance(right, list | tuple):
        if len(mine) != len(right):
            return f"{len(mine)} of them, expected {len(right)}"
        at = next(i for i, (a, b) in enumerate(zip(mine, right, strict=True)) if not same(a, b))
        if isinstance(right[at], str):
            return f"first wrong at {at}: yours {mine[at]!r}, right {right[at]!r}"
        return f"number {at} of what it gives back: {how_it_differs(mine[at], right[at], False)}"
    return f"yours {mine!r}, right {right!r}"


def close(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.isclose(x, y, rtol=DIGITS, atol=TINY, equal_nan=True)


def bits_type(x: np.ndarray) -> str:
    return f"u{x.dtype.itemsize}"


def at_index(wrong: np.ndarray) -> tuple:
    return tuple(int(i) for i in np.argwhere(wrong)[0])


def place(wrong: np.ndarray) -> str:
    """The first wrong place, as an index is written."""
    return "[" + ", ".join(str(i) for i in at_index(wrong)) + "]" if wrong.ndim else "the only number"


def shown(number: np.generic) -> str:
    return str(number) if number.dtype.kind in "biu" else f"{number:.6g}"


def signature(function: Callable) -> str:
    """As in: a function of (query_positions, key_positions, window)."""
    return f"a function of ({', '.join(inspect.signature(function).parameters)})"


def the_line_that_failed(error: Exception) -> str:
    """The student's own line, not ours and not the library's: the deepest one from a cell or from the answer's file."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "minimistral/exercises" not in f.filename.replace("\\", "/") and not is_library(f)]
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    if not own:
        return message
    line = (own[-1].line or linecache.getline(own[-1].filename, own[-1].lineno)).strip()
    return f"line {own[-1].lineno}, `{line}`: {message}"


def is_library(frame: traceback.FrameSummary) -> bool:
    return "site-packages" in frame.filename or "/lib/python" in frame.filename.replace("\\", "/")
