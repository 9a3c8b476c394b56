"""Pictures of lesson 11: where the storyteller's heads look, where its window ends, and what it would say at each layer."""

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from minimistral.attention import attention_scores
from minimistral.figures.style import INK, KEY_INK, PALE, QUERY, SIZE, WRONG, card
from minimistral.rms_norm import rms_norm
from minimistral.window import window_mask

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["attention_maps", "candidates_by_layer", "window_in_a_map"]

PROMPT = "Lena had a green boat. Lena went out with the green"
LAYER, HEAD = 2, 6  # which looks at the thing that was green


@cache
def teller():
    """The storyteller."""
    from minimistral.mistral import Mistral

    return Mistral.from_pretrained()


@cache
def pieces_of(text: str) -> list[str]:
    """The text's tokens as they can be written beside an axis; the first is the start of the text."""
    model = teller()
    return ["start", *(model.tokenizer.decode([i]) for i in model.tokenizer.encode(text)[1:])]


@cache
def weights_of(text: str) -> np.ndarray:
    """Every head's attention weights, from the trace's q and k: (n_layers, n_heads, T, T)."""
    model = teller()
    config, ids = model.config, model.tokenizer.encode(text)
    trace = model.trace(ids, only=["*.q_rope", "*.k_rope"])
    positions = np.arange(len(ids))
    seen = window_mask(positions, positions, config.window)
    scores = np.array([
        attention_scores(trace[f"layers.{i}.q_rope"], trace[f"layers.{i}.k_rope"], seen, model.arithmetic)
        for i in range(config.n_layers)
    ]).astype(np.float64)  # fmt: skip
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


@cache
def candidates(text: str) -> list[list[tuple[str, float]]]:
    """All next tokens and their probabilities, likeliest first, if the model ended after the embedding, layer 0, 1, ..."""
    model = teller()
    ids = model.tokenizer.encode(text)
    trace = model.trace(ids, only=["embedding", "*.output"])
    found = []
    for stream in trace.values():
        h = rms_norm(stream[-1:], model.weights.norm, model.config.norm_eps, model.arithmetic)
        scores = model.output(h)[0].astype(np.float64)
        p = np.exp(scores - scores.max())
        p /= p.sum()
        found.append([(model.tokenizer.decode([int(i)]), float(p[i])) for i in np.argsort(-p, kind="stable")])
    return found


def attention_maps(
    text: str = PROMPT, layers: tuple[int, ...] = (0, 2, 5), heads: tuple[int, ...] = (1, 4, 5, 6)
) -> "Picture":
    """Attention weights of some layers and heads of the storyteller, a (T, T) map each; hatched: not seen."""
    weights, pieces = weights_of(text), pieces_of(text)
    last = weights[LAYER, HEAD, -1]
    picture = card(10, 7.9, f"{len(layers)} rows of {len(heads)} maps, {len(pieces)} tokens each, triangles; "
                   f"in layer {LAYER}, head {HEAD}, the last token “{pieces[-1]}” gives {last.max():.2f} of its weight to “{pieces[last.argmax()]}”; many other "
                   "rows give most to the start")  # fmt: skip
    grid = picture.subplots(len(layers), len(heads), sharex=True, sharey=True)
    for row, layer in zip(grid, layers, strict=True):
        for axes, head in zip(row, heads, strict=True):
            shown = axes.imshow(visible(weights[layer, head]), cmap=SIZE, vmin=0, vmax=1)
            axes.set_facecolor(PALE)
            axes.patch.set(hatch="////", edgecolor="#C8C8C8")
            axes.set_title(f"layer {layer}, head {head}", size=10)
            axes.set_xticks(range(len(pieces)), pieces, rotation=90, size=8, color=KEY_INK)
            axes.set_yticks(range(len(pieces)), pieces, size=8, color=QUERY)
    picture.colorbar(shown, ax=grid, shrink=0.5, label="weight")
    picture.supxlabel("key: who is looked at", color=KEY_INK, size=10)
    picture.supylabel("query: who looks", color=QUERY, size=10)
    return picture


def window_in_a_map(layer: int = LAYER, head: int = HEAD, seed: int = 1) -> "Picture":
    """One head's weights on 100 tokens of a story: (T, T). The window cuts off what is 64 or more positions back."""
    from minimistral.stories import story

    model = teller()
    T, W = 100, model.config.window
    text = model.tokenizer.decode(model.tokenizer.encode(story(seed))[:T])
    weights = weights_of(text)[layer, head]
    T = len(weights)
    picture = card(6.4, 5.6, f"a band {W} keys wide along the diagonal of {T} queries by {T} keys; below it a hatched triangle, "
                   "the tokens that the window has left behind")  # fmt: skip
    axes = picture.subplots()
    shown = axes.imshow(visible(weights) ** 0.5, cmap=SIZE, vmin=0, vmax=1)
    axes.set_facecolor(PALE)
    axes.patch.set(hatch="////", edgecolor="#C8C8C8")
    edge = np.arange(W, T + 1)
    axes.step(edge - W - 0.5, edge - 0.5, where="post", color=WRONG, lw=2, label=f"end of the window, W = {W}")
    bar = picture.colorbar(shown, ax=axes, shrink=0.8, label="weight", ticks=np.sqrt([0, 0.01, 0.1, 0.5, 1]))
    bar.ax.set_yticklabels(["0", "0.01", "0.1", "0.5", "1"])
    axes.set(xlim=(-0.5, T - 0.5), ylim=(T - 0.5, -0.5), title=f"layer {layer}, head {head}")
    axes.set_xlabel("key position", color=KEY_INK)
    axes.set_ylabel("query position", color=QUERY)
    axes.legend(loc="upper right")
    return picture


def visible(weights: np.ndarray) -> np.ndarray:
    """The weights, masked where a key is not seen (there softmax gives exactly 0)."""
    return np.ma.masked_equal(weights, 0)


def candidates_by_layer(text: str = PROMPT, top: int = 4) -> "Picture":
    """The likeliest next tokens if the model ended after each layer, as a table: a column a layer, likeliest on top."""
    from matplotlib import colormaps

    found = candidates(text)
    names = ["embedding", *(f"layer {i}" for i in range(len(found) - 1))]
    first = ", ".join(f"{name} “{column[0][0]}” {column[0][1]:.2f}" for name, column in zip(names, found, strict=True))
    picture = card(9.5, 2.9, f"a table of candidates by layer; the first of each: {first}")
    axes = picture.subplots()
    p = np.array([[column[rank][1] for column in found] for rank in range(top)])  # (top, layers + 1)
    shown = axes.imshow(p, cmap=SIZE, vmin=0, vmax=1, aspect="auto")
    for (rank, column), chance in np.ndenumerate(p):
        red, green, blue, _ = colormaps[SIZE](float(chance))
        ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
        said = f"{found[column][rank][0].strip()}\n{100 * chance:.1f} %"
        axes.text(column, rank, said, ha="center", va="center", size=9, color=ink)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(top), [f"{rank + 1}." for rank in range(top)])
    axes.set_ylabel("candidate")
    axes.set_xlabel("if the model ended after")
    axes.set_title(f"what comes after “… {' '.join(text.split()[-3:])}”", size=11, color=INK)
    picture.colorbar(shown, ax=axes, label="probability")
    return picture
