"""exp, cos and sin without a mathematics library: integers, and polynomials whose every step is defined."""

from decimal import Decimal, localcontext
from functools import lru_cache

import numpy as np

LOG2E = float.fromhex("0x1.71547652b82fep+32")  # log2(e) * 2^32
EXP2 = (32634, 332146, 2863440, 20654580, 119194155, 515882503, 1488522236, 2147483648)  # 2^f, highest power first


def exp(x: np.ndarray) -> np.ndarray:
    """e^x = 2^k 2^f in float64, f in [-1/2, 1/2) by a polynomial in 32-bit fixed point.

    Relative error below 2^-29.4; exp(0) = 1; x <= 0 gives <= 1; x is taken into [-600, 600].

    >>> exp(np.array([0.0, 1.0])).round(7).tolist()
    [1.0, 2.7182818]
    """
    y = np.rint(np.clip(x, -600.0, 600.0) * LOG2E).astype(np.int64)  # x log2(e), in units of 2^-32
    k = (y + 2**31) >> 32  # its nearest integer
    f = y - (k << 32)  # its fraction, -2^31 <= f < 2^31
    p = np.full_like(f, EXP2[0])
    for c in EXP2[1:]:
        p = (p * f >> 32) + c
    return p * ((k - 31 + 1023) << 52).view(np.float64)  # times 2^(k - 31), made from its bits


PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
TURN = float.fromhex("0x1.921fb54442d18p+2")  # 2 pi
SIN = [float.fromhex(h) for h in (
    "0x1.5d877cacd596cp-33", "-0x1.ae5e382eaa376p-26", "0x1.71de35310b6aep-19", "-0x1.a01a019ba9d2ep-13",
    "0x1.111111110f3e0p-7", "-0x1.5555555555543p-3", "0x1.0p+0")]  # fmt: skip
COS = [float.fromhex(h) for h in (
    "-0x1.8f763805df466p-37", "0x1.1ee96d2621094p-29", "-0x1.27e4f7282ef7ep-22", "0x1.a01a019b1e8cdp-16",
    "-0x1.6c16c16c13a0bp-10", "0x1.5555555555536p-5", "-0x1.0p-1", "0x1.0p+0")]  # fmt: skip


@lru_cache
def turns(head_dim: int, theta: float) -> np.ndarray:
    """theta^(-2i / head_dim) / 2 pi, turns a position, as fractions of 2^64: (head_dim / 2,) uint64.

    >>> hex(turns(128, 10000.0)[0])
    '0x28be60db9391054a'
    """
    with localcontext() as context:
        context.prec = 60
        turn = ((-Decimal(2 * i) / head_dim * Decimal(theta).ln()).exp() / (2 * PI) for i in range(head_dim // 2))
        return np.array([int((t * 2**64).to_integral_value("ROUND_HALF_EVEN")) for t in turn], np.uint64)


def cos_sin(positions: np.ndarray, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of 2 pi position turns / 2^64, correctly rounded but for rare cases: float32 (T, head_dim / 2).

    The product wraps at 2^64: that is the reduction modulo one turn, and it is exact.
    """
    u = np.asarray(positions).astype(np.uint64)[:, None] * turns
    quarter = (u + np.uint64(1 << 61)) >> np.uint64(62)  # the nearest quarter turn; what is left is within 1/8
    x = (u - (quarter << np.uint64(62))).astype(np.int64).astype(np.float64) * 2.0**-64 * TURN
    z = x * x
    s, c = np.polyval(SIN, z) * x, np.polyval(COS, z)  # by Horner's rule
    q = (quarter & np.uint64(3)).astype(np.int64)
    cos, sin = np.choose(q, (c, -s, -c, s)), np.choose(q, (s, c, -s, -c))
    return cos.astype(np.float32), sin.astype(np.float32)
