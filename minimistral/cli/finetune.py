"""minimistral finetune: a model trained on, so that it answers as in these conversations."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.backend import leave_threads_to_training, training_pieces
from minimistral.cli.bench import names_of
from minimistral.cli.options import LARGEST, cut, read_number, read_whole
from minimistral.cli.train import (
    DTYPES,
    STORIES,
    Accumulate,
    Backend,
    BatchTokens,
    Recompute,
    Resume,
    SaveEvery,
    ValidateEvery,
    check_folder,
    finish,
    read_history,
    read_settings,
    training_bar,
)
from minimistral.errors import BadInput

if TYPE_CHECKING:
    from types import ModuleType

    from minimistral.checkpoint import Checkpoint
    from minimistral.tokenizer import Tokenizer
    from minimistral.training.documents import Documents
    from minimistral.training.finetune import Lora, Tuned
    from minimistral.training.loop import Settings

LAYOUTS = ("hf", "mistral")
LOOKUPS = "lookups"
RATES = {"full": 2e-4, "lora": 1e-3}  # learning rates, where none is given

Base = Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="Mistral or Hugging Face folder.")]
Data = Annotated[
    str,
    typer.Option(
        metavar="FILE|NAME",
        help="Chat JSONL, or without end: stories, with questions about them; lookups, three of four near.",
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option(metavar="DIR", show_default=False, help="The new model's folder: new, or empty.")]
Rank = Annotated[
    str | None, typer.Option("--lora-rank", metavar="N", help="LoRA of this rank; without it, every weight learns.")
]
Alpha = Annotated[str | None, typer.Option("--lora-alpha", metavar="X", help="Without it, twice the rank.")]
Target = Annotated[
    str | None,
    typer.Option(
        "--lora-target", metavar="NAMES", help="Some of wq,wk,wv,wo,w1,w2,w3 and output; without it, the first seven."
    ),
]
Template = Annotated[
    str | None, typer.Option(metavar="NAME", help="v0.1, v0.2 or v0.3; without it, what the tokenizer is made for.")
]
Steps = Annotated[str | None, typer.Option(metavar="N", help="Steps of the optimiser; without it, 200.")]
LearningRate = Annotated[
    str | None, typer.Option(metavar="X", help="The highest, after the warm-up: 2e-4, or 1e-3 with LoRA.")
]
Seed = Annotated[
    str, typer.Option(metavar="N", help="Of the order of a file's conversations, or of which stories, and of LoRA's A.")
]
Layout = Annotated[str | None, typer.Option(metavar="NAME", help="hf or mistral; without it, the base's.")]
Dtype = Annotated[
    str | None, typer.Option(metavar="NAME", help="bfloat16, float16 or float32; without it, the base's.")
]


def finetune(
    base: Base,
    data: Data,
    output: Output,
    lora_rank: Rank = None,
    lora_alpha: Alpha = None,
    lora_target: Target = None,
    template: Template = None,
    steps: Steps = None,
    batch_tokens: BatchTokens = None,
    accumulate: Accumulate = None,
    learning_rate: LearningRate = None,
    seed: Seed = "0",
    save_every: SaveEvery = None,
    validate_every: ValidateEvery = None,
    recompute: Recompute = False,
    backend: Backend = "auto",
    layout: Layout = None,
    dtype: Dtype = None,
    resume: Resume = False,
) -> None:
    """Train a model on conversations: the loss counts what the assistant says, and nothing else.

    A line of the file is {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}.
    One line in 20 is held out. The new folder is an ordinary checkpoint, LoRA merged, with the base's tokenizer; the
    base stays as it is. Beside the model: metrics.jsonl, loss.png, training.json, state.safetensors for --resume.
    """
    leave_threads_to_training(backend)
    from minimistral.checkpoint import open_checkpoint
    from minimistral.checkpoint.load import free_memory
    from minimistral.training.finetune import Result, check_size, write_tuned
    from minimistral.training.finetune import finetune as run
    from minimistral.training.presets import Preset

    lora, pieces = read_lora(lora_rank, lora_alpha, lora_target), training_pieces(backend)
    checkpoint = open_checkpoint(base)
    layout = one_of("--layout", layout or checkpoint.layout, LAYOUTS)
    dtype = one_of("--dtype", dtype or checkpoint.dtype, DTYPES)
    settings = read_settings(
        Preset(checkpoint.config, usual_settings(lora)), steps=steps, batch_tokens=batch_tokens,
        accumulate=accumulate, learning_rate=learning_rate, seed=seed, save_every=save_every,
        validate_every=validate_every, recompute=recompute,
    )  # fmt: skip
    check_size(checkpoint.config, lora, str(base), free_memory())
    tokenizer = matching_tokenizer(checkpoint)
    template = read_template(template, tokenizer)
    documents = read_documents(data, tokenizer, template, checkpoint, settings)
    documents = documents._replace(identity=documents.identity | {"layout": layout})
    history = read_history(base)
    check_output(base, output, resume)
    terminal.tell(notes_on(checkpoint, tokenizer, template, lora))
    command = command_line(base, data, output, lora, settings, template, layout, dtype, backend)
    result = Result(output, layout, dtype, {"command": command} | facts_of(base, documents, pieces) | history)

    def saved(tuned: "Tuned") -> None:
        if tuned.state.step < settings.steps:  # the last is written below
            write_tuned(result, checkpoint, tuned)

    try:
        with training_bar() as bar:
            tuned = run(checkpoint, documents, settings, lora, pieces, output, bar, saved)
    except KeyboardInterrupt:
        terminal.say(f"stopped; the state saved last is in {output}: the same command with --resume goes on")
        raise
    write_tuned(result, checkpoint, tuned)
    finish(output, tuned.state, f"{base.resolve().name}, fine-tuned", tokenizer)


def usual_settings(lora: "Lora | None") -> "Settings":
    """What is not said by an option. No decay: it would pull the weights to zero, away from what they have learnt."""
    from minimistral.training.loop import Settings

    rate = RATES["full" if lora is None else "lora"]
    return Settings(200, 2048, learning_rate=rate, warm_up=20, weight_decay=0.0, validate_every=50)


def read_lora(rank: str | None, alpha: str | None, target: str | None) -> "Lora | None":
    """The options of LoRA; None without --lora-rank."""
    from minimistral.training.finetune import Lora
    from minimistral.training.lora import MATRICES, TARGETS

    if rank is None:
        for option, text in (("--lora-alpha", alpha), ("--lora-target", target)):
            if text is not None:
                raise BadInput(f"{option}: {cut(text)}, but no --lora-rank, expected both")
        return None
    number = read_whole("--lora-rank", rank, 1, LARGEST)
    scaled = 2.0 * number if alpha is None else read_number("--lora-alpha", alpha, sys.float_info.min, 1e6)
    targets = MATRICES if target is None else tuple(names_of("--lora-target", target, TARGETS))
    return Lora(number, scaled, targets)


def one_of(option: str, text: str, known: tuple[str, ...]) -> str:
    """The text, if it is one of the known ones.

    >>> one_of("--layout", "hf", LAYOUTS)
    'hf'
    """
    if text not in known:
        raise BadInput(f"{option}: {cut(text)}, expected one of {', '.join(known)}")
    return text


def matching_tokenizer(checkpoint: "Checkpoint") -> "Tokenizer":
    """The folder's tokenizer. BadInput if it is not of the model's vocabulary: its ids would mean something else."""
    from minimistral.tokenizer import find_tokenizer

    tokenizer, size = find_tokenizer(checkpoint.folder), checkpoint.config.vocab_size
    if tokenizer.vocab_size != size:
        raise BadInput(
            f"{checkpoint.folder}: the tokenizer has {tokenizer.vocab_size} pieces, "
            f"expected {size}, the model's vocabulary"
        )
    return tokenizer


def read_template(name: str | None, tokenizer: "Tokenizer") -> str:
    """The template: by default the one that `chat` uses of itself with this tokenizer."""
    from minimistral.chat import check_template, default_template

    template = default_template(tokenizer) if name is None else name
    try:
        check_template(tokenizer, template)
    except BadInput as error:
        raise BadInput(f"--template: {error}") from None
    return template


def notes_on(checkpoint: "Checkpoint", tokenizer: "Tokenizer", template: str, lora: "Lora | None") -> list[str]:
    """What a user may not expect: of the checkpoint, of the template, of a base that cannot learn to stop."""
    from minimistral.chat import default_template
    from minimistral.training.finetune import rows_like

    notes, usual = list(checkpoint.notes), default_template(tokenizer)
    if usual != {"v0.2": "v0.1"}.get(template, template):  # v0.1 and v0.2 write the same tokens
        notes.append(f"chat takes {usual} with this tokenizer, unless it is given --template {template}")
    if lora is not None and "output" not in lora.targets:
        tied = checkpoint.config.tied_embeddings
        output = checkpoint.tensors["tok_embeddings.weight" if tied else "output.weight"]
        alike = rows_like(output, tokenizer.eos_id)
        if alike:
            notes.append(
                f"EOS looks to this model like {alike} other tokens, so its layers can hardly learn to end an answer: "
                "add output to --lora-target, or leave LoRA out"
            )
    return notes


def facts_of(base: Path, documents: "Documents", pieces: "ModuleType") -> dict:
    """For training.json, beside the command."""
    return {"base": base.resolve().name, "data": documents.name, "backend": pieces.__name__} | documents.identity


def read_documents(
    data: str, tokenizer: "Tokenizer", template: str, checkpoint: "Checkpoint", settings: "Settings"
) -> "Documents":
    """The conversations, each of which must fit in the model's context and in a batch."""
    from minimistral.training.chat_data import Encoding, file_documents, story_documents

    context, batch = checkpoint.config.context_len, settings.batch_tokens + 1  # the last token is no input
    if context is not None and context <= batch:
        encoding = Encoding(tokenizer, template, context, "the model's context")
    else:
        encoding = Encoding(tokenizer, template, batch, "what --batch-tokens allows")
    if data in (STORIES, LOOKUPS):
        return story_documents(encoding, settings.seed, data == LOOKUPS)
    try:
        return file_documents(data, encoding, settings.seed)
    except BadInput as error:
        raise BadInput(f"--data: {error}") from None


def check_output(base: Path, output: Path, resume: bool) -> None:
    """BadInput unless the folder can take the run; never the base's own."""
    if output.exists() and output.resolve() == base.resolve():
        raise BadInput(f"--output: {output} is the model itself, expected another folder")
    check_folder(output, resume)


def command_line(
    base: Path, data: str, output: Path, lora: "Lora | None", settings: "Settings", template: str, layout: str,
    dtype: str, backend: str,
) -> str:  # fmt: skip
    """The command that would do this again, with names for paths."""
    import shlex

    s = settings
    words = [
        "minimistral",
        "finetune",
        base.resolve().name,
        "--data",
        data if data in (STORIES, LOOKUPS) else Path(data).name,
    ]
    if lora is not None:
        words += ["--lora-rank", str(lora.rank), "--lora-alpha", f"{lora.alpha:g}"]
        words += ["--lora-target", ",".join(lora.targets)]
    for name in ("steps", "batch_tokens", "accumulate", "learning_rate", "seed"):
        words += ["--" + name.replace("_", "-"), str(getattr(s, name))]
    words += ["--template", template, "--layout", layout, "--dtype", dtype, "--backend", backend]
    return shlex.join([*words, "--output", output.name])
