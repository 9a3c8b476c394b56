"""The names of a Mistral's weights. Every matrix is (out_features, in_features), as in the released files."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from minimistral.arithmetic import Arithmetic
from minimistral.config import Config

LAYER_NAMES = {  # the name here, and the middle of its name in Mistral's files
    "attention_norm": "attention_norm",
    "wq": "attention.wq",
    "wk": "attention.wk",
    "wv": "attention.wv",
    "wo": "attention.wo",
    "ffn_norm": "ffn_norm",
    "w1": "feed_forward.w1",
    "w2": "feed_forward.w2",
    "w3": "feed_forward.w3",
}


class Layer(NamedTuple):
    """One layer's weights. Query and key rows are in Mistral's order: RoPE turns the pairs (2i, 2i+1)."""

    attention_norm: np.ndarray  # (dim,)
    wq: np.ndarray  # (n_heads * head_dim, dim)
    wk: np.ndarray  # (n_kv_heads * head_dim, dim)
    wv: np.ndarray  # (n_kv_heads * head_dim, dim)
    wo: np.ndarray  # (dim, n_heads * head_dim)
    ffn_norm: np.ndarray  # (dim,)
    w1: np.ndarray  # (hidden_dim, dim), the gate
    w2: np.ndarray  # (dim, hidden_dim), back down
    w3: np.ndarray  # (hidden_dim, dim), up


class Weights(Protocol):
    """What the forward pass asks for; a checkpoint answers from a memory-mapped file, a layer at a time."""

    @property
    def tok_embeddings(self) -> np.ndarray: ...  # (vocab_size, dim)
    @property
    def layers(self) -> Sequence[Layer]: ...
    @property
    def norm(self) -> np.ndarray: ...  # (dim,)
    @property
    def output(self) -> np.ndarray: ...  # (vocab_size, dim)


class Arrays(NamedTuple):
    """Weights that lie in memory."""

    tok_embeddings: np.ndarray
    layers: Sequence[Layer]
    norm: np.ndarray
    output: np.ndarray


def tensor_shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Every tensor of a model by its name in Mistral's files, and its shape."""
    c, q, kv = config, config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    shapes: dict[str, tuple[int, ...]] = {"tok_embeddings.weight": (c.vocab_size, c.dim)}
    for i in range(c.n_layers):
        for name, file_name in LAYER_NAMES.items():
            shape = {"wq": (q, c.dim), "wk": (kv, c.dim), "wv": (kv, c.dim), "wo": (c.dim, q), "w1": (c.hidden_dim, c.dim),
                     "w2": (c.dim, c.hidden_dim), "w3": (c.hidden_dim, c.dim)}.get(name, (c.dim,))  # fmt: skip
            shapes[f"layers.{i}.{file_name}.weight"] = shape
    shapes["norm.weight"] = (c.dim,)
    if not c.tied_embeddings:
        shapes["output.weight"] = (c.vocab_size, c.dim)
    return shapes


def random_tensors(config: Config, seed: int = 0, dtype: np.dtype | str = "float32") -> dict[str, np.ndarray]:
    """Random weights of the right shapes and sensible sizes, the same on every machine; for tests and lessons.

    Matrices are uniform with rows of about unit gain; norm weights lie in 0.5 .. 1.5, so that leaving one out shows.
    """
    rng = np.random.default_rng(seed)
    return {name: random_rows(rng, name, shape).astype(dtype) for name, shape in tensor_shapes(config).items()}


def random_rows(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The next rows of a tensor, float32. Uniform: unlike normal draws, made without a mathematics library."""
    u = rng.random(shape) - 0.5
    gain = 2 if ".wq." in name or ".wk." in name else 1
    return (1 + u if len(shape) == 1 else u * (12 / shape[1]) ** 0.5 * gain).astype(np.float32)


def from_tensors(tensors: dict[str, np.ndarray], config: Config, arithmetic: Arithmetic) -> Arrays:
    """Tensors by Mistral's names -> weights as the arithmetic wants them."""

    def layer(i: int) -> Layer:
        weights = {name: tensors[f"layers.{i}.{file_name}.weight"] for name, file_name in LAYER_NAMES.items()}
        return Layer(**{n: w if w.ndim == 1 else arithmetic.weight(w) for n, w in weights.items()})

    output = tensors["tok_embeddings.weight" if config.tied_embeddings else "output.weight"]
    layers = [layer(i) for i in range(config.n_layers)]
    return Arrays(tensors["tok_embeddings.weight"], layers, tensors["norm.weight"], arithmetic.weight(output))
