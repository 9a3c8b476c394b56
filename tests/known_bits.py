"""Prints a SHA-256 of exact logits for one small model: run by tests in processes with other settings.

With the argument `cpu`: by the compiled kernels, in chunks of 100, 17 and 1.

The weights are float32 and bfloat16, with a few large outliers; 100 tokens, window 24.
"""

import hashlib
import sys

import numpy as np

from minimistral.arithmetic import by_name
from minimistral.config import Config
from minimistral.mistral import Mistral
from minimistral.weights import from_tensors, random_tensors

CONFIG = Config(
    dim=96, n_layers=4, head_dim=20, hidden_dim=200, n_heads=8, n_kv_heads=2, vocab_size=300, window=24
)  # fmt: skip
TOKENS = np.random.default_rng(11).integers(0, CONFIG.vocab_size, 100)


def outlier_model(dtype: str, arithmetic: str = "exact") -> Mistral:
    """A random model with outlier channels, as trained models have."""
    tensors = random_tensors(CONFIG, seed=5, dtype=dtype)
    for i in range(CONFIG.n_layers):
        tensors[f"layers.{i}.attention_norm.weight"][3 + i] *= 30
        tensors[f"layers.{i}.feed_forward.w2.weight"][7] *= 50
    numbers = by_name(arithmetic)
    return Mistral(CONFIG, from_tensors(tensors, CONFIG, numbers), numbers)


def sha256(x: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()


def main() -> None:
    chunks = (100, 17, 1) if "cpu" in sys.argv else (100,)
    for chunk in chunks:
        for dtype in ("float32", "bfloat16"):
            model = outlier_model(dtype)
            if "cpu" in sys.argv:
                from fastpath import model_class

                model = model_class("cpu")(model.config, model.weights, model.arithmetic)
            print(sha256(model(TOKENS, chunk=chunk)))


if __name__ == "__main__":
    main()
