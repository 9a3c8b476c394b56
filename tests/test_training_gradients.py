"""Loss and every gradient against PyTorch's autograd in float64, on ten random configurations.

PyTorch gets the documents one by one, and a model written apart from the package (oracle.py: rotate-half, repeated
heads, a mask of T x T). Packing, blocks, shared heads and backward functions by hand are all on our side alone.
`pytest -s` prints the largest difference of each.
"""

from dataclasses import replace

import numpy as np
import pytest
from test_training_pieces import CONFIG, FAULTS, documents, with_fault

from minimistral.config import Config
from minimistral.training import pieces
from minimistral.training.batch import packed
from minimistral.training.model import loss_and_gradients
from minimistral.weights import random_tensors

torch = pytest.importorskip("torch", reason="autograd is PyTorch's: pip install 'minimistral[oracle]'")
from oracle import HF_NAMES, attention, halves, norm

torch.set_num_threads(1)  # these models are too small for more
LIMIT = 1e-10  # relative, of each tensor
WINDOWS = (None, 1, 3, 500, "each layer its own")
RATIOS = (1, 2, 3, 4, 8)


def drawn(n: int) -> tuple[Config, list]:
    """Configuration n and its documents: five kinds of window, five ratios of heads, tied or not."""
    rng = np.random.default_rng(500 + n)
    n_layers, n_kv_heads, head_dim = int(rng.integers(1, 4)), int(rng.integers(1, 4)), 2 * int(rng.integers(2, 6))
    window = WINDOWS[n % 5]
    if isinstance(window, str):
        n_layers, window = 3, (4, None, 70)
    dim, hidden_dim, vocab_size = (int(rng.integers(*r)) for r in ((13, 30), (31, 50), (51, 70)))
    config = Config(
        dim, n_layers, head_dim, hidden_dim, RATIOS[(n + n // 5) % 5] * n_kv_heads, n_kv_heads, vocab_size, window,
        norm_eps=float(10.0 ** -rng.integers(2, 6)), rope_theta=float(rng.integers(20, 20000)), tied_embeddings=n % 2 == 1,
    )  # fmt: skip
    lengths = rng.permutation([2, 3, *rng.integers(4, 60, 2), *rng.integers(70, 140, 1)])
    return config, documents(n, lengths, vocab_size)


def autograd(parameters: dict, config: Config, own: list) -> tuple[float, dict[str, np.ndarray]]:
    """The sum of weighted nats of documents, one after another, and PyTorch's gradients."""
    w = {name: torch.from_numpy(p.copy()).requires_grad_() for name, p in parameters.items()}
    loss = sum(nats(torch.from_numpy(ids), torch.from_numpy(weights), w, config) for ids, weights in own)
    loss.backward()
    return loss.item(), {name: p.grad.numpy() for name, p in w.items()}


def nats(ids, weights, w: dict, config: Config):
    """One document's weighted sum of -log p."""
    sizes = {"head_dim": config.head_dim, "n_heads": config.n_heads, "n_kv_heads": config.n_kv_heads}
    sizes["theta"] = config.rope_theta
    h = w["tok_embeddings.weight"][ids[:-1]]
    for i in range(config.n_layers):
        layer = {hf: w[f"layers.{i}.{ours}.weight"] for ours, hf in HF_NAMES.items()}
        for name in ("self_attn.q_proj", "self_attn.k_proj"):
            layer[name] = layer[name][halves(np.arange(len(layer[name])), config.head_dim)]
        x = norm(h, layer["input_layernorm"], config.norm_eps)
        h = h + attention(x, layer, sizes, config.layer_window(i))
        x = norm(h, layer["post_attention_layernorm"], config.norm_eps)
        f = torch.nn.functional.silu(x @ layer["mlp.gate_proj"].T) * (x @ layer["mlp.up_proj"].T)
        h = h + f @ layer["mlp.down_proj"].T
    logits = norm(h, w["norm.weight"], config.norm_eps) @ w.get("output.weight", w["tok_embeddings.weight"]).T
    return (weights[1:] * torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")).sum()


def differences(config: Config, own: list, pieces_) -> dict[str, float]:
    """Relative differences of the loss and of every gradient from PyTorch's.

    With a window of 1 the gradients of wq and wk are 0 (one key: its weight is 1, whatever its score). What PyTorch
    holds for 0, nothing to 14 digits of the largest gradient, is compared with the largest instead.
    """
    parameters = random_tensors(config, 1, "float64")
    loss, gradients = loss_and_gradients(parameters, config, packed(own), pieces_)
    expected, others = autograd(parameters, config, own)
    sizes = {name: np.linalg.norm(g) for name, g in others.items()}
    largest = max(sizes.values())
    sizes = {name: size if size > 1e-14 * largest else largest for name, size in sizes.items()}
    apart = {name: np.linalg.norm(gradients[name] - g) / sizes[name] for name, g in others.items()}
    return {"loss": abs(loss / expected - 1), **apart}


@pytest.mark.parametrize("n", range(10))
def test_loss_and_every_gradient_are_those_of_autograd(n):
    config, own = drawn(n)
    found = differences(config, own, pieces)
    worst = max(found, key=found.get)
    print(f"{n}: {found[worst]:.1e} {worst}; {config}, {sum(len(ids) - 1 for ids, _ in own)} positions")
    assert found[worst] < LIMIT, worst


def test_the_ten_draws_meet_every_ratio_window_and_kind_of_embedding():
    configs = [drawn(n)[0] for n in range(10)]
    assert {c.n_heads // c.n_kv_heads for c in configs} == set(RATIOS)
    assert {type(c.window) for c in configs} == {type(None), int, tuple}
    assert {c.tied_embeddings for c in configs} == {True, False}
    assert all(sum(len(ids) - 1 for ids, _ in drawn(n)[1]) > 64 for n in range(10))  # more than one block


@pytest.mark.parametrize("fault", FAULTS, ids=" ".join)
def test_autograd_shows_each_planted_fault(fault):
    found = differences(replace(CONFIG, n_layers=2), documents(0), with_fault(fault))
    assert max(found.values()) > 1000 * LIMIT
