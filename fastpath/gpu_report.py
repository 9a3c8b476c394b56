"""python -m fastpath gpu-report: everything that only a GPU can show, in one command and one folder.

The GPU tests, the bit-for-bit comparison, the benches beside transformers (eager and compiled) and the machine's own
limits, and each decode kernel's share of copying. No network is needed; each step has a time limit, and all of them end in 8 minutes.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from minimistral.cli import terminal
from minimistral.cli.json_file import write_json
from minimistral.errors import BadInput

ROOT = Path(__file__).parents[1]
Output = Annotated[Path, typer.Option("--output", metavar="DIR", help="A new folder, or one that is empty.")]
Params = Annotated[str, typer.Option(metavar="SIZE", help="Of the bench's random weights: 130M, 1B or 7B.")]


class Step(NamedTuple):
    """One program, and how long it may take."""

    name: str
    arguments: list[str]
    seconds: float


def steps(output: Path, params: str, tests: Path = ROOT / "tests") -> list[Step]:
    """What is run, in this order: first whether it is right, then how fast it is."""
    python = [sys.executable, "-m"]
    bench = [*python, "minimistral", "bench", "--params", params, "--backend", "cuda", "--against", "transformers",
             "--peer-dtype", "bfloat16", "--repeats", "5", "--new-tokens", "64"]  # fmt: skip
    found = []
    if tests.is_dir():  # a checkout; an installed package has no tests
        files = [str(tests / f"test_cuda_{name}.py") for name in ("prefill", "kernels", "model")]
        pytest = [*python, "pytest", "-q", "-n", "0", "-m", "gpu", "-rs"]
        # What a tensor core holds in which lane is only known from the manual: all else rests on it.
        found.append(Step("tensor-cores", [*pytest, files[0], "-k", "product_of"], 30))
        found.append(Step("tests", [*pytest, *files], 100))
    verify = [*python, "fastpath", "verify", "--backend", "cuda", "--bits", "1e10", "--minutes", "1.7"]
    return [
        *found,
        Step("verify", [*verify, "--json", str(output / "verify.json")], 120),
        Step("bench", [*bench, "--json", str(output / "bench.json"), "--figure", str(output / "bench.png")], 100),
        Step("bench-compiled", [*bench, "--peer-compile", "--json", str(output / "bench-compiled.json")], 100),
        Step("kernels", [*python, "fastpath.cuda.measure", "--output", str(output / "kernels.json")], 30),
    ]


def gpu_report(output: Output, params: Params = "1B") -> None:
    """Run everything that needs a GPU, and write it to a folder.

    report.json says what each step came to; each step's words are in a text file. Exit status: 1 if a step failed.
    """
    from fastpath.cuda import available

    reason = available()
    if reason is not None:
        raise BadInput(f"gpu-report: this needs {reason}")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BadInput(f"--output: {output} is there already, and is not an empty folder")
    output.mkdir(parents=True, exist_ok=True)
    results = run_steps(steps(output.resolve(), params), output)
    write_json(output / "report.json", {"format": "minimistral-gpu-report-1", "steps": results})
    terminal.write("".join(f"{r['name']:<16}{r['result']:<12}{r['seconds']:.0f} s\n" for r in results))
    if any(r["result"] != "passed" for r in results):
        raise typer.Exit(1)


def run_steps(chosen: list[Step], output: Path) -> list[dict]:
    """Each step's result: passed, failed, or unfinished when its time was over; the others run all the same."""
    results = []
    with terminal.progress("on the GPU") as bar:
        for i, step in enumerate(chosen):
            start = time.monotonic()
            words = output / f"{step.name}.txt"
            with words.open("w", encoding="utf-8") as file:
                try:
                    status = subprocess.run(
                        step.arguments, check=False, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                        cwd=ROOT, timeout=step.seconds,
                    ).returncode  # fmt: skip
                    result = "passed" if status == 0 else "failed"
                except subprocess.TimeoutExpired:
                    status, result = None, "unfinished"
            seconds = time.monotonic() - start
            results.append({"name": step.name, "result": result, "status": status, "seconds": seconds})
            if bar is not None:
                bar(i + 1, len(chosen))
    return results
