"""From logits to a token on the GPU: the draws of minimistral/sampling.py without sorting.

    n_i = rint(exp((logit_i - max) / temperature) 2^36), whole numbers; most likely first, lowest id first among equals

The reference sorts and sums. But to find where the running sum of a sorted list reaches a number, it is enough to know
the value there: look at nine bits at a time, from the top, adding up what lies above. Sums are of whole numbers below
2^53, so what is found is exactly what sorting finds: first for top-k (counting), then top-p, then the draw.
"""

import numpy as np
from numba import cuda

from fastpath.cuda.exp import exp
from fastpath.cuda.grids import MAGNITUDE, ordered
from fastpath.cuda.intrinsics import SIMULATED, bits_of_f32, device, f32_of_bits, kernel, rint
from fastpath.cuda.rows import block_max, mark

i32, i64, f32, f64 = np.int32, np.int64, np.float32, np.float64
THREADS = 32 if SIMULATED else 512
BINS, DIGIT = 512, 9  # n <= 2^36 has 37 bits: five digits of nine
LOWEST = -0x80000000


@device
def reach(n, vocabulary, target, counting, bins, parts, found):
    """The value v where the running sum of n, largest first, reaches `target` (>= 1): what lies above it, and v.

    counting 1: every token counts 1, else n. bins int64 (2, 512) and parts int64 (2, 32): sums and counts by digit, and
    of sixteen bins each. found int64 (3,): v, the sum above v, the count above v.
    """
    thread = cuda.threadIdx.x
    cuda.syncthreads()  # all have read what was found before
    if thread == 0:
        found[0], found[1], found[2] = i64(0), i64(0), i64(0)
    for digit in range(4, -1, -1):
        shift = i64(digit * DIGIT)
        cuda.syncthreads()
        for b in range(thread, BINS, THREADS):
            bins[0, b], bins[1, b] = i64(0), i64(0)
        cuda.syncthreads()
        low_sum, low_count = i64(0), i64(0)  # of digit 0, where most tokens are: added once a thread
        for i in range(thread, vocabulary, THREADS):
            x = n[i]
            if (x >> (shift + i64(DIGIT))) == (found[0] >> (shift + i64(DIGIT))):
                b = (x >> shift) & i64(BINS - 1)
                if b == i64(0):
                    low_sum += x
                    low_count += i64(1)
                else:
                    cuda.atomic.add(bins, (0, b), x)
                    cuda.atomic.add(bins, (1, b), i64(1))
        cuda.atomic.add(bins, (0, 0), low_sum)
        cuda.atomic.add(bins, (1, 0), low_count)
        cuda.syncthreads()
        if thread < 32:
            of_sums, of_counts = i64(0), i64(0)
            for b in range(16 * thread, 16 * thread + 16):
                of_sums += bins[0, b]
                of_counts += bins[1, b]
            parts[0, thread], parts[1, thread] = of_sums, of_counts
        cuda.syncthreads()
        if thread == 0:
            part = 31
            while part > 0 and found[1 + counting] + parts[counting, part] < target:
                found[1] += parts[0, part]
                found[2] += parts[1, part]
                part -= 1
            b = 16 * part + 15
            while b > 16 * part and found[1 + counting] + bins[counting, b] < target:
                found[1] += bins[0, b]
                found[2] += bins[1, b]
                b -= 1
            found[0] |= i64(b) << shift
    cuda.syncthreads()


def sample_kernel(logits, temperature, top_p, top_k, u, n, token, flags, stage):
    """token[t] = the draw of row t; the lowest id of the largest logit where the temperature is 0.

    Grid T, block 512. logits float32 (T, V), u float64 (T,): sampling.uniform of seed and position, n int64 (T, V):
    scratch, token int32 (T,). Reads 4 T V bytes and up to 15 times 8 T V, from L2. Limit: latency of one block.
    """
    t, thread, V = cuda.blockIdx.x, cuda.threadIdx.x, logits.shape[1]
    words = cuda.shared.array(32, i32)
    bins = cuda.shared.array((2, BINS), i64)
    parts = cuda.shared.array((2, 32), i64)
    found = cuda.shared.array(3, i64)
    total = cuda.shared.array(1, i64)
    first = cuda.shared.array(1, i32)
    best, worst = i32(LOWEST), i32(0)
    for i in range(thread, V, THREADS):
        bits = bits_of_f32(logits[t, i])
        worst = max(worst, bits & i32(MAGNITUDE))
        best = max(best, ordered(bits))
    mark(worst, flags, stage)
    best = block_max(best, words)
    if thread == 0:
        total[0] = i64(0)
        first[0] = i32(V)
    cuda.syncthreads()
    if temperature == 0.0:
        for i in range(thread, V, THREADS):
            if ordered(bits_of_f32(logits[t, i])) == best:
                cuda.atomic.min(first, 0, i32(i))
                break
    else:
        largest, own = f64(f32_of_bits(ordered(best))), i64(0)
        for i in range(thread, V, THREADS):
            x = i64(rint(exp((f64(logits[t, i]) - largest) / temperature) * 2.0**36))
            n[t, i] = x
            own += x
        cuda.atomic.add(total, 0, own)
        cuda.syncthreads()
        whole = total[0]
        if top_k > 0 and top_k < V:
            reach(n[t], V, i64(top_k), 1, bins, parts, found)
            whole = found[1] + (i64(top_k) - found[2]) * found[0]
        if top_p < 1.0:
            target = top_p * f64(whole)
            at_least = i64(target) + (i64(1) if f64(i64(target)) < target else i64(0))
            reach(n[t], V, at_least, 0, bins, parts, found)
            value = max(found[0], i64(1))
            whole = found[1] + (at_least - found[1] + value - i64(1)) // value * value
        target = i64(u[t] * f64(whole)) + i64(1)  # the first sum above it
        if target > whole:  # the product was rounded up to the sum itself: the most likely token, as there
            target = i64(1)
        reach(n[t], V, target, 0, bins, parts, found)
        value = max(found[0], i64(1))
        nth = (target - found[1] + value - i64(1)) // value  # of those with this value, by id, from 1
        # Each thread counts its own run of ids; one of them walks over the counts.
        run = (V + THREADS - 1) // THREADS
        here = 0
        for i in range(thread * run, min(V, thread * run + run)):
            if n[t, i] == value:
                here += 1
        cuda.syncthreads()
        bins[0, thread] = i64(here)
        cuda.syncthreads()
        before = i64(0)
        for other in range(thread):
            before += bins[0, other]
        if before < nth <= before + i64(here):
            for i in range(thread * run, min(V, thread * run + run)):
                if n[t, i] == value:
                    before += i64(1)
                    if before == nth:
                        first[0] = i32(i)
    cuda.syncthreads()
    if thread == 0:
        token[t] = min(first[0], i32(V - 1))  # logits that are not finite may lead nowhere: marked above


def sample(logits, temperature: float, top_p: float, top_k: int, u, n, token, flags, stage: int, stream=0) -> None:
    """token (T,) drawn from logits (T, V); u (T,) are the uniform numbers, n (T, V) int64 is scratch."""
    kernel(sample_kernel, THREADS)[logits.shape[0], THREADS, stream](
        logits, temperature, top_p, top_k, u, n, token, flags, stage
    )
