"""minimistral explain: an X-ray of a run, as one page to look into and to send on."""

import re
from pathlib import Path
from typing import Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.backend import load
from minimistral.cli.generate import File, Prompt, Seed, Temperature, TopK, TopP, prompt_of
from minimistral.cli.options import (
    Arithmetic,
    Backend,
    Memory,
    Model,
    Tokens,
    Window,
    cut,
    read_drawing,
    read_whole,
    writable,
)
from minimistral.errors import BadInput

Output = Annotated[Path, typer.Option("--output", metavar="FILE", help="The page to write, HTML.")]
MaxNewTokens = Annotated[str, typer.Option(metavar="N", help="Go on for so many tokens after the prompt.")]
Layers = Annotated[str | None, typer.Option(metavar="LIST", help="Show these layers only, as in 0,2-4.")]
Heads = Annotated[str | None, typer.Option(metavar="LIST", help="Show these query heads only, as in 0,2-4.")]


def explain(
    prompt: Prompt = None,
    file: File = None,
    tokens: Tokens = None,
    output: Output = Path("explain.html"),
    model: Model = None,
    max_new_tokens: MaxNewTokens = "12",
    temperature: Temperature = "0.7",
    top_p: TopP = "0.9",
    top_k: TopK = "0",
    seed: Seed = "0",
    layers: Layers = None,
    heads: Heads = None,
    window: Window = None,
    arithmetic: Arithmetic = "exact",
    backend: Backend = "auto",
    memory: Memory = None,
) -> None:
    """Write a page that shows a run from inside.

    What each token looks at, what the ring holds, what could come next, and how far information could have come. The
    page is one file that needs no network: open it in a browser, or send it to someone.
    """
    from minimistral.explain.run import LONGEST

    most = read_whole("--max-new-tokens", max_new_tokens, 0, LONGEST)
    drawing = read_drawing(temperature, top_p, top_k, seed)
    path = writable("--output", output)
    given = prompt_of(prompt, file, tokens)
    mistral = load(model, arithmetic, backend, memory, window, most + len(given) // 4)
    ids = mistral.tokenizer.encode(given) if isinstance(given, str) else given
    write(mistral, ids or [1], most, drawing, layers, heads, path)


def write(mistral, ids: list[int], most: int, drawing: dict, layers: str | None, heads: str | None, path: Path) -> None:
    """Everything is checked, then the model goes on, then its whole run is looked at and written."""
    from minimistral.explain import look, write_page
    from minimistral.explain.run import check_size

    config, notes = mistral.config, list(mistral.notes)
    kept_layers = read_list("--layers", layers, config.n_layers)
    kept_heads = read_list("--heads", heads, config.n_heads)
    check_size(len(ids) + most, kept_layers, kept_heads, config)
    terminal.tell_person(notes)
    with terminal.progress("reading the prompt") as bar:
        new = list(mistral.generate(ids, most, **drawing, progress=bar))
    whole = ids + new
    ended = len(new) < most and not mistral.context_full(len(whole))
    write_page(path, look(mistral, whole, len(ids), ended, kept_layers, kept_heads, drawing if new or ended else None))
    terminal.tell(notes)
    terminal.write(f"{path}\n")


def read_list(option: str, text: str | None, count: int) -> list[int]:
    """Which of `count` things, in their order; not given: all.

    >>> read_list("--layers", "4,0-2", 6), read_list("--layers", None, 3)
    ([0, 1, 2, 4], [0, 1, 2])
    """
    if text is None:
        return list(range(count))
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part, re.ASCII)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not low <= high < count:
            raise BadInput(f"{option}: {cut(text)}, expected numbers from 0 to {count - 1} such as 0,2-4")
        chosen.update(range(low, high + 1))
    return sorted(chosen)
