"""Instruct templates, token for token as mistral-common makes them; a conversation whose cache goes on."""

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimistral.chat import (
    TEMPLATES,
    Conversation,
    chat_spans,
    check_messages,
    default_template,
    encode_chat,
)
from minimistral.checkpoint import write_checkpoint
from minimistral.config import Config
from minimistral.embedded import STORYTELLER
from minimistral.errors import BadInput
from minimistral.mistral import Mistral
from minimistral.tokenizer import Tokenizer, find_tokenizer
from minimistral.weights import random_tensors

ROOT = Path(__file__).parents[1]
OFFICIAL = {"v0.1": "v1", "v0.2": "v1", "v0.3": "v3"}  # the tokenizer version of mistral-common's model table


def messages_of(*texts: str, system: str | None = None) -> list[dict]:
    """User, assistant, user, ... with these texts, and the system message before them."""
    first = [] if system is None else [{"role": "system", "content": system}]
    return first + [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


CONVERSATIONS = {
    "one turn": messages_of("Hello, how are you?"),
    "two turns": messages_of("Hello", "Hi there!", "What is the fox's name?"),
    "five turns": messages_of(
        "a", "b", "Who?", "The fox.", "Where?", "In the wood.", "Why?", "It rained.", "And then?"
    ),
    "system, one turn": messages_of("Hello", system="Be kind."),
    "system, two turns": messages_of("Hello", "Hi", "again", system="Be kind.\nAlways."),
    "unicode": messages_of("안녕하세요 👩\u200d👧 naïve ﬁ ½", "Ça va? 🦊", "مرحبا\u00a0x"),
    "spaces around": messages_of(" before and after ", "  two  ", "\tx\t", " y ", "z  ", system=" s "),
    "newlines": messages_of("\nfirst\n\nsecond\n", "line\nline\n", "\r\n.\n"),
    "template words": messages_of("say [INST] x [/INST] </s><s>", "[/INST] no </s>", "[INST]", system="<s>[INST]"),
    "empty-ish": messages_of(" ", "\n", "  ", "\u200b", "\t", system=" "),
    "an answer of spaces": messages_of("a", "  ", "b"),
    "brackets at the edges": messages_of("[", "]", "/INST]", "[ INST ]", "[[INST]]"),
}


# --- against mistral-common -------------------------------------------------------------------------------------------


@cache
def official(version: str, ends: str):
    """mistral-common's tokenizer, for conversations that end with the user or with the assistant."""
    pytest.importorskip("mistral_common", reason="mistral-common is the authority on the templates")
    from mistral_common.protocol.instruct.validator import ValidationMode
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    path = getattr(MistralTokenizer, version)().instruct_tokenizer.tokenizer.file_path
    mode = ValidationMode.finetuning if ends == "assistant" else ValidationMode.test
    return MistralTokenizer.from_file(str(path), mode=mode), Tokenizer(path)


def official_ids(messages: list[dict], template: str) -> tuple[list[int], Tokenizer]:
    """Its ids of a conversation, and our tokenizer from the same file."""
    theirs, ours = official(OFFICIAL[template], messages[-1]["role"])
    from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, UserMessage
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    kinds = {"user": UserMessage, "assistant": AssistantMessage, "system": SystemMessage}
    said = [kinds[m["role"]](content=m["content"]) for m in messages]
    return theirs.encode_chat_completion(ChatCompletionRequest(messages=said)).tokens, ours


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_ids_are_those_of_mistral_common(name, template):
    """As a prompt, and with the last answer, as a conversation to learn from."""
    for messages in (CONVERSATIONS[name], [*CONVERSATIONS[name], {"role": "assistant", "content": " So it is. "}]):
        expected, tokenizer = official_ids(messages, template)
        assert encode_chat(messages, tokenizer, template) == expected


TEXTS = st.lists(
    st.sampled_from(["[INST]", "[/INST]", " ", "\n", "<s>", "</s>", "a", "fox"]) | st.text(max_size=3)
).map(lambda parts: "".join(parts).encode("utf-8", "ignore").decode() or "x")


@pytest.mark.parametrize("template", TEMPLATES)
@settings(deadline=None, max_examples=40)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6), system=st.none() | TEXTS)
def test_any_conversation_has_the_ids_of_mistral_common(template, texts, system):
    messages = messages_of(*texts, system=system)
    expected, tokenizer = official_ids(messages, template)
    assert encode_chat(messages, tokenizer, template) == expected


# --- without it -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def control(tmp_path_factory) -> Tokenizer:
    """A small tokenizer with the control pieces [INST] and [/INST], as Mistral's v3 has them."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("control")
    lines = [f"The {a} {b} ran home. [INST] Who? [/INST]" for a in ("big", "red", "old") for b in ("fox", "bear")] * 9
    with open(folder / "tokenizer.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=file, vocab_size=320, model_type="bpe", byte_fallback=True,
            minloglevel=2, hard_vocab_limit=False, normalization_rule_name="identity", remove_extra_whitespaces=False,
            control_symbols=["[INST]", "[/INST]"],
        )  # fmt: skip
    return find_tokenizer(folder)


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    """The embedded storyteller's tokenizer."""
    return find_tokenizer(STORYTELLER)


def spelled(ids: list[int], tokenizer: Tokenizer) -> str:
    """The ids as text that shows every piece's characters: control pieces by name, a space as _.

    It does not depend on how a vocabulary cuts a text in pieces, so it can be written down.
    """
    names = {tokenizer.bos_id: b"<s>", tokenizer.eos_id: b"</s>"}
    names |= {tokenizer.control_id(piece): f"<{piece}>".encode() for piece in ("[INST]", "[/INST]")}
    return b"".join(names.get(i) or tokenizer.piece_bytes(i) for i in ids).decode().replace(" ", "_")


TWO = messages_of("Who ran?", "The fox. ", " Why?\n")
WITH_SYSTEM = messages_of("Who ran?", "The fox.", "Why?", "It rained.", system="Be kind.")
FROZEN = {
    "v0.1": (
        "<s>_[INST]_Who_ran?_[/INST]_The_fox._</s>_[INST]__Why?\n_[/INST]",
        "<s>_[INST]_Be_kind.\n\nWho_ran?_[/INST]_The_fox.</s>_[INST]_Why?_[/INST]_It_rained.</s>",
    ),
    "v0.3": (
        "<s><[INST]>_Who_ran?<[/INST]>_The_fox.</s><[INST]>__Why?\n<[/INST]>",
        "<s><[INST]>_Who_ran?<[/INST]>_The_fox.</s><[INST]>_Be_kind.\n\nWhy?<[/INST]>_It_rained.</s>",
    ),
}
FROZEN["v0.2"] = FROZEN["v0.1"]


@pytest.mark.parametrize("template", TEMPLATES)
def test_spaces_bos_and_eos_stand_where_they_are_written_down(control, plain, template):
    for tokenizer in (control,) if template == "v0.3" else (control, plain):
        found = tuple(spelled(encode_chat(messages, tokenizer, template), tokenizer) for messages in (TWO, WITH_SYSTEM))
        assert found == FROZEN[template]


def test_each_text_is_cut_in_pieces_alone(plain, control):
    """Not the whole conversation as one text: a piece never spans two messages."""
    messages = messages_of("Who?", "fox", "fox")
    who, fox = (control.encode(text, bos=False) for text in ("Who?", "fox"))
    assert encode_chat(messages, control, "v0.3") == [1, 3, *who, 4, *fox, 2, 3, *fox, 4]
    who, fox, then = (plain.encode(text, bos=False) for text in ("[INST] Who? [/INST]", "fox", "[INST] fox [/INST]"))
    assert encode_chat(messages, plain, "v0.1") == [1, *who, *fox, 2, *then]


def test_the_default_template_goes_by_the_control_pieces(control, plain):
    assert default_template(control) == "v0.3"
    if plain.control_id("[INST]") is None:
        assert default_template(plain) == "v0.1"
    assert (control.control_id("[INST]"), control.control_id("[/INST]")) == (3, 4)
    assert control.control_id("<s>") == 1
    assert [control.control_id(piece) for piece in ("[TOOL]", "fox", "<unk>", "<0x41>", "")] == [None] * 5


@pytest.mark.parametrize("template", TEMPLATES)
@settings(deadline=None, max_examples=50)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6), system=st.none() | TEXTS)
def test_the_loss_counts_on_the_answers_and_their_eos_alone(control, template, texts, system):
    messages = messages_of(*texts, system=system)
    spans = chat_spans(messages, control, template)
    assert [i for ids, _ in spans for i in ids] == encode_chat(messages, control, template)
    answers = [text.rstrip(" ") if template == "v0.3" else text for text in texts[1::2]]
    assert [ids for ids, counts in spans if counts] == [[*control.encode(text, bos=False), 2] for text in answers]
    controls = {id_: sum(ids.count(id_) for ids, _ in spans) for id_ in (1, 2, 3, 4)}
    questions = len(texts[::2]) if template == "v0.3" else 0
    assert controls == {1: 1, 2: len(texts) // 2, 3: questions, 4: questions}  # no text becomes a control piece


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_longer_conversation_begins_with_the_shorter_one(control, template):
    """But not in v0.3 with a system message: that stands before the last user message, and so it moves."""
    for name, messages in CONVERSATIONS.items():
        system = messages[0]["role"] == "system"
        ids = [encode_chat(messages[:n], control, template) for n in range(1 + system, len(messages) + 1)]
        goes_on = [longer[: len(shorter)] == shorter for shorter, longer in pairwise(ids)]
        moves = template == "v0.3" and system
        assert goes_on == [not (moves and i % 2) for i in range(len(goes_on))], name


BAD = {
    "messages: 3, expected a list of objects with role and content": 3,
    "messages: none, expected a user message": [],
    "messages: a system message alone, expected a user message": messages_of(system="x"),
    'message 1: "hello", expected an object with role and content': ["hello"],
    "message 1: no content, expected role and content": [{"role": "user"}],
    "message 1: no role, expected role and content": [{"content": "x"}],
    "message 1: has name, weight, expected only role and content": [
        {"role": "user", "content": "x", "weight": 0, "name": "y"}
    ],
    'message 2: role "tool", expected system, user or assistant': [*messages_of("x"), {"role": "tool", "content": "y"}],
    'message 1: role ["user"], expected system, user or assistant': [{"role": ["user"], "content": "y"}],
    "message 1: role assistant, expected user": [{"role": "assistant", "content": "x"}],
    "message 2: role assistant, expected user": [{"role": r, "content": "x"} for r in ("system", "assistant")],
    "message 3: role assistant, expected user": [*messages_of("x", "y"), {"role": "assistant", "content": "z"}],
    "message 2: role user, expected assistant": messages_of("x") * 2,
    "message 2: role system, expected assistant; system comes first, or not at all": [
        *messages_of("x"),
        {"role": "system", "content": "y"},
    ],
    "message 2: role system, expected user; system comes first, or not at all": messages_of(system="x") * 2,
    "message 1: content null, expected some text": [{"role": "user", "content": None}],
    'message 1: content [{"type": "text"}], expected some text': [{"role": "user", "content": [{"type": "text"}]}],
    'message 2: content "", expected some text': messages_of("x", ""),
    "message 3: character 1 is half a surrogate pair, expected valid Unicode": messages_of("x", "y", "a\ud800"),
}


@pytest.mark.parametrize("expected", BAD)
def test_bad_messages_are_one_line_with_the_number(expected):
    with pytest.raises(BadInput) as error:
        check_messages(BAD[expected])
    assert str(error.value) == expected


def test_a_template_that_the_tokenizer_cannot_write_is_one_line(control, plain, monkeypatch):
    def refused(tokenizer, template):
        with pytest.raises(BadInput) as error:
            encode_chat(messages_of("x"), tokenizer, template)
        return str(error.value)

    assert refused(control, "v9") == 'template: "v9", expected one of v0.1, v0.2, v0.3'
    monkeypatch.setattr(plain, "control_id", lambda piece: None)
    assert refused(plain, "v0.3").startswith("template v0.3: the tokenizer has no control piece [INST], expected")
    monkeypatch.setattr(plain, "eos_id", -1)
    assert refused(plain, "v0.1") == "template v0.1: the tokenizer has no EOS piece, expected one"


# --- a conversation ---------------------------------------------------------------------------------------------------


class Counting(Mistral):
    """Counts the tokens that it computes; with a script, it says the script's ids instead of its own."""

    computed, script, stops_after = 0, (), None

    def next_logits(self, tokens, cache=None, chunk=None, progress=None):
        self.computed += len(tokens)
        logits = super().next_logits(tokens, cache, chunk, progress)
        if self.stops_after == 0:
            raise KeyboardInterrupt  # when the cache has been written and nobody has heard of it
        self.stops_after = None if self.stops_after is None else self.stops_after - 1
        if not self.script:
            return logits
        token, *self.script = self.script
        return np.eye(len(logits))[token]


@pytest.fixture
def model(control, tmp_path):
    """A random model that reads the small tokenizer: `model(window, context_len)`."""

    def made(window=9, context_len=None):
        config = Config(dim=24, n_layers=2, head_dim=10, hidden_dim=40, n_heads=6, n_kv_heads=2,
                        vocab_size=control.vocab_size, window=window, context_len=context_len)  # fmt: skip
        write_checkpoint(tmp_path, config, random_tensors(config, seed=3), "mistral", "float32")
        loaded = Counting.from_pretrained(tmp_path)
        loaded._tokenizer = control
        return loaded

    return made


def said(talk: Conversation, text: str, **options) -> str:
    return "".join(talk.answer(text, **options))


@pytest.mark.parametrize("window", [9, None])
@pytest.mark.parametrize("template", ["v0.1", "v0.3"])
@pytest.mark.parametrize("system", [None, "Be kind."])
def test_every_turn_draws_what_generate_draws_after_the_whole_conversation(model, window, template, system):
    mistral = model(window)
    talk, messages = Conversation(mistral, template, system), messages_of(system=system)
    for turn, text in enumerate(("Who ran?", "The old bear?", "Why?")):
        options = {"max_new_tokens": 11, "temperature": 0.9, "seed": turn}
        messages.append({"role": "user", "content": text})
        ids = list(mistral.generate(encode_chat(messages, mistral.tokenizer, template), **options))
        assert said(talk, text, **options) == mistral.tokenizer.decode(ids) != ""
        messages.append({"role": "assistant", "content": mistral.tokenizer.decode(ids)})
        assert talk.messages == messages


@pytest.mark.parametrize("template", ["v0.1", "v0.3"])
@pytest.mark.parametrize("window", [9, None])
def test_the_cache_goes_on_where_the_ids_do(model, template, window):
    """Each id of the conversation is computed once; the last answer's EOS when the next question comes."""
    mistral = model(window)
    tokenizer = mistral.tokenizer
    talk = Conversation(mistral, template)
    for text, answer in (("Who ran?", "The fox."), ("Why?", "The big bear ran home."), ("And?", "old")):
        mistral.script = [*tokenizer.encode(answer, bos=False), tokenizer.eos_id]
        assert said(talk, text, temperature=0) == answer
        whole = encode_chat(talk.messages, tokenizer, template)
        assert mistral.computed == talk.length == len(whole) - 1


def test_the_cache_begins_anew_where_the_ids_do_not_go_on(model):
    """A system message in v0.3 moves; an answer in other pieces than its text has is not what the model would read."""
    mistral = model()
    tokenizer = mistral.tokenizer
    talk = Conversation(mistral, "v0.3", system="Be kind.")
    for text in ("Who ran?", "Why?"):
        mistral.script, mistral.computed = [*tokenizer.encode("The fox.", bos=False), tokenizer.eos_id], 0
        said(talk, text, temperature=0)
    assert mistral.computed == talk.length == len(encode_chat(talk.messages, tokenizer, "v0.3")) - 1
    talk = Conversation(mistral, "v0.3")
    letters = [tokenizer._model.PieceToId(f"<0x{byte:02X}>") for byte in b"fox"]
    assert letters != tokenizer.encode("fox", bos=False)
    for _ in range(2):
        mistral.script, mistral.computed = [*letters, tokenizer.eos_id], 0
        said(talk, "Who?", temperature=0)
    assert mistral.computed == talk.length > len(encode_chat(messages_of("Who?"), tokenizer, "v0.3")) + 3


def test_half_characters_wait_for_their_other_half(model):
    mistral = model()
    tokenizer = mistral.tokenizer
    mistral.script = [*tokenizer.encode("a🦊", bos=False), tokenizer.eos_id]
    pieces = list(Conversation(mistral).answer("Who?", temperature=0))
    assert "".join(pieces) == "a🦊"
    assert "🦊" in pieces
    assert "\ufffd" not in "".join(pieces)


def test_an_answer_that_is_broken_off_is_kept_and_the_conversation_goes_on(model):
    mistral = model()
    talk = Conversation(mistral)
    pieces = talk.answer("Who ran?", max_new_tokens=20, seed=5)
    kept = "".join(next(pieces) for _ in range(6))
    pieces.close()
    assert talk.messages == messages_of("Who ran?", kept)
    mistral.stops_after = 4
    with pytest.raises(KeyboardInterrupt):
        said(talk, "Why?", max_new_tokens=20)
    assert [m["role"] for m in talk.messages] == ["user", "assistant"] * 2
    mistral.stops_after = None
    ids = encode_chat([*talk.messages, *messages_of("And?")], mistral.tokenizer, talk.template)
    expected = mistral.tokenizer.decode(list(mistral.generate(ids, 9)))
    assert said(talk, "And?", max_new_tokens=9) == expected


def test_a_cache_that_was_written_while_ctrl_c_came_is_not_read_again(model):
    mistral = model()
    tokenizer = mistral.tokenizer
    talk = Conversation(mistral)
    mistral.script = [*tokenizer.encode("The fox.", bos=False), tokenizer.eos_id]
    said(talk, "Who ran?", temperature=0)
    mistral.stops_after = 0
    with pytest.raises(KeyboardInterrupt):
        said(talk, "Why?")
    mistral.stops_after = None
    ids = encode_chat(messages_of("Who ran?", "The fox.", "Why?"), tokenizer, talk.template)
    assert said(talk, "Why?", max_new_tokens=9) == tokenizer.decode(list(mistral.generate(ids, 9)))


def test_a_question_without_an_answer_is_not_kept(model):
    mistral = model()
    talk = Conversation(mistral, system="Be kind.")
    mistral.script = [mistral.tokenizer.eos_id]
    assert said(talk, "Who?", temperature=0) == ""
    mistral.stops_after = 0
    with pytest.raises(KeyboardInterrupt):
        said(talk, "Who?")
    assert talk.messages == messages_of(system="Be kind.")


def test_the_end_of_the_context_is_told(model):
    mistral = model(window=None, context_len=40)
    talk = Conversation(mistral)
    said(talk, "x", max_new_tokens=3)
    assert not talk.full
    said(talk, "x", max_new_tokens=100)
    assert talk.full
    assert talk.length == 40
    before = list(talk.messages)
    with pytest.raises(BadInput, match=r"conversation: \d+ tokens, but the context is 40 and there is no window"):
        said(talk, "x")
    assert talk.messages == before
    talk.reset()
    assert (talk.messages, talk.full) == ([], False)
    assert said(talk, "x", max_new_tokens=3) != ""


@pytest.mark.parametrize(
    "options",
    [{"max_new_tokens": -1}, {"temperature": -1}, {"top_p": 0}, {"top_k": -1}, {"seed": -1}],
    ids=lambda options: next(iter(options)),
)
def test_options_out_of_range_are_one_line(model, options):
    talk = Conversation(model())
    with pytest.raises(BadInput, match=f"^{next(iter(options))}: "):
        talk.answer("Who?", **options)
    with pytest.raises(BadInput, match='^message 1: content "", expected some text'):
        talk.answer("")


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_shows_the_tokens_as_they_are():
    """docs/chat.md: each template's row of pieces, by mistral-common's own tokenizer files."""
    page = (ROOT / "docs" / "chat.md").read_text()
    rows = dict(re.findall(r"^(v0\.\d): +(\S.*)$", page, re.MULTILINE))
    assert rows.keys() == set(TEMPLATES)
    for template, row in rows.items():
        messages = messages_of("Who ran?", "The fox.", "Why?", system="Be kind.")
        ids, tokenizer = official_ids(messages, template)
        assert row.split() == [tokenizer._model.IdToPiece(i) for i in ids]
