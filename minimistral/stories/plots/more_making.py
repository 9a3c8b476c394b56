"""Plots in which something is made or grows, slowly."""

from minimistral.stories.plots.common import ending, opening
from minimistral.stories.scenes import middle
from minimistral.stories.world import World, a, capital

BEDS = ["under the kitchen window", "beside the gate", "behind the house", "in front of the door", "next to the fence"]
THIRSTY = [
    ("the sun was too hot", "too hot"),
    ("a hot wind was blowing", "hot wind"),
    ("it was hotter than ever", "hotter"),
]
LOGS = ["old barn", "forest", "mill", "beach"]


def the_seed(w: World):
    flower, bed = w.paint("flower"), w.rng.choice(BEDS)
    can, (reason, reason_key) = w.paint("can"), w.rng.choice(THIRSTY)
    yield from opening(w)
    w.know("who", f"Who gave {w.hero} the seed?", f"{w.His} {w.family} gave it to {w.him}.", w.family)
    yield w.say(
        f"{capital(w.time)} {w.his} {w.family} gave {w.him} a seed. It was small and grey.",
        f'{w.His} {w.family} opened {w.family_his} hand. In it lay one tiny seed. "It is for you," {w.family_he} said.',
    )
    w.know("colour", "What colour would the flower be?", f"It would be {flower}.", flower)
    yield w.say(
        f'"If you take good care of it, it will be {a(flower)} flower," said {w.his} {w.family}.',
        f'"What will it be?" asked {w.hero}. "{capital(a(flower))} flower," said {w.his} {w.family}. "But you must wait."',
    )
    w.know("where", f"Where did {w.hero} plant the seed?", f"{w.He} planted it {bed}.", bed)
    yield w.say(f"{w.hero} planted the seed {bed}.", f"The next morning {w.he} planted it {bed}.")
    w.know("colour", f"What colour was {w.hero}'s watering can?", f"It was {can}.", can)
    yield w.say(
        f"Every day {w.he} took the {can} watering can and gave it water.",
        f"{w.He} had {a(can)} watering can, and every day {w.he} gave the seed some water.",
    )
    yield w.say(
        f'But nothing happened. "Perhaps it is asleep," said {w.hero}.',
        "One day went by, and then another. There was only earth.",
        f"Each morning {w.hero} ran out to look, but there was nothing to see.",
    )
    yield from middle(w, where="days")
    w.know("how many", "How many leaves did the little plant have?", f"It had {w.number} leaves.", w.number)
    yield w.say(
        f"Then one morning something was there: a little plant with {w.number} leaves!",
        f'Then one morning {w.hero} cried, "Come and look!" There was a little plant, and it had {w.number} leaves.',
    )
    yield from _it_grew(w, flower, bed, can, reason, reason_key)


def _it_grew(w: World, flower: str, bed: str, can: str, reason: str, reason_key: str):
    month = w.say("August", "September", "autumn")
    w.know("why", "Why did the plant hang its head?", f"The plant hung its head because {reason}.", reason_key)
    yield w.say(
        f"But one day the plant hung its head, because {reason}.",
        f"Then came a bad week. The plant hung its head, because {reason}.",
    )
    w.know("what", f"What did {w.friend} say?", f'{w.friend} said, "Throw it away."', "it away")
    yield w.say(
        f'"Throw it away," said {w.friend}, who lived next door.',
        f'{w.friend} from next door came to look. "Throw it away," {w.friend_he} said.',
    )
    yield w.say(
        f'"No," said {w.hero}. "I will not give up."',
        f'But {w.hero} shook {w.his} head. "It only needs help," {w.he} said.',
        f'"You must be patient with it," said {w.hero}.',
    )
    w.know("what", f"What did {w.hero} put over the plant?", f"{w.He} put an old umbrella over it.", "umbrella")
    yield w.say(
        f"{w.He} put an old umbrella over it and came with the watering can three times a day.",
        f"{w.He} filled the {can} watering can again and again, and put an old umbrella over the plant.",
    )
    w.know("next", f"What happened after {w.hero} helped the plant?", "The plant stood up straight.", "straight")
    yield w.say("Slowly the plant stood up straight again.", "After three days the plant stood up straight.")
    yield w.say(
        f"And when {month} came, there it was {bed}: {a(flower)} flower, as big as a plate.",
        f"One bright morning in {month} it opened. {capital(bed)} stood {a(flower)} flower!",
    )
    yield w.say(
        f'"You were right. It is {flower}!" {w.hero} said to {w.his} {w.family}.',
        f'"It is {flower}, just as you said!" {w.hero} told {w.his} {w.family}.',
    )
    yield w.say(
        f'"I was wrong," said {w.friend}. "It is the most beautiful flower in the street."',
        f"Even {w.friend} came to smell it and said nothing for a long time.",
    )
    yield from ending(w, "Good things need time.", f"{w.hero} learned to wait and not to give up.")


def the_raft(w: World):
    sail, wood = w.paint("sail"), w.rng.choice(LOGS)
    yield from opening(w)
    w.know("who", f"Who built the raft with {w.hero}?", f"{w.friend} built it with {w.him}.", w.friend)
    yield w.say(
        f"{capital(w.time)} {w.hero} and {w.his} friend {w.friend} wanted to build a raft.",
        f'"Let us build a raft," said {w.hero} to {w.his} friend {w.friend} {w.time}.',
    )
    w.know("where", "Where did they get the wood?", f"They got the wood from the {wood}.", wood)
    yield w.say(
        f"They got the wood from the {wood}.",
        f"The {wood} was full of good wood, so they took some.",
    )
    w.know("how many", "How many days did they work?", f"They worked for {w.number} days.", w.number)
    yield w.say(f"They worked for {w.number} days.", f"It was hard work and took them {w.number} days.")
    w.know("colour", "What colour was the sail?", f"It was {sail}.", sail)
    yield w.say(
        f"From an old sheet they made {a(sail)} sail.",
        f"{w.friend} found a big cloth, and so the raft got {a(sail)} sail.",
    )
    w.know("gift", f"What did {w.hero}'s {w.family} give them?", f"{w.family_He} gave them a rope.", "rope")
    yield w.say(
        f'{w.His} {w.family} gave them a rope. "Take it with you," {w.family_he} said. "You never know."',
        f'"And here is a rope for you," said {w.his} {w.family}. "One day you may need it."',
    )
    yield from middle(w, "friend", where="days")
    w.know("next", "What happened when the raft was ready?", "They put it on the river.", "river")
    yield w.say(
        "When the raft was ready, they put it on the river.",
        "At last the raft was ready, and they put it on the river.",
    )
    yield from _afloat(w, sail)


def _afloat(w: World, sail: str):
    yield w.say(
        f"It floated! The wind blew into the {sail} sail, and the trees went by.",
        f'"It floats!" cried {w.friend}. The {sail} sail grew round in the wind.',
    )
    w.know("why", f"Why was {w.friend} afraid?", f"{w.friend} was afraid because the raft went too fast.", "too fast")
    yield w.say(
        f'But then the raft went too fast. "I am afraid!" said {w.friend}.',
        f"Soon it went too fast. {w.friend} was afraid and held on with both hands.",
    )
    w.know_animal()
    yield w.say(
        f"On the bank stood {a(w.animal)} named {w.pet}.",
        f"Just then they saw {a(w.animal)} on the bank. Everyone knew it. Its name was {w.pet}.",
    )
    yield w.say(
        f'{w.hero} remembered the rope. "Catch, {w.pet}!" {w.he} called and threw it.',
        f'"The rope!" cried {w.hero}. {w.He} threw one end to {w.pet}.',
    )
    w.know("what", f"What did {w.pet} do with the rope?", f"{w.pet} ran round a tree with it.", "round a tree")
    yield w.say(
        f"{w.pet} caught it, ran round a tree with it, and the raft stopped.",
        f"The clever {w.animal} ran round a tree with it, once and twice, and the raft stood still.",
    )
    yield w.say(
        "Step by step they pulled themselves to the bank.",
        "Hand over hand they came to the bank. How good it was to stand on the ground!",
        "They pulled and pulled until they felt the ground.",
    )
    yield w.say(
        f'"You were right about the rope," {w.hero} said to {w.his} {w.family} that evening.',
        f'"How was it?" asked {w.his} {w.family}. "We needed the rope," said {w.hero}.',
    )
    w.know("what", f"What did {w.pet} get?", f"{w.pet} got {w.food}.", w.food)
    yield w.say(
        f"And {w.pet} got as much {w.food} as it could eat."
        if w.food in ("bread", "soup", "cake", "cheese", "honey")
        else f"And {w.pet} got as many {w.food} as it could eat.",
        f"They gave {w.pet} a big plate of {w.food}.",
    )
    yield from ending(
        w, "Listen to good advice, even if it seems small.", f"{w.hero} learned to be ready before trouble comes."
    )


PLOTS = [the_seed, the_raft]
