"""`exact` to the bit: the known test vectors, and Python's integers and fractions on rows made to break it.

The vectors are results in hexadecimal bits that any implementation of the same rules must give.
"""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minimistral.arithmetic import by_name
from minimistral.arithmetic.functions import exp, turns
from minimistral.arithmetic.grid import grid, top
from minimistral.attention import QUERIES, attention_scores, attention_values, seen_keys
from minimistral.errors import BadInput, NotFinite
from minimistral.rms_norm import rms_norm
from minimistral.rope import rope_table, rotate
from minimistral.sampling import argmax, sample, uniform
from minimistral.swiglu import swiglu
from minimistral.window import window_mask

EXACT = by_name("exact")
F32 = np.float32
JUST_BELOW_A_SIXTEENTH = np.nextafter(F32(0.0625), F32(0))


def noise(n: int, seed: int, scale: float) -> np.ndarray:
    """Repeatable float32 numbers in [-scale, scale)."""
    return np.array([(2 * uniform(seed, i) - 1) * scale for i in range(n)]).astype(F32)


def bits(x: np.ndarray) -> str:
    """The bits of each number in hexadecimal, row-major."""
    x = np.ascontiguousarray(x)
    return " ".join(f"{int(b):0{2 * x.itemsize}x}" for b in x.view(f"u{x.itemsize}").ravel())


def f32(*values: float) -> np.ndarray:
    return np.array(values, F32)


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """One head: q (T, d), k and v (S, d), seen (T, S) or everything -> (T, d)."""
    seen = np.ones((len(q), len(k)), bool) if seen is None else seen
    return attention_values(attention_scores(q[:, None], k[:, None], seen, EXACT), v[:, None], EXACT)[:, 0]


# ---- the vectors ---------------------------------------------------------------------------------------------------
def test_grid_of_two_bits():
    assert grid(np.array([0.9, 0.125, -0.9, 0.375, -0.7]), 2).tolist() == [0.75, 0, -0.75, 0.5, -0.75]


def test_top_at_the_edges_of_float32():
    edges = f32(0, 1e-45, 1, 1 - 2**-24, np.finfo(F32).max)
    assert [float(top(edges[i : i + 1])[0]) for i in range(5)] == [2.0**-125, 2.0**-125, 2, 1, 2.0**128]


def test_exp_as_float64():
    x = np.array([0, -1, 1, -0.5, -(2.0**-40), -20, 88.5, -103.5, -1e30])
    assert bits(exp(x)) == (
        "3ff0000000000000 3fd78b5636000000 4005bf0a8b000000 3fe368b2fc600000 3ff0000000000000 "
        "3e21b48655e00000 47e99b9871400000 3699a733e3800000 09d4dd4d0ce00000"
    )


@pytest.mark.parametrize(
    "gate, up, expected",
    [
        (1, 2, "3fbb26a8"),
        (-1, 2, "bf09b2b1"),
        (0.5, -3, "bf6f063e"),
        (-20, 1, "b3310d3f"),
        (30, 1, "41f00000"),
        (-200, 3e38, "00000000"),
        (-0.0, 1, "00000000"),
        (-100, 3e5, "83bde1a6"),
        (3e38, 1, "7f61b1e6"),
    ],
)
def test_swiglu(gate, up, expected):
    assert bits(swiglu(f32(gate), f32(up), EXACT)) == expected


def test_rms_norm_of_four_numbers():
    y = rms_norm(f32(3, -4, 0, 12)[None], f32(1, 1, 0.5, 2), 1e-5, EXACT)
    assert bits(y) == "3eec4ec3 bf1d89d7 00000000 406c4ec3"


def test_attention_with_three_small_keys():
    q, k = f32(1, 2, 3, 4)[None], f32(1, 0, 0, 1, 0, 0.5, 0.25, -1, 2, 2, 2, 2).reshape(3, 4)
    v = f32(1, 2, 3, 4, 0, 0, 0, 0, -1, 0.5, 0.25, 1e-3).reshape(3, 4)
    assert bits(EXACT.scores(q, k)) == "40200000 bf900000 41200000"
    first_two = attend(q, k, v, np.array([[True, True, False]]))
    assert bits(first_two) == "3f795adc 3ff95adc 403b0425 40795adc"
    assert bits(attend(q, k, v)) == "bf7fb695 3f0035db 3e80c6c3 3b526646"


def test_rope_frequencies_in_turns():
    f = turns(128, 10_000.0)
    assert [hex(int(f[i]))[2:] for i in (0, 1, 63)] == ["28be60db9391054a", "234855e55644662f", "13458e2f59024"]
    assert hex(int(turns(128, 1_000_000.0)[63])) == "0x350430ff7cb"


def test_rope_table():
    cos, sin = rope_table(np.array([0, 1, 4095, 131071]), 128, 10_000.0, EXACT)
    assert bits(cos[:, 0]) == "3f800000 3f0a5140 bd871e6c bf51675e"
    assert bits(sin[:, 0]) == "00000000 3f576aa4 bf7f7136 bf13430a"
    assert bits(cos[:, 63]) == "3f800000 3f800000 3f63e800 bf573bb6"
    assert bits(sin[:, 63]) == "00000000 38f22ce3 3ee93165 3f0a9a3c"


@pytest.fixture(scope="module")
def wide_rows() -> tuple[np.ndarray, np.ndarray]:
    """x (3, 4096): ordinary, with an outlier, subnormal; w (5, 4096), one row just below a power of two."""
    x, w = noise(3 * 4096, 1, 1).reshape(3, 4096), noise(5 * 4096, 2, 0.05).reshape(5, 4096)
    x[1, 7] = 3e4
    x[2] *= F32(1e-40)
    w[4, 0] = JUST_BELOW_A_SIXTEENTH
    return x, w


def test_linear_over_4096_terms(wide_rows):
    x, w = wide_rows
    y = EXACT.linear(x, EXACT.weight(w))
    assert bits(y[0]) == "bf7fe54b bf13f703 3ebdbe08 bfa0eeb0 bf2e515b"
    assert bits(y[1]) == "44332b6c c45a58c4 4475a7fc 446d21d3 449183a0"
    assert bits(y[2]) == "00005541 00011473 0000a456 00008d23 80005ae2"


def test_rms_norm_over_4096_terms(wide_rows):
    x, w = wide_rows
    y = rms_norm(x, w[0], 1e-5, EXACT)[:, :3]
    assert bits(y[0]) == "3b0943c0 3cad1ad6 3c7eac61"
    assert bits(y[1]) == "3754ab2e b7b7b6c3 371f86dc"
    assert bits(y[2]) == "000305d9 80077722 8001ff05"


def test_uniform():
    assert [uniform(7, i).hex() for i in range(3)] == [
        "0x1.8f2f879164c82p-2",
        "0x1.130f35fd0f180p-6",
        "0x1.cd30810175625p-1",
    ]


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    """512 logits, the largest of them twice: at 100 and at 200."""
    x = noise(512, 8, 6)
    x[100] = x[200] = x.max()
    return x


def test_argmax_takes_the_lowest_id_among_equals(logits):
    assert argmax(logits) == sample(logits, 0, 0.9, 0, seed=3, position=5) == 100


def test_sampling_with_temperature_and_top_p(logits):
    drawn = [sample(logits, 0.7, 0.9, 0, 0, position) for position in range(8)]
    assert drawn == [441, 250, 100, 207, 283, 191, 452, 363]


def test_sampling_from_everything(logits):
    assert [sample(logits, 1, 1, 0, 0, position) for position in range(4)] == [312, 218, 166, 156]


# ---- each of these separates a wrong reading of the rules that those above miss --------------------------------------
def test_the_scale_is_a_rounded_root_then_a_rounded_quotient():
    q, k = np.zeros((2, 1, 128), F32)
    q[0, :2], k[0, :2] = (2.0**22, 1), (2965913, 2552330)
    assert bits(EXACT.scores(q, k)) == "53800106"  # 1 / sqrt(d) rounded once: 53800107


def test_attentions_denominator_is_a_sum_of_rounded_terms():
    k = np.zeros((32768, 4), F32)
    k[0, 0] = 52
    y = attend(f32(1, 0, 0, 0)[None], k, np.ones((32768, 4), F32))
    assert bits(y) == "3f800000 3f800000 3f800000 3f800000"  # the total rounded instead: 3f7ffffd


def test_linear_keeps_what_cancellation_leaves():
    x, w = f32(1, 1, 1, 1, 2**-30, -1, -1, -1, -1), f32(1, 1, 1, 1, 2**-22, 1, 1, 1, 1)
    assert bits(EXACT.linear(x[None], EXACT.weight(w[None]))) == "25800000"  # float64 from left to right: 0


def test_rms_norm_is_rounded_to_float32_only_at_its_end():
    y = rms_norm(f32(1, 1, 1, 1)[None], f32(1, 1e-6, 1, 1), 1e-5, EXACT)
    assert bits(y) == "3f7fffac 35863791 3f7fffac 3f7fffac"


@pytest.mark.parametrize(
    "x, weight, expected",
    [
        ("0x1.413334p-2", "0x1.d725e0p+0", "3feb8fdf"),  # x (w / r) and (x w) / r: 3feb8fe0
        ("0x1.8f999ap-1", "0x1.ddbfb0p+0", "3feedf57"),  # x (1 / r) w: 3feedf58
    ],
)
def test_rms_norm_divides_then_multiplies(x, weight, expected):
    four = np.full((1, 4), float.fromhex(x), F32)
    y = rms_norm(four, np.full(4, float.fromhex(weight), F32), 1e-5, EXACT)
    assert bits(y) == " ".join([expected] * 4)


def test_attentions_denominator_has_steps_of_2_to_the_minus_36():
    """32767 weights of e^-25, 0.95 of a step: each counts as one here, and as nothing in the numerator's row."""
    k = np.zeros((32768, 4), F32)
    k[0, 0] = 50
    y = attend(f32(1, 0, 0, 0)[None], k, np.ones((32768, 4), F32))
    assert bits(y) == "3f7ffff8 3f7ffff8 3f7ffff8 3f7ffff8"  # 1 / (1 + 2^-21); steps of 2^-35: 3f800000


def test_rope_where_a_fused_polynomial_differs():
    cos, _ = rope_table(np.array([102]), 128, 10_000.0, EXACT)
    assert bits(cos[0, 13:14]) == "bf7ffffc"


def test_rotation_of_halves():
    x = noise(128, 6, 2).reshape(2, 64).T.reshape(1, 1, 128)  # pair (i, i + 64) becomes the neighbours (2i, 2i + 1)
    y = rotate(x, *rope_table(np.array([4095]), 128, 10_000.0, EXACT), EXACT)
    assert bits(y[0, 0, 0:6:2]) == "beb0dea3 3f94eb54 3fcd20c6"


def attention_vector(d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    q, k, v = (noise(n * d, seed, s).reshape(n, d) for n, seed, s in ((2, 3, 4), (5, 4, 4), (5, 5, 1)))
    v[1] *= F32(1e-6)
    return q, k, v


def test_attention_with_heads_of_128():
    q, k, v = attention_vector(128)
    assert bits(EXACT.scores(q, k)) == (
        "40ce0f8c 40bfcb3b c0d9405e 4088f5e0 40ebdd2d 3fb891ff bf5351bd bf47b700 40cf8696 c0b3f5b7"
    )
    assert bits(attend(q, k, v)[:, :2]) == "3d8b5305 be3bd5e9 bebbfc42 bf3ca390"


def test_attention_with_heads_of_256():
    assert bits(attend(*attention_vector(256))[:, :2]) == "bd5cc247 3effe478 3b3b31da 3b4ea609"


def test_sampling_with_top_k(logits):
    drawn = [sample(logits, 1, 1, 3, 0, position) for position in range(8)]
    assert drawn == [200, 166, 100, 200, 100, 100, 100, 200]


def test_top_p_keeps_the_lowest_ids_among_equals():
    drawn = [sample(np.zeros(4, F32), 1, 0.5, 0, 0, position) for position in range(8)]
    assert drawn == [1, 0, 0, 1, 0, 0, 0, 1]


# ---- gridding, for any numbers -------------------------------------------------------------------------------------
STORED = {"float32": F32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


@st.composite
def finite_rows(draw, dtype):
    """(N, K) of finite numbers drawn by their bits, so subnormal and huge ones are as likely as any; some rows tiny."""
    size = np.dtype(dtype).itemsize
    N, K = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    patterns = draw(st.lists(st.integers(0, 2 ** (8 * size) - 1), min_size=N * K, max_size=N * K))
    w = np.array(patterns, f"u{size}").view(dtype).reshape(N, K)
    return np.where(np.isfinite(w.astype(F32)), w, dtype(0.5))


@pytest.mark.parametrize("name", STORED)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_gridding_keeps_type_and_top_and_twice_changes_nothing(name, data):
    w = data.draw(finite_rows(STORED[name]))
    once = EXACT.weight(w)
    assert once.dtype == w.dtype and once.shape == w.shape
    assert bits(EXACT.weight(once)) == bits(once)
    assert (top(once) == top(w)).all()
    assert (once.astype(np.float64) == grid(w.astype(np.float64), 23)).all()  # nothing is lost on the way to the type
    error = np.abs(once.astype(np.float64) - w.astype(np.float64))
    assert (error <= top(w) * 2.0**-23).all()  # half a step, a whole one just below the top


@given(data=st.data(), number_of_bits=st.integers(2, 31))
@settings(max_examples=150, deadline=None)
def test_a_grids_numbers_are_small_integers(data, number_of_bits):
    v = data.draw(finite_rows(F32))
    n = grid(v, number_of_bits) / (top(v) * 2.0**-number_of_bits)
    assert (n == np.rint(n)).all() and (np.abs(n) < 2**number_of_bits).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_has_no_grid(value):
    with pytest.raises(NotFinite):
        grid(f32(1, value), 23)


# ---- sums, against Python's integers -------------------------------------------------------------------------------
def integers(v: np.ndarray, number_of_bits: int) -> tuple[list[int], Fraction]:
    """A row on its grid by Python's integers alone: v is n * step."""
    exact = [Fraction(float(a)) for a in v]
    power = Fraction(1, 2**125)
    largest = max(map(abs, exact))
    while power <= largest:
        power *= 2
    step = power / 2**number_of_bits
    most = 2**number_of_bits - 1
    return [max(-most, min(most, round(a / step))) for a in exact], step  # round() takes ties to even


def stored(value: Fraction | float) -> np.ndarray:
    """The end of a stage: to float64, then to float32; zero is +0."""
    with np.errstate(over="ignore"):
        return np.float64(float(value)).astype(F32) + F32(0)


def adversarial(K: int, seed: int) -> dict[str, np.ndarray]:
    """Rows of K numbers that break sums: {kind: (K,) float32}."""
    rng = np.random.default_rng(seed)
    plain = rng.uniform(-1, 1, K).astype(F32)
    below_one = np.nextafter(F32(1), F32(0))
    signs = F32(1) - 2 * (np.arange(K) % 2).astype(F32)
    outlier, spread = plain.copy(), np.ldexp(plain, rng.integers(-90, 30, K)).astype(F32)
    outlier[rng.integers(K)] = 3e6
    return {
        "plain": plain,
        "subnormal": (plain * F32(1e-40)).astype(F32),
        "smallest": np.full(K, 2.0**-149, F32),
        "huge": (plain * F32(1e19)).astype(F32),
        "one outlier": outlier,
        "just below a power of two": np.full(K, below_one),
        "just below, and cancelling": below_one * signs,
        "just above a power of two": np.full(K, np.nextafter(F32(1), F32(2))) * signs,
        "every size": spread,
        "ties": ((rng.integers(-(2**23), 2**23, K) + 0.5) * 2.0**-23).astype(F32),
        "zeros but one": np.where(np.arange(K) == K // 2, F32(-0.3), F32(0)),
        "zeros": np.full(K, -0.0, F32),
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("K", [1, 2, 129, 1000])
def test_linear_is_pythons_integer_sum_in_any_order(K, dtype):
    x, w = adversarial(K, seed=K), adversarial(K, seed=K + 1)
    w = {kind: row.astype(STORED[dtype]) for kind, row in w.items()}
    xs, ws = [integers(a, 31) for a in x.values()], [integers(a, 23) for a in w.values()]
    sums = [[sum(map(int.__mul__, m, n)) * s * t for n, t in ws] for m, s in xs]
    expected = bits(np.array([[stored(total) for total in row] for row in sums]))
    x, w = np.stack(list(x.values())), EXACT.weight(np.stack(list(w.values())))
    rng = np.random.default_rng(K)
    for order in (np.arange(K), np.arange(K)[::-1], np.argsort(np.abs(x[0])), rng.permutation(K)):
        assert bits(EXACT.linear(x[:, order], w[:, order])) == expected


def test_linear_of_32768_terms_just_fits():
    x, w = (adversarial(32768, seed) for seed in (1, 2))
    for kind in ("just below a power of two", "just below, and cancelling", "one outlier"):
        (m, s), (n, t) = integers(x[kind], 31), integers(w[kind], 23)
        found = EXACT.linear(x[kind][None], EXACT.weight(w[kind][None]))
        assert bits(found) == bits(stored(sum(map(int.__mul__, m, n)) * s * t)), kind


def test_linear_of_more_terms_is_an_error():
    with pytest.raises(BadInput, match="at most 32768 terms"):
        EXACT.linear(np.ones((1, 32769), F32), np.ones((1, 32769), F32))


@pytest.mark.parametrize("n", [1, 5, 128, 129, 1025])
def test_mean_square_is_pythons_integer_sum(n):
    """Each square on a grid of 52 - c bits, n <= 2^c; the result in float64, so that every bit of the sum shows."""
    for kind, row in adversarial(n, seed=n).items():
        squares = [Fraction(float(a)) ** 2 for a in row]
        power = Fraction(1, 2**125)
        while power <= max(squares):
            power *= 2
        step = power / 2 ** (52 - next(c for c in range(16) if 2**c >= n))
        expected = float(sum(round(s / step) for s in squares) * step) / n
        assert EXACT.mean_square(row.astype(np.float64)[None]).tolist() == [[expected]], kind


@pytest.mark.parametrize("d", [2, 20, 128, 130, 512])
def test_scores_are_pythons_integer_sums(d):
    rows = {kind: row for kind, row in adversarial(d, seed=d).items() if kind != "huge"}
    on_grid = [integers(row, 23 if d <= 128 else 22) for row in rows.values()]
    scale = 1.0 / float(np.sqrt(np.float64(d)))
    expected = [[float(sum(map(int.__mul__, m, n)) * s * t) * scale for n, t in on_grid] for m, s in on_grid]
    x = np.stack(list(rows.values()))
    assert bits(EXACT.scores(x, x)) == bits(np.array([[stored(y) for y in row] for row in expected]))


def test_attention_is_pythons_fractions():
    """p on its grid below, p times the top of each value above, one division."""
    q, k, v = attention_vector(20)
    v[2], v[3] = v[2] * F32(2.0**-130), np.nextafter(F32(4), F32(0))
    for t, scores in enumerate(EXACT.scores(q, k).astype(np.float64)):
        p = exp(scores - scores.max())
        denominator = sum(Fraction(round(Fraction(float(a)) * 2**36), 2**36) for a in p)
        on_grid = [integers(row, 23) for row in v]
        tops = [step * 2**23 for _, step in on_grid]
        row = np.array([float(a) * float(b) for a, b in zip(p, tops, strict=True)])
        weights, step = integers(row, 31)
        sums = [sum(w * n[i] for w, (n, _) in zip(weights, on_grid, strict=True)) for i in range(20)]
        expected = [stored(float(total * step / 2**23) / float(denominator)) for total in sums]
        assert bits(attend(q[t : t + 1], k, v)) == bits(np.array(expected))


@given(seed=st.integers(0, 2**32 - 1), S=st.integers(1, 60), d=st.sampled_from([2, 6, 64, 130]))
@settings(max_examples=60, deadline=None)
def test_attention_on_keys_in_any_order_gives_the_same_bits(seed, S, d):
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(size=(n, d)).astype(F32) for n in (3, S, S))
    v *= np.ldexp(F32(1), rng.integers(-60, 60, (S, 1))).astype(F32)  # each row has a grid of its own
    seen = rng.random((3, S)) < 0.7
    seen[:, 0] = True
    order = rng.permutation(S)
    assert bits(attend(q, k[order], v[order], seen[:, order])) == bits(attend(q, k, v, seen))


@given(seed=st.integers(0, 2**32 - 1), S=st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_keys_that_are_not_seen_change_no_bit(seed, S):
    rng = np.random.default_rng(seed)
    q, k, v = (rng.normal(size=(n, 10)).astype(F32) for n in (2, S + 3, S + 3))
    v[S:] *= F32(1e30)  # what is not seen has weight 0, however large
    seen = np.broadcast_to(np.arange(S + 3) < S, (2, S + 3))
    assert bits(attend(q, k, v, seen)) == bits(attend(q, k[:S], v[:S]))


@pytest.mark.parametrize("window, first", [(5, 0), (37, 50), (None, 9)])
def test_queries_taken_together_or_one_by_one_give_the_same_bits(window, first):
    """Two whole blocks of queries and three more, over keys in a ring's order: the sum skips keys at both ends."""
    rng, T = np.random.default_rng(first), 2 * QUERIES + 3
    positions = np.concatenate([np.roll(np.arange(first), 7), first + np.arange(T)])
    q, k, v = (rng.normal(size=(n, 6)).astype(F32) for n in (T, len(positions), len(positions)))
    seen = window_mask(positions[first:], positions, window)
    one_by_one = [attend(q[t : t + 1], k[seen[t]], v[seen[t]]) for t in range(T)]
    assert bits(attend(q, k, v, seen)) == bits(np.concatenate(one_by_one))
    seen[QUERIES + 2] = False
    with pytest.raises(NotFinite, match="no key is seen"):
        attend(q, k, v, seen)


def test_the_stretch_of_seen_keys_is_that_of_all_heads_and_queries():
    seen = np.zeros((2, 3, 9), bool)
    assert seen_keys(seen) == slice(None)  # for the error that follows
    seen[0, 2, 4] = seen[1, 0, 6] = True
    assert seen_keys(seen) == slice(4, 7)
