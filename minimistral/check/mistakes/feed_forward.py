"""Mistakes about the feed-forward, the residual stream, the order of layers and the two ends.

Right: lines.gate_rows, up_rows, gated, attention_sum, ffn_residual, ffn_sum, layer_of, embed, output_matrix.
"""

import numpy as np

from minimistral.check.lines import embed, gated, sigmoid
from minimistral.check.mistakes.mistake import Case, Mistake


def gelu_exact(gate, up, n):
    return n.store(n.step(gate * 0.5 * (1 + erf(gate / np.sqrt(2)))) * up)


def gelu_tanh(gate, up, n):
    return n.store(n.step(0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))) * up)


def gelu_quick(gate, up, n):
    return n.store(n.step(gate * sigmoid(1.702 * gate)) * up)


def relu(gate, up, n):
    return n.store(np.maximum(gate, 0) * up)


def no_activation(gate, up, n):
    return n.store(gate * up)


def after_product(gate, up, n):
    return n.store(n.step(gate * up) * sigmoid(gate * up))


def gate_and_up_swapped(gate, up, n):
    return gated(up, gate, n)


def packed_read_in_turns(layer):
    """Stored w1 over w3; read as row 0 of the gate, row 0 of up, row 1 of the gate, ..."""
    rows = np.concatenate([layer.w1, layer.w3])
    return rows[0::2], rows[1::2]


def turns_read_as_packed(layer):
    """And the other way round."""
    rows = np.stack([layer.w1, layer.w3], axis=1).reshape(-1, layer.w1.shape[1])
    return np.split(rows, 2)


def gate_and_up(read):
    return {
        "gate_rows": lambda layer, config: read(layer)[0],
        "up_rows": lambda layer, config: read(layer)[1],
    }


def erf(x):
    """Abramowitz and Stegun 7.1.26 has 7 digits only; so by its series and continued fraction, from Python's math."""
    from math import erf as one

    return np.vectorize(one, otypes=[float])(x)


def normed_kept(h, x, a, n):
    return n.store(x + a)


def residual_lost(h, x, a, n):
    return n.store(a)


def doubled_instead(h, x, a, n):
    """x = f(x); x = x + x"""
    return n.store(a + a)


def in_one_or_both(wrong, name=""):
    return {
        name + (", " if name and where else "") + where: {line: wrong for line in lines}
        for where, lines in (
            ("", ("attention_sum", "ffn_sum")),
            ("after attention", ("attention_sum",)),
            ("after the feed-forward", ("ffn_sum",)),
        )
    }


def other_layers(case: Case):
    """layer -> the layer whose weights it gets."""
    n = case.config.n_layers
    by_name = sorted(range(n), key=str)
    known = {
        "in the order of their names": lambda i, n: by_name[i],
        "the first half twice": lambda i, n: i % max(n // 2, 1),
        "one further": lambda i, n: (i + 1) % n,
        "the last one's everywhere": lambda i, n: n - 1,
        "the first one's everywhere": lambda i, n: 0,
    }
    orders = {name: [of(i, n) for i in range(n)] for name, of in known.items()}
    kept = {tuple(order): name for name, order in reversed(orders.items()) if order != list(range(n))}
    return {name: {"layer_of": known[name]} for name in orders if name in kept.values()}


def embedding_scaled(embedding, tokens, n):
    return n.store(embed(embedding, tokens, n) * n.store(np.sqrt(float(embedding.shape[1]))))


MISTAKES = [
    Mistake(
        "gelu",
        "your gate is GELU",
        "gelu(w1 x) w3 x",
        "silu(w1 x) w3 x",
        "StarlightSearch/EmbedAnything #211",
        "minimistral/swiglu.py swiglu",
        {"": {"gated": gelu_exact}, "tanh": {"gated": gelu_tanh}, "x sigmoid(1.702 x)": {"gated": gelu_quick}},
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
        "activation-after-product",
        "you take SiLU of the product of gate and up, not of the gate alone",
        "silu(w1 x w3 x)",
        "silu(w1 x) w3 x",
        "Nijikadesu/breakdown-minimind #3",
        "minimistral/swiglu.py swiglu",
        {"": {"gated": after_product}},
    ),
    Mistake(
        "gate-up-swapped",
        "you exchange gate and up: the wrong branch passes SiLU",
        "silu(w3 x) w1 x",
        "silu(w1 x) w3 x",
        "",
        "minimistral/swiglu.py swiglu",
        {"": {"gated": gate_and_up_swapped}, "the matrices": gate_and_up(lambda layer: (layer.w3, layer.w1))},
    ),
    Mistake(
        "gate-up-interleaved",
        "you cut a packed gate-and-up matrix in two where its rows take turns, or the reverse",
        "gate rows 0, 2, 4, ... of [w1; w3], or [w1; w3] cut from rows that take turns",
        "w1 for the gate, w3 for up",
        "vllm-project/vllm #29273; ROCm/ATOM #885",
        "minimistral/transformer.py feed_forward",
        {
            "stored one after the other": gate_and_up(packed_read_in_turns),
            "stored in turns": gate_and_up(turns_read_as_packed),
        },
    ),
    Mistake(
        "residual-from-norm",
        "you add to the normed input, not to the residual stream",
        "rms_norm(h) + f(rms_norm(h))",
        "h + f(rms_norm(h))",
        "GeeeekExplorer/nano-vllm #170; Howuhh/faster-trajectory-transformer #3; datawhalechina/happy-llm #21",
        "minimistral/transformer.py transformer",
        in_one_or_both(normed_kept),
    ),
    Mistake(
        "residual-missing",
        "you lose the residual stream: only what attention or the feed-forward says goes on",
        "f(rms_norm(h)), or twice that",
        "h + f(rms_norm(h))",
        "kyegomez/BitNet #32",
        "minimistral/transformer.py transformer",
        in_one_or_both(residual_lost) | in_one_or_both(doubled_instead, "doubled"),
    ),
    Mistake(
        "residual-before-attention",
        "you add the feed-forward to what the layer was given, so what attention added is lost",
        "h + f(rms_norm(h + a))",
        "h + a + f(rms_norm(h + a))",
        "strutive07/transformer-tensorflow2.0 #14",
        "minimistral/transformer.py transformer",
        {"": {"ffn_residual": lambda before, h: before}},
    ),
    Mistake(
        "layers-order",
        "you run layers with the weights of other layers",
        "layer i with the weights of layer j",
        "layer i with the weights of layer i",
        "huggingface/transformers #24381; b4rtaz/distributed-llama #52",
        "minimistral/transformer.py transformer",
        other_layers,
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
        "deepspeedai/DeepSpeed #4088",
        "minimistral/transformer.py output",
        {"": {"output_matrix": lambda embedding, output: embedding}},
    ),
]
