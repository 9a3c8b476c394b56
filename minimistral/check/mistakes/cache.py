"""Mistakes of the rolling buffer: which keys each query meets in the end. Right: lines.seen, in chunks of any size.

A ring of W slots is followed chunk by chunk. `held[slot]` is the position whose key lies there, and `believed[slot]` the
position that the code thinks it has. A query at t meets a slot if it believes in a position of t's window, and its own
chunk up to itself.
"""

from collections.abc import Callable

import numpy as np

from minimistral.check.mistakes.mistake import Case, Mistake
from minimistral.check.mistakes.window import block_sizes


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


def ring(size: int, write: Callable, believed: Callable = believed_right, first: bool = False) -> Callable:
    """A `seen` line: how often query t meets the key of s: counts (T, T). first: the ring is written before it is read."""

    def seen(T: int, window: int | None) -> np.ndarray:
        W = T if window is None else window
        counts, held = np.zeros((T, T), int), np.full(W, -1)
        for start in range(0, T, size):
            end = min(start + size, T)
            thought = believed(start, W)
            if first:
                write(held, start, end, W)
            rows, own = np.arange(start, end)[:, None], np.arange(start, end)
            there = held >= 0
            met = (thought >= 0) & (rows - thought < W)  # (rows, slots)
            np.add.at(counts, (rows, held[there]), met[:, there])
            counts[start:end, start:end] += (rows >= own) & (rows - own < W)
            if not first:
                write(held, start, end, W)
        return counts

    return seen


def before_read(size: int) -> Callable:
    """The chunk goes into the ring first; then its rows look at the ring for what came before, and at themselves."""

    def seen(T: int, window: int | None) -> np.ndarray:
        W = T if window is None else window
        t, s = np.arange(T)[:, None], np.arange(T)[None, :]
        end = np.minimum((t // size + 1) * size, T)  # of t's own chunk
        still_there = (s >= end - W) | (s >= t // size * size)
        return (t >= s) & (t - s < W) & still_there

    return seen


def from_ring_only(size: int) -> Callable:
    """The same, and its own chunk comes from the ring too: of a chunk longer than W only the last W are there."""

    def seen(T: int, window: int | None) -> np.ndarray:
        W = T if window is None else window
        t, s = np.arange(T)[:, None], np.arange(T)[None, :]
        end = np.minimum((t // size + 1) * size, T)
        return ((t >= s) & (t - s < W) & (s >= end - W)) | ((t == s) & (t < end - W))

    return seen


def sizes(case: Case) -> list[int]:
    return [1, *block_sizes(case)]


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


MISTAKES = [
    Mistake(
        "cache-write-before-read",
        "you write a chunk into the ring before its first rows have read what they need",
        "the last W keys of the chunk's end",
        "keys i - W + 1 .. i of each row",
        "",
        "minimistral/transformer.py transformer",
        lambda case: (
            {f"chunks of {n}": {"seen": before_read(n)} for n in sizes(case)[1:]}
            | {f"chunks of {n}, all from the ring": {"seen": from_ring_only(n)} for n in sizes(case)[1:]}
        ),
    ),
    Mistake(
        "cache-first-kept",
        "of a chunk longer than the window you keep the first W keys, not the last",
        "the first W of a chunk",
        "the last W of a chunk",
        "",
        "minimistral/rolling_cache.py RollingCache.write",
        lambda case: {f"chunks of {n}": {"seen": ring(n, write_first)} for n in sizes(case)[1:]},
    ),
    Mistake(
        "cache-stale-slot",
        "a slot of your ring is not overwritten when position i comes: an old key stays in it",
        "an older key than i mod W should hold",
        "slot i mod W holds position i",
        "huggingface/transformers #47708, #37574",
        "minimistral/rolling_cache.py slot_of",
        lambda case: {
            f"{what}, chunks of {n}": {"seen": ring(n, write)}
            for n in sizes(case)
            for what, write in (
                ("one slot off", write_late),
                ("slot 0", write_not_slot_0),
                ("slots from the chunk's start", write_from_chunk),
            )
        },
    ),
    Mistake(
        "cache-order",
        "you read the ring in the order of its slots, with a mask in the order of positions",
        "slot j taken for position n - W + j",
        "slot j holds the last position that is j mod W",
        "ollama/ollama #14912; Blaizzy/mlx-vlm #1715",
        "minimistral/rolling_cache.py slot_positions",
        lambda case: {f"chunks of {n}": {"seen": ring(n, write_right, believed_in_order)} for n in sizes(case)[1:]},
    ),
    Mistake(
        "decode-position-skipped",
        "after a pre-fill of L tokens you go on at position L + 1: an empty slot is attended",
        "positions 0 .. L - 1, L + 1, ... and a key of zeros",
        "positions 0 .. L - 1, L, ...",
        "likejazz/llama3.np",
        "minimistral/rolling_cache.py RollingCache",
        lambda case: {f"from position {n}": empty_slot_from(n) for n in {max(case.first_wrong, 1)}},
    ),
]
