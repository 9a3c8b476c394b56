"""Lesson 12: temperature and top-p act on probabilities; a seed fixes the text anywhere."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def softmax(logits):
    p = np.exp(logits - logits.max())
    return p / p.sum()


def temperature(logits, t):
    if t == 0:  # the limit: all for the largest, the lowest id among equals
        return np.where(np.arange(len(logits)) == np.argmax(logits), 1.0, 0.0)
    weights = np.exp((logits - logits.max()) / t)
    return weights / weights.sum()


def greedy_or(probabilities):
    """A wrong version that is right at t = 0, and there only."""
    return lambda logits, t: temperature(logits, t) if t == 0 else probabilities(logits, t)


def warm_and_greedy(answer, logits, t):
    """Each try asks twice: at t, and at 0."""
    both = [answer(logits, t), answer(logits, 0.0)]
    empty = [p for p in both if p is ... or p is None]
    return empty[0] if empty else np.array(both)


def logits_and_a_temperature(rng):
    return 3 * rng.standard_normal(int(rng.integers(5, 12))), float(rng.choice([0.5, 0.7, 1.3, 2.0]))


def nucleus(p, top_p):
    kept, held = np.zeros(len(p)), 0.0
    for token in np.argsort(-p, kind="stable"):  # most likely first, the lowest id among equals
        kept[token] = p[token]
        held += p[token]
        if held >= top_p:
            break
    return kept / kept.sum()


def drops_the_one_that_crosses(p, top_p):
    order = np.argsort(-p, kind="stable")
    fits = order[np.cumsum(p[order]) < top_p]
    kept = np.zeros(len(p))
    kept[fits] = p[fits]
    return kept / kept.sum()


def not_renormalised(p, top_p):
    return np.where(nucleus(p, top_p) > 0, p, 0.0)


def in_the_order_of_ids(p, top_p):
    kept = np.where(np.cumsum(p) - p < top_p, p, 0.0)
    return kept / kept.sum()


def a_least_probability(p, top_p):
    kept = np.where(p >= 1 - top_p, p, 0.0)
    return kept / kept.sum()


def some_probabilities(rng):
    """No two are equal, and none of their sums is just the share that is asked for."""
    return softmax(1.5 * rng.standard_normal(int(rng.integers(7, 14)))), float(rng.choice([0.6, 0.75, 0.9]))


def next_position(T, drawn):
    return T + drawn  # the prompt stands at 0 to T - 1


def a_prompt_and_some_drawn(rng):
    T = int(rng.integers(5, 40))
    return T, T + int(rng.integers(1, 9))


EXERCISES = [
    Exercise(
        "temperature",
        "What are the probabilities at temperature t, if 0 means the most likely piece?",
        temperature,
        wrong={
            "divides-probabilities": (
                greedy_or(lambda logits, t: softmax(logits) / t),
                "their sum is not 1: does t come before the softmax or after it?",
            ),
            "after-softmax": (
                greedy_or(lambda logits, t: softmax(logits)),
                "the temperature changes nothing: a common factor cancels, unless it is in the exponent",
            ),
            "times-t": (
                greedy_or(lambda logits, t: softmax(logits * t)),
                "upside down: should a high temperature make the probabilities more equal, or less?",
            ),
            "divides-by-zero": (
                lambda logits, t: softmax(logits / t) if t else np.full(len(logits), np.nan),
                "at t = 0 it divides by zero: which piece is left in the limit?",
            ),
        },
        make_inputs=logits_and_a_temperature,
        call=warm_and_greedy,
    ),
    Exercise(
        "top-p",
        "Which probabilities are left, if the fewest likeliest pieces that hold this share are kept?",
        nucleus,
        wrong={
            "drops-the-crossing-one": (
                drops_the_one_that_crosses,
                "less than the share is held: the piece that crosses it stays",
            ),
            "not-renormalised": (not_renormalised, "the right pieces, but what is the sum of what is left?"),
            "id-order": (in_the_order_of_ids, "the sum runs in the order of ids: whose turn is it first?"),
            "least-probability": (
                a_least_probability,
                "a least probability for each piece: but the share is held by all of them together",
            ),
        },
        make_inputs=some_probabilities,
    ),
    Exercise(
        "next-position",
        "At which position does the next drawn token stand, after a prompt of T tokens and some that were drawn?",
        next_position,
        wrong={
            "one-too-far": (
                lambda T, drawn: T + drawn + 1,
                "an empty slot is left, and attended: at which position does the first of T tokens stand?",
            ),
            "the-last-one": (lambda T, drawn: T + drawn - 1, "a token stands there already"),
            "from-the-prompt": (lambda T, drawn: drawn, "the prompt has positions, too"),
        },
        make_inputs=a_prompt_and_some_drawn,
    ),
]

GUESSES = {
    "half-temperature": Guess(
        "the weights 1, 2, 4 at t = 1/2, up to a common factor",
        [1, 4, 16],
        [
            ([1, 2, 4], "t is in the exponent: what is 2 to the power 1/t?"),
            ([2, 4, 8], "a common factor cancels: what happens to the exponent?"),
        ],
    ),
    "pieces-for-80-percent": Guess(
        "how many of the pieces with weights 8, 4, 2, 1, 1 are kept for top_p = 0.8",
        3,
        [(2, "8 + 4 of 16 are 0.75: not enough yet"), (4, "count again: when is 0.8 first reached?")],
    ),
    "drawn-at-060": Guess(
        "which piece is drawn for u = 0.6, from 8, 4, 2",
        "a",
        [
            ("the", "0.6 of 14 is 8.4, and this piece ends at 8"),
            ("my", "0.6 of 14 is 8.4, and this piece begins at 12"),
        ],
    ),
    "shared-stream": Guess(
        "which number of a shared stream the first of two texts gets for its fourth token, counted from 0",
        6,
        [(3, "that is so when it is alone: who draws in between?"), (7, "that one goes to the second text")],
    ),
}
