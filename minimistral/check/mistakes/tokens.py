"""Mistakes about the tokens that the model is given. Right: lines.tokens_run."""

import numpy as np

from minimistral.check.mistakes.mistake import Case, Mistake

BOS = 1  # in every tokenizer that Mistral's folders hold
PADS = {"unk": 0, "eos": 2}  # what a batch is filled up with


def one_more(tokens):
    return np.concatenate([[BOS], tokens])


def one_less(tokens):
    return tokens[1:]


def padded(pad, count):
    return lambda tokens: np.concatenate([np.full(count, pad), tokens])


def paddings(case: Case):
    """To the next multiple of what batches are padded to."""
    counts = sorted({-case.T % n for n in (8, 16, 32, 64)} - {0})
    return {
        f"{n} x {name}": {"tokens_run": padded(pad, n)}
        for n in counts
        for name, pad in PADS.items()
        if pad < case.config.vocab_size
    }


MISTAKES = [
    Mistake(
        "tokens-bos",
        "you run the model with the beginning-of-sequence token missing, or there twice",
        "another number of tokens than the trace says",
        "one BOS, then the text",
        "mistralai/mistral-common #3; huggingface/transformers #26891; lm-sys/FastChat #2529, #2547; "
        "mdegans/drama_llama #93",
        "minimistral/tokenizer.py Tokenizer.encode",
        {"doubled": {"tokens_run": one_more}, "missing": {"tokens_run": one_less}},
    ),
    Mistake(
        "tokens-padding",
        "you pad on the left, and the padding is attended to",
        "pad .. pad, then the tokens, all of them seen",
        "the tokens alone",
        "huggingface/transformers #30670",
        "minimistral/transformer.py rows_of",
        paddings,
    ),
]
