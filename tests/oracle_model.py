"""A Mistral in PyTorch, float32, bfloat16 or float16, written apart from the package: every stage recorded, and every
part of it a function that can be given wrongly.

A run goes through a ring of W slots, chunk by chunk: one chunk is a plain forward pass, chunks of one are decoding.
`WRONG[id][variant]` plants a mistake, `WAYS[name]` is another right way to compute the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from oracle import halves
from torch.nn import functional as F

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


# The right parts. m: the model; x (n, dim): rows of a chunk; k, v (n_kv_heads, n, head_dim); p (n,): positions.


def ids_run(m, tokens):
    return tokens


def embed(m, ids):
    return m.w["tok_embeddings"][ids]


def norm(m, x, weight):
    x32 = x.float()
    return (x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + m.eps)).to(x.dtype) * weight


def last_norm(m, x, weight):
    return m.part("norm")(m, x, weight)


def norm_weights(m, i):
    return m.w[f"layers.{i}.attention_norm"], m.w[f"layers.{i}.ffn_norm"]


def linear(m, x, w):
    return x @ w.to(x.dtype).T


def key_matrix(m, w):
    return w


def positions(m, start, n):
    return torch.arange(start, start + n)


def frequencies(m):
    return m.theta ** (-torch.arange(0, m.head_dim, 2, dtype=torch.float64) / m.head_dim)


def angles(m, p):
    return torch.outer(p.double(), m.part("frequencies")(m))  # float64


def rotate(m, x, angle):
    """x (heads, n, head_dim): pairs (2i, 2i + 1) in Mistral's layout, (i, i + head_dim / 2) in Hugging Face's."""
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    return unpaired(*turned(*paired(x, m.layout), cos, sin), m.layout)


def rotate_values(m, v, angle):
    return v


def paired(x, layout):
    return (x[..., 0::2], x[..., 1::2]) if layout == "mistral" else x.chunk(2, dim=-1)


def turned(a, b, cos, sin):
    return a * cos - b * sin, a * sin + b * cos


def unpaired(a, b, layout):
    return torch.stack([a, b], dim=-1).flatten(-2) if layout == "mistral" else torch.cat([a, b], dim=-1)


def spread(m, x):
    return x.repeat_interleave(m.n_heads // m.n_kv_heads, dim=0)


def scale(m):
    return m.head_dim**-0.5


def mask(m, q_at, k_at, window):
    """mask[i, j]: i sees j."""
    back = q_at[:, None] - k_at[None, :]
    return (back >= 0) & (back < window)


def softmax(m, scores):
    return scores.float().softmax(-1).to(scores.dtype)


def attend(m, q, k, v, seen):
    """(n_heads, n, head_dim), keys and values by head too -> the same."""
    scores = (q @ k.transpose(1, 2)) * m.part("scale")(m)
    return m.part("softmax")(m, scores.masked_fill(~seen, -torch.inf)) @ v


def join(m, a):
    """(n_heads, n, head_dim) -> (n, n_heads head_dim)."""
    return a.transpose(0, 1).flatten(1)


def add_attention(m, h, x, a):
    return h + a


def add_ffn(m, h, x, f):
    return h + f


def gated(m, gate, up):
    return F.silu(gate) * up


def head(m):
    return m.w["output"]


class Ring:
    """W slots; position i lies in slot i mod W. What lies where follows from the count of tokens."""

    def __init__(self, m, window, like):
        self.W, self.length = window, 0
        self.k, self.v = (torch.zeros(m.n_kv_heads, window, m.head_dim, dtype=like.dtype) for _ in "kv")

    def meet(self, k, v, at):
        """Keys, values and positions that a chunk meets: what the ring holds, then its own. And it goes into the ring."""
        held, slots = self.read()
        met = torch.cat([self.k[:, slots], k], 1), torch.cat([self.v[:, slots], v], 1), torch.cat([held, at])
        self.write(k, v, at)
        self.length += k.shape[1]
        return met

    def read(self):
        """Positions held, and their slots."""
        held = torch.arange(max(self.length - self.W, 0), self.length)
        return held, held % self.W

    def write(self, k, v, at):
        kept = slice(max(k.shape[1] - self.W, 0), None)
        self.put(self.slots(torch.arange(self.length, self.length + k.shape[1])[kept]), k[:, kept], v[:, kept])

    def slots(self, i):
        return i % self.W

    def put(self, slots, k, v):
        for n, slot in enumerate(slots.tolist()):
            self.k[:, slot], self.v[:, slot] = k[:, n], v[:, n]


RIGHT: dict[str, Callable] = {
    "ids_run": ids_run, "embed": embed, "norm": norm, "last_norm": last_norm, "norm_weights": norm_weights,
    "linear": linear, "key_matrix": key_matrix, "positions": positions, "frequencies": frequencies, "angles": angles,
    "rotate_q": rotate, "rotate_k": rotate, "rotate_v": rotate_values, "spread_k": spread, "spread_v": spread,
    "scale": scale, "mask": mask, "softmax": softmax, "attend": attend, "join": join, "add_attention": add_attention,
    "add_ffn": add_ffn, "gated": gated, "head": head, "ring": Ring,
}  # fmt: skip


@dataclass
class Model:
    """Weights by Mistral's names without `.weight`, and what is written in place of right parts.

    wrong_in: the layers in which the other parts are used; None: all.
    """

    sizes: Mapping
    tensors: Mapping[str, np.ndarray]
    dtype: str = "float32"
    layout: str = "hf"
    parts: Mapping[str, Callable] = field(default_factory=dict)
    wrong_in: tuple[int, ...] | None = None

    def __post_init__(self):
        for name, value in self.sizes.items():
            setattr(self, name, value)
        self.w = {}
        for name, w in self.tensors.items():
            moved = self.layout == "hf" and name.split(".")[-2] in ("wq", "wk")
            w = halves(w, self.head_dim) if moved else w
            self.w[name.removesuffix(".weight")] = torch.from_numpy(w.astype(np.float32)).to(DTYPES[self.dtype])
        self.w.setdefault("output", self.w["tok_embeddings"])
        self.layer = None

    def part(self, name: str) -> Callable:
        here = self.wrong_in is None or self.layer is None or self.layer in self.wrong_in
        return self.parts.get(name, RIGHT[name]) if here else RIGHT[name]

    def __call__(self, tokens, chunks=None) -> dict[str, torch.Tensor]:
        """Every stage of a run; chunks: their lengths, default one of all."""
        with torch.no_grad():
            ids = self.part("ids_run")(self, torch.as_tensor(np.asarray(tokens)))
            chunks, self.longest = chunks or [len(ids)], len(ids) + 2
            self.rings, made, start = {}, [], 0
            for n in chunks:
                made.append(self.chunk(ids[start : start + n], start))
                start += n
            stages = {name: torch.cat([part[name] for part in made])[-len(tokens) :] for name in made[0]}
            short = len(tokens) - len(ids)  # ids left out at the start: rows that such a run does not have
            return {
                name: torch.cat([x[:1].expand(short, *x.shape[1:]), x]) if short > 0 else x
                for name, x in stages.items()
            }

    def chunk(self, ids, start):
        stages, (part, linear) = {}, (self.part, self.part("linear"))
        self.layer = None

        def record(name, x):
            stages[name] = x.to(DTYPES[self.dtype])
            return x

        h = record("embedding", part("embed")(self, ids))
        for i, window in enumerate(self.windows):
            self.layer = i
            w = {name.removeprefix(f"layers.{i}."): x for name, x in self.w.items() if name.startswith(f"layers.{i}.")}
            here = lambda name, x, i=i: record(f"layers.{i}.{name}", x)
            first, second = part("norm_weights")(self, i)
            x = here("attention_norm", part("norm")(self, h, first))
            q, k, v = (
                here(name, linear(self, x, matrix).unflatten(-1, (-1, self.head_dim))).transpose(0, 1)
                for name, matrix in (
                    ("q", w["attention.wq"]),
                    ("k", part("key_matrix")(self, w["attention.wk"])),
                    ("v", w["attention.wv"]),
                )
            )
            at = part("positions")(self, start, len(ids))
            angle = part("angles")(self, at)
            q, k = part("rotate_q")(self, q, angle), part("rotate_k")(self, k, angle)
            here("q_rope", q.transpose(0, 1)), here("k_rope", k.transpose(0, 1))
            v = part("rotate_v")(self, v, angle)
            W = window or 1 << 30
            ring = self.rings.setdefault(i, part("ring")(self, min(W, self.longest), q))
            k, v, k_at = ring.meet(k, v, at)
            seen = part("mask")(self, at, k_at, W)
            a = part("attend")(self, q, part("spread_k")(self, k), part("spread_v")(self, v), seen)
            here("attention", a.transpose(0, 1))
            a = here("attention_output", linear(self, part("join")(self, a), w["attention.wo"]))
            h = here("attention_residual", part("add_attention")(self, h, x, a))
            x = here("ffn_norm", part("norm")(self, h, second))
            gate, up = (
                here("gate", linear(self, x, w["feed_forward.w1"])),
                here("up", linear(self, x, w["feed_forward.w3"])),
            )
            f = here("ffn_hidden", part("gated")(self, gate, up))
            f = here("ffn_output", linear(self, f, w["feed_forward.w2"]))
            h = here("output", part("add_ffn")(self, h, x, f))
        self.layer = None
        h = record("norm", part("last_norm")(self, h, self.w["norm"]))
        record("logits", linear(self, h, part("head")(self)))
        return stages


def write_trace(path: Path, tokens, stages, dtype: str, layout: str, only=lambda name: True) -> Path:
    """The file that `minimistral check` reads."""
    from safetensors.torch import save_file

    tensors = {name: x.contiguous() for name, x in stages.items() if only(name)}
    tensors["tokens"] = torch.as_tensor(np.asarray(tokens, np.int64))
    save_file(tensors, path, {"format": "minimistral-trace-1", "dtype": dtype, "layout": layout})
    return path


# Other right ways: fused, unfused, other orders of summation.


def linear_reversed(m, x, w):
    return x.flip(-1).contiguous() @ w.to(x.dtype).flip(-1).T.contiguous()


def linear_split(m, x, w):
    """Three partial sums, added."""
    parts = [
        a.float() @ b.to(x.dtype).float().T for a, b in zip(x.tensor_split(3, -1), w.tensor_split(3, -1), strict=True)
    ]
    return (parts[2] + parts[0] + parts[1]).to(x.dtype)


def linear_in_a_row(m, x, w):
    """One product after the other, each sum rounded to float32."""
    total = torch.zeros(*x.shape[:-1], len(w))
    for n in range(x.shape[-1]):
        total += x[..., n, None].float() * w[:, n].float()
    return total.to(x.dtype)


def linear_permuted(m, x, w):
    order = torch.randperm(x.shape[-1], generator=torch.Generator().manual_seed(5))
    return x[..., order] @ w.to(x.dtype)[:, order].T


def norm_fused(m, x, weight):
    """One rounding at the end."""
    x32 = x.float()
    return (x32 / torch.sqrt(x32.square().sum(-1, keepdim=True) / x.shape[-1] + m.eps) * weight.float()).to(x.dtype)


def gated_fused(m, gate, up):
    return (gate.float() / (1 + torch.exp(-gate.float())) * up.float()).to(gate.dtype)


def angles_float32(m, p):
    return torch.outer(p.float(), m.part("frequencies")(m).float())


def rotate_fused(m, x, angle):
    """cos and sin in float32, one rounding at the end."""
    cos, sin = angle.cos().float(), angle.sin().float()
    return unpaired(*turned(*(half.float() for half in paired(x, m.layout)), cos, sin), m.layout).to(x.dtype)


def attend_fused(m, q, k, v, seen):
    """Everything inside in float32."""
    scores = (q.float() * m.part("scale")(m)) @ k.float().transpose(1, 2)
    return (scores.masked_fill(~seen, -torch.inf).softmax(-1) @ v.float()).to(q.dtype)


def attend_sdpa(m, q, k, v, seen):
    return F.scaled_dot_product_attention(q[None], k[None], v[None], seen[None], scale=m.part("scale")(m))[0]


def attend_online(m, q, k, v, seen):
    """Blocks of 8 keys, from the last to the first, with a running maximum: as flash attention does."""
    top = torch.full((*q.shape[:2], 1), -torch.inf)
    total, out = torch.zeros_like(top), torch.zeros(q.shape, dtype=torch.float32)
    for block in reversed(range(0, k.shape[1], 8)):
        scores = (q.float() @ k[:, block : block + 8].float().transpose(1, 2)) * m.part("scale")(m)
        scores = scores.masked_fill(~seen[:, block : block + 8], -torch.inf)
        new = torch.maximum(top, scores.amax(-1, keepdim=True))
        safe = torch.where(new.isinf(), 0.0, new)
        p, keep = torch.exp(scores - safe), torch.exp(top - safe)
        total, out, top = (
            total * keep + p.sum(-1, keepdim=True),
            out * keep + p.to(q.dtype).float() @ v[:, block : block + 8].float(),
            new,
        )
    return (out / total).to(q.dtype)


def rotate_leaking(m, x, angle):
    """cos and sin stay in float64: from here on everything is (as in llama3.np)."""
    return unpaired(*turned(*paired(x.double(), m.layout), angle.cos(), angle.sin()), m.layout)


def attend_leaking(m, q, k, v, seen):
    return attend(m, q.double(), k.double(), v.double(), seen)


def softmax_leaking(m, scores):
    return scores.softmax(-1)


def norm_leaking(m, x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + m.eps) * weight


WAYS: dict[str, dict[str, Callable]] = {
    "unfused": {},
    "fused": {"norm": norm_fused, "gated": gated_fused, "rotate_q": rotate_fused, "rotate_k": rotate_fused, "attend": attend_fused},
    "sdpa": {"attend": attend_sdpa},
    "flash": {"attend": attend_online, "rotate_q": rotate_fused, "rotate_k": rotate_fused},
    "sums reversed": {"linear": linear_reversed},
    "sums split": {"linear": linear_split, "norm": norm_fused},
    "sums in a row": {"linear": linear_in_a_row, "gated": gated_fused},
    "sums permuted": {"linear": linear_permuted, "attend": attend_fused},
    "float32 angles": {"angles": angles_float32},
    "float64 leaks": {"rotate_q": rotate_leaking, "rotate_k": rotate_leaking, "attend": attend_leaking, "softmax": softmax_leaking, "norm": norm_leaking},
}  # fmt: skip


# Mistakes, each as somebody wrote it.


def mask_with_one_more(m, q_at, k_at, window):
    back = q_at[:, None] - k_at[None, :]
    return (back >= 0) & (back <= window)


def mask_with_one_less(m, q_at, k_at, window):
    back = q_at[:, None] - k_at[None, :]
    return (back >= 0) & (back < max(window - 1, 1))


def mask_causal(m, q_at, k_at, window):
    return k_at[None, :] <= q_at[:, None]


def mask_lower_bound(m, q_at, k_at, window):
    return k_at[None, :] > q_at[:, None] - window


def mask_none(m, q_at, k_at, window):
    return torch.ones(len(q_at), len(k_at), dtype=torch.bool)


def mask_two_sided(m, q_at, k_at, window):
    return (k_at[None, :] - q_at[:, None]).abs() < window


class LargerRing(Ring):
    """One slot more: for the mask that keeps W + 1."""

    def __init__(self, m, window, like):
        super().__init__(m, window + 1, like)


class EndlessRing(Ring):
    def __init__(self, m, window, like):
        super().__init__(m, m.longest, like)


class ForgetfulRing(Ring):
    def read(self):
        return torch.arange(0), torch.arange(0)


class WritesFirst(Ring):
    """The chunk is written, then everything is read from the ring."""

    def meet(self, k, v, at):
        self.write(k, v, at)
        self.length += k.shape[1]
        held, slots = Ring.read(self)
        return self.k[:, slots], self.v[:, slots], held


class WritesFirstReadsOwn(Ring):
    """The chunk is written; earlier keys are looked for in the ring, its own are at hand."""

    def meet(self, k, v, at):
        self.write(k, v, at)
        after = self.length + k.shape[1]
        held = torch.arange(max(after - self.W, 0), self.length)
        met = (
            torch.cat([self.k[:, held % self.W], k], 1),
            torch.cat([self.v[:, held % self.W], v], 1),
            torch.cat([held, at]),
        )
        self.length = after
        return met


class KeepsFirst(Ring):
    def write(self, k, v, at):
        kept = slice(0, self.W)
        self.put(self.slots(torch.arange(self.length, self.length + k.shape[1])[kept]), k[:, kept], v[:, kept])


class LateSlots(Ring):
    """After the first round, one slot behind."""

    def slots(self, i):
        return torch.where(i < self.W, i, i - 1) % self.W


class SlotsOfChunk(Ring):
    """Counted from the chunk's start."""

    def slots(self, i):
        return (i - self.length) % self.W


class KeepsSlot0(Ring):
    def put(self, slots, k, v):
        fresh = (slots != 0) | (torch.tensor(self.length) == 0)
        super().put(slots[fresh], k[:, fresh], v[:, fresh])


class SlotOrder(Ring):
    """Slots as they lie, taken for oldest to newest."""

    def read(self):
        held, slots = super().read()
        return held, slots.sort().values


class EmptySlot(Ring):
    """One position is never written, and is met: a key of zeros."""

    def meet(self, k, v, at):
        if self.length and int(at[0]) > self.length:  # the position was skipped just now
            empty = torch.zeros_like(k[:, :1])
            self.write(empty, empty, None)
            self.length += 1
        return super().meet(k, v, at)


def positions_skipping(m, start, n):
    """After the pre-fill, one too high."""
    return torch.arange(start, start + n) + (start > 0)


def positions_from_one(m, start, n):
    return torch.arange(start + 1, start + n + 1)


def angles_of_slot(m, p):
    return angles(m, p % (m.windows[m.layer] or m.longest))


def rotate_other_pairs(m, x, angle):
    other = {"hf": "mistral", "mistral": "hf"}[m.layout]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    return unpaired(*turned(*paired(x, other), cos, sin), other)


def rotate_back(m, x, angle):
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = paired(x, m.layout)
    return unpaired(a * cos + b * sin, b * cos - a * sin, m.layout)


def rotate_not(m, x, angle):
    return x


def theta(other):
    return {"frequencies": lambda m: other ** (-torch.arange(0, m.head_dim, 2, dtype=torch.float64) / m.head_dim)}


def all_narrow(dtype):
    return {"angles": lambda m, p: torch.outer(p.to(dtype), m.part("frequencies")(m).to(dtype)).float()}


def narrow_frequencies(dtype):
    return {"angles": lambda m, p: torch.outer(p.float(), m.part("frequencies")(m).to(dtype).float())}


def narrow_positions(dtype):
    return {"angles": lambda m, p: torch.outer(p.to(dtype).float(), m.part("frequencies")(m).float())}


def narrow_product(dtype):
    return {"angles": lambda m, p: torch.outer(p.float(), m.part("frequencies")(m).float()).to(dtype).float()}


def tile(m, x):
    return x.repeat(m.n_heads // m.n_kv_heads, 1, 1)


def repeat_channels(m, x):
    """(n, heads, d) repeated along d, then cut into heads."""
    rows = x.transpose(0, 1).repeat_interleave(m.n_heads // m.n_kv_heads, dim=-1)
    return rows.reshape(len(rows), m.n_heads, m.head_dim).transpose(0, 1)


def heads_before_positions(m, x):
    """Repeated as (heads, n, d), read as (n, heads, d)."""
    return spread(m, x).reshape(x.shape[1], m.n_heads, m.head_dim).transpose(0, 1)


def keys_moved_forth(m, w):
    """To rotate-half order with n_heads for n_kv_heads; then read back with the right number."""
    d = len(w) // m.n_heads
    w = as_mistral(m, w)
    return as_layout(m, as_pairs(torch.from_numpy(halves(w.float().numpy(), d)).to(w.dtype), m.head_dim))


def keys_moved_back(m, w):
    d = len(w) // m.n_heads
    w = torch.from_numpy(halves(as_mistral(m, w).float().numpy(), m.head_dim)).to(w.dtype)
    return as_layout(m, as_pairs(w, d))


def as_pairs(w, d):
    """Rows of halves (i, i + d / 2) -> pairs (2i, 2i + 1), in groups of d rows."""
    a, b = w.unflatten(0, (-1, d)).chunk(2, dim=1)
    return torch.stack([a, b], dim=2).reshape(w.shape)


def as_mistral(m, w):
    return as_pairs(w, m.head_dim) if m.layout == "hf" else w


def as_layout(m, w):
    return torch.from_numpy(halves(w.float().numpy(), m.head_dim)).to(w.dtype) if m.layout == "hf" else w


def softmax_narrow(dtype):
    return {"softmax": lambda m, scores: scores.to(dtype).softmax(-1).to(scores.dtype)}


def softmax_narrow_scores(dtype):
    return {"softmax": lambda m, scores: scores.to(dtype).float().softmax(-1).to(scores.dtype)}


def softmax_narrow_weights(dtype):
    return {"softmax": lambda m, scores: scores.float().softmax(-1).to(dtype).to(scores.dtype)}


def join_channels_first(m, a):
    return a.permute(1, 2, 0).flatten(1)


def join_unturned(m, a):
    return a.reshape(a.shape[1], -1)


def norm_with(eps):
    def wrong(m, x, weight):
        x32 = x.float()
        return (x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight

    return wrong


def norm_eps_outside(m, x, weight):
    x32 = x.float()
    return (x32 / (x32.pow(2).mean(-1, keepdim=True).sqrt() + m.eps)).to(x.dtype) * weight


def layer_norm(m, x, weight):
    return F.layer_norm(x.float(), x.shape[-1:], weight.float(), None, m.eps).to(x.dtype)


def norm_one_plus(m, x, weight):
    return norm(m, x, 1 + weight)


def in_layers(wrong):
    return {"norm": wrong, "last_norm": lambda m, x, weight: norm(m, x, weight)}


def everywhere(wrong):
    return {"": {"norm": wrong}, "in the layers only": in_layers(wrong), "the final one only": {"last_norm": wrong}}


def q_k_both(wrong):
    return {
        "": {"rotate_q": wrong, "rotate_k": wrong},
        "keys only": {"rotate_k": wrong},
        "queries only": {"rotate_q": wrong},
    }


def k_v_both(wrong, name=""):
    names = [name, *(f"{name}, {which}" if name else which for which in ("keys only", "values only"))]
    return dict(
        zip(names, ({"spread_k": wrong, "spread_v": wrong}, {"spread_k": wrong}, {"spread_v": wrong}), strict=True)
    )


BF16, F16 = torch.bfloat16, torch.float16

WRONG: dict[str, dict[str, dict[str, Callable]]] = {
    "window-plus-one": {"": {"mask": mask_with_one_more}, "chunks": {"mask": mask_with_one_more, "ring": LargerRing}},
    "window-minus-one": {"": {"mask": mask_with_one_less}},
    "window-ignored": {"": {"mask": mask_causal}, "chunks": {"mask": mask_causal, "ring": EndlessRing}},
    "window-blocked": {"chunks": {"ring": ForgetfulRing}},
    "causal-mask-missing": {
        "": {"mask": mask_lower_bound}, "no mask at all": {"mask": mask_none}, "W to both sides": {"mask": mask_two_sided}},
    "rope-pairing": q_k_both(rotate_other_pairs),
    "rope-direction": q_k_both(rotate_back),
    "rope-theta": {"theta 1e+06": theta(1e6), "theta 500000": theta(5e5)},
    "rope-position-offset": {"": {"positions": positions_from_one}},
    "rope-position-modulo": {"": {"angles": angles_of_slot}},
    "rope-low-precision": {
        f"{name} {what}": kind(dtype) for name, dtype in (("bfloat16", BF16), ("float16", F16))
        for what, kind in (("positions and frequencies", all_narrow), ("frequencies", narrow_frequencies),
                           ("positions", narrow_positions), ("angles", narrow_product))},
    "rope-missing": {"": {"rotate_q": rotate_not, "rotate_k": rotate_not}},
    "rope-keys-missing": {"": {"rotate_k": rotate_not}},
    "rope-queries-missing": {"": {"rotate_q": rotate_not}},
    "rope-on-values": {"": {"rotate_v": rotate}},
    "permute-key-heads": {
        "to Hugging Face's order": {"key_matrix": keys_moved_forth}, "from Hugging Face's order": {"key_matrix": keys_moved_back}},
    "gqa-axis": k_v_both(repeat_channels, "channels") | k_v_both(heads_before_positions, "heads before positions"),
    "gqa-tile": k_v_both(tile),
    "scale-missing": {"": {"scale": lambda m: 1.0}},
    "scale-dim": {"": {"scale": lambda m: m.dim**-0.5}, "dim / n_heads": {"scale": lambda m: (m.dim / m.n_heads) ** -0.5}},
    "scale-squared": {"": {"scale": lambda m: 1 / m.head_dim}},
    "softmax-low-precision": {
        f"{name} {what}": kind(dtype) for name, dtype in (("bfloat16", BF16), ("float16", F16))
        for what, kind in (("scores and probabilities", softmax_narrow), ("scores", softmax_narrow_scores),
                           ("probabilities", softmax_narrow_weights))},
    "head-order": {"channels outside": {"join": join_channels_first}, "heads outside": {"join": join_unturned}},
    "norm-eps": {f"eps {e:g}{', ' + where if where else ''}": parts
                 for e in (1e-6, 1e-3) for where, parts in everywhere(norm_with(e)).items()},
    "norm-eps-outside": everywhere(norm_eps_outside),
    "norm-mean-centred": everywhere(layer_norm),
    "norm-weight-plus-one": everywhere(norm_one_plus),
    "norm-weights-swapped": {"": {"norm_weights": lambda m, i: norm_weights(m, i)[::-1]}},
    "norm-missing-final": {"": {"last_norm": lambda m, x, weight: x}},
    "gelu": {"": {"gated": lambda m, gate, up: F.gelu(gate) * up}, "tanh": {"gated": lambda m, gate, up: F.gelu(gate, approximate="tanh") * up}},
    "relu": {"": {"gated": lambda m, gate, up: F.relu(gate) * up}},
    "activation-missing": {"": {"gated": lambda m, gate, up: gate * up}},
    "gate-up-swapped": {"": {"gated": lambda m, gate, up: F.silu(up) * gate}},
    "residual-from-norm": {
        "": {"add_attention": lambda m, h, x, a: x + a, "add_ffn": lambda m, h, x, f: x + f},
        "after attention": {"add_attention": lambda m, h, x, a: x + a},
        "after the feed-forward": {"add_ffn": lambda m, h, x, f: x + f}},
    "embedding-scaled": {"": {"embed": lambda m, ids: embed(m, ids) * torch.tensor(m.dim**0.5).to(DTYPES[m.dtype])}},
    "output-tied": {"": {"head": lambda m: m.w["tok_embeddings"]}},
    "cache-write-before-read": {"all from the ring": {"ring": WritesFirst}, "its own at hand": {"ring": WritesFirstReadsOwn}},
    "cache-first-kept": {"": {"ring": KeepsFirst}},
    "decode-position-skipped": {"": {"positions": positions_skipping, "ring": EmptySlot}},
    "cache-stale-slot": {"one slot off": {"ring": LateSlots}, "slot 0": {"ring": KeepsSlot0}, "slots from the chunk's start": {"ring": SlotsOfChunk}},
    "cache-order": {"": {"ring": SlotOrder}},
    "tokens-bos": {
        "doubled": {"ids_run": lambda m, t: torch.cat([torch.tensor([1]), t])}, "missing": {"ids_run": lambda m, t: t[1:]}},
}  # fmt: skip


# Beyond the table: found in public trackers later.


def mask_of_chunk(m, q_at, k_at, window):
    return (k_at[None, :] <= q_at[:, None]) & (k_at[None, :] > q_at[0] - window)


def mask_top_left(m, q_at, k_at, window):
    return torch.ones(len(q_at), len(k_at), dtype=torch.bool).tril()


def angles_repeated(m, x, angle):
    """cos and sin laid out for the other layout's pairs."""
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    twice = (lambda a: torch.cat([a, a], -1)) if m.layout == "mistral" else (lambda a: a.repeat_interleave(2, dim=-1))
    a, b = paired(x, m.layout)
    return x * twice(cos) + unpaired(-b, a, m.layout) * twice(sin)


def rotate_half_of_it(m, x, angle):
    """Half of the channels, as if a head had no more."""
    half = m.head_dim // 2
    frequency = m.theta ** (-torch.arange(0, half, 2, dtype=torch.float64) / half)
    at = angle[:, 0]  # the first frequency is 1
    return torch.cat([rotate(m, x[..., :half], torch.outer(at, frequency)), x[..., half:]], -1)


def rotate_twice(m, x, angle):
    return rotate(m, rotate(m, x, angle), angle)


def spread_by_divisor(m, x):
    return x[torch.arange(m.n_heads) // m.n_kv_heads]


def weights_of(m, *names):
    return [m.w[f"layers.{m.layer}.{name}"] for name in names]


def keys_for_values(m, x, w):
    if m.layer is None:
        return linear(m, x, w)
    k, v = weights_of(m, "attention.wk", "attention.wv")
    return linear(m, x, v if w is k else k if w is v else w)


def gate_and_up_in_turns(m, x, w):
    if m.layer is None:
        return linear(m, x, w)
    gate, up = weights_of(m, "feed_forward.w1", "feed_forward.w3")
    packed = torch.cat([gate, up])
    return linear(m, x, packed[0::2] if w is gate else packed[1::2] if w is up else w)


def unseen_at(score):
    def attend_all(m, q, k, v, seen):
        scores = (q @ k.transpose(1, 2)) * scale(m)
        return softmax(m, scores.masked_fill(~seen, score)) @ v

    return attend_all


def mask_after_softmax(m, q, k, v, seen):
    return softmax(m, (q @ k.transpose(1, 2)) * scale(m)).masked_fill(~seen, 0.0) @ v


def norm_over_positions(m, x, weight):
    return x * torch.rsqrt(x.pow(2).mean() + m.eps) * weight


def norm_narrow(m, x, weight):
    mean = x.pow(2).mean(-1, keepdim=True).to(BF16).to(x.dtype)
    return x * torch.rsqrt(mean + m.eps) * weight


def keeps_before(m, h, x, a):
    m.before = h
    return h + a


class ZerosMet(Ring):
    """Slots that nothing was written to are met too."""

    def meet(self, k, v, at):
        k, v, met = super().meet(k, v, at)
        empty = max(self.W - k.shape[1], 0)
        zeros = torch.zeros_like(k[:, :1]).expand(-1, empty, -1)
        return torch.cat([k, zeros], 1), torch.cat([v, zeros], 1), torch.cat([met, at[:1].expand(empty)])


MORE: dict[str, dict[str, dict[str, Callable]]] = {
    "window-of-chunk": {"chunks": {"mask": mask_of_chunk}},
    "mask-top-left": {"chunks": {"mask": mask_top_left}},
    "rope-position-restart": {"chunks": {"angles": lambda m, p: angles(m, p - p[0])}},
    "rope-position-capped": {"": {"angles": lambda m, p: angles(m, p.clamp(max=m.windows[m.layer] or m.longest))}},
    "rope-position-doubled": {"chunks": {"angles": lambda m, p: angles(m, p + p[0])}},
    "rope-exponent": {"i / d": {
        "frequencies": lambda m: m.theta ** (-torch.arange(m.head_dim // 2, dtype=torch.float64) / m.head_dim)}},
    "rope-angles-order": q_k_both(angles_repeated),
    "rope-partial": {"": {"rotate_q": rotate_half_of_it, "rotate_k": rotate_half_of_it}},
    "rope-keys-twice": {"": {"rotate_k": rotate_twice}},
    "gqa-divisor": k_v_both(spread_by_divisor),
    "key-value-swapped": {"": {"linear": keys_for_values}},
    "softmax-axis": {"queries": {"softmax": lambda m, scores: scores.softmax(-2)}},
    "mask-not-infinite": {"0": {"attend": unseen_at(0.0)}, "-1": {"attend": unseen_at(-1.0)}},
    "mask-after-softmax": {"": {"attend": mask_after_softmax}},
    "norm-weight-missing": everywhere(lambda m, x, weight: norm(m, x, torch.ones_like(weight))),
    "norm-over-positions": everywhere(norm_over_positions),
    "norm-not-inverted": everywhere(lambda m, x, weight: x * (x.pow(2).mean(-1, keepdim=True) + m.eps).sqrt() * weight),
    "norm-low-precision": everywhere(norm_narrow),
    "activation-after-product": {"": {"gated": lambda m, gate, up: F.silu(gate * up)}},
    "gate-up-interleaved": {"": {"linear": gate_and_up_in_turns}},
    "residual-missing": {"": {"add_attention": lambda m, h, x, a: a, "add_ffn": lambda m, h, x, f: f},
                         "after attention": {"add_attention": lambda m, h, x, a: a}},
    "residual-before-attention": {"": {"add_attention": keeps_before, "add_ffn": lambda m, h, x, f: m.before + f}},
    "empty-slots-attended": {"": {"ring": ZerosMet}},
    "tokens-padding": {"": {"ids_run": lambda m, t: torch.cat([torch.full((-len(t) % 8,), 2), t])}},
}  # fmt: skip


def chunks_for(id: str, variant: str, T: int, W: int, rng: np.random.Generator) -> list[int] | None:
    """A way to cut a text in which a cache mistake shows; None where one pass shows it."""

    def pieces(n):
        return [min(n, T - start) for start in range(0, T, n)]

    some = [n for n in (4, 8, 16, 32, 64) if n < min(W, T)] or [max(W - 1, 1)]
    long = [n for n in (W + 1, 2 * W, 64, 128) if W < n < T] or [T - 1]
    if (id, variant) == ("cache-write-before-read", "all from the ring"):
        return pieces(int(rng.choice(some)))
    if id == "cache-first-kept" or variant == "slots from the chunk's start":
        return pieces(int(rng.choice([n for n in long if n % W] or long)))
    if id in ("cache-stale-slot", "empty-slots-attended"):
        return pieces(1)
    if id == "decode-position-skipped":
        prompt = int(rng.integers(2, T - 2))
        return [prompt] + [1] * (T - prompt)
    if id == "rope-position-restart":  # in chunks of W it is the slot
        return pieces(int(rng.choice(some)))
    if id in ("window-blocked", "cache-order", "cache-write-before-read") or variant == "chunks":
        return pieces(int(rng.choice(some + [W])))
    return None
