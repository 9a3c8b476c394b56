"""Generation: the same seed draws the same, alone, in a batch, and from any chunking."""

import numpy as np
import pytest

from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.mistral import Mistral

SIZES = {"dim": 24, "n_layers": 2, "head_dim": 10, "hidden_dim": 40, "n_heads": 6, "n_kv_heads": 2, "vocab_size": 61}
PROMPT = [5, 9, 60, 3, 3, 17, 8, 40, 22]


@pytest.fixture(scope="module")
def model():
    return Mistral.random(Config(**SIZES, window=4))


def test_greedy_takes_the_most_likely_token_of_a_full_pass(model):
    tokens = list(PROMPT)
    for token in model.generate(PROMPT, max_new_tokens=12, temperature=0):
        assert token == int(np.argmax(model(tokens)[-1]))  # no cache here: a wrong position would show
        tokens.append(token)
    assert len(tokens) > len(PROMPT) + 4


def test_a_batch_draws_what_each_sequence_draws_alone(model):
    prompts, seeds = [PROMPT, [7], PROMPT[:5]], [3, 4, 2**64 - 1]
    steps = list(model.generate(prompts, max_new_tokens=15, temperature=1.0, seed=seeds))
    for i, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        alone = list(model.generate(prompt, max_new_tokens=15, temperature=1.0, seed=seed))
        assert [step[i] for step in steps if step[i] is not None] == alone


def test_equal_prompts_with_one_seed_give_equal_texts(model):
    for a, b in model.generate([PROMPT, PROMPT], max_new_tokens=9, temperature=1.0, seed=5):
        assert a == b


def test_a_resumed_run_draws_the_same(model):
    whole = list(model.generate(PROMPT, max_new_tokens=12, temperature=1.0, seed=1))
    assert len(whole) >= 6
    again = list(model.generate(PROMPT + whole[:5], max_new_tokens=len(whole) - 5, temperature=1.0, seed=1))
    assert whole[5:] == again


def test_generation_stops_at_eos_and_does_not_give_it(model):
    steps = [list(model.generate(PROMPT, max_new_tokens=400, temperature=1.5, top_p=1.0, seed=s)) for s in range(3)]
    assert all(model.eos_id not in tokens for tokens in steps)
    assert any(len(tokens) < 400 for tokens in steps)


def test_without_a_window_generation_ends_with_the_context():
    model = Mistral.random(Config(**SIZES, context_len=12))
    tokens = list(model.generate(PROMPT, max_new_tokens=50, temperature=0))
    assert len(PROMPT) + len(tokens) <= 13
    with pytest.raises(BadInput, match="context is 12"):
        model.generate([1] * 13)
    windowed = Mistral.random(Config(**SIZES, context_len=12, window=4))
    assert len(list(windowed.generate([1] * 13, max_new_tokens=3, temperature=0))) == 3


@pytest.mark.parametrize(
    "options",
    [{"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"top_p": 1.5}, {"top_k": -1}, {"seed": -1},
     {"seed": 2**64}, {"max_new_tokens": -1}, {"seed": [1, 2]}],
)  # fmt: skip
def test_options_out_of_range_are_refused_before_any_work(model, options):
    with pytest.raises(BadInput, match=next(iter(options))):
        model.generate(PROMPT, **options)


def test_progress_counts_the_prompt(model):
    seen = []
    next(model.generate([1] * 600, max_new_tokens=1, progress=lambda done, total: seen.append((done, total))))
    assert seen == [(512, 600), (600, 600)]
