"""Plots in which people who were apart come together."""

from minimistral.stories.plots.common import ending, opening
from minimistral.stories.scenes import middle
from minimistral.stories.world import World, a

FROM = ["the mountains", "a far island", "a big town", "another country", "the other side of the sea"]
QUARRELS = [
    ("the fence was in the wrong place", "fence"),
    ("the bell was too loud", "loud"),
    ("each wanted the biggest pear", "pear"),
]
CARRIED = ["medicine", "wool", "flour", "seeds", "eggs"]
FALLS = [("had hurt {his} knee", "knee"), ("had lost a shoe", "shoe"), ("had fallen into a bush", "fallen")]


def new_child(w: World):
    land, tree = w.rng.choice(FROM), w.rng.choice(["oak", "pine", "apple tree", "old tree"])
    yield from opening(w)
    w.know("who", "Who was new at school?", f"{w.friend} was new at school.", w.friend)
    w.know("where", f"Where did {w.friend} come from?", f"{w.friend} came from {land}.", land)
    yield w.say(
        f"One Monday there was a new {w.friend_child} at school. {w.friend_His} name was {w.friend}, and {w.friend_he} came from {land}.",
        f"One day a new {w.friend_child} came to {w.hero}'s school. {w.friend_He} was called {w.friend} and came from {land}.",
    )
    w.know("colour", f"What colour was {w.friend}'s {w.noun2}?", f"It was {w.colour2}.", w.colour2)
    yield w.say(
        f"{w.friend} had {a(w.thing2)} and held it with both hands.",
        f"{w.friend_He} had brought {a(w.thing2)} and did not let it go.",
    )
    w.know(
        "why",
        f"Why did {w.friend} sit alone?",
        f"{w.friend} sat alone because {w.friend_he} knew nobody.",
        "knew nobody",
    )
    yield w.say(
        f"{w.friend_He} sat alone, because {w.friend_he} knew nobody.",
        f"At noon {w.friend_he} knew nobody and sat all alone by the wall.",
    )
    w.know("what", f"What did {w.hero} share with {w.friend}?", f"{w.He} shared {w.his} {w.food}.", w.food)
    yield w.say(
        f'{w.hero} went over. "Would you like some of my {w.food}?" {w.he} asked.',
        f'"I have too much {w.food}," said {w.hero} and sat down too. "Will you help me?"'
        if w.food in ("bread", "soup", "cake", "cheese", "honey")
        else f'"I have so many {w.food}," said {w.hero} and sat down too. "Will you help me?"',
    )
    w.know("what", f"What could {w.friend} do well?", f"{w.friend} could climb well.", "climb")
    yield w.say(
        f'They ate and talked. "At home I could climb all day," said {w.friend}. "There were so many trees."',
        f'{w.friend} smiled. "At home," {w.friend_he} said, "I used to climb every tree."',
    )
    yield from middle(w, "friend")
    yield from _in_the_tree(w, tree)


def _in_the_tree(w: World, tree: str):
    flyer = "kite" if w.noun2 != "kite" else "paper dragon"  # both fly and have a string
    flying = f"{w.paint(flyer)} {flyer}"
    w.know("who", f"Who had a {flyer}?", f"{w.third} had a {flyer}.", w.third)
    yield w.say(
        f"Later {w.third} came with {a(flying)}, and all the children ran along.",
        f"In the afternoon {w.third} let {a(flying)} fly, and everyone looked up.",
    )
    w.know("next", f"What happened to {w.third}'s {flyer}?", f"It was caught in the {tree}.", tree)
    yield w.say(
        f"But the wind was too strong, and the {flyer} was caught at the top of the {tree}.",
        f"Then the string broke. The {flyer} was caught high up in the {tree}.",
    )
    yield w.say(
        f'"Nobody can get it down," said {w.third} and began to cry.',
        f'"It is too high!" cried {w.third}.',
        f"{w.third} looked up and did not know what to do.",
    )
    yield w.say(
        f'Then {w.hero} remembered. "{w.friend} can!" {w.he} said.',
        f'{w.hero} looked at {w.friend}. "You climb better than all of us," {w.he} said.',
    )
    yield w.say(
        f"{w.friend} gave {w.hero} the {w.thing2} and went up, branch by branch.",
        f'"Hold my {w.noun2}," said {w.friend}, and up {w.friend_he} went.',
    )
    w.know("who", f"Who got the {flyer} down?", f"{w.friend} got the {flyer} down.", w.friend)
    yield w.say(
        f"Soon {w.friend} was back with the {flying} in {w.friend_his} hand.",
        f"Down came {w.friend}, and with {w.friend_him} came the {flying}.",
    )
    yield w.say(
        f'"Thank you, {w.friend}!" said {w.third}. "Will you play with us?"',
        f'Everyone clapped. "Stay with us, {w.friend}," said {w.third}.',
    )
    yield w.say(
        f"After that {w.friend} was never alone again.",
        f"From that day on nobody saw {w.friend} alone.",
        f"And {w.friend} laughed for the first time that day.",
    )
    yield from ending(
        w, "A new friend is only one kind word away.", f"{w.hero} learned that everyone can do something well."
    )


def broken_bridge(w: World):
    (reason, reason_key), load = w.rng.choice(QUARRELS), w.rng.choice(CARRIED)
    weather = w.weather if w.weather != "fog" else "storm"  # fog breaks no bridge
    yield from opening(w)
    w.know_animal()
    w.know("what", f"What did {w.pet} have?", f"{w.pet} had many boards.", "boards")
    yield w.say(
        f"By the stream lived {a(w.animal)} named {w.pet}, who had many boards behind the house.",
        f"Next to a stream lived {w.pet}, {a('old ' + w.animal)}. It had a shed with many boards.",
    )
    w.know("what", f"What kind of animal was {w.pet2}?", f"{w.pet2} was {a(w.animal2)}.", w.animal2)
    w.know("what", f"What did {w.pet2} have?", f"{w.pet2} had a long rope.", "rope")
    yield w.say(
        f"On the other side lived {a(w.animal2)} named {w.pet2}, who had a long rope.",
        f"Across the water lived {w.pet2} the {w.animal2}. A long rope hung at its door.",
    )
    w.know("why", f"Why did {w.pet} and {w.pet2} not talk?", f"They did not talk because {reason}.", reason_key)
    yield w.say(
        f"The two did not talk to each other, because {reason}.",
        f"They had not talked for a year, because {reason}.",
    )
    w.know("what", "What broke the bridge?", f"The {weather} broke the bridge.", weather)
    yield w.say(
        f"One night came a terrible {weather}, and the bridge between them broke."
        if weather in ("storm", "wind")
        else f"One night the {weather} was so heavy that the bridge between them broke.",
    )
    w.know("what", f"What did {w.hero} carry?", f"{w.hero} carried {load}.", load)
    w.know("who", f"Who was the {load} for?", f"It was for {w.hero}'s {w.family2}.", w.family2)
    yield w.say(
        f"In the morning {w.hero} came with {load} for {w.his} {w.family2}, who lived across the stream.",
        f"The next day {w.hero} wanted to take {load} to {w.his} {w.family2} on the other side.",
    )
    yield from middle(w)
    yield from _mended_bridge(w, load)


def _mended_bridge(w: World, load: str):
    bridge = w.paint("bridge")
    yield w.say(
        f"When {w.he} came to the stream, there was no bridge any more.",
        f"At the stream {w.he} stopped. Only two posts were left of the bridge.",
        f"But where was the bridge? {w.hero} saw only water.",
    )
    yield w.say(
        f'"I have boards, but nothing to tie them with," said {w.pet} sadly.',
        f'"With boards alone I cannot build a bridge," said {w.pet}.',
    )
    yield w.say(
        f'{w.hero} called across, "{w.pet2}, you have a rope, and {w.pet} has boards!"',
        f'"But {w.pet2} has a rope!" said {w.hero}. And {w.he} called across the water.',
    )
    yield w.say(
        f"First nobody said a word. Then {w.pet2} threw one end of the rope across.",
        f"{w.pet2} looked at {w.pet}. Then the rope came flying across the water.",
    )
    yield w.say(
        f'"Good throw," said {w.pet}. It was the first kind word in a long time.',
        f'"Thank you, {w.pet2}," said {w.pet} very softly.',
        f'"I did not think that you would help me," said {w.pet}.',
    )
    yield w.say(
        "They worked from both sides until they met in the middle.",
        "They tied board after board, and in the middle they met.",
        "One held, one tied, and the sun went slowly across the sky.",
    )
    w.know("colour", "What colour was the new bridge?", f"It was {bridge}.", bridge)
    yield w.say(
        f"They painted it, and so it became {a(bridge)} bridge.",
        f"By evening there was {a(bridge)} bridge, more beautiful than before.",
    )
    w.know("next", f"What did {w.pet} and {w.pet2} do in the end?", "They laughed together.", "laughed")
    yield w.say(
        f'"What did we fight about?" asked {w.pet2}, and both of them laughed.',
        f"{w.pet} and {w.pet2} looked at each other and laughed.",
    )
    yield w.say(
        f"{w.hero} was the first to walk over it, with the {load} under {w.his} arm.",
        f"And {w.hero} took the {load} to {w.his} {w.family2}, who was already waiting.",
    )
    yield from ending(
        w, "Together we have all that we need.", f"{w.hero} learned that somebody has to say the first word."
    )


def the_race(w: World):
    prize, (fall, fall_key) = w.paint("medal"), w.rng.choice(FALLS)
    fall = fall.format(his=w.third_his)
    goal = w.rng.choice(["the old mill", "the big oak", "the white gate", "the church", "the last house", "the well"])
    yield from opening(w)
    w.know("when", "When was the race?", f"The race was in {w.season}.", w.season)
    yield w.say(
        f"Every {w.season} there was a race for all the children.", f"In {w.season} all the children ran a race."
    )
    w.know("colour", "What colour was the medal?", f"It was {prize}.", prize)
    w.know("who", "Who had made the medal?", f"{w.hero}'s {w.family} had made it.", w.family)
    yield w.say(
        f"The winner got {a(prize)} medal. {w.hero}'s {w.family} had made it.",
        f"{w.His} {w.family} had made {a(prize)} medal for the winner.",
    )
    w.know("where", "Where did the race end?", f"It ended at {goal}.", goal)
    yield w.say(f'"Run to {goal}," said {w.his} {w.family}.', f"The children had to run all the way to {goal}.")
    w.know("what", f"What did {w.hero} wish for?", f"{w.He} wished to win.", "win")
    yield w.say(
        f"How much {w.hero} wished to win! {w.He} ran every morning.", f'"This year I want to win," said {w.hero}.'
    )
    yield from middle(w, where="days")
    yield w.say(
        f"Then the day came. {w.hero}, {w.friend} and {w.third} stood side by side.",
        f"At last it was the day of the race. Beside {w.hero} stood {w.friend} and {w.third}.",
    )
    yield w.say('"Ready, steady, go!" And off they went.', "Somebody rang a bell, and off they went.")
    yield w.say(
        f"{w.hero} was first. {w.He} could already see {goal}.",
        f"Soon {w.hero} was in front, and {goal} was not far.",
        f"How the wind whistled! {w.hero} was faster than all the others, and {goal} came closer.",
    )
    w.know("why", f"Why did {w.hero} stop?", f"{w.He} stopped because {w.third} {fall}.", fall_key)
    yield w.say(
        f"Then {w.he} heard a cry. {w.third} {fall}. {w.hero} stopped at once.",
        f"But behind {w.him} somebody cried. {w.third} {fall}! {w.hero} stopped and turned round.",
    )
    yield from _helped(w, prize, goal)


def _helped(w: World, prize: str, goal: str):
    yield w.say(
        f'"Run on!" said {w.third}. "You can still be first."',
        f'"Do not wait for me," said {w.third}.',
        f'"Go on, {w.hero}! You will lose," said {w.third}.',
    )
    w.know("next", f"What did {w.hero} do when {w.third} needed help?", f"{w.He} took {w.third}'s hand.", "hand")
    yield w.say(
        f'"No," said {w.hero}. "We will go together." And {w.he} took {w.third}\'s hand.',
        f'{w.hero} took {w.third_his} hand. "Lean on me," {w.he} said.',
    )
    w.know("who", "Who came first?", f"{w.friend} came first.", w.friend)
    yield w.say(f"{w.friend} ran past them and was the first at {goal}.", f"So it was {w.friend} who came first.")
    yield w.say(
        f"{w.hero} and {w.third} came last, but they were laughing.",
        f"Last of all, arm in arm, came {w.hero} and {w.third}.",
        f"Long after the others {w.hero} and {w.third} came along, and nobody laughed at them.",
    )
    yield w.say(
        f"{w.friend} got the {prize} medal and looked at it for a while.",
        f"{w.His} {w.family} gave the {prize} medal to {w.friend}.",
    )
    w.know("who", "Who got the medal in the end?", f"{w.hero} got it.", f"{w.hero}'s neck")
    yield w.say(
        f'"I was fast," said {w.friend}, "but you were kind." And {w.friend_he} hung it round {w.hero}\'s neck.',
        f'"This belongs to you," said {w.friend} and put it round {w.hero}\'s neck.',
    )
    yield w.say("Everyone clapped for a long time.", f'"Hurrah for {w.hero}!" cried all the children.')
    yield from ending(
        w, "It is good to win, but it is better to help.", f"{w.hero} learned that there is more than one way to win."
    )


PLOTS = [new_child, broken_bridge, the_race]
