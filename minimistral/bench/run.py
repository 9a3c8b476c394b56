"""The whole bench in order: limits, load, warm up and compare, then time, then the limits once more."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from minimistral import __version__, costs
from minimistral.bench import machine, measure, report
from minimistral.bench.cases import Settings, probe, tokens_of, window_of
from minimistral.bench.measure import CHECKED_STEPS, Clock, in_turns
from minimistral.bench.sides import Side, compile_seconds
from minimistral.checkpoint import Checkpoint, open_checkpoint
from minimistral.config import Config

LIMIT_ROUNDS = 5
COMPILED = ("cpu", "cuda")
Progress = Callable[[int, int], None]


class Work(NamedTuple):
    """What to measure: sides, each with a function that makes it, and the settings."""

    folder: Path  # the checkpoint
    name: str  # what the report calls it
    sides: Sequence[tuple[str, Callable[[], Side]]]  # ("numpy", "cpu", "cuda" or "peer", what makes it)
    settings: Settings
    threads: int


def run(work: Work, progress: Progress | None = None, clock: Clock = time.perf_counter) -> dict:
    """The report (docs/bench.md). BadInput if the sides do not compute the same."""
    settings, checkpoint = work.settings, open_checkpoint(work.folder)
    config = checkpoint.config
    kinds = len(settings.batches) + bool(settings.lengths)
    tick = _ticker(progress, 2 + len(work.sides) * (1 + settings.repeats * kinds))
    started, load_before = datetime.now(UTC), machine.load_average()

    on_gpu = "cuda" in dict(work.sides)
    limits, how = _limits(work.threads, on_gpu, clock)
    tick()
    sides, facts = _load_all(work, config, clock, tick)
    timed = _prompts(sides, settings, config, clock, tick)
    lengths = _lengths(sides, settings, config, clock, tick) if settings.lengths else []
    for name, values in _limits(work.threads, on_gpu, clock)[0].items():
        limits[name] += values
    tick()

    best = {name: max(values) for name, values in limits.items()}
    prompt, ratios = [], []
    for batch, agreements, runs in timed:
        for side in sides:
            row = report.prompt_row(side, batch, settings.prompt_tokens, runs[side.name], config, best)
            prompt.append(row | {"agreement": agreements[side.name]})
        ratios += report.ratio_rows(sides, batch, runs)
    commit, changed = machine.commit()
    return {
        "format": report.FORMAT,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
        "project": {"version": __version__, "commit": commit, "changed": changed},
        "machine": machine.describe() | {"load_before": load_before, "load_after": machine.load_average()},
        "versions": machine.versions(),
        "threads": {"asked": work.threads} | machine.threads_used(),
        "model": _model_facts(work, checkpoint),
        "settings": settings._asdict(),
        "limits": [how[n] | {"best": best[n], "values": values} for n, values in limits.items()],
        "sides": facts,
        "prompt": prompt,
        "ratios": ratios,
        "lengths": lengths,
        "flatness": report.flatness(lengths, window_of(config)),
    }


def _ticker(progress: Progress | None, total: int) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return tick


def _limits(threads: int, on_gpu: bool, clock: Clock) -> tuple[dict[str, list[float]], dict[str, dict]]:
    """({name: rates}, {name: what the report says of it})."""
    limits = machine.cpu_limits(threads) + (machine.gpu_limits() if on_gpu else [])
    how = {limit.name: {"name": limit.name, "unit": limit.unit, "how": limit.how} for limit in limits}
    return machine.measure_limits(limits, LIMIT_ROUNDS, clock), how


def _load_all(work: Work, config: Config, clock: Clock, tick: Callable[[], None]) -> tuple[list[Side], list[dict]]:
    """Every side, warm, and what is known of each: seconds to load, to warm up, to compile; memory."""
    tokens = tokens_of(work.settings, config, 1, work.settings.prompt_tokens + CHECKED_STEPS)
    memory, sides, facts = machine.Memory(), [], []
    for kind, make in work.sides:
        memory.reset()
        gpu_before, start = machine.gpu_used(), clock()
        with compile_seconds() if kind in COMPILED else nullcontext(lambda: None) as compiling:
            side = make()
            loaded = clock() - start
            warm_up, _ = measure.warm_up(side, tokens, work.settings.prompt_tokens, clock)
            seconds = {"load_s": loaded, "warm_up_s": warm_up, "compile_s": compiling()}
        gpu_after = machine.gpu_used()
        gpu = None if gpu_before is None or gpu_after is None else gpu_after - gpu_before
        known = {"bytes_per_weight": side.bytes_per_weight} | seconds | memory.peak() | {"gpu_bytes": gpu}
        sides.append(side)
        facts.append({"name": side.name} | side.facts | known)
        tick()
    return sides, facts


def _prompts(sides, settings: Settings, config: Config, clock: Clock, tick: Callable[[], None]) -> list[tuple]:
    """(batch, agreements, runs) for each batch size: first the sides are compared, then they take turns."""
    timed = []
    for batch in settings.batches:
        agreements = _compare(sides, settings, config, batch, clock)
        tokens = tokens_of(settings, config, batch, settings.prompt_tokens + settings.new_tokens)

        def one(side: Side, tokens=tokens) -> measure.Times:
            return measure.prompt_run(side, tokens, settings.prompt_tokens, clock)

        for side in sides:
            if side.facts.get("compiled"):  # torch.compile compiles anew while it sees new lengths
                one(side), one(side)
        timed.append((batch, agreements, in_turns(sides, settings.repeats, one, settings.pause, tick)))
    return timed


def _compare(sides, settings: Settings, config: Config, batch: int, clock: Clock) -> dict[str, dict | None]:
    """Each side's logits against the first peer's, or the first side's: {name: agreement}; None for that one itself.

    Exact sides are compared with the first of them too, bit for bit.
    """
    tokens = tokens_of(settings, config, batch, settings.prompt_tokens + CHECKED_STEPS)
    logits = {side.name: measure.warm_up(side, tokens, settings.prompt_tokens, clock)[1] for side in sides}
    other = next((side for side in sides if side.facts["peer"]), sides[0])
    exact = [side.name for side in sides if side.facts["arithmetic"] == "exact"]
    found: dict[str, dict | None] = {other.name: None}
    for side in (s for s in sides if s is not other):
        found[side.name] = measure.agreement(side, logits[side.name], other, logits[other.name])
        bits = measure.same_bits(logits[side.name], logits[exact[0]]) if side.name in exact[1:] else None
        found[side.name]["same_bits_as_first_exact"] = bits
    return found


def _lengths(sides, settings: Settings, config: Config, clock: Clock, tick: Callable[[], None]) -> list[dict]:
    """The cost of one more token at each length. A compiled peer is left out: its cache has one fixed size."""
    new, chunk = probe(settings, settings.lengths)
    tokens = tokens_of(settings, config, 1, settings.lengths[-1] + new + chunk)
    able = [side for side in sides if not side.facts.get("compiled")]

    def one(side: Side) -> list[measure.Probe]:
        return measure.length_run(side, tokens, settings.lengths, new, chunk, clock)

    for side in able:
        measure.length_run(side, tokens, settings.lengths[:1], new, chunk, clock)  # warm
    runs = in_turns(able, settings.repeats, one, settings.pause, tick)
    return [row for side in able for row in report.length_rows(side, settings.lengths, chunk, runs[side.name])]


def _model_facts(work: Work, checkpoint: Checkpoint) -> dict:
    return {
        "name": work.name,
        "config": asdict(checkpoint.config),
        "parameters": costs.parameters(checkpoint.config)["total"],
        "dtype": checkpoint.dtype,
        "layout": checkpoint.layout,
        "file_bytes": checkpoint.n_bytes,
    }
