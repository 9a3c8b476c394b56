"""The story grammar: endless, different, well formed, true to itself; facts return; validation has unseen pairs."""

import re
from collections import Counter
from functools import cache
from hashlib import sha256
from random import Random

import pytest

from minimistral.errors import BadInput
from minimistral.stories import SPLITS, stories, story, tell, words
from minimistral.stories.plots import PLOTS
from minimistral.stories.splits import allowed, held_out, pairs
from minimistral.stories.world import World, a

COLOURED = (*words.THINGS, *words.BUILT)
FROZEN = "5d43625e5d6940f4aec198544a96dd5ed526f6a4358419e69590782c271010db"
ADJECTIVE = "|".join(words.COLOURS)
MASCULINE, FEMININE = {"he", "him", "his"}, {"she", "her", "hers"}
MEN = ["man", "father", "grandfather", "uncle", "painter", "postman", "driver", "shepherd", "sir", "king", "boy"]


@cache
def sample(split: str):
    return [tell(seed, split) for seed in range(2500)]


@pytest.fixture(params=SPLITS)
def told(request):
    return sample(request.param)


def has(text: str, phrase: str) -> bool:
    return re.search(rf"\b{re.escape(phrase)}\b", text, re.IGNORECASE) is not None


def test_a_seed_is_a_story():
    assert story(3) == story(3) == tell(3).text
    stream = stories(3, "validation")
    assert [next(stream), next(stream)] == [story(3, "validation"), story(4, "validation")]


def test_the_stories_are_those_that_the_embedded_models_were_trained_on():
    """Any change of a word, a list or a draw shows here: then the models' cards no longer say what they have read."""
    texts = "\n".join(tell(seed, split).text for split in SPLITS for seed in range(100))
    assert sha256(texts.encode()).hexdigest() == FROZEN


def test_another_split_is_bad_input():
    with pytest.raises(BadInput, match="split: found 'test', expected one of train, validation"):
        tell(1, "test")


def test_20_000_stories_are_all_different():
    assert len({story(seed) for seed in range(20_000)}) == 20_000


@pytest.mark.slow
def test_100_000_stories_are_all_different():
    assert len({sha256(story(seed).encode()).digest() for seed in range(100_000)}) == 100_000


def test_most_stories_have_130_to_320_words_some_have_less_none_many_more():
    lengths = [len(told.text.split()) for told in sample("train")]
    assert min(lengths) >= 50 and max(lengths) <= 500
    assert sum(130 <= n <= 320 for n in lengths) > 0.8 * len(lengths)
    assert sum(n <= 110 for n in lengths) > 0.05 * len(lengths)


def test_the_vocabulary_is_rich_but_small():
    spelled = Counter(w for told in sample("train") for w in re.findall(r"[a-z]+(?:'[a-z]+)?", told.text.lower()))
    assert 1200 <= len(spelled) <= 1700
    assert sum(n >= 3 for n in spelled.values()) > 0.97 * len(spelled)


def test_punctuation_articles_and_capitals(told):
    for text, plot, _ in told:
        assert text.count('"') % 2 == 0, text
        assert not re.search(r"  |[{}_]|\s[.,!?]|,,|[^.]\.\.[^.]|\b(\w+) \1\b", text.replace("had had", "")), text
        assert text[0].isupper() and text[-1] in '.!"', text
        assert not re.search(r"[.!?] [a-z]", text), (plot, text)
        for article, word in re.findall(r"\b([Aa]n?) ([a-z]+)", text):
            assert article.lower() == a(word).split()[0], (article, word, text)


def test_every_fact_is_in_the_text(told):
    for text, plot, facts in told:
        for fact in facts:
            assert re.search(rf"\b{re.escape(fact.key)}", text, re.IGNORECASE), (plot, fact, text)
            assert fact.question.endswith("?") and fact.answer.endswith((".", '."')) and fact.question[0].isupper(), (
                fact
            )
            assert fact.answer[0].isupper(), fact


def test_every_plot_states_at_least_five_facts_and_no_question_twice(told):
    for text, plot, facts in told:
        assert len(facts) >= 5, (plot, text)
        assert len({fact.question for fact in facts}) == len(facts), plot


def test_a_thing_keeps_its_colour(told):
    """All colours that stand before a noun in one story are the same; socks and doors come in twos."""
    for text, plot, _ in told:
        seen: dict[str, set] = {}
        for colour, noun in re.findall(rf"\b({ADJECTIVE}) ({'|'.join(COLOURED)})\b", text):
            seen.setdefault(noun, set()).add(colour)
        assert all(len(colours) == 1 for colours in seen.values()), (plot, seen, text)


def test_a_colour_that_a_fact_gives_is_the_one_beside_the_noun(told):
    for text, plot, facts in told:
        for fact in facts:
            noun = re.match(r"What colour was \w+'s (\w+)\?$", fact.question)
            for colour in re.findall(rf"\b({ADJECTIVE}) {noun[1]}\b", text) if noun and noun[1] in COLOURED else []:
                assert colour == fact.key, (plot, fact, text)


def only(woman: bool, monkeypatch) -> None:
    """Makes everyone in a story a woman or a girl, or everyone a man or a boy."""
    names, family = (
        (words.GIRLS, ("mother", "grandmother", "aunt")) if woman else (words.BOYS, ("father", "grandfather", "uncle"))
    )
    monkeypatch.setattr(words, "GIRLS", names)
    monkeypatch.setattr(words, "BOYS", names)
    monkeypatch.setattr(words, "FAMILY", family)
    real = Random.choice
    monkeypatch.setattr(Random, "choice", lambda self, seq: woman if list(seq) == [True, False] else real(self, seq))


@pytest.mark.parametrize("woman", [True, False])
def test_pronouns_agree_with_the_one_they_stand_for(woman, monkeypatch):
    """Where everyone is a woman, no sentence says he, but of a man it names; where everyone is a man, none says she."""
    only(woman, monkeypatch)
    wrong, others = (MASCULINE, MEN) if woman else (FEMININE, ["woman", "girl", "queen", "princess", "mother"])
    for seed in range(1500):
        text = tell(seed).text
        spelled = set(re.findall(r"[a-z]+", text.lower()))
        assert not wrong & spelled or spelled & set(others), text


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.__name__)
def test_only_those_who_are_in_the_story_speak(plot):
    for seed in range(60):
        w = World(Random(seed))
        text = " ".join(plot(w))
        cast = {w.hero, w.friend, w.third, w.pet, w.pet2}
        everyone = {*words.GIRLS, *words.BOYS, *words.ANIMAL_NAMES}
        assert set(re.findall(r"\b[A-Z][a-z]+\b", text)) & everyone <= cast, (cast, text)
        for name in cast & set(re.findall(r"[A-Z][a-z]+", text)):
            speaks = re.search(rf'" (?:said|asked|cried|called) {name}\b', text)
            assert not speaks or text.index(name) < speaks.start() or name in text[: speaks.end()], (name, text)
        assert len(re.findall(rf"\b{w.hero}\b", text)) >= 2, text


def test_no_question_has_two_answers():
    w = World(Random(1))
    w.know("colour", "What colour was it?", "It was red.", "red")
    w.know("colour", "What colour was it?", "It was red.", "red")
    assert len(w.facts) == 1
    with pytest.raises(ValueError, match="two answers"):
        w.know("colour", "What colour was it?", "It was blue.", "blue")


def test_the_splits_share_no_pair_and_validation_has_5_to_10_percent():
    for firsts, seconds in (
        (words.COLOURS, tuple(words.THINGS)),
        (words.COLOURS, words.BUILT),
        (words.ANIMAL_NAMES, words.ANIMALS),
        (words.TRAITS, (*words.GIRLS, *words.BOYS)),
        (tuple(words.PLACES), (*words.GIRLS, *words.BOYS)),
    ):
        train, validation = (set(pairs(split, firsts, seconds)) for split in SPLITS)
        assert not train & validation and len(train | validation) == len(firsts) * len(seconds)
        assert 0.05 <= len(validation) / len(train | validation) <= 0.10


def test_no_training_story_joins_a_pair_that_is_held_out():
    for text, plot, _ in sample("train"):
        for colour, noun in set(re.findall(rf"\b({ADJECTIVE}) ([a-z]+)\b", text)):
            if noun in COLOURED:
                assert colour != held_out(noun, words.COLOURS), (plot, colour, noun, text)
        for trait, hero in re.findall(rf"\b({'|'.join(words.TRAITS)}) (?:girl|boy) (?:named|called) ([A-Z]\w+)", text):
            assert trait != held_out(hero, words.TRAITS), text


def list_of(first: str) -> tuple[str, ...]:
    return next(of for of in (words.COLOURS, words.TRAITS, words.ANIMAL_NAMES, tuple(words.PLACES)) if first in of)


def test_every_pair_of_a_world_belongs_to_its_split():
    for split in SPLITS:
        for seed in range(500):
            w = World(Random(seed), split)
            plot = w.rng.choice(PLOTS)
            drawn = list(w.pairs)
            text = " ".join(plot(w))
            of_the_split = [pair for pair in w.pairs if pair[0] in allowed(split, pair[1], list_of(pair[0]))]
            if split == "train":
                assert of_the_split == w.pairs, w.pairs
            else:
                assert set(of_the_split) >= set(drawn), drawn
                assert any(has(text, first) and has(text, second) for first, second in of_the_split), text


def test_the_main_object_returns_late():
    """The colour of somebody's thing is said again at least 60 words later, in most stories that note one."""
    late = total = 0
    for text, _, facts in sample("train"):
        fact = next((f for f in facts if re.match(r"What colour was [A-Z]\w+'s (\w+)\?$", f.question)), None)
        if fact:
            where = [m.start() for m in re.finditer(rf"\b{fact.key}\b", text)]
            late += len(text[where[0] : where[-1]].split()) >= 60
            total += 1
    assert total > 1000 and late > 0.6 * total, (late, total)
