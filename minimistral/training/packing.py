"""Documents of mixed lengths into batches of about the same size, without padding."""

from collections.abc import Iterator

from minimistral.errors import BadInput
from minimistral.training.batch import Batch, packed
from minimistral.training.documents import Document, Documents


def next_batch(documents: Documents, first: int, batch_tokens: int) -> tuple[Batch, int]:
    """Documents first, first + 1, ... while they fit in batch_tokens inputs, and the number of the one that did not.

    BadInput if not even the first fits.
    """
    chosen, room, n = [], batch_tokens, first
    while True:
        ids, weights = documents.training(n)
        room -= len(ids) - 1
        if room < 0:
            break
        chosen.append((ids, weights))
        n += 1
    if not chosen:
        raise BadInput(f"document {n}: {len(ids) - 1} tokens, expected at most {batch_tokens}, those of a batch")
    return packed(chosen), n


def validation_batches(documents: list[Document], batch_tokens: int) -> Iterator[Batch]:
    """All of them, packed in their order; one that is longer than a batch has its own."""
    chosen, size = [], 0
    for ids, weights in documents:
        if chosen and size + len(ids) - 1 > batch_tokens:
            yield packed(chosen)
            chosen, size = [], 0
        chosen.append((ids, weights))
        size += len(ids) - 1
    if chosen:
        yield packed(chosen)
