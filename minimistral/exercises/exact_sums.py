"""Lesson 13: float sums depend on their order; sums of grid points do not."""

import math

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def snap(x, bits):
    y = np.zeros(x.shape)
    for t, row in enumerate(x):
        top = 2.0 ** np.frexp(np.abs(row).max())[1]  # the smallest power of two above the largest
        n = np.rint(row / (top / 2**bits))  # to the nearest, ties to even
        y[t] = np.clip(n, -(2**bits) + 1, 2**bits - 1) * (top / 2**bits)
    return y


def snapped_by(x, bits, round_to=np.rint, top=None, most=1):
    """`snap` with one thing changed: the rounding, the tops (T, 1), or how much less than 2^bits is allowed."""
    top = 2.0 ** np.frexp(np.abs(x).max(axis=1, keepdims=True))[1] if top is None else top
    n = np.clip(round_to(x * 2**bits / top), -(2**bits) + most, 2**bits - most)
    return n * top / 2**bits


def one_top(x, bits):
    return snapped_by(x, bits, top=2.0 ** np.frexp(np.abs(x).max())[1])


def top_not_above(x, bits):
    return snapped_by(x, bits, top=2.0 ** np.ceil(np.log2(np.abs(x).max(axis=1, keepdims=True))))


def half_away_from_zero(n):
    return np.sign(n) * np.floor(np.abs(n) + 0.5)


def rows_for_a_grid(rng):
    """Three rows of seven: each with ties and others, one whose largest rounds up to its top, one whose largest is 2^k."""
    bits = int(rng.integers(3, 6))
    n = np.round(rng.uniform(-(2**bits) + 2, 2**bits - 2, (3, 7)), 2)
    n[:, :2] = np.floor(n[:, :2]) + 0.5
    n[0, 2] = 2**bits - 0.25
    n[1, 2] = 2 ** (bits - 1) + 1.3
    n[2] = n[2] / 2
    n[2, 2] = 2 ** (bits - 1)
    tops = 2.0 ** rng.permutation(np.arange(-2, 3))[:3]
    return n * tops[:, None] / 2**bits, bits


def safe_bits(x_bits, w_bits, K):
    return x_bits + w_bits + math.ceil(math.log2(K))


def at_two_lengths(answer, x_bits, w_bits, K):
    """Each try asks twice: for K, which is no power of two, and for 8."""
    both = [answer(x_bits, w_bits, K), answer(x_bits, w_bits, 8)]
    empty = [b for b in both if b is ... or b is None]
    return empty[0] if empty else both


def two_sizes_and_a_length(rng):
    return int(rng.integers(4, 12)), int(rng.integers(12, 20)), int(rng.choice([5, 6, 9, 11, 21]))


EXERCISES = [
    Exercise(
        "snap",
        "Which grid points are nearest to these rows, each on the grid of its own top?",
        snap,
        wrong={
            "truncated": (
                lambda x, bits: snapped_by(x, bits, np.trunc),
                "cut off towards 0: the nearest grid point is asked for",
            ),
            "half-away": (
                lambda x, bits: snapped_by(x, bits, half_away_from_zero),
                "right but for ties: of two neighbours equally near, which is even?",
            ),
            "one-top": (one_top, "one top for the whole matrix: a row must not depend on another"),
            "top-not-above": (top_not_above, "which power of two is greater than 8, and not equal to it?"),
            "no-clamp": (
                lambda x, bits: snapped_by(x, bits, most=0),
                "one integer is 2 to the power bits: does that fit into so many bits?",
            ),
        },
        make_inputs=rows_for_a_grid,
    ),
    Exercise(
        "safe-bits",
        "How many bits does a sum of K products need at most, by counting bits?",
        safe_bits,
        wrong={
            "no-carries": (
                lambda x_bits, w_bits, K: x_bits + w_bits,
                "that is one product: what do carries add when there are K?",
            ),
            "rounded-down": (
                lambda x_bits, w_bits, K: x_bits + w_bits + int(math.log2(K)),
                "two bits count to 4: is that enough for 5 terms?",
            ),
            "bits-of-k": (
                lambda x_bits, w_bits, K: x_bits + w_bits + K.bit_length(),
                "one too many for 8 terms: how often do you double to reach 8?",
            ),
            "a-bit-a-term": (
                lambda x_bits, w_bits, K: x_bits + w_bits + K,
                "a bit for each term: but one bit more is room for twice as many",
            ),
        },
        make_inputs=two_sizes_and_a_length,
        call=at_two_lengths,
    ),
]

GUESSES = {
    "three-digits": Guess(
        "100 + 0.4 + 0.4 + 0.4, added from the left with three digits",
        100,
        [(101, "with three digits 100 + 0.4 is 100"), (101.2, "that has four digits: round after each addition")],
    ),
    "five-integers": Guess(
        "the whole numbers n of 0.9, 0.125, -0.9, 0.375, -0.7, for top 1 and 2 bits",
        [3, 0, -3, 2, -3],
        [
            ([4, 0, -4, 2, -3], "two bits count to 3 only"),
            ([4, 1, -4, 2, -3], "two bits count to 3 only; and 0.5 lies between 0 and 1: which of them is even?"),
            ([3, 1, -3, 2, -3], "0.5 lies between 0 and 1: which of them is even?"),
            ([3, 0, -3, 1, -2], "to the nearest, not cut off"),
        ],
    ),
    "room-for-x": Guess(
        "the most bits that x may have, if w has 23, K is 32768, and the sum shall fit 53",
        15,
        [(30, "and the carries of 32768 terms?"), (38, "and the bits of w?")],
    ),
}
