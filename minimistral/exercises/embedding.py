"""Lesson 02: a row look-up is a one-hot product, and the residual stream is a sum."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess


def embed(table, ids):
    return np.array([table[i] for i in ids])  # (T, dim); NumPy's short form is table[ids]


def columns(table, ids):
    return table.T[ids]


def multiplied(table, ids):
    return ids[:, None] * table[: len(ids)]


def scaled(table, ids):
    return table[ids] * np.sqrt(table.shape[1])


def counted_from_one(table, ids):
    return table[ids - 1]


def a_table_and_ids(rng):
    """A table with more rows than columns, and ids small enough to be columns, too."""
    dim = int(rng.integers(7, 10))
    V, T = dim + int(rng.integers(3, 6)), int(rng.integers(4, 7))
    return rng.integers(-9, 10, (V, dim)).astype(float), rng.integers(1, dim, T)


def shares(parts):
    total = sum(parts)  # (dim,)
    return np.array([part @ total for part in parts]) / (total @ total)


def by_length(parts):
    lengths = np.sqrt((parts * parts).sum(axis=1))
    return lengths / lengths.sum()


def by_length_of_the_sum(parts):
    return np.sqrt((parts * parts).sum(axis=1)) / np.sqrt((parts.sum(axis=0) ** 2).sum())


def by_squares(parts):
    total = parts.sum(axis=0)
    return (parts * parts).sum(axis=1) / (total @ total)


def without_sign(parts):
    total = parts.sum(axis=0)
    return np.abs(parts @ total) / (total @ total)


def not_divided(parts):
    return parts @ parts.sum(axis=0)


def some_parts(rng):
    """Parts of which the last takes away some of what the first wrote."""
    n, dim = int(rng.integers(3, 6)), int(rng.integers(7, 10))
    parts = rng.integers(-9, 10, (n, dim)).astype(float)
    parts[0] *= 3
    parts[-1] = -parts[0] / 3 + parts[-1] / 4
    return (parts,)


EXERCISES = [
    Exercise(
        "embed",
        "Which rows of the table (V, dim) do these T ids fetch?",
        embed,
        wrong={
            "columns": (columns, "that fetches columns: a token is a row of the table"),
            "multiplied": (multiplied, "an id is an address: nothing is multiplied by it"),
            "scaled": (scaled, "times the root of dim is another model's habit: here a row is taken as it is"),
            "from-one": (counted_from_one, "one row off: which number has the first row?"),
        },
        make_inputs=a_table_and_ids,
    ),
    Exercise(
        "stream-shares",
        "Which share of a sum of vectors (its parts) comes from each of them, so that the shares sum to 1?",
        shares,
        wrong={
            "lengths": (by_length, "those sum to 1, but a part that points against the sum must have a negative share"),
            "lengths-of-sum": (by_length_of_the_sum, "lengths do not add up: which product does add up?"),
            "squares": (by_squares, "each part with itself: take each part with the sum"),
            "no-sign": (without_sign, "who takes away has a negative share: keep the sign"),
            "not-divided": (not_divided, "nearly: what do yours sum to, and what should they?"),
        },
        make_inputs=some_parts,
    ),
]

GUESSES = {
    "fetched-row": Guess(
        "row 2 of what the ids 4, 1, 4 fetch from the small table",
        [8, 0, 5],
        [([3, 1, -2], "that is row 2 of the table: which id stands at place 2?"), ([2, -7, 4], "that is row 1")],
    ),
    "one-hot-products": Guess(
        "how many multiplications the one-hot product of one token is, in Mistral 7B",
        131_072_000,
        [
            (4096, "those are the ones that are not by 0: count all"),
            (32_000, "that many for one column: how many columns are there?"),
        ],
    ),
    "small-stream": Guess(
        "the stream after both have written",
        [4, 1, -1],
        [([-3, 2, 0], "the last to write replaces nothing"), ([-1, 2, 3], "the token's row is still in the sum")],
    ),
    "length-of-sum": Guess(
        "how long a sum is of two vectors at right angles, of length 3 and 4",
        5,
        [(7, "that is right if both point the same way"), (1, "that is right if they point against each other")],
    ),
}
