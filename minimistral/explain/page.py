"""A run as one page: a template, a style and a script, put together with the run's numbers. Nothing from elsewhere."""

import base64
import json
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from minimistral.explain.pieces import visible
from minimistral.explain.run import Candidates, Run, first_in_reach, ring
from minimistral.whole_file import whole_file
from minimistral.window import window_mask

STEPS = 255  # a weight is kept as the square root, in so many steps: small ones finer than large ones


def write_page(path: Path, run: Run) -> None:
    """Under a temporary name first. BadInput if it cannot be written."""
    with whole_file(path, "--output") as partial:
        partial.write_text(page(run), encoding="utf-8")


def page(run: Run) -> str:
    """The whole page."""
    here = files("minimistral.explain")
    template, style, script = ((here / f"explain.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    text = "".join(token.text for token in run.tokens).strip()
    title = text if len(text) <= 60 else text[:59] + "…"
    return Template(template).substitute(
        title=escape(title), text=escape(text), style=style, script=script, run=for_script(numbers(run))
    )


def for_script(value: dict) -> str:
    """JSON in plain ASCII that no text can break out of: a `</script>` in a token stays a token."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def numbers(run: Run) -> dict:
    """What explain.js draws."""
    config, T = run.config, len(run.tokens)
    windows = [config.layer_window(i) for i in range(config.n_layers)]
    return {
        "name": visible(run.name),
        "tokens": [token._asdict() for token in run.tokens],
        "given": run.given,
        "came": run.came,
        "options": {name: str(value) for name, value in run.options.items()},  # a seed may be too large for a script
        "heads_of_model": config.n_heads,
        "kv_heads": config.n_kv_heads,
        "vocabulary": config.vocab_size,
        "windows": windows,
        "layers": run.layers,
        "heads": run.heads,
        "weights": base64.b64encode(packed(run, windows)).decode(),
        "pieces": run.pieces,
        "candidates": listed(run.candidates),
        "by_depth": [listed(c) for c in run.by_depth],
        "rings": {w: dict(zip(("slot", "lost"), ring(T, w), strict=True)) for w in sorted({w for w in windows if w})},
        "first_in_reach": first_in_reach(T, config),
    }


def packed(run: Run, windows: list[int | None]) -> bytes:
    """A byte a weight: layer by layer, head by head, query by query, from the oldest key that it sees to itself."""
    positions, parts = np.arange(len(run.tokens)), []
    for weights, layer in zip(run.weights, run.layers, strict=True):
        seen = window_mask(positions, positions, windows[layer])
        parts.append(np.rint(STEPS * np.sqrt(weights[:, seen])).astype(np.uint8).tobytes())
    return b"".join(parts)


def listed(candidates: Candidates) -> dict:
    """A list a token of ids and rounded probabilities, likeliest first."""
    return {
        "ids": candidates.ids.tolist(),
        "p": rounded(candidates.p),
        "came": [None if np.isnan(p) else rounded(p) for p in candidates.came_p],
        "rank": candidates.came_rank.tolist(),
    }


def rounded(p: np.ndarray) -> list | float:
    """To five digits after the point."""
    return np.round(p, 5).tolist()
