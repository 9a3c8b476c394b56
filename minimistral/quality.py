"""Held-out quality: a checkpoint's perplexity on texts it was not trained on, and what another window does to it.

    nats = -mean log p(token | those before it),  perplexity = e^nats

python -m minimistral.quality --model DIR --json FILE measures each arithmetic with and without the model's window, other
windows, and where in a text the loss lies. docs/quality.md shows what was found.
"""

import argparse
import math
from collections.abc import Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np

from minimistral.cli import terminal
from minimistral.cli.backend import load
from minimistral.cli.json_file import as_json, write_json
from minimistral.cli.module import Parser, status_of
from minimistral.cli.options import read_whole, writable
from minimistral.errors import BadInput
from minimistral.mistral import Mistral
from minimistral.tokenizer import Tokenizer

ARITHMETICS = ("exact", "float32", "bfloat16")
BATCH = 4  # texts that go through the matrices together
CONTEXT = 1024  # tokens of a piece of a file, where the checkpoint does not say
LONGEST = 2**26  # bytes of a file


def losses(model: Mistral, texts: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """-log p of each token but the first, text by text: (T_i - 1,) nats each; texts are taken as a ragged batch.

    >>> from minimistral.config import Config
    >>> model = Mistral.random(Config(dim=12, n_layers=1, head_dim=4, hidden_dim=20, n_heads=6, n_kv_heads=2, vocab_size=31))
    >>> [nats.shape for nats in losses(model, [[1, 5, 30], [1, 7]])]
    [(2,), (1,)]
    """
    found = []
    for n in range(0, len(texts), BATCH):
        ids = [np.asarray(text) for text in texts[n : n + BATCH]]
        for text, logits in zip(ids, model([text[:-1] for text in ids]), strict=True):
            z = logits.astype(np.float64)  # (T - 1, vocab_size)
            z -= z.max(axis=-1, keepdims=True)
            found.append(np.log(np.exp(z).sum(axis=-1)) - z[np.arange(len(z)), text[1:]])
    return found


def buckets(window: int, longest: int) -> list[tuple[int, int]]:
    """Positions, first and last + 1, by eighths and then doublings of the model's window.

    >>> buckets(48, 300)
    [(0, 12), (12, 24), (24, 48), (48, 96), (96, 192), (192, 300)]
    """
    edges = [0, window // 4, window // 2, window, 2 * window, 4 * window, 8 * window, 16 * window]
    edges = [edge for edge in edges if edge < longest] + [longest]
    return list(pairwise(edges))


def row(arithmetic: str, window: int | None, found: list[np.ndarray], own: list[np.ndarray], where: list) -> dict:
    """What one setting gave: against the model's own window in the same arithmetic, and by position.

    The difference is paired, text by text; its standard error is over texts.
    """
    nats = np.concatenate(found).mean()
    sizes = np.array([len(n) for n in found])
    each = np.array([n.sum() - o.sum() for n, o in zip(found, own, strict=True)])
    residual = each - each.sum() / sizes.sum() * sizes  # of the ratio of sums
    error = math.sqrt((residual**2).sum() * len(each) / max(1, len(each) - 1)) / sizes.sum()
    by_position = [np.concatenate([n[low:high] for n in found]) for low, high in where]
    return {
        "arithmetic": arithmetic,
        "window": window,
        "nats": round(float(nats), 5),
        "perplexity": round(math.exp(nats), 4),
        "difference": round(float(each.sum() / sizes.sum()), 5),
        "standard error": round(error, 5),
        "by position": [round(float(n.mean()), 4) for n in by_position],
    }


def windows_of(window: int | None) -> list[int | None]:
    """The model's own, none, and others: a quarter, half, double, four times.

    >>> windows_of(48), windows_of(None)
    ([48, None, 12, 24, 96, 192], [None])
    """
    if window is None:
        return [None]
    return [window, None, *(w for w in (window // 4, window // 2, 2 * window, 4 * window) if w > 0)]


def measure(folder: Path | None, window: int | None, texts: Sequence[Sequence[int]]) -> dict:
    """Every arithmetic with the model's window and with none; in float32 the other windows too."""
    longest, rows = max(map(len, texts)) - 1, []
    where = buckets(window or CONTEXT, longest)
    for arithmetic in ARITHMETICS:
        windows = windows_of(window)
        own: list[np.ndarray] = []
        for other in windows if arithmetic == "float32" else windows[:2]:
            option = "none" if other is None else str(other)
            model = load(folder, arithmetic, "auto", None, option, sum(map(len, texts)))
            found = losses(model, texts)
            own = own or found
            rows.append(row(arithmetic, other, found, own, where))
    return {
        "window": window,
        "layers": model.config.n_layers,
        "context": model.config.context_len,
        "texts": len(texts),
        "tokens": sum(len(text) - 1 for text in texts),
        "positions": [list(ends) for ends in where],
        "texts that reach them": [sum(len(text) - 1 > low for text in texts) for low, _ in where],
        "rows": rows,
    }


def story_texts(tokenizer: Tokenizer, count: int) -> list[list[int]]:
    """Validation stories 0, 1, ... as ids, BOS and EOS included."""
    from minimistral.stories import stories

    return [[*tokenizer.encode(text), tokenizer.eos_id] for text in islice(stories(0, "validation"), count)]


def file_texts(tokenizer: Tokenizer, path: Path, length: int, count: int) -> list[list[int]]:
    """The first `count` pieces of a file, each of `length` tokens with a BOS of its own."""
    from minimistral.checkpoint.files import read_plain
    from minimistral.cli.generate import decoded

    ids = tokenizer.encode(decoded(read_plain(path, LONGEST), str(path)), bos=False)
    if len(ids) < 2:
        raise BadInput(f"--text: {path}: {len(ids)} tokens, expected 2 or more")
    step = length - 1
    pieces = [ids[n : n + step] for n in range(0, len(ids), step)][:count]
    return [[tokenizer.bos_id, *piece] for piece in pieces if len(piece) > 1]


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line; None: the program's own."""
    about = "Perplexity on held-out text: in exact, float32 and bfloat16, with the model's window and with others."
    parser = Parser(prog="python -m minimistral.quality", description=about)
    parser.add_argument("--model", type=Path, metavar="DIR", help="a checkpoint; without it, the embedded storyteller")
    parser.add_argument("--text", type=Path, metavar="FILE", help="UTF-8; without it, validation stories")
    parser.add_argument(
        "--texts", metavar="N", default="64", help="so many stories, or pieces of the file (default 64)"
    )
    parser.add_argument("--json", metavar="FILE", help="also write it as JSON; - is standard output, and then alone")
    return parser.parse_args(arguments)


def quality(options: argparse.Namespace) -> None:
    """Measure, and write the table and the JSON."""
    count = read_whole("--texts", options.texts, 1, 10**6)
    path = None if options.json in (None, "-") else writable("--json", options.json)
    loaded = load(options.model, "float32", "numpy", None, None)
    window, length = loaded.config.window, loaded.config.context_len or CONTEXT
    if isinstance(window, tuple):
        raise BadInput("--model: its layers have different windows, expected one window or none")
    if options.text is None:
        texts, of = story_texts(loaded.tokenizer, count), f"validation stories 0 to {count - 1}"
    else:
        texts, of = file_texts(loaded.tokenizer, options.text, length, count), options.text.name
    report = {"of": of} | measure(options.model, window, texts)
    if path is not None:
        write_json(path, report)
    terminal.write(as_json(report) if options.json == "-" else "\n".join(table(report)) + "\n")


def table(report: dict) -> list[str]:
    """The rows as Markdown."""
    places = [f"{low}-{high - 1}" for low, high in report["positions"]]
    head = ["arithmetic", "window", "perplexity", "nats, against its own window", *places]
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for r in report["rows"]:
        window = "none" if r["window"] is None else str(r["window"])
        difference = f"{r['difference']:+.4f} ± {r['standard error']:.4f}"
        cells = [r["arithmetic"], window, f"{r['perplexity']:.3f}", difference, *(f"{n:.3f}" for n in r["by position"])]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit status."""
    return status_of(lambda: quality(read_options(arguments)))


if __name__ == "__main__":
    import sys

    sys.exit(main())
