"""The bench: rates, ratios and shares from planted times; that it refuses to time unequal work; its words and files."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minimistral.bench import machine, measure, report
from minimistral.bench.cases import Settings, probe, read_lengths
from minimistral.bench.measure import Times, agreement, in_turns, length_run, prompt_run
from minimistral.bench.run import Work, run
from minimistral.bench.sides import Side, cache_bytes, choose, compile_seconds, side_of
from minimistral.checkpoint.random_checkpoint import write_random_checkpoint
from minimistral.cli import main
from minimistral.config import MISTRAL_7B, Config
from minimistral.errors import BadInput
from minimistral.mistral import Mistral

ROOT = Path(__file__).parents[1]
CONFIG = Config(dim=28, n_layers=2, head_dim=6, hidden_dim=44, n_heads=6, n_kv_heads=3, vocab_size=67, window=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small random checkpoint in Mistral's layout."""
    place = tmp_path_factory.mktemp("bench") / "tiny"
    write_random_checkpoint(place, CONFIG, "mistral", 1)
    return place


@pytest.fixture
def quick(monkeypatch):
    """The machine's limits from small arrays, and no pauses: what is tested is not the machine."""
    monkeypatch.setattr(machine, "READ_BYTES", 2**20)
    monkeypatch.setattr(machine, "GEMM_SIZE", 32)
    monkeypatch.setattr(machine, "GEMV_SHAPE", (32, 64))
    monkeypatch.setattr(measure.time, "sleep", lambda seconds: None)


class Clock:
    """Time that passes only when a planted side lets it; a tick a look, so that nothing takes no time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 2.0**-30
        return self.now


def planted(clock, name, prefill, step, peer=False, at=lambda position: 1.0, logits=1.0):
    """A side that takes `prefill` seconds a pre-filled token and `step` a decoded one, times at(position)."""

    def feed(caches, tokens):
        clock.now += tokens.shape[1] * (step if tokens.shape[1] == 1 else prefill) * at(caches["length"])
        caches["length"] += tokens.shape[1]
        caches["fed"].append(tokens)
        return np.full((len(tokens), 7), logits, np.float32)

    facts = {"backend": "numpy", "arithmetic": "float32", "peer": peer, "weights_bytes": 1}
    return Side(name, lambda batch: {"length": 0, "fed": []}, feed, lambda caches: 640, 4, facts)


# --- rates, ratios, shares ------------------------------------------------------------------------------------------


def test_ratios_are_those_of_the_planted_times(folder, quick):
    clock = Clock()
    slower = iter([1, 1, 1, 2, 4])  # the warm-ups, then the repeats: the peer gets slower and slower
    peer = planted(clock, "peer", 0.002, 0.125, peer=True)

    def start(batch):
        factor = next(slower)
        peer_caches = planted(clock, "peer", 0, 0).start(batch)
        return peer_caches | {"factor": factor}

    def feed(caches, tokens):
        clock.now += tokens.shape[1] * (0.125 if tokens.shape[1] == 1 else 0.002) * caches["factor"]
        return np.ones((len(tokens), 7), np.float32)

    peer = peer._replace(start=start, feed=feed)
    ours = planted(clock, "ours", 0.001, 0.5)
    settings = Settings(prompt_tokens=100, new_tokens=4, repeats=3)
    got = run(Work(folder, "planted", [("numpy", lambda: ours), ("peer", lambda: peer)], settings, 1), clock=clock)
    (row,) = got["ratios"]
    assert (row["side"], row["peer"], row["batch"]) == ("ours", "peer", 1)
    assert row["prefill"] == pytest.approx({"min": 2, "median": 4, "max": 8}, rel=1e-6)
    assert row["decode"] == pytest.approx({"min": 0.25, "median": 0.5, "max": 1}, rel=1e-6)
    mine = next(r for r in got["prompt"] if r["side"] == "ours")
    assert mine["prefill_tokens_per_s"] == pytest.approx({"min": 1000, "median": 1000, "max": 1000}, rel=1e-6)
    assert mine["decode_tokens_per_s"] == pytest.approx({"min": 2, "median": 2, "max": 2}, rel=1e-6)
    assert mine["first_token_s"]["median"] == pytest.approx(0.1, rel=1e-6)
    assert len(mine["step_s_runs"]) == 3 and len(mine["step_s_runs"][0]) == 4


def test_sides_take_turns_with_a_pause_before_each():
    heard = []
    sides = [planted(Clock(), name, 1, 1) for name in "ab"]
    runs = in_turns(sides, 3, lambda side: heard.append(side.name), 0.2, sleep=lambda s: heard.append(s))
    assert heard == [0.2, "a", 0.2, "b"] * 3
    assert {name: len(r) for name, r in runs.items()} == {"a": 3, "b": 3}


def test_every_sequence_of_a_batch_is_counted():
    clock = Clock()
    side, tokens = planted(clock, "a", 0.001, 0.25), np.zeros((3, 14), np.int64)
    runs = [prompt_run(side, tokens, 10, clock)]
    assert len(runs[0].steps) == 4
    assert report.prefill_rates(runs, 3 * 10) == pytest.approx([3000], rel=1e-6)
    assert report.decode_rates(runs, 3) == pytest.approx([12], rel=1e-6)


def test_shares_of_the_limits_by_hand():
    limits = {"read": 30.0, "sgemv": 20.0, "sgemm": 150.0, "gpu copy": 3000.0, "gpu float64": 60000.0}
    side = planted(Clock(), "a", 1, 1)._replace(bytes_per_weight=2)
    # 28 * 6 * 2 * (6 + 3) attention weights and 3 * 28 * 44 others a layer, 67 * 28 for the output, 5 norms, 1 row
    layer = 28 * 6 * 2 * 9 + 3 * 28 * 44
    read = 2 * (2 * layer + 67 * 28 + 5 * 28 + 28)
    assert report.decode_share(10.0, CONFIG, side, limits) == pytest.approx(
        {"read": read * 10 / 30e9, "sgemv": read * 10 / 20e9}
    )
    assert report.prefill_share(10.0, CONFIG, "cpu", limits) == pytest.approx({"sgemm": 2 * 2 * layer * 10 / 150e9})
    assert set(report.prefill_share(10.0, CONFIG, "cuda", limits)) == {"gpu float64"}
    gpu = side._replace(facts=side.facts | {"backend": "cuda"})
    assert report.decode_share(10.0, CONFIG, gpu, limits) == pytest.approx({"gpu copy": read * 10 / 3e12})


# --- lengths --------------------------------------------------------------------------------------------------------


def test_cost_at_a_length_is_measured_there_and_a_growing_cost_shows():
    clock = Clock()
    caches = []
    growing = planted(clock, "growing", 0.001, 0.25, at=lambda position: 1 + position / 1000)
    keep = growing._replace(start=lambda batch: caches.append(growing.start(batch)) or caches[-1])
    tokens = np.arange(90)[None]
    probes = length_run(keep, tokens, (10, 30, 70), 3, 17, clock)
    assert (np.concatenate(caches[0]["fed"], axis=1) == tokens).all()  # every token once, in order
    assert [p.steps[0] for p in probes] == pytest.approx([0.25 * (1 + n / 1000) for n in (10, 30, 70)], rel=1e-6)
    assert [p.chunk for p in probes] == pytest.approx([0.017 * (1 + (n + 3) / 1000) for n in (10, 30, 70)], rel=1e-6)
    rows = report.length_rows(keep, (10, 30, 70), 17, [probes])
    (flat,) = report.flatness(rows, window=20)
    assert (flat["from"], flat["to"], flat["cache_constant"]) == (30, 70, True)
    assert flat["decode"] == pytest.approx(1.071 / 1.031 - 1, rel=1e-3)
    assert flat["prefill"] == pytest.approx(1.073 / 1.033 - 1, rel=1e-3)


def test_lengths_are_read_in_tokens_and_windows():
    assert read_lengths("W,2W,4W,8W", CONFIG) == (5, 10, 20, 40)
    assert probe(Settings(new_tokens=32), (5, 10, 20)) == (2, 3)
    assert probe(Settings(new_tokens=32), (256, 512, 1024)) == (32, 224)
    for wrong in ("", "W,W", "8,4", "0", "3x", "w"):
        with pytest.raises(BadInput, match="--lengths"):
            read_lengths(wrong, CONFIG)
    with pytest.raises(BadInput, match="no window"):
        read_lengths("W", MISTRAL_7B.__class__(**{**vars(MISTRAL_7B), "window": None}))
    with pytest.raises(BadInput, match="too close"):
        probe(Settings(), (5, 6))


def test_the_cache_of_a_model_is_counted_and_stops_growing_at_the_window(folder):
    side = side_of(Mistral.from_pretrained(folder), "numpy", np.dtype(np.float32))
    lengths = (5, 10, 20, 40)
    probes = length_run(side, np.arange(60)[None] % 67, lengths, 2, 3, Clock())
    assert [p.cache_bytes for p in probes] == [2 * 2 * 5 * 3 * 6 * 4] * 4  # k and v, layers, window, heads, d, float32


# --- equal work -----------------------------------------------------------------------------------------------------


def test_sides_that_compute_something_else_are_not_timed(folder, quick):
    models = [Mistral.random(CONFIG, seed, "float32") for seed in (1, 2)]
    sides = [side_of(m, "numpy", np.dtype(np.float32))._replace(name=n) for m, n in zip(models, "ab", strict=True)]
    work = Work(folder, "x", [("numpy", lambda s=s: s) for s in sides], Settings(11, 2, 1), 1)
    with pytest.raises(BadInput, match=r"a: logits differ|b and a: logits differ by .* nothing was timed"):
        run(work)


def test_a_cache_that_forgets_is_found_though_the_prompt_agrees(folder, quick):
    good = side_of(Mistral.from_pretrained(folder, "float32"), "numpy", np.dtype(np.float32))

    def forgetful(caches, tokens):
        return good.feed(good.start(len(tokens)), tokens)

    bad = good._replace(name="forgetful", feed=forgetful)
    work = Work(folder, "x", [("numpy", lambda: good), ("numpy", lambda: bad)], Settings(11, 2, 1), 1)
    with pytest.raises(BadInput, match="forgetful and numpy float32: logits differ"):
        run(work)


def test_whether_exact_sides_have_the_same_bits_is_shown(folder, quick):
    from minimistral.cli.bench import agreed

    exact = side_of(Mistral.from_pretrained(folder), "numpy", np.dtype(np.float32))

    def off(caches, tokens):
        logits = exact.feed(caches, tokens)
        return np.nextafter(logits, np.float32(9))

    sides = [exact, exact._replace(name="cpu exact"), exact._replace(name="cuda exact", feed=off)]
    rough = side_of(Mistral.from_pretrained(folder, "float32"), "numpy", np.dtype(np.float32))
    sides.insert(0, rough)
    work = Work(folder, "x", [("numpy", lambda s=s: s) for s in sides], Settings(11, 2, 1), 1)
    shown = {row["side"]: agreed(row["agreement"]) for row in run(work)["prompt"]}
    assert shown["numpy float32"] == "the reference"
    assert re.fullmatch(r"within \d.\de-0[5-8]", shown["numpy exact"])
    assert shown["cpu exact"] == shown["numpy exact"] + ", same exact bits"
    assert shown["cuda exact"].endswith(", BITS DIFFER from exact")


def test_agreement_says_bits_and_distance():
    a, b = planted(Clock(), "a", 1, 1), planted(Clock(), "b", 1, 1)
    x = np.array([[3.0, 4.0]], np.float32)
    assert agreement(a, x, b, x)["same_bits"] and agreement(a, x, b, x)["relative_l2"] == 0
    near = agreement(a, x + np.float32(0.004), b, x)
    assert not near["same_bits"] and near["relative_l2"] == pytest.approx(0.004 * 2**0.5 / 5, rel=1e-3)
    with pytest.raises(BadInput):
        agreement(a, x + 0.1, b, x)
    with pytest.raises(BadInput):
        agreement(a, x * np.nan, b, x)
    narrow = b._replace(facts=b.facts | {"arithmetic": "bfloat16"})
    assert agreement(a, x + np.float32(0.1), narrow, x)["max_abs"] == pytest.approx(0.1, rel=1e-3)


def test_the_peer_computes_the_same_in_chunks_and_batches(tmp_path):
    pytest.importorskip("torch", reason="the peer needs PyTorch: pip install 'minimistral[oracle]'")
    pytest.importorskip("transformers", reason="the peer: pip install 'minimistral[oracle]'")
    from minimistral.bench.peer import peer_side

    write_random_checkpoint(tmp_path / "hf", CONFIG, "hf", 1)
    peer = peer_side(tmp_path / "hf", CONFIG, "float32", False, "cpu", None, 60)
    ours = side_of(Mistral.from_pretrained(tmp_path / "hf", "float32"), "numpy", np.dtype(np.float32))
    tokens = np.random.default_rng(3).integers(0, 67, (2, 33))
    states, at = [peer.start(2), ours.start(2)], 0
    for n in (13, 1, 1, 7, 1, 10):  # beyond the window of 5, and over it in one chunk
        a, b = (side.feed(state, tokens[:, at : at + n]) for side, state in zip((peer, ours), states, strict=True))
        assert a.shape == b.shape == (2, 67)
        assert np.linalg.norm(a - b) < 1e-4 * np.linalg.norm(a), at
        at += n
    assert peer.facts["weights_bytes"] == 4 * sum(w.size for w in ours_tensors())
    assert 0 < peer.cache_bytes(states[0]) <= cache_bytes(states[1])


def ours_tensors():
    from minimistral.weights import random_tensors

    return random_tensors(CONFIG).values()


# --- the machine ----------------------------------------------------------------------------------------------------


def test_limits_have_the_planted_rates():
    clock = Clock()

    def call():
        clock.now += 0.5

    limit = machine.Limit("read", "GB/s", "planted", 4e9, call)
    assert machine.measure_limits([limit], 3, clock)["read"] == pytest.approx([8, 8, 8], rel=1e-6)


def test_the_cpu_limits_run(quick):
    found = machine.measure_limits(machine.cpu_limits(2), 2, measure.time.perf_counter)
    assert list(found) == ["read", "copy", "sgemm", "sgemv"]
    assert all(0 < rate < 1e6 for rates in found.values() for rate in rates)


def test_the_peak_of_memory_is_that_since_the_reset():
    memory = machine.Memory()
    memory.reset()
    held = np.ones(2**23)  # 64 MiB
    del held
    peak = memory.peak()
    if peak["peak_rss_growth_bytes"] is None:
        pytest.skip("this system does not forget a peak")
    assert 60 * 2**20 < peak["peak_rss_growth_bytes"] < 100 * 2**20
    memory.reset()
    assert memory.peak()["peak_rss_growth_bytes"] < 20 * 2**20


def test_compiling_is_told_apart():
    from numba import njit

    def twice(x):
        return 2 * x

    compiled = njit(twice)
    with compile_seconds() as seconds:
        compiled(1)
        first = seconds()
        compiled(2)
        assert seconds() == first > 0


def test_the_commit_is_the_checkouts():
    commit, changed = machine.commit()
    if not (ROOT / ".git").exists():
        assert (commit, changed) == (None, None)
    else:
        assert re.fullmatch("[0-9a-f]{40}", commit) and changed in (True, False)


# --- the command ----------------------------------------------------------------------------------------------------

SHORT = ["--prompt-tokens", "12", "--new-tokens", "3", "--repeats", "2", "--backend", "numpy"]


@pytest.fixture
def bench(capsys, quick):
    """Run `minimistral bench` in this process: (status, standard output, standard error)."""

    def command(*arguments):
        status = main(["bench", *map(str, arguments)])
        return status, *capsys.readouterr()

    return command


def keys_of(value, before="") -> set[str]:
    """Every key of the report with the ones above it; lists are looked through; rates and sizes by name end there."""
    if isinstance(value, list):
        return set().union(*[keys_of(v, before) for v in value]) if value else set()
    if not isinstance(value, dict):
        return set()
    return {f"{before}{k}" for k in value}.union(*[keys_of(v, f"{before}{k}.") for k, v in value.items()])


def test_the_report_of_a_small_model_and_its_files(bench, folder, tmp_path):
    options = ["--model", folder, *SHORT, "--batch", "1,2", "--lengths", "W,2W,4W", "--json", tmp_path / "r.json"]
    status, out, err = bench(*options)
    assert (status, err) == (0, "")
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["format"] == "minimistral-bench-1"
    assert [s["name"] for s in found["sides"]] == ["numpy exact", "numpy float32"]
    assert [(r["side"], r["batch"]) for r in found["prompt"]] == [
        ("numpy exact", 1), ("numpy float32", 1), ("numpy exact", 2), ("numpy float32", 2)]  # fmt: skip
    assert found["prompt"][0]["agreement"] is None
    assert found["prompt"][1]["agreement"]["relative_l2"] < 1e-4
    assert [r["length"] for r in found["lengths"]] == [5, 10, 20] * 2
    assert len({r["cache_bytes"] for r in found["lengths"]}) == 1
    assert all(f["cache_constant"] for f in found["flatness"])
    assert found["ratios"] == [] and found["settings"]["batches"] == [1, 2]
    assert found["sides"][0]["bytes_per_weight"] == 2 and found["sides"][1]["bytes_per_weight"] == 4
    assert str(tmp_path) not in json.dumps(found) and str(ROOT) not in json.dumps(found)
    for row in found["prompt"]:
        low, middle, high = (row["decode_tokens_per_s"][k] for k in ("min", "median", "max"))
        assert 0 < low <= middle <= high
    assert "numpy exact" in out and "from 5 to 20 tokens the cost of one more varies by" in out
    assert all(len(line) <= 120 for line in out.splitlines()[1:] if "the cost of one more" not in line)


def test_a_report_is_shown_again_and_another_file_is_not_one(bench, folder, tmp_path):
    options = ["--model", folder, *SHORT, "--arithmetic", "float32", "--json", tmp_path / "r.json"]
    first = bench(*options)[1]
    assert bench("--show", tmp_path / "r.json") == (0, first, "")
    (tmp_path / "other.json").write_text('{"format": 1}')
    status, out, err = bench("--show", tmp_path / "other.json")
    assert (status, out) == (2, "") and "other.json: format 1, expected a bench's file" in err


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "data").glob("bench*.json")), ids=lambda p: p.name)
def test_the_data_in_the_docs_can_be_shown_and_are_of_a_commit(bench, path):
    found = report.read_report(path)
    assert found["project"]["commit"] and found["machine"]["cpu"] and found["versions"]["numpy"]
    status, out, err = bench("--show", path)
    assert (status, err) == (0, "") and found["sides"][0]["name"] in out


def test_the_page_says_how_flat_the_cost_was():
    """By the quickest of the repeats: what else runs on a machine can only make one slower."""
    report = json.loads((ROOT / "docs" / "data" / "bench-130m-cpu-lengths.json").read_text())
    for what, compiled in (("decode", "2.6 % (decoded)"), ("prefill", "1.0 % (pre-filled)")):
        for side in ("numpy float32", "cpu exact"):
            costs = [r[f"{what}_s_per_token"]["min"] for r in report["lengths"] if r["side"] == side]
            varies = 100 * (max(costs) / min(costs) - 1)
            assert len(costs) == 4 and varies <= 4
        assert f"{varies:.1f}" == compiled.split()[0]  # of cpu exact
        assert compiled in " ".join((ROOT / "docs" / "kernels.md").read_text().split())


@pytest.mark.parametrize("name", ["bench-130m-cpu", "bench-130m-cpu-lengths"])
def test_the_page_shows_the_committed_data(bench, name):
    status, out, _ = bench("--show", ROOT / "docs" / "data" / f"{name}.json")
    assert status == 0
    assert f"```\n{out}```" in (ROOT / "docs" / "bench.md").read_text()


def test_the_page_names_every_field_of_the_report(bench, folder):
    status, out, _ = bench("--model", folder, *SHORT, "--lengths", "W,2W", "--json", "-")
    assert status == 0
    page = (ROOT / "docs" / "bench.md").read_text()
    documented = set(re.findall(r"`([a-z_0-9]+)`", page))
    skip = ("versions.", "model.config.", "threads.variables.", "prompt.share.")  # names that depend on the machine
    for key in keys_of(json.loads(out)):
        if not key.startswith(skip):
            assert key.split(".")[-1] in documented, key


def test_the_peer_in_the_same_run(bench, folder, tmp_path):
    pytest.importorskip("torch", reason="the peer needs PyTorch: pip install 'minimistral[oracle]'")
    pytest.importorskip("transformers", reason="the peer: pip install 'minimistral[oracle]'")
    options = ["--arithmetic", "float32", "--against", "transformers", "--peer-dtype", "float32,bfloat16"]
    status, out, err = bench("--model", folder, *SHORT, *options, "--json", "-")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert [(r["side"], r["peer"]) for r in found["ratios"]] == [
        ("numpy float32", "transformers float32"), ("numpy float32", "transformers bfloat16")]  # fmt: skip
    agreements = {r["side"]: r["agreement"] for r in found["prompt"]}
    assert agreements["transformers float32"] is None
    assert agreements["numpy float32"]["relative_l2"] < 1e-4 < agreements["transformers bfloat16"]["relative_l2"]
    for row in found["ratios"]:  # of the same repeat: recomputed from the times themselves
        ours, theirs = ({r["side"]: r for r in found["prompt"]}[row[k]] for k in ("side", "peer"))
        pairs = zip(ours["first_token_s_runs"], theirs["first_token_s_runs"], strict=True)
        ratios = sorted(b / a for a, b in pairs)
        assert (row["prefill"]["min"], row["prefill"]["max"]) == (ratios[0], ratios[-1])


def test_random_weights_are_made_and_taken_away(bench, monkeypatch, tmp_path):
    from minimistral.checkpoint.random_checkpoint import SIZES

    monkeypatch.setitem(SIZES, "130M", CONFIG)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    status, out, err = bench(*SHORT, "--arithmetic", "float32", "--json", "-")
    assert (status, err) == (0, "")
    assert json.loads(out)["model"]["name"] == "130M, random weights"
    assert list(tmp_path.iterdir()) == []


def test_the_figure_is_a_picture(bench, folder, tmp_path):
    pytest.importorskip("matplotlib", reason="the figure needs matplotlib")
    options = ["--batch", "1,2", "--lengths", "5,9", "--figure", tmp_path / "f.png"]
    assert bench("--model", folder, *SHORT, "--arithmetic", "float32", *options)[0] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["f.png"]
    assert (tmp_path / "f.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--backend", "gpu"], "--backend: 'gpu', expected some of numpy, cpu, cuda"),
        (["--backend", "auto"], "--backend: 'auto'"),
        (["--backend", ","], "--backend: ','"),
        (["--arithmetic", "int4"], "--arithmetic: 'int4'"),
        (["--backend", "cpu", "--arithmetic", "float32"], "--backend cpu computes exact only"),
        (["--show", "no-such.json"], "no-such.json: cannot be read"),
        (["--params", "13B"], "--params: '13B', expected one of 130M, 1B, 7B"),
        (["--params", "1B", "--model", "x"], "--model and --params: both given"),
        (["--model", "no-such-folder"], "no-such-folder"),
        (["--prompt-tokens", "0"], "--prompt-tokens: '0'"),
        (["--new-tokens", "many"], "--new-tokens: 'many'"),
        (["--repeats", "0"], "--repeats: '0'"),
        (["--batch", "1,0"], "--batch: '0'"),
        (["--batch", ""], "--batch: ''"),
        (["--lengths", "2W,W"], "--lengths: '2W,W'"),
        (["--against", "llama.cpp"], "--against: 'llama.cpp', expected transformers"),
        (["--peer-dtype", "bfloat16"], "expected --against transformers"),
        (["--peer-compile"], "expected --against transformers"),
        (["--against", "transformers", "--peer-dtype", "int8"], "--peer-dtype: 'int8'"),
        (["--threads", "0"], "--threads: '0'"),
        (["--memory", "much"], "--memory: 'much'"),
        (["--json", "no/such/folder/r.json"], "--json"),
        (["--figure", "no/such/folder/f.png"], "--figure"),
    ],
)
def test_a_bad_option_is_one_line(bench, options, expected):
    status, out, err = bench(*options)
    assert (status, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert expected in err


@pytest.mark.parametrize(
    ("module", "options"),
    [("matplotlib", ["--figure", "f.png"]), ("torch", ["--against", "transformers"]),
     ("transformers", ["--against", "transformers"])],
)  # fmt: skip
def test_what_is_not_installed_is_one_line(bench, monkeypatch, tmp_path, module, options):
    if module == "transformers":
        pytest.importorskip("torch", reason="it is looked for first")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, module, None)
    status, out, err = bench(*options)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert f"{module} is not installed; pip install" in err


def test_the_compiled_backends_compute_exact_and_numpy_all():
    assert choose(["numpy", "cuda"], ["float32", "exact"]) == [
        ("numpy", "float32"), ("numpy", "exact"), ("cuda", "exact")]  # fmt: skip
    assert choose(["cpu"], ["float32", "exact"]) == [("cpu", "exact")]


def test_threads_are_set_before_numpy_reads_them():
    code = (
        "import os, sys, minimistral.cli.program; from minimistral.cli.bench import use_threads; "
        "assert 'numpy' not in sys.modules; n = use_threads('1'); "
        "print(n, *[os.environ[v] for v in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'NUMBA_NUM_THREADS')])"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert got.stdout.split() == ["1"] * 4


def test_times_that_are_equal_have_the_ratio_one():
    sides = [planted(Clock(), "a", 1, 1), planted(Clock(), "p", 1, 1, peer=True)]
    same = [Times(2.0, [1.0, 3.0]), Times(5.0, [1.0, 1.0])]
    (row,) = report.ratio_rows(sides, 1, {"a": same, "p": same})
    assert row["prefill"] == row["decode"] == {"min": 1, "median": 1, "max": 1}
