"""The task: what colour was it? Facts, other words, and questions about the facts.

    <s> lamp red crow tall moon sings rope key blue ... lamp? ... key? ...

A fact is two words, an object and its colour. `lamp?` asks for the lamp's colour. The answer is the target there and is
never written, so no question helps a later one by a new mention. A question's distance is its position minus that of
the colour word: the nearest word that knows the answer.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minimistral.training.batch import Batch

OBJECTS = ("lamp", "key", "boat", "hat", "kite", "drum", "cup", "ball")
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "pink")
NOUNS = ("crow", "moon", "rope", "tree", "bell", "goat", "road", "hill")
VERBS = ("sings", "falls", "turns", "waits", "jumps", "hides", "grows", "rests")
ADJECTIVES = ("tall", "warm", "old", "soft", "loud", "thin", "near", "kind")
WORDS = ("<s>", *OBJECTS, *COLOURS, *(f"{name}?" for name in OBJECTS), *NOUNS, *VERBS, *ADJECTIVES)
ID = {word: i for i, word in enumerate(WORDS)}
OTHERS = np.array([[ID[word] for word in kind] for kind in (NOUNS, VERBS, ADJECTIVES)])
SENTENCES = ((0, 1), (0, 2), (2, 0, 1), (0, 1, 0))  # as rows of OTHERS: `crow sings`, `moon old`, ...
FACTS = 4  # in a text, each about another object; two may have the same colour
CHANCE = 1 / len(COLOURS)


class Text(NamedTuple):
    """T words, and what is asked among them."""

    tokens: np.ndarray  # (T,) ids
    answers: np.ndarray  # (T,) the colour's id at a question, 0 elsewhere
    distances: np.ndarray  # (T,) from a question back to the colour word, 0 elsewhere


def training_text(rng: np.random.Generator, length: int) -> Text:
    """Facts anywhere, more of them early; about each 1 to length / 8 questions, their distances even by logarithm.

    >>> text = training_text(np.random.default_rng(1), 48)
    >>> in_words(text.tokens[:14])
    '<s> cup black crow turns crow waits hill moon waits lamp white falls drum'
    >>> asked = np.flatnonzero(text.distances)[:2]
    >>> in_words(text.tokens[asked]), in_words(text.answers[asked]), text.distances[asked].tolist()
    ('drum? lamp?', 'black white', [1, 19])
    """
    text, free = _other_words(rng, length), np.arange(length) > 0
    questions, places = int(rng.integers(1, 1 + length // 8)), []
    while len(places) < FACTS:
        at = 2 + int((length - 3) * rng.random() ** 2)  # of the colour word
        if free[at - 1 : at + 1].all():
            free[at - 1 : at + 1] = False
            places.append(at)
    for thing, colour, at in zip(*_facts(rng), places, strict=True):
        distances = np.exp(rng.uniform(0, np.log(length - at), questions)).astype(int)
        asked = {int(d) for d in distances if d < length - at and free[at + d]}
        free[[at + d for d in asked]] = False
        _write(text, thing, colour, at, asked)
    return text


def test_text(rng: np.random.Generator, low: int, high: int) -> Text:
    """Four facts, each asked for once, at a distance from low to high - 1; length high + 32."""
    length = high + 32
    text, free = _other_words(rng, length), np.arange(length) > 0
    for thing, colour in zip(*_facts(rng), strict=True):
        distance = int(rng.integers(low, high))
        while True:
            at = int(rng.integers(2, length - distance))
            places = [at - 1, at, at + distance]
            if free[places].all():
                break
        free[places] = False
        _write(text, thing, colour, at, [distance])
    return text


test_text.__test__ = False  # no test of pytest's


def without_facts(rng: np.random.Generator, text: Text) -> Text:
    """The control: other words in the place of every fact."""
    fact = (text.tokens >= 1) & (text.tokens <= len(OBJECTS) + len(COLOURS))
    return text._replace(tokens=np.where(fact, _other_words(rng, len(fact)).tokens, text.tokens))


def batch_of(texts: Sequence[Text]) -> Batch:
    """Texts packed into one sequence; only questions count.

    >>> batch = batch_of([test_text(np.random.default_rng(0), 5, 6)] * 2)
    >>> int(batch.weights.sum()), batch.starts[[0, 37, 38, 75]].tolist()
    (8, [0, 0, 38, 38])
    """
    lengths = np.array([len(text.tokens) for text in texts])
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)  # (T,)
    tokens, answers, distances = (np.concatenate(arrays) for arrays in zip(*texts, strict=True))
    return Batch(tokens, answers, (distances > 0).astype(np.float32), np.arange(len(starts)) - starts, starts)


def in_words(tokens: np.ndarray) -> str:
    """Ids as words."""
    return " ".join(WORDS[t] for t in tokens)


def _facts(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Different objects, and a colour for each: (FACTS,) numbers each."""
    return rng.permutation(len(OBJECTS))[:FACTS], rng.integers(len(COLOURS), size=FACTS)


def _other_words(rng: np.random.Generator, length: int) -> Text:
    """<s> and sentences about other things."""
    kinds = np.concatenate([SENTENCES[n] for n in rng.integers(len(SENTENCES), size=length // 2 + 1)])[:length]
    tokens = OTHERS[kinds, rng.integers(OTHERS.shape[1], size=length)]
    tokens[0] = ID["<s>"]
    return Text(tokens, *np.zeros((2, length), np.int64))


def _write(text: Text, thing: int, colour: int, at: int, distances: Sequence[int]) -> None:
    """A fact with its colour word at `at`, and the questions about it."""
    text.tokens[at - 1 : at + 1] = ID[OBJECTS[thing]], ID[COLOURS[colour]]
    for distance in distances:
        text.tokens[at + distance] = ID[f"{OBJECTS[thing]}?"]
        text.answers[at + distance] = ID[COLOURS[colour]]
        text.distances[at + distance] = distance
