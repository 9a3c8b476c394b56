"""What a check found, as data: the JSON report, and the sentences."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minimistral.check.compare import Comparison
from minimistral.check.diagnose import Checked, Finding, diagnose
from minimistral.check.trace_file import Trace


@dataclass(frozen=True)
class Report:
    """A checked trace. `stages` are compared under the right lines, each from the stages recorded before it."""

    trace: Trace
    stages: Mapping[str, Comparison]
    whole: Mapping[str, float]  # relative error of each stage against the whole run from the tokens
    findings: list[Finding]

    @property
    def agrees(self) -> bool:
        return all(c.ok for c in self.stages.values())

    @property
    def first_difference(self) -> str | None:
        return next((name for name, c in self.stages.items() if not c.ok), None)

    def as_json(self) -> dict:
        """The report as docs/check.md describes it; stable."""
        return {
            "format": "minimistral-check-1",
            "verdict": "agrees" if self.agrees else "differs",
            "dtype": self.trace.dtype,
            "first_difference": self.first_difference,
            "diagnosis": [finding_as_json(f) for f in self.findings],
            "stages": [stage_as_json(name, c, self.whole[name]) for name, c in self.stages.items()],
        }


def finding_as_json(f: Finding) -> dict:
    known = {} if f.mistake is None else {"sentence": f.mistake.sentence, "computes": f.mistake.computes,
                                          "instead": f.mistake.instead, "see": f.mistake.see}  # fmt: skip
    return {
        "id": "unknown" if f.mistake is None else f.mistake.id,
        "variant": f.variant,
        "stage": f.stage,
        "explains": round(float(np.clip(f.explains, 0, 1)), 6),
        "harmless": f.harmless,
    } | known


def stage_as_json(name: str, c: Comparison, whole: float) -> dict:
    """`budget` and `max_abs` are of the row that is furthest over its budget."""
    at = int(np.argmax(c.error / c.budget))
    return {
        "name": name,
        "max_abs": finite(c.error.max()),
        "relative_l2": finite(whole),
        "budget": finite(c.budget.ravel()[at]),
        "local_relative_l2": finite(c.relative_l2),
        "worst": finite(c.worst),
        "ok": c.ok,
    }


def finite(x: float) -> float | None:
    """JSON has no infinity: null."""
    return float(x) if np.isfinite(x) else None


def check_trace(trace: Path | str, model: Path | str | None = None, dtype: str | None = None) -> Report:
    """Check a trace of another implementation against a checkpoint folder (None: the storyteller).

    dtype: another number format than the trace says. BadInput if the trace or the folder cannot be used.
    """
    from minimistral.mistral import Mistral

    reference = Mistral.from_pretrained(model, arithmetic="float64")
    held = Trace(Path(trace), reference.config, dtype)
    checked = Checked(held, reference.weights, reference.config)
    stages, findings = diagnose(checked)
    return Report(held, stages, whole_errors(checked), findings)


def whole_errors(checked: Checked) -> dict[str, float]:
    """How far each recorded stage is from a right run from the tokens: what went wrong before it included."""
    right = checked.from_tokens()
    return {n: relative(checked.trace[n] - right[n], right[n]) for n in checked.trace}


def relative(difference: np.ndarray, right: np.ndarray) -> float:
    return float(np.linalg.norm(difference) / max(np.linalg.norm(right), np.finfo(float).tiny))
