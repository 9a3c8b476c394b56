"""The user's object: a model that is called with token ids, generates, and shows its stages."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from minimistral import sampling
from minimistral.arithmetic import Arithmetic, by_name
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.rolling_cache import RollingCache
from minimistral.trace import chosen_stages, recorder
from minimistral.transformer import Stage, finite, output, transformer
from minimistral.weights import Weights, from_tensors, random_tensors

CHUNK = 512  # tokens of a pre-fill taken at once: bounds the memory for scores, changes no bit in `exact`
Tokens = Sequence[int] | np.ndarray
Progress = Callable[[int, int], None]


class Mistral:
    """A Mistral with its weights, in one arithmetic.

    >>> from minimistral.config import Config
    >>> config = Config(dim=12, n_layers=2, head_dim=4, hidden_dim=20, n_heads=6, n_kv_heads=2, vocab_size=31, window=3)
    >>> model = Mistral.random(config)
    >>> tokens = [1, 5, 30, 7, 2, 9, 4]
    >>> logits = model(tokens)
    >>> logits.shape
    (7, 31)
    >>> cache = model.new_cache()
    >>> by_chunks = np.concatenate([model(tokens[:2], cache), model(tokens[2:], cache)])
    >>> bool((by_chunks == logits).all())
    True
    """

    cache_class = RollingCache  # of the caches that it reads; a compiled model has its own
    chunk = CHUNK

    def __init__(self, config: Config, weights: Weights, arithmetic: Arithmetic):
        self.config = config
        self.weights = weights
        self.arithmetic = arithmetic
        self.notes: list[str] = []  # what a reader of the checkpoint should know, a line each
        self.folder: Path | None = None
        self._tokenizer = None

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        arithmetic: str = "exact",
        memory: int | None = None,
        window: int | str | None = "config",
    ) -> "Mistral":
        """A model from a Mistral or Hugging Face folder; without a path, the embedded storyteller.

        memory: bytes for prepared copies of weights (default: half of what is free). window: another than the
        config's; None for no window. BadInput if the folder cannot be used: everything is checked before any work.
        """
        from dataclasses import replace

        from minimistral.checkpoint import load_weights, open_checkpoint

        if path is None:
            from minimistral.embedded import STORYTELLER as path
        numbers = by_name(arithmetic)
        checkpoint = open_checkpoint(path)
        config = checkpoint.config if window == "config" else replace(checkpoint.config, window=_window(window))
        model = cls(config, load_weights(checkpoint, numbers, memory), numbers)
        model.notes = list(checkpoint.notes)
        model.folder = Path(checkpoint.folder)
        return model

    @classmethod
    def random(
        cls, config: Config, seed: int = 0, arithmetic: str = "exact", dtype: np.dtype | str = "float32"
    ) -> "Mistral":
        """A model with random weights (the same for the same seed on every machine), for lessons and tests."""
        return cls.from_tensors(random_tensors(config, seed, dtype), config, arithmetic)

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray], config: Config, arithmetic: str = "exact") -> "Mistral":
        """A model from arrays by their names in Mistral's files: change one, and see what it does.

        >>> from minimistral.weights import random_tensors
        >>> config = Config(dim=12, n_layers=1, head_dim=4, hidden_dim=20, n_heads=6, n_kv_heads=2, vocab_size=31)
        >>> tensors = random_tensors(config)
        >>> tensors["norm.weight"] = 0 * tensors["norm.weight"]
        >>> bool((Mistral.from_tensors(tensors, config)([1, 2]) == 0).all())
        True
        """
        numbers = by_name(arithmetic)
        return cls(config, from_tensors(tensors, config, numbers), numbers)

    @property
    def tokenizer(self):
        """The folder's tokenizer, read when first asked for; BadInput if there is none."""
        if self._tokenizer is None:
            from minimistral.tokenizer import find_tokenizer

            if self.folder is None:
                raise BadInput("tokenizer: this model was not loaded from a folder, so it has none")
            tokenizer = find_tokenizer(self.folder)
            if tokenizer.vocab_size > self.config.vocab_size:
                raise BadInput(
                    f"{self.folder}: the tokenizer has {tokenizer.vocab_size} pieces, "
                    f"expected at most the model's vocabulary of {self.config.vocab_size}"
                )
            self._tokenizer = tokenizer
        return self._tokenizer

    @property
    def eos_id(self) -> int:
        """The id that ends a text: the tokenizer's; 2, as in every Mistral, where there is no tokenizer."""
        try:
            return self.tokenizer.eos_id
        except BadInput:
            return 2

    def new_cache(self) -> RollingCache:
        """An empty rolling buffer, for one sequence."""
        return RollingCache(self.config, self.arithmetic.dtype)

    def __call__(self, tokens, cache=None, chunk: int | None = None):
        """Logits for every position: (T,) ids -> (T, vocab_size). With a cache, continues where that stands.

        Lists of ids with a list of caches are a ragged batch: -> a list of (T_i, vocab_size).
        chunk: tokens taken at once (default 512). BadInput for ids that the vocabulary does not have.
        """
        sequences, caches, single = self._batch(tokens, cache)
        rows: list[list[np.ndarray]] = [[] for _ in sequences]
        for alive, h in self._prefill(sequences, caches, self.chunk if chunk is None else chunk):
            for i, part in zip(alive, h, strict=True):
                rows[i].append(self.output(part))
        logits = [np.concatenate(r) for r in rows]
        return logits[0] if single else logits

    def next_logits(self, tokens, cache=None, chunk: int | None = None, progress: Progress | None = None):
        """Logits of the last position only: (vocab_size,); for a batch, a list of them."""
        sequences, caches, single = self._batch(tokens, cache)
        last: list[np.ndarray | None] = [None] * len(sequences)
        for alive, h in self._prefill(sequences, caches, self.chunk if chunk is None else chunk, progress):
            for i, part in zip(alive, h, strict=True):
                last[i] = part[-1:]
        logits = self.output(np.concatenate(last))
        return logits[0] if single else list(logits)

    def generate(
        self,
        tokens,
        max_new_tokens: int = 512,
        temperature: float = 0.7,
        top_p: float = 0.9,
        top_k: int = 0,
        seed: int | Sequence[int] = 0,
        progress: Progress | None = None,
    ) -> Iterator:
        """New token ids, one at a time, up to EOS (not given), max_new_tokens, or the context's end without a window.

        A list of prompts gives a list at each step, None for a sequence that has ended. The draw for a position depends
        on the seed and the position alone, so a batched or resumed run draws the same. BadInput for options out of range.
        """
        _check_options(max_new_tokens, temperature, top_p, top_k, seed)
        prompts, caches, single = self._batch(tokens, None)
        seeds = [seed] * len(prompts) if isinstance(seed, int | np.integer) else list(seed)
        if len(seeds) != len(prompts):
            raise BadInput(f"seed: {len(seeds)} seeds for {len(prompts)} prompts")
        for prompt in prompts:
            self.check_context(len(prompt))
        steps = self._steps(prompts, caches, max_new_tokens, (temperature, top_p, top_k), seeds, progress)
        return (step[0] for step in steps) if single else steps

    def _steps(self, prompts, caches, max_new_tokens, options, seeds, progress) -> Iterator[list[int | None]]:
        alive, parts, eos = list(range(len(prompts))), prompts, self.eos_id
        for _ in range(max_new_tokens):
            alive = [i for i in alive if not self.context_full(caches[i].length + len(parts[i]))]
            if not alive:
                return
            logits = self.next_logits([parts[i] for i in alive], [caches[i] for i in alive], progress=progress)
            progress = None
            step: list[int | None] = [None] * len(prompts)
            for i, scores in zip(alive, logits, strict=True):
                drawn = sampling.sample(scores, *options, seeds[i], caches[i].length)
                step[i] = None if drawn == eos else drawn
            alive = [i for i in alive if step[i] is not None]
            parts = {i: np.array([step[i]]) for i in alive}
            if alive:
                yield step

    def trace(self, tokens: Tokens, chunk: int | None = None, only: str | Sequence[str] | None = None) -> dict:
        """{stage name: array} of one run from an empty cache; in one shot, or in chunks. See docs/trace.md for names.

        only: shell patterns of the stages to keep; `scores` come only when named.
        """
        sequences, caches, _ = self._batch(tokens, None)
        stages = dict.fromkeys(chosen_stages(self.config, only))
        stage = recorder(stages, len(sequences[0]), caches[0], self.config)
        for _, h in self._prefill(sequences, caches, len(sequences[0]) if chunk is None else chunk, stage=stage):
            if "logits" in stages:
                self.output(h[0], stage)
        return stages

    def check_context(self, length: int) -> None:
        """BadInput if a prompt of `length` does not fit a model without a window."""
        if self.context_full(length):
            raise BadInput(
                f"prompt: {length} tokens, but the context is {self.config.context_len} and there is no window"
            )

    def context_full(self, length: int) -> bool:
        """Whether `length` tokens pass the context; a window in every layer makes the length free."""
        windows = [self.config.layer_window(i) for i in range(self.config.n_layers)]
        return self.config.context_len is not None and None in windows and length > self.config.context_len

    def hidden(self, sequences: list[np.ndarray], caches: list[RollingCache], stage: Stage = finite) -> np.ndarray:
        """Token ids of each sequence -> the residual stream after the final norm, all rows of all: (T, dim)."""
        return transformer(sequences, caches, self.weights, self.config, self.arithmetic, stage)

    def output(self, h: np.ndarray, stage: Stage = finite) -> np.ndarray:
        """Rows of `hidden` -> logits: (T, dim) -> (T, vocab_size)."""
        return output(h, self.weights, self.arithmetic, stage)

    def _prefill(self, sequences, caches, chunk: int, progress: Progress | None = None, stage: Stage = finite):
        """Pre-fill and chunking (paper, section 2): yields (indices of sequences, their hidden rows), chunk by chunk."""
        if chunk < 1:
            raise BadInput(f"chunk: {chunk}, expected 1 or more tokens")
        longest = max(len(s) for s in sequences)
        for start in range(0, longest, chunk):
            alive = [i for i, s in enumerate(sequences) if start < len(s)]
            parts = [sequences[i][start : start + chunk] for i in alive]
            own = [caches[i] for i in alive]
            h = self.hidden(parts, own, stage)
            yield alive, np.split(h, np.cumsum([len(p) for p in parts])[:-1])
            if progress is not None:
                progress(min(start + chunk, longest), longest)

    def _batch(self, tokens, cache) -> tuple[list[np.ndarray], list[RollingCache], bool]:
        """Whatever was handed over, as a list of id arrays, a list of caches, and whether it was one sequence."""
        if not isinstance(tokens, Sequence | np.ndarray) or np.ndim(tokens[:1]) == 0:
            raise BadInput(f"tokens: expected a list of ids or a list of such lists, found {type(tokens).__name__}")
        single = len(tokens) == 0 or np.ndim(tokens[0]) == 0
        sequences = [self._ids(t) for t in ([tokens] if single else tokens)]
        caches = [cache] if single else list(cache) if cache is not None else [None] * len(sequences)
        if len(caches) != len(sequences):
            raise BadInput(f"caches: {len(caches)} for {len(sequences)} sequences")
        caches = [self.new_cache() if c is None else c for c in caches]
        if len({id(c) for c in caches}) != len(caches):
            raise BadInput("caches: one cache is given to two sequences; each needs its own")
        if not all(type(c) is self.cache_class and c.fits(self.config, self.arithmetic.dtype) for c in caches):
            raise BadInput("caches: made by another model, window or arithmetic; model.new_cache() makes one")
        return sequences, caches, single

    def _ids(self, tokens: Tokens) -> np.ndarray:
        ids = np.asarray(tokens)
        if ids.ndim != 1 or ids.size == 0 or ids.dtype.kind not in "iu":
            raise BadInput(f"tokens: expected one or more whole numbers, found {ids.dtype} of shape {ids.shape}")
        outside = (ids < 0) | (ids >= self.config.vocab_size)
        if outside.any():
            t = int(np.argmax(outside))
            raise BadInput(f"tokens: id {ids[t]} at position {t}, expected 0 to {self.config.vocab_size - 1}")
        return ids.astype(np.int64)


def _window(window: int | str | None) -> int | None:
    if window is not None and (not isinstance(window, int | np.integer) or isinstance(window, bool) or window < 1):
        raise BadInput(f"window: {window!r}, expected a whole number from 1, or none")
    return window


def _check_options(max_new_tokens, temperature, top_p, top_k, seed) -> None:
    """One line for each option out of range."""
    if max_new_tokens < 0:
        raise BadInput(f"max_new_tokens: {max_new_tokens}, expected 0 or more")
    if not (0 <= temperature < float("inf")):
        raise BadInput(f"temperature: {temperature}, expected a number from 0 (0: the most likely token)")
    if not (0 < top_p <= 1):
        raise BadInput(f"top_p: {top_p}, expected more than 0 and at most 1")
    if top_k < 0:
        raise BadInput(f"top_k: {top_k}, expected 0 (all) or more")
    for s in [seed] if isinstance(seed, int | np.integer) else seed:
        if not (0 <= s < 2**64):
            raise BadInput(f"seed: {s}, expected 0 to 2^64 - 1")
