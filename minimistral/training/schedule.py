"""The learning rate of each step: up in a straight line, then down along half a cosine."""

import math


def learning_rate(step: int, steps: int, peak: float, warm_up: int, floor: float = 0.05) -> float:
    """The rate of step 1, 2, ..., steps.

    peak step / warm_up                                              while step <= warm_up
    peak (floor + (1 - floor) (1 + cos(pi done)) / 2)                then; done goes from 0 to 1
    The last step has floor * peak.

    >>> [round(learning_rate(step, 12, 1.0, 4, 0.1), 3) for step in (1, 2, 4, 8, 12)]
    [0.25, 0.5, 1.0, 0.55, 0.1]
    """
    if step <= warm_up:
        return peak * step / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return peak * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)
