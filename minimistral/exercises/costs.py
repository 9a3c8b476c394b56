"""Lesson 16: the window halves attention at 16k, not the model."""

from minimistral.exercises.exercise import Exercise, Guess


def decode_bytes():
    dim, n_layers, head_dim, hidden_dim, n_heads, n_kv_heads, vocab_size = 4096, 32, 128, 14336, 32, 8, 32000
    attention = dim * head_dim * 2 * (n_heads + n_kv_heads)
    feed_forward = 3 * dim * hidden_dim
    norms = 2 * dim
    one_row = dim
    weights = n_layers * (attention + feed_forward + norms) + dim + vocab_size * dim + one_row
    return 2 * weights


def speedup_16k():
    causal = sum(i + 1 for i in range(16384))
    window = sum(min(i + 1, 4096) for i in range(16384))
    return round(causal / window, 3)


def rectangles(length, window, chunk):
    computed = 0
    for start in range(0, length, chunk):
        own = min(chunk, length - start)
        cached = min(start, window)
        computed += own * (cached + own)
    return computed


def a_length_a_window_and_a_chunk(rng):
    """The last chunk is not full, and the first ones find a ring that is not full."""
    window, chunk = int(rng.integers(9, 20)), int(rng.integers(3, 7))
    length = 3 * window + int(rng.integers(1, 9))
    return length + (length % chunk == 0), window, chunk


EXERCISES = [
    Exercise(
        "decode-bytes",
        "How many bytes of weights does Mistral 7B read for one decoded token, at 2 bytes a weight?",
        decode_bytes,
        wrong={
            "all-weights": (
                lambda: 14_483_464_192,
                "that is every weight: how many rows of the embedding does one token read?",
            ),
            "weights-not-bytes": (lambda: 7_110_664_192, "so many weights: how many bytes has each?"),
            "no-embedding": (lambda: 14_221_320_192, "almost: the token's own row of the embedding is read, too"),
            "no-norms": (lambda: 14_221_328_384 - 2 * 266_240, "almost: the weights of the norms are read, too"),
            "no-output": (
                lambda: 14_221_328_384 - 2 * 131_072_000,
                "the output matrix is read whole: each piece of the vocabulary gets a score",
            ),
        },
    ),
    Exercise(
        "speedup-16k",
        "How many times fewer pairs does a window of 4096 keys need for 16384 tokens, to three decimals?",
        speedup_16k,
        wrong={
            "length-by-window": (lambda: 4, "the first rows are short, with and without a window: sum over all rows"),
            "whole-model": (lambda: 1.15, "that is the whole model: this asks for the pairs alone"),
            "window-plus-one": (lambda: 2.285, "that is a window of 4097 keys"),
            "not-rounded": (lambda: 134_225_920 / 58_722_304, "right: now to three decimals"),
            "as-the-paper-says": (lambda: 2.0, "2.0 is what the paper says of time: count the pairs"),
        },
    ),
    Exercise(
        "rectangles",
        "How many pairs do dense blocks compute: each chunk against the keys in the cache, and against itself?",
        rectangles,
        wrong={
            "needed": (
                lambda length, window, chunk: sum(min(i + 1, window) for i in range(length)),
                "those are the pairs that are needed: in a dense block the masked ones are computed, too",
            ),
            "own-only": (
                lambda length, window, chunk: sum(min(chunk, length - s) ** 2 for s in range(0, length, chunk)),
                "a chunk sees what the cache holds, too",
            ),
            "cache-always-full": (
                lambda length, window, chunk: sum(
                    min(chunk, length - s) * (window + min(chunk, length - s)) for s in range(0, length, chunk)
                ),
                "the first chunks find a cache that is not yet full",
            ),
            "no-window": (
                lambda length, window, chunk: rectangles(length, length, chunk),
                "the ring holds at most W keys",
            ),
            "last-chunk-full": (
                lambda length, window, chunk: rectangles(-(-length // chunk) * chunk, window, chunk),
                "the last chunk may be shorter than the others",
            ),
        },
        make_inputs=a_length_a_window_and_a_chunk,
    ),
]

GUESSES = {
    "flops-for-a-byte": Guess(
        "FLOPs for each byte that is read, when one token is decoded at 2 bytes a weight",
        1,
        [
            (2, "2 FLOPs a weight: but a weight has 2 bytes"),
            (0.5, "a multiplication and an addition are 2 FLOPs"),
            (4, "how many FLOPs and how many bytes for one weight?"),
        ],
    ),
    "whole-model-16k": Guess(
        "how many times fewer FLOPs the whole model needs for 16384 tokens with the window, to two decimals",
        1.15,
        [
            (2.29, "that is attention's part alone: the matrices cost what they cost"),
            (4, "that is the length by the window, and attention alone"),
            (1, "no gain at all? attention is a part of the work"),
        ],
    ),
    "computed-at-chunk-w": Guess(
        "how many times the needed pairs are computed if a chunk is as long as the window",
        2,
        [
            (1, "look at the mask: half of such a block is hidden"),
            (4, "a block has W queries and 2 W keys: how many of these pairs are needed?"),
        ],
    ),
}
