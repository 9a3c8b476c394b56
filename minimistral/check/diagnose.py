"""Which stages are wrong by themselves, and which known mistakes explain them.

Each recorded stage is computed again from the nearest stages recorded before it, so a fault is found where it is made;
with logits alone that is the whole model. What does not fit is computed again with each known mistake in place of the
right line; the mistake whose result is what was recorded, to within the budget, is named.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

from minimistral.check.checked import Checked, Code, Variant
from minimistral.check.compare import Comparison, length
from minimistral.check.layout import settle_layout
from minimistral.check.lines import Lines
from minimistral.check.mistakes import MISTAKES, Case, Mistake
from minimistral.check.stages import kind_of
from minimistral.check.unknown import advice, described
from minimistral.costs import parameters

EXPLAINED = 0.75  # of what is over the budget: less may be chance, if the fault is hardly larger than the budget
FEW = 0.25  # of the rows may be rounded the other way by a mistake that rounds
LOOSE = 3  # times the right lines' budget: with more, a mistake's own must be small beside what it is to explain
SLACK = 30  # budgets: a quick trial that is nearer than this is compared with a budget of its own
PROMISING = 24  # mistakes that alone come nearest, tried two by two
STARTS = 8  # trials that are continued by one mistake more
FAR = 20  # stages computed for one that is recorded: more than a layer's. In a model that is not small, a third mistake is
SMALL = 10**6  # parameters     then tried only where two explain more of the first tokens
AHEAD = 6  # tokens beyond the first wrong one that decide which trials are looked at in full

Watch = Callable[[str, int, int], None]  # told what is done: in words, how many of it, of how many


def unwatched(what: str, done: int, total: int) -> None:
    """Nobody looks."""


class Finding(NamedTuple):
    """A mistake (None: unknown), the first stage at which it shows, and how much of the difference there it explains.

    variant of an unknown one: what can be said. or_else: other ids that give the same to within the budget. where: the
    layers or stages in which it is made, if it is right in others. next: of an unknown one, what to do; and anywhere: it
    may lie in more stages than this one, as those before it are not recorded.
    """

    mistake: Mistake | None
    variant: str
    stage: str
    explains: float
    harmless: bool
    or_else: tuple[str, ...] = ()
    where: str = ""
    next: str = ""
    anywhere: bool = False


def diagnose(checked: Checked, watch: Watch = unwatched) -> tuple[dict[str, Comparison], list[Finding]]:
    """Compare every recorded stage, and name what is behind those that are wrong, one mistake after another.

    Returns the comparisons under the right lines, and the findings in the order of the stages.
    """
    settle_layout(checked)
    first = compared(checked, watch)
    wrong = [stage for stage, c in first.items() if not c.ok]
    if wrong and (other := other_tokens(checked, wrong[0])):
        return first, [Finding(other.mistake, other.name, wrong[0], 1.0, False)]
    code, findings = (), []
    while wrong:
        stage, *later = wrong
        said = not_finite(checked, stage)
        fits = [] if said else explanations(checked, stage, code, watch)
        if not fits:
            findings.append(unknown(checked, stage, code, said, [s for s, c in first.items() if c.ok]))
            wrong = [s for s in later if stage not in checked.stretch(s)]
            continue
        chosen, others = most_fitting(checked, fits, wrong, code)
        findings += findings_of(checked, stage, chosen, others, code)
        code = code + chosen
        wrong = [s for s in later if not explained(checked, s, code)]
    return first, findings


def compared(checked: Checked, watch: Watch) -> dict[str, Comparison]:
    """Every recorded stage under the right lines."""
    first = {}
    for done, stage in enumerate(checked.trace):
        watch("comparing the stages", done, len(checked.trace))
        first[stage] = checked.compare(stage)
    return first


def unknown(checked: Checked, stage: str, code: Code, said: str, right: list[str]) -> Finding:
    """said: what is known of it already. right: the stages that are."""
    made = checked.stretch(stage)
    said = said or " ".join(described(checked, stage, code))
    return Finding(None, said, stage, 0.0, False, next=advice(checked, stage, right), anywhere=len(made) > 1)


def findings_of(checked: Checked, stage: str, chosen: Code, or_else: tuple[str, ...], code: Code) -> Iterator[Finding]:
    before, after = (float(np.sum(checked.difference(stage, c) ** 2)) for c in (code, code + chosen))
    for v in sorted(chosen, key=lambda v: place_in_model(checked, v)):
        harmless = is_harmless(checked, v)
        yield Finding(v.mistake, v.name, stage, 1 - after / before, harmless, or_else, where_made(checked, v))


def place_in_model(checked: Checked, variant: Variant) -> tuple[int, int]:
    """The first stage that it changes, and the first line."""
    stage = next(n for n, name in enumerate(checked.order) if variant.made_at(name))
    return stage, min(Lines._fields.index(line) for line in variant.lines)


def where_made(checked: Checked, variant: Variant) -> str:
    """`layer 1`, or the stages by name; nothing if it is made wherever it can be."""
    could = [name for name in checked.order if variant._replace(stages=None).made_at(name)]
    made = [name for name in could if variant.made_at(name)]
    if made == could:
        return ""
    layers = {name.split(".")[1] for name in made if "." in name}
    if layers and made == [name for name in could if name.split(".")[1:2] and name.split(".")[1] in layers]:
        return f"layer{'s' * (len(layers) > 1)} {', '.join(sorted(layers, key=int))}"
    return ", ".join(made)


def is_harmless(checked: Checked, variant: Variant) -> bool:
    """Does the mistake alone leave every logit as it is?"""
    right, wrong = (checked.predict("logits", code, from_tokens=True) for code in ((), (variant,)))
    return bool(np.allclose(wrong, right, rtol=1e-9, atol=1e-9 * np.abs(right).max()))


def not_finite(checked: Checked, stage: str) -> str:
    """`NaN at position 3`, the first; nothing if all of the stage are numbers."""
    x = checked.recorded(stage)
    rows = np.flatnonzero(~np.isfinite(x).reshape(len(x), -1).all(axis=-1))
    if not len(rows):
        return ""
    at = checked.logits_rows()[rows[0]] if stage == "logits" else rows[0]
    return f"{'NaN' if np.isnan(x[rows[0]]).any() else 'infinity'} at position {at}"


def other_tokens(checked: Checked, stage: str) -> Variant | None:
    """Other tokens than the trace says, if they explain the whole trace: then no stage is wrong by itself."""
    plain = checked.compare("logits")
    near = SLACK * float(np.sqrt(np.sum(plain.budget**2)))
    known = [v for v in variants(Case(checked.config, len(checked.trace.tokens))) if "tokens_run" in v.lines]
    for v in (v for v in known if len(v.lines["tokens_run"](checked.trace.tokens))):
        if np.linalg.norm(checked.difference("logits", (v,), from_tokens=True)) > near:
            continue
        if all(checked.compare(s, (v,), from_tokens=True).ok for s in (stage, "logits")):
            return v
    return None


def variants(case: Case) -> list[Variant]:
    """Every way to make every known mistake, in the order of the table."""
    return [Variant(m, name, lines) for m in MISTAKES for name, lines in m.written(case).items()]


# Does a mistake explain a stage?


def explained(checked: Checked, stage: str, code: Code, plain: Comparison | None = None) -> bool:
    """Is what is recorded what this code makes, to within the budget, and to the better part?

    plain: the comparison with the code that was believed before. A mistake that rounds may round the other way where a
    value lies near the middle: what remains may then be of the size of its own rounding, in a few rows.
    """
    c = checked.compare(stage, code)
    if bursts(checked, stage, c):
        return False
    allowed = c.budget
    if any(map(rounds, code)) and not c.ok and np.mean(c.error > c.budget) < FEW:
        without = tuple(v for v in code if not rounds(v))
        own = length(checked.predict(stage, code) - checked.predict(stage, without))
        allowed = np.maximum(allowed, 2 * np.nanmax(own, initial=0.0))  # half a unit up is half a unit down
        plain = plain or checked.compare(stage, without)
    if not (c.error <= allowed).all():
        return False
    if plain is None or plain.ok:
        return True
    over = plain.error > plain.budget
    rest = (1 - EXPLAINED) * float(np.sum(plain.error[over] ** 2))
    if np.sum(c.budget[over] ** 2) > max(rest, LOOSE**2 * np.sum(plain.budget[over] ** 2)):
        # A run that magnifies every rounding comes near to anything: then the right lines' own budget must do, for most rows.
        near = c.error[over] <= LOOSE * plain.budget[over]
        if np.mean(near) < (1 - FEW if any(map(rounds, code)) else 1):
            return False
    return float(np.sum(c.error[over] ** 2)) <= rest


def bursts(checked: Checked, stage: str, c: Comparison) -> bool:
    """Does this code make NaN or infinity where the right lines make numbers? Such rows are not judged, so they fit."""
    return not c.judged.all() and bool((np.isfinite(checked.predict(stage)).all(axis=-1) & ~c.judged).any())


def rounds(variant: Variant) -> bool:
    return variant.mistake.id.endswith("low-precision")


def most_fitting(checked: Checked, fits: list[Code], wrong: list[str], code: Code) -> tuple[Code, tuple[str, ...]]:
    """Of several: the one that explains most wrong stages and would break fewest right ones; then the nearest.

    Returns it, made only where it breaks nothing; and the ids that do as well.
    """
    judged = [judge(checked, fit, wrong, code) for fit in fits]
    best = max(range(len(fits)), key=lambda n: (*judged[n].score, -len(fits[n]), -judged[n].misfit))
    equal = [
        fit
        for fit, j in zip(fits, judged, strict=True)
        if j.score == judged[best].score and len(fit) == len(fits[best])
    ]
    named = {v.mistake.id for v in fits[best]}
    others = dict.fromkeys(v.mistake.id for fit in equal for v in fit if v.mistake.id not in named)
    spared = {made for stage in judged[best].breaks for made in checked.stretch(stage)}
    return tuple(sparing(checked, v, spared) for v in fits[best]), tuple(others)


def sparing(checked: Checked, variant: Variant, spared: set[str]) -> Variant:
    """Not made at these stages."""
    if not any(variant.made_at(name) for name in spared):
        return variant
    stages = frozenset(checked.order) if variant.stages is None else variant.stages
    return variant._replace(stages=stages - spared)


class Judged(NamedTuple):
    explains: int  # stages that are wrong
    breaks: list[str]  # stages that are right
    misfit: float  # sum of squares of what remains, in budgets

    @property
    def score(self) -> tuple[int, int]:
        return self.explains, -len(self.breaks)


def judge(checked: Checked, fit: Code, wrong: list[str], code: Code) -> Judged:
    explains, breaks, misfit = 0, [], 0.0
    for stage in checked.trace:
        if any(v.made_at(name) for name in checked.stretch(stage) for v in fit):
            c = checked.compare(stage, code + fit)
            good = (c.ok and not bursts(checked, stage, c)) or explained(checked, stage, code + fit)
            if stage in wrong:
                explains += good
            elif not good:
                breaks.append(stage)
            misfit += float(np.sum((c.error / c.budget) ** 2))
    return Judged(explains, breaks, misfit)


# The search.


class Trial(NamedTuple):
    """Mistakes tried at a stage."""

    code: Code
    off: np.ndarray  # how far each token is from what is recorded: of the first tokens, or of all
    leading: int  # tokens that are right, before the first that is not
    far: float  # how far those are that decide


def explanations(checked: Checked, stage: str, code: Code, watch: Watch = unwatched) -> list[Code]:
    """The mistakes (one, two, three) that make of the stage's inputs what was recorded: all that fit."""
    search = Search(checked, stage, code, watch)
    for trials in search.all():
        near = sorted(search.whole(trials), key=lambda t: np.sum(t.off**2))
        fits = [t.code for t in near if explained(checked, stage, code + t.code, search.plain)]
        if fits:
            return fits
    return []


class Search:
    """For what explains a stage. Most trials look at few tokens: the first that is wrong, and some ahead of it."""

    def __init__(self, checked: Checked, stage: str, code: Code, watch: Watch = unwatched):
        self.checked, self.stage, self.code, self.watch = checked, stage, code, watch
        self.plain = checked.compare(stage, code)  # with what is believed already
        T = len(self.plain.error)
        self.positions = checked.logits_rows() if stage == "logits" else np.arange(T)
        self.limit = SLACK * length(self.plain.budget.reshape(T, -1))
        self.wrong = np.flatnonzero((self.plain.error > self.plain.budget).reshape(T, -1).any(axis=-1))
        self.made = checked.stretch(stage)
        self.looks_ahead: dict[tuple, bool] = {}
        self.unchanged: dict[int, dict[str, np.ndarray]] = {}
        self.decide = T
        self.base = self.trial(())
        self.decide = int(np.searchsorted(self.positions, self.rows(self.base) or np.inf))
        self.base = self.trial(())

    def all(self) -> Iterator[list[Trial]]:
        """Trials, the likelier ones first; more are made if none of these fits."""
        rows = self.rows(self.base)
        one = self.looks("one mistake", [((v,), rows) for v in self.known(self.base)])
        yield one
        places = [((v,), rows) for t in one for v in self.in_one_place(t.code[0])]
        yield self.looks("one mistake in one place", places)
        one = [self.trial(t.code) if t.leading == len(t.off) else t for t in one]
        two = self.continued("two mistakes", self.further(one))
        yield two
        two += self.looks("two mistakes", self.pairs(one, rows))
        yield two
        yield self.continued("three mistakes", self.further(two) if self.is_costly() else two)

    def is_costly(self) -> bool:
        """Is each trial a run of more than a layer, of a model that is not small?"""
        return len(self.made) > FAR and parameters(self.checked.config)["total"] > SMALL

    def further(self, trials: list[Trial]) -> list[Trial]:
        """Those that explain more tokens than what is believed already."""
        return [t for t in trials if t.leading > self.base.leading]

    def looks(self, what: str, codes: list[tuple[Code, int | None]]) -> list[Trial]:
        """Trials of all of these, each at so many tokens."""
        found = []
        for done, (code, rows) in enumerate(codes):
            self.watch(f"trying {what} at {self.stage}", done, len(codes))
            found.append(self.look(code, rows))
        return found

    def trial(self, code: Code, rows: int | None = None) -> Trial:
        off = self.difference(code, rows)
        wrong = np.flatnonzero(off > self.limit[: len(off)])
        if any(map(rounds, code)) and np.sum(off**2) < np.sum(self.base.off[: len(off)] ** 2) / 2:
            wrong = []  # but for a few values that it rounded the other way, perhaps
        leading = int(wrong[0]) if len(wrong) else len(off)
        return Trial(code, off, leading, float(np.sum(off[: self.decide] ** 2)))

    def difference(self, code: Code, rows: int | None) -> np.ndarray:
        """How far each token is off; of few, only the stages from the first that is changed are computed."""
        if rows is None:
            return self.checked.difference(self.stage, self.code + code)
        known = self.believed(rows)
        changed = [n for n, name in enumerate(self.made) if any(v.made_at(name) for v in code)]
        x = known[self.stage]
        for _, x in self.checked.run(self.made[changed[0] :], self.code + code, rows=rows, known=known):
            pass
        return self.checked.off(self.stage, self.checked.as_recorded(self.stage, x, rows))

    def look(self, code: Code, rows: int | None) -> Trial:
        """At the first tokens; at all of them, if a mistake lets these see later ones."""
        return self.trial(code, None if rows is None or any(self.sees_ahead(v, rows) for v in code) else rows)

    def sees_ahead(self, v: Variant, rows: int) -> bool:
        """Do the first tokens come out otherwise if more follow? Each kind of stage that it changes is tried once."""
        key = v.mistake.id, v.name
        if key not in self.looks_ahead:
            first = {kind_of(name): name for name in reversed(self.made) if v._replace(stages=None).made_at(name)}
            self.looks_ahead[key] = self.depends_on_length(v, rows) or any(
                self.changes(v, name, rows) for name in first.values()
            )
        return self.looks_ahead[key]

    def depends_on_length(self, v: Variant, rows: int) -> bool:
        """Is what the first tokens see, or where they stand, another thing in a text of this length?"""
        T, windows = (
            len(self.checked.trace.tokens),
            set(map(self.checked.config.layer_window, range(self.checked.config.n_layers))),
        )
        for line in {"seen", "positions", "empty_slots"} & set(v.lines):
            for window in windows:
                few, more = v.lines[line](rows, window), v.lines[line](T, window)[:rows]
                if line == "seen" and np.any(more[:, rows:]):
                    return True
                if not np.array_equal(few, more[:, :rows] if line == "seen" else more):
                    return True
        return False

    def changes(self, v: Variant, name: str, rows: int) -> bool:
        code = (*self.code, v._replace(stages=None))
        few, more = (next(self.checked.run([name], code, rows=n, known=self.believed(n)))[1] for n in (rows, rows + 3))
        return not np.allclose(few, more[: len(few)], rtol=1e-9, atol=1e-9 * np.abs(few).max())

    def believed(self, rows: int) -> dict[str, np.ndarray]:
        """The stages of the first tokens, with what is believed already."""
        if rows not in self.unchanged:
            self.unchanged[rows] = dict(self.checked.run(self.made, self.code, rows=rows))
        return self.unchanged[rows]

    def whole(self, trials: Iterable[Trial]) -> list[Trial]:
        """Those that fit as far as they were looked at, and then in full."""
        near = [t for t in trials if t.leading == len(t.off)]
        near = [t if len(t.off) == len(self.limit) else self.trial(t.code) for t in near]
        return [t for t in near if t.leading == len(t.off)]

    def first(self, after: Trial) -> int:
        """The first position that it does not explain."""
        return int(self.positions[min(after.leading, len(self.positions) - 1)])

    def rows(self, after: Trial) -> int | None:
        """How many tokens decide what else is wrong: up to a few after the first."""
        rows = self.first(after) + AHEAD
        return rows if rows < 0.8 * len(self.checked.trace.tokens) else None

    def known(self, after: Trial) -> list[Variant]:
        """What may be tried next, if `after` leaves the rest to be explained."""
        first = self.first(after) if after.code else int(self.positions[self.wrong[0]])  # a budget is less than SLACK
        case = Case(self.checked.config, len(self.checked.trace.tokens), first, int(self.positions[self.wrong[-1]]))
        return [v for v in variants(case) if "tokens_run" not in v.lines and any(v.made_at(name) for name in self.made)]

    def in_one_place(self, variant: Variant) -> Iterator[Variant]:
        """Made in one layer only, or at one kind of stage."""
        made = [name for name in self.made if variant.made_at(name)]
        for part in (lambda name: name.split(".")[:-1], kind_of):
            places = list(map(part, made))
            for place in [p for n, p in enumerate(places) if p not in places[:n]]:
                here = frozenset(name for name in made if part(name) == place)
                if len(here) < len(made):
                    yield variant._replace(stages=here)

    def continued(self, what: str, trials: Iterable[Trial]) -> list[Trial]:
        """The best of them, and one mistake more."""
        best = sorted(trials, key=lambda t: (-t.leading, t.far))[:STARTS]
        more = [(t, v) for t in best for v in self.known(t) if all(apart(v, u) for u in t.code)]
        return self.looks(what, [((*t.code, v), self.rows(t)) for t, v in more])

    def pairs(self, one: list[Trial], rows: int | None) -> list[tuple[Code, int | None]]:
        """The most promising two by two, and the nearest of every mistake; of those that change the tokens that decide."""
        changed = [t for t in one if t.leading < self.decide and not np.isclose(t.far, self.base.far, rtol=1e-9)]
        nearest, met = [], set()
        for n, t in enumerate(sorted(changed, key=lambda t: t.far)):
            if n < PROMISING or t.code[0].mistake.id not in met:
                nearest.append(t)
            met.add(t.code[0].mistake.id)
        return [(a.code + b.code, rows) for a, b in combinations(nearest, 2) if apart(a.code[0], b.code[0])]


def apart(a: Variant, b: Variant) -> bool:
    """Two mistakes that can be made at once: of different families and lines."""
    return a.mistake is not b.mistake and not set(a.lines) & set(b.lines)
