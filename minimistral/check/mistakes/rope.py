"""Mistakes about the rotation. Right: lines.positions, lines.angles, lines.turn."""

import numpy as np

from minimistral.check.lines import turn
from minimistral.check.mistakes.mistake import Case, Mistake, chunk_sizes
from minimistral.check.number import rounded

HF = "Hugging Face's rows"


def halves(x):
    """Channels 0, 2, 4, ... and then 1, 3, 5, ...: a head as Hugging Face's rows have it."""
    return np.concatenate([x[..., 0::2], x[..., 1::2]], axis=-1)


def interleaved(x):
    """And back."""
    return np.stack(np.split(x, 2, axis=-1), axis=-1).reshape(x.shape)


def turn_halves(x, angle, n):
    """Pairs (i, i + d / 2), on rows that are laid out for (2i, 2i + 1)."""
    return halves(turn(interleaved(x), angle, n))


def turn_adjacent(x, angle, n):
    """Pairs (2i, 2i + 1), on rows that are laid out for (i, i + d / 2)."""
    return interleaved(turn(halves(x), angle, n))


def turn_back(x, angle, n):
    return turn(x, -angle, n)


def turn_not(x, angle, n):
    return x


def turn_twice(x, angle, n):
    return turn(turn(x, angle, n), angle, n)


def turn_values(v, angle, n):
    return turn(v, angle, n)


def turn_values_halves(v, angle, n):
    """Values lie in the same order in every folder: code for Hugging Face's rows turns other pairs."""
    return turn_halves(v, angle, n)


def turn_unevenly(first, second):
    """The two channels of a pair by different angles: pair i by angles first[i] and second[i]."""

    def wrong(x, angle, n):
        a, b = x[..., 0::2], x[..., 1::2]
        cos, sin = n.step(np.cos(angle))[:, None], n.step(np.sin(angle))[:, None]
        one, two = first(angle.shape[1]), second(angle.shape[1])
        left = n.step(a * cos[..., one]) - n.step(b * sin[..., one])
        right = n.step(a * sin[..., two]) + n.step(b * cos[..., two])
        return n.store(np.stack([left, right], axis=-1).reshape(x.shape))

    return wrong


def turn_first(rows, angles_of):
    """Only the first d / 2 channels of a head, in one of the two row orders."""

    def wrong(x, angle, n):
        half = x.shape[-1] // 2
        if rows == HF:
            x = halves(x)
            return interleaved(
                np.concatenate([halves(turn(interleaved(x[..., :half]), angles_of(angle), n)), x[..., half:]], axis=-1)
            )
        return np.concatenate([turn(x[..., :half], angles_of(angle), n), x[..., half:]], axis=-1)

    return wrong


def partial(case: Case):
    if case.config.head_dim % 4:
        return {}
    angles_of = {
        "": lambda angle: angle[:, ::2],
        "the whole head's angles": lambda angle: angle[:, : angle.shape[1] // 2],
    }
    return {
        "the first half" + "".join(f", {part}" for part in (rows, which) if part): {
            "turn_queries": turn_first(rows, of),
            "turn_keys": turn_first(rows, of),
        }
        for rows in ("", HF)
        for which, of in angles_of.items()
    }


def products(at, frequencies, n):
    """position x frequency, in the format in which the angles are formed."""
    if n.angles == "float32":
        return rounded(rounded(at.astype(float), "float32")[:, None] * rounded(frequencies, "float32"), "float32")
    return at[:, None] * frequencies


def frequencies(config):
    return config.rope_theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim)


def with_theta(theta):
    return lambda at, config, n: products(at, theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim), n)


def with_exponents(exponents):
    """exponents: (i, d, config) -> what theta is raised to, but for the sign."""

    def wrong(at, config, n):
        i = np.arange(config.head_dim // 2)
        return products(at, config.rope_theta ** -exponents(i, config.head_dim, config), n)

    return wrong


def other_exponents(case: Case):
    width = case.config.dim // case.config.n_heads
    known = {
        "i / d": lambda i, d, config: i / d,
        "2(i - 1) / d": lambda i, d, config: 2 * (i - 1) / d,
        "2(i + 1) / d": lambda i, d, config: 2 * (i + 1) / d,
        "2i / (d - 2)": lambda i, d, config: 2 * i / max(d - 2, 1),
        "2i / (dim / n_heads)": lambda i, d, config: 2 * i / width,
    }
    return {
        name: {"angles": with_exponents(wrong)}
        for name, wrong in known.items()
        if name != "2i / (dim / n_heads)" or width != case.config.head_dim
    }


def positions_from_one(T, window):
    return np.arange(T) + 1


def turn_one_further(x, angle, n):
    """By the angle of the next position; the second position's angle is one step."""
    return turn(x, angle + angle[1:2] - angle[:1] if len(angle) > 1 else angle, n)


def positions_in_ring(T, window):
    return np.arange(T) % (T if window is None else window)


def positions_in_chunk(size):
    return lambda T, window: np.arange(T) % size


def positions_zero_from(first):
    return lambda T, window: np.where(np.arange(T) < first, np.arange(T), 0)


def restarts(case: Case):
    """A restart at every W positions has an id of its own."""
    from_zero = {f"0 from position {n} on": {"positions": positions_zero_from(n)} for n in {case.first_wrong} if n > 1}
    sizes = [n for n in chunk_sizes(case) if n not in case.windows]
    return {f"chunks of {n}": {"positions": positions_in_chunk(n)} for n in sizes} | from_zero


def positions_at_most(most):
    return lambda T, window: np.minimum(np.arange(T), most)


def caps(case: Case):
    """At the number of keys that the cache holds; or wherever positions stop."""
    stops = {w for w in case.windows if w} | {case.first_wrong - 1}
    return {f"{n} at most": {"positions": positions_at_most(n)} for n in sorted(stops) if 0 < n < case.T - 1}


def positions_counted_twice(size):
    """What the cache already holds is counted by the cache, and by the loop over chunks."""
    return lambda T, window: np.arange(T) + np.arange(T) // size * size


def angles_rounded(dtype):
    """position x frequency, the product in the narrow type."""

    def wrong(at, config, n):
        return rounded(rounded(at.astype(float), dtype)[:, None] * rounded(frequencies(config), dtype), dtype)

    return wrong


def positions_rounded(dtype):
    return lambda at, config, n: products(rounded(at.astype(float), dtype), frequencies(config), n)


def frequencies_rounded(dtype):
    return lambda at, config, n: products(at, rounded(frequencies(config), dtype), n)


def angle_only_rounded(dtype):
    return lambda at, config, n: rounded(at[:, None] * frequencies(config), dtype)


def narrow_angles(case):
    kinds = {"positions and frequencies": angles_rounded, "positions": positions_rounded,
             "frequencies": frequencies_rounded, "angles": angle_only_rounded}  # fmt: skip
    return {
        f"{dtype} {kind}": {"angles": wrong(dtype)}
        for dtype in ("bfloat16", "float16")
        for kind, wrong in kinds.items()
    }


def other_theta(case):
    return {
        f"theta {theta:g}": {"angles": with_theta(theta)}
        for theta in (1e4, 1e6, 5e5, 1e5, 1e3)
        if theta != case.config.rope_theta
    }


def both(wrong, name=""):
    """Queries and keys, and one of them."""
    return {
        name + (", " if name and which else "") + which: {line: wrong for line in lines}
        for which, lines in (
            ("", ("turn_queries", "turn_keys")),
            ("keys only", ("turn_keys",)),
            ("queries only", ("turn_queries",)),
        )
    }


MISTAKES = [
    Mistake(
        "rope-pairing",
        "you rotate the pairs (i, i + d/2) of rows that are laid out for the pairs (2i, 2i + 1), or the reverse",
        "(x[i], x[i + d/2]) turned together",
        "(x[2i], x[2i + 1]) turned together, in Mistral's row order",
        "openvinotoolkit/openvino.genai #4059; jzhang38/TinyLlama #24; rasbt/LLMs-from-scratch #746",
        "minimistral/rope.py rotate",
        both(turn_halves) | both(turn_adjacent, HF),
    ),
    Mistake(
        "rope-direction",
        "you rotate by the negative angle",
        "(a cos + b sin, -a sin + b cos)",
        "(a cos - b sin, a sin + b cos)",
        "karpathy/nanochat #489",
        "minimistral/rope.py rotate",
        both(turn_back),
    ),
    Mistake(
        "rope-theta",
        "your rotation has another base than the checkpoint's rope_theta",
        "position / other_theta^(2i/d)",
        "position / rope_theta^(2i/d)",
        "ml-explore/mlx-examples #176; intel/ipex-llm #11747; lyogavin/airllm #368; karpathy/llama2.c #356",
        "minimistral/rope.py rope_table",
        other_theta,
    ),
    Mistake(
        "rope-position-offset",
        "your positions start at 1",
        "angles of i + 1",
        "angles of i",
        "",
        "minimistral/rope.py rope_table",
        {
            "": {"positions": positions_from_one},
            "keys only": {"turn_keys": turn_one_further},
            "queries only": {"turn_queries": turn_one_further},
        },
    ),
    Mistake(
        "rope-position-modulo",
        "you rotate by the slot of the cache, i mod W, in place of the position",
        "angles of i mod W",
        "angles of i",
        "",
        "minimistral/rolling_cache.py slot_of",
        {"": {"positions": positions_in_ring}},
    ),
    Mistake(
        "rope-low-precision",
        "you form the angles in 16 bits",
        "position x frequency in bfloat16 or float16",
        "position x frequency in float32 or wider",
        "huggingface/transformers #29496, #25681, #29285; EleutherAI/gpt-neox #1003; huggingface/candle #3520",
        "minimistral/rope.py rope_table",
        narrow_angles,
    ),
    Mistake(
        "rope-missing",
        "you rotate neither queries nor keys",
        "q and k as they are",
        "q and k turned by their positions",
        "vllm-project/vllm #30413",
        "minimistral/rope.py rotate",
        {"": {"turn_queries": turn_not, "turn_keys": turn_not}},
    ),
    Mistake(
        "rope-keys-missing",
        "you do not rotate the keys",
        "k as it is",
        "k turned by its position",
        "kvcache-ai/sglang #66",
        "minimistral/rope.py rotate",
        {"": {"turn_keys": turn_not}},
    ),
    Mistake(
        "rope-queries-missing",
        "you do not rotate the queries",
        "q as it is",
        "q turned by its position",
        "",
        "minimistral/rope.py rotate",
        {"": {"turn_queries": turn_not}},
    ),
    Mistake(
        "rope-on-values",
        "you rotate the values too",
        "v turned by its position",
        "v as it is",
        "",
        "minimistral/transformer.py projections",
        {"": {"values_read": turn_values}, "in halves": {"values_read": turn_values_halves}},
    ),
    Mistake(
        "rope-position-restart",
        "you count positions from 0 again in every chunk, whatever the cache already holds",
        "angles of i mod n, n the chunk",
        "angles of i",
        "Blaizzy/mlx-vlm #1983; RobertCsordas/moeut #6; pytorch/torchtitan #2849",
        "minimistral/rolling_cache.py RollingCache",
        restarts,
    ),
    Mistake(
        "rope-position-capped",
        "you take the number of keys in the cache for the position: once it is full, positions stand still",
        "angles of min(i, W)",
        "angles of i",
        "rajveer43/VeloxQuant-MLX #389, #137",
        "minimistral/rolling_cache.py RollingCache",
        caps,
    ),
    Mistake(
        "rope-position-doubled",
        "you count what the cache holds twice when you number a chunk's positions",
        "angles of i + (i - i mod n), n the chunk",
        "angles of i",
        "mlx-node/mlx-node #33",
        "minimistral/rolling_cache.py RollingCache",
        lambda case: {f"chunks of {n}": {"positions": positions_counted_twice(n)} for n in chunk_sizes(case)},
    ),
    Mistake(
        "rope-exponent",
        "you raise theta to another power than -2i / head_dim",
        "position / theta^(another exponent)",
        "position / theta^(2i/d)",
        "bkitano/llama-from-scratch #8; pie-project/pie #603; huggingface/candle #2358",
        "minimistral/arithmetic/floating.py Floating.frequencies",
        other_exponents,
    ),
    Mistake(
        "rope-angles-order",
        "you turn the two channels of a pair by different angles: cos and sin are laid out for other pairs",
        "(a cos t_m - b sin t_m, a sin t_n + b cos t_n), m and n not the same",
        "(a cos t_i - b sin t_i, a sin t_i + b cos t_i)",
        "raiyanyahya/how-to-train-your-gpt #6; Dao-AILab/flash-attention #45",
        "minimistral/rope.py rotate",
        both(turn_unevenly(lambda h: 2 * np.arange(h) % h, lambda h: (2 * np.arange(h) + 1) % h))
        | both(turn_unevenly(lambda h: np.arange(h) // 2, lambda h: (np.arange(h) + h) // 2), HF),
    ),
    Mistake(
        "rope-partial",
        "you rotate the first half of each head only",
        "(turned x[: d/2], x[d/2 :])",
        "all d / 2 pairs turned",
        "vllm-project/vllm #41185",
        "minimistral/rope.py rotate",
        partial,
    ),
    Mistake(
        "rope-keys-twice",
        "you rotate keys that are rotated already: those that come out of the cache",
        "k turned by twice its angle",
        "k turned by its angle, once",
        "NeuraLegion/shainet #110",
        "minimistral/transformer.py projections",
        {"": {"turn_keys": turn_twice}, "queries too": {"turn_queries": turn_twice, "turn_keys": turn_twice}},
    ),
]
