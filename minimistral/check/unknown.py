"""What can be said of a stage that no known mistake explains, from a recorded run."""

from collections.abc import Iterator

import numpy as np

from minimistral.check.checked import Checked, Code, lines_at
from minimistral.check.describe import describe, describe_added
from minimistral.check.mistakes import MISTAKES
from minimistral.check.stages import LINES_OF, Setting, compute, inputs_of, kind_of

STREAM = {"attention_residual": 0, "output": 1}  # what they add to: which of their inputs
FEW = 3  # stages that are named; of more, `all stages of the layer`


def described(checked: Checked, stage: str, code: Code = ()) -> list[str]:
    """Sentences about a wrong stage, the strongest first. code: mistakes that are known to be made."""
    right, budget = checked.predict(stage, code), checked.compare(stage, code).budget
    windows = {checked.config.layer_window(i) for i in layers_of(checked, stage)}
    said = describe(
        checked.recorded(stage),
        right,
        budget,
        windows.pop() if len(windows) == 1 else None,
        checked.config,
        with_weights_of_other_layers(checked, stage, code),
        checked.logits_rows() if stage == "logits" else None,
    )
    if is_only(checked, stage) and kind_of(stage) in STREAM:
        stream = inputs_of(stage, checked.config.n_layers)[STREAM[kind_of(stage)]]
        said = describe_added(said, checked.recorded(stage), right, checked.recorded(stream), budget, checked.config)
    return said if is_only(checked, stage) else [none_known(checked, stage), *said]


def is_only(checked: Checked, stage: str) -> bool:
    """Is it computed from recorded stages alone, with no other between?"""
    return checked.stretch(stage) == [stage]


def none_known(checked: Checked, stage: str) -> str:
    """Of a stage that was computed from far away."""
    said = f"None of the {len(MISTAKES)} known mistakes, alone or together with another, gives what is recorded here."
    return f"{said} With logits alone the place cannot be said." if list(checked.trace) == ["logits"] else said


def advice(checked: Checked, stage: str, right: list[str]) -> str:
    """What to do about a fault that has no name; may be nothing more than reading the line. right: stages that are."""
    made = checked.stretch(stage)
    between = [name for name in made if name != stage]
    if outputs := [name for name in between if kind_of(name) == "output"]:
        which = "`layers.{i}.output` of every layer" if len(outputs) > FEW else listed(outputs)
        return f"record {which} first, and then all stages of the first layer whose output is wrong (docs/record.md)"
    if between:
        which = listed(between) if len(between) <= FEW else f"all stages of layer {stage.split('.')[1]}"
        return f"record {which} too: the fault may lie there (docs/record.md)"
    given = inputs_of(stage, checked.config.n_layers)
    if kind_of(stage) == "attention" and all(name in right for name in given):
        return "q_rope, k_rope and v are right: so look at the scores, the mask, softmax, and how heads are read"
    return ""


def listed(names: list[str]) -> str:
    """
    >>> listed(["layers.0.q_rope", "layers.0.k_rope"])
    'layers.0.q_rope and layers.0.k_rope'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def layers_of(checked: Checked, stage: str) -> range:
    """Of a stage, its own layer; of the ends, all."""
    if "." not in stage:
        return range(checked.config.n_layers)
    i = int(stage.split(".")[1])
    return range(i, i + 1)


def with_weights_of_other_layers(checked: Checked, stage: str, code: Code) -> Iterator[tuple[str, np.ndarray]]:
    """Only where the stage's own inputs are recorded."""
    if "layer_of" in LINES_OF[kind_of(stage)] and is_only(checked, stage):
        given = tuple(checked.recorded(before) for before in inputs_of(stage, checked.config.n_layers))
        for other in sorted(set(range(checked.config.n_layers)) - set(layers_of(checked, stage))):
            lines = lines_at(code, stage)._replace(layer_of=lambda i, n, other=other: other)
            x = compute(stage, given, checked.trace.tokens, checked.weights, Setting(checked.config, lines))
            yield f"the weights of layer {other}", x
