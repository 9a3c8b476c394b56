"""Lesson 19: its solutions are what the package's templates and its trainer do, and its masks teach what they count."""

from collections import Counter

import numpy as np
import pytest

from minimistral.chat import TEMPLATES, chat_spans, encode_chat
from minimistral.embedded import STORYTELLER
from minimistral.exercises import find, guesses
from minimistral.figures.instruct import HELD_OUT, MASKS, fine_tuned, greeting, masked, nats, shown
from minimistral.tokenizer import find_tokenizer
from minimistral.training.batch import packed
from minimistral.training.chat_data import Encoding, encoded

TOKENIZER = find_tokenizer(STORYTELLER)
SMALL = [{"role": "user", "content": "Who ran?"}, {"role": "assistant", "content": "The fox."}]


def conversation(seed: int) -> list[dict]:
    """A drawn one, of several turns; its answers end in spaces."""
    (messages,) = find("template").make_inputs(np.random.default_rng(seed))
    return [{"role": role, "content": text} for role, text in messages]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("seed", range(5))
def test_the_mask_is_the_trainers(seed, template):
    spans = chat_spans(conversation(seed), TOKENIZER, template)
    document = encoded(conversation(seed), Encoding(TOKENIZER, template, 1000, ""))
    eos = TOKENIZER.eos_id
    in_answer = np.concatenate([[answer and token != eos for token in part] for part, answer in spans])
    targets, weights = find("loss-mask").solution(document[0], in_answer, eos)
    batch = packed([document])
    assert np.array_equal(targets, batch.targets) and np.array_equal(weights, batch.weights)
    assert 0 < weights.sum() < len(weights)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("seed", range(5))
def test_the_parts_encoded_alone_are_the_template(seed, template):
    messages = conversation(seed)
    control = {"<s>": TOKENIZER.bos_id, "</s>": TOKENIZER.eos_id}
    control |= {bracket: TOKENIZER.control_id(bracket) for bracket in ("[INST]", "[/INST]")}
    ids = []
    for part in find("template").solution([(m["role"], m["content"]) for m in messages], template):
        ids += [control[part]] if part in control else TOKENIZER.encode(part, bos=False)
    assert ids == encode_chat(messages, TOKENIZER, template)


def test_the_guesses_are_what_a_small_conversation_has():
    ids, counts = masked(SMALL, TOKENIZER, "answers")
    words = shown(ids, TOKENIZER)
    assert "".join(words) == "<s>[INST]▁Who▁ran?[/INST]▁The▁fox.</s>"
    assert words[int(counts.argmax()) - 1] == guesses()["read-before-answer"].right
    assert words.count("<s>") == guesses()["bos-of-three"].right
    in_words = ["<s>", "[INST]", "Who", "ran", "?", "[/INST]", "The", "fox", ".", "</s>"]  # as the lesson cuts it
    assert len(in_words) - in_words.index("[/INST]") - 1 == guesses()["predictions-that-count"].right


def test_the_three_masks_differ_in_the_prompt_and_in_eos_only():
    (ids, answers), (_, everything), (_, no_eos) = (masked(greeting(0), TOKENIZER, mask) for mask in MASKS)
    assert np.array_equal(answers, encoded(greeting(0), Encoding(TOKENIZER, "v0.3", 1000, ""))[1])
    assert everything.all() and ids[answers != no_eos].tolist() == [TOKENIZER.eos_id]


def test_greetings_answer_with_what_was_said_and_some_are_held_out():
    trained = {greeting(n)[0]["content"] for n in range(200)}
    fresh = {greeting(n)[0]["content"] for n in HELD_OUT}
    assert len(fresh) == len(HELD_OUT) == 10 and not fresh & trained
    assert 20 * (200 // (min(len(masked(greeting(n), TOKENIZER, "answers")[0]) for n in range(200)) - 1)) <= 200
    for question, answer in map(greeting, range(20)):
        name, colour, thing = (question["content"].rstrip(".").replace(".", "").split()[i] for i in (2, -2, -1))
        assert answer["content"] == f"Hello {name}! I like your {colour} {thing}."


def test_a_mask_teaches_what_it_counts():
    base = nats(fine_tuned("answers", 0))
    answers, everything, no_eos = (nats(fine_tuned(mask, 6)) for mask in MASKS)
    assert max(each["answers"] for each in (answers, everything, no_eos)) < base["answers"] / 2
    assert everything["questions"] < answers["questions"] - 1 and everything["questions"] < no_eos["questions"] - 1
    assert max(answers["EOS"], everything["EOS"]) < no_eos["EOS"] / 2


def test_the_pictures_show_the_right_mask_and_mark_what_is_wrong():
    pytest.importorskip("matplotlib")
    from minimistral.figures.instruct import masks_of_a_conversation, three_templates, what_masks_teach

    words = Counter(text.get_text() for text in masks_of_a_conversation().axes[0].texts)
    assert words["</s>"] == 2 and words["x"] == 9 + 3 + 2  # the prompt; two first words and a bracket; two EOS
    talk = [{"role": "system", "content": "Be kind."}, *SMALL, {"role": "user", "content": "Why?"}]
    named = {text.get_text() for text in three_templates().axes[0].texts if ":" in text.get_text()}
    assert named == {f"{name}: {len(encode_chat(talk, TOKENIZER, name))}" for name in TEMPLATES}
    found = {name: {"questions": 3.0, "answers": 2.0, "EOS": 1.0} for name in ("base", *MASKS)}
    axes = what_masks_teach(found).axes[0]
    assert sorted(bar.get_height() for bar in axes.patches) == [1.0] * 4 + [2.0] * 4 + [3.0] * 4
