"""Plots in which a child meets an animal."""

from collections.abc import Iterator

from minimistral.stories import words
from minimistral.stories.plots.common import choose_animal, ending, opening
from minimistral.stories.scenes import middle
from minimistral.stories.world import World, a, capital


def lost_and_found(w: World) -> Iterator[str]:
    """A thing is lost; an animal with sharp eyes finds it."""
    yield from opening(w)
    w.know_thing()
    if w.rng.random() < 0.5:
        w.know("who", f"Who gave {w.hero} the {w.noun}?", f"{w.His} {w.family} did.", w.family)
        yield w.say(
            f"{w.His} {w.family} had given {w.him} {a(w.thing)}, and {w.he} loved it very much.",
            f"{w.He} had {a(w.thing)}. It was a present from {w.his} {w.family}.",
        )
    else:
        yield w.say(
            f"{w.He} had {a(w.thing)} and loved it very much.",
            f"The thing {w.he} loved most was {a(w.thing)}.",
            f"Of all {w.his} things {w.he} liked one best: {a(w.thing)}.",
        )
    w.know("where", f"Where did {w.hero} go to play?", f"{w.He} went to play {w.place}.", w.place)
    yield w.say(
        f"{capital(w.time)} {w.he} went out to play {w.place} and took the {w.noun} along.",
        f"{capital(w.time)} {w.hero} wanted to {w.play}, so {w.he} went out to play {w.place}.",
    )
    yield w.say(
        f"{w.He} {w.played} and was happy.",
        f"For an hour {w.he} {w.played}.",
        f"There {w.he} {w.played} and sang a song.",
    )
    yield from w.maybe(0.5, f"Then {w.he} put the {w.noun} down and went for a walk.", "Then it was time for a walk.")
    yield from middle(w)
    yield from _gone(w)


def _gone(w: World) -> Iterator[str]:
    """The thing is missed, and somebody asks why."""
    w.know("why", f"Why was {w.hero} sad?", f"{w.He} was sad because the {w.noun} was gone.", f"{w.noun} was gone")
    yield w.say(
        f"But when it was time to go home, the {w.noun} was gone.",
        f"Then {w.he} turned around, and the {w.noun} was gone.",
        f"When {w.he} wanted to {w.play} again, the {w.noun} was gone.",
    )
    yield w.say(
        f"{w.hero} was so sad that a tear ran down {w.his} nose.",
        f"{w.hero} was very sad. {w.He} sat down and began to cry.",
        f"{w.hero} looked left and right. {w.He} felt sad and did not know what to do.",
    )
    w.know_animal()
    yield w.say(
        f"Just then {a(w.animal)} named {w.pet} came by.",
        f"{capital(a(w.animal))} named {w.pet} heard {w.him} and came closer.",
        f"A friendly {w.animal} named {w.pet} stopped beside {w.him}.",
    )
    yield w.say(f'"Why are you sad?" asked {w.pet}.', f'"What is wrong?" asked the {w.animal}.')
    yield w.say(
        f'"I lost my {w.thing}," said {w.hero}.',
        f'"My {w.thing} is gone," said {w.hero}. "I cannot find it anywhere."',
    )
    yield w.say(
        f'"I have sharp eyes," said the {w.animal}. "Let us look for it together."',
        f'"Do not cry. I will help you," said {w.pet}.',
    )
    yield from _found_again(w)


def _found_again(w: World) -> Iterator[str]:
    """What sharp eyes find."""
    w.know("who", f"Who found the {w.noun}?", f"{w.pet} the {w.animal} found it.", w.pet)
    w.know("where", f"Where was the {w.noun} found?", f"It was {w.spot}.", w.spot)
    yield w.say(
        f"They looked and looked, and at last {w.pet} found the {w.thing} {w.spot}.",
        f"{w.pet} looked {w.spot}, and there was the {w.thing}!",
        f"They looked everywhere. Then {w.pet} saw something {w.colour} {w.spot}. It was the {w.noun}!",
    )
    yield w.say(
        f'"Thank you, {w.pet}!" said {w.hero}.',
        f'"You found my {w.noun}!" said {w.hero}. "Thank you, {w.pet}."',
        f"{w.hero} laughed and gave the {w.animal} a big hug.",
    )
    yield w.say(
        f"From that day on, {w.hero} and {w.pet} were friends.",
        f"After that, {w.hero} and the {w.animal} met {w.place} every week.",
        f"Then {w.hero} {w.played}, and {w.pet} watched.",
    )
    yield from ending(
        w,
        f"{w.hero} learned that two can find what one cannot.",
        f"From then on {w.he} took good care of the {w.thing}.",
        "A friend makes every search easier.",
    )


def helping(w: World) -> Iterator[str]:
    """A kind deed comes back."""
    yield from opening(w)
    w.know("where", f"Where did {w.hero} go for a walk?", f"{w.He} went for a walk {w.place}.", w.place)
    yield w.say(
        f"{capital(w.time)} {w.he} went for a walk {w.place}.",
        f"{capital(w.time)} {w.hero} went for a walk {w.place} alone.",
    )
    w.know_thing()
    yield w.say(
        f"{w.He} had {w.his} {w.thing} with {w.him}.",
        f"{w.He} took {w.his} {w.thing} along, as {w.he} always did.",
    )
    yield from middle(w)
    yield w.say(
        f"Suddenly {w.he} heard a thin cry.",
        f"Then {w.hero} heard someone call for help.",
        f"Then {w.he} heard a small voice.",
    )
    yield from _stuck(w)


def _stuck(w: World) -> Iterator[str]:
    """A small voice is freed, a thing is left behind."""
    w.know_animal()
    w.know("where", f"Where was {w.pet} stuck?", f"{w.pet} was stuck {w.spot}.", w.spot)
    yield w.say(
        f"It was {a(w.animal)}, stuck {w.spot}.",
        f"{capital(a(w.animal))} was stuck {w.spot} and could not get out.",
    )
    yield w.say(
        f'"Please help me," said the {w.animal}. "My name is {w.pet}."',
        f'"I am {w.pet}," said the {w.animal}. "My foot is caught. Can you help me?"',
    )
    yield w.say(
        f'"Of course," said {w.hero}.', f'"Do not be afraid, {w.pet}," said {w.hero}.', f'"Hold still," said {w.hero}.'
    )
    yield w.say(
        f"{w.He} put down the {w.noun} and pulled, gently at first and then harder.",
        f"{w.He} laid the {w.noun} in the grass and worked with both hands.",
    )
    w.know("next", f"What did {w.pet} do when it was free?", "It jumped for joy.", "jumped for joy")
    yield w.say(
        f"Soon the {w.animal} was free and jumped for joy.", f"Pop! {w.pet} was free. The {w.animal} jumped for joy."
    )
    left = f"left the {w.noun} behind"
    w.know("why", f"Why was {w.hero} sad at night?", f"{w.He} was sad because {w.he} had {left}.", left)
    yield w.say(
        f"{w.hero} was so glad that {w.he} ran home and {left}.",
        f"{w.hero} waved and went home. But {w.he} had {left}.",
    )
    yield from _brought_back(w)


def _brought_back(w: World) -> Iterator[str]:
    """Who comes in the night?"""
    yield w.say(
        f"At night {w.he} lay in bed and was sad, because the {w.noun} was out there in the dark.",
        f'"My poor {w.noun}," {w.he} thought at night. {w.He} was too sad to sleep.',
    )
    yield w.say(
        "Then there was a knock at the door.",
        "Then something scratched at the door.",
        "Then something moved at the window.",
    )
    w.know("who", f"Who brought the {w.noun} back?", f"{w.pet} the {w.animal} brought it back.", w.pet)
    yield w.say(
        f"It was {w.pet} with the {w.thing}!",
        f"It was {w.pet}, and the {w.animal} held something {w.colour}.",
    )
    yield w.say(
        f'"You helped me, so I helped you," said {w.pet}. "Here is your {w.thing}."',
        f'"Is this {w.thing} yours?" asked the {w.animal}. "I carried it all the way."',
    )
    yield w.say(f'"What a good friend you are!" said {w.hero}.', f'"Oh, thank you, {w.pet}!" cried {w.hero}.')
    yield from ending(
        w,
        "When you help others, they will help you too.",
        f"{w.hero} learned that a kind deed comes back.",
        "Kindness goes out by one door and comes in by another.",
    )


def the_dark(w: World) -> Iterator[str]:
    """What makes the noise in the night?"""
    choose_animal(w, words.SMALL)
    yield from opening(w)
    w.know("what", f"What was {w.hero} afraid of?", f"{w.He} was afraid of the dark.", "dark")
    yield w.say(
        f"{w.hero} was not afraid of dogs or of storms, but {w.he} was afraid of the dark.",
        f"There was one thing {w.he} did not like. {w.He} was afraid of the dark.",
    )
    w.know_thing()
    yield w.say(
        f"Every evening {w.he} put {w.his} {w.thing} beside the bed. Then {w.he} felt a little better.",
        f"Beside {w.his} bed stood a chair, and on the chair lay {w.his} {w.thing}.",
    )
    yield from middle(w, where="in")
    w.know("what", f"What did {w.hero} hear at night?", f"{w.He} heard {w.sound}.", w.sound)
    yield w.say(
        f"That night, when the light was out, {w.he} heard {w.sound}.",
        f"That night {w.hero} heard {w.sound}. It came from under the window.",
    )
    yield w.say(
        f"{w.He} pulled the blanket over {w.his} ears.",
        f"{w.His} heart went boom, boom, boom.",
        f"{w.He} held {w.his} breath and counted to {w.number}.",
    )
    yield from _called(w)


def _called(w: World) -> Iterator[str]:
    """Two are braver than one."""
    w.know("who", f"Whom did {w.hero} call?", f"{w.He} called {w.his} {w.family}.", w.family)
    yield w.say(
        f'Then {w.he} called {w.his} {w.family}. "There is a monster in my room!"',
        f'"Help!" cried {w.hero}, and {w.his} {w.family} came at once.',
    )
    yield w.say(
        f"{w.His} {w.family} sat down on the bed and took {w.his} hand.",
        f"{w.His} {w.family} came with a candle and smiled.",
    )
    yield w.say(
        f'"Let us look together," said {w.his} {w.family}. "Things look smaller when you look at them."',
        f'"Monsters do not like visitors," said {w.his} {w.family}. "We will look together."',
    )
    w.know_animal()
    w.know("what", "What was the monster really?", f"It was only a little {w.animal} named {w.pet}.", w.animal)
    yield w.say(
        f"It was no monster at all. It was only a little {w.animal}.",
        f"They looked, and what did they see? A little {w.animal} with big eyes.",
    )
    yield w.say(
        f'"That is {w.pet} from next door," said {w.his} {w.family}. "{w.pet} could not find the way home."',
        f'"Why, it is {w.pet}!" said {w.his} {w.family}. "Poor {w.pet} is cold."',
    )
    yield from _no_monster(w)


def _no_monster(w: World) -> Iterator[str]:
    """It was afraid too."""
    yield w.say(
        f'"Poor {w.pet}," said {w.hero}. "You were scared of the dark too."',
        f'"Come in, {w.pet}," said {w.hero}. "You need not be afraid."',
    )
    yield w.say(
        f"{w.He} gave the {w.animal} some warm milk and showed it the {w.thing}.",
        f"{w.He} made a soft bed for the {w.animal} and put the {w.thing} beside it, "
        "so that it had something to look at.",
    )
    w.know("next", f"Where did {w.pet} sleep?", f"{w.pet} slept beside {w.hero}.", "beside")
    yield w.say(
        f"Then {w.pet} slept beside {w.him}, and the dark was not so dark any more.",
        f"{w.pet} slept beside {w.him} until the sun came up, and {w.hero} was not afraid.",
    )
    yield from w.maybe(
        0.8,
        f"{w.hero} learned that a small fear looks big in the dark.",
        "Being brave means to look, even when you are scared.",
        f"And when {w.hero} heard {w.sound} again, {w.he} only smiled.",
    )


def learning(w: World) -> Iterator[str]:
    """A little every day."""
    yield from opening(w)
    w.know("what", f"What did {w.hero} want to learn?", f"{w.He} wanted to learn to {w.skill}.", w.skill)
    yield w.say(
        f"More than anything, {w.he} wanted to learn to {w.skill}.",
        f"{w.hero} had one big wish. {w.He} wanted to learn to {w.skill}.",
    )
    w.know("why", f"Why did {w.hero} want to learn it?", f"Because {w.his} {w.family2} could do it.", w.family2)
    yield w.say(
        f"{w.His} {w.family2} could do it, and it looked like so much fun.",
        f"{w.His} {w.family2} could do it, and {w.he} wanted to do it just as well.",
    )
    yield w.say(
        f"{w.He} tried once, but it did not work.",
        f"{w.He} tried and tried, but {w.he} could not do it.",
        f"{w.He} tried {w.number} times, and {w.number} times it went wrong.",
    )
    w.know("where", f"Where did {w.hero} sit down?", f"{w.He} sat down {w.place}.", w.place)
    yield w.say(
        f'"I will never learn it," said {w.hero} and sat down {w.place}.',
        f'"It is too hard," said {w.hero}. {w.He} sat down {w.place} and looked at {w.his} shoes.',
    )
    yield from _advice(w)


def _advice(w: World) -> Iterator[str]:
    """What an old animal knows."""
    w.know_animal()
    yield w.say(
        f"A wise old {w.animal} named {w.pet} had seen it all.",
        f"{w.pet}, a very old {w.animal}, heard {w.him} and came slowly closer.",
    )
    w.know("what", f"What did {w.pet} say?", f"{w.pet} told {w.him} to try a little every day.", "little every day")
    yield w.say(
        f'"Try a little every day," said {w.pet}. "That is the whole secret."',
        f'"I could not do it at first either," said the {w.animal}. "Try a little every day."',
    )
    yield w.say(f'"Will you watch me?" asked {w.hero}.', f'"Every day?" asked {w.hero}. "That is a lot of days."')
    yield w.say(f"The old {w.animal} nodded.", f"{w.pet} smiled.")
    yield w.say(
        f"So {w.hero} tried again the next day, and it was a little better.", f"So {w.hero} came back the next day."
    )
    yield from middle(w, where="days")
    yield from _at_last(w)


def _at_last(w: World) -> Iterator[str]:
    """Day after day, until it works."""
    w.know("what", f"What did {w.hero} bring every day?", f"{w.He} brought {w.his} {w.thing}.", w.thing)
    w.know_thing()
    yield w.say(
        f"Every day {w.he} brought {w.his} {w.thing}, laid it {w.spot} and tried again.",
        f"Every day {w.he} came with {w.his} {w.thing} and tried, and every day {w.pet} watched.",
    )
    yield w.say(
        f"Then, on a bright morning, {w.he} could {w.skill}!",
        f"And one day, as if by magic, {w.hero} could {w.skill}!",
    )
    yield w.say(f'"Look, {w.pet}! I can do it!" {w.he} cried.', f'"You did it, {w.hero}!" said the old {w.animal}.')
    w.know("gift", f"What did {w.hero} give {w.pet}?", f"{w.He} gave {w.pet} the {w.thing}.", w.thing)
    yield w.say(
        f"To say thank you, {w.hero} gave {w.pet} the {w.thing}.",
        f"{w.hero} was so happy that {w.he} gave {w.pet} the {w.thing}.",
    )
    yield w.say(
        f"Then {w.he} ran home to show it to {w.his} {w.family2}.",
        f"And who was the first to see it at home? It was {w.his} {w.family2}.",
    )
    yield from ending(
        w,
        "What is hard today is easy some other day.",
        f"{w.hero} learned not to give up.",
        "Small steps go a long way.",
    )


def the_way_home(w: World) -> Iterator[str]:
    """An animal that one would like to keep belongs to someone else."""
    choose_animal(w, words.TAME)
    yield from opening(w)
    w.know("what", f"What did {w.hero} wish for?", f"{w.He} wished for an animal of {w.his} own.", "animal of")
    yield w.say(
        f"{w.He} wished for an animal of {w.his} own.",
        f"Every night {w.he} wished for an animal of {w.his} own.",
    )
    colour = w.paint("collar")
    w.know("where", f"Where did {w.hero} find the {w.animal}?", f"{w.He} found it {w.place}.", w.place)
    w.know("colour", f"What colour was the {w.animal}'s collar?", f"It was {colour}.", colour)
    yield w.say(
        f"{capital(w.time)} {w.he} found {a(w.animal)} with {a(colour)} collar {w.place}.",
        f"{capital(w.time)} {w.hero} was {w.place}, and there sat {a(w.animal)}. It had {a(colour)} collar.",
    )
    yield w.say(
        "It was all alone and shook with cold.",
        "It looked hungry and tired.",
        f"It looked up at {w.him} with round eyes.",
    )
    yield w.say(f'"I will keep you," said {w.hero}.', f'"You can live with me," {w.he} told it.')
    w.know("what", f"What did {w.hero} give the {w.animal} to eat?", f"{w.He} gave it {w.food}.", w.food)
    yield w.say(
        f"{w.He} gave it {w.food}, and it ate every bit.", f"{w.He} gave it some {w.food} and stroked its head."
    )
    yield from _the_owner(w, colour)


def _the_owner(w: World, colour: str) -> Iterator[str]:
    """Somebody misses the animal."""
    w.know_animal()
    yield w.say(
        f"Then {w.he} read the name on the collar. The {w.animal} was called {w.pet}.",
        f'On the collar stood a name. "{w.pet}," read {w.hero}. "So {w.pet} is your name."',
    )
    yield from middle(w, "animal")
    w.know("why", f"Why was {w.third} sad?", f"{w.third} was sad because {w.pet} had run away.", "run away")
    yield w.say(
        f"Then they saw a {w.third_child} who was crying {w.place2}.",
        f"At last they came to a {w.third_child} who sat {w.place2} and cried.",
    )
    w.know("name", f"What was the name of the {w.third_child} who cried?", f"It was {w.third}.", w.third)
    yield w.say(
        f'"I am {w.third}," said the {w.third_child}. "My {w.animal} has run away. It has {a(colour)} collar."',
        f'"My name is {w.third}," the {w.third_child} said. "I had {a(w.animal)} with {a(colour)} collar, '
        'but it has run away."',
    )
    yield w.say(
        f"{w.hero} felt a stone in {w.his} heart. {w.He} wanted to keep {w.pet} so much.",
        f"{w.hero} swallowed. It would be easy to say nothing.",
    )
    w.know("next", f"What did {w.hero} do at last?", f"{w.He} gave {w.pet} back to {w.third}.", "gave")
    yield w.say(
        f'But then {w.he} said, "Here is your {w.animal}," and gave {w.pet} back.',
        f'Then {w.he} gave {w.pet} back. "{w.pet} is yours," {w.he} said.',
    )
    yield from _two_friends(w, colour)


def _two_friends(w: World, colour: str) -> Iterator[str]:
    """What comes of it."""
    yield w.say(
        f"{w.third} laughed and cried at once.",
        f"{w.pet} ran around {w.third} {w.number} times.",
    )
    yield w.say(
        f'"You are so kind," said {w.third}. "Come and play with {w.pet} whenever you like."',
        f'"Thank you, {w.hero}," said {w.third}. "From today {w.pet} has two friends."',
    )
    yield w.say(
        f"So {w.hero} had no animal, but {w.he} had two new friends.",
        f"And so {w.hero} saw the {w.animal} with the {colour} collar every day.",
    )
    yield from ending(w, "It is hard to give back what you love, but it is right.", "An honest heart makes friends.")


PLOTS = [lost_and_found, helping, the_dark, learning, the_way_home]
