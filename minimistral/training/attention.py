"""Attention, forward and backward, over blocks of queries: no matrix of T x T, whatever the window."""

from collections.abc import Iterator

import numpy as np

from minimistral.window import window_mask

QUERIES = 64  # in a block: each computes the scores of at most window + 63 keys


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, starts: np.ndarray, window: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """out = softmax(q k^T / sqrt(head_dim)) v over the keys seen, and log_sums, log sum exp of those scores.

    q (T, n_heads, head_dim), k and v (T, n_kv_heads, head_dim), starts (T,) -> out (T, n_heads, head_dim) and
    log_sums (T, n_heads). Query t sees keys max(starts[t], t - window + 1) .. t; window None: all of its document.

    >>> q, k, v = np.zeros((4, 2, 3)), np.ones((4, 1, 3)), np.array([10.0, 20, 60, 90])[:, None, None]
    >>> out, log_sums = attention(q, k, v, np.array([0, 0, 0, 3]), window=2)
    >>> out[:, 0, 0]  # scores are equal: the mean of the two last of its document
    array([10., 15., 40., 90.])
    """
    out, log_sums = np.empty_like(q), np.empty(q.shape[:2], q.dtype)
    for rows, keys, mask in blocks(starts, window, q.dtype):
        q_, k_, v_ = (of_group(x, k.shape[1]) for x in (q[rows], k[keys], v[keys]))
        scores = scaled_scores(q_, k_, mask)  # (n_kv_heads, group * Q, S)
        largest = scores.max(axis=-1, keepdims=True)
        scores -= largest
        p = np.exp(scores, out=scores)  # not yet divided by its sum
        total = p.sum(axis=-1, keepdims=True)  # (n_kv_heads, group * Q, 1)
        out[rows] = of_rows(p @ v_ / total, len(mask))
        log_sums[rows] = of_rows(largest + np.log(total), len(mask))[..., 0]
    return out, log_sums


def attention_backward(
    dout: np.ndarray,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    out: np.ndarray,
    log_sums: np.ndarray,
    starts: np.ndarray,
    window: int | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """dq, dk, dv of `attention`, with the shapes of q, k, v; dout and out (T, n_heads, head_dim), log_sums (T, n_heads).

    For one query: s_j = q . k_j / sqrt(d), p_j = e^s_j / sum_i e^s_i, out = sum_j p_j v_j. By the last of these,
        dv_j = p_j dout    and    dp_j = dout . v_j.
    s_j acts on every p_i with slope p_i ([i = j] - p_j), so ds_j = p_j (dp_j - sum_i p_i dp_i), and there
        sum_i p_i dp_i = dout . sum_i p_i v_i = dout . out, one number a query, known before any score.
        dq = sum_j ds_j k_j / sqrt(d)    and    dk_j = ds_j q / sqrt(d).
    dk and dv are summed over the queries that see j and over the heads that share it. No p was kept: by log_sum,
    p_j = e^(s_j - log_sum) is computed again, block by block (Dao et al. 2022).

    >>> q, k, v = np.zeros((2, 1, 1)), np.array([[[1.0]], [[3.0]]]), np.array([[[10.0]], [[30.0]]])
    >>> starts, dout = np.zeros(2, int), np.ones((2, 1, 1))
    >>> out, log_sums = attention(q, k, v, starts, None)
    >>> dq, dk, dv = attention_backward(dout, q, k, v, out, log_sums, starts, None)
    >>> dq.ravel(), dv.ravel()  # query 1 gives 1/2 to each: ds = (-5, 5), dq = -5 * 1 + 5 * 3
    (array([ 0., 10.]), array([1.5, 0.5]))
    """
    dq, dk, dv = np.empty_like(q), np.zeros_like(k), np.zeros_like(v)
    mean_dp = np.einsum("thd,thd->th", dout, out)[..., None]  # (T, n_heads, 1), dout . out
    log_sums, scale = log_sums[..., None], q.dtype.type(q.shape[2] ** -0.5)
    for rows, keys, mask in blocks(starts, window, q.dtype):  # q_, k_, ...: the block's part of q, k, ...
        k_, v_ = of_group(k[keys], k.shape[1]), of_group(v[keys], k.shape[1])  # (n_kv_heads, S, d)
        q_, dout_, log_sums_, mean_ = (of_group(x[rows], k.shape[1]) for x in (q, dout, log_sums, mean_dp))
        p = scaled_scores(q_, k_, mask)  # (n_kv_heads, group * Q, S)
        p -= log_sums_
        np.exp(p, out=p)
        dv[keys] += (p.swapaxes(1, 2) @ dout_).swapaxes(0, 1)
        dp = dout_ @ v_.swapaxes(1, 2)  # (n_kv_heads, group * Q, S)
        dp -= mean_
        ds = np.multiply(p, dp, out=dp)
        dq[rows] = of_rows(ds @ k_ * scale, len(mask))
        dk[keys] += (ds.swapaxes(1, 2) @ q_ * scale).swapaxes(0, 1)
    return dq, dk, dv


def blocks(starts: np.ndarray, window: int | None, dtype: np.dtype) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Blocks of Q queries: their rows, the S keys that any of them sees, and a mask to add to scores.

    The mask (Q, S) is 0 where the query sees the key and -inf elsewhere: before its document's start, more than
    window - 1 back, or later than the query.

    >>> for rows, keys, mask in blocks(np.repeat([0, 70], [70, 60]), 3, np.dtype("float32")):
    ...     print(rows, keys, mask.shape)
    slice(0, 64, None) slice(0, 64, None) (64, 64)
    slice(64, 128, None) slice(62, 128, None) (64, 66)
    slice(128, 130, None) slice(126, 130, None) (2, 4)
    """
    for first in range(0, len(starts), QUERIES):
        rows = slice(first, min(first + QUERIES, len(starts)))
        since = int(starts[first])  # the first query's document is the earliest
        if window is not None:
            since = max(since, first - window + 1)
        queries, keys = np.arange(first, rows.stop), np.arange(since, rows.stop)  # (Q,), (S,)
        seen = window_mask(queries, keys, window) & (keys >= starts[rows, None])  # (Q, S)
        yield rows, slice(since, rows.stop), np.where(seen, dtype.type(0), dtype.type(-np.inf))


def scaled_scores(q: np.ndarray, k: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """q k^T / sqrt(d) + mask: q (n_kv_heads, group * Q, d), k (n_kv_heads, S, d) -> (n_kv_heads, group * Q, S)."""
    scores = q * q.dtype.type(q.shape[2] ** -0.5) @ k.swapaxes(1, 2)
    by_head = scores.reshape(-1, *mask.shape)  # (n_heads, Q, S), the same memory
    by_head += mask
    return scores


def of_group(x: np.ndarray, n_kv_heads: int) -> np.ndarray:
    """(Q, heads, d) -> (n_kv_heads, group * Q, d): heads that share a key/value head stand below one another.

    So each key/value head takes one product for its whole group. Keys and values are a group of one: no copy.

    >>> of_group(np.array([[[1], [2], [3], [4]], [[5], [6], [7], [8]]]), 2)[..., 0]
    array([[1, 5, 2, 6],
           [3, 7, 4, 8]])
    """
    Q, heads, d = x.shape
    return x.reshape(Q, n_kv_heads, heads // n_kv_heads, d).transpose(1, 2, 0, 3).reshape(n_kv_heads, -1, d)


def of_rows(x: np.ndarray, Q: int) -> np.ndarray:
    """The way back from `of_group`: (n_kv_heads, group * Q, d) -> (Q, n_heads, d).

    >>> of_rows(of_group(np.arange(8).reshape(2, 4, 1), 2), 2).ravel()
    array([0, 1, 2, 3, 4, 5, 6, 7])
    """
    n_kv_heads, _, d = x.shape
    return x.reshape(n_kv_heads, -1, Q, d).transpose(2, 0, 1, 3).reshape(Q, -1, d)
