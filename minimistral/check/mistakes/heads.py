"""Mistakes about heads, their matrices, the scale of scores, and softmax.

Right: lines.query_rows, key_rows, value_rows, output_rows, key_heads, value_heads, scale, probabilities, heads_joined.
"""

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


def repeated_channels_of_halves(x, n_heads):
    """The same, where the channels of keys lie in Hugging Face's order."""
    moved = repeated_channels(np.concatenate([x[..., 0::2], x[..., 1::2]], axis=-1), n_heads)
    return np.stack(np.split(moved, 2, axis=-1), axis=-1).reshape(moved.shape)


def read_across(x, n_heads):
    """Repeated as (heads, positions, channels), but read as (positions, heads, channels)."""
    return np.repeat(x.swapaxes(0, 1), n_heads // x.shape[1], axis=0).reshape(len(x), n_heads, -1)


def by_divisor(x, n_heads):
    """h // n_kv_heads, where h // (n_heads / n_kv_heads) is meant."""
    return x[:, np.arange(n_heads) // x.shape[1]]


def divisors(case: Case):
    """Where it neither is right nor asks for a head that is not there."""
    heads, kv_heads = case.config.n_heads, case.config.n_kv_heads
    return keys_values_both(by_divisor) if heads != kv_heads**2 and heads <= kv_heads**2 else {}


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


def in_hf_rows(wrong):
    """The same mistake with matrices whose query and key rows are in Hugging Face's order."""

    def query_key_value(layer, config):
        d, heads, kv_heads = config.head_dim, config.n_heads, config.n_kv_heads
        q, k, v = wrong(regrouped(layer.wq, heads, d), regrouped(layer.wk, kv_heads, d), layer.wv, config)
        return ungrouped(q, heads, d), ungrouped(k, kv_heads, d), v

    return query_key_value


def in_mistral_rows(wrong):
    return lambda layer, config: wrong(layer.wq, layer.wk, layer.wv, config)


def in_both_rows(name, wrong, changed="qkv"):
    """wrong: (wq, wk, wv, config) -> the three as they are read; `changed` says which are others than they should be.

    For either order of query and key rows.
    """

    def lines(read):
        return {
            line: lambda layer, config, n=n: read(layer, config)[n]
            for n, line in enumerate(("query_rows", "key_rows", "value_rows"))
            if line[0] in changed
        }

    return {name: lines(in_mistral_rows(wrong)), f"{name}, Hugging Face's rows": lines(in_hf_rows(wrong))}


def fused_read_by_group(q, k, v, config):
    """Stored q, k, v one under the other; read as each group's queries, its key, its value."""
    rows = np.concatenate([q, k, v]).reshape(config.n_kv_heads, -1, config.head_dim, q.shape[1])
    return tuple(part.reshape(-1, q.shape[1]) for part in (rows[:, :-2], rows[:, -2], rows[:, -1]))


def groups_read_as_fused(q, k, v, config):
    """And the other way round."""
    parts = (w.reshape(config.n_kv_heads, -1, config.head_dim, q.shape[1]) for w in (q, k, v))
    rows = np.concatenate([*parts], axis=1).reshape(-1, q.shape[1])
    return tuple(np.split(rows, [len(q), len(q) + len(k)]))


def fused(case: Case):
    """With one group the two orders are the same."""
    if case.config.n_kv_heads == 1:
        return {}
    return in_both_rows("read by group", fused_read_by_group) | in_both_rows("stored by group", groups_read_as_fused)


def transposed(case: Case):
    """Of square matrices only: of others the shape would tell."""
    config = case.config
    square = [
        letter
        for letter, heads in (("q", config.n_heads), ("k", config.n_kv_heads), ("v", config.n_kv_heads))
        if heads * config.head_dim == config.dim
    ]

    def turned(letters):
        return lambda q, k, v, config: tuple(
            w.T if letter in letters else w for letter, w in zip("qkv", (q, k, v), strict=True)
        )

    written = {}
    for letters in dict.fromkeys([*square, "".join(square)]):
        written |= (
            in_both_rows(" ".join(f"w{letter}" for letter in letters), turned(letters), letters) if letters else {}
        )
    if "q" in square:
        wo = {"output_rows": lambda layer, config: layer.wo.T}
        written |= {"wo": wo} | {f"{name} and wo": lines | wo for name, lines in written.items()}
    return written


def over_queries(scores, often, n):
    s = np.where(often > 0, scores, -np.inf)
    with np.errstate(invalid="ignore"):
        p = np.exp(s - s.max(axis=-2, keepdims=True))
        return n.step(np.nan_to_num(p / p.sum(axis=-2, keepdims=True)))


def over_everything(scores, often, n):
    s = np.where(often > 0, scores, -np.inf)
    p = np.exp(s - s.max(axis=(-2, -1), keepdims=True))
    return n.step(p / p.sum(axis=(-2, -1), keepdims=True))


def unseen_scores(value):
    """Scores that are not seen get a number that softmax does not drop."""
    return lambda scores, often, n: probabilities(np.where(often > 0, scores, value), np.ones_like(often), n)


def mask_added(scores, often, n):
    """The mask of ones and zeros itself."""
    return probabilities(scores + (often > 0), np.ones_like(often), n)


def masked_late(scores, often, n):
    return probabilities(scores, np.ones_like(often), n) * (often > 0)


def probabilities_in(dtype, scores_too, weights_too):
    def wrong(scores, often, n):
        p = probabilities(rounded(scores, dtype) if scores_too else scores, often, n)
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
        "gqa-divisor",
        "you divide by the number of key/value heads where you should divide by the number of query heads for each",
        "h // n_kv_heads",
        "h // (n_heads / n_kv_heads)",
        "PSAL-POSTECH/ONNXim #34",
        "minimistral/attention.py heads_of",
        divisors,
    ),
    Mistake(
        "gqa-axis",
        "you repeat keys and values along the wrong axis: heads are mixed with channels or positions",
        "repeat along channels or positions, then reshape to heads",
        "head h // (n_heads / n_kv_heads), whole",
        "vllm-project/vllm-ascend #2758; ByteDance-Seed/VeOmni #162",
        "minimistral/attention.py heads_of",
        lambda case: (
            {
                f"{axis}{', ' + which if which else ''}": lines
                for axis, wrong in (("channels", repeated_channels), ("heads before positions", read_across))
                for which, lines in keys_values_both(wrong).items()
            }
            | {
                "channels, Hugging Face's rows": {
                    "key_heads": repeated_channels_of_halves,
                    "value_heads": repeated_channels,
                },
                "channels, Hugging Face's rows, keys only": {"key_heads": repeated_channels_of_halves},
            }
        ),
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
        "key-value-swapped",
        "you take keys or values from the other one's matrix",
        "k = wv x or v = wk x",
        "k = wk x, v = wv x",
        "jsbaan/transformer-from-scratch #1; yflyzhang/AnnotatedTransformer #1",
        "minimistral/transformer.py projections",
        in_both_rows("exchanged", lambda q, k, v, config: (q, v, k), "kv")
        | in_both_rows("values from wk", lambda q, k, v, config: (q, k, k), "v")
        | in_both_rows("keys from wv", lambda q, k, v, config: (q, v, v), "k"),
    ),
    Mistake(
        "qkv-fused-order",
        "you cut a fused matrix of queries, keys and values in another order than it was put together",
        "rows of all heads read as rows of each group, or the reverse",
        "wq, wk, wv whole",
        "tenstorrent/tt-metal #6243; awslabs/slapo #46",
        "minimistral/transformer.py projections",
        fused,
    ),
    Mistake(
        "weights-transposed",
        "you multiply with a square matrix the wrong way round: its shape cannot tell",
        "x w",
        "x w^T, w (out, in)",
        "vllm-project/vllm #44113",
        "minimistral/weights.py tensor_shapes",
        transposed,
    ),
    Mistake(
        "scale-missing",
        "you do not scale the scores",
        "q . k",
        "q . k / sqrt(head_dim)",
        "mlc-ai/mlc-llm #3426; tenstorrent/tt-metal #33304",
        "minimistral/attention.py attention_scores",
        {"": {"scale": lambda config: 1.0}},
    ),
    Mistake(
        "scale-dim",
        "you scale the scores by the model's width, not by the head's",
        "q . k / sqrt(dim) or q . k / sqrt(dim / n_heads)",
        "q . k / sqrt(head_dim)",
        "FareedKhan-dev/train-llm-from-scratch #3; Graylab/DL4Proteins-notebooks #12; "
        "FrancescoSaverioZuppichini/ViT #1",
        "minimistral/attention.py attention_scores",
        {
            "": {"scale": lambda config: config.dim**-0.5},
            "dim / n_heads": {"scale": lambda config: (config.dim / config.n_heads) ** -0.5},
        },
    ),
    Mistake(
        "scale-squared",
        "you divide the scores by head_dim: without the root, or by the root twice",
        "q . k / head_dim",
        "q . k / sqrt(head_dim)",
        "huggingface/transformers #38290",
        "minimistral/attention.py attention_scores",
        {"": {"scale": lambda config: 1 / config.head_dim}},
    ),
    Mistake(
        "softmax-low-precision",
        "you form softmax in 16 bits where the rest is wider",
        "exp(s - max s) / sum, s or the result rounded to 16 bits",
        "exp(s - max s) / sum in float32 or wider",
        "apple/axlearn #18",
        "minimistral/attention.py attention_values",
        narrow_softmax,
    ),
    Mistake(
        "softmax-axis",
        "you take softmax over another axis than the keys",
        "exp(s) / sum of exp(s) over the queries, or over everything",
        "exp(s) / sum of exp(s) over the keys of one query",
        "nerminnuraydogan/vision-transformer #1; labmlai/annotated_deep_learning_paper_implementations #146; "
        "nerdai/llms-from-scratch-rs #30; nntrainer/nntrainer #430",
        "minimistral/attention.py attention_values",
        {"queries": {"probabilities": over_queries}, "everything": {"probabilities": over_everything}},
    ),
    Mistake(
        "mask-not-infinite",
        "you give the scores of unseen keys a number that softmax does not drop",
        "softmax of scores that are 0 (or add 1 to the seen ones) where a key is not seen",
        "softmax of scores that are -inf where a key is not seen",
        "hyunwoongko/transformer #10; georg-wolflein/good-features #1",
        "minimistral/attention.py attention_scores",
        {
            "0": {"probabilities": unseen_scores(0.0)},
            "-1": {"probabilities": unseen_scores(-1.0)},
            "-10": {"probabilities": unseen_scores(-10.0)},
            "mask added": {"probabilities": mask_added},
        },
    ),
    Mistake(
        "mask-after-softmax",
        "you mask the probabilities, not the scores: what is left does not add up to 1",
        "softmax(all scores), then 0 where a key is not seen",
        "softmax(scores, -inf where a key is not seen)",
        "huggingface/pytorch-image-models #2236",
        "minimistral/attention.py attention_values",
        {"": {"probabilities": masked_late}},
    ),
    Mistake(
        "head-order",
        "you join the heads in another order than wo expects",
        "(head_dim, n_heads) flattened, or (n_heads, T, head_dim) cut into rows",
        "(n_heads, head_dim) flattened, a row a token",
        "jsbaan/transformer-from-scratch #6; ajhalthor/Transformer-Neural-Network #4; "
        "jadore801120/attention-is-all-you-need-pytorch #7",
        "minimistral/transformer.py transformer",
        {"channels outside": {"heads_joined": channels_outside}, "heads outside": {"heads_joined": heads_outside}},
    ),
]
