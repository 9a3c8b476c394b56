"""How stories begin and end."""

from collections.abc import Iterator

from minimistral.stories import words
from minimistral.stories.splits import drawn
from minimistral.stories.world import World, a, capital


def opening(w: World) -> Iterator[str]:
    """Who the story is about."""
    child = a(f"{w.trait} {w.child}")
    w.know("who", "Who is the story about?", f"It is about {w.hero}.", w.hero)
    yield w.say(
        f"Once upon a time there was {child} named {w.hero}.",
        f"Once upon a time, {child} named {w.hero} lived in {w.home}.",
        f"Once upon a time, in {w.home}, there lived {child} called {w.hero}.",
        f"There was a {w.child} named {w.hero} who was very {w.trait}.",
        f"{w.hero} was {child} who lived in {w.home}.",
        f"There once was {child} named {w.hero}.",
        f"In {w.home} lived {child} whose name was {w.hero}.",
    )
    yield from about(w)


def about(w: World) -> Iterator[str]:
    """Sometimes a little more about the hero: an age, a favourite food, a habit."""
    dice = w.rng.random()
    if dice < 0.12:
        age = w.rng.choice(words.AGES)
        w.know("how many", f"How old was {w.hero}?", f"{w.He} was {age} years old.", age)
        yield w.say(f"{w.He} was {age} years old.", f"{w.He} was {age} years old and a little proud of it.")
    elif dice < 0.32:
        w.likes = w.rng.choice(words.LIKED)
        w.know("what", f"What did {w.hero} like to eat most of all?", f"{w.He} liked {w.likes} most of all.", w.likes)
        yield w.say(
            f"{w.He} liked {w.likes} more than anything else on a plate.",
            f"Of all the things to eat {w.he} liked {w.likes} best.",
        )
    elif dice < 0.5:
        yield w.say(
            f"{w.He} asked a hundred questions a day.",
            f"{w.He} liked to sing in the bath.",
            f"{w.He} could run as fast as the wind.",
            f"{w.He} never went out without a pencil.",
            f"When {w.he} laughed, everybody had to laugh too.",
            f"{w.He} had freckles on {w.his} nose and dirt on {w.his} knees.",
            f"{w.He} knew the names of all the trees.",
        )


def ending(w: World, *morals: str) -> Iterator[str]:
    """What was learnt (mostly), how the day ends, and what of it is still in mind."""
    yield from w.maybe(0.8, *morals)
    if w.likes and w.rng.random() < 0.8:
        yield w.say(
            f"And what was there for supper? {capital(w.likes)}, of course!",
            f"At home there was a big plate of {w.likes}.",
            f"And {w.hero} ate so much {w.likes} that {w.he} could hardly move."
            if w.likes in ("spinach", "porridge", "pudding")
            else f"And {w.hero} ate so many {w.likes} that {w.he} could hardly move.",
        )
    if w.memories and w.rng.random() < 0.75:
        kept = w.rng.sample(w.memories, min(2, len(w.memories)))
        what = " and of ".join(kept)
        yield w.say(
            f"Before {w.hero} fell asleep, {w.he} thought of {what}.",
            f"In bed {w.hero} thought once more of {what}.",
            f"When {w.hero} closed {w.his} eyes that night, {w.he} thought of {what}.",
        )
        yield from w.maybe(0.5, "What a day!", "It had been a good day.", f"Then {w.he} smiled and slept.")
        return
    yield w.say(
        f"That night {w.hero} slept very well.",
        f"{w.hero} went home with a big smile.",
        "And they were all happy.",
        f"It was the best day of {w.hero}'s week.",
        f"When {w.hero} went to bed, {w.he} was still smiling.",
        f"And that evening {w.hero} had a lot to tell.",
    )


def choose_animal(w: World, animals: list[str]) -> None:
    """The world's animal is one of these: a bear does not fit under a bed."""
    if w.animal not in animals:
        w.pet, w.animal = drawn(w.rng, w.split, words.ANIMAL_NAMES, animals, (w.pet2, w.animal2))
        w.pairs.append((w.pet, w.animal))
