"""What is tried: case number k of a seed is a model, sequences of ids, and ways to run them. The same on every machine.

Most cases are small, so that many different ones are seen; a few have sums of up to 32768 terms, thousands of tokens,
or a vocabulary of up to 32000.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from fastpath.verify.values import weights
from minimistral import Mistral
from minimistral.config import Config

KINDS = {"small": 0.92, "long sums": 0.03, "long text": 0.03, "wide": 0.02}
HEAD_DIMS = (2, 4, 6, 8, 10, 16, 20, 32, 34, 64, 66, 128, 130, 160, 256, 512)
WIDTHS = (
    1,
    2,
    3,
    5,
    7,
    8,
    12,
    16,
    17,
    31,
    32,
    33,
    48,
    63,
    64,
    65,
    96,
    100,
    127,
    128,
    129,
    160,
    200,
    255,
    256,
    300,
    513,
)
HIDDEN = (*WIDTHS, 700, 1000, 1024, 1025)
VOCABULARIES = (1, 2, 3, 4, 17, 31, 100, 128, 257, 1000, 1031)
THETAS = (1.0, 7.5, 100.0, 10_000.0, 10_000.0, 500_000.0, 1_000_000.0)
EPS = (1e-5, 1e-5, 1e-6, 1e-12, 1e-3, 1.0, 1e-30)
PRODUCTS = 30_000_000  # multiplications of one small case's forward pass, about

Part = tuple[int, int, int]  # (sequence, start, stop)


@dataclass(frozen=True)
class Plan:
    """Sequences that go through their caches in rounds: chunks, ragged batches, token-by-token decoding."""

    text: str
    sequences: list[np.ndarray]
    rounds: list[list[Part]]  # one call each; the parts go into it together
    last_only: bool = False  # next_logits instead of all logits


@dataclass(frozen=True)
class Draw:
    """What generate is called with."""

    prompts: list[np.ndarray]
    options: dict


@dataclass(frozen=True)
class Case:
    """One model and what is run on it. `text` describes both; seed and number give it again."""

    seed: int
    number: int
    text: str
    model: Callable[[], Mistral]  # the exact NumPy model
    tokens: np.ndarray  # what is traced
    chunks: list[int | None]  # traces of the candidate; None: in one go
    plans: list[Plan]
    draws: list[Draw]
    long: bool  # traced without the scores, and by the reference in chunks, too: one go would take too much memory


def random_case(seed: int, number: int) -> Case:
    """Case `number` of `seed`: random sizes, values and runs."""
    rng = np.random.default_rng([seed, number])
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    config, length = sizes(kind, rng)
    tensors, planted, bad_id = weights(config, rng)
    config = replace(config, window=windows(config.n_layers, length, kind, rng))
    text = f"{kind}; {described(config)}; {', '.join(planted)}"
    tokens = random_ids(config.vocab_size, length, rng)
    if bad_id is not None:  # in one place, so that calls without it succeed
        tokens[tokens == bad_id] = (bad_id + 1) % config.vocab_size
        tokens[rng.integers(length)] = bad_id
    return case_of(seed, number, text, lambda: Mistral.from_tensors(tensors, config), config, tokens, kind, rng)


def checkpoint_case(seed: int, number: int, model: Mistral) -> Case:
    """Case `number` of `seed` on a model that is there: random ids; its own window, and narrower ones to go beyond."""
    rng = np.random.default_rng([seed, number])
    config = model.config
    longest = int(np.clip(20_000_000 // values_of_a_token(config), 4, 300))
    reached = isinstance(config.window, int) and 2 * config.window < longest
    if not reached and number % 2:
        config = replace(config, window=int(rng.integers(1, max(2, longest // 2))))
    length = int(rng.integers(1, longest + 1))
    text = f"checkpoint; {described(config)}"
    narrowed = Mistral(config, model.weights, model.arithmetic)
    tokens = random_ids(config.vocab_size, length, rng)
    return case_of(seed, number, text, lambda: narrowed, config, tokens, "checkpoint", rng)


def case_of(seed, number, text, model, config: Config, tokens, kind: str, rng: np.random.Generator) -> Case:
    """The runs of a case on a model of this config."""
    length, long = len(tokens), kind == "long text"
    chunks = [int(rng.integers(64, 257))] if long else [None, *some_chunks(length, rng)]
    plans = [one_by_one(tokens, rng), batch(tokens, config.vocab_size, rng)]
    draws = []
    if kind in ("small", "checkpoint") and rng.random() < 0.5:
        draws = [draw(tokens, config.vocab_size, rng)]
    text = f"{text}; {length} tokens"
    return Case(seed, number, text, model, tokens, chunks, plans, draws, long)


def described(config: Config) -> str:
    """A config in a few words.

    >>> described(Config(12, 2, 4, 20, 6, 2, 31, window=3))
    'dim 12, 2 layers, 6/2 heads of 4, hidden 20, vocab 31, window 3, theta 10000, eps 1e-05'
    """
    c = config
    return (
        f"dim {c.dim}, {c.n_layers} layer{'s' * (c.n_layers > 1)}, {c.n_heads}/{c.n_kv_heads} heads of {c.head_dim}, "
        f"hidden {c.hidden_dim}, vocab {c.vocab_size}, window {c.window}, theta {c.rope_theta:g}, eps {c.norm_eps:g}"
    )


def values_of_a_token(config: Config) -> int:
    """Stage values of one token, scores left out."""
    c = config
    layer = 7 * c.dim + (3 * c.n_heads + 3 * c.n_kv_heads) * c.head_dim + 3 * c.hidden_dim
    return c.n_layers * layer + 2 * c.dim + c.vocab_size


# ---- sizes -----------------------------------------------------------------------------------------------------------


def sizes(kind: str, rng: np.random.Generator) -> tuple[Config, int]:
    """A config, still without its window, and how many tokens of it one pass can take."""

    def one_of(values):
        return values[rng.integers(len(values))]

    kv_heads, group = int(rng.integers(1, 5)), int(rng.integers(1, 9))
    config = Config(
        dim=one_of(WIDTHS),
        n_layers=int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1])),
        head_dim=one_of(HEAD_DIMS),
        hidden_dim=one_of(HIDDEN),
        n_heads=kv_heads * group,
        n_kv_heads=kv_heads,
        vocab_size=one_of(VOCABULARIES),
        norm_eps=one_of(EPS),
        rope_theta=one_of(THETAS),
        tied_embeddings=bool(rng.random() < 0.2),
    )
    most = 160
    if kind == "wide":
        config = replace(config, dim=int(rng.integers(48, 200)), n_layers=1, head_dim=min(config.head_dim, 64),
                         vocab_size=int(rng.integers(16000, 32001)))  # fmt: skip
        return config, int(rng.integers(64, 301))
    if kind == "long sums":
        config = replace(config, dim=one_of(WIDTHS[:12]), n_layers=1, head_dim=min(config.head_dim, 32),
                         hidden_dim=one_of((4096, 14336, 32767, 32768)))  # fmt: skip
        most = 12
    if kind == "long text":
        config = replace(config, dim=one_of(WIDTHS[:15]), n_layers=int(rng.integers(1, 3)), n_kv_heads=1,
                         head_dim=one_of(HEAD_DIMS[:8]), n_heads=min(group, 3), hidden_dim=one_of(WIDTHS[:15]),
                         vocab_size=one_of(VOCABULARIES[:7]))  # fmt: skip
        return config, int(rng.integers(1000, 5001))
    c = config
    heads = (2 * c.n_heads + 2 * c.n_kv_heads) * c.head_dim
    products = c.n_layers * c.dim * (heads + 3 * c.hidden_dim) + c.dim * c.vocab_size
    # A third of the texts are near the longest that is affordable, the others of any length.
    longest = min(most, 1 + PRODUCTS // products)
    return config, int(max(1, longest * rng.uniform(0.7, 1) if rng.random() < 0.3 else longest ** rng.random()))


def windows(n_layers: int, length: int, kind: str, rng: np.random.Generator) -> int | None | tuple[int | None, ...]:
    """None, one width, or one a layer: 1, small, about the length, and wider than it."""

    def width() -> int | None:
        if kind == "long text":  # a narrow window keeps most of these cheap
            return [int(rng.integers(1, 65)), int(rng.integers(1, 65)), length // 2, None][rng.integers(4)]
        about = [1, rng.integers(2, 9), length // 2, length - 1, length, length + 1, 2 * length + 5]
        return [None, *(max(1, int(w)) for w in about), max(1, length // 3)][rng.integers(9)]

    return tuple(width() for _ in range(n_layers)) if rng.random() < 0.25 else width()


# ---- runs ------------------------------------------------------------------------------------------------------------


def random_ids(vocab_size: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Ids of any kind: all different ones, a few again and again, or one only (then all keys of layer 0 are equal)."""
    few = rng.choice([vocab_size, vocab_size, min(3, vocab_size), 1])
    return rng.integers(vocab_size, size=few)[rng.integers(few, size=length)]


def some_chunks(length: int, rng: np.random.Generator) -> list[int]:
    """One token at a time for short texts, and a random size."""
    one = [1] if length <= 40 and rng.random() < 0.5 else []
    return [*one, int(rng.integers(1, length + 1))]


def one_by_one(tokens: np.ndarray, rng: np.random.Generator) -> Plan:
    """A pre-fill in random chunks, then up to 24 tokens one at a time."""
    start = max(0, len(tokens) - int(rng.integers(0, 25)))
    cuts = [0, *cut(start, rng), *range(start + 1, len(tokens) + 1)]
    rounds = [[(0, start, stop)] for start, stop in pairwise(cuts)]
    chunks = shortened([stop - start for start, stop in pairwise(cuts)])
    return Plan(f"chunks of {chunks}", [tokens], rounds, last_only=bool(rng.random() < 0.3))


def batch(tokens: np.ndarray, vocab_size: int, rng: np.random.Generator) -> Plan:
    """A ragged batch whose sequences go on at their own pace: beginnings of the traced text, and others."""
    lengths = [int(rng.integers(1, len(tokens) + 1)) for _ in range(rng.integers(1, 6))]
    sequences = [tokens[:n] if rng.random() < 0.7 else random_ids(vocab_size, min(n, 64), rng) for n in lengths]
    cuts = [[0, *cut(len(s), rng)] for s in sequences]
    rounds = []
    while any(len(c) > 1 for c in cuts):
        alive = [i for i, c in enumerate(cuts) if len(c) > 1]
        chosen = [i for i in alive if rng.random() < 0.8] or alive
        rounds.append([(i, cuts[i].pop(0), cuts[i][0]) for i in chosen])
    text = f"batch of {shortened([len(s) for s in sequences])} tokens in {len(rounds)} rounds"
    return Plan(text, sequences, rounds, last_only=bool(rng.random() < 0.3))


def cut(length: int, rng: np.random.Generator) -> list[int]:
    """Where chunks end: at most 6 of them; the last end is `length`."""
    inside = rng.integers(1, length, size=rng.integers(0, 6)).tolist() if length > 1 else []
    return sorted({*inside, length} - {0})


def draw(tokens: np.ndarray, vocab_size: int, rng: np.random.Generator) -> Draw:
    """A call of generate: greedy or sampled, one prompt or a batch."""
    prompts = [tokens[: rng.integers(1, len(tokens) + 1)], random_ids(vocab_size, int(rng.integers(1, 9)), rng)]
    options = {
        "max_new_tokens": int(rng.integers(1, 13)),
        "temperature": float(rng.choice([0, 0, 0, 0.7, 1.0, 3.0, 1e-6])),
        "top_p": float(rng.choice([1.0, 0.9, 0.5])),
        "top_k": int(rng.choice([0, 0, 1, 3])),
        "seed": int(rng.integers(2**63)),
    }
    return Draw(prompts[: rng.integers(1, 3)], options)


def shortened(numbers: list[int]) -> str:
    """A few numbers in words.

    >>> shortened([7, 2, 1, 1, 1, 1])
    '7, 2, 1 (4 times)'
    """
    runs: list[list[int]] = []
    for n in numbers:
        if runs and runs[-1][0] == n:
            runs[-1][1] += 1
        else:
            runs.append([n, 1])
    words = [str(n) if times == 1 else f"{n} ({times} times)" for n, times in runs]
    return ", ".join(words if len(words) <= 8 else [*words[:7], "..."])
