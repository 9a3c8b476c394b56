"""The two ways a Mistral is stored: what each calls its tensors, and the order of query and key rows.

RoPE turns pairs of channels. In Mistral's files pair i of a head is rows (2i, 2i + 1); in Hugging Face's it is
(i, i + head_dim / 2), so each head's query and key rows are stored in another order. Everything else is the same.
"""

import numpy as np

from minimistral.config import Config

# Mistral's name and Hugging Face's, for one layer and for the rest.
LAYER_NAMES = {
    "attention_norm.weight": "input_layernorm.weight",
    "attention.wq.weight": "self_attn.q_proj.weight",
    "attention.wk.weight": "self_attn.k_proj.weight",
    "attention.wv.weight": "self_attn.v_proj.weight",
    "attention.wo.weight": "self_attn.o_proj.weight",
    "ffn_norm.weight": "post_attention_layernorm.weight",
    "feed_forward.w1.weight": "mlp.gate_proj.weight",
    "feed_forward.w2.weight": "mlp.down_proj.weight",
    "feed_forward.w3.weight": "mlp.up_proj.weight",
}
TOP_NAMES = {
    "tok_embeddings.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


def hf_name(name: str) -> str:
    """Hugging Face's name of a tensor.

    >>> hf_name("layers.3.attention.wk.weight")
    'model.layers.3.self_attn.k_proj.weight'
    """
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    _, layer, rest = name.split(".", 2)
    return f"model.layers.{layer}.{LAYER_NAMES[rest]}"


def stored_name(name: str, layout: str) -> str:
    """What a tensor with this Mistral name is called in a folder of `layout`, "mistral" or "hf"."""
    return hf_name(name) if layout == "hf" else name


def rope_heads(name: str, config: Config) -> int | None:
    """How many heads' rows of this tensor the two layouts order differently; None: they agree.

    Keys have n_kv_heads heads: counting n_heads there scrambles them while the queries stay right.
    """
    if name.endswith("attention.wq.weight"):
        return config.n_heads
    return config.n_kv_heads if name.endswith("attention.wk.weight") else None


def to_hf_rows(w: np.ndarray, heads: int) -> np.ndarray:
    """Mistral's row order to Hugging Face's, a head at a time: rows 0 2 4 ... then 1 3 5 ...

    >>> to_hf_rows(np.arange(8)[:, None], heads=2).ravel()
    array([0, 2, 1, 3, 4, 6, 5, 7])
    """
    return w.reshape(heads, -1, 2, w.shape[-1]).transpose(0, 2, 1, 3).reshape(w.shape)


def to_mistral_rows(w: np.ndarray, heads: int) -> np.ndarray:
    """Hugging Face's row order to Mistral's: the two halves of each head interleaved.

    >>> to_mistral_rows(np.array([0, 2, 1, 3, 4, 6, 5, 7])[:, None], heads=2).ravel()
    array([0, 1, 2, 3, 4, 5, 6, 7])
    """
    return w.reshape(heads, 2, -1, w.shape[-1]).transpose(0, 2, 1, 3).reshape(w.shape)
