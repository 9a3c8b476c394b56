"""A recorded run, and each of its stages computed again from what is recorded before it, with right lines or wrong ones."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from minimistral.check.compare import Comparison, compare
from minimistral.check.lines import RIGHT, Lines
from minimistral.check.mistakes import Mistake
from minimistral.check.number import REFERENCE, UNIT, Number, draws
from minimistral.check.stages import LINES_OF, Setting, compute, inputs_of, kind_of
from minimistral.check.trace_file import Trace
from minimistral.config import Config
from minimistral.trace import stage_names
from minimistral.weights import Weights

KEPT = 8  # recorded stages held in memory at a time


class Variant(NamedTuple):
    """One way to make a mistake. stages: where it is made; None: wherever its lines are used."""

    mistake: Mistake
    name: str
    lines: Mapping[str, Callable]
    stages: frozenset[str] | None = None

    def made_at(self, stage: str) -> bool:
        """Does this stage use one of its lines?"""
        here = self.stages is None or stage in self.stages
        return here and any(line in LINES_OF[kind_of(stage)] for line in self.lines)


Code = tuple[Variant, ...]  # what somebody wrote: the right lines, but for these


def lines_at(code: Code, stage: str) -> Lines:
    """The lines that a stage is made with."""
    lines = RIGHT
    for variant in code:
        if variant.made_at(stage):
            lines = lines._replace(**variant.lines)
    return lines


@dataclass
class Checked:
    """A trace, and the model that it should be of. Holds one layer of a run at a time."""

    trace: Trace
    weights: Weights
    config: Config

    def __post_init__(self):
        self.recorded = lru_cache(KEPT)(self.trace.__getitem__)  # float64, from the file
        self.stretch = cache(self.stages_made)

    def read_as(self, layout: str) -> None:
        """Take the rows of queries and keys for those of this layout."""
        self.trace.layout = layout
        self.recorded.cache_clear()

    @cached_property
    def order(self) -> list[str]:
        """All stages, in the order they are made."""
        return [name for name in stage_names(self.config) if not name.endswith(".scores")]

    @cached_property
    def last_use(self) -> dict[str, str]:
        """The last stage that needs each stage."""
        return {before: name for name in self.order for before in inputs_of(name, self.config.n_layers)}

    def stages_made(self, stage: str, from_tokens: bool = False) -> list[str]:
        """The stages that are computed for this one, itself last: back to the nearest that are recorded."""
        made, todo = set(), [stage]
        while todo:
            name = todo.pop()
            if name not in made:
                made.add(name)
                before = inputs_of(name, self.config.n_layers)
                todo += [b for b in before if from_tokens or b not in self.trace]
        return [name for name in self.order if name in made]

    def run(
        self,
        stages: list[str],
        code: Code,
        number: Number = REFERENCE,
        rows: int | None = None,
        known: Mapping[str, np.ndarray] | None = None,
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Compute these stages in their order, what lies before them as recorded; each is dropped after its last use.

        rows: of the first tokens only. known: stages that need not be computed. Float64, a row a token that is run.
        """
        tokens = lines_at(code, "embedding").tokens_run(self.trace.tokens[:rows])
        held = dict(known or {})
        for name in stages:
            before = inputs_of(name, self.config.n_layers)
            given = tuple(held[b] if b in held else self.recorded(b)[:rows] for b in before)
            with np.errstate(invalid="ignore", over="ignore"):  # a recorded NaN or infinity is carried on
                setting = Setting(self.config, lines_at(code, name), number)
                held[name] = compute(name, given, tokens, self.weights, setting)
            yield name, held[name]
            for b in before:
                if self.last_use[b] == name:
                    held.pop(b, None)

    def predict(
        self,
        stage: str,
        code: Code = (),
        number: Number = REFERENCE,
        from_tokens: bool = False,
    ) -> np.ndarray:
        """A stage from what is recorded before it: float64, the rows of the trace."""
        for _, x in self.run(self.stretch(stage, from_tokens), code, number):
            pass
        return self.as_recorded(stage, x)

    def as_recorded(self, stage: str, x: np.ndarray, rows: int | None = None) -> np.ndarray:
        """The rows of the trace."""
        T = len(self.trace.tokens[:rows])
        if len(x) != T:  # another number of tokens was run: its last rows are the trace's last rows
            x = x[-T:] if len(x) > T else np.concatenate([np.full((T - len(x), *x.shape[1:]), np.nan), x])
        return x[self.logits_rows(rows)] if stage == "logits" else x

    def logits_rows(self, rows: int | None = None) -> np.ndarray:
        """The positions whose logits are recorded."""
        at = self.trace.logits_positions
        return at if rows is None else at[at < rows]

    def run_from_tokens(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every recorded stage as a right run from the tokens has it, one after another."""
        for name, x in self.run(self.order, ()):
            if name in self.trace:
                yield name, x[self.logits_rows()] if name == "logits" else x

    def compare(self, stage: str, code: Code = (), from_tokens: bool = False) -> Comparison:
        """What is recorded against what this code makes of it."""
        right = self.predict(stage, code, from_tokens=from_tokens)
        drawn = (self.predict(stage, code, n, from_tokens) for n in draws(self.trace.dtype))
        return compare(self.recorded(stage), right, drawn, UNIT[self.trace.dtype])

    def difference(self, stage: str, code: Code, from_tokens: bool = False) -> np.ndarray:
        """How far this code is from what is recorded, for each token: quick, without a budget."""
        return self.off(stage, self.predict(stage, code, from_tokens=from_tokens))

    def off(self, stage: str, right: np.ndarray) -> np.ndarray:
        """How far each of the first tokens is from what is recorded."""
        off = (self.recorded(stage)[: len(right)] - right).reshape(len(right), -1)
        return np.sqrt(np.nansum(off * off, axis=-1))
