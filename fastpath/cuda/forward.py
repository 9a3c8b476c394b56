"""The forward pass on the GPU: the same stages in the same order as minimistral/transformer.py, a launch or two each.

Two ways through attention. Where every sequence brings one token, its key and value go straight into the ring (into the
slot of the one position that the query no longer sees) and the query attends to the ring. Otherwise a chunk's keys and
values wait beside the ring until every layer has read, and attention sees ring and chunk, put in order of position.
"""

from typing import NamedTuple

import numpy as np
from numba import cuda

from fastpath.cuda import decode_attention, gemv, ring, rows
from fastpath.cuda.heads import heads
from fastpath.cuda.matrix import DeviceMatrix, upload
from fastpath.cuda.ring import DeviceCache, Vectors
from minimistral.arithmetic import Exact
from minimistral.arithmetic.exact import TERMS
from minimistral.arithmetic.widen import FLOAT32, widen
from minimistral.attention import attention_values
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.rope import rope_table
from minimistral.trace import stage_names
from minimistral.transformer import Stage, finite, rows_of
from minimistral.weights import Weights

FEW = 8  # rows for which reading the weights is all the cost: up to here the kernels of gemv.py


class DeviceLayer(NamedTuple):
    """One layer's weights on the GPU. Matrices that read the same rows lie one below the other: one launch for all."""

    attention_norm: object  # float32 (dim,)
    wqkv: DeviceMatrix  # wq, wk, wv
    wo: DeviceMatrix
    ffn_norm: object  # float32 (dim,)
    w13: DeviceMatrix  # w1 (gate), w3 (up)
    w2: DeviceMatrix


class DeviceWeights(NamedTuple):
    """A model's weights on the GPU."""

    tok_embeddings: DeviceMatrix  # as in the checkpoint, not gridded
    layers: list[DeviceLayer]
    norm: object  # float32 (dim,)
    output: DeviceMatrix


def upload_weights(weights: Weights, config: Config) -> DeviceWeights:
    """Every weight, copied to the GPU once, a layer at a time."""

    def vector(w: np.ndarray):
        return cuda.to_device(widen(w, FLOAT32))

    layers = []
    for i in range(config.n_layers):
        w = weights.layers[i]
        layers.append(
            DeviceLayer(
                vector(w.attention_norm), upload([w.wq, w.wk, w.wv]), upload([w.wo]),
                vector(w.ffn_norm), upload([w.w1, w.w3]), upload([w.w2]),
            )
        )  # fmt: skip
    return DeviceWeights(upload([weights.tok_embeddings]), layers, vector(weights.norm), upload([weights.output]))


class Buffers:
    """Device arrays for T tokens; what a stage leaves is overwritten by the next layer's."""

    def __init__(self, config: Config, T: int, n_flags: int):
        c, q, kv = config, config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim

        def floats(*shape: int):
            return cuda.device_array(shape, np.float32)

        self.T = T
        # What positions decide comes in one copy: see Forward.inputs. What the host must know leaves in one.
        ends = np.cumsum([8 * T, 4 * T * c.head_dim, 12 * T * c.n_layers]).tolist()
        self.inputs = cuda.device_array(ends[2], np.uint8)
        self.uniform = self.inputs[: ends[0]].view(np.float64)  # (T,), of draws
        self.table = self.inputs[ends[0] : ends[1]].view(np.float32).reshape(T, c.head_dim)  # cosines and sines
        self.places = (
            self.inputs[ends[1] :].view(np.int32).reshape(T, c.n_layers, 3)
        )  # DeviceCache.place, of one token each
        self.outputs = cuda.to_device(np.zeros(T + n_flags, np.int32))
        self.tokens, self.flags = self.outputs[:T], self.outputs[T:]
        self.h, self.x, self.a = floats(T, c.dim), floats(T, c.dim), floats(T, c.dim)
        self.qkv = floats(T, q + 2 * kv)
        self.q, self.k = floats(T, c.n_heads, c.head_dim), floats(T, c.n_kv_heads, c.head_dim)
        self.q_exponent = cuda.device_array((T, c.n_heads), np.int32)
        self.attention = floats(T, q)
        self.gate_up, self.hidden = floats(T, 2 * c.hidden_dim), floats(T, c.hidden_dim)
        self.x_max = cuda.device_array(T, np.int32)
        self.later = cuda.device_array((2, T), np.int32)  # maxima of attention and of the hidden rows
        self.scratch: list[decode_attention.Scratch] = []  # one a sequence
        self.rows = cuda.to_device(np.arange(T, dtype=np.int32))  # where in a chunk a row goes: to itself
        self.chunk: list[tuple[Vectors, Vectors]] = []  # a chunk's keys and values, a layer each
        self.gathered: dict[int, list[Vectors]] = {}  # keys and values by position, of one layer; by how many


class Forward:
    """A model on the GPU. plain: prefill too by the kernels of decoding, a row at a time."""

    def __init__(self, config: Config, weights: Weights, plain: bool = False):
        self.config = config
        self.weights = upload_weights(weights, config)
        self.plain = plain
        self.stages = stage_names(config)
        self.index = {name: i for i, name in enumerate(self.stages)}
        self._buffers: Buffers | None = None

    def new_buffers(self, T: int) -> Buffers:
        """Buffers with flags for every stage, and one for any."""
        return Buffers(self.config, T, 1 + len(self.stages))

    def buffers(self, T: int) -> Buffers:
        """Those of the last call, if they are of this size."""
        if self._buffers is None or self._buffers.T != T:
            self._buffers = None  # freed before the new ones are made
            self._buffers = self.new_buffers(T)
        return self._buffers

    # ---- calls ---------------------------------------------------------------------------------------------------
    def hidden(self, sequences: list[np.ndarray], caches: list[DeviceCache], stage: Stage = finite) -> np.ndarray:
        """Token ids of each sequence -> the residual stream after the final norm, on the host: (T, dim) float32.

        NotFinite names the first stage with a NaN or an infinity; the caches are then as they were.
        """
        b = self.buffers(sum(len(s) for s in sequences))
        look = None if stage is finite else stage
        starts, counts = [cache.length for cache in caches], [len(s) for s in sequences]
        self.reserve(b, counts, caches)
        b.inputs.copy_to_device(self.inputs(starts, counts, caches))
        b.outputs.copy_to_device(np.concatenate([*sequences, np.zeros(b.flags.shape)]).astype(np.int32))
        if b.T == len(sequences):
            self.launch(b, caches, 0, look)
            self.check(b.flags.copy_to_host())
        else:
            b.gathered.clear()
            if not b.chunk:
                b.chunk = [(self._vectors(b.T), self._vectors(b.T)) for _ in range(self.config.n_layers)]
            self.launch(b, caches, 0, look, b.chunk, counts)
            self.check(b.flags.copy_to_host())
            self._write(b.chunk, sequences, caches)
        for cache, start, count in zip(caches, starts, counts, strict=True):
            cache.length = start + count
        x = b.x.copy_to_host()
        return x if look is None else look("norm", x)

    def logits(self, h: np.ndarray) -> np.ndarray:
        """Rows of `hidden` -> (T, vocab_size) float32, on the host."""
        x = cuda.to_device(np.ascontiguousarray(h, np.float32))
        y = cuda.device_array((len(h), self.config.vocab_size), np.float32)
        x_max = cuda.device_array(len(h), np.int32)
        rows.maxima(x, x_max, cuda.device_array(2, np.int32), 0)
        self.linear(x, x_max, self.weights.output, y)
        return y.copy_to_host()

    def reserve(self, b: Buffers, counts: list[int], caches: list[DeviceCache]) -> bool:
        """Room for so many more tokens a sequence; True if an array moved. BadInput for more keys than can be summed."""
        moved = False
        for count, cache in zip(counts, caches, strict=True):
            longest = max(min(cache.length + count, w or TERMS + 1) for w in cache.windows)
            if longest > TERMS:
                raise BadInput(f"exact arithmetic sums at most {TERMS} terms, found {longest}; try float32")
            moved |= cache.reserve(cache.length + count)
        slots = max(cache.slots(i) for cache in caches for i in range(self.config.n_layers))
        if len(counts) == b.T and (not b.scratch or b.scratch[0].scores.shape[1] < slots):
            c, moved = self.config, True
            b.scratch = [decode_attention.Scratch(c.n_heads, c.head_dim, slots) for _ in range(b.T)]
        return moved

    def inputs(self, starts: list[int], counts: list[int], caches: list[DeviceCache], uniform=None) -> np.ndarray:
        """What the positions of a call decide, as Buffers.inputs has it: uniform numbers, cosines and sines, places."""
        c, T = self.config, sum(counts)
        positions = np.concatenate([start + np.arange(count) for start, count in zip(starts, counts, strict=True)])
        places = np.zeros((T, c.n_layers, 3), np.int32)
        if T == len(counts):
            places[:] = [
                [cache.place(i, p) for i in range(c.n_layers)] for cache, p in zip(caches, starts, strict=True)
            ]
        table = np.hstack(rope_table(positions, c.head_dim, c.rope_theta, Exact()))
        parts = np.zeros(T) if uniform is None else np.array(uniform), table, places
        return np.concatenate([part.reshape(-1).view(np.uint8) for part in parts])

    def check(self, flags: np.ndarray) -> None:
        """NotFinite if a stage is marked: the first one."""
        if flags[0]:
            first = int(np.argmax(flags[1:] != 0))
            if self.stages[first].endswith(".scores"):  # the reference's own error, in its own words
                attention_values(np.full((1, 1, 1), np.inf), np.zeros((1, 1, 1)), Exact())
            finite(self.stages[first], np.array([np.nan]))

    # ---- launches ------------------------------------------------------------------------------------------------
    def launch(self, b: Buffers, caches, stream=0, look: Stage | None = None, chunk=None, lengths=None) -> None:
        """All stages up to the final norm, which is left in b.x.

        chunk: a pair of Vectors a layer to take the chunk's keys and values; None: one token a sequence, into the rings.
        """
        c, w, index = self.config, self.weights, self.index
        rows.embed(b.tokens, w.tok_embeddings, b.h, b.flags, index["embedding"], stream)
        self._look(look, "embedding", b.h)
        added, before = None, ("embedding", "embedding")  # what the last layer added, and the names of it and its sum
        for i, layer in enumerate(w.layers):
            name = f"layers.{i}"
            self._norm(b, added, layer.attention_norm, (*before, f"{name}.attention_norm"), stream, look)
            self.linear(b.x, b.x_max, layer.wqkv, b.qkv, stream)
            if chunk is None:
                self._attend_ring(b, caches, i, stream, look)
            else:
                self._attend_chunk(b, caches, i, chunk[i], lengths, look)
            self._look(look, f"{name}.attention", b.attention, (b.T, c.n_heads, c.head_dim))
            self.linear(b.attention, b.later[0], layer.wo, b.a, stream)
            names = (f"{name}.attention_output", f"{name}.attention_residual", f"{name}.ffn_norm")
            self._norm(b, b.a, layer.ffn_norm, names, stream, look)
            self._gated(b, layer.w13, f"{name}.", stream, look)
            self.linear(b.hidden, b.later[1], layer.w2, b.a, stream)
            added, before = b.a, (f"{name}.ffn_output", f"{name}.output")
        self._norm(b, added, w.norm, (*before, "norm"), stream, look)

    def linear(self, x, x_max, w: DeviceMatrix, y, stream=0) -> None:
        """y = store(x W^T), by the kernel for so many rows. x_max: the rows' largest magnitudes."""
        if self.plain or x.shape[0] <= FEW:
            gemv.launch(x, x_max, w, y, stream)
        else:
            from fastpath.cuda import matmul

            matmul.launch(x, x_max, w, y, stream)

    def _norm(self, b: Buffers, added, weight, names: tuple[str, str, str], stream, look) -> None:
        stages = tuple(self.index[n] for n in names)
        rows.norm(b.h, added, weight, self.config.norm_eps, b.x, b.x_max, b.later, b.flags, stages, stream)
        if added is not None:
            self._look(look, names[0], added)
            self._look(look, names[1], b.h)
        if names[2] != "norm":  # shown when the caches are written
            self._look(look, names[2], b.x)

    def _gated(self, b: Buffers, w13: DeviceMatrix, name: str, stream, look) -> None:
        """swiglu(w1 x, w3 x), in one launch where nobody looks at gate and up and the weights are all the cost."""
        stage = self.index[f"{name}gate"]
        if look is None and b.T <= FEW:
            gemv.launch_gated(b.x, b.x_max, w13, b.hidden, b.later[1], b.flags, stage, stream)
            return
        self.linear(b.x, b.x_max, w13, b.gate_up, stream)
        rows.gated(b.gate_up, b.hidden, b.later[1], b.flags, stage, stream)
        if look is not None:
            gate, up = np.split(b.gate_up.copy_to_host(), 2, axis=1)
            look(f"{name}gate", np.ascontiguousarray(gate))
            look(f"{name}up", np.ascontiguousarray(up))
            look(f"{name}ffn_hidden", b.hidden.copy_to_host())

    def _look(self, look: Stage | None, name: str, x, shape=None) -> None:
        if look is not None:
            x = x.copy_to_host()
            look(name, x if shape is None else x.reshape(shape))

    def _look_heads(self, b: Buffers, i: int, look: Stage | None) -> None:
        if look is not None:
            c = self.config
            q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
            parts = np.split(b.qkv.copy_to_host(), [q, q + kv], axis=1)
            for stage, x in zip("qkv", parts, strict=True):
                look(f"layers.{i}.{stage}", np.ascontiguousarray(x).reshape(b.T, -1, c.head_dim))
            look(f"layers.{i}.q_rope", b.q.copy_to_host())
            look(f"layers.{i}.k_rope", b.k.copy_to_host())

    def _attend_ring(self, b: Buffers, caches: list[DeviceCache], i: int, stream, look) -> None:
        c = self.config
        stage = self.index[f"layers.{i}.q"]
        for t, cache in enumerate(caches):
            one, place = slice(t, t + 1), b.places[t, i]
            heads(
                b.qkv[one], b.table[one], b.q[one], b.k[one], b.q_exponent[one], place[2:],
                cache.keys[i], cache.values[i], b.flags, stage, stream,
            )  # fmt: skip
        self._look_heads(b, i, look)
        for t, cache in enumerate(caches):
            y = b.attention[t].reshape(c.n_heads, c.head_dim)
            decode_attention.attend(
                b.q[t], b.q_exponent[t], cache.keys[i], cache.values[i], b.places[t, i], y, b.later[0, t : t + 1],
                b.scratch[t], b.flags, self.index[f"layers.{i}.scores"], stream,
            )  # fmt: skip
            if look is not None:
                own = cache.place(i, cache.length)[2]
                scores = b.scratch[t].scores.copy_to_host()
                filled = min(cache.length, cache.windows[i] or cache.length)
                shown = np.full((c.n_heads, 1, filled + 1), -np.inf, np.float32)
                shown[:, 0, :filled] = scores[:, :filled]
                shown[:, 0, own : own + 1] = -np.inf  # the position that this one takes the slot of
                shown[:, 0, filled] = scores[:, own]
                look(f"layers.{i}.scores", shown)

    def _attend_chunk(self, b: Buffers, caches, i: int, chunk: tuple[Vectors, Vectors], lengths, look) -> None:
        """Each sequence's own rows against what its ring holds and themselves."""
        index = self.index
        heads(b.qkv, b.table, b.q, b.k, b.q_exponent, b.rows, *chunk, b.flags, index[f"layers.{i}.q"])
        self._look_heads(b, i, look)
        start = 0
        for cache, length in zip(caches, lengths, strict=True):
            filled = cache.filled(i)
            if filled + length not in b.gathered:
                b.gathered[filled + length] = [self._vectors(filled + length) for _ in range(2)]
            keys, values = b.gathered[filled + length]  # of this layer, until the next
            ring.gather(cache.keys[i], filled, chunk[0], start, cache.length, keys)
            ring.gather(cache.values[i], filled, chunk[1], start, cache.length, values)
            attend = self._attend_rows if self.plain else self._attend_window
            attend(b, slice(start, start + length), cache, i, filled, keys, values, look)
            start += length
        rows.maxima(b.attention, b.later[0], b.flags, index[f"layers.{i}.attention"])

    def _attend_window(self, b: Buffers, rows: slice, cache, i: int, filled: int, keys, values, look) -> None:
        from fastpath.cuda import window_attention

        c, length = self.config, rows.stop - rows.start
        scores = None
        if look is not None:
            scores = cuda.device_array((c.n_heads, length, filled + length), np.float32)
        out = b.attention[rows].reshape(length, c.n_heads, c.head_dim)
        window = cache.windows[i] or 0
        window_attention.attend(
            b.q[rows], *keys, *values, cache.length - filled, cache.length, window, out, scores,
            flags=b.flags, stage=self.index[f"layers.{i}.scores"],
        )  # fmt: skip
        if look is not None:
            look(f"layers.{i}.scores", _in_slot_order(scores.copy_to_host(), cache, i, filled))

    def _attend_rows(self, b: Buffers, rows: slice, cache, i: int, filled: int, keys, values, look) -> None:
        """The plain version: the kernels of decoding, a query at a time."""
        c, length = self.config, rows.stop - rows.start
        scratch = decode_attention.Scratch(c.n_heads, c.head_dim, filled + length)
        ends = filled + 1 + np.arange(length)
        spans = np.stack([np.maximum(0, ends - (cache.windows[i] or filled + length)), ends, ends], axis=1)
        on_device = cuda.to_device(spans.astype(np.int32))
        shown = np.full((c.n_heads, length, filled + length), -np.inf, np.float32)
        largest = cuda.to_device(np.zeros(1, np.int32))  # that nobody reads
        for r in range(length):
            t = rows.start + r
            y = b.attention[t].reshape(c.n_heads, c.head_dim)
            decode_attention.attend(
                b.q[t], b.q_exponent[t], keys, values, on_device[r], y, largest, scratch, b.flags,
                self.index[f"layers.{i}.scores"],
            )  # fmt: skip
            if look is not None:
                seen = slice(spans[r, 0], spans[r, 1])
                shown[:, r, seen] = scratch.scores.copy_to_host()[:, seen]
        if look is not None:
            look(f"layers.{i}.scores", _in_slot_order(shown, cache, i, filled))

    # ---- a chunk's keys and values ---------------------------------------------------------------------------------
    def _vectors(self, T: int) -> Vectors:
        return ring.empty(self.config.n_kv_heads, T, self.config.head_dim)

    def _write(self, chunk, sequences, caches) -> None:
        for own, cache in zip(rows_of(sequences), caches, strict=True):
            for i, (keys, values) in enumerate(chunk):
                ring.write(keys, own.start, own.stop - own.start, cache, i, cache.keys[i])
                ring.write(values, own.start, own.stop - own.start, cache, i, cache.values[i])


def _in_slot_order(scores: np.ndarray, cache: DeviceCache, i: int, filled: int) -> np.ndarray:
    """Columns by position -> the ring's slots, then the chunk, as the reference shows them."""
    slots = np.arange(filled)
    if filled:
        start = cache.length
        slots = ring.slot_positions(start, filled if start > filled else cache.slots(i))[:filled] - (start - filled)
    return np.ascontiguousarray(scores[..., np.concatenate([slots, np.arange(filled, scores.shape[2])])])
