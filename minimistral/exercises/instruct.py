"""Lesson 19: loss on answers only teaches answering."""

import numpy as np

from minimistral.exercises.exercise import Exercise, Guess

WORDS = ("Who ran?", "Why so late?", "Is it red?", "Where is Ida?", "Tell me more.", "Go on, please.", "And the fox?")
ANSWERS = ("The fox. ", "In the forest, at night. ", "Yes. ", "No, it is blue. ", "I do not know. ", "At home. ")
VERSIONS = ("v0.1", "v0.2", "v0.3")


def loss_mask(ids, in_answer, eos):
    counts = in_answer | (ids == eos)
    return ids[1:], counts[1:].astype(float)


def one_late(ids, in_answer, eos):
    counts = in_answer | (ids == eos)
    return ids[1:], counts[:-1].astype(float)


def last_eos_only(ids, in_answer, eos):
    counts = in_answer.copy()
    counts[-1] = True
    return ids[1:], counts[1:].astype(float)


def last_answer_only(ids, in_answer, eos):
    targets, counts = loss_mask(ids, in_answer, eos)
    begins = np.flatnonzero(np.diff(counts, prepend=0) == 1)[-1]
    return targets, counts * (np.arange(len(counts)) >= begins)


def itself(ids, in_answer, eos):
    return ids[:-1], loss_mask(ids, in_answer, eos)[1]


def a_conversation(rng):
    """Ids of two or three questions and answers, True in the texts of answers, and the id of EOS: 2."""
    ids, answers = [1], [False]
    for _ in range(int(rng.integers(2, 4))):
        question, answer = (rng.integers(5, 61, int(rng.integers(2, 6))).tolist() for _ in range(2))
        ids += [3, *question, 4, *answer, 2]
        answers += [False] * (len(question) + 2) + [True] * len(answer) + [False]
    return np.array(ids), np.array(answers), 2


def template(messages, version):
    parts = ["<s>"]
    for role, text in messages:
        if role == "assistant":
            parts += [text.rstrip(" ") if version == "v0.3" else text, "</s>"]
        elif version == "v0.3":
            parts += ["[INST]", text, "[/INST]"]
        else:
            parts += [f"[INST] {text} [/INST]"]
    return parts


def bos_at_each_question(messages, version):
    parts = []
    for message in messages:
        parts += template([message], version)[0 if message[0] == "user" else 1 :]
    return parts


def eos_once(messages, version):
    parts = template(messages, version)
    return [part for part in parts if part != "</s>"] + ["</s>"]


def without_inner_spaces(messages, version):
    parts = template(messages, version)
    return [part.replace("[INST] ", "[INST]").replace(" [/INST]", "[/INST]") for part in parts]


def spaces_in_v3(messages, version):
    parts = template(messages, version)
    before = [None, *parts[:-1]]
    return [f" {part} " if last == "[INST]" else part for last, part in zip(before, parts, strict=True)]


def space_before_answers(messages, version):
    return template([(role, " " + text if role == "assistant" else text) for role, text in messages], version)


def spaces_stay(messages, version):
    """A mark at the end of each text keeps the spaces before it."""
    return [part.replace("|", "") for part in template([(role, text + "|") for role, text in messages], version)]


def spaces_go(messages, version):
    return [part.rstrip(" ") for part in template(messages, version)]


def brackets_cut_off(messages, version):
    """The brackets of v0.1 and v0.2 as parts of their own."""
    parts = ["<s>"]
    for role, text in messages:
        parts += [text, "</s>"] if role == "assistant" else ["[INST]", text, "[/INST]"]
    return template(messages, version) if version == "v0.3" else parts


def in_all_versions(answer, messages):
    """The parts for each version in turn."""
    found = [answer(messages, version) for version in VERSIONS]
    return found[0] if found[0] is ... or found[0] is None else found


def messages_of_two_or_three_turns(rng):
    """[(role, text), ...] that ends in an answer; each answer ends in a space."""
    n = int(rng.integers(2, 4))
    chosen = (rng.choice(len(texts), n, replace=False) for texts in (WORDS, ANSWERS))
    turns = [(("user", WORDS[q]), ("assistant", ANSWERS[a])) for q, a in zip(*chosen, strict=True)]
    return ([message for turn in turns for message in turn],)


EXERCISES = [
    Exercise(
        "loss-mask",
        "What is to be predicted at each position, and does it count in the loss?",
        loss_mask,
        wrong={
            "prompt-counted": (
                lambda ids, in_answer, eos: (ids[1:], np.ones(len(ids) - 1)),
                "that counts the prompt, too: it teaches asking, not only answering",
            ),
            "one-late": (one_late, "one late: mask the token that is predicted, not the one that is read"),
            "itself": (itself, "there each token predicts itself: which one is it to guess?"),
            "itself-masked": (
                lambda ids, in_answer, eos: (ids[:-1], one_late(ids, in_answer, eos)[1]),
                "targets and mask agree, but each token predicts itself: both must move by one",
            ),
            "not-shifted": (
                lambda ids, in_answer, eos: (ids, (in_answer | (ids == eos)).astype(float)),
                "T tokens give T - 1 predictions: nothing stands before the first",
            ),
            "no-eos": (
                lambda ids, in_answer, eos: (ids[1:], in_answer[1:].astype(float)),
                "no EOS counts: how would it learn to stop?",
            ),
            "last-eos-only": (last_eos_only, "each answer ends in EOS, not only the last one"),
            "last-answer-only": (last_answer_only, "the model said every answer, not only the last: all of them count"),
        },
        make_inputs=a_conversation,
    ),
    Exercise(
        "template",
        "Into which parts is a conversation cut, each to be encoded alone, in v0.1, v0.2 and v0.3?",
        template,
        wrong={
            "v3-everywhere": (
                lambda messages, version: template(messages, "v0.3"),
                "in which version are the brackets control pieces? In the others they are plain text",
            ),
            "v1-everywhere": (
                lambda messages, version: template(messages, "v0.1"),
                "in one version the brackets are control pieces, each a part of its own: which?",
            ),
            "v2-as-v3": (
                lambda messages, version: template(messages, "v0.1" if version == "v0.1" else "v0.3"),
                "of the three versions two have the same template: which two?",
            ),
            "bos-doubled": (
                bos_at_each_question,
                "BOS is doubled: it begins the whole conversation, not each question",
            ),
            "eos-once": (eos_once, "every answer ends in EOS, not only the last one"),
            "no-inner-spaces": (without_inner_spaces, "v0.1 and v0.2 have a space on the inner side of each bracket"),
            "spaces-in-v3": (
                spaces_in_v3,
                "spaces inside the brackets: in v0.3, too? Encoding puts one there by itself",
            ),
            "space-before-answer": (space_before_answers, "encoding puts a space before every part: yours makes two"),
            "spaces-stay": (spaces_stay, "in one version an answer loses the spaces at its end: which?"),
            "spaces-go": (spaces_go, "only one version takes the spaces from the end of an answer: which?"),
            "brackets-cut-off": (
                brackets_cut_off,
                "in v0.1 and v0.2 brackets and question are one text, encoded together",
            ),
        },
        make_inputs=messages_of_two_or_three_turns,
        call=in_all_versions,
    ),
]

GUESSES = {
    "read-before-answer": Guess(
        "the token that is read when the answer's first token is to be predicted",
        "[/INST]",
        [
            ("The", "that one is predicted: it cannot be read yet"),
            ("<s>", "the conversation begins there, the answer does not"),
            ("?", "what stands between the question mark and the answer?"),
        ],
    ),
    "predictions-that-count": Guess(
        "how many predictions count in the loss: the answer's tokens The, fox, . and the EOS after them",
        4,
        [
            (3, "and EOS? It ends the answer"),
            (9, "that is all of them: who asked the question?"),
            (10, "that is all tokens: the first of them is not even predicted"),
        ],
    ),
    "asks-too": Guess(
        "which of the masks answers, everything and no EOS teaches to write questions",
        "everything",
        [
            ("answers", "it reads the questions, but does it lose anything by not knowing them?"),
            ("no EOS", "that one counts less than `answers`, not more"),
        ],
    ),
    "does-not-stop": Guess(
        "which of the masks answers, everything and no EOS gives a model that does not stop",
        "no EOS",
        [
            ("everything", "EOS is a part of everything"),
            ("answers", "EOS counts there, as the end of an answer"),
        ],
    ),
    "bos-of-three": Guess(
        "how many BOS there are in a conversation of three questions and three answers",
        1,
        [
            (3, "is each question a text of its own, or all of it one text?"),
            (6, "one for each message? It is one text"),
        ],
    ),
}
