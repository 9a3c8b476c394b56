"""Lesson 00: a model maps T ids to T x V scores; text is that map in a loop."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def next_token(logits):
    return int(np.argmax(logits[-1]))


def scores_of_a_text(rng):
    """(T, V) scores whose largest one is neither in the first row nor in the last."""
    T, V = int(rng.integers(4, 8)), int(rng.integers(20, 40))
    logits = np.round(rng.normal(0, 3, (T, V)), 2)
    logits[rng.integers(1, T - 1), rng.integers(V)] = 20.0
    return (logits,)


def parameter_count(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size):
    queries_and_output = 2 * n_heads * head_dim * dim  # wq and wo
    keys_and_values = 2 * n_kv_heads * head_dim * dim  # wk and wv
    feed_forward = 3 * hidden_dim * dim  # w1, w2, w3
    layer = queries_and_output + keys_and_values + feed_forward + 2 * dim  # and two norms
    return n_layers * layer + dim + 2 * vocab_size * dim  # the last norm; embedding and output


def keys_for_every_head(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size):
    return parameter_count(dim, n_layers, head_dim, hidden_dim, n_heads, n_heads, vocab_size)


def tied_output(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size):
    right = parameter_count(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size)
    return right - vocab_size * dim


def two_matrices(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size):
    right = parameter_count(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size)
    return right - n_layers * hidden_dim * dim


def no_norms(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size):
    right = parameter_count(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size)
    return right - (2 * n_layers + 1) * dim


def no_last_norm(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size):
    right = parameter_count(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size)
    return right - dim


def square_queries(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size):
    right = parameter_count(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size)
    return right + n_layers * 2 * (dim - n_heads * head_dim) * dim


def one_layer(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size):
    return parameter_count(dim, 1, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size)


def sizes_of_a_model(rng):
    """(dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size), with head_dim other than dim / n_heads."""
    n_kv_heads = int(rng.integers(2, 5))
    n_heads = n_kv_heads * int(rng.integers(2, 4))
    dim, head_dim = 8 * int(rng.integers(3, 7)), 2 * int(rng.integers(5, 9))
    return dim, int(rng.integers(3, 9)), head_dim, int(rng.integers(60, 99)), n_heads, n_kv_heads, 101


EXERCISES = [
    Exercise(
        "next-token",
        "Given the scores of a text, (T, V), which id comes next if the likeliest is taken?",
        next_token,
        wrong={
            "first-row": (
                lambda logits: int(np.argmax(logits[0])),
                "row 0 has read one token: which row has read all?",
            ),
            "whole-table": (lambda logits: int(np.argmax(logits)), "that is a place in the whole table, not an id"),
            "score": (lambda logits: float(np.max(logits[-1])), "that is the best score: whose is it?"),
            "each-row": (
                lambda logits: np.argmax(logits, axis=1),
                "that is an id for every position: the next token is one",
            ),
            "each-column": (
                lambda logits: np.argmax(logits, axis=0),
                "that is a position for every id: compare ids, within a row",
            ),
        },
        make_inputs=scores_of_a_text,
    ),
    Exercise(
        "parameter-count",
        "How many parameters does a model of these sizes have, its output matrix being one of its own?",
        parameter_count,
        wrong={
            "keys-for-every-head": (keys_for_every_head, "keys and values have n_kv_heads heads, fewer than queries"),
            "tied-output": (tied_output, "the output matrix is not the embedding: count both"),
            "two-matrices": (two_matrices, "the feed-forward is a SwiGLU: it has three matrices"),
            "no-norms": (no_norms, "norms learn, too: dim numbers each"),
            "no-last-norm": (no_last_norm, "two norms a layer, and which one more?"),
            "square-queries": (square_queries, "how long are all query heads together? It need not be dim"),
            "one-layer": (one_layer, "that is a model of one layer"),
        },
        make_inputs=sizes_of_a_model,
    ),
]

GUESSES = {
    "scores-of-a-text": Guess(
        "how many scores the model gives for a text of T = 13 ids, for V = 2048",
        26624,
        [
            (2048, "that is one position: each of the 13 gives a row"),
            (13, "one number for a position? every id is scored there"),
        ],
    ),
    "row-of-the-next": Guess(
        "which row of the scores says what follows a text of 13 tokens",
        12,
        [
            (13, "rows are counted from 0"),
            (0, "row 0 has read one token: which row has read all?"),
            (-1, "Python finds it so: which number has it, counted from 0?"),
        ],
    ),
    "rows-in-the-loop": Guess(
        "how many rows of scores the loop computes for 40 new tokens after 5, from the start each time",
        980,
        [
            (40, "so many rows are used: how many are computed?"),
            (44, "so many would do: the loop starts again at each step"),
            (45, "a row for each token? the loop starts again at each step"),
            (1020, "5 + 6 + ... but the last token is never read"),
            (1025, "40 rounds: how long is the text that the last one reads?"),
        ],
    ),
    "most-parameters": Guess(
        "which part of Mistral 7B holds most parameters",
        "feed-forward",
        [
            ("attention", "it gave the model its fame, not its size: compare the widths"),
            ("embedding", "it is one matrix; a layer has seven, and there are 32 layers"),
            ("output", "it is one matrix; a layer has seven, and there are 32 layers"),
            ("norms", "a norm is one vector of dim numbers"),
        ],
    ),
}
