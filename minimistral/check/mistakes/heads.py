"""Mistakes about heads, the scale of scores, and softmax. Right: lines.key_heads, value_heads, scale, probabilities, heads_joined."""

import numpy as np

from minimistral.check.lines import probabilities
from minimistral.check.mistakes.mistake import Case, Mistake
from minimistral.check.number import rounded


def tiled(x, n_heads):
    """h mod n_kv_heads."""
    return np.tile(x, (1, n_heads // x.shape[1], 1))


def repeated_channels(x, n_heads):
    """Each channel repeated, then cut into heads."""
    return np.repeat(x, n_heads // x.shape[1], axis=2).reshape(len(x), n_heads, -1)


def read_across(x, n_heads):
    """Repeated as (heads, positions, channels), but read as (positions, heads, channels)."""
    return np.repeat(x.swapaxes(0, 1), n_heads // x.shape[1], axis=0).reshape(len(x), n_heads, -1)


def keys_values_both(wrong):
    return {
        "": {"key_heads": wrong, "value_heads": wrong},
        "keys only": {"key_heads": wrong},
        "values only": {"value_heads": wrong},
    }


def regrouped(w, heads, d):
    """Rows of each of `heads` heads moved from (2i, 2i + 1) to (i, i + d / 2)."""
    return w.reshape(heads, d // 2, 2, -1).swapaxes(1, 2).reshape(w.shape)


def ungrouped(w, heads, d):
    """And back."""
    return w.reshape(heads, 2, d // 2, -1).swapaxes(1, 2).reshape(w.shape)


def key_rows_moved(layer, config):
    """To Hugging Face's order as if there were n_heads heads of keys; read as n_kv_heads."""
    rows = len(layer.wk)
    return ungrouped(regrouped(layer.wk, config.n_heads, rows // config.n_heads), config.n_kv_heads, config.head_dim)


def key_rows_moved_back(layer, config):
    """From Hugging Face's order as if there were n_heads heads of keys."""
    rows = len(layer.wk)
    return ungrouped(regrouped(layer.wk, config.n_kv_heads, config.head_dim), config.n_heads, rows // config.n_heads)


def moved_keys(case: Case):
    rows = case.config.n_kv_heads * case.config.head_dim
    if rows % (2 * case.config.n_heads):
        return {}
    return {
        "to Hugging Face's order": {"key_rows": key_rows_moved},
        "from Hugging Face's order": {"key_rows": key_rows_moved_back},
    }


def probabilities_in(dtype, scores_too, weights_too):
    def wrong(scores, n):
        p = probabilities(rounded(scores, dtype) if scores_too else scores, n)
        return rounded(p, dtype) if weights_too else p

    return wrong


def narrow_softmax(case: Case):
    return {
        f"{dtype} {what}": {"probabilities": probabilities_in(dtype, scores, weights)}
        for dtype in ("bfloat16", "float16")
        for what, scores, weights in (
            ("scores and probabilities", True, True),
            ("scores", True, False),
            ("probabilities", False, True),
        )
    }


def channels_outside(a):
    return a.swapaxes(1, 2).reshape(len(a), -1)


def heads_outside(a):
    """(n_heads, T, d) cut into T rows without being turned back."""
    return a.swapaxes(0, 1).reshape(len(a), -1)


MISTAKES = [
    Mistake(
        "gqa-tile",
        "your query head h reads key/value head h mod n_kv_heads",
        "h mod n_kv_heads",
        "h // (n_heads / n_kv_heads)",
        "onnx/onnx #7274; ekzhang/jax-js #180",
        "minimistral/attention.py heads_of",
        keys_values_both(tiled),
    ),
    Mistake(
        "gqa-axis",
        "you repeat keys and values along the wrong axis: heads are mixed with channels or positions",
        "repeat along channels or positions, then reshape to heads",
        "head h // (n_heads / n_kv_heads), whole",
        "vllm-project/vllm-ascend #2758; ByteDance-Seed/VeOmni #162",
        "minimistral/attention.py heads_of",
        lambda case: {
            f"{axis}{', ' + which if which else ''}": lines
            for axis, wrong in (("channels", repeated_channels), ("heads before positions", read_across))
            for which, lines in keys_values_both(wrong).items()
        },
    ),
    Mistake(
        "permute-key-heads",
        "you move the rows of wk as if there were n_heads key heads: keys are scrambled, queries are right",
        "wk.reshape(n_heads, ...)",
        "wk.reshape(n_kv_heads, ...)",
        "huggingface/transformers #31788",
        "minimistral/checkpoint/layouts.py to_mistral_rows",
        moved_keys,
    ),
    Mistake(
        "scale-missing",
        "you do not scale the scores",
        "q . k",
        "q . k / sqrt(head_dim)",
        "",
        "minimistral/attention.py attention_scores",
        {"": {"scale": lambda config: 1.0}},
    ),
    Mistake(
        "scale-dim",
        "you scale the scores by the model's width, not by the head's",
        "q . k / sqrt(dim)",
        "q . k / sqrt(head_dim)",
        "",
        "minimistral/attention.py attention_scores",
        {
            "": {"scale": lambda config: config.dim**-0.5},
            "dim / n_heads": {"scale": lambda config: (config.dim / config.n_heads) ** -0.5},
        },
    ),
    Mistake(
        "scale-squared",
        "you divide the scores by head_dim, without the root",
        "q . k / head_dim",
        "q . k / sqrt(head_dim)",
        "",
        "minimistral/attention.py attention_scores",
        {"": {"scale": lambda config: 1 / config.head_dim}},
    ),
    Mistake(
        "softmax-low-precision",
        "you form softmax in 16 bits where the rest is wider",
        "scores or probabilities rounded to 16 bits",
        "scores and probabilities in float32 or wider",
        "",
        "minimistral/attention.py attention_values",
        narrow_softmax,
    ),
    Mistake(
        "head-order",
        "you join the heads in another order than wo expects",
        "(head_dim, n_heads) flattened, or (n_heads, T, head_dim) cut into rows",
        "(n_heads, head_dim) flattened, a row a token",
        "",
        "minimistral/transformer.py transformer",
        {"channels outside": {"heads_joined": channels_outside}, "heads outside": {"heads_joined": heads_outside}},
    ),
]
