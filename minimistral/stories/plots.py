"""Small plots. Each is a list of sentences that use one world's names again and again, so that facts return."""

from dataclasses import dataclass
from random import Random

from minimistral.stories import words


def a(noun: str) -> str:
    """The noun with its article.

    >>> a("apple"), a("red apple")
    ('an apple', 'a red apple')
    """
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def capital(text: str) -> str:
    """The text with its first letter as at the start of a sentence."""
    return text[0].upper() + text[1:]


@dataclass
class World:
    """What is true in one story. `say` picks a phrasing; everything else is fixed once drawn."""

    rng: Random

    def __post_init__(self):
        pick = self.rng.choice
        self.girl = pick([True, False])
        self.hero = pick(words.GIRLS if self.girl else words.BOYS)
        self.he, self.him, self.his = ("she", "her", "her") if self.girl else ("he", "him", "his")
        self.child = "girl" if self.girl else "boy"
        self.friend_girl = pick([True, False])
        self.friend = pick([n for n in (words.GIRLS if self.friend_girl else words.BOYS) if n != self.hero])
        self.animal, self.pet = pick(words.ANIMALS), pick(words.ANIMAL_NAMES)
        self.colour, self.noun = pick(words.COLOURS), pick(words.THINGS)
        self.thing = f"{self.colour} {self.noun}"
        self.place, self.spot = pick(words.PLACES)
        self.family, self.trait, self.home = pick(words.FAMILY), pick(words.TRAITS), pick(words.HOMES)
        self.food, self.skill, self.weather = pick(words.FOODS), pick(words.SKILLS), pick(words.WEATHER)
        self.built = f"{self.colour} {pick(words.BUILT)}"

    def say(self, *phrasings: str) -> str:
        return self.rng.choice(phrasings)


def opening(w: World) -> list[str]:
    """Who the story is about."""
    return [
        w.say(
            f"Once upon a time there was a {w.trait} {w.child} named {w.hero}.",
            f"Once upon a time, a {w.trait} {w.child} named {w.hero} lived in {w.home}.",
            f"Once upon a time, in {w.home}, there lived a {w.child} called {w.hero}.",
            f"There was a {w.child} named {w.hero} who was very {w.trait}.",
            f"{w.hero} was a {w.trait} {w.child} who lived in {w.home}.",
        )
    ]


def ending(w: World, *morals: str) -> list[str]:
    """How the day ends, and what was learnt."""
    close = w.say(
        f"That night {w.hero} slept very well.",
        f"{w.hero} went home with a big smile.",
        "And they were all happy.",
        f"It was the best day of {w.hero}'s week.",
        f"When {w.hero} went to bed, {w.he} was still smiling.",
    )
    return [w.say(*morals), close] if w.rng.random() < 0.7 else [close]


def lost_and_found(w: World) -> list[str]:
    return [
        *opening(w),
        w.say(
            f"{capital(w.he)} had {a(w.thing)} and loved it very much.",
            f"{capital(w.his)} {w.family} had given {w.him} {a(w.thing)}.",
            f"The thing {w.he} loved most was {a(w.thing)}.",
        ),
        w.say(
            f"One day {w.hero} played with the {w.thing} {w.place}.",
            f"Every day {w.he} took the {w.noun} along to play {w.place}.",
            f"One morning {w.he} went out to play {w.place} and took the {w.thing} along.",
        ),
        w.say(
            f"But when it was time to go home, the {w.noun} was gone.",
            f"Then {w.he} looked around, and the {w.noun} was not there.",
            f"But a strong wind came, and soon the {w.noun} was gone.",
        ),
        w.say(f"{w.hero} was very sad.", f"{w.hero} began to cry.", f"{w.hero} felt sad and did not know what to do."),
        w.say(
            f"Just then {a(w.animal)} named {w.pet} came by.",
            f"Then {w.he} met {a(w.animal)} called {w.pet}.",
            f"{capital(a(w.animal))} named {w.pet} saw {w.him} and came closer.",
        ),
        w.say(f'"Why are you sad?" asked {w.pet}.', f'"What is wrong?" asked the {w.animal}.'),
        w.say(
            f'"I lost my {w.thing}," said {w.hero}.',
            f'"My {w.thing} is gone," {w.he} said. "I cannot find it."',
        ),
        w.say(f'"I will help you," said the {w.animal}.', f'"Let us look for it together," said {w.pet}.'),
        w.say(
            f"They looked and looked, and at last {w.pet} found the {w.noun} {w.spot}.",
            f"{w.pet} looked {w.spot}, and there was the {w.thing}!",
            f"They looked everywhere. At last they saw something {w.colour} {w.spot}. It was the {w.noun}!",
        ),
        w.say(
            f'"Thank you, {w.pet}!" said {w.hero}.',
            f'"You found my {w.noun}!" {w.he} said. "Thank you, {w.pet}."',
            f"{w.hero} thanked {w.pet} and gave the {w.animal} a hug.",
        ),
        w.say(
            f"From that day on, {w.hero} and {w.pet} were friends.",
            f"After that, {w.hero} and the {w.animal} played together every day.",
        ),
        *ending(
            w,
            f"{w.hero} learned that a friend makes every search easier.",
            f"Now {w.he} took good care of the {w.noun}.",
        ),
    ]


def helping(w: World) -> list[str]:
    return [
        *opening(w),
        w.say(
            f"One day {w.he} was walking {w.place} when {w.he} heard a small sound.",
            f"One morning {w.hero} went for a walk {w.place}. Suddenly {w.he} heard a cry.",
        ),
        w.say(
            f"It was {a(w.animal)}, stuck {w.spot}.",
            f"{capital(a(w.animal))} was stuck {w.spot} and could not get out.",
        ),
        w.say(
            f'"Please help me," said the {w.animal}. "My name is {w.pet}."',
            f'"I am {w.pet}," said the {w.animal}. "Can you help me?"',
        ),
        w.say(f'"Of course," said {w.hero}.', f'"Do not be afraid," said {w.hero}.'),
        w.say(
            f"{capital(w.he)} used {w.his} {w.thing} to help {w.pet} out.",
            f"{w.hero} had {a(w.thing)} with {w.him}, and with the {w.noun} {w.he} helped the {w.animal} out.",
        ),
        w.say(f"{w.pet} was free and very happy.", f"Soon the {w.animal} was free and jumped for joy."),
        w.say(
            f"The next day {w.hero} could not find {w.his} {w.noun}.",
            f"But on the way home {w.hero} lost {w.his} {w.noun}.",
        ),
        w.say(
            f"Then {w.pet} came to the door with something {w.colour}.",
            f"In the evening there was a knock at the door. It was {w.pet}.",
        ),
        w.say(
            f'"You helped me, so I helped you," said {w.pet} and gave {w.him} the {w.thing}.',
            f'"Here is your {w.thing}," said the {w.animal}. "I found it for you."',
        ),
        w.say(f"{w.hero} was so happy.", f'"What a good friend you are, {w.pet}!" said {w.hero}.'),
        *ending(w, "When you help others, they will help you too.", f"{w.hero} learned that a kind deed comes back."),
    ]


def the_dark(w: World) -> list[str]:
    return [
        *opening(w),
        w.say(
            f"{w.hero} was afraid of the dark.",
            f"There was one thing {w.he} did not like. {capital(w.he)} was afraid of the dark.",
        ),
        w.say(
            "Every night the room seemed full of strange shapes.",
            f"When the light went out, {w.he} hid under the blanket.",
        ),
        w.say(
            f"One night {w.he} heard a noise near the window.",
            f"One night something moved behind the door, and {w.hero} was scared.",
        ),
        w.say(
            f'{capital(w.he)} called {w.his} {w.family}. "There is a monster in my room!"',
            f'"Help!" cried {w.hero}, and {w.his} {w.family} came at once.',
        ),
        w.say(
            f"{capital(w.his)} {w.family} turned on the light and smiled.",
            f"{capital(w.his)} {w.family} sat down on the bed and took {w.his} hand.",
        ),
        w.say(
            f'"Let us look together," said {w.his} {w.family}.',
            f'"We will look at it together," {w.his} {w.family} said.',
        ),
        w.say(
            f"It was no monster at all. It was only a little {w.animal} named {w.pet}.",
            f"There was no monster. It was {w.pet}, the little {w.animal} from next door.",
        ),
        w.say(
            f'"{w.pet} is cold and wants to come in," said {w.hero}.',
            f'"Poor {w.pet}!" said {w.hero}. "You were scared too."',
        ),
        w.say(
            f"{capital(w.he)} made a bed for {w.pet} out of {w.his} {w.thing}."
            if w.noun in ("hat", "scarf")
            else f"{capital(w.he)} put {w.his} {w.thing} beside {w.pet}, so that the {w.animal} had something to look at.",
            f"{w.hero} gave the {w.animal} some warm milk and a soft blanket.",
        ),
        w.say(
            f"Now {w.hero} was not afraid any more, because {w.pet} slept beside {w.him}.",
            f"With {w.pet} beside {w.him}, the dark was not so dark.",
        ),
        *ending(
            w,
            f"{w.hero} learned that things look smaller when you look at them.",
            "Being brave means to look, even when you are scared.",
        ),
    ]


def sharing(w: World) -> list[str]:
    f_he = "she" if w.friend_girl else "he"
    return [
        *opening(w),
        w.say(f"{capital(w.his)} best friend was {w.friend}.", f"{w.hero} had a good friend named {w.friend}."),
        w.say(
            f"One day {w.hero} got {a(w.thing)} from {w.his} {w.family}.",
            f"On {w.his} birthday, {w.hero} got {a(w.thing)}.",
        ),
        w.say(
            f'"Can I hold the {w.noun} too?" asked {w.friend}.',
            f'{w.friend} saw it and asked, "May I play with the {w.noun}?"',
        ),
        w.say(f'"No," said {w.hero}. "It is mine."', f'But {w.hero} said, "No, the {w.noun} is mine!"'),
        w.say(f"{w.friend} was sad and went home.", f"{w.friend} said nothing. Then {f_he} went away."),
        w.say(
            f"Now {w.hero} played with the {w.thing} alone, but it was not much fun.",
            f"{w.hero} sat {w.place} with the {w.thing}, all alone.",
        ),
        w.say(
            f'{capital(w.his)} {w.family} asked, "Where is {w.friend}?"',
            f'"Where is {w.friend} today?" asked {w.his} {w.family}.',
        ),
        w.say(f"{w.hero} looked at the ground.", f"{w.hero} felt bad and did not answer."),
        w.say(
            f"Then {w.he} took the {w.noun} and ran to {w.friend}.",
            f"Then {w.he} had an idea and went to see {w.friend}.",
        ),
        w.say(
            f'"I am sorry," {w.he} said. "Let us play with the {w.noun} together."',
            f'"I am sorry, {w.friend}," said {w.hero}. "You can have the {w.thing} first."',
        ),
        w.say(
            f"{w.friend} smiled, and they played until the evening.",
            f"{w.friend} was happy, and they played {w.place} all day.",
        ),
        *ending(w, "A thing is twice as nice when it is shared.", f"{w.hero} learned that it is good to share."),
    ]


def a_gift(w: World) -> list[str]:
    return [
        *opening(w),
        w.say(
            f"Tomorrow was the birthday of {w.his} {w.family}.",
            f"{capital(w.his)} {w.family} was ill and had to stay in bed.",
        ),
        w.say(f"{w.hero} wanted to make a gift.", f'"I will make a gift," thought {w.hero}.'),
        w.say(
            f"{capital(w.he)} wanted to make {a(w.built)}, but {w.he} had no paint.",
            f'"{capital(a(w.built))} would be nice," {w.he} thought. But {w.he} had no {w.colour} paint.',
        ),
        w.say(f"So {w.he} went to see {w.friend}.", f"So {w.he} asked {w.his} friend {w.friend}."),
        w.say(
            f'"I have {w.colour} paint," said {w.friend}. "You can have some."',
            f'{w.friend} gave {w.him} a pot of {w.colour} paint and said, "Let me help you."',
        ),
        w.say("They worked all afternoon.", f"The two worked {w.place} until the sun went down."),
        w.say(
            f"A little {w.animal} named {w.pet} sat beside them and watched.",
            f"{w.pet} the {w.animal} watched them and got {w.colour} paint on one ear.",
        ),
        w.say(f"At last the {w.built} was done.", f"When it was dark, the {w.built} was ready."),
        w.say(
            f'The next day {w.hero} said, "This is for you. I made it with {w.friend}."',
            f"In the morning {w.hero} gave it to {w.his} {w.family}.",
        ),
        w.say(
            f'"The {w.built} is beautiful," said {w.his} {w.family} with a big smile.',
            f'"Oh, {a(w.built)}! Thank you, {w.hero}," said {w.his} {w.family}.',
        ),
        *ending(w, "The best gift is made with love.", f"{w.hero} learned that making a gift is a gift too."),
    ]


def the_weather(w: World) -> list[str]:
    return [
        *opening(w),
        w.say(
            f"One day {w.hero} and {w.friend} wanted to play {w.place}.",
            f"{w.hero} and {w.his} friend {w.friend} wanted to have a picnic {w.place}.",
        ),
        w.say(
            f"They packed {w.food} and {a(w.thing)}.",
            f"{w.hero} brought {a(w.thing)}, and {w.friend} brought {w.food}.",
        ),
        w.say(f"But then the {w.weather} came.", f"But when they opened the door, there was {w.weather} everywhere."),
        w.say(f'"Now we cannot go," said {w.friend}.', f'"Our day is spoiled," said {w.friend}.'),
        w.say(f"{w.hero} thought for a while.", f"{w.hero} was sad too, but then {w.he} had an idea."),
        w.say(
            f'"Let us play that the kitchen is our place," said {w.hero}.',
            f'"We can do it all inside," said {w.hero}.',
        ),
        w.say(
            f"They put a blanket on the floor and ate the {w.food}.",
            f"They sat under the table and ate the {w.food}.",
        ),
        w.say(
            f"Then they played with the {w.thing}, and {w.pet} the {w.animal} played too.",
            f"{w.pet} the {w.animal} came to look, and they all played with the {w.thing}.",
        ),
        w.say(
            f"They forgot all about the {w.weather}.", f"They laughed so much that nobody saw the {w.weather} go away."
        ),
        w.say(f'"This was better than our plan," said {w.friend}.', f'"I like the {w.weather} now," said {w.friend}.'),
        *ending(
            w, "A good idea can turn a bad day into a good one.", f"{w.hero} learned that fun does not need the sun."
        ),
    ]


def learning(w: World) -> list[str]:
    return [
        *opening(w),
        w.say(f"{w.hero} wanted to learn to {w.skill}.", f"More than anything, {w.he} wanted to {w.skill}."),
        w.say(
            f"{capital(w.he)} tried once, but it did not work.",
            f"{capital(w.he)} tried and tried, but {w.he} could not do it.",
        ),
        w.say(f'"I will never learn it," {w.he} said.', f'"It is too hard," said {w.hero} and sat down {w.place}.'),
        w.say(
            f"A wise old {w.animal} named {w.pet} heard {w.him}.",
            f"{w.pet}, {a('old ' + w.animal)}, was sitting {w.spot} and had seen it all.",
        ),
        w.say(
            f'"Try a little every day," said {w.pet}.',
            f'"I could not do it at first either," said the {w.animal}. "Try again tomorrow."',
        ),
        w.say(f"So {w.hero} tried again the next day.", f"The next day {w.hero} came back."),
        w.say("It was a little better.", f"This time it was a little better, and {w.pet} was proud."),
        w.say(
            f"{capital(w.he)} came every day with {w.his} {w.thing}, and {w.pet} watched.",
            f"Every day {w.he} put down {w.his} {w.thing} {w.spot} and tried again.",
        ),
        w.say(f"Then one morning {w.he} could {w.skill}!", f"And one day, {w.hero} could {w.skill}!"),
        w.say(f'"Look, {w.pet}! I can do it!" {w.he} cried.', f'"You did it!" said the {w.animal}.'),
        w.say(
            f"To say thank you, {w.hero} gave {w.pet} the {w.thing}.",
            f"{w.hero} ran home to tell {w.his} {w.family}, and took the {w.thing} along.",
        ),
        *ending(w, "What is hard today is easy some other day.", f"{w.hero} learned not to give up."),
    ]


def mended(w: World) -> list[str]:
    return [
        *opening(w),
        w.say(
            f"{capital(w.his)} {w.family} had made {a(w.built)} long ago.",
            f"There was {a(w.built)} that {w.his} {w.family} loved.",
        ),
        w.say(
            f"One day {w.hero} played with it {w.place}, and it broke.",
            f"One day {w.he} took it {w.place} without asking. Then it fell and broke.",
        ),
        w.say(f"{w.hero} was afraid to tell {w.his} {w.family}.", f'"Oh no!" thought {w.hero}. "What shall I do?"'),
        w.say(f"{capital(w.he)} hid the {w.built} {w.spot}.", f"First {w.he} wanted to hide it {w.spot}."),
        w.say(f"{w.friend} saw {w.him}.", f"But {w.his} friend {w.friend} had seen it."),
        w.say(
            f'"You must tell the truth," said {w.friend}.',
            f'"It is better to say it," said {w.friend}. "I will come with you."',
        ),
        w.say(
            f'So they went to {w.his} {w.family}. "I broke the {w.built}," said {w.hero}. "I am sorry."',
            f'{w.hero} went home and said, "I am sorry. I broke the {w.built}."',
        ),
        w.say(
            f"{capital(w.his)} {w.family} was not angry.",
            f'"Thank you for telling me," said {w.his} {w.family}.',
        ),
        w.say('"We can mend it together."', f'"Bring it to me, {w.hero}. We will mend it."'),
        w.say(
            f"With glue and a little paint, the {w.built} was soon as good as new.",
            f"{w.friend} held it, {w.hero} used the glue, and soon the {w.built} was like new.",
        ),
        *ending(
            w,
            "The truth is hard to say, but it feels good after.",
            f"{w.hero} learned that it is best to tell the truth.",
        ),
    ]


PLOTS = [lost_and_found, helping, the_dark, sharing, a_gift, the_weather, learning, mended]
