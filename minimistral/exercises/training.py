"""Lesson 17: backward by hand equals finite differences."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def rms_norm_grad(dy, x, weight, eps):
    rms = np.sqrt((x * x).mean(axis=1, keepdims=True) + eps)  # (T, 1)
    n = x / rms
    dn = dy * weight
    return (dn - n * (dn * n).mean(axis=1, keepdims=True)) / rms


def rms_of(x, eps):
    return np.sqrt((x * x).mean(axis=1, keepdims=True) + eps)


def rms_held_still(dy, x, weight, eps):
    return dy * weight / rms_of(x, eps)


def no_weight(dy, x, weight, eps):
    return rms_norm_grad(dy, x, np.ones_like(weight), eps)


def weight_on_one_way(dy, x, weight, eps):
    rms = rms_of(x, eps)
    n = x / rms
    return (dy * weight - n * (dy * n).mean(axis=1, keepdims=True)) / rms


def sum_for_mean(dy, x, weight, eps):
    rms = rms_of(x, eps)
    n, dn = x / rms, dy * weight
    return (dn - n * (dn * n).sum(axis=1, keepdims=True)) / rms


def over_everything(dy, x, weight, eps):
    rms = rms_of(x, eps)
    n, dn = x / rms, dy * weight
    return (dn - n * (dn * n).mean()) / rms


def wrong_sign(dy, x, weight, eps):
    return 2 * rms_held_still(dy, x, weight, eps) - rms_norm_grad(dy, x, weight, eps)


def not_divided(dy, x, weight, eps):
    return rms_norm_grad(dy, x, weight, eps) * rms_of(x, eps)


def x_for_n(dy, x, weight, eps):
    dn = dy * weight
    return (dn - x * (dn * x).mean(axis=1, keepdims=True)) / rms_of(x, eps)


def tokens_weights_and_what_comes_back(rng):
    """dy and x (T, dim), weights near 1, and an eps large enough to be seen."""
    T, dim = int(rng.integers(3, 6)), int(rng.integers(7, 11))
    x = rng.integers(-9, 10, (T, dim)) * 0.25 + rng.integers(1, 5, (T, 1))
    dy = rng.integers(-5, 6, (T, dim)) * 0.5 + 1
    return dy, x, rng.integers(5, 15, dim) / 10, float(rng.choice([0.1, 0.2, 0.5]))


def rope_grad(dy, cos, sin):
    a, b = dy[..., 0::2], dy[..., 1::2]  # (T, n_heads, head_dim / 2)
    cos, sin = cos[:, None], sin[:, None]  # the same for every head
    dx = np.empty_like(dy)
    dx[..., 0::2] = a * cos + b * sin
    dx[..., 1::2] = b * cos - a * sin
    return dx


def plus_twice(dy, cos, sin):
    dx = rope_grad(dy, cos, sin)
    dx[..., 1::2] = dy[..., 1::2] * cos[:, None] + dy[..., 0::2] * sin[:, None]
    return dx


def overwritten(dy, cos, sin):
    dx = rope_grad(dy, cos, sin)
    dx[..., 1::2] = dy[..., 1::2] * cos[:, None] - dx[..., 0::2] * sin[:, None]
    return dx


def half_split(dy, cos, sin):
    half = dy.shape[-1] // 2
    a, b, cos, sin = dy[..., :half], dy[..., half:], cos[:, None], sin[:, None]
    return np.concatenate([a * cos + b * sin, b * cos - a * sin], axis=-1)


def turns_and_what_comes_back(rng):
    """dy (T 5, n_heads 3, head_dim 8); cos and sin of angles from -3 to 3, (5, 4)."""
    angles = rng.uniform(-3, 3, (5, 4))
    return rng.standard_normal((5, 3, 8)), np.cos(angles), np.sin(angles)


EXERCISES = [
    Exercise(
        "rms-norm-grad",
        "dy is the gradient of the loss by y = x / rms * weight. What is its gradient by x (T, dim)?",
        rms_norm_grad,
        wrong={
            "rms-held-still": (rms_held_still, "that holds rms still: but rms depends on each x"),
            "no-weight": (no_weight, "y is n times weight: so how much of dy comes back to n?"),
            "weight-once": (weight_on_one_way, "x acts in two ways, and both pass through the weight"),
            "sum": (sum_for_mean, "rms holds a mean, so one x has only a small part in it: divide by how many?"),
            "over-everything": (over_everything, "that mixes tokens: each token has its own rms, and its own mean"),
            "plus": (wrong_sign, "a larger rms makes y smaller: which sign has that way?"),
            "not-divided": (not_divided, "almost: x is divided by rms, so what is the slope of n by its own x?"),
            "x-for-n": (x_for_n, "the slope of rms by x is n / dim, and that of n by rms is -n / rms: n, not x"),
            "no-eps": (
                lambda dy, x, weight, eps: rms_norm_grad(dy, x, weight, 0),
                "the rms of the way forward, please: it has eps under the root",
            ),
        },
        make_inputs=tokens_weights_and_what_comes_back,
    ),
    Exercise(
        "rope-grad",
        "dy is the gradient of the loss by y, which RoPE made of x. What is its gradient by x?",
        rope_grad,
        wrong={
            "same-turn": (
                lambda dy, cos, sin: rope_grad(dy, cos, -sin),
                "that is the same turn once more: the transpose turns back",
            ),
            "not-turned": (lambda dy, cos, sin: dy.copy(), "that is dy as it came: a turn must be undone"),
            "minus-all": (
                lambda dy, cos, sin: -rope_grad(dy, cos, -sin),
                "the opposite arrow is not the turn back: which of cos and sin changes its sign with the angle?",
            ),
            "plus-twice": (
                plus_twice,
                "a acts on the second of the pair with slope sin, b on the first with slope -sin",
            ),
            "overwritten": (
                overwritten,
                "the second of a pair needs the first as it came, not as it is after the turn",
            ),
            "half-split": (half_split, "that pairs i with i + head_dim / 2: here neighbours are a pair"),
        },
        make_inputs=turns_and_what_comes_back,
    ),
]

GUESSES = {
    "smaller-delta": Guess(
        "the two-sided difference of x cubed at x = 2 with delta = 0.1",
        12.01,
        [
            (12.1, "ten times smaller? a two-sided difference does better"),
            (12.61, "that is the one-sided difference"),
            (12, "that is the slope itself: the difference is not quite there"),
        ],
    ),
    "best-delta": Guess(
        "the best of the steps 1e-2, 1e-5, 1e-8 and 1e-14, in float64",
        1e-5,
        [
            (1e-14, "the loss has 16 digits: in how many of them do the two losses still differ?"),
            (1e-8, "for one-sided differences, yes"),
            (1e-2, "in float32, yes: float64 has more digits to spend"),
        ],
    ),
    "row-of-two": Guess(
        "the gradient of row 2, looked up at positions 0 and 2, where 1, 10, 100 come back to the positions",
        101,
        [
            (100, "row 2 stands at two positions: what about the first?"),
            (111, "position 1 holds another row"),
            (50.5, "added, not averaged: both changes happen at once"),
        ],
    ),
    "along-x": Guess(
        "the gradient by x = (3, 4) of 3 y_1 + 4 y_2, where y = x / rms",
        [0, 0],
        [
            ([3, 4], "that is dy: and y does not grow with x"),
            ([3 / 12.5**0.5, 4 / 12.5**0.5], "that holds rms still: how long is y if x is twice as long?"),
        ],
    ),
    "spoilt-by-rope": Guess(
        "how many of the last layer's nine gradients are wrong if RoPE's backward turns the wrong way",
        3,
        [
            (2, "wq and wk; and what lies before them in the same layer?"),
            (9, "all? backward begins at the end: who gets a gradient before RoPE is met?"),
            (5, "v is not turned, and wo comes later than RoPE"),
        ],
    ),
    "first-step": Guess(
        "where AdamW's first step moves w = 1, for a gradient of -0.002 and a learning rate of 0.1, without decay",
        1.1,
        [
            (1.0002, "that is plain descent: AdamW divides a gradient by its own size"),
            (0.9, "against the gradient: which sign has it?"),
        ],
    ),
    "unseen-fault": Guess(
        "which of the faults norm, rope and embedding the loss does not show",
        "embedding",
        [
            ("rope", "scores still depend on their distance, but who tells q and k what to become?"),
            ("norm", "that one is in every layer, twice, and once more at the end"),
        ],
    ),
}
