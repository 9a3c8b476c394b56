"""Very small stories, told before the light goes out: no middle scenes."""

from collections.abc import Iterator

from minimistral.stories import words
from minimistral.stories.plots.common import choose_animal, opening
from minimistral.stories.world import World, a, capital


def two_colours(w: World) -> Iterator[str]:
    """Two children, two things, and what becomes of them together."""
    yield from opening(w)
    w.know_thing()
    w.know_friend()
    w.know("colour", f"What colour was {w.friend}'s {w.noun2}?", f"It was {w.colour2}.", w.colour2)
    yield w.say(
        f"{w.hero} had {a(w.thing)}, and {w.his} friend {w.friend} had {a(w.thing2)}.",
        f"{w.His} friend {w.friend} had {a(w.thing2)}, and {w.hero} had {a(w.thing)}.",
    )
    w.know("where", "Where did they meet?", f"They met {w.place}.", w.place)
    yield w.say(f"{capital(w.time)} they met {w.place}.", f"They met {w.place} {w.time}.")
    yield w.say(
        f'"Shall we swap for an hour?" asked {w.friend}.',
        f'"Let us swap until the bell rings," said {w.friend}.'
        if "bell" not in (w.noun, w.noun2)
        else f'"Let us swap," said {w.friend}.',
    )
    w.know("what", f"What did {w.friend} get from {w.hero}?", f"{w.friend} got the {w.thing}.", w.thing)
    yield w.say(
        f"So {w.friend} got the {w.thing}, and {w.hero} got the {w.thing2}.",
        f"{w.hero} took the {w.thing2} and gave {w.friend} the {w.thing}.",
    )
    yield w.say(f"First {w.friend} {w.played}, and {w.hero} watched.", f"{w.friend} {w.played} and laughed aloud.")
    yield w.say("Then they swapped back.", f"When it was time to go, {w.hero} got the {w.noun} back.")
    yield w.say(
        f'"I like my {w.noun} even more now," said {w.hero}.', f'"We should do this every week," said {w.friend}.'
    )
    yield from w.maybe(0.7, "What you lend comes home with a story.", "It is fun to lend and to borrow.")


def goodnight(w: World) -> Iterator[str]:
    """An animal cannot sleep."""
    choose_animal(w, words.SMALL)
    yield from opening(w)
    w.know_animal()
    yield w.say(
        f"{w.hero} had {a(w.animal)} named {w.pet}.", f"At the foot of {w.his} bed slept {a(w.animal)} named {w.pet}."
    )
    w.know("why", f"Why could {w.pet} not sleep?", f"{w.pet} could not sleep because of {w.sound}.", w.sound)
    yield w.say(
        f"One night {w.pet} heard {w.sound} and could not sleep.",
        f"One night there was {w.sound}, and {w.pet} could not sleep.",
    )
    yield w.say(f'"Count the stars," said {w.hero}.', f'"I will count the stars for you," said {w.hero}.')
    w.know("how many", "How many stars did they count?", f"They counted {w.number} stars.", w.number)
    yield w.say(
        f"They went to the window and counted {w.number} stars.",
        f"There were {w.number} stars between the clouds, and they counted them all.",
    )
    yield w.say(f"The {w.animal} yawned.", f"At the last star {w.pet} closed one eye.")
    w.know("what", f"What did {w.hero} lay over {w.pet}?", f"{w.He} laid a blanket over {w.pet}.", "blanket")
    yield w.say(f"{w.hero} laid a warm blanket over the {w.animal}.", f"Gently {w.hero} laid a blanket over {w.pet}.")
    yield w.say(
        f"Who fell asleep first? It was {w.hero}.",
        f"Soon both of them slept, {w.hero} on the left and {w.pet} on the right.",
    )
    yield from w.maybe(0.5, "And the stars watched over them.", "Good night, little one.")


def a_good_turn(w: World) -> Iterator[str]:
    """Something small for somebody old."""
    yield from opening(w)
    w.know("where", f"Where did {w.hero} see the old woman?", f"{w.He} saw her {w.place}.", w.place)
    bag = w.paint("bag")
    w.know("colour", "What colour was the old woman's bag?", f"It was {bag}.", bag)
    yield w.say(
        f"{capital(w.time)} {w.he} saw an old woman {w.place}. She carried {a(f'{bag} bag')} that was much too heavy.",
        f"{capital(w.time)} an old woman stood {w.place} with {a(f'{bag} bag')} and could not carry it any further.",
    )
    w.know("what", f"What was in the {bag} bag?", f"There were {w.number} books in it.", f"{w.number} books")
    yield w.say(
        f'"What is in it?" asked {w.hero}. "{capital(w.number)} books," said the old woman.',
        f'"There are {w.number} books in it," the old woman said.',
    )
    w.know("next", f"What did {w.hero} do?", f"{w.He} carried the bag to the old woman's door.", "woman's door")
    yield w.say(
        f"{w.hero} carried the bag to the old woman's door.",
        f'"Give it to me," said {w.hero} and carried it to the old woman\'s door.',
    )
    w.know("gift", f"What did the old woman give {w.hero}?", f"She gave {w.him} {a(w.gift)}.", w.gift)
    yield w.say(
        f'"Choose a book," said the old woman. Then she laughed and gave {w.hero} {a(w.gift)} as well.',
        f"For that the old woman gave {w.hero} {a(w.gift)} and one of the {w.number} books.",
    )
    yield (
        w.say(
            f"Whenever {w.hero} saw {a(f'{bag} bag')} after that, {w.he} had to smile.",
            f"The {w.gift} still hangs over {w.his} bed.",
        )
        if w.gift not in ("pillow", "spoon", "candle", "coin", "whistle")
        else f"{w.hero} kept the {w.gift} for ever."
    )
    yield from w.maybe(0.7, "A little help can be a lot.", "Strong arms are made for helping.")


PLOTS = [two_colours, goodnight, a_good_turn]
