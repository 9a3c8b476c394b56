"""Lesson 09: any chunking, the same bits, if old keys are read before they are overwritten."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def in_order(answer, *inputs):
    """An answer's positions in the order of the text: any order is right. Nothing yet stays nothing yet."""
    positions = answer(*inputs)
    return positions if positions is ... or positions is None else np.sort(np.asarray(positions))


def chunk_keys(length, size, window):
    in_the_ring = list(range(max(0, length - window), length))
    its_own = list(range(length, length + size))
    return np.array(in_the_ring + its_own)


def ring_after_writing(length, size, window):
    return np.arange(max(0, length + size - window), length + size)


def a_full_ring_and_a_chunk(rng):
    window = int(rng.integers(4, 9))
    return 2 * window + int(rng.integers(1, 9)), int(rng.integers(2, 2 * window)), window


def chunk_write(ring, length, size):
    after = ring.copy()
    for position in range(length, length + size):
        after[position % len(ring)] = position
    return after


def first_of_the_chunk(ring, length, size):
    return chunk_write(ring, length, min(size, len(ring)))


def numbered_from_zero(ring, length, size):
    after = ring.copy()
    for number in range(size):
        after[number % len(ring)] = length + number
    return after


def in_text_order(ring, length, size):
    return np.concatenate([np.sort(ring), np.arange(length, length + size)])[-len(ring) :]


def a_ring_and_a_long_chunk(rng):
    window = int(rng.integers(4, 9))
    length, size = 2 * window + int(rng.integers(1, 9)), window + int(rng.integers(1, window))
    ring = np.zeros(window, int)
    for position in range(length):
        ring[position % window] = position
    return ring, length, size


EXERCISES = [
    Exercise(
        "chunk-keys",
        "Whose keys are handed to the attention of a chunk? Their positions, in any order.",
        chunk_keys,
        wrong={
            "chunk-only": (
                lambda length, size, window: np.arange(length, length + size),
                "then the window begins anew with each chunk: what was seen before?",
            ),
            "after-writing": (
                ring_after_writing,
                "that is the ring after the chunk: what did the first row still need?",
            ),
            "slots": (
                lambda length, size, window: chunk_keys(length, size, window) % window,
                "these are slots: a slot is not a position",
            ),
            "all": (
                lambda length, size, window: np.arange(length + size),
                "that is the whole text: how much of it does the ring still hold?",
            ),
            "needed": (
                lambda length, size, window: chunk_keys(length, size, window)[1:],
                "close: those are the needed ones, but the ring hands over all W and leaves it to the mask",
            ),
        },
        make_inputs=a_full_ring_and_a_chunk,
        call=in_order,
    ),
    Exercise(
        "chunk-write",
        "What does each slot hold after a chunk has been written into the ring?",
        chunk_write,
        wrong={
            "first-window": (first_of_the_chunk, "of a long chunk that keeps the first W: which W will be asked for?"),
            "from-zero": (numbered_from_zero, "numbered from the chunk's beginning: slot is position mod W"),
            "text-order": (
                in_text_order,
                "the right positions, in the order of the text: is each in the slot where a later token looks?",
            ),
        },
        make_inputs=a_ring_and_a_long_chunk,
    ),
]

GUESSES = {
    "scores-in-one-call": Guess(
        "GiB of scores that one layer makes of 32768 tokens in one call, 32 heads, 2 bytes a score",
        64,
        [
            (2, "that is one head: there are 32"),
            (32, "two bytes a score"),
            (128, "2 bytes a score, and a GiB is 2 to the power 30"),
        ],
    ),
    "needed-from-ring": Guess(
        "how many of the ring's keys 5, 6, 7, 8 and 4 some query from 9 to 12 sees, for W = 5",
        4,
        [(5, "who sees the key at 4? the query at 9 sees five keys, its own among them"), (1, "the query at 9 sees 5")],
    ),
    "writes-first-shows": Guess(
        "at which of the chunk sizes 1, 2, 5, 10 and 13 writing before reading changes a logit",
        [2, 5, 10],
        [
            ([2, 5, 10, 13], "a chunk of 13 is the whole prompt: was there anything in the ring to be lost?"),
            ([1, 2, 5, 10, 13], "one token overwrites the key at n - W: does the query at n need that one?"),
            ([10, 13], "two tokens already overwrite two keys: does the first of them need the second?"),
        ],
    ),
    "mistakes-one-by-one": Guess(
        "how many of the four mistakes change a logit when all tokens come one by one",
        0,
        [(4, "which of them does anything else than a right ring, for a chunk of one?"), (1, "which one?")],
    ),
}
