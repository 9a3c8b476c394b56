"""minimistral train: a model from scratch, on any text."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.backend import leave_threads_to_training, training_pieces
from minimistral.cli.options import LARGEST, cut, read_number, read_whole
from minimistral.errors import BadInput

if TYPE_CHECKING:
    from minimistral.tokenizer import Tokenizer
    from minimistral.training.documents import Documents, Texts
    from minimistral.training.loop import Settings
    from minimistral.training.presets import Preset
    from minimistral.training.state import State

STORIES, QUESTIONS = "stories", "questions"
TOKENIZER_TEXTS = 20_000  # stories and conversations in turn: what a tokenizer is trained on
DTYPES = ("bfloat16", "float16", "float32")
OWN_FILES = {"tokenizer.model", "metrics.jsonl"}  # in the folder of a run that was killed before its first state

Preset_ = Annotated[str, typer.Option("--preset", metavar="NAME", help="storyteller, tiny, shakespeare or table1.")]
Data = Annotated[
    str,
    typer.Option(
        metavar="FILE|DIR|NAME",
        help="Text in UTF-8, a folder of .txt files, or without end: stories; questions (and stories in turn).",
    ),
]
From = Annotated[
    Path | None,
    typer.Option("--from", metavar="DIR", help="A model to go on from, with its tokenizer, instead of random weights."),
]
TokenizerFile = Annotated[
    Path | None, typer.Option("--tokenizer", metavar="FILE", help="A sentencepiece model; without it, one is trained.")
]
Recall = Annotated[
    str,
    typer.Option(metavar="X", help="Of stories and questions: how much names, colours, ... count where they return."),
]
Output = Annotated[Path, typer.Option("--output", metavar="DIR", help="The model's folder: new, or empty.")]
Steps = Annotated[str | None, typer.Option(metavar="N", help="Steps of the optimiser; without it, the preset's.")]
BatchTokens = Annotated[str | None, typer.Option(metavar="N", help="Tokens of a batch, at most: whole documents.")]
Accumulate = Annotated[str | None, typer.Option(metavar="N", help="Batches for one step.")]
LearningRate = Annotated[str | None, typer.Option(metavar="X", help="The highest, after the warm-up.")]
Seed = Annotated[str, typer.Option(metavar="N", help="Of the first weights, and of the order of a text's parts.")]
SaveEvery = Annotated[str | None, typer.Option(metavar="N", help="Steps from one saved state to the next.")]
ValidateEvery = Annotated[str | None, typer.Option(metavar="N", help="Steps from one validation to the next.")]
Recompute = Annotated[bool, typer.Option("--recompute", help="Less memory, about a third more work; the same bits.")]
Dtype = Annotated[str, typer.Option(metavar="NAME", help="Of the model's file: bfloat16, float16 or float32.")]
Backend = Annotated[str, typer.Option(metavar="NAME", help="auto, numpy or cpu: what computes.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --output; the other options as before.")]


def train(
    output: Output,
    data: Data = STORIES,
    recall: Recall = "1",
    preset: Preset_ = "storyteller",
    start: From = None,
    tokenizer: TokenizerFile = None,
    steps: Steps = None,
    batch_tokens: BatchTokens = None,
    accumulate: Accumulate = None,
    learning_rate: LearningRate = None,
    seed: Seed = "0",
    save_every: SaveEvery = None,
    validate_every: ValidateEvery = None,
    recompute: Recompute = False,
    dtype: Dtype = "bfloat16",
    backend: Backend = "auto",
    resume: Resume = False,
) -> None:
    """Train a model from scratch, or further, and write it as a Mistral folder.

    Beside the model: metrics.jsonl, a line a step; loss.png; training.json, how it was made; and state.safetensors,
    from which --resume goes on to the same bits, also after a kill. docs/train.md tells more.
    """
    leave_threads_to_training(backend)
    from minimistral.checkpoint.load import free_memory
    from minimistral.training.loop import train as run
    from minimistral.training.presets import check_memory, preset_named
    from minimistral.training.result import TOKENIZER, write_model

    chosen = preset_named(preset)
    settings = read_settings(chosen, steps=steps, batch_tokens=batch_tokens, accumulate=accumulate,
                             learning_rate=learning_rate, seed=seed, save_every=save_every,
                             validate_every=validate_every, recompute=recompute)  # fmt: skip
    if dtype not in DTYPES:
        raise BadInput(f"--dtype: {cut(dtype)}, expected one of {', '.join(DTYPES)}")
    pieces = training_pieces(backend)
    check_memory(chosen.config, f"--preset {preset}", free_memory())
    emphasis = read_recall(recall, data)
    parameters, known = first_parameters(start, chosen, settings.seed)
    tokenizer = start / TOKENIZER if start and not tokenizer else tokenizer
    texts, history = read_data(data), read_history(start)
    check_folder(output, resume)
    spoken, documents, facts = prepare(output, tokenizer, texts, data, emphasis, chosen, settings, preset)
    facts |= history
    documents = documents._replace(identity=documents.identity | known)
    about = {
        "command": command_line(preset, start, data, emphasis, dtype, backend, settings, chosen, output, tokenizer)
    } | facts

    def saved(state: "State") -> None:
        write_model(output, chosen.config, state, dtype, about | {"backend": pieces.__name__})

    try:
        with training_bar() as bar:
            state = run(chosen.config, parameters, documents, settings, pieces, output, bar, saved)
    except KeyboardInterrupt:
        terminal.say(f"stopped; the state saved last is in {output}: the same command with --resume goes on")
        raise
    saved(state)
    finish(output, state, preset, spoken)


def read_settings(preset: "Preset", recompute: bool, **options: str | None) -> "Settings":
    """The preset's settings, with the options that are given."""
    from dataclasses import replace

    given = {name: text for name, text in options.items() if text is not None}
    low = {"seed": 0}
    values: dict = {
        name: read_whole("--" + name.replace("_", "-"), text, low.get(name, 1), LARGEST)
        for name, text in given.items()
        if name != "learning_rate"
    }
    if "learning_rate" in given:
        values["learning_rate"] = read_number("--learning-rate", given["learning_rate"], sys.float_info.min, 10)
    settings = replace(preset.settings, recompute=recompute, **values)
    return replace(settings, warm_up=min(settings.warm_up, settings.steps // 5))


def read_recall(text: str, data: str) -> float:
    """--recall; BadInput if it is no number from 1, or asked of a text whose names nobody knows."""
    recall = read_number("--recall", text, 1, 1000)
    if recall != 1 and data not in (STORIES, QUESTIONS):
        raise BadInput(f"--recall: {cut(text)}, but --data is neither stories nor questions, expected 1")
    return recall


def first_parameters(start: Path | None, preset: "Preset", seed: int) -> tuple[dict, dict]:
    """Random ones, or those of the model to go on from; and what tells that model from another."""
    if start is None:
        from minimistral.training.initial import initial_parameters

        return initial_parameters(preset.config, seed), {}
    from minimistral.checkpoint import open_checkpoint
    from minimistral.training.finetune import base_parameters, crc32

    checkpoint = open_checkpoint(start)
    if checkpoint.config != preset.config:
        raise BadInput(
            f"--from: {start}: a model of other sizes, expected those of the preset (--preset names another)"
        )
    parameters = base_parameters(checkpoint)
    return parameters, {"crc32 of the base": crc32(parameters)}


def read_history(start: Path | None) -> dict:
    """How the model to go on from was made, if its folder says so: its own training.json, under "from"."""
    from minimistral.checkpoint.files import read_json
    from minimistral.training.result import REPORT

    return {"from": read_json(start / REPORT)} if start and (start / REPORT).is_file() else {}


def read_data(data: str) -> "Texts | None":
    """The texts of a file or a folder; None for the stories. BadInput for bad ones, before anything is made."""
    if data in (STORIES, QUESTIONS):
        return None
    from minimistral.training.documents import read_texts

    try:
        return read_texts(data)
    except BadInput as error:
        raise BadInput(f"--data: {error}") from None


def check_folder(folder: Path, resume: bool) -> None:
    """BadInput unless the folder can take a new run, or, to resume, holds one. What a kill left half is taken away."""
    from minimistral.training.result import clean, leftovers
    from minimistral.training.state import NAME

    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--output: {folder} is not a folder")
    if resume and not folder.is_dir():
        raise BadInput(f"--resume: {folder} is not there, expected the folder of a run")
    if folder.is_dir():
        found = {path.name for path in folder.iterdir()} - {path.name for path in leftovers(folder)}
        if NAME in found and not resume:
            raise BadInput(f"--output: {folder} holds a run; --resume goes on with it, or take a new name")
        if NAME not in found and found - OWN_FILES:
            expected = f"a folder with {NAME}" if resume else "a new name or an empty folder"
            raise BadInput(f"--output: {folder} is not empty and holds no run, expected {expected}")
        clean(folder)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BadInput(f"--output: {folder}: {error.strerror or error}") from None


def prepare(
    folder: Path,
    given: Path | None,
    texts: "Texts | None",
    data: str,
    recall: float,
    preset: "Preset",
    settings: "Settings",
    name: str,
) -> tuple["Tokenizer", "Documents", dict]:
    """The tokenizer, in the folder from now on; the documents; and what training.json says of both."""
    from hashlib import sha256

    from minimistral.training.documents import question_documents, story_documents, text_documents, with_recall

    tokenizer, model = ready_tokenizer(folder, given, texts, preset, name)
    longest = min(preset.config.context_len or settings.batch_tokens, settings.batch_tokens)
    if data == QUESTIONS:
        documents = question_documents(tokenizer, longest, settings.seed)
    elif texts is None:
        documents = story_documents(tokenizer, longest, settings.seed)
    else:
        documents = text_documents(texts, tokenizer, longest, settings.seed)
    documents = with_recall(documents, tokenizer, recall)
    known = {"sha256 of the tokenizer": sha256(model).hexdigest()}
    documents = documents._replace(identity=documents.identity | known)
    facts = {"preset": name, "seed": settings.seed, "data": documents.name if texts else data} | documents.identity
    return tokenizer, documents, facts


def ready_tokenizer(
    folder: Path, given: Path | None, texts: "Texts | None", preset: "Preset", name: str
) -> tuple["Tokenizer", bytes]:
    """The one that is given, or that of the run in the folder, or a new one; and the bytes of its file."""
    from minimistral.tokenizer import Tokenizer
    from minimistral.training.result import TOKENIZER
    from minimistral.training.state import NAME
    from minimistral.whole_file import whole_file

    path, size, begun = folder / TOKENIZER, preset.config.vocab_size, (folder / NAME).exists()
    if given is not None:
        found = Tokenizer(given).vocab_size
        if found != size:
            raise BadInput(f"--tokenizer: {given}: a vocabulary of {found}, expected {size}, that of --preset {name}")
        model = given.read_bytes()
    else:
        model = path.read_bytes() if begun and path.is_file() else new_tokenizer(texts, size)
    if not begun:
        with whole_file(path) as partial:
            partial.write_bytes(model)
    return Tokenizer(given or path), model


def new_tokenizer(texts: "Texts | None", vocab_size: int) -> bytes:
    """A tokenizer trained on what the model will be trained on, never on what is held out."""
    from itertools import islice

    from minimistral.stories.conversations import corpus
    from minimistral.training.tokenizer import train_tokenizer

    if texts is not None:
        return train_tokenizer((text.text for text in texts.training), vocab_size)
    return train_tokenizer(islice(corpus(0), TOKENIZER_TEXTS), vocab_size)  # conversations too: they come later


def command_line(
    preset: str, start: Path | None, data: str, recall: float, dtype: str, backend: str, settings: "Settings", chosen: "Preset", output: Path,
    tokenizer: Path | None,
) -> str:  # fmt: skip
    """The command that would do this again, with names for paths.

    >>> from minimistral.training.presets import PRESETS
    >>> tiny = PRESETS["tiny"]
    >>> command_line("tiny", None, "/a/b.txt", 1, "bfloat16", "auto", tiny.settings, tiny, Path("/a/c"), None)
    'minimistral train --preset tiny --data b.txt --steps 1000 --seed 0 --backend auto --output c'
    """
    import shlex

    s = settings
    words = [
        "minimistral",
        "train",
        "--preset",
        preset,
        "--data",
        data if data in (STORIES, QUESTIONS) else Path(data).name,
    ]
    words += ["--recall", f"{recall:g}"] if recall != 1 else []
    words += ["--from", start.name] if start else []
    words += ["--tokenizer", tokenizer.name] if tokenizer and not start else []
    words += ["--steps", str(s.steps), "--seed", str(s.seed), "--backend", backend]
    for name in ("batch_tokens", "accumulate", "learning_rate"):
        if getattr(s, name) != getattr(chosen.settings, name):
            words += ["--" + name.replace("_", "-"), str(getattr(s, name))]
    words += ["--dtype", dtype] if dtype != "bfloat16" else []
    return shlex.join([*words, "--output", output.name])


@contextmanager
def training_bar() -> Iterator[Callable[[dict, int], None] | None]:
    """A function of (the step's metrics, steps in all) that draws a bar on a terminal; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task, held_out = bar.add_task("training", total=None), ""

    def show(line: dict, steps: int) -> None:
        nonlocal held_out
        if "validation_loss" in line:
            held_out = f", held out {line['validation_loss']:.3f}"
        words = f"loss {line['loss']:.3f}{held_out}, {line['tokens_per_s']:,.0f} tokens/s"
        bar.update(task, completed=line["step"], total=steps, description=words)

    with bar:
        yield show


def finish(folder: Path, state: "State", preset: str, tokenizer: "Tokenizer") -> None:
    """The curve, and a line that says what came out."""
    from minimistral.training.curve import draw_curve

    notes: list[str] = []
    try:
        draw_curve(state.metrics, folder / "loss.png", f"{preset}: {state.step} steps")
    except ImportError:
        notes.append("no loss.png: matplotlib is not installed")
    terminal.tell(notes)
    terminal.write(summary(folder, state))


def summary(folder: Path, state: "State") -> str:
    """What came out, in a line."""
    last = state.metrics[-1]
    words = [f"step {state.step}: loss {last['loss']:.4f}"]
    if "validation_loss" in last:
        words.append(f"held out {last['validation_loss']:.4f} nats a token")
    if "validation_loss_per_character" in last:
        words.append(f"{last['validation_loss_per_character']:.4f} a character")
    words.append(f"{state.tokens:,} tokens in {state.seconds / 60:.1f} minutes")
    return f"{', '.join(words)}; the model is in {folder}\n"
