"""The weights that training starts from."""

import math

import numpy as np

from minimistral.config import Config
from minimistral.weights import tensor_shapes

EMBEDDING = 0.3  # standard deviation
BRANCH = 0.3  # what a layer adds starts small beside the embedding: later layers still see which token it is
TIED_NORM = 0.1  # the tied embedding is large; the first logits are to be small all the same


def initial_parameters(config: Config, seed: int) -> dict[str, np.ndarray]:
    """float32 tensors by Mistral's names: normal, 1 / sqrt(fan-in) wide, except for the rules of this file.

    A head starts by writing back what it reads: wo is 0.3 times the transpose of wv, shared by the query heads of a
    group. So looking at a token makes that token likelier (where the embedding is the output matrix too), and where
    to look is learnt first. Norm weights are 1, the last one 0.1 where the embedding is tied.

    >>> tiny = Config(dim=6, n_layers=1, head_dim=2, hidden_dim=8, n_heads=4, n_kv_heads=2, vocab_size=10)
    >>> p = initial_parameters(tiny, 0)
    >>> wv, wo = p["layers.0.attention.wv.weight"], p["layers.0.attention.wo.weight"]
    >>> bool((wo[:, 2:4] == np.float32(0.3) * wv[0:2].T).all())  # head 1 reads key/value head 0
    True
    """
    rng = np.random.default_rng(seed)
    parameters = {name: _drawn(rng, name, shape) for name, shape in tensor_shapes(config).items()}
    if config.tied_embeddings:
        parameters["norm.weight"] *= np.float32(TIED_NORM)
    for i in range(config.n_layers):
        wv = parameters[f"layers.{i}.attention.wv.weight"]
        heads = wv.reshape(config.n_kv_heads, config.head_dim, config.dim)
        heads = heads.repeat(config.n_heads // config.n_kv_heads, axis=0)  # (n_heads, head_dim, dim)
        wo = np.float32(BRANCH) * heads.reshape(-1, config.dim).T  # (dim, n_heads * head_dim)
        parameters[f"layers.{i}.attention.wo.weight"] = np.ascontiguousarray(wo)
    return parameters


def _drawn(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if len(shape) == 1:
        return np.ones(shape, np.float32)
    width = EMBEDDING if name == "tok_embeddings.weight" else 1 / math.sqrt(shape[1])
    if name.endswith("w2.weight"):
        width *= BRANCH
    return rng.standard_normal(shape, np.float32) * np.float32(width)
