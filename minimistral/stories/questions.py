"""Questions about a story or a part of it, whose right answer is known because the grammar knows where each fact is told.

A part is a run of whole sentences. A question is asked only if the part holds the telling of its fact and names what it asks
about; or, for the answer NOT_SAID, only if nothing in the part gives the answer away.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from random import Random
from typing import NamedTuple

from minimistral.errors import BadInput
from minimistral.stories import words
from minimistral.stories.plots import PLOTS
from minimistral.stories.scenes import middle
from minimistral.stories.splits import SPLITS
from minimistral.stories.world import Fact, World

NOT_SAID = "The story does not say."
UNKNOWN = "not said"  # the kind of a question that the text does not answer


class Told(NamedTuple):
    """A story by its sentences (what one `yield` of the plot gave), and for each fact which of them tell it: first, last."""

    sentences: tuple[str, ...]
    facts: tuple[Fact, ...]
    told_by: tuple[tuple[int, int], ...]
    world: World


class Question(NamedTuple):
    """A question, its right answer, and how many words lie between the last telling of the fact and the text's end."""

    kind: str
    question: str
    answer: str
    key: str
    distance_words: int | None  # None: the text does not say


class HeldOut(NamedTuple):
    """A prompt of one user message, the right answer, and where in its content the last telling of the fact ends."""

    messages: list[dict]
    answer: str
    kind: str
    offset: int | None  # in characters; None: the text does not say


def told(seed: int, split: str = "train") -> Told:
    """The story of minimistral.stories.tell(seed, split), with the sentences that tell each fact. BadInput for another split.

    >>> from minimistral.stories import tell
    >>> told(3).facts == tell(3).facts, " ".join(told(3).sentences) == tell(3).text
    (True, True)
    """
    if split not in SPLITS:
        raise BadInput(f"split: found {split!r}, expected one of {', '.join(SPLITS)}")
    rng = Random(seed)
    plot = rng.choice(PLOTS)
    while True:  # as in tell: a validation story holds a pair that no training story holds
        world = World(rng, split)
        sentences, noted = _sentences(plot, world)
        if split == "train" or any(a in " ".join(sentences) and b in " ".join(sentences) for a, b in world.pairs):
            break
    known = [(fact, _told_by(fact, sentences, *where)) for fact, where in zip(world.facts, noted, strict=True)]
    facts, ranges = zip(*[(fact, found) for fact, found in known if found], strict=True)
    return Told(tuple(sentences), facts, ranges, world)


def _sentences(plot: Callable[[World], Iterable[str]], world: World) -> tuple[list[str], list[tuple[int, bool]]]:
    """A plot's sentences; and for each fact before which it was noted, and whether a scene did so."""
    sentences, noted, scenes = [], [], 0
    for sentence in plot(world):  # a plot notes a fact just before it yields the sentence that tells it
        in_scene = len(world.used_scenes) > scenes  # a scene notes its facts before the first of its sentences
        noted += [(len(sentences), in_scene)] * (len(world.facts) - len(noted))
        scenes = len(world.used_scenes)
        sentences.append(sentence)
    return sentences, noted


def _told_by(fact: Fact, sentences: list[str], noted: int, in_scene: bool) -> tuple[int, int] | None:
    """The sentence for which the fact was noted, else the first after it that joins key and question. None: no sentence does.

    A scene may tell the rest of it one sentence later.
    """
    if holds(sentences[noted], fact.key) and not in_scene:
        return noted, noted
    after = range(noted, len(sentences))
    first = next((i for i in after if _restates(fact, sentences[i])), None)
    if first is None and in_scene:
        first = next((i for i in after if holds(sentences[i], fact.key)), None)
    return None if first is None else (first, min(first + in_scene, len(sentences) - 1))


def holds(text: str, phrase: str) -> bool:
    """Whether the phrase occurs in the text as whole words; capitals do not matter.

    >>> holds("Reddish hair.", "red"), holds("A Red hat.", "red")
    (False, True)
    """
    return _places(text, phrase) != []


def _places(text: str, phrase: str) -> list[int]:
    """Where the phrase ends in the text, each time. By hand, since a pattern for each phrase would be compiled anew."""
    text, phrase, ends, start = text.lower(), phrase.lower(), [], 0
    while (start := text.find(phrase, start)) >= 0:
        end = start + len(phrase)
        if not (text[start - 1 : start].isalnum() or text[end : end + 1].isalnum()):
            ends.append(end)
        start += 1
    return ends


SMALL_WORDS = """
a an the of in on at to for with and or was were is it its he she him his her they them their did do what who where why when
how many which colour kind animal name story about that this there had have has be been would should could one so then because
end get got go come came after before from into up down out not some
"""
STOP = frozenset(SMALL_WORDS.split())


def _content(text: str) -> list[str]:
    """The words that carry the meaning, in small letters, without the possessive.

    >>> _content("What colour was Mia's old kite?")
    ['mia', 'old', 'kite']
    """
    return [word for word in re.findall(r"[a-z]+", text.lower().replace("'s", "")) if word not in STOP]


def _restates(fact: Fact, sentence: str) -> bool:
    """Whether a sentence joins the answer's key with something that the question names."""
    if not holds(sentence, fact.key):
        return False
    named = set(_content(fact.question)) - set(_content(fact.key))
    return any(word in named for word in _content(sentence))


def last_told(
    fact: Fact, told_by: tuple[int, int], sentences: list[str] | tuple[str, ...], first: int, stop: int
) -> int:
    """The last of sentences[first:stop] that tells the fact or repeats its key with what the question names."""
    again = [i for i in range(first, stop) if _restates(fact, sentences[i])]
    return max([told_by[0], *again])


SUBJECT = re.compile(r"(?:\bthe|\ba|\ban|'s) ([a-z]+)")
COLOUR = re.compile(r"What colour was (.+)\?")


def _subjects(question: str) -> list[str]:
    """What a question is about: names, and nouns after an article or a possessive.

    >>> _subjects("What did Mia's grandmother put in the box?")
    ['Mia', 'grandmother', 'box']
    """
    names = re.findall(r"[A-Z][a-z]+", question[1:])
    return names + [noun for noun in SUBJECT.findall(question) if noun not in STOP]


def answerable(story: Told, first: int, stop: int) -> list[int]:
    """The facts (by number) that sentences[first:stop] tell, with all names and things that their questions name."""
    text = " ".join(story.sentences[first:stop])
    inside = [i for i, (begin, end) in enumerate(story.told_by) if first <= begin and end < stop]
    return [i for i in inside if _clear(story.facts[i], text, first)]


def _clear(fact: Fact, text: str, first: int) -> bool:
    about_all = fact.question == "Who is the story about?"
    return all(holds(text, subject) for subject in _subjects(fact.question) if subject != "story") and (
        first == 0 or not about_all
    )


def gives_away(text: str, fact: Fact) -> bool:
    """Whether a text holds the key of a fact, or any word of its answer that the question does not hold."""
    new = set(_content(fact.answer)) - set(_content(fact.question))
    return holds(text, fact.key) or any(word in new for word in _content(text))


def cut_off(story: Told, first: int, stop: int) -> list[int]:
    """The facts whose telling lies outside sentences[first:stop], though what they ask about is named there."""
    text = " ".join(story.sentences[first:stop])
    outside = [i for i, (begin, end) in enumerate(story.told_by) if end < first or begin >= stop]
    return [i for i in outside if _clear(story.facts[i], text, 1) and not gives_away(text, story.facts[i])]


# Of anybody; each with the words of which none may be in the text.
NEVER_TOLD = [
    ("How old was {name}?", "old years age"),
    ("How tall was {name}?", "tall"),
    ("What colour was {name}'s hair?", "hair"),
    ("What was the name of {name}'s sister?", "sister"),
    ("What was the name of {name}'s brother?", "brother"),
    ("What did {name} have for breakfast?", "breakfast ate eat"),
    ("Who was {name}'s teacher?", "teacher school"),
    ("What colour were {name}'s shoes?", "shoe shoes"),
    ("What was {name}'s favourite song?", "song sang sing"),
    ("In which town did {name} live?", "town lived"),
]


def not_told(text: str, names: list[str], other: Told, rng: Random) -> str | None:
    """A question about something that the text never mentions: from another story, or one that no story answers."""
    if rng.random() < 0.35 and names:
        pattern, without = rng.choice(NEVER_TOLD)
        asked_about = rng.choice(names)
        return None if any(holds(text, word) for word in without.split()) else pattern.format(name=asked_about)
    fact = rng.choice(other.facts)
    question = _with_names_of(names, fact.question, rng)
    things = [subject for subject in _subjects(question) if subject not in names and subject != "story"]
    missing = bool(things) and not any(holds(text, thing) for thing in things)
    return question if missing and not holds(text, fact.key) else None


def _with_names_of(names: list[str], question: str, rng: Random) -> str:
    """The question about a child of these names, where one fits (a girl for a girl)."""
    for found in re.findall(r"[A-Z][a-z]+", question[1:]):
        for children in (words.GIRLS, words.BOYS):
            fitting = [name for name in names if name in children]
            if found in children and fitting and rng.random() < 0.8:
                return re.sub(rf"\b{found}\b", rng.choice(fitting), question)
    return question


def names_in(text: str) -> list[str]:
    """The children that a text names."""
    return [name for name in words.GIRLS + words.BOYS if name in text and holds(text, name)]


def phrased(question: str, rng: Random) -> str:
    """The question in the same or in other words; the answer stays the same."""
    choices = [question] * 4 + [f"Please tell me: {_small(question)}"]
    if "story" not in question:
        choices.append(f"In this story, {_small(question)}")
    if (colour := COLOUR.fullmatch(question)) and " that " not in question:
        choices += [f"Which colour was {colour[1]}?", f"What was the colour of {colour[1]}?"]
        choices += [f"Do you know what colour {colour[1]} was?", f"Tell me what colour {colour[1]} was."]
    elif question.startswith("Who ") and not question.startswith(("Who was", "Who is", "Who did")):
        choices += [
            f"Do you know {_small(question)}",
            f"Tell me {_small(question)[:-1]}.",
            f"Can you say {_small(question)}",
        ]
    elif question.startswith("What kind of animal was"):
        choices += [question.replace("What kind of animal", "Which animal")] * 2
    elif called := re.fullmatch(r"What was the name of (.+)\?", question):
        choices += [f"What was {called[1]} called?", f"Tell me the name of {called[1]}."]
    return rng.choice(choices)


def _small(question: str) -> str:
    return question[0].lower() + question[1:]


def words_in(text: str) -> int:
    return len(text.split())


def part(story: Told, fact: int, rng: Random) -> tuple[int, int]:
    """A run of sentences that tells a fact: the whole story, a part of any length, or a short one of 25 to 60 words."""
    n, (begin, end) = len(story.sentences), story.told_by[fact]
    if (way := rng.random()) < 0.4:
        return 0, n
    if way < 0.7:
        return rng.randint(0, begin), rng.randint(end + 1, n)
    return short_part(story, fact, rng.randint(25, 50), rng)


def short_part(story: Told, fact: int, least: int, rng: Random) -> tuple[int, int]:
    """The sentences that tell a fact, and others around them until there are at least so many words."""
    n, (begin, end) = len(story.sentences), story.told_by[fact]
    first, stop = begin, end + 1
    while words_in(" ".join(story.sentences[first:stop])) < least and (first > 0 or stop < n):
        if stop == n or (first > 0 and rng.random() < 0.5):
            first -= 1
        else:
            stop += 1
    return first, stop


def right(story: Told, fact: int, first: int, stop: int, rng: Random) -> Question:
    """The question about a fact of the part sentences[first:stop], phrased."""
    f = story.facts[fact]
    last = last_told(f, story.told_by[fact], story.sentences, first, stop)
    between = words_in(" ".join(story.sentences[last + 1 : stop]))
    return Question(f.kind, phrased(f.question, rng), f.answer, f.key, between)


def asked(story: Told, seed: int) -> list[Question]:
    """Every question about the whole story that it answers, each in one phrasing, and one that it does not answer.

    >>> questions = asked(told(5), seed=0)
    >>> questions[-1].answer, all(q.distance_words >= 0 for q in questions[:-1])
    ('The story does not say.', True)
    """
    rng = Random(seed)
    n = len(story.sentences)
    return [right(story, i, 0, n, rng) for i in answerable(story, 0, n)] + [unknown(story, 0, n, rng)]


def unknown(story: Told, first: int, stop: int, rng: Random) -> Question:
    """A question that sentences[first:stop] do not answer: a fact cut off, if there is one (mostly), or one never told."""
    missing = cut_off(story, first, stop)
    if missing and rng.random() < 0.85:
        fact = story.facts[rng.choice(missing)]
        return Question(UNKNOWN, phrased(fact.question, rng), NOT_SAID, fact.key, None)
    text = " ".join(story.sentences[first:stop])
    names = names_in(text)
    while True:
        other = told(rng.randrange(2**40), story.world.split)
        for _ in range(8):
            if question := not_told(text, names, other, rng):
                return Question(UNKNOWN, phrased(question, rng), NOT_SAID, "", None)


def filler(story: Told, fact: int, at_least: int, rng: Random) -> list[str]:
    """Sentences of scenes with the same hero, that number of words or a few more, without what the fact is about."""
    same = World(rng, story.world.split)
    for name in ("hero", "girl", "child", "he", "him", "his", "He", "Him", "His", "friend", "third", "animal", "pet"):
        setattr(same, name, getattr(story.world, name))
    f, sentences, before = story.facts[fact], [], -1
    while words_in(" ".join(sentences)) < at_least and len(same.used_scenes) > before:
        before, same.scenes_left, same.colours = len(same.used_scenes), 1, list(story.world.colours)
        for sentence in middle(same):
            told_again = holds(sentence, f.key) or any(holds(sentence, s) for s in _subjects(f.question) if s.islower())
            if not told_again and words_in(" ".join(sentences)) < at_least:
                sentences.append(sentence)
    return sentences


def question(seed: int, split: str = "train", words_between: int = 100) -> HeldOut:
    """A prompt with about that many words between the telling of a fact and the question: whole sentences of scenes.

    >>> prompt = question(1, "validation", words_between=60)
    >>> 45 <= len(prompt.messages[0]["content"][prompt.offset :].split()) <= 110
    True
    """
    rng = Random(f"distance {seed} {split}")
    while True:
        story = told(rng.randrange(2**40), split)
        fact = rng.randrange(len(story.facts))
        first, stop = max(0, story.told_by[fact][0] - 3), story.told_by[fact][1] + 1
        if fact in answerable(story, first, stop):
            f = story.facts[fact]
            sentences = [*story.sentences[first:stop], *filler(story, fact, words_between, rng)]
            last = last_told(f, (story.told_by[fact][0] - first, 0), sentences, 0, len(sentences))
            return _prompt(sentences, last, Question(f.kind, phrased(f.question, rng), f.answer, f.key, 0))


def _prompt(sentences: list[str] | tuple[str, ...], last: int, asked_for: Question) -> HeldOut:
    """The user's message: the text, an empty line, the question."""
    messages = [{"role": "user", "content": f"{' '.join(sentences)}\n\n{asked_for.question}"}]
    if asked_for.distance_words is None:
        return HeldOut(messages, asked_for.answer, asked_for.kind, None)
    before = len(" ".join([*sentences[:last], ""]))
    return HeldOut(messages, asked_for.answer, asked_for.kind, before + _places(sentences[last], asked_for.key)[-1])


def held_out_question(seed: int, split: str = "validation") -> HeldOut:
    """A prompt as conversations begin: a story or a part of it, and one question; one in eight has no answer there."""
    rng = Random(f"question {seed} {split}")
    while True:
        story = told(rng.randrange(2**40), split)
        fact = rng.randrange(len(story.facts))
        first, stop = part(story, fact, rng)
        if fact not in answerable(story, first, stop):
            continue
        sentences = story.sentences[first:stop]
        if rng.random() < 0.125:
            return _prompt(sentences, 0, unknown(story, first, stop, rng))
        last = last_told(story.facts[fact], story.told_by[fact], story.sentences, first, stop)
        return _prompt(sentences, last - first, right(story, fact, first, stop, rng))


def held_out_questions(n: int, seed: int = 0, split: str = "validation") -> Iterator[HeldOut]:
    """n of them, the same for the same seed."""
    return (held_out_question(s, split) for _, s in zip(range(n), count(seed * 1_000_003), strict=False))
