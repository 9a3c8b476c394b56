"""A batch is one sequence: documents one after another, nothing padded, and each position knows where its own begins."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minimistral.errors import BadInput


class Batch(NamedTuple):
    """T positions of one or more documents. Position i attends to nothing before starts[i]."""

    tokens: np.ndarray  # (T,) int64, the inputs
    targets: np.ndarray  # (T,) int64, the token that comes next in the same document
    weights: np.ndarray  # (T,) float32, what each target counts in the loss: 1, or 0 (a chat's prompt)
    positions: np.ndarray  # (T,) int64, 0, 1, 2, ... in each document
    starts: np.ndarray  # (T,) int64, where this position's document begins in the sequence


def packed(documents: Sequence[tuple[Sequence[int], Sequence[float]]]) -> Batch:
    """Documents, each (its n ids, what each of its n ids counts) -> a Batch of sum(n - 1) positions.

    The last id is no input and the first is no target, so the first weight is not used. BadInput for no documents,
    a document of fewer than two ids, or one whose weights are not as many as its ids.

    >>> batch = packed([([1, 7, 9, 2], [0, 0, 1, 1]), ([1, 8, 2], [1, 1, 1])])
    >>> batch.tokens, batch.targets
    (array([1, 7, 9, 1, 8]), array([7, 9, 2, 8, 2]))
    >>> batch.weights
    array([0., 1., 1., 1., 1.], dtype=float32)
    >>> batch.positions, batch.starts
    (array([0, 1, 2, 0, 1]), array([0, 0, 0, 3, 3]))
    """
    if len(documents) == 0:
        raise BadInput("documents: none, expected one or more")
    for n, (ids, weights) in enumerate(documents):
        if len(ids) < 2:
            raise BadInput(f"document {n}: {len(ids)} tokens, expected 2 or more (one to read, one to predict)")
        if len(weights) != len(ids):
            raise BadInput(f"document {n}: {len(weights)} weights for {len(ids)} tokens")
    lengths = np.array([len(ids) - 1 for ids, _ in documents])
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)  # (T,)
    return Batch(
        tokens=np.concatenate([np.asarray(ids[:-1], np.int64) for ids, _ in documents]),
        targets=np.concatenate([np.asarray(ids[1:], np.int64) for ids, _ in documents]),
        weights=np.concatenate([np.asarray(weights[1:], np.float32) for _, weights in documents]),
        positions=np.arange(lengths.sum()) - starts,
        starts=starts,
    )
