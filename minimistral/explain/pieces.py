"""Tokens as a person can read them: no character that a page or a reader would stumble over."""

from collections.abc import Sequence
from typing import NamedTuple

from minimistral.tokenizer import Tokenizer

CONTROL = ("[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
           "[/TOOL_RESULTS]")  # fmt: skip


class Token(NamedTuple):
    """id; piece: what the vocabulary has under it; text: the characters that it completes in this text."""

    id: int
    piece: str
    text: str


def tokens_shown(tokenizer: Tokenizer, ids: Sequence[int]) -> list[Token]:
    """A text's tokens. An emoji may be four bytes, a token each: the last of them completes it."""
    stream = tokenizer.stream()
    return [Token(int(i), piece_shown(tokenizer, int(i)), visible(stream.push(int(i)))) for i in ids]


def piece_shown(tokenizer: Tokenizer, token: int) -> str:
    """What one id stands for, alone: its text, <F0> for a byte that is no character, a name for a control token."""
    if token >= tokenizer.vocab_size:
        return f"⟨id {token}⟩"  # a row of the output matrix that the tokenizer has no piece for
    data = tokenizer.piece_bytes(token)
    if not data:
        return control_name(tokenizer, token)
    try:
        return visible(data.decode())
    except UnicodeDecodeError:
        return "⟨" + data.hex(" ").upper() + "⟩"


def control_name(tokenizer: Tokenizer, token: int) -> str:
    names = {tokenizer.control_id(name): name for name in CONTROL}
    names |= {tokenizer.eos_id: "⟨end⟩", tokenizer.bos_id: "⟨start⟩"}
    return names.get(token, "⟨control⟩")


def visible(text: str) -> str:
    """The text with what cannot be seen, or turns the writing round, by its code; spaces and ends of lines stay.

    >>> visible("a\\x00 \\u202eb\\n")
    'a⟨U+0000⟩ ⟨U+202E⟩b\\n'
    """
    return "".join(c if c.isprintable() or c in " \n\t" else f"⟨U+{ord(c):04X}⟩" for c in text)
