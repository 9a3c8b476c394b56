"""Does `minimistral check` name what was planted? Mistakes and right ways of a Mistral that is not ours (oracle_model.py).

A few of each run every time; the whole table (slow) is made by

    PYTHONPATH=. python tests/test_check_confusion.py docs/data/check-confusion.json

A third of the ids, HELD_OUT, had no part in the choice of any threshold. What a model cannot show (no effect on it), what
is smaller than the budget of the format, and what is the same numbers as another id are counted apart, and listed.
"""

import json
import sys
import tempfile
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="the other Mistral is written in PyTorch: pip install 'minimistral[oracle]'"
)
from oracle import hf_tensors
from oracle_model import DTYPES, MORE, WAYS, WRONG, Model, attend, chunks_for, linear, write_trace

from minimistral.arithmetic import by_name
from minimistral.check.checked import Checked
from minimistral.check.diagnose import diagnose
from minimistral.check.trace_file import Trace
from minimistral.config import Config
from minimistral.weights import from_tensors, random_tensors

ALL = WRONG | MORE  # the ids of the table, and those found later
HELD_OUT = sorted(np.random.default_rng(2024).permutation(sorted(WRONG))[: len(WRONG) // 3].tolist())
MODES = {
    "full float32": ("float32", None),
    "full bfloat16": ("bfloat16", None),
    "logits float32": ("float32", "logits"),
}
TWELVE = (
    "window-plus-one", "rope-direction", "rope-theta", "gqa-tile", "permute-key-heads", "scale-dim", "head-order",
    "norm-eps", "norm-weights-swapped", "gelu", "residual-from-norm", "output-tied",
)  # fmt: skip


class Plan:
    """A random model of one ratio of heads, with tokens."""

    def __init__(self, n: int, T: int, ratio: int, window: int | None, n_layers: int = 2):
        rng = np.random.default_rng([20, n])
        kv = int(rng.integers(2, 4)) if ratio < 4 else int(rng.integers(1, 3))
        self.n, self.T = n, T
        self.config = Config(
            dim=int(rng.choice([40, 48, 60])), n_layers=n_layers, head_dim=int(rng.choice([4, 8, 12])) * 2 // (1 + (ratio > 3)),
            hidden_dim=int(rng.choice([70, 90])), n_heads=kv * ratio, n_kv_heads=kv, vocab_size=61, window=window,
        )  # fmt: skip
        self.layout = ("hf", "mistral")[n % 2]
        self.tensors = random_tensors(self.config, n)
        self.weights = from_tensors(self.tensors, self.config, by_name("float64"))
        self.tokens = rng.integers(2, 61, T)

    def stages(self, dtype: str, parts=None, chunks=None, wrong_in=None) -> dict:
        c = self.config
        sizes = {
            "dim": c.dim, "n_heads": c.n_heads, "n_kv_heads": c.n_kv_heads, "head_dim": c.head_dim, "eps": c.norm_eps,
            "theta": c.rope_theta, "windows": [c.layer_window(i) for i in range(c.n_layers)],
        }  # fmt: skip
        return Model(sizes, self.tensors, dtype, self.layout, parts or {}, wrong_in)(self.tokens, chunks)

    def check(self, stages: dict, dtype: str, only: str | None = None):
        """Comparisons and findings of a trace of these stages."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.safetensors"
            write_trace(path, self.tokens, stages, dtype, self.layout, lambda name: only in (None, name))
            return diagnose(Checked(Trace(path, self.config), self.weights, self.config))

    def chunks(self, id: str, variant: str):
        rng = np.random.default_rng([self.n, zlib.crc32(f"{id} {variant}".encode())])
        return chunks_for(id, variant, self.T, min(self.config.window or self.T, self.T), rng)

    def could(self, id: str) -> bool:
        """Can this be written for such sizes?"""
        c = self.config
        return {
            "permute-key-heads": c.n_kv_heads * c.head_dim % (2 * c.n_heads) == 0,
            "gqa-divisor": c.n_heads <= c.n_kv_heads**2,
        }.get(id, True)


QUICK = Plan(3, T=26, ratio=2, window=7), Plan(4, T=31, ratio=3, window=9)
LENGTHS = (30, 34, 41, 52, 60, 80, 120, 300)
PLANS = [
    Plan(ratio, T, ratio, window)
    for ratio, T, window in zip(range(1, 9), LENGTHS, (8, 12, 40, 13, 7, 26, 64, 100), strict=True)
]


def outcome(plan: Plan, id: str, variant: str, mode: str) -> tuple[str, list[str]]:
    """`named`, `no effect`, `within the budget`, `same numbers`, `unknown` or `false name`; and the ids found."""
    (dtype, only), chunks = MODES[mode], plan.chunks(id, variant)
    wrong = plan.stages(dtype, ALL[id][variant], chunks)
    right = plan.stages(dtype, None, None if id.startswith("tokens") else chunks)
    findings = plan.check(wrong, dtype, only)[1]
    ids = [f.mistake.id if f.mistake else "unknown" for f in findings]
    if not ids:
        same = all(torch.equal(wrong[name], right[name]) for name in (right if only is None else [only]))
        harmless = only is not None and id == "rope-position-offset"
        return "no effect" if same or harmless else "within the budget", ids
    if set(ids) == {id}:
        return "named", ids
    if all(id in (f.mistake.id if f.mistake else "", *f.or_else) for f in findings):
        return "same numbers", ids
    return "unknown" if set(ids) <= {"unknown", id} else "false name", ids


# Right ways.


def transformers_stages(plan: Plan, dtype: str, attention: str) -> dict:
    """Embedding, what the first layers leave, the final norm and logits of Hugging Face's own Mistral."""
    transformers = pytest.importorskip("transformers", reason="pip install 'minimistral[oracle]'")
    c = plan.config
    config = transformers.MistralConfig(
        vocab_size=c.vocab_size, hidden_size=c.dim, intermediate_size=c.hidden_dim, num_hidden_layers=c.n_layers,
        num_attention_heads=c.n_heads, num_key_value_heads=c.n_kv_heads, head_dim=c.head_dim, rms_norm_eps=c.norm_eps,
        sliding_window=c.window, rope_theta=c.rope_theta, max_position_embeddings=4096, attn_implementation=attention,
    )  # fmt: skip
    model = transformers.MistralForCausalLM(config).eval()
    named = {n: torch.from_numpy(w) for n, w in hf_tensors(plan.tensors, c.head_dim).items()}
    model.load_state_dict(named, strict=True)
    with torch.no_grad():
        run = model.to(DTYPES[dtype])(torch.as_tensor(plan.tokens)[None], output_hidden_states=True)
    *streams, norm = (h[0] for h in run.hidden_states)
    outputs = {f"layers.{i}.output": h for i, h in enumerate(streams[1:])}
    return {"embedding": streams[0], **outputs, "norm": norm, "logits": run.logits[0]}


def right_stages(plan: Plan, way: str, dtype: str) -> dict:
    if way.startswith("transformers"):
        return transformers_stages(plan, dtype, way.split()[1])
    chunks = [plan.T - 9, *[1] * 9] if way == "fused" else None
    return plan.stages(dtype, WAYS[way], chunks)


def alarms(plan: Plan, way: str, dtype: str) -> tuple[list[str], float]:
    """Stages of a right implementation that do not agree, all recorded or logits alone; its largest error, in budgets."""
    stages, wrong, worst = right_stages(plan, way, dtype), [], 0.0
    for only in (None, "logits"):
        compared = plan.check(stages, dtype, only)[0]
        wrong += [name for name, c in compared.items() if not c.ok]
        worst = max(worst, *(c.worst for c in compared.values()))
    return wrong, worst


# Faults that no id names: the parts, and the first stage that they change.


def in_layer(layer: int, wrong: Callable, right: Callable) -> Callable:
    return lambda m, *given: (wrong if m.layer == layer else right)(m, *given)


def head_dropped(m, q, k, v, seen):
    a = attend(m, q, k, v, seen)
    a[1] = 0
    return a


def one_key_lost(m, q, k, v, seen):
    seen = seen.clone()
    seen[7:, 5] = False
    return attend(m, q, k, v, seen)


def product(rows: int, change: Callable) -> Callable:
    """A linear layer in layer 1 with that many output rows, its weight changed."""

    def wrong(m, x, w):
        return linear(m, x, change(w.clone()) if m.layer == 1 and len(w) == rows and w.shape[1] == m.dim else w)

    return wrong


def zeroed(row):
    def change(w):
        w[row] = 0
        return w

    return change


def unknown_faults(plan: Plan) -> dict[str, tuple[dict, str]]:
    c = plan.config
    q_rows = c.n_heads * c.head_dim
    row = lambda m, ids: torch.where(ids[:, None] == int(plan.tokens[4]), 0.5, 1.0) * m.w["tok_embeddings"][ids]
    return {
        "one row of the embedding is half": ({"embed": row}, "embedding"),
        "one row of wq is 0": ({"linear": product(q_rows, zeroed(3))}, "layers.1.q"),
        "one row of w1 is 0": ({"linear": product(c.hidden_dim, zeroed(11))}, "layers.1.gate"),
        "rows of wq in a random order": (
            {"linear": product(q_rows, lambda w: w[torch.randperm(len(w), generator=torch.Generator().manual_seed(1))])},
            "layers.1.q",
        ),
        "one head dropped": ({"attend": in_layer(0, head_dropped, attend)}, "layers.0.attention"),
        "one key lost": ({"attend": in_layer(1, one_key_lost, attend)}, "layers.1.attention"),
        "attention counts half in one layer": (
            {"add_attention": in_layer(1, lambda m, h, x, a: h + a / 2, lambda m, h, x, a: h + a)},
            "layers.1.attention_residual",
        ),
        "scores 10 % too large in one layer": (
            {"scale": in_layer(1, lambda m: 1.1 * m.head_dim**-0.5, lambda m: m.head_dim**-0.5)}, "layers.1.attention"),
        "gate held to 1": (
            {"gated": lambda m, gate, up: torch.nn.functional.silu(gate.clamp(max=1)) * up}, "layers.0.ffn_hidden"),
        "feed-forward scaled in the last layer": (
            {"add_ffn": in_layer(1, lambda m, h, x, f: h + 1.3 * f, lambda m, h, x, f: h + f)}, "layers.1.output"),
    }  # fmt: skip


# What runs every time.


@pytest.mark.parametrize("id", ALL)
@pytest.mark.parametrize("mode", ["full float32", "logits float32"])
def test_a_planted_mistake_is_named(id, mode):
    plan = QUICK[mode == "logits float32"]
    variant = next(iter(ALL[id]))
    assert not plan.could(id) or outcome(plan, id, variant, mode)[0] in ("named", "no effect", "same numbers")


@pytest.mark.parametrize("way", [*WAYS, "transformers eager", "transformers sdpa"])
def test_a_right_implementation_agrees(way):
    for plan, dtype in zip((*QUICK, QUICK[0]), DTYPES, strict=True):
        assert alarms(plan, way, dtype)[0] == []


@pytest.mark.parametrize("pair", [("rope-direction", "gelu"), ("gqa-tile", "scale-dim"), ("norm-eps", "output-tied")])
def test_two_mistakes_are_both_named_the_earlier_first(pair):
    assert pair_outcome(QUICK[0], pair) == "named"


@pytest.mark.parametrize("fault", ["one head dropped", "feed-forward scaled in the last layer"])
def test_an_unknown_fault_has_no_name_and_its_stage_is_found(fault):
    assert unknown_outcome(QUICK[0], fault, None) == "stage right"


def test_a_mistake_in_one_layer_is_named_with_the_layer():
    for only in (None, "logits"):
        stages = QUICK[0].stages("float32", WRONG["rope-direction"][""], wrong_in=(1,))
        findings = QUICK[0].check(stages, "float32", only)[1]
        assert [(f.mistake.id, f.where) for f in findings] == [("rope-direction", "layer 1")]


def test_three_mistakes_are_named():
    parts = WRONG["window-minus-one"][""] | WRONG["rope-theta"]["theta 1e+06"] | WRONG["relu"][""]
    findings = QUICK[0].check(QUICK[0].stages("float32", parts), "float32")[1]
    assert [f.mistake.id for f in findings] == ["rope-theta", "window-minus-one", "relu"]


def test_a_value_that_is_no_number_is_found_where_it_first_is():
    stages = QUICK[0].stages("float32")
    stages["layers.0.up"][5, 3] = torch.nan
    stages["layers.0.ffn_hidden"][5, 3:] = torch.nan
    findings = QUICK[0].check(stages, "float32")[1]
    assert [(f.mistake, f.stage, f.variant) for f in findings] == [(None, "layers.0.up", "NaN at position 5")]


@pytest.mark.parametrize("only", [None, "logits"])
def test_one_token_is_enough(only):
    plan = Plan(5, T=1, ratio=2, window=4)
    assert plan.check(plan.stages("bfloat16"), "bfloat16", only)[1] == []
    findings = plan.check(plan.stages("float32", WRONG["gelu"][""]), "float32", only)[1]
    assert [f.mistake.id for f in findings] == ["gelu"]


def test_a_number_too_large_for_the_format_is_found():
    plan = Plan(3, T=26, ratio=2, window=7)
    plan.tensors["layers.0.feed_forward.w3.weight"] *= 1e5
    plan.weights = from_tensors(plan.tensors, plan.config, by_name("float64"))
    findings = plan.check(plan.stages("float16"), "float16")[1]
    assert (findings[0].mistake, findings[0].stage, findings[0].variant) == (
        None,
        "layers.0.up",
        "infinity at position 0",
    )


def test_a_run_holds_one_layer_at_a_time():
    peaks = []
    for n_layers in (2, 12):
        plan = Plan(3, T=200, ratio=2, window=7, n_layers=n_layers)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.safetensors"
            write_trace(
                path, plan.tokens, plan.stages("float32"), "float32", plan.layout, lambda name: name == "logits"
            )
            checked = Checked(Trace(path, plan.config), plan.weights, plan.config)
            tracemalloc.start()
            checked.compare("logits")
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


# The whole table.


def pair_outcome(plan: Plan, pair: tuple[str, str]) -> str:
    """Full float32: both named, in the order of the stages that they change."""
    parts = {part: wrong for id in pair for part, wrong in WRONG[id][next(iter(WRONG[id]))].items()}
    alone = []
    for id in pair:
        compared, _ = plan.check(plan.stages("float32", WRONG[id][next(iter(WRONG[id]))]), "float32")
        alone.append(next((n for n, (name, c) in enumerate(compared.items()) if not c.ok), None))
    if None in alone:
        return "no effect"
    findings = plan.check(plan.stages("float32", parts), "float32")[1]
    found = [f.mistake.id if f.mistake else "unknown" for f in findings]
    in_order = [id for _, id in sorted(zip(alone, pair, strict=True), key=lambda p: p[0])]
    if sorted(found) != sorted(pair):
        return f"found {', '.join(found)}"
    return "named" if found == in_order or alone[0] == alone[1] else "named, the later first"


def unknown_outcome(plan: Plan, fault: str, only: str | None) -> str:
    parts, stage = unknown_faults(plan)[fault]
    findings = plan.check(plan.stages("float32", parts), "float32", only)[1]
    names = [f.mistake.id for f in findings if f.mistake]
    if names:
        return f"false name {', '.join(names)}"
    if not findings:
        return "within the budget"
    return "stage right" if findings[0].stage == (only or stage) else f"stage {findings[0].stage}"


def one(job: tuple) -> tuple:
    """A line of the table: in another process."""
    torch.set_num_threads(1)
    kind, *given = job
    if kind == "planted":
        n, *what = given
        return (*job, *outcome(PLANS[n], *what))
    if kind == "pair":
        return (*job, pair_outcome(PAIR_PLAN, given[0]))
    if kind == "right":
        n, *what = given
        return (*job, *alarms(RIGHT_PLANS[n], *what))
    return (*job, unknown_outcome(PAIR_PLAN, *given))


PAIR_PLAN = Plan(11, T=37, ratio=4, window=9)
RIGHT_PLANS = [PLANS[n] for n in range(6)]


def jobs() -> list[tuple]:
    """Every id on every plan with one of its variants (two of many), in turn; of 300 tokens every fourth id."""
    planted = []
    for n, plan in enumerate(PLANS):
        for id in filter(plan.could, list(ALL)[:: 4 if plan.T == 300 else 1]):
            variants = list(ALL[id])
            chosen = {variants[(n + k) % len(variants)] for k in range(2 if len(variants) > len(PLANS) else 1)}
            planted += [("planted", n, id, variant, mode) for variant in sorted(chosen) for mode in MODES]
    pairs = [("pair", pair) for pair in combinations(TWELVE, 2)]
    ways = [*WAYS, "transformers eager", "transformers sdpa"]
    leaking = {"float64 leaks": ["float32"]}
    right = [("right", n, way, dtype) for n in range(6) for way in ways for dtype in leaking.get(way, DTYPES)]
    unknown = [("unknown", fault, only) for fault in unknown_faults(PAIR_PLAN) for only in (None, "logits")]
    return planted + pairs + right + unknown


def table(lines: list[tuple]) -> dict:
    """What goes into docs/data/check-confusion.json."""
    planted = [line[1:] for line in lines if line[0] == "planted"]
    result: dict = {"command": __doc__.splitlines()[4].strip(), "held_out": HELD_OUT, "models": [], "named": {}}
    for plan in PLANS:
        c = plan.config
        result["models"].append({"T": plan.T, "heads": [c.n_heads, c.n_kv_heads], "window": c.window, "dim": c.dim})
    for mode in MODES:
        result["named"][mode] = {
            which: rate([line for line in planted if line[3] == mode and line[1] in ids])
            for which, ids in (
                ("all", ALL),
                ("held out", HELD_OUT),
                ("tuned", set(WRONG) - {*HELD_OUT}),
                ("not in the table", MORE),
            )
        }
    result["by id"] = {
        id: {mode: dict(Counter(line[4] for line in planted if line[1] == id and line[3] == mode)) for mode in MODES}
        for id in ALL
    }
    result["not named"] = [
        {"model": n, "id": id, "variant": variant, "mode": mode, "outcome": what, "found": found}
        for n, id, variant, mode, what, found in planted
        if what != "named"
    ]
    pairs = [line for line in lines if line[0] == "pair"]
    result["pairs"] = {"of": len(pairs), "named": sum(p[2] == "named" for p in pairs),
                       "not named": [[*p[1], p[2]] for p in pairs if p[2] != "named"]}  # fmt: skip
    right = [line[1:] for line in lines if line[0] == "right"]
    largest = {dtype: round(max(r[-1] for r in right if r[2] == dtype), 3) for dtype in DTYPES}
    result["right"] = {"of": len(right), "alarms": [r for r in right if r[3]], "largest error, in budgets": largest}
    result["unknown"] = [{"fault": fault, "recorded": only or "all", "outcome": what}
                         for _, fault, only, what in (line for line in lines if line[0] == "unknown")]  # fmt: skip
    return result


def rate(lines: list[tuple]) -> dict:
    counts = Counter(line[4] for line in lines)
    over = counts["named"] + counts["unknown"] + counts["false name"]
    return {**dict(sorted(counts.items())), "of": over, "rate": round(counts["named"] / max(over, 1), 4)}


def make_table(processes: int = 2) -> dict:
    with ProcessPoolExecutor(processes) as pool:
        return table(list(pool.map(one, jobs(), chunksize=4)))


@pytest.mark.parametrize(("n", "variant"), [(0, "bfloat16 scores and probabilities"), (5, "float16 probabilities")])
def test_a_run_that_rounds_is_named_from_logits_alone(n, variant):
    """Each rounding is magnified, and so is its own budget: nearly all rows are right to the right lines' budget."""
    assert outcome(PLANS[n], "softmax-low-precision", variant, "logits float32")[0] == "named"


@pytest.mark.slow
def test_the_whole_table():
    t = make_table()
    for mode, least in (("full float32", 0.98), ("full bfloat16", 0.98), ("logits float32", 0.95)):
        assert t["named"][mode]["all"]["rate"] >= least and not t["named"][mode]["all"].get("false name")
        assert t["named"][mode]["held out"]["rate"] >= least
    assert t["pairs"]["not named"] == [] and t["pairs"]["of"] == 66
    assert t["right"]["alarms"] == [] and t["right"]["of"] >= 200
    assert not any("false name" in u["outcome"] for u in t["unknown"])
    assert sum(u["outcome"] == "stage right" for u in t["unknown"] if u["recorded"] == "all") >= 9


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(make_table(), indent=1) + "\n")
