"""How near each function of `exact` comes to the true value, and sampling against a slow version of it.

The truth is made with the standard library's decimal, to 60 digits. `pytest -s` prints what was found.
An ulp is the distance of neighbouring float32 numbers at the true value; 0.5 is as good as float32 can be.
"""

import math
from decimal import Decimal, getcontext, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minimistral.arithmetic import by_name
from minimistral.arithmetic.functions import exp
from minimistral.rms_norm import rms_norm
from minimistral.rope import rope_table
from minimistral.sampling import sample, uniform
from minimistral.swiglu import swiglu

EXACT = by_name("exact")
F32 = np.float32
DIGITS = 60


@pytest.fixture(autouse=True)
def sixty_digits():
    with localcontext() as context:
        context.prec = DIGITS + 10  # spare ones, for the angles' whole turns
        yield


def ulps(found: np.ndarray, true: list[Decimal]) -> float:
    """The largest |found - true| in float32 ulps of the true value; at most 0.5: every rounding is right."""
    worst = 0.0
    for f, t in zip(found.ravel().tolist(), true, strict=True):
        ulp = Decimal(2) ** max(math.frexp(float(t))[1] - 24, -149)
        worst = max(worst, float(abs(Decimal(f) - t) / ulp))
    return worst


# ---- RoPE ----------------------------------------------------------------------------------------------------------
def arctan_of_inverse(n: int) -> Decimal:
    """1/n - 1/3n^3 + 1/5n^5 - ..."""
    total, power, k = Decimal(0), Decimal(1) / n, 0
    while abs(power) > Decimal(10) ** -(getcontext().prec + 5):
        total += power / (2 * k + 1)
        power, k = -power / (n * n), k + 1
    return total


def cos_sin(angle: Decimal, pi: Decimal) -> tuple[Decimal, Decimal]:
    """By their series, after whole turns are taken off."""
    x = angle % (2 * pi)
    sums, term, k = [Decimal(0), Decimal(0)], Decimal(1), 0
    while k < 20 or abs(term) > Decimal(10) ** -(DIGITS + 2):
        sums[k % 2] += -term if k % 4 >= 2 else term
        k += 1
        term = term * x / k
    return sums[0], sums[1]


def test_the_series_are_right():
    pi = 16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)  # Machin
    assert str(pi).startswith("3.14159265358979323846264338327950288419716939937510582097494")
    cos, sin = cos_sin(pi / 3 + 2000 * pi, pi)
    assert abs(cos - Decimal("0.5")) < Decimal("1e-55") and abs(sin * sin * 4 - 3) < Decimal("1e-55")


@pytest.mark.parametrize("theta", [1e4, 1e6])
@pytest.mark.parametrize("head_dim", [64, 128])
def test_rope_tables_are_rounded_right_up_to_position_131072(theta, head_dim):
    """<= 0.5 ulp at 24 of the positions 0 .. 131072, all pairs: 9216 cosines and sines over the four tables."""
    pi = 16 * arctan_of_inverse(5) - 4 * arctan_of_inverse(239)
    rng = np.random.default_rng(int(theta) + head_dim)
    positions = np.concatenate([[0, 1, 102, 4095, 4096, 131071, 131072], rng.integers(2, 131072, 17)])
    cos, sin = rope_table(positions, head_dim, theta, EXACT)
    log = Decimal(theta).ln()
    frequencies = [(-log * 2 * i / head_dim).exp() for i in range(head_dim // 2)]
    true = [cos_sin(int(m) * f, pi) for m in positions for f in frequencies]
    worst = max(ulps(cos, [c for c, _ in true]), ulps(sin, [s for _, s in true]))
    print(f"\nRoPE, theta {theta:g}, head_dim {head_dim}: {2 * len(true)} values, at most {worst:.7f} ulp")
    assert worst <= 0.5, f"a rounding is wrong: {worst:.7f} ulp"


def test_rope_in_float32_angles_would_be_seen():
    """What many implementations do: at these positions it is thousands of ulps off."""
    positions = np.array([131071])
    cos, _ = rope_table(positions, 128, 1e4, EXACT)
    frequencies = (1 / F32(1e4) ** (np.arange(0, 128, 2).astype(F32) / F32(128))).astype(F32)
    assert np.abs(np.cos(positions.astype(F32)[:, None] * frequencies) - cos).max() > 1e-4


# ---- exp -----------------------------------------------------------------------------------------------------------
def test_exp_is_within_2_to_the_minus_29_point_4():
    """Relative error, over random numbers, the ends of its range, and both sides of where 2^k changes."""
    rng = np.random.default_rng(1)
    steps = (np.arange(-800, 801, 7) + 0.5) * math.log(2)
    steps = steps[np.abs(steps) < 600]
    samples = [rng.uniform(-600, 600, 1500), rng.uniform(-20, 0, 1500), -np.exp2(rng.uniform(-45, 9, 500)),
               [-600, 600, -1e-300, 5e-324, 0, 1, -1, 88.5, -103.5], steps, np.nextafter(steps, 0)]  # fmt: skip
    x = np.concatenate(samples)
    true = [Decimal(a).exp() for a in x.tolist()]
    worst = max(float(abs(Decimal(f) / t - 1)) for f, t in zip(exp(x).tolist(), true, strict=True))
    print(f"\nexp: {len(x)} values, relative error at most 2^{math.log2(worst):.3f}")
    assert worst <= 2**-29.4, f"relative error 2^{math.log2(worst):.3f}"


def test_exp_over_four_million_fractions():
    """Every 1024th of the 2^32 fractions; NumPy's float64 is the truth here, 2^22 times finer than the error."""
    y = np.arange(-(2**31), 2**31, 1024) * 2.0**-32
    x = y * math.log(2)
    worst = np.abs(exp(x) / np.exp(x) - 1).max()
    print(f"\nexp: {len(x)} fractions, relative error at most 2^{math.log2(worst):.3f}")
    assert worst <= 2**-29.4


def test_exp_of_nothing_is_one_and_of_less_is_no_more():
    n = np.arange(3_000_000)
    below = -n * (2.0**-32 * math.log(2))  # each fraction just below 0, one by one
    assert exp(np.array([0.0, -0.0])).tolist() == [1, 1]
    assert exp(below).max() == 1 and exp(-np.exp2(np.linspace(-1074, 1023, 100_000))).max() == 1


def test_exp_stops_at_600():
    assert exp(np.array([-1e30, -601.0, -np.inf])).tolist() == [exp(np.array([-600.0]))[0]] * 3
    assert exp(np.array([1e30, np.inf])).tolist() == [exp(np.array([600.0]))[0]] * 2


# ---- SiLU and RMSNorm ----------------------------------------------------------------------------------------------
def test_silu_is_within_0_52_ulp():
    rng = np.random.default_rng(2)
    edges = [-0.0, 0, -1e-45, 1e-45, -87, -88.7, -103, -110, -120, 3e38, -3e38, 1, -1, -1.2784645]
    samples = [rng.uniform(-12, 12, 2500), rng.uniform(-120, 120, 1500), 2 ** rng.uniform(-140, 7, 500), edges]
    g = np.concatenate(samples).astype(F32)
    true = [Decimal(a) / (1 + min(-Decimal(a), Decimal(10**6)).exp()) for a in g.tolist()]
    worst = ulps(swiglu(g, np.ones_like(g), EXACT), true)
    print(f"\nSiLU: {len(g)} values, at most {worst:.4f} ulp")
    assert worst <= 0.52, f"{worst:.4f} ulp"


def rms_norm_ulps(x: np.ndarray, weight: np.ndarray, eps: float) -> float:
    """The largest error of rms_norm(x (n,)) in ulps."""
    values = [Decimal(a) for a in x.tolist()]
    rms = (sum(a * a for a in values) / len(values) + Decimal(eps)).sqrt()
    true = [a / rms * Decimal(w) for a, w in zip(values, weight.tolist(), strict=True)]
    return ulps(rms_norm(x[None], weight, eps, EXACT), true)


@pytest.mark.parametrize("eps", [1e-5, 1e-6])
@pytest.mark.parametrize("n", [1, 7, 96, 4096])
def test_rms_norm_is_within_0_501_ulp(n, eps):
    """Random rows, rows with an outlier, huge, small and subnormal ones."""
    rng = np.random.default_rng(n)
    weight = rng.uniform(0.5, 1.5, n).astype(F32)
    x = rng.normal(size=n).astype(F32)
    outlier = x.copy()
    outlier[n // 2] = 3e4
    rows = [x, outlier, x * F32(1e30), x * F32(1e-3), x * F32(1e-40), np.full(n, np.nextafter(F32(1), F32(0)))]
    worst = max(rms_norm_ulps(row, weight, eps) for row in rows)
    print(f"\nRMSNorm, n {n}, eps {eps}: at most {worst:.5f} ulp")
    assert worst <= 0.501, f"{worst:.5f} ulp"


def test_rms_norm_is_within_0_54_ulp_on_the_worst_row():
    """One value of 1, and 4095 whose squares all lie just below half a step of its grid and are lost.

    Half a step each: 4095 x 2^-40 of the sum, so 2^-29 of a result: 2^-5 ulp beside the last rounding's half.
    """
    x = np.full(4096, 2.0**-20 * 0.999, F32)
    x[0] = 1
    worst = rms_norm_ulps(x, np.linspace(0.5, 1.5, 4096).astype(F32), 1e-12)
    print(f"\nRMSNorm, the worst row of 4096: {worst:.5f} ulp")
    assert 0.501 < worst <= 0.54, f"{worst:.5f} ulp"


# ---- sampling ------------------------------------------------------------------------------------------------------
def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    expected = counts.sum() * shares
    return float(((counts - expected) ** 2 / expected).sum())


def test_uniform_fills_its_range_evenly():
    """Over positions, and over seeds: 64 bins, chi-square below its 99.9 % point for 63 degrees of freedom."""
    by_position = [uniform(1, n) for n in range(20_000)]
    by_seed = [uniform(n, 1) for n in range(20_000)]
    for u in (np.array(by_position), np.array(by_seed)):
        assert u.min() >= 0 and u.max() < 1
        assert chi_square(np.bincount((u * 64).astype(int), minlength=64), np.full(64, 1 / 64)) < 103.4


@pytest.mark.parametrize(
    "temperature, top_p, top_k, kept",
    [(1.0, 1.0, 0, 8), (0.7, 1.0, 0, 8), (1.0, 1.0, 3, 3), (1.3, 0.8, 0, 5), (1.0, 0.9, 4, 3)],
)
def test_tokens_are_drawn_as_often_as_their_probability_says(temperature, top_p, top_k, kept):
    """20 000 draws over positions; chi-square below its 99.9 % point."""
    logits = np.log(np.array([0.02, 0.3, 0.05, 0.2, 0.25, 0.08, 0.04, 0.06])).astype(F32)
    p = np.exp(logits.astype(np.float64) / temperature)
    likeliest = np.argsort(-p)[:kept]
    counts = np.bincount([sample(logits, temperature, top_p, top_k, 5, n) for n in range(20_000)], minlength=8)
    assert counts.sum() == counts[likeliest].sum()
    point = {8: 24.3, 5: 18.5, 3: 13.8}[kept]
    assert chi_square(counts[likeliest], p[likeliest] / p[likeliest].sum()) < point


def slow_uniform(seed: int, position: int) -> Fraction:
    """SplitMix64 again, its state stepped one by one."""
    mask, state = 2**64 - 1, seed
    for _ in range(position + 1):
        state = (state + 0x9E3779B97F4A7C15) & mask
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return Fraction((z ^ (z >> 31)) >> 11, 2**53)


def slow_sample(logits: list[float], temperature: float, top_p: float, top_k: int, seed: int, position: int) -> int:
    """Lists and fractions, a token at a time."""
    largest = max(logits)
    weights = exp(np.array([(a - largest) / temperature for a in logits])).tolist()
    likely = sorted((-Fraction(round(Fraction(w) * 2**36), 2**36), token) for token, w in enumerate(weights))
    kept = [(-w, token) for w, token in likely][: top_k if top_k > 0 else len(likely)]
    if top_p < 1:
        wanted = Fraction(float(Fraction(top_p) * sum(w for w, _ in kept)))
        nucleus, held = [], Fraction(0)
        for w, token in kept:
            nucleus.append((w, token))
            held += w
            if held >= wanted:
                break
        kept = nucleus
    mark = Fraction(float(slow_uniform(seed, position) * sum(w for w, _ in kept)))
    passed = Fraction(0)
    for w, token in kept:
        passed += w
        if passed > mark:
            return token
    raise AssertionError("the mark lies past the last token")


LOGIT = st.sampled_from([-30.0, -2.5, 0.0, 0.5, 1.0, 1.25, 6.0]) | st.floats(-20, 20, width=32)


@given(
    logits=st.lists(LOGIT, min_size=1, max_size=40),
    temperature=st.sampled_from([1e-300, 1e-3, 0.1, 0.7, 1.0, 1.5, 100.0]),
    top_p=st.sampled_from([1e-9, 0.25, 0.5, 0.75, 0.9, 0.999, 1.0]) | st.floats(1e-6, 1),
    top_k=st.integers(0, 45),
    seed=st.integers(0, 2**64 - 1),
    position=st.integers(0, 50),
)
@example([0.0] * 4, 1.0, 0.5, 0, 0, 0)
@example([0.0] * 4, 1.0, 0.75, 3, 0, 3)
@settings(max_examples=500, deadline=None)
def test_sampling_is_the_slow_version(logits, temperature, top_p, top_k, seed, position):
    options = (temperature, top_p, top_k, seed, position)
    assert sample(np.array(logits, F32), *options) == slow_sample(logits, *options)


@given(seed=st.integers(0, 2**64 - 1), position=st.integers(0, 300))
def test_uniform_is_splitmix64_stepped_one_by_one(seed, position):
    assert Fraction(uniform(seed, position)) == slow_uniform(seed, position)
