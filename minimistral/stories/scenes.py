"""Little scenes for the middle of a story: they keep a fact waiting, and never touch what the plot needs.

A scene is a function of the world and the company (who is there); it returns its sentences. It may note facts of its
own, and it adds what is worth a memory to w.memories, which the ending may name again.
"""

from typing import NamedTuple

from minimistral.stories.world import World, a, capital


class Company(NamedTuple):
    """Who is there, as the subject of a sentence."""

    names: str  # "Mia", "Mia and Tom"
    they: str  # "she", "they"
    them: str
    their: str
    were: str  # "was", "were"

    @property
    def They(self) -> str:
        return capital(self.they)


def company(w: World, present: tuple[str, ...]) -> Company:
    """The hero, and the others that are present: "friend", "third", "animal", "family", "family2"."""
    names = {"friend": w.friend, "third": w.third, "animal": w.pet}
    names |= {role: f"{w.his} {getattr(w, role)}" for role in ("family", "family2")}
    others = [names[role] for role in present]
    if not others:
        return Company(w.hero, w.he, w.him, w.his, "was")
    return Company(", ".join([w.hero, *others[:-1]]) + f" and {others[-1]}", "they", "them", "their", "were")


def middle(w: World, *present: str, where: str = "out") -> list[str]:
    """All scenes that the world still has to give (0 to 7), no scene twice: sentences.

    present: who is with the hero: any of "friend", "third", "animal", "family", "family2" (already named in the story).
    where: "out" (outside, dry weather, the same day), "in" (at home, the same day), "days" (the days that follow).
    """
    c = company(w, present)
    choices = [scene for scene in SCENES[where] if scene not in w.used_scenes]
    choices += [scene for role in present for scene in WITH.get((role, where), []) if scene not in w.used_scenes]
    n, w.scenes_left = w.scenes_left, 0
    told = w.rng.sample(choices, min(n, len(choices)))
    w.used_scenes.update(told)
    return [sentence for scene in told for sentence in scene(w, c)]


def then(w: World) -> str:
    """How the next little thing begins; not the same twice in a row."""
    ways = [
        "A little later",
        "After a while",
        "Soon",
        "Then",
        "On the way",
        "Not far away",
        "After that",
        "A moment later",
    ]
    w.last_then = w.rng.choice([way for way in ways if way != w.last_then])
    return w.last_then


def next_day(w: World) -> str:
    """How one of the next days begins; not the same twice in a row."""
    ways = ["The next day", "Two days later", "A few days later", "One of these days"]
    w.last_then = w.rng.choice([way for way in ways if way != w.last_then])
    return w.last_then


def remember(w: World, phrase: str) -> None:
    w.memories.append(phrase)


# Outside, any company.


def birds(w: World, c: Company) -> list[str]:
    n, kind = w.rng.choice(("three", "four", "five", "six", "seven")), w.say("sparrows", "swallows", "crows")
    w.know("how many", f"How many {kind} did {w.hero} see?", f"{w.He} saw {n} {kind}.", n)
    remember(w, f"the {n} {kind}")
    return [
        w.say(
            f"{then(w)} {c.they} saw {n} {kind} on a wall.",
            f"{then(w)} {n} {kind} flew over {c.their} heads."
            if c.they == "they"
            else f"{then(w)} {w.hero} saw {n} {kind} in a row.",
        ),
        w.say("They sang as if it were a party.", "They all talked at once, like children after school."),
        w.say(
            f'"What a noise!" said {w.hero}.', f'"Good day, birds!" called {w.hero}.', f"{w.hero} counted them twice."
        ),
    ]


def butterfly(w: World, c: Company) -> list[str]:
    colour = w.paint("butterfly")
    w.know("colour", "What colour was the butterfly?", f"The butterfly was {colour}.", colour)
    remember(w, f"the {colour} butterfly")
    return [
        w.say(
            f"{then(w)} {a(colour)} butterfly sat down on {w.hero}'s sleeve.",
            f"{then(w)} {a(colour)} butterfly landed on {w.hero}'s nose.",
        ),
        w.say(f"{w.hero} stood as still as a tree and did not even blink.", f"It tickled, but {w.hero} did not move."),
        w.say("Then it opened its wings and danced away.", "It rested for a moment, and then it was off again."),
    ]


def glasses(w: World, c: Company) -> list[str]:
    who, he, his = w.say("man he his", "woman she her").split()
    w.know("what", f"What was the old {who} looking for?", f"The old {who} was looking for {his} glasses.", "glasses")
    remember(w, f"the old {who} and the glasses")
    return [
        w.say(
            f"{then(w)} {c.they} met an old {who} who was looking for {his} glasses.",
            f'{then(w)} an old {who} came along. "Where are my glasses?" {he} asked.',
        ),
        w.say(
            f'"They are on your forehead," said {w.hero}.', f'"I can see them," said {w.hero}. "They are in your hair!"'
        ),
        w.say(
            f"The old {who} laughed until {his} eyes were wet.",
            f'"So that is why I could not find them," said the old {who}.',
        ),
    ]


def cherries(w: World, c: Company) -> list[str]:
    fruit, n = w.say("cherries", "strawberries", "walnuts", "peaches"), w.say("two", "three", "four", "six")
    who = w.say("farmer", "neighbour", "gardener")
    w.know("gift", f"What did the {who} give {w.hero}?", f"The {who} gave {w.him} {n} {fruit}.", f"{n} {fruit}")
    remember(w, f"the {n} {fruit}")
    return [
        w.say(
            f"{then(w)} {c.they} met a {who} with a full cart.", f"{then(w)} a {who} pushed a heavy cart past {c.them}."
        ),
        w.say(f"{c.They} helped to push it over a stone.", f"One wheel was stuck, and {c.they} helped to push."),
        w.say(
            f'"Strong arms!" said the {who} and gave {w.hero} {n} {fruit}.',
            f'"Thank you," said the {who}. "Here are {n} {fruit} for you, {w.say("my dear", "young friend")}."',
        ),
    ]


def cloud(w: World, c: Company) -> list[str]:
    shape = w.say("whale", "ship", "dragon", "castle", "camel", "giant shoe", "sleeping lion")
    w.know("what", "What did the cloud look like?", f"The cloud looked like a {shape}.", shape)
    remember(w, f"the cloud that looked like a {shape}")
    return [
        w.say(
            f"{then(w)} {c.they} lay down and looked up at the sky.",
            f"{then(w)} {c.they} stopped to look at the clouds.",
        ),
        w.say(f'"That cloud looks like a {shape}," said {w.hero}.', f"One cloud looked just like a {shape}."),
        w.say(
            "Slowly it changed, and soon it was only a cloud again.", f"The {shape} swam over the hill and was gone."
        ),
    ]


def ants(w: World, c: Company) -> list[str]:
    load = w.say("a crumb", "a dead beetle", "a long straw", "a piece of a leaf")
    w.know("what", "What did the ants carry?", f"The ants carried {load}.", load)
    remember(w, "the busy ants")
    return [
        w.say(
            f"{then(w)} {c.they} saw a row of ants on the ground.", f"{then(w)} {c.they} almost stepped on some ants."
        ),
        w.say(
            f"Together they carried {load} that was much bigger than they were.",
            f"They carried {load}, and all of them helped.",
        ),
        w.say(f'"How strong they are," said {w.hero}.', f"{w.hero} made room, so that nobody would hurt them."),
    ]


def treasure(w: World, c: Company) -> list[str]:
    noun = w.say("button", "bead", "pebble", "piece of glass")
    colour = w.paint(noun)
    w.know(
        "what",
        f"What did {w.hero} put in {w.his} pocket?",
        f"{w.He} put {a(f'{colour} {noun}')} in {w.his} pocket.",
        noun,
    )
    w.know("colour", f"What colour was the {noun} that {w.hero} found?", f"It was {colour}.", colour)
    remember(w, f"the {colour} {noun} in {w.his} pocket")
    return [
        w.say(f"{then(w)} something shone on the ground.", f"{then(w)} {w.hero} saw something small in the dust."),
        w.say(f"It was {a(f'{colour} {noun}')}.", f"It was only {a(f'{colour} {noun}')}, but {w.he} liked it."),
        w.say(
            f"{w.hero} put it in {w.his} pocket, for good luck.",
            f"{w.He} rubbed it clean and put it in {w.his} pocket.",
        ),
    ]


def post(w: World, c: Company) -> list[str]:
    n, colour = w.say("three", "five", "seven", "nine"), w.paint("bag")
    w.know("how many", "How many letters did the postman have?", f"The postman had {n} letters.", n)
    w.know("colour", "What colour was the postman's bag?", f"It was {colour}.", colour)
    remember(w, f"the postman with the {colour} bag")
    return [
        w.say(
            f"{then(w)} the postman came by with {a(colour)} bag.",
            f"{then(w)} {c.they} met the postman and his {colour} bag.",
        ),
        w.say(
            f'"I have {n} letters today," he said, "but none for you."',
            f'"Only {n} letters today," he said. "That is easy work."',
        ),
        w.say(f'"Maybe tomorrow," said {w.hero}.', f'"Then I will write one myself," said {w.hero}.'),
    ]


def snail(w: World, c: Company) -> list[str]:
    remember(w, "the slow snail")
    w.know("what", f"What did {w.hero} find in the middle of the path?", f"{w.He} found a snail.", "snail")
    return [
        w.say(
            f"{then(w)} {c.they} found a snail in the middle of the path.",
            f"{then(w)} {w.hero} saw a snail in the middle of the path.",
        ),
        w.say('"You will be late for supper," said ' + w.hero + ".", f'"Where are you going so fast?" asked {w.hero}.'),
        w.say(f"{w.He} lifted it up and set it down on a cool leaf.", f"Gently {w.he} carried it to the other side."),
    ]


def hopping(w: World, c: Company) -> list[str]:
    n, goal = w.say("twelve", "twenty", "fifteen", "eleven"), w.say("the next tree", "the old fence", "the big stone")
    w.know("how many", f"How many hops was it to {goal}?", f"It was {n} hops.", n)
    remember(w, f"the {n} hops")
    return [
        w.say(
            f"{then(w)} {c.they} hopped on one leg to {goal}.",
            f'"I can hop on one leg to {goal}," said {w.hero}, and {c.they} did.',
        ),
        w.say(f"It was {n} hops, and then one leg was very tired.", f"{w.hero} counted aloud. It was {n} hops."),
    ]


def bicycle(w: World, c: Company) -> list[str]:
    colour, who = w.paint("bicycle"), w.say("baker", "doctor", "teacher", "tailor")
    w.know("who", f"Who rode the {colour} bicycle?", f"The {who} did.", who)
    w.know("colour", f"What colour was the {who}'s bicycle?", f"It was {colour}.", colour)
    remember(w, f"the {who} on the {colour} bicycle")
    return [
        w.say(
            f"{then(w)} the {who} rode by on {a(colour)} bicycle.",
            f"{then(w)} {c.they} saw the {who} on {a(colour)} bicycle.",
        ),
        w.say(f'"Make way!" called the {who}. "I have no brakes!"', f"The {who} waved and nearly fell off."),
        w.say(f"{c.names} jumped aside and waved back.", f"{w.hero} laughed and waved for a long time."),
    ]


def painter(w: World, c: Company) -> list[str]:
    noun = w.say("gate", "fence", "shed", "wall")
    colour = w.paint(noun)
    w.know("colour", f"What colour did the painter paint the {noun}?", f"The painter painted it {colour}.", colour)
    remember(w, f"the {colour} {noun}")
    return [
        w.say(
            f"{then(w)} {c.they} passed a painter who was painting a {noun} {colour}.",
            f"{then(w)} {c.they} saw a {noun} that was half {colour}. A painter sat in front of it.",
        ),
        w.say("There was paint on his nose and on both of his ears.", "Even his shoes were full of paint."),
        w.say(
            f'"Do not touch the {noun}," he said, "or you will look like me."',
            f'"It is my best {noun} so far," he said.',
        ),
    ]


def lizard(w: World, c: Company) -> list[str]:
    remember(w, "the lizard on the warm stone")
    w.know("where", "Where did the lizard lie?", "The lizard lay on a warm stone.", "warm stone")
    return [
        w.say(
            f"{then(w)} {c.they} saw a lizard on a warm stone.",
            f"{then(w)} a lizard looked at {c.them} from a warm stone.",
        ),
        w.say("It blinked once, and it did not move.", "It lay there like a small king."),
        w.say(f"When {w.hero} came closer, it was gone like a flash.", f'"Enjoy the sun," whispered {w.hero}.'),
    ]


def bun(w: World, c: Company) -> list[str]:
    snack = w.say("bun", "carrot", "sandwich", "biscuit with jam", "handful of raisins")
    share = (
        f"{w.He} broke it into pieces, so that there was some for everyone."
        if c.they == "they"
        else f"{w.He} ate it slowly."
    )
    w.know("what", f"What did {w.hero} have in {w.his} bag?", f"{w.He} had a {snack} in {w.his} bag.", snack)
    return [
        w.say(f"{then(w)} {c.they} {c.were} hungry.", f"{then(w)} {w.hero}'s stomach made a funny noise."),
        w.say(f"Luckily {w.hero} had a {snack} in {w.his} bag.", f"There was a {snack} in {w.hero}'s bag."),
        share if "raisins" not in snack else "There were not many, but they were sweet.",
        w.say(
            "Nothing tastes as good as food under the open sky.",
            "The crumbs were for the birds." if "raisins" not in snack else "The last one was for a bird.",
        ),
    ]


def music(w: World, c: Company) -> list[str]:
    instrument = w.say("violin", "trumpet", "piano", "guitar")
    w.know("what", f"What did {w.hero} hear from a window?", f"It was a {instrument}.", instrument)
    remember(w, f"the music of the {instrument}")
    return [
        w.say(
            f"{then(w)} {c.they} heard a {instrument}. It came from an open window.",
            f"{then(w)} there was music. Somebody was playing a {instrument} at an open window.",
        ),
        w.say(f"The tune was so merry that {c.names} began to dance.", f"{c.names} stood and listened to the end."),
        w.say("Then the window was shut, but the tune stayed.", f"For a long time {w.hero} could still hum it."),
    ]


def balloon(w: World, c: Company) -> list[str]:
    colour = w.paint("balloon")
    w.know("colour", "What colour was the balloon?", f"The balloon was {colour}.", colour)
    w.know("where", "Where was the balloon?", "It was high up in a tree.", "tree")
    remember(w, f"the {colour} balloon in the tree")
    return [
        w.say(
            f"{then(w)} {c.they} saw {a(colour)} balloon high up in a tree.",
            f"High up in a tree hung {a(colour)} balloon.",
        ),
        w.say("Nobody could reach it.", f"{w.hero} jumped, but it was much too high."),
        w.say(
            "Then the wind came, and the balloon sailed off over the roofs.",
            "A gust of wind set it free, and it flew to the clouds.",
        ),
    ]


def scarecrow(w: World, c: Company) -> list[str]:
    colour = w.paint("jacket")
    w.know("colour", "What colour was the scarecrow's jacket?", f"It was {colour}.", colour)
    remember(w, f"the scarecrow in the {colour} jacket")
    return [
        w.say(
            f"{then(w)} {c.they} passed a scarecrow in {a(colour)} jacket.",
            f"{then(w)} {c.they} met a scarecrow. It wore {a(colour)} jacket.",
        ),
        w.say(
            "A bird sat on its head and was not scared at all.", "Its straw arms pointed to the left and to the right."
        ),
        w.say(f'"Good afternoon, sir," said {w.hero} with a deep bow.', f"{w.hero} shook its straw hand."),
    ]


def web(w: World, c: Company) -> list[str]:
    remember(w, "the spider in its net")
    w.know("who", "Who was making a net?", "A spider was making a net.", "spider")
    return [
        w.say(
            f"{then(w)} {c.they} saw a spider at work between two branches.",
            f"{then(w)} {w.hero} stopped. A spider hung in the air.",
        ),
        w.say("It was making a net, round and round, without a mistake.", "Thread by thread it was making a net."),
        w.say(
            f'"Who taught you that?" asked {w.hero}, but the spider was too busy to answer.',
            f"{w.hero} watched until the last thread was in its place.",
        ),
    ]


def bus(w: World, c: Company) -> list[str]:
    n = w.say("one", "two", "three", "four")
    people = "passenger" if n == "one" else "passengers"
    w.know(
        "how many",
        "How many passengers were in the bus?",
        f"There {'was' if n == 'one' else 'were'} {n} {people} in the bus.",
        n,
    )
    remember(w, f"the bus with only {n} {people}")
    return [
        w.say(
            f"{then(w)} a bus came along the road with only {n} {people} in it.",
            f"{then(w)} a bus rolled by. It had only {n} {people}.",
        ),
        w.say("The driver honked twice.", "The driver lifted his cap."),
        w.say(f"{c.names} waved until it was out of sight.", f'"I want to drive a bus one day," said {w.hero}.'),
    ]


def knee(w: World, c: Company) -> list[str]:
    w.know("why", f"Why did {w.hero} fall?", f"{w.He} fell over a root.", "root")
    return [
        w.say(
            f"{then(w)} {w.hero} fell over a root and scraped {w.his} knee.",
            f"{then(w)} there was a root, and {w.hero} fell over it.",
        ),
        w.say('"Ouch!" It hurt, but not for long.', f'"It is only a scratch," {w.he} said and got up again.'),
        w.say(f"After ten steps {w.he} had forgotten it.", f"{w.He} blew on {w.his} knee, and that helped."),
    ]


def squirrel_nut(w: World, c: Company) -> list[str]:
    remember(w, "the nut that fell from the sky")
    w.know("what", f"What fell on {w.hero}'s head?", f"A nut fell on {w.his} head.", "nut")
    return [
        w.say(f"{then(w)} something hit {w.hero} on the head.", f'{then(w)} {w.hero} cried, "Ow!"'),
        w.say("It was a nut that had dropped from a tree.", "A nut had come down from a branch."),
        w.say(
            f'"Somebody up there wants to play," said {w.hero} with a laugh.',
            f"{w.He} looked up, but there was nobody to be seen.",
        ),
    ]


def shadow(w: World, c: Company) -> list[str]:
    shape = w.say("giant", "bird with long wings", "rabbit with huge ears", "crocodile")
    w.know("what", f"What shadow did {w.hero} make with {w.his} hands?", f"{w.He} made a {shape}.", shape)
    return [
        w.say(
            f"{then(w)} the sun came out, and {c.names} played with {c.their} shadow."
            if c.they != "they"
            else f"{then(w)} the sun came out, and {c.they} played with {c.their} shadows."
        ),
        w.say(
            f"With both hands {w.hero} made a {shape}.",
            f"{w.hero} moved {w.his} hands, and there was a {shape} on the ground.",
        ),
        w.say(
            "A cloud came, and the shadow was gone.",
            "It looked so real that a hen would have run away."
            if "hen" not in (w.animal, w.animal2)
            else "It looked quite real.",
        ),
    ]


def chalk(w: World, c: Company) -> list[str]:
    what = w.say("fish", "snake", "sun", "flower")
    colour = w.paint(what)
    w.know("colour", f"What colour was the {what} on the ground?", f"It was {colour}.", colour)
    remember(w, f"the {colour} {what} on the ground")
    return [
        w.say(
            f"{then(w)} {c.they} saw {a(f'{colour} {what}')} on the ground.",
            f"{then(w)} there was {a(f'{colour} {what}')} on the ground.",
        ),
        w.say("Somebody had drawn it with chalk.", "It was made of chalk, and it was longer than a man."),
        w.say(f"{c.names} walked around it, so as not to step on it.", f"{w.hero} wished for chalk too."),
    ]


def sheep(w: World, c: Company) -> list[str]:
    n = w.say("six", "eight", "nine", "thirteen", "twenty")
    w.know("how many", "How many sheep crossed the road?", f"{capital(n)} sheep crossed the road.", n)
    remember(w, f"the {n} sheep")
    return [
        w.say(
            f"{then(w)} {c.they} had to wait, because {n} sheep crossed the road.",
            f"{then(w)} {n} sheep crossed the road.",
        ),
        w.say("They took their time, as sheep always do.", "The shepherd walked behind them and chewed a straw."),
        w.say(
            f"The last one looked at {w.hero} as if they had met before.",
            f'"Baa," said the last one. "Baa," answered {w.hero}.',
        ),
    ]


def ice_cream(w: World, c: Company) -> list[str]:
    taste = w.say("lemon", "vanilla", "raspberry", "banana")
    w.know("what", f"What ice cream did {w.hero} taste?", f"{w.He} tasted {taste} ice cream.", taste)
    remember(w, f"the taste of {taste}")
    return [
        w.say(
            f"{then(w)} {c.they} came to a man who sold ice cream.",
            f"{then(w)} an ice cream man came by and rang a little bell.",
        ),
        w.say(
            f'"This is {taste}," he said. "Taste it! The first spoon is free."',
            f'He held out a spoon to {w.hero}. "It is new," he said. "It is {taste}."',
        ),
        w.say(
            f"It was so cold that {w.hero} shut both eyes.", f'"Mmm," said {w.hero}, and that was enough of an answer.'
        ),
    ]


def stranger(w: World, c: Company) -> list[str]:
    goal = w.say("the station", "the museum", "the hospital", "the theatre", "the library")
    side = w.say("left", "right")
    w.know("what", "Where did the stranger want to go?", f"The stranger wanted to go to {goal}.", goal)
    return [
        w.say(
            f"{then(w)} a stranger with a suitcase asked the way to {goal}.",
            f"{then(w)} {c.they} met a stranger who wanted to go to {goal}.",
        ),
        w.say(
            f'"First straight on, and then to the {side}," said {w.hero}.',
            f"{w.hero} pointed to the {side} and explained it all.",
        ),
        w.say('"What a clever child," said the stranger.', "The stranger took a bow and hurried off."),
    ]


def sweep(w: World, c: Company) -> list[str]:
    w.know("who", "Who shook hands and left a black spot?", "The chimney sweep did.", "chimney sweep")
    remember(w, "the chimney sweep")
    return [
        w.say(
            f"{then(w)} {c.they} met a chimney sweep with a long ladder.",
            f"{then(w)} a chimney sweep came down from a roof.",
        ),
        w.say(
            '"Shake my hand, it brings luck," the chimney sweep said.',
            '"A handshake for luck?" the chimney sweep asked.',
        ),
        w.say(
            f"After that {w.hero} had a black hand and a lucky face.",
            f"{w.hero} did, and then {w.he} had a black hand. But luck is luck.",
        ),
    ]


# With the friend, outside or inside.

RIDDLES = [
    ("What has four legs but cannot walk", "table"),
    ("What has teeth but never bites", "comb"),
    ("What gets wet while it dries you", "towel"),
    ("What has hands but cannot clap", "clock"),
    ("What has an eye but cannot see", "needle"),
    ("What goes up and never comes down", "smoke"),
]


def riddle(w: World, c: Company) -> list[str]:
    question, answer = w.rng.choice(RIDDLES)
    word = "smoke" if answer == "smoke" else f"a {answer}"
    w.know("what", f"What was the answer to {w.friend}'s riddle?", f"The answer was {word}.", answer)
    return [
        w.say(f'"I know a riddle," said {w.friend}. "{question}?"', f'{w.friend} asked a riddle. "{question}?"'),
        w.say(
            f"{w.hero} thought so hard that {w.his} forehead was full of lines.",
            f"{w.hero} bit {w.his} lip and thought.",
        ),
        w.say(f'"{capital(word)}!" {w.he} cried at last.', f'"Is it {word}?" asked {w.hero}. It was.'),
    ]


DREAMS = ["could fly", "was as small as an ant", "lived in the sea", "had a tail", "was the king of the moon"]


def dream(w: World, c: Company) -> list[str]:
    dreamt = w.rng.choice([d for d in DREAMS if not (w.friend_girl and "king" in d)])
    w.know("what", f"What did {w.friend} dream?", f"{w.friend} dreamed that {w.friend_he} {dreamt}.", dreamt)
    remember(w, f"{w.friend}'s strange dream")
    return [
        w.say(
            f'"Last night I dreamed that I {dreamt}," said {w.friend}.',
            f"{w.friend} told {w.him} about a dream. In the dream {w.friend_he} {dreamt}.",
        ),
        w.say(f'"And then?" asked {w.hero}.', f'"Was it nice?" asked {w.hero}.'),
        w.say(
            f'"Then I woke up and was late for breakfast," said {w.friend}.',
            f'"Very nice," said {w.friend}, "but the bed was better."',
        ),
    ]


def shoelace(w: World, c: Company) -> list[str]:
    w.know("what", f"What did {w.hero} tie for {w.friend}?", f"{w.hero} tied {w.friend}'s shoe.", "shoe")
    return [
        w.say(
            f"{then(w)} {w.friend} stopped, because {w.friend_his} shoe was open.",
            f'{then(w)} {w.friend} said, "Wait, my shoe is open!"',
        ),
        w.say(
            f"{w.hero} knelt down and tied it with a double knot.", f"{w.hero} knew how to make a good knot and helped."
        ),
        w.say(f'"Now I can run again," said {w.friend}.', f'"That will last until Sunday," said {w.hero}.'),
    ]


def silence(w: World, c: Company) -> list[str]:
    winner, loser = w.rng.sample([w.hero, w.friend], 2)
    w.know("who", "Who won the game of silence?", f"{winner} won it.", f"{winner} had won")
    return [
        w.say(
            '"Let us see who can be silent longer," said ' + w.friend + ".",
            f'"I can be silent longer than you," said {w.hero}.',
        ),
        w.say(
            f"They walked and walked and made faces, until {loser} had to laugh.",
            f"Not a word was heard, until {loser} had to sneeze.",
        ),
        f"So {winner} had won.",
    ]


def later(w: World, c: Company) -> list[str]:
    hero_job, friend_job = w.rng.sample(["pilot", "sailor", "baker", "farmer", "singer", "nurse", "clown", "diver"], 2)
    w.know("what", f"What did {w.hero} want to be one day?", f"{w.hero} wanted to be a {hero_job}.", hero_job)
    w.know("what", f"What did {w.friend} want to be one day?", f"{w.friend} wanted to be a {friend_job}.", friend_job)
    return [
        w.say(
            f'"One day I want to be a {hero_job}," said {w.hero}.',
            f'"When I am big, I will be a {hero_job}," said {w.hero}.',
        ),
        w.say(
            f'"And I want to be a {friend_job}," said {w.friend}.',
            f'"Not me," said {w.friend}. "I will be a {friend_job}."',
        ),
        w.say(f'"Then a {hero_job} and a {friend_job} will be friends," said {w.hero}.', "They shook hands on it."),
    ]


def taller(w: World, c: Company) -> list[str]:
    return [
        w.say(f'"I am taller than you," said {w.friend}.', f"{w.hero} and {w.friend} wanted to know who was taller."),
        w.say(
            "They stood back to back and held a hand over their heads.",
            "Back to back they stood, as straight as candles.",
        ),
        w.say("There was no difference at all.", "It was hard to say, because both of them stood on their toes."),
    ]


# With the animal, outside.


def tail(w: World, c: Company) -> list[str]:
    n = w.say("three", "five", "seven", "ten")
    w.know("how many", f"How many times did {w.pet} run in a circle?", f"{w.pet} ran in a circle {n} times.", n)
    return [
        w.say(f"{then(w)} {w.pet} saw a fly and wanted to catch it.", f"{then(w)} a fly sat down on {w.pet}."),
        w.say(
            f"The {w.animal} ran in a circle {n} times.", f"{w.pet} ran in a circle {n} times, but the fly was faster."
        ),
        w.say(
            f'"Poor {w.pet}," said {w.hero}. "That was a clever fly."',
            f"{w.hero} laughed so much that {w.he} had to sit down.",
        ),
    ]


def sneeze(w: World, c: Company) -> list[str]:
    flower = w.say("rose", "daisy", "tulip", "lily")
    w.know("what", f"What made {w.pet} sneeze?", f"A {flower} made {w.pet} sneeze.", flower)
    return [
        w.say(f"{then(w)} {w.pet} smelled at a {flower}.", f"{then(w)} {w.pet} put its nose right into a {flower}."),
        w.say(f"The {w.animal} sneezed so loudly that it sat down.", "It sneezed, and all the petals flew away."),
        w.say(f'"Bless you," said {w.hero}.', f'"Bless you, {w.pet}!" cried {w.hero}.'),
    ]


def nap(w: World, c: Company) -> list[str]:
    return [
        w.say(
            f"{then(w)} {w.pet} was tired and lay down in the shade.",
            f"{then(w)} {w.pet} yawned and lay down for a nap.",
        ),
        w.say(
            f"{w.hero} sat beside the {w.animal} and kept the flies away.",
            f"{w.hero} hummed a song until {w.pet} snored.",
        ),
        w.say(f"When {w.pet} woke up, they went on.", "After the nap they both felt like new."),
    ]


def mirror(w: World, c: Company) -> list[str]:
    w.know("where", f"Where did {w.pet} see another {w.animal}?", f"{w.pet} saw it in a puddle.", "puddle")
    return [
        w.say(
            f"{then(w)} {w.pet} looked into a puddle and saw another {w.animal}.",
            f"In a puddle {w.pet} saw another {w.animal}.",
        ),
        w.say(
            "It looked exactly the same, even around the ears.", "It made a face, and the other one made a face too."
        ),
        w.say(f'"That is you," laughed {w.hero}.', f"{w.hero} threw in a little stone, and the other one was gone."),
    ]


# At home, the same day.


def picture(w: World, c: Company) -> list[str]:
    what = w.say("whale", "lion", "castle", "rocket", "queen", "dragon")
    colour = w.paint(what)
    w.know("what", f"What did {w.hero} draw?", f"{w.He} drew {a(f'{colour} {what}')}.", what)
    remember(w, f"the picture of the {colour} {what}")
    return [
        w.say(
            f"{w.hero} took paper and crayons and drew {a(f'{colour} {what}')}.",
            f"At the table {w.hero} drew {a(f'{colour} {what}')}.",
        ),
        w.say(
            "It was so big that it needed two sheets.",
            "It had a very friendly face." if what in ("whale", "lion", "queen", "dragon") else "It took a long time.",
        ),
        w.say(f"Then {w.he} hung it on the wall.", f"{w.He} wrote {w.his} name under it in large letters."),
    ]


def tower(w: World, c: Company) -> list[str]:
    n = w.say("eight", "nine", "ten", "twelve", "twenty")
    w.know("how many", "How many blocks were in the tower?", f"There were {n} blocks in the tower.", n)
    return [
        w.say(f"{c.names} built a tower of {n} blocks.", f"On the carpet {c.they} made a tower. It had {n} blocks."),
        w.say("It leaned a bit to the left.", "It was taller than the chair."),
        w.say(
            "Then somebody slammed a door, and down it came.", f'"One more," said {w.hero}. And crash, it fell down.'
        ),
    ]


def socks(w: World, c: Company) -> list[str]:
    left = w.paint("sock")
    right = w.paint("sock")
    w.know("colour", f"What colour was {w.hero}'s left sock?", f"It was {left}.", left)
    return [
        w.say(f"{w.hero} had cold feet and looked for {w.his} socks.", f"{w.hero} wanted {w.his} warm socks."),
        w.say(
            f"One was {left}, and the other was {right}.", f"In the drawer there was {a(left)} one and {a(right)} one."
        ),
        w.say(f'"The {left} one is for the left foot," {w.he} said. "That is easy to remember."'),
    ]


def ship(w: World, c: Company) -> list[str]:
    seat = w.say("sofa", "big chair", "bed", "table")
    land = w.say("an island full of parrots", "the land of snow", "the north pole", "a country without school")
    w.know("what", f"What was {w.hero}'s ship?", f"The {seat} was {w.his} ship.", seat)
    w.know("where", "Where did the ship go?", f"It went to {land}.", land)
    remember(w, f"the ship that went to {land}")
    return [
        w.say(f'"The {seat} is my ship," said {w.hero}.', f"{w.hero} climbed on the {seat}. It was a ship now."),
        w.say(f"The ship went to {land}.", f"Over the wide carpet it went to {land}."),
        w.say("There were high waves, but nobody fell into the water.", "The captain had to hold on tight."),
    ]


def window(w: World, c: Company) -> list[str]:
    what = w.say("a long grey cloud", "the neighbour's washing", "two pigeons on the roof", "a man on a ladder")
    w.know("what", f"What did {w.hero} see from the window?", f"{w.He} saw {what}.", what)
    return [
        w.say(f"{w.hero} stood at the window for a while and saw {what}.", f"From the window {w.hero} saw {what}."),
        w.say("The street was quiet.", "The glass was cool."),
        w.say(
            f"{w.He} breathed on the glass and drew a smiling face.", f"{w.He} pressed {w.his} nose against the glass."
        ),
    ]


def puzzle(w: World, c: Company) -> list[str]:
    where = w.say("under the carpet", "in a shoe", "behind the cupboard", "in the sugar pot")
    w.know("where", "Where was the last piece of the puzzle?", f"It was {where}.", where)
    return [
        w.say(
            f"{c.names} made a puzzle, but the last piece was missing.",
            "There was a puzzle on the floor. Only one piece was missing.",
        ),
        w.say(f"At last it turned up {where}.", f"{w.hero} found it {where}."),
        w.say("Who had put it there? Nobody knew.", "Now the picture was whole."),
    ]


def tale(w: World, c: Company) -> list[str]:
    hero = w.say(
        "a king without a crown",
        "a giant who was afraid of mice",
        "a fish that could sing",
        "a princess who ate only nuts",
    )
    w.know("what", "What was the tale about?", f"It was about {hero}.", hero)
    remember(w, f"the tale of {hero}")
    return [
        w.say(f"{w.hero} opened a book and read a tale about {hero}.", f"{w.hero} read a tale. It was about {hero}.")
        if w.noun != "book"
        else f"{w.hero} knew a tale by heart. It was about {hero}.",
        w.say(
            "It was short and funny, and it ended well.",
            "At the most exciting place the page was torn." if w.noun != "book" else "It had a very happy ending.",
        ),
    ]


def plane(w: World, c: Company) -> list[str]:
    place = w.say("on the lamp", "in the soup", "on top of the cupboard", "in the flower pot")
    w.know("where", "Where did the paper plane land?", f"It landed {place}.", place)
    return [
        w.say(f"{w.hero} folded a plane out of paper.", f"Out of an old letter {w.hero} made a paper plane."),
        w.say(f"It flew through the whole room and landed {place}.", f"It made a loop and landed {place}."),
        w.say('"Not bad for the first time," ' + f"{w.he} said.", f'"Next time it will fly straight," said {w.hero}.'),
    ]


def plates(w: World, c: Company) -> list[str]:
    n = w.say("five", "six", "seven", "nine", "ten")
    w.know("how many", f"How many plates did {w.hero} dry?", f"{w.He} dried {n} plates.", n)
    return [
        w.say(
            f"{w.hero} dried {n} plates in the kitchen.",
            f"There were {n} wet plates in the kitchen, and {w.hero} dried them all.",
        ),
        w.say(f"One of them slipped, but {w.he} caught it in the air.", "Not one of them fell down."),
        w.say(
            f'"I could work in a circus," {w.he} said.',
            "Then they stood on the shelf in a row and shone."
            if w.built_noun != "shelf"
            else "They shone like little moons.",
        ),
    ]


def smell(w: World, c: Company) -> list[str]:
    what = w.say("cinnamon", "fresh paint", "burnt toast", "roses", "soap")
    w.know("what", "What did it smell of in the house?", f"It smelled of {what}.", what)
    return [
        w.say(f"The whole house smelled of {what}.", f"{w.hero} sniffed. It smelled of {what}."),
        w.say("Somebody had been busy.", "The smell came up the stairs and through every door."),
        w.say(
            f"{w.hero} followed {w.his} nose, but there was nothing to see.",
            f'"My nose is never wrong," said {w.hero}.',
        ),
    ]


def cushions(w: World, c: Company) -> list[str]:
    n = w.say("four", "five", "six", "eight")
    w.know("how many", "How many cushions did the cave have?", f"The cave was made of {n} cushions.", n)
    return [
        w.say(
            f"{c.names} made a cave out of {n} cushions.", f"With {n} cushions {c.they} built a cave under the table."
        ),
        w.say("In the cave it was dark and cosy.", "There was just enough room for a child and a secret."),
        w.say("A dragon would have liked it.", f'"Who knocks?" called {w.hero}, but it was only the clock.'),
    ]


# The days that follow.


def wet_day(w: World, c: Company) -> list[str]:
    colour = w.paint("boots")
    w.know("colour", f"What colour were {w.hero}'s boots?", f"They were {colour}.", colour)
    return [
        w.say(
            f"{next_day(w)} it rained, and {w.hero} put on {w.his} {colour} boots.",
            f"{next_day(w)} there was rain, so {w.hero} wore {w.his} {colour} boots.",
        ),
        w.say(
            f"{w.He} jumped into every puddle.", f"There were puddles everywhere, and {w.he} jumped over all of them."
        ),
        w.say("At home there was hot tea with honey.", f"{w.His} feet stayed dry, but the rest of {w.him} did not."),
    ]


def chores(w: World, c: Company) -> list[str]:
    work = w.say("carry wood", "wash the windows", "feed the hens", "sweep the yard", "peel potatoes")
    w.know("what", f"What work did {w.hero} help with?", f"{w.He} helped to {work}.", work)
    return [
        w.say(
            f"{next_day(w)} {w.hero} helped to {work}.",
            f"{next_day(w)} there was work to do, and {w.hero} helped to {work}.",
        ),
        w.say(f"It took all morning, and {w.his} arms were tired.", f"{w.He} sang while {w.he} worked."),
        w.say("But supper tasted twice as good.", f"Everybody said that {w.he} was a great help."),
    ]


def letter(w: World, c: Company) -> list[str]:
    colour, who = w.paint("stamp"), w.say("cousin", "old teacher", "godmother")
    w.know("who", "Who sent the letter?", f"{w.hero}'s {who} sent it.", who)
    w.know("colour", "What colour was the stamp?", f"The stamp was {colour}.", colour)
    remember(w, f"the letter with the {colour} stamp")
    return [
        w.say(
            f"{next_day(w)} a letter came with {a(colour)} stamp.",
            f"{next_day(w)} there was a letter with {a(colour)} stamp at the door.",
        ),
        w.say(f"It was from {w.hero}'s {who}.", f"{w.hero}'s {who} had sent it."),
        w.say('"Learn something new every week," it said.', '"Come and visit me soon," it said.'),
    ]


def tooth(w: World, c: Company) -> list[str]:
    w.know("what", "What fell out?", f"{w.hero}'s tooth fell out.", "tooth")
    food = w.say("an apple", "a piece of toast", "a pear")
    w.know("what", f"What was {w.hero} eating when the tooth fell out?", f"{w.He} was eating {food}.", food)
    remember(w, f"{w.his} first lost tooth")
    return [
        w.say(
            f"{next_day(w)} {w.hero} was eating {food} when a tooth fell out.",
            f"{next_day(w)} {w.hero} bit into {food}, and out fell a tooth.",
        ),
        w.say(
            "There was a hole where one could whistle through.",
            f"{w.He} looked in the mirror and showed the hole to everyone.",
        ),
    ]


def late(w: World, c: Company) -> list[str]:
    return [
        w.say(
            f"{next_day(w)} {w.hero} slept so long that {w.he} nearly missed lunch.",
            f"{next_day(w)} {w.hero} did not want to get up.",
        ),
        w.say(
            "The sun had to tickle the tip of a nose for a long time.", "The blanket was warm, and the floor was cold."
        ),
        w.say('"Better late than never," ' + f"{w.he} said.", f"But then {w.he} put one foot out, and then the other."),
    ]


def school(w: World, c: Company) -> list[str]:
    word = w.say("elephant", "Wednesday", "hippopotamus", "chocolate", "neighbour")
    w.know(
        "what", f"What word did {w.hero} learn to spell?", f"{w.He} learned to spell '{word}'.".replace("'", ""), word
    )
    remember(w, f"the long word {word}")
    return [
        w.say(
            f"{next_day(w)} {w.hero} learned at school how to spell {word}.",
            f"{next_day(w)} the teacher asked who could spell {word}.",
        ),
        w.say(f"{w.hero} wrote it on the board without a mistake.", f"It was hard, but {w.hero} got it right."),
        w.say("The teacher drew a star beside it.", '"Very good," said the teacher.'),
    ]


def shoes(w: World, c: Company) -> list[str]:
    colour = w.paint("shoes")
    w.know("colour", f"What colour were {w.hero}'s new shoes?", f"They were {colour}.", colour)
    remember(w, f"the new {colour} shoes")
    return [
        w.say(
            f"{next_day(w)} {w.hero} got new shoes, because the old ones were too small.",
            f"{next_day(w)} {w.hero}'s old shoes were too small, so {w.he} got new ones.",
        ),
        w.say(f"The new shoes were {colour} and squeaked a little.", f"They were {colour}, and they shone."),
        w.say(
            f"{w.He} walked up and down the street so that everybody could see them.",
            f"{w.He} wanted to wear them in bed.",
        ),
    ]


def strawberry(w: World, c: Company) -> list[str]:
    what = w.say("strawberry", "tomato", "radish", "bean")
    w.know("what", f"What did {w.hero} find behind the house?", f"{w.He} found a ripe {what}.", what)
    return [
        w.say(
            f"{next_day(w)} {w.hero} found a ripe {what} behind the house.",
            f"{next_day(w)} a ripe {what} was waiting behind the house, and {w.hero} found it.",
        ),
        w.say("It was the first one of the year.", "It was as big as a thumb."),
        w.say(
            f"{w.He} cut it into pieces, one for everybody.",
            f"{w.He} ate it at once, and it was still warm from the sun.",
        ),
    ]


def moon(w: World, c: Company) -> list[str]:
    return [
        w.say(
            "One night the moon was so bright that it woke everyone.",
            f"One night {w.hero} could not sleep, because the moon was so bright.",
        ),
        w.say(
            f"{w.hero} looked out. The whole street was silver.",
            f"{w.He} stood at the window and said good night to the moon.",
        ),
        w.say(
            "Somewhere a clock struck twelve.",
            "A cat walked along the roof like a queen." if "cat" not in (w.animal, w.animal2) else "It was very still.",
        ),
    ]


def baby(w: World, c: Company) -> list[str]:
    word = w.say("ball", "moon", "more", "up", "no")
    w.know("what", "What was the baby's first word?", f"The baby's first word was {word}.", word)
    remember(w, f"the baby that said {word}")
    return [
        w.say(
            f"{next_day(w)} {w.hero} visited the baby next door.", f"{next_day(w)} the neighbours came with their baby."
        ),
        w.say(
            f'It looked at {w.hero} and said its first word: "{capital(word)}!"',
            f'"{capital(word)}!" it said to {w.hero}. It was its first word.',
        ),
        w.say("Everybody clapped, and the baby clapped too.", f'"Did you hear that?" cried {w.hero}.'),
    ]


def rug(w: World, c: Company) -> list[str]:
    what = w.say("rug", "curtain", "teapot", "vase")
    colour = w.paint(what)
    w.know("colour", f"What colour was the new {what}?", f"The new {what} was {colour}.", colour)
    remember(w, f"the new {colour} {what}")
    return [
        w.say(
            f"{next_day(w)} there was a new {what} in the living room. It was {colour}.",
            f"{next_day(w)} the family bought {a(f'{colour} {what}')}.",
        ),
        w.say("At first nobody liked it.", "Everyone had something to say about it."),
        w.say(
            "But after supper it looked as if it had always been there.",
            f'"It is as {colour} as can be," said {w.hero}, and that was true.',
        ),
    ]


def trick(w: World, c: Company) -> list[str]:
    what = w.say("a coin", "an egg", "a walnut")
    w.know(
        "what",
        f"What did the magician take out of {w.hero}'s ear?",
        f"The magician took {what} out of {w.his} ear.",
        what,
    )
    remember(w, "the magician and the trick")
    return [
        w.say(f"{next_day(w)} a magician came to town.", f"{next_day(w)} there was a magician at school."),
        w.say(
            f"The magician took {what} out of {w.hero}'s ear.",
            f"With two fingers the magician took {what} out of {w.hero}'s ear.",
        ),
        w.say(
            f"For the rest of the day {w.hero} kept a hand on that ear.",
            f'"I did not know that it was there," said {w.hero}.',
        ),
    ]


SCENES = {
    "out": [
        birds,
        butterfly,
        glasses,
        cherries,
        cloud,
        ants,
        treasure,
        post,
        snail,
        hopping,
        bicycle,
        painter,
        lizard,
        bun,
        music,
        balloon,
        scarecrow,
        web,
        bus,
        knee,
        squirrel_nut,
        shadow,
        chalk,
        sheep,
        ice_cream,
        stranger,
        sweep,
    ],
    "in": [picture, tower, socks, ship, window, puzzle, tale, plane, plates, smell, cushions],
    "days": [wet_day, chores, letter, tooth, late, school, shoes, strawberry, moon, baby, rug, trick],
}
WITH = {
    ("friend", "out"): [riddle, dream, shoelace, silence, later, taller],
    ("friend", "in"): [riddle, dream, later, taller],
    ("animal", "out"): [tail, sneeze, nap, mirror],
}
