"""minimistral trace: every stage of a run, in a file."""

from pathlib import Path
from typing import Annotated

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
    read_tokens,
    read_whole,
    writable,
)
from minimistral.errors import BadInput

Output = Annotated[Path, typer.Option("--output", metavar="FILE", help="The safetensors file to write.")]
Prompt = Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="Text; BOS is put before it.")]
Chunk = Annotated[str | None, typer.Option(metavar="N", help="Pre-fill in chunks, through the rolling cache.")]
Only = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Keep these stages, as in '*.q_rope'; may be given again."),
]


def trace(
    output: Output,
    tokens: Tokens = None,
    prompt: Prompt = None,
    only: Only = None,
    chunk: Chunk = None,
    model: Model = None,
    window: Window = None,
    arithmetic: Arithmetic = "exact",
    backend: Backend = "auto",
    memory: Memory = None,
) -> None:
    """Write every stage of a run to a file.

    Another implementation's numbers are compared with it. Attention scores are large, so they are kept only when named: --only '*.scores'.
    """
    if (tokens is None) == (prompt is None):
        raise BadInput(f"--tokens and --prompt: {'neither' if tokens is None else 'both'} given, expected one")
    size = None if chunk is None else read_whole("--chunk", chunk, 1, LARGEST)
    literal = None if tokens is None else read_tokens(tokens)
    path = writable("--output", output)
    length = len(prompt) // 4 if literal is None else len(literal)
    mistral = load(model, arithmetic, backend, memory, window, length)
    ids = mistral.tokenizer.encode(prompt) if literal is None else literal
    mistral.check_context(len(ids))
    notes = list(mistral.notes)
    terminal.tell_person(notes)
    stages = mistral.trace(ids, size, only or None)
    from minimistral.trace import write_trace

    write_trace(path, ids, stages, mistral.arithmetic)
    terminal.tell(notes)
