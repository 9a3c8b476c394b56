"""Which stages are wrong by themselves, and which known mistake explains them.

Each recorded stage is computed again from the nearest stages recorded before it, so a fault is found where it is made;
with logits alone that is the whole model. What does not fit is computed again with each known mistake in place of the
right line; the mistake whose result is what was recorded, to within the budget, is named.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

import numpy as np

from minimistral.check.compare import Comparison, compare
from minimistral.check.lines import RIGHT, Lines
from minimistral.check.mistakes import MISTAKES, Case, Mistake
from minimistral.check.number import REFERENCE, UNIT, Number, draws
from minimistral.check.stages import Setting, compute, inputs_of
from minimistral.check.trace_file import Trace
from minimistral.config import Config
from minimistral.trace import stage_names
from minimistral.weights import Weights

LINES_OF = {  # a stage, and the lines that it is made with
    "embedding": ("tokens_run", "embed"),
    "attention_norm": ("norm", "attention_norm_weight"),
    "q": ("query_rows",),
    "k": ("key_rows",),
    "v": (),
    "q_rope": ("positions", "angles", "turn_queries"),
    "k_rope": ("positions", "angles", "turn_keys"),
    "attention": (
        "positions",
        "angles",
        "values_read",
        "seen",
        "empty_slots",
        "key_heads",
        "value_heads",
        "scale",
        "probabilities",
    ),
    "attention_output": ("heads_joined",),
    "attention_residual": ("attention_sum",),
    "ffn_norm": ("norm", "ffn_norm_weight"),
    "gate": (),
    "up": (),
    "ffn_hidden": ("gated",),
    "ffn_output": (),
    "output": ("ffn_sum",),
    "norm": ("final_norm",),
    "logits": ("output_matrix",),
}


PROMISING = 24  # variants that alone come nearest, tried two by two


class Variant(NamedTuple):
    """One way to make a mistake."""

    mistake: Mistake
    name: str
    lines: Mapping[str, Callable]


@dataclass
class Checked:
    """A trace under the lines that are believed to be its own; computes stages, and remembers nothing but the trace."""

    trace: Trace
    weights: Weights
    config: Config
    lines: Lines = RIGHT
    found: list[Variant] = field(default_factory=list)

    def predict(self, stage: str, lines: Lines, number: Number = REFERENCE, from_tokens: bool = False) -> np.ndarray:
        """A stage from what is recorded before it: float64, the rows of the trace."""
        setting = Setting(self.config, lines, number)
        memo: dict[str, np.ndarray] = {}

        def made(name: str) -> np.ndarray:
            if name not in memo:
                given = []
                for before in inputs_of(name, self.config.n_layers):
                    if before in self.trace and not from_tokens:
                        given.append(self.trace[before])
                    else:
                        given.append(made(before))
                memo[name] = compute(name, tuple(given), lines.tokens_run(self.trace.tokens), self.weights, setting)
            return memo[name]

        x = made(stage)
        T = len(self.trace.tokens)
        if len(x) != T:  # another number of tokens was run: its last rows are the trace's last rows
            x = x[-T:] if len(x) > T else np.concatenate([np.full((T - len(x), *x.shape[1:]), np.nan), x])
        return x[self.trace.logits_positions] if stage == "logits" else x

    def from_tokens(self) -> dict[str, np.ndarray]:
        """Every recorded stage as a right run from the tokens has it."""
        setting, made = Setting(self.config), {}
        for name in stage_names(self.config):
            if not name.endswith(".scores"):
                given = tuple(made[before] for before in inputs_of(name, self.config.n_layers))
                made[name] = compute(name, given, self.trace.tokens, self.weights, setting)
        made["logits"] = made["logits"][self.trace.logits_positions]
        return {name: made[name] for name in self.trace}

    def stretch(self, stage: str) -> set[str]:
        """The stages that `predict` computes for this one, itself included."""
        made, todo = set(), [stage]
        while todo:
            name = todo.pop()
            made.add(name)
            todo += [b for b in inputs_of(name, self.config.n_layers) if b not in self.trace and b not in made]
        return made

    def compare(self, stage: str, lines: Lines | None = None, from_tokens: bool = False) -> Comparison:
        """What is recorded against what these lines make of it."""
        lines = lines or self.lines
        right = self.predict(stage, lines, from_tokens=from_tokens)
        drawn = [self.predict(stage, lines, n, from_tokens) for n in draws(self.trace.dtype)]
        recorded = self.trace[stage]
        there = ~np.isnan(right).reshape(len(right), -1).any(axis=-1)  # positions that such a run would not have
        return compare(recorded[there], right[there], [d[there] for d in drawn], UNIT[self.trace.dtype])

    def error(self, stage: str, lines: Lines) -> float:
        """How far these lines are from what is recorded, without a budget: quick."""
        return float(np.sqrt(np.nansum((self.trace[stage] - self.predict(stage, lines)) ** 2)))


def touches(checked: Checked, stage: str, lines: Mapping[str, Callable], from_tokens: bool = False) -> bool:
    """Would other lines change how this stage is computed?"""
    made = checked.stretch(stage)
    return any(line in LINES_OF[name.rsplit(".", 1)[-1]] for name in made for line in lines)


def variants(case: Case) -> list[Variant]:
    """Every way to make every known mistake, in the order of the table."""
    return [Variant(m, name, lines) for m in MISTAKES for name, lines in m.written(case).items()]


class Finding(NamedTuple):
    """A mistake (None: unknown), the first stage at which it shows, and how much of the difference there it explains."""

    mistake: Mistake | None
    variant: str
    stage: str
    explains: float
    harmless: bool


def diagnose(checked: Checked) -> tuple[dict[str, Comparison], list[Finding]]:
    """Compare every recorded stage, and name what is behind those that are wrong, one mistake after another.

    Returns the comparisons under the right lines, and the findings in the order of the stages.
    """
    first = {stage: checked.compare(stage) for stage in checked.trace}
    wrong = [stage for stage, c in first.items() if not c.ok]
    other = other_tokens(checked, wrong[0]) if wrong else None
    if other:
        return first, [Finding(other.mistake, other.name, wrong[0], 1.0, False)]
    lines, findings = RIGHT, []
    while wrong:
        stage = wrong[0]
        chosen = explanation(checked, stage, wrong, lines, first[stage])
        if chosen is None:
            findings.append(Finding(None, "", stage, 0.0, False))
            wrong = [s for s in wrong[1:] if stage not in checked.stretch(s)]
            continue
        before = checked.error(stage, lines)
        for variant in chosen:
            lines = lines._replace(**variant.lines)
        explains = 1 - (checked.error(stage, lines) / before) ** 2
        for variant in chosen:
            findings.append(Finding(variant.mistake, variant.name, stage, explains, is_harmless(checked, variant)))
        wrong = [s for s in wrong if not checked.compare(s, lines).ok]
        if stage in wrong:
            raise AssertionError(f"{stage}: explained, and still wrong")
    return first, findings


def other_tokens(checked: Checked, stage: str) -> Variant | None:
    """Other tokens than the trace says, if they explain the whole trace: then no stage is wrong by itself."""
    for variant in variants(Case(checked.config, len(checked.trace.tokens))):
        if "tokens_run" in variant.lines:
            lines = RIGHT._replace(**variant.lines)
            if all(checked.compare(s, lines, from_tokens=True).ok for s in (stage, "logits")):
                return variant
    return None


def explanation(
    checked: Checked, stage: str, wrong: list[str], lines: Lines, plain: Comparison
) -> list[Variant] | None:
    """The variant (or two, or three) that makes of the stage's inputs what was recorded; of several, the most fitting."""
    rows = np.flatnonzero((plain.error > plain.budget).reshape(len(plain.error), -1).any(axis=-1))
    at = int(checked.trace.logits_positions[rows[0]] if stage == "logits" else rows[0])
    known = [
        v for v in variants(Case(checked.config, len(checked.trace.tokens), at)) if touches(checked, stage, v.lines)
    ]
    known = [v for v in known if "tokens_run" not in v.lines]
    errors = {n: checked.error(stage, lines._replace(**v.lines)) for n, v in enumerate(known)}
    limit = 30 * float(np.sqrt(np.sum(plain.budget**2)))  # worth a comparison with its own budget
    fits = [[known[n]] for n in sorted(errors, key=errors.get) if errors[n] <= limit]
    fits = [f for f in fits if checked.compare(stage, with_lines(lines, f)).ok]
    if not fits:
        fits = pairs(checked, stage, known, errors, lines, limit)
    return max(fits, key=lambda f: fitness(checked, f, wrong, lines)) if fits else None


def pairs(
    checked: Checked, stage: str, known: list[Variant], errors: dict, lines: Lines, limit: float
) -> list[list[Variant]]:
    """Two mistakes at once: of different lines, both needed."""
    found, order = [], sorted(errors, key=errors.get)
    firsts = [n for n in errors if n == 0 or known[n].mistake is not known[n - 1].mistake]
    for a, b in combinations(sorted({*order[:PROMISING], *firsts}), 2):
        both = [known[a], known[b]]
        if known[a].mistake is known[b].mistake or set(known[a].lines) & set(known[b].lines):
            continue
        if (
            checked.error(stage, with_lines(lines, both)) <= limit
            and checked.compare(stage, with_lines(lines, both)).ok
        ):
            found.append(both)
    return found


def with_lines(lines: Lines, chosen: list[Variant]) -> Lines:
    for variant in chosen:
        lines = lines._replace(**variant.lines)
    return lines


def fitness(checked: Checked, chosen: list[Variant], wrong: list[str], lines: Lines) -> tuple:
    """Wrong stages that it explains, less right ones that it would make wrong; then how well it fits."""
    after = with_lines(lines, chosen)
    score, off = 0, 0.0
    for stage in checked.trace:
        if any(touches(checked, stage, v.lines) for v in chosen):
            c = checked.compare(stage, after)
            score += c.ok if stage in wrong else -(not c.ok)
            off += c.worst
    return score, -len(chosen), -off


def is_harmless(checked: Checked, variant: Variant) -> bool:
    """Does the mistake alone leave every logit as it is?"""
    right = checked.predict("logits", RIGHT, from_tokens=True)
    wrong = checked.predict("logits", RIGHT._replace(**variant.lines), from_tokens=True)
    return bool(np.allclose(wrong, right, rtol=1e-9, atol=1e-9 * np.abs(right).max()))
