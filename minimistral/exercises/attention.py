"""Lesson 05: attention is a weighted mean of value rows, and a mask is a question about positions."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def causal_mask(query_positions, key_positions):
    return key_positions[None, :] <= query_positions[:, None]  # (queries, keys)


def by_order_of_arrays(query_positions, key_positions):
    return np.tril(np.ones((len(query_positions), len(key_positions)), dtype=bool))


def strictly_earlier(query_positions, key_positions):
    return key_positions[None, :] < query_positions[:, None]


def only_the_future(query_positions, key_positions):
    return key_positions[None, :] >= query_positions[:, None]


def some_queries_and_keys_in_any_order(rng):
    """3 queries and 7 keys around them; each query's own key is there."""
    keys = rng.permutation(int(rng.integers(0, 20)) + np.arange(7))
    queries = np.sort(rng.choice(keys, 3, replace=False))
    return queries, keys


def attend(q, k, v, seen):
    T, n_heads, head_dim = q.shape
    attended = np.zeros(q.shape)
    for h in range(n_heads):
        scores = q[:, h] @ k[:, h].T / np.sqrt(head_dim)  # (T, S)
        scores[~seen] = -np.inf
        for t in range(T):
            weights = np.exp(scores[t] - scores[t].max())  # (S,)
            attended[t, h] = weights / weights.sum() @ v[:, h]
    return attended


def scores_of(q, k):
    """q . k of every head, not yet scaled: (n_heads, T, S)."""
    return q.swapaxes(0, 1) @ k.transpose(1, 2, 0)


def mean_of_values(scores, v, axis=-1, take_off=True, hide=None):
    """Softmax along an axis, and what comes of it, (T, n_heads, head_dim); `hide` multiplies the finished weights."""
    e = np.exp(scores - scores.max(axis=axis, keepdims=True) if take_off else scores)
    p = e / e.sum(axis=axis, keepdims=True)
    return ((p if hide is None else p * hide) @ v.swapaxes(0, 1)).swapaxes(0, 1)


def hidden(scores, seen):
    return np.where(seen, scores, -np.inf)


def scaled_by(divisor):
    """Attention whose scores are divided by divisor(n_heads, head_dim)."""
    return lambda q, k, v, seen: mean_of_values(hidden(scores_of(q, k) / divisor(*q.shape[1:]), seen), v)


def hidden_by_zero(q, k, v, seen):
    return mean_of_values(np.where(seen, scores_of(q, k) / np.sqrt(q.shape[-1]), 0), v)


def hidden_too_late(q, k, v, seen):
    return mean_of_values(scores_of(q, k) / np.sqrt(q.shape[-1]), v, hide=seen)


def over_queries(q, k, v, seen):
    return mean_of_values(hidden(scores_of(q, k) / np.sqrt(q.shape[-1]), seen), v, axis=-2)


def nothing_taken_off(q, k, v, seen):
    return mean_of_values(hidden(scores_of(q, k) / np.sqrt(q.shape[-1]), seen), v, take_off=False)


def not_divided_by_the_sum(q, k, v, seen):
    scores = hidden(scores_of(q, k) / np.sqrt(q.shape[-1]), seen)
    return (np.exp(scores - scores.max(axis=-1, keepdims=True)) @ v.swapaxes(0, 1)).swapaxes(0, 1)


def heads_with_a_few_large_scores(rng):
    """T 4, S 7, n_heads 3, head_dim 6. One query's scores all lie above 1000; each query sees 4 or 5 of the keys."""
    q, k, v = (rng.standard_normal((rows, 3, 6)) for rows in (4, 7, 7))
    k[..., 0] = 1
    q[int(rng.integers(4)), :, 0] = 3000
    seen = np.ones((4, 7), dtype=bool)
    for row in seen:
        row[rng.choice(7, int(rng.integers(2, 4)), replace=False)] = False
    return q, k, v, seen


EXERCISES = [
    Exercise(
        "causal-mask",
        "Which query sees which key, if none may see the future?",
        causal_mask,
        axes=("query", "key"),
        wrong={
            "array-order": (by_order_of_arrays, "that is the order of the arrays: keys come in any order"),
            "strict": (strictly_earlier, "a token sees itself, too"),
            "future": (only_the_future, "that is the future: who may look at whom?"),
        },
        make_inputs=some_queries_and_keys_in_any_order,
    ),
    Exercise(
        "attend",
        "What does each head give for each query: the weighted mean of the value rows that the query sees?",
        attend,
        wrong={
            "scale-dim": (
                scaled_by(lambda n_heads, head_dim: np.sqrt(n_heads * head_dim)),
                "the scale is for one head: over how many numbers does one dot product sum?",
            ),
            "scale-no-root": (
                scaled_by(lambda n_heads, head_dim: head_dim),
                "divided by head_dim: but the size of a score grows as its root",
            ),
            "no-scale": (
                scaled_by(lambda n_heads, head_dim: 1),
                "no scale: how large is a sum of head_dim random products?",
            ),
            "hidden-by-zero": (hidden_by_zero, "a hidden key has the score 0: but exp(0) is 1, not 0"),
            "hidden-too-late": (hidden_too_late, "hidden after softmax: do the weights that are left still sum to 1?"),
            "not-hidden": (
                lambda q, k, v, seen: attend(q, k, v, np.ones_like(seen)),
                "every key counts, also those that are not seen",
            ),
            "over-queries": (over_queries, "which sums are 1: over the keys of a query, or over the queries of a key?"),
            "no-maximum": (nothing_taken_off, "some scores are above 1000: what may be taken off all scores of a row?"),
            "no-sum": (not_divided_by_the_sum, "a mean has weights that sum to 1: what do yours sum to?"),
        },
        make_inputs=heads_with_a_few_large_scores,
    ),
]

GUESSES = {
    "weighted-mean": Guess(
        "the mean of (8, 0), (0, 16), (8, 24) with weights 1/8, 3/8, 4/8",
        [5, 18],
        [([40, 144], "that is the sum with 1, 3, 4: divide by 8"), ([16 / 3, 40 / 3], "that is the plain mean")],
    ),
    "third-weight": Guess(
        "the third weight, if the scores are log 1, log 3, log 4",
        0.5,
        [(4, "that is e to the score: divide by the sum"), (1 / 3, "the scores are not equal")],
    ),
    "score-size": Guess(
        "the typical size of q . k for 400 random numbers each",
        20,
        [(400, "that is the mean of its square"), (1, "that is the size of one product"), (0, "that is its mean")],
    ),
    "ring-keys": Guess(
        "the positions that the query at 10 sees, of keys that lie as 10, 11, 12, 8, 9",
        [8, 9, 10],
        [
            ([10], "that is the order of the array: where is the key of position 8?"),
            ([8, 9], "a token sees itself, too"),
            ([10, 11, 12], "that is the future"),
        ],
    ),
    "hidden-by-zero": Guess(
        "the weight of a third key with score 0 beside log 1 and log 3",
        0.2,
        [(0, "exp(0) is 1, not 0"), (0.25, "one part of how many? 1 + 3 + 1")],
    ),
    "looks-at": Guess(
        "the token that the last token gives the largest weight",
        "Lena",
        [
            ("morning", "itself? look at the last row"),
            ("One", "its neighbour? this head looks further back"),
            ("kite", "a good guess, but who will be the subject of the next words?"),
        ],
    ),
}
