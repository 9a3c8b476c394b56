"""The conformance suite: the same bytes everywhere, passed by what is right, and a reader in C that has none of our code."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from minimistral import Mistral
from minimistral.arithmetic import by_name
from minimistral.check.mistakes import MISTAKES, by_id
from minimistral.check.number import Number
from minimistral.checkpoint import load_weights, open_checkpoint
from minimistral.checkpoint.tensor_file import TensorFile
from minimistral.cli.vectors import vectors
from minimistral.errors import BadInput
from minimistral.vectors import budgets
from minimistral.vectors.in_order import InOrder
from minimistral.vectors.planted import run, write_planted
from minimistral.vectors.score import score
from minimistral.vectors.suite import DTYPES, GROUPS, LEVELS, MODELS, TEXTS, cases
from minimistral.vectors.write import model_in, suite_hash, text_tokens, write_suite, write_tensors

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "vectors.md").read_text()
MEGABYTE = 10**6


def hash_of(line: str) -> str:
    """As docs/vectors.md prints it."""
    return re.search(rf"minimistral vectors {line}\n    ([0-9a-f]{{64}}) ", PAGE)[1]


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("vectors") / "suite"
    write_suite(folder, small=True)
    return folder


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*"))


def test_the_small_suite_has_the_bytes_that_the_page_says(suite):
    assert suite_hash(suite) == hash_of("suite --small")
    assert size(suite) < 3 * MEGABYTE


def test_the_whole_suite_has_the_bytes_that_the_page_says(tmp_path):
    assert write_suite(tmp_path / "suite") == hash_of("suite")
    assert size(tmp_path / "suite") < 30 * MEGABYTE


def test_its_bytes_do_not_depend_on_the_processor_or_the_blas(suite, tmp_path):
    off = {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX", "OPENBLAS_CORETYPE": "Prescott"}
    code = f"from minimistral.vectors.write import write_suite; print(write_suite({str(tmp_path / 's')!r}, small=True))"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | off,
    )
    if "NPY_DISABLE_CPU_FEATURES" in run.stderr:
        pytest.skip("this NumPy cannot leave out a feature of the processor")
    assert run.stdout.strip() == suite_hash(suite), run.stderr


@pytest.mark.parametrize("name", ["deep", "window-below"])
def test_float64_in_order_is_as_good_as_any_other(name):
    one, other = (model_in(TEXTS[name].model, a).trace(text_tokens(name)) for a in ("in order", "float64"))
    for stage, x in one.items():
        assert np.linalg.norm(x - other[stage]) <= 1e-14 * np.linalg.norm(other[stage]), stage


def test_exp_in_order():
    x = np.array([-700.0, -87.3, -1.0, -1e-9, 0.0, 0.5, 3.25, 88.7])
    np.testing.assert_allclose(InOrder().exp(x), np.exp(x), rtol=5e-16)
    assert InOrder().exp(np.array([0.0])) == 1


def test_what_the_suite_must_have():
    configs = [m.config for m in MODELS.values()]
    assert set(GROUPS) == {c.n_heads // c.n_kv_heads for c in configs} >= set(range(1, 9))
    assert any(c.head_dim * c.n_heads != c.dim for c in configs) and any(
        c.head_dim * c.n_heads == c.dim for c in configs
    )
    assert {c.n_layers for c in configs} >= {1, 2, 6} and {m.layout for m in MODELS.values()} == {"mistral", "hf"}
    assert {m.dtype for m in MODELS.values() if m.stored is None} >= {"float32", "bfloat16", "float16"}
    windowed = {(TEXTS[t].T > w) - (TEXTS[t].T < w) for t in TEXTS if (w := MODELS[TEXTS[t].model].config.window)}
    assert windowed == {-1, 0, 1}
    for level, title in LEVELS.items():
        assert f"| {level} {title} | {sum(c.level == level for c in cases().values())} |" in PAGE


def test_every_model_loads_and_a_trace_is_a_trace(suite):
    from minimistral.check.trace_file import Trace

    for name, model in MODELS.items():
        checkpoint = open_checkpoint(suite / "models" / name)
        assert checkpoint.config == model.config
        np.testing.assert_array_equal(
            np.asarray(load_weights(checkpoint, by_name("float64")).layers[0].wk),
            model.tensors()["layers.0.attention.wk.weight"].astype(float),
        )
    held = Trace(suite / "traces" / "ring.safetensors", MODELS["ring"].config)
    assert held.dtype == "float64" and held["logits"].shape == (44, 61)


def test_both_layouts_of_a_model_have_the_same_logits(suite):
    for dtype in ("float32", "bfloat16", "float16"):
        one, other = (TensorFile(suite / "traces" / f"{layout}-{dtype}.safetensors") for layout in ("hf", "mistral"))
        np.testing.assert_array_equal(one["logits"], other["logits"])


def run_cases(suite: Path, results: Path, arithmetic: str) -> None:
    """Every case as its file says, with caches: what the README in the suite asks for."""
    results.mkdir()
    for path in (suite / "cases").iterdir():
        case = json.loads(path.read_text())
        model = Mistral.from_pretrained(suite / case["model"], arithmetic)
        tokens = [s["tokens"] for s in case["sequences"]]
        caches, logits = [model.new_cache() for _ in tokens], [[] for _ in tokens]
        for counts in case["calls"]:
            there = [b for b, n in enumerate(counts) if n]
            parts = [tokens[b][caches[b].length : caches[b].length + counts[b]] for b in there]
            for b, y in zip(there, model(parts, [caches[b] for b in there]), strict=True):
                logits[b].append(y)
        rows = np.concatenate([np.concatenate(y) for y in logits])
        write_tensors(results / f"{case['name']}.safetensors", {"logits": rows}, {})


@pytest.mark.parametrize("arithmetic", ["exact", "float32", "float64", "bfloat16", "float16"])
def test_the_reference_passes_in_every_arithmetic(suite, tmp_path, arithmetic):
    run_cases(suite, tmp_path / "results", arithmetic)
    dtype = "float32, exact bits" if arithmetic == "exact" else arithmetic
    assert score(suite, tmp_path / "results").summary == f"minimistral vectors 1: levels 1-5 of 5 passed, {dtype}"


@pytest.mark.parametrize("name", ["one-token", "gqa-3", "ring", "tied"])
def test_budgets_are_what_check_allows(name):
    """Within a factor of two: in float64 a BLAS rounds as much. Else: python -m minimistral.vectors.budgets"""
    model = model_in(TEXTS[name].model, "float64")
    for dtype in DTYPES:
        found = budgets.computed(text_tokens(name), model.weights, model.config, dtype)
        assert 0.5 < found / budgets.stored()[name][dtype] < 2, dtype


@pytest.mark.parametrize("id", ["permute-key-heads", "cache-order"])
def test_a_planted_mistake_is_named(suite, tmp_path, id):
    write_planted(tmp_path / "results", id, small=True)
    found = score(suite, tmp_path / "results")
    named = {f.mistake.id for c in found.cases for f in c.findings if f.mistake}
    assert named == {id} and not found.ok


def test_stages_show_where(suite, tmp_path):
    write_planted(tmp_path / "results", "rope-direction")
    for case in cases().values():
        if case.name != "1-gqa-3":
            (tmp_path / "results" / f"{case.name}.safetensors").unlink()
    found = score(suite, tmp_path / "results")
    case = next(c for c in found.cases if c.name == "1-gqa-3")
    assert [(f.mistake.id, f.stage) for f in case.findings] == [("rope-direction", "layers.0.q_rope")]
    assert not found.ok and found.summary == "minimistral vectors 1: no level of 5 passed, float32"


HARMLESS = "rope-position-offset"  # changes no logit
SMALLER = re.compile(r".*low-precision|norm-eps.*")  # than what 16 bits do anyway


SEEN = {"float32": [m.id for m in MISTAKES if m.id != HARMLESS]}
SEEN["bfloat16"] = [id for id in SEEN["float32"] if not SMALLER.fullmatch(id)]


@pytest.mark.parametrize("dtype, id", [(dtype, id) for dtype, ids in SEEN.items() for id in ids])
def test_every_mistake_fails_some_case(suite, dtype, id):
    def fails(text: str, given: list[int]) -> bool:
        right = TensorFile(suite / "traces" / f"{text}.safetensors")["logits"]
        wrong = run(text, by_id(id), given, small=True, number=Number(dtype))["logits"]
        return not budgets.relative(wrong, right) <= budgets.stored()[text][dtype]

    assert any(
        fails(text, [n[b] for n in case.calls]) for case in cases().values() for b, text in enumerate(case.texts)
    )


# The reader in C.

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler on this machine")


def run_in_c(suite: Path, folder: Path, last_level: int, *options: str) -> tuple[Path, int]:
    """Compile, and run it: the folder of results, and the program's own verdict."""
    program, results = folder / "mistral", folder / "results"
    results.mkdir()
    source = ROOT / "tests" / "reader_in_c" / "mistral.c"
    subprocess.run([COMPILER, "-O2", *options, "-o", program, source, "-lm"], check=True, timeout=60)
    done = subprocess.run(
        [program, suite, results, str(last_level)], stdout=subprocess.DEVNULL, timeout=60, check=False
    )
    return results, done.returncode


@needs_compiler
@pytest.mark.parametrize("real, dtype", [("float", "float32"), ("double", "float64")])
def test_a_reader_in_c_passes(suite, tmp_path, real, dtype):
    results, status = run_in_c(suite, tmp_path, 5, f"-DREAL={real}")
    found = score(suite, results)
    assert status == 0 and found.ok
    assert found.summary == f"minimistral vectors 1: levels 1-5 of 5 passed, {dtype}"


@needs_compiler
@pytest.mark.parametrize(
    "wrong, id, level",
    [
        ("KV_HEAD(h,q,kv)=((h)%(kv))", "gqa-tile", 1),
        ("FIRST_KEY(t,w)=((t)-(w))", "window-plus-one", 2),
        ("FIRST_KEPT(start,end,w)=(start)", "cache-first-kept", 3),
    ],
)
def test_a_wrong_line_of_the_reader_in_c_is_named(suite, tmp_path, wrong, id, level):
    results, status = run_in_c(suite, tmp_path, 3, f"-D{wrong}")
    found = score(suite, results)
    assert status == 1 and [found.level_passed(n) for n in range(1, level)] == [True] * (level - 1)
    assert found.level_passed(level) is False
    assert {f.mistake.id for c in found.cases for f in c.findings if f.mistake} == {id}


# Bad results.


def one_result(folder: Path, tensors: dict, about: dict | None = None) -> Path:
    folder.mkdir()
    write_tensors(folder / "1-two-tokens.safetensors", tensors, about or {})
    return folder


RIGHT = np.zeros((2, 61), np.float32)


@pytest.mark.parametrize(
    "tensors, about, reason",
    [
        ({"logit": RIGHT}, {}, "no tensor 'logits'"),
        ({"logits": RIGHT.T}, {}, "logits: shape (61, 2), expected (2, 61); transposed?"),
        ({"logits": RIGHT.astype(np.int32)}, {}, "dtype: 'I32', expected one of float64, float32, bfloat16, float16"),
        ({"logits": RIGHT}, {"dtype": "tf32"}, "dtype: 'tf32', expected one of float64, float32, bfloat16, float16"),
        ({"logits": RIGHT, "tokens": np.array([1, 2])}, {}, "tokens: not those of the case"),
        ({"logits": RIGHT, "norm": RIGHT[:1, :32]}, {}, "norm: shape (1, 32), expected 2 rows"),
        (
            {"logits": RIGHT, "norm": RIGHT[:, :31]},
            {},
            "norm: shape (2, 31), expected (2, 32); is it a trace of another model?",
        ),
    ],
)
def test_a_result_that_cannot_be_read_has_failed_and_says_why(suite, tmp_path, tensors, about, reason):
    found = score(suite, one_result(tmp_path / "results", tensors, about))
    case = next(c for c in found.cases if c.name == "1-two-tokens")
    assert (case.verdict, case.reason) == ("failed", reason)


def test_a_cut_file_and_a_nan_have_failed(suite, tmp_path):
    results = one_result(tmp_path / "results", {"logits": RIGHT * np.nan})
    (results / "1-one-token.safetensors").write_bytes(b"\x10\x00\x00")
    found = score(suite, results)
    short, nan = found.cases[:2]
    assert short.verdict == nan.verdict == "failed" and "3 bytes" in short.reason and nan.error == np.inf


def test_a_suite_that_was_changed_is_refused(suite, tmp_path):
    copy = shutil.copytree(suite, tmp_path / "suite")
    (copy / "cases" / "1-gqa-1.json").write_text("{}")
    with pytest.raises(BadInput, match="1-gqa-1.json: is not as it was written"):
        score(copy, one_result(tmp_path / "results", {"logits": RIGHT}))


# The command.


def command(*words) -> tuple[int, str]:
    """The exit status, and what was printed, or the one line of an error."""
    app = typer.Typer()
    app.command()(vectors)
    outcome = CliRunner().invoke(app, [*map(str, words)])
    if isinstance(outcome.exception, BadInput):
        return 2, str(outcome.exception)
    return outcome.exit_code, outcome.stdout


def test_the_command(suite, tmp_path):
    assert command(tmp_path / "suite", "--small") == (
        0,
        f"{hash_of('suite --small')}  {tmp_path / 'suite/SHA256SUMS'}\n",
    )
    assert command(tmp_path / "right", "--faulty", "none", "--small") == (0, "")
    status, text = command(suite, "--check", tmp_path / "right", "--json", tmp_path / "score.json")
    assert status == 0 and text.endswith("\nminimistral vectors 1: levels 1-5 of 5 passed, float32\n")
    found = json.loads((tmp_path / "score.json").read_text())
    assert (
        found["format"] == "minimistral-vectors-score-1"
        and [level["passed"] for level in found["levels"]] == [True] * 5
    )
    command(tmp_path / "wrong", "--faulty", "gqa-tile", "--small")
    status, text = command(suite, "--check", tmp_path / "wrong")
    assert status == 1 and "level 1  one layer          4 of 11 passed" in text and text.count("gqa-tile: ") == 1
    (tmp_path / "few").mkdir()
    shutil.copy(tmp_path / "right" / "2-deep.safetensors", tmp_path / "few")
    status, text = command(suite, "--check", tmp_path / "few")
    assert "level 2  window and depth   1 of 7 run, 1 passed; 6 without a result\nlevel 3" in text and status == 1


@pytest.mark.parametrize(
    "words, said",
    [
        (("{suite}",), "exists and is not empty"),
        (("{new}", "--faulty", "gqa-tiles"), "--faulty: no mistake 'gqa-tiles'; is it gqa-tile?"),
        (("{new}", "--check", "{new}"), "no suite there"),
        (("{suite}", "--check", "{new}"), "not a folder of results"),
        (("{suite}", "--check", "{suite}"), "no result, expected 1-one-token.safetensors"),
        (("{suite}", "--check", "{suite}", "--small"), "--small: does not go with --check"),
        (("{suite}", "--check", "{suite}", "--dtype", "int8"), "--dtype: 'int8', expected one of float64"),
        (("{new}", "--json", "-"), "--json: goes with --check only"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_a_line(suite, tmp_path, words, said):
    status, text = command(*(w.format(suite=suite, new=tmp_path / "new") for w in words))
    assert status == 2 and said in text and "\n" not in text
