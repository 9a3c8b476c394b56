"""Lesson 03: scaling the input of RMSNorm changes nothing, up to eps, and nothing is centred."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def rms_norm(x, weight, eps):
    mean_square = (x * x).mean(axis=1, keepdims=True)  # (T, 1): each token has its own
    return x / np.sqrt(mean_square + eps) * weight


def layer_norm(x, weight, eps):
    x = x - x.mean(axis=1, keepdims=True)
    return rms_norm(x, weight, eps)


def eps_outside(x, weight, eps):
    return x / (np.sqrt((x * x).mean(axis=1, keepdims=True)) + eps) * weight


def over_tokens(x, weight, eps):
    return x / np.sqrt((x * x).mean(axis=0) + eps) * weight


def over_everything(x, weight, eps):
    return x / np.sqrt((x * x).mean() + eps) * weight


def one_more_weight(x, weight, eps):
    return rms_norm(x, 1 + weight, eps)


def sum_of_squares(x, weight, eps):
    return x / np.sqrt((x * x).sum(axis=1, keepdims=True) + eps) * weight


def no_root(x, weight, eps):
    return x / ((x * x).mean(axis=1, keepdims=True) + eps) * weight


def tokens_weights_and_eps(rng):
    """Tokens of different sizes, weights near 1, and an eps large enough to be seen."""
    T, dim = int(rng.integers(3, 6)), int(rng.integers(7, 11))
    x = rng.integers(-9, 10, (T, dim)) * 0.25 + rng.integers(1, 5, (T, 1))
    return x, rng.integers(5, 15, dim) / 10, float(rng.choice([0.1, 0.2, 0.5]))


EXERCISES = [
    Exercise(
        "rms-norm",
        "What is RMSNorm of x (T, dim), with the weights (dim,) and eps under the root?",
        rms_norm,
        wrong={
            "layer-norm": (layer_norm, "that is LayerNorm: here no mean is removed"),
            "eps-outside": (eps_outside, "is eps added before the root, or after it?"),
            "over-tokens": (over_tokens, "that mixes tokens: each token alone, over its own dim numbers"),
            "over-everything": (over_everything, "one size for the whole text: each token has its own"),
            "one-plus-w": (one_more_weight, "1 + w is another model's habit: here w is taken as it is"),
            "sum": (sum_of_squares, "the mean of the squares, not their sum"),
            "no-root": (no_root, "that divides by a square: what does the R in RMS stand for?"),
        },
        make_inputs=tokens_weights_and_eps,
    ),
    Exercise(
        "size-for-point-six",
        "Which size must an input have, so that its output has size 0.6, for eps = 1e-5 and weights of 1?",
        lambda: 0.75 * np.sqrt(1e-5),  # s / sqrt(s^2 + eps) = 0.6, so 0.64 s^2 = 0.36 eps
        wrong={
            "only-eps": (lambda: 0.6 * np.sqrt(1e-5), "under the root stands eps, and something else beside it"),
            "eps-outside": (lambda: 1.5 * 1e-5, "that is right for eps outside of the root"),
            "square": (lambda: 0.5625 * 1e-5, "that is the mean square: the size is its root"),
        },
    ),
]

GUESSES = {
    "rms-of-four": Guess(
        "the root mean square of 1, 7, 7, 1",
        5,
        [
            (4, "that is the mean: square first"),
            (10, "that is the length, the root of the sum of squares"),
            (25, "that is the mean square: now the root"),
        ],
    ),
    "times-thousand": Guess(
        "the first number of the output for an input 1000 times larger",
        0.2,
        [(200, "what happens to the number that it is divided by?"), (0.0002, "both grow, the number and its divisor")],
    ),
    "breaks-the-story": Guess(
        "which of the factors 1024 and 1/1024 breaks the model",
        1 / 1024,
        [(1024, "to whom is eps = 0.00001 large?")],
    ),
    "centred-four": Guess(
        "what LayerNorm makes of 1, 7, 7, 1",
        [-1, 1, 1, -1],
        [
            ([0.2, 1.4, 1.4, 0.2], "that is RMSNorm: take off the mean first"),
            ([-3, 3, 3, -3], "the mean is off: now divide by the size of what is left"),
        ],
    ),
    "norm-weights": Guess(
        "how many weights the norms of Mistral 7B have",
        266_240,
        [
            (262_144, "one norm is missing: what comes after the last layer?"),
            (135_168, "a layer has two of them"),
            (4160, "add a weight for each of the 4096 numbers, not for each norm and number"),
        ],
    ),
}
