"""The command line: what it writes, where, and that every mistake is one clear line and exit status 2."""

import io
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from minimistral.checkpoint import write_checkpoint
from minimistral.cli import main, terminal
from minimistral.cli.generate import one_final_newline, until_stop
from minimistral.cli.program import EXAMPLES
from minimistral.config import Config
from minimistral.embedded import STORYTELLER
from minimistral.mistral import Mistral
from minimistral.tokenizer import find_tokenizer
from minimistral.trace import stage_names, stage_shape
from minimistral.weights import random_tensors

ROOT = Path(__file__).parents[1]
# bench and make-checkpoint: minutes, and gigabytes; notebooks opens JupyterLab (test_course.py)
VERBS = ("generate", "inspect", "trace", "convert", "verify", "figure")
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
COMMAND = [sys.executable, "-m", "minimistral"]
PROMPT = "a small fox ran home"


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Small random models with a tokenizer: `window` (5 keys), `context` (no window, 12 tokens), `mute` (no tokenizer)."""
    import sentencepiece

    place = tmp_path_factory.mktemp("models")
    corpus = place / "corpus.txt"
    corpus.write_text("a small fox ran home\nthe old bear saw a fox\nhome is where the bear ran\n" * 9)
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(place / "tokenizer"), vocab_size=290, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        minloglevel=2,
    )  # fmt: skip
    sizes = {
        "dim": 24,
        "n_layers": 2,
        "head_dim": 10,
        "hidden_dim": 40,
        "n_heads": 6,
        "n_kv_heads": 2,
        "vocab_size": 290,
    }
    configs = {
        "window": Config(**sizes, window=5, context_len=64),
        "context": Config(**sizes, context_len=12),
        "mute": Config(**sizes, window=5),
    }
    for name, config in configs.items():
        write_checkpoint(place / name, config, random_tensors(config, seed=3), "mistral", "float32")
        if name != "mute":
            (place / name / "tokenizer.model").write_bytes((place / "tokenizer.model").read_bytes())
    return place


@pytest.fixture
def command(capsys, monkeypatch):
    """Run a command line in this process: (status, standard output, standard error)."""

    def run(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = main([str(a) for a in arguments])
        return status, *capsys.readouterr()

    return run


def start(*arguments, **options):
    """A real process; Ctrl-C works in it even where the tests run in the background."""
    default = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": ENVIRONMENT}
    restore = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    return subprocess.Popen([*COMMAND, *map(str, arguments)], **(default | restore | options))


def is_one_line(text: str) -> bool:
    return text.startswith("error: ") and text.count("\n") == 1 and text.endswith("\n") and text[:-1].isprintable()


# --- the text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["native", "hf"])
@pytest.mark.parametrize("arithmetic", ["exact", "float32", "float64"])
def test_stories260k_gives_the_published_text_to_the_last_character(command, stories260k, layout, arithmetic):
    options = ["--temperature", 0, "--max-new-tokens", 256, "--arithmetic", arithmetic]
    status, out, err = command("generate", "", "--model", stories260k / layout, *options)
    assert (status, err) == (0, "")
    assert out == (stories260k / "expected_greedy.txt").read_text()


@pytest.mark.parametrize("layout", ["native", "hf"])
def test_stories260k_in_bfloat16_begins_as_published(command, stories260k, layout):
    _, out, _ = command("generate", "", "--model", stories260k / layout, "--temperature", 0, "--arithmetic", "bfloat16")
    assert out[:60] == (stories260k / "expected_greedy.txt").read_text()[:60]


def text_of(folder, prompt, **options):
    """What generate should print, by the Python surface."""
    model = Mistral.from_pretrained(folder)
    ids = model.tokenizer.encode(prompt)
    return model.tokenizer.decode(ids + list(model.generate(ids, **options))).rstrip("\n") + "\n"


def test_prompt_and_continuation_are_one_text_from_any_source(command, folders, tmp_path):
    expected = text_of(folders / "window", PROMPT, max_new_tokens=20)
    assert expected.startswith(PROMPT)
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT + "\n")
    ids = " ".join(map(str, find_tokenizer(folders / "window").encode(PROMPT)))
    options = ["--model", folders / "window", "--max-new-tokens", 20]
    assert command("generate", PROMPT, *options) == (0, expected, "")
    assert command("generate", "--file", file, *options) == (0, expected, "")
    assert command("generate", *options, stdin=PROMPT.encode()) == (0, expected, "")
    assert command("generate", "-", *options, stdin=PROMPT.encode() + b"\r\n") == (0, expected, "")
    assert command("generate", "--tokens", ids, *options) == (0, expected, "")


def test_an_empty_prompt_starts_from_bos(command, folders):
    expected = text_of(folders / "window", "", max_new_tokens=9)
    assert command("generate", "--model", folders / "window", "--max-new-tokens", 9) == (0, expected, "")
    assert command("generate", "--tokens", "1", "--model", folders / "window", "--max-new-tokens", 9)[1] == expected


def test_tokens_are_taken_literally(command, folders):
    a = command("generate", "--tokens", "270 271", "--model", folders / "window", "--max-new-tokens", 9)[1]
    b = command("generate", "--tokens", "1 270 271", "--model", folders / "window", "--max-new-tokens", 9)[1]
    assert a[:2] == b[:2] and a != b


def test_options_reach_the_model(command, folders):
    options = {"max_new_tokens": 15, "temperature": 1.5, "top_p": 0.7, "top_k": 40, "seed": 2**64 - 1}
    given = [x for name, value in options.items() for x in (f"--{name.replace('_', '-')}", value)]
    expected = text_of(folders / "window", PROMPT, **options)
    assert command("generate", PROMPT, "--model", folders / "window", *given) == (0, expected, "")
    assert command("generate", PROMPT, "--model", folders / "window", *given, "--seed", 1)[1] != expected
    assert command("generate", PROMPT, "--model", folders / "window", *given, "--window", 2)[1] != expected
    assert command("generate", PROMPT, "--model", folders / "window", *given, "--memory", "1KB")[1] == expected
    for backend in ("numpy", "cpu"):
        found = command("generate", PROMPT, "--model", folders / "window", *given, "--backend", backend)
        assert found == (0, expected, "")


def test_auto_never_waits_for_a_compiler_unless_that_pays(monkeypatch):
    from fastpath.cpu import compiled
    from minimistral.cli.backend import compiled_pays

    model = Mistral.from_pretrained()  # 2.7 M parameters: about 10 ms a token
    for before, tokens, pays in ((True, 50, False), (True, 256, True), (False, 3000, False), (False, 6000, True)):
        monkeypatch.setattr(compiled, "compiled_before", lambda before=before: before)
        assert compiled_pays(model, tokens) == pays


def test_the_mark_of_compiled_kernels_is_found_where_numba_keeps_them(monkeypatch, tmp_path):
    from fastpath.cpu import compiled

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert not compiled.compiled_before()
    (tmp_path / "some_folder").mkdir()
    compiled.remember(str(tmp_path / "some_folder"))
    assert compiled.compiled_before()
    monkeypatch.setattr(compiled, "source_number", lambda: 1)
    assert not compiled.compiled_before()
    compiled.remember(str(tmp_path / "not" / "there"))  # cannot be written: no error
    compiled.remember(None)


def test_a_stop_string_ends_the_continuation_before_it_and_leaves_the_prompt_alone(command, folders):
    whole = command("generate", PROMPT, "--model", folders / "window", "--max-new-tokens", 30)[1][:-1]
    new = whole[len(PROMPT) :]
    for n in (5, 11):
        stop, before = new[n : n + 3], new[: new.find(new[n : n + 3])]
        options = ["--max-new-tokens", 30, "--stop", "never", "--stop", stop]
        assert command("generate", PROMPT, "--model", folders / "window", *options)[1] == PROMPT + before + "\n"
    assert (
        command("generate", PROMPT, "--model", folders / "window", "--max-new-tokens", 30, "--stop", "fox ran")[1]
        == (whole[: whole.find("fox ran", len(PROMPT))] if "fox ran" in new else whole) + "\n"
    )


@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize("stops", [["END"], ["aab"], ["END", "ND of"], ["zzz"], [], ["\n\n"]])
def test_stop_strings_are_found_across_pieces(size, stops):
    text = "aaab and\n\nthe END of EN it EN"
    pieces = [text[n : n + size] for n in range(0, len(text), size)]
    ends = [text.find(stop) for stop in stops if stop in text]
    assert "".join(until_stop(pieces, stops)) == text[: min(ends, default=len(text))]


def test_text_is_held_back_only_while_it_may_become_a_stop():
    given = iter(until_stop(iter(["one", " EN", "D"]), ["END"]))
    assert [next(given), next(given), next(given)] == ["one", " ", ""]


def test_one_final_newline():
    for text in ("", "a", "a\n", "a\n\n\n", "\n\na b\n\nc\n"):
        assert "".join(one_final_newline(text)) == text.rstrip("\n") + "\n"


def test_an_answer_streams_as_it_is_written(folders):
    with start(
        "generate", PROMPT, "--model", folders / "window", "--max-new-tokens", 2**31 - 1, "--temperature", 0
    ) as run:
        assert run.stdout.read(len(PROMPT) + 40).decode(errors="replace").startswith(PROMPT)  # long before its end
        assert run.poll() is None
        run.kill()


def test_text_is_utf8_whatever_the_locale(folders):
    environment = ENVIRONMENT | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    run = start("generate", "bär 🦊", "--model", folders / "window", "--max-new-tokens", 0, env=environment)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out.decode(), err) == (0, "bär 🦊\n", b"")


# --- context, notes, progress -----------------------------------------------------------------------------------------


def test_beyond_the_context_a_window_goes_on_with_a_note(command, folders):
    status, out, err = command("generate", "a " * 70, "--model", folders / "window", "--max-new-tokens", 3)
    assert status == 0 and out.startswith("a a a")
    assert err.startswith("note: ") and "context of 64" in err and err.count("\n") == 1


def test_without_a_window_the_context_is_the_end(command, folders):
    status, out, err = command("generate", "a " * 70, "--model", folders / "context")
    assert (status, out) == (2, "") and is_one_line(err) and "context is 12" in err
    status, out, err = command("generate", "a", "--model", folders / "context", "--temperature", 0)
    assert status == 0 and err.startswith("note: ") and "end of the context" in err and err.count("\n") == 1
    status, out, err = command(
        "generate", "a", "--model", folders / "context", "--temperature", 0, "--max-new-tokens", 4
    )
    assert (status, err) == (0, "")
    assert command("generate", "a " * 70, "--model", folders / "window", "--window", "none")[0] == 2


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of Unix")
def test_a_long_prefill_shows_a_bar_on_a_terminal_only(folders):
    import pty

    mine, theirs = pty.openpty()
    options = ["--model", folders / "window", "--max-new-tokens", 2]
    run = start("generate", "a " * 1200, *options, stderr=theirs, env=ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "80"})
    os.close(theirs)
    seen = b""
    while True:
        try:
            got = os.read(mine, 4096)
        except OSError:  # the other side is closed
            break
        seen += got
        if not got:
            break
    out, _ = run.communicate(timeout=60)
    os.close(mine)
    assert run.returncode == 0 and out.startswith(b"a a a")
    assert b"reading the prompt" in seen and b"note: " in seen
    run = start("generate", "a " * 1200, *options)
    assert run.communicate(timeout=60)[1].count(b"\n") == 1  # the note


# --- inspect, trace, convert ------------------------------------------------------------------------------------------


def test_inspect_shows_tables_and_json(command, folders, tmp_path):
    status, out, err = command("inspect", "--model", folders / "mute")
    assert (status, err) == (0, "")
    for word in ("14336", "n_kv_heads", "feed_forward", "without the window", "FLOPs"):
        assert word in out
    status, alone, err = command("inspect", "--model", folders / "mute", "--json", "-")
    report = json.loads(alone)
    assert (status, err) == (0, "") and report["config"]["window"] == 5
    assert report["parameters"]["total"] == sum(x.size for x in random_tensors(Config(**report["config"])).values())
    assert report["weight_bytes"] == 4 * report["parameters"]["total"]
    row = report["cache"][-1]
    assert row == {"length": 32768, "bytes": 2 * 2 * 10 * 4 * 2 * 5, "bytes_without_window": 2 * 2 * 10 * 4 * 2 * 32768,
                   "bytes_without_window_and_gqa": 2 * 6 * 10 * 4 * 2 * 32768}  # fmt: skip
    file = tmp_path / "report.json"
    assert command("inspect", "--model", folders / "mute", "--json", file) == (0, out, "")
    assert file.read_text() == alone and os.listdir(tmp_path) == ["report.json"]
    narrow = json.loads(command("inspect", "--model", folders / "mute", "--arithmetic", "float16", "--json", "-")[1])
    assert narrow["cache"][-1]["bytes"] == row["bytes"] // 2
    wide = json.loads(command("inspect", "--model", folders / "mute", "--window", "none", "--json", "-")[1])
    assert wide["cache"][-1]["bytes"] == row["bytes_without_window"]


def test_trace_writes_the_stages_of_the_table(command, folders, tmp_path):
    file = tmp_path / "t.safetensors"
    assert command("trace", "--model", folders / "mute", "--tokens", "1 40,3 7", "--output", file) == (0, "", "")
    found, config = load_file(file), Mistral.from_pretrained(folders / "mute").config
    names = [n for n in stage_names(config) if not n.endswith("scores")]
    assert sorted(found) == sorted(["tokens", *names]) and found.pop("tokens").tolist() == [1, 40, 3, 7]
    assert {n: x.shape for n, x in found.items()} == {n: stage_shape(n, 4, config) for n in names}


def test_trace_options(command, folders, tmp_path):
    file = tmp_path / "t.safetensors"
    base = ["trace", "--model", folders / "window", "--output", file]

    def traced(*options):
        assert command(*base, *options) == (0, "", "")
        return load_file(file)

    found = traced("--tokens", "1 5 9 7 3 8 30", "--only", "*.q_rope", "--only", "layers.1.scores")
    assert sorted(found) == ["layers.0.q_rope", "layers.1.q_rope", "layers.1.scores", "tokens"]
    assert np.isneginf(found["layers.1.scores"][:, 6, 1]).all() and np.isfinite(found["layers.1.scores"][:, 6, 2]).all()
    whole = traced("--tokens", "1 5 9 7 3 8 30")
    chunked = traced("--tokens", "1 5 9 7 3 8 30", "--chunk", 2)
    assert all((whole[n] == chunked[n]).all() for n in whole)
    assert (traced("--tokens", "1 5 9 7 3 8 30", "--window", 2)["logits"] != whole["logits"]).any()
    assert traced("--prompt", "a fox", "--arithmetic", "float64")["logits"].dtype == np.float64
    assert traced("--prompt", "a fox")["tokens"][0] == 1


def test_convert_there_and_back(command, folders, tmp_path):
    a, b = tmp_path / "hf", tmp_path / "back"
    assert command("convert", folders / "window", a, "--layout", "hf") == (0, "", "")
    assert command("convert", a, b, "--layout", "mistral") == (0, "", "")
    texts = {command("generate", PROMPT, "--model", f, "--max-new-tokens", 9)[1] for f in (folders / "window", a, b)}
    assert len(texts) == 1
    assert command("convert", a, tmp_path / "narrow", "--layout", "hf", "--dtype", "bfloat16")[0] == 0


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["--help"], ["generate", "--help"], ["--version"]])
def test_help_imports_no_numpy_and_takes_less_than_half_a_second(arguments):
    loaded = subprocess.run([sys.executable, "-X", "importtime", "-m", "minimistral", *arguments],
                            capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=True).stderr  # fmt: skip
    modules = {line.split("|")[-1].strip() for line in loaded.splitlines()}
    assert "typer" in modules
    assert not {"numpy", "sentencepiece", "safetensors", "ml_dtypes", "minimistral.mistral"} & modules
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(4):
        subprocess.run(
            [*COMMAND, *arguments], capture_output=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Processor time, as the machine may be busy with other things.
    assert (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 4 < 0.5


def examples(verb: str) -> list[str]:
    """The examples as a reader sees them, at 80 columns."""
    run = subprocess.run([*COMMAND, verb, "--help"], capture_output=True, text=True, check=True,
                         env=ENVIRONMENT | {"TERMINAL_WIDTH": "80", "COLUMNS": "80"})  # fmt: skip
    return [line.strip() for line in run.stdout.split("Examples:")[1].splitlines() if line.strip()]


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_in_a_help_text_run(verb, folders, tmp_path):
    found = examples(verb)
    assert found == [line.strip() for line in {f.__name__: e for f, e in EXAMPLES.items()}[verb].strip().splitlines()]
    if verb == "convert":
        (tmp_path / "mistral-folder").symlink_to(folders / "window")
    elif not STORYTELLER.is_dir():
        pytest.skip("the storyteller is not here")
    for line in found:
        shell = line.replace("minimistral", f"{shlex.quote(sys.executable)} -m minimistral", 1)
        run = subprocess.run(["sh", "-c", shell], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True,
                             stdin=subprocess.DEVNULL, timeout=120, check=False)  # fmt: skip
        assert (run.returncode, run.stderr) == (0, ""), f"{line}: {run.stderr}"
        assert run.stdout.endswith("\n") or verb in ("trace", "convert")


def test_help_has_no_completion_clutter(command):
    assert "completion" not in command("--help")[1]


# --- bad command lines ------------------------------------------------------------------------------------------------

GENERATE = ["generate", "a", "--model", "{window}"]
TRACE = ["trace", "--model", "{window}", "--tokens", "1 5", "--output", "{new}/t.safetensors"]
FINETUNE = ["finetune", "{window}", "--output", "{new}/x"]
MASKS = ["figure", "window-masks", "--output"]
BAD = {  # name: (arguments, what the line must hold)
    "figure-unknown": (["figure", "window-mask", "--output", "{new}/m.png"], "no 'window-mask'; is it window-masks?"),
    "figure-without-a-file": (["figure", "window-masks"], "--output: not given, expected a file that ends in .png"),
    "figure-without-a-name": (["figure", "--output", "{new}/m.png"], "--output: which figure? Give its NAME too"),
    "figure-of-another-kind": ([*MASKS, "{new}/m.bmp"], "expected a file that ends in .png, .svg, .pdf, .gif, .html"),
    "figure-that-does-not-move": ([*MASKS, "{new}/m.gif"], "m.gif: a picture is written as .png, .svg, .pdf"),
    "figure-in-no-folder": ([*MASKS, "{new}/none/m.png"], "none is not a folder"),
    "figure-of-many-dots": ([*MASKS, "{new}/m.png", "--dpi", "1e9"], "--dpi: '1e9', expected a whole number"),
    "course-in-a-file": (["notebooks", "--no-open", "--to", "{file}"], "not a folder"),
    "no-verb": ([], "ommand"),
    "unknown-verb": (["genrate"], "genrate"),
    "verb-of-later": (["moderate"], "moderate"),
    "unknown-option": ([*GENERATE, "--tempreature", "1"], "--tempreature"),
    "option-of-other-verb": (["inspect", "--top-p", "1"], "--top-p"),
    "option-with-markup": ([*GENERATE, "--[red]bold[/red]"], "[red]bold[/red]"),
    "option-without-value": ([*GENERATE, "--seed"], "--seed"),
    "two-prompts": ([*GENERATE, "b"], "b"),
    "prompt-and-tokens": ([*GENERATE, "--tokens", "1"], "--tokens"),
    "prompt-and-file": ([*GENERATE, "--file", "x"], "--file"),
    "temperature-nan": ([*GENERATE, "--temperature", "nan"], "--temperature: 'nan"),
    "temperature-negative": ([*GENERATE, "--temperature", "-1"], "--temperature: '-1"),
    "temperature-infinite": ([*GENERATE, "--temperature", "inf"], "--temperature: 'inf"),
    "temperature-word": ([*GENERATE, "--temperature", "hot"], "hot"),
    "top-p-0": ([*GENERATE, "--top-p", "0"], "--top-p: '0"),
    "top-p-2": ([*GENERATE, "--top-p", "2"], "--top-p: '2"),
    "top-k-negative": ([*GENERATE, "--top-k", "-1"], "--top-k: '-1"),
    "top-k-fraction": ([*GENERATE, "--top-k", "1.5"], "1.5"),
    "seed-negative": ([*GENERATE, "--seed", "-1"], "--seed: '-1"),
    "seed-65-bits": ([*GENERATE, "--seed", str(2**64)], "--seed: '18446744073709551616"),
    "seed-5000-digits": ([*GENERATE, "--seed", "9" * 5000], "--seed"),
    "max-new-tokens-negative": ([*GENERATE, "--max-new-tokens", "-5"], "--max-new-tokens: '-5"),
    "max-new-tokens-absurd": ([*GENERATE, "--max-new-tokens", "1" + "0" * 30], "--max-new-tokens: '1000"),
    "window-0": ([*GENERATE, "--window", "0"], "--window: '0'"),
    "window-negative": ([*GENERATE, "--window", "-3"], "--window: '-3'"),
    "window-word": ([*GENERATE, "--window", "wide\nopen"], r"--window: 'wide\nopen'"),
    "window-absurd": ([*GENERATE, "--window", "9" * 40], "--window"),
    "memory-potatoes": ([*GENERATE, "--memory", "3 potatoes"], "--memory: '3 potatoes'"),
    "memory-negative": ([*GENERATE, "--memory", "-1GB"], "--memory"),
    "memory-empty": ([*GENERATE, "--memory", ""], "--memory"),
    "arithmetic": ([*GENERATE, "--arithmetic", "int4"], "int4"),
    "backend": ([*GENERATE, "--backend", "tpu"], "--backend: 'tpu'"),
    "backend-cuda": ([*GENERATE, "--backend", "cuda"], "cuda"),
    "backend-cpu-float32": ([*GENERATE, "--backend", "cpu", "--arithmetic", "float32"], "exact only"),
    "stop-empty": ([*GENERATE, "--stop", ""], "--stop"),
    "model-nowhere": (["generate", "a", "--model", "{new}/none"], "none"),
    "model-is-a-file": (["generate", "a", "--model", "{file}"], "is a file"),
    "model-empty-folder": (["generate", "a", "--model", "{new}"], "not a checkpoint"),
    "model-with-control-characters": (["generate", "a", "--model", "\x1b[31m\nred"], r"\x1b[31m\nred"),
    "model-name-too-long": (["generate", "a", "--model", "x" * 5000], "xxx"),
    "no-tokenizer": (["generate", "a", "--model", "{mute}"], "tokenizer.model"),
    "no-tokenizer-for-tokens": (["generate", "--tokens", "1", "--model", "{mute}"], "tokenizer.model"),
    "tokens-words": (["generate", "--model", "{window}", "--tokens", "1 two"], "'two'"),
    "tokens-empty": (["generate", "--model", "{window}", "--tokens", " "], "--tokens"),
    "tokens-outside": (["generate", "--model", "{window}", "--tokens", "1 290"], "290"),
    "tokens-negative": (["generate", "--model", "{window}", "--tokens", "1 -2"], "-2"),
    "tokens-absurd": (["generate", "--model", "{window}", "--tokens", "9" * 40], "--tokens"),
    "prompt-half-a-surrogate": (["generate", "a\udcff", "--model", "{window}"], "surrogate"),
    "prompt-file-nowhere": (["generate", "--model", "{window}", "--file", "{new}/none"], "none"),
    "prompt-file-not-utf8": (["generate", "--model", "{window}", "--file", "{file}"], "not UTF-8: byte 0xff at 2"),
    "prompt-file-is-a-folder": (["generate", "--model", "{window}", "--file", "{new}"], "folder"),
    "prompt-file-without-end": (["generate", "--model", "{window}", "--file", "/dev/zero"], "/dev/zero"),
    "inspect-argument": (["inspect", "{window}"], "window"),
    "inspect-json-nowhere": (["inspect", "--model", "{window}", "--json", "{new}/none/x.json"], "--json"),
    "inspect-json-folder": (["inspect", "--model", "{window}", "--json", "{new}"], "--json"),
    "inspect-arithmetic": (["inspect", "--model", "{window}", "--arithmetic", "fp8"], "fp8"),
    "trace-no-output": (["trace", "--model", "{window}", "--tokens", "1"], "--output"),
    "trace-no-input": (["trace", "--model", "{window}", "--output", "{new}/t"], "neither"),
    "trace-two-inputs": ([*TRACE, "--prompt", "a"], "both"),
    "trace-chunk-0": ([*TRACE, "--chunk", "0"], "--chunk: '0"),
    "trace-window-0": ([*TRACE, "--window", "0"], "--window"),
    "trace-only-nothing": ([*TRACE, "--only", "layers.9.*"], "layers.9.*"),
    "trace-output-folder": ([*TRACE[:-1], "{new}"], "--output"),
    "trace-output-nowhere": ([*TRACE[:-1], "{new}/none/t"], "--output"),
    "trace-output-device": ([*TRACE[:-1], "/dev/null"], "/dev/null"),
    "trace-prompt-without-tokenizer": (["trace", "--model", "{mute}", "--prompt", "a", "--output", "{new}/t"], "tokenizer"),
    "convert-no-folders": (["convert", "--layout", "hf"], "SRC"),
    "convert-no-layout": (["convert", "{window}", "{new}/x"], "--layout"),
    "convert-layout": (["convert", "{window}", "{new}/x", "--layout", "gguf"], "gguf"),
    "convert-dtype": (["convert", "{window}", "{new}/x", "--layout", "hf", "--dtype", "int8"], "int8"),
    "convert-onto-itself": (["convert", "{window}", "{window}", "--layout", "hf"], "window"),
    "chat-template": (["chat", "--model", "{window}", "--template", "v0.4"], "'v0.4', expected one of v0.1, v0.2, v0.3"),
    "chat-no-system": (["chat", "--model", "{window}", "--system", ""], "--system: an empty string, expected some text"),
    "chat-no-message": (["chat", "--model", "{window}", "--message", ""], "--message: an empty string"),
    "chat-model-nowhere": (["chat", "--model", "{new}/none"], "none"),
    "train-preset": (["train", "--preset", "huge", "--output", "{new}/x"], "'huge', expected one of storyteller, tiny"),
    "train-no-steps": (["train", "--steps", "0", "--output", "{new}/x"], "--steps: '0', expected a whole number from 1"),
    "train-no-data": (["train", "--data", "{new}/none", "--output", "{new}/x"], "none: cannot be read"),
    "train-binary": (["train", "--data", "{file}", "--output", "{new}/x"], "line 1: not UTF-8: byte 0xff at 2"),
    "train-no-run": (["train", "--resume", "--output", "{new}/x"], "--resume"),
    "finetune-binary": ([*FINETUNE, "--data", "{file}"], "line 1: not UTF-8: byte 0xff at 2"),
    "finetune-alpha-alone": ([*FINETUNE, "--data", "{file}", "--lora-alpha", "2"], "--lora-alpha: '2', but no --lora-rank"),
    "finetune-layout": ([*FINETUNE, "--data", "{file}", "--layout", "gguf"], "'gguf', expected one of hf, mistral"),
    "bench-train-size": (["bench", "--train", "--params", "7B"], "'7B', expected one of storyteller, tiny, shakespeare"),
    "bench-train-peer": (["bench", "--train", "--against", "transformers"], "expected torch (with --train)"),
    "convert-nowhere": (["convert", "{window}", "{new}/none/x", "--layout", "hf"], "none"),
}  # fmt: skip
AS_PROCESSES = ("no-verb", "unknown-option", "seed-5000-digits", "model-with-control-characters", "prompt-file-without-end",
                "trace-output-device", "convert-layout")  # fmt: skip


@pytest.fixture
def bad(folders, tmp_path):
    """The arguments of a bad command line, with real paths, and the folder in which nothing may appear."""
    new = tmp_path / "new"
    new.mkdir()
    (tmp_path / "file").write_bytes(b"ab\xff")
    places = {"new": new, "file": tmp_path / "file"} | {n: folders / n for n in ("window", "context", "mute")}

    def filled(name):
        return [re.sub(r"\{(\w+)\}", lambda m: str(places[m[1]]), a) for a in BAD[name][0]]

    return filled, new


@pytest.mark.parametrize("name", BAD)
def test_a_bad_command_line_is_one_clear_line_and_status_2(name, bad, command):
    filled, new = bad
    status, out, err = command(*filled(name))
    assert (status, out) == (2, "")
    assert is_one_line(err) and len(err) < 2100, err
    assert BAD[name][1] in err
    assert os.listdir(new) == []


@pytest.mark.parametrize("name", AS_PROCESSES)
def test_a_bad_command_line_as_a_process(name, bad):
    filled, _ = bad
    with start(*filled(name), env=ENVIRONMENT | {"COLUMNS": "20", "FORCE_COLOR": "1"}) as run:
        out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (2, b"") and is_one_line(err.decode()) and BAD[name][1] in err.decode()


def test_standard_input_that_is_not_utf8(command, folders):
    status, out, err = command("generate", "--model", folders / "window", stdin=b"caf\xe9")
    assert (status, out) == (2, "") and is_one_line(err) and "standard input: not UTF-8: byte 0xe9 at 3" in err


@pytest.mark.parametrize("error", [MemoryError("no 9 GiB"), MemoryError(), OSError(28, "No space left on device", "x")])
def test_what_the_system_refuses_is_one_line(error, command, folders, monkeypatch):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr("minimistral.mistral.Mistral.from_pretrained", refuse)
    status, out, err = command("generate", "a", "--model", folders / "window")
    assert (status, out) == (2, "") and is_one_line(err)
    assert ("memory" if isinstance(error, MemoryError) else "x: No space left") in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has /dev/full")
@pytest.mark.parametrize(
    "arguments", [["generate", "a", "--model"], ["inspect", "--model"], ["inspect", "--json", "-", "--model"]]
)
def test_a_full_disk_is_one_line(arguments, folders):
    with open("/dev/full", "w") as full, start(*arguments, folders / "window", stdout=full) as run:
        err = run.communicate(timeout=60)[1].decode()
    assert run.returncode == 2 and is_one_line(err) and "No space left" in err


# --- Ctrl-C and closed pipes ------------------------------------------------------------------------------------------


def test_ctrl_c_is_silent_and_130(folders):
    options = ["--max-new-tokens", 2**31 - 1, "--temperature", 0]
    with start("generate", PROMPT, "--model", folders / "window", *options) as run:
        run.stdout.read(len(PROMPT) + 4)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (130, b"")


def test_a_reader_that_goes_away_is_silent_and_0(folders):
    options = ["--max-new-tokens", 2**31 - 1, "--temperature", 0]
    with start("generate", PROMPT, "--model", folders / "window", *options) as run:
        run.stdout.read(len(PROMPT) + 4)
        run.stdout.close()
        err = run.stderr.read()
        assert (run.wait(timeout=60), err) == (0, b"")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["inspect", "--model", "{}"], ["inspect", "--json", "-", "--model", "{}"],
                  ["generate", "a", "--max-new-tokens", "0", "--model", "{}"]],
)  # fmt: skip
def test_a_pipe_that_was_closed_before_is_silent_and_0(arguments, folders):
    read, write = os.pipe()
    os.close(read)
    with start(*[a.format(folders / "window") for a in arguments], stdout=write) as run:
        os.close(write)
        err = run.communicate(timeout=60)[1]
    assert (run.returncode, err) == (0, b"")


def test_no_standard_streams_at_all(folders):
    def close():
        for n in (0, 1, 2):
            os.close(n)

    options = ["--model", folders / "window", "--max-new-tokens", 3]
    with start("generate", *options, stdin=None, stdout=None, stderr=None, preexec_fn=close) as run:
        assert run.wait(timeout=60) == 0


def test_long_or_strange_words_stay_one_line():
    assert terminal.one_line("a\tb\x07\u2028c\udcff") == r"a\tb\x07\u2028c\udcff"
    assert len(terminal.one_line("x" * 10**6)) == terminal.LONGEST
