"""minimistral bench: how fast the model is on this machine, and beside transformers."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.backend import backend_class, load_backend, training_pieces
from minimistral.cli.inspect import size
from minimistral.cli.json_file import as_json, write_json
from minimistral.cli.options import Json, Memory, cut, read_memory, read_whole, writable
from minimistral.errors import BadInput

if TYPE_CHECKING:
    from minimistral.bench.sides import Side
    from minimistral.bench.training import Case, Step, TrainingSide
    from minimistral.config import Config

BACKENDS = ("numpy", "cpu", "cuda")
TRAINED = ("storyteller", "tiny", "shakespeare")  # presets that --train measures
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
LONGEST = 1_000_000  # tokens of a prompt
BUSY = 0.5  # programs that were running in the minute before

Model = Annotated[Path | None, typer.Option("--model", metavar="DIR", help="Mistral or Hugging Face folder.")]
Params = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Random weights instead: 130M (the default), 1B or 7B, in a temporary folder."),
]
Backends = Annotated[str, typer.Option("--backend", metavar="NAMES", help="numpy, cpu, cuda; commas between.")]
Arithmetics = Annotated[
    str, typer.Option("--arithmetic", metavar="NAMES", help="Of numpy: exact, float32, ...; cpu and cuda do exact.")
]
Prompt = Annotated[str, typer.Option(metavar="N", help="Tokens pre-filled.")]
New = Annotated[str, typer.Option(metavar="N", help="Tokens decoded after them.")]
Repeats = Annotated[str, typer.Option(metavar="N", help="How often; the sides take turns.")]
Batch = Annotated[str, typer.Option(metavar="NS", help="Sequences at once, as in 1,2,4,8.")]
Lengths = Annotated[
    str | None,
    typer.Option(metavar="NS", help="Also the cost of one more token after so many, as in 512,1024 or W,2W,4W,8W."),
]
Against = Annotated[
    str | None, typer.Option(metavar="PEER", help="transformers: the same weights there; torch, with --train.")
]
Train = Annotated[
    bool, typer.Option("--train", help="Training instead: tokens/s and memory; --params storyteller (default) or tiny.")
]
PeerDtype = Annotated[str, typer.Option(metavar="NAMES", help="float32, bfloat16 or float16, of the peer.")]
PeerCompile = Annotated[bool, typer.Option("--peer-compile", help="The peer through torch.compile.")]
Threads = Annotated[str | None, typer.Option(metavar="N", help="For every library; without it, one a CPU.")]
Figure = Annotated[Path | None, typer.Option(metavar="PNG", help="Also draw it.")]
Show = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Measure nothing: show this file of an earlier --json.")
]


def bench(
    model: Model = None,
    params: Params = None,
    backend: Backends = "numpy,cpu",
    arithmetic: Arithmetics = "exact,float32",
    prompt_tokens: Prompt = "512",
    new_tokens: New = "32",
    repeats: Repeats = "5",
    batch: Batch = "1",
    lengths: Lengths = None,
    against: Against = None,
    peer_dtype: PeerDtype = "float32",
    peer_compile: PeerCompile = False,
    threads: Threads = None,
    memory: Memory = None,
    json: Json = None,
    figure: Figure = None,
    show: Show = None,
    train: Train = False,
) -> None:
    """Measure pre-fill and decode speed, time to the first token, and memory.

    The machine's own limits are measured in the same run, and with --against transformers the peer, turn by turn.
    Before anything is timed, the sides' logits are compared. docs/bench.md tells how to read it.
    """
    if train:
        others = (model, lengths, memory, figure, show)
        if any(option is not None for option in others) or peer_compile:
            raise BadInput("--train: takes --params, --backend, --against, --repeats, --threads and --json only")
        bench_training(params or "storyteller", backend, against, repeats, threads, json)
        return
    if model is not None and params is not None:
        raise BadInput("--model and --params: both given, expected one")
    chosen = names_of("--backend", backend, BACKENDS)
    n_threads = use_threads(threads)  # before NumPy is loaded
    numbers = read_settings(prompt_tokens, new_tokens, repeats, batch)
    json_path = None if json in (None, "-") else writable("--json", json)
    figure_path = None if figure is None else writable("--figure", figure)
    peers = peer_names(against, peer_dtype, peer_compile)
    bytes_kept = read_memory(memory)
    if figure_path is not None:
        from minimistral.bench.figure import need_matplotlib

        need_matplotlib()
    if show is not None:
        from minimistral.bench.report import read_report

        give(read_report(show), json, json_path, figure_path)
        return

    from minimistral.arithmetic import NAMES
    from minimistral.bench.cases import Settings, read_lengths
    from minimistral.bench.run import Work, run
    from minimistral.bench.sides import choose

    sides = choose(chosen, names_of("--arithmetic", arithmetic, NAMES))
    for name in chosen:
        backend_class(name)  # whether it is here
    if peers:
        from minimistral.bench.peer import need_peer

        need_peer()
    with checkpoint_folders(model, params, bool(peers), lengths) as (folder, peer_folder, name, config):
        settings = Settings(*numbers, lengths=read_lengths(lengths, config) if lengths is not None else ())
        makers = [(kind, own_maker(folder, kind, kind_of_numbers, bytes_kept)) for kind, kind_of_numbers in sides]
        device, room = "cuda" if "cuda" in chosen else "cpu", settings.prompt_tokens + settings.new_tokens
        for dtype in peers:
            makers.append(("peer", peer_maker(peer_folder, config, dtype, peer_compile, device, n_threads, room)))
        with terminal.progress("measuring") as bar:
            report = run(Work(folder, name, makers, settings, n_threads), bar)
    give(report, json, json_path, figure_path)


def bench_training(
    preset: str, backend: str, against: str | None, repeats: str, threads: str | None, json: str | None
) -> None:
    """bench --train: each backend's pieces, and PyTorch with --against torch, on the same batches."""
    chosen = names_of("--backend", backend, ("numpy", "cpu"))
    n_threads, n_repeats = use_threads(threads), read_whole("--repeats", repeats, 1, 1000)
    json_path = None if json in (None, "-") else writable("--json", json)
    if against not in (None, "torch"):
        raise BadInput(f"--against: {cut(against)}, expected torch (with --train)")
    if preset not in TRAINED:
        raise BadInput(f"--params: {cut(preset)}, expected one of {', '.join(TRAINED)} (with --train)")
    from minimistral.bench.training import Case, TrainingSide, run, torch_side
    from minimistral.bench.training_peer import need_torch
    from minimistral.training.presets import PRESETS

    if against:
        need_torch()
    found = PRESETS[preset]
    case = Case(preset, found.config, found.settings.batch_tokens, repeats=n_repeats)
    sides = [own_training_side(name, n_threads) for name in chosen]
    if against:
        sides.append(TrainingSide("torch", True, need_torch, torch_side, n_threads))
    with terminal.progress("training") as bar:
        report = run(case, sides, n_threads, bar)
    if json_path is not None:
        write_json(json_path, report)
    terminal.write(as_json(report) if json == "-" else training_table(report))


def own_training_side(backend: str, threads: int) -> "TrainingSide":
    """A side of ours. The compiled pieces share BLAS's products among their own threads (fastpath/training/products.py)."""
    from minimistral.bench.training import TrainingSide

    load = partial(training_pieces, backend)
    load()  # whether it is here
    return TrainingSide(backend, False, load, partial(own_step, backend), 1 if backend == "cpu" else threads)


def own_step(backend: str, case: "Case", threads: int) -> "Step":
    """The step of one of our sides, made in its own process."""
    from minimistral.bench.training import stepper

    return stepper(case, training_pieces(backend))


def training_table(report: dict) -> str:
    """The report of bench --train for a person."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 120)
    model, settings = report["model"] | {"dtype": "float32"}, report["settings"]
    with console.capture() as captured:
        console.print(Text(heading(report | {"model": model}), style="bold"), soft_wrap=True)
        title = f"Training, {settings['batch_tokens']} tokens a step, {report['threads']} threads: the middle of "
        columns = ("side", "tokens/s (min - max)", "times torch", "CPU a step", "memory", "process", "loss")
        table = terminal.table(console, f"{title}{settings['repeats']} steps", *columns)
        times = {row["side"]: ratio(row["speed"]) for row in report["ratios"]}
        for side in report["sides"]:
            peaks = [side["peak_rss_growth_bytes"], side["peak_rss_bytes"]]
            peaks = ["unknown" if peak is None else size(peak) for peak in peaks]
            rate, cpu = spread(side["tokens_per_s"]), f"{number(1e3 * min(side['step_cpu_s_runs']))} ms"
            table.add_row(side["name"], rate, times.get(side["name"], ""), cpu, *peaks, f"{side['losses'][-1]:.5f}")
        console.print(table)
        steps = settings["warm_up"] + settings["repeats"]
        gap = report["largest_loss_difference"]
        console.print(Text(f"losses of {steps} steps: at most {gap:.1e} nats apart"), soft_wrap=True)
    return "\n".join(line.rstrip() for line in captured.get().strip().splitlines()) + "\n"


def give(report: dict, json: str | None, json_path: Path | None, figure_path: Path | None) -> None:
    """The report wherever it is wanted."""
    if json_path is not None:
        write_json(json_path, report)
    if figure_path is not None:
        from minimistral.bench.figure import draw

        draw(report, figure_path)
    terminal.write(as_json(report) if json == "-" else tables(report))


def names_of(option: str, text: str, known: tuple[str, ...]) -> list[str]:
    """Names with commas between, each once.

    >>> names_of("--backend", "numpy, cpu", ("numpy", "cpu"))
    ['numpy', 'cpu']
    """
    found = list(dict.fromkeys(text.replace(",", " ").split()))
    wrong = next((name for name in found if name not in known), None)
    if wrong is not None or not found:
        raise BadInput(f"{option}: {cut(wrong or text)}, expected some of {', '.join(known)}, with commas between")
    return found


def use_threads(text: str | None) -> int:
    """How many threads each library takes. They read it when they are loaded, so this comes before NumPy."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if text is None:
        return allowed
    threads = read_whole("--threads", text, 1, allowed)
    if "numpy" in sys.modules and threads != allowed:
        raise BadInput("--threads: NumPy is loaded already and has its threads; use the command line")
    os.environ.update(dict.fromkeys(THREADS, str(threads)))
    return threads


def read_settings(prompt_tokens: str, new_tokens: str, repeats: str, batch: str) -> tuple:
    """The first fields of `Settings`."""
    sizes = [read_whole("--batch", word, 1, 4096) for word in batch.replace(",", " ").split()]
    if not sizes:
        raise BadInput(f"--batch: {cut(batch)}, expected sizes such as 1,2,4,8")
    return (
        read_whole("--prompt-tokens", prompt_tokens, 1, LONGEST),
        read_whole("--new-tokens", new_tokens, 1, LONGEST),
        read_whole("--repeats", repeats, 1, 1000),
        tuple(dict.fromkeys(sizes)),
    )


def peer_names(against: str | None, dtypes: str, compiled: bool) -> list[str]:
    """The types that the peer is to be run in; none without --against."""
    if against not in (None, "transformers"):
        raise BadInput(f"--against: {cut(against)}, expected transformers")
    names = names_of("--peer-dtype", dtypes, ("float32", "bfloat16", "float16"))
    if against is None:
        if compiled or names != ["float32"]:
            raise BadInput("--peer-dtype and --peer-compile: no peer, expected --against transformers")
        return []
    return names


def own_maker(folder: Path, backend: str, arithmetic: str, memory: int | None) -> Callable[[], "Side"]:
    """A function that loads one of our sides when its turn has come."""

    def make() -> "Side":
        from minimistral.bench.sides import side_of
        from minimistral.checkpoint import open_checkpoint
        from minimistral.checkpoint.convert import DTYPES

        return side_of(
            load_backend(folder, arithmetic, backend, memory), backend, DTYPES[open_checkpoint(folder).dtype]
        )

    return make


def peer_maker(folder: Path, config: "Config", *options) -> Callable[[], "Side"]:
    """A function that loads the peer's side. options: as `peer_side` has them."""

    def make() -> "Side":
        from minimistral.bench.peer import peer_side

        return peer_side(folder, config, *options)

    return make


@contextmanager
def checkpoint_folders(model: Path | None, params: str | None, peer: bool, lengths: str | None) -> Iterator[tuple]:
    """(the folder, the one that the peer reads, a name, the config): a temporary one for random weights or for a peer
    that does not know the layout."""
    import tempfile

    from minimistral.bench.cases import read_lengths
    from minimistral.checkpoint import convert, open_checkpoint
    from minimistral.checkpoint.random_checkpoint import size_named, write_random_checkpoint

    with tempfile.TemporaryDirectory(prefix="minimistral-bench-") as place:
        if model is None:
            params = params or "130M"
            config, folder = size_named(params), Path(place) / params
            if lengths is not None:
                read_lengths(lengths, config)  # wrong ones are told before weights are written
            with terminal.progress("random weights") as bar:
                write_random_checkpoint(folder, config, "hf" if peer else "mistral", 0, bar)
            yield folder, folder, f"{params}, random weights", config
            return
        checkpoint = open_checkpoint(model)
        if lengths is not None:
            read_lengths(lengths, checkpoint.config)
        peer_folder = model
        if peer and checkpoint.layout != "hf":
            peer_folder = Path(place) / "hf"
            with terminal.progress("converting for the peer") as bar:
                convert(model, peer_folder, "hf", None, bar)
        yield model, peer_folder, model.resolve().name, checkpoint.config


def tables(report: dict) -> str:
    """The report for a person."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 120)

    table = partial(terminal.table, console)
    with console.capture() as captured:
        console.print(Text(heading(report), style="bold"), soft_wrap=True)
        limits = table(
            f"This machine's limits, {report['threads']['asked']} threads", "limit", "best (min - max)", "how"
        )
        limits.columns[2].justify = "left"
        for row in report["limits"]:
            low, high = min(row["values"]), max(row["values"])
            limits.add_row(
                row["name"], f"{number(row['best'])} {row['unit']} ({number(low)} - {number(high)})", row["how"]
            )
        console.print(limits)

        columns = ("side", "loaded", "first run", "of it compiling", "weights", "memory", "logits")
        before = table("Before the clock", *columns)
        agreements = {row["side"]: row["agreement"] for row in reversed(report["prompt"])}
        for side in report["sides"]:
            compiled = "" if side["compile_s"] is None else f"{side['compile_s']:.1f} s"
            peak = side["peak_rss_growth_bytes"]
            sizes = (size(side["weights_bytes"]), "unknown" if peak is None else size(peak))
            seconds = (f"{side['load_s']:.1f} s", f"{side['warm_up_s']:.1f} s", compiled)
            before.add_row(side["name"], *seconds, *sizes, agreed(agreements[side["name"]]))
        console.print(before)

        settings = report["settings"]
        columns = ("side", "batch", "pre-fill (min - max)", "of", "decode (min - max)", "of", "first token")
        title = f"{settings['prompt_tokens']} tokens pre-filled, {settings['new_tokens']} decoded: tokens/s"
        speeds = table(f"{title}, the middle of {settings['repeats']} repeats", *columns)
        for row in report["prompt"]:
            prefill, decode = (spread(row[f"{what}_tokens_per_s"]) for what in ("prefill", "decode"))
            first = f"{number(1e3 * row['first_token_s']['median'])} ms"
            share = row["share"]
            speeds.add_row(
                row["side"], str(row["batch"]), prefill, first_share(share["prefill"]), decode,
                first_share(share["decode"]), first,
            )  # fmt: skip
        console.print(speeds)

        if report["ratios"]:
            title = "Times the peer's speed, repeat by repeat: min, median, max"
            ratios = table(title, "side", "peer", "batch", "pre-fill", "decode")
            for row in report["ratios"]:
                both = (ratio(row["prefill"]), ratio(row["decode"]))
                ratios.add_row(row["side"], row["peer"], str(row["batch"]), *both)
            console.print(ratios)

        if report["lengths"]:
            columns = ("side", "after", "decoded (min - max)", "pre-filled (min - max)", "cache")
            costs = table("One more token: milliseconds, the middle of the repeats", *columns)
            for row in report["lengths"]:
                both = [spread(row[f"{what}_s_per_token"], 1e3) for what in ("decode", "prefill")]
                costs.add_row(row["side"], f"{row['length']:,}", *both, size(row["cache_bytes"]))
            console.print(costs)
            for row in report["flatness"]:
                console.print(Text(flat(row)), soft_wrap=True)
    return "\n".join(line.rstrip() for line in captured.get().strip().splitlines()) + "\n"


def heading(report: dict) -> str:
    """Model, machine, versions, load: what a figure is worth nothing without."""
    model, machine, versions, project = (report[k] for k in ("model", "machine", "versions", "project"))
    commit = (
        "" if project["commit"] is None else f" {project['commit'][:12]}{', changed' if project['changed'] else ''}"
    )
    load = "" if machine["load_before"] is None else f"; load {machine['load_before']:.2f} before"
    if (machine["load_before"] or 0) > BUSY:
        load += " (other programs were running: these figures say little)"
    parts = [f"{model['name']}: {model['parameters'] / 1e6:.4g} M parameters in {model['dtype']}"]
    parts += [f"{machine['gpu'] + ' and ' if machine['gpu'] else ''}{machine['cpu']}, {machine['cpus']} CPUs{load}"]
    known = ("numpy", "numba", "torch", "transformers")
    parts += [
        f"minimistral {project['version']}{commit}, " + ", ".join(f"{k} {versions[k]}" for k in known if versions[k])
    ]
    return terminal.one_line("; ".join(parts))


def number(value: float) -> str:
    """Three digits, or all before the point.

    >>> number(17234.5), number(0.98765)
    ('17,234', '0.988')
    """
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(values: dict, scale: float = 1.0) -> str:
    """The median, and the range.

    >>> spread({"min": 1.0, "median": 2.5, "max": 1000.0})
    '2.5 (1 - 1,000)'
    """
    low, middle, high = (number(scale * values[k]) for k in ("min", "median", "max"))
    return f"{middle} ({low} - {high})"


def ratio(spread: dict) -> str:
    """Three ratios.

    >>> ratio({"min": 0.5, "median": 1.0, "max": 2.25})
    '0.50  1.00  2.25'
    """
    return "  ".join(f"{spread[k]:.2f}" for k in ("min", "median", "max"))


def first_share(share: dict) -> str:
    """The share of the first limit named: the one that is meant to bound it."""
    return next((f"{100 * value:.0f} % {name}" for name, value in share.items()), "")


def flat(row: dict) -> str:
    """How flat the cost of a token is beyond the window."""
    return (
        f"{row['side']}: from {row['from']:,} to {row['to']:,} tokens the cost of one more varies by "
        f"{100 * row['decode']:.1f} % (decoded) and {100 * row['prefill']:.1f} % (pre-filled); the cache "
        + ("stays the same" if row["cache_constant"] else "grows")
    )


def agreed(agreement: dict | None) -> str:
    """How a side's logits compare with those of the reference, and an exact side's with the first exact one's."""
    if agreement is None:
        return "the reference"
    distance = "same bits" if agreement["same_bits"] else f"within {agreement['relative_l2']:.1e}"
    exact = agreement["same_bits_as_first_exact"]
    if exact is None or agreement["same_bits"]:
        return distance
    return f"{distance}, {'same exact bits' if exact else 'BITS DIFFER from exact'}"
