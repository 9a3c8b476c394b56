"""minimistral generate: a prompt, and how the model goes on."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.backend import load
from minimistral.cli.options import (
    LARGEST,
    Arithmetic,
    Backend,
    Memory,
    Model,
    Tokens,
    Window,
    read_drawing,
    read_tokens,
    read_whole,
)
from minimistral.errors import BadInput

if TYPE_CHECKING:
    from minimistral.mistral import Mistral

LONGEST_PROMPT = 2**24  # bytes

Prompt = Annotated[
    str | None,
    typer.Argument(
        metavar="PROMPT",
        show_default=False,
        help="The text to go on from; '-', or none when something is piped in: standard input.",
    ),
]
File = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="A file with the prompt, in UTF-8.")]
MaxNewTokens = Annotated[str, typer.Option(metavar="N", help="Stop after so many tokens.")]
Temperature = Annotated[str, typer.Option(metavar="X", help="0: always the most likely token; higher: more varied.")]
TopP = Annotated[str, typer.Option(metavar="P", help="Draw from the fewest tokens that hold this share; above 0.")]
TopK = Annotated[str, typer.Option(metavar="K", help="Draw from so many most likely tokens; 0: from all.")]
Seed = Annotated[str, typer.Option(metavar="N", help="The same seed gives the same text on every machine.")]
Stop = Annotated[list[str] | None, typer.Option(metavar="STRING", help="End before this text; may be given again.")]


def generate(
    prompt: Prompt = None,
    file: File = None,
    tokens: Tokens = None,
    model: Model = None,
    max_new_tokens: MaxNewTokens = "512",
    temperature: Temperature = "0.7",
    top_p: TopP = "0.9",
    top_k: TopK = "0",
    seed: Seed = "0",
    stop: Stop = None,
    window: Window = None,
    arithmetic: Arithmetic = "exact",
    backend: Backend = "auto",
    memory: Memory = None,
) -> None:
    """Write a text: the prompt, and how the model goes on.

    It ends where the model ends it, at a --stop string, or after --max-new-tokens.
    A newline that ends a file or standard input is not part of the prompt.
    """
    most = read_whole("--max-new-tokens", max_new_tokens, 0, LARGEST)
    drawing = read_drawing(temperature, top_p, top_k, seed)
    if stop and "" in stop:
        raise BadInput("--stop: an empty string, expected some text")
    given = prompt_of(prompt, file, tokens)
    mistral = load(model, arithmetic, backend, memory, window, most + len(given) // 4)
    tokenizer = mistral.tokenizer  # asked for first: without one no text can come out
    ids = tokenizer.encode(given) if isinstance(given, str) else given
    ids = ids or [1]  # an empty prompt, and a tokenizer that has no BOS
    notes = list(mistral.notes)
    length, context = len(ids), mistral.config.context_len
    if context is not None and length > context and not mistral.context_full(length):
        notes.append(f"the prompt has {length} tokens, more than the context of {context}; the window goes on")
    terminal.tell_person(notes)
    with terminal.progress("reading the prompt") as bar:
        new = mistral.generate(ids, most, **drawing, progress=bar)
        counted = Counted(new)
        for piece in one_final_newline(story(mistral, ids, counted, stop or [])):
            terminal.write(piece)
    if counted.exhausted and counted.count < most and mistral.context_full(length + counted.count):
        notes.append(f"stopped at the end of the context, {context} tokens; there is no window")
    terminal.tell(notes)


def prompt_of(prompt: str | None, file: Path | None, tokens: str | None) -> str | list[int]:
    """The text to go on from, or the ids. BadInput if more than one is given, or it is not UTF-8."""
    given = [name for name, x in (("PROMPT", prompt), ("--file", file), ("--tokens", tokens)) if x is not None]
    if len(given) > 1:
        raise BadInput(f"{' and '.join(given)}: more than one prompt, expected one")
    if tokens is not None:
        return read_tokens(tokens)
    if file is not None:
        from minimistral.checkpoint.files import read_plain

        return decoded(read_plain(file, LONGEST_PROMPT), str(file))
    if prompt not in (None, "-"):
        return prompt
    if sys.stdin is None or (prompt is None and sys.stdin.isatty()):
        return ""
    data = sys.stdin.buffer.read(LONGEST_PROMPT + 1)
    if len(data) > LONGEST_PROMPT:
        raise BadInput(f"standard input: more than {LONGEST_PROMPT} bytes, expected a prompt")
    return decoded(data, "standard input")


def decoded(data: bytes, where: str) -> str:
    """UTF-8 without the newline that an editor or echo puts at the end."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{where}: not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}") from None
    return text.removesuffix("\n").removesuffix("\r")


class Counted:
    """An iterator that knows how many it gave, and whether it came to its end."""

    def __init__(self, iterator: Iterator[int]):
        self.count, self.exhausted, self._iterator = 0, False, iterator

    def __iter__(self) -> Iterator[int]:
        for x in self._iterator:
            self.count += 1
            yield x
        self.exhausted = True


def story(model: "Mistral", ids: list[int], new: Iterable[int], stops: list[str]) -> Iterator[str]:
    """The prompt's text with the first piece (a model that cannot run says nothing), then what is new."""
    stream = model.tokenizer.stream()
    prompt = "".join([stream.push(i) for i in ids])

    def continuation() -> Iterator[str]:
        for token in new:
            yield stream.push(token)
        yield stream.finish()

    pieces = until_stop(continuation(), stops)
    yield prompt + next(pieces, "")
    yield from pieces


def until_stop(pieces: Iterable[str], stops: list[str]) -> Iterator[str]:
    """The text before the first stop string; what may be the beginning of one is held back until that is known.

    >>> list(until_stop(["one ", "tw", "o th", "ree"], ["o three"]))
    ['one ', 'tw', '', '']
    """
    held = ""
    for piece in pieces:
        held += piece
        found = [at for at in (held.find(stop) for stop in stops) if at >= 0]
        if found:
            yield held[: min(found)]
            return
        longest = max((len(stop) for stop in stops), default=1) - 1
        maybe = range(max(0, len(held) - longest), len(held))
        keep = next((n for n in maybe if any(stop.startswith(held[n:]) for stop in stops)), len(held))
        yield held[:keep]
        held = held[keep:]
    yield held


def one_final_newline(pieces: Iterable[str]) -> Iterator[str]:
    """The text with one newline at its end, however many it had.

    >>> "".join(one_final_newline(["a\\n", "\\n", "b\\n\\n", ""]))
    'a\\n\\nb\\n'
    """
    held = ""
    for piece in pieces:
        text = held + piece
        body = text.rstrip("\n")
        held = text[len(body) :]
        yield body
    yield "\n"
