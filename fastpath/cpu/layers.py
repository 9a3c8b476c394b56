"""The forward pass as one kernel, run by every thread of a team, each its share of every loop, with barriers between.

A layer is four steps: q, k, v and attention; wo and the residual; gate, up and SwiGLU; w2 and the residual. Each makes
its input's integers (shared out by rows), multiplies (by columns of the output), and does at once what follows.
"""

from typing import NamedTuple

import numpy as np

from fastpath.cpu.attention import AttentionScratch, attend_block, attend_one, rotate, vector_to_grid
from fastpath.cpu.bits import bits32, copy, float32_of, inline, int32s, jit, uint16s
from fastpath.cpu.linear import FLOAT16, FLOAT32, Matrix, Scratch, linear, quantize
from fastpath.cpu.meeting import barrier, share
from fastpath.cpu.numbers import INFINITY, power, rms_norm, silu, stored, top_exponent
from fastpath.cpu.ring import write_ring
from fastpath.cpu.simd import TILE_ROWS, TILE_TOKENS

(NORM_1, Q, K, V, Q_ROPE, K_ROPE, ATTENTION, WO_OUT, RESIDUAL, NORM_2, GATE, UP, HIDDEN, W2_OUT, OUTPUT) = range(15)
QKV, ATTENDED, GATE_UP, DOWN, LOGITS = range(5)  # a layer's four steps, each a product or a few; and the last of all
FIRST = (0, 3, 4, 6, 7, 8)  # of a step's matrices in the table: wq wk wv, wo, w1 w3, w2; the output is alone in its row
FLAG_OF = (Q, K, V, WO_OUT, GATE, UP, W2_OUT, Q)  # the stage that a matrix makes
SCORES = 15  # beside the stages: a query's largest score is not finite
COUNT = 16  # not a flag: the most keys that count for one query
FLAGS = 17  # of a layer
SMALLEST = -100  # exponent of a row's top down to which a float32 scale makes integers of its weights


class Shape(NamedTuple):
    """The config's numbers that kernels need."""

    n_layers: int
    head_dim: int
    n_heads: int
    n_kv_heads: int
    key_bits: int
    eps: float
    scale: float  # 1 / sqrt(head_dim)


class Weights(NamedTuple):
    """Where the weights are."""

    matrices: np.ndarray  # int64 (n_layers + 1, 7, 6): a Matrix each; the last row has the output
    norms: np.ndarray  # float64 (n_layers, 2, dim)
    norm: np.ndarray  # float64 (dim,)


class Stages(NamedTuple):
    """A layer's stages, float32; each layer writes them anew. (T, ...)"""

    h: np.ndarray  # (T, dim): what the layer reads, and what it leaves
    attention_norm: np.ndarray
    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    q_rope: np.ndarray
    k_rope: np.ndarray
    attention: np.ndarray
    attention_output: np.ndarray
    attention_residual: np.ndarray
    ffn_norm: np.ndarray
    gate: np.ndarray
    up: np.ndarray
    ffn_hidden: np.ndarray
    ffn_output: np.ndarray
    norm: np.ndarray
    logits: np.ndarray  # (T, vocab_size)
    scores: np.ndarray  # (sequences, n_heads, T, S) when they are asked for; else S is 0


class New(NamedTuple):
    """Keys and values of this call, as integers; written to the rings when every layer has read."""

    keys: np.ndarray  # int32 (n_layers, T, n_kv_heads * head_dim)
    values: np.ndarray
    key_exponents: np.ndarray  # int32 (n_layers, T, n_kv_heads)
    value_exponents: np.ndarray


class Gathered(NamedTuple):
    """Ring and new keys of one layer in the order of positions, for sequences of more than one token."""

    keys: np.ndarray  # int32 (n_kv_heads, S and some more, head_dim)
    values: np.ndarray
    key_exponents: np.ndarray  # int32 (n_kv_heads, S)
    value_exponents: np.ndarray


class Batch(NamedTuple):
    """The sequences of a call."""

    starts: np.ndarray  # int64 (B + 1,): rows of sequence b are starts[b] .. starts[b + 1]
    lengths: np.ndarray  # int64 (B,): tokens in the cache
    windows: np.ndarray  # int64 (n_layers,): 0 for none
    rings: np.ndarray  # int64 (n_layers, B, 5): addresses of keys, values, exponents, and slots
    gathered: np.ndarray  # int64 (B,): where a sequence's keys begin in Gathered
    cos: np.ndarray  # float32 (T, head_dim / 2)
    sin: np.ndarray
    flags: np.ndarray  # int32 (n_layers + 1, FLAGS): stages with a value that is not finite


@inline
def note(flags, stage, worst):
    """Remember that a stage has a value that is not finite."""
    if worst >= INFINITY:
        flags[stage] = 1


@jit
def added(a, b, y, n0, n1):
    """y = a + b, columns n0 to n1, rounded once. Returns the largest bits."""
    worst = np.int32(0)
    for t in range(a.shape[0]):
        for n in range(n0, n1):
            y[t, n] = stored(np.float64(a[t, n]) + np.float64(b[t, n]))
            worst = max(worst, bits32(y[t, n]) & np.int32(0x7FFFFFFF))
    return worst


@jit
def gated(gate, up, y, n0, n1):
    """y = silu(gate) * up, columns n0 to n1. Returns the largest bits."""
    worst = np.int32(0)
    for t in range(gate.shape[0]):
        for n in range(n0, n1):
            y[t, n] = stored(silu(np.float64(gate[t, n])) * np.float64(up[t, n]))
            worst = max(worst, bits32(y[t, n]) & np.int32(0x7FFFFFFF))
    return worst


@jit
def norm_rows(me, n, h, weight, eps, y, x, flags, stage):
    """This thread's rows: y = rms_norm(h), and its integers."""
    T = h.shape[0]
    first, end = share(T, me, n, 1)
    for t in range(first, end):
        note(flags, stage, rms_norm(h[t], weight, eps, y[t]))
        quantize(y[t], t, T, x)


@jit
def quantize_rows(me, n, y, x):
    T = y.shape[0]
    first, end = share(T, me, n, 1)
    for t in range(first, end):
        quantize(y[t], t, T, x)


@jit
def turn_rows(me, n, layer, shape, s, new, batch, flags):
    """This thread's rows: RoPE on queries and keys; keys and values to their grids."""
    d = shape.head_dim
    first, end = share(s.q.shape[0], me, n, 1)
    for t in range(first, end):
        for h in range(shape.n_heads):
            note(flags, Q_ROPE, rotate(s.q[t, h * d : (h + 1) * d], batch.cos[t], batch.sin[t], s.q_rope[t, h]))
        for g in range(shape.n_kv_heads):
            part = slice(g * d, (g + 1) * d)
            note(flags, K_ROPE, rotate(s.k[t, part], batch.cos[t], batch.sin[t], s.k_rope[t, g]))
            new.key_exponents[layer, t, g] = vector_to_grid(s.k_rope[t, g], shape.key_bits, new.keys[layer, t, part])
            new.value_exponents[layer, t, g] = vector_to_grid(s.v[t, part], 23, new.values[layer, t, part])


@jit
def gather(me, n, layer, shape, new, gathered, batch):
    """This thread's heads: the ring's and the new keys and values side by side, in the order of positions."""
    d, heads = shape.head_dim, shape.n_kv_heads
    for b in range(batch.lengths.size):
        start, end, length = batch.starts[b], batch.starts[b + 1], batch.lengths[b]
        if end - start == 1:
            continue
        ring, slots = batch.rings[layer, b], batch.rings[layer, b, 4]
        from_ring, at = min(length, slots), batch.gathered[b]
        for g in range(me, heads, n):
            copy_run(ring, slots, length, from_ring, heads, g, d, at, gathered)
            for t in range(start, end):
                to, part = at + from_ring + t - start, slice(g * d, (g + 1) * d)
                copy(new.keys[layer, t, part], gathered.keys[g, to])
                copy(new.values[layer, t, part], gathered.values[g, to])
                gathered.key_exponents[g, to] = new.key_exponents[layer, t, g]
                gathered.value_exponents[g, to] = new.value_exponents[layer, t, g]


@jit
def copy_run(ring, slots, length, count, heads, g, d, at, gathered):
    """The last `count` positions of a ring, oldest first, to gathered[g, at:]."""
    keys, values = int32s(ring[0], slots * heads * d), int32s(ring[1], slots * heads * d)
    key_exponents, value_exponents = int32s(ring[2], slots * heads), int32s(ring[3], slots * heads)
    for j in range(count):
        one = (length - count + j) % slots * heads + g
        copy(keys[one * d :], gathered.keys[g, at + j])
        copy(values[one * d :], gathered.values[g, at + j])
        gathered.key_exponents[g, at + j] = key_exponents[one]
        gathered.value_exponents[g, at + j] = value_exponents[one]


@jit
def attend(me, n, layer, shape, s, new, gathered, batch, scratch, flags):
    """This thread's share of attention: one query head of a single token, or one block of queries of a chunk."""
    d, heads, group = shape.head_dim, shape.n_kv_heads, shape.n_heads // shape.n_kv_heads
    window, turn = batch.windows[layer], 0
    for b in range(batch.lengths.size):
        t0, t1, length = batch.starts[b], batch.starts[b + 1], batch.lengths[b]
        ring, slots = batch.rings[layer, b], batch.rings[layer, b, 4]
        filled = min(length, slots)
        if t1 - t0 == 1:
            for h in range(shape.n_heads):
                if (turn + h) % n == me:
                    g = h // group
                    part = slice(g * d, (g + 1) * d)
                    own = (new.keys[layer, t0, part], new.values[layer, t0, part],
                           new.key_exponents[layer, t0, g], new.value_exponents[layer, t0, g])  # fmt: skip
                    worst, count = attend_one(s.q_rope[t0, h], own, ring, slots, length, window, heads, g,
                                              shape.key_bits, shape.scale, scratch, s.scores[b, h, 0], s.attention[t0, h])  # fmt: skip
                    note_attention(flags, worst, count)
            turn += shape.n_heads
            continue
        rows, at = (t1 - t0) * group, batch.gathered[b]
        end = at + filled + t1 - t0 + TILE_ROWS
        for g in range(heads):
            for r0 in range(0, rows, TILE_TOKENS):
                if turn % n == me:
                    worst, count = attend_block(
                        s.q_rope[t0:t1], r0, min(TILE_TOKENS, rows - r0), group, g,
                        gathered.keys[g, at:end], gathered.values[g, at:end],
                        gathered.key_exponents[g, at:end], gathered.value_exponents[g, at:end], filled, window,
                        shape.key_bits, shape.scale, scratch, s.scores[b], s.attention[t0:t1])  # fmt: skip
                    note_attention(flags, worst, count)
                turn += 1


@inline
def note_attention(flags, worst, count):
    note(flags, ATTENTION, worst)
    if count < 0:
        flags[SCORES] = 1
    flags[COUNT] = max(flags[COUNT], count)  # two threads may both write: either is more than allowed when one is


@inline
def prepare(me, n, i, step, shape, weights, s, x, flags):
    """This thread's rows of what a step multiplies: made, and put on their grids."""
    if step == QKV:
        norm_rows(me, n, s.h, weights.norms[i, 0], shape.eps, s.attention_norm, x, flags, NORM_1)
    elif step == GATE_UP:
        norm_rows(me, n, s.attention_residual, weights.norms[i, 1], shape.eps, s.ffn_norm, x, flags, NORM_2)
    else:
        flat = s.attention.reshape(len(s.attention), shape.n_heads * shape.head_dim)
        rows = (flat, s.ffn_hidden, s.norm)
        quantize_rows(me, n, rows[0 if step == ATTENDED else 1 if step == DOWN else 2], x)


@inline
def multiply(me, n, table, step, s, x, scratch, flags):
    """This thread's columns of a step's products; where they begin and end (of all of them: of the last)."""
    outputs = (s.q, s.k, s.v, s.attention_output, s.gate, s.up, s.ffn_output, s.logits)
    first, end = 0, 0
    for m in range(FIRST[step], FIRST[step + 1]):
        row = table[m if step < LOGITS else 0]
        matrix = Matrix(row[0], row[1], row[2], row[3], row[4], row[5])
        first, end = share(matrix.N, me, n, TILE_ROWS)
        worst = linear(matrix, x, len(outputs[m]), outputs[m], first, end, scratch)
        note(flags, FLAG_OF[m], worst)
    return first, end


@inline
def finish_step(me, n, counter, i, step, first, end, shape, s, new, gathered, batch, scratch, flags):
    """What follows a step's products."""
    if step == QKV:
        barrier(counter, n)
        turn_rows(me, n, i, shape, s, new, batch, flags)
        barrier(counter, n)
        if gathered.keys.size:
            gather(me, n, i, shape, new, gathered, batch)
            barrier(counter, n)
        attend(me, n, i, shape, s, new, gathered, batch, scratch, flags)
    elif step == GATE_UP:
        note(flags, HIDDEN, gated(s.gate, s.up, s.ffn_hidden, first, end))
    elif step == ATTENDED:
        note(flags, RESIDUAL, added(s.h, s.attention_output, s.attention_residual, first, end))
    elif step == DOWN:
        note(flags, OUTPUT, added(s.attention_residual, s.ffn_output, s.h, first, end))


@jit
def all_finite(flags, most):
    for i in range(flags.shape[0]):
        for stage in range(COUNT):
            if flags[i, stage] != 0:
                return False
        if flags[i, COUNT] > most:
            return False
    return True


@inline
def own_scratch(scratch, me):
    return Scratch(scratch.weights[me], scratch.sums[me], scratch.totals[me])


@inline
def own_attention_scratch(a, me):
    return AttentionScratch(
        a.q[me], a.exponents[me], a.scores[me], a.weights[me], a.integers[me], a.sums[me], a.totals[me], a.rows[me]
    )


@jit
def forward(me, n, counter, first, end, finish, most, shape, weights, s, x, new, gathered, batch, scratch,
            attention_scratch):  # fmt: skip
    """Steps first to end: four a layer, and one more for the logits.

    With `finish`, then the rings are written and the final norm is made, if all was finite.
    """
    mine, mine_too = own_scratch(scratch, me), own_attention_scratch(attention_scratch, me)
    for at in range(first, end):
        i, step = at // 4, at % 4
        if i == shape.n_layers:
            step = LOGITS
        flags = batch.flags[i]
        prepare(me, n, i, step, shape, weights, s, x, flags)
        barrier(counter, n)
        column, last = multiply(me, n, weights.matrices[i], step, s, x, mine, flags)
        finish_step(me, n, counter, i, step, column, last, shape, s, new, gathered, batch, mine_too, flags)
        barrier(counter, n)
    if finish and all_finite(batch.flags, most):
        for i in range(me, shape.n_layers, n):
            for b in range(batch.lengths.size):
                start, count = batch.starts[b], batch.starts[b + 1] - batch.starts[b]
                rows = (new.keys[i], new.values[i], new.key_exponents[i], new.value_exponents[i])
                write_ring(batch.rings[i, b], batch.rings[i, b, 4], batch.lengths[b], rows, start, count)
        r0, r1 = share(len(s.h), me, n, 1)
        for t in range(r0, r1):
            note(batch.flags[shape.n_layers], NORM_1, rms_norm(s.h[t], weights.norm, shape.eps, s.norm[t]))


@jit
def row_exponent(kind, words, row, K):
    """e of a row's top = 2^e; -1000 for a row of zeros."""
    largest = np.int64(0)
    if kind == FLOAT32:
        w = int32s(words, (row + 1) * K)
        for k in range(row * K, (row + 1) * K):
            largest = max(largest, np.int64(w[k] & 0x7FFFFFFF))
    else:
        w = uint16s(words, (row + 1) * K)
        for k in range(row * K, (row + 1) * K):
            largest = max(largest, np.int64(w[k] & 0x7FFF))
        if kind == FLOAT16:
            largest = np.int64(bits32(float32_of(np.int32(largest << 13)) * np.float32(2.0**112)))
        else:
            largest <<= 16
    return top_exponent(np.int32(largest)) if largest > 0 else np.int32(-1000)


@jit
def row_scales(me, n, counter, kind, words, N, K, scales, factors):
    """Of each row of a gridded matrix: scale (weight * scale is an integer of 23 bits) and its inverse.

    A row of zeros has factor 0; for one so small that float32 has no such scale, the factor is -1.
    """
    first, end = share(N, me, n, 1)
    for r in range(first, end):
        e = row_exponent(kind, words, r, K)
        if e >= SMALLEST:
            scales[r], factors[r] = np.float32(power(23 - e)), power(e - 23)
        else:
            scales[r], factors[r] = np.float32(1), 0.0 if e == -1000 else -1.0
