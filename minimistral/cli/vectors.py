"""minimistral vectors: the conformance suite, written; and the score of someone's results."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.json_file import as_json, write_json
from minimistral.cli.options import Json, writable
from minimistral.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from minimistral.check.diagnose import Finding
    from minimistral.vectors.score import Score, Scored

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", show_default=False, help="The suite's folder; new, to write it.")
]
Small = Annotated[bool, typer.Option("--small", help="Of the traces, the logits only: 2 MB in place of 8.")]
Results = Annotated[
    Path | None, typer.Option("--check", metavar="RESULTS", help="Score a folder of results: CASE.safetensors each.")
]
Dtype = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of the results, if they do not say it: float64, float32, bfloat16, float16."),
]
Faulty = Annotated[
    str | None,
    typer.Option(
        "--faulty", metavar="ID", help="Write to DIR not the suite, but results with a mistake; 'none': right."
    ),
]


def vectors(
    folder: Folder,
    small: Small = False,
    check: Results = None,
    dtype: Dtype = None,
    faulty: Faulty = None,
    json: Json = None,
) -> None:
    """Write the conformance suite to a folder, or score results against it.

    Small random models, tokens, right logits and how far others may be off, in five levels; the README in the folder
    tells how to run them, in any language. Exit status with --check: 0 if every level that was begun is passed, else 1.
    """
    if check is None:
        for option, given in (("--dtype", dtype), ("--json", json)):
            if given is not None:
                raise BadInput(f"{option}: goes with --check only")
        write(folder, small, faulty)
        return
    if small or faulty is not None:
        raise BadInput(f"{'--small' if small else '--faulty'}: does not go with --check")
    path = None if json in (None, "-") else writable("--json", json)
    from minimistral.vectors.score import score
    from minimistral.vectors.suite import DTYPES

    if dtype is not None and dtype not in DTYPES:
        raise BadInput(f"--dtype: {dtype!r}, expected one of {', '.join(DTYPES)}")
    with terminal.progress("scoring") as bar:
        found = score(folder, check, dtype, bar)
    if path is not None:
        write_json(path, score_json(found))
    terminal.write(as_json(score_json(found)) if json == "-" else in_words(found))
    if not found.ok:
        raise typer.Exit(1)


def write(folder: Path, small: bool, faulty: str | None) -> None:
    from minimistral.vectors.planted import write_planted
    from minimistral.vectors.write import write_suite

    with terminal.progress("writing") as bar:
        if faulty is not None:
            write_planted(folder, faulty, small, bar)
            return
        hash = write_suite(folder, small, bar)
    terminal.write(f"{hash}  {folder / 'SHA256SUMS'}\n")


def in_words(score: "Score") -> str:
    """A line a level, under it the cases that did not pass; the summary last. A mistake is told once."""
    lines, told = [], set()
    for level, title in score.titles.items():
        cases = score.of_level(level)
        lines.append(f"level {level}  {title:<18} {counted(cases)}")
        for case in (c for c in cases if c.verdict == "failed"):
            lines.append(f"  {case.name:<20} {trouble(case, told)}")
    return "\n".join([*map(terminal.one_line, lines), "", terminal.one_line(score.summary), ""])


def counted(cases: "Sequence[Scored]") -> str:
    """Of a level, on a line: `4 of 11 passed`; what has no result is counted, not listed."""
    passed, missing = (sum(c.verdict == verdict for c in cases) for verdict in ("passed", "missing"))
    if missing == len(cases):
        return "not run"
    if missing:
        return f"{len(cases) - missing} of {len(cases)} run, {passed} passed; {missing} without a result"
    return f"{passed} of {len(cases)} passed"


def trouble(case: "Scored", told: set[str]) -> str:
    """What is wrong with a case, on a line. told: mistakes whose sentence was said before."""
    if case.reason:
        return case.reason
    words = [f"error {case.error:.2g}, allowed {case.budget:.2g} in {case.dtype}"]
    for f in told_once(case.findings):
        if f.mistake is None:
            words.append(f"unknown, first in {f.stage}" + (f" ({f.variant})" if f.variant else ""))
        else:
            sentence = "" if f.mistake.id in told else f": {f.mistake.sentence}"
            words.append(f.mistake.id + (f" ({f.variant})" if f.variant else "") + sentence)
            told.add(f.mistake.id)
    return "; ".join(words)


def told_once(findings: "Sequence[Finding]") -> "list[Finding]":
    """Of unknown faults, only the first of each kind of stage: the same in other layers says no more."""
    from minimistral.check.stages import kind_of

    kinds = [kind_of(f.stage) if f.mistake is None else n for n, f in enumerate(findings)]
    return [f for n, f in enumerate(findings) if kinds.index(kinds[n]) == n]


def score_json(score: "Score") -> dict:
    """docs/vectors.md tells its fields."""
    return {
        "format": "minimistral-vectors-score-1",
        "suite": score.suite,
        "summary": score.summary,
        "levels": [
            {
                "level": level,
                "title": title,
                "passed": score.level_passed(level),
                "cases": [case_json(case) for case in score.of_level(level)],
            }
            for level, title in score.titles.items()
        ],
    }


def case_json(case: "Scored") -> dict:
    found = {"name": case.name, "verdict": case.verdict}
    if case.verdict == "missing" or case.reason:
        return found | ({"reason": case.reason} if case.reason else {})
    error = case.error if case.error < float("inf") else None  # a NaN among the logits
    numbers = {"dtype": case.dtype, "error": error, "budget": case.budget, "exact": case.exact}
    named = [
        {"id": f.mistake.id if f.mistake else "unknown", "variant": f.variant, "stage": f.stage} for f in case.findings
    ]
    return found | numbers | {"diagnosis": named}
