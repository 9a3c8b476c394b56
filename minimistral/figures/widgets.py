"""Sliders that move a figure, and beneath them a few of its states, for a page or a print-out."""

from collections.abc import Callable

from minimistral.figures.picture import Picture
from minimistral.figures.style import strip


def explore(draw: Callable[..., Picture], states: list[dict[str, int]], **ranges: tuple[int, int]) -> None:
    """In a notebook: draw(**values) with a slider for each range (low, high); under it draw(**state) for each state.

    >>> explore(window_masks, [{"W": 2}, {"W": 5}, {"W": 9}], W=(1, 13))  # doctest: +SKIP
    """
    from IPython.display import display

    try:
        from ipywidgets import IntSlider, interactive
    except ImportError:
        pass  # the pictures stay
    else:
        sliders = {
            name: IntSlider(states[0][name], low, high, continuous_update=False) for name, (low, high) in ranges.items()
        }
        display(interactive(lambda **values: display(draw(**values)), **sliders))
    pictures = [draw(**state) for state in states]
    said = "; ".join(", ".join(f"{name} = {value}" for name, value in state.items()) for state in states)
    display(strip(pictures, f"side by side, for {said}: {pictures[0].alt}"))
