"""From logits to a token: greedy, temperature, top-k, top-p; the same seed draws the same on every machine."""

import numpy as np

from minimistral.arithmetic.exact import P_STEP
from minimistral.arithmetic.functions import exp
from minimistral.arithmetic.grid import snap
from minimistral.errors import BadInput

LARGEST_VOCABULARY = 2**17  # so that running sums on a grid of 2^-36 stay exact


def argmax(logits: np.ndarray) -> int:
    """The most likely token; the lowest id among equals.

    >>> argmax(np.array([1.0, 3.0, 3.0]))
    1
    """
    return int(np.argmax(logits))


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) with 53 bits: SplitMix64 as a counter, so it depends on nothing that was drawn before.

    >>> uniform(7, 0).hex()
    '0x1.8f2f879164c82p-2'
    """
    z = (seed + (position + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return ((z ^ z >> 31) >> 11) * 2.0**-53


def sample(logits: np.ndarray, temperature: float, top_p: float, top_k: int, seed: int, position: int) -> int:
    """One token id drawn from softmax(logits / temperature), (vocab_size,); `position` is the drawn token's.

    top_k keeps the k most likely (0: all), then top_p the shortest most-likely-first run that holds that share.

    >>> [sample(np.zeros(4), 1.0, 0.5, 0, seed=0, position=n) for n in range(8)]
    [1, 0, 0, 1, 0, 0, 0, 1]
    """
    if len(logits) > LARGEST_VOCABULARY:
        raise BadInput(f"vocabulary: sampling is exact up to {LARGEST_VOCABULARY} tokens, found {len(logits)}")
    if temperature == 0:
        return argmax(logits)
    logits = logits.astype(np.float64)
    with np.errstate(over="ignore"):  # a temperature near 0: -infinity is taken to -600
        p = snap(exp((logits - logits.max()) / temperature), P_STEP)
    order = np.argsort(-p, kind="stable")  # most likely first; the lowest id first among equals
    total = np.cumsum(p[order[: top_k or None]])  # exact
    if top_p < 1:
        total = total[: 1 + int(np.argmax(total >= top_p * total[-1]))]
    return int(order[np.argmax(total > uniform(seed, position) * total[-1])])
