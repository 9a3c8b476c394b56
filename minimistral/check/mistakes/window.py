"""Mistakes about which keys a query sees. Right: lines.seen."""

import numpy as np

from minimistral.check.mistakes.mistake import Case, Mistake


def back(T: int) -> np.ndarray:
    return np.arange(T)[:, None] - np.arange(T)[None, :]


def seen_plus_one(T, window):
    return (back(T) >= 0) & (back(T) <= (T if window is None else window))


def seen_minus_one(T, window):
    return (back(T) >= 0) & (back(T) < (T if window is None else max(window - 1, 1)))


def seen_without_window(T, window):
    return back(T) >= 0


def seen_in_own_block(size):
    """The window restarts at every block: nothing is carried over."""

    def seen(T, window):
        same = np.arange(T)[:, None] // size == np.arange(T)[None, :] // size
        return (back(T) >= 0) & (back(T) < (T if window is None else window)) & same

    return seen


def seen_with_future(T, window):
    return back(T) < (T if window is None else window)


def seen_all(T, window):
    return np.ones((T, T), bool)


def seen_both_sides(T, window):
    return np.abs(back(T)) < (T if window is None else window)


def seen_but_itself(T, window):
    """j < i: and the first token, which would see nothing, itself."""
    return ((back(T) > 0) & (back(T) < (T if window is None else window))) | (
        np.eye(T, dtype=bool) & (np.arange(T) == 0)
    )


def block_sizes(case: Case) -> list[int]:
    """Chunks that people choose: the window, its multiples and parts, and powers of two."""
    windows = {w for w in map(case.config.layer_window, range(case.config.n_layers)) if w}
    sizes = {n for w in windows for n in (w, 2 * w, w // 2, w - 1, w + 1)} | {2**n for n in range(1, 14)}
    return sorted(n for n in sizes if 1 < n < case.T)


MISTAKES = [
    Mistake(
        "window-plus-one",
        "you attend to W + 1 keys, the window's two ends included",
        "keys i - W .. i",
        "keys i - W + 1 .. i",
        "huggingface/transformers #39408; mistralai/mistral-src, first commit, one_file_ref.py",
        "minimistral/window.py window_mask",
        {"": {"seen": seen_plus_one}},
    ),
    Mistake(
        "window-minus-one",
        "you attend to W - 1 keys",
        "keys i - W + 2 .. i",
        "keys i - W + 1 .. i",
        "",
        "minimistral/window.py window_mask",
        {"": {"seen": seen_minus_one}},
    ),
    Mistake(
        "window-ignored",
        "you attend to every earlier key, as if there were no window",
        "keys 0 .. i",
        "keys i - W + 1 .. i",
        "huggingface/transformers #29777; EricLBuehler/mistral.rs #246",
        "minimistral/window.py window_mask",
        {"": {"seen": seen_without_window}},
    ),
    Mistake(
        "window-blocked",
        "your window restarts at every chunk: earlier chunks are not seen",
        "keys of the query's own chunk",
        "keys i - W + 1 .. i, the cache's too",
        "vllm-project/vllm #4057; vllm-project/vllm-ascend #2729",
        "minimistral/transformer.py attend",
        lambda case: {f"chunks of {n}": {"seen": seen_in_own_block(n)} for n in block_sizes(case)},
    ),
    Mistake(
        "causal-mask-missing",
        "your queries see the future",
        "keys i - W + 1 .. T - 1",
        "keys i - W + 1 .. i",
        "",
        "minimistral/window.py window_mask",
        {
            "": {"seen": seen_with_future},
            "no mask at all": {"seen": seen_all},
            "W to both sides": {"seen": seen_both_sides},
        },
    ),
]
