"""The stages of a run, each from its inputs: so that one can be computed again from what someone else recorded."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from minimistral.check.lines import RIGHT, Lines
from minimistral.check.number import REFERENCE, Number
from minimistral.config import Config
from minimistral.weights import Layer, Weights

INPUTS = {  # a stage of a layer, and the stages that it is made of; `stream` is what the layer is given
    "attention_norm": ("stream",),
    "q": ("attention_norm",),
    "k": ("attention_norm",),
    "v": ("attention_norm",),
    "q_rope": ("q",),
    "k_rope": ("k",),
    "attention": ("q_rope", "k_rope", "v"),
    "attention_output": ("attention",),
    "attention_residual": ("stream", "attention_norm", "attention_output"),
    "ffn_norm": ("attention_residual",),
    "gate": ("ffn_norm",),
    "up": ("ffn_norm",),
    "ffn_hidden": ("gate", "up"),
    "ffn_output": ("ffn_hidden",),
    "output": ("stream", "attention_residual", "ffn_norm", "ffn_output"),
}

LINES_OF = {  # a stage, and the lines that it is made with
    "embedding": ("tokens_run", "embed"),
    "attention_norm": ("layer_of", "norm", "attention_norm_weight"),
    "q": ("layer_of", "query_rows"),
    "k": ("layer_of", "key_rows"),
    "v": ("layer_of", "value_rows"),
    "q_rope": ("positions", "angles", "turn_queries"),
    "k_rope": ("positions", "angles", "turn_keys"),
    "attention": (
        "positions",
        "angles",
        "values_read",
        "seen",
        "empty_slots",
        "key_heads",
        "value_heads",
        "scale",
        "probabilities",
    ),
    "attention_output": ("layer_of", "heads_joined", "output_rows"),
    "attention_residual": ("attention_sum",),
    "ffn_norm": ("layer_of", "norm", "ffn_norm_weight"),
    "gate": ("layer_of", "gate_rows"),
    "up": ("layer_of", "up_rows"),
    "ffn_hidden": ("gated",),
    "ffn_output": ("layer_of",),
    "output": ("ffn_residual", "ffn_sum"),
    "norm": ("final_norm",),
    "logits": ("output_matrix",),
}


class Setting(NamedTuple):
    """What a stage is computed with, apart from its inputs."""

    config: Config
    lines: Lines = RIGHT
    number: Number = REFERENCE


def kind_of(stage: str) -> str:
    """Its name without its layer: `layers.3.q_rope` -> `q_rope`."""
    return stage.rsplit(".", 1)[-1]


@cache
def inputs_of(stage: str, n_layers: int) -> tuple[str, ...]:
    """The full names of the stages that a stage is made of.

    >>> inputs_of("layers.1.attention_residual", 2)
    ('layers.0.output', 'layers.1.attention_norm', 'layers.1.attention_output')
    """
    if stage == "embedding":
        return ()
    if stage == "norm":
        return (f"layers.{n_layers - 1}.output",)
    if stage == "logits":
        return ("norm",)
    _, i, name = stage.split(".")
    stream = f"layers.{int(i) - 1}.output" if int(i) else "embedding"
    return tuple(stream if given == "stream" else f"layers.{i}.{given}" for given in INPUTS[name])


def compute(stage: str, given: tuple, tokens: np.ndarray, weights: Weights, setting: Setting) -> np.ndarray:
    """One stage from its inputs, in the order of `inputs_of`: float64 arrays, shapes as in the trace format."""
    given = tuple(setting.number.given(x) for x in given)
    if stage == "embedding":
        return setting.lines.embed(weights.tok_embeddings, tokens, setting.number)
    if stage == "norm":
        return setting.lines.final_norm(
            *given, wide(weights.norm, setting.number), setting.config.norm_eps, setting.number
        )
    if stage == "logits":
        matrix = setting.lines.output_matrix(weights.tok_embeddings, weights.output)
        return setting.number.store(setting.number.linear(*given, wide(matrix, setting.number)))
    _, i, name = stage.split(".")
    layer = weights.layers[setting.lines.layer_of(int(i), setting.config.n_layers)]
    return LAYER_STAGES[name](*given, layer, setting.config.layer_window(int(i)), setting)


def wide(w: np.ndarray, n: Number) -> np.ndarray:
    """A weight as the format holds it, in float64."""
    return n.store(np.asarray(w).astype(np.float64, copy=False))


def _attention_norm(h, layer: Layer, window, s: Setting):
    w = wide(s.lines.attention_norm_weight(layer), s.number)
    return s.lines.norm(h, w, s.config.norm_eps, s.number)


def _ffn_norm(h, layer: Layer, window, s: Setting):
    return s.lines.norm(h, wide(s.lines.ffn_norm_weight(layer), s.number), s.config.norm_eps, s.number)


def _linear(x, w, s: Setting):
    return s.number.store(s.number.linear(x, wide(w, s.number)))


def _q(x, layer: Layer, window, s: Setting):
    return _linear(x, s.lines.query_rows(layer, s.config), s).reshape(len(x), -1, s.config.head_dim)


def _k(x, layer: Layer, window, s: Setting):
    return _linear(x, s.lines.key_rows(layer, s.config), s).reshape(len(x), -1, s.config.head_dim)


def _v(x, layer: Layer, window, s: Setting):
    return _linear(x, s.lines.value_rows(layer, s.config), s).reshape(len(x), -1, s.config.head_dim)


def _angle(T: int, window, s: Setting):
    return s.lines.angles(s.lines.positions(T, window), s.config, s.number)


def _q_rope(q, layer: Layer, window, s: Setting):
    return s.lines.turn_queries(q, _angle(len(q), window, s), s.number)


def _k_rope(k, layer: Layer, window, s: Setting):
    return s.lines.turn_keys(k, _angle(len(k), window, s), s.number)


def _attention(q, k, v, layer: Layer, window, s: Setting):
    """Every query over all T keys at once; empty slots have score 0 and bring nothing, so one column holds them all."""
    T, n = len(q), s.number
    v = s.lines.values_read(v, _angle(T, window, s), n)
    k = s.lines.key_heads(k, s.config.n_heads).swapaxes(0, 1)  # (n_heads, T, d)
    v = s.lines.value_heads(v, s.config.n_heads).swapaxes(0, 1)
    scores = n.step(n.step(n.linear(q.swapaxes(0, 1), k)) * s.lines.scale(s.config))
    often = np.asarray(s.lines.seen(T, window), float)  # (T, T), how often each key is met
    empty = s.lines.empty_slots(T, window)
    if empty.any():
        scores = np.concatenate([scores, np.zeros((len(scores), T, 1))], axis=-1)
        often = np.concatenate([often, empty[:, None]], axis=-1)
    p = s.lines.probabilities(scores, often, n)[..., :T]
    return n.store(n.linear(p, v.swapaxes(1, 2)).swapaxes(0, 1))


def _attention_output(a, layer: Layer, window, s: Setting):
    return _linear(s.lines.heads_joined(a), s.lines.output_rows(layer, s.config), s)


def _attention_residual(h, x, a, layer: Layer, window, s: Setting):
    return s.lines.attention_sum(h, x, a, s.number)


def _gate(x, layer: Layer, window, s: Setting):
    return _linear(x, s.lines.gate_rows(layer, s.config), s)


def _up(x, layer: Layer, window, s: Setting):
    return _linear(x, s.lines.up_rows(layer, s.config), s)


def _ffn_hidden(gate, up, layer: Layer, window, s: Setting):
    return s.lines.gated(gate, up, s.number)


def _ffn_output(x, layer: Layer, window, s: Setting):
    return _linear(x, layer.w2, s)


def _output(before, h, x, f, layer: Layer, window, s: Setting):
    return s.lines.ffn_sum(s.lines.ffn_residual(before, h), x, f, s.number)


LAYER_STAGES: Mapping[str, Callable] = {
    "attention_norm": _attention_norm,
    "q": _q,
    "k": _k,
    "v": _v,
    "q_rope": _q_rope,
    "k_rope": _k_rope,
    "attention": _attention,
    "attention_output": _attention_output,
    "attention_residual": _attention_residual,
    "ffn_norm": _ffn_norm,
    "gate": _gate,
    "up": _up,
    "ffn_hidden": _ffn_hidden,
    "ffn_output": _ffn_output,
    "output": _output,
}
