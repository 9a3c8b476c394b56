"""Lesson 14: compiled loops give the same bits in any order, because their sums are exact."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def gemv(w, x):
    N, K = w.shape
    y = np.zeros(N)
    for n in range(N):
        for k in range(K):
            y[n] += w[n, k] * x[k]
    return y


def sum_in_float32(w, x):
    y = np.zeros(len(w))
    for n in range(len(w)):
        total = np.float32(0)
        for k in range(len(x)):
            total = np.float32(total + w[n, k] * x[k])
        y[n] = total
    return y


def indices_exchanged(w, x):
    N, K = w.shape
    y = np.zeros(N)
    for n in range(N):
        for k in range(K):
            y[n] += w[k, n] * x[k]
    return y


def whole_blocks_of_rows(w, x):
    """Four rows at a time; the rows that are left over stay 0."""
    y = np.zeros(len(w))
    for n in range(0, len(w) - 3, 4):
        y[n : n + 4] = gemv(w[n : n + 4], x)
    return y


def whole_blocks_of_columns(w, x):
    whole = len(x) // 4 * 4
    return gemv(w[:, :whole], x[:whole])


def last_product_only(w, x):
    y = np.zeros(len(w))
    for n in range(len(w)):
        for k in range(len(x)):
            y[n] = w[n, k] * x[k]
    return y


def whole_numbers(rng):
    """w of 23 bits and x of 16 bits, as float64; neither N nor K is a multiple of 4."""
    N = 4 * int(rng.integers(2, 4)) + int(rng.integers(1, 4))
    K = 4 * int(rng.integers(4, 6)) + int(rng.integers(1, 4))
    w = rng.integers(-(2**23) + 1, 2**23, (N, K)).astype(np.float64)
    return w, rng.integers(-(2**15), 2**15, K).astype(np.float64)


EXERCISES = [
    Exercise(
        "gemv",
        "What is W x, made in loops, for whole numbers that are stored in float64?",
        gemv,
        wrong={
            "float32-sum": (sum_in_float32, "a float32 holds 24 bits: this sum needs up to 53"),
            "indices-exchanged": (
                indices_exchanged,
                "an index walks out of w: which one counts the rows, the outputs?",
            ),
            "row-tail": (whole_blocks_of_rows, "the last rows are missing: N is no multiple of your block"),
            "column-tail": (whole_blocks_of_columns, "the last columns are missing: K is no multiple of your block"),
            "overwritten": (last_product_only, "only the last product of each row is left: what became of the others?"),
        },
        make_inputs=whole_numbers,
        bits=True,
    ),
]

GUESSES = {
    "products-in-int64": Guess(
        "how many products of a 31-bit and a 23-bit number fit the 63 bits of an int64",
        512,
        [
            (1024, "one bit of the 64 is the sign"),
            (9, "9 bits are left: how many products can 9 bits count?"),
            (256, "2 to the 9th: count again"),
        ],
    ),
    "changed-by-order": Guess(
        "how many of the 512 integer sums change when the columns come in reverse",
        0,
        [(512, "are they floats, or whole numbers?")],
    ),
    "float32-in-order": Guess(
        "what float32 gives for 2^24 + 1 + 1 + 1 - 2^24 + 1 + 1 + 1, from left to right",
        3,
        [(6, "that is the true sum: but is there a float32 between 2^24 and 2^24 + 2?"), (0, "three ones come last")],
    ),
    "snap-under-fastmath": Guess(
        "what snap(2.7) gives when it is compiled with fastmath",
        2.7,
        [(3.0, "that is right without fastmath: now (x + C) - C may be simplified")],
    ),
}
