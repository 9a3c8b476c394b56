"""An endless stream of conversations for the instruct version: questions about stories, stories told, and a little talk.

About three quarters begin with a story, or a part of one, and a question; the rest ask for a story, greet, thank, ask who
answers, or ask for something that is declined. See docs/conversations.md.
"""

import re
from collections.abc import Iterator
from itertools import count
from random import Random

from minimistral.errors import BadInput
from minimistral.stories import questions as q
from minimistral.stories.refusals import HARMLESS, NOT_KNOWN, REFUSAL, UNSAFE, request
from minimistral.stories.splits import SPLITS
from minimistral.stories.world import a

SHARES = {"questions": 0.75, "telling": 0.13, "talk": 0.05, "refusal": 0.045, "harmless": 0.025}
NOT_SAID_SHARE = 0.12  # of the questions
# How often a lookup is made around a fact of a kind: more often where answers are learnt late.
SOUGHT = {"how many": 3, "what": 2, "where": 2, "why": 2, "colour": 1, "gift": 1, "who": 1,
          "name": 0.5, "next": 0.5, "when": 0.5}  # fmt: skip

WHO = "I am a small model that tells stories and answers questions about them."
OFFER = "Shall I tell you a story?"
# What is said, and the answers of which one is given.
TALK = [
    ("Hello!", f"Hello! {OFFER}", "Hello! How nice that you are here."),
    ("Hi!", f"Hello! {OFFER}", "Hello! How nice that you are here."),
    ("Good morning.", f"Good morning! {OFFER}", "Good morning!"),
    ("Good evening.", f"Good evening! {OFFER}", "Good evening!"),
    ("How are you?", f"I am well, thank you. {OFFER}", "I am well, thank you."),
    ("Who are you?", WHO, f"{WHO} {OFFER}"),
    ("What are you?", WHO, f"{WHO} {OFFER}"),
    ("What is your name?", "I have no name. I am a small model that tells stories.", WHO),
    ("What can you do?", "I can tell small stories and answer questions about them.", WHO),
    ("What do you know?", NOT_KNOWN, "I can tell small stories and answer questions about them."),
    ("Are you a person?", "No, I am a small model that tells stories.", f"No. {WHO}"),
    ("Can you help me?", "I can tell small stories and answer questions about them.", WHO),
    ("Thank you!", "You are welcome!", "You are welcome! Would you like another story?"),
    ("Goodbye!", "Goodbye! Come back soon.", "Goodbye!"),
    ("Good night.", "Good night! Sleep well.", "Good night!"),
]
THANKS = ["Thank you!", "Thanks!", "Thank you, that was good.", "That is right. Thank you!"]
YES = ["Yes, please.", "Yes!", "Yes, tell me one.", "Please do.", "Yes, I would like that."]


def conversation(seed: int, split: str = "train") -> list[dict]:
    """The conversation of a seed: messages of user and assistant in turn. BadInput for another split.

    >>> [message["role"] for message in conversation(1)][:2], conversation(1) == conversation(1, "validation")
    (['user', 'assistant'], False)
    """
    if split not in SPLITS:
        raise BadInput(f"split: found {split!r}, expected one of {', '.join(SPLITS)}")
    rng = Random(f"conversation {seed} {split}")
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    turns = {
        "questions": _questions,
        "telling": _telling,
        "talk": _talk,
        "refusal": _refusal,
        "harmless": _harmless,
    }[kind](rng, split)
    return _messages(turns)


def lookup(seed: int, split: str = "train") -> list[dict]:
    """A short part of a story, and all the questions that it answers: to learn to look things up where they are near.

    >>> [message["role"] for message in lookup(0)][:2], lookup(0) == lookup(1)
    (['user', 'assistant'], False)
    """
    rng = Random(f"lookup {seed} {split}")
    kind, known = rng.choices(list(SOUGHT), list(SOUGHT.values()))[0], []
    while not known:
        story = q.told(rng.randrange(2**40), split)
        around = [i for i, fact in enumerate(story.facts) if fact.kind == kind]
        if around:
            first, stop = q.short_part(story, rng.choice(around), rng.randint(12, 40), rng)
            known = q.answerable(story, first, stop)
    facts = rng.sample(known, len(known))
    turns = _asked(story, facts, first, stop, len(facts) + 1, rng)
    text = " ".join(story.sentences[first:stop])
    return _messages([(f"{text}\n\n{turns[0][0]}", turns[0][1]), *turns[1:]])


def _messages(turns: list[tuple[str, str]]) -> list[dict]:
    """(what the user says, the answer) in turn, as messages."""
    return [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]


def conversations(seed: int, split: str = "train") -> Iterator[list[dict]]:
    """Endless: the conversations of seed, seed + 1, and so on."""
    return (conversation(s, split) for s in count(seed))


def _questions(rng: Random, split: str) -> list[tuple[str, str]]:
    """A text and a question, then 0 to 4 more questions about it."""
    while True:
        story = q.told(rng.randrange(2**40), split)
        fact = rng.randrange(len(story.facts))
        first, stop = q.part(story, fact, rng)
        known = q.answerable(story, first, stop)
        if fact in known:
            break
    others = rng.sample([i for i in known if i != fact], len(known) - 1)
    text = " ".join(story.sentences[first:stop])
    turns = _asked(story, [fact, *others], first, stop, rng.choices(range(1, 6), (40, 25, 17, 11, 7))[0], rng)
    turns[0] = (f"{text}\n\n{turns[0][0]}", turns[0][1])
    return turns + _thanks(rng)


def _asked(story: q.Told, facts: list[int], first: int, stop: int, n: int, rng: Random) -> list[tuple[str, str]]:
    """n questions and answers, or as many as there are facts: of facts in this order, and some that the text leaves open."""
    turns, facts = [], list(facts)
    while len(turns) < n and facts:
        if rng.random() < NOT_SAID_SHARE:
            question = q.unknown(story, first, stop, rng)
        else:
            question = q.right(story, facts.pop(0), first, stop, rng)
        turns.append((question.question, question.answer))
    return turns


def _thanks(rng: Random) -> list[tuple[str, str]]:
    return [(rng.choice(THANKS), "You are welcome!")] if rng.random() < 0.05 else []


def _telling(rng: Random, split: str) -> list[tuple[str, str]]:
    """A story that is asked for, and sometimes questions about it."""
    story = q.told(rng.randrange(2**40), split)
    return [(_wish(story, rng), " ".join(story.sentences)), *_after(story, rng)]


def _after(story: q.Told, rng: Random) -> list[tuple[str, str]]:
    """Questions about a story just told, or thanks, or nothing."""
    if rng.random() < 0.4:
        n = len(story.sentences)
        facts = q.answerable(story, 0, n)
        return _asked(story, rng.sample(facts, len(facts)), 0, n, rng.randint(1, 3), rng)
    return _thanks(rng)


PLAIN = ["Tell me a story.", "Please tell me a story.", "Can you tell me a story?", "I would like to hear a story.",
         "Write a story.", "Tell me a story before I go to bed.", "Do you know a story?"]  # fmt: skip
ABOUT = ["Tell me a story about {it}.", "Please tell me a story about {it}.", "Write a story about {it}.",
         "Can you tell me a story about {it}?", "I would like a story about {it}."]  # fmt: skip
WITH = ["Write a story with {it} in it.", "Tell me a story with {it} in it.", "Do you know a story with {it}?",
        "Please make up a story with {it}."]  # fmt: skip


def _wish(story: q.Told, rng: Random) -> str:
    """A request that this story fulfils: every name and thing in it occurs there."""
    hero, things = story.world.hero, things_of(story)
    way = rng.random()
    if way < 0.15:
        return rng.choice(PLAIN)
    if way < 0.3 or not things:
        return rng.choice(ABOUT).format(it=hero)
    if way < 0.65:
        return rng.choice(ABOUT).format(it=f"{hero} and {rng.choice(things)}")
    return rng.choice(WITH).format(it=rng.choice(things))


def things_of(story: q.Told) -> list[str]:
    """What a story has in it, as one would ask for it: "a red kite", "a fox", "a fox named Luna", a friend's name."""
    text, world = " ".join(story.sentences), story.world
    found = [a(f"{colour} {noun}") for colour, noun in _coloured(story) if q.holds(text, f"{colour} {noun}")]
    for animal, pet in ((world.animal, world.pet), (world.animal2, world.pet2)):
        if q.holds(text, pet) and q.holds(text, animal):
            found += [a(animal), f"{a(animal)} named {pet}"]
    return found + [name for name in (world.friend, world.third) if q.holds(text, name)]


def _coloured(story: q.Told) -> list[tuple[str, str]]:
    """Colours and things of the story's facts."""
    pattern = re.compile(r"What colour was (?:the|[A-Z][a-z]+'s) ([a-z]+)\?")
    return [(fact.key, match[1]) for fact in story.facts if (match := pattern.fullmatch(fact.question))]


def _talk(rng: Random, split: str) -> list[tuple[str, str]]:
    """A greeting or a question about the model; a story, if one was offered and is wanted."""
    said, *answers = rng.choice(TALK)
    answer = rng.choice(answers)
    return [(said, answer), *_wanted(answer, rng, split)]


def _wanted(answer: str, rng: Random, split: str) -> list[tuple[str, str]]:
    """After an offer, sometimes a story."""
    if not answer.endswith(("story?", "one?")) or rng.random() < 0.7:
        return []
    story = q.told(rng.randrange(2**40), split)
    return [(rng.choice(YES), " ".join(story.sentences)), *_after(story, rng)]


def _refusal(rng: Random, split: str) -> list[tuple[str, str]]:
    return [(request(rng, UNSAFE, split), REFUSAL), *_wanted(REFUSAL, rng, split)]


def _harmless(rng: Random, split: str) -> list[tuple[str, str]]:
    return [(request(rng, HARMLESS, split), NOT_KNOWN), *_wanted(NOT_KNOWN, rng, split)]


def corpus(seed: int, split: str = "train") -> Iterator[str]:
    """Endless text for a tokenizer that is to know both: stories and conversations in turn, one line each."""
    from minimistral.stories import story

    for s in count(seed):
        yield story(s, split)
        yield " ".join(message["content"].replace("\n", " ") for message in conversation(s, split))
