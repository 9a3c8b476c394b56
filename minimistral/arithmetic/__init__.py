"""What +, sum and exp mean. The model is written once; one of these is handed to it and does the rounding.

Read `floating` first: it is the textbook. `narrow` rounds each stage to 16 bits, as a GPU does.
`exact` gives the same bits on every machine and in every order of summation.
"""

from minimistral.arithmetic.exact import Exact
from minimistral.arithmetic.floating import Floating
from minimistral.arithmetic.narrow import Narrow
from minimistral.errors import BadInput

NAMES = ("exact", "float32", "float64", "bfloat16", "float16")
Arithmetic = Exact | Floating | Narrow


def by_name(name: str) -> Arithmetic:
    """The arithmetic called `name`; BadInput if there is none.

    >>> by_name("float64").dtype
    dtype('float64')
    """
    if name == "exact":
        return Exact()
    if name in ("float32", "float64"):
        return Floating(name)
    if name in ("bfloat16", "float16"):
        return Narrow(name)
    raise BadInput(f"arithmetic {name!r}: expected one of {', '.join(NAMES)}")
