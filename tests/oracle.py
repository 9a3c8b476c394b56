"""A Mistral in float64 PyTorch, written apart from the package to check it: one sequence, everything at once.

In Hugging Face's layout: RoPE turns (i, i + head_dim / 2) of each head, where Mistral's files turn (2i, 2i + 1); key
and value heads are repeated; one T x T mask says who sees whom. No cache, no chunks, no clever sums.
"""

import numpy as np
import torch

F64 = torch.float64


def as_float64(w: np.ndarray) -> torch.Tensor:
    """Any stored type, bfloat16 too, in float64: exact."""
    return torch.from_numpy(w.astype(np.float64))


def norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) * weight: (T, dim) -> (T, dim)."""
    return weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def turned(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    """Rotate-half: x (heads, T, head_dim), angle (T, head_dim / 2) -> as x."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)


def mask(T: int, window: int | None) -> torch.Tensor:
    """mask[i, j]: i sees j: j in i-W+1 .. i, or in 0 .. i without a window; (T, T) bool."""
    seen = torch.ones(T, T, dtype=torch.bool).tril()
    return seen if window is None else seen & ~torch.ones(T, T, dtype=torch.bool).tril(-window)


def attention(x: torch.Tensor, layer: dict, sizes: dict, window: int | None) -> torch.Tensor:
    """(T, dim) -> (T, dim); layer: the projections by Hugging Face's names."""
    T, d, n_heads, n_kv = len(x), sizes["head_dim"], sizes["n_heads"], sizes["n_kv_heads"]
    inverse = sizes["theta"] ** (-torch.arange(0, d, 2, dtype=F64) / d)
    angle = torch.outer(torch.arange(T, dtype=F64), inverse)
    q = turned((x @ layer["self_attn.q_proj"].T).view(T, n_heads, d).transpose(0, 1), angle)
    k = turned((x @ layer["self_attn.k_proj"].T).view(T, n_kv, d).transpose(0, 1), angle)
    v = (x @ layer["self_attn.v_proj"].T).view(T, n_kv, d).transpose(0, 1)
    k, v = (m.repeat_interleave(n_heads // n_kv, dim=0) for m in (k, v))  # (n_heads, T, head_dim)
    scores = (q @ k.transpose(1, 2) / d**0.5).masked_fill(~mask(T, window), -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).reshape(T, n_heads * d) @ layer["self_attn.o_proj"].T


def oracle_logits(tokens: np.ndarray, weights: dict[str, np.ndarray], sizes: dict) -> np.ndarray:
    """Logits (T, vocab_size) in float64. weights: by Hugging Face's names and in its row order.

    sizes: n_heads, n_kv_heads, head_dim, theta, eps, windows (one a layer, so also the number of layers).
    """
    w = {name.removeprefix("model.").removesuffix(".weight"): as_float64(a) for name, a in weights.items()}
    x = w["embed_tokens"][torch.from_numpy(np.asarray(tokens))]
    for i, window in enumerate(sizes["windows"]):
        layer = {n.removeprefix(f"layers.{i}."): a for n, a in w.items() if n.startswith(f"layers.{i}.")}
        x = x + attention(norm(x, layer["input_layernorm"], sizes["eps"]), layer, sizes, window)
        h = norm(x, layer["post_attention_layernorm"], sizes["eps"])
        h = torch.nn.functional.silu(h @ layer["mlp.gate_proj"].T) * (h @ layer["mlp.up_proj"].T)
        x = x + h @ layer["mlp.down_proj"].T
    return (norm(x, w["norm"], sizes["eps"]) @ w.get("lm_head", w["embed_tokens"]).T).numpy()


HF_NAMES = {
    "attention.wq": "self_attn.q_proj",
    "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj",
    "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def halves(w: np.ndarray, head_dim: int) -> np.ndarray:
    """Query or key rows of Mistral's pairs (2i, 2i + 1) -> Hugging Face's (i, i + head_dim / 2), in every head."""
    moved = np.empty_like(w)
    for head in range(0, len(w), head_dim):
        for i in range(head_dim // 2):
            moved[head + i] = w[head + 2 * i]
            moved[head + head_dim // 2 + i] = w[head + 2 * i + 1]
    return moved


def hf_tensors(tensors: dict[str, np.ndarray], head_dim: int) -> dict[str, np.ndarray]:
    """Tensors by Mistral's names -> by Hugging Face's, query and key rows moved."""
    named = {}
    for name, w in tensors.items():
        parts = name.split(".")
        if parts[0] == "layers":
            middle = ".".join(parts[2:-1])
            w = halves(w, head_dim) if middle in ("attention.wq", "attention.wk") else w
            named[f"model.layers.{parts[1]}.{HF_NAMES[middle]}.weight"] = w
        else:
            top = {"tok_embeddings": "model.embed_tokens", "norm": "model.norm", "output": "lm_head"}[parts[0]]
            named[f"{top}.weight"] = w
    return named
