"""Lesson 06: query head h reads key head h // (n_heads / n_kv_heads), and the cache shrinks as many times."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def kv_head(h, n_heads, n_kv_heads):
    group = n_heads // n_kv_heads
    return h // group


def some_head(rng):
    n_kv_heads = int(rng.integers(3, 9))
    n_heads = n_kv_heads * int(rng.integers(3, 9))
    return int(rng.integers(n_heads)), n_heads, n_kv_heads


def gqa(q, k, v, seen):
    (_, n_heads, head_dim), n_kv_heads = q.shape, k.shape[1]
    group = n_heads // n_kv_heads
    attended = np.zeros(q.shape)
    for g in range(n_kv_heads):
        heads = slice(g * group, (g + 1) * group)  # neighbours, all on key head g
        scores = q[:, heads].swapaxes(0, 1) @ k[:, g].T / np.sqrt(head_dim)  # (group, T, S)
        scores[:, ~seen] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        attended[:, heads] = (weights @ v[:, g]).swapaxes(0, 1)
    return attended


def with_heads(q, k, v, seen, key_heads, value_heads):
    """Attention in which query head h reads key head key_heads[h] and value head value_heads[h]."""
    scores = np.einsum("thd,shd->hts", q, k[:, key_heads]) / np.sqrt(q.shape[-1])
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("hts,shd->thd", weights / weights.sum(axis=-1, keepdims=True), v[:, value_heads])


def group_and_head_exchanged(q, k, v, seen):
    wrong = np.arange(q.shape[1]) % k.shape[1]
    return with_heads(q, k, v, seen, wrong, wrong)


def only_values_exchanged(q, k, v, seen):
    n_heads, n_kv_heads = q.shape[1], k.shape[1]
    heads = np.arange(n_heads)
    return with_heads(q, k, v, seen, heads // (n_heads // n_kv_heads), heads % n_kv_heads)


def heads_come_out_exchanged(q, k, v, seen):
    T, n_heads, head_dim = q.shape
    n_kv_heads = k.shape[1]
    right = gqa(q, k, v, seen).reshape(T, n_kv_heads, n_heads // n_kv_heads, head_dim)
    return right.swapaxes(1, 2).reshape(q.shape)


def nothing_hidden(q, k, v, seen):
    return gqa(q, k, v, np.ones_like(seen))


def some_heads_in_groups(rng):
    """T 3, S 7, 2 or 3 key heads with 4 or 5 query heads each, head_dim 6; each query sees 4 or 5 of the keys."""
    n_kv_heads, group = int(rng.integers(2, 4)), int(rng.integers(4, 6))
    q = rng.standard_normal((3, n_kv_heads * group, 6))
    k, v = (rng.standard_normal((7, n_kv_heads, 6)) for _ in range(2))
    seen = np.ones((3, 7), dtype=bool)
    for row in seen:
        row[rng.choice(7, int(rng.integers(2, 4)), replace=False)] = False
    return q, k, v, seen


EXERCISES = [
    Exercise(
        "kv-head",
        "Which key head does query head h read?",
        kv_head,
        wrong={
            "modulo-heads": (
                lambda h, n_heads, n_kv_heads: h % n_kv_heads,
                "then neighbours read different key heads: neighbours share one",
            ),
            "by-key-heads": (
                lambda h, n_heads, n_kv_heads: h // n_kv_heads,
                "divide by the size of a group, not by the number of groups",
            ),
            "place-in-group": (
                lambda h, n_heads, n_kv_heads: h % (n_heads // n_kv_heads),
                "that is the place of h within its group: which group is it?",
            ),
        },
        make_inputs=some_head,
    ),
    Exercise(
        "gqa",
        "What does each query head give, if groups of neighbours share a key head and a value head?",
        gqa,
        wrong={
            "group-and-head": (
                group_and_head_exchanged,
                "group and head are exchanged: neighbours share, so the place within a group is the fast axis",
            ),
            "only-values": (only_values_exchanged, "right for the keys: the values are wired in the same way"),
            "output-order": (
                heads_come_out_exchanged,
                "right heads in the wrong order: put head h back where its query was",
            ),
            "nothing-hidden": (nothing_hidden, "some keys are not seen: give them no weight"),
        },
        make_inputs=some_heads_in_groups,
    ),
]

GUESSES = {
    "key-head-of-4": Guess(
        "the key head that query head 4 of 6 reads, with 2 key heads",
        1,
        [(0, "4 mod 2: neighbours share a key head"), (2, "4 / 2: with 2 key heads there are only 0 and 1")],
    ),
    "heads-that-change": Guess(
        "the query heads (of 6) whose scores change with key head 1 (of 2)",
        [3, 4, 5],
        [
            ([1, 3, 5], "every second one? neighbours share"),
            ([1], "how many query heads read one key head?"),
            ([4, 5, 6], "heads are counted from 0"),
        ],
    ),
    "gqa-cache-gib": Guess(
        "the GiB of keys and values for 32768 tokens, with 8 key heads and no window",
        4,
        [
            (16, "that is with 32 key heads"),
            (2, "keys and values are kept"),
            (0.5, "that is with one key head, or with the window, too"),
        ],
    ),
}
