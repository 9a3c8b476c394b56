"""What a check found, as data: the JSON report (docs/check.md), which the table, the picture and the page show."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minimistral.check.checked import Checked
from minimistral.check.compare import Comparison, compare, length, whole
from minimistral.check.diagnose import Finding, Watch, diagnose, unwatched
from minimistral.check.number import UNIT, draws
from minimistral.check.reading import ALSO, PAGE, UNKNOWN_PAGE, WHOLE, line_of_stage, maker_of, reading
from minimistral.check.stages import inputs_of, kind_of
from minimistral.check.trace_file import ANOTHER, Trace
from minimistral.config import Config
from minimistral.errors import BadInput


class Apart(NamedTuple):
    """How far a recorded stage is from a right run from the tokens: what went wrong before it included."""

    error: np.ndarray  # length of the difference of each token (T,)
    size: np.ndarray  # length of what is right (T,)
    max_abs: float

    @property
    def relative_l2(self) -> float:
        return whole(self.error) / max(whole(self.size), np.finfo(float).tiny)


@dataclass(frozen=True)
class Report:
    """A checked trace. `stages` are compared under the right lines, each from the stages recorded before it.

    stages     by name, in the order they are made: the local error and the budget of every row
    whole      by name: how far from a right run from the tokens
    came_from  by name: the recorded stages that it was computed from; "tokens" if there were none
    findings   what is wrong; empty if the trace agrees
    notes      on the check itself
    """

    trace: Trace
    config: Config
    model: str
    stages: Mapping[str, Comparison]
    whole: Mapping[str, Apart]
    came_from: Mapping[str, list[str]]
    findings: list[Finding]
    notes: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        return not self.wrong

    @property
    def wrong(self) -> list[str]:
        """The stages that are wrong by themselves."""
        return [name for name, c in self.stages.items() if not c.ok]

    @property
    def first_difference(self) -> str | None:
        return next(iter(self.wrong), None)

    def positions(self, stage: str) -> np.ndarray:
        """Of a stage's rows."""
        return self.trace.logits_positions if stage == "logits" else np.arange(len(self.trace.tokens))

    def by_position(self, stage: str) -> np.ndarray:
        """The local error in budgets, of each position the worst row: (T,)."""
        c = self.stages[stage]
        return (c.error / c.budget).reshape(len(c.error), -1).max(axis=1)

    def first_wrong_position(self, stage: str) -> int | None:
        over = np.flatnonzero(self.by_position(stage) > 1)
        return int(self.positions(stage)[over[0]]) if len(over) else None

    def window(self, stage: str) -> int | None:
        """Of the stage's layer; of the ends, the first layer's."""
        return self.config.layer_window(int(stage.split(".")[1]) if "." in stage else 0)

    def as_json(self) -> dict:
        """docs/check.schema.json describes it; stable."""
        return {
            "format": "minimistral-check-1",
            "verdict": "agrees" if self.agrees else "differs",
            "trace": str(self.trace.path),
            "model": self.model,
            "implementation": self.trace.implementation,
            "dtype": self.trace.dtype,
            "layout": self.trace.layout,
            "layout_said": self.trace.layout_said,
            "tokens": len(self.trace.tokens),
            "first_difference": self.first_difference,
            "diagnosis": [finding_as_json(f) for f in self.findings],
            "stages": [self.stage_as_json(name) for name in self.stages],
            "notes": self.notes,
        }

    def stage_as_json(self, name: str) -> dict:
        c, apart = self.stages[name], self.whole[name]
        worst_row = int(np.argmax(c.error / c.budget))
        return {
            "name": name,
            "max_abs": finite(apart.max_abs),
            "relative_l2": finite(apart.relative_l2),
            "budget": float(c.budget.ravel()[worst_row]),
            "local_relative_l2": finite(c.relative_l2),
            "worst": finite(c.worst),
            "first_wrong_position": self.first_wrong_position(name),
            "from": self.came_from[name],
            "ok": c.ok,
        }


def finding_as_json(f: Finding) -> dict:
    known = f.mistake is not None
    see = f.mistake.see if known else WHOLE if f.anywhere else maker_of(f.stage)
    read = reading(see)
    line = read.line if known or f.anywhere else line_of_stage(f.stage)
    also = () if known or f.anywhere else ALSO.get(kind_of(f.stage), ())
    found = {
        "id": f.mistake.id if known else "unknown",
        "variant": f.variant if known else "",
        "stage": f.stage,
        "explains": round(float(np.clip(f.explains, 0, 1)), 6),
        "harmless": f.harmless,
        "or_else": list(f.or_else),
        "where": f.where,
        "sentence": f.mistake.sentence if known else f.variant,
        "see": see,
        "line": line,
        "lesson": read.lesson,
        "see_also": [{"see": s, "line": reading(s).line, "lesson": reading(s).lesson} for s in also],
        "anywhere": f.anywhere,
        "next": f.next,
        "page": PAGE if known else UNKNOWN_PAGE,
    }
    if known:
        found |= {"computes": f.mistake.computes, "instead": f.mistake.instead, "source": f.mistake.source}
    return found


def finite(x: float) -> float | None:
    """JSON has no infinity: null."""
    return float(x) if np.isfinite(x) else None


def check_trace(
    trace: Path | str, model: Path | str | None = None, dtype: str | None = None, watch: Watch = unwatched
) -> Report:
    """Check a trace of another implementation against a checkpoint folder (None: the storyteller).

    dtype: another number format than the trace says. watch: is told how far it is. BadInput if the trace or the folder
    cannot be used.
    """
    from minimistral.mistral import Mistral

    reference = Mistral.from_pretrained(model, arithmetic="float64")
    held = opened(Path(trace), reference.config, dtype, model is None)
    checked = Checked(held, reference.weights, reference.config)
    stages, findings = diagnose(checked, watch)
    return Report(
        held,
        reference.config,
        "the storyteller" if model is None else str(model),
        stages,
        errors_from_tokens(checked),
        {name: came_from(checked, name) for name in held},
        findings,
        [*held.notes, *reference.notes, *angles_in_float32(checked, stages)],
    )


def opened(path: Path, config: Config, dtype: str | None, no_model: bool) -> Trace:
    try:
        return Trace(path, config, dtype)
    except BadInput as error:
        if no_model and str(error).endswith(ANOTHER):
            raise BadInput(f"{error} No model was given, so the embedded storyteller was taken") from None
        raise


def errors_from_tokens(checked: Checked) -> dict[str, Apart]:
    """Of each recorded stage; one layer is held at a time."""
    found = {}
    for name, right in checked.run_from_tokens():
        right = right.reshape(len(right), -1)
        off = checked.recorded(name).reshape(right.shape) - right
        found[name] = Apart(length(off), length(right), float(np.abs(off).max()))
    return found


def came_from(checked: Checked, stage: str) -> list[str]:
    """The recorded stages that a stage is computed from."""
    made = checked.stretch(stage)
    before = dict.fromkeys(b for name in made for b in inputs_of(name, checked.config.n_layers) if b not in made)
    return (["tokens"] if "embedding" in made else []) + list(before)


def angles_in_float32(checked: Checked, stages: Mapping[str, Comparison]) -> list[str]:
    """A note if rotated queries are right only by the budget that angles formed in float32 are given."""
    stage = "layers.0.q_rope"
    if stage not in stages or not stages[stage].ok or checked.trace.dtype not in ("float32", "float16"):
        return []
    right, exact = checked.predict(stage), [n for n in draws(checked.trace.dtype) if n.angles == "float64"]
    drawn = (checked.predict(stage, number=n) for n in exact)
    c = compare(checked.recorded(stage), right, drawn, UNIT[checked.trace.dtype])
    if c.ok:
        return []
    over = (c.error > c.budget).reshape(len(c.error), -1).any(axis=1)
    return [
        f"angles are formed in float32, as it seems: from position {np.flatnonzero(over)[0]} on rotations are less exact"
    ]
