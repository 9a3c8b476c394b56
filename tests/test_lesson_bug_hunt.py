"""Lesson 22: its seven programs are what their solutions say, by the tool; slips are explained; and an answer gets the hint it deserves."""

import json
from pathlib import Path

import numpy as np
import pytest

from minimistral.check import check_trace
from minimistral.check.lines import turn
from minimistral.errors import BadInput
from minimistral.exercises import bug_hunt, find
from minimistral.exercises.bug_hunt import (
    CONFIG,
    KINDS,
    PROGRAMS,
    ROUNDING,
    STAGES,
    T,
    own_error,
    recorded,
    wrong_by_themselves,
)
from minimistral.exercises.judge import judge
from minimistral.swiglu import swiglu

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "22_bug_hunt.ipynb"


UNNAMED = next(number for number, program in enumerate(PROGRAMS) if program.id is None)


def words(name, answer):
    return judge(find(name), answer, np.random.default_rng(0)).words


@pytest.mark.parametrize("program", range(len(PROGRAMS)))
def test_the_tool_names_the_mistake_and_finds_the_same_stages(program, tmp_path):
    report = check_trace(*bug_hunt.save_run(program, tmp_path))
    found = report.findings[0]
    assert report.wrong == wrong_by_themselves(program) and not found.or_else and not found.harmless
    if program == UNNAMED:
        assert not any(f.mistake for f in report.findings) and "a number of its own" in found.variant
        assert find(f"hunt-{program}").solution() == (found.stage, "rows")
        return
    assert len(report.findings) == 1
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
    best = [id for id, x in rest.items() if x < ROUNDING]
    assert len(rest) >= 3 and best == ([] if program == UNNAMED else [PROGRAMS[program].id])
    assert program != UNNAMED or min(rest.values()) > 0.5


def test_every_stage_and_every_id_gets_a_hint_and_none_tells_the_answer():
    for program in range(1, len(PROGRAMS)):
        exercise = find(f"hunt-{program}")
        first, id = exercise.solution()
        other, kind = ("scale", "not-scale") if program == UNNAMED else ("gelu", "other-line")
        for stage in STAGES:
            said = words(f"hunt-{program}", (stage, other))
            assert first not in said and id not in said.split()
            if stage == first:
                assert said == exercise.wrong[kind][1]
            elif stage in wrong_by_themselves(program):
                assert said.startswith("wrong by itself, but not the first")
            elif STAGES.index(stage) < STAGES.index(first):
                assert said.startswith("that stage is right")
            else:
                assert said.startswith("that stage inherits")
        assert words(f"hunt-{program}", [first, id]) == "right"


def test_the_program_in_no_list_is_told_by_its_rows_and_repaired_by_two_lines(capsys):
    stage, word = find(f"hunt-{UNNAMED}").solution()
    for other in KINDS:
        assert (words(f"hunt-{UNNAMED}", (stage, other)) == "right") == (other == word)
    assert words(f"hunt-{UNNAMED}", (stage, "gelu")).endswith("scale, rows, turned, head, late")
    bug_hunt.row_by_row(stage, UNNAMED)
    lengths, directions = zip(*(line.split("lengths")[1].split("directions") for line in shown(capsys)), strict=True)
    assert len({float(x) for row in lengths for x in row.split()}) > 20
    assert {x for row in directions for x in row.split()} == {"1.00"}
    assert np.allclose(np.linalg.norm(recorded(UNNAMED)[stage], axis=-1), CONFIG.head_dim**0.5, rtol=1e-4)
    fixed = bug_hunt.repaired(UNNAMED, bug_hunt.tokens(), turn_queries=turn, turn_keys=turn)
    assert (fixed["logits"] == bug_hunt.right()["logits"]).all()


def test_the_lesson_has_the_words_as_they_are_defined():
    text = next("".join(c["source"]) for c in json.loads(NOTEBOOK.read_text())["cells"] if c["id"] == "in-words")
    assert all(f"| {word} | {meaning} |" in text for word, meaning in KINDS.items())


def test_row_by_row_shows_that_the_keys_of_program_0_are_turned(capsys):
    bug_hunt.row_by_row("layers.0.k_rope", 0)
    lines = shown(capsys)
    assert len(lines) == T and lines[0].endswith("lengths  1.00  1.00   directions  1.00  1.00")
    assert all("lengths  1.00  1.00" in line and not line.endswith("1.00  1.00") for line in lines[1:])


def test_a_stage_is_looked_at_in_layer_0_if_none_is_named(capsys):
    bug_hunt.look(1)
    (wrong,) = [line for line in shown(capsys) if "<-" in line]
    assert wrong.startswith(find("hunt-1").solution()[0])


def shown(capsys):
    return capsys.readouterr().out.splitlines()


def test_suspects_are_shown_a_short_line_each():
    listed = bug_hunt.suspects("layers.0.ffn_hidden")
    assert repr(listed[0]) == "gelu: gelu(w1 x) w3 x"
    assert repr(listed).splitlines() == [f"{m.id}: {m.computes}" for m in listed] and len(listed) == 5


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: bug_hunt.suspects("layers.0.attention_residul"),
         "layers.0.attention_residul: no such stage; is it layers.0.attention_residual?"),
        (lambda: bug_hunt.suspects("q_rope"), "q_rope: no such stage; is it layers.0.q_rope?"),
        (lambda: own_error("layers.4.q", recorded(1)), "layers.4.q: no such stage; is it layers.3.q?"),
        (lambda: bug_hunt.what_remains("layers.0.attention", recorded(1), "gelu"),
         'gelu does not touch layers.0.attention: suspects("layers.0.attention") lists those that do'),
        (lambda: bug_hunt.what_remains("layers.0.up", recorded(1), "gello"), "gello: no such id; is it gelu?"),
        (lambda: bug_hunt.what_remains("layers.0.up", 1, "gelu"), "1: no run; recorded(program) gives one"),
        (lambda: bug_hunt.look(1, 4), "layer 4: there is none, expected 0 to 3"),
        (lambda: bug_hunt.look(7), "program 7: there is none, expected 0 to 6"),
    ],
)  # fmt: skip
def test_a_slip_is_one_line_that_says_what_to_do(ask, said):
    with pytest.raises(BadInput) as slip:
        ask()
    assert str(slip.value) == said


@pytest.mark.parametrize("answer", ["layers.0.q", ("layers.0.q",), ("layers.0.q", ...), 3.5, np.zeros(2), ("q", 1)])
def test_what_is_no_pair_of_strings_is_said_to_be_none(answer):
    for name in ("hunt-2", f"hunt-{UNNAMED}"):
        assert words(name, answer).startswith("two strings are asked for")


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
    assert not [program.id for program in PROGRAMS[1:] if program.id and program.id in text]


def test_the_pictures_show_the_steps_that_the_text_speaks_of():
    pytest.importorskip("matplotlib")
    from minimistral.figures.bug_hunt import errors_of_a_program, six_programs

    left, right, _ = errors_of_a_program(0).axes
    crossed = [sum(len(marks.get_offsets()) for marks in axes.collections) for axes in (left, right)]
    assert crossed == [6 * 12, 4 * 12]  # all but the embedding and position 0; the four layers
    alt = six_programs().alt
    four = "program 4: in layer 0-3, positions 0-12"
    for said in ("program 2: in layer 0-3, positions 6-12", "program 3: in layer 2, positions 5-12", four, "4-6, 8-10"):
        assert said in alt
