"""Many cases until enough is compared; the count; and the report as JSON."""

import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import count as numbers
from pathlib import Path

from fastpath import BACKENDS, model_class
from fastpath.verify.cases import Case, checkpoint_case, random_case
from fastpath.verify.compare import Count, Difference
from fastpath.verify.runs import CandidateOf, run_case
from minimistral import BadInput, Config, Mistral

BITS = 10**10  # compared, where no limit is given
SMALLEST = Config(dim=2, n_layers=1, head_dim=2, hidden_dim=2, n_heads=1, n_kv_heads=1, vocab_size=2)
PACKAGES = ("minimistral", "numpy", "numba", "llvmlite", "numba-cuda")


def candidates(backend: str) -> tuple[dict[str, CandidateOf], list[str]]:
    """{name: candidate_of} of a backend, or of all that this machine has; and a note on each of these that it lacks.

    BadInput if there is no such backend, or a named one is not here.
    """
    found, notes = {}, []
    for name in BACKENDS if backend == "all" else [backend]:
        try:
            found[name] = _candidate_of(name)
        except BadInput as error:
            if backend != "all":
                raise
            notes.append(f"left out: {error}")
    return found, notes


def _candidate_of(backend: str) -> CandidateOf:
    try:
        made = model_class(backend)
    except ImportError as error:
        raise BadInput(f"backend: {backend} is not here: {error}") from None

    def candidate_of(model: Mistral) -> Mistral:
        # On CPUs 1 to 3 threads, by a number of the case that says nothing about its size.
        options = {"threads": 1 + model.config.hidden_dim % 3} if getattr(made, "backend", None) == "cpu" else {}
        return made(model.config, model.weights, model.arithmetic, **options)

    candidate_of(Mistral.random(SMALLEST))  # the machine may lack what the backend needs: then this says what
    return candidate_of


@dataclass
class Report:
    """What was compared, and the differences of the first case that has any."""

    seed: int
    cases: int = 0
    count: Count = field(default_factory=Count)
    seconds: float = 0.0
    case: Case | None = None  # the one that differs
    differences: list[Difference] = field(default_factory=list)


def verify(
    candidate_of: CandidateOf,
    seed: int = 0,
    bits: float | None = None,
    cases: int | None = None,
    minutes: float | None = None,
    case: int | None = None,
    model: Mistral | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Compare candidates with the exact NumPy model, case after case, until one differs or a limit is reached.

    candidate_of: an exact Mistral -> the model to judge, with the same config and weights. seed, case: case number
    `case` of `seed` alone, for a replay. bits, cases, minutes: where to stop, whichever comes first (none given: 10^10
    bits). model: compare on this one, with random texts, instead of on random models.
    """
    if bits is None and cases is None and minutes is None:
        bits = BITS
    report, start = Report(seed), time.monotonic()
    for number in numbers() if case is None else [case]:
        found = random_case(seed, number) if model is None else checkpoint_case(seed, number, model)
        report.differences = run_case(found, candidate_of, report.count)
        report.cases += 1
        report.seconds = time.monotonic() - start
        if report.differences:
            report.case = found
            break
        share = max(
            report.count.bits / bits if bits else 0,
            report.cases / cases if cases else 0,
            report.seconds / (60 * minutes) if minutes else 0,
        )
        if progress is not None:
            progress(min(round(1000 * share), 1000), 1000)
        if share >= 1:
            break
    if progress is not None:
        progress(1000, 1000)
    return report


def as_json(reports: dict[str, Report]) -> dict:
    """{backend: report} -> what --json writes, format fastpath-verify-1.

    format, machine {system, processor, cpus, gpu (None where there is none)}, versions {package: version}, and
    backends: {name: {seed, cases, arrays, values, bits, bits_differing, errors_agreed, seconds, differences}}, where
    errors_agreed counts how often both sides raised the same error in the same words. differences is empty, or
    holds one entry for each run of the first case that differs: {case, text (of the case), run, stage (the first that
    differs), index (into that stage's array), where (the index in words), reference_bits, candidate_bits (hex),
    reference, candidate (the values; or the errors, and then index and bits are None), values_differing, values (in
    that stage and run), stages_differing}. bits_differing counts the bits of that case's traces, calls and draws.
    """
    return {
        "format": "fastpath-verify-1",
        "machine": machine("cuda" in reports),
        "versions": versions(),
        "backends": {backend: _entry(report) for backend, report in reports.items()},
    }


def _entry(report: Report) -> dict:
    case = {} if report.case is None else {"case": report.case.number, "text": report.case.text}
    found = [case | asdict(difference) for difference in report.differences]
    return {"seed": report.seed, "cases": report.cases, **asdict(report.count), "seconds": round(report.seconds, 2),
            "differences": found}  # fmt: skip


def machine(with_gpu: bool) -> dict:
    """What computed, as far as the system tells."""
    gpu = None
    if with_gpu:
        from numba import cuda

        gpu = cuda.get_current_device().name
        gpu = gpu.decode() if isinstance(gpu, bytes) else gpu
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"system": f"{platform.system()} {platform.machine()}", "processor": _processor(), "cpus": cpus, "gpu": gpu}


def _processor() -> str:
    """The processor's name where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def versions() -> dict[str, str]:
    """Versions of Python and of what computes; packages that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            if name == "minimistral":
                from minimistral import __version__

                found[name] = __version__
    return found
