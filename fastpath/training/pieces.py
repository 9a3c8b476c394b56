"""What minimistral.training.pieces has, by the same names and shapes: equations and derivations are there."""

import numpy as np

from fastpath.training import kernels
from fastpath.training.attention import CHUNK
from fastpath.training.products import linear, linear_backward
from fastpath.training.rows import PART
from fastpath.training.threads import run_kernel
from minimistral.training.pieces import embedding, rope_table

__all__ = ["embedding", "linear", "linear_backward", "rope_table"]


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """x / sqrt(mean(x^2) + eps) * weight: x (T, dim), weight (dim,) -> (T, dim)."""
    x, weight = whole(x, weight)
    y = np.empty_like(x)
    run_kernel(kernels.rms_norm, x.size, x, weight, x.dtype.type(eps), y)
    return y


def rms_norm_backward(dy: np.ndarray, x: np.ndarray, weight: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray]:
    """dx (T, dim) and dweight (dim,). dweight: sums of PART rows, then these in float64, in order."""
    dy, x, weight = whole(dy, x, weight)
    dx, dweights = np.empty_like(x), np.zeros((-(-len(x) // PART), x.shape[1]), x.dtype)
    run_kernel(kernels.rms_norm_backward, x.size, dy, x, weight, x.dtype.type(eps), dx, dweights)
    return dx, dweights.sum(axis=0, dtype=np.float64).astype(x.dtype)


def rope(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Pairs (2i, 2i + 1) turned: x (T, heads, head_dim), cos and sin (T, head_dim / 2)."""
    x, cos, sin = whole(x, cos, sin)
    y = np.empty_like(x)
    run_kernel(kernels.rope, x.size, x, cos, sin, y)
    return y


def rope_backward(dy: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Pairs turned back: dy (T, heads, head_dim)."""
    return rope(dy, cos, -sin)


def attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, starts: np.ndarray, window: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """out (T, n_heads, head_dim) and log_sums (T, n_heads): query t sees keys max(starts[t], t - window + 1) .. t."""
    q, k, v, starts = *whole(q, k, v), np.ascontiguousarray(starts, np.int64)
    out, log_sums = np.empty_like(q), np.empty(q.shape[:2], q.dtype)
    most_keys = CHUNK + farthest(starts, window, CHUNK)
    scale = q.dtype.type(q.shape[2] ** -0.5)
    run_kernel(kernels.attention, q.size * 8, q, k, v, starts, window or 0, scale, most_keys, out, log_sums)
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
    """dq, dk, dv, with the shapes of q, k, v."""
    dout, q, k, v, out, log_sums = whole(dout, q, k, v, out, log_sums)
    starts, chunk = np.ascontiguousarray(starts, np.int64), CHUNK
    while farthest(starts, window, chunk) > chunk:  # no chunk's queries may see keys two chunks back
        chunk *= 2
    most_keys, scale = chunk + farthest(starts, window, chunk), q.dtype.type(q.shape[2] ** -0.5)
    dq, dk, dv = np.empty_like(q), np.zeros_like(k), np.zeros_like(v)
    for odd in (0, 1):
        run_kernel(kernels.attention_backward, q.size * 8, dout, q, k, v, out, log_sums, starts, window or 0, scale, chunk,
              odd, most_keys, dq, dk, dv)  # fmt: skip
    return dq, dk, dv


def farthest(starts: np.ndarray, window: int | None, chunk: int) -> int:
    """How many keys before a chunk its first query sees, at most.

    >>> farthest(np.zeros(9, int), 3, 4), farthest(np.repeat([0, 7], [7, 2]), None, 4)
    (2, 4)
    """
    t = np.arange(0, len(starts), chunk)
    reach = t - starts[::chunk]
    return int(min(reach.max(), len(starts) if window is None else window - 1))


def swiglu(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """silu(gate) * up, each (T, hidden_dim)."""
    gate, up = whole(gate, up)
    y = np.empty_like(gate)
    run_kernel(kernels.swiglu, y.size, gate.ravel(), up.ravel(), y.ravel())
    return y


def swiglu_backward(dy: np.ndarray, gate: np.ndarray, up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dgate and dup, all (T, hidden_dim)."""
    dy, gate, up = whole(dy, gate, up)
    dgate, dup = np.empty_like(gate), np.empty_like(gate)
    run_kernel(kernels.swiglu_backward, dy.size, dy.ravel(), gate.ravel(), up.ravel(), dgate.ravel(), dup.ravel())
    return dgate, dup


def embedding_backward(dh: np.ndarray, tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """dtable (vocab_size, dim): dh (T, dim) added where tokens (T,) say, in order of t."""
    (dh,) = whole(dh)
    dtable = np.zeros((vocab_size, dh.shape[1]), dh.dtype)
    run_kernel(kernels.embedding_backward, dh.size, dh, np.ascontiguousarray(tokens, np.int64), dtable)
    return dtable


def cross_entropy(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """The sum of weight * nats, as a float added in float64, and log_sums (T,): logits (T, vocab_size)."""
    (logits,) = whole(logits)
    log_sums = np.empty(len(logits), logits.dtype)
    run_kernel(kernels.cross_entropy, logits.size, logits, log_sums)
    nats = log_sums - logits[np.arange(len(targets)), targets]  # (T,)
    return float(np.sum(nats.astype(np.float64) * weights)), log_sums


def cross_entropy_backward(
    logits: np.ndarray, log_sums: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """dlogits (T, vocab_size) of that sum."""
    logits, log_sums, weights = whole(logits, log_sums, weights.astype(logits.dtype, copy=False))
    dlogits, targets = np.empty_like(logits), np.ascontiguousarray(targets, np.int64)
    run_kernel(kernels.cross_entropy_backward, logits.size, logits, log_sums, targets, weights, dlogits)
    return dlogits


def adamw(
    parameter: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    step: int,
    learning_rate: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
) -> None:
    """One step of one tensor, in place, in one pass over memory; step: 1, 2, ..."""
    number, (beta1, beta2) = parameter.dtype.type, betas
    root, kept = (1 - beta2**step) ** -0.5, 1 - learning_rate * weight_decay
    numbers = (beta1, 1 - beta1, beta2, 1 - beta2, root, eps, kept, learning_rate / (1 - beta1**step))
    flat = [flat_view(x) for x in (parameter, gradient, mean, square)]
    run_kernel(kernels.adamw, parameter.size, *flat, *map(number, numbers))


def flat_view(x: np.ndarray) -> np.ndarray:
    """The same memory as one row; an array that is not contiguous has no such view, and changing a copy is no use."""
    view = x.view()
    view.shape = (x.size,)
    return view


def whole(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Arrays as they lie in memory row by row: themselves, or copies. So each kernel is compiled for one layout."""
    return tuple(np.ascontiguousarray(x) for x in arrays)
