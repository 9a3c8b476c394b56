"""Attention with grouped heads: softmax(q k^T / sqrt(head_dim)) v, several query heads to a key/value head."""

import numpy as np

from minimistral.arithmetic import Arithmetic
from minimistral.errors import NotFinite

NO_SOFTMAX = "scores: a query's largest score is not finite (too large a number, or no key is seen)"
QUERIES = 64  # taken through softmax together: few enough that many keys are seen by none of them


def heads_of(kv_head: int, n_heads: int, n_kv_heads: int) -> slice:
    """The query heads that read one key/value head: those with h // (n_heads / n_kv_heads) == kv_head.

    >>> heads_of(1, n_heads=6, n_kv_heads=2)
    slice(3, 6, None)
    """
    group = n_heads // n_kv_heads
    return slice(kv_head * group, (kv_head + 1) * group)


def attention_scores(q: np.ndarray, k: np.ndarray, seen: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """q . k / sqrt(head_dim), and -inf where a key is not seen.

    q (T, n_heads, head_dim), k (S, n_kv_heads, head_dim), seen (T, S) -> (n_heads, T, S).
    """
    (T, n_heads, _), (S, n_kv_heads, _) = q.shape, k.shape
    scores = np.full((n_heads, T, S), -np.inf, arithmetic.dtype)
    for t in range(0, T, QUERIES):
        rows, keys = slice(t, t + QUERIES), seen_keys(seen[t : t + QUERIES])
        for g in range(n_kv_heads):
            heads = heads_of(g, n_heads, n_kv_heads)
            group = arithmetic.scores(q[rows, heads].swapaxes(0, 1), k[keys, g])  # (group, T, S) of these
            np.copyto(scores[heads, rows, keys], group, where=seen[rows, keys])
    return scores


def attention_values(scores: np.ndarray, v: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """The mean of the values, weighted by softmax of the scores.

    scores (n_heads, T, S), v (S, n_kv_heads, head_dim) -> (T, n_heads, head_dim).

    >>> from minimistral.arithmetic import by_name
    >>> v = np.array([[[10.0]], [[20.0]], [[99.0]]])  # (S 3, n_kv_heads 1, head_dim 1)
    >>> attention_values(np.array([[[1.0, 1.0, -np.inf]]]), v, by_name("float64"))  # two equal scores, one not seen
    array([[[15.]]])
    """
    (n_heads, T, _), (_, n_kv_heads, head_dim) = scores.shape, v.shape
    attended = np.empty((T, n_heads, head_dim), arithmetic.dtype)
    for t in range(0, T, QUERIES):
        keys = seen_keys(scores[:, t : t + QUERIES] != -np.inf)
        s = arithmetic.wide(scores[:, t : t + QUERIES, keys])
        best = s.max(axis=-1, keepdims=True)
        if not np.isfinite(best).all():
            raise NotFinite(NO_SOFTMAX)
        p = np.where(s == -np.inf, 0, arithmetic.exp(s - best))  # not yet divided by its sum
        for g in range(n_kv_heads):
            heads = heads_of(g, n_heads, n_kv_heads)
            attended[t : t + QUERIES, heads] = arithmetic.weighted_mean(p[heads], v[keys, g]).swapaxes(0, 1)
    return attended


def seen_keys(seen: np.ndarray) -> slice:
    """From the first to the last key that any query sees: seen (..., S) bool; what lies outside weighs nothing.

    >>> seen_keys(np.array([[False, True, False, False], [False, True, True, False]]))
    slice(1, 3, None)
    """
    keys = np.flatnonzero(seen.any(axis=tuple(range(seen.ndim - 1)))).tolist()
    return slice(keys[0], keys[-1] + 1) if keys else slice(None)
