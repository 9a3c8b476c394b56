"""How far right logits may be from the float64 ones: one number for a text and a number format.

    ||logits - right logits|| <= budget x ||right logits||       over all rows of the sequence

It is the largest error of the ways to compute in that format that `minimistral check` draws, times its safety factor,
rounded up to two digits. The numbers lie in budgets.json, so that the suite is the same on every machine;
`python -m minimistral.vectors.budgets` computes them anew.
"""

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from minimistral.config import Config
from minimistral.vectors.suite import DTYPES, MODELS, TEXTS
from minimistral.weights import Weights

FILE = Path(__file__).with_name("budgets.json")


@lru_cache
def stored() -> Mapping[str, Mapping[str, float]]:
    """{text: {dtype: budget}}"""
    return json.loads(FILE.read_text(encoding="utf-8"))


class Recorded(dict):
    """Stages by name, with what else a check asks of a trace."""

    def __init__(self, stages: Mapping[str, np.ndarray], tokens: np.ndarray, dtype: str):
        super().__init__(stages)
        self.tokens, self.dtype, self.logits_positions = tokens, dtype, np.arange(len(tokens))


def computed(tokens: np.ndarray, weights: Weights, config: Config, dtype: str) -> float:
    """The budget of some tokens, relative to the logits' length."""
    from minimistral.check.checked import Checked
    from minimistral.check.compare import SAFETY
    from minimistral.check.number import draws

    checked = Checked(Recorded({}, tokens, dtype), weights, config)
    right = checked.predict("logits")
    return SAFETY * max(relative(checked.predict("logits", number=n), right) for n in draws(dtype))


def relative(found: np.ndarray, right: np.ndarray) -> float:
    """||found - right|| / ||right||"""
    return float(np.linalg.norm(found - right) / np.linalg.norm(right))


def two_digits_up(x: float) -> float:
    """
    >>> two_digits_up(0.001234)
    0.0013
    """
    unit = 10.0 ** (math.floor(math.log10(x)) - 1)
    return float(f"{math.ceil(x / unit) * unit:.1e}")


def all_computed() -> dict[str, dict[str, float]]:
    from minimistral.vectors.write import model_in, text_tokens

    found: dict[str, dict[str, float]] = {}
    for name, text in TEXTS.items():
        model = model_in(text.model, "float64")
        budgets = {d: computed(text_tokens(name), model.weights, MODELS[text.model].config, d) for d in DTYPES}
        found[name] = {dtype: two_digits_up(x) for dtype, x in budgets.items()}
    return found


if __name__ == "__main__":
    lines = [f" {json.dumps(name)}: {json.dumps(budgets)}" for name, budgets in all_computed().items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
