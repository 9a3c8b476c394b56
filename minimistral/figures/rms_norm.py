"""Pictures of lesson 03: what RMSNorm does to sizes, where eps bends it, and what it does not do: centre."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.arithmetic import by_name
from minimistral.figures.embedding import TEXT, size
from minimistral.figures.style import GREY, INK, QUERY, VALUE, WRONG, card, tidy
from minimistral.rms_norm import rms_norm

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["bend_at_eps", "circle_or_two_points", "sizes_before_and_after"]

FLOAT64 = by_name("float64")


def bend_at_eps(eps: float = 1e-5, dim: int = 24, seed: int = 0) -> "Picture":
    """Size of RMSNorm's output against the size of its input (weights of 1), for eps inside, outside, and without."""
    x = np.random.default_rng(seed).standard_normal(dim)
    inputs = np.logspace(-6, 2, 161)  # sizes
    rows = inputs[:, None] * x / size(x)  # (161, dim)
    inside = size(rms_norm(rows, np.ones(dim), eps, FLOAT64))
    bend = np.sqrt(eps)
    picture = card(8, 3.9, f"on two logarithmic axes a line rises with slope 1, bends at an input of size {bend:.5f} "
                   f"where the output is 0.71, and stays at 1; with eps outside the root it bends at {eps:g}")  # fmt: skip
    axes = picture.subplots()
    axes.loglog(inputs, np.ones_like(inputs), ":", color=INK, lw=1.5, label="no eps: always 1")
    axes.loglog(inputs, inputs / (inputs + eps), "--", color=WRONG, lw=2, label="eps outside of the root")
    axes.loglog(inputs, inside, color=QUERY, lw=2.5, label="RMSNorm: eps inside")
    axes.axvline(bend, color=GREY, lw=1)
    axes.plot(bend, np.sqrt(0.5), "o", color=QUERY)
    axes.annotate(f"√eps = {bend:.5f}", (bend, 0.004), (6, 0), textcoords="offset points", color=INK)
    axes.set(xlabel="size of the input (root mean square)", ylabel="size of the output", ylim=(2e-4, 3))
    axes.set_title(f"eps = {eps:g}", size=11)
    axes.legend(frameon=False, loc="lower right")
    tidy(axes)
    return picture


def circle_or_two_points(n: int = 14, seed: int = 3) -> "Picture":
    """Vectors of two numbers, and where RMSNorm and LayerNorm send them: (n, 2) -> a circle, or two points."""
    x = np.random.default_rng(seed).uniform(-3, 3, (n, 2))
    one = np.ones(2)
    centred = x - x.mean(axis=1, keepdims=True)
    picture = card(8.5, 4.9, f"{n} points in the plane: RMSNorm moves each along its own direction to a circle "
                   "of radius 1.41; LayerNorm moves all of them to one of two points")  # fmt: skip
    left, right = picture.subplots(1, 2, sharey=True)
    angle = np.linspace(0, 2 * np.pi, 200)
    for axes, before, name in ((left, x, "RMSNorm: direction kept"), (right, centred, "LayerNorm: two points left")):
        after = rms_norm(before, one, 0, FLOAT64)  # LayerNorm is the same, of what is left without the mean
        axes.plot(np.sqrt(2) * np.cos(angle), np.sqrt(2) * np.sin(angle), color=GREY, lw=1)
        for a, b in zip(x, after, strict=True):
            axes.plot(*zip(a, b, strict=True), color=GREY, lw=0.8, alpha=0.7)
        axes.plot(*x.T, "o", mfc="white", color=INK, ms=6, label="before")
        axes.plot(*after.T, "s", color=VALUE, ms=7, label="after")
        axes.set(xlabel="first number", title=name, aspect="equal", xlim=(-3.3, 3.3), ylim=(-3.3, 3.3))
        tidy(axes)
    left.set_ylabel("second number")
    right.legend(loc="lower right", framealpha=1)
    return picture


def sizes_before_and_after(text: str = TEXT) -> "Picture":
    """The size of each token's stream before each of the storyteller's norms, and after it: two clouds, (T, norms)."""
    from minimistral.mistral import Mistral

    model = Mistral.from_pretrained()
    stages = model.trace(model.tokenizer.encode(text))
    before, after = norm_stages(model.config.n_layers)
    x, y = (np.stack([size(stages[name].astype(np.float64)) for name in names]) for names in (before, after))
    picture = card(9, 4, f"before the {len(x)} norms the sizes of {x.shape[1]} tokens grow from about "
                   f"{np.median(x[0]):.2f} to {np.median(x[-1]):.1f}, at most {x.max():.1f}; after each norm all lie "
                   f"between {y.min():.2f} and {y.max():.2f}")  # fmt: skip
    axes = picture.subplots()
    shift = np.linspace(-0.3, 0.3, x.shape[1])
    for n in range(len(x)):
        axes.plot(n + shift, x[n], "o", mfc="none", color=QUERY, ms=4, label="before the norm" if n == 0 else None)
        axes.plot(n + shift, y[n], "s", color=VALUE, ms=3, label="after it" if n == 0 else None)
    names = [f"layer {i}\n{block}" for i in range(model.config.n_layers) for block in ("att.", "ffn")]
    axes.set_yscale("log")
    axes.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.set_xticks(range(len(x)), [*names, "logits"], size=9)
    axes.set(ylabel="size (root mean square)", ylim=(0.1, 100), xlabel="norm in front of")
    axes.set_title(
        f"{x.shape[1]} tokens of the storyteller, before and after each norm (each group: tokens in order)", size=11
    )
    axes.legend(loc="upper left", frameon=False)
    tidy(axes)
    return picture


def norm_stages(n_layers: int) -> tuple[list[str], list[str]]:
    """The stages before each norm and after it, in the order of the model.

    >>> norm_stages(1)[0]
    ['embedding', 'layers.0.attention_residual', 'layers.0.output']
    """
    before, after = ["embedding"], []
    for i in range(n_layers):
        before += [f"layers.{i}.attention_residual", f"layers.{i}.output"]
        after += [f"layers.{i}.attention_norm", f"layers.{i}.ffn_norm"]
    return before, [*after, "norm"]
