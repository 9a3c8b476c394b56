"""What a model costs, by counting: parameters, bytes of cache, bytes read and FLOPs (one multiply-add is 2)."""

from dataclasses import replace

from minimistral.config import Config


def parameters(config: Config) -> dict[str, int]:
    """How many numbers each part learns; attention, feed_forward and norms of all layers together.

    >>> from minimistral.config import MISTRAL_7B
    >>> parameters(MISTRAL_7B)["total"]
    7241732096
    """
    c = config
    parts = {
        "attention": c.n_layers * c.dim * c.head_dim * 2 * (c.n_heads + c.n_kv_heads),  # wq and wo, wk and wv
        "feed_forward": c.n_layers * 3 * c.dim * c.hidden_dim,
        "norms": (2 * c.n_layers + 1) * c.dim,
        "embedding": c.vocab_size * c.dim,
        "output": 0 if c.tied_embeddings else c.vocab_size * c.dim,
    }
    return parts | {"total": sum(parts.values())}


def attended_pairs(length: int, window: int | None = None) -> int:
    """How many (query, key) pairs a text of `length` tokens needs: min(i + 1, W) for each position i, summed.

    >>> attended_pairs(13, 5), attended_pairs(13, 6), attended_pairs(13)
    (55, 63, 91)
    """
    keys = length if window is None else min(length, window)
    return keys * (keys + 1) // 2 + (length - keys) * keys


def computed_pairs(length: int, window: int | None, chunk: int) -> int:
    """How many pairs dense blocks compute: each chunk against all that its cache holds, and against itself.

    >>> computed_pairs(13, 5, chunk=4)  # 4 x (0 + 4), 4 x (4 + 4), 4 x (5 + 4), 1 x (5 + 1)
    90
    """
    starts = range(0, length, chunk)
    sizes = [min(chunk, length - start) for start in starts]
    held = [start if window is None else min(start, window) for start in starts]
    return sum(n * (cached + n) for n, cached in zip(sizes, held, strict=True))


def attended_keys(config: Config, length: int) -> int:
    """Keys that a token attends to when it is the last of `length`, summed over layers."""
    windows = [config.layer_window(i) for i in range(config.n_layers)]
    return sum(length if window is None else min(length, window) for window in windows)


def cache_bytes(config: Config, length: int, bytes_per_value: int = 2) -> int:
    """The rolling buffer after `length` tokens: a key and a value for each key/value head that a window still sees.

    >>> from minimistral.config import MISTRAL_7B
    >>> cache_bytes(MISTRAL_7B, 32768) // 2**20, cache_bytes(replace(MISTRAL_7B, window=None), 32768) // 2**20
    (512, 4096)
    """
    return 2 * config.n_kv_heads * config.head_dim * bytes_per_value * attended_keys(config, length)


def weights_read(config: Config) -> int:
    """How many weights a decoded token reads: all, but of the embedding only its own row."""
    p = parameters(config)
    matrices = (
        p["attention"] + p["feed_forward"] + config.vocab_size * config.dim
    )  # the last is the output, tied or not
    return matrices + p["norms"] + config.dim


def decode_bytes(config: Config, length: int, bytes_per_value: int = 2, bytes_per_weight: float = 2) -> float:
    """Bytes read to decode one token when the cache holds `length` (a window: only what it holds).

    >>> from minimistral.config import MISTRAL_7B
    >>> decode_bytes(MISTRAL_7B, 0), decode_bytes(MISTRAL_7B, 4096)
    (14221328384, 14758199296)
    """
    return weights_read(config) * bytes_per_weight + cache_bytes(config, length, bytes_per_value)


def weight_flops(config: Config) -> int:
    """FLOPs of one token in the matrices: 2 a weight. Norms, rotations and SiLU are left out (far below 1 %)."""
    p = parameters(config)
    return 2 * (p["attention"] + p["feed_forward"] + config.vocab_size * config.dim)


def key_flops(config: Config) -> int:
    """FLOPs for each key attended to, in one layer: q . k and weight x value, in every query head."""
    return 4 * config.n_heads * config.head_dim


def decode_flops(config: Config, length: int) -> int:
    """FLOPs to decode one token that attends to `length` keys (itself included; a window: at most W)."""
    return weight_flops(config) + key_flops(config) * attended_keys(config, length)


def prefill_flops(config: Config, length: int) -> int:
    """FLOPs of a whole pre-fill of `length` tokens, logits for each, computing only the pairs that are needed."""
    pairs = sum(attended_pairs(length, config.layer_window(i)) for i in range(config.n_layers))
    return length * weight_flops(config) + key_flops(config) * pairs


def equal_keys(config: Config) -> float:
    """Keys at which decoding spends as many FLOPs in attention as in the matrices (no window)."""
    return weight_flops(config) / (key_flops(config) * config.n_layers)


def equal_length(config: Config) -> float:
    """Length at which a whole pre-fill spends as many FLOPs in attention as in the matrices (no window)."""
    return 2 * equal_keys(config) - 1  # of L tokens each attends to (L + 1) / 2 keys on average


def equal_cache_length(config: Config) -> float:
    """Length at which a decoded token reads as many bytes of cache as of weights (no window, one type for both)."""
    return 2 * weights_read(config) / cache_bytes(replace(config, window=None), 1)
