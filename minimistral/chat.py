"""Instruct templates: a conversation as token ids, token for token as mistral-common makes them; and one that goes on.

    v0.1, v0.2    BOS e("[INST] " user " [/INST]")  e(answer) EOS  e("[INST] " user " [/INST]") ...
    v0.3          BOS [INST] e(user) [/INST]        e(answer) EOS  [INST] e(user) [/INST] ...

e is sentencepiece's encoding of one text alone: it puts a space before the text. In v0.1 and v0.2 the brackets are
plain text; in v0.3 each is one control piece, and an answer loses the spaces at its end. A system message goes before
the first user message (v0.1, v0.2) or before the last one (v0.3), with an empty line between.
Source: mistral-common's tokenizers v1 (Instruct v0.1 and v0.2, which do not differ) and v3 (Instruct v0.3).
"""

from collections.abc import Iterator

from minimistral.checkpoint.files import as_json, shown
from minimistral.errors import BadInput
from minimistral.mistral import Mistral, Progress
from minimistral.sampling import sample
from minimistral.tokenizer import Tokenizer

TEMPLATES = ("v0.1", "v0.2", "v0.3")
BEGIN, END = "[INST]", "[/INST]"
OTHER = {"user": "assistant", "assistant": "user"}


def encode_chat(messages: list[dict], tokenizer: Tokenizer, template: str) -> list[int]:
    """The ids of a conversation. After a user message they are a prompt; after an answer they end in EOS.

    BadInput for messages that check_messages refuses, and for a template that the tokenizer cannot write.
    """
    return [token for ids, _ in chat_spans(messages, tokenizer, template) for token in ids]


def chat_spans(messages: list[dict], tokenizer: Tokenizer, template: str) -> list[tuple[list[int], bool]]:
    """(ids, whether the loss counts here), span by span: True for an answer and its EOS. Together: encode_chat."""
    check_messages(messages)
    check_template(tokenizer, template)
    spans = [([tokenizer.bos_id], False)]
    for message in _with_system(messages, template):
        if message["role"] == "user":
            spans.append((_user_ids(message["content"], tokenizer, template), False))
        else:
            spans.append((_answer_ids(message["content"], tokenizer, template), True))
    return spans


def default_template(tokenizer: Tokenizer) -> str:
    """v0.3 if the tokenizer has the control pieces [INST] and [/INST], else v0.1."""
    has = [tokenizer.control_id(piece) is not None for piece in (BEGIN, END)]
    return "v0.3" if all(has) else "v0.1"


def check_template(tokenizer: Tokenizer, template: str) -> None:
    """BadInput if there is no such template, or the tokenizer has not the pieces that it needs."""
    if template not in TEMPLATES:
        raise BadInput(f"template: {as_json(template)}, expected one of {', '.join(TEMPLATES)}")
    for name, token in (("BOS", tokenizer.bos_id), ("EOS", tokenizer.eos_id)):
        if token < 0:
            raise BadInput(f"template {template}: the tokenizer has no {name} piece, expected one")
    for piece in (BEGIN, END) if template == "v0.3" else ():
        if tokenizer.control_id(piece) is None:
            raise BadInput(f"template v0.3: the tokenizer has no control piece {piece}, expected template v0.1 or v0.2")


def check_messages(messages: object) -> None:
    """BadInput, with the message's number from 1, unless they are [system,] user, assistant, user, ... with some text.

    >>> check_messages([{"role": "user", "content": "Who?"}, {"role": "user", "content": "Where?"}])
    Traceback (most recent call last):
    minimistral.errors.BadInput: message 2: role user, expected assistant
    """
    if not isinstance(messages, list):
        raise BadInput(f"messages: {as_json(messages)}, expected a list of objects with role and content")
    for number, message in enumerate(messages, 1):
        _check_message(number, message)
    expected = "user"
    for number, message in enumerate(messages, 1):
        role = message["role"]
        if role == "system" and number > 1:
            raise BadInput(f"message {number}: role system, expected {expected}; system comes first, or not at all")
        if role != "system" and role != expected:
            raise BadInput(f"message {number}: role {role}, expected {expected}")
        expected = OTHER.get(role, "user")
    if not messages or messages[-1]["role"] == "system":
        raise BadInput(f"messages: {'a system message alone' if messages else 'none'}, expected a user message")


def _check_message(number: int, message: object) -> None:
    """One message by itself: an object of a known role and some valid text, and nothing that would be lost."""
    where = f"message {number}"
    if not isinstance(message, dict):
        raise BadInput(f"{where}: {as_json(message)}, expected an object with role and content")
    for key in ("role", "content"):
        if key not in message:
            raise BadInput(f"{where}: no {key}, expected role and content")
    if extra := sorted(map(str, message.keys() - {"role", "content"})):
        raise BadInput(f"{where}: has {shown(', '.join(extra))}, expected only role and content")
    role, content = message["role"], message["content"]
    if role not in ("system", "user", "assistant"):
        raise BadInput(f"{where}: role {as_json(role)}, expected system, user or assistant")
    if not isinstance(content, str) or content == "":
        raise BadInput(f"{where}: content {as_json(content)}, expected some text")
    try:
        content.encode()
    except UnicodeEncodeError as error:
        raise BadInput(f"{where}: character {error.start} is half a surrogate pair, expected valid Unicode") from None


def _with_system(messages: list[dict], template: str) -> list[dict]:
    """The conversation without its system message: the text has gone before that of a user message."""
    if messages[0]["role"] != "system":
        return messages
    system, turns = messages[0]["content"], list(messages[1:])
    users = [i for i, message in enumerate(turns) if message["role"] == "user"]
    at = users[-1] if template == "v0.3" else users[0]
    turns[at] = {"role": "user", "content": f"{system}\n\n{turns[at]['content']}"}
    return turns


def _user_ids(text: str, tokenizer: Tokenizer, template: str) -> list[int]:
    if template == "v0.3":
        return [tokenizer.control_id(BEGIN), *tokenizer.encode(text, bos=False), tokenizer.control_id(END)]
    return tokenizer.encode(f"{BEGIN} {text} {END}", bos=False)


def _answer_ids(text: str, tokenizer: Tokenizer, template: str) -> list[int]:
    text = text.rstrip(" ") if template == "v0.3" else text
    return [*tokenizer.encode(text, bos=False), tokenizer.eos_id]


class Conversation:
    """What was said to a model and what it answered.

    messages: the list that check_messages takes, always with an answer to every question; `full`: whether the last
    answer was cut by the end of the context. The cache goes on from turn to turn while the ids of the conversation
    extend those that it holds; else it starts anew, and the same text comes out a little later.
    """

    def __init__(self, model: Mistral, template: str | None = None, system: str | None = None):
        self.model = model
        self.template = default_template(model.tokenizer) if template is None else template
        self._start = [] if system is None else [{"role": "system", "content": system}]
        self._encoded([*self._start, {"role": "user", "content": "?"}])  # what cannot work is said now
        self.reset()

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages = list(self._start)
        self.full = False
        self._cache, self._cached = None, []  # the ids that the cache holds

    @property
    def length(self) -> int:
        """How many tokens the cache has seen: those of the conversation up to now."""
        return len(self._cached)

    def answer(
        self,
        text: str,
        max_new_tokens: int = 512,
        temperature: float = 0.7,
        top_p: float = 0.9,
        top_k: int = 0,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Iterator[str]:
        """The answer, piece by piece as it comes: the ids that Mistral.generate draws after the whole conversation.

        At its end, or where it is broken off, question and answer are in `messages`; an answer without a character is
        not kept, nor its question. BadInput for text or options out of range, and if the context is full.
        """
        question = [*self.messages, {"role": "user", "content": text}]
        ids = self._encoded(question)
        if self.model.context_full(len(ids)):
            context = self.model.config.context_len
            raise BadInput(
                f"conversation: {len(ids)} tokens, but the context is {context} and there is no window; begin anew"
            )
        self.model.generate(ids, 0, temperature, top_p, top_k, seed)  # draws nothing, but looks at the options
        if max_new_tokens < 0:
            raise BadInput(f"max_new_tokens: {max_new_tokens}, expected 0 or more")
        return self._said(question, self._drawn(ids, max_new_tokens, (temperature, top_p, top_k, seed), progress))

    def _said(self, question: list[dict], drawn: Iterator[int]) -> Iterator[str]:
        stream, said = self.model.tokenizer.stream(), ""
        try:
            for token in drawn:
                said += (piece := stream.push(token))
                yield piece
            said += (piece := stream.finish())
            yield piece
        finally:  # also when it is broken off, by Ctrl-C or by whoever reads
            if said:
                self.messages = [*question, {"role": "assistant", "content": said}]

    def _drawn(self, ids: list[int], most: int, draw: tuple, progress: Progress | None) -> Iterator[int]:
        """The ids of the answer, as Mistral.generate draws them; what the cache holds is not computed again."""
        part, self.full = self._uncached(ids), False
        for _ in range(most):
            self.full = self.model.context_full(self._cache.length + len(part))
            if self.full:
                return
            logits = self._logits(part, progress)
            token = sample(logits, *draw, self._cache.length)
            if token == self.model.eos_id:
                return
            yield token
            part, progress = [token], None

    def _uncached(self, ids: list[int]) -> list[int]:
        """The ids that follow those in the cache; where they do not extend them, all of them, and an empty cache."""
        if self._cache is None or len(ids) <= len(self._cached) or ids[: len(self._cached)] != self._cached:
            self._cache, self._cached = self.model.new_cache(), []
        return ids[len(self._cached) :]

    def _logits(self, part: list[int], progress: Progress | None):
        cache, self._cache = self._cache, None  # Ctrl-C in here would leave it half written
        logits = self.model.next_logits(part, cache, progress=progress)
        self._cache = cache
        self._cached += part
        return logits

    def _encoded(self, messages: list[dict]) -> list[int]:
        return encode_chat(messages, self.model.tokenizer, self.template)
