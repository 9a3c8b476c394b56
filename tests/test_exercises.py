"""Each exercise knows its solution from its known wrong answers, and says what is wrong with the others."""

import inspect
import re

import numpy as np
import pytest

from minimistral.errors import BadInput
from minimistral.exercises import Exercise, check_exercise, exercises, find, guess, guesses
from minimistral.exercises.judge import judge, same

ALL = exercises()
WRONG = [(name, mistake) for name, exercise in ALL.items() for mistake in exercise.wrong]
SEEDS = range(50)


def answer(exercise: Exercise, function):
    """What a student would hand in: the function, or the value it gives."""
    return function if exercise.asks_for_a_function else function()


@pytest.mark.parametrize("name", ALL)
def test_the_solution_is_right_on_50_fresh_draws(name):
    exercise = ALL[name]
    assert {judge(exercise, answer(exercise, exercise.solution), np.random.default_rng(s)).words for s in SEEDS} == {
        "right"
    }


@pytest.mark.parametrize(("name", "mistake"), WRONG, ids=[f"{n}-{m}" for n, m in WRONG])
def test_a_known_mistake_gets_its_own_hint_on_50_fresh_draws(name, mistake):
    exercise = ALL[name]
    function, hint = exercise.wrong[mistake]
    verdicts = {judge(exercise, answer(exercise, function), np.random.default_rng(s)).words for s in SEEDS}
    assert verdicts == {hint}


@pytest.mark.parametrize("name", ALL)
def test_an_empty_answer_is_not_done_yet(name, capsys):
    for empty in (..., None):
        assert check_exercise(name, empty) == 0.0
        assert capsys.readouterr().out == f"{name}: not done yet\n"


@pytest.mark.parametrize("name", [n for n, e in ALL.items() if e.asks_for_a_function and e.call is None])
def test_a_stub_is_not_done_yet_and_a_raised_error_shows_the_students_line(name):
    exercise = ALL[name]
    assert judge(exercise, lambda *_: ..., np.random.default_rng(0)).words == "not done yet"

    def broken(*arguments):
        raise KeyError("window")

    verdict = judge(exercise, broken, np.random.default_rng(0))
    assert verdict.score == 0
    assert '`raise KeyError("window")`: KeyError: ' in verdict.words and "Traceback" not in verdict.words


@pytest.mark.parametrize("name", ALL)
def test_questions_and_hints_are_one_plain_line_each(name):
    exercise = ALL[name]
    hints = [hint for _, hint in exercise.wrong.values()]
    assert len(hints) >= 2 and len(set(hints)) == len(hints)
    for words in (exercise.question, *hints):
        assert 10 < len(words) < 160 and "\n" not in words and "`" not in words, words
        assert not re.search(r"\breturn\b|np\.|=>|\blambda\b", words), f"code in a hint: {words}"
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) and exercise.question[-1] in ".?"


def test_there_are_30_exercises_and_60_known_wrong_answers():
    assert len(ALL) >= 30 and len(WRONG) >= 60
    assert len(set(ALL)) == len(ALL) and len(set(guesses())) == len(guesses())


@pytest.mark.parametrize("name", guesses())
def test_a_guess_knows_right_from_wrong(name, capsys):
    asked = guesses()[name]
    guess(name, asked.right)
    guess(name, ...)
    for wrong, hint in asked.wrong:
        assert not same(wrong, asked.right)
        guess(name, wrong)
        assert capsys.readouterr().out.splitlines()[-1] == f"{name}: {hint}"
    assert asked.question and "\n" not in asked.question


def test_in_a_guess_capitals_and_spaces_do_not_matter_but_quotation_marks_around_a_number_do(capsys):
    guess("most-parameters", " Feed-Forward")
    guess("two-layers", "9")
    assert capsys.readouterr().out == "most-parameters: right\ntwo-layers: not quite: measure it in the next cell\n"


PRODUCT = Exercise(
    "product",
    "What is x w?",
    lambda x, w: x @ w,
    wrong={"sum": (lambda x, w: x.sum() + w.sum() + np.zeros((len(x), w.shape[1])), "a product, not a sum")},
    make_inputs=lambda rng: (rng.standard_normal((3, 4)), rng.standard_normal((4, 5))),
)


def changes_its_input(x, w):
    x += 1
    return x @ w


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x, w: (x @ w).T, "axes exchanged"),
        (lambda x, w: (x @ w)[:2], r"shape \(2, 5\), expected \(3, 5\)"),
        (lambda x, w: (x @ w) * np.nan, r"NaN at \[0, 0\]"),
        (lambda x, w: (x @ w) + np.eye(3, 5)[::-1], r"3 of 15 differ, first at \[0, 2\]: yours .*, right "),
        (changes_its_input, "changes its inputs"),
        (lambda x, w: None, "gives nothing back"),
        (lambda x, w: "words", "expected numbers, this is str"),
        (lambda x: x, "TypeError"),
        (3.5, r"expected a function of \(x, w\)"),
        (lambda x, w: x.sum() + w.sum() + np.zeros((3, 5)), "a product, not a sum"),
    ],
)
def test_an_unknown_mistake_is_described(function, words):
    verdict = judge(PRODUCT, function, np.random.default_rng(0))
    assert verdict.score == 0 and re.search(words, verdict.words), verdict.words


def test_bits_are_compared_where_bits_are_the_lesson():
    exercise = Exercise("bits", "The same bits?", PRODUCT.solution, {}, PRODUCT.make_inputs, bits=True)
    almost = judge(exercise, lambda x, w: (x @ w) * (1 + 2**-50), np.random.default_rng(0))
    assert almost.score == 0 and "differ" in almost.words
    assert judge(PRODUCT, lambda x, w: (x @ w) * (1 + 2**-50), np.random.default_rng(0)).score == 1
    assert "float32" in judge(exercise, lambda x, w: (x @ w).astype(np.float32), np.random.default_rng(0)).words


def test_many_answers_may_be_one_mistake():
    """An exercise may sort wrong answers itself: each gets the hint of its kind, and the right one is never shown."""
    exercise = Exercise(
        "pair",
        "Which two words?",
        lambda: ("b", "y"),
        {"first": (lambda: ("a", "y"), "the first word"), "second": (lambda: ("b", "x"), "the second word")},
        kind_of=lambda answer: "second" if answer[0] == "b" else "first",
    )
    for given, words, mistake in (
        (("b", "y"), "right", None),
        (("c", "y"), "the first word", "first"),
        (["b", "z"], "the second word", "second"),
    ):
        verdict = judge(exercise, given, np.random.default_rng(0))
        assert (verdict.words, verdict.mistake) == (words, mistake)
    assert judge(exercise, lambda: 1, np.random.default_rng(0)).words == "expected a value, not a function"


def test_inputs_are_new_at_every_call_and_the_same_for_a_seed():
    seen = []

    def keep(query_positions, key_positions, window):
        seen.append((query_positions.tolist(), key_positions.tolist(), window))
        return find("window-mask").solution(query_positions, key_positions, window)

    for seed in (None, None, 7, 7):
        assert check_exercise("window-mask", keep, seed) == 1.0
    draws = [seen[i : i + 3] for i in range(0, 12, 3)]
    assert draws[2] == draws[3] and draws[0] != draws[1]


def test_a_name_that_is_not_there_gets_the_nearest():
    with pytest.raises(BadInput, match="exercise: no 'windowmask'; is it 'window-mask'"):
        check_exercise("windowmask", ...)
    with pytest.raises(BadInput, match="guess: no 'two-layer'; is it 'two-layers'"):
        guess("two-layer", ...)


def test_solutions_are_written_out_and_do_not_call_the_package():
    for name, exercise in ALL.items():
        source = inspect.getsource(exercise.solution)
        assert "minimistral" not in source, name
