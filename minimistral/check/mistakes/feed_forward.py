"""Mistakes about the feed-forward, the residual stream and the two ends. Right: lines.gated, attention_sum, ffn_sum, embed, output_matrix."""

import numpy as np

from minimistral.check.lines import embed, gated
from minimistral.check.mistakes.mistake import Mistake


def gelu_exact(gate, up, n):
    return n.store(n.step(gate * 0.5 * (1 + erf(gate / np.sqrt(2)))) * up)


def gelu_tanh(gate, up, n):
    return n.store(n.step(0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))) * up)


def relu(gate, up, n):
    return n.store(np.maximum(gate, 0) * up)


def no_activation(gate, up, n):
    return n.store(gate * up)


def gate_and_up_swapped(gate, up, n):
    return gated(up, gate, n)


def erf(x):
    """Abramowitz and Stegun 7.1.26 has 7 digits only; so by its series and continued fraction, from Python's math."""
    from math import erf as one

    return np.vectorize(one, otypes=[float])(x)


def normed_kept(h, x, a, n):
    return n.store(x + a)


def embedding_scaled(embedding, tokens, n):
    return n.store(embed(embedding, tokens, n) * n.store(np.sqrt(float(embedding.shape[1]))))


MISTAKES = [
    Mistake(
        "gelu",
        "your gate is GELU",
        "gelu(w1 x) w3 x",
        "silu(w1 x) w3 x",
        "",
        "minimistral/swiglu.py swiglu",
        {"": {"gated": gelu_exact}, "tanh": {"gated": gelu_tanh}},
    ),
    Mistake(
        "relu",
        "your gate is ReLU",
        "max(w1 x, 0) w3 x",
        "silu(w1 x) w3 x",
        "",
        "minimistral/swiglu.py swiglu",
        {"": {"gated": relu}},
    ),
    Mistake(
        "activation-missing",
        "your gate has no activation",
        "w1 x w3 x",
        "silu(w1 x) w3 x",
        "",
        "minimistral/swiglu.py swiglu",
        {"": {"gated": no_activation}},
    ),
    Mistake(
        "gate-up-swapped",
        "gate and up are exchanged: the wrong branch passes SiLU",
        "silu(w3 x) w1 x",
        "silu(w1 x) w3 x",
        "",
        "minimistral/swiglu.py swiglu",
        {"": {"gated": gate_and_up_swapped}},
    ),
    Mistake(
        "residual-from-norm",
        "you add to the normed input, not to the residual stream",
        "rms_norm(h) + f(rms_norm(h))",
        "h + f(rms_norm(h))",
        "",
        "minimistral/transformer.py transformer",
        {
            "": {"attention_sum": normed_kept, "ffn_sum": normed_kept},
            "after attention": {"attention_sum": normed_kept},
            "after the feed-forward": {"ffn_sum": normed_kept},
        },
    ),
    Mistake(
        "embedding-scaled",
        "you multiply the embedding by sqrt(dim), as another model does",
        "E[token] sqrt(dim)",
        "E[token]",
        "",
        "minimistral/transformer.py transformer",
        {"": {"embed": embedding_scaled}},
    ),
    Mistake(
        "output-tied",
        "your logits come from the embedding matrix",
        "E rms_norm(h)",
        "output rms_norm(h)",
        "",
        "minimistral/transformer.py output",
        {"": {"output_matrix": lambda embedding, output: embedding}},
    ),
]
