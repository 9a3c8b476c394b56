"""What is said of an unknown fault holds for the data: faults are planted, and what is not one of them is not named."""

import re

import numpy as np
import pytest

from minimistral.arithmetic import by_name
from minimistral.check.checked import Checked
from minimistral.check.compare import length
from minimistral.check.describe import describe
from minimistral.check.number import UNIT, Number, rounded
from minimistral.check.stages import Setting, compute, inputs_of
from minimistral.check.unknown import described
from minimistral.config import Config
from minimistral.trace import stage_names
from minimistral.weights import from_tensors, random_tensors

T, W = 29, 9
CONFIG = Config(dim=60, n_layers=4, head_dim=12, hidden_dim=80, n_heads=6, n_kv_heads=2, vocab_size=61, window=W)
SHAPES = {"stream": (T, 60), "attention": (T, 6, 12), "keys": (T, 2, 12)}


def right(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(SHAPES[shape])


def said(recorded, x, dtype="float32", others=()):
    """With the roundings of a format, and a budget of four of them."""
    budget = 4 * UNIT[dtype] * length(x)
    return describe(rounded(recorded, dtype), x, budget, W, CONFIG, others)


def at(x, rows, values):
    y = x.copy()
    y[rows] = values
    return y


def zeros(x, rows):
    return at(x, rows, 0.0)


X, A, K = right("stream"), right("attention"), right("keys")
ALL = f"All {T} positions are wrong."
PLANTED = {  # fault: (right, recorded, sentences)
    "scaled": (X, 60**0.5 * X, [f"It is {60**0.5:.5g} times what it should be, sqrt(dim).", ALL]),
    "negative": (X, -X, ["It has the wrong sign.", ALL]),
    "scaled by no known number": (X, 1.3 * X, ["It is 1.3 times what it should be.", ALL]),
    "halved": (X, X / 2, ["It is 0.5 times what it should be, 1/2 or 1/n_kv_heads or 1/sqrt(n_layers).", ALL]),
    "a position is zero": (X, zeros(X, 5), ["Every wrong row is 0.", "Only position 5 is wrong, of 29."]),
    "a head is zero": (
        A, zeros(A, np.s_[:, 4]), ["Every wrong row is 0.", ALL, "Only query head 4 of 6 is wrong."]),
    "a group of heads is zero": (
        A, zeros(A, np.s_[:, 3:]),
        ["Every wrong row is 0.", ALL, "Only query heads 3, 4, 5 of 6 are wrong: those that read key/value head 1."]),
    "a key head doubled": (
        K, at(K, np.s_[:, 1], 2 * K[:, 1]),
        ["It is 2 times what it should be, n_kv_heads or sqrt(n_layers).", ALL, "Only key/value head 1 of 2 is wrong."]),
    "a channel is zero": (
        X, zeros(X, np.s_[:, 7]), ["Channel 7 is 0 in every wrong row.", ALL, "Only channel 7 of 60 is wrong."]),
    "the odd channels are negative": (
        X, X * np.where(np.arange(60) % 2, -1, 1),
        ["It has the wrong sign.", ALL, "Only the odd channels of 60 are wrong."]),
    "from W on": (
        X, zeros(X, np.s_[W:]),
        ["Every wrong row is 0.", "Every position from 9 on is wrong, and none before, which is W: the first that the window cuts off."]),
    "every W-th": (
        X, zeros(X, np.s_[3::W]), ["Every wrong row is 0.", "3 of 29 positions are wrong: 3, 12, 21."]),
    "every third": (
        X, zeros(X, np.s_[2::3]), ["Every wrong row is 0.", "The wrong positions repeat every 3 (W is 9): 2, 5, 8, 11, 14, 17, ...."]),
    "moved on by one": (
        X, at(X, np.s_[1:], X[:-1]),
        ["Rows are moved by 1: position i holds what belongs to i - 1.", "Every position from 1 on is wrong, and none before."]),
    "one head moved back": (
        A, at(A, np.s_[:-1, 2], A[1:, 2]),
        ["Rows are moved by 1: position i holds what belongs to i + 1.", "Every position up to 27 is wrong, and none after.",
         "Only query head 2 of 6 is wrong."]),
    "a channel that stands still": (
        X, at(X, np.s_[:, 5], 1.0), ["Channel 5 is the same in every wrong row.", ALL, "Only channel 5 of 60 is wrong."]),
    "two positions exchanged": (
        X, at(X, [4, 20], X[[20, 4]]),
        ["Rows are out of order: position 4 holds 20's, 20 holds 4's.", "2 of 29 positions are wrong: 4, 20."]),
    "heads exchanged": (
        A, A[:, [0, 2, 1, 3, 4, 5]],
        ["Heads are out of order: head 1 holds 2's, 2 holds 1's.", ALL, "Only query heads 1, 2 of 6 are wrong."]),
    "one head for all": (
        A, A[:, [0] * 6],
        ["Heads are read from others: head 1 holds 0's, 2 holds 0's, 3 holds 0's, 4 holds 0's, 5 holds 0's.", ALL,
         "Only query heads 1, 2, 3, 4, 5 of 6 are wrong."]),
    "channels in another order": (
        A, np.concatenate([A[..., 0::2], A[..., 1::2]], axis=-1),
        ["Channels are out of order: the even ones first, then the odd ones.", ALL]),
    "two channels exchanged": (
        X, X[:, [1, 0, *range(2, 60)]],
        ["Channels are out of order: channel 0 holds 1's, 1 holds 0's.", ALL, "Only channels 0 to 1 of 60 are wrong."]),
    "heads and channels exchanged": (
        A, A.swapaxes(1, 2).reshape(A.shape), ["Channels are out of order: heads and channels exchanged.", ALL]),
    "a constant added": (
        X, X + 0.25, ["The same is added to every wrong row, whatever the position (one number for all channels).", ALL]),
    "a vector added": (X, X + X[0], ["The same is added to every wrong row, whatever the position.", ALL]),
    "the same row everywhere": (
        X, np.broadcast_to(right("stream", 1)[0], X.shape), ["All wrong rows are the same, whatever the position.", ALL]),
    "each row has its own length": (
        X, X * (1 + 0.1 * np.random.default_rng(3).random((T, 1))),
        ["Each row is multiplied by a number of its own, 1 to 1.097; its direction is right.", ALL]),
    "each channel has its own length": (
        X, X * np.linspace(0.5, 1.5, 60),
        ["Each channel is multiplied by a number of its own, 0.5 to 1.5.", ALL]),
    "NaN": (X, zeros(X, np.s_[9:]) * 0 + at(X, np.s_[9:], np.nan), [
        "NaN is recorded in 20 of 29 rows, first at position 9.",
        "Every position from 9 on is wrong, and none before, which is W: the first that the window cuts off."]),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_described(fault, dtype):
    x, recorded, sentences = PLANTED[fault]
    found = said(recorded, x, dtype)
    if dtype == "float32":
        assert found == sentences
    else:  # numbers, and the channels that differ, are known less well
        assert len(found) == len(sentences) and found[0].split(",")[0][:10] == sentences[0][:10]


def test_what_other_weights_would_give():
    other = right("stream", 1)
    found = said(other, X, others=[("the weights of layer 2", right("stream", 2)), ("the weights of layer 1", other)])
    assert found == ["It is what the weights of layer 1 would give.", ALL]


def test_an_error_that_grows_is_said_to():
    noise = right("stream", 1) * np.linspace(0, 1, T)[:, None]
    found = said(X + 0.1 * noise, X)
    assert found[0] == "Every position from 1 on is wrong, and none before."
    assert found[1].startswith("The error grows with the position: from 0.01") and len(found) == 2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("shape", SHAPES)
def test_roundings_are_no_fault(shape, dtype):
    for seed in range(5):
        assert said(right(shape, seed), right(shape, seed), dtype) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("size", [1e-4, 0.02, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_said_of_noise_but_where_it_is(shape, size, dtype):
    """In all rows, some, or one; added to or in place of what is right."""
    rng = np.random.default_rng(7)
    for rows in (np.s_[:], np.s_[W:], np.s_[4:6], [5], [3, 11, 12, 20]):
        for keep in (0, 1):
            x = right(shape, 1)
            recorded = at(x, rows, keep * x[rows] + size * rng.standard_normal(x[rows].shape))
            found = said(recorded, x, dtype)
            first = re.compile(
                "It is|It has|Rows|Heads|Channels? .* 0 in|Channels are|Each|Every wrong|The same|All wrong"
            )
            assert found or size < 0.02
            assert not any(map(first.match, found)), found


def test_too_little_to_tell_is_not_told():
    """One row scaled by an own number is a scale; two rows with the same added might be chance."""
    assert said(at(X, 3, 1.5 * X[3]), X)[0] == "It is 1.5 times what it should be."
    assert said(at(X, [3, 8], X[[3, 8]] + X[0]), X) == [
        "2 of 29 positions are wrong: 3, 8.", "The error is 0.8 to 0.92 of a row's length where it is wrong."]  # fmt: skip
    one = at(X, np.s_[3, 5], 9.0)  # a number is always some other number times something
    assert said(one, X)[:2] == ["Only position 3 is wrong, of 29.", "Only channel 5 of 60 is wrong."]


def test_positions_that_were_recorded_are_named():
    """Logits of some positions only."""
    budget = 1e-6 * length(X[:3])
    assert describe(zeros(X[:3], 1), X[:3], budget, W, CONFIG, positions=[4, 9, 28]) == [
        "Every wrong row is 0.", "1 of 3 recorded positions are wrong: 9."]  # fmt: skip
    assert describe(-X[:1], X[:1], budget[:1], W, CONFIG, positions=[28])[1:] == [
        "The one recorded position, 28, is wrong."]  # fmt: skip


SMALL = Config(dim=42, n_layers=3, head_dim=12, hidden_dim=44, n_heads=6, n_kv_heads=2, vocab_size=61, window=W)
WEIGHTS = from_tensors(random_tensors(SMALL), SMALL, by_name("float64"))
TOKENS = np.random.default_rng(0).integers(3, 61, T)


class Recorded(dict):
    tokens, dtype, logits_positions = TOKENS, "float32", np.arange(T)


def faulty(change):
    """A run in float32, one stage of it changed."""
    made = {}
    for name in (n for n in stage_names(SMALL) if not n.endswith(".scores")):
        given = tuple(made[before] for before in inputs_of(name, SMALL.n_layers))
        made[name] = change(
            name, compute(name, given, TOKENS, WEIGHTS, Setting(SMALL, number=Number("float32"))), given
        )
    return Checked(Recorded(made), WEIGHTS, SMALL)


UNKNOWN = {  # fault: (stage, how it is changed, sentences)
    "a row of w1 is zero": (
        "layers.1.gate", lambda x, given: at(x, np.s_[:, 3], 0),
        ["Channel 3 is 0 in every wrong row.", ALL, "Only channel 3 of 44 is wrong."]),
    "a head is dropped": (
        "layers.0.attention", lambda x, given: at(x, np.s_[:, 2], 0),
        ["Every wrong row is 0.", ALL, "Only query head 2 of 6 is wrong."]),
    "another layer's matrix": (
        "layers.2.up", lambda x, given: given[0] @ WEIGHTS.layers[0].w3.T.astype(float),
        ["It is what the weights of layer 0 would give.", ALL]),
    "attention counts twice": (
        "layers.1.attention_output", lambda x, given: 2 * x, ["It is 2 times what it should be, n_kv_heads.", ALL]),
    "logits are half as large": ("logits", lambda x, given: x / 2, ["It is 0.5 times what it should be, 1/2 or 1/n_kv_heads.", ALL]),
}  # fmt: skip


@pytest.mark.parametrize("fault", UNKNOWN)
def test_a_stage_of_a_run_is_described(fault):
    stage, change, sentences = UNKNOWN[fault]
    checked = faulty(lambda name, x, given: change(x, given) if name == stage else x)
    assert described(checked, stage) == sentences


def test_no_rows_of_a_run_that_has_none():
    x = at(X, np.s_[:1], np.nan)
    assert describe(X, x, 1e-6 * length(X), W, CONFIG) == []
