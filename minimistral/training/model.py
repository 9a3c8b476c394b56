"""The whole model on one page, forward and backward: parameters and a batch in, the loss and every gradient out.

    h = embedding
    each layer:  h = h + wo attention(rope(q), rope(k), v)    of rms_norm(h)
                 h = h + w2 swiglu(w1 x, w3 x)                 of x = rms_norm(h)
    loss = cross_entropy(output rms_norm(h), targets)

Backward, the lines are read from the last to the first. Where an array goes two ways (h past a branch and into it,
x into wq, wk and wv), what comes back from each way is added.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np

from minimistral.config import Config
from minimistral.training import pieces as plain_numpy
from minimistral.training.batch import Batch
from minimistral.transformer import finite
from minimistral.weights import LAYER_NAMES, Layer

CHUNK = 512  # positions through the output layer at once: no array of logits is larger than (CHUNK, vocab_size)
Tensors = dict[str, np.ndarray]  # by Mistral's names


class Setting(NamedTuple):
    """What every layer is told beside its weights."""

    config: Config
    starts: np.ndarray  # (T,), the batch's
    turns: tuple[np.ndarray, np.ndarray]  # cos and sin of RoPE, (T, head_dim / 2) each
    pieces: ModuleType


class Kept(NamedTuple):
    """What a layer's backward pass needs of its forward pass."""

    h: np.ndarray  # (T, dim), the layer's input
    x: np.ndarray  # (T, dim), after attention_norm
    q: np.ndarray  # (T, n_heads, head_dim), turned
    k: np.ndarray  # (T, n_kv_heads, head_dim), turned
    v: np.ndarray  # (T, n_kv_heads, head_dim)
    a: np.ndarray  # (T, n_heads, head_dim), attended
    log_sums: np.ndarray  # (T, n_heads)
    middle: np.ndarray  # (T, dim), h after attention
    z: np.ndarray  # (T, dim), after ffn_norm
    gate: np.ndarray  # (T, hidden_dim)
    up: np.ndarray  # (T, hidden_dim)
    y: np.ndarray  # (T, hidden_dim), silu(gate) * up


def loss_and_gradients(
    parameters: Tensors, config: Config, batch: Batch, pieces: ModuleType = plain_numpy, recompute: bool = False
) -> tuple[float, Tensors]:
    """The sum of a batch's weighted nats, and its gradient by every parameter: a float and {name: array}.

    Both are sums: divide by batch.weights.sum() for means. recompute: of a layer only its input is kept, and the rest
    is computed again when its backward pass comes; the same bits, less memory, about a third more work.
    NotFinite, with the stage's name, if a layer's output or the loss is NaN or infinite.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # an infinity is reported with the stage's name
        setting, h = begin(parameters, config, batch, pieces)
        kept: list[np.ndarray | Kept] = []
        for i in range(config.n_layers):
            out, here = layer_forward(h, layer_of(parameters, i), i, setting)
            kept.append(h if recompute else here)
            h = out
        loss, dh, gradients = output_layer(h, parameters, batch, setting)
        for i in reversed(range(config.n_layers)):
            layer, here = layer_of(parameters, i), kept.pop()
            if recompute:
                _, here = layer_forward(here, layer, i, setting)
            dh, dlayer = layer_backward(dh, here, layer, i, setting)
            gradients |= {name: getattr(dlayer, field) for field, name in layer_names(i)}
        dtable = pieces.embedding_backward(dh, batch.tokens, config.vocab_size)
        if config.tied_embeddings:
            dtable += gradients["tok_embeddings.weight"]  # the output layer's share
        gradients["tok_embeddings.weight"] = dtable
        return loss, {name: gradients[name] for name in parameters}


def loss_only(parameters: Tensors, config: Config, batch: Batch, pieces: ModuleType = plain_numpy) -> float:
    """The sum of a batch's weighted nats, as `loss_and_gradients` gives it; NotFinite likewise."""
    with np.errstate(over="ignore", invalid="ignore"):
        setting, h = begin(parameters, config, batch, pieces)
        for i in range(config.n_layers):
            h, _ = layer_forward(h, layer_of(parameters, i), i, setting)
        x = pieces.rms_norm(h, parameters["norm.weight"], config.norm_eps)
        w, loss = parameters[output_name(config)], 0.0
        for rows in chunks(batch.weights):
            loss += pieces.cross_entropy(pieces.linear(x[rows], w), batch.targets[rows], batch.weights[rows])[0]
        return finite_loss(loss)


def begin(parameters: Tensors, config: Config, batch: Batch, pieces: ModuleType) -> tuple[Setting, np.ndarray]:
    """The setting of a batch, and its embeddings (T, dim)."""
    table = parameters["tok_embeddings.weight"]
    turns = pieces.rope_table(batch.positions, config.head_dim, config.rope_theta, table.dtype)
    h = finite("embedding", pieces.embedding(batch.tokens, table))
    return Setting(config, batch.starts, turns, pieces), h


def layer_forward(h: np.ndarray, layer: Layer, i: int, setting: Setting) -> tuple[np.ndarray, Kept]:
    """Layer i's output (T, dim), and what its backward pass needs."""
    (config, starts, turns, p), T = setting, len(h)
    x = p.rms_norm(h, layer.attention_norm, config.norm_eps)
    q = p.rope(p.linear(x, layer.wq).reshape(T, -1, config.head_dim), *turns)
    k = p.rope(p.linear(x, layer.wk).reshape(T, -1, config.head_dim), *turns)
    v = p.linear(x, layer.wv).reshape(T, -1, config.head_dim)
    a, log_sums = p.attention(q, k, v, starts, config.layer_window(i))
    middle = p.linear(a.reshape(T, -1), layer.wo)
    middle += h

    z = p.rms_norm(middle, layer.ffn_norm, config.norm_eps)
    gate, up = p.linear(z, layer.w1), p.linear(z, layer.w3)
    y = p.swiglu(gate, up)
    out = p.linear(y, layer.w2)
    out += middle
    return finite(f"layers.{i}.output", out), Kept(h, x, q, k, v, a, log_sums, middle, z, gate, up, y)


def layer_backward(dout: np.ndarray, kept: Kept, layer: Layer, i: int, setting: Setting) -> tuple[np.ndarray, Layer]:
    """dh (T, dim) and the gradients of layer i's weights, from dout (T, dim), the gradient of its output."""
    (config, starts, turns, p), T, eps = setting, len(dout), setting.config.norm_eps
    h, x, q, k, v, a, log_sums, middle, z, gate, up, y = kept
    # out = middle + w2 swiglu(w1 z, w3 z), z = rms_norm(middle)
    dy, dw2 = p.linear_backward(dout, y, layer.w2)
    dgate, dup = p.swiglu_backward(dy, gate, up)
    dz, dw1 = p.linear_backward(dgate, z, layer.w1)
    dz_up, dw3 = p.linear_backward(dup, z, layer.w3)
    dz += dz_up
    dmiddle, dffn_norm = p.rms_norm_backward(dz, middle, layer.ffn_norm, eps)
    dmiddle += dout  # past the branch

    # middle = h + wo attention(rope(wq x), rope(wk x), wv x), x = rms_norm(h)
    da, dwo = p.linear_backward(dmiddle, a.reshape(T, -1), layer.wo)
    dq, dk, dv = p.attention_backward(da.reshape(a.shape), q, k, v, a, log_sums, starts, config.layer_window(i))
    dx, dwq = p.linear_backward(p.rope_backward(dq, *turns).reshape(T, -1), x, layer.wq)
    dx_k, dwk = p.linear_backward(p.rope_backward(dk, *turns).reshape(T, -1), x, layer.wk)
    dx_v, dwv = p.linear_backward(dv.reshape(T, -1), x, layer.wv)
    dx += dx_k  # x went three ways
    dx += dx_v
    dh, dattention_norm = p.rms_norm_backward(dx, h, layer.attention_norm, eps)
    dh += dmiddle
    return dh, Layer(dattention_norm, dwq, dwk, dwv, dwo, dffn_norm, dw1, dw2, dw3)


def output_layer(
    h: np.ndarray, parameters: Tensors, batch: Batch, setting: Setting
) -> tuple[float, np.ndarray, Tensors]:
    """The loss, dh (T, dim) and the gradients of the final norm and the output matrix: both ways, chunk by chunk."""
    config, p = setting.config, setting.pieces
    w, norm = parameters[output_name(config)], parameters["norm.weight"]
    x = p.rms_norm(h, norm, config.norm_eps)
    loss, dx, dw = 0.0, np.zeros_like(x), np.zeros_like(w)
    for rows in chunks(batch.weights):
        x_, targets, weights = x[rows], batch.targets[rows], batch.weights[rows]
        logits = p.linear(x_, w)  # (CHUNK, vocab_size)
        nats, log_sums = p.cross_entropy(logits, targets, weights)
        dlogits = p.cross_entropy_backward(logits, log_sums, targets, weights)
        dx[rows], dw_ = p.linear_backward(dlogits, x_, w)
        loss += nats
        dw += dw_
    dh, dnorm = p.rms_norm_backward(dx, h, norm, config.norm_eps)
    return finite_loss(loss), dh, {"norm.weight": dnorm, output_name(config): dw}


def chunks(weights: np.ndarray) -> Iterator[np.ndarray]:
    """The positions that count in the loss, at most CHUNK at a time; the others need no logits.

    >>> [rows.tolist() for rows in chunks(np.array([0, 1, 1, 0, 1]))]
    [[1, 2, 4]]
    """
    counted = np.flatnonzero(weights)
    return (counted[n : n + CHUNK] for n in range(0, len(counted), CHUNK))


def finite_loss(loss: float) -> float:
    """The loss itself; NotFinite if it is none: h was finite, so a logit was not."""
    finite("logits", np.float64(loss))
    return loss


def output_name(config: Config) -> str:
    """The name of the output matrix, which may be the embedding's."""
    return "tok_embeddings.weight" if config.tied_embeddings else "output.weight"


def layer_names(i: int) -> list[tuple[str, str]]:
    """Layer i's weights: (field of Layer, name among the parameters).

    >>> layer_names(3)[1]
    ('wq', 'layers.3.attention.wq.weight')
    """
    return [(field, f"layers.{i}.{LAYER_NAMES[field]}.weight") for field in Layer._fields]


def layer_of(parameters: Tensors, i: int) -> Layer:
    """Layer i's weights."""
    return Layer(**{field: parameters[name] for field, name in layer_names(i)})
