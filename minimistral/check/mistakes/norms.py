"""Mistakes about RMSNorm. Right: lines.norm, lines.final_norm, attention_norm_weight, ffn_norm_weight."""

import numpy as np

from minimistral.check.lines import norm
from minimistral.check.mistakes.mistake import Case, Mistake
from minimistral.check.number import rounded


def with_eps(other):
    return lambda x, w, eps, n: norm(x, w, other, n)


def eps_outside(x, w, eps, n):
    return n.store(n.step(x / (np.sqrt(np.mean(x * x, axis=-1, keepdims=True)) + eps)) * w)


def centred(x, w, eps, n):
    return norm(x - x.mean(axis=-1, keepdims=True), w, eps, n)


def weight_plus_one(x, w, eps, n):
    return norm(x, 1 + w, eps, n)


def weight_left_out(x, w, eps, n):
    return norm(x, np.ones_like(w), eps, n)


def over_all_positions(x, w, eps, n):
    """One root mean square for the whole text."""
    return n.store(n.step(x / np.sqrt(np.mean(x * x) + eps)) * w)


def times_the_root(x, w, eps, n):
    """Divided by rsqrt, which is a reciprocal already."""
    return n.store(n.step(x * np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)) * w)


def mean_square_in(dtype):
    def wrong(x, w, eps, n):
        mean_square = rounded(np.mean(rounded(x * x, dtype), axis=-1, keepdims=True), dtype)
        return n.store(n.step(x / np.sqrt(mean_square + eps)) * w)

    return wrong


def mean_in(dtype):
    """Squares in float32, and their mean kept in 16 bits."""

    def wrong(x, w, eps, n):
        mean_square = rounded(np.mean(x * x, axis=-1, keepdims=True), dtype)
        return n.store(n.step(x / np.sqrt(mean_square + eps)) * w)

    return wrong


def everything_in(dtype):
    def wrong(x, w, eps, n):
        root = rounded(np.sqrt(rounded(np.mean(rounded(x * x, dtype), axis=-1, keepdims=True), dtype) + eps), dtype)
        return n.store(rounded(rounded(x / root, dtype) * w, dtype))

    return wrong


def everywhere(wrong, name=""):
    return {
        name + (", " if name and where else "") + where: {line: wrong for line in lines}
        for where, lines in (
            ("", ("norm", "final_norm")),
            ("in the layers only", ("norm",)),
            ("the final one only", ("final_norm",)),
        )
    }


def other_eps(case: Case):
    others = [e for e in (1e-6, 1e-5, 1e-8, 1e-12, 0.0, 1e-3) if e != case.config.norm_eps]
    return {name: lines for e in others for name, lines in everywhere(with_eps(e), f"eps {e:g}").items()}


def not_normed(x, w, eps, n):
    return x


MISTAKES = [
    Mistake(
        "norm-eps",
        "your RMSNorm has another epsilon",
        "x / sqrt(mean(x^2) + another eps) w",
        "x / sqrt(mean(x^2) + norm_eps) w",
        "huggingface/candle #271; ggml-org/llama.cpp #2379",
        "minimistral/rms_norm.py rms_norm",
        other_eps,
    ),
    Mistake(
        "norm-eps-outside",
        "you add epsilon to the root, not under it",
        "x / (sqrt(mean(x^2)) + eps) w",
        "x / sqrt(mean(x^2) + eps) w",
        "allenai/OLMo #281",
        "minimistral/rms_norm.py rms_norm",
        everywhere(eps_outside),
    ),
    Mistake(
        "norm-mean-centred",
        "you take the mean away first: that is LayerNorm",
        "(x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) w",
        "x / sqrt(mean(x^2) + eps) w",
        "ggml-org/llama.cpp #173",
        "minimistral/rms_norm.py rms_norm",
        everywhere(centred),
    ),
    Mistake(
        "norm-weight-plus-one",
        "you multiply by 1 + w, as another model does",
        "x / sqrt(mean(x^2) + eps) (1 + w)",
        "x / sqrt(mean(x^2) + eps) w",
        "utensils/mold #1078; vllm-project/vllm #31464; Blaizzy/mlx-vlm #2041",
        "minimistral/rms_norm.py rms_norm",
        everywhere(weight_plus_one),
    ),
    Mistake(
        "norm-weight-missing",
        "you do not multiply by the norm's weight: it was not loaded, or is left at 1",
        "x / sqrt(mean(x^2) + eps)",
        "x / sqrt(mean(x^2) + eps) w",
        "",
        "minimistral/rms_norm.py rms_norm",
        everywhere(weight_left_out),
    ),
    Mistake(
        "norm-over-positions",
        "you take the mean over all tokens, not over each token's own channels",
        "x / sqrt(mean over tokens and channels of x^2 + eps) w",
        "x / sqrt(mean(x^2) + eps) w",
        "bkitano/llama-from-scratch #4; kyegomez/zeta #180",
        "minimistral/rms_norm.py rms_norm",
        everywhere(over_all_positions),
    ),
    Mistake(
        "norm-not-inverted",
        "you divide by the reciprocal root: you multiply by the root",
        "x sqrt(mean(x^2) + eps) w",
        "x / sqrt(mean(x^2) + eps) w",
        "mosaicml/llm-foundry #371",
        "minimistral/rms_norm.py rms_norm",
        everywhere(times_the_root),
    ),
    Mistake(
        "norm-low-precision",
        "you form the mean square in 16 bits where the rest is wider",
        "x / sqrt(mean(x^2) + eps) w, mean(x^2) rounded to 16 bits",
        "x / sqrt(mean(x^2) + eps) w, mean(x^2) in float32 or wider",
        "keras-team/keras-hub #1532",
        "minimistral/rms_norm.py rms_norm",
        {
            name: lines
            for dtype in ("bfloat16", "float16")
            for what, wrong in (("mean square", mean_square_in), ("mean", mean_in), ("all of it", everything_in))
            for name, lines in everywhere(wrong(dtype), f"{dtype} {what}").items()
        },
    ),
    Mistake(
        "norm-weights-swapped",
        "you exchange the two norm weights of a layer",
        "ffn_norm before attention, attention_norm before the feed-forward",
        "attention_norm before attention, ffn_norm before the feed-forward",
        "b4rtaz/distributed-llama #52",
        "minimistral/checkpoint/layouts.py hf_name",
        {
            "": {
                "attention_norm_weight": lambda layer: layer.ffn_norm,
                "ffn_norm_weight": lambda layer: layer.attention_norm,
            }
        },
    ),
    Mistake(
        "norm-missing-final",
        "you leave out the final norm",
        "output h",
        "output rms_norm(h)",
        "",
        "minimistral/transformer.py transformer",
        {"": {"final_norm": not_normed}},
    ),
]
