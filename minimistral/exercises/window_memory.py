"""Lesson 18: reach is a wall, and a memory up to it must be learnt."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def predict_drop(n_layers, window):
    return n_layers * (window - 1)


def some_layers_and_a_window(rng):
    return int(rng.integers(2, 9)), int(rng.integers(9, 40))


def right_up_to(bins, share):
    last = 0
    for low, high, asked, right in bins:
        if right / asked < share:
            break
        last = high - 1
    return last


def last_good_bin(bins, share):
    good = [high - 1 for low, high, asked, right in bins if right / asked >= share]
    return max(good, default=0)


def more_than(bins, share):
    return right_up_to([(low, high, asked, right - 1) for low, high, asked, right in bins], share)


def end_of_the_bin(bins, share):
    return right_up_to(bins, share) + 1


def bin_that_fails(bins, share):
    return next(high - 1 for low, high, asked, right in bins if right / asked < share)


def number_of_bins(bins, share):
    return sum(high - 1 <= right_up_to(bins, share) for low, high, asked, right in bins)


def all_so_far(bins, share):
    last, all_asked, all_right = 0, 0, 0
    for low, high, asked, right in bins:
        all_asked, all_right = all_asked + asked, all_right + right
        if all_right / all_asked < share:
            break
        last = high - 1
    return last


def counts_of_a_model(rng):
    """Bins that widen; one has exactly the share, then some fall short, and a later one is good again by chance."""
    share, n = float(rng.choice([0.5, 0.75])), 9
    edges = np.cumsum([1, *np.sort(rng.integers(1, 12, n))])
    asked = 4 * rng.integers(45, 60, n)
    shares = np.concatenate([[1, 0.99, 0.98, 0.95], [share], rng.uniform(0.1, 0.4, n - 5)])
    shares[rng.integers(6, n)] = 0.9
    right = np.round(shares * asked).astype(int)
    return np.stack([edges[:-1], edges[1:], asked, right], axis=1), share


EXERCISES = [
    Exercise(
        "predict-drop",
        "What is the largest distance back to a fact at which a model can do better than guess?",
        predict_drop,
        wrong={
            "k-windows": (
                lambda n_layers, window: n_layers * window,
                "k W is the paper's bound: but the W keys of a query include its own token",
            ),
            "counts-itself": (
                lambda n_layers, window: n_layers * (window - 1) + 1,
                "so many tokens are seen, the last one included: how far back is the first of them?",
            ),
            "one-window": (
                lambda n_layers, window: window,
                "that is one window: layers pass on what they have seen",
            ),
            "one-layer": (
                lambda n_layers, window: window - 1,
                "so far looks one layer: the next looks at what the first has written",
            ),
            "one-layer-less": (
                lambda n_layers, window: (n_layers - 1) * (window - 1),
                "the last layer looks back, too",
            ),
            "multiplied": (
                lambda n_layers, window: (window - 1) ** n_layers,
                "each layer adds its way to the others: it does not multiply them",
            ),
        },
        make_inputs=some_layers_and_a_window,
    ),
    Exercise(
        "right-up-to",
        "Up to which distance does every bin have at least this share of right answers?",
        right_up_to,
        wrong={
            "last-good-bin": (
                last_good_bin,
                "a bin before that one falls short: stop at the first, whatever comes after it",
            ),
            "more-than": (more_than, "a bin with exactly that share is good: at least is asked, not more than"),
            "end-of-the-bin": (end_of_the_bin, "one too far: a bin ends before its second number"),
            "bin-that-fails": (bin_that_fails, "that is the end of the bin that falls short: the one before it counts"),
            "number-of-bins": (number_of_bins, "so many bins are good: asked is a distance"),
            "all-so-far": (all_so_far, "good bins make up for a bad one there: judge each bin by itself"),
        },
        make_inputs=counts_of_a_model,
    ),
]

GUESSES = {
    "never-saw-it": Guess(
        "the share of right answers of a model that cannot see the fact, with 8 colours that are all as likely",
        0.125,
        [
            (0, "it answers all the same, and is right now and then: how many colours are there?"),
            (0.5, "right or wrong is no coin: how many colours are there?"),
            (0.25, "four facts stand in the text, but this model sees none of them: it has all colours to choose from"),
        ],
    ),
    "knows-half": Guess(
        "the share of right answers of a model that knows half of the facts and guesses the others, with 8 colours",
        0.5625,
        [
            (0.5, "and those that it guesses?"),
            (0.625, "it guesses half of them, not all: an eighth of a half"),
            (0.0625, "that is what guessing adds: add what it knows"),
        ],
    ),
    "one-too-far": Guess(
        "how many of the 49 scores change if the fact stands 15 words back, one past k (W - 1)",
        0,
        [
            (49, "all that can change? can the fact be heard there?"),
            (1, "one score alone? either it is heard, and then every score moves, or it is not"),
            (8, "those of the colours? a model that hears nothing has nothing to tell them by"),
        ],
    ),
    "untrained-recall": Guess(
        "does an untrained model know the colour of a fact 3 words back, since all its scores change with it",
        "no",
        [("yes", "its scores change with the colour: but into what? nothing has been learnt")],
    ),
    "deeper-is-farther": Guess(
        "of the four models with 8 layers, how many are 95 % right as far as the one with 2 layers and the same window",
        0,
        [
            (4, "their reach is four times as long: what one can see, one need not have learnt"),
            (3, "the three with a window, for their longer reach? what one can see, one need not have learnt"),
            (1, "full attention hands nothing on: but it had to be learnt, too"),
        ],
    ),
    "what-tells": Guess(
        "which model with 8 layers tells whether it is the window that makes them fall short: 16, 32, 64 or full",
        "full",
        [
            (16, "it has a window: would it do better without one?"),
            (32, "it has a window: would it do better without one?"),
            (64, "it has a window, if a long one: would it do better without one?"),
        ],
    ),
}
