"""RoPE, SwiGLU, the embedding's gradient and AdamW: each number by itself, or added in one fixed order.

Memory: every array is read or written once. In NumPy each of these takes several passes over memory and a temporary
array for each; here one pass. Parts are PART rows of RoPE, CUT numbers of a flat array, or COLUMNS of the embedding.
"""

import numpy as np

from fastpath.training.compiled import jit, next_part
from fastpath.training.softmax import exp

PART = 64  # rows
CUT = 16384  # numbers
COLUMNS = 32


@jit
def cut(x, part):
    """A part of a flat array. Indices that start at 0 are seen not to be negative, so LLVM needs no gathers."""
    return x[part * CUT : (part + 1) * CUT]


@jit
def rope(counter, x, cos, sin, y):
    """(a, b) -> (a cos - b sin, a sin + b cos) for the pairs (2i, 2i + 1) of x (T, heads, head_dim)."""
    T, heads, d = x.shape
    part = next_part(counter)
    while part * PART < T:
        for t in range(part * PART, min((part + 1) * PART, T)):
            for h in range(heads):
                for i in range(d // 2):
                    a, b = x[t, h, 2 * i], x[t, h, 2 * i + 1]
                    y[t, h, 2 * i] = a * cos[t, i] - b * sin[t, i]
                    y[t, h, 2 * i + 1] = a * sin[t, i] + b * cos[t, i]
        part = next_part(counter)


@jit
def swiglu(counter, gate, up, y):
    """y = gate sigmoid(gate) up; flat arrays."""
    one = gate.dtype.type(1)
    part = next_part(counter)
    while part * CUT < gate.size:
        g_, up_, y_ = cut(gate, part), cut(up, part), cut(y, part)
        for i in range(g_.size):
            y_[i] = g_[i] / (one + exp(-g_[i])) * up_[i]
        part = next_part(counter)


@jit
def swiglu_backward(counter, dy, gate, up, dgate, dup):
    """dup = dy silu(gate), dgate = dy up s (1 + gate (1 - s)) with s = sigmoid(gate); flat arrays."""
    one = gate.dtype.type(1)
    part = next_part(counter)
    while part * CUT < gate.size:
        dy_, g_, up_, dgate_, dup_ = cut(dy, part), cut(gate, part), cut(up, part), cut(dgate, part), cut(dup, part)
        for i in range(g_.size):
            s = one / (one + exp(-g_[i]))
            silu = g_[i] * s
            dgate_[i] = dy_[i] * up_[i] * (s + silu * (one - s))
            dup_[i] = dy_[i] * silu
        part = next_part(counter)


@jit
def embedding_backward(counter, dh, tokens, dtable):
    """dtable[tokens[t]] += dh[t] in order of t; a part is COLUMNS columns, so no two threads add to one number."""
    T, dim = dh.shape
    part = next_part(counter)
    while part * COLUMNS < dim:
        for t in range(T):
            row, add = dtable[tokens[t], part * COLUMNS :], dh[t, part * COLUMNS : (part + 1) * COLUMNS]
            for i in range(add.size):
                row[i] += add[i]
        part = next_part(counter)


@jit
def adamw(counter, w, g, m, v, beta1, rest1, beta2, rest2, root, eps, kept, rate):
    """minimistral/training/adamw.py in one pass: flat arrays. root: 1 / sqrt(1 - beta2^step), kept: 1 - rate decay."""
    part = next_part(counter)
    while part * CUT < w.size:
        w_, g_, m_, v_ = cut(w, part), cut(g, part), cut(m, part), cut(v, part)
        for i in range(w_.size):
            m_[i] = m_[i] * beta1 + g_[i] * rest1
            v_[i] = v_[i] * beta2 + g_[i] * g_[i] * rest2
            w_[i] = w_[i] * kept - rate * m_[i] / (np.sqrt(v_[i]) * root + eps)
        part = next_part(counter)
