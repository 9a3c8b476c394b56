"""Lesson 22: its seven programs are what their solutions say, by the tool; and an answer gets the hint it deserves."""

import json
from pathlib import Path

import numpy as np
import pytest

from minimistral.check import check_trace
from minimistral.exercises import bug_hunt, find
from minimistral.exercises.bug_hunt import PROGRAMS, ROUNDING, STAGES, own_error, recorded, wrong_by_themselves
from minimistral.exercises.judge import judge
from minimistral.swiglu import swiglu

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "22_bug_hunt.ipynb"


def words(name, answer):
    return judge(find(name), answer, np.random.default_rng(0)).words


@pytest.mark.parametrize("program", range(len(PROGRAMS)))
def test_the_tool_names_the_mistake_and_finds_the_same_stages(program, tmp_path):
    report = check_trace(*bug_hunt.save_run(program, tmp_path))
    (found,) = report.findings
    assert report.wrong == wrong_by_themselves(program) and not found.or_else and not found.harmless
    if program:
        assert find(f"hunt-{program}").solution() == (found.stage, found.mistake.id)
    else:
        assert (found.stage, found.mistake.id) == ("layers.0.k_rope", "rope-direction")


@pytest.mark.parametrize("program", range(len(PROGRAMS)))
def test_rounding_is_told_from_wrong_with_room_to_spare(program):
    errors = np.array([own_error(stage, recorded(program)) for stage in STAGES])
    assert errors[errors <= ROUNDING].max() < ROUNDING / 3 and errors[errors > ROUNDING].min() > 3 * ROUNDING


@pytest.mark.parametrize("program", range(len(PROGRAMS)))
def test_one_suspect_of_the_first_stage_explains_it_and_no_other(program):
    stage = wrong_by_themselves(program)[0]
    rest = {m.id: bug_hunt.what_remains(stage, recorded(program), m.id) for m in bug_hunt.suspects(stage)}
    assert len(rest) >= 3 and [id for id, x in rest.items() if x < ROUNDING] == [PROGRAMS[program].id]


def test_every_stage_and_every_id_gets_a_hint_and_none_tells_the_answer():
    for program in range(1, len(PROGRAMS)):
        exercise = find(f"hunt-{program}")
        first, id = exercise.solution()
        for stage in STAGES:
            said = words(f"hunt-{program}", (stage, "gelu"))
            assert first not in said and id not in said
            if stage == first:
                assert said == exercise.wrong["other-line"][1]
            elif stage in wrong_by_themselves(program):
                assert said.startswith("wrong by itself, but not the first")
            elif STAGES.index(stage) < STAGES.index(first):
                assert said.startswith("that stage is right")
            else:
                assert said.startswith("that stage inherits")
        assert words(f"hunt-{program}", [first, id]) == "right"


@pytest.mark.parametrize("answer", ["layers.0.q", ("layers.0.q",), ("layers.0.q", ...), 3.5, np.zeros(2), ("q", 1)])
def test_what_is_no_pair_of_strings_is_said_to_be_none(answer):
    assert words("hunt-2", answer).startswith("two strings are asked for")


def test_the_repair_is_the_models_own_line_and_an_error_in_it_is_the_readers():
    gate, up = recorded(1)["layers.0.gate"], recorded(1)["layers.0.up"]
    from minimistral.arithmetic import by_name

    assert np.allclose(find("repair").solution(gate, up), swiglu(gate, up, by_name("float64")), rtol=1e-12)
    repaired = bug_hunt.repaired(1, bug_hunt.tokens(), gated=lambda gate, up, n: swiglu(gate, up, by_name("float64")))
    assert np.allclose(repaired["logits"], bug_hunt.right()["logits"], rtol=1e-9)

    def broken(gate, up):
        return gate @ up

    assert "`return gate @ up`: ValueError" in words("repair", broken)
    assert "it gives shape (13,), expected (13, 40)" in words("repair", lambda gate, up: gate[:, 0])
    assert words("repair", lambda gate, up: ...) == "not done yet"


def test_the_notebook_does_not_name_what_is_to_be_found():
    """Ids that a list of suspects shows to everybody are no leak; nothing else names them."""
    cells = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["id"] != "suspects"]
    text = json.dumps([[c["source"], [o.get("text", "") for o in c.get("outputs", [])]] for c in cells])
    assert not [program.id for program in PROGRAMS[1:] if program.id in text]


def test_the_pictures_show_the_steps_that_the_text_speaks_of():
    pytest.importorskip("matplotlib")
    from minimistral.figures.bug_hunt import errors_of_a_program, six_programs

    left, right, _ = errors_of_a_program(0).axes
    crossed = [sum(len(marks.get_offsets()) for marks in axes.collections) for axes in (left, right)]
    assert crossed == [6 * 12, 4 * 12]  # all but the embedding and position 0; the four layers
    alt = six_programs().alt
    for said in ("program 2: in layer 0-3, positions 6-12", "program 3: in layer 2, positions 5-12", "4-6, 8-10"):
        assert said in alt
