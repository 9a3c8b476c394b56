"""Three loops written in LLVM's vectors, because they are all of the time: 32-bit integers multiplied, 64-bit sums.

A gridded activation is an integer of 31 bits and a sign, a gridded weight one of 23 bits and a sign. Their product
has 54 bits, so 512 of them fit an int64 in any order: one multiplication and one addition a weight, where float64
needs two fused ones (the activation in two halves). A vector of L 64-bit lanes holds 2 L 32-bit integers; the
instruction multiplies the lower half of each lane (`vpmuldq`), and a shift brings the upper half down.
"""

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils, config
from numba.extending import intrinsic

MOST = 512  # products of 31 and 23 bits that an int64 can sum
I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()


def vector_lanes() -> tuple[int, int]:
    """64-bit lanes of this machine's vectors, and how many rows of accumulators its registers hold."""
    if config.CPU_NAME == "generic":
        return 2, 4
    features = binding.get_host_cpu_features()
    if features.get("avx512f") and features.get("avx512dq"):
        return 8, 8
    return (4, 4) if features.get("avx2") else (2, 4)


LANES, TILE_ROWS = vector_lanes()
AHEAD = 4096  # bytes: of the weights that are asked for early
BLOCK = 4 * LANES  # weights that `dot` takes at a time
TILE_TOKENS = 2 * LANES  # tokens that `tile` takes at a time
VECTOR, HALVES = ir.VectorType(I64, LANES), ir.VectorType(I32, 2 * LANES)
FLOATS = ir.VectorType(F32, 2 * LANES)


def splat(value, vector):
    """A constant vector."""
    return ir.Constant(vector, [value] * vector.count)


def load(builder, vector, address):
    """A vector from an address (an i64), aligned or not."""
    value = builder.load(builder.inttoptr(address, vector.as_pointer()))
    value.align = 4
    return value


def store(builder, value, address):
    builder.store(value, builder.inttoptr(address, value.type.as_pointer())).align = 8


def prefetch(builder, address):
    """Ask for the line at an address; harmless where there is none."""
    pointer = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [pointer, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [builder.inttoptr(address, pointer), I32(0), I32(3), I32(1)])


def times(builder, a, b):
    """The product of the lower, signed 32 bits of each lane. LLVM knows the pattern: it is one instruction."""
    low = splat(32, VECTOR)
    return builder.mul(builder.ashr(builder.shl(a, low), low), builder.ashr(builder.shl(b, low), low))


def upper(builder, a):
    """The upper 32 bits of each lane, brought down."""
    return builder.lshr(a, splat(32, VECTOR))


def broadcast(builder, value, vector):
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, I32(0))
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), splat(0, ir.VectorType(I32, vector.count)))


def loop(builder, count, carried):
    """for i in range(count), carried values changed by each turn: a generator that yields (i, values) once.

    The body appends its new values to the list it is given.
    """
    before = builder.block
    body, after = builder.append_basic_block("turn"), builder.append_basic_block("done")
    builder.cbranch(builder.icmp_signed(">", count, I64(0)), body, after)
    builder.position_at_end(body)
    i = builder.phi(I64)
    phis = [builder.phi(v.type) for v in carried]
    new = []
    yield i, phis, new
    following = builder.add(i, I64(1))
    for phi, start, value in zip([i, *phis], [I64(0), *carried], [following, *new], strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(value, builder.block)
    end = builder.block
    builder.cbranch(builder.icmp_signed("<", following, count), body, after)
    builder.position_at_end(after)
    results = []
    for start, value in zip(carried, new, strict=True):
        result = builder.phi(start.type)
        result.add_incoming(start, before)
        result.add_incoming(value, end)
        results.append(result)
    carried[:] = results


def integers(builder, kind, address, scale):
    """BLOCK weights at `address` as four vectors of integers: in lane i of vector c, lower half, weight 4 i + c."""
    if kind == "float32":
        two = [load(builder, FLOATS, builder.add(address, I64(8 * LANES * n))) for n in (0, 1)]
        two = [builder.bitcast(builder.fptosi(builder.fmul(v, scale), HALVES), VECTOR) for v in two]
        pick = [ir.Constant(ir.VectorType(I32, LANES), [2 * i + odd for i in range(LANES)]) for odd in (0, 1)]
        first, second = (builder.shuffle_vector(*two, p) for p in pick)
        return [first, upper(builder, first), second, upper(builder, second)]
    words = load(builder, HALVES, address)  # two weights each
    pair = [builder.shl(words, splat(16, HALVES)), builder.and_(words, splat(-65536, HALVES))]
    if kind == "float16":  # 5 exponent bits move to where float32 has 8: the value is then 2^-112 of what it was
        pair = [builder.and_(builder.ashr(w, splat(3, HALVES)), splat(-0x70000001, HALVES)) for w in pair]
        pair = [builder.bitcast(w, FLOATS) for w in pair]
        pair = [builder.fmul(w, splat(2.0**112, FLOATS)) for w in pair]
    else:  # a bfloat16 is the upper half of a float32
        pair = [builder.bitcast(w, FLOATS) for w in pair]
    even, odd = (builder.bitcast(builder.fptosi(builder.fmul(w, scale), HALVES), VECTOR) for w in pair)
    return [even, odd, upper(builder, even), upper(builder, odd)]


def make_dot(kind: str, rows: int, tokens: int):
    """An intrinsic for `rows` rows of a matrix and `tokens` activations. See `dot` in linear.py for what it computes."""
    size = 4 if kind == "float32" else 2

    @intrinsic
    def dot(typing, w, stride, x, x_stride, blocks, scales, out):
        def code(context, builder, signature, arguments):
            w, stride, x, x_stride, blocks, scales, out = arguments
            scale = []
            for r in range(rows):
                s = builder.load(builder.inttoptr(builder.add(scales, I64(4 * r)), F32.as_pointer()))
                scale.append(broadcast(builder, s, FLOATS))
            starts = [builder.add(w, builder.mul(stride, I64(r))) for r in range(rows)]
            tokens_at = [builder.add(x, builder.mul(x_stride, I64(t))) for t in range(tokens)]
            sums = [splat(0, VECTOR)] * (rows * tokens)
            for i, phis, new in loop(builder, blocks, sums):
                offset = builder.mul(i, I64(BLOCK * size))
                weights = []
                for r, start in enumerate(starts):
                    at = builder.add(start, offset)
                    prefetch(builder, builder.add(at, I64(AHEAD)))
                    weights.append(integers(builder, kind, at, scale[r]))
                acc = list(phis)
                for t, start in enumerate(tokens_at):
                    at = builder.add(start, builder.mul(i, I64(BLOCK * 8)))
                    for c in range(4):
                        xc = load(builder, VECTOR, builder.add(at, I64(8 * LANES * c)))
                        for r in range(rows):
                            acc[r * tokens + t] = builder.add(acc[r * tokens + t], times(builder, weights[r][c], xc))
                new.extend(acc)
            name = f"llvm.vector.reduce.add.v{LANES}i64"
            reduce = cgutils.get_or_insert_function(builder.module, ir.FunctionType(I64, [VECTOR]), name)
            for n, total in enumerate(sums):
                high = builder.call(reduce, [builder.ashr(total, splat(32, VECTOR))])
                low = builder.call(reduce, [builder.and_(total, splat(0xFFFFFFFF, VECTOR))])
                store(builder, high, builder.add(out, I64(16 * n)))
                store(builder, low, builder.add(out, I64(16 * n + 8)))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), code

    return dot


@intrinsic
def tile(typing, w, row_stride, step, x, terms, out):
    """out[n, t] = sum over k < terms of w[n, k] x[k, t], for TILE_ROWS n and TILE_TOKENS t, in registers.

    Addresses and strides in bytes; w int32 with weight (n, k) at n row_stride + k step, x int32 (terms, TILE_TOKENS),
    out int64 (TILE_ROWS, 2, LANES): token 2 i + h is at [n, h, i].
    """

    def code(context, builder, signature, arguments):
        w, row_stride, step, x, terms, out = arguments
        starts = [builder.add(w, builder.mul(row_stride, I64(n))) for n in range(TILE_ROWS)]
        sums = [splat(0, VECTOR)] * (2 * TILE_ROWS)
        for k, phis, new in loop(builder, terms, sums):
            even = builder.bitcast(load(builder, HALVES, builder.add(x, builder.mul(k, I64(8 * LANES)))), VECTOR)
            odd = upper(builder, even)
            at = builder.mul(k, step)
            for n, start in enumerate(starts):
                one = builder.load(builder.inttoptr(builder.add(start, at), I32.as_pointer()))
                weight = builder.bitcast(broadcast(builder, one, HALVES), VECTOR)
                new.append(builder.add(phis[2 * n], times(builder, weight, even)))
                new.append(builder.add(phis[2 * n + 1], times(builder, weight, odd)))
        for n, total in enumerate(sums):
            store(builder, total, builder.add(out, I64(8 * LANES * n)))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), code
