"""The verbs, and what becomes of every error: one line on standard error, and the exit status 2."""

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.bench import bench
from minimistral.cli.chat import chat
from minimistral.cli.check import check
from minimistral.cli.convert import convert
from minimistral.cli.explain import explain
from minimistral.cli.figure import figure
from minimistral.cli.finetune import finetune
from minimistral.cli.generate import generate
from minimistral.cli.inspect import inspect
from minimistral.cli.make_checkpoint import make_checkpoint
from minimistral.cli.notebooks import notebooks
from minimistral.cli.record_hf import record_hf
from minimistral.cli.trace import trace
from minimistral.cli.train import train
from minimistral.cli.vectors import vectors
from minimistral.cli.verify import verify
from minimistral.errors import BadInput

UsageError = typer.BadParameter.__base__  # typer exports only this one kind of it
EXAMPLES = {
    generate: """
        minimistral generate "Once upon a time"
        minimistral generate "The fox" --temperature 0 --max-new-tokens 40
        echo "Once upon a time" | minimistral generate --seed 7 --stop "."
        minimistral generate --tokens "1 565 566" --max-new-tokens 20""",
    chat: """
        minimistral chat
        minimistral chat --message "Who are you?" --message "What can you do?"
        minimistral chat --model mistral-7b-instruct --system "Answer in one sentence."
        minimistral chat --temperature 0 < questions.txt""",
    explain: """
        minimistral explain "Once upon a time"
        minimistral explain "The fox" --window 6 --max-new-tokens 30 --output fox.html
        minimistral explain --model mistral-7b "The capital of France is" --layers 0,15,31""",
    inspect: """
        minimistral inspect
        minimistral inspect --arithmetic bfloat16 --window none
        minimistral inspect --json -""",
    trace: """
        minimistral trace --tokens "1 565 566" --output trace.safetensors
        minimistral trace --prompt "The fox" --only "*.q_rope" --output q.safetensors
        minimistral trace --tokens "1 5 9" --chunk 2 --window 2 --output w.safetensors""",
    train: """
        minimistral train --preset tiny --output tiny
        minimistral train --preset shakespeare --data tinyshakespeare.txt --output shakespeare
        minimistral train --output my-storyteller
        minimistral train --output my-storyteller --resume""",
    finetune: """
        minimistral finetune my-model --data chat.jsonl --output my-chat
        minimistral finetune my-model --data stories --steps 2000 --output my-chat
        minimistral finetune mistral-hf --data chat.jsonl --lora-rank 8 --output mine-hf""",
    convert: """
        minimistral convert mistral-folder hf-folder --layout hf
        minimistral convert mistral-folder small --layout mistral --dtype float16""",
    bench: """
        minimistral bench --against transformers
        minimistral bench --backend numpy --arithmetic float32 --lengths W,2W,4W,8W --batch 1,2,4,8
        minimistral bench --train --against torch
        minimistral bench --params 7B --backend cuda --against transformers --peer-dtype bfloat16 --json bench.json""",
    make_checkpoint: """
        minimistral make-checkpoint random-130m --params 130M
        minimistral make-checkpoint random-7b --params 7B --layout hf""",
    verify: """
        minimistral verify --cases 20
        minimistral verify --seed 7 --case 12 --json -""",
    check: """
        minimistral check run.safetensors
        minimistral check run.safetensors --model mistral-folder --figure run.png --html run.html
        minimistral check run.safetensors --dtype bfloat16 --json -""",
    record_hf: """
        minimistral record-hf mistral-hf --prompt "The fox" --output run.safetensors
        minimistral record-hf mistral-hf --tokens "1 403 407" --dtype bfloat16 --output run.safetensors""",
    vectors: """
        minimistral vectors suite
        minimistral vectors suite --check my-results
        minimistral vectors results --faulty gqa-tile""",
    figure: """
        minimistral figure
        minimistral figure window-masks --output masks.png
        minimistral figure ring-film --output ring.gif""",
}

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
for verb, examples in EXAMPLES.items():
    lines = [line.strip() for line in examples.strip().splitlines()]
    app.command(epilog="\n".join(["Examples:", *lines]))(verb)
app.add_typer(notebooks, name="notebooks")  # a verb with two of its own: export and grade


def show_version(wanted: bool) -> None:
    if wanted:
        from minimistral import __version__

        terminal.write(f"minimistral {__version__}\n")
        raise typer.Exit


@app.callback()
def minimistral(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="The version.")
    ] = False,
) -> None:
    """Mistral 7B as a reference: readable NumPy, the same bits on every machine.

    The text goes to standard output; notes, progress and errors go to standard error.
    Exit status: 0; 1 if verify, check or vectors --check finds a difference; 2 after an error, which is one line.
    """


def run(arguments: Sequence[str] | None = None, program: typer.Typer = app, name: str = "minimistral") -> int:
    """One command line of a program, this one or `python -m fastpath`; the exit status. KeyboardInterrupt passes."""
    terminal.open_streams()
    try:
        status = call(list(sys.argv[1:] if arguments is None else arguments), program, name)
        terminal.flush()
        return status
    except BrokenPipeError:
        terminal.drop_output()
        return 0
    except UsageError as error:
        message = error.format_message().replace("\n\t", " ").rstrip(".")
        return fail(f"{message}; see {error.ctx.command_path} --help" if error.ctx else message)
    except BadInput as error:
        return fail(str(error))
    except MemoryError as error:
        return fail(f"not enough memory: {error}" if str(error) else "not enough memory")
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        return fail(f"{where}{error.strerror or error}")


def call(arguments: list[str], program: typer.Typer, name: str) -> int:
    """Click's own main would print panels and turn a closed pipe into status 1: so its parts are called here."""
    command = typer.main.get_command(program)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")  # standard error is for words to the user
            with command.make_context(name, arguments) as context:
                command.invoke(context)
    except typer.Exit as done:
        return done.exit_code
    except SystemExit as done:
        if isinstance(done.__context__, BrokenPipeError):  # rich's answer, when it prints a help text
            raise BrokenPipeError from None
        raise
    return 0


def fail(message: str) -> int:
    """Say what is wrong, on one line."""
    try:
        terminal.flush()
    except (OSError, BadInput):
        terminal.drop_output()
    terminal.say(f"error: {message}")
    return 2
