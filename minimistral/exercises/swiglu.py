"""Lesson 10: one branch gates, one carries, and 77.8 % of all weights are in these matrices."""

from math import erf

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def swiglu(gate, up):
    small = np.exp(-np.abs(gate))  # at most 1, for either sign
    opening = np.where(gate >= 0, 1, small) / (1 + small)
    return gate * opening * up


def opening(g):
    """1 / (1 + e^-g), without a large power of e."""
    small = np.exp(-np.abs(g))
    return np.where(g >= 0, 1, small) / (1 + small)


def gelu(g):
    return g * np.vectorize(lambda x: (1 + erf(x / np.sqrt(2))) / 2)(g)


def gelu_by_tanh(g):
    return g * (1 + np.tanh(np.sqrt(2 / np.pi) * (g + 0.044715 * g**3))) / 2


def without_overflow(answer, gate, up):
    """Call an answer in such a way that a number too large for its type is an error."""
    with np.errstate(over="raise"):
        return answer(gate, up)


def branches_with_large_gates(rng):
    """gate, up: (T 4, hidden 7); a gate of -1000 and one of 1000 are among ordinary ones."""
    gate, up = 2 * rng.standard_normal((2, 4, 7))
    gate.flat[rng.choice(gate.size, 2, replace=False)] = -1000, 1000
    return gate, up


EXERCISES = [
    Exercise(
        "swiglu",
        "What do the two branches give together, without any overflow, for gates from -1000 to 1000?",
        swiglu,
        wrong={
            "branches-swapped": (
                lambda gate, up: gate * opening(up) * up,
                "the branches are exchanged: which one passes silu?",
            ),
            "gelu": (lambda gate, up: gelu(gate) * up, "that is GELU: what is SiLU's opening, as a fraction with e?"),
            "gelu-tanh": (
                lambda gate, up: gelu_by_tanh(gate) * up,
                "that is GELU in its form with tanh: which is SiLU?",
            ),
            "sigmoid": (
                lambda gate, up: opening(gate) * up,
                "that is the opening times up: g itself is missing from silu(g)",
            ),
            "relu": (lambda gate, up: np.maximum(gate, 0) * up, "that is ReLU: SiLU lets a little through below 0"),
            "no-carry": (
                lambda gate, up: gate * opening(gate),
                "that is silu(gate): where is the branch that carries?",
            ),
            "product-first": (
                lambda gate, up: gate * up * opening(gate * up),
                "silu of the product: but only one branch passes silu",
            ),
            "overflow": (
                lambda gate, up: gate / (1 + np.exp(-gate)) * up,
                "e to the power 1000 overflows: is there another form for negative g? (where computes both of its sides)",
            ),
        },
        make_inputs=branches_with_large_gates,
        call=without_overflow,
    ),
]

GUESSES = {
    "opening-of-log-3": Guess(
        "how far a gate of log 3 is open, 1 / (1 + e^-g)",
        0.75,
        [
            (0.25, "that is the opening of -log 3: e to the power of -log 3 is 1/3"),
            (0.5, "that is the opening of 0"),
            (3, "an opening lies between 0 and 1"),
        ],
    ),
    "fair-width": Guess(
        "the hidden_dim at which three matrices hold as many weights as two of width 96, for dim 24",
        64,
        [
            (96, "the same width, but three matrices instead of two: that is half as many weights again"),
            (48, "three for two, not four for two"),
            (144, "wider with more matrices? the product must stay the same"),
        ],
    ),
    "ffn-share": Guess(
        "how many of 100 weights of Mistral 7B are in its feed-forward matrices, to the nearest whole number",
        78,
        [
            (70, "with two matrices it would be so: there are three"),
            (18, "or 19: that is attention's share"),
            (19, "that is attention's share"),
            (50, "more: hidden_dim is 3.5 times dim, and there are three matrices"),
        ],
    ),
    "closed-gates": Guess(
        "how the loss changes when the gates that are nearly closed are closed altogether: 'same', 'double', 'ten times'",
        "same",
        [
            ("double", "there are many of them, but how much do they let through?"),
            ("ten times", "there are many of them, but how much do they let through?"),
        ],
    ),
    "hardest-to-find": Guess(
        "which mistake the loss shows least: 'swapped', 'gelu' or 'sigmoid'",
        "gelu",
        [
            ("swapped", "it changes which branch may be negative"),
            ("sigmoid", "it loses the size of g"),
        ],
    ),
}
