"""Single instructions that Python has no word for, and the decorators that make a function run on a GPU.

Under NUMBA_ENABLE_CUDASIM=1 kernels are plain Python: each name here then means its twin in simulated.py. A function
of this package imports `cuda` from numba and the rest from here, and is the same text in both.
"""

import warnings
from functools import lru_cache

from llvmlite import ir
from numba import cuda
from numba.cuda import config, types

SIMULATED = bool(config.ENABLE_CUDASIM)
ALL_LANES = 0xFFFFFFFF
warnings.filterwarnings("ignore", message="Grid size")  # of Numba: one row, one head are small, and meant to be

if SIMULATED:
    from fastpath.cuda.simulated import (
        bits_of_f32,
        bits_of_f64,
        double,
        f32_of_bits,
        f64_of_bits,
        load4,
        low_word,
        multiply_high,
        rint,
        stream4,
        warp_max,
        warp_sum,
        warp_sums,
    )

    def device(function):
        """A function called by kernels."""
        return function

    @lru_cache(None)
    def kernel(function, threads: int | tuple[int, int]):
        """The kernel `function`, launched with blocks of `threads`."""
        return cuda.jit(function)

else:
    from numba.cuda import cgutils, libdevice
    from numba.cuda.extending import intrinsic

    rint = libdevice.rint  # one instruction, cvt.rni.f64.f64

    def device(function):
        """A function called by kernels; always inlined (another call needs a driver even to compile)."""
        return cuda.jit(device=True, inline="always")(function)

    @lru_cache(None)
    def kernel(function, threads: int | tuple[int, int]):
        """The kernel `function`, compiled at its first launch for blocks of at most so many threads.

        A pair: and so that this many blocks fit a multiprocessor.
        """
        return cuda.jit(launch_bounds=threads)(function)

    I32, I64, F32, F64 = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType()
    WORDS = ir.LiteralStructType([I32] * 4)

    # ---- loads ---------------------------------------------------------------------------------------------------
    def global_address(context, builder, array_type, array, i):
        """The address of element i of a contiguous array, as an i64 in global memory."""
        data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
        element = builder.gep(data, [i])
        return builder.ptrtoint(builder.addrspacecast(element, element.type.pointee.as_pointer(1)), I64)

    @intrinsic
    def stream4(typing, array, i):
        """Elements i .. i + 3 of a uint32 array by one 128-bit load that leaves no line in L1; i a multiple of 4.

        For data that nothing writes during the launch, read once: weights.
        """

        def code(context, builder, signature, arguments):
            address = global_address(context, builder, signature.args[0], *arguments)
            text = "ld.global.nc.L1::no_allocate.v4.u32 {$0,$1,$2,$3}, [$4];"
            read = ir.InlineAsm(ir.FunctionType(WORDS, [I64]), text, "=r,=r,=r,=r,l", side_effect=False)
            words = builder.call(read, [address])
            return context.make_tuple(
                builder, signature.return_type, [builder.extract_value(words, n) for n in range(4)]
            )

        return types.UniTuple(types.uint32, 4)(array, types.int64), code

    @intrinsic
    def load4(typing, array, i):
        """Elements i .. i + 3 of a float32 array by one 128-bit load; i a multiple of 4, nothing writes them meanwhile."""

        def code(context, builder, signature, arguments):
            address = global_address(context, builder, signature.args[0], *arguments)
            text = "ld.global.nc.v4.f32 {$0,$1,$2,$3}, [$4];"
            four = ir.LiteralStructType([F32] * 4)
            read = ir.InlineAsm(ir.FunctionType(four, [I64]), text, "=f,=f,=f,=f,l", side_effect=False)
            values = builder.call(read, [address])
            return context.make_tuple(
                builder, signature.return_type, [builder.extract_value(values, n) for n in range(4)]
            )

        return types.UniTuple(types.float32, 4)(array, types.int64), code

    # ---- bits ----------------------------------------------------------------------------------------------------
    @intrinsic
    def double(typing, high, low):
        """The float64 with these two words."""

        def code(context, builder, signature, arguments):
            high, low = (builder.zext(word, I64) for word in arguments)
            return builder.bitcast(builder.or_(builder.shl(high, I64(32)), low), F64)

        return types.float64(types.int32, types.uint32), code

    def reinterpret(to, of, target):
        """An intrinsic that reads the bits of one type as another."""

        @intrinsic
        def read_as(typing, value):
            return to(of), lambda context, builder, signature, arguments: builder.bitcast(arguments[0], target)

        return read_as

    f64_of_bits = reinterpret(types.float64, types.int64, F64)
    bits_of_f64 = reinterpret(types.int64, types.float64, I64)
    f32_of_bits = reinterpret(types.float32, types.int32, F32)
    bits_of_f32 = reinterpret(types.int32, types.float32, I32)

    @intrinsic
    def low_word(typing, value):
        """The lower 32 bits of an int64, read as signed."""
        return types.int32(types.int64), lambda context, builder, signature, a: builder.trunc(a[0], I32)

    @intrinsic
    def multiply_high(typing, a, b):
        """The upper 32 bits of a signed product. Written in int64, the compiler keeps 64-bit multiplications."""

        def code(context, builder, signature, arguments):
            kind = ir.FunctionType(I32, [I32, I32])
            text = ir.InlineAsm(kind, "mul.hi.s32 $0, $1, $2;", "=r,r,r", side_effect=False)
            return builder.call(text, arguments)

        return types.int32(types.int32, types.int32), code

    # ---- a warp's 32 lanes together ------------------------------------------------------------------------------
    @device
    def warp_sum(value):
        """The sum of all lanes' values, in every lane. Exact, if the values are integers that fit."""
        m = 16
        while m:
            value += cuda.shfl_xor_sync(ALL_LANES, value, m)
            m >>= 1
        return value

    @device
    def warp_sums(values):
        """The same for each entry of a local array, in place."""
        for i in range(len(values)):
            m = 16
            while m:
                values[i] += cuda.shfl_xor_sync(ALL_LANES, values[i], m)
                m >>= 1

    @device
    def warp_max(value):
        """The largest of all lanes' values, in every lane."""
        m = 16
        while m:
            value = max(value, cuda.shfl_xor_sync(ALL_LANES, value, m))
            m >>= 1
        return value


__all__ = [
    "SIMULATED",
    "bits_of_f32",
    "bits_of_f64",
    "device",
    "double",
    "f32_of_bits",
    "f64_of_bits",
    "kernel",
    "load4",
    "low_word",
    "multiply_high",
    "rint",
    "stream4",
    "warp_max",
    "warp_sum",
    "warp_sums",
]
