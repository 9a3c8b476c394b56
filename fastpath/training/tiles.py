"""Small matrix products for attention: four rows by a few vectors, kept in registers while the terms go by.

A plain loop would load and store each sum at every term; LLVM keeps a tile of 4 x 3 vectors in registers if it is
written as vectors. A vector has 32 bytes, which every processor with AVX multiplies at full speed or half of it.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastpath.cpu.simd import broadcast, loop
from fastpath.training.compiled import jit

ROWS = 4  # of a tile
BYTES = 32  # of a vector
I64 = ir.IntType(64)


def make_tile(vectors: int, fresh: bool):
    """An intrinsic: c[r, v] = (fresh) or += (not) sum over k < terms of a[r, k] b[k, v], 4 rows by `vectors` vectors.

    a, b, c are addresses; a_row, a_step, b_step, c_row are bytes from one row or term to the next. zero says the type.
    """

    @intrinsic
    def tile(typing, zero, a, a_row, a_step, b, b_step, terms, c, c_row):
        size = zero.bitwidth // 8

        def code(context, builder, signature, arguments):
            _, a, a_row, a_step, b, b_step, terms, c, c_row = arguments
            number = context.get_value_type(zero)
            vector = ir.VectorType(number, BYTES // size)

            def pointer(address, kind):
                return builder.inttoptr(address, kind.as_pointer())

            def load(address):
                return builder.load(pointer(address, vector), align=size)

            starts = [builder.add(a, builder.mul(a_row, I64(r))) for r in range(ROWS)]
            out = [builder.add(builder.add(c, builder.mul(c_row, I64(r))), I64(BYTES * v))
                   for r in range(ROWS) for v in range(vectors)]  # fmt: skip
            sums = [ir.Constant(vector, [0.0] * vector.count) if fresh else load(at) for at in out]
            for k, phis, new in loop(builder, terms, sums):
                at = builder.add(b, builder.mul(k, b_step))
                columns = [load(builder.add(at, I64(BYTES * v))) for v in range(vectors)]
                for r, start in enumerate(starts):
                    one = builder.load(pointer(builder.add(start, builder.mul(k, a_step)), number), align=size)
                    one = broadcast(builder, one, vector)
                    for v, column in enumerate(columns):
                        term = builder.fmul(one, column, flags=("contract",))
                        new.append(builder.fadd(phis[r * vectors + v], term, flags=("contract",)))
            for total, at in zip(sums, out, strict=True):
                builder.store(total, pointer(at, vector), align=size)
            return context.get_dummy_value()

        return types.void(zero, *[types.int64] * 8), code

    return tile


set3, set1, add3, add1 = (make_tile(vectors, fresh) for fresh in (True, False) for vectors in (3, 1))


@jit
def product(a, a_at, a_row, a_step, b, b_at, b_step, terms, c, c_at, c_row, columns):
    """c = a b for one tile of 4 rows: flat arrays, places and strides in numbers. columns: a whole number of vectors."""
    size = a.itemsize
    lanes, zero = BYTES // size, a[0]
    left, at, to = a.ctypes.data + a_at * size, b.ctypes.data + b_at * size, c.ctypes.data + c_at * size
    while columns >= 3 * lanes:
        set3(zero, left, a_row * size, a_step * size, at, b_step * size, terms, to, c_row * size)
        at, to, columns = at + 3 * BYTES, to + 3 * BYTES, columns - 3 * lanes
    while columns > 0:
        set1(zero, left, a_row * size, a_step * size, at, b_step * size, terms, to, c_row * size)
        at, to, columns = at + BYTES, to + BYTES, columns - lanes


@jit
def product_added(a, a_at, a_row, a_step, b, b_at, b_step, terms, c, c_at, c_row, columns):
    """c += a b, as `product`."""
    size = a.itemsize
    lanes, zero = BYTES // size, a[0]
    left, at, to = a.ctypes.data + a_at * size, b.ctypes.data + b_at * size, c.ctypes.data + c_at * size
    while columns >= 3 * lanes:
        add3(zero, left, a_row * size, a_step * size, at, b_step * size, terms, to, c_row * size)
        at, to, columns = at + 3 * BYTES, to + 3 * BYTES, columns - 3 * lanes
    while columns > 0:
        add1(zero, left, a_row * size, a_step * size, at, b_step * size, terms, to, c_row * size)
        at, to, columns = at + BYTES, to + BYTES, columns - lanes
