"""Hand-ins in, rows out. Each answer runs in a process of its own; what it gives back is judged here."""

import csv
import importlib.util
import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minimistral.classroom.handins import HandIns, read_answers
from minimistral.classroom.lesson import Asked, Lesson, needed, not_written
from minimistral.classroom.own_code import calls
from minimistral.classroom.process import STOP, Ended, Limits, run_alone
from minimistral.classroom.values import exception_of, from_plain
from minimistral.errors import BadInput
from minimistral.exercises import Exercise, exercises
from minimistral.exercises.judge import TRIES, Verdict, fresh_inputs, judge, judge_once
from minimistral.whole_file import whole_file

LONGEST = 300  # characters of a cell in a table
LONGEST_ANSWER = 100_000  # characters of an answer
GRADES = ("student", "notebook", "exercise", "score", "max", "reason", "wrong id", "seconds")
MISTAKES = ("exercise", "wrong id", "how many", "hint")


class Row(NamedTuple):
    """A line of grades.csv."""

    student: str
    notebook: str
    exercise: str
    score: float
    max: float
    reason: str
    wrong_id: str
    seconds: float


@dataclass(frozen=True)
class Drawn:
    """An exercise, and the inputs of this run: the same for every student.

    exercise  as it is judged here: for an answer that was called elsewhere
    call      the exercise's own `call`, which goes there
    """

    exercise: Exercise
    call: Callable | None
    inputs: list[tuple]


@dataclass(frozen=True)
class Rules:
    """How answers are run and judged."""

    limits: Limits
    wrapper: str = ""  # the path of bubblewrap, or nothing
    own_code_only: bool = False


def known_exercises(path: Path | None) -> dict[str, Exercise]:
    """The package's exercises, and those of a teacher's own module in place of them or beside them."""
    known = exercises()
    if path is None:
        return known
    try:
        spec = importlib.util.spec_from_file_location("teachers_exercises", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        own = {exercise.name: exercise for exercise in module.EXERCISES}
    except Exception as error:  # noqa: BLE001 (a teacher's module may fail in any way)
        raise BadInput(f"--exercises: {path}: {type(error).__name__}: {error}") from None
    for exercise in own.values():
        if exercise.call and exercise.call.__module__.split(".")[0] != "minimistral":
            raise BadInput(f"--exercises: {path}: {exercise.name}: `call` must be a function of the package")
    return known | own


def draw(lessons: list[Lesson], known: dict[str, Exercise], seed: int | None) -> dict[str, Drawn]:
    """Inputs for every exercise that the lessons ask. BadInput if one is not known, or its inputs cannot be sent."""
    drawn, rng = {}, np.random.default_rng(seed)
    for lesson in lessons:
        for asked in lesson.asked:
            if asked.exercise not in known:
                raise BadInput(f"{lesson.name}: cell {asked.check}: no exercise {asked.exercise!r}")
            exercise = known[asked.exercise]
            inputs = [fresh_inputs(exercise, rng) for _ in range(TRIES)]
            try:
                pickle.dumps((inputs, exercise.call))
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise BadInput(f"exercise {exercise.name}: its inputs cannot be sent: {error}") from None
            drawn[asked.exercise] = Drawn(with_remote_calls(exercise), exercise.call, inputs)
    return drawn


def with_remote_calls(exercise: Exercise) -> Exercise:
    """The same exercise, for whose `call` an answer from another process has been called already."""
    if exercise.call is None:
        return exercise

    def call(answer: Callable, *inputs: object) -> object:
        return answer() if isinstance(answer, Came) else exercise.call(answer, *inputs)

    return replace(exercise, call=call)


class Came:
    """What came back from a hand-in's process for one draw of inputs, as a function that gives it, or raises."""

    def __init__(self, result: dict):
        self.error = result.get("error")
        self.changed = result.get("changed") is True
        self.value = None if self.error else from_plain(result.get("value"))

    def __call__(self, *_: object) -> object:
        if self.error:
            raise exception_of(self.error.get("module"), self.error.get("name"))
        return self.value


def judged(ended: Ended, drawn: Drawn) -> Verdict:
    """The verdict on what a process said, as minimistral.exercises.judge gives it."""
    said = ended.said
    if said is None:
        return Verdict(0.0, ended.reason)
    try:
        if isinstance(said.get("error"), dict):
            return Verdict(0.0, str(said["error"].get("words")))
        if "results" in said:
            return judged_function([Came(result) for result in said["results"]], drawn)
        value = from_plain(said["value"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return Verdict(0.0, "gives back what cannot be read")
    return judge(drawn.exercise, value, np.random.default_rng(0))


def judged_function(results: list[Came], drawn: Drawn) -> Verdict:
    """The first result that is wrong, or right."""
    if not drawn.exercise.asks_for_a_function:
        return judge(drawn.exercise, results[0] if results else Came({}), np.random.default_rng(0))
    if len(results) != len(drawn.inputs):
        return Verdict(0.0, "gives back what cannot be read")
    for came, inputs in zip(results, drawn.inputs, strict=True):
        verdict = judge_once(drawn.exercise, came, inputs)
        if came.error and not verdict.mistake:
            return Verdict(0.0, str(came.error.get("words")))  # the student's line, and not one of this file
        if came.changed and came.value is not None and came.value is not ...:
            return Verdict(0.0, "it changes its inputs: work on a copy")
        if verdict.score == 0:
            return verdict
    return Verdict(1.0, "right")


def grade_one(
    lesson: Lesson, asked: Asked, answers: dict[str, str], drawn: Drawn, rules: Rules
) -> tuple[Verdict, float]:
    """The verdict on one answer, and its seconds."""
    source = answers.get(asked.answer)
    stub = next(cell.source for cell in lesson.cells if cell.id == asked.answer)
    if source is None:
        return Verdict(0.0, f"its answer cell is missing: no cell {asked.answer}"), 0.0
    if len(source) > LONGEST_ANSWER:
        return Verdict(0.0, f"its answer is too long: {len(source)} characters"), 0.0
    if not_written(source, stub):
        return Verdict(0.0, "not done yet"), 0.0
    help_of_ours = "; ".join(calls(lesson, asked, answers))
    if help_of_ours and rules.own_code_only:
        return Verdict(0.0, f"not the student's own code: {help_of_ours}"), 0.0
    cells = [(cell.id, cell.source, cell.kind) for cell in needed(lesson, asked, answers)]
    job = {"cells": cells, "expression": asked.expression, "inputs": drawn.inputs, "call": drawn.call}
    ended = run_alone(job, rules.limits, rules.wrapper)
    verdict = judged(ended, drawn)
    if verdict.score and help_of_ours:
        verdict = replace(verdict, words=f"right; {help_of_ours}")
    return verdict, ended.seconds


def grade(
    found: HandIns,
    lessons: list[Lesson],
    drawn: dict[str, Drawn],
    rules: Rules,
    jobs: int = 1,
    bar: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """A row for every exercise of every lesson and student, in order. No hand-in can end the run."""
    tasks = list(everything(found, lessons))
    rows: dict[int, Row] = {}
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(row_of, *task, drawn, rules): n for n, task in enumerate(tasks)}
        try:
            for done in as_completed(running):
                rows[running[done]] = done.result()
                if bar:
                    bar(len(rows), len(tasks))
        except BaseException:
            STOP.set()
            pool.shutdown(cancel_futures=True)
            STOP.clear()
            raise
    return [rows[n] for n in range(len(tasks))]


def everything(found: HandIns, lessons: list[Lesson]) -> Iterator[tuple[str, Lesson, Asked, dict[str, str] | str]]:
    """Student, lesson, exercise, and the answers, or why there are none."""
    for student, theirs in found.students.items():
        for lesson in lessons:
            answers: dict[str, str] | str = "not handed in"
            if lesson.name in theirs:
                path = theirs[lesson.name]
                try:
                    answers = read_answers(path, lesson.asked)
                except BadInput as error:
                    answers = f"unreadable: {str(error).removeprefix(f'{path}: ')}"
            for asked in lesson.asked:
                yield student, lesson, asked, answers


def row_of(
    student: str, lesson: Lesson, asked: Asked, answers: dict[str, str] | str, drawn: dict[str, Drawn], rules: Rules
) -> Row:
    """One row; whatever goes wrong with one answer is its reason."""
    if isinstance(answers, str):
        verdict, seconds = Verdict(0.0, answers), 0.0
    else:
        try:
            verdict, seconds = grade_one(lesson, asked, answers, drawn[asked.exercise], rules)
        except Exception as error:  # noqa: BLE001 (the next student's answer must not wait for ever)
            verdict, seconds = Verdict(0.0, f"could not be judged: {type(error).__name__}: {error}"), 0.0
    reason = "" if verdict.words == "right" else verdict.words
    return Row(student, lesson.name, asked.exercise, verdict.score, 1.0, reason, verdict.mistake or "", seconds)


def mistakes(rows: list[Row]) -> list[tuple[str, str, int, str]]:
    """Which known mistake was made how often, the most frequent first."""
    counts = Counter((row.exercise, row.wrong_id, row.reason) for row in rows if row.wrong_id)
    return [(name, wrong, n, hint) for (name, wrong, hint), n in sorted(counts.items(), key=lambda c: (-c[1], c[0]))]


def write_tables(path: Path, rows: list[Row]) -> Path:
    """grades.csv, and mistakes.csv beside it, whose path is returned."""
    beside = path.with_name("mistakes.csv")
    write_table(
        path, GRADES, [(*row[:3], f"{row.score:g}", f"{row.max:g}", *row[5:7], f"{row.seconds:.1f}") for row in rows]
    )
    write_table(beside, MISTAKES, mistakes(rows))
    return beside


def write_table(path: Path, head: tuple, rows: list[tuple]) -> None:
    with whole_file(path, "--output") as partial, partial.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([head, *(tuple(in_a_table(value) for value in row) for row in rows)])


def in_a_table(value: object) -> str:
    """Words for one cell of a table: one line, and no formula, whatever a student wrote.

    >>> in_a_table("=HYPERLINK(1)"), in_a_table("two\\nlines")
    ("'=HYPERLINK(1)", 'two\\\\nlines')
    """
    words = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(value))
    words = words if len(words) <= LONGEST else words[: LONGEST - 3] + "..."
    return f"'{words}" if words[:1] in tuple("=+-@") else words


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
