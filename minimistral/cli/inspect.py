"""minimistral inspect: what a checkpoint is, and what it costs."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from minimistral.cli import terminal
from minimistral.cli.json_file import as_json, write_json
from minimistral.cli.options import Arithmetic, Json, Model, Window, read_window, writable

if TYPE_CHECKING:
    from minimistral.checkpoint import Checkpoint
    from minimistral.config import Config

LENGTHS = (4096, 32768)  # tokens, beside the window and the context


def inspect(model: Model = None, window: Window = None, arithmetic: Arithmetic = "exact", json: Json = None) -> None:
    """Show a model's config, parameters, memory and cost.

    The config stands beside the paper's Table 1. Only the headers of the files are read.
    """
    chosen = read_window(window)
    path = None if json in (None, "-") else writable("--json", json)
    from minimistral.arithmetic import by_name
    from minimistral.checkpoint import open_checkpoint
    from minimistral.embedded import STORYTELLER

    numbers = by_name(arithmetic)
    checkpoint = open_checkpoint(STORYTELLER if model is None else model)
    config = checkpoint.config if chosen == "config" else replace(checkpoint.config, window=chosen)
    report = report_of(checkpoint, config, numbers.dtype.itemsize)
    if path is not None:
        write_json(path, report)
    terminal.write(as_json(report) if json == "-" else tables(report, numbers.name))
    terminal.tell(list(checkpoint.notes))


def report_of(checkpoint: "Checkpoint", config: "Config", bytes_per_value: int) -> dict:
    """Everything that is shown, as JSON can hold it."""
    from minimistral import costs
    from minimistral.config import MISTRAL_7B

    full = replace(config, window=None)
    windows = {config.layer_window(i) for i in range(config.n_layers)} - {None}
    lengths = sorted({*LENGTHS, *windows, *({config.context_len} - {None})})
    cache, decode = [], []
    for n in lengths:
        row = {"length": n, "bytes": costs.cache_bytes(config, n, bytes_per_value)}
        row["bytes_without_window"] = costs.cache_bytes(full, n, bytes_per_value)
        one_each = replace(full, n_kv_heads=config.n_heads)
        row["bytes_without_window_and_gqa"] = costs.cache_bytes(one_each, n, bytes_per_value)
        cache.append(row)
        flops = costs.decode_flops(config, n)
        n_bytes = costs.decode_bytes(config, n, bytes_per_value, checkpoint.n_bytes / costs.parameters(config)["total"])
        decode.append({"length": n, "flops": flops, "bytes": round(n_bytes), "flops_per_byte": flops / n_bytes})
    return {
        "folder": str(checkpoint.folder),
        "layout": checkpoint.layout,
        "dtype": checkpoint.dtype,
        "config": asdict(config),
        "table_1": asdict(MISTRAL_7B),
        "parameters": costs.parameters(config),
        "weight_bytes": checkpoint.n_bytes,
        "cache_bytes_per_value": bytes_per_value,
        "cache": cache,
        "decode": decode,
        "notes": list(checkpoint.notes),
    }


def tables(report: dict, arithmetic: str) -> str:
    """The report for a person: four tables."""
    import sys
    from functools import partial

    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 100)

    table = partial(terminal.table, console)
    with console.capture() as captured:
        name = terminal.one_line(report["folder"])
        config = table(f"{name} ({report['layout']} layout, {report['dtype']})", "config", "this model", "Table 1")
        for key, value in report["config"].items():
            paper = report["table_1"][key]
            config.add_row(key, shown(value), shown(paper), style=None if value == paper else "cyan")
        console.print(config)

        parts = table("Parameters", "part", "count", "share")
        total = report["parameters"]["total"]
        for part, count in report["parameters"].items():
            parts.add_row(part, f"{count:,}", f"{100 * count / total:.1f} %")
        console.print(parts)

        memory = table(
            f"Memory: weights {size(report['weight_bytes'])} as stored, and the cache "
            f"({arithmetic}: {report['cache_bytes_per_value']} bytes a value)",
            *("tokens", "cache", "without the window", "without GQA either"),
        )
        for row in report["cache"]:
            memory.add_row(f"{row['length']:,}", *[size(n) for n in list(row.values())[1:]])
        console.print(memory)

        cost = table("Cost of one more token", "after tokens", "FLOPs", "read", "FLOPs a byte")
        for row in report["decode"]:
            flops = f"{row['flops'] / 1e9:,.4g} G" if row["flops"] >= 1e9 else f"{row['flops'] / 1e6:,.4g} M"
            cost.add_row(f"{row['length']:,}", flops, size(row["bytes"]), f"{row['flops_per_byte']:.2f}")
        console.print(cost)
    return "\n".join(line.rstrip() for line in captured.get().strip().splitlines()) + "\n"


def shown(value: object) -> str:
    """A config value as a person reads it.

    >>> shown(14336), shown(1e-5), shown(None), shown((5, None, 5))
    ('14336', '1e-05', 'none', '5, none, 5')
    """
    if isinstance(value, tuple | list):
        return ", ".join(shown(v) for v in value)
    return {None: "none", True: "yes", False: "no"}.get(value, f"{value:g}" if isinstance(value, float) else str(value))


def size(n_bytes: int) -> str:
    """Bytes in the unit that reads best.

    >>> size(512), size(536870912), size(14483464192)
    ('512 B', '512 MiB', '13.5 GiB')
    """
    number, unit = float(n_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.4g} {unit}" if number >= 100 or unit == "B" else f"{number:.3g} {unit}"
