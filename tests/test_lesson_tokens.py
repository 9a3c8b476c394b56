"""Lesson 01: its stream is the package's, and its merges give the ids that the tokenizer gives."""

import numpy as np
import pytest

from minimistral.embedded import STORYTELLER
from minimistral.exercises import find
from minimistral.stories import story
from minimistral.tokenizer import find_tokenizer

TEXTS = ["Once upon a time", "안녕 Ida, 👋🏽 QQQ", "é\n\n ñ  x", story(5)]


@pytest.mark.parametrize("text", TEXTS)
def test_the_solution_prints_what_the_stream_gives(text):
    tokenizer = find_tokenizer(STORYTELLER)
    ids, stream = tokenizer.encode(text, bos=False), tokenizer.stream()
    printed = find("stream-decode").solution([tokenizer.piece_bytes(i) for i in ids])
    assert printed == [stream.push(i) for i in ids] and "".join(printed) == text


def test_every_piece_and_half_character_is_in_the_inputs_of_the_exercise():
    for seed in range(20):
        (pieces,) = find("stream-decode").make_inputs(np.random.default_rng(seed))
        text = b"".join(pieces).decode()
        assert pieces[0].startswith(b" ") and {len(c.encode()) for c in text} == {1, 2, 3, 4}


def test_all_merges_together_give_as_many_ids_as_the_tokenizer():
    pytest.importorskip("matplotlib")
    from minimistral.figures.tokens import LANGUAGES, count_ids, merge_ranks

    tokenizer = find_tokenizer(STORYTELLER)
    ranks = merge_ranks(tokenizer)
    assert len(ranks) == 1729
    for text in (*LANGUAGES.values(), story(9)):
        assert count_ids(text, ranks, len(ranks), tokenizer) == len(tokenizer.encode(text, bos=False))
