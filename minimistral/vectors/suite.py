"""What the suite holds, as data: models, texts (a model and tokens), and cases (texts, and the calls to run them in).

Sizes differ from one another, so that a transposition cannot hide: dim, n_heads x head_dim, hidden_dim, T. Weights of
levels 1 to 4 are float32 files of numbers that bfloat16 can hold, so that what runs in 16 bits has the same model.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import ml_dtypes
import numpy as np

from minimistral.config import Config
from minimistral.weights import random_tensors

VERSION = 1
DTYPES = ("float64", "float32", "bfloat16", "float16")
LEVELS = {
    1: "one layer",
    2: "window and depth",
    3: "cache and chunks",
    4: "batches",
    5: "formats",
}


@dataclass(frozen=True)
class Model:
    """A random checkpoint. dtype: of its numbers, and of the file unless `stored` says another."""

    config: Config
    seed: int
    dtype: str = "bfloat16"
    stored: str | None = "float32"
    layout: str = "mistral"

    def tensors(self) -> dict[str, np.ndarray]:
        """Under Mistral's names, query and key rows in Mistral's order, in the type of the file."""
        made = random_tensors(self.config, self.seed)
        if self.dtype == "mixed":  # as some folders are: norms wide, matrices narrow
            return {n: w if w.ndim == 1 else w.astype(ml_dtypes.bfloat16) for n, w in made.items()}
        made = {n: w.astype(np.dtype(getattr(ml_dtypes, self.dtype, self.dtype))) for n, w in made.items()}
        return made if self.stored is None else {n: w.astype(self.stored) for n, w in made.items()}


@dataclass(frozen=True)
class Text:
    """Tokens for a model: what a trace is made of."""

    model: str
    T: int
    seed: int

    def tokens(self, vocab_size: int) -> np.ndarray:
        return (np.random.default_rng(self.seed).random(self.T) * vocab_size).astype(np.int64)


@dataclass(frozen=True)
class Case:
    """Texts of one model, one a sequence. calls[c][b]: how many of sequence b's next tokens call c is given."""

    name: str
    level: int
    about: str
    texts: tuple[str, ...]
    calls: tuple[tuple[int, ...], ...]


SMALL = Config(dim=32, n_layers=1, head_dim=6, hidden_dim=52, n_heads=6, n_kv_heads=2, vocab_size=61)
GROUPS = {1: (4, 4), 2: (4, 2), 3: (6, 2), 4: (8, 2), 5: (10, 2), 6: (12, 2), 7: (14, 2), 8: (16, 2)}
RING = replace(SMALL, n_layers=2, head_dim=8, n_heads=6, n_kv_heads=2, window=8)
FORMATS = replace(SMALL, n_layers=2, head_dim=10, n_heads=6, n_kv_heads=3, window=9, vocab_size=47)

MODELS = {f"gqa-{r}": Model(replace(SMALL, n_heads=q, n_kv_heads=kv), r) for r, (q, kv) in GROUPS.items()} | {
    "gqa-4": Model(replace(SMALL, n_heads=8, n_kv_heads=2, head_dim=4), 4),  # n_heads x head_dim = dim: wq is square
    "one-kv-head": Model(replace(SMALL, head_dim=4, n_heads=5, n_kv_heads=1), 9),
    "window": Model(replace(SMALL, window=9), 10),
    "window-one": Model(replace(SMALL, window=1, n_heads=3, n_kv_heads=3, head_dim=4), 11),
    "no-window": Model(replace(SMALL, n_layers=3, n_heads=4), 12),
    "deep": Model(replace(SMALL, dim=20, n_layers=6, head_dim=4, hidden_dim=28, window=5, vocab_size=41), 13),
    "ring": Model(RING, 14),
    "mistral-float32": Model(FORMATS, 15, "float32", None),
    "mistral-bfloat16": Model(FORMATS, 15, "bfloat16", None),
    "mistral-float16": Model(FORMATS, 15, "float16", None),
    "mistral-mixed": Model(FORMATS, 15, "mixed", None),
    "hf-float32": Model(FORMATS, 15, "float32", None, "hf"),
    "hf-bfloat16": Model(FORMATS, 15, "bfloat16", None, "hf"),
    "hf-float16": Model(FORMATS, 15, "float16", None, "hf"),
    "tied": Model(replace(FORMATS, tied_embeddings=True), 16, "bfloat16", None, "hf"),
    "theta": Model(replace(FORMATS, rope_theta=1e6, norm_eps=1e-6, window=None), 17, "bfloat16", None),
}

TEXTS = {f"gqa-{r}": Text(f"gqa-{r}", 10 + r, r) for r in GROUPS} | {
    "one-token": Text("gqa-1", 1, 20),
    "two-tokens": Text("gqa-1", 2, 21),
    "one-kv-head": Text("one-kv-head", 13, 9),
    "window-above": Text("window", 7, 22),
    "window-equal": Text("window", 9, 23),
    "window-below": Text("window", 31, 24),
    "window-one": Text("window-one", 12, 25),
    "no-window": Text("no-window", 27, 26),
    "deep": Text("deep", 53, 27),
    "long": Text("ring", 400, 28),
    "ring": Text("ring", 44, 29),
    "ring-5": Text("ring", 5, 30),
    "ring-17": Text("ring", 17, 31),
    "ring-30": Text("ring", 30, 32),
    "tied": Text("tied", 23, 34),
    "theta": Text("theta", 23, 35),
} | {name: Text(name, 23, 33) for name in MODELS if name.startswith(("mistral-", "hf-"))}  # fmt: skip
LOGITS_ONLY = {"long"}  # its stages would be as large as all the others together


def chunks(T: int, *sizes: int) -> tuple[tuple[int], ...]:
    """Calls of one sequence: the sizes in turn, the last of them again and again, until T tokens are given.

    >>> chunks(10, 5, 2)
    ((5,), (2,), (2,), (1,))
    """
    calls: list[tuple[int]] = []
    while T:
        size = min(sizes[min(len(calls), len(sizes) - 1)], T)
        calls.append((size,))
        T -= size
    return tuple(calls)


def whole(text: str, level: int, about: str, name: str = "") -> Case:
    """A text in one call."""
    return Case(f"{level}-{name or text}", level, about, (text,), ((TEXTS[text].T,),))


def in_chunks(name: str, about: str, *sizes: int, text: str = "ring") -> Case:
    return Case(f"3-{name}", 3, about, (text,), chunks(TEXTS[text].T, *sizes))


def batch(name: str, about: str, texts: tuple[str, ...], calls: tuple[tuple[int, ...], ...]) -> Case:
    return Case(f"4-{name}", 4, about, texts, calls)


@lru_cache
def cases() -> dict[str, Case]:
    """All cases by name, in the order of the levels."""
    found = [
        whole("one-token", 1, "One token: no rotation, and attention is its own value."),
        whole("two-tokens", 1, "Two tokens: the second is rotated, and sees the first."),
        *(whole(f"gqa-{r}", 1, about_group(r)) for r in GROUPS),
        whole("one-kv-head", 1, "One key/value head that all query heads read."),
        whole("window-above", 2, "A window wider than the text: nothing falls out of it."),
        whole("window-equal", 2, "A window as long as the text: still nothing falls out."),
        whole("window-below", 2, "A window of 9 on 31 tokens: token t sees t - 8 .. t."),
        whole("window-one", 2, "A window of 1: each token sees itself alone."),
        whole("no-window", 2, "Three layers without a window: everything before is seen."),
        whole("deep", 2, "Six layers with a window of 5: what falls out is still felt, through the layers."),
        whole("long", 2, "400 tokens: positions that 8 bits cannot count."),
        in_chunks("steps", "Token by token: the ring is written 44 times.", 1),
        in_chunks("chunks-2", "Chunks of 2.", 2),
        in_chunks("chunks-7", "Chunks of W - 1.", 7),
        in_chunks("chunks-8", "Chunks of W: each fills the ring.", 8),
        in_chunks("chunks-9", "Chunks of W + 1: each is longer than the ring.", 9),
        in_chunks("chunks-19", "Chunks of 2W + 3: of each only the last W keys stay.", 19),
        in_chunks("prompt-5", "A prompt shorter than W, then token by token past 2W.", 5, 1),
        in_chunks("prompt-21", "A prompt longer than W and no multiple of it, then token by token.", 21, 1),
        in_chunks("uneven", "Chunks of 3, 14, 1, 1, 8, 2, and then of 5.", 3, 14, 1, 1, 8, 2, 5),
        in_chunks("no-window", "No window: the cache keeps everything.", 10, 4, 1, text="no-window"),
        batch("same-length", "The same text twice: alone or beside another, the same.", ("ring-17",) * 2, ((17, 17),)),
        batch("ragged", "Four lengths in one call.", ("ring-5", "ring-17", "ring-30", "ring"), ((5, 17, 30, 44),)),
        batch(
            "ragged-steps",
            "Four lengths, then token by token, each at its own position and with its own ring.",
            ("ring-5", "ring-17", "ring-30", "ring"),
            ((2, 7, 12, 20), *((1, 1, 1, 1),) * 3, *((0, 1, 1, 1),) * 7, *((0, 0, 1, 1),) * 8, *((0, 0, 0, 1),) * 6),
        ),
        batch(
            "joining",
            "Sequences come and go: one is in its prompt while another goes token by token.",
            ("ring-5", "ring-17", "ring-30"),
            ((0, 0, 11), (4, 0, 1), (1, 0, 1), *((0, 0, 1),) * 2, (0, 13, 1), *((0, 1, 1),) * 4, (0, 0, 10)),
        ),
        *(whole(name, 5, about_format(name)) for name in MODELS if name.startswith(("mistral-", "hf-"))),
        whole("tied", 5, "The output matrix is the embedding: the file has no other."),
        whole("theta", 5, "rope_theta 1 000 000 and norm_eps 1e-6."),
    ]  # fmt: skip
    for case in found:
        given = [sum(counts) for counts in zip(*case.calls, strict=True)]
        assert given == [TEXTS[t].T for t in case.texts], case.name
    return {case.name: case for case in found}


def about_group(ratio: int) -> str:
    if ratio == 1:
        return "As many key/value heads as query heads."
    if ratio == 4:
        return "4 query heads read each of two key/value heads; n_heads x head_dim = dim, as in Mistral 7B."
    return f"{ratio} query heads read each of two key/value heads."


def about_format(name: str) -> str:
    layout, dtype = name.split("-")
    names = (
        "Mistral's names and row order" if layout == "mistral" else "Hugging Face's names, query and key rows permuted"
    )
    return f"{names}, {'float32 norms and bfloat16 matrices' if dtype == 'mixed' else dtype}."
