"""The verifier finds each planted mistake, names the stage it is in, and passes a model that has none."""

import json
from dataclasses import replace

import numpy as np
import pytest

import fastpath.__main__
from fastpath.verify import as_json, verify
from fastpath.verify.cases import KINDS, checkpoint_case, random_case
from fastpath.verify.values import PLANTS
from minimistral import Mistral
from minimistral.arithmetic.exact import P_STEP, W_BITS, X_BITS, Exact, product
from minimistral.arithmetic.grid import grid, snap, top
from minimistral.arithmetic.widen import FLOAT32, widen
from minimistral.cli import main
from minimistral.config import Config
from minimistral.errors import NotFinite
from minimistral.rolling_cache import RollingCache
from minimistral.transformer import finite

MOST = 20  # cases until a mistake must be found
SEED = 2  # from which few cases are needed; for some mistakes another one
SEEDS = {
    "a-cache-changed-by-an-error": 33,
    "the-last-of-equals": 3,
    "an-overflow-unnoticed": 3,
    "an-error-in-other-words": 3,
}
LINEAR = {"q", "k", "v", "attention_output", "gate", "up", "ffn_output", "logits"}


def copy_of(model: Mistral) -> Mistral:
    return Mistral(model.config, model.weights, model.arithmetic)


def with_arithmetic(arithmetic: Exact):
    return lambda model: Mistral(model.config, model.weights, arithmetic)


# ---- planted mistakes ------------------------------------------------------------------------------------------------


class LibraryExp(Exact):
    exp = staticmethod(np.exp)


class GridOverTheBatch(Exact):
    """One top for all rows, as if the batch were one vector."""

    def linear(self, x, w):
        step = top(x.reshape(1, -1)) * 2.0**-X_BITS
        return self.store(np.rint(widen(x, np.dtype(float)) / step) * step @ widen(w, np.dtype(float)).T)


class Float32Sums(Exact):
    def linear(self, x, w):
        return self.store(x @ widen(w, FLOAT32).T)


class OneBitLess(Exact):
    """A grid of 30 bits in place of 31."""

    def linear(self, x, w):
        return self.store(product(grid(x, X_BITS - 1), w))


class Float32Angles(Exact):
    def cos_sin(self, positions, turns):
        angle = positions.astype(np.float32)[:, None] * (turns * 2.0**-64 * 2 * np.pi).astype(np.float32)
        return np.cos(angle), np.sin(angle)


class TotalRounded(Exact):
    """The denominator of attention rounded as a whole, not each of its terms."""

    def weighted_mean(self, p, v):
        t = top(v)
        total = snap(p.sum(axis=-1, keepdims=True), P_STEP)
        return self.store(product(p * t.T, (grid(v, W_BITS) / t).T) / total)


class MinusZero(Exact):
    def store(self, x):
        return widen(x, FLOAT32)


class StaleSlot(RollingCache):
    """After the ring has wrapped, slot 0 is never written again."""

    def write(self, keys, values):
        old = [(k[:1].copy(), v[:1].copy()) for k, v in zip(self.keys, self.values, strict=True)]
        super().write(keys, values)
        for layer, window in enumerate(self.windows):
            if window is not None and self.length > window and len(old[layer][0]):
                self.keys[layer][:1], self.values[layer][:1] = old[layer]


class WithStaleSlot(Mistral):
    cache_class = StaleSlot

    def new_cache(self):
        return StaleSlot(self.config, self.arithmetic.dtype)


class BatchMixesUp(Mistral):
    """In a batch, the second sequence reads the first one's cache as well as its own."""

    def hidden(self, sequences, caches, *stage):
        if len(caches) > 1 and caches[0].length and caches[1].length >= caches[0].length:
            for i in range(len(caches[1].keys)):
                caches[1].keys[i][:1] = caches[0].keys[i][:1]
        return super().hidden(sequences, caches, *stage)


class LastOfEquals(Mistral):
    """argmax takes the highest id among equals."""

    def generate(self, prompts, max_new_tokens, temperature, **options):
        if temperature:
            return super().generate(prompts, max_new_tokens, temperature, **options)
        return self.greedy(prompts, max_new_tokens)

    def greedy(self, prompts, steps):
        caches = [self.new_cache() for _ in prompts]
        for _ in range(steps):
            logits = self.next_logits(prompts, caches)
            ids = [len(x) - 1 - int(np.argmax(x[::-1])) for x in logits]
            yield ids
            prompts = [np.array([n]) for n in ids]


class SaysNothing(Mistral):
    """A stage that overflows goes unnoticed, unless all stages are asked for."""

    def hidden(self, sequences, caches, stage=finite):
        return super().hidden(sequences, caches, (lambda name, x: x) if stage is finite else stage)


class OtherWords(Mistral):
    def hidden(self, *arguments):
        try:
            return super().hidden(*arguments)
        except NotFinite as error:
            raise NotFinite(f"{error}!") from None


class WritesBeforeItFails(Mistral):
    """A call that fails has written its tokens' place in the ring."""

    def hidden(self, sequences, caches, *stage):
        try:
            return super().hidden(sequences, caches, *stage)
        except NotFinite:
            for cache in caches:
                cache.length += 1
            raise


def wider(config: Config) -> Config:
    ws = config.window if isinstance(config.window, tuple) else (config.window,) * config.n_layers
    return replace(config, window=tuple(w and w + 1 for w in ws))


PLANTED = {  # name: (candidate, the stages that may be the first to show it)
    "a-library-exp": (with_arithmetic(LibraryExp()), {"attention", "ffn_hidden"}),
    "a-grid-over-the-batch": (with_arithmetic(GridOverTheBatch()), LINEAR),
    "a-grid-of-one-bit-less": (with_arithmetic(OneBitLess()), LINEAR),
    "sums-in-float32": (with_arithmetic(Float32Sums()), LINEAR),
    "angles-in-float32": (with_arithmetic(Float32Angles()), {"q_rope", "k_rope"}),
    "a-total-rounded-as-a-whole": (with_arithmetic(TotalRounded()), {"attention"}),
    "a-minus-zero": (with_arithmetic(MinusZero()), {"embedding", "ffn_hidden", *LINEAR}),
    "a-stale-slot": (lambda m: WithStaleSlot(m.config, m.weights, m.arithmetic), {"scores", "attention"}),
    "a-window-off-by-one": (lambda m: Mistral(wider(m.config), m.weights, m.arithmetic), {"scores"}),
    "sequences-mixed-up": (lambda m: BatchMixesUp(m.config, m.weights, m.arithmetic), {"scores"}),
    "the-last-of-equals": (lambda m: LastOfEquals(m.config, m.weights, m.arithmetic), {"drawn"}),
    "an-overflow-unnoticed": (lambda m: SaysNothing(m.config, m.weights, m.arithmetic), {"error"}),
    "a-cache-changed-by-an-error": (
        lambda m: WritesBeforeItFails(m.config, m.weights, m.arithmetic),
        {"logits", "error"},
    ),
    "an-error-in-other-words": (lambda m: OtherWords(m.config, m.weights, m.arithmetic), {"error"}),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_is_found_and_its_stage_named(name):
    candidate_of, stages = PLANTED[name]
    seed = SEEDS.get(name, SEED)
    report = verify(candidate_of, seed=seed, cases=MOST)
    assert report.differences, f"not found in {report.count}"
    first = report.differences[0]
    assert first.stage.split(" ")[0].split(".")[-1] in stages, first
    replayed = verify(candidate_of, seed=seed, case=report.case.number)
    assert replayed.differences == report.differences


def test_a_copy_of_the_reference_passes_and_errors_agree():
    report = verify(copy_of, seed=2, cases=15)
    assert (report.cases, report.count.bits_differing, report.differences) == (15, 0, [])
    assert report.count.bits == 32 * report.count.values > 1e7
    assert report.count.errors_agreed > 0  # some cases overflow on purpose


# ---- cases -----------------------------------------------------------------------------------------------------------


def test_a_case_is_the_same_when_it_is_made_again():
    a, b = random_case(5, 3), random_case(5, 3)
    assert (a.text, a.chunks) == (b.text, b.chunks) and np.array_equal(a.tokens, b.tokens)
    assert [(p.text, p.rounds) for p in a.plans] == [(p.text, p.rounds) for p in b.plans]
    assert np.array_equal(a.model().weights.output, b.model().weights.output)
    assert random_case(5, 4).text != a.text != random_case(6, 3).text


def test_the_cases_are_as_different_as_they_should_be():
    texts = [random_case(0, n).text for n in range(100)]
    for word in [*KINDS, *PLANTS, "bfloat16", "float16", "float32", "mixed types", "not finite"]:
        assert any(word in text for text in texts), word
    for word in [
        "window None",
        "window 1,",
        "window (",
        "1 layer,",
        "4 layers",
        "heads of 6,",
        "heads of 160",
        "/3 heads",
    ]:
        assert any(word in text for text in texts), word


@pytest.fixture(scope="module")
def small() -> Mistral:
    sizes = {"dim": 12, "n_layers": 2, "head_dim": 6, "hidden_dim": 20, "n_heads": 6, "n_kv_heads": 2}
    return Mistral.random(Config(**sizes, vocab_size=31, window=9), dtype="bfloat16")


def test_a_model_that_is_there_is_compared_beyond_its_window(small):
    cases = [checkpoint_case(0, n, small) for n in range(20)]
    assert max(len(c.tokens) for c in cases) > 3 * small.config.window
    assert verify(copy_of, cases=3, model=small).differences == []
    found = verify(with_arithmetic(Float32Sums()), cases=3, model=small)
    assert found.differences[0].stage.split(".")[-1] in LINEAR


# ---- the report and the command line ---------------------------------------------------------------------------------


def test_a_limit_ends_the_run():
    assert verify(copy_of, seed=2, cases=3).cases == 3
    assert verify(copy_of, seed=2, bits=1, cases=30).cases == 1
    assert verify(copy_of, seed=2, minutes=1e-9).cases == 1
    shares = []
    verify(copy_of, seed=2, cases=2, progress=lambda done, total: shares.append(done / total))
    assert shares == [0.5, 1, 1]


def test_the_json_holds_both_bit_patterns_and_what_replays_them():
    report = verify(with_arithmetic(Float32Sums()), seed=4)
    found = json.loads(json.dumps(as_json({"cpu": report})))
    assert found["format"] == "fastpath-verify-1" and found["versions"]["numpy"] == np.__version__
    entry = found["backends"]["cpu"]
    first = entry["differences"][0]
    assert (entry["seed"], first["case"]) == (4, report.case.number)
    a, b = (int(first[f"{side}_bits"], 16) for side in ("reference", "candidate"))
    assert a != b and abs(a - b) < 2**20
    assert np.array(a, np.uint32).view(np.float32) == np.float32(first["reference"])
    traced = random_case(4, first["case"])
    stages = [m.trace(traced.tokens, only=["*", "*.scores"]) for m in (traced.model(), wrong(traced))]
    place = tuple(first["index"])
    assert [int(x[first["stage"]][place].view(np.uint32)) for x in stages] == [a, b]


def wrong(case) -> Mistral:
    return with_arithmetic(Float32Sums())(case.model())


@pytest.mark.parametrize("program", [main, fastpath.__main__.main], ids=["minimistral", "fastpath"])
def test_the_command_says_that_nothing_differs(program, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("fastpath.verify.report.model_class", lambda backend: Mistral)
    file = tmp_path / "report.json"
    assert program(["verify", "--cases", "2", "--json", str(file)]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "differ     0 bits" in out and "compared   2 cases of seed 0" in out
    assert json.loads(file.read_text())["backends"]["cpu"]["differences"] == []
    assert list(tmp_path.iterdir()) == [file]


def test_the_command_names_the_first_difference_and_how_to_see_it_again(capsys, monkeypatch):
    class Wrong(Mistral):
        def __init__(self, config, weights, arithmetic):
            super().__init__(config, weights, Float32Sums())

    monkeypatch.setattr("fastpath.verify.report.model_class", lambda backend: Wrong)
    assert main(["verify", "--seed", "4"]) == 1
    out, err = capsys.readouterr()
    assert err == ""
    first = verify(with_arithmetic(Float32Sums()), seed=4).differences[0]
    for words in (
        f"stage      {first.stage}:",
        first.where,
        first.reference_bits,
        first.candidate_bits,
        first.candidate,
    ):
        assert words in out
    replay = next(line for line in out.splitlines() if line.startswith("replay")).split("fastpath ")[1]
    assert fastpath.__main__.main(replay.split()) == 1
    assert f"candidate  {first.candidate_bits}" in capsys.readouterr()[0]
    assert main(["verify", "--seed", "4", "--json", "-"]) == 1
    assert json.loads(capsys.readouterr()[0])["backends"]["cpu"]["differences"][0]["stage"] == first.stage


def test_all_leaves_out_what_the_machine_lacks_and_says_so(capsys, monkeypatch):
    def lacking(backend):
        if backend == "cuda":
            raise ImportError("no such package")
        return Mistral

    monkeypatch.setattr("fastpath.verify.report.model_class", lacking)
    assert main(["verify", "--backend", "all", "--cases", "1"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("backend    cpu") and out.count("backend  ") == 1
    assert err == "note: left out: backend: cuda is not here: no such package\n"
    assert main(["verify", "--backend", "cuda", "--cases", "1"]) == 2
    assert capsys.readouterr() == ("", "error: backend: cuda is not here: no such package\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "gpu"], "backend: 'gpu', expected one of cpu, cuda"),
        (["--bits", "none"], "--bits: 'none', expected a number from 1"),
        (["--cases", "0"], "--cases: '0', expected a whole number from 1"),
        (["--minutes", "nan"], "--minutes: 'nan', expected a number"),
        (["--seed", "-1"], "--seed: '-1', expected a whole number from 0"),
        (["--case", "x"], "--case: 'x', expected a whole number from 0"),
        (["--json", "/no/such/place"], "--json: /no/such is not a folder"),
        (["--model", "/no/such/model"], "/no/such/model"),
        (["--colour"], "--colour"),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else "",
)
def test_a_mistake_is_one_line_and_status_2(arguments, words, capsys):
    assert fastpath.__main__.main(["verify", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and words in err
