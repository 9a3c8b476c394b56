"""The peer of `bench --train`: the same model, loss and optimiser in PyTorch, eager, written for speed.

Weights have Mistral's names, so both sides start from the same arrays. Attention is one call of
scaled_dot_product_attention for blocks of BLOCK queries and the window + BLOCK - 1 keys that a block can see (batched
products with a softmax between took 7 % longer for a whole step). Masks and RoPE's tables are made once a batch; the
optimiser is the fused one.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.training.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 64  # queries


class Blocks(NamedTuple):
    """How T positions become blocks, and what each query of a block sees."""

    count: int
    before: int  # keys before a block's first query: the window - 1, or all
    bias: "Tensor"  # (count, 1, BLOCK, before + BLOCK): 0, or -inf


def need_torch() -> None:
    """BadInput if PyTorch is not installed."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise BadInput("--against torch: torch is not installed; pip install 'minimistral[oracle]'") from None


def torch_loss(weights: "dict[str, Tensor]", config: Config, batch: Batch) -> "Tensor":
    """The mean weighted nats of a batch, as minimistral.training.model has the sum; ready for backward()."""
    import torch
    from torch.nn import functional as F

    c, T = config, len(batch.tokens)
    cos, sin = turns(batch, config)
    blocks = {w: blocks_of(batch.starts, w) for w in {c.layer_window(i) for i in range(c.n_layers)}}
    h = F.embedding(torch.from_numpy(batch.tokens), weights["tok_embeddings.weight"])
    for i in range(c.n_layers):
        w = {name.split(".")[-2]: t for name, t in weights.items() if name.startswith(f"layers.{i}.")}
        x = F.rms_norm(h, (c.dim,), w["attention_norm"], c.norm_eps)
        q, k, v = (F.linear(x, w[name]).view(T, -1, c.head_dim) for name in ("wq", "wk", "wv"))
        a = block_attention(turned(q, cos, sin), turned(k, cos, sin), v, blocks[c.layer_window(i)])
        h = h + F.linear(a, w["wo"])
        x = F.rms_norm(h, (c.dim,), w["ffn_norm"], c.norm_eps)
        h = h + F.linear(F.silu(F.linear(x, w["w1"])) * F.linear(x, w["w3"]), w["w2"])
    x = F.rms_norm(h, (c.dim,), weights["norm.weight"], c.norm_eps)
    logits = F.linear(x, weights["tok_embeddings.weight" if c.tied_embeddings else "output.weight"])
    nats = F.cross_entropy(logits, torch.from_numpy(batch.targets), reduction="none")
    counts = torch.from_numpy(batch.weights)
    return (nats * counts).sum() / counts.sum()


def turns(batch: Batch, config: Config) -> "tuple[Tensor, Tensor]":
    """cos and sin of RoPE, each (T, 1, head_dim / 2), in the weights' float32."""
    import torch

    frequencies = config.rope_theta ** (-torch.arange(0, config.head_dim, 2, dtype=torch.float64) / config.head_dim)
    angles = torch.from_numpy(batch.positions)[:, None, None] * frequencies
    return angles.cos().float(), angles.sin().float()


def turned(x: "Tensor", cos: "Tensor", sin: "Tensor") -> "Tensor":
    """Pairs (2i, 2i + 1) of x (T, heads, head_dim) turned."""
    import torch

    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def blocks_of(starts: np.ndarray, window: int | None) -> Blocks:
    """The blocks of T positions whose documents begin at starts (T,)."""
    import torch

    T = len(starts)
    count, before = -(-T // BLOCK), min(window or T, T) - 1
    t = torch.arange(count * BLOCK).view(count, BLOCK, 1)
    keys = torch.arange(count)[:, None, None] * BLOCK - before + torch.arange(before + BLOCK)
    first = torch.from_numpy(np.pad(starts, (0, count * BLOCK - T))).view(count, BLOCK, 1)
    if window is not None:
        first = torch.maximum(first, t - window + 1)
    unseen = (keys < first) | (keys > t)
    return Blocks(count, before, torch.zeros(unseen.shape).masked_fill(unseen, float("-inf"))[:, None])


def block_attention(q: "Tensor", k: "Tensor", v: "Tensor", blocks: Blocks) -> "Tensor":
    """q (T, n_heads, head_dim), k and v (T, n_kv_heads, head_dim) -> (T, n_heads * head_dim)."""
    from torch.nn import functional as F

    T, after = len(q), blocks.count * BLOCK - len(q)
    queries = F.pad(q, (0, 0, 0, 0, 0, after)).view(blocks.count, BLOCK, *q.shape[1:]).transpose(1, 2)
    keys, values = (
        F.pad(x, (0, 0, 0, 0, blocks.before, after)).unfold(0, blocks.before + BLOCK, BLOCK).transpose(2, 3)
        for x in (k, v)
    )  # (count, n_kv_heads, before + BLOCK, head_dim)
    out = F.scaled_dot_product_attention(queries, keys, values, attn_mask=blocks.bias, enable_gqa=True)
    return out.transpose(1, 2).reshape(blocks.count * BLOCK, -1)[:T]


def torch_stepper(
    config: Config, parameters: dict[str, np.ndarray], threads: int | None, options: dict
) -> Callable[[Batch, float], float]:
    """step(batch, rate) -> the loss before it: gradients, clipping, AdamW. options: betas, eps, weight_decay, clip."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    weights = {name: torch.nn.Parameter(torch.from_numpy(w.copy())) for name, w in parameters.items()}
    groups = [
        {"params": [w for w in weights.values() if w.ndim == 2], "weight_decay": options["weight_decay"]},
        {"params": [w for w in weights.values() if w.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=0.0, betas=options["betas"], eps=options["eps"], fused=True)

    def step(batch: Batch, rate: float) -> float:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        loss = torch_loss(weights, config, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), options["clip"])
        optimiser.step()
        return loss.item()

    return step
