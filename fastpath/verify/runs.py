"""A case on both sides: every run's arrays, or its error, and the first difference between them.

The reference gives the same bits in one go, in chunks and in batches (tests/test_same_bits.py), so one trace of it, in
one go, is what all runs of the candidate on the same text are compared with.
"""

from collections.abc import Callable

import numpy as np

from fastpath.verify.cases import Case, Draw, Part, Plan
from fastpath.verify.compare import ERROR, Count, Difference, compare
from minimistral import BadInput, Mistral
from minimistral.errors import NotFinite
from minimistral.transformer import finite

Arrays = dict[str, np.ndarray]
CandidateOf = Callable[[Mistral], Mistral]


def run_case(case: Case, candidate_of: CandidateOf, count: Count) -> list[Difference]:
    """The differences of one case, one for each run that has any."""
    with np.errstate(all="ignore"):
        try:
            reference = case.model()
        except NotFinite:  # in a matrix: no model can be made of it, so there is nothing to run
            return []
        candidate, failed = outcome(candidate_of, reference)
        if failed is not None:
            return [Difference("making the model", "error", "no error", said(failed))]
        found = [*traces(case, reference, candidate, count)]
        for plan in case.plans:
            found.append(rounds(plan, case, reference, candidate, count))
        for draw in case.draws:
            both = [outcome(drawn, model, draw) for model in (reference, candidate)]
            found.append(judge(f"generate {draw.options}", *both, count))
    return [d for d in found if d is not None]


def outcome(function: Callable, *arguments) -> tuple[object, Exception | None]:
    """What a call gives, or the error it raises."""
    try:
        return function(*arguments), None
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever a candidate raises is a finding)
        return None, error


def said(error: Exception | None) -> str:
    return "no error" if error is None else f"{type(error).__name__}: {error}"


def judge(run: str, reference, candidate, count: Count) -> Difference | None:
    """Compare two outcomes. The same error in the same words is agreement."""
    (a, failed), (b, failed_too) = reference, candidate
    if failed is not None and not isinstance(failed, BadInput):
        raise failed  # a mistake in the reference or here, not the candidate's
    if failed is None and failed_too is None:
        return compare(run, a, b, count)
    if type(failed) is type(failed_too) and str(failed) == str(failed_too):
        count.errors_agreed += 1
        return None
    return Difference(run, "error", said(failed), said(failed_too))


# ---- traces ----------------------------------------------------------------------------------------------------------


def traces(case: Case, reference: Mistral, candidate: Mistral, count: Count):
    """Every stage, in one go and in chunks."""
    only = None if case.long else ["*", "*.scores"]
    known = None
    for chunk in case.chunks:
        # After an error the order of chunks decides which stage is named: then each run has its own counterpart.
        if known is None or known[1] is not None:
            known = outcome(reference.trace, case.tokens, chunk, only)
        ours = outcome(candidate.trace, case.tokens, chunk, only)
        yield judge("trace" if chunk is None else f"trace in chunks of {chunk}", known, ours, count)


# ---- rounds ----------------------------------------------------------------------------------------------------------


def rounds(plan: Plan, case: Case, reference: Mistral, candidate: Mistral, count: Count) -> Difference | None:
    """A plan's logits; where they differ, the same once more with the stages looked at, to name the first."""
    known = outcome(expected, plan, case, reference)
    if known[1] is not None:
        both = [outcome(call_by_call, plan, model) for model in (reference, candidate)]
        return judge(plan.text, *both, count)
    found = judge(plan.text, known, outcome(in_rounds, plan, candidate), count)
    if found is None or found.stage == "error":
        return found
    return first_stage(plan, reference, candidate) or found


def call_by_call(plan: Plan, model: Mistral) -> Arrays:
    """The logits of each call, or what it raised; the next call goes on, as an error leaves the caches as they were."""
    caches = [model.new_cache() for _ in plan.sequences]
    found = {}
    for number, parts in enumerate(plan.rounds):
        logits, failed = outcome(call, plan, parts, model, caches)
        if failed is not None and not isinstance(failed, BadInput):
            raise failed
        if failed is None:
            found[f"logits (call {number})"] = np.concatenate(logits)
        else:
            found[f"{ERROR}call {number}: {said(failed)}"] = np.empty((0, 0), np.float32)
    return found


def in_rounds(plan: Plan, model: Mistral) -> Arrays:
    """The logits of each sequence, (T_i, vocab_size), or of the last position of each part."""
    caches = [model.new_cache() for _ in plan.sequences]
    rows: list[list[np.ndarray]] = [[] for _ in plan.sequences]
    for parts in plan.rounds:
        for (i, _, _), part in zip(parts, call(plan, parts, model, caches), strict=True):
            rows[i].append(part)
    return {f"logits (sequence {i})": np.concatenate(r) for i, r in enumerate(rows)}


def call(plan: Plan, parts: list[Part], model: Mistral, caches: list) -> list[np.ndarray]:
    """One call: the logits of each part, (its tokens or 1, vocab_size)."""
    tokens = [plan.sequences[i][start:stop] for i, start, stop in parts]
    own = [caches[i] for i, _, _ in parts]
    logits = model.next_logits if plan.last_only else model
    found = [logits(tokens[0], own[0])] if len(plan.sequences) == 1 else logits(tokens, own)
    return [np.atleast_2d(x) for x in found]


def expected(plan: Plan, case: Case, reference: Mistral) -> Arrays:
    """The same from the reference, which takes each text alone and in one go; a beginning's logits are a beginning."""
    whole: dict[bytes, np.ndarray] = {}

    def logits(tokens: np.ndarray) -> np.ndarray:
        text = case.tokens if np.array_equal(tokens, case.tokens[: len(tokens)]) else tokens
        if text.tobytes() not in whole:
            whole[text.tobytes()] = reference(text, chunk=256 if case.long else len(text))
        return whole[text.tobytes()][: len(tokens)]

    found = {}
    for i, tokens in enumerate(plan.sequences):
        last = [stop - 1 for parts in plan.rounds for j, _, stop in parts if j == i]
        found[f"logits (sequence {i})"] = logits(tokens)[last] if plan.last_only else logits(tokens)
    return found


def first_stage(plan: Plan, reference: Mistral, candidate: Mistral) -> Difference | None:
    """The first stage that differs, round by round; None if none does when they are looked at."""
    caches = [[m.new_cache() for _ in plan.sequences] for m in (reference, candidate)]
    for number, parts in enumerate(plan.rounds):
        tokens = [plan.sequences[i][start:stop] for i, start, stop in parts]
        own = [[side[i] for i, _, _ in parts] for side in caches]
        both = [outcome(stages_of, m, tokens, c) for m, c in zip((reference, candidate), own, strict=True)]
        ids = ", ".join(f"sequence {i} from {start} to {stop}" for i, start, stop in parts)
        if found := judge(f"{plan.text}; call {number}: {ids}", *both, Count()):
            return found
    return None


def stages_of(model: Mistral, tokens: list[np.ndarray], caches: list) -> Arrays:
    """All stages of one call; a batch's scores come once a sequence, and are numbered."""
    seen: Arrays = {}

    def stage(name: str, x: np.ndarray) -> np.ndarray:
        times = sum(n.split(" ")[0] == name for n in seen)
        seen[f"{name} (sequence {times})" if name.endswith(".scores") and len(tokens) > 1 else name] = np.array(x)
        return finite(name, x)

    model.output(model.hidden(tokens, caches, stage), stage)
    return seen


# ---- generate --------------------------------------------------------------------------------------------------------


def drawn(model: Mistral, draw: Draw) -> Arrays:
    """The ids that generate gives, (sequences, steps); -1 where a sequence has ended."""
    steps = list(model.generate(draw.prompts, **draw.options))
    ids = [[-1 if n is None else n for n in step] for step in steps]
    return {"drawn": np.array(ids, np.int32).reshape(len(steps), len(draw.prompts)).T}
