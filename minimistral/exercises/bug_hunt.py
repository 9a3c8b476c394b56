"""Lesson 22: the first difference has an address. Seven wrong programs, by number, and what can be asked of their runs.

What they are is in PROGRAMS: who wants to hunt reads no further than `recorded`.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_dtypes import bfloat16

from minimistral.arithmetic import by_name
from minimistral.check.checked import Code, Variant, lines_at
from minimistral.check.lines import RIGHT, Lines
from minimistral.check.mistakes import MISTAKES, Case, Mistake, by_id
from minimistral.check.number import REFERENCE, Number
from minimistral.check.stages import LINES_OF, Setting, compute, inputs_of, kind_of
from minimistral.config import Config
from minimistral.exercises.exercise import Exercise, Guess
from minimistral.trace import stage_names
from minimistral.weights import from_tensors, random_tensors

CONFIG = Config(dim=24, n_layers=4, n_heads=6, n_kv_heads=2, head_dim=10, hidden_dim=40, vocab_size=61, window=5)
T = 13
STAGES = [name for name in stage_names(CONFIG) if not name.endswith(".scores")]  # 63, in the order they are made
ROUNDING = 3e-7  # relative; five roundings of float32, 2^-24 each: more is no rounding


def tokens() -> np.ndarray:
    """The text of all programs: (T,) ids."""
    return np.random.default_rng(seed=0).integers(3, CONFIG.vocab_size, T)


@cache
def weights():
    """Everybody's weights: the random bfloat16 numbers of `minimistral make-checkpoint`, in float64."""
    tensors = {name: x.astype(np.float64) for name, x in random_tensors(CONFIG, dtype=bfloat16).items()}
    return from_tensors(tensors, CONFIG, by_name("float64"))


def run(text: np.ndarray, lines_of: Callable[[str], Lines], number: Number) -> dict[str, np.ndarray]:
    """All stages of a text: {name: array}; lines_of(stage) are the lines that the stage is made with."""
    made = {}
    for stage in STAGES:
        made[stage] = remade(stage, made, lines_of(stage), text, number)
    return made


def remade(stage: str, given: dict, lines: Lines, text: np.ndarray, number: Number) -> np.ndarray:
    """One stage, from the stages before it as they are given."""
    before = tuple(given[name] for name in inputs_of(stage, CONFIG.n_layers))
    return compute(stage, before, text, weights(), Setting(CONFIG, lines, number))


@cache
def right() -> dict[str, np.ndarray]:
    """What every stage should be: {name: array}, float64."""
    return run(tokens(), lambda stage: RIGHT, REFERENCE)


@cache
def recorded(program: int) -> dict[str, np.ndarray]:
    """What a wrong program recorded, in its float32: {name: array}. Program 0 is for the board, 1 to 6 are yours."""
    code = code_of(program)
    return run(tokens(), lambda stage: lines_at(code, stage), Number("float32"))


def off(mine: np.ndarray, right: np.ndarray) -> float:
    """How far an array is from what it should be, as a part of that: 1 is all of it."""
    return float(np.linalg.norm(mine - right) / np.linalg.norm(right))


def whole_error(stage: str, trace: dict[str, np.ndarray]) -> float:
    """How far a stage is from a right run: what went wrong before it included."""
    return off(trace[stage], right()[stage])


def own_error(stage: str, trace: dict[str, np.ndarray]) -> float:
    """How far a stage is from what the right line makes of the inputs that *this program* recorded."""
    return off(trace[stage], remade_right(stage, trace))


def remade_right(stage: str, trace: dict[str, np.ndarray]) -> np.ndarray:
    """The stage by the right line, in float64, from the stages before it as this program recorded them."""
    return remade(stage, trace, RIGHT, tokens(), REFERENCE)


def suspects(stage: str) -> list[Mistake]:
    """The known mistakes in a line that makes this stage: each has an id and says what it `computes`."""
    return [m for m in MISTAKES if any(touches(stage, lines) for lines in written(m).values())]


def what_remains(stage: str, trace: dict[str, np.ndarray], id: str) -> float:
    """The stage's own error if that mistake is believed: the smallest, of all ways to make it."""
    ways = [RIGHT._replace(**lines) for lines in written(by_id(id)).values() if touches(stage, lines)]
    return min(off(trace[stage], remade(stage, trace, lines, tokens(), REFERENCE)) for lines in ways)


def written(mistake: Mistake) -> dict[str, dict[str, Callable]]:
    """The ways to make a mistake that leave the tokens as they are: {name: {line: the wrong one}}."""
    return {way: lines for way, lines in mistake.written(Case(CONFIG, T)).items() if "tokens_run" not in lines}


def touches(stage: str, lines: dict[str, Callable]) -> bool:
    return any(line in LINES_OF[kind_of(stage)] for line in lines)


def repaired(program: int, text: np.ndarray, **lines: Callable) -> dict[str, np.ndarray]:
    """The program's run of a text with other lines in place of its own, by their names in check/lines.py; in float64."""
    code = code_of(program)
    return run(text, lambda stage: lines_at(code, stage)._replace(**lines), REFERENCE)


def save_run(program: int, folder: Path) -> tuple[Path, Path]:
    """The program's trace file, and the checkpoint folder that it should have run: what `minimistral check` asks for."""
    from minimistral.checkpoint.random_checkpoint import write_random_checkpoint
    from minimistral.record.recorder import Recorder

    checkpoint, trace = Path(folder) / "weights", Path(folder) / f"program-{program}.safetensors"
    if not checkpoint.exists():
        write_random_checkpoint(checkpoint, CONFIG)
    record = Recorder(tokens(), "float32", config=CONFIG)
    for stage, x in recorded(program).items():
        record(stage, x.astype(np.float32))
    record.save(trace)
    return trace, checkpoint


class Program(NamedTuple):
    """A mistake of docs/mistakes.md, the way it is made, and the layer (None: all)."""

    id: str
    way: str = ""
    layer: int | None = None


PROGRAMS = (
    Program("rope-direction", "keys only"),
    Program("activation-after-product"),
    Program("rope-position-capped", "5 at most"),
    Program("window-plus-one", layer=2),
    Program("key-value-swapped", "keys from wv"),
    Program("norm-eps", "eps 1e-06"),
    Program("cache-write-before-read", "chunks of 4"),
)


def code_of(program: int) -> Code:
    """Its wrong line, where it is made."""
    id, way, layer = PROGRAMS[program]
    stages = None if layer is None else frozenset(name for name in STAGES if name.startswith(f"layers.{layer}."))
    return (Variant(by_id(id), way, written(by_id(id))[way], stages),)


# The exercises.


@cache
def wrong_by_themselves(program: int) -> list[str]:
    """The stages whose own error is no rounding."""
    trace = recorded(program)
    return [stage for stage in STAGES if own_error(stage, trace) > ROUNDING]


HINTS = {
    "not-a-pair": "two strings are asked for: the stage with its layer, and the id",
    "no-such-stage": "no stage has that name: one of layer 2 is layers.2.q_rope, and embedding, norm and logits have no layer",
    "no-such-id": "no mistake has that id: suspects(stage) lists those that touch a stage",
    "earlier": "that stage is right, but for roundings: read on",
    "inherits": "that stage inherits: look at its own error. Which is the first that is wrong by itself?",
    "again": "wrong by itself, but not the first: the same line made an earlier stage",
}


def kind_of_answer(program: int, answer: object) -> str:
    """Which of the HINTS an answer that is not right deserves; `other-line` if only the id is wrong."""
    if not (isinstance(answer, tuple | list) and [type(word) for word in answer] == [str, str]):
        return "not-a-pair"
    stage, id = answer
    if stage not in STAGES:
        return "no-such-stage"
    if id not in {mistake.id for mistake in MISTAKES}:
        return "no-such-id"
    wrong = wrong_by_themselves(program)
    if stage == wrong[0]:
        return "other-line"
    if stage in wrong:
        return "again"
    return "earlier" if STAGES.index(stage) < STAGES.index(wrong[0]) else "inherits"


def hunt(program: int, solution: Callable, other: str, where: str) -> Exercise:
    """`other`: another id of the same stage, and `where`: what to say to it."""
    stage, id = solution()
    examples = {
        "not-a-pair": stage,
        "no-such-stage": (kind_of(stage) + ".0", id),
        "no-such-id": (stage, "wrong-line"),
        "earlier": (STAGES[STAGES.index(stage) - 1], id) if stage != STAGES[0] else None,
        "inherits": ("logits", id),
        "again": (stage.replace("layers.0", "layers.1"), id) if stage.startswith("layers.0") else None,
        "other-line": (stage, other),
    }
    return Exercise(
        f"hunt-{program}",
        f"Program {program}: which stage is the first that is wrong by itself, and which known mistake is it?",
        solution,
        wrong={
            kind: (lambda answer=answer: answer, (HINTS | {"other-line": where})[kind])
            for kind, answer in examples.items()
            if answer is not None
        },
        kind_of=lambda answer: kind_of_answer(program, answer),
    )


def right_line(gate, up):
    return gate / (1 + np.exp(-gate)) * up


def after_the_product(gate, up):
    return right_line(gate * up, 1)


def with_the_line(answer, text):
    """The logits of program 1 with a reader's line in place of its own; `...` stays `...`."""
    gate, up = recorded(1)["layers.0.gate"], recorded(1)["layers.0.up"]
    made = answer(gate.copy(), up.copy())
    if made is ... or made is None:
        return made
    if np.shape(made) != gate.shape:
        raise ValueError(f"it gives shape {np.shape(made)}, expected {gate.shape}, that of gate and of up")
    return repaired(1, text, gated=lambda gate, up, number: answer(gate, up))["logits"]


EXERCISES = [
    hunt(
        1,
        lambda: ("layers.0.ffn_hidden", "activation-after-product"),
        "gelu",
        "the stage is right. Of what is the activation taken? Ask what remains of the error with each suspect",
    ),
    Exercise(
        "repair",
        "Program 1: which line of yours in place of its own makes all its logits right?",
        right_line,
        wrong={
            "after-product": (after_the_product, "that is the line it has: of what should SiLU be taken?"),
            "swapped": (lambda gate, up: right_line(up, gate), "the wrong branch passes SiLU: which one is the gate?"),
            "no-activation": (lambda gate, up: gate * up, "a product alone: where is the activation?"),
            "relu": (
                lambda gate, up: np.maximum(gate, 0) * up,
                "that is ReLU: SiLU lets a little of the negative pass",
            ),
            "no-gate": (lambda gate, up: up / (1 + np.exp(-gate)), "that is the sigmoid alone: SiLU is g times it"),
        },
        make_inputs=lambda rng: (rng.integers(3, CONFIG.vocab_size, 7),),
        call=with_the_line,
    ),
    hunt(
        2,
        lambda: ("layers.0.q_rope", "rope-position-capped"),
        "rope-position-modulo",
        "the stage is right. Where does its error begin: at W, or one position later? What happens to a position there?",
    ),
    hunt(
        3,
        lambda: ("layers.2.attention", "window-plus-one"),
        "window-minus-one",
        "the stage is right. Where does its error begin, and which key of that query is old enough to be in dispute?",
    ),
    hunt(
        4,
        lambda: ("layers.0.k", "key-value-swapped"),
        "layers-order",
        "the stage is right. Where does it begin? At the very product: which other recorded stage has the same numbers?",
    ),
    hunt(
        5,
        lambda: ("layers.0.attention_norm", "norm-eps"),
        "norm-low-precision",
        "the stage is right. Where does it begin? At every position, and in each all channels by one factor near 1",
    ),
    hunt(
        6,
        lambda: ("layers.0.attention", "cache-write-before-read"),
        "window-blocked",
        "the stage is right. Where does it begin, and which positions after that are right again? What ends there?",
    ),
]

GUESSES = {
    "wrong-positions": Guess(
        "at how many of the 13 positions the logits of program 0 are wrong",
        12,
        [(13, "one position is untouched: which query has a single key?"), (1, "the others see its keys, too")],
    ),
    "steps-to-blame": Guess(
        "how many of the four steps are wrong, if the chain should give 6 7 49 40 and gives 6 8 64 55",
        1,
        [
            (3, "three numbers differ: but compute 64 and 55 from the numbers before them"),
            (2, "is 64 the square of 8?"),
        ],
    ),
    "own-stages": Guess(
        "how many of the 57 stages of program 0 that differ are wrong by themselves, if one line is wrong in 4 layers",
        4,
        [(57, "most of them inherit"), (1, "the line is used again in every layer")],
    ),
}
