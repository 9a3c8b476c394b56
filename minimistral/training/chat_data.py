"""Conversations for fine-tuning: chat JSONL, read and checked line by line, or the endless ones about stories.

A line is {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}, ...]}. A document
is (ids, weights): the tokens of one conversation by its template, BOS first and EOS last, and what each counts in the
loss: 1 for an answer and the EOS that ends it (about stories, ANSWER for a short one), 0 for what the user or the
template says. The model is to learn to answer, not to ask.
"""

import json
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minimistral.chat import chat_spans, check_messages
from minimistral.checkpoint.files import parse_json, read_plain, shown
from minimistral.errors import BadInput
from minimistral.tokenizer import Tokenizer
from minimistral.training.documents import ANSWER, APART, SHORT, Document, Documents

LIMIT = 2**30  # bytes of a file
HELD_OUT = 20  # one conversation in so many is kept for validation
VALIDATION_STORIES = 64  # conversations about stories that are kept
HASHED = 200  # conversations about stories that the hash is made of
FORM = '{"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}'


class Encoding(NamedTuple):
    """How a conversation becomes tokens, and how many may be."""

    tokenizer: Tokenizer
    template: str
    longest: int  # tokens, BOS and EOS included
    bound: str  # what allows no more: words for a message


def file_documents(path: str | Path, encoding: Encoding, seed: int) -> Documents:
    """The conversations of a chat JSONL file, in a new order each time round, drawn from the seed.

    Every 20th is kept for validation: none of a file of fewer than 20. Blank lines are passed over. BadInput, with file
    and line, for a file that is empty or binary, a line that is no such object, roles out of turn, an empty message, a
    conversation without a last answer, or one that is too long.
    """
    where = shown(path)
    data = read_plain(Path(path), LIMIT)
    lines = [(number, line) for number, line in enumerate(data.split(b"\n"), start=1) if line.strip()]
    if not lines:
        raise BadInput(
            f"{where}: {'only blank lines' if data else 'empty'}, expected a line {FORM} for each conversation"
        )
    found = [read_line(line, f"{where}: line {number}", encoding) for number, line in lines]
    training, kept = held_out(found)
    documents = [document for document, _ in training]
    return Documents(
        Path(path).name,
        lambda n: documents[place(n, len(documents), seed)],
        [document for document, _ in kept],
        sum(characters for _, characters in kept),
        {"sha256 of the data": sha256(data).hexdigest(), "template": encoding.template},
    )


def read_line(line: bytes, where: str, encoding: Encoding) -> tuple[Document, int]:
    """The document of one line, and how many characters its answers have."""
    if b"\0" in line:
        raise BadInput(f"{where}: a zero byte: a binary file, expected text in UTF-8")
    try:
        line.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: not UTF-8: byte {line[error.start]:#04x} at {error.start}, expected text") from None
    found = parse_json(line, where)
    if not isinstance(found.get("messages"), list):
        what = "messages is no list" if "messages" in found else "no messages"
        raise BadInput(f"{where}: {what}, expected {FORM}")
    try:
        return encoded(found["messages"], encoding), answer_characters(found["messages"])
    except BadInput as error:
        raise BadInput(f"{where}: {error}") from None


def encoded(messages: list[dict], encoding: Encoding, short: float = 1) -> Document:
    """The document of a conversation; a token counts `short` times in an answer of fewer than SHORT tokens.

    BadInput, without a place, for one that cannot be learnt from.
    """
    check_messages(messages)
    blank = next((number for number, message in enumerate(messages, 1) if not message["content"].strip()), None)
    if blank is not None:
        raise BadInput(f"message {blank}: only blanks, expected some text")
    if messages[-1]["role"] != "assistant":
        raise BadInput(f"message {len(messages)}: the last has role user, expected an answer to learn from")
    spans = chat_spans(messages, encoding.tokenizer, encoding.template)
    ids = np.concatenate([np.array(part, np.int64) for part, _ in spans])
    if len(ids) > encoding.longest:
        raise BadInput(f"a conversation of {len(ids)} tokens, expected at most {encoding.longest}, {encoding.bound}")
    each = [counts * (short if len(part) < SHORT else 1) for part, counts in spans]
    return ids, np.repeat(np.float32(each), [len(part) for part, _ in spans])


def answer_characters(messages: list[dict]) -> int:
    """Characters of all answers."""
    return sum(len(message["content"]) for message in messages if message["role"] == "assistant")


def held_out(items: list) -> tuple[list, list]:
    """(those to train on, those kept for validation).

    >>> train, kept = held_out(list(range(45)))
    >>> len(train), kept
    (43, [19, 39])
    """
    return [item for number, item in enumerate(items, 1) if number % HELD_OUT], items[HELD_OUT - 1 :: HELD_OUT]


def place(n: int, size: int, seed: int) -> int:
    """Which of `size` documents is the n-th: each once in every round of `size`, in an order drawn from the seed.

    >>> [place(n, 3, seed=0) for n in range(9)]
    [2, 0, 1, 2, 0, 1, 2, 1, 0]
    """
    return int(order(size, seed, n // size)[n % size])


@lru_cache(maxsize=2)
def order(size: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation, the same for the same seed and epoch."""
    return np.random.default_rng([seed, epoch]).permutation(size)


def story_documents(encoding: Encoding, seed: int = 0, lookups: bool = False) -> Documents:
    """Conversations about stories without end: document n is the n-th of `minimistral.stories`; another seed has others.

    lookups: in training three of four are instead a short part of a story and all the questions that it answers. Held out
    are the same.

    In training a token of a short answer counts ANSWER times: a story that is told has as many tokens as thirty answers
    to questions, and is known already. Where a conversation is too long, its last questions are left out. BadInput where
    not even the first fits.
    """
    from minimistral.stories.conversations import conversation, lookup

    def made(n: int) -> list[dict]:
        return (lookup if lookups and n % 4 else conversation)(n, "train")

    def fitting(messages: list[dict], n: int, short: float = 1) -> tuple[Document, int]:
        while True:
            try:
                return encoded(messages, encoding, short), answer_characters(messages)
            except BadInput as error:
                if len(messages) < 4:
                    raise BadInput(f"stories: conversation {n}: {error}") from None
                messages = messages[:-2]

    kept = [fitting(conversation(n, "validation"), n) for n in range(VALIDATION_STORIES)]
    digest = sha256()
    for n in range(HASHED):
        digest.update(json.dumps(made(n)).encode() + b"\0")
    validation, characters = [document for document, _ in kept], sum(characters for _, characters in kept)
    identity = {
        "sha256 of the data": digest.hexdigest(),
        "template": encoding.template,
        "a short answer counts": ANSWER,
    }

    def document(n: int) -> Document:
        return fitting(made(seed * APART + n), n, ANSWER)[0]

    return Documents("lookups" if lookups else "stories", document, validation, characters, identity)
