"""minimistral chat: what is typed, piped or given as options; where words go; every mistake one line."""

import fcntl
import io
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
import typer

from minimistral import embedded as embedded_package
from minimistral.chat import Conversation, check_messages
from minimistral.checkpoint import write_checkpoint
from minimistral.cli.chat import HELP, chat
from minimistral.cli.program import run
from minimistral.config import Config
from minimistral.embedded import STORYTELLER
from minimistral.errors import NotFinite
from minimistral.mistral import Mistral
from minimistral.tokenizer import Tokenizer
from minimistral.weights import random_tensors

ROOT = Path(__file__).parents[1]
PROGRAM = typer.Typer(add_completion=False)
PROGRAM.command()(chat)
PROCESS = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
from test_cli_chat import PROGRAM, run
try:
    sys.exit(run(None, PROGRAM, "minimistral chat"))
except KeyboardInterrupt:
    sys.exit(130)  # as minimistral.cli.main does
"""


def in_child() -> None:
    """Ctrl-C works in it even where the tests run in the background; its terminal, if it has one, sends it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)


IN_CHILD = {"preexec_fn": in_child}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Random models with the storyteller's tokenizer: `window`, and `context` (no window, 60 tokens); `mute` has none."""
    place = tmp_path_factory.mktemp("models")
    sizes = {"dim": 24, "n_layers": 2, "head_dim": 10, "hidden_dim": 40, "n_heads": 6, "n_kv_heads": 2}
    vocabulary = Mistral.from_pretrained(STORYTELLER).tokenizer.vocab_size
    for name, more in {"window": {"window": 9}, "context": {"context_len": 60}, "mute": {"window": 5}}.items():
        config = Config(**sizes, vocab_size=vocabulary, **more)
        write_checkpoint(place / name, config, random_tensors(config, seed=3), "mistral", "float32")
        if name != "mute":
            (place / name / "tokenizer.model").write_bytes((STORYTELLER / "tokenizer.model").read_bytes())
    return place


@pytest.fixture
def command(capsys, monkeypatch):
    """Run `minimistral chat` in this process: (status, standard output, standard error)."""

    def called(*arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = run([str(a) for a in arguments], PROGRAM, "minimistral chat")
        return status, *capsys.readouterr()

    return called


def options(folders, name="window", most=8):
    return ["--model", folders / name, "--backend", "numpy", "--max-new-tokens", most]


def answers(folder, *texts, template=None, system=None, **drawing) -> str:
    """What chat should print, by the Python surface."""
    talk = Conversation(Mistral.from_pretrained(folder), template, system)
    said = ["".join(talk.answer(text, **drawing)).rstrip("\n") + "\n" for text in texts]
    return "".join(said)


# --- the answers ------------------------------------------------------------------------------------------------------


def test_the_answers_are_one_conversation_from_options_or_a_pipe(command, folders):
    expected = answers(folders / "window", "Hello", "Who ran?", max_new_tokens=8)
    assert command(*options(folders), "--message", "Hello", "--message", "Who ran?") == (0, expected, "")
    for piped in (b"Hello\nWho ran?\n", b"\xef\xbb\xbfHello\r\n\n  \nWho ran?", b'"""\nHello\n"""\nWho ran?\n'):
        assert command(*options(folders), stdin=piped) == (0, expected, "")
    assert expected != answers(folders / "window", "Hello", max_new_tokens=8) + answers(
        folders / "window", "Who ran?", max_new_tokens=8
    )


def test_options_reach_the_conversation(command, folders):
    drawing = {"temperature": 1.5, "top_p": 0.8, "top_k": 50, "seed": 11}
    written = ["--temperature", 1.5, "--top-p", 0.8, "--top-k", 50, "--seed", 11, "--template", "v0.2"]
    expected = answers(
        folders / "window", "Hello", "Why?", template="v0.2", system="Be kind.", max_new_tokens=8, **drawing
    )
    status, out, err = command(*options(folders), *written, "--system", "Be kind.", stdin=b"Hello\nWhy?\n")
    assert (status, out, err) == (0, expected, "")
    assert expected != answers(folders / "window", "Hello", "Why?", max_new_tokens=8, **drawing)
    assert (
        command(*options(folders), "--window", 2, "--message", "Hello Hello Hello")[1]
        != command(*options(folders), "--message", "Hello Hello Hello")[1]
    )


def test_a_story_is_one_message(command, folders, tmp_path):
    story = "The fox ran.\n\n  It was cold.\\\nWho ran?"
    expected = answers(folders / "window", story, max_new_tokens=8)
    (tmp_path / "a story.txt").write_text(story + "\n")
    piped = (f'"""{story}"""\n', f'"""\n{story}\n"""\n', f"/file {tmp_path}/a story.txt\n")
    for given in piped:
        assert command(*options(folders), stdin=given.encode()) == (0, expected, ""), given
    assert command(*options(folders), "--message", story) == (0, expected, "")
    assert command(*options(folders), "--message", f"/file {tmp_path}/a story.txt") == (0, expected, "")


def test_two_slashes_begin_a_message_with_one(command, folders):
    expected = answers(folders / "window", "/quit", "/", max_new_tokens=8)
    assert command(*options(folders), stdin=b"///quit\n//\n".replace(b"///quit", b"//quit")) == (0, expected, "")


# --- commands ---------------------------------------------------------------------------------------------------------


def test_reset_forgets_all_but_the_system_message(command, folders):
    once = answers(folders / "window", "Hello", system="Be kind.", max_new_tokens=8)
    given = b"Hello\n/reset\nHello\n"
    assert command(*options(folders), "--system", "Be kind.", stdin=given) == (0, once * 2, "")
    assert command(*options(folders), "--system", "Be kind.", stdin=b"Hello\nHello\n")[1] != once * 2


def test_save_writes_the_messages_as_finetune_reads_them(command, folders, tmp_path):
    path = tmp_path / "said.jsonl"
    path.write_text("an older file\n" * 100)
    given = f'"""one\nünicode"""\nWho?\n/save {path}\n'
    status, out, err = command(*options(folders), "--system", "Be kind.", stdin=given.encode())
    assert (status, err) == (0, "")
    lines = path.read_bytes().split(b"\n")
    assert len(lines) == 2
    assert lines[1] == b""
    saved = json.loads(lines[0])
    assert list(saved) == ["messages"]
    check_messages(saved["messages"])
    said = [m["content"] for m in saved["messages"]]
    assert said[:2] == ["Be kind.", "one\nünicode"]
    assert out == "".join(text.rstrip("\n") + "\n" for text in said[2::2])
    assert "ünicode".encode() in lines[0]
    assert os.listdir(tmp_path) == ["said.jsonl"]


def test_quit_ends_and_help_tells_every_command(command, folders):
    status, out, err = command(*options(folders), stdin=b"/help\n/quit\nHello\n")
    assert (status, out) == (0, "")
    assert err.splitlines() == HELP
    for word in ("/help", "/quit", "/reset", "/save FILE", "/file FILE", '"""', "//"):
        assert word in err


BAD_LINES = {
    b"/nonsense x": "error: '/nonsense': no such command; /help names them, // begins a message with a slash\n",
    b"/": "error: '/': no such command; /help names them, // begins a message with a slash\n",
    b"/save": "error: /save: no file, expected /save FILE\n",
    b"/save x.jsonl": "error: /save: nothing was said yet, expected a message and an answer first\n",
    b"/file": "error: /file: no file, expected /file FILE\n",
    b"/file missing.txt": "error: missing.txt: cannot be read: No such file or directory\n",
    b"/file .": "error: .: is a folder, expected a file\n",
    b"/file /dev/null": "error: /dev/null: is a pipe or a device, expected a plain file\n",
    b"/file blank.txt": "error: /file: blank.txt: no text in it, expected a message\n",
    b"/reset now": "error: /reset: 'now' after it, expected nothing\n",
    b"/quit now": "error: /quit: 'now' after it, expected nothing\n",
    b"caf\xe9": "error: standard input, line 1: not UTF-8: byte 0xe9 at 3\n",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: line.decode("latin-1"))
def test_a_line_that_cannot_be_used_is_one_error_and_no_end(command, folders, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blank.txt").write_text(" \n")
    status, out, err = command(*options(folders), stdin=line + b"\nHello\n")
    assert (out, err) == (answers(folders / "window", "Hello", max_new_tokens=8), BAD_LINES[line])
    assert status == 2
    assert os.listdir(tmp_path) == ["blank.txt"]


def test_a_file_that_cannot_be_written_is_one_line_and_the_conversation_goes_on(command, folders, tmp_path):
    given = f"Hello\n/save {tmp_path}\n/save {tmp_path}/none/x\nWho?\n"
    status, out, err = command(*options(folders), stdin=given.encode())
    assert out == answers(folders / "window", "Hello", "Who?", max_new_tokens=8)
    assert err.splitlines() == [
        f"error: /save: {tmp_path} is not a plain file",
        f"error: /save: {tmp_path}/none is not a folder",
    ]
    assert status == 2


def test_quotes_without_an_end_are_one_line(command, folders):
    status, out, err = command(*options(folders), stdin=b'"""a story\nthat has no end\n')
    assert (status, out) == (2, "")
    assert err == 'error: a message that """ began has no end, expected """ at the end of a line\n'


BAD_OPTIONS = [
    (["--template", "v0.4"], "error: --template: 'v0.4', expected one of v0.1, v0.2, v0.3"),
    (["--template", ""], "error: --template: '', expected one of v0.1, v0.2, v0.3"),
    (["--system", ""], "error: --system: an empty string, expected some text"),
    (["--message", "x", "--message", ""], "error: --message: an empty string, expected some text"),
    (["--max-new-tokens", "-1"], "error: --max-new-tokens: '-1', expected a whole number from 0 to 2147483647"),
    (["--temperature", "nan"], "error: --temperature: 'nan', expected a number from 0 to"),
    (["--top-p", "0"], "error: --top-p: '0', expected a number from"),
    (["--top-k", "x"], "error: --top-k: 'x', expected a whole number from 0 to"),
    (["--seed", "1.5"], "error: --seed: '1.5', expected a whole number from 0 to"),
    (["--window", "0"], "error: --window: '0', expected a whole number from 1 to"),
    (["--memory", "much"], "error: --memory: 'much', expected bytes such as"),
    (["--backend", "tpu"], "error: --backend: 'tpu', expected one of"),
    (["--arithmetic", "int8"], "error: arithmetic 'int8': expected one of exact, float32, float64, bfloat16, float16"),
    (["--no-such-option"], "error: No such option: --no-such-option"),
    (["Hello"], "error: Got unexpected extra argument"),
    (["--model", "no/such/folder"], "error: no/such/folder: "),
]


@pytest.mark.parametrize(("written", "expected"), BAD_OPTIONS, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_a_bad_option_is_one_line_and_status_2(command, folders, written, expected):
    given = [] if "--model" in written else options(folders)
    status, out, err = command(*given, *written, stdin=b"Hello\n")
    assert (status, out) == (2, "")
    assert err.startswith(expected), err
    assert err.count("\n") == 1


def test_a_model_without_the_pieces_is_one_line_and_status_2(command, folders, monkeypatch):
    status, out, err = command(*options(folders, "mute"), stdin=b"Hello\n")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "has no tokenizer" in err
    monkeypatch.setattr(Tokenizer, "control_id", lambda tokenizer, name: None)
    status, out, err = command(*options(folders), "--template", "v0.3", stdin=b"Hello\n")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: template v0.3: the tokenizer has no control piece [INST]")


def test_the_end_of_the_context_is_one_line(command, folders):
    status, out, err = command(*options(folders, "context", 500), stdin=b"Hello\nHello\n/reset\nHello\n")
    first, refused, again = err.splitlines()
    expected = "note: stopped at the end of the context, 60 tokens; there is no window; /reset begins anew"
    assert first == again == expected
    assert re.fullmatch(
        r"error: conversation: \d+ tokens, but the context is 60 and there is no window; begin anew", refused
    )
    assert out == 2 * answers(folders / "context", "Hello", max_new_tokens=500)
    assert status == 2


def test_no_answer_is_told_and_not_kept(command, folders, tmp_path):
    given = f"Hello\n/save {tmp_path / 'x'}\n".encode()
    status, out, err = command(*options(folders, most=0), stdin=given)
    assert (status, out) == (2, "\n")
    assert err.splitlines() == [
        "note: the model gave no answer; the message is not kept",
        "error: /save: nothing was said yet, expected a message and an answer first",
    ]


def test_a_failure_in_the_middle_of_an_answer_is_one_line_and_no_end(command, folders, monkeypatch):
    right, calls = Mistral.next_logits, []

    def wrong_at_first(self, *given, **more):
        calls.append(1)
        if len(calls) == 4:
            raise NotFinite("layers.1.output: NaN")
        return right(self, *given, **more)

    monkeypatch.setattr(Mistral, "next_logits", wrong_at_first)
    status, out, err = command(*options(folders), stdin=b"Hello\n/reset\nHello\n")
    monkeypatch.setattr(Mistral, "next_logits", right)
    assert (status, err) == (2, "error: layers.1.output: NaN\n")
    cut, expected = (answers(folders / "window", "Hello", max_new_tokens=n) for n in (3, 8))
    assert out.endswith("\n" + expected)
    assert cut.startswith(out.removesuffix(expected).rstrip("\n"))


# --- the embedded model -----------------------------------------------------------------------------------------------


def test_without_a_folder_the_embedded_instruct_model_answers(command, folders, monkeypatch):
    monkeypatch.setattr(embedded_package, "INSTRUCT", folders / "window")
    given = ["--backend", "numpy", "--max-new-tokens", 8, "--message", "Hello"]
    assert command(*given) == (0, answers(folders / "window", "Hello", max_new_tokens=8), "")


# --- at a terminal ----------------------------------------------------------------------------------------------------


class Terminal:
    """A process whose streams are a terminal, but for a standard output that goes elsewhere."""

    def __init__(self, *arguments, stdout=None):
        self.own, theirs = pty.openpty()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "dumb", "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROCESS, *map(str, arguments)],
            stdin=theirs, stdout=stdout or theirs, stderr=theirs, env=environment, start_new_session=True, **IN_CHILD,
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> str:
        """What is shown up to this text, which must come."""
        end = time.monotonic() + 60
        while text not in self.shown:
            assert time.monotonic() < end, f"{text!r} did not come after {self.shown!r}"
            if select.select([self.own], [], [], 0.2)[0]:
                self.shown += os.read(self.own, 4096).decode(errors="replace").replace("\r", "")
        before, self.shown = self.shown.split(text, 1)
        return before + text

    def type(self, text: str) -> None:
        os.write(self.own, text.encode())

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.own)


@pytest.fixture
def terminal(folders):
    opened = []

    def start(*arguments, **streams):
        opened.append(Terminal(*arguments, **streams))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def test_a_person_types_and_ctrl_d_ends(terminal, folders):
    person = terminal(*options(folders))
    assert "/help says what can be typed" in person.until("\n> ")
    person.type("Hello\n")
    first = answers(folders / "window", "Hello", max_new_tokens=8)
    assert first in person.until("\n> ")
    person.type('"""a story\n')
    person.until("... ")
    person.type('that ends"""\n')
    both = answers(folders / "window", "Hello", "a story\nthat ends", max_new_tokens=8)
    assert both.removeprefix(first) in person.until("\n> ")
    person.type("/nonsense\n")
    person.until("error: '/nonsense': no such command")
    person.until("\n> ")
    person.type("\x04")
    assert person.process.wait(60) == 0


def test_prompts_do_not_go_to_a_file_of_answers(terminal, folders, tmp_path):
    with open(tmp_path / "answers.txt", "wb") as file:
        person = terminal(*options(folders), stdout=file)
    for text in ("Hello\n", "Who ran?\n", "\x04"):
        person.until("\n> ")
        person.type(text)
    assert person.process.wait(60) == 0
    expected = answers(folders / "window", "Hello", "Who ran?", max_new_tokens=8)
    assert (tmp_path / "answers.txt").read_text() == expected


def test_ctrl_c_ends_the_answer_and_not_the_conversation(terminal, folders, tmp_path):
    person = terminal(*options(folders, most=100_000))
    person.until("\n> ")
    person.type("Hello\n")
    person.until("Hello\n")
    while len(person.shown) < 40:
        person.shown += os.read(person.own, 4096).decode(errors="replace").replace("\r", "")
    person.type("\x03")
    person.until("\n> ")
    person.type(f"/save {tmp_path / 'said.jsonl'}\n")
    person.until("2 messages written")
    person.until("\n> ")
    person.type("half a li")
    person.until("half a li")
    time.sleep(0.2)  # Python's readline sees a signal only once it waits for the next key
    person.type("\x03")
    person.until("\n> ")
    person.type("/quit\n")
    assert person.process.wait(60) == 0
    messages = json.loads((tmp_path / "said.jsonl").read_text())["messages"]
    check_messages(messages)
    assert [m["content"] for m in messages[:1]] == ["Hello"]
    assert len(messages[1]["content"]) >= 20


def test_off_a_terminal_nothing_but_answers_is_written_and_ctrl_c_ends(folders):
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, *map(str, options(folders, most=100_000))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        **IN_CHILD,
    )  # fmt: skip
    process.stdin.write(b"Hello\n")
    process.stdin.flush()
    begun = process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, b"")
    assert answers(folders / "window", "Hello", max_new_tokens=60).encode().startswith(begun)
    assert rest.count(b"\n> ") == 0


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_page_shows_what_the_command_writes(command, monkeypatch):
    """docs/chat.md: the console block, run from the repository's root."""
    monkeypatch.chdir(ROOT)
    block = re.search(
        r"```console\n\$ minimistral chat (.*?[^\\])\n(.*?)```", (ROOT / "docs/chat.md").read_text(), re.DOTALL
    )
    status, out, err = command(*shlex.split(block[1].replace("\\\n", " ")))
    assert (status, err) == (0, "")
    assert block[2] == out
