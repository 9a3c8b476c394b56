"""Lesson 11: its solutions are the model's own layer and layout, and its pictures are drawn from the model's stages."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from minimistral import Mistral
from minimistral.checkpoint.layouts import to_hf_rows, to_mistral_rows
from minimistral.config import Config
from minimistral.exercises import find
from minimistral.figures.whole_model import PROMPT, candidates, teller, weights_of, window_in_a_map
from minimistral.rms_norm import rms_norm
from minimistral.rope import rope_table
from minimistral.transformer import attend, feed_forward, finite, projections

CONFIG = Config(dim=24, n_layers=2, n_heads=6, n_kv_heads=2, head_dim=10, hidden_dim=40, vocab_size=61, window=5)


def test_the_solution_of_block_is_a_layer_of_the_model():
    model = Mistral.random(CONFIG, arithmetic="float64")
    tokens, numbers, layer = np.arange(13), model.arithmetic, model.weights.layers[1]
    trace = model.trace(tokens)

    def attention(x):
        table = rope_table(tokens, 10, CONFIG.rope_theta, numbers)
        q, k, v = projections(x, layer, table, CONFIG, numbers, finite, "")
        a = attend(q, k, v, [tokens], [model.new_cache()], 1, CONFIG, numbers, finite)
        return a.reshape(13, -1) @ layer.wo.T

    after = find("block").solution(
        trace["layers.0.output"],
        lambda x, weight: rms_norm(x, weight, CONFIG.norm_eps, numbers),
        attention,
        lambda x: feed_forward(x, layer, numbers, finite, ""),
        layer.attention_norm,
        layer.ffn_norm,
    )
    assert np.abs(after - trace["layers.1.output"]).max() < 1e-12


def test_the_solution_of_unpermute_keys_is_the_loaders():
    w = np.random.default_rng(0).standard_normal((20, 24))
    mine = find("unpermute-keys").solution(to_hf_rows(w, 2), 6, 2)
    assert (mine == w).all() and (mine == to_mistral_rows(to_hf_rows(w, 2), 2)).all()


def test_the_maps_weights_are_those_of_the_models_scores():
    scores = teller().trace(teller().tokenizer.encode(PROMPT), only="*.scores")["layers.1.scores"].astype(np.float64)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    assert np.abs(weights_of(PROMPT)[1] - p / p.sum(axis=-1, keepdims=True)).max() < 1e-12
    shown = window_in_a_map().axes[0].images[0].get_array()
    assert shown.mask[99, 35] and not shown.mask[99, 36] and shown.mask[30, 31]


def test_the_last_column_of_candidates_is_the_models_own_answer():
    scores = teller()(teller().tokenizer.encode(PROMPT))[-1].astype(np.float64)
    p = np.exp(scores - scores.max())
    assert candidates(PROMPT)[-1][0][1] == pytest.approx(p.max() / p.sum(), abs=1e-12)
