"""Mistakes about the tokens that the model is given. Right: lines.tokens_run."""

import numpy as np

from minimistral.check.mistakes.mistake import Mistake

BOS = 1  # in every tokenizer that Mistral's folders hold


def one_more(tokens):
    return np.concatenate([[BOS], tokens])


def one_less(tokens):
    return tokens[1:]


MISTAKES = [
    Mistake(
        "tokens-bos",
        "the beginning-of-sequence token is missing, or there twice",
        "another number of tokens than the trace says",
        "one BOS, then the text",
        "mistralai/mistral-common #3; huggingface/transformers #26891",
        "minimistral/tokenizer.py",
        {"doubled": {"tokens_run": one_more}, "missing": {"tokens_run": one_less}},
    ),
]
