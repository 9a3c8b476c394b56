"""gpu-report without a GPU: which steps it runs, how long they may take, and what becomes of one that fails."""

import json
import sys

import pytest

from fastpath import gpu_report
from fastpath.gpu_report import Step, run_steps, steps


def test_all_steps_end_in_8_minutes_and_need_no_network(tmp_path):
    found = steps(tmp_path, "1B")
    assert [s.name for s in found] == ["tensor-cores", "tests", "verify", "bench", "bench-compiled", "kernels"]
    assert sum(s.seconds for s in found) <= 480
    assert next(s.name for s in steps(tmp_path, "1B", tests=tmp_path / "none")) == "verify"


def test_a_step_that_fails_or_takes_too_long_does_not_stop_the_others(tmp_path):
    python = [sys.executable, "-c"]
    chosen = [
        Step("good", [*python, "print('fine')"], 20),
        Step("bad", [*python, "import sys; sys.exit('a difference')"], 20),
        Step("long", [*python, "import time; time.sleep(60)"], 0.5),
        Step("last", [*python, "print('also fine')"], 20),
    ]
    results = run_steps(chosen, tmp_path)
    assert [(r["name"], r["result"]) for r in results] == [
        ("good", "passed"), ("bad", "failed"), ("long", "unfinished"), ("last", "passed")]  # fmt: skip
    assert (tmp_path / "bad.txt").read_text() == "a difference\n"
    assert (tmp_path / "last.txt").read_text() == "also fine\n"


def test_the_report_is_written_and_its_status_is_1_when_a_step_failed(tmp_path, monkeypatch, capsys):
    pytest.importorskip("numba.cuda", reason="needs numba-cuda")
    import fastpath.cuda
    from fastpath.__main__ import main

    monkeypatch.setattr(fastpath.cuda, "available", lambda: None)
    for code, status in (("print(1)", 0), ("raise SystemExit(3)", 1)):
        folder = tmp_path / f"report{status}"
        monkeypatch.setattr(gpu_report, "steps", lambda *_, code=code: [Step("one", [sys.executable, "-c", code], 20)])
        assert main(["gpu-report", "--output", str(folder)]) == status
        report = json.loads((folder / "report.json").read_text())
        assert report["steps"][0]["status"] == (3 if status else 0)
        assert capsys.readouterr().out.startswith("one")
    assert main(["gpu-report", "--output", str(folder)]) == 2  # not empty any more
    assert capsys.readouterr().err.startswith("error: --output: ")


def test_without_a_gpu_it_is_one_line(tmp_path, monkeypatch, capsys):
    pytest.importorskip("numba.cuda", reason="needs numba-cuda")
    import fastpath.cuda
    from fastpath.__main__ import main

    monkeypatch.setattr(fastpath.cuda, "available", lambda: "an NVIDIA GPU")
    assert main(["gpu-report", "--output", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err == "error: gpu-report: this needs an NVIDIA GPU\n"
    assert not (tmp_path / "x").exists()
