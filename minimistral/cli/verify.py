"""minimistral verify: whether a compiled backend gives the reference's bits; also `python -m fastpath verify`."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from minimistral.cli import terminal
from minimistral.cli.backend import fastpath_verify
from minimistral.cli.json_file import as_json, write_json
from minimistral.cli.options import LARGEST, Json, read_number, read_whole, writable

Backend = Annotated[str, typer.Option("--backend", metavar="NAME", help="cpu, cuda, or all that this machine has.")]
Bits = Annotated[str | None, typer.Option(metavar="N", help="Stop after so many compared bits, as in 1e9.")]
Cases = Annotated[str | None, typer.Option(metavar="N", help="Stop after so many cases.")]
Minutes = Annotated[str | None, typer.Option(metavar="M", help="Stop after so many minutes.")]
Seed = Annotated[str, typer.Option(metavar="S", help="The same seed gives the same cases on every machine.")]
Case = Annotated[str | None, typer.Option("--case", metavar="K", help="Only case K of the seed: a replay.")]
Folder = Annotated[
    Path | None, typer.Option("--model", metavar="DIR", help="Compare on this model, not on random ones.")
]


def verify(
    backend: Backend = "cpu",
    model: Folder = None,
    bits: Bits = None,
    cases: Cases = None,
    minutes: Minutes = None,
    seed: Seed = "0",
    case: Case = None,
    json: Json = None,
) -> None:
    """Compare a compiled backend with the NumPy reference, bit by bit.

    Random models, values, texts, chunks and batches; every stage, and what is drawn. Without a limit: 1e10 bits.
    Exit status: 0 if no bit differs, 1 with the first place where one does.
    """
    limits = {
        "bits": None if bits is None else read_number("--bits", bits, 1, 1e18),
        "cases": None if cases is None else read_whole("--cases", cases, 1, LARGEST),
        "minutes": None if minutes is None else read_number("--minutes", minutes, 0.001, 1e6),
    }
    start = read_whole("--seed", seed, 0, 2**63 - 1)
    only = None if case is None else read_whole("--case", case, 0, LARGEST)
    path = None if json in (None, "-") else writable("--json", json)
    tools = fastpath_verify()
    candidates, notes = tools.candidates(backend)
    reference = None
    if model is not None:
        from minimistral.mistral import Mistral

        reference = Mistral.from_pretrained(model)
    reports = {}
    for name, candidate_of in candidates.items():
        with terminal.progress(f"verifying {name}") as bar:
            reports[name] = tools.verify(candidate_of, start, **limits, case=only, model=reference, progress=bar)
    found = tools.as_json(reports)
    if path is not None:
        write_json(path, found)
    if json == "-":
        terminal.write(as_json(found))
    else:
        place = "" if model is None else f" --model {shlex.quote(str(model))}"
        terminal.write("\n".join(in_words(name, found, place) for name in reports))
    terminal.tell(notes)
    if any(report.differences for report in reports.values()):
        raise typer.Exit(1)


def in_words(backend: str, found: dict, place: str = "") -> str:
    """A report for a person: what was compared and where, and the first difference if there is one.

    found: what --json writes; fastpath.verify.as_json tells its fields. place: options that a replay needs.
    """
    entry, machine = found["backends"][backend], found["machine"]
    gpu = f", {machine['gpu']}" if backend == "cuda" else ""
    rate = entry["bits"] / max(entry["seconds"], 1e-9) / 1e6
    lines = [
        f"backend    {backend}",
        f"machine    {machine['processor']}, {machine['cpus']} CPUs{gpu}, {machine['system']}",
        f"versions   {', '.join(f'{name} {number}' for name, number in found['versions'].items())}",
        f"compared   {entry['cases']:,} cases of seed {entry['seed']}, {entry['arrays']:,} arrays, {entry['bits']:,} bits",
        f"errors     {entry['errors_agreed']:,} times both raised the same error",
        f"seconds    {entry['seconds']:.1f} ({rate:.0f} million bits a second, the reference included)",
        f"differ     {entry['bits_differing']:,} bits, {len(entry['differences'])} runs",
    ]
    if entry["differences"]:
        lines += difference(*entry["differences"])
        number = entry["differences"][0]["case"]
        replay = f"--backend {backend}{place} --seed {entry['seed']} --case {number}"
        lines.append(f"replay     python -m fastpath verify {replay}")
    return "\n".join([*map(terminal.one_line, lines), ""])


def difference(first: dict, *others: dict) -> list[str]:
    """The first difference of a case, and the other runs that have one."""
    lines = [f"case       {first['case']}: {first['text']}", f"run        {first['run']}"]
    if first["index"] is None:
        lines += [f"{first['stage']:<10} reference: {first['reference']}", f"{'':<10} candidate: {first['candidate']}"]
    else:
        lines += [
            f"stage      {first['stage']}: {first['values_differing']:,} of {first['values']:,} values differ",
            f"first at   {first['where']} (index {first['index']})",
            f"reference  {first['reference_bits']}  {first['reference']}",
            f"candidate  {first['candidate_bits']}  {first['candidate']}",
        ]
        after = first["stages_differing"][1:]
        if after:
            more = "" if len(after) <= 4 else f" and {len(after) - 4} more"
            lines.append(f"after it   {', '.join(after[:4])}{more}")
    for other in others:
        what = other["stage"] if other["index"] else f"candidate: {other['candidate']}"
        lines.append(f"also       {other['run']}: {what}")
    return lines
