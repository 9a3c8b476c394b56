"""The process of one hand-in: python -m minimistral.classroom.runner, started by process.py with a job on its input.

It runs one answer on the inputs that it was given, and says what came out, as a line of JSON. It judges nothing: it
has neither the right results nor a score to give, so there is no score here for a hand-in to forge.
"""

import copy
import json
import linecache
import os
import pickle
import re
import sys
import tempfile
from types import SimpleNamespace

from minimistral.classroom.confine import confine
from minimistral.classroom.values import as_plain
from minimistral.exercises.judge import result, same, the_line_that_failed

LONGEST = 300  # characters of an error's line
MAGIC = re.compile(r"^(\s*)[%!?].*$|^(\s*)[\w.]+\?+\s*$", re.MULTILINE)


def main() -> None:
    """Read the job, give up all rights, run the answer, say what came out, and end at once."""
    job = pickle.load(sys.stdin.buffer)  # safe: from the grader, before any line of a hand-in has run
    channel = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)  # what a hand-in prints goes nowhere, a gigabyte of it too
    tempfile.tempdir = os.getcwd()
    confine(os.getcwd(), **job["limits"])
    say(channel, {"ready": True})
    say(channel, answer(job))
    os._exit(0)


def say(channel: int, message: dict) -> None:
    line = json.dumps(message).encode() + b"\n"
    while line:
        line = line[os.write(channel, line) :]


def answer(job: dict) -> dict:
    """What the cells and then the answer in them give: a value, results, or an error's line."""
    space: dict = {"__name__": "__main__"}
    failed = {}
    for cell_id, source, kind in job["cells"]:
        try:
            run_cell(cell_id, source, space)
        except BaseException as error:  # noqa: BLE001 (sys.exit, too)
            failed = {"error": described(error)} if kind == "answer" else failed
    try:
        value = eval(job["expression"], space)
    except BaseException as error:  # noqa: BLE001
        return failed or {"error": described(error) | {"words": f"{type(error).__name__}: {error}"[:LONGEST]}}
    if value is ... and failed:
        return failed
    if not callable(value):
        return {"value": as_plain(value)}
    return {"results": [attempt(value, inputs, job["call"]) for inputs in job["inputs"]]}


def run_cell(cell_id: str, source: str, space: dict) -> None:
    """Run a cell; its lines are kept, for an error's line."""
    name = f"<{cell_id}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    try:
        code = compile(source, name, "exec", dont_inherit=True)
    except SyntaxError:
        code = compile(MAGIC.sub(r"\1\2pass", source), name, "exec", dont_inherit=True)  # without Jupyter's % and !
    exec(code, space)  # noqa: S102 (that is what this process is for)


def attempt(value: object, inputs: tuple, call: object) -> dict:
    """What an answer gives for one draw of inputs."""
    own = copy.deepcopy(inputs)
    try:
        given = result(SimpleNamespace(call=call), value, own)
        return {"value": as_plain(given), "changed": not same(own, inputs, bits=True)}
    except BaseException as error:  # noqa: BLE001
        return {"error": described(error)}


def described(error: BaseException) -> dict:
    """The type of an error, and the student's line."""
    error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None  # not this file's own
    try:
        words = no_python(error) or the_line_that_failed(error)
    except BaseException:  # noqa: BLE001 (a student's class may refuse to be printed)
        words = "an error that cannot be printed"
    if isinstance(error, MemoryError):
        words = f"over the memory limit: {words}"
    return {"module": type(error).__module__, "name": type(error).__name__, "words": words[:LONGEST]}


def no_python(error: BaseException) -> str:
    """The line that Python cannot read, if that is the error."""
    if not isinstance(error, SyntaxError):
        return ""
    return f"line {error.lineno}, `{(error.text or '').strip()}`: {type(error).__name__}: {error.msg}"


if __name__ == "__main__":
    main()
