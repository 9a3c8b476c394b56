"""The kernels as Python calls them, kept in Numba's cache with a key that every source of this package is part of.

Numba itself looks for changes in the file of a cached function only; the number `source` is its closure here. Each takes
first the address where parts are counted (threads.py), and returns when no part is left.
"""

from collections.abc import Callable

from fastpath.training import attention as a
from fastpath.training import numbers, rows
from fastpath.training.compiled import kernel, source_number


def _attention(source: int) -> tuple[Callable, ...]:
    @kernel
    def attention(counter, q, k, v, starts, window, scale, most_keys, out, log_sums):
        if source >= 0:
            a.forward(counter, q, k, v, starts, window, scale, most_keys, out, log_sums)

    @kernel
    def attention_backward(counter, dout, q, k, v, out, log_sums, starts, window, scale, chunk, odd, most_keys,
                           dq, dk, dv):  # fmt: skip
        if source >= 0:
            a.backward(counter, dout, q, k, v, out, log_sums, starts, window, scale, chunk, odd, most_keys, dq, dk, dv)

    return attention, attention_backward


def _rows(source: int) -> tuple[Callable, ...]:
    @kernel
    def rms_norm(counter, x, weight, eps, y):
        if source >= 0:
            rows.rms_norm(counter, x, weight, eps, y)

    @kernel
    def rms_norm_backward(counter, dy, x, weight, eps, dx, dweights):
        if source >= 0:
            rows.rms_norm_backward(counter, dy, x, weight, eps, dx, dweights)

    @kernel
    def cross_entropy(counter, logits, log_sums):
        if source >= 0:
            rows.cross_entropy(counter, logits, log_sums)

    @kernel
    def cross_entropy_backward(counter, logits, log_sums, targets, weights, dlogits):
        if source >= 0:
            rows.cross_entropy_backward(counter, logits, log_sums, targets, weights, dlogits)

    return rms_norm, rms_norm_backward, cross_entropy, cross_entropy_backward


def _numbers(source: int) -> tuple[Callable, ...]:
    @kernel
    def rope(counter, x, cos, sin, y):
        if source >= 0:
            numbers.rope(counter, x, cos, sin, y)

    @kernel
    def swiglu(counter, gate, up, y):
        if source >= 0:
            numbers.swiglu(counter, gate, up, y)

    @kernel
    def swiglu_backward(counter, dy, gate, up, dgate, dup):
        if source >= 0:
            numbers.swiglu_backward(counter, dy, gate, up, dgate, dup)

    @kernel
    def embedding_backward(counter, dh, tokens, dtable):
        if source >= 0:
            numbers.embedding_backward(counter, dh, tokens, dtable)

    @kernel
    def adamw(counter, w, g, m, v, beta1, rest1, beta2, rest2, root, eps, kept, rate):
        if source >= 0:
            numbers.adamw(counter, w, g, m, v, beta1, rest1, beta2, rest2, root, eps, kept, rate)

    return rope, swiglu, swiglu_backward, embedding_backward, adamw


SOURCE = source_number()
attention, attention_backward = _attention(SOURCE)
rms_norm, rms_norm_backward, cross_entropy, cross_entropy_backward = _rows(SOURCE)
rope, swiglu, swiglu_backward, embedding_backward, adamw = _numbers(SOURCE)
