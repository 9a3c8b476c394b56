"""From seconds to what a reader wants: rates, ratios, shares of the machine's limits. Plain data, as JSON holds it.

The schema (format minimistral-bench-1) is in docs/bench.md.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from minimistral import costs
from minimistral.bench.measure import Probe, Times
from minimistral.bench.sides import Side
from minimistral.checkpoint.files import as_json, read_json, shown
from minimistral.config import Config
from minimistral.errors import BadInput

FORMAT = "minimistral-bench-1"


def read_report(path: Path) -> dict:
    """A report from its file. BadInput if it is none."""
    report = read_json(path)
    if report.get("format") != FORMAT:
        raise BadInput(f"{shown(path)}: format {as_json(report.get('format'))}, expected a bench's file, {FORMAT}")
    return report


def spread(values: Sequence[float]) -> dict[str, float]:
    """The smallest, the middle one and the largest.

    >>> spread([3.0, 1.0, 8.0])
    {'min': 1.0, 'median': 3.0, 'max': 8.0}
    """
    return {"min": min(values), "median": median(values), "max": max(values)}


def prefill_rates(runs: Sequence[Times], tokens: int) -> list[float]:
    """Tokens a second up to the first new token, run by run; tokens: prompt x batch."""
    return [tokens / run.first_token for run in runs]


def decode_rates(runs: Sequence[Times], batch: int) -> list[float]:
    """Decoded tokens a second, of all sequences together, run by run.

    >>> decode_rates([Times(1.0, [0.25, 0.25])], batch=3)
    [12.0]
    """
    return [batch * len(run.steps) / sum(run.steps) for run in runs]


def prompt_row(
    side: Side, batch: int, prompt_tokens: int, runs: Sequence[Times], config: Config, limits: dict[str, float]
) -> dict:
    """One side's runs of one batch size. limits: {name: the best rate, in units of 1e9 a second}."""
    prefill, decode = prefill_rates(runs, batch * prompt_tokens), decode_rates(runs, batch)
    return {
        "side": side.name,
        "batch": batch,
        "prefill_tokens_per_s": spread(prefill),
        "decode_tokens_per_s": spread(decode),
        "first_token_s": spread([run.first_token for run in runs]),
        "share": {
            "prefill": prefill_share(median(prefill), config, side.facts["backend"], limits),
            "decode": decode_share(median(decode) / batch, config, side, limits),
        },
        "first_token_s_runs": [run.first_token for run in runs],
        "step_s_runs": [run.steps for run in runs],
    }


def matrix_flops(config: Config) -> int:
    """FLOPs of a pre-filled token in the matrices of its layers: 2 a weight. The output is for the last token only.

    >>> from minimistral.config import MISTRAL_7B
    >>> matrix_flops(MISTRAL_7B)
    13958643712
    """
    parts = costs.parameters(config)
    return 2 * (parts["attention"] + parts["feed_forward"])


def prefill_share(tokens_per_s: float, config: Config, backend: str, limits: dict[str, float]) -> dict[str, float]:
    """Of each multiplying limit of the side's device: the share that matrix_flops x tokens/s is of it."""
    names = ("gpu float64", "gpu bfloat16", "gpu int8") if backend == "cuda" else ("sgemm",)
    return {n: matrix_flops(config) * tokens_per_s / (limits[n] * 1e9) for n in names if n in limits}


def decode_share(steps_per_s: float, config: Config, side: Side, limits: dict[str, float]) -> dict[str, float]:
    """Of each reading limit of the side's device: the share that bytes of weights a step x steps/s is of it."""
    names = ("gpu copy",) if side.facts["backend"] == "cuda" else ("read", "sgemv")
    n_bytes = costs.weights_read(config) * side.bytes_per_weight
    return {n: n_bytes * steps_per_s / (limits[n] * 1e9) for n in names if n in limits}


def ratio_rows(sides: Sequence[Side], batch: int, runs: dict[str, Sequence[Times]]) -> list[dict]:
    """How many times each peer's speed each side has: a repeat against the peer's in the same repeat."""
    peers = [side for side in sides if side.facts["peer"]]
    rows = []
    for side in (s for s in sides if not s.facts["peer"]):
        for peer in peers:
            pairs = list(zip(runs[side.name], runs[peer.name], strict=True))
            prefill = [theirs.first_token / ours.first_token for ours, theirs in pairs]
            decode = [sum(theirs.steps) / sum(ours.steps) for ours, theirs in pairs]
            both = {"prefill": spread(prefill), "decode": spread(decode)}
            rows.append({"side": side.name, "peer": peer.name, "batch": batch} | both)
    return rows


def length_rows(side: Side, lengths: Sequence[int], chunk: int, runs: Sequence[Sequence[Probe]]) -> list[dict]:
    """Cost of one more token at each length: of each run's decoded tokens the middle one, of its chunk the mean."""
    return [
        {
            "side": side.name,
            "length": length,
            "decode_s_per_token": spread([median(run[i].steps) for run in runs]),
            "prefill_s_per_token": spread([run[i].chunk / chunk for run in runs]),
            "cache_bytes": runs[0][i].cache_bytes,
            "chunk_tokens": chunk,
            "step_s_runs": [run[i].steps for run in runs],
            "chunk_s_runs": [run[i].chunk for run in runs],
        }
        for i, length in enumerate(lengths)
    ]


def flatness(rows: Sequence[dict], window: int | None) -> list[dict]:
    """For each side, over the lengths from the window on: the largest middle cost over the smallest, minus 1."""
    found = []
    for side in dict.fromkeys(row["side"] for row in rows):
        own = [r for r in rows if r["side"] == side and (window is None or r["length"] >= window)]
        if len(own) < 2:
            continue
        line = {"side": side, "from": own[0]["length"], "to": own[-1]["length"]}
        for what in ("decode", "prefill"):
            middles = [row[f"{what}_s_per_token"]["median"] for row in own]
            line[what] = max(middles) / min(middles) - 1
        line["cache_constant"] = len({row["cache_bytes"] for row in own}) == 1
        found.append(line)
    return found
