"""Lesson 11: one page of code is the whole model, in two layouts of weights."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def block(h, norm, attention, ffn, attention_norm, ffn_norm):
    h = h + attention(norm(h, attention_norm))
    return h + ffn(norm(h, ffn_norm))


def adds_to_the_norm(h, norm, attention, ffn, attention_norm, ffn_norm):
    x = norm(h, attention_norm)
    x = norm(x + attention(x), ffn_norm)
    return x + ffn(x)


def ffn_from_the_old_stream(h, norm, attention, ffn, attention_norm, ffn_norm):
    return h + attention(norm(h, attention_norm)) + ffn(norm(h, ffn_norm))


def post_norm(h, norm, attention, ffn, attention_norm, ffn_norm):
    h = norm(h + attention(h), attention_norm)
    return norm(h + ffn(h), ffn_norm)


def no_stream(h, norm, attention, ffn, attention_norm, ffn_norm):
    return ffn(norm(attention(norm(h, attention_norm)), ffn_norm))


def one_norm_for_both(h, norm, attention, ffn, attention_norm, ffn_norm):
    h = h + attention(norm(h, attention_norm))
    return h + ffn(norm(h, attention_norm))


def ffn_without_norm(h, norm, attention, ffn, attention_norm, ffn_norm):
    h = h + attention(norm(h, attention_norm))
    return h + ffn(h)


def attention_is_lost(h, norm, attention, ffn, attention_norm, ffn_norm):
    a = h + attention(norm(h, attention_norm))
    return h + ffn(norm(a, ffn_norm))


def with_its_parts(answer, h, mix, bend, attention_norm, ffn_norm):
    """Call an answer with small stand-ins for the parts of a layer: each keeps the shape (T, dim)."""

    def norm(x, weight):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + 1e-5) * weight

    def attention(x):
        earlier = np.tril(np.ones((len(x), len(x))))
        return earlier / earlier.sum(axis=-1, keepdims=True) @ x @ mix

    def ffn(x):
        return np.tanh(x @ bend)

    return answer(h, norm, attention, ffn, attention_norm, ffn_norm)


def a_stream_and_weights(rng):
    """h (T 5, dim 8), two matrices (dim, dim), and two norm weights (dim,)."""
    return 3 * rng.standard_normal((5, 8)), *rng.standard_normal((2, 8, 8)), *(0.5 + rng.random((2, 8)))


def unpermute_keys(w, n_heads, n_kv_heads):
    halves = w.reshape(n_kv_heads, 2, -1, w.shape[1])  # (head, half, pair, dim)
    return halves.swapaxes(1, 2).reshape(w.shape)  # (head, pair, half, dim): the pair's two rows side by side


def interleaved_in(w, heads):
    return w.reshape(heads, 2, -1, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def other_way(w, n_heads, n_kv_heads):
    return w.reshape(n_kv_heads, -1, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def columns(w, n_heads, n_kv_heads):
    return interleaved_in(w.T, 1).T


def keys_in_two_halves(rng):
    """w (n_kv_heads head_dim, dim) and the numbers of heads; every head count divides the rows into halves."""
    n_kv_heads, head_dim = 2, int(rng.choice([12, 24]))
    return rng.standard_normal((n_kv_heads * head_dim, int(rng.choice([10, 14])))), 6, n_kv_heads


EXERCISES = [
    Exercise(
        "block",
        "What does one layer make of the stream h, given its norm, its attention, its feed-forward and two norm weights?",
        block,
        wrong={
            "adds-to-norm": (adds_to_the_norm, "the normed copy is added to: which h must go on? keep the stream"),
            "old-stream": (
                ffn_from_the_old_stream,
                "the feed-forward sees the old stream: it should see attention's result",
            ),
            "post-norm": (post_norm, "the norm comes after the sum: here only what is read is normed, not the stream"),
            "no-stream": (no_stream, "nothing is added: what happened to the h that came in?"),
            "one-norm": (one_norm_for_both, "there are two norm weights: which one belongs to the feed-forward?"),
            "bare-ffn": (ffn_without_norm, "what does the feed-forward read: the stream, or its norm?"),
            "attention-lost": (
                attention_is_lost,
                "the second sum starts again from the first h: where did attention's part go?",
            ),
        },
        make_inputs=a_stream_and_weights,
        call=with_its_parts,
    ),
    Exercise(
        "unpermute-keys",
        "In which order do the rows of a Hugging Face key matrix stand in Mistral's layout?",
        unpermute_keys,
        wrong={
            "n-heads": (
                lambda w, n_heads, n_kv_heads: interleaved_in(w, n_heads),
                "so for queries: keys have fewer heads",
            ),
            "one-head": (
                lambda w, n_heads, n_kv_heads: interleaved_in(w, 1),
                "the whole matrix was cut in two halves: each head has its own",
            ),
            "other-way": (other_way, "that goes from Mistral's order to Hugging Face's: here it is the other way"),
            "columns": (columns, "the columns moved: which axis holds the heads?"),
            "nothing": (
                lambda w, n_heads, n_kv_heads: w,
                "nothing moved: which two rows are a pair for RoPE in each layout?",
            ),
        },
        make_inputs=keys_in_two_halves,
    ),
]

GUESSES = {
    "scores-shape": Guess(
        "the shape of the scores of one layer for 13 tokens, with 6 query heads and 2 key heads",
        [6, 13, 13],
        [
            ([2, 13, 13], "each query head has scores of its own, even where keys are shared"),
            ([13, 13, 6], "those are the right numbers: heads come first here"),
            ([13, 6, 10], "that is the shape of the queries"),
        ],
    ),
    "split-rows": Guess(
        "rows 0 to 5 of one head (pairs 01 23 45), in Hugging Face's order: first all first members, then all second ones",
        [0, 2, 4, 1, 3, 5],
        [
            ([0, 3, 1, 4, 2, 5], "that is the way back"),
            ([0, 1, 2, 3, 4, 5], "that is Mistral's own order"),
        ],
    ),
    "untouched-position": Guess(
        "the only position whose logits stay right when keys are in the wrong order",
        0,
        [
            (12, "the last token sees all keys"),
            (1, "it sees two keys: their order of rows matters"),
        ],
    ),
    "no-layer": Guess(
        "the first candidate after 'the green' if no layer has run: the embedding goes straight to the output",
        "green",
        [
            ("boat", "for that something must look back: no layer has run yet"),
            ("the", "the last token is 'green': which row of the output matrix is most like its embedding?"),
        ],
    ),
    "head-6": Guess(
        "the token that head 6 of layer 2 looks at most from the second 'green'",
        "boat",
        [
            ("green", "a fair guess: but what will be needed next?"),
            ("the", "the token before? other heads do that"),
            ("Lena", "it is an object that is due, not a person"),
        ],
    ),
}
