"""What a model is trained on: documents by number, and a fixed list of held-out ones.

A document is (its n ids, what each of them counts in the loss), as `batch.packed` takes them. Document n is a pure
function of n, so a run that was stopped needs to remember one number.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from hashlib import sha256
from itertools import accumulate, count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minimistral.checkpoint.files import read_plain, reason, shown
from minimistral.errors import BadInput
from minimistral.tokenizer import Tokenizer
from minimistral.training.tokenizer import CONTROL

LIMIT = 2**30  # bytes of a file
HELD_OUT = 10  # one part in so many
VALIDATION_TOKENS = 65536  # at most so many are held out for the loss; of a longer text, the first
VALIDATION_STORIES = 64
HASHED = 1000  # texts
APART = 10**7  # stories of one seed
ANSWER, SHORT = 8, 64  # times that a token counts of an answer that has fewer tokens than this
SMALL_WORDS = {"a", "an", "at", "behind", "beside", "between", "by", "in", "near",
               "of", "old", "on", "the", "two", "under"}  # fmt: skip
BLOCK = 64  # documents encoded at a time
LONG = 2**20  # characters encoded at a time

Document = tuple[np.ndarray, np.ndarray]  # ids (n,) int64, weights (n,) float32


class Documents(NamedTuple):
    """An endless supply, and the ones that are never trained on."""

    name: str
    training: Callable[[int], Document]  # document 0, 1, 2, ...
    validation: list[Document]
    characters: int  # of text that validation's targets stand for; 0: not known
    identity: dict[str, str]  # what must be the same for a stopped run to go on


class Text(NamedTuple):
    """One text, or the part of one that begins or ends it, or neither."""

    text: str
    begins: bool  # BOS stands before it
    ends: bool  # EOS stands after it


class Texts(NamedTuple):
    """Texts read from files."""

    name: str
    training: list[Text]
    validation: list[Text]
    sha256: str  # of the file, or of the files' own in the order of their paths


def counted(ids) -> Document:
    """A document in which everything counts."""
    return np.asarray(ids, np.int64), np.ones(len(ids), np.float32)


def story_documents(tokenizer: Tokenizer, longest: int, seed: int = 0) -> Documents:
    """Document n is BOS, story n, EOS; another seed has other stories. Of one with more than `longest` inputs the end is
    left out.
    """

    def document(n: int) -> Document:
        return told(seed * APART + n, "train", tokenizer, longest)

    return _in_blocks(tokenizer, longest, stories_sha256(), document)


def question_documents(tokenizer: Tokenizer, longest: int, seed: int = 0) -> Documents:
    """Stories, and conversations about others, in turn: document 2n is story n, document 2n + 1 conversation n.

    What a story tells early it needs seldom and late, and a model learns late to hand that on; a question asks for little
    else. Held out are stories alone, as in `story_documents`.
    """

    def document(n: int) -> Document:
        number = seed * APART + n // 2
        return asked(number, tokenizer, longest) if n % 2 else told(number, "train", tokenizer, longest)

    return _in_blocks(tokenizer, longest, questions_sha256(), document)


def _in_blocks(tokenizer: Tokenizer, longest: int, data_sha256: str, document: Callable[[int], Document]) -> Documents:
    """Documents made a block at a time, and the held-out stories."""

    @lru_cache(maxsize=4)
    def block(number: int) -> list[Document]:
        return [document(n) for n in range(number * BLOCK, (number + 1) * BLOCK)]

    held_out = [told(seed, "validation", tokenizer, longest) for seed in range(VALIDATION_STORIES)]
    characters = sum(len(tokenizer.decode(ids.tolist())) for ids, _ in held_out)
    identity = {"sha256 of the data": data_sha256}
    return Documents("stories", lambda n: block(n // BLOCK)[n % BLOCK], held_out, characters, identity)


def with_recall(documents: Documents, tokenizer: Tokenizer, recall: float) -> Documents:
    """The same, but in training a name, a colour, a place, ... counts `recall` times where it returns (`returning`)."""
    if recall == 1:
        return documents
    own = story_words(tokenizer)
    identity = documents.identity | {"recall": recall}
    return documents._replace(training=lambda n: returning(documents.training(n), own, recall), identity=identity)


def returning(document: Document, own: np.ndarray, recall: float) -> Document:
    """Each of the ids `own` counts `recall` times where it stood in the document before, if it counts at all.

    One token in sixteen of a story is a name, a colour, ... that was said before. Beside the others their share of the
    loss is small, and to look back for them is learnt late; so they can be made to weigh more at first.

    >>> returning(counted([1, 7, 9, 7, 9, 7]), np.array([7]), 4)[1]
    array([1., 1., 1., 4., 1., 4.], dtype=float32)
    """
    ids, weights = document
    first = np.isin(np.arange(len(ids)), np.unique(ids, return_index=True)[1])
    more = np.isin(ids, own) & ~first & (weights > 0)
    return ids, np.where(more, np.maximum(weights, np.float32(recall)), weights)


def story_words(tokenizer: Tokenizer) -> np.ndarray:
    """The ids that stand for a word that stories draw: a name, a colour, a gift, a number, a word of a place, ..."""
    from minimistral.stories import words as w

    drawn = {*w.GIRLS, *w.BOYS, *w.FAMILY, *w.TRAITS, *w.ANIMAL_NAMES, *w.ANIMALS, *w.COLOURS, *w.THINGS, *w.BUILT, *w.GIFTS,
             *w.FOODS, *w.LIKED, *w.NUMBERS, *w.AGES, *w.SEASONS, *w.WEATHER}  # fmt: skip
    for place, spot in dict(w.PLACES).items():
        drawn |= {word for word in f"{place} {spot}".split() if word not in SMALL_WORDS}
    return np.array([i for i in range(tokenizer.vocab_size) if tokenizer.decode([i]).strip() in drawn], np.int64)


def told(number: int, split: str, tokenizer: Tokenizer, longest: int) -> Document:
    """A story; all of it counts."""
    from minimistral.stories import story

    return counted(encoded_text(Text(story(number, split), True, True), tokenizer)[: longest + 1])


def asked(number: int, tokenizer: Tokenizer, longest: int) -> Document:
    """A conversation. A short answer and its EOS count ANSWER times, a story that is told and what the user says once.

    BOS and the control pieces do not count: so a text never begins with [INST] of itself.
    """
    from minimistral.chat import chat_spans, default_template
    from minimistral.stories.conversations import conversation

    spans = chat_spans(conversation(number, "train"), tokenizer, default_template(tokenizer))
    ids = np.concatenate([np.asarray(part, np.int64) for part, _ in spans])[: longest + 1]
    counts = [ANSWER if answer and len(part) < SHORT else 1 for part, answer in spans]
    weights = np.repeat(np.float32(counts), [len(part) for part, _ in spans])
    silent = [tokenizer.bos_id, *(tokenizer.control_id(piece) for piece in CONTROL)]
    return ids, np.where(np.isin(ids, [i for i in silent if i is not None]), np.float32(0), weights[: longest + 1])


def training_stories() -> Iterator[str]:
    """Stories 0, 1, 2, ..."""
    from minimistral.stories import story

    return (story(seed, "train") for seed in count())


def stories_sha256() -> str:
    """SHA-256 of the first 1000 stories, a zero byte after each."""
    return _sha256(islice(training_stories(), HASHED))


def questions_sha256() -> str:
    """SHA-256 of the first 500 stories and as many conversations in turn, a zero byte after each."""
    from minimistral.stories.conversations import corpus

    return _sha256(islice(corpus(0), HASHED))


def _sha256(texts: Iterable[str]) -> str:
    digest = sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def read_texts(path: str | Path) -> Texts:
    """A file of text, its last tenth held out; or a folder of .txt files, one file in ten held out.

    BadInput, with file and line, for what is missing, empty, or no UTF-8; for a folder without a .txt file.
    """
    path = Path(path)
    try:
        files = sorted(p for p in path.rglob("*.txt") if p.is_file()) if path.is_dir() else [path]
    except OSError as error:
        raise BadInput(f"{shown(path)}: cannot be read: {reason(error)}") from None
    if not files:
        raise BadInput(f"{shown(path)}: no .txt file in this folder, expected one or more")
    texts, name, digest = [], path.name, sha256()
    for file in files:
        data = read_plain(file, LIMIT)
        texts.append(decoded(data, shown(file)))
        digest.update(data if len(files) == 1 else sha256(data).digest())
    if len(texts) == 1:
        cut = len(texts[0]) * (HELD_OUT - 1) // HELD_OUT
        return Texts(name, [Text(texts[0][:cut], True, False)], [Text(texts[0][cut:], False, True)], digest.hexdigest())
    order = np.random.default_rng(0).permutation(len(texts))
    held_out = set(order[: max(1, len(texts) // HELD_OUT)].tolist())
    training = [Text(t, True, True) for i, t in enumerate(texts) if i not in held_out]
    return Texts(name, training, [Text(texts[i], True, True) for i in sorted(held_out)], digest.hexdigest())


def decoded(data: bytes, where: str) -> str:
    """The text of a file. BadInput, with the line, if it is none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        bad, at = error.object[error.start], error.start
        line = error.object.count(b"\n", 0, at) + 1
        raise BadInput(f"{where}: line {line}: not UTF-8: byte {bad:#04x} at {at}, expected text") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise BadInput(f"{where}: line {line}: a zero byte: a binary file, expected text in UTF-8")
    if not text.strip():
        raise BadInput(f"{where}: {'only blanks' if text else 'empty'}, expected text in UTF-8")
    return text


def text_documents(texts: Texts, tokenizer: Tokenizer, longest: int, seed: int) -> Documents:
    """Documents of at most `longest` inputs, cut from texts. One begins with BOS, or ends with EOS, only where a text
    does. All are used once, in an order drawn from the seed; then again in another order, cut elsewhere.

    BadInput for a single text that is shorter than one document.
    """
    streams = [encoded_text(text, tokenizer) for text in texts.training]
    if len(streams) == 1 and len(streams[0]) <= longest:
        found = f"{len(streams[0])} tokens to train on"
        raise BadInput(f"{shown(texts.name)}: {found}, expected more than {longest}, the length of a document")
    places = [(s, k) for s, stream in enumerate(streams) for k in range(n_pieces(stream, longest))]
    room = np.array([n_pieces(stream, longest) * longest - (len(stream) - 1) for stream in streams])

    @lru_cache(maxsize=2)
    def drawn(epoch: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([seed, epoch])
        return rng.permutation(len(places)), rng.integers(0, room + 1)

    def document(n: int) -> Document:
        order, shifts = drawn(n // len(places))
        s, k = places[order[n % len(places)]]
        return counted(piece(streams[s], k, longest, int(shifts[s])))

    validation, characters = held_out_pieces(texts.validation, tokenizer, longest)
    return Documents(texts.name, document, validation, characters, {"sha256 of the data": texts.sha256})


def held_out_pieces(texts: list[Text], tokenizer: Tokenizer, longest: int) -> tuple[list[Document], int]:
    """Validation documents, and how many characters their targets stand for."""
    streams = [encoded_text(text, tokenizer) for text in texts]
    left = [VALIDATION_TOKENS - before for before in accumulate(map(len, streams), initial=0)]
    used = [s[: room + 1] for s, room in zip(streams, left, strict=False) if room > 0 and len(s) > 1]
    pieces = [counted(piece(s, k, longest, 0)) for s in used for k in range(n_pieces(s, longest))]
    return pieces, sum(len(tokenizer.decode(s[1:].tolist())) for s in used)


def encoded_text(text: Text, tokenizer: Tokenizer) -> np.ndarray:
    """All ids of a text, int32. A long one is encoded by the megabyte; sentencepiece puts a space before each part."""
    parts = [tokenizer.encode(text.text[n : n + LONG], bos=False) for n in range(0, len(text.text), LONG)]
    before = [tokenizer.bos_id] if text.begins and tokenizer.bos_id >= 0 else []
    after = [tokenizer.eos_id] if text.ends and tokenizer.eos_id >= 0 else []
    return np.concatenate([np.asarray(ids, np.int32) for ids in (before, *parts, after)])


def n_pieces(ids: np.ndarray, longest: int) -> int:
    """How many documents of at most `longest` inputs a text makes; every id but the first is a target once."""
    return -(-(len(ids) - 1) // longest)


def piece(ids: np.ndarray, k: int, longest: int, shift: int) -> np.ndarray:
    """Document k of a text, the cuts moved to the left by `shift`; it shares an id with the next, there a first input.

    >>> [piece(np.arange(8), k, 3, shift=1).tolist() for k in range(3)]
    [[0, 1, 2], [2, 3, 4, 5], [5, 6, 7]]
    """
    start = k * longest - shift
    return ids[max(0, start) : start + longest + 1]
