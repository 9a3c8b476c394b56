"""Conversations and questions: every answer is right by a check that does not know the grammar; shares; splits; distances."""

import json
import re
from collections import Counter
from random import Random

import pytest

from minimistral.errors import BadInput
from minimistral.stories import SPLITS, story, words
from minimistral.stories import questions as q
from minimistral.stories.conversations import THANKS, conversation, corpus, lookup
from minimistral.stories.refusals import HARMLESS, NOT_KNOWN, REFUSAL, UNSAFE, request

N = 1500
TALKS = {split: [conversation(seed, split) for seed in range(N)] for split in SPLITS}
TRAIN = TALKS["train"]
LOOKUPS = [lookup(seed) for seed in range(N)]


def asked_about_text(talk):
    """The text of a conversation that begins with one (or in which one is told), and the questions and answers about it."""
    first, pairs = talk[0]["content"], list(zip(talk[::2], talk[1::2], strict=True))
    if "\n\n" in first:
        text, question = first.split("\n\n")
        about = [(question, pairs[0][1]["content"])] + [(u["content"], a["content"]) for u, a in pairs[1:]]
    else:
        told = next((i for i, (_, a) in enumerate(pairs) if len(a["content"]) > 250), len(pairs))
        text = pairs[told][1]["content"] if told < len(pairs) else ""
        about = [(u["content"], a["content"]) for u, a in pairs[told + 1 :]]
    return text, [(question, answer) for question, answer in about if question not in THANKS]


def test_roles_alternate_and_every_message_has_text():
    for talk in TRAIN + TALKS["validation"]:
        assert [m["role"] for m in talk] == ["user", "assistant"] * (len(talk) // 2)
        assert all(m["content"] and m["content"] == m["content"].strip() for m in talk)
        assert all(m.keys() == {"role", "content"} for m in talk)
        assert sum(m["content"].count("\n") for m in talk) == 2 * ("\n\n" in talk[0]["content"])


def test_a_seed_is_a_conversation_and_another_seed_another():
    assert conversation(3) == TRAIN[3] and conversation(3, "validation") == TALKS["validation"][3]
    long = [json.dumps(talk) for talk in TRAIN if "\n\n" in talk[0]["content"]]
    assert len(set(long)) == len(long)


def test_told_is_the_story_of_the_same_seed():
    for seed in range(200):
        for split in SPLITS:
            told = q.told(seed, split)
            assert " ".join(told.sentences) == story(seed, split)
            for fact, (first, last) in zip(told.facts, told.told_by, strict=True):
                assert re.search(
                    rf"\b{re.escape(fact.key)}\b", " ".join(told.sentences[first : last + 1]), re.IGNORECASE
                ), fact


def new_words(question, answer):
    """The words of an answer that its question does not hold, without the small ones."""
    small = (
        "it he she they him her his their them was were is did had the a an of to in on at for with because by and so that then"
        " not no got about one there yes out up has have as were be from its could went said himself herself"
    )
    found = re.findall(r"[a-z]+", answer.lower().replace("'s", ""))
    return [word for word in found if word not in small.split() and word not in question.lower()]


@pytest.mark.parametrize("talks", [TRAIN, LOOKUPS], ids=["conversations", "lookups"])
def test_the_words_of_every_answer_are_in_the_text_before_the_question(talks):
    checked, missing = 0, []
    for talk in talks:
        text, about = asked_about_text(talk)
        said = set(re.findall(r"[a-z]+", text.lower()))
        for question, answer in about:
            if answer != q.NOT_SAID:
                new = new_words(question, answer)
                checked += 1
                if new and not any(word in said for word in new):
                    missing.append((question, answer, text))
    assert checked > 1500
    assert not missing, missing[:5]


def test_a_lookup_has_a_short_text_and_more_questions_for_its_words_than_a_conversation():
    texts = [asked_about_text(talk)[0] for talk in LOOKUPS]
    assert max(len(text.split()) for text in texts) <= 90
    assert all(talk[0]["content"].count("\n\n") == 1 and text for talk, text in zip(LOOKUPS, texts, strict=True))

    def questions_a_word(talks):
        return sum(len(t) // 2 for t in talks) / sum(len(m["content"].split()) for t in talks for m in t)

    assert questions_a_word(LOOKUPS) > 2 * questions_a_word(TRAIN)


def test_an_answered_key_is_in_the_given_text_and_its_subjects_too():
    for seed in range(400):
        prompt = q.held_out_question(seed)
        text, question = prompt.messages[0]["content"].split("\n\n")
        if prompt.offset is not None:
            assert 0 < prompt.offset <= len(text)
            names = [n for n in words.GIRLS + words.BOYS + words.ANIMAL_NAMES if re.search(rf"\b{n}\b", question)]
            assert all(re.search(rf"\b{name}\b", text) for name in names), prompt


# Every phrasing of "what colour was Mia's kite", "... the old woman's bag", "... the watering can".
COLOUR = re.compile(r"colour (?:was |of )?(?:(?:the )?[A-Za-z ]+'s |the )([a-z]+(?: (?!was\b)[a-z]+)?)(?: was)?[?.]$")


def test_a_colour_is_the_word_directly_before_the_thing():
    seen, elsewhere = 0, []
    for talk in TRAIN:
        text, about = asked_about_text(talk)
        for question, answer in about:
            colours = [c for c in words.COLOURS if re.search(rf"\b{c}\b", answer)]
            if not (match := COLOUR.search(question)) or len(colours) != 1:
                continue
            seen += 1
            if not re.search(rf"\b{colours[0]} {match[1]}\b", text):
                elsewhere.append((question, answer, text))
    assert seen > 200
    # Told in another order, "a key, and it was pink": the colour is in the text, and no other colour is before the thing.
    for question, answer, text in elsewhere:
        noun, colour = COLOUR.search(question)[1].split()[-1], next(c for c in words.COLOURS if c in answer)
        assert re.search(rf"\b{colour}\b", text) and re.search(rf"\b{noun}s?\b", text), (question, answer, text)
        assert not any(re.search(rf"\b{c} {noun}\b", text) for c in words.COLOURS if c != colour), (
            question,
            answer,
            text,
        )
    assert len(elsewhere) < 0.1 * seen, elsewhere[:3]


def test_what_the_story_does_not_say_is_not_in_the_text():
    seen = 0
    for seed in range(600):
        prompt = q.held_out_question(seed, "train")
        if prompt.kind != q.UNKNOWN:
            assert prompt.answer != q.NOT_SAID
            continue
        seen += 1
        text, question = prompt.messages[0]["content"].split("\n\n")
        assert prompt.answer == q.NOT_SAID and prompt.offset is None
        if match := COLOUR.search(question):
            assert not any(re.search(rf"\b{c} {match[1]}\b", text) for c in words.COLOURS), (question, text)
    assert seen > 40


def test_a_cut_off_fact_has_neither_its_key_nor_the_new_words_of_its_answer():
    seen = 0
    for seed in range(150):
        told = q.told(seed)
        middle = len(told.sentences) // 2
        for first, stop in ((0, middle), (middle, len(told.sentences))):
            text = " ".join(told.sentences[first:stop])
            known = set(q.answerable(told, first, stop))
            for i in q.cut_off(told, first, stop):
                seen += 1
                assert i not in known
                assert not re.search(rf"\b{re.escape(told.facts[i].key)}\b", text, re.IGNORECASE), (told.facts[i], text)
    assert seen > 100


def test_shares_are_about_as_promised():
    kinds, answers = Counter(), Counter()
    for talk in TRAIN:
        first, answer = talk[0]["content"], talk[1]["content"]
        if "\n\n" in first:
            kinds["questions"] += 1
            answers.update(a["content"] == q.NOT_SAID for a in talk[1::2])
        else:
            kinds[{REFUSAL: "refusal", NOT_KNOWN: "harmless"}.get(answer, "told" if len(answer) > 250 else "talk")] += 1
    assert 0.70 < kinds["questions"] / N < 0.80
    assert 0.09 < kinds["told"] / N < 0.17
    assert 0.025 < kinds["refusal"] / N < 0.065
    assert 0.08 < answers[True] / answers.total() < 0.15


def test_distances_are_spread():
    between = [len(text[prompt.offset :].split("\n\n")[0].split()) for prompt in q.held_out_questions(600, 1)
               if prompt.offset is not None for text in [prompt.messages[0]["content"]]]  # fmt: skip
    shares = [
        sum(low <= d < high for d in between) / len(between) for low, high in ((0, 20), (20, 60), (60, 130), (130, 999))
    ]
    assert min(shares) > 0.08, shares


@pytest.mark.parametrize("asked_for", [0, 40, 120, 240])
def test_a_distance_that_is_asked_for_is_had(asked_for):
    for seed in range(20):
        prompt = q.question(seed, "validation", asked_for)
        text = prompt.messages[0]["content"].split("\n\n")[0]
        assert (
            asked_for - 3 <= len(text[prompt.offset :].split()) <= asked_for + 30
        )  # the rest of its sentence, and whole sentences


def test_the_splits_share_no_text_and_no_request():
    openings = {
        split: {talk[0]["content"] for talk in TALKS[split] if "\n\n" in talk[0]["content"]} for split in SPLITS
    }
    assert not openings["train"] & openings["validation"]
    for deeds in (UNSAFE, HARMLESS):
        asked = {split: {request(Random(i), deeds, split) for i in range(3000)} for split in SPLITS}
        assert not asked["train"] & asked["validation"]
        assert all(any(deed in text for text in asked["train"]) for deed in deeds)


def test_a_wish_is_fulfilled():
    seen = 0
    for talk in TRAIN:
        wish, told = talk[0]["content"], talk[1]["content"]
        if "\n\n" in wish or len(told) < 250:
            continue
        seen += 1
        names = [n for n in words.GIRLS + words.BOYS + words.ANIMAL_NAMES if re.search(rf"\b{n}\b", wish)]
        pairs = re.findall(rf"\b(?:{'|'.join(words.COLOURS)}) [a-z]+", wish)
        animals = [animal for animal in words.ANIMALS if re.search(rf"\b{animal}\b", wish)]
        assert all(re.search(rf"\b{word}\b", told) for word in names + pairs + animals), talk
    assert seen > 120


def test_what_is_unsafe_is_declined_and_what_only_looks_like_it_is_not():
    said = {}
    for talk in TRAIN + TALKS["validation"]:
        said.update(zip([m["content"] for m in talk[::2]], [m["content"] for m in talk[1::2]], strict=True))
    for deeds, answer in ((UNSAFE, REFUSAL), (HARMLESS, NOT_KNOWN)):
        requests = {request(Random(i), deeds, split) for i in range(2000) for split in SPLITS}
        found = [said[text] for text in said if text in requests]
        assert len(found) > 20 and set(found) == {answer}
    assert not set(UNSAFE) & set(HARMLESS)


def test_asked_gives_a_question_for_each_fact_and_one_without_an_answer():
    told = q.told(5)
    asked = q.asked(told, 1)
    assert len(asked) > 3 and asked == q.asked(told, 1)
    assert asked[-1].distance_words is None and all(0 <= one.distance_words < 400 for one in asked[:-1])
    assert {one.answer for one in asked[:-1]} <= {fact.answer for fact in told.facts}


def test_another_split_is_one_line():
    for make in (conversation, q.told):
        with pytest.raises(BadInput, match="split: found 'test', expected one of train, validation"):
            make(1, "test")


def test_the_corpus_has_stories_and_conversations():
    lines = corpus(4)
    assert next(lines) == story(4)
    assert conversation(4)[-1]["content"] in next(lines)


def parrot(answer):
    """A model that says what `answer(prompt)` says, by a tokenizer of one id a character."""

    class Characters:
        bos_id, eos_id, vocab_size = 1, 2, 0x11000

        def encode(self, text, bos=True):
            return [1] * bos + [ord(c) for c in text]

        def decode(self, ids):
            return "".join(map(chr, ids))

        def control_id(self, piece):
            return None

    class Parrot:
        tokenizer = Characters()

        def generate(self, prompts, most, temperature):
            answers = [[ord(c) for c in answer("".join(map(chr, p)))][:most] for p in prompts]
            for t in range(most):
                if step := [a[t] if t < len(a) else None for a in answers]:
                    yield step

    return Parrot()


def test_evaluation_counts_right_answers_by_kind_and_distance():
    from minimistral.stories.evaluate import judged, rows, table

    asked = list(q.held_out_questions(60))
    fitting = [one for one in asked if len(one.answer) <= 48]
    known = {one.messages[0]["content"]: one.answer for one in fitting}
    model = parrot(lambda prompt: next((known[text] for text in known if f"[INST] {text} [/INST]" in prompt), "?"))
    answers = judged(model, fitting, "v0.1")
    assert all(one.right for one in answers)
    for one, judgement in zip(fitting, answers, strict=True):
        if one.offset is None:
            assert judgement.distance is None
        else:
            assert judgement.distance == len(one.messages[0]["content"]) - one.offset
    counted = rows(answers, 32)
    assert counted[0][2:] == (len(fitting), len(fitting)) and "100.0 %" in table(counted)
    for by in ("kind", "distance"):
        assert sum(row.count for row in counted if row.by == by) == sum(
            by == "kind" or a.distance is not None for a in answers
        )
    wrong = judged(parrot(lambda _: q.NOT_SAID), fitting, "v0.1")
    assert {a.right for a in wrong if a.kind != q.UNKNOWN} == {False}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--n", "0"], "error: --n: '0', expected a whole number from 1 to 999999999"),
        (["--seed", "-1"], "error: --seed: '-1', expected a whole number from 0 to 999999999"),
        (["--m"], "error: argument --model: expected one argument"),
        (["--template", "v9"], 'error: template: "v9", expected one of v0.1, v0.2, v0.3'),
    ],
)
def test_bad_options_of_the_evaluation_are_one_line(options, line, capsys):
    from minimistral.stories.evaluate import main

    assert main(options) == 2
    assert capsys.readouterr().err.strip() == line
