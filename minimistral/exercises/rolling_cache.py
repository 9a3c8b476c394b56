"""Lesson 08: slot i mod W forgets what the window forgets."""

from minimistral.exercises.exercise import Exercise, Guess


def for_each_case(answer, cases):
    """The answer to each case (a tuple of arguments), in a list; nothing yet if one of them is nothing yet."""
    given = [answer(*case) for case in cases]
    return next((result for result in given if result is ... or result is None), given)


def slot(position, window):
    return position % window


def a_position_and_a_window(rng):
    window = int(rng.integers(4, 9))
    return 2 * window + int(rng.integers(1, 20)), window


def slot_position(slot, n, window):
    held = -1
    for position in range(n):
        if position % window == slot:
            held = position
    return held


def newest_without_empty(slot, n, window):
    return n - 1 - (n - 1 - slot) % window


def every_slot_of_a_short_and_a_long_text(rng):
    window = int(rng.integers(5, 9))
    short, long = int(rng.integers(2, window - 1)), 2 * window + int(rng.integers(2, window))
    return ([(slot, n, window) for n in (short, long) for slot in range(window)],)


def cache_bytes(length, n_layers, n_heads, n_kv_heads, head_dim, window):
    positions = min(length, window)
    values_of_one = n_kv_heads * head_dim
    return n_layers * positions * 2 * values_of_one * 2  # keys and values; 2 bytes each


def a_short_and_a_long_text(rng):
    n_kv_heads, window = int(rng.integers(2, 9)), int(rng.integers(20, 30))
    sizes = (
        int(rng.integers(10, 15)),
        n_kv_heads * int(rng.integers(3, 6)),
        n_kv_heads,
        int(rng.integers(30, 40)),
        window,
    )
    return ([(int(length), *sizes) for length in (rng.integers(5, window), rng.integers(2 * window + 1, 99))],)


EXERCISES = [
    Exercise(
        "slot",
        "In which of the slots 0 to W - 1 is a position kept?",
        slot,
        wrong={
            "window-plus-one": (lambda position, window: position % (window + 1), "how many slots has the ring?"),
            "last-slot": (
                lambda position, window: min(position, window - 1),
                "then every late position falls on one slot: the newest should replace the oldest",
            ),
            "from-one": (
                lambda position, window: (position - 1) % window,
                "the first position is 0: where is it kept?",
            ),
            "rounds": (
                lambda position, window: position // window,
                "that is how often the ring has gone round: what remains?",
            ),
        },
        make_inputs=a_position_and_a_window,
    ),
    Exercise(
        "slot-position",
        "Which position does a slot hold after n tokens, and -1 if it is still empty?",
        slot_position,
        wrong={
            "slot-itself": (
                lambda slot, n, window: slot if slot < n else -1,
                "right while the ring fills for the first time: what did the wrap do?",
            ),
            "in-order": (
                lambda slot, n, window: n - window + slot,
                "that is the order of the text: it is right only if W divides n",
            ),
            "newest-is-n": (
                lambda slot, n, window: slot_position(slot, n + 1, window),
                "after n tokens, which position is the newest?",
            ),
            "no-empty": (newest_without_empty, "right for full slots: what if the text has not come so far?"),
        },
        make_inputs=every_slot_of_a_short_and_a_long_text,
        call=for_each_case,
    ),
    Exercise(
        "cache-bytes",
        "How many bytes does a ring hold after length tokens, at 2 bytes a number?",
        cache_bytes,
        wrong={
            "keys-only": (lambda *sizes: cache_bytes(*sizes) // 2, "half: keys and values are kept"),
            "query-heads": (
                lambda length, n_layers, n_heads, n_kv_heads, head_dim, window: cache_bytes(
                    length, n_layers, n_heads, n_heads, head_dim, window
                ),
                "which heads have keys, and how many are there?",
            ),
            "no-window": (
                lambda length, *others: cache_bytes(length, *others[:-1], length),
                "that grows for ever: how many slots has a layer?",
            ),
            "always-full": (
                lambda length, *others: cache_bytes(others[-1], *others),
                "a text shorter than W fills only some of the slots",
            ),
            "one-byte": (lambda *sizes: cache_bytes(*sizes) * 2, "twice too many: how many bytes has a number?"),
        },
        make_inputs=a_short_and_a_long_text,
        call=for_each_case,
    ),
]

GUESSES = {
    "cached-for-13": Guess(
        "the earlier positions that the query at position 13 sees, for W = 5",
        [9, 10, 11, 12],
        [
            ([8, 9, 10, 11, 12], "these and its own are W + 1"),
            ([9, 10, 11, 12, 13], "13 is its own: which of these are earlier?"),
        ],
    ),
    "ring-after-13": Guess(
        "the positions in slots 0 to 4 after 13 tokens",
        [10, 11, 12, 8, 9],
        [
            ([8, 9, 10, 11, 12], "the right ones in the order of the text: into which slot does 10 go?"),
            ([11, 12, 8, 9, 10], "positions begin at 0: 13 tokens end at position 12"),
            ([10, 11, 12, 13, 9], "positions begin at 0: is there a 13 yet?"),
        ],
    ),
    "fewest-slots": Guess(
        "the fewest slots that give the right logits, for W = 5",
        4,
        [
            (5, "one of the W keys is the token's own: does it come from the ring?"),
            (6, "more than W keys are never seen"),
        ],
    ),
    "times-smaller": Guess(
        "how many times smaller a ring of 4096 slots is at 32768 tokens",
        8,
        [(4, "that is what shared heads save"), (32, "that is the ring and shared heads together"), (1, "no smaller?")],
    ),
}
