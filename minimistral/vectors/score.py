"""Results of another implementation against a suite: which cases pass, and what is behind those that do not."""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minimistral.arithmetic.widen import widen
from minimistral.check.checked import Checked, Variant
from minimistral.check.diagnose import Finding, diagnose
from minimistral.check.mistakes import Case, Mistake
from minimistral.check.trace_file import Trace
from minimistral.checkpoint.tensor_file import TensorFile
from minimistral.errors import BadInput
from minimistral.mistral import Mistral
from minimistral.trace import LAYER_STAGES
from minimistral.vectors.budgets import relative
from minimistral.vectors.suite import DTYPES
from minimistral.vectors.write import FORMAT, SUMS, Progress, suite_hash, write_tensors

SLACK = 4  # a single row may be off by so much more than all of them together
STORED = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}


@dataclass
class Scored:
    """A case and its result. verdict: passed, failed or missing. error, budget: of the sequence that is furthest off."""

    name: str
    level: int
    verdict: str = "missing"
    dtype: str = ""
    error: float = 0.0
    budget: float = 0.0
    exact: bool = False  # the logits are those of the exact arithmetic, to the bit
    reason: str = ""
    findings: list[Finding] = field(default_factory=list)


class Score(NamedTuple):
    suite: str  # its hash
    titles: Mapping[int, str]  # of the levels
    cases: Sequence[Scored]

    def of_level(self, level: int) -> list[Scored]:
        return [c for c in self.cases if c.level == level]

    def level_passed(self, level: int) -> bool | None:
        """None: no result of it is there."""
        verdicts = {c.verdict for c in self.of_level(level)}
        return None if verdicts == {"missing"} else verdicts == {"passed"}

    @property
    def ok(self) -> bool:
        """Every level that was begun is passed."""
        return False not in map(self.level_passed, self.titles)

    @property
    def summary(self) -> str:
        """The badge: one line."""
        passed = [n for n in self.titles if self.level_passed(n)]
        if not passed:
            which = f"no level of {len(self.titles)}"
        else:
            first_to_last = passed == list(range(passed[0], passed[-1] + 1)) and len(passed) > 1
            numbers = f"{passed[0]}-{passed[-1]}" if first_to_last else listed(list(map(str, passed)))
            which = f"level{'s' * (len(passed) > 1)} {numbers} of {len(self.titles)}"
        counted = [c for c in self.cases if c.level in passed] or [c for c in self.cases if c.dtype]
        dtypes = listed([d for d in DTYPES if any(c.dtype == d for c in counted)])
        bits = ", exact bits" if passed and all(c.exact for c in counted) else ""
        return f"{FORMAT.replace('-', ' ')}: {which} passed{', ' * bool(dtypes)}{dtypes}{bits}"


def listed(words: Sequence[str]) -> str:
    """
    >>> listed(["1", "2", "5"])
    '1, 2 and 5'
    """
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def score(suite: Path | str, results: Path | str, dtype: str | None = None, progress: Progress | None = None) -> Score:
    """Score a folder of results, CASE.safetensors each, against the suite in a folder.

    dtype: the format that was computed in, if the results do not say it. BadInput if there is no suite, a file of it
    is not as it was written, or there is no result at all; a result that cannot be read has failed.
    """
    suite, results = Path(suite), Path(results)
    index = read_index(suite)
    titles = {level["level"]: level["title"] for level in index["levels"]}
    names = [name for level in index["levels"] for name in level["cases"]]
    if not results.is_dir():
        raise BadInput(f"{results}: not a folder of results, CASE.safetensors each")
    if not any(result_file(results, name).exists() for name in names):
        raise BadInput(f"{results}: no result, expected {names[0]}.safetensors and others")
    scored, named = [], {}
    for done, name in enumerate(names, 1):
        case = json.loads((suite / "cases" / f"{name}.json").read_text(encoding="utf-8"))
        scored.append(score_case(suite, results, case, dtype))
        if scored[-1].verdict == "failed" and not scored[-1].reason:
            explain(suite, results, case, scored, named)
        if progress is not None:
            progress(done, len(names))
    return Score(suite_hash(suite), titles, scored)


def result_file(results: Path, name: str) -> Path:
    return results / f"{name}.safetensors"


def read_index(suite: Path) -> dict:
    """index.json, once every file of the suite is seen to be as it was written."""
    path = suite / "index.json"
    if not path.is_file() or not (suite / SUMS).is_file():
        raise BadInput(f"{suite}: no suite there; `minimistral vectors {suite}` writes one")
    for line in (suite / SUMS).read_text(encoding="utf-8").splitlines():
        expected, name = line.split("  ", 1)
        file = suite / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
            raise BadInput(
                f"{file}: {'is not as it was written' if file.is_file() else 'is gone'}; write the suite anew"
            )
    index = json.loads(path.read_text(encoding="utf-8"))
    if index.get("format") != FORMAT:
        raise BadInput(f"{path}: format {index.get('format')!r}, expected {FORMAT!r}")
    return index


def score_case(suite: Path, results: Path, case: dict, dtype: str | None) -> Scored:
    """Do the logits agree, sequence by sequence?"""
    scored = Scored(case["name"], case["level"])
    path = result_file(results, case["name"])
    if not path.exists():
        return scored
    scored.verdict = "failed"
    try:
        found, scored.dtype = read_result(path, case, dtype)
    except BadInput as error:
        scored.reason = str(error).removeprefix(f"{path}: ")
        return scored
    logits, worst = found["logits"], -1.0
    scored.verdict, scored.exact = "passed", True
    for rows, sequence in sequences(case):
        expected = TensorFile(suite / sequence["trace"])["logits"]
        exact = TensorFile(suite / sequence["exact"])["logits"]
        error, budget = relative(widen(logits[rows], np.dtype(float)), expected), sequence["budget"][scored.dtype]
        error = error if np.isfinite(error) else np.inf
        if error > budget:
            scored.verdict = "failed"
        scored.exact &= logits.dtype == exact.dtype and logits[rows].tobytes() == exact.tobytes()
        if error / budget > worst:
            worst, scored.error, scored.budget = error / budget, error, budget
    return scored


def sequences(case: dict) -> Iterator[tuple[slice, dict]]:
    """Each sequence, and its rows in the result."""
    start = 0
    for sequence in case["sequences"]:
        end = start + len(sequence["tokens"])
        yield slice(start, end), sequence
        start = end


def read_result(path: Path, case: dict, dtype: str | None) -> tuple[dict[str, np.ndarray], str]:
    """The tensors of a result by name, those of a trace only, and the format that was computed in."""
    file = TensorFile(path)
    if "logits" not in file.entries:
        raise BadInput("no tensor 'logits'")
    entry, tokens = file.entries["logits"], [t for s in case["sequences"] for t in s["tokens"]]
    expected = (len(tokens), case["config"]["vocab_size"])
    if entry.shape != expected:
        hint = "; transposed?" if entry.shape == expected[::-1] else ""
        raise BadInput(f"logits: shape {entry.shape}, expected {expected}{hint}")
    if "tokens" in file.entries and file["tokens"].tolist() != tokens:
        raise BadInput("tokens: not those of the case")
    said = dtype or file.metadata.get("dtype") or STORED.get(entry.dtype, entry.dtype)
    if said not in DTYPES:
        raise BadInput(f"dtype: {said!r}, expected one of {', '.join(DTYPES)}")
    known = {f"layers.{i}.{stage}" for i in range(case["config"]["n_layers"]) for stage in LAYER_STAGES}
    names = [n for n in file.entries if n in known | {"embedding", "norm", "logits"} and not n.endswith(".scores")]
    for name in names:
        stored, shape = file.entries[name].dtype, file.entries[name].shape
        if stored not in STORED:
            raise BadInput(f"{name}: stored as {stored}, expected one of {', '.join(STORED)}")
        if shape[:1] != expected[:1]:
            raise BadInput(f"{name}: shape {shape}, expected {expected[0]} rows")
    return {name: file[name] for name in names}, said


def explain(suite: Path, results: Path, case: dict, scored: Sequence[Scored], named: dict[str, Mistake]) -> None:
    """Name what is behind the last of these cases: one of the mistakes met before, or else, in the first failed case of
    a level, what a full diagnosis finds: that takes seconds, so no more of them after two that found nothing known."""
    this = scored[-1]
    path = result_file(results, this.name)
    found, _ = read_result(path, case, this.dtype)
    rows, sequence, off = wrong_sequence(suite, case, found["logits"], this.dtype)
    about = {"layout": TensorFile(path).metadata.get("layout", "mistral"), "dtype": this.dtype}
    model = Mistral.from_pretrained(suite / case["model"], arithmetic="float64")
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / path.name
        tensors = {"tokens": np.array(sequence["tokens"])} | {name: x[rows] for name, x in found.items()}
        write_tensors(file, tensors, {"format": "minimistral-trace-1"} | about)
        try:
            checked = Checked(Trace(file, model.config), model.weights, model.config)
        except BadInput as error:
            this.reason = str(error).removeprefix(f"{file}: ")
            return
        again = met_again(checked, named, off, sequence["budget"][this.dtype])
        if again is not None:
            this.findings = [again]
        elif not any(c.findings for c in scored[:-1] if c.level == this.level) and unknowns(scored) < 2:
            this.findings = diagnose(checked)[1]
    named |= {f.mistake.id: f.mistake for f in this.findings if f.mistake is not None}


def unknowns(scored: Sequence[Scored]) -> int:
    return sum(f.mistake is None for case in scored for f in case.findings)


def wrong_sequence(suite: Path, case: dict, logits: np.ndarray, dtype: str) -> tuple[slice, dict, np.ndarray]:
    """The first sequence whose logits are off: its rows, itself, and which of its tokens are."""
    for rows, sequence in sequences(case):
        right, budget = TensorFile(suite / sequence["trace"])["logits"], sequence["budget"][dtype]
        mine = widen(logits[rows], np.dtype(float))
        if not relative(mine, right) <= budget:
            break
    fits = np.linalg.norm(mine - right, axis=-1) <= SLACK * budget * np.linalg.norm(right, axis=-1)
    return rows, sequence, np.flatnonzero(~fits)


def met_again(checked: Checked, named: Mapping[str, Mistake], off: np.ndarray, budget: float) -> Finding | None:
    """A mistake found in an earlier case, if it explains these logits too. off: the tokens that are wrong."""
    first, last = (int(off[0]), int(off[-1])) if len(off) else (0, 0)
    case = Case(checked.config, len(checked.trace.tokens), first, last)
    for mistake in named.values():
        for name, lines in mistake.written(case).items():
            if "tokens_run" in lines and len(lines["tokens_run"](checked.trace.tokens)) < len(checked.trace.tokens):
                continue  # the trace's first tokens would have no logits
            made = checked.predict("logits", (Variant(mistake, name, lines),), from_tokens=True)
            if relative(checked.recorded("logits"), made) <= budget:
                return Finding(mistake, name, "logits", 1.0, False)
    return None
