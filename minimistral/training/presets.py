"""Models to train, as data: a size, and the settings that go with it."""

from typing import NamedTuple

from minimistral.config import MISTRAL_7B, Config
from minimistral.errors import BadInput
from minimistral.training.loop import Settings

BYTES = 16  # a parameter: itself, its gradient and AdamW's two moments, in float32


class Preset(NamedTuple):
    """What a name stands for."""

    config: Config
    settings: Settings


PRESETS = {
    # The embedded model: 2.7 million parameters, hours on two cores.
    "storyteller": Preset(
        Config(
            dim=192, n_layers=6, head_dim=24, hidden_dim=512, n_heads=8, n_kv_heads=2, vocab_size=2048,
            window=64, context_len=1024, tied_embeddings=True,
        ),
        Settings(steps=5000, batch_tokens=4096, learning_rate=2e-3, warm_up=100),
    ),
    # A minute on one core: words, and sentences that nearly hold.
    "tiny": Preset(
        Config(
            dim=64, n_layers=2, head_dim=16, hidden_dim=160, n_heads=4, n_kv_heads=2, vocab_size=512,
            window=32, context_len=512, tied_embeddings=True,
        ),
        Settings(steps=1000, batch_tokens=1024, learning_rate=5e-3, warm_up=20),
    ),
    # The size of nanoGPT's example for a laptop: 4 layers of 128, 0.8 million parameters beside the embedding.
    "shakespeare": Preset(
        Config(
            dim=128, n_layers=4, head_dim=32, hidden_dim=384, n_heads=4, n_kv_heads=2, vocab_size=1024,
            window=64, context_len=256, tied_embeddings=True,
        ),
        Settings(steps=2000, batch_tokens=1024, learning_rate=3e-3, warm_up=100, validate_every=250),
    ),
    "table1": Preset(MISTRAL_7B, Settings(steps=100000, batch_tokens=8192, learning_rate=3e-4, warm_up=2000)),
}  # fmt: skip


def preset_named(name: str) -> Preset:
    """The preset called `name`; BadInput if there is none.

    >>> preset_named("storyteller").config.window
    64
    """
    if name not in PRESETS:
        raise BadInput(f"--preset: {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def check_memory(config: Config, where: str, free: int) -> None:
    """BadInput if the parameters, their gradients and AdamW's moments do not fit in `free` bytes."""
    from minimistral.costs import parameters

    count = parameters(config)["total"]
    if count * BYTES > free:
        needed = f"{count / 1e9:.3g} billion parameters need {count * BYTES / 1e9:.3g} GB to be trained"
        raise BadInput(f"{where}: {needed} ({BYTES} bytes each), {free / 1e9:.3g} GB are free")
