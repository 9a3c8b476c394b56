"""Mistakes about which keys a query sees, when there is no ring to blame. Right: lines.seen."""

from functools import cache

import numpy as np

from minimistral.check.mistakes.mistake import Case, Mistake, chunk_sizes, that_show


def back(T: int) -> np.ndarray:
    return np.arange(T)[:, None] - np.arange(T)[None, :]


def seen_plus_one(T, window):
    return (back(T) >= 0) & (back(T) <= (T if window is None else window))


@cache
def seen_plus_one_in_prompt(length):
    """A mask of W + 1 for the prompt; then a cache of W slots."""

    def seen(T, window):
        W = T if window is None else window
        return (back(T) >= 0) & (back(T) < W + (np.arange(T) < length)[:, None])

    return seen


def prompts(case: Case):
    """The prompt ends after the last position that is wrong; with logits alone that is not seen, so some guesses."""
    lengths = sorted({case.last_wrong + 1, case.T // 2, *(2**n for n in range(14))})
    shown = [n for n in lengths if any(w and w < n < case.T for w in case.windows)]
    return that_show(case, {f"in a prompt of {n} only": seen_plus_one_in_prompt(n) for n in shown})


def seen_minus_one(T, window):
    return (back(T) >= 0) & (back(T) < (T if window is None else max(window - 1, 1)))


def seen_without_window(T, window):
    return back(T) >= 0


@cache
def seen_in_own_block(size):
    """The window restarts at every block: nothing is carried over."""

    def seen(T, window):
        same = np.arange(T)[:, None] // size == np.arange(T)[None, :] // size
        return (back(T) >= 0) & (back(T) < (T if window is None else window)) & same

    return seen


@cache
def seen_from_chunk(size):
    """Every row of a chunk sees back to where its first row does."""

    def seen(T, window):
        start = np.arange(T)[:, None] // size * size
        return (back(T) >= 0) & (np.arange(T)[None, :] > start - (T if window is None else window))

    return seen


def seen_in_two_blocks(T, window):
    """Its own block of W and all of the one before."""
    W = T if window is None else window
    return (back(T) >= 0) & (np.arange(T)[None, :] >= np.arange(T)[:, None] // W * W - W)


def seen_with_future(T, window):
    return back(T) < (T if window is None else window)


def seen_all(T, window):
    return np.ones((T, T), bool)


def seen_both_sides(T, window):
    return np.abs(back(T)) < (T if window is None else window)


@cache
def seen_with_future_of_chunk(size, first):
    """No mask inside a chunk: what comes after a row in its chunk is seen. first: in the first chunk too."""

    def seen(T, window):
        t = np.arange(T)[:, None]
        end = np.where((t >= size) | first, (t // size + 1) * size, t + 1)
        return (back(T) < (T if window is None else window)) & (np.arange(T)[None, :] < end)

    return seen


def futures(case: Case):
    return that_show(
        case,
        {
            f"inside {which} of {n}": seen_with_future_of_chunk(n, which == "chunks")
            for n in chunk_sizes(case)
            for which in ("chunks", "later chunks")
        },
    )


@cache
def seen_top_left(size, prompt, whole):
    """Row r of a chunk sees the first r + 1 of all keys at hand: of the whole text, or of the last W and its own.

    Chunks of `size`, the first of them `prompt` long.
    """

    def seen(T, window):
        W = T if window is None else window
        t, s = np.arange(T)[:, None], np.arange(T)[None, :]
        start = np.where(t < prompt, 0, prompt + (t - prompt) // size * size)
        first = 0 if whole else np.maximum(start - W, 0)
        later = (s >= first) & (s <= first + t - start)
        return np.where(start > 0, later, (t >= s) & (t - s < W))

    return seen


def corners(case: Case):
    cuts = {f"chunks of {n}": (n, n) for n in (1, *chunk_sizes(case))}
    if case.first_wrong > 0:
        cuts[f"one by one after {case.first_wrong}"] = (1, case.first_wrong)
    return that_show(
        case,
        {
            name if whole else f"{name}, a cache of W": seen_top_left(*cut, whole)
            for name, cut in cuts.items()
            for whole in (True, False)
        },
    )


MISTAKES = [
    Mistake(
        "window-plus-one",
        "you attend to W + 1 keys, the window's two ends included",
        "keys i - W .. i",
        "keys i - W + 1 .. i",
        "huggingface/transformers #39408, #40163, #29623, #26792; mistralai/mistral-src; ml-explore/mlx-lm #390; "
        "NVIDIA-NeMo/Megatron-Bridge #2656",
        "minimistral/window.py window_mask",
        {"": {"seen": seen_plus_one}},
        prompts,
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
        "huggingface/transformers #29777, #32235; EricLBuehler/mistral.rs #246; Blaizzy/mlx-vlm #669",
        "minimistral/window.py window_mask",
        {"": {"seen": seen_without_window}},
    ),
    Mistake(
        "window-blocked",
        "your window restarts at every chunk: earlier chunks are not seen",
        "keys i - i mod n .. i, n the chunk",
        "keys i - W + 1 .. i, those in the cache too",
        "vllm-project/vllm #4057; vllm-project/vllm-ascend #2729",
        "minimistral/transformer.py attend",
        lambda case: that_show(case, {f"chunks of {n}": seen_in_own_block(n) for n in (1, *chunk_sizes(case))}),
    ),
    Mistake(
        "window-of-chunk",
        "you let every row of a chunk see back as far as the chunk's first row does",
        "keys i - i mod n - W + 1 .. i, n the chunk",
        "keys i - W + 1 .. i",
        "pytorch/executorch #21857",
        "minimistral/transformer.py attend",
        lambda case: that_show(
            case,
            {f"chunks of {n}": seen_from_chunk(n) for n in chunk_sizes(case)}
            | {"blocks of W, and the one before": seen_in_two_blocks},
        ),
    ),
    Mistake(
        "causal-mask-missing",
        "your queries see the future",
        "keys i - W + 1 .. T - 1",
        "keys i - W + 1 .. i",
        "lablup/mlxcel #1001; Mikyx-1/TinyLLM #17; mlx-node/mlx-node #24",
        "minimistral/window.py window_mask",
        {
            "": {"seen": seen_with_future},
            "no mask at all": {"seen": seen_all},
            "W to both sides": {"seen": seen_both_sides},
        },
        futures,
    ),
    Mistake(
        "mask-top-left",
        "you align the causal mask with the first key at hand, not with the last, when there are more keys than queries",
        "query row r of a chunk: keys 0 .. r of the cache and the chunk",
        "query at position i: keys .. i",
        "pytorch/pytorch #108108, #144858; Dao-AILab/flash-attention #282; onnx/onnx #8068",
        "minimistral/window.py window_mask",
        corners,
    ),
]
