"""Every known mistake: its words, its lines, what they change, and that no two are the same."""

import ast
import re
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from minimistral.arithmetic import by_name
from minimistral.check.lines import RIGHT, Lines
from minimistral.check.mistakes import MISTAKES, Case, by_id
from minimistral.check.mistakes.cache import ring, write_right
from minimistral.check.mistakes.page import page
from minimistral.check.number import REFERENCE
from minimistral.check.stages import LINES_OF, Setting, compute, inputs_of, kind_of
from minimistral.checkpoint.layouts import to_hf_rows
from minimistral.config import Config
from minimistral.trace import stage_names
from minimistral.weights import from_tensors, random_tensors

ROOT = Path(__file__).parents[1]
IDS = [m.id for m in MISTAKES]
REST = {"hidden_dim": 44, "vocab_size": 61}
MODELS = {  # every variant shows on one of them; T of each, and the first position that is wrong
    "standard": (Config(60, 2, 12, n_heads=6, n_kv_heads=2, window=9, **REST), 29, 9),
    "square": (Config(40, 2, 8, n_heads=5, n_kv_heads=5, window=9, **REST), 29, 9),  # wq .. wo (40, 40)
    "eight heads": (Config(24, 2, 4, n_heads=8, n_kv_heads=4, window=5, **REST), 40, 6),
    "deep": (Config(12, 12, 4, n_heads=2, n_kv_heads=1, window=4, **REST), 11, 4),  # layers.10 comes before layers.2
}
ASKED = {
    "window-plus-one", "window-minus-one", "window-ignored", "window-blocked", "causal-mask-missing",
    "rope-pairing", "rope-direction", "rope-theta", "rope-position-offset", "rope-position-modulo",
    "rope-low-precision", "rope-missing", "rope-keys-missing", "rope-queries-missing", "rope-on-values",
    "permute-key-heads", "gqa-axis", "gqa-tile", "scale-missing", "scale-dim", "scale-squared",
    "softmax-low-precision", "head-order", "norm-eps", "norm-eps-outside", "norm-mean-centred",
    "norm-weight-plus-one", "norm-weights-swapped", "norm-missing-final", "gelu", "relu", "activation-missing",
    "gate-up-swapped", "residual-from-norm", "embedding-scaled", "output-tied", "cache-write-before-read",
    "cache-first-kept", "decode-position-skipped", "cache-stale-slot", "cache-order", "tokens-bos",
}  # fmt: skip
NO_NUMBER = {"likejazz/llama3.np", "mistralai/mistral-src"}  # repositories whose code is the record
ALIKE = {  # the same numbers, in some variants: a chunk of W or more that is written first leaves nothing of the others
    frozenset({"window-blocked", "cache-write-before-read"}),
}
HARMLESS = {"rope-position-offset"}  # leaves every logit as it is
LONG = {
    ("rope-low-precision", "bfloat16 positions"),
    ("rope-low-precision", "float16 positions"),
}  # shows from 257, 2049


@cache
def model(name):
    config, T, first_wrong = MODELS[name]
    weights = from_tensors(random_tensors(config), config, by_name("float64"))
    tokens = np.random.default_rng(0).integers(3, 61, T)
    return config, weights, tokens, Case(config, T, first_wrong, T - 5)


def run(name, lines):
    """Every stage with these lines; one at a time from right inputs if it is right before."""
    config, weights, tokens, _ = model(name)
    made = {}
    for stage in (s for s in stage_names(config) if not s.endswith(".scores")):
        given = tuple(made[before] for before in inputs_of(stage, config.n_layers))
        made[stage] = compute(stage, given, lines.tokens_run(tokens), weights, Setting(config, lines))
    return made


@cache
def right(name):
    return run(name, RIGHT)


def changed(name, lines):
    """Stages that other lines change, each from right inputs; `tokens_run` changes what is run."""
    config, weights, tokens, _ = model(name)
    if "tokens_run" in lines:
        return ["embedding"]
    made = right(name)

    def again(stage):
        given = tuple(made[before] for before in inputs_of(stage, config.n_layers))
        return compute(stage, given, tokens, weights, Setting(config, RIGHT._replace(**lines)))

    return [stage for stage in made if not np.array_equal(again(stage), made[stage])]


def test_all_ids_that_were_asked_for_and_ten_more():
    assert set(IDS) > ASKED and len(IDS) >= len(ASKED) + 10


@pytest.mark.parametrize("id", IDS)
def test_words(id):
    m = by_id(id)
    assert IDS.count(id) == 1 and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id)
    assert re.match(r"your? ", m.sentence) and not m.sentence.endswith(".")
    for text in (m.sentence, m.computes, m.instead):
        assert text and "\n" not in text and "|" not in text and len(text) <= 120, text
    assert m.computes != m.instead
    for entry in filter(None, m.source.split("; ")):
        assert entry in NO_NUMBER or re.fullmatch(r"[\w.-]+/[\w.-]+ #\d+(, #\d+)*", entry), entry


@pytest.mark.parametrize("id", IDS)
def test_the_right_line_is_where_it_says(id):
    file, function = by_id(id).see.split(" ")
    found = ast.parse((ROOT / file).read_text())
    for name in function.split("."):
        found = next(n for n in found.body if getattr(n, "name", None) == name)


@pytest.mark.parametrize("id", IDS)
def test_every_variant_changes_the_stages_of_its_lines_and_no_other(id):
    """Where it can show; and no two variants of a mistake are the same."""
    offered, shown = set(), set()
    for name in MODELS:
        for variant, lines in by_id(id).written(model(name)[3]).items():
            offered.add(variant)
            assert lines and set(lines) <= set(Lines._fields)
            stages = changed(name, lines)
            shown |= {variant} if stages else set()
            assert all(set(LINES_OF[kind_of(stage)]) & set(lines) for stage in stages), (name, variant, stages)
    assert offered and offered - shown == {variant for other, variant in LONG if other == id}


@pytest.mark.parametrize("id, variant", sorted(LONG))
def test_a_rounded_position_shows_late(id, variant):
    config, _, _, case = model("standard")
    at = np.array([2047, 2049])
    wrong = by_id(id).written(case)[variant]["angles"]
    assert not np.array_equal(wrong(at, config, REFERENCE), RIGHT.angles(at, config, REFERENCE))


@cache
def logits_by_id(name):
    """{id: the logits of its variants}, without the first row: a run of other tokens may not have it."""
    _, _, tokens, case = model(name)
    found = {}
    for m in MISTAKES:
        for variant, lines in m.written(case).items():
            if (m.id, variant) not in LONG:
                x = run(name, RIGHT._replace(**lines))["logits"][-len(tokens) + 1 :]
                found.setdefault(m.id, set()).add(np.round(x, 7).tobytes())
    return found


def unchanged(name):
    return np.round(right(name)["logits"][1:], 7).tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_no_two_ids_are_the_same(name):
    made = {id: logits - {unchanged(name)} for id, logits in logits_by_id(name).items()}
    same = {frozenset(pair) for pair in combinations(made, 2) if made[pair[0]] & made[pair[1]]}
    assert same <= ALIKE


def test_all_but_the_harmless_change_the_logits():
    """A shift of all positions is harmless; one of the keys alone is not."""
    harmless = {id for id in IDS if unchanged("standard") in logits_by_id("standard").get(id, set())}
    assert harmless == HARMLESS


def test_the_page_lists_all_of_them():
    assert (ROOT / "docs" / "mistakes.md").read_text() == page()
    assert re.findall(r"^\| `([a-z0-9-]+)`:", page(), re.MULTILINE) == IDS


# The same mistakes as people write them on Hugging Face's rows, apart from the package; a trace is converted as it is read.


def rotate_half(x):
    return np.concatenate([-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]], axis=-1)


def rotate_every_two(x):
    return np.stack([-x[..., 1::2], x[..., 0::2]], axis=-1).reshape(x.shape)


def turned(x, rotate, table):
    """x cos + rotate(x) sin: (T, heads, d), the table (T, d)."""
    return x * np.cos(table)[:, None] + rotate(x) * np.sin(table)[:, None]


def as_read(x):
    """As the trace file's reader does with layout hf."""
    return np.stack(np.split(x, 2, axis=-1), axis=-1).reshape(x.shape)


def by_line(id, variant, line, *given):
    _, _, _, case = model("standard")
    return by_id(id).written(case)[variant][line](*given)


def test_rotations_of_hugging_face_rows():
    d, T = 12, 7
    x = np.random.default_rng(0).standard_normal((T, 3, d))  # in Hugging Face's order
    angle = np.arange(T)[:, None] * 1e4 ** (-np.arange(0, d, 2) / d)
    halves, twice = np.concatenate([angle, angle], axis=-1), np.repeat(angle, 2, axis=-1)
    for variant, wrong in (
        ("rope-pairing", turned(x, rotate_every_two, twice)),
        ("rope-angles-order", turned(x, rotate_half, twice)),
        ("rope-partial", np.concatenate([turned(x[..., :6], rotate_half, halves[:, [0, 2, 4] * 2]), x[..., 6:]], -1)),
    ):
        name = "the first half, Hugging Face's rows" if variant == "rope-partial" else "Hugging Face's rows"
        found = by_line(variant, name, "turn_queries", as_read(x), angle, REFERENCE)
        assert np.allclose(found, as_read(wrong)), variant
    for variant, wrong in (
        ("rope-pairing", turned(x, rotate_half, halves)),
        ("rope-angles-order", turned(x, rotate_every_two, halves)),
    ):
        assert np.allclose(by_line(variant, "", "turn_queries", x, angle, REFERENCE), wrong)


def test_matrices_of_hugging_face_rows():
    config, weights, _, _ = model("standard")
    layer, d = weights.layers[0], config.head_dim
    q, k, v = to_hf_rows(layer.wq, 6), to_hf_rows(layer.wk, 2), layer.wv
    x = np.random.default_rng(0).standard_normal((7, config.dim))

    def heads(w):
        return (x @ w.T).reshape(7, -1, d)

    def line(id, variant, line):
        return heads(by_line(id, f"{variant}, Hugging Face's rows", line, layer, config))

    assert np.allclose(line("key-value-swapped", "exchanged", "key_rows"), as_read(heads(v)))
    assert np.allclose(line("key-value-swapped", "values from wk", "value_rows"), heads(k))
    groups = np.concatenate([q, k, v]).reshape(2, 5, d, -1)  # 3 queries, a key and a value each
    assert np.allclose(
        line("qkv-fused-order", "read by group", "query_rows"), as_read(heads(groups[:, :3].reshape(72, -1)))
    )
    assert np.allclose(line("qkv-fused-order", "read by group", "value_rows"), heads(groups[:, 4].reshape(24, -1)))
    stored = np.concatenate(
        [np.concatenate([q[36 * g : 36 * g + 36], k[12 * g : 12 * g + 12], v[12 * g : 12 * g + 12]]) for g in (0, 1)]
    )
    assert np.allclose(line("qkv-fused-order", "stored by group", "key_rows"), as_read(heads(stored[72:96])))


def test_the_first_and_last_wrong_position_give_chunks_and_prompts_away():
    config, _, _, case = model("standard")
    assert case.T == 29 and config.window == 9
    assert "chunks of 11" not in by_id("window-blocked").written(case)
    assert "chunks of 11" in by_id("window-blocked").written(case._replace(first_wrong=22))
    assert "chunks of 6" in by_id("window-of-chunk").written(case._replace(first_wrong=13))
    assert "in a prompt of 21 only" in by_id("window-plus-one").written(case._replace(last_wrong=20))


def ring_of_columns(chunks, W):
    """Keys that each row sees when a ring of columns is read before it is written: by lists, as on paper. A pair (T, T)."""
    ring, met, start = {}, np.zeros((sum(chunks), sum(chunks)), int), 0
    for n in chunks:
        for t in range(start, start + n):
            for s in [*ring.values(), *range(start, t + 1)]:
                met[t, s] += t - s < W
        ring |= {s % W: s for s in range(start, start + n)}
        start += n
    return met


def test_a_right_ring_is_the_right_mask():
    for size in (1, 2, 7, 8, 9, 10, 21):
        chunks = [min(size, 29 - start) for start in range(0, 29, size)]
        assert np.array_equal(ring_of_columns(chunks, 9), RIGHT.seen(29, 9))
        assert np.array_equal(ring(size, write_right)(29, 9), RIGHT.seen(29, 9))


def test_a_cache_that_is_moved_on_early():
    """As in the record: W 4; k0 .. k2, then k3 comes: k0 is lost and a slot of zeros is left in between."""
    lines = by_id("cache-stale-slot").written(Case(MODELS["standard"][0], 8))["moved on one step early"]
    slots, seen, empty = [None] * 4, np.zeros((8, 8), bool), np.zeros(8, int)
    for t in range(8):
        if t >= 3:
            slots = [*slots[1:], None]
        slots[min(t, 3)] = t
        seen[t, [s for s in slots if s is not None]] = True
        empty[t] = slots.count(None) if t >= 3 else 0
    assert np.array_equal(lines["seen"](8, 4), seen) and np.array_equal(lines["empty_slots"](8, 4), empty)
