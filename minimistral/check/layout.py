"""In which order are the rows of queries and keys? The trace says it; if it says the other one, that is seen and told."""

from minimistral.check.checked import Checked, Code, Variant
from minimistral.check.mistakes import by_id
from minimistral.check.stages import inputs_of, kind_of

OTHER = {"mistral": "hf", "hf": "mistral"}
ROTATED = {"q_rope": "q", "k_rope": "k"}


def settle_layout(checked: Checked) -> None:
    """Read q and k as the other layout, with a note, if none of them is what the trace says and some are exactly that.

    A rotation that does not fit the rows changes nothing here: it is a mistake, and is looked for afterwards.
    """
    said = getattr(checked.trace, "layout", None)  # stages that lie in memory are in Mistral's
    if said is None:
        return
    telling = [stage for stage in checked.trace if tells(checked, stage)]
    if not telling or any(fits(checked, stage) for stage in telling):
        return
    checked.read_as(OTHER[said])
    if any(fits(checked, stage) for stage in telling):
        checked.trace.notes.append(note(said, OTHER[said]))
    else:
        checked.read_as(said)


def note(said: str, found: str) -> str:
    return (
        f"q and k have the rows of `{found}`, but the trace says `{said}`: judged as `{found}`; "
        f"say layout='{found}' where it is recorded"
    )


def tells(checked: Checked, stage: str) -> bool:
    """q and k; the rotated ones only where they are not computed from recorded ones, which lie in the same order."""
    if kind_of(stage) not in ROTATED:
        return kind_of(stage) in ROTATED.values()
    return inputs_of(stage, checked.config.n_layers)[0] not in checked.trace


def fits(checked: Checked, stage: str) -> bool:
    """Are these the rows of the layout that they are read as, whatever pairs are rotated?"""
    codes = [(), *pairings()] if kind_of(stage) in ROTATED else [()]
    return any(checked.compare(stage, code).ok for code in codes)


def pairings() -> list[Code]:
    """The ways to rotate other pairs than the rows are laid out for."""
    return [(Variant(by_id("rope-pairing"), name, lines),) for name, lines in by_id("rope-pairing").variants.items()]
