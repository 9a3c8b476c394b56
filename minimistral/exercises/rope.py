"""Lesson 04: with RoPE, a score depends on m - n only."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def wavelength(head_dim, theta):
    last = head_dim // 2 - 1
    radians_a_position = theta ** (-2 * last / head_dim)
    return 2 * np.pi / radians_a_position


def a_head_and_a_theta(rng):
    return 2 * int(rng.integers(5, 65)), float(rng.choice([100, 1000, 10_000, 1_000_000]))


def angles(positions, head_dim, theta):
    """Of each position and pair: (T, 1, head_dim / 2)."""
    frequencies = np.array([theta ** (-2 * i / head_dim) for i in range(head_dim // 2)])
    return positions[:, None, None] * frequencies


def rotate(x, positions, theta):
    T, _, head_dim = x.shape
    turned = np.zeros(x.shape)
    for t in range(T):
        for i in range(head_dim // 2):
            angle = positions[t] * theta ** (-2 * i / head_dim)
            a, b = x[t, :, 2 * i], x[t, :, 2 * i + 1]  # (n_heads,)
            turned[t, :, 2 * i] = a * np.cos(angle) - b * np.sin(angle)
            turned[t, :, 2 * i + 1] = a * np.sin(angle) + b * np.cos(angle)
    return turned


def half_split(x, positions, theta):
    half = x.shape[-1] // 2
    cos, sin = np.cos(angles(positions, 2 * half, theta)), np.sin(angles(positions, 2 * half, theta))
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def two_halves_out(x, positions, theta):
    cos, sin = np.cos(angles(positions, x.shape[-1], theta)), np.sin(angles(positions, x.shape[-1], theta))
    a, b = x[..., 0::2], x[..., 1::2]
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def half_the_exponent(x, positions, theta):
    return rotate(x, positions, np.sqrt(theta))


def overwritten(x, positions, theta):
    cos, sin = np.cos(angles(positions, x.shape[-1], theta)), np.sin(angles(positions, x.shape[-1], theta))
    y = x.copy()
    y[..., 0::2] = y[..., 0::2] * cos - y[..., 1::2] * sin
    y[..., 1::2] = y[..., 0::2] * sin + y[..., 1::2] * cos
    return y


def some_heads_to_turn(rng):
    """T 5, n_heads 3, head_dim 8; positions that do not start at 0."""
    x = rng.standard_normal((5, 3, 8))
    return x, int(rng.integers(1, 50)) + np.arange(5), float(rng.choice([100, 10_000]))


EXERCISES = [
    Exercise(
        "wavelength",
        "In how many positions does the slowest pair of a head make a whole turn?",
        wavelength,
        wrong={
            "exponent-one": (
                lambda head_dim, theta: 2 * np.pi * theta,
                "which number has the last pair? for head_dim 128 its exponent is 126/128, not 1",
            ),
            "a-radian": (
                lambda head_dim, theta: wavelength(head_dim, theta) / (2 * np.pi),
                "that is the way to one radian: how many of them make a whole turn?",
            ),
            "quickest": (lambda head_dim, theta: 2 * np.pi, "that is pair 0, the quickest"),
            "half-exponent": (
                lambda head_dim, theta: 2 * np.pi * theta ** ((head_dim // 2 - 1) / head_dim),
                "the exponent of pair i is 2i / head_dim: where is the 2?",
            ),
        },
        make_inputs=a_head_and_a_theta,
    ),
    Exercise(
        "rotate",
        "Turn each pair (2i, 2i + 1) of every head by its position times theta to the power -2i / head_dim.",
        rotate,
        wrong={
            "half-split": (half_split, "that pairs i with i + head_dim / 2: which layout are the weights in?"),
            "minus-angle": (
                lambda x, positions, theta: rotate(x, -positions, theta),
                "turned the other way: look at the sign of the sine",
            ),
            "from-one": (
                lambda x, positions, theta: rotate(x, positions + 1, theta),
                "one step too far: scores survive a shift of all positions, but q itself does not",
            ),
            "row-numbers": (
                lambda x, positions, theta: rotate(x, np.arange(len(x)), theta),
                "that counts the rows: a text may go on where another part ended, so ask for the positions",
            ),
            "halves-out": (two_halves_out, "right numbers in another order: put each pair back where it was"),
            "half-exponent": (half_the_exponent, "the exponent of pair i is 2i / head_dim: where is the 2?"),
            "overwritten": (overwritten, "the second number of a pair needs the first as it was before the turn"),
        },
        make_inputs=some_heads_to_turn,
    ),
]

GUESSES = {
    "quarter-turn": Guess(
        "where (3, 4) points after one quarter turn anticlockwise",
        [-4, 3],
        [([4, -3], "that is clockwise: where does (1, 0) go?"), ([4, 3], "exchanged, and one sign changes, too")],
    ),
    "score-at-7-and-5": Guess(
        "the score of q = (3, 4) at position 7 and k = (1, 2) at position 5, a quarter turn a position",
        -11,
        [(11, "that is without any turn"), (2, "that is a distance of 1"), (-2, "that is a distance of 3")],
    ),
    "whole-turns": Guess(
        "how many of 64 pairs make a whole turn or more within 4096 positions, theta 1e4",
        46,
        [
            (45, "pairs 0 to 45 are how many?"),
            (64, "all? look at the last one of the table"),
            (31, "that is for theta 1e6"),
        ],
    ),
    "peak": Guess(
        "the distance with the largest score, if the query is first turned back by 10 positions",
        10,
        [
            (0, "at distance 0 the query still lags behind the key by 10 positions"),
            (-10, "the key would come later than the query"),
        ],
    ),
    "bfloat16-15962": Guess(
        "the position 15962 in bfloat16",
        15936,
        [
            (15962, "bfloat16 keeps 8 binary digits: is 15962 a multiple of 64?"),
            (16000, "that is a multiple of 64, but not the nearest"),
            (15960, "that is float16, with 11 binary digits"),
        ],
    ),
}
