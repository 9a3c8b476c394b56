"""Lesson 22: the first difference has an address. Seven wrong programs, by number, and what can be asked of their runs.

What they are is in PROGRAMS: who wants to hunt reads no further than `recorded`.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from ml_dtypes import bfloat16

from minimistral.arithmetic import by_name
from minimistral.check.checked import Code, Variant, lines_at
from minimistral.check.lines import RIGHT, Lines, turn
from minimistral.check.mistakes import MISTAKES, Case, Mistake, by_id
from minimistral.check.number import REFERENCE, Number
from minimistral.check.stages import LINES_OF, Setting, compute, inputs_of, kind_of
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.exercises.exercise import Exercise, Guess
from minimistral.trace import stage_names
from minimistral.weights import from_tensors, random_tensors

CONFIG = Config(dim=24, n_layers=4, n_heads=6, n_kv_heads=2, head_dim=10, hidden_dim=40, vocab_size=61, window=5)
T = 13
STAGES = [name for name in stage_names(CONFIG) if not name.endswith(".scores")]  # 63, in the order they are made
IDS = tuple(mistake.id for mistake in MISTAKES)
ROUNDING = 3e-7  # relative; five roundings of float32, 2^-24 each: more is no rounding
KINDS = {  # what a stage may look like beside the right one, in a word
    "scale": "every row is the right one times one number, the same for all",
    "rows": "every row is the right one times a number of its own",
    "turned": "every row is as long as the right one, and points elsewhere",
    "head": "some heads are right, others are not",
    "late": "all rows are right up to some position, and not after it",
}


class Run(dict):
    """All stages of a run: {name: array}. A name that is not there gets the nearest."""

    def __missing__(self, stage: str):
        raise BadInput(no_such_stage(stage))


class Suspect(NamedTuple):
    """A known mistake that may be in a stage: shown as `gelu: gelu(w1 x) w3 x`."""

    id: str
    computes: str

    def __repr__(self) -> str:
        return f"{self.id}: {self.computes}"


class Suspects(list):
    """Shown a line each."""

    def __repr__(self) -> str:
        return "\n".join(map(repr, self))


def no_such_stage(stage: object) -> str:
    """
    >>> no_such_stage("layers.0.attention_residul")
    'layers.0.attention_residul: no such stage; is it layers.0.attention_residual?'
    """
    return no_such("stage", stage, [f"layers.0.{stage}"] if f"layers.0.{stage}" in STAGES else STAGES)


def no_such(what: str, name: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.4)
    return f"{name}: no such {what}" + (f"; is it {near[0]}?" if near else "")


def tokens() -> np.ndarray:
    """The text of all programs: (T,) ids."""
    return np.random.default_rng(seed=0).integers(3, CONFIG.vocab_size, T)


@cache
def weights():
    """Everybody's weights: the random bfloat16 numbers of `minimistral make-checkpoint`, in float64."""
    tensors = {name: x.astype(np.float64) for name, x in random_tensors(CONFIG, dtype=bfloat16).items()}
    return from_tensors(tensors, CONFIG, by_name("float64"))


def run(text: np.ndarray, lines_of: Callable[[str], Lines], number: Number) -> Run:
    """All stages of a text; lines_of(stage) are the lines that the stage is made with."""
    made = Run()
    for stage in STAGES:
        made[stage] = remade(stage, made, lines_of(stage), text, number)
    return made


def remade(stage: str, given: dict, lines: Lines, text: np.ndarray, number: Number) -> np.ndarray:
    """One stage, from the stages before it as they are given."""
    before = tuple(given[name] for name in inputs_of(stage, CONFIG.n_layers))
    return compute(stage, before, text, weights(), Setting(CONFIG, lines, number))


@cache
def right() -> Run:
    """What every stage should be, float64."""
    return run(tokens(), lambda stage: RIGHT, REFERENCE)


@cache
def recorded(program: int) -> Run:
    """What a wrong program recorded, in its float32: {name: array}. Program 0 is for the board, 1 to 6 are yours."""
    if program not in range(len(PROGRAMS)):
        raise BadInput(f"program {program}: there is none, expected 0 to {len(PROGRAMS) - 1}")
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


def look(program: int, layer: int = 0) -> None:
    """Print the stages of a layer: how far each is from a right run, and its own error."""
    trace, of_layer = recorded(program), [stage for stage in STAGES if stage.startswith(f"layers.{layer}.")]
    if not of_layer:
        raise BadInput(f"layer {layer}: there is none, expected 0 to {CONFIG.n_layers - 1}")
    for stage in of_layer:
        whole, own = whole_error(stage, trace), own_error(stage, trace)
        print(f"{stage:27} from a right run {whole:5.0e}   own {own:5.0e}", "  <-" * (own > ROUNDING))


def row_by_row(stage: str, program: int) -> None:
    """Print each position's row beside the one that the right line makes: of each head its length, and its direction.

    lengths: 1 is as long as it should be; directions: the cosine, 1 is where it should point.
    """
    mine, should_be = (x.reshape(T, -1, x.shape[-1]) for x in beside(stage, recorded(program)))
    length, right_length = np.linalg.norm(mine, axis=-1), np.linalg.norm(should_be, axis=-1)
    cosine = np.sum(mine * should_be, axis=-1) / (length * right_length)
    for t in range(T):
        lengths, directions = ("".join(f"{x:6.2f}" for x in row) for row in (length[t] / right_length[t], cosine[t]))
        print(f"position {t:2}   lengths{lengths}   directions{directions}")


def beside(stage: str, trace: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A stage as it was recorded, and what the right line makes of the same inputs."""
    return trace[stage], remade_right(stage, trace)


def suspects(stage: str) -> Suspects:
    """The known mistakes in a line that makes this stage: each has an id and says what it `computes`."""
    if stage not in STAGES:
        raise BadInput(no_such_stage(stage))
    return Suspects(Suspect(m.id, m.computes) for m in MISTAKES if ways_to_make(stage, m))


def what_remains(stage: str, trace: dict[str, np.ndarray], id: str) -> float:
    """The stage's own error if that mistake is believed: the smallest, of all ways to make it."""
    if not isinstance(trace, dict):
        raise BadInput(f"{trace!r}: no run; recorded(program) gives one")
    if id not in IDS:
        raise BadInput(no_such("id", id, IDS))
    recorded_stage, ways = trace[stage], ways_to_make(stage, by_id(id))
    if not ways:
        raise BadInput(f'{id} does not touch {stage}: suspects("{stage}") lists those that do')
    return min(off(recorded_stage, remade(stage, trace, lines, tokens(), REFERENCE)) for lines in ways)


def ways_to_make(stage: str, mistake: Mistake) -> list[Lines]:
    """The lines of a stage with the mistake in them, in each way it is made; none if it does not touch the stage."""
    return [RIGHT._replace(**lines) for lines in written(mistake).values() if touches(stage, lines)]


def written(mistake: Mistake) -> dict[str, dict[str, Callable]]:
    """The ways to make a mistake that leave the tokens as they are: {name: {line: the wrong one}}."""
    return {way: lines for way, lines in mistake.written(Case(CONFIG, T)).items() if "tokens_run" not in lines}


def touches(stage: str, lines: dict[str, Callable]) -> bool:
    """Is one of these lines used to make the stage?"""
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


def of_one_length(x: np.ndarray, angle: np.ndarray, n: Number) -> np.ndarray:
    """QK-norm, another model's habit: the row of each head goes through RMSNorm, without weights, before it is turned."""
    return turn(n.step(x / np.sqrt(n.mean_square(x) + CONFIG.norm_eps)), angle, n)


class Program(NamedTuple):
    """A mistake of docs/mistakes.md, the way it is made, and the layer (None: all); or lines that are in no list."""

    id: str | None = None
    way: str = ""
    layer: int | None = None
    lines: Mapping[str, Callable] = MappingProxyType({})


PROGRAMS = (
    Program("rope-direction", "keys only"),
    Program("activation-after-product"),
    Program("rope-position-capped", "5 at most"),
    Program("window-plus-one", layer=2),
    Program(lines={"turn_queries": of_one_length, "turn_keys": of_one_length}),
    Program("norm-eps", "eps 1e-06"),
    Program("cache-write-before-read", "chunks of 4"),
)


def code_of(program: int) -> Code:
    """Its wrong line, where it is made."""
    id, way, layer, lines = PROGRAMS[program]
    if id is None:
        return (Variant(None, way, lines),)
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
    "no-such-stage": "no stage has that name: one of layer 2 is layers.2.gate, and embedding, norm and logits have no layer",
    "no-such-id": "no mistake has that id: suspects(stage) lists those that touch a stage",
    "no-such-kind": "a stage, and one of five words: scale, rows, turned, head, late",
    "earlier": "that stage is right, but for roundings: read on",
    "inherits": "that stage inherits: look at its own error. Which is the first that is wrong by itself?",
    "again": "wrong by itself, but not the first: the same line made an earlier stage",
}


def kind_of_answer(program: int, answer: object) -> str:
    """Which of the HINTS an answer that is not right deserves; if the stage is right, `other-line` or `not-` the word."""
    if not (isinstance(answer, tuple | list) and [type(word) for word in answer] == [str, str]):
        return "not-a-pair"
    stage, word = answer
    in_words = PROGRAMS[program].id is None
    if stage not in STAGES:
        return "no-such-stage"
    if word not in (KINDS if in_words else IDS):
        return "no-such-kind" if in_words else "no-such-id"
    wrong = wrong_by_themselves(program)
    if stage == wrong[0]:
        return f"not-{word}" if in_words else "other-line"
    if stage in wrong:
        return "again"
    return "earlier" if STAGES.index(stage) < STAGES.index(wrong[0]) else "inherits"


def hunt(program: int, solution: Callable, other: str, where: str) -> Exercise:
    """`other`: another id of the same stage, and `where`: what to say to it."""
    stage, _ = solution()
    question = f"Program {program}: which stage is the first that is wrong by itself, and which known mistake is it?"
    examples = {"no-such-id": (stage, "wrong-line"), "other-line": (stage, other)}
    return a_pair(program, question, solution, examples, {"other-line": where})


def hunt_in_words(program: int, solution: Callable, others: dict[str, str]) -> Exercise:
    """`others`: what to say to each of the other words."""
    stage, _ = solution()
    question = f"Program {program}: which stage is the first that is wrong by itself, and which word says how?"
    examples = {f"not-{word}": (stage, word) for word in others}
    hints = {f"not-{word}": hint for word, hint in others.items()}
    hints["not-a-pair"] = "two strings are asked for: the stage with its layer, and the word"
    return a_pair(program, question, solution, {"no-such-kind": (stage, "wrong")} | examples, hints)


def a_pair(program: int, question: str, solution: Callable, examples: dict, hints: dict) -> Exercise:
    """An exercise that asks for a stage and a word. examples: {kind of a wrong answer: one}, and its hint."""
    stage, word = solution()
    examples = {
        "not-a-pair": stage,
        "no-such-stage": (kind_of(stage) + ".0", word),
        "earlier": (STAGES[STAGES.index(stage) - 1], word) if stage != STAGES[0] else None,
        "inherits": ("logits", word),
        "again": (stage.replace("layers.0", "layers.1"), word) if stage.startswith("layers.0") else None,
    } | examples
    return Exercise(
        f"hunt-{program}",
        question,
        solution,
        wrong={
            kind: (lambda answer=answer: answer, (HINTS | hints)[kind])
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
    hunt_in_words(
        4,
        lambda: ("layers.0.q_rope", "rows"),
        {
            "scale": "the stage is right. Divide what is recorded by what is right: is it one number in all rows?",
            "turned": "the stage is right. Which is it that differs, the length of the rows or their direction?",
            "head": "the stage is right. Is there a head that has nothing wrong?",
            "late": "the stage is right. Is there a position that has nothing wrong?",
        },
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
    "first-wrong-angle": Guess(
        "at which i it begins to be wrong if i + 1, i mod W and min(i, W) are taken for the position i, for W = 5",
        [0, 5, 6],
        [
            ([1, 5, 6], "positions begin at 0: what is 0 + 1?"),
            ([0, 5, 5], "min(5, 5) is 5: is that wrong?"),
            ([0, 6, 6], "5 mod 5 is 0: is that right?"),
            ([0, 4, 5], "4 mod 5 is 4, and min(4, 5) is 4: both are right"),
            ([0, 6, 5], "compute 5 mod 5, and min(5, 5)"),
        ],
    ),
    "first-wrong-keys": Guess(
        "at which i it begins to be wrong if a query sees W + 1 keys, W - 1 keys or all before it, for W = 5",
        [5, 4, 5],
        [
            ([6, 4, 6], "at i there are i + 1 keys: how many at 5, and how many may be seen?"),
            ([5, 4, 6], "no window: at 5 there are six keys, and one should be hidden"),
            ([6, 4, 5], "W + 1 keys: are there six at 5?"),
            ([5, 5, 5], "W - 1 keys: at 4 there are five, and all may be seen"),
            ([5, 3, 5], "W - 1 keys: at 3 there are four, and all are seen"),
            ([0, 0, 0], "at 0 there is one key, and every one of them sees it"),
        ],
    ),
    "word-for-two-rows": Guess(
        "the word for rows (6, 8) and (6, 8) where (3, 4) and (6, 8) are right",
        "rows",
        [
            ("scale", "the first row is doubled: is the second?"),
            ("turned", "does (6, 8) point elsewhere than (3, 4)?"),
            ("head", "there is one head here"),
            ("late", "it is the first row that is wrong, and the second that is right"),
        ],
    ),
}
