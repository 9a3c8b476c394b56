"""Logits against an independent float64 Mistral (oracle.py) and against transformers, as it comes.

`pytest -s` prints the largest difference found in each comparison.
"""

import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from minimistral.arithmetic import by_name
from minimistral.config import Config
from minimistral.mistral import Mistral
from minimistral.weights import from_tensors, random_tensors

torch = pytest.importorskip("torch", reason="the oracle is written in PyTorch: pip install 'minimistral[oracle]'")
from oracle import hf_tensors, oracle_logits

torch.set_num_threads(1)  # these models are too small for more
N_CASES = 20
LIMITS = {  # relative l2 of the logits, by arithmetic, type of the weights and attention (see tensors_of)
    ("float64", "float32", "sharp"): 1e-12,
    ("float64", "bfloat16", "sharp"): 1e-12,
    ("exact", "float32", "plain"): 5e-6,
    ("exact", "float32", "sharp"): 5e-6,
    ("exact", "bfloat16", "plain"): 2e-6,
    ("exact", "bfloat16", "sharp"): 5e-6,
    ("float32", "float32", "sharp"): 1e-5,
    ("float32", "bfloat16", "sharp"): 1e-5,
}
IN_CHUNKS = [
    ("float64", "float32", "sharp"),
    ("exact", "float32", "sharp"),
    ("exact", "bfloat16", "plain"),
    ("float32", "float32", "sharp"),
]
WINDOWS = ("below", "at", "above", "none", "each layer its own")


@lru_cache
def case(n: int) -> tuple[Config, np.ndarray]:
    """Configuration n and its tokens: a random one of a kind that n says; no two sizes are the same."""
    rng = np.random.default_rng(1000 + n)
    kind, ratio, n_layers = WINDOWS[n % 5], 1 + n % 8, 1 + n % 6
    while True:
        n_kv_heads = int(rng.integers(1, 5))
        n_heads, head_dim = ratio * n_kv_heads, 2 * int(rng.integers(3, 17))
        dim = n_heads * head_dim if n % 4 == 3 else int(rng.integers(20, 120))
        hidden_dim, vocab_size, T, w = (int(rng.integers(*r)) for r in ((30, 150), (40, 130), (19, 45), (4, 9)))
        distinct = [
            dim,
            head_dim,
            hidden_dim,
            n_heads,
            vocab_size,
            T,
            w,
            n_layers,
            *([n_kv_heads] if ratio > 1 else []),
        ]
        small = n_heads * head_dim <= 256
        if small and len(set(distinct)) == len(distinct) and (n % 4 == 3) == (n_heads * head_dim == dim):
            break
    own = tuple([w, None, w + 3, T + 5, w + 1, 1][:n_layers])
    config = Config(
        dim=dim, n_layers=n_layers, head_dim=head_dim, hidden_dim=hidden_dim, n_heads=n_heads, n_kv_heads=n_kv_heads,
        vocab_size=vocab_size, window=dict(zip(WINDOWS, (w, T, T + 7, None, own), strict=True))[kind],
        norm_eps=(1e-5, 1e-6)[n % 2], rope_theta=(1e4, 1e6)[n // 2 % 2], tied_embeddings=n % 3 == 2,
    )  # fmt: skip
    return config, rng.integers(0, vocab_size, T)


def sizes_of(config: Config) -> dict:
    return {
        "n_heads": config.n_heads,
        "n_kv_heads": config.n_kv_heads,
        "head_dim": config.head_dim,
        "theta": config.rope_theta,
        "eps": config.norm_eps,
        "windows": [config.layer_window(i) for i in range(config.n_layers)],
    }


def chunks_of(config: Config) -> tuple[int, ...]:
    """1, 7, W and 2 W + 3, of the first layer's window or of 6."""
    w = config.layer_window(0) or 6
    return 1, 7, w, 2 * w + 3


@lru_cache
def tensors_of(n: int, dtype: str = "float32", attention: str = "sharp") -> dict[str, np.ndarray]:
    """Random weights for case n, "sharp": scores spread by about 4; or "plain": queries and keys halved, so by about 1.

    Sharp attention magnifies: a change of the embedding grows up to 20 times in 6 layers. One large score then decides,
    and `exact` keeps queries and keys on grids of 23 bits: with bfloat16 weights its error comes near float32's.
    """
    tensors = random_tensors(case(n)[0], seed=n, dtype=dtype)
    halved = [name for name in tensors if attention == "plain" and (".wq." in name or ".wk." in name)]
    return tensors | {name: tensors[name] * tensors[name].dtype.type(0.5) for name in halved}


@lru_cache
def truth(n: int, *kind: str) -> np.ndarray:
    config, tokens = case(n)
    return oracle_logits(tokens, hf_tensors(tensors_of(n, *kind), config.head_dim), sizes_of(config))


def model_of(n: int, arithmetic: str, *kind: str) -> Mistral:
    config, numbers = case(n)[0], by_name(arithmetic)
    return Mistral(config, from_tensors(tensors_of(n, *kind), config, numbers), numbers)


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """|found - expected| / |expected|, l2 over all logits."""
    assert found.shape == expected.shape
    expected = expected.astype(np.float64)
    return float(np.linalg.norm(found.astype(np.float64) - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module")
def largest():
    """{comparison: largest difference}; printed at the end."""
    found = {}
    yield found
    for name, figure in sorted(found.items()):
        print(f"\n{name}: largest relative l2 {figure:.2e}", end="")


def check(largest: dict, name: str, found: np.ndarray, expected: np.ndarray, limit: float) -> None:
    figure = difference(found, expected)
    largest[name] = max(largest.get(name, 0), figure)
    assert figure <= limit, f"{name}: relative l2 {figure:.2e}, expected at most {limit:.0e}"


def test_the_cases_cover_what_they_should():
    configs, lengths = zip(*((c, len(t)) for c, t in map(case, range(N_CASES))), strict=True)
    assert {c.n_heads // c.n_kv_heads for c in configs} == set(range(1, 9))
    assert {c.n_layers for c in configs} == set(range(1, 7))
    assert {c.rope_theta for c in configs} == {1e4, 1e6} and {c.tied_embeddings for c in configs} == {True, False}
    assert {c.head_dim * c.n_heads == c.dim for c in configs} == {True, False}
    one = [(c.window, T) for c, T in zip(configs, lengths, strict=True) if isinstance(c.window, int)]
    assert {np.sign(w - T) for w, T in one} == {-1, 0, 1} and sum(T > 2 * w for w, T in one) >= 4
    assert None in {c.window for c in configs} and sum(isinstance(c.window, tuple) for c in configs) == 4


@pytest.mark.parametrize("arithmetic, dtype, attention", LIMITS)
@pytest.mark.parametrize("n", range(N_CASES))
def test_logits_are_the_oracles(largest, n, arithmetic, dtype, attention):
    found = model_of(n, arithmetic, dtype, attention)(case(n)[1])
    name, limit = f"{arithmetic}, {dtype} weights, {attention}", LIMITS[arithmetic, dtype, attention]
    check(largest, name, found, truth(n, dtype, attention), limit)


@pytest.mark.parametrize("arithmetic, dtype, attention", IN_CHUNKS)
@pytest.mark.parametrize("n", range(N_CASES))
def test_logits_in_chunks_are_the_oracles(largest, n, arithmetic, dtype, attention):
    model, tokens = model_of(n, arithmetic, dtype, attention), case(n)[1]
    name, limit = f"{arithmetic}, {dtype} weights, {attention}, chunks", LIMITS[arithmetic, dtype, attention]
    for chunk in chunks_of(case(n)[0]):
        check(largest, name, model(tokens, chunk=chunk), truth(n, dtype, attention), limit)


@pytest.mark.parametrize("arithmetic", ["float64", "exact", "float32"])
@pytest.mark.parametrize("n", [0, 3, 4, 9, 14])  # 0: window below; 3: none; the others: each layer its own
def test_a_ragged_batch_is_the_oracle_one_by_one(largest, n, arithmetic):
    model, (config, tokens) = model_of(n, arithmetic), case(n)
    parts = [tokens[:3], tokens, tokens[5:6], tokens[2:19]]
    weights = hf_tensors(tensors_of(n), config.head_dim)
    for chunk in (len(tokens), chunks_of(config)[2]):
        found = model(parts, [model.new_cache() for _ in parts], chunk=chunk)
        for logits, part in zip(found, parts, strict=True):
            expected = oracle_logits(part, weights, sizes_of(config))
            check(largest, f"{arithmetic}, ragged batch", logits, expected, LIMITS[arithmetic, "float32", "sharp"])


FAULTS = {  # in what the oracle is told; each must show
    "window-plus-one": lambda w, s: (w, s | {"windows": [x + 1 for x in s["windows"]]}),
    "window-ignored": lambda w, s: (w, s | {"windows": [None for _ in s["windows"]]}),
    "theta": lambda w, s: (w, s | {"theta": 1.05 * s["theta"]}),
    "eps": lambda w, s: (w, s | {"eps": 1.1 * s["eps"]}),
    "norm-weight": lambda w, s: ({n: np.ones_like(a) if "post_att" in n else a for n, a in w.items()}, s),
    "kv-heads-swapped": lambda w, s: (w | _rolled(w, "k_proj", s) | _rolled(w, "v_proj", s), s),
    "query-rows-of-a-neighbour-pair": lambda w, s: (
        w | {n: np.roll(a, 1, 0) for n, a in w.items() if "q_proj" in n},
        s,
    ),
}


def _rolled(weights: dict, name: str, sizes: dict) -> dict:
    return {n: np.roll(a, sizes["head_dim"], 0) for n, a in weights.items() if name in n}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_can_fail(fault):
    config, tokens = replace(case(5)[0], window=4, n_layers=2, n_kv_heads=2, n_heads=6), case(5)[1] % 40
    tensors = random_tensors(config, seed=5)
    model = Mistral(config, from_tensors(tensors, config, by_name("float64")), by_name("float64"))
    weights, sizes = hf_tensors(tensors, config.head_dim), sizes_of(config)
    assert difference(model(tokens), oracle_logits(tokens, weights, sizes)) <= 1e-12
    assert difference(model(tokens), oracle_logits(tokens, *FAULTS[fault](weights, sizes))) > 1e-8


# ---- transformers --------------------------------------------------------------------------------------------------
# Its window is W keys, i-W+1 .. i, like ours; it has one window for all layers, so the other cases stay out.
UNIFORM = [n for n in range(N_CASES) if not isinstance(case(n)[0].window, tuple)]


def transformers_model(n: int, attention: str):
    """MistralForCausalLM with case n's weights, float32, nothing patched."""
    reason = "compared with transformers' own Mistral: pip install 'minimistral[oracle]'"
    transformers = pytest.importorskip("transformers", minversion="5.0", reason=reason)
    config = case(n)[0]
    model = transformers.MistralForCausalLM(
        transformers.MistralConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.dim,
            intermediate_size=config.hidden_dim,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            head_dim=config.head_dim,
            max_position_embeddings=128,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            sliding_window=config.window,
            tie_word_embeddings=config.tied_embeddings,
            attn_implementation=attention,
        )
    )
    weights = hf_tensors(tensors_of(n), config.head_dim)
    left_out = model.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()}, strict=False)
    assert left_out.unexpected_keys == []
    assert left_out.missing_keys == (["lm_head.weight"] if config.tied_embeddings else [])
    model.tie_weights()
    return model.eval()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("n", UNIFORM)
def test_logits_are_those_of_transformers(largest, n, attention):
    tokens = case(n)[1]
    with torch.no_grad():
        expected = transformers_model(n, attention)(torch.from_numpy(tokens)[None]).logits[0].numpy()
    check(largest, f"the oracle, transformers {attention}", truth(n), expected, 1e-5)
    for arithmetic in ("float32", "exact"):
        model = model_of(n, arithmetic)
        check(largest, f"{arithmetic}, transformers {attention}", model(tokens), expected, 1e-5)
        in_chunks = model(tokens, chunk=chunks_of(case(n)[0])[3])
        check(largest, f"{arithmetic}, transformers {attention}", in_chunks, expected, 1e-5)


@pytest.mark.parametrize("n", [0, 2, 3, 5, 8])  # window below and above, none; 2, 5, 8: tied
def test_a_folder_saved_by_transformers_gives_its_logits(largest, n, tmp_path):
    theirs = transformers_model(n, "eager")
    theirs.save_pretrained(tmp_path)
    model, tokens = Mistral.from_pretrained(tmp_path, arithmetic="float64"), case(n)[1]
    assert model.config.window == case(n)[0].window and model.config.rope_theta == case(n)[0].rope_theta
    check(largest, "float64, a folder saved by transformers", model(tokens), truth(n), 1e-12)


@pytest.mark.parametrize("n", [0, 2, 3, 5, 7])
def test_a_folder_in_mistrals_layout_gives_the_oracles_logits(largest, n, tmp_path):
    from safetensors.numpy import save_file

    config, tokens = case(n)
    params = {
        "dim": config.dim,
        "n_layers": config.n_layers,
        "head_dim": config.head_dim,
        "hidden_dim": config.hidden_dim,
        "n_heads": config.n_heads,
        "n_kv_heads": config.n_kv_heads,
        "norm_eps": config.norm_eps,
        "vocab_size": config.vocab_size,
        "rope_theta": config.rope_theta,
        "sliding_window": config.window,
        "tied_embeddings": config.tied_embeddings,
    }
    (tmp_path / "params.json").write_text(json.dumps(params))
    save_file(tensors_of(n), tmp_path / "consolidated.safetensors")
    model = Mistral.from_pretrained(tmp_path, arithmetic="float64")
    check(largest, "float64, a folder in Mistral's layout", model(tokens), truth(n), 1e-12)
