"""minimistral record-hf: every stage of a run of transformers, in a file."""

from pathlib import Path
from typing import Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.options import LARGEST, Tokens, read_tokens, read_whole, writable
from minimistral.errors import BadInput

Folder = Annotated[Path, typer.Argument(metavar="DIR", show_default=False, help="A Hugging Face folder.")]
Output = Annotated[Path, typer.Option("--output", metavar="FILE", help="The safetensors file to write.")]
Prompt = Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="Text; BOS is put before it.")]
Dtype = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="float32, bfloat16, float16 or float64; without it, that of the weights."),
]
Attention = Annotated[
    str, typer.Option(metavar="NAME", help="eager, sdpa or flex_attention: transformers' ways to compute it.")
]
Chunk = Annotated[str | None, typer.Option(metavar="N", help="Pre-fill in chunks, through transformers' cache.")]
Only = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Keep these stages, and the logits, as in '*.q_rope'; may be given again."),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="cpu, or cuda.")]


def record_hf(
    folder: Folder,
    output: Output,
    tokens: Tokens = None,
    prompt: Prompt = None,
    dtype: Dtype = None,
    attention: Attention = "sdpa",
    chunk: Chunk = None,
    only: Only = None,
    device: Device = "cpu",
) -> None:
    """Run Hugging Face transformers on a folder, and write every stage to a file.

    For `minimistral check`. Nothing is downloaded, and transformers' code is not changed: hooks see the stages go by.
    """
    from minimistral.record.transformers import check_options, checkpoint_of, load, run_in_chunks

    if (tokens is None) == (prompt is None):
        raise BadInput(f"--tokens and --prompt: {'neither' if tokens is None else 'both'} given, expected one")
    size = None if chunk is None else read_whole("--chunk", chunk, 1, LARGEST)
    literal = None if tokens is None else read_tokens(tokens)
    path = writable("--output", output)
    check_options(dtype, attention, device)
    checkpoint = checkpoint_of(folder)
    ids = literal if prompt is None else encoded(folder, prompt)
    outside = [i for i in ids if not 0 <= i < checkpoint.config.vocab_size]
    if outside:
        raise BadInput(f"--tokens: id {outside[0]}, expected 0 to {checkpoint.config.vocab_size - 1}")
    model = load(folder, dtype or checkpoint.dtype, attention, device)
    from minimistral.record.torch import record

    run = None if size is None else lambda batch: run_in_chunks(model, batch, size)
    record(model, ids, path, only=only or None, dtype=dtype or checkpoint.dtype, run=run)
    terminal.tell(checkpoint.notes)


def encoded(folder: Path, prompt: str) -> list[int]:
    from minimistral.tokenizer import find_tokenizer

    return list(find_tokenizer(folder).encode(prompt))
