"""Plots in which something is found out: clues are stated early and put together late."""

from minimistral.stories.plots.common import ending, opening
from minimistral.stories.scenes import middle
from minimistral.stories.world import World, a, capital

COOLING = ["on the window sill", "on the garden table", "on the kitchen shelf", "on a chair by the door"]
HUNGRY = [("had no breakfast", "no breakfast"), ("had walked all night", "all night"), ("could not wait", "not wait")]
HOOKS = ["behind the door", "over the stove", "under the clock", "beside the window", "next to the mirror"]


def missing_pie(w: World):
    bow, bow2 = w.paint("bow"), w.paint("bow")
    cool, (reason, reason_key) = w.rng.choice(COOLING), w.rng.choice(HUNGRY)
    yield from opening(w)
    w.know_animal()
    w.know("colour", f"What colour was {w.pet}'s bow?", f"It was {bow}.", bow)
    yield w.say(
        f"{w.He} had two animal friends. {w.pet} the {w.animal} wore {a(bow)} bow.",
        f"Two animals came to see {w.him} every day. One was {w.pet} the {w.animal}, with {a(bow)} bow.",
    )
    w.know("colour", f"What colour was {w.pet2}'s bow?", f"It was {bow2}.", bow2)
    w.know("what", f"What kind of animal was {w.pet2}?", f"{w.pet2} was {a(w.animal2)}.", w.animal2)
    yield w.say(
        f"{w.pet2} the {w.animal2} wore {a(bow2)} bow.", f"The other was {w.pet2} the {w.animal2}, with {a(bow2)} bow."
    )
    w.know("who", "Who baked the pie?", f"{w.hero}'s {w.family} baked the pie.", w.family)
    w.know("why", "Why was there a pie?", f"There was a pie because it was {w.third}'s birthday.", "birthday")
    yield w.say(
        f"{capital(w.time)} {w.his} {w.family} baked a big pie, because it was {w.third}'s birthday.",
        f"It was {w.third}'s birthday, so {w.his} {w.family} baked a big pie.",
    )
    w.know("where", f"Where did {w.hero}'s {w.family} put the pie?", f"{w.family_He} put it {cool}.", cool)
    yield w.say(f"{w.family_He} put it {cool} to cool.", f"It was still hot, so {w.family_he} put it {cool}.")
    yield w.say(
        f'"It is for {w.third}," {w.family_he} said. "Do not touch it."',
        f'"Nobody may eat it before {w.third} comes," said {w.his} {w.family}.',
    )
    yield w.say(
        f"So {w.hero} went out to play.",
        f"{w.hero} promised, and ran out to play.",
        f"{w.hero} nodded and went outside.",
    )
    yield from middle(w)
    w.know("next", f"What did {w.hero} see when {w.he} came back?", "The plate was empty.", "empty")
    yield w.say(f"When {w.hero} came back, the plate was empty.", f"But when {w.he} came home, the plate was empty!")
    yield w.say(
        f'"Who ate the pie?" asked {w.his} {w.family}.',
        f'"The pie is gone!" cried {w.his} {w.family}.',
        f'"Somebody has eaten the pie!" said {w.his} {w.family}.',
    )
    yield from _who_ate_it(w, bow, bow2, reason, reason_key)


def _who_ate_it(w: World, bow: str, bow2: str, reason: str, reason_key: str):
    w.know("what", "What lay beside the plate?", f"{capital(a(bow))} thread lay beside the plate.", f"{bow} thread")
    yield w.say(
        f"{w.hero} looked closely. Beside the plate lay {a(bow)} thread.",
        f"Then {w.hero} saw {a(bow)} thread. It lay beside the plate.",
        f"On the floor, beside the plate, {w.hero} found {a(bow)} thread.",
    )
    yield w.say(
        f'"{w.pet2} has {a(bow2)} bow," {w.he} said. "So it was not {w.pet2}."',
        f'"It was not {w.pet2}," {w.he} thought. "That bow is {bow2}."',
    )
    yield w.say(
        f"{w.He} went to {w.pet}. There was a hole in the {bow} bow, and crumbs were all around.",
        f"{w.He} found {w.pet} behind the house. The {bow} bow had a hole, and there were crumbs on it.",
    )
    w.know("who", "Who ate the pie?", f"{w.pet} ate the pie.", f"{w.pet}")
    yield w.say(
        f'"{w.pet}, did you eat the pie?" asked {w.hero}.',
        f'"It was you, {w.pet}," said {w.hero}.',
        f'"I know that it was you, {w.pet}," said {w.hero} gently.',
    )
    w.know("why", f"Why did {w.pet} eat the pie?", f"{w.pet} ate it because it {reason}.", reason_key)
    yield w.say(
        f'"Yes, I ate it, because I {reason}," said the {w.animal}. "I am sorry."',
        f'"I {reason}, so I ate it," said {w.pet} in a small voice. "I am very sorry."',
    )
    w.know("next", f"What did {w.hero} and {w.pet} do then?", "They baked a new pie.", "a new pie")
    yield w.say(
        f'"Thank you for telling the truth," said {w.hero}. Together they baked a new pie.',
        f'"Then you can help me," said {w.hero}, and the two of them baked a new pie.',
    )
    yield w.say(
        f"{w.third} came in the evening and ate three pieces.",
        f'"This is the best pie of all," said {w.third} that evening.',
    )
    yield from ending(
        w,
        "If you have done something wrong, say so and put it right.",
        f"{w.hero} learned to look first and then to speak.",
    )


def lantern_in_the_fog(w: World):
    lantern, hook = w.paint("lantern"), w.rng.choice(HOOKS)
    yield from opening(w)
    w.know("who", "Who had a boat on the lake?", f"{w.hero}'s {w.family} had a boat on the lake.", w.family)
    yield w.say(
        f"{w.His} {w.family} had a small boat on the lake.",
        f"{w.He} lived with {w.his} {w.family}, who had a boat on the lake.",
    )
    w.know("colour", "What colour was the lantern?", f"It was {lantern}.", lantern)
    yield w.say(
        f"In the house there was {a(lantern)} lantern. It stood in a strong box.",
        f"In a strong box in the house there was {a(lantern)} lantern.",
    )
    w.know("where", "Where did the key of the box hang?", f"The key hung {hook}.", hook)
    yield w.say(f"The key of the box hung {hook}.", f"The box was locked, and the key hung {hook}.")
    w.know(
        "why",
        f"Why should {w.hero} light the lantern?",
        f"So that {w.his} {w.family} could find the way home.",
        "way home",
    )
    yield w.say(
        f'"When there is fog, light the lantern," said {w.his} {w.family}, "so that I can find the way home."',
        f'"Light the lantern when it is foggy," said {w.his} {w.family}. "It will show me the way home."',
    )
    w.know("next", f"What did {w.hero}'s {w.family} do {w.time}?", f"{w.family_He} went out to catch fish.", "fish")
    yield w.say(
        f"{capital(w.time)} {w.his} {w.family} went out on the lake to catch fish.",
        f"{capital(w.time)} {w.his} {w.family} took the boat and went out to catch fish.",
    )
    yield w.say(
        f"{w.hero} stayed at home.",
        f"{w.hero} stood on the shore for a while and then went inside.",
        f"{w.hero} waved until the boat was very small, and went inside.",
    )
    yield from middle(w, where="in")
    yield w.say(
        f"When {w.hero} looked out, there was thick fog. The lake was gone!",
        f"Then the fog came. {w.hero} looked out and could not see the lake any more.",
        f"Suddenly everything was white and still. {w.hero} opened the door. There was only fog.",
    )
    yield from _the_light(w, lantern, hook)


def _the_light(w: World, lantern: str, hook: str):
    yield w.say(
        f'"How can the boat come back?" {w.he} thought. {w.His} heart beat fast.',
        f'"Nobody can see the shore now," {w.he} said. {w.He} was afraid.',
    )
    yield w.say(
        f"Then {w.he} thought of the lantern. {w.He} found the key {hook} and opened the box.",
        f"But {w.he} knew what to do. The key was {hook}, just as before, and it opened the box.",
    )
    w.know(
        "what",
        f"What did {w.hero} take to the shore?",
        f"{w.He} took the {lantern} lantern to the shore.",
        f"{lantern} lantern",
    )
    yield w.say(
        f"{w.hero} lit the {lantern} lantern and ran to the shore with it.",
        f"{w.He} took the {lantern} lantern, ran to the shore, and lit it.",
    )
    yield w.say(
        f"{w.He} held it up high and called and called.",
        f"{w.He} called as loudly as {w.he} could.",
        f"Up and down went the light, and {w.hero} called across the water.",
    )
    yield w.say(
        f'At last {w.he} heard a voice. "I see {a(lantern)} light! I am coming!"',
        f'"I see {a(lantern)} light!" somebody called back. Slowly a boat came out of the fog.',
    )
    yield w.say(
        f'It was {w.his} {w.family}. "You remembered," {w.family_he} said. "How clever you are!"',
        f'{w.His} {w.family} jumped out of the boat. "You saved me, {w.hero}," {w.family_he} said.',
    )
    found = w.rng.choice(["shell", "stone", "feather"])
    found = f"{w.paint(found)} {found}"
    w.know("gift", f"What did {w.hero} get from {w.his} {w.family}?", f"{w.He} got {a(found)}.", found)
    yield w.say(
        f'"Look what I found on the lake. It is for you." It was {a(found)}.',
        f'"And I have found something for you." {w.family_He} gave {w.him} {a(found)}.',
    )
    yield from ending(w, "A small light can show a long way.", f"{w.hero} learned that it is good to listen well.")


PLOTS = [missing_pie, lantern_in_the_fog]
