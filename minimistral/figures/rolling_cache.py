"""Pictures of lesson 08: a ring that fills and turns, the rows that it holds, and the memory that it takes."""

from typing import TYPE_CHECKING

import numpy as np

from minimistral.config import Config
from minimistral.figures.style import CACHE, GREY, INK, KEY, PALE, SIGN, card, letters_on, tidy
from minimistral.mistral import Mistral
from minimistral.rolling_cache import RollingCache, slot_of, slot_positions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from minimistral.figures.picture import Film, Picture

__all__ = ["ring_film", "ring_memory", "ring_rows", "ring_strip"]

SIZES = {"dim": 24, "n_heads": 6, "n_kv_heads": 2, "head_dim": 10, "hidden_dim": 40, "vocab_size": 61, "n_layers": 3}
EMPTY = {"facecolor": PALE, "edgecolor": "#BDBDBD", "hatch": "////"}


def look_of(position: int, newest: int) -> dict:
    """How a slot is painted: the newest position in the key's colour, older ones in the cache's, an empty one hatched."""
    return EMPTY if position < 0 else {"facecolor": KEY if position == newest else CACHE, "edgecolor": "white"}


def ring_film(T: int = 13, W: int = 5) -> "Film":
    """A ring of W slots while T tokens come, one a second: above the text, below the slots as they lie in memory."""
    from minimistral.figures.picture import Film

    last = " ".join(map(str, slot_positions(T, W).tolist()))
    alt = (f"a ring of {W} slots fills with the positions 0 to {T - 1}, each new one over the oldest; "
           f"in the end the slots 0 to {W - 1} hold {last}")  # fmt: skip
    picture = card(6.2, 3.7, alt)
    picture.set_layout_engine("none")  # places are fixed, so that nothing jumps from frame to frame
    return Film(picture, lambda picture, frame: ring_frame(picture, frame + 1, T, W), T)


def ring_frame(picture: "Picture", n: int, T: int, W: int) -> None:
    """The frame after n tokens."""
    newest, slot = n - 1, slot_of(n - 1, W)
    over = f", over position {newest - W}" if newest >= W else ", which was empty"
    picture.text(
        0.5, 0.93, f"token {n} of {T}:  position {newest} goes to slot {newest} mod {W} = {slot}{over}", ha="center"
    )
    held = slot_positions(n, W)
    text = picture.add_axes((0.05, 0.67, 0.9, 0.2))
    row(text, np.where(np.isin(np.arange(T), held), np.arange(T), -1), np.arange(T), newest, beyond=n)
    text.set_title("the text, by position", size=9, pad=3)
    circle = picture.add_axes((0.05, 0.01, 0.42, 0.65))
    ring(circle, held, newest)
    memory = picture.add_axes((0.53, 0.16, 0.42, 0.3))
    row(memory, held, [f"slot {s}" for s in range(W)], newest)
    memory.set_title("the same slots in memory", size=9, pad=3)


def row(axes: "Axes", held: np.ndarray, names, newest: int, beyond: int | None = None) -> None:
    """A square for each place, its name under it; held (places,): the position in it, -1 for none.

    Places from `beyond` on are still to come: they stay white.
    """
    from matplotlib.patches import Rectangle

    for place, (position, name) in enumerate(zip(held.tolist(), names, strict=True)):
        coming = beyond is not None and place >= beyond
        look = {"facecolor": "white", "edgecolor": "#BDBDBD"} if coming else look_of(position, newest)
        axes.add_patch(Rectangle((place - 0.46, -0.46), 0.92, 0.92, **look))
        if position >= 0:
            axes.text(place, 0, position, ha="center", va="center", color=letters_on(look["facecolor"]), weight="bold")
        if beyond is None or position < 0:
            axes.text(place, -0.62, name, ha="center", va="top", size=8, color=INK)
    axes.set(xlim=(-0.5, len(held) - 0.5), ylim=(-1.1, 0.5), aspect="equal")
    axes.set_axis_off()


def ring(axes: "Axes", held: np.ndarray, newest: int) -> None:
    """Slots around a circle, clockwise from the top; held (W,): the position in each, -1 for none."""
    from matplotlib.patches import Wedge

    W = len(held)
    for slot, position in enumerate(held.tolist()):
        look = look_of(position, newest)
        start, end = 90 - 360 * (slot + 1) / W, 90 - 360 * slot / W
        axes.add_patch(Wedge((0, 0), 1, start, end, width=0.5, **look))
        middle = np.radians((start + end) / 2)
        if position >= 0:
            place = 0.75 * np.cos(middle), 0.75 * np.sin(middle)
            axes.text(
                *place, position, ha="center", va="center", size=13, weight="bold", color=letters_on(look["facecolor"])
            )
        axes.text(1.22 * np.cos(middle), 1.22 * np.sin(middle), f"slot {slot}", ha="center", va="center", size=8)
    axes.text(0, 0, f"newest\n{newest}", ha="center", va="center", size=9, color=INK)
    axes.set(xlim=(-1.5, 1.5), ylim=(-1.35, 1.35), aspect="equal")
    axes.set_axis_off()


def ring_strip(T: int = 13, W: int = 5) -> "Picture":
    """Every step of a ring: a column after each token, a row for each slot, in it the position that it holds: (W, T)."""
    from matplotlib.patches import Rectangle

    held = np.stack([slot_positions(n, W) for n in range(1, T + 1)], axis=1)  # (W, T)
    last = " ".join(map(str, held[:, -1].tolist()))
    picture = card(
        8.5, 3.7, f"a table of {W} slots by {T} steps: the newest position goes down the slots and begins again at slot 0; "
        f"after {T} tokens they hold {last}")  # fmt: skip
    axes = picture.subplots()
    for (slot, step), position in np.ndenumerate(held):
        look = look_of(position, newest=step)
        axes.add_patch(Rectangle((step - 0.47, slot - 0.47), 0.94, 0.94, **look))
        if position >= 0:
            bold = "bold" if position == step else "normal"
            axes.text(step, slot, position, ha="center", va="center", weight=bold, color=letters_on(look["facecolor"]))
    axes.set(xlim=(-0.5, T - 0.5), ylim=(W - 0.5, -0.5), aspect="equal")
    axes.set(xticks=range(T), xticklabels=range(1, T + 1), yticks=range(W), yticklabels=[f"slot {s}" for s in range(W)])
    axes.set_xlabel("tokens seen")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    looks = (("just written", look_of(0, 0)), ("kept", look_of(0, 1)), ("still empty", EMPTY))
    handles = [Rectangle((0, 0), 1, 1, label=name, **look) for name, look in looks]
    picture.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    return picture


def ring_rows(T: int = 13, W: int = 5) -> "Picture":
    """The keys of layer 0 of a random model: (T, 20) in the text's order, and the (W, 20) that the ring holds."""
    from matplotlib.patches import ConnectionPatch, Rectangle

    model = Mistral.random(Config(window=W, **SIZES))
    tokens, cache = np.random.default_rng(0).integers(0, 61, T), model.new_cache()
    text = model.trace(tokens, only="layers.0.k_rope")["layers.0.k_rope"].reshape(T, -1)
    model(tokens, cache)
    keys, _, held = cache.read(0)
    kept = keys.reshape(len(keys), -1)
    picture = card(
        9, 4, f"left the keys of {T} tokens as coloured rows; right the {len(kept)} rows in the ring: those of the "
        f"positions {' '.join(map(str, held.tolist()))}, unchanged")  # fmt: skip
    left, right = picture.subplots(1, 2)
    picture.get_layout_engine().set(wspace=0.2)
    largest = np.abs(text).max()
    for axes, rows, names in (
        (left, text, range(T)),
        (right, kept, [f"slot {s}: position {p}" for s, p in enumerate(held)]),
    ):
        image = axes.imshow(rows, cmap=SIGN, vmin=-largest, vmax=largest, aspect="auto", interpolation="none")
        axes.set(yticks=range(len(rows)), yticklabels=names, xticks=[0, 9, 10, 19], xticklabels=[0, 9, 0, 9])
        axes.axvline(9.5, color="white", lw=3)
        axes.set_xlabel("number in key head 0 | in key head 1")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    left.set(ylabel="position", title=f"the keys of all {T} tokens")
    right.text(9.5, -0.8, f"what {W} slots hold after them", ha="center", size="large")
    right.yaxis.tick_right()
    right.set_ylim(len(kept) - 0.5, len(kept) - 0.5 - T)  # rows as high as on the left
    veil = {"facecolor": "white", "alpha": 0.6, "hatch": "//", "edgecolor": GREY}  # no later token sees these
    left.add_patch(Rectangle((-0.5, -0.5), 20, T - len(kept), **veil))
    for slot, position in enumerate(held.tolist()):
        ends = (19.5, position), (-0.5, slot)
        picture.add_artist(ConnectionPatch(*ends, "data", "data", axesA=left, axesB=right, color=CACHE, lw=2))
    picture.colorbar(image, ax=right, label="value of a number", fraction=0.05, pad=0.03, shrink=0.9)
    return picture


def ring_memory(T: int = 80, W: int = 5) -> "Picture":
    """Bytes of the arrays in two caches while T tokens come, measured: a ring of W slots, and no window."""
    config = Config(window=W, **SIZES)
    unbounded = Config(**SIZES)
    measured = {name: measured_bytes(c, T) for name, c in (("no window", unbounded), ("ring", config))}
    each = 2 * config.n_layers * config.n_kv_heads * config.head_dim * 4
    picture = card(
        7.5, 3.7, f"bytes by tokens seen: without a window a staircase that doubles up to {measured['no window'][-1]} bytes "
        f"at {T} tokens; the ring is level at {measured['ring'][-1]} bytes from {W} tokens on")  # fmt: skip
    axes = picture.subplots()
    seen = np.arange(1, T + 1)
    axes.step(seen, measured["no window"], where="post", color=INK, ls="--", label="no window: arrays grow by doubling")
    axes.plot(seen, each * seen, color=GREY, lw=1, label=f"{each} bytes a position")
    axes.step(seen, measured["ring"], where="post", color=CACHE, lw=3, label=f"a ring of {W} slots")
    axes.text(T, measured["ring"][-1] * 1.8, f"{measured['ring'][-1]} bytes", ha="right", color=INK)
    axes.set(xlabel="tokens seen", ylabel="bytes of keys and values", xlim=(0, T + 1))
    axes.legend(loc="upper left", frameon=False)
    tidy(axes)
    return picture


def measured_bytes(config: Config, T: int) -> list[int]:
    """Bytes that a cache's arrays take after 1, 2, ... T tokens."""
    cache, taken = RollingCache(config, np.dtype(np.float32)), []
    rows = [np.zeros((1, config.n_kv_heads, config.head_dim), np.float32)] * config.n_layers
    for _ in range(T):
        cache.write(rows, rows)
        taken.append(sum(array.nbytes for array in cache.keys + cache.values))
    return taken
