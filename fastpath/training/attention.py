"""Attention, forward and backward: a chunk of queries and a key/value head at a time; scores never leave the cache.

The query heads of a group share keys and values: row r of a chunk is query r // group, head r % group of the group.
Tiles of four rows are multiplied with the keys that some row of the tile sees, rounded out to STEP of them. A chunk
copies its queries, keys and values into its thread's own memory, padded with zeros to whole tiles and vectors.

Memory: q, k, v, out (and dout, dq, dk, dv) go by once, the keys of a window twice; nothing has the size T x window.
Work: forward two products of T n_heads x window x head_dim, backward five; chunks are shared by the threads.
"""

import math

import numpy as np

from fastpath.training.compiled import jit, next_part, summed
from fastpath.training.softmax import exp, exponentials, largest
from fastpath.training.tiles import ROWS, product, product_added

CHUNK = 256  # queries of a part
BLOCK = 32  # rows whose probabilities are kept at once, backward
STEP = 16  # keys: softmax goes by as many as the widest vector holds


@jit
def whole(n, step):
    """n rounded up to a multiple of step."""
    return (n + step - 1) // step * step


@jit
def first_key(t, starts, window):
    """The first key that query t sees; window 0: all of its document."""
    return max(starts[t], t - window + 1) if window > 0 else starts[t]


@jit
def copy_rows(x, t0, t1, head, group, width, scale, out):
    """out[r, :] = scale x[t, head + c, :] for row r = (t - t0) group + c; out is flat, rows of `width` numbers."""
    for t in range(t0, t1):
        for c in range(group):
            at = ((t - t0) * group + c) * width
            row, to = x[t, head + c], out[at : at + width]
            for i in range(row.size):
                to[i] = row[i] * scale


@jit
def copy_columns(x, t0, t1, head, width, out):
    """out[i, t - t0] = x[t, head, i]; out is flat, rows of `width` numbers."""
    for t in range(t0, t1):
        for i in range(x.shape[2]):
            out[i * width + t - t0] = x[t, head, i]


@jit
def fill(a, value):
    for i in range(a.size):
        a[i] = value


@jit
def add(a, b):
    """a += b[: a.size]."""
    for i in range(a.size):
        a[i] += b[i]


@summed
def dot(a, b, zero):
    """sum of a b over a row."""
    total = zero
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@jit
def forward_chunk(q, k, v, starts, window, scale, t0, t1, g, scratch, out, log_sums):
    """out and log_sums of queries t0 .. t1 - 1, the query heads of key/value head g."""
    d, group = q.shape[2], q.shape[1] // k.shape[1]
    queries, key_columns, values, s, sums, totals = scratch
    one, nothing = scale / scale, -q.dtype.type(np.inf)
    width, rows, k0 = whole(d, STEP // 2), (t1 - t0) * group, first_key(t0, starts, window)
    keys = whole(t1 - k0, STEP)
    copy_rows(q, t0, t1, g * group, group, width, scale, queries)
    copy_columns(k, k0, t1, g, keys, key_columns)
    copy_rows(v, k0, t1, g, 1, width, one, values)
    for r in range(0, rows, ROWS):
        used = min(ROWS, rows - r)
        c0 = (first_key(t0 + r // group, starts, window) - k0) // STEP * STEP
        columns = whole(t0 + (r + used - 1) // group + 1 - k0, STEP) - c0
        product(queries, r * width, width, 1, key_columns, c0, keys, d, s, 0, columns, columns)
        for n in range(used):
            t, row = t0 + (r + n) // group, s[n * columns : (n + 1) * columns]
            fill(row[: first_key(t, starts, window) - k0 - c0], nothing)
            fill(row[t + 1 - k0 - c0 :], nothing)
            top = largest(row)
            totals[n] = exponentials(row, top)
            log_sums[t, g * group + (r + n) % group] = top + math.log(totals[n])
        product(s, 0, columns, 1, values, c0 * width, width, columns, sums, 0, width, width)
        for n in range(used):
            t, h, share = t0 + (r + n) // group, g * group + (r + n) % group, one / totals[n]
            total, to = sums[n * width : (n + 1) * width], out[t, h]
            for i in range(d):
                to[i] = total[i] * share


@jit
def forward(counter, q, k, v, starts, window, scale, most_keys, out, log_sums):
    """Parts: chunks of CHUNK queries x key/value heads. most_keys: of any chunk."""
    T, heads, d = q.shape
    G = k.shape[1]
    group, width, keys = heads // G, whole(d, STEP // 2), whole(most_keys, STEP)
    scratch = (
        np.zeros(whole(CHUNK * group, ROWS) * width, q.dtype),
        np.zeros(d * keys, q.dtype),
        np.zeros(keys * width, q.dtype),
        np.zeros(ROWS * keys, q.dtype),
        np.zeros(ROWS * width, q.dtype),
        np.zeros(ROWS, q.dtype),
    )
    parts = (T + CHUNK - 1) // CHUNK * G
    part = next_part(counter)
    while part < parts:
        t0 = part // G * CHUNK
        forward_chunk(q, k, v, starts, window, scale, t0, min(t0 + CHUNK, T), part % G, scratch, out, log_sums)
        part = next_part(counter)


@jit
def probabilities(p, ds, low, end, log_sum, mean, zero):
    """p = e^(s - log_sum) and ds = p (dp - mean) for columns low .. end - 1, 0 for the others; s and dp lie there."""
    for j in range(p.size):
        e = exp(p[j] - log_sum)
        p[j] = e if (j >= low) & (j < end) else zero
        ds[j] = p[j] * (ds[j] - mean)


@jit
def backward_chunk(dout, q, k, v, out, log_sums, starts, window, scale, t0, t1, g, scratch, dq, dk, dv):
    """dq of queries t0 .. t1 - 1 of head g's group, and what they add to dk and dv of the keys they see."""
    d, group = q.shape[2], q.shape[1] // k.shape[1]
    queries, douts, key_columns, value_columns, key_rows, dkeys, dvalues, p, ds, sums = scratch
    one, zero = scale / scale, scale - scale
    width, rows, k0 = whole(d, STEP // 2), (t1 - t0) * group, first_key(t0, starts, window)
    keys = whole(t1 - k0, STEP)
    copy_rows(q, t0, t1, g * group, group, width, scale, queries)
    copy_rows(dout, t0, t1, g * group, group, width, one, douts)
    copy_columns(k, k0, t1, g, keys, key_columns)
    copy_columns(v, k0, t1, g, keys, value_columns)
    copy_rows(k, k0, t1, g, 1, width, one, key_rows)
    fill(dkeys[: keys * width], zero)
    fill(dvalues[: keys * width], zero)
    for r0 in range(0, rows, BLOCK):
        r1 = min(r0 + BLOCK, rows)
        ta, tb = t0 + r0 // group, t0 + (r1 - 1) // group
        c0 = (first_key(ta, starts, window) - k0) // STEP * STEP  # columns of the block
        columns = whole(tb + 1 - k0, STEP) - c0
        for r in range(r0, r1, ROWS):
            used, at = min(ROWS, r1 - r), (r - r0) * columns
            a = (first_key(t0 + r // group, starts, window) - k0) // STEP * STEP  # of the tile
            n = whole(t0 + (r + used - 1) // group + 1 - k0, STEP) - a
            product(queries, r * width, width, 1, key_columns, a, keys, d, p, at + a - c0, columns, n)
            product(douts, r * width, width, 1, value_columns, a, keys, d, ds, at + a - c0, columns, n)
            for m in range(used):
                t, h, row = t0 + (r + m) // group, g * group + (r + m) % group, at + m * columns
                for x in (p, ds):
                    fill(x[row : row + a - c0], zero)
                    fill(x[row + a - c0 + n : row + columns], zero)
                low, end = first_key(t, starts, window) - k0 - a, t + 1 - k0 - a
                mean = dot(dout[t, h], out[t, h], zero)  # of dp: sum_i p_i dp_i
                row += a - c0
                probabilities(p[row : row + n], ds[row : row + n], low, end, log_sums[t, h], mean, zero)
            product(ds, at + a - c0, columns, 1, key_rows, a * width, width, n, sums, 0, width, width)
            for m in range(used):
                t, h = t0 + (r + m) // group, g * group + (r + m) % group
                total, to = sums[m * width : (m + 1) * width], dq[t, h]
                for i in range(d):
                    to[i] = total[i] * scale
        for j in range(c0, c0 + columns, ROWS):  # four keys, and the rows of the block that see one of them
            first = max(0, (max(k0 + j, ta) - t0) * group - r0)
            last = min(r1, (k0 + j + ROWS - 1 + window - t0) * group) - r0 if window > 0 else r1 - r0
            if first < last:
                at, row = first * columns + j - c0, (r0 + first) * width
                product_added(p, at, 1, columns, douts, row, width, last - first, dvalues, j * width, width, width)
                product_added(ds, at, 1, columns, queries, row, width, last - first, dkeys, j * width, width, width)
    for t in range(k0, t1):
        at = (t - k0) * width
        add(dk[t, g], dkeys[at : at + width])
        add(dv[t, g], dvalues[at : at + width])


@jit
def backward(counter, dout, q, k, v, out, log_sums, starts, window, scale, chunk, odd, most_keys, dq, dk, dv):
    """Parts: every other chunk (the odd ones or the even ones) x key/value heads.

    A chunk adds to its own keys and to those of the chunk before it (`chunk` is as long as the farthest reach), so
    chunks that are two apart never meet; first all even ones, then all odd ones, and the order of each sum is fixed.
    """
    T, heads, d = q.shape
    G = k.shape[1]
    group, width, keys = heads // G, whole(d, STEP // 2), whole(most_keys, STEP)
    rows = whole(chunk * group, ROWS) * width
    scratch = (
        np.zeros(rows, q.dtype),
        np.zeros(rows, q.dtype),
        np.zeros(d * keys, q.dtype),
        np.zeros(d * keys, q.dtype),
        np.zeros(keys * width, q.dtype),
        np.zeros(keys * width, q.dtype),
        np.zeros(keys * width, q.dtype),
        np.zeros(BLOCK * keys, q.dtype),
        np.zeros(BLOCK * keys, q.dtype),
        np.zeros(ROWS * width, q.dtype),
    )
    parts = ((T + chunk - 1) // chunk + 1 - odd) // 2 * G
    part = next_part(counter)
    while part < parts:
        t0 = (part // G * 2 + odd) * chunk
        backward_chunk(dout, q, k, v, out, log_sums, starts, window, scale, t0, min(t0 + chunk, T), part % G, scratch,
                       dq, dk, dv)  # fmt: skip
        part = next_part(counter)
