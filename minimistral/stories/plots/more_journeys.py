"""Plots in which a child is on the way: what was said at home is needed at the end of the road."""

from minimistral.stories.plots.common import ending, opening
from minimistral.stories.scenes import middle
from minimistral.stories.world import World, a, capital

LETTER_REASONS = [
    ("{his} foot hurt", "my foot hurts", "foot"),
    ("the letter could not wait", "the letter cannot wait", "wait"),
    ("the car was broken", "the car is broken", "car"),
]
HURT = [("its leg hurt", "leg"), ("it had a thorn in its foot", "thorn"), ("it was too tired to walk", "tired")]


def the_letter(w: World):
    door, door2 = w.paint("door"), w.paint("door")
    reason, now, reason_key = w.rng.choice(LETTER_REASONS)
    reason = reason.format(his=f"{w.his} {w.family}'s")
    yield from opening(w)
    w.know("who", "Who was the letter for?", f"The letter was for {w.third}.", w.third)
    yield w.say(
        f"{capital(w.time)} {w.his} {w.family} wrote a letter to {w.third}.",
        f"{capital(w.time)} {w.his} {w.family} gave {w.him} a letter for {w.third}.",
    )
    w.know("why", f"Why did {w.hero} carry the letter?", f"{w.He} carried it because {reason}.", reason_key)
    yield w.say(
        f'"Please carry it for me, {w.hero}, because {now}," {w.family_he} said.',
        f'"{capital(now)}," {w.family_he} said. "Will you carry it for me?"',
    )
    w.know("colour", f"What colour was {w.third}'s door?", f"It was {door}.", door)
    yield w.say(
        f'"{w.third} lives in the last street, in the house with the {door} door."',
        f'"Go to the end of the village. {w.third}\'s house has {a(door)} door."',
    )
    w.know("what", f"What did {w.hero} put on?", f"{w.He} put on {w.his} warm coat.", "coat")
    yield w.say(
        f"{w.hero} put on {w.his} warm coat and went off.",
        f"So {w.he} put on {w.his} warm coat and went out.",
        f'"I will be quick," said {w.hero} and put on {w.his} warm coat.',
    )
    yield from middle(w)
    w.know("next", "What happened to the letter?", "The wind took the letter.", "wind")
    yield w.say(
        f"Then the wind came and took the letter out of {w.his} hand.",
        "Suddenly the wind took the letter and carried it high into the air.",
    )
    w.know_animal()
    w.know("where", f"Where did {w.pet} find the letter?", f"{w.pet} found it {w.spot}.", w.spot)
    yield w.say(
        f'"Stop!" cried {w.hero}. But {a(w.animal)} named {w.pet} ran after it and found it {w.spot}.',
        f"{w.hero} looked and looked. At last {a(w.animal)} named {w.pet} found it {w.spot}.",
    )
    yield w.say(
        f'"Thank you, {w.pet}!" said {w.hero}. "Come with me."', f'"You are fast, {w.pet}," said {w.hero}. "Thank you!"'
    )
    yield from _at_the_door(w, door, door2)


def _at_the_door(w: World, door: str, door2: str):
    yield w.say(
        f"In the last street there were two houses. One had {a(door2)} door, and one had {a(door)} door.",
        f"At the end of the village stood two houses, one with {a(door2)} door and one with {a(door)} door.",
    )
    yield w.say(
        f'"Which one is it?" asked {w.pet}. {w.hero} thought hard. "I know! It is the {door} door."',
        f'{w.pet} went to the {door2} door. "No," said {w.hero}. "It is the {door} one."',
    )
    yield w.say(
        f"{w.He} knocked, and {w.third} came out.",
        f"{w.third} opened the door and smiled.",
        f"{w.hero} rang the bell. There were steps, and then {w.third} stood before {w.him}.",
    )
    w.know("what", "What did the letter say?", f"It said that {w.third} should come for {w.food}.", w.food)
    yield w.say(
        f'{w.third} read the letter. "It says that I should come to your house for {w.food}!"',
        f'"It says: come and eat {w.food} with us," {w.third} read. "How nice!"',
    )
    w.know("next", f"What did they do when {w.third} had read the letter?", "They all went back together.", "together")
    yield w.say(
        f"So they all went back together, and {w.pet} came along.",
        f"They went back together, {w.third} on the left and {w.pet} on the right.",
    )
    yield from ending(
        w, "Listen well before you go, and you will find the way.", f"{w.hero} was proud that {w.he} had not given up."
    )


def a_promise(w: World):
    hurt, hurt_key = w.rng.choice(HURT)
    yield from opening(w)
    w.know_animal()
    w.know("where", f"Where did {w.hero} find {w.pet}?", f"{w.He} found {w.pet} {w.spot}.", w.spot)
    yield w.say(
        f"{capital(w.time)}, {w.place}, {w.he} found a little {w.animal} {w.spot}. Its name was {w.pet}.",
        f"{capital(w.time)} {w.he} was {w.place} and saw a little {w.animal} {w.spot}. It was called {w.pet}.",
    )
    w.know("why", f"Why could {w.pet} not go home?", f"{w.pet} could not go home because {hurt}.", hurt_key)
    yield w.say(f"{w.pet} could not go home, because {hurt}.", f"{capital(hurt)}, so {w.pet} could not go home.")
    w.know(
        "what", f"What did {w.hero} promise to bring?", f"{w.He} promised to bring {w.food} and {a(w.thing)}.", w.food
    )
    w.know("colour", f"What colour was the {w.noun} for {w.pet}?", f"It was {w.colour}.", w.colour)
    yield w.say(
        f'"I will bring you {w.food} and my {w.thing}," said {w.hero}. "That is a promise."',
        f'"Wait for me, {w.pet}. I promise to bring you some {w.food} and my {w.thing}," said {w.hero}.',
    )
    w.know("when", f"When did {w.hero} want to be back?", f"{w.He} wanted to be back before dark.", "before dark")
    yield w.say(
        f'"Will you come before dark?" asked the {w.animal}. "Yes," said {w.hero} and ran home.',
        f'"I will be back before dark," {w.he} said and ran home as fast as {w.he} could.',
    )
    yield from middle(w, where="in")
    w.know("who", f"Who asked {w.hero} to play?", f"{w.friend} asked {w.hero} to play.", w.friend)
    w.know("what", f"What did {w.friend} have?", f"{w.friend} had {a(w.thing2)}.", w.noun2)
    yield w.say(
        f'At the gate stood {w.friend} with {a(w.thing2)}. "Come and play!" {w.friend_he} said.',
        f'Then {w.friend} came with {a(w.thing2)}. "Play with me, {w.hero}!" said {w.friend}.',
    )
    yield from _kept(w)


def _kept(w: World):
    yield w.say(
        f"{w.hero} wanted to play so much. The {w.noun2} was new, and the sun was already low.",
        f"The {w.noun2} looked like so much fun. {w.hero} stood still and thought.",
        f"{w.hero} looked at the {w.noun2} and then at the sky. It was late.",
    )
    w.know(
        "why",
        f"Why did {w.hero} not play with {w.friend}?",
        f"{w.He} did not play because {w.pet} was waiting.",
        f"{w.pet} is waiting",
    )
    yield w.say(
        f'"I cannot," {w.he} said. "{w.pet} is waiting, and I gave my word."',
        f'"Not now," {w.he} said. "{w.pet} is waiting for me."',
    )
    w.know("next", f"What did {w.friend} do then?", f"{w.friend} came along.", "came along")
    yield w.say(
        f'"Then I will help you," said {w.friend} and came along.',
        f"{w.friend} put down the {w.noun2} and came along.",
    )
    yield w.say(
        f"It was almost dark when they came to the place. There, {w.spot}, sat {w.pet}.",
        f"The last light was going when they found {w.pet}, still {w.spot}.",
        f"They ran all the way. And there, {w.spot}, two eyes were waiting for them.",
    )
    yield w.say(
        f'"I knew that you would come," said the {w.animal}. "You promised."',
        f'"You came!" cried {w.pet}. "I was not afraid, because you gave your word."',
    )
    yield w.say(
        f"{w.pet} ate all the {w.food} and played with the {w.thing}.",
        f"They gave {w.pet} the {w.food}, and the {w.animal} put its nose on the {w.thing}.",
    )
    w.know("next", f"Where did they take {w.pet} in the end?", f"They took {w.pet} to its mother.", "mother")
    yield w.say(
        f"Then they took {w.pet} to its mother.", f"After that they slowly took the {w.animal} home to its mother."
    )
    yield from ending(w, "A promise is a promise.", f"{w.hero} learned that it feels good to keep a promise.")


def the_trade(w: World):
    food = w.food if w.food != "soup" else w.food2  # nobody trades soup
    yield from opening(w)
    w.know_thing()
    yield w.say(
        f"{w.He} had {a(w.thing)}.",
        f"On a hook in {w.his} room hung {a(w.thing)}."
        if w.noun in ("hat", "scarf", "coat", "bell")
        else f"In {w.his} room there was {a(w.thing)}.",
    )
    w.know(
        "what",
        f"What did {w.hero} want to give {w.his} {w.family}?",
        f"{w.He} wanted to give {w.family_him} {a(w.gift)}.",
        w.gift,
    )
    w.know("why", f"Why did {w.hero} need a gift?", f"Because {w.his} {w.family} had a birthday.", "birthday")
    yield w.say(
        f"Soon {w.his} {w.family} would have a birthday, and {w.hero} wanted to give {w.family_him} {a(w.gift)}.",
        f'"For the birthday of my {w.family} I want to find {a(w.gift)}," thought {w.hero}.',
    )
    w.know("who", f"Who had {a(w.gift)}?", f"{w.friend} had {a(w.gift)}.", w.friend)
    yield w.say(f"{w.friend} had a beautiful one.", f"{w.He} knew that {w.friend} had a very nice one.")
    w.know("what", f"What did {w.friend} want for the {w.gift}?", f"{w.friend} wanted {food}.", food)
    yield w.say(
        f'"You can have the {w.gift}," said {w.friend}, "if you bring me some {food}. I am so hungry."',
        f'"Bring me some {food}, and the {w.gift} is yours," said {w.friend}.',
    )
    yield w.say(f"But {w.hero} had no {food}.", f"{w.hero} did not have any {food}.")
    yield from middle(w)
    w.know("who", f"Who had {food}?", f"{w.third} had {food}.", w.third)
    yield w.say(
        f"Then {w.he} met {w.third}, who had plenty of {food}.",
        f"Down the road came {w.third} with plenty of {food}.",
    )
    yield from _round(w, food)


def _round(w: World, food: str):
    w.know("next", f"What did {w.third} get for the {food}?", f"{w.third} got the {w.thing}.", f"{w.thing}")
    yield w.say(
        f'"I will give you my {w.thing} for the {food}," said {w.hero}.',
        f'"Do you want my {w.thing} for your {food}?" asked {w.hero}.',
    )
    yield w.say(
        f'"Yes!" said {w.third}, and they traded.',
        f'"Gladly," said {w.third}, and so they traded.',
        f"{w.third} was happy to trade.",
    )
    yield w.say(
        f"{w.hero} took the {food} to {w.friend} and got the {w.gift}.",
        f"Then {w.friend} got the {food}, and {w.hero} got the {w.gift}.",
    )
    yield w.say(
        f"Now the {w.noun} was gone. {w.hero} was a little sad, but {w.he} thought of the birthday.",
        f"{w.He} missed the {w.noun} a little, but the {w.gift} was just right.",
        f"The place of the {w.noun} was empty now. Still, {w.hero} did not feel sorry.",
    )
    yield w.say(
        f'On the birthday {w.his} {w.family} took the {w.gift}. "It is wonderful! I will keep it for ever."',
        f'When the birthday came, {w.his} {w.family} cried with joy. "Just what I wished for!"',
    )
    w.know("who", "Who knocked at the door?", f"{w.third} knocked at the door.", w.third)
    yield w.say(
        f"Then there was a knock at the door. It was {w.third} with a parcel.",
        f"Somebody knocked. {w.third} stood at the door with a parcel.",
        f"But who was that? {w.third} came up the path with a parcel and knocked.",
    )
    yield w.say(
        f'"You were so kind, {w.hero}," said {w.third}. "Open it!" In it was the {w.thing}!',
        f'"This is for you, {w.hero}," said {w.third}. And what was in it? The {w.thing}!',
    )
    yield from ending(
        w, "What you give away with love comes back.", f"{w.hero} learned that giving makes two people happy."
    )


PLOTS = [the_letter, a_promise, the_trade]
