"""A Mistral line by line: the right one of every line that people get wrong. A mistake replaces one of them.

Arrays are float64; `n` says what is rounded where (number.py). T rows, one a token; d is head_dim.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minimistral.check.number import Number, rounded
from minimistral.config import Config
from minimistral.weights import Layer


def tokens_run(tokens: np.ndarray) -> np.ndarray:
    """The ids that the model is given: those of the trace."""
    return tokens


def embed(embedding: np.ndarray, tokens: np.ndarray, n: Number) -> np.ndarray:
    """The token's row: (vocab_size, dim), (T,) -> (T, dim)."""
    return n.store(embedding[tokens].astype(np.float64))


def norm(x: np.ndarray, w: np.ndarray, eps: float, n: Number) -> np.ndarray:
    """x / sqrt(mean(x^2) + eps) w, each token by itself: (T, dim) -> (T, dim)."""
    return n.store(n.step(x / np.sqrt(n.mean_square(x) + eps)) * w)


def layer_of(i: int, n_layers: int) -> int:
    """Layer i is computed with the weights of layer i."""
    return i


def attention_norm_weight(layer: Layer) -> np.ndarray:
    return layer.attention_norm


def ffn_norm_weight(layer: Layer) -> np.ndarray:
    return layer.ffn_norm


def query_rows(layer: Layer, config: Config) -> np.ndarray:
    """wq, its rows in the order of Mistral's files."""
    return layer.wq


def key_rows(layer: Layer, config: Config) -> np.ndarray:
    """wk, its rows in the order of Mistral's files."""
    return layer.wk


def value_rows(layer: Layer, config: Config) -> np.ndarray:
    """wv."""
    return layer.wv


def output_rows(layer: Layer, config: Config) -> np.ndarray:
    """wo."""
    return layer.wo


def gate_rows(layer: Layer, config: Config) -> np.ndarray:
    """w1: its product passes SiLU."""
    return layer.w1


def up_rows(layer: Layer, config: Config) -> np.ndarray:
    """w3: its product is multiplied by the gate's."""
    return layer.w3


def positions(T: int, window: int | None) -> np.ndarray:
    """Where each row stands in the text: 0, 1, ... T - 1."""
    return np.arange(T)


def angles(at: np.ndarray, config: Config, n: Number) -> np.ndarray:
    """position x theta^(-2i / d), radians: (T, d / 2)."""
    exponents = np.arange(0, config.head_dim, 2) / config.head_dim
    if n.angles == "float32":  # every step of it, as transformers does
        powers = rounded(config.rope_theta ** rounded(exponents, "float32"), "float32")
        return rounded(rounded(at.astype(float), "float32")[:, None] * rounded(1 / powers, "float32"), "float32")
    return at[:, None] * config.rope_theta**-exponents


def turn(x: np.ndarray, angle: np.ndarray, n: Number) -> np.ndarray:
    """(a, b) -> (a cos - b sin, a sin + b cos) for the pairs (2i, 2i + 1): (T, heads, d) -> the same."""
    cos, sin = n.step(np.cos(angle))[:, None], n.step(np.sin(angle))[:, None]
    a, b = x[..., 0::2], x[..., 1::2]
    turned = np.stack([n.step(a * cos) - n.step(b * sin), n.step(a * sin) + n.step(b * cos)], axis=-1)
    return n.store(turned.reshape(x.shape))


def values_read(v: np.ndarray, angle: np.ndarray, n: Number) -> np.ndarray:
    """Values are not turned."""
    return v


def seen(T: int, window: int | None) -> np.ndarray:
    """seen[t, s]: t sees s if s is one of t - W + 1 .. t: (T, T), how often (once, or not at all)."""
    back = np.arange(T)[:, None] - np.arange(T)[None, :]
    return (back >= 0) & (back < (T if window is None else window))


def empty_slots(T: int, window: int | None) -> np.ndarray:
    """How many slots that hold nothing a query attends to: none. (T,)"""
    return np.zeros(T, int)


def heads_read(x: np.ndarray, n_heads: int) -> np.ndarray:
    """Query head h reads key/value head h // (n_heads / n_kv_heads): (T, n_kv_heads, d) -> (T, n_heads, d)."""
    return np.repeat(x, n_heads // x.shape[1], axis=1)


def scale(config: Config) -> float:
    """head_dim ** -0.5"""
    return config.head_dim**-0.5


def probabilities(scores: np.ndarray, often: np.ndarray, n: Number) -> np.ndarray:
    """softmax over the keys that are seen, the last axis: (n_heads, T, S), (T, S) -> (n_heads, T, S).

    A score that is not seen is -inf before softmax; a key that is met twice weighs twice.
    """
    with np.errstate(divide="ignore"):
        scores = np.where(often > 0, scores + np.log(often), -np.inf)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return n.step(p / p.sum(axis=-1, keepdims=True))


def heads_joined(a: np.ndarray) -> np.ndarray:
    """Heads one after another: (T, n_heads, d) -> (T, n_heads d)."""
    return a.reshape(len(a), -1)


def attention_sum(h: np.ndarray, x: np.ndarray, a: np.ndarray, n: Number) -> np.ndarray:
    """What attention says is added to the stream h, not to its normed copy x."""
    return n.store(h + a)


def gated(gate: np.ndarray, up: np.ndarray, n: Number) -> np.ndarray:
    """silu(gate) up, silu(g) = g / (1 + exp(-g)): (T, hidden_dim)."""
    return n.store(n.step(gate * sigmoid(gate)) * up)


def ffn_residual(before: np.ndarray, h: np.ndarray) -> np.ndarray:
    """The feed-forward is added to the stream after attention, not to the one `before` it."""
    return h


def ffn_sum(h: np.ndarray, x: np.ndarray, f: np.ndarray, n: Number) -> np.ndarray:
    """What the feed-forward says is added to the stream h, not to its normed copy x."""
    return n.store(h + f)


def final_norm(x: np.ndarray, w: np.ndarray, eps: float, n: Number) -> np.ndarray:
    """The stream is normed once more before the output matrix."""
    return norm(x, w, eps, n)


def output_matrix(embedding: np.ndarray, output: np.ndarray) -> np.ndarray:
    """The output matrix is its own (or the checkpoint says that it is the embedding)."""
    return output


def sigmoid(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-x))


class Lines(NamedTuple):
    """All the lines of a model; `RIGHT` has the right ones, and `RIGHT._replace(seen=...)` a wrong one."""

    tokens_run: Callable = tokens_run
    embed: Callable = embed
    layer_of: Callable = layer_of
    norm: Callable = norm
    attention_norm_weight: Callable = attention_norm_weight
    ffn_norm_weight: Callable = ffn_norm_weight
    query_rows: Callable = query_rows
    key_rows: Callable = key_rows
    value_rows: Callable = value_rows
    output_rows: Callable = output_rows
    gate_rows: Callable = gate_rows
    up_rows: Callable = up_rows
    positions: Callable = positions
    angles: Callable = angles
    turn_queries: Callable = turn
    turn_keys: Callable = turn
    values_read: Callable = values_read
    seen: Callable = seen
    empty_slots: Callable = empty_slots
    key_heads: Callable = heads_read
    value_heads: Callable = heads_read
    scale: Callable = scale
    probabilities: Callable = probabilities
    heads_joined: Callable = heads_joined
    attention_sum: Callable = attention_sum
    gated: Callable = gated
    ffn_residual: Callable = ffn_residual
    ffn_sum: Callable = ffn_sum
    final_norm: Callable = final_norm
    output_matrix: Callable = output_matrix


RIGHT = Lines()
