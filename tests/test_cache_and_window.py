"""The rolling buffer and the window: same results as attention over everything with a mask, never past the reach."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimistral.arithmetic import by_name
from minimistral.attention import attention_scores, attention_values
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.mistral import Mistral
from minimistral.receptive_field import measured_influence, reachable
from minimistral.rolling_cache import RollingCache, slot_of, slot_positions
from minimistral.window import reach, window_mask

SIZES = {"dim": 24, "n_layers": 3, "head_dim": 10, "hidden_dim": 40, "n_heads": 6, "n_kv_heads": 2, "vocab_size": 61}
TOKENS = np.random.default_rng(3).integers(0, 61, 31)


@given(length=st.integers(0, 200), window=st.integers(1, 40))
def test_a_slot_holds_the_newest_position_that_falls_on_it(length, window):
    held = [-1] * window
    for position in range(length):  # the loop version
        held[position % window] = position
    assert slot_positions(length, window).tolist() == held


@given(chunks=st.lists(st.integers(1, 17), max_size=8), window=st.integers(1, 9) | st.none())
@settings(max_examples=60)
def test_the_ring_holds_the_last_w_positions_whatever_the_chunks(chunks, window):
    config = Config(dim=4, n_layers=2, head_dim=2, hidden_dim=4, n_heads=1, n_kv_heads=1, vocab_size=9, window=window)
    cache = RollingCache(config, np.dtype(np.float32))
    for chunk in chunks:
        rows = (cache.length + np.arange(chunk, dtype=np.float32))[:, None, None] * np.ones((1, 2), np.float32)
        cache.write([rows, rows], [-rows, -rows])
    for layer in range(2):
        keys, values, positions = cache.read(layer)
        expected = range(max(0, sum(chunks) - (window or sum(chunks))), sum(chunks))
        assert sorted(positions.tolist()) == list(expected)
        assert (keys[:, 0, 0] == positions).all() and (values[:, 0, 1] == -positions).all()
        assert window is None or len(cache.keys[layer]) <= window


@given(st.lists(st.integers(-1, 30), min_size=1, max_size=12), st.integers(0, 30), st.integers(1, 12) | st.none())
def test_the_mask_is_a_question_about_positions(key_positions, query, window):
    seen = window_mask(np.array([query]), np.array(key_positions), window)[0]
    for position, sees in zip(key_positions, seen, strict=True):
        assert sees == (0 <= position <= query and (window is None or position > query - window))


@pytest.mark.parametrize("window", [4, 5, None, (4, None, 9)])
@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 5, 7, 11, 13, 31])
def test_any_window_any_chunk_the_same_bits(window, chunk):
    model = Mistral.random(Config(**SIZES, window=window))
    cache = model.new_cache()
    head, tail = TOKENS[:-8], TOKENS[-8:]  # 8 is 2 W for W = 4: right after the long chunk
    rows = [model(head, cache, chunk=chunk), *(model(tail[i : i + 1], cache) for i in range(len(tail)))]
    assert np.array_equal(np.concatenate(rows), model(TOKENS, chunk=len(TOKENS)))


def test_per_layer_windows_are_each_layers_own():
    full = Mistral.random(Config(**SIZES, window=None)).trace(TOKENS)
    mixed = Mistral.random(Config(**SIZES, window=(None, 4, None))).trace(TOKENS)
    assert np.array_equal(full["layers.0.output"], mixed["layers.0.output"])
    assert np.array_equal(full["layers.1.attention"][:4], mixed["layers.1.attention"][:4])
    assert (full["layers.1.attention"][4:] != mixed["layers.1.attention"][4:]).any(axis=(1, 2)).all()


def test_information_reaches_exactly_k_times_w_minus_1_back_after_k_layers():
    """Measured on the model: one token is changed, and outputs change within the reach and nowhere else."""
    config = Config(**SIZES | {"n_layers": 4}, window=5)
    model = Mistral.random(config, seed=2)
    T, position = 28, 3
    tokens = np.random.default_rng(0).integers(0, 61, T)
    changed = measured_influence(model, tokens, position, other=int(tokens[position] + 1) % 61)
    for k in range(1, 5):
        expected = (np.arange(T) >= position) & (np.arange(T) < position + reach(k, 5))
        assert np.array_equal(changed[k - 1], expected), f"after {k} layers"
        assert np.array_equal(changed[k - 1], reachable(k, 5, T)[:, position])
        assert reach(k, 5) <= k * 5 + 1  # the paper's k x W is the bound, reached exactly with W + 1 keys
        assert reachable(k, 6, 40)[-1].sum() == k * 5 + 1


def test_without_a_window_everything_before_is_reached():
    model = Mistral.random(Config(**SIZES, window=None))
    changed = measured_influence(model, TOKENS, 0, other=int(TOKENS[0] + 1) % 61)
    assert changed.all()


@pytest.mark.parametrize("arithmetic", ["float32", "float64", "bfloat16", "float16"])
def test_chunks_change_only_roundings_in_other_arithmetics(arithmetic):
    model = Mistral.random(Config(**SIZES, window=5), arithmetic=arithmetic)
    whole, parts = (model(TOKENS, chunk=c).astype(np.float64) for c in (31, 4))
    tolerance = {"float32": 1e-5, "float64": 1e-13, "bfloat16": 0.1, "float16": 0.02}[arithmetic]
    assert np.linalg.norm(whole - parts) < tolerance * np.linalg.norm(whole)


def test_a_failed_call_leaves_the_cache_as_it_was():
    model = Mistral.random(Config(**SIZES, window=5))
    cache = model.new_cache()
    model(TOKENS[:9], cache)
    before = [x.copy() for x in cache.keys + cache.values]
    broken = model.weights.layers[2].w2.copy()
    model.weights.layers[2] = model.weights.layers[2]._replace(w2=np.full_like(broken, 3e38))
    with pytest.raises(BadInput, match="layers.2"):
        model(TOKENS[9:], cache)
    assert cache.length == 9
    assert all(np.array_equal(a, b) for a, b in zip(before, cache.keys + cache.values, strict=True))


def test_slots_count_modulo_the_window():
    assert slot_of(np.arange(7), 5).tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert slot_of(np.arange(7), None).tolist() == list(range(7))


@pytest.mark.parametrize("tokens", [[], [61], [-1], [[1, 2], []], [1.5], ["a"], [[1], [2, 99]], 7, None])
def test_tokens_that_cannot_be_are_one_clear_line(tokens):
    model = Mistral.random(Config(**SIZES))
    with pytest.raises(BadInput) as error:
        model(tokens)
    assert "\n" not in str(error.value) and "tokens" in str(error.value)


def test_one_cache_for_two_sequences_is_an_error():
    model = Mistral.random(Config(**SIZES))
    cache = model.new_cache()
    with pytest.raises(BadInput, match="its own"):
        model([[1], [2]], [cache, cache])


def test_exact_holds_at_most_32768_terms():
    with pytest.raises(BadInput, match="32768"):
        by_name("exact").linear(np.ones((1, 32769), np.float32), np.ones((2, 32769), np.float32))


def test_a_cache_of_another_model_is_an_error():
    cache = Mistral.random(Config(**SIZES, window=5)).new_cache()
    for other in (Config(**SIZES, window=6), Config(**SIZES | {"head_dim": 12}, window=5)):
        with pytest.raises(BadInput, match="another model"):
            Mistral.random(other)(TOKENS, cache)
    with pytest.raises(BadInput, match="another model"):
        Mistral.random(Config(**SIZES, window=5), arithmetic="float64")(TOKENS, cache)


@pytest.mark.parametrize("chunk", [0, -3])
def test_a_chunk_has_at_least_one_token(chunk):
    with pytest.raises(BadInput, match="chunk"):
        Mistral.random(Config(**SIZES))(TOKENS, chunk=chunk)


def test_the_limit_is_on_the_keys_that_are_seen():
    """A ring of 32768 slots and a chunk after it are more than 32768 keys, though no query sees more than 32768."""
    rng = np.random.default_rng(8)
    q, k, v = (rng.random((n, 1, 4), dtype=np.float32) - 0.5 for n in (1, 33_000, 33_000))
    seen = np.zeros((1, 33_000), bool)
    seen[0, rng.permutation(33_000)[:50]] = True
    exact = by_name("exact")

    def attend(k, v, seen):
        return attention_values(attention_scores(q, k, seen, exact), v, exact)

    assert np.array_equal(attend(k, v, seen), attend(k[seen[0]], v[seen[0]], np.ones((1, 50), bool)))
    with pytest.raises(BadInput, match="at most 32768 terms"):
        attend(k, v, np.ones((1, 33_000), bool))
