"""The whole model on one page: token ids in, logits out. The pieces are one small module each.

    h = embedding
    each layer:  h = h + wo attention(rope(q), rope(k), v)    of rms_norm(h)
                 h = h + w2 swiglu(w1 x, w3 x)                 of x = rms_norm(h)
    logits = output rms_norm(h)

Sequences are handed over as a list (a ragged batch): all their rows go through the matrices together, and each attends
to its own cache and to itself. One sequence is a list of one, and an empty cache is a cache.
"""

from collections.abc import Callable

import numpy as np

from minimistral.arithmetic import Arithmetic
from minimistral.attention import attention_scores, attention_values
from minimistral.config import Config
from minimistral.errors import NotFinite
from minimistral.rms_norm import rms_norm
from minimistral.rolling_cache import RollingCache
from minimistral.rope import rope_table, rotate
from minimistral.swiglu import swiglu
from minimistral.weights import Layer, Weights
from minimistral.window import window_mask

Stage = Callable[[str, np.ndarray], np.ndarray]  # every stage's array passes through one of these, with its name


def finite(name: str, x: np.ndarray) -> np.ndarray:
    """x itself; NotFinite, with the stage's name, if it holds a NaN or an infinity (masked scores are -inf)."""
    if not name.endswith(".scores") and not np.isfinite(x).all():
        raise NotFinite(f"{name}: a value is NaN or infinite (weights out of range, or too large for this arithmetic)")
    return x


def transformer(
    sequences: list[np.ndarray],  # of (T_i,) token ids; T is the sum of all T_i
    caches: list[RollingCache],  # one a sequence; read, and then written
    weights: Weights,
    config: Config,
    arithmetic: Arithmetic,
    stage: Stage = finite,
) -> np.ndarray:
    """Token ids -> the residual stream after the final norm, (T, dim). `output` makes logits of it."""
    positions = [cache.length + np.arange(len(tokens)) for tokens, cache in zip(sequences, caches, strict=True)]
    rope = rope_table(np.concatenate(positions), config.head_dim, config.rope_theta, arithmetic)
    h = stage("embedding", arithmetic.store(weights.tok_embeddings[np.concatenate(sequences)]))  # (T, dim)
    keys, values = [], []  # this chunk's, a layer each: (T, n_kv_heads, head_dim)
    for i in range(config.n_layers):
        layer, name = weights.layers[i], f"layers.{i}"
        x = stage(f"{name}.attention_norm", rms_norm(h, layer.attention_norm, config.norm_eps, arithmetic))
        q, k, v = projections(x, layer, rope, config, arithmetic, stage, name)
        a = stage(f"{name}.attention", attend(q, k, v, positions, caches, i, config, arithmetic, stage))
        a = stage(f"{name}.attention_output", arithmetic.linear(a.reshape(len(a), -1), layer.wo))
        h = stage(f"{name}.attention_residual", arithmetic.store(arithmetic.wide(h) + arithmetic.wide(a)))
        x = stage(f"{name}.ffn_norm", rms_norm(h, layer.ffn_norm, config.norm_eps, arithmetic))
        f = stage(f"{name}.ffn_output", feed_forward(x, layer, arithmetic, stage, name))
        h = stage(f"{name}.output", arithmetic.store(arithmetic.wide(h) + arithmetic.wide(f)))
        keys.append(k)
        values.append(v)
    # Written only now that every layer has read: a ring written too early loses keys that the chunk still needs.
    for rows, cache in zip(rows_of(positions), caches, strict=True):
        cache.write([k[rows] for k in keys], [v[rows] for v in values])
    return stage("norm", rms_norm(h, weights.norm, config.norm_eps, arithmetic))


def output(h: np.ndarray, weights: Weights, arithmetic: Arithmetic, stage: Stage = finite) -> np.ndarray:
    """The normed residual stream -> a score for every token that could come next: (T, dim) -> (T, vocab_size)."""
    return stage("logits", arithmetic.linear(h, weights.output))


def projections(x, layer: Layer, rope, config: Config, arithmetic: Arithmetic, stage: Stage, name: str):
    """Queries and keys, turned by their positions, and values: x (T, dim) -> three arrays (T, heads, head_dim)."""
    T, d = len(x), config.head_dim
    q = stage(f"{name}.q", arithmetic.linear(x, layer.wq).reshape(T, config.n_heads, d))
    k = stage(f"{name}.k", arithmetic.linear(x, layer.wk).reshape(T, config.n_kv_heads, d))
    v = stage(f"{name}.v", arithmetic.linear(x, layer.wv).reshape(T, config.n_kv_heads, d))
    q = stage(f"{name}.q_rope", rotate(q, *rope, arithmetic))
    k = stage(f"{name}.k_rope", rotate(k, *rope, arithmetic))
    return q, k, v


def attend(q, k, v, positions, caches, i: int, config: Config, arithmetic: Arithmetic, stage: Stage) -> np.ndarray:
    """Layer i's attention; each sequence sees what its cache holds and its own chunk: -> (T, n_heads, head_dim)."""
    attended = []
    for rows, own, cache in zip(rows_of(positions), positions, caches, strict=True):
        cached_keys, cached_values, cached_positions = cache.read(i)
        seen = window_mask(own, np.concatenate([cached_positions, own]), config.layer_window(i))  # (T_i, S)
        scores = attention_scores(q[rows], np.concatenate([cached_keys, k[rows]]), seen, arithmetic)
        scores = stage(f"layers.{i}.scores", scores)  # (n_heads, T_i, S)
        attended.append(attention_values(scores, np.concatenate([cached_values, v[rows]]), arithmetic))
    return np.concatenate(attended)


def feed_forward(x: np.ndarray, layer: Layer, arithmetic: Arithmetic, stage: Stage, name: str) -> np.ndarray:
    """w2 (silu(w1 x) * w3 x): (T, dim) -> (T, dim)."""
    gate = stage(f"{name}.gate", arithmetic.linear(x, layer.w1))  # (T, hidden_dim)
    up = stage(f"{name}.up", arithmetic.linear(x, layer.w3))
    return arithmetic.linear(stage(f"{name}.ffn_hidden", swiglu(gate, up, arithmetic)), layer.w2)


def rows_of(positions: list[np.ndarray]) -> list[slice]:
    """Where each sequence's rows lie among all rows.

    >>> rows_of([np.arange(2), np.arange(3)])
    [slice(0, 2, None), slice(2, 5, None)]
    """
    ends = np.cumsum([len(p) for p in positions]).tolist()
    return [slice(end - len(p), end) for end, p in zip(ends, positions, strict=True)]
