"""RMSNorm and cross-entropy: each row by itself, and RMSNorm's weight gradient over all rows.

Parts are PART rows. Memory: RMSNorm reads x and writes y, backward reads dy and x and writes dx; cross-entropy reads
the logits, backward reads them once more and writes as much. The work per number is a few operations or one e^x.
"""

import math

import numpy as np

from fastpath.training.compiled import jit, next_part, summed
from fastpath.training.softmax import exp, exp_sum, largest

PART = 64  # rows


@summed
def inverse_rms(x, eps):
    """1 / sqrt(mean(x^2) + eps) of a row."""
    total = x[0] * x[0]
    for i in range(1, x.size):
        total += x[i] * x[i]
    return x.dtype.type(1) / np.sqrt(total / x.dtype.type(x.size) + eps)


@summed
def dot3(a, b, c):
    """sum of a b c over a row."""
    total = a[0] * b[0] * c[0]
    for i in range(1, a.size):
        total += a[i] * b[i] * c[i]
    return total


@jit
def rms_norm(counter, x, weight, eps, y):
    """y = x / sqrt(mean(x^2) + eps) * weight: (T, dim)."""
    T, dim = x.shape
    part = next_part(counter)
    while part * PART < T:
        for t in range(part * PART, min((part + 1) * PART, T)):
            share = inverse_rms(x[t], eps)
            for i in range(dim):
                y[t, i] = x[t, i] * share * weight[i]
        part = next_part(counter)


@jit
def rms_norm_backward(counter, dy, x, weight, eps, dx, dweights):
    """dx (T, dim) = (dy weight - n mean(dy weight n)) / r with n = x / r; dweights (parts, dim): sums of dy n by part."""
    T, dim = x.shape
    part = next_part(counter)
    while part * PART < T:
        dweight = dweights[part]
        for t in range(part * PART, min((part + 1) * PART, T)):
            share = inverse_rms(x[t], eps)
            along = dot3(dy[t], weight, x[t]) * share * share / x.dtype.type(dim)
            for i in range(dim):
                dx[t, i] = (dy[t, i] * weight[i] - x[t, i] * along) * share
                dweight[i] += dy[t, i] * (x[t, i] * share)
        part = next_part(counter)


@jit
def cross_entropy(counter, logits, log_sums):
    """log_sums (T,) = log sum exp of each row of logits (T, vocab_size)."""
    T = logits.shape[0]
    part = next_part(counter)
    while part * PART < T:
        for t in range(part * PART, min((part + 1) * PART, T)):
            top = largest(logits[t])
            log_sums[t] = top + math.log(exp_sum(logits[t], top))
        part = next_part(counter)


@jit
def cross_entropy_backward(counter, logits, log_sums, targets, weights, dlogits):
    """dlogits (T, vocab_size) = weight (softmax - [v = target])."""
    T, vocab_size = logits.shape
    part = next_part(counter)
    while part * PART < T:
        for t in range(part * PART, min((part + 1) * PART, T)):
            weight, log_sum = weights[t], log_sums[t]
            for v in range(vocab_size):
                dlogits[t, v] = exp(logits[t, v] - log_sum) * weight
            dlogits[t, targets[t]] -= weight
        part = next_part(counter)
