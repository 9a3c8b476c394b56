"""Mistakes about the rotation. Right: lines.positions, lines.angles, lines.turn."""

from dataclasses import replace

import numpy as np

from minimistral.check.lines import angles, turn
from minimistral.check.mistakes.mistake import Mistake
from minimistral.check.number import rounded


def turn_halves(x, angle, n):
    """Pairs (i, i + d / 2), on rows that are laid out for (2i, 2i + 1)."""
    cos, sin = n.step(np.cos(angle))[:, None], n.step(np.sin(angle))[:, None]
    a, b = np.split(x, 2, axis=-1)
    return n.store(np.concatenate([n.step(a * cos) - n.step(b * sin), n.step(a * sin) + n.step(b * cos)], axis=-1))


def turn_back(x, angle, n):
    return turn(x, -angle, n)


def turn_not(x, angle, n):
    return x


def turn_values(v, angle, n):
    return turn(v, angle, n)


def with_theta(theta):
    return lambda at, config, n: angles(at, replace(config, rope_theta=theta), n)


def positions_from_one(T, window):
    return np.arange(T) + 1


def positions_in_ring(T, window):
    return np.arange(T) % (T if window is None else window)


def angles_rounded(dtype):
    """position x frequency, the product in the narrow type."""

    def wrong(at, config, n):
        return rounded(rounded(at.astype(float), dtype)[:, None] * rounded(frequencies(config), dtype), dtype)

    return wrong


def positions_rounded(dtype):
    return lambda at, config, n: rounded(at.astype(float), dtype)[:, None] * frequencies(config)


def frequencies_rounded(dtype):
    return lambda at, config, n: at[:, None] * rounded(frequencies(config), dtype)


def angle_only_rounded(dtype):
    return lambda at, config, n: rounded(at[:, None] * frequencies(config), dtype)


def frequencies(config):
    return config.rope_theta ** (-np.arange(0, config.head_dim, 2) / config.head_dim)


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
        for theta in (1e4, 1e6, 5e5, 1e5)
        if theta != case.config.rope_theta
    }


def both(wrong):
    return {
        "": {"turn_queries": wrong, "turn_keys": wrong},
        "keys only": {"turn_keys": wrong},
        "queries only": {"turn_queries": wrong},
    }


MISTAKES = [
    Mistake(
        "rope-pairing",
        "you rotate the pairs (i, i + d/2) of rows that are laid out for the pairs (2i, 2i + 1), or the reverse",
        "(x[i], x[i + d/2]) turned together",
        "(x[2i], x[2i + 1]) turned together, in Mistral's row order",
        "openvinotoolkit/openvino.genai #4059; rasbt/LLMs-from-scratch #746",
        "minimistral/rope.py rotate",
        both(turn_halves),
    ),
    Mistake(
        "rope-direction",
        "you rotate by the negative angle",
        "(a cos + b sin, -a sin + b cos)",
        "(a cos - b sin, a sin + b cos)",
        "",
        "minimistral/rope.py rotate",
        both(turn_back),
    ),
    Mistake(
        "rope-theta",
        "your rotation has another base than the checkpoint's rope_theta",
        "position / other_theta^(2i/d)",
        "position / rope_theta^(2i/d)",
        "",
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
        {"": {"positions": positions_from_one}},
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
        "huggingface/transformers #29496; EleutherAI/gpt-neox #1003; huggingface/candle #3520",
        "minimistral/rope.py rope_table",
        narrow_angles,
    ),
    Mistake(
        "rope-missing",
        "you do not rotate queries and keys",
        "q and k as they are",
        "q and k turned by their positions",
        "",
        "minimistral/rope.py rotate",
        {"": {"turn_queries": turn_not, "turn_keys": turn_not}},
    ),
    Mistake(
        "rope-keys-missing",
        "you do not rotate the keys",
        "k as it is",
        "k turned by its position",
        "",
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
        {"": {"values_read": turn_values}},
    ),
]
