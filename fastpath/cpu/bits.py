"""What Numba has no name for: a number's bits, memory by its address, and counting that threads share."""

import sys

from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

I64 = ir.IntType(64)


def jit(function):
    """Compiled, without Python's lock; part of the kernel that calls it. No fast-math flag: sums are of integers."""
    return njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def inline(function):
    """The same for a few lines: put in the caller's place before types are known, which compiles much faster."""
    return njit(nogil=True, error_model="numpy", inline="always", no_cpython_wrapper=True)(function)


def _bitcast(source, target, llvm):
    @intrinsic
    def cast(typing, x):
        return target(source), lambda context, builder, signature, arguments: builder.bitcast(arguments[0], llvm)

    return cast


bits32 = _bitcast(types.float32, types.int32, ir.IntType(32))
bits64 = _bitcast(types.float64, types.int64, I64)
float32_of = _bitcast(types.int32, types.float32, ir.FloatType())
float64_of = _bitcast(types.int64, types.float64, ir.DoubleType())


@intrinsic
def _pointer(typing, address):
    def code(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), code


def _view(dtype):
    @jit
    def view(address, size):
        return carray(_pointer(address), (size,), dtype)

    return view


uint16s, int32s, float32s, float64s = (
    _view(t) for t in (types.uint16, types.int32, types.float32, types.float64)
)  # (address, size) -> an array there


@inline
def clear(a):
    """a[:] = 0, in a tenth of the time to compile."""
    for i in range(a.size):
        a[i] = 0


@inline
def copy(a, b):
    """b[:] = a."""
    for i in range(b.size):
        b[i] = a[i]


@intrinsic
def atomic_add(typing, address, value):
    """Add to the int64 at an address; what was there before."""

    def code(context, builder, signature, arguments):
        return builder.atomic_rmw("add", builder.inttoptr(arguments[0], I64.as_pointer()), arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), code


@intrinsic
def give_way(typing):
    """Let another thread have this processor."""

    def code(context, builder, signature, arguments):
        if sys.platform != "win32":
            kind = ir.FunctionType(ir.IntType(32), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        return context.get_dummy_value()

    return types.void(), code
