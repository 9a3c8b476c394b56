"""Every picture of the course: one function each, from real arrays, in one style (style.py).

A module a lesson, by the notebook's name. matplotlib is loaded when a picture is asked for, and nowhere else.
On the command line: `minimistral figure NAME --output FILE`, the name being the function's, with dashes.
"""

from collections.abc import Callable
from importlib import import_module

from minimistral.course import LESSONS


def figures() -> dict[str, Callable]:
    """Every figure by its name, in the order of the lessons; each can be called without arguments.

    >>> figures()["window-masks"].__name__
    'window_masks'
    """
    modules = [import_module(f"minimistral.figures.{module}") for module in LESSONS]
    return {name.replace("_", "-"): getattr(module, name) for module in modules for name in module.__all__}
