"""For a test of your own: `assert_agrees(my_model, folder, tokens=...)`. What pytest then shows is the diagnosis."""

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minimistral.check.layout import note
from minimistral.check.report import Report, check_trace
from minimistral.check.shown import finding_in_words, grouped
from minimistral.errors import BadInput
from minimistral.record.recorder import Recorder


def assert_agrees(
    my_model: Callable | Mapping[str, Any] | Recorder | Path | str,
    reference_dir: Path | str | None = None,
    tokens: Sequence[int] | np.ndarray | None = None,
    dtype: str | None = None,
    layout: str = "mistral",
) -> Report:
    """AssertionError, with the diagnosis as its message, if a model is not right for its number format; else the report.

    my_model: a function of the tokens, as they are given here, that returns logits (T, vocab_size), or of the last
    position alone, or a dict of stages by name; such a dict; a Recorder; a transformers model, which is recorded with
    hooks; or the path of a trace. reference_dir: the folder with the same weights (None: the storyteller). dtype: the
    format computed in, where it is not the arrays' own. layout: of the stages, as a Recorder has it.

    BadInput if it cannot be checked: shapes that cannot be, ids that the vocabulary does not have.
    """
    __tracebackhide__ = True  # pytest then shows the line of the test, and not this file
    report = checked(my_model, reference_dir, tokens, dtype, layout)
    if not report.agrees:
        raise AssertionError(diagnosis(report, name_of(my_model), dtype is None))
    return report


def checked(
    my_model: Any, folder: Path | str | None, tokens: Any, dtype: str | None, layout: str = "mistral"
) -> Report:
    """The report on whatever `assert_agrees` is given."""
    if isinstance(my_model, str | Path):
        return check_trace(my_model, folder, dtype)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "trace.safetensors"
        recorded(my_model, folder, tokens, dtype, layout).save(path)
        return check_trace(path, folder, dtype)


def recorded(my_model: Any, folder: Path | str | None, tokens: Any, dtype: str | None, layout: str) -> Recorder:
    """One run of a model, or what was already run."""
    if isinstance(my_model, Recorder):
        return my_model
    if tokens is None:
        raise BadInput("assert_agrees: tokens: not given; expected the ids that the model is run on")
    if is_transformers(my_model):
        from minimistral.record.torch import record

        return record(my_model, tokens, dtype=dtype)
    found = my_model(tokens) if callable(my_model) else my_model
    stages = found if isinstance(found, Mapping) else {"logits": found}
    rec = Recorder(tokens, dtype, layout, config=storyteller() if folder is None else folder)
    for name, array in stages.items():
        rec(name, array)
    return rec


def storyteller() -> Path:
    from minimistral.embedded import STORYTELLER

    return STORYTELLER


def is_transformers(model: Any) -> bool:
    """Without importing it: who has such a model has imported it already."""
    kinds = getattr(sys.modules.get("transformers"), "PreTrainedModel", None)
    return kinds is not None and isinstance(model, kinds)


def name_of(model: Any) -> str:
    if isinstance(model, str | Path):
        return Path(model).name
    if isinstance(model, Mapping):
        return "the recorded run"
    if isinstance(model, Recorder):
        return model.implementation or "the recorded run"
    return getattr(model, "__name__", None) or type(model).__name__


def diagnosis(report: Report, name: str, dtype_is_its_own: bool = False) -> str:
    """What is wrong, in a few lines: the first wrong stage, the sentence, the formula that it computes and the right one."""
    found = report.as_json()
    first = next(stage for stage in found["stages"] if stage["name"] == found["first_difference"])
    off = (
        "not finite" if first["worst"] is None else f"off by {first['worst']:.3g} times what {found['dtype']} explains"
    )
    which = ", ".join(dict.fromkeys(m["id"] for m in found["diagnosis"])) or "a difference"
    lines = [f"{which} at {first['name']}: {name} is {off}"]
    for mistake, others in grouped(found["diagnosis"]):
        lines += ["", *finding(mistake, others)]
    if found["layout"] != found["layout_said"]:
        lines += ["", note(found["layout_said"], found["layout"])]
    if dtype_is_its_own:
        lines += ["", f"Judged as {found['dtype']}, the type that it came in; dtype=... says what it is computed in."]
    return "\n".join(lines)


def finding(found: Mapping[str, Any], others: int = 0) -> list[str]:
    """One entry of the report's diagnosis, for people. others: like it, in other layers."""
    if found["id"] == "unknown":
        sentence, under = finding_in_words(found, others)
        return [sentence, *(f"    {text}" for word, text in under if word == "next")]
    which = f" ({found['variant']})" if found["variant"] else ""
    harmless = " It leaves the logits as they are." if found["harmless"] else ""
    return [
        f"{found['id']}{which} at {found['stage']}: {found['sentence']}{harmless}",
        f"    computes    {found['computes']}",
        f"    instead of  {found['instead']}",
        f"    explains    {100 * found['explains']:.4g} % of the difference; see {found['see']}",
    ]
