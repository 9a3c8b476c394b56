"""What is true in one story. A world is drawn first; a plot then tells of it, and notes the facts that it tells.

A plot is a generator of sentences (or a function that returns a list of them). A whole one:

    def lost_key(w):
        yield from opening(w)                          # who the story is about; notes the hero
        w.know_thing()                                 # "What colour was Mia's key?"  "It was red."
        yield w.say(f"{w.He} had {a(w.thing)}.", f"The thing {w.he} loved most was {a(w.thing)}.")
        w.know("where", f"Where did {w.hero} play?", f"{w.hero} played {w.place}.", w.place)
        yield w.say(f"One day {w.hero} played {w.place}.", f"One day {w.he} went out to play {w.place}.")
        yield from middle(w, where="out")              # 0 to 7 little scenes, so that facts are needed late
        yield w.say(f"But then the {w.noun} was gone.", f"Suddenly {w.he} could not find the {w.noun}.")
        w.know("why", f"Why was {w.hero} sad?", f"{w.He} was sad because the {w.noun} was gone.", "gone")
        yield w.say(f"{w.hero} was sad.", f"{w.hero} was so sad that {w.he} cried.")
        ...
        yield from ending(w, "A moral.", "The same moral in other words.")

Rules: every phrasing of a `say` that states a noted fact holds the fact's key. A lost thing is not used. An absent one
does not speak. An animal is "it". Colours of things come from the world (w.thing, w.thing2, w.built) or from
w.paint("door"), so that no training story holds a combination that is kept for validation.
"""

from random import Random
from typing import NamedTuple

from minimistral.stories import words
from minimistral.stories.splits import allowed, drawn


class Fact(NamedTuple):
    """Something a story states: a question that it answers, the one right answer, and the words that state it."""

    kind: str  # who, name, what, colour, where, why, next, gift, how many, when, ...
    question: str  # "What colour was Mia's kite?"
    answer: str  # "It was red."
    key: str  # "red"


def a(noun: str) -> str:
    """The noun with its article.

    >>> a("apple"), a("red apple"), a("honest child")
    ('an apple', 'a red apple', 'an honest child')
    """
    return f"{'an' if noun[0] in 'aeiou' or noun.startswith(('hon', 'hour')) and noun[3] in 'er' else 'a'} {noun}"


def capital(text: str) -> str:
    """The text with its first letter as at the start of a sentence."""
    return text[0].upper() + text[1:]


PRONOUNS = {True: ("she", "her", "her"), False: ("he", "him", "his")}  # by girl
WOMEN = ("mother", "grandmother", "aunt")


class World:
    """Names, things and places of one story. `say` picks a phrasing, `know` notes a fact; all else is fixed once drawn.

    Strings by example (w.He and w.His are w.he and w.his with a capital letter, also friend_He, family_He, ...):
        hero "Mia", he "she", him "her", his "her", child "girl", girl True
        friend "Tom", friend_he "he", friend_him "him", friend_his "his", friend_child "boy"
        third "Zoe", third_he, third_him, third_his, third_child: one more child
        family "grandmother", family_he, family_him, family_his: of the hero's family (say f"{w.his} {w.family}")
        family2 "uncle", family2_he, ...: another one
        animal "goat", pet "Pip": the animal and its name; animal2 "fox", pet2 "Luna": another
        colour "red", noun "kite", thing "red kite", play "fly the kite", played "flew the kite"
        colour2 "blue", noun2 "hat", thing2 "blue hat": another thing in another colour
        built_colour "green", built_noun "swing", built "green swing": what a child could make or mend
        place "in the park", spot "under a bench"; place2: another place
        home "a small house", trait "kind", food "bread", food2, skill "swim", weather "rain",
        gift "shell", time "one morning", number "three", season "spring", sound "a splash"
    """

    def __init__(self, rng: Random, split: str = "train"):
        pick = rng.choice
        self.rng, self.split, self.facts, self.used_scenes = rng, split, [], set()
        self.memories, self.last_then = [], ""  # what the ending may name again; how the last scene began
        self.answers = {}  # of the questions noted so far
        self.likes = ""  # the hero's favourite food, if the story has said it
        self.scenes_left = rng.choices(range(8), (25, 29, 20, 12, 7, 4, 2, 1))[0]
        self._people(pick)
        self._things(rng, split)
        places = tuple(words.PLACES)
        self.place = pick(allowed(split, self.hero, places))
        self.place2 = pick([place for place in allowed("train", self.hero, places) if place != self.place])
        self.spot = words.PLACES[self.place]
        self.trait = pick(allowed(split, self.hero, words.TRAITS))
        self.pairs += [(self.place, self.hero), (self.trait, self.hero)]
        self.food, self.food2 = rng.sample(words.FOODS, 2)
        self.home, self.skill, self.weather = pick(words.HOMES), pick(words.SKILLS), pick(words.WEATHER)
        self.gift, self.sound, self.time = pick(words.GIFTS), pick(words.SOUNDS), pick(words.TIMES)
        self.number, self.season = pick(words.NUMBERS), pick(words.SEASONS)

    def _people(self, pick) -> None:
        """Three children of different names, two of the family."""
        for role in ("hero", "friend", "third"):
            girl, taken = pick([True, False]), [getattr(self, r, "") for r in ("hero", "friend")]
            name = pick([n for n in (words.GIRLS if girl else words.BOYS) if n not in taken])
            prefix = "" if role == "hero" else f"{role}_"
            setattr(self, role, name)
            setattr(self, f"{prefix}girl", girl)
            setattr(self, f"{prefix}child", "girl" if girl else "boy")
            self._pronouns(prefix, girl)
        self.family = pick(words.FAMILY)
        self.family2 = pick([person for person in words.FAMILY if person != self.family])
        self._pronouns("family_", self.family in WOMEN)
        self._pronouns("family2_", self.family2 in WOMEN)

    def _pronouns(self, prefix: str, woman: bool) -> None:
        for name, word in zip(("he", "him", "his"), PRONOUNS[woman], strict=True):
            setattr(self, prefix + name, word)
            setattr(self, prefix + name.capitalize(), word.capitalize())

    def _things(self, rng: Random, split: str) -> None:
        """Animals with names and things with colours: pairs that belong to the split, and all different."""
        self.pet, self.animal = drawn(rng, split, words.ANIMAL_NAMES, words.ANIMALS)
        self.pet2, self.animal2 = drawn(rng, split, words.ANIMAL_NAMES, words.ANIMALS, (self.pet, self.animal))
        self.colour, self.noun = drawn(rng, split, words.COLOURS, tuple(words.THINGS))
        taken = (self.colour, self.noun)
        self.colour2, self.noun2 = drawn(rng, split, words.COLOURS, tuple(words.THINGS), taken)
        taken += (self.colour2, self.noun2)
        self.built_colour, self.built_noun = drawn(rng, split, words.COLOURS, words.BUILT, taken)
        self.thing, self.thing2 = f"{self.colour} {self.noun}", f"{self.colour2} {self.noun2}"
        self.play, self.played = words.THINGS[self.noun]
        self.built = f"{self.built_colour} {self.built_noun}"
        self.colours = [self.colour, self.colour2, self.built_colour]
        # Pairs of the split. Later ones (paint) are too: in training always, in validation where possible.
        self.pairs = [(self.pet, self.animal), (self.pet2, self.animal2)]
        self.pairs += [(self.colour, self.noun), (self.colour2, self.noun2), (self.built_colour, self.built_noun)]

    def say(self, *phrasings: str) -> str:
        """One of the phrasings."""
        return self.rng.choice(phrasings)

    def maybe(self, chance: float, *phrasings: str) -> list[str]:
        """One of the phrasings, or none: yield from w.maybe(0.5, "It was warm.", "The sun was out.")."""
        return [self.rng.choice(phrasings)] if self.rng.random() < chance else []

    def paint(self, noun: str) -> str:
        """A colour, new in the story and of the split, for a noun that is not one of the world's own things."""
        free = [colour for colour in allowed(self.split, noun, words.COLOURS) if colour not in self.colours]
        free = free or [colour for colour in allowed("train", noun, words.COLOURS) if colour not in self.colours]
        free = free or allowed("train", noun, words.COLOURS)  # all are used: better twice than none
        self.colours.append(self.rng.choice(free))
        self.pairs.append((self.colours[-1], noun))
        return self.colours[-1]

    def know(self, kind: str, question: str, answer: str, key: str) -> None:
        """Notes a fact where it is told. ValueError if its question, clear within the story, has two answers."""
        known = self.answers.get(question)
        if known is None:
            self.answers[question] = answer
            self.facts.append(Fact(kind, question, answer, key))
        elif known != answer:
            raise ValueError(f"{question!r} has two answers: {known!r} and {answer!r}")

    def know_thing(self) -> None:
        """The colour of the hero's thing."""
        self.know("colour", f"What colour was {self.hero}'s {self.noun}?", f"It was {self.colour}.", self.colour)

    def know_animal(self) -> None:
        """The animal's kind and name."""
        self.know("what", f"What kind of animal was {self.pet}?", f"{self.pet} was {a(self.animal)}.", self.animal)
        self.know(
            "name", f"What was the name of the {self.animal}?", f"The {self.animal} was named {self.pet}.", self.pet
        )

    def know_friend(self) -> None:
        """The friend's name."""
        self.know(
            "name",
            f"What was the name of {self.hero}'s friend?",
            f"{self.friend} was {self.hero}'s friend.",
            self.friend,
        )
