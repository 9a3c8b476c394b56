"""Pictures of lesson 16: memory, FLOPs and pairs by length, and the machine's own two limits."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from minimistral import costs
from minimistral.config import MISTRAL_7B, Config
from minimistral.figures.style import CACHE, GREY, INK, KEY, KEY_INK, QUERY, VALUE, WRONG, card, squares, tidy
from minimistral.window import window_mask

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

__all__ = ["cache_by_length", "chunk_blocks", "flops_by_length", "roofline"]

FULL = replace(MISTRAL_7B, window=None)
MHA = replace(FULL, n_kv_heads=MISTRAL_7B.n_heads)
LENGTHS = 2 ** np.arange(10, 18)  # 1024 to 131072
# Its weights are many times larger than a processor's own memory, so that each token must read them again.
TIMED = Config(dim=768, n_layers=3, head_dim=64, hidden_dim=2048, n_heads=12, n_kv_heads=4, vocab_size=2048)


def length_axis(axes, lengths: np.ndarray) -> None:
    """Lengths that double, in thousands of tokens."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, [f"{n // 1024}" for n in lengths])
    axes.set(xlabel="length, in 1024 tokens")


def cache_by_length() -> "Picture":
    """Bytes of keys and values of Mistral 7B by length, 2 bytes a number: 32 key heads, 8, and 8 with the window."""
    kinds = (("32 key heads", MHA, "--", WRONG), ("8 key heads", FULL, "-.", KEY_INK),
             ("8 and the window", MISTRAL_7B, "-", CACHE))  # fmt: skip
    at = {name: costs.cache_bytes(config, 32768) / 2**30 for name, config, _, _ in kinds}
    picture = card(
        7.5, 4, f"cache by length: at 32768 tokens {at['32 key heads']:g} GiB with 32 key heads, "
        f"{at['8 key heads']:g} GiB with 8, and {at['8 and the window']:g} GiB with the window, level from 4096 tokens on")  # fmt: skip
    axes = picture.subplots()
    for name, config, line, colour in kinds:
        sizes = [costs.cache_bytes(config, int(n)) / 2**30 for n in LENGTHS]
        axes.plot(LENGTHS, sizes, line, color=colour, lw=2.5, label=name)
        axes.plot(32768, at[name], "o", color=colour)
        axes.annotate(
            f"{at[name]:g} GiB", (32768, at[name]), (-8, 4), textcoords="offset points", ha="right", color=INK
        )
    weights = 2 * costs.weights_read(MISTRAL_7B) / 2**30
    axes.axhline(weights, color=GREY, ls=":", lw=1.5)
    axes.text(LENGTHS[0], weights * 1.1, f"weights read for a token: {weights:.1f} GiB", color=INK)
    axes.set_yscale("log", base=2)
    ticks = [2.0**n for n in range(-3, 7)]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.set(ylabel="GiB of keys and values", ylim=(0.1, 90))
    length_axis(axes, LENGTHS)
    axes.legend(loc="lower right", frameon=False)
    tidy(axes)
    return picture


def flops_by_length() -> "Picture":
    """Mistral 7B. Left: FLOPs of a text's last token, by its length. Right: what the window gains in a pre-fill."""
    gains = {  # of attention alone, and of the whole model
        n: (
            costs.attended_pairs(n) / costs.attended_pairs(n, MISTRAL_7B.window),
            costs.prefill_flops(FULL, n) / costs.prefill_flops(MISTRAL_7B, n),
        )
        for n in LENGTHS.tolist()
    }
    attention, whole = gains[16384]
    equal = costs.equal_keys(MISTRAL_7B)
    picture = card(
        10, 4, f"left, attention passes the matrices at {equal:.0f} keys, and with the window stays below; right, at "
        f"16384 tokens the window saves {attention:.3f} times in attention and {whole:.3f} times in the model")  # fmt: skip
    left, right = picture.subplots(1, 2)
    weights = costs.weight_flops(MISTRAL_7B)
    for name, config, line in (("attention, no window", FULL, "--"), ("attention, window", MISTRAL_7B, "-")):
        flops = [(costs.decode_flops(config, int(n)) - weights) / 1e9 for n in LENGTHS]
        left.plot(LENGTHS, flops, line, color=QUERY, lw=2.5, label=name)
    left.axhline(weights / 1e9, color=KEY_INK, lw=2, ls=":", label="matrices")
    left.plot(equal, weights / 1e9, "o", color=INK)
    left.annotate(f"{equal:.0f} keys", (equal, weights / 1e9), (-6, 8), textcoords="offset points", ha="right")
    left.set(ylabel="GFLOP for one token", title="the last token of a text")
    right.plot(LENGTHS, [g[0] for g in gains.values()], "-o", color=QUERY, lw=2, label="attention alone")
    right.plot(LENGTHS, [g[1] for g in gains.values()], "--s", color=KEY_INK, lw=2, label="the whole model")
    right.annotate(f"{attention:.3f}", (16384, attention), (-6, 6), textcoords="offset points", ha="right", color=QUERY)
    right.annotate(f"{whole:.3f}", (16384, whole), (4, -14), textcoords="offset points", color=KEY_INK)
    right.set(ylabel="times fewer FLOPs", title="a whole text: what the window saves", yscale="log")
    ticks = [1, 2, 4, 8, 16]
    right.set_yticks(ticks, ticks)
    right.set_yticks([], minor=True)
    for axes in (left, right):
        length_axis(axes, LENGTHS)
        axes.legend(loc="upper left", frameon=False)
    tidy(left, right)
    return picture


def chunk_blocks(chunk: int = 4, T: int = 13, W: int = 5) -> "Picture":
    """The dense blocks that chunks compute: (T, T); coloured is needed, with a cross is computed and then masked."""
    from matplotlib.patches import Rectangle

    positions = np.arange(T)
    needed = window_mask(positions, positions, W)
    first = positions // chunk * chunk  # of each query's chunk
    end = np.minimum(first + chunk, T)
    computed = (positions >= np.maximum(first - W, 0)[:, None]) & (positions < end[:, None])
    picture = card(3.6, 4, f"blocks of {chunk} queries, in all {computed.sum()} pairs; along the diagonal the "
                   f"{needed.sum()} that are needed, crosses on the others")  # fmt: skip
    axes = picture.subplots()
    squares(axes, needed, KEY)
    for i, s in np.argwhere(~needed):
        look = {"facecolor": "#F6D5C3"} if computed[i, s] else {"facecolor": "white"}
        axes.add_patch(Rectangle((s - 0.5, i - 0.5), 1, 1, edgecolor="#E0E0E0", **look))
    rows, columns = np.nonzero(computed & ~needed)
    axes.plot(columns, rows, "x", color=WRONG, ms=6)
    for start in range(0, T, chunk):
        low, high = max(start - W, 0), min(start + chunk, T)
        axes.add_patch(Rectangle((low - 0.5, start - 0.5), high - low, high - start, fill=False, edgecolor=INK, lw=1.5))
    axes.set(xticks=positions[::2], yticks=positions[::2])
    axes.set_title(f"chunks of {chunk}: {computed.sum()} computed, {needed.sum()} needed", size=10)
    axes.set_xlabel("key position", color=KEY_INK)
    axes.set_ylabel("query position", color=QUERY)
    return picture


def rate(amount: float, call: Callable[[], object], seconds: float = 0.1) -> float:
    """How much a second: `amount` by the quickest call of at least three; one before them does not count."""
    call()
    taken: list[float] = []
    while len(taken) < 3 or sum(taken) < seconds:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return amount / min(taken)


def machine_limits(megabytes: int = 64, n: int = 1024) -> tuple[float, float]:
    """What NumPy does on this machine: bytes a second copied (read and written), FLOPs a second in a matrix product."""
    source = np.ones(megabytes * 2**18, np.float32)
    target = np.zeros_like(source)
    a = np.ones((n, n), np.float32)
    return rate(2 * source.nbytes, lambda: np.copyto(target, source)), rate(2 * n**3, lambda: a @ a)


def measured_points(config: Config = TIMED, tokens: tuple[int, ...] = (1, 8, 64)) -> list[tuple[int, float, float]]:
    """(tokens at once, FLOPs a byte, FLOPs a second) of a random model in float32, which reads its weights once."""
    from minimistral.mistral import Mistral

    model = Mistral.random(config, arithmetic="float32")
    points = []
    for T in tokens:
        text = np.arange(T) % config.vocab_size
        flops = costs.prefill_flops(config, T)
        n_bytes = costs.decode_bytes(config, T, bytes_per_value=4, bytes_per_weight=4)
        points.append((T, flops / n_bytes, rate(flops, lambda text=text: model(text))))
    return points


def roofline(
    limits: tuple[float, float] | None = None, points: list[tuple[int, float, float]] | None = None
) -> "Picture":
    """FLOPs a second by FLOPs a byte: this machine's two limits, and a random model that takes 1, 8, 64 tokens at once.

    limits: bytes and FLOPs a second; points: (tokens, FLOPs a byte, FLOPs a second). Not given: measured now.
    """
    copied, multiplied = limits or machine_limits()
    points = points or measured_points()
    slow, fast = points[0], points[-1]
    picture = card(
        7.5, 4.2, f"a roof: a slope of {copied / 1e9:.1f} GB a second, then level at {multiplied / 1e9:.0f} GFLOP a "
        f"second; {slow[0]} token at once does {slow[2] / 1e9:.1f} GFLOP a second, {fast[0]} do {fast[2] / 1e9:.0f}")  # fmt: skip
    axes = picture.subplots()
    bend = multiplied / copied
    slope, level = np.array([0.1, bend]), np.array([bend, 1000])
    axes.plot(slope, slope * copied / 1e9, "--", color=INK, lw=2, label=f"copy: {copied / 1e9:.1f} GB a second")
    name = f"matrix product: {multiplied / 1e9:.0f} GFLOP a second"
    axes.plot(level, [multiplied / 1e9] * 2, color=INK, lw=2, label=name)
    axes.axvline(bend, color=GREY, ls=":", lw=1, label=f"they meet at {bend:.1f} FLOPs a byte")
    for T, intensity, speed in points:
        colour = QUERY if T == 1 else VALUE
        axes.plot(intensity, speed / 1e9, "o" if T == 1 else "s", color=colour, ms=8, markeredgecolor="white")
        name = "1 token (decoding)" if T == 1 else f"{T} tokens"
        axes.annotate(name, (intensity, speed / 1e9), (8, -12), textcoords="offset points", color=colour)
    lowest = min(0.1 * copied, *(speed for _, _, speed in points)) / 1e9
    axes.set(xscale="log", yscale="log", xlabel="FLOPs for each byte read", ylabel="GFLOP a second", xlim=(0.1, 1000))
    axes.set_ylim(0.4 * lowest, 2 * multiplied / 1e9)
    axes.legend(loc="lower right", frameon=False)
    tidy(axes)
    return picture
