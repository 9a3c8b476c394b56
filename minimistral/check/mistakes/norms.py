"""Mistakes about RMSNorm. Right: lines.norm, lines.final_norm."""

import numpy as np

from minimistral.check.lines import norm
from minimistral.check.mistakes.mistake import Case, Mistake


def with_eps(other):
    return lambda x, w, eps, n: norm(x, w, other, n)


def eps_outside(x, w, eps, n):
    return n.store(n.step(x / (np.sqrt(np.mean(x * x, axis=-1, keepdims=True)) + eps)) * w)


def centred(x, w, eps, n):
    return norm(x - x.mean(axis=-1, keepdims=True), w, eps, n)


def weight_plus_one(x, w, eps, n):
    return norm(x, 1 + w, eps, n)


def everywhere(wrong):
    return {
        "": {"norm": wrong, "final_norm": wrong},
        "in the layers only": {"norm": wrong},
        "the final one only": {"final_norm": wrong},
    }


def other_eps(case: Case):
    others = [e for e in (1e-6, 1e-5, 1e-8, 1e-12, 0.0, 1e-3) if e != case.config.norm_eps]
    return {
        f"eps {e:g}{', ' + where if where else ''}": lines
        for e in others
        for where, lines in everywhere(with_eps(e)).items()
    }


def not_normed(x, w, eps, n):
    return x


MISTAKES = [
    Mistake(
        "norm-eps",
        "your RMSNorm has another epsilon",
        "x / sqrt(mean(x^2) + another eps) w",
        "x / sqrt(mean(x^2) + norm_eps) w",
        "",
        "minimistral/rms_norm.py rms_norm",
        other_eps,
    ),
    Mistake(
        "norm-eps-outside",
        "you add epsilon to the root, not under it",
        "x / (sqrt(mean(x^2)) + eps) w",
        "x / sqrt(mean(x^2) + eps) w",
        "",
        "minimistral/rms_norm.py rms_norm",
        everywhere(eps_outside),
    ),
    Mistake(
        "norm-mean-centred",
        "you take the mean away first: that is LayerNorm",
        "(x - mean(x)) / std(x) w",
        "x / sqrt(mean(x^2) + eps) w",
        "",
        "minimistral/rms_norm.py rms_norm",
        everywhere(centred),
    ),
    Mistake(
        "norm-weight-plus-one",
        "you multiply by 1 + w, as another model does",
        "x / rms (1 + w)",
        "x / rms w",
        "",
        "minimistral/rms_norm.py rms_norm",
        everywhere(weight_plus_one),
    ),
    Mistake(
        "norm-weights-swapped",
        "the two norm weights of a layer are exchanged",
        "ffn_norm before attention, attention_norm before the feed-forward",
        "attention_norm before attention, ffn_norm before the feed-forward",
        "",
        "minimistral/checkpoint/layouts.py",
        {
            "": {
                "attention_norm_weight": lambda layer: layer.ffn_norm,
                "ffn_norm_weight": lambda layer: layer.attention_norm,
            }
        },
    ),
    Mistake(
        "norm-missing-final",
        "the final norm is missing",
        "output h",
        "output rms_norm(h)",
        "",
        "minimistral/transformer.py transformer",
        {"": {"final_norm": not_normed}},
    ),
]
