"""A trace is checked stage by stage: right ones agree, and a planted wrong line is found where it is and named."""

from dataclasses import replace

import numpy as np
import pytest

from minimistral.arithmetic import by_name
from minimistral.check.diagnose import Checked, Variant, diagnose, explained
from minimistral.check.lines import RIGHT
from minimistral.check.mistakes import by_id
from minimistral.check.number import Number
from minimistral.check.stages import Setting, compute, inputs_of
from minimistral.config import Config
from minimistral.mistral import Mistral
from minimistral.trace import stage_names
from minimistral.weights import from_tensors, random_tensors

T = 29
CONFIG = Config(dim=48, n_layers=2, head_dim=12, hidden_dim=80, n_heads=6, n_kv_heads=2, vocab_size=61, window=9)
TENSORS = random_tensors(CONFIG)
WEIGHTS = from_tensors(TENSORS, CONFIG, by_name("float64"))
TOKENS = np.random.default_rng(0).integers(0, 61, T)


class Recorded(dict):
    """Stages by name, with what else `Checked` asks of a trace."""

    def __init__(self, stages, dtype):
        super().__init__(stages)
        self.tokens, self.dtype, self.logits_positions = TOKENS, dtype, np.arange(T)


def checked(stages, dtype):
    return diagnose(Checked(Recorded(stages, dtype), WEIGHTS, CONFIG))


def run_with(lines, number):
    """Every stage of a run with these lines, from the tokens."""
    made = {}
    for name in (n for n in stage_names(CONFIG) if not n.endswith(".scores")):
        given = tuple(made[before] for before in inputs_of(name, CONFIG.n_layers))
        made[name] = compute(name, given, TOKENS, WEIGHTS, Setting(CONFIG, lines, number))
    return made


@pytest.mark.parametrize("arithmetic", ["exact", "float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("only", [None, "logits"])
def test_our_own_traces_agree(arithmetic, only):
    model = Mistral.from_tensors(TENSORS, CONFIG, arithmetic)
    stages = {name: x.astype(np.float64) for name, x in model.trace(TOKENS, only=only).items()}
    comparisons, findings = checked(stages, str(model.arithmetic.dtype))
    assert findings == [] and all(c.ok for c in comparisons.values())


@pytest.mark.parametrize("only", ["everything", "logits"])
@pytest.mark.parametrize(
    "name", ["window-plus-one", "rope-direction", "gqa-tile", "scale-dim", "gelu", "norm-mean-centred"]
)
def test_a_planted_wrong_line_is_named(name, only):
    made = run_with(RIGHT._replace(**by_id(name).variants[""]), Number("float32", in_a_row=True, seed=7))
    stages = made if only == "everything" else {"logits": made["logits"]}
    _, findings = checked(stages, "float32")
    assert [f.mistake.id for f in findings] == [name] and findings[0].explains > 0.999


def test_two_wrong_lines_of_one_stage_are_both_named():
    lines = RIGHT._replace(**by_id("gqa-tile").variants[""], **by_id("scale-squared").variants[""])
    _, findings = checked(run_with(lines, Number("float32")), "float32")
    assert [f.mistake.id for f in findings] == ["gqa-tile", "scale-squared"]


def test_what_no_known_mistake_explains_is_unknown_and_its_stage_is_right():
    made = run_with(RIGHT, Number("float32"))
    made["layers.1.gate"] = made["layers.1.gate"] * np.where(np.arange(CONFIG.hidden_dim) == 3, 0.0, 1.0)
    comparisons, findings = checked(made, "float32")
    assert [(f.mistake, f.stage) for f in findings][:1] == [(None, "layers.1.gate")]
    assert not comparisons["layers.1.gate"].ok and comparisons["layers.1.up"].ok


def test_a_mistake_that_would_burst_does_not_explain_everything():
    """Twelve layers that multiply by the root give infinity and NaN: rows that are no numbers fit nothing."""
    config = replace(CONFIG, n_layers=12)
    weights = from_tensors(random_tensors(config), config, by_name("float64"))
    made = {}
    for name in (n for n in stage_names(config) if not n.endswith(".scores")):
        given = tuple(made[before] for before in inputs_of(name, config.n_layers))
        made[name] = compute(name, given, TOKENS, weights, Setting(config, RIGHT, Number("float32")))
    spoiled = made["logits"] + np.where(np.arange(config.vocab_size) == 3, 1.0, 0.0)
    held = Checked(Recorded({"logits": spoiled}, "float32"), weights, config)
    in_ffn = frozenset(name for name in held.order if name.endswith("ffn_norm"))
    burst = Variant(by_id("norm-not-inverted"), "", by_id("norm-not-inverted").variants[""], in_ffn)
    assert not held.compare("logits", (burst,)).judged.any()
    assert not explained(held, "logits", (burst,), held.compare("logits"))
