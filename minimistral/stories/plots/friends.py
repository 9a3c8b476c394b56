"""Plots between a child, a friend and the family at home."""

from collections.abc import Iterator

from minimistral.stories.plots.common import ending, opening
from minimistral.stories.scenes import middle, window
from minimistral.stories.world import World, a, capital


def sharing(w: World) -> Iterator[str]:
    """Alone with a new thing is not much fun."""
    yield from opening(w)
    w.know_friend()
    yield w.say(f"{w.His} best friend was {w.friend}.", f"{w.hero} had a good friend named {w.friend}.")
    w.know_thing()
    w.know("gift", f"What did {w.hero} get for {w.his} birthday?", f"{w.He} got {a(w.thing)}.", w.thing)
    w.know("who", f"Who gave {w.hero} the {w.noun}?", f"{w.His} {w.family} did.", w.family)
    yield w.say(
        f"On {w.his} birthday {w.hero} got {a(w.thing)} from {w.his} {w.family}.",
        f"When {w.hero} had {w.his} birthday, {w.his} {w.family} gave {w.him} {a(w.thing)}.",
    )
    yield w.say(f"The first guest was {w.friend}.", f"{w.friend} came to visit, of course.")
    if w.scenes_left:
        yield w.say("First they went for a walk.", "Before the cake they went out together.")
    yield from middle(w, "friend")
    yield w.say(f"Then {w.hero} {w.played}, again and again.", f"{w.hero} {w.played} and would not stop.")
    yield w.say(
        f'"May I have the {w.noun} for a while?" asked {w.friend}.',
        f'{w.friend} looked at the {w.noun} and asked, "May I try it too?"',
    )
    yield w.say(f'"No," said {w.hero}. "It is mine."', f'But {w.hero} said, "No, the {w.noun} is mine!"')
    w.know("why", f"Why was {w.friend} sad?", f"{w.friend} was sad because {w.hero} did not share.", "went home")
    yield w.say(
        f"{w.friend} was sad and went home.", f"{w.friend} said nothing. Then {w.friend_he} was sad and went home."
    )
    yield from _alone(w)


def _alone(w: World) -> Iterator[str]:
    """The thing without the friend."""
    w.know("where", f"Where did {w.hero} sit all alone?", f"{w.He} sat {w.place}.", w.place)
    yield w.say(
        f"Now {w.hero} sat {w.place} with the {w.thing}, all alone. It was not much fun.",
        f"{w.hero} sat {w.place} and {w.played}, but nobody laughed and nobody clapped.",
    )
    yield w.say(
        f'"Where is {w.friend}?" asked {w.his} {w.family} in the evening. "You two are always together."',
        f'In the evening {w.his} {w.family} asked, "Is the {w.noun} not good? You look so sad."',
    )
    yield w.say(
        f"{w.hero} looked at the floor.", f"{w.hero} felt bad and did not answer.", f"{w.hero}'s face grew hot."
    )
    w.know(
        "next",
        f"What did {w.hero} do in the end?",
        f"{w.He} took the {w.noun} and ran to {w.friend}.",
        f"ran to {w.friend}",
    )
    yield from _sorry(w)


def _sorry(w: World) -> Iterator[str]:
    """The friend and the thing."""
    yield w.say(
        f"Then {w.he} took the {w.noun} and ran to {w.friend}.",
        f"Then {w.he} had an idea. {w.He} picked up the {w.thing} and ran to {w.friend}.",
    )
    yield w.say(
        f'"I am sorry," {w.he} said. "You go first today."',
        f'"I am sorry, {w.friend}," said {w.hero}. "Take the {w.thing}. It is your turn."',
    )
    yield w.say(
        f"{w.friend} smiled, and they played with the {w.noun} until it was dark.",
        f"First {w.friend} {w.played}, then {w.hero}, and then {w.friend} again.",
    )
    yield from ending(
        w,
        "A thing is twice as nice when it is shared.",
        f"{w.hero} learned that it is good to share.",
        f"That day {w.hero} understood that joy grows when you cut it in two.",
    )


def a_gift(w: World) -> Iterator[str]:
    """A gift made by hand, with a friend's help."""
    yield from opening(w)
    ill = w.rng.random() < 0.5
    day = w.say("Sunday", "Monday", "Friday", "Saturday")
    if ill:
        w.know("why", f"Why did {w.hero} make a gift?", f"Because {w.his} {w.family} was ill.", "ill")
        yield w.say(
            f"{w.His} {w.family} was ill and had to stay in bed until {day}.",
            f"{w.His} {w.family} was ill. The doctor said that {w.family_he} must not get up before {day}.",
        )
    else:
        w.know("why", f"Why did {w.hero} make a gift?", f"Because it was {w.his} {w.family}'s birthday.", "birthday")
        yield w.say(
            f"On {day} it was {w.his} {w.family}'s birthday.", f"The birthday of {w.his} {w.family} was on {day}."
        )
    w.know("what", f"What did {w.hero} want to make?", f"{w.He} wanted to make {a(w.built)}.", w.built)
    w.know("colour", f"What colour was the {w.built_noun}?", f"It was {w.built_colour}.", w.built_colour)
    yield w.say(
        f"{w.hero} wanted to make {a(w.built)} as a surprise.",
        f'"I will make {a(w.built)}," thought {w.hero}. "That will bring a smile."',
    )
    yield from _at_work(w, ill, day)


def _at_work(w: World, ill: bool, day: str) -> Iterator[str]:
    """Paint, a hammer and an ear."""
    w.know("who", f"Who had {w.built_colour} paint?", f"{w.friend} had it.", w.friend)
    yield w.say(
        f"There was enough wood, but there was no {w.built_colour} paint. So {w.he} went to see {w.friend}.",
        f"But {w.he} had no {w.built_colour} paint, and so {w.he} asked {w.his} friend {w.friend}.",
    )
    yield w.say(
        f'"I have {w.built_colour} paint," said {w.friend}. "And I have a hammer. Let us begin!"',
        f'{w.friend} opened a cupboard. "Here is {w.built_colour} paint," said {w.friend}. "I will help you."',
    )
    w.know("where", "Where did they work?", f"They worked {w.place}.", w.place)
    yield w.say(
        f"They worked {w.place}, where there was enough room.", f"They worked {w.place} until their arms were tired."
    )
    yield from middle(w, "friend")
    w.know_animal()
    w.know("where", f"Where did {w.pet} get paint?", f"{w.pet} got paint on one ear.", "ear")
    yield w.say(
        f"A little {w.animal} named {w.pet} watched them so closely that it got {w.built_colour} paint on one ear.",
        f"{w.pet} the {w.animal} came too close and got {w.built_colour} paint on one ear.",
    )
    yield w.say(f"At last the {w.built_noun} was done.", f"When the sun went down, the {w.built_noun} was ready.")
    yield from _given(w, ill, day)


def _given(w: World, ill: bool, day: str) -> Iterator[str]:
    """The day has come."""
    yield w.say(
        f'On {day} {w.hero} said, "This is for you. I made it with {w.friend}."',
        f"On {day} {w.hero} carried it into the room and put it in front of {w.his} {w.family}.",
    )
    yield w.say(
        f'"{capital(a(w.built))}!" cried {w.his} {w.family}. "It is beautiful."',
        f'"Oh, {a(w.built)}! Thank you, {w.hero}," said {w.his} {w.family}.',
    )
    w.know("next", f"What did {w.hero}'s {w.family} do then?", f"{w.family_He} gave {w.hero} a kiss.", "kiss")
    yield w.say(
        f"{w.family_He} felt much better already and gave {w.hero} a kiss."
        if ill
        else f"{w.family_He} looked at it from all sides and gave {w.hero} a kiss."
    )
    yield w.say(
        f'"And why does {w.pet} have {a(f"{w.built_colour} ear")}?" {w.family_he} asked. {w.hero} only laughed.',
        f"Then {w.family_he} saw {w.pet} with the {w.built_colour} ear, and everybody laughed.",
    )
    yield from ending(
        w,
        "The best gift is made with love.",
        f"{w.hero} learned that making a gift is a gift too.",
        "What the hands make, the heart remembers.",
    )


def the_weather(w: World) -> Iterator[str]:
    """A picnic on the carpet."""
    yield from opening(w)
    w.know_friend()
    w.know("where", f"Where did {w.hero} want to have a picnic?", f"{w.He} wanted to have it {w.place}.", w.place)
    yield w.say(
        f"{capital(w.time)} {w.hero} and {w.his} friend {w.friend} wanted to have a picnic {w.place}.",
        f"{w.hero} and {w.his} friend {w.friend} had waited all week to have a picnic {w.place}.",
    )
    w.know("who", f"Who brought the {w.food}?", f"{w.friend} brought the {w.food}.", w.friend)
    w.know("what", f"What did {w.hero} bring?", f"{w.He} brought {a(w.thing)}.", w.thing)
    w.know_thing()
    yield w.say(
        f"{w.hero} brought {a(w.thing)}, and {w.friend} brought {w.food}.",
        f"{w.friend} brought {w.food}, and {w.hero} brought {a(w.thing)}.",
    )
    w.know("why", "Why could they not go out?", f"They could not go out because of the {w.weather}.", w.weather)
    came = {
        "rain": "It ran down the windows like a river",
        "snow": "Soon the whole street was white and deep",
        "storm": "It shook the house and bent the trees",
        "fog": "It was so thick that the gate had disappeared",
        "wind": "It was so strong that leaves and branches flew by",
    }[w.weather]
    yield w.say(
        f"But when they wanted to go, the {w.weather} came. {came}.",
        f"But then the {w.weather} came. {came}, and there was nothing to be done.",
    )
    yield from _picnic_inside(w)


def _picnic_inside(w: World) -> Iterator[str]:
    """A floor is as good as a meadow."""
    w.used_scenes.add(window)  # one cannot see far today
    yield w.say(
        f'"Now our day is spoiled," said {w.friend}.', f'"So we have to stay here," said {w.friend} with a long face.'
    )
    yield from middle(w, "friend", where="in")
    room = w.say("kitchen", "attic", "living room", "hall")
    w.know("where", "Where did they have the picnic at last?", f"They had it in the {room}.", room)
    w.know("who", "Whose idea was it?", f"It was {w.hero}'s idea.", w.hero)
    yield w.say(
        f'Then {w.hero} jumped up. "The {room} can be our picnic place!" {w.he} said.',
        f'Suddenly {w.hero} had an idea. "Who says that a picnic must be {w.place}?" {w.he} asked. '
        f'"We have the {room}!"',
    )
    yield w.say(
        f"They put a cloth on the floor of the {room} and ate the {w.food}.",
        f"They sat on the floor of the {room}, and {w.friend} shared out the {w.food}.",
    )
    w.know_animal()
    yield w.say(
        f"Then {w.pet} the {w.animal} came in, and there were three guests.",
        f"{w.pet} the {w.animal} smelled the {w.food} and came to visit.",
    )
    yield w.say(
        f"{w.friend} sang and {w.hero} {w.played}, and {w.pet} made a noise as well.",
        f"After that {w.hero} {w.played}, and then it was {w.friend}'s turn with the {w.thing}.",
    )
    yield from _better(w, room)


def _better(w: World, room: str) -> Iterator[str]:
    """When the weather is over."""
    w.know("next", f"What happened to the {w.weather} in the end?", "It went away, and nobody saw it.", "nobody saw")
    yield w.say(
        f"They laughed so much that nobody saw the {w.weather} go away.",
        f"When the {w.weather} was over, nobody saw it, because they were having so much fun.",
    )
    yield w.say(
        f'"This was better than a picnic {w.place}," said {w.friend}.',
        f'"Next time we will do it in the {room} again," said {w.friend}.',
    )
    yield from ending(
        w,
        "A good idea can turn a bad day into a good one.",
        f"{w.hero} learned that fun does not need the sun.",
        "There is no bad weather for good friends.",
    )


def mended(w: World) -> Iterator[str]:
    """Something is broken, and the truth is told."""
    yield from opening(w)
    w.know("who", f"Who had made the {w.built_noun}?", f"{w.hero}'s {w.family} had made it.", w.family)
    w.know("colour", f"What colour was the {w.built_noun}?", f"It was {w.built_colour}.", w.built_colour)
    yield w.say(
        f"{w.His} {w.family} had made {a(w.built)} long ago.",
        f"There was {a(w.built)} in the house. {w.His} {w.family} had made it with {w.family_his} own hands.",
    )
    yield w.say("Nobody was allowed to take it out.", f'"Be careful with it," {w.family_he} always said.')
    w.know("next", f"What happened when {w.hero} took the {w.built_noun} out?", "It fell and broke.", "fell and broke")
    yield w.say(
        f"{capital(w.time)} {w.he} took it out to play {w.place}, without asking. Then it fell and broke.",
        f"{capital(w.time)} {w.hero} took it out and played with it {w.place}. There it fell and broke.",
    )
    w.know("why", f"Why was {w.hero} afraid?", f"{w.He} was afraid because the {w.built_noun} was broken.", "broke")
    yield w.say(
        f'"Oh no!" thought {w.hero}. {w.He} was afraid.', f"{w.hero} turned pale. {w.He} was afraid to go home."
    )
    w.know("where", f"Where did {w.hero} hide the {w.built_noun}?", f"{w.He} hid it {w.spot}.", w.spot)
    yield w.say(
        f"{w.He} hid the {w.built_noun} {w.spot} and went away.", f"So {w.he} hid it {w.spot}, where nobody would look."
    )
    yield from middle(w)
    yield from _secret(w)


def _secret(w: World) -> Iterator[str]:
    """A friend hears it first."""
    yield w.say(
        f"But nothing was fun, because {w.he} thought of the {w.built} all the time.",
        f"But all the time {w.he} saw the {w.built} in {w.his} mind.",
    )
    w.know("who", f"To whom did {w.hero} tell the secret first?", f"{w.He} told it to {w.friend}.", w.friend)
    yield w.say(
        f"Then {w.he} met {w.his} friend {w.friend} and told {w.friend_him} the secret. "
        f'"I broke it, and I hid it {w.spot}."',
        f'"What is the matter?" asked {w.his} friend {w.friend}. So {w.hero} told everything.',
    )
    yield w.say(
        f'"You must tell the truth," said {w.friend}. "It will not get better by hiding."',
        f'"It is better to say it," said {w.friend}. "I will come with you."',
    )
    yield w.say(
        f"Together they went back, found the {w.built_noun} {w.spot} and carried it home.",
        f"They went back. There it lay, {w.spot}, and they carried it home.",
    )
    yield w.say(
        f'"I broke the {w.built}," said {w.hero} to {w.his} {w.family}. "I am sorry."',
        f'{w.hero} took a deep breath and said, "I am sorry. I broke your {w.built}."',
    )
    yield from _forgiven(w)


def _forgiven(w: World) -> Iterator[str]:
    """It can be mended."""
    w.know("what", f"What did {w.hero}'s {w.family} say?", f"{w.family_He} said that they could mend it.", "mend")
    yield w.say(
        f'{w.His} {w.family} was not angry. "A {w.built_noun} can break," {w.family_he} said. "We will mend it."',
        f'"Thank you for telling me," said {w.his} {w.family}. "Now we can mend it."',
    )
    yield w.say(
        f"With glue, some nails and {w.built_colour} paint, the {w.built_noun} was soon as good as new.",
        f"{w.friend} held it, {w.hero} used the glue, and soon the {w.built} was like new.",
    )
    yield from ending(
        w,
        "The truth is hard to say, but it feels good after.",
        f"{w.hero} learned that it is best to tell the truth.",
        "A secret is heavy, but the truth is light.",
    )


def the_errand(w: World) -> Iterator[str]:
    """Three things to buy, and a long way to remember them."""
    yield from opening(w)
    first, second, third = w.rng.sample(
        ["eggs", "butter", "sugar", "flour", "milk", "nuts", "raisins", "lemons", "cream", "salt"], 3
    )
    shop = w.say("the shop", "the corner shop", "the old shop")
    guest = w.rng.choice([g for g in ("grandmother", "grandfather", "aunt", "uncle", "cousin") if g != w.family])
    w.know("why", f"Why did {w.hero}'s {w.family} want to bake a cake?", f"Because {w.his} {guest} was coming.", guest)
    yield w.say(
        f'"Your {guest} is coming tonight," said {w.his} {w.family}. "I want to bake a cake."',
        f"{w.His} {w.family} wanted to bake a cake, because {w.his} {guest} was coming.",
    )
    w.know(
        "what",
        f"What should {w.hero} buy?",
        f"{capital(first)}, {second} and {third}.",
        f"{first}, {second} and {third}",
    )
    yield w.say(
        f'"Please go to {shop} and buy {first}, {second} and {third}," {w.family_he} said. "Can you remember that?"',
        f'"I need {first}, {second} and {third}," {w.family_he} said. "Will you go to {shop}?"',
    )
    yield from _a_long_way(w, (first, second, third), shop, guest)


def _a_long_way(w: World, things: tuple[str, str, str], shop: str, guest: str) -> Iterator[str]:
    """Much happens between a list and a shop."""
    first, second, third = things
    w.know("colour", "What colour was the purse?", f"The purse was {(purse := w.paint('purse'))}.", purse)
    yield w.say(
        f"{w.hero} took {a(f'{purse} purse')} with the money and set off.",
        f"The money was in {a(f'{purse} purse')}, and {w.hero} held it tight.",
    )
    yield w.say(
        f'"{capital(first)}, {second} and {third}," {w.he} sang on the way.',
        f"{w.He} made a song of it and sang it all the way.",
    )
    yield from middle(w)
    w.know("where", f"Where did {w.hero} stop to rest?", f"{w.He} stopped {w.place}.", w.place)
    yield w.say(
        f"{w.He} stopped {w.place} to rest, and there {w.he} met {w.friend}.",
        f"Then {w.he} stopped {w.place}, because {w.friend} was there.",
    )
    yield w.say(f'"Come and play!" called {w.friend}.', f'"Stay here with me," said {w.friend}. "I have a new game."')
    yield w.say(
        f'"I cannot," said {w.hero}. "My {w.family} is waiting."',
        f'"Later," said {w.hero}. "First I must go to {shop}."',
    )
    yield from _remembered(w, (first, second, third), shop, guest, purse)


def _remembered(w: World, things: tuple[str, str, str], shop: str, guest: str, purse: str) -> Iterator[str]:
    """The song brings the third thing back."""
    first, second, third = things
    yield w.say(f"At {shop} {w.he} bought {first} and {second}.", f"So {w.he} went on and bought {first} and {second}.")
    w.know("what", f"What did {w.hero} almost forget?", f"{w.He} almost forgot the {third}.", third)
    yield w.say(
        "But what was the third thing? It was gone from the mind like a bird.",
        f"But there was a third thing. {w.He} had forgotten it!",
    )
    w.know("next", f"How did {w.hero} remember?", f"{w.He} sang the song again.", "again")
    yield w.say(
        f"{w.He} shut {w.his} eyes and sang the song again. "
        f'"{capital(first)}, {second} and," {w.he} sang, "and {third}!"',
        f'{w.He} went through the song again, slowly. "{capital(first)}, {second}, and after that {third}!"',
    )
    yield w.say(f"{w.He} paid for it all and put the {purse} purse back.", f"{w.He} opened the {purse} purse and paid.")
    yield w.say(
        f'"{capital(first)}, {second} and {third}," said {w.his} {w.family}. "You forgot nothing."',
        f"{w.His} {w.family} looked into the bag. There were the {first}, the {second} and the {third}.",
    )
    yield w.say(
        f"In the evening {w.his} {guest} ate three pieces of the cake, and {w.friend} got one as well.",
        f"And when {w.his} {guest} came, the whole house smelled of cake.",
    )
    yield from ending(
        w, "A song helps you to remember.", f"{w.hero} learned that first comes the work and then the game."
    )


def the_key(w: World) -> Iterator[str]:
    """A key without a lock."""
    yield from opening(w)
    key = w.paint("key")
    box = w.paint("chest")
    w.know("colour", "What colour was the key?", f"The key was {key}.", key)
    w.know("where", "Where did the key lie?", f"It lay {w.spot}.", w.spot)
    yield w.say(
        f"{capital(w.time)} {w.he} was {w.place} and found {a(f'{key} key')} {w.spot}.",
        f"{capital(w.time)} {w.hero} found a key {w.place}. It lay {w.spot}, and it was {key}.",
    )
    yield w.say(
        '"Every key has a lock," ' + f'{w.he} said. "But where is it?"', f'"What do you open?" {w.he} asked the key.'
    )
    w.know("who", f"Whom did {w.hero} ask first?", f"{w.He} asked {w.friend} first.", w.friend)
    yield w.say(
        f"First {w.he} asked {w.friend}, but {w.friend} did not know.",
        f"{w.friend} was the first to see it. But the key did not fit {w.friend}'s door.",
    )
    w.know("what", "What did they try to open?", "They tried to open all the doors in the street.", "doors")
    yield w.say(
        "The two of them tried all the doors in the street, one by one.",
        f'"Let us try all the doors," said {w.friend}, and so they did.',
    )
    yield from _no_lock(w, key, box)


def _no_lock(w: World, key: str, box: str) -> Iterator[str]:
    """Everyone else gives up."""
    yield from middle(w, "friend")
    yield w.say(f"But the {key} key fitted nowhere.", f"No door wanted the {key} key.")
    yield w.say(f'"I give up," said {w.friend} and sat down.', f'"Throw it away," said {w.friend}.')
    w.know("who", "Who knew the key?", f"{w.hero}'s {w.family} knew it.", w.family)
    yield w.say(
        f"But {w.hero} took the key home and showed it to {w.his} {w.family}.",
        f"{w.hero} did not. In the evening {w.he} laid it on the table in front of {w.his} {w.family}.",
    )
    yield w.say(
        f'{w.His} {w.family} grew quite still. "I lost this {key} key when I was as small as you," {w.family_he} said.',
        f'"My {key} key!" cried {w.his} {w.family}. "I have looked for it for thirty years."',
    )
    yield from _the_chest(w, key, box)


def _the_chest(w: World, key: str, box: str) -> Iterator[str]:
    """What it opens."""
    w.know("where", "Where was the chest?", "It was under the roof.", "under the roof")
    w.know("colour", "What colour was the chest?", f"The chest was {box}.", box)
    yield w.say(
        f"They climbed the stairs. Under the roof stood {a(f'{box} chest')} full of dust.",
        f"Then {w.family_he} led {w.hero} up the stairs, to {a(f'{box} chest')} under the roof.",
    )
    w.know("next", "What happened when they turned the key?", "The lid sprang open.", "sprang open")
    yield w.say(
        f"{w.hero} turned the key. Click! The lid sprang open.",
        f"The {key} key went in, click, and the lid sprang open.",
    )
    w.know("what", "What was in the chest?", f"There was {a(w.gift)} in it.", w.gift)
    yield w.say(
        f"There lay {a(w.gift)}, wrapped in paper.",
        f"And what was inside? Only {a(w.gift)}. But it was the most beautiful one.",
    )
    yield w.say(
        f'"You did not give up," said {w.his} {w.family}. "So the {w.gift} is yours."',
        f'"It waited for you," said {w.his} {w.family} and put the {w.gift} in {w.his} hand.',
    )
    yield from ending(w, "Those who keep looking will find.", f"{w.hero} learned that old things can tell a story.")


def eyes_for_a_friend(w: World) -> Iterator[str]:
    """Someone has to stay in bed, and someone else brings the world to the bed."""
    yield from opening(w)
    w.scenes_left = max(w.scenes_left, w.rng.choice((2, 3)))
    reason = w.say("a broken leg", "a bad cold", "a fever", "spots all over")
    w.know("why", f"Why did {w.friend} have to stay in bed?", f"{w.friend} had {reason}.", reason)
    yield w.say(
        f"{w.His} friend {w.friend} had {reason} and had to stay in bed.",
        f"But {w.his} friend {w.friend} lay in bed with {reason}.",
    )
    yield w.say(
        f'"The window is too high," said {w.friend}. "I see nothing but the ceiling."',
        f'"I miss the world," said {w.friend}. "Here I see only four walls."',
    )
    w.know("what", f"What did {w.hero} promise?", f"{w.He} promised to be {w.friend}'s eyes.", "your eyes")
    yield w.say(
        f'"Then I will be your eyes," said {w.hero}. "I will go out and tell you everything."',
        f'"I will be your eyes today," {w.hero} promised. "Wait for me."',
    )
    w.know("where", f"Where did {w.hero} go?", f"{w.He} walked all day {w.place}.", w.place)
    yield w.say(
        f"So {w.he} walked all day {w.place} and kept {w.his} eyes open.",
        f"{w.He} walked all day {w.place} and looked at everything.",
    )
    yield from middle(w)
    yield from _back_again(w)


def _back_again(w: World) -> Iterator[str]:
    """All that was seen is told."""
    yield w.say(
        f"In the evening {w.he} went to {w.friend}'s house.",
        f"When the sun went down, {w.he} was back at {w.friend}'s house.",
    )
    seen, w.memories = w.memories, []
    yield w.say(f'"Tell me!" said {w.friend}.', f'"Well, what did you see?" asked {w.friend}.')
    if seen:
        what = ", then of ".join(seen[:-1]) + (", and at last of " if seen[1:] else "") + seen[-1]
        yield f"So {w.hero} told {w.friend_him} of {what}."
    else:
        yield f"So {w.hero} told {w.friend_him} what the sky had looked like, and who had said good day."
    yield from _all_seen(w)


def _all_seen(w: World) -> Iterator[str]:
    """And it is as good as seen."""
    w.know(
        "next",
        f"What did {w.friend} do when {w.hero} told it all?",
        f"{w.friend} closed {w.friend_his} eyes and saw it.",
        "closed",
    )
    yield w.say(
        f"{w.friend} closed {w.friend_his} eyes and saw it all.",
        f"{w.friend} closed {w.friend_his} eyes, and the room was full of pictures.",
    )
    w.know("gift", f"What did {w.hero} bring {w.friend}?", f"{w.He} brought {w.friend_him} {a(w.gift)}.", w.gift)
    yield w.say(
        f"Then {w.hero} took {a(w.gift)} out of {w.his} bag. It was for {w.friend}.",
        f'"And this is for you," said {w.hero}. It was {a(w.gift)}.',
    )
    yield w.say(
        f'"Now I feel almost well," said {w.friend}. "Will you be my eyes tomorrow too?"',
        f'"With you I do not even need a window," said {w.friend}.',
    )
    yield from ending(
        w, "Good friends lend you their eyes.", f"{w.hero} learned that you see more when you look for somebody else."
    )


PLOTS = [sharing, a_gift, the_weather, mended, the_errand, the_key, eyes_for_a_friend]
