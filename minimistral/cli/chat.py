"""minimistral chat: a conversation with a model, typed, piped or given as options."""

import itertools
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.backend import load
from minimistral.cli.generate import (
    LONGEST_PROMPT,
    MaxNewTokens,
    Seed,
    Temperature,
    TopK,
    TopP,
    decoded,
    one_final_newline,
)
from minimistral.cli.options import (
    LARGEST,
    Arithmetic,
    Backend,
    Memory,
    Window,
    cut,
    read_drawing,
    read_whole,
    writable,
)
from minimistral.errors import BadInput

if TYPE_CHECKING:
    from minimistral.chat import Conversation

Source = Callable[[], str | None]  # the next message, None after the last
NextLine = Callable[[str], str | None]  # takes what to show the person who is to type it

ANSWERS = 4  # as many are expected of a conversation when it is decided whether compiling pays
QUOTES = '"""'
HELP = f"""\
type a message and Enter; // begins a message with a slash
{QUOTES}           begins a message of several lines, such as a story; {QUOTES} ends it
/file FILE    the text of a file is the message
/reset        begin anew: forget what was said, but not the system message
/save FILE    write the conversation as a line of JSON, as finetune reads it; replaces FILE
/help         these lines
/quit         the end, as Ctrl-D; Ctrl-C only ends the present answer""".splitlines()

Model = Annotated[
    Path | None,
    typer.Option(
        "--model", metavar="DIR", help="Mistral or Hugging Face folder; without it, the embedded storyteller-instruct."
    ),
]
Template = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="v0.1, v0.2 or v0.3: the Instruct release; without it, by the tokenizer."),
]
System = Annotated[str | None, typer.Option(metavar="TEXT", help="What goes before the user's words.")]
Message = Annotated[
    list[str] | None,
    typer.Option(metavar="TEXT", help="Say this, or do this /command, and end after the last; may be given again."),
]


def chat(
    model: Model = None,
    template: Template = None,
    system: System = None,
    message: Message = None,
    max_new_tokens: MaxNewTokens = "512",
    temperature: Temperature = "0.7",
    top_p: TopP = "0.9",
    top_k: TopK = "0",
    seed: Seed = "0",
    window: Window = None,
    arithmetic: Arithmetic = "exact",
    backend: Backend = "auto",
    memory: Memory = None,
) -> None:
    """Talk to a model, which remembers what was said.

    At a terminal, type; /help says what else can be typed.
    From a pipe, every line is a message; the answers alone go to standard output.
    A line that cannot be used is one error and no end; away from a terminal the exit status is then 2.
    """
    most = read_whole("--max-new-tokens", max_new_tokens, 0, LARGEST)
    answering = {"max_new_tokens": most} | read_drawing(temperature, top_p, top_k, seed)
    check_texts(template, system, message)
    answers = len(message) if message else ANSWERS
    from minimistral.embedded import INSTRUCT

    mistral = load(
        INSTRUCT if model is None else model, arithmetic, backend, memory, window, answers * answering["max_new_tokens"]
    )
    from minimistral.chat import Conversation

    talk = Conversation(mistral, template, system)
    notes = list(mistral.notes)
    person = not message and sys.stdin is not None and sys.stdin.isatty()
    if person:
        notes.append(f"template {talk.template}; /help says what can be typed")
    terminal.tell_person(notes)
    terminal.tell(notes)
    refused = converse(talk, source_of(message, person), answering, person)
    if refused and not person:
        raise typer.Exit(2)


def check_texts(template: str | None, system: str | None, messages: list[str] | None) -> None:
    """What can be seen to be wrong before a model is loaded."""
    from minimistral.chat import TEMPLATES

    if template is not None and template not in TEMPLATES:
        raise BadInput(f"--template: {cut(template)}, expected one of {', '.join(TEMPLATES)}")
    for option, text in [("--system", system), *(("--message", text) for text in messages or [])]:
        if text == "":
            raise BadInput(f"{option}: an empty string, expected some text")


# --- where messages come from -------------------------------------------------------------------------------------


def source_of(messages: list[str] | None, person: bool) -> Source:
    """The messages of the options, or of the person at the terminal, or of the pipe."""
    if messages:
        given = iter(messages)
        return lambda: next(given, None)
    if person:
        try:
            import readline  # noqa: F401 (gives `input` its line editing and its history)
        except ImportError:
            pass  # not on every system; typing works without
        return partial(next_message, typed_line)
    return partial(next_message, piped_lines())


def next_message(next_line: NextLine) -> str | None:
    """A line, or all lines from one that begins with three quotes to one that ends with them.

    >>> lines = iter(['one', '\"""a story', 'of two lines\"""'])
    >>> next_message(lambda prompt: next(lines, None)), next_message(lambda prompt: next(lines, None))
    ('one', 'a story\\nof two lines')
    """
    line = next_line("> ")
    if line is None or not line.startswith(QUOTES):
        return line
    lines = [line.removeprefix(QUOTES)]
    while not lines[-1].rstrip().endswith(QUOTES):
        line = next_line("... ")
        if line is None:
            raise BadInput(f"a message that {QUOTES} began has no end, expected {QUOTES} at the end of a line")
        lines.append(line)
    return "\n".join(lines).rstrip().removesuffix(QUOTES).strip("\n")


def typed_line(prompt: str) -> str | None:
    """A line from the person at the terminal; None after Ctrl-D."""
    try:
        if sys.stdout.isatty():
            return input(prompt)
        sys.stderr.write(prompt)  # standard output goes to a file: the prompt is not part of it
        sys.stderr.flush()
        line = sys.stdin.readline()
    except EOFError:
        line = ""
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8: byte 0x{error.object[error.start]:02x} at {error.start}") from None
    if line == "":
        sys.stderr.write("\n")  # the shell's own prompt begins on a line of its own
        return None
    return line.removesuffix("\n")


def piped_lines() -> NextLine:
    """A function that gives the lines of standard input, one at a call, then None."""
    numbers = itertools.count(1)

    def next_line(prompt: str) -> str | None:
        where = f"standard input, line {next(numbers)}"
        data = b"" if sys.stdin is None else sys.stdin.buffer.readline(LONGEST_PROMPT + 1)
        if len(data) > LONGEST_PROMPT:
            raise BadInput(f"{where}: more than {LONGEST_PROMPT} bytes, expected a message")
        return decoded(data, where) if data else None

    return next_line


# --- what is done with them ---------------------------------------------------------------------------------------


def converse(talk: "Conversation", source: Source, answering: dict, person: bool) -> bool:
    """Answer every message and do every command; whether one could not be used, which is one line and no end."""
    refused = False
    while True:
        try:
            entry = source()
            if entry is None or entry.split() == ["/quit"]:
                return refused
            text = message_of(talk, entry)
            if text.strip():
                answer(talk, text, answering)
        except BadInput as error:
            terminal.say(f"error: {error}")
            refused = True
        except KeyboardInterrupt:
            if not person:
                raise
            terminal.write("\n")


def message_of(talk: "Conversation", entry: str) -> str:
    """What is to be said to the model: what was typed, or a file's text, or nothing after any other command."""
    if entry.startswith("//") or not entry.startswith("/"):
        return entry.removeprefix("/")
    command, _, rest = entry.partition(" ")
    rest = rest.strip()
    if command not in ("/file", "/help", "/quit", "/reset", "/save"):
        raise BadInput(f"{cut(command)}: no such command; /help names them, // begins a message with a slash")
    if command in ("/file", "/save") and not rest:
        raise BadInput(f"{command}: no file, expected {command} FILE")
    if command not in ("/file", "/save") and rest:
        raise BadInput(f"{command}: {cut(rest)} after it, expected nothing")
    if command == "/file":
        return text_of(Path(rest).expanduser())
    if command == "/save":
        save(talk, Path(rest).expanduser())
    elif command == "/reset":
        talk.reset()
        terminal.tell_person(["the conversation begins anew"])
    else:
        for line in HELP:
            terminal.say(line)
    return ""


def answer(talk: "Conversation", text: str, answering: dict) -> None:
    """The answer to standard output as it comes, and one newline; then what a reader should know of it."""
    before = len(talk.messages)
    with terminal.progress("reading the message") as bar:
        pieces = talk.answer(text, **answering, progress=bar)
        try:
            for piece in one_final_newline(pieces):
                terminal.write(piece)
        except KeyboardInterrupt:
            pieces.close()  # so that what was said is kept
            raise
        except BadInput:
            terminal.write("\n")
            raise
    if talk.full:
        context = talk.model.config.context_len
        terminal.tell([f"stopped at the end of the context, {context} tokens; there is no window; /reset begins anew"])
    elif len(talk.messages) == before:
        terminal.tell(["the model gave no answer; the message is not kept"])


def text_of(path: Path) -> str:
    """A file's text, without the newline at its end."""
    from minimistral.checkpoint.files import read_plain

    text = decoded(read_plain(path, LONGEST_PROMPT), str(path))
    if not text.strip():
        raise BadInput(f"/file: {path}: no text in it, expected a message")
    return text


def save(talk: "Conversation", path: Path) -> None:
    """The conversation as one line of JSON: {"messages": [{"role": ..., "content": ...}, ...]}."""
    from minimistral.whole_file import whole_file

    if not any(message["role"] == "assistant" for message in talk.messages):
        raise BadInput("/save: nothing was said yet, expected a message and an answer first")
    line = json.dumps({"messages": talk.messages}, ensure_ascii=False) + "\n"
    with whole_file(writable("/save", path), "/save") as partial_path:
        partial_path.write_text(line, encoding="utf-8", newline="\n")
    terminal.tell_person([f"{len(talk.messages)} messages written to {path}"])
