"""Mistral on the compiled kernels: what is asked of them is laid out here, and what they found is looked at."""

import threading
from typing import NamedTuple

import numpy as np

from fastpath.cpu import kernels, layers
from fastpath.cpu.attention import AttentionScratch, attention_scratch_for
from fastpath.cpu.layers import Batch, Gathered, New, Shape, Stages, Weights
from fastpath.cpu.linear import KINDS, Integers, Scratch, integers_for, scratch_for
from fastpath.cpu.ring import IntegerCache, key_bits
from fastpath.cpu.simd import TILE_ROWS
from fastpath.cpu.team import Team, threads_for
from minimistral.arithmetic.exact import TERMS, TOO_MANY
from minimistral.attention import NO_SOFTMAX
from minimistral.config import Config
from minimistral.costs import parameters
from minimistral.errors import BadInput, NotFinite
from minimistral.mistral import Mistral
from minimistral.rope import rope_table
from minimistral.transformer import Stage, finite

MATRICES = ("wq", "wk", "wv", "wo", "w1", "w3", "w2")  # in the order of layers.FIRST
STAGES = (  # in the order they are made: the name, and what the kernels call it
    ("attention_norm", layers.NORM_1), ("q", layers.Q), ("k", layers.K), ("v", layers.V), ("q_rope", layers.Q_ROPE),
    ("k_rope", layers.K_ROPE), ("scores", layers.SCORES), ("attention", layers.ATTENTION),
    ("attention_output", layers.WO_OUT), ("attention_residual", layers.RESIDUAL), ("ffn_norm", layers.NORM_2),
    ("gate", layers.GATE), ("up", layers.UP), ("ffn_hidden", layers.HIDDEN), ("ffn_output", layers.W2_OUT),
    ("output", layers.OUTPUT),
)  # fmt: skip
PAGE = 256  # positions whose cosines and sines are made at a time


class Workspace(NamedTuple):
    """Arrays of the kernels for calls of one size."""

    stages: Stages
    integers: Integers
    new: New
    scratch: Scratch


class CpuMistral(Mistral):
    """A Mistral whose forward pass is compiled; the same calls, errors and bits. Arithmetic: exact.

    threads: None for as many as are worth it; the bits do not depend on it.
    """

    backend = "cpu"
    cache_class = IntegerCache

    def __init__(self, config: Config, weights, arithmetic, threads: int | None = None):
        if arithmetic.name != "exact":
            raise BadInput(f"arithmetic: the compiled kernels compute exact only, found {arithmetic.name}")
        super().__init__(config, weights, arithmetic)
        c = config
        scale = float(1.0 / np.sqrt(np.float64(c.head_dim)))
        self._shape = Shape(
            c.n_layers, c.head_dim, c.n_heads, c.n_kv_heads, key_bits(c.head_dim), float(c.norm_eps), scale
        )
        self._team = Team(threads_for(parameters(c)["total"]) if threads is None else threads)
        self._matrices = _Matrices(weights, config, self._team)
        self._windows = np.array([c.layer_window(i) or 0 for i in range(c.n_layers)], np.int64)
        self._no_cache = IntegerCache(config)
        self._workspaces: dict[int, Workspace] = {}  # by rows
        self._lock = threading.RLock()  # two callers would write the same workspace
        self._attention_scratch: AttentionScratch | None = None
        self._pages: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def new_cache(self) -> IntegerCache:
        """An empty rolling buffer, for one sequence."""
        return IntegerCache(self.config)

    def hidden(self, sequences, caches, stage: Stage = finite) -> np.ndarray:
        """Token ids of each sequence -> the residual stream after the final norm, all rows of all: (T, dim)."""
        with self._lock:
            return self._hidden(sequences, caches, stage)

    def _hidden(self, sequences, caches, stage: Stage) -> np.ndarray:
        c, traced = self.config, stage is not finite
        counts = [len(s) for s in sequences]
        lengths = [cache.length for cache in caches]
        for cache, count in zip(caches, counts, strict=True):
            cache.make_room(count)
        work = self._room(sum(counts))
        batch = self._batch_of(counts, lengths, caches)
        gathered = self._gathered(counts, caches)
        h = stage("embedding", self.arithmetic.store(self.weights.tok_embeddings[np.concatenate(sequences)]))
        stages = work.stages._replace(h=h)
        most = max(cache.filled for cache in caches) + max(counts)
        scratch = self._attention_room(most, max(counts) > 1)

        def run(first: int, end: int, finish: bool) -> None:
            self._run(first, end, finish, work, stages, gathered, batch, scratch)

        if traced:
            for i in range(c.n_layers):
                stages = stages._replace(scores=self._scores(counts, caches, i))
                run(i, i + 1, False)
                self._raise(batch.flags)
                self._show(stages, i, counts, caches, stage)
            run(c.n_layers, c.n_layers, True)
        elif self._matrices.resident:
            run(0, c.n_layers, True)
        else:
            for i in range(c.n_layers):
                run(i, i + 1, i == c.n_layers - 1)
        self._raise(batch.flags)
        for cache, count in zip(caches, counts, strict=True):
            cache.length += count
        return stage("norm", work.stages.norm.copy())

    def output(self, h: np.ndarray, stage: Stage = finite) -> np.ndarray:
        """Rows of `hidden` -> logits: (T, dim) -> (T, vocab_size)."""
        y = np.empty((len(h), self.config.vocab_size), np.float32)
        n, caches = self.config.n_layers, [self._no_cache]
        with self._lock:
            work = self._room(len(h))
            stages = work.stages._replace(norm=np.ascontiguousarray(h), logits=y)
            batch, gathered = self._batch_of([1], [0], caches), self._gathered([1], caches)
            self._run(n, n + 1, False, work, stages, gathered, batch, self._attention_room(1, False))
        return stage("logits", y)

    def _run(
        self, first: int, end: int, finish: bool, work: Workspace, stages: Stages, gathered, batch, scratch
    ) -> None:
        """Layers first to end; layer n_layers is the output."""
        n = self.config.n_layers
        weights = self._matrices.table(first, end)
        steps = 4 * first, 4 * min(end, n) + (end > n)
        self._team.run(kernels.forward, *steps, finish, TERMS, self._shape, weights, stages, work.integers, work.new,
                       gathered, batch, work.scratch, scratch)  # fmt: skip

    # ---- what the kernels need ----------------------------------------------------------------------------------

    def _room(self, T: int) -> Workspace:
        if T not in self._workspaces:
            if len(self._workspaces) >= 3:
                self._workspaces.clear()
            c = self.config
            q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
            f = [np.empty((T, n), np.float32) for n in (c.dim, c.dim, q, kv, kv)]
            heads = [np.empty((T, n, c.head_dim), np.float32) for n in (c.n_heads, c.n_kv_heads, c.n_heads)]
            rest = [np.empty((T, n), np.float32) for n in (c.dim,) * 3 + (c.hidden_dim,) * 3 + (c.dim,) * 2]
            stages = Stages(*f, *heads, *rest, np.empty((0, 0), np.float32), np.empty((1, 1, 1, 0), np.float32))
            rows, heads = (c.n_layers, T, kv), (c.n_layers, T, c.n_kv_heads)
            new = New(*(np.empty(shape, np.int32) for shape in (rows, rows, heads, heads)))
            longest = max(c.dim, c.hidden_dim, q)
            self._workspaces[T] = Workspace(stages, integers_for(T, longest), new, scratch_for(self._team.threads, T))
        return self._workspaces[T]

    def _attention_room(self, keys: int, blocks: bool) -> AttentionScratch:
        room = self._attention_scratch
        have = 0 if room is None else room.exponents.shape[1]
        if have < keys or (blocks and room.scores.shape[1] == have):
            size = max(keys, min(2 * have, TERMS))
            self._attention_scratch = attention_scratch_for(self._team.threads, size, self.config.head_dim, blocks)
        return self._attention_scratch

    def _batch_of(self, counts, lengths, caches) -> Batch:
        starts = np.concatenate([[0], np.cumsum(counts)])
        rings = np.array([cache.addresses() for cache in caches], np.int64).swapaxes(0, 1)
        cos, sin = self._cos_sin(np.concatenate([n + np.arange(t) for n, t in zip(lengths, counts, strict=True)]))
        return Batch(
            starts,
            np.array(lengths, np.int64),
            self._windows,
            np.ascontiguousarray(rings),
            np.cumsum([0, *_gathered_keys(counts, caches)])[:-1],
            cos,
            sin,
            np.zeros((self.config.n_layers + 1, layers.FLAGS), np.int32),
        )

    def _gathered(self, counts, caches) -> Gathered:
        c = self.config
        S = sum(_gathered_keys(counts, caches))
        kv, exponents = (c.n_kv_heads, S, c.head_dim), (c.n_kv_heads, S)
        return Gathered(*(np.zeros(shape, np.int32) for shape in (kv, kv, exponents, exponents)))

    def _cos_sin(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """RoPE's table, made by NumPy a page at a time."""
        first, last = int(positions.min()) // PAGE, int(positions.max()) // PAGE
        if first != last or len(positions) > PAGE:
            return rope_table(positions, self.config.head_dim, self.config.rope_theta, self.arithmetic)
        if first not in self._pages:
            page = np.arange(first * PAGE, (first + 1) * PAGE)
            if len(self._pages) >= 16:
                self._pages.clear()
            self._pages[first] = rope_table(page, self.config.head_dim, self.config.rope_theta, self.arithmetic)
        cos, sin = self._pages[first]
        return cos[positions % PAGE], sin[positions % PAGE]

    def _scores(self, counts, caches, layer: int) -> np.ndarray:
        S = max(n + min(cache.length, len(cache.keys[layer])) for n, cache in zip(counts, caches, strict=True))
        return np.full((len(counts), self.config.n_heads, max(counts), S), -np.inf, np.float32)

    # ---- what the kernels found ---------------------------------------------------------------------------------

    def _raise(self, flags: np.ndarray) -> None:
        """The reference's error for the first stage that is not finite."""
        if not flags.any():
            return
        for i in range(self.config.n_layers):
            for name, stage in STAGES:
                if name == "scores":
                    self._raise_scores(flags[i, stage], int(flags[i, layers.COUNT]))
                elif flags[i, stage]:
                    finite(f"layers.{i}.{name}", np.array(np.nan))
        if flags[-1, layers.NORM_1]:
            finite("norm", np.array(np.nan))

    @staticmethod
    def _raise_scores(found: int, keys: int) -> None:
        if found:
            raise NotFinite(NO_SOFTMAX)
        if keys > TERMS:
            raise BadInput(TOO_MANY)

    def _show(self, s: Stages, i: int, counts, caches, stage: Stage) -> None:
        """Hand a layer's stages over, in the reference's order and shapes."""
        heads = {"q": self.config.n_heads, "k": self.config.n_kv_heads, "v": self.config.n_kv_heads}
        for name, _ in STAGES:
            if name == "scores":
                for b, (T, cache) in enumerate(zip(counts, caches, strict=True)):
                    stage(f"layers.{i}.scores", _in_slot_order(s.scores[b], T, cache, i))
                continue
            x = s.h if name == "output" else getattr(s, name)
            stage(f"layers.{i}.{name}", x.reshape(len(x), heads[name], -1) if name in heads else x)


def _gathered_keys(counts, caches) -> list[int]:
    """Keys that each sequence has in Gathered, and room for the last tile; a single token reads the ring instead."""
    return [0 if n == 1 else cache.filled + n + TILE_ROWS for n, cache in zip(counts, caches, strict=True)]


def _in_slot_order(scores: np.ndarray, T: int, cache: IntegerCache, layer: int) -> np.ndarray:
    """Scores (n_heads, T, S) with the cached keys in the order of slots, as the reference has them."""
    filled = min(cache.length, len(cache.keys[layer]))
    if T == 1:
        return scores[:, :1, : filled + 1]
    positions = cache.read(layer)[2]
    columns = np.concatenate([positions - (cache.length - filled), filled + np.arange(T)])
    return scores[:, :T, columns.astype(np.int64)]


class _Matrices:
    """Tables of addresses for the kernels, and the arrays that must stay while they are read."""

    def __init__(self, weights, config: Config, team: Team):
        self._weights, self._config, self._team = weights, config, team
        self._scales: dict = {}  # by (layer, matrix): small, and the same whenever a matrix is made anew
        self._norms = np.zeros((config.n_layers, 2, config.dim))
        self._table = np.zeros((config.n_layers + 1, len(MATRICES), 6), np.int64)
        self._held: dict = {}
        self._norm: np.ndarray | None = None

    @property
    def _kept(self) -> bool:
        """Whether the weights keep what they made: a checkpoint does when its memory allows; arrays always."""
        return getattr(self._weights, "all_kept", True)

    @property
    def resident(self) -> bool:
        """Whether every matrix is here to stay, so that all layers can be run in one call."""
        return len(self._held) == self._config.n_layers * len(MATRICES) + 1 and self._kept

    def table(self, first: int, end: int) -> Weights:
        """Weights, with the rows of layers first to end filled in."""
        if self._norm is None:
            self._norm = np.asarray(self._weights.norm, np.float64)
        if not self.resident:
            if not self._kept:
                self._held.clear()
            for i in range(first, end):
                if i == self._config.n_layers:
                    self._table[i, 0] = self._entry((i, 0), self._weights.output)
                    continue
                layer = self._weights.layers[i]
                self._norms[i] = layer.attention_norm, layer.ffn_norm
                for m, name in enumerate(MATRICES):
                    self._table[i, m] = self._entry((i, m), getattr(layer, name))
        return Weights(self._table, self._norms, self._norm)

    def _entry(self, key, w: np.ndarray) -> tuple[int, ...]:
        w, kind = np.ascontiguousarray(w), KINDS[w.dtype.name]
        if key not in self._scales:
            scales, factors = np.empty(len(w), np.float32), np.empty(len(w))
            self._team.run(kernels.row_scales, kind, w.ctypes.data, *w.shape, scales, factors)
            self._scales[key] = scales, factors, (small := np.flatnonzero(factors < 0))
            if len(small):
                _, e = np.frexp(np.abs(w[small].astype(np.float64)).max(axis=1))
                e = np.maximum(e, -125)
                scales[small], factors[small] = np.ldexp(1.0, 23 - e - RAISE), np.ldexp(1.0, e - 23)
        scales, factors, small = self._scales[key]
        if len(small):  # rows too small for float32: in a copy they are larger by a power of two
            w = w.copy()
            w[small] = np.ldexp(w[small].astype(np.float64), RAISE).astype(w.dtype)
        self._held[key] = w
        return w.ctypes.data, scales.ctypes.data, factors.ctypes.data, kind, *w.shape


RAISE = 64  # binary places by which rows of tiny weights are moved up
