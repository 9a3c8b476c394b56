"""What a mistake is: a line that somebody wrote in place of the right one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from minimistral.config import Config


class Case(NamedTuple):
    """What a mistake may depend on: the model, the length, and the first position that is wrong."""

    config: Config
    T: int
    first_wrong: int = 0


Variants = Mapping[str, Mapping[str, Callable]]  # variant -> {line of lines.py: the wrong one}


@dataclass(frozen=True)
class Mistake:
    """A family of wrong lines under one id.

    id         part of the interface: reports and users' scripts name it
    sentence   to the person whose code it is: "you attend to W + 1 keys"
    computes   the formula that the wrong line computes
    instead    the formula that it should compute
    source     where somebody made it in public
    see        the module of this project that has the right line
    variants   what people write: {variant: {line: function}}; or a function of the Case that gives them
    """

    id: str
    sentence: str
    computes: str
    instead: str
    source: str
    see: str
    variants: Variants | Callable[[Case], Variants]

    def written(self, case: Case) -> Variants:
        """The variants for this model and length."""
        return self.variants(case) if callable(self.variants) else self.variants
