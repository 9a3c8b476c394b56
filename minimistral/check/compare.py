"""A stage against what it should be: row by row, with a budget that follows from the number format."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

SAFETY = (
    4  # times the largest error among the ways to compute that were drawn (docs/check.md shows where it comes from)
)


class Comparison(NamedTuple):
    """Rows are the last axis: a token, or a token's head. `error` and `budget` are lengths, one for each row."""

    error: np.ndarray
    budget: np.ndarray
    size: np.ndarray  # of the right rows
    judged: np.ndarray  # rows whose right value is a number; the others have error 0

    @property
    def ok(self) -> bool:
        return bool((self.error <= self.budget).all())

    @property
    def worst(self) -> float:
        """The largest error, in budgets."""
        return float(np.max(self.error / self.budget, initial=0.0))

    @property
    def relative_l2(self) -> float:
        return whole(self.error) / max(whole(self.size), np.finfo(float).tiny)


def compare(recorded: np.ndarray, right: np.ndarray, drawn: Iterable[np.ndarray], unit: float) -> Comparison:
    """What was recorded, against the reference and the ways to compute it that are right in the format too.

    recorded, right and each of drawn: (..., n). unit: a rounding of the format; no budget is below one. A row whose
    right value is no number (its inputs were none, or there are no such tokens) is not judged: error 0.
    """
    judged = np.isfinite(right).all(axis=-1)
    right = np.where(judged[..., None], right, 0.0)
    size, errors = length(right), np.zeros(judged.shape)
    for d in drawn:
        off = length(d - right)
        errors = np.maximum(errors, np.where(judged & np.isfinite(off), off, 0.0))
    typical = whole(errors) / max(whole(size), np.finfo(float).tiny)  # rows that happened to be drawn small get this
    floor = np.maximum(typical, unit) * np.maximum(size, 0.1 * np.sqrt(np.mean(size * size)))
    budget = SAFETY * np.maximum(errors, floor) + np.finfo(float).tiny
    error = length(np.where(judged[..., None], recorded, right) - right)
    return Comparison(np.where(np.isfinite(error), error, np.inf), budget, size, judged)


def length(x: np.ndarray) -> np.ndarray:
    """Of each row: (..., n) -> (...)."""
    return np.sqrt(np.sum(x * x, axis=-1))


def whole(rows: np.ndarray) -> float:
    """The length of everything, from its rows' lengths."""
    return float(np.sqrt(np.sum(rows * rows)))
