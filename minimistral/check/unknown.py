"""What can be said of a stage that no known mistake explains, from a recorded run."""

from collections.abc import Iterator

import numpy as np

from minimistral.check.checked import Checked, Code, lines_at
from minimistral.check.describe import describe
from minimistral.check.stages import LINES_OF, Setting, compute, inputs_of, kind_of


def described(checked: Checked, stage: str, code: Code = ()) -> list[str]:
    """Sentences about a wrong stage, the strongest first. code: mistakes that are known to be made."""
    right, budget = checked.predict(stage, code), checked.compare(stage, code).budget
    windows = {checked.config.layer_window(i) for i in layers_of(checked, stage)}
    return describe(
        checked.recorded(stage),
        right,
        budget,
        windows.pop() if len(windows) == 1 else None,
        checked.config,
        with_weights_of_other_layers(checked, stage, code),
        checked.logits_rows() if stage == "logits" else None,
    )


def layers_of(checked: Checked, stage: str) -> range:
    """Of a stage, its own layer; of the ends, all."""
    if "." not in stage:
        return range(checked.config.n_layers)
    i = int(stage.split(".")[1])
    return range(i, i + 1)


def with_weights_of_other_layers(checked: Checked, stage: str, code: Code) -> Iterator[tuple[str, np.ndarray]]:
    """Only where the stage's own inputs are recorded."""
    if "layer_of" in LINES_OF[kind_of(stage)] and list(checked.stretch(stage)) == [stage]:
        given = tuple(checked.recorded(before) for before in inputs_of(stage, checked.config.n_layers))
        for other in sorted(set(range(checked.config.n_layers)) - set(layers_of(checked, stage))):
            lines = lines_at(code, stage)._replace(layer_of=lambda i, n, other=other: other)
            x = compute(stage, given, checked.trace.tokens, checked.weights, Setting(checked.config, lines))
            yield f"the weights of layer {other}", x
