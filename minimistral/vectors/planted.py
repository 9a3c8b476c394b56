"""Results of an implementation with a known mistake in it: to try a checker on, this one or another."""

import re
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from minimistral.check.checked import Checked, Code, Variant
from minimistral.check.mistakes import MISTAKES, Case, Mistake
from minimistral.check.mistakes.cache import MISTAKES as OF_CACHE
from minimistral.check.number import Number
from minimistral.checkpoint.convert import new_folder
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.vectors.budgets import Recorded
from minimistral.vectors.suite import LOGITS_ONLY, MODELS, TEXTS, cases
from minimistral.vectors.write import Progress, model_in, text_tokens, write_tensors

FLOAT32 = Number("float32")


def write_planted(folder: Path | str, id: str, small: bool = False, progress: Progress | None = None) -> None:
    """A new folder with a float32 trace for each case, made with the mistake `id` ("none": with none).

    A case that cannot show the mistake (a cache's, in one call) has right results. small: the logits only.
    """
    mistake = None if id == "none" else mistake_named(id)
    with new_folder(Path(folder), 0) as unfinished:
        for done, case in enumerate(cases().values(), 1):
            parts = [
                run(name, mistake, [counts[b] for counts in case.calls], small) for b, name in enumerate(case.texts)
            ]
            stages = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            about = {"dtype": "float32", "layout": "mistral"}
            if len(parts) == 1:
                about["format"] = "minimistral-trace-1"  # which is of one sequence; `minimistral check` reads it too
            write_tensors(unfinished / f"{case.name}.safetensors", stages, about)
            if progress is not None:
                progress(done, len(cases()))


def mistake_named(id: str) -> Mistake:
    known = {m.id: m for m in MISTAKES}
    if id not in known:
        near = get_close_matches(id, known, n=1)
        meant = f"is it {near[0]}?" if near else "docs/mistakes.md lists them"
        raise BadInput(f"--faulty: no mistake {id!r}; {meant}")
    return known[id]


def run(
    text: str, mistake: Mistake | None, given: list[int], small: bool, number: Number = FLOAT32
) -> dict[str, np.ndarray]:
    """One sequence's tokens and stages, as float32. given: how many of its tokens each call is given."""
    config, tokens = MODELS[TEXTS[text].model].config, text_tokens(text)
    code = () if mistake is None else written(mistake, config, given)
    checked = Checked(Recorded({}, tokens, "float32"), model_in(TEXTS[text].model, "float64").weights, config)
    found = {"tokens": tokens}
    for name, x in checked.run(checked.order, code, number):
        if name == "logits" or not (small or text in LOGITS_ONLY):
            found[name] = x[-len(tokens) :].astype(np.float32)  # one token more may have been run
    return found


def written(mistake: Mistake, config: Config, given: list[int]) -> Code:
    """The first variant that somebody who runs these calls could have written; none if the calls do not show it."""
    sizes = [n for n in given if n]
    begun, T = len(sizes) > 1, sum(sizes)
    prompt = sizes[0] if begun and set(sizes[1:]) == {1} else None  # then token by token
    chunk = sizes[0] if begun and set(sizes[1:-1]) <= {sizes[0]} and sizes[-1] <= sizes[0] else None
    said = {"chunks of": chunk, "from position": prompt, "one by one after": prompt}
    at = sizes[0] if begun else 0
    for name, lines in mistake.written(Case(config, T, at, at - 1 if begun else T - 1)).items():
        depends = re.search("(" + "|".join(said) + r") (\d+)", name)
        shown = said[depends[1]] == int(depends[2]) if depends else mistake not in OF_CACHE or prompt is not None
        if shown:
            return (Variant(mistake, name, lines),)
    return ()
