"""Two arrays, bit by bit; and what is said where they differ."""

from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np

ERROR = "error: "
AXES = {
    "scores": ("head", "query", "key"),
    **dict.fromkeys(("q", "k", "v", "q_rope", "k_rope", "attention"), ("token", "head", "channel")),
    "logits": ("token", "id"),
    "drawn": ("sequence", "step"),
}


@dataclass
class Difference:
    """Where a candidate is not the reference: the first place in the order of stages, and both bit patterns.

    Where one side raised an error, or shapes differ, there is no index and no bits, and `reference` and `candidate`
    say what was found.
    """

    run: str
    stage: str
    reference: str
    candidate: str
    index: list[int] | None = None
    where: str = ""
    reference_bits: str | None = None
    candidate_bits: str | None = None
    values_differing: int = 0  # in this stage of this run
    values: int = 0  # of them all
    stages_differing: list[str] = field(default_factory=list)


@dataclass
class Count:
    """What was compared."""

    arrays: int = 0
    values: int = 0
    bits: int = 0
    bits_differing: int = 0
    errors_agreed: int = 0  # how often both sides raised the same error in the same words


def compare(run: str, reference: dict[str, np.ndarray], candidate: dict[str, np.ndarray], count: Count):
    """The first Difference in the order of the reference's stages, or None. Both: {stage: array}.

    A name that begins with ERROR stands for a call that failed. Masked scores (-inf) are compared but not counted.
    """
    for a, b in zip_longest(reference, candidate, fillvalue="nothing"):
        if a != b:
            return Difference(run, "error", a, b)
    count.errors_agreed += sum(stage.startswith(ERROR) for stage in reference)
    found = [d for stage in reference if (d := difference(run, stage, reference[stage], candidate[stage], count))]
    if not found:
        return None
    found[0].stages_differing = [d.stage for d in found]
    return found[0]


def difference(run: str, stage: str, a: np.ndarray, b: np.ndarray, count: Count) -> Difference | None:
    """The first value of one stage whose bits differ, a the reference's; or None."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return Difference(run, stage, f"{a.dtype} of shape {a.shape}", f"{b.dtype} of shape {b.shape}")
    x, y = bits_of(a), bits_of(b)
    count.arrays += 1
    values = int(np.count_nonzero(a != -np.inf)) if stage.endswith(".scores") else a.size
    count.values += values
    count.bits += 8 * a.itemsize * values
    wrong = x != y
    if not wrong.any():
        return None
    count.bits_differing += int(np.bitwise_count(x ^ y).sum())
    index = tuple(int(n) for n in np.unravel_index(int(np.argmax(wrong)), a.shape))
    return Difference(
        run, stage, repr(a[index].item()), repr(b[index].item()), list(index), place(stage, index),
        f"{int(x[index]):0{2 * a.itemsize}x}", f"{int(y[index]):0{2 * a.itemsize}x}",
        int(np.count_nonzero(wrong)), a.size,
    )  # fmt: skip


def bits_of(x: np.ndarray) -> np.ndarray:
    """The bits as unsigned integers.

    >>> hex(bits_of(np.array([1.0], np.float32))[0])
    '0x3f800000'
    """
    return np.ascontiguousarray(x).view(f"u{x.itemsize}")


def place(stage: str, index: tuple[int, ...]) -> str:
    """An index in words.

    >>> place("layers.0.q_rope", (3, 1, 7))
    'token 3, head 1, channel 7'
    """
    axes = AXES.get(stage.split(" ")[0].split(".")[-1], ("token", "channel"))
    return ", ".join(f"{axis} {n}" for axis, n in zip(axes, index, strict=True))
