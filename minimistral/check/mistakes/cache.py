"""Mistakes of the rolling buffer: which keys each query meets in the end. Right: lines.seen, in chunks of any size.

A ring of W slots is followed chunk by chunk. `held[slot]` is the position whose key lies there, and `believed[slot]` the
position that the code thinks it has. A query at t meets a slot if it believes in a position of t's window, and its own
chunk up to itself.
"""

from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np

from minimistral.check import lines
from minimistral.check.mistakes.mistake import Case, Mistake, chunk_sizes, that_show


def believed_right(start: int, W: int) -> np.ndarray:
    """The last W positions before `start`, each in slot i mod W; -1 where there is none yet."""
    slots = np.arange(W)
    newest = slots + (start - 1 - slots) // W * W
    return np.where((newest >= 0) & (start > 0), newest, -1)


def write_right(held: np.ndarray, start: int, end: int, W: int) -> None:
    for i in range(max(start, end - W), end):
        held[i % W] = i


def believed_in_order(start: int, W: int) -> np.ndarray:
    """Slots taken to lie from the oldest to the newest, as if the ring had been put in order."""
    return np.sort(believed_right(start, W)) if start >= W else believed_right(start, W)


def write_first(held: np.ndarray, start: int, end: int, W: int) -> None:
    """The first W of a long chunk."""
    for i in range(start, min(end, start + W)):
        held[i % W] = i


def write_from_chunk(held: np.ndarray, start: int, end: int, W: int) -> None:
    """Slots counted from the chunk's start."""
    for i in range(max(start, end - W), end):
        held[(i - start) % W] = i


def write_late(held: np.ndarray, start: int, end: int, W: int) -> None:
    """Once the ring has wrapped, one slot too early: the newest key replaces a newer one than it should."""
    for i in range(max(start, end - W), end):
        held[(i if i < W else i - 1) % W] = i


def write_not_slot_0(held: np.ndarray, start: int, end: int, W: int) -> None:
    """Slot 0 is written once and never again."""
    for i in range(max(start, end - W), end):
        if i % W or i == 0:
            held[i % W] = i


@cache
def ring(size: int, write: Callable, believed: Callable = believed_right) -> Callable:
    """A `seen` line: how often query t meets the key of s, when the ring is read and then written: counts (T, T)."""
    return lambda T, window: followed(size, write, believed, T, T if window is None else window)


@lru_cache(maxsize=4)
def followed(size: int, write: Callable, believed: Callable, T: int, W: int) -> np.ndarray:
    counts, held = np.zeros((T, T), np.int8), np.full(W, -1)
    for start in range(0, T, size):
        end = min(start + size, T)
        thought, there = believed(start, W), held >= 0
        rows, own = np.arange(start, end)[:, None], np.arange(start, end)
        met = (thought >= 0) & (rows - thought < W)  # (rows, slots)
        np.add.at(counts, (rows, held[there]), met[:, there])
        counts[start:end, start:end] += (rows >= own) & (rows - own < W)
        write(held, start, end, W)
    return counts


@cache
def before_read(size: int) -> Callable:
    """The chunk goes into the ring first; then its rows look at the ring for what came before, and at themselves."""

    def seen(T: int, window: int | None) -> np.ndarray:
        W = T if window is None else window
        t, s = np.arange(T)[:, None], np.arange(T)[None, :]
        end = np.minimum((t // size + 1) * size, T)  # of t's own chunk
        still_there = (s >= end - W) | (s >= t // size * size)
        return (t >= s) & (t - s < W) & still_there

    return seen


@cache
def from_ring_only(size: int) -> Callable:
    """The same, and its own chunk comes from the ring too: of a chunk longer than W only the last W are there."""

    def seen(T: int, window: int | None) -> np.ndarray:
        W = T if window is None else window
        t, s = np.arange(T)[:, None], np.arange(T)[None, :]
        end = np.minimum((t // size + 1) * size, T)
        return ((t >= s) & (t - s < W) & (s >= end - W)) | ((t == s) & (t < end - W))

    return seen


def shifted_early() -> dict[str, Callable]:
    """Token by token, a cache of W that is moved on by one as soon as it holds W - 1: the oldest key is lost, and a slot
    of zeros stays between the keys until it has been moved out."""

    def hole(T: int, window: int | None) -> np.ndarray:
        W = T + 1 if window is None else window
        return (np.arange(T) >= W - 1) & (np.arange(T) < 2 * W - 2) & (W > 1)

    def seen(T: int, window: int | None) -> np.ndarray:
        t, s = np.arange(T)[:, None], np.arange(T)[None, :]
        W = T + 1 if window is None else window
        return lines.seen(T, window) & ~((t - s == W - 1) & hole(T, window)[:, None])

    return {"seen": seen, "empty_slots": lambda T, window: hole(T, window).astype(int)}


def stale(case: Case):
    kinds = {
        "one slot off": write_late,
        "slot 0": write_not_slot_0,
        "slots from the chunk's start": write_from_chunk,
    }
    written = {
        f"{what}, chunks of {n}": ring(n, write) for n in (1, *chunk_sizes(case)) for what, write in kinds.items()
    }
    return that_show(case, written) | {"moved on one step early": shifted_early()}


def empty_slot_from(first: int) -> dict[str, Callable]:
    """From position `first` on, positions are one too high and one slot that holds nothing is met."""

    def positions(T: int, window: int | None) -> np.ndarray:
        return np.arange(T) + (np.arange(T) >= first)

    def empty_slots(T: int, window: int | None) -> np.ndarray:
        t = np.arange(T)
        return ((t >= first) & (t + 1 - first < (T + 1 if window is None else window))).astype(int)

    def seen(T: int, window: int | None) -> np.ndarray:
        at = positions(T, window)
        back = at[:, None] - at[None, :]
        return (back >= 0) & (back < (T + 1 if window is None else window))

    return {"positions": positions, "empty_slots": empty_slots, "seen": seen}


def empty_until_full(T: int, window: int | None) -> np.ndarray:
    """All W slots of a cache of zeros, from the first token on."""
    return np.maximum((0 if window is None else window) - 1 - np.arange(T), 0)


def empty_in_cache_of(length: int) -> Callable:
    """All slots of a cache that was made for `length` tokens."""
    return lambda T, window: np.maximum(length - 1 - np.arange(T), 0)


def empty_to_multiple_of(block: int) -> Callable:
    """Keys come in blocks, the last one filled up with zeros."""
    return lambda T, window: -(np.arange(T) + 1) % block


def empties(case: Case):
    lengths = sorted({-(-case.T // n) * n for n in (8, 16, 32, 64)} | {2**n for n in range(14)})
    return (
        ({"until the window is full": {"empty_slots": empty_until_full}} if any(case.windows) else {})
        | {f"a cache of {n}": {"empty_slots": empty_in_cache_of(n)} for n in lengths if n >= case.T}
        | {f"blocks of {n}": {"empty_slots": empty_to_multiple_of(n)} for n in (8, 16, 32, 64, 128) if n < case.T}
    )


MISTAKES = [
    Mistake(
        "cache-write-before-read",
        "you write a chunk into the ring before its first rows have read what they need",
        "the last W keys up to the chunk's end",
        "keys i - W + 1 .. i of each row",
        "pytorch/executorch #20346; lablup/mlxcel #679",
        "minimistral/transformer.py transformer",
        lambda case: that_show(
            case,
            {f"chunks of {n}": before_read(n) for n in chunk_sizes(case)}
            | {f"chunks of {n}, all from the ring": from_ring_only(n) for n in (*chunk_sizes(case), case.T)},
        ),
    ),
    Mistake(
        "cache-first-kept",
        "you keep the first W keys of a chunk that is longer than the window, not the last",
        "the first W keys of a chunk stay",
        "the last W keys of a chunk stay",
        "",
        "minimistral/rolling_cache.py RollingCache.write",
        lambda case: that_show(case, {f"chunks of {n}": ring(n, write_first) for n in chunk_sizes(case)}),
    ),
    Mistake(
        "cache-stale-slot",
        "you do not overwrite slot i mod W when position i comes: an old key stays in your ring",
        "slot i mod W holds an older position than i",
        "slot i mod W holds position i",
        "huggingface/transformers #47708, #37574",
        "minimistral/rolling_cache.py slot_of",
        stale,
    ),
    Mistake(
        "cache-order",
        "you read the ring in the order of its slots, with a mask in the order of positions",
        "slot j taken for position n - W + j",
        "slot j holds the last position that is j mod W",
        "huggingface/transformers #47708; ollama/ollama #14912; Blaizzy/mlx-vlm #1715; "
        "microsoft/onnxruntime-genai #2334; vllm-project/vllm #4057; vllm-project/vllm-ascend #2729",
        "minimistral/rolling_cache.py slot_positions",
        lambda case: that_show(
            case,
            {f"chunks of {n}": ring(n, write_right, believed_in_order) for n in (1, *chunk_sizes(case))},
        ),
    ),
    Mistake(
        "decode-position-skipped",
        "you go on at position L + 1 after a pre-fill of L tokens: an empty slot is attended",
        "positions 0 .. L - 1, L + 1, ... and a key of zeros",
        "positions 0 .. L - 1, L, ...",
        "likejazz/llama3.np",
        "minimistral/rolling_cache.py RollingCache",
        lambda case: {f"from position {n}": empty_slot_from(n) for n in {max(case.first_wrong, 1)}},
    ),
    Mistake(
        "empty-slots-attended",
        "you attend to slots of the cache that nothing has been written to: their score is 0, not -inf",
        "exp(q . k) over the keys, and exp(0) for every empty slot",
        "exp(q . k) over the keys",
        "huggingface/transformers #45940, #30414; meta-pytorch/gpt-fast #233",
        "minimistral/rolling_cache.py RollingCache.read",
        empties,
    ),
]
