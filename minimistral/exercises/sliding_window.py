"""Lesson 07: k layers of a sliding window see exactly k(W - 1) + 1 tokens."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def window_mask(query_positions, key_positions, window):
    back = query_positions[:, None] - key_positions[None, :]  # (queries, keys)
    return (back >= 0) & (back < window)


def one_key_too_many(query_positions, key_positions, window):
    back = query_positions[:, None] - key_positions[None, :]
    return (back >= 0) & (back <= window)


def sees_the_future(query_positions, key_positions, window):
    return query_positions[:, None] - key_positions[None, :] < window


def by_order_of_arrays(query_positions, key_positions, window):
    back = np.arange(len(query_positions))[:, None] - np.arange(len(key_positions))[None, :]
    return (back >= 0) & (back < window)


def positions_of_a_ring(rng):
    """Some queries, keys in the order of a ring, and a window."""
    window = int(rng.integers(4, 7))
    first = int(rng.integers(10, 30))
    queries = first + np.sort(rng.choice(np.arange(window + 2), 3, replace=False))
    keys = np.roll(np.arange(first - window - 1, first + window + 2), int(rng.integers(2, 5)))
    return queries, keys, window


def reach(n_layers, window):
    return n_layers * (window - 1) + 1


def window_pairs(T, window):
    return sum(min(i + 1, window) for i in range(T))


def a_length_and_a_window(rng):
    window = int(rng.integers(3, 9))
    return 2 * window + int(rng.integers(1, 7)), window


def some_layers_and_a_window(rng):
    layers = int(rng.integers(2, 9))
    return layers, layers + int(rng.integers(1, 5))


EXERCISES = [
    Exercise(
        "window-mask",
        "Which query sees which key? Ask for positions, never for the order of the arrays.",
        window_mask,
        axes=("query", "key"),
        wrong={
            "window-plus-one": (one_key_too_many, "the key at i - W is kept: count a row, it has W + 1 keys"),
            "not-causal": (sees_the_future, "a query sees the future: what is back for a key that comes later?"),
            "array-order": (by_order_of_arrays, "that is the order of the arrays: ask for positions"),
        },
        make_inputs=positions_of_a_ring,
    ),
    Exercise(
        "window-pairs",
        "How many (query, key) pairs does a text of T tokens need?",
        window_pairs,
        wrong={
            "full-rows": (lambda T, window: T * window, "T W: but the first rows are short"),
            "no-window": (lambda T, window: T * (T + 1) // 2, "that is full attention: no window"),
            "window-plus-one": (lambda T, window: window_pairs(T, window + 1), "that is W + 1 keys in a row"),
            "triangle-too-large": (
                lambda T, window: T * window - window * (window + 1) // 2,
                "the first row has one key: how many of W does it lack?",
            ),
        },
        make_inputs=a_length_and_a_window,
    ),
    Exercise(
        "reach",
        "How many tokens, itself included, can influence a position after n_layers?",
        reach,
        wrong={
            "k-windows": (lambda n_layers, window: n_layers * window, "k W: but neighbouring layers share a token"),
            "window-plus-one": (lambda n_layers, window: n_layers * window + 1, "that is right for W + 1 keys"),
            "itself": (
                lambda n_layers, window: n_layers * (window - 1),
                "so far back it looks: now count the token itself",
            ),
        },
        make_inputs=some_layers_and_a_window,
    ),
]

GUESSES = {
    "keys-of-7": Guess(
        "the positions that the query at position 7 sees, for W = 5",
        [3, 4, 5, 6, 7],
        [
            ([2, 3, 4, 5, 6, 7], "count them: W + 1"),
            ([2, 3, 4, 5, 6], "a query sees itself, too"),
            ([3, 7], "these are the two ends: list all that lie between, too"),
        ],
    ),
    "slots-of-six": Guess("on how many slots six positions fall, for W = 5", 5, [(6, "look at the two ends")]),
    "two-layers": Guess(
        "how many tokens can influence position 12 after two layers, for W = 5",
        9,
        [
            (10, "2 W counts position 8 twice"),
            (11, "that is the paper's W + 1 keys"),
            (8, "the token itself counts"),
            (25, "W W: but the windows of neighbours overlap"),
        ],
    ),
    "changed-logits": Guess(
        "for how many of 28 positions the logits change, with 4 layers and W = 5",
        17,
        [
            (20, "k W: but neighbouring layers share a token"),
            (25, "all that follow? the window ends"),
            (5, "that is after one layer: the next looks at what has changed"),
            (16, "so many follow: and the token itself?"),
        ],
    ),
    "layers-for-8192": Guess(
        "the fewest layers whose reach is 8192 tokens or more, for W = 4096",
        3,
        [(2, "2 W is 8192, but the reach is one token short")],
    ),
}
