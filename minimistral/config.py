"""Table 1 of the paper as data: what a Mistral is, in a dozen numbers."""

from dataclasses import dataclass

Window = int | None | tuple[int | None, ...]


@dataclass(frozen=True)
class Config:
    """The architecture (paper, Table 1). Sizes are counts; every matrix shape follows from them.

    >>> MISTRAL_7B.n_heads // MISTRAL_7B.n_kv_heads  # query heads that share one key/value head
    4
    """

    dim: int  # width of the residual stream
    n_layers: int
    head_dim: int  # not always dim / n_heads
    hidden_dim: int  # width inside the feed-forward
    n_heads: int  # query heads
    n_kv_heads: int  # key/value heads, each shared by n_heads / n_kv_heads query heads
    vocab_size: int
    window: Window = None  # keys a query sees, itself included; None: all; a tuple: one entry a layer
    context_len: int | None = None  # positions the model was made for; None: not said
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0
    tied_embeddings: bool = False  # True: the output matrix is the embedding

    def layer_window(self, layer: int) -> int | None:
        """The window of one layer.

        >>> Config(8, 3, 4, 16, 2, 1, 10, window=(5, None, 7)).layer_window(1) is None
        True
        """
        return self.window[layer] if isinstance(self.window, tuple) else self.window


MISTRAL_7B = Config(
    dim=4096,
    n_layers=32,
    head_dim=128,
    hidden_dim=14336,
    n_heads=32,
    n_kv_heads=8,
    vocab_size=32000,
    window=4096,
    context_len=8192,
)
