"""Tensor cores from Python: a warp multiplies small tiles. Inline PTX, and beside each a twin for the simulator.

    mma_uu, mma_us, mma_su, mma_ss   C (16 x 8, int32) += A (16 x 32 bytes) B (32 x 8 bytes); u, s: signs of A, B  sm_80
    mma_f64                          C (16 x 8, float64) += A (16 x 16) B (16 x 8), in 8 of 8 x 8 x 4             sm_80
    mma_f64_sm90                     the same in one instruction                                                  sm_90

A tile is spread over the 32 lanes of a warp. With g = lane // 4 and t = lane % 4 a lane holds

    bytes    word i of A (4 bytes along k): row g + 8 (i odd), bytes from 4 t + 16 (i >= 2)
             word i of B: bytes from 4 t + 16 i, column g
    float64  number i of A: row g + 8 (i odd), column t + 4 (i // 2);  number i of B: row t + 4 i, column g
    both     number i of C: row g + 8 (i >= 2), column 2 t + i % 2

so a lane reads its part from shared memory by plain loads, and a version without tensor cores makes the same numbers of
C in the same lanes. The maps come from the PTX manual, and the twins share them: not yet verified on a GPU (the tests
marked `gpu` do that).
"""

import threading

import numpy as np

from fastpath.cuda.intrinsics import SIMULATED, device

u32 = np.uint32

# ---- instructions --------------------------------------------------------------------------------------------------
if not SIMULATED:
    from llvmlite import ir
    from numba.cuda import types
    from numba.cuda.extending import intrinsic

    INT, LONG, VOID = ir.IntType(32), ir.IntType(64), ir.VoidType()
    LLVM = {types.int32: INT, types.uint32: INT, types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
    LETTER = {types.int32: "r", types.uint32: "r", types.float32: "f", types.float64: "d"}

    def ptx(text: str, outputs: list, inputs: list, attributes: tuple = ()):
        """Code for a PTX instruction without side effects; several outputs come back as a tuple."""
        constraints = ",".join(["=" + LETTER[t] for t in outputs] + [LETTER[t] for t in inputs])
        result = LLVM[outputs[0]] if len(outputs) == 1 else ir.LiteralStructType([LLVM[t] for t in outputs])
        assembly = ir.InlineAsm(ir.FunctionType(result, [LLVM[t] for t in inputs]), text, constraints)

        def code(context, builder, signature, arguments):
            made = builder.call(assembly, arguments, attrs=attributes)
            if len(outputs) == 1:
                return made
            parts = [builder.extract_value(made, i) for i in range(len(outputs))]
            return context.make_tuple(builder, signature.return_type, parts)

        return code

    @intrinsic
    def half(typing, word):
        """The float16 in the low half of a word, as float32."""
        text = "{ .reg .b16 low, high; mov.b32 {low, high}, $1; cvt.f32.f16 $0, low; }"
        return types.float32(types.uint32), ptx(text, [types.float32], [types.uint32])

    @intrinsic
    def f32_of_word(typing, word):
        """The float32 with the bits of a uint32."""
        return types.float32(types.uint32), lambda context, builder, signature, a: builder.bitcast(a[0], ir.FloatType())

    @intrinsic
    def pick(typing, a, b, which):
        """Four of the eight bytes of a (0 .. 3) and b (4 .. 7): hexadecimal digit i of `which` names byte i."""
        i = types.uint32
        return i(i, i, i), ptx("prmt.b32 $0, $1, $2, $3;", [i], [i, i, i])

    def element(context, builder, array_type, array, index):
        """Address of an element of a contiguous array."""
        return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])

    @intrinsic
    def load2(typing, shared, index):
        """Two uint32 of a shared array from `index` on (a multiple of 2) by one 64-bit load."""

        def code(context, builder, signature, arguments):
            address = element(context, builder, shared, *arguments)
            vector = builder.load(builder.bitcast(address, ir.VectorType(INT, 2).as_pointer()))
            vector.align = 8
            parts = [builder.extract_element(vector, INT(i)) for i in range(2)]
            return context.make_tuple(builder, signature.return_type, parts)

        return types.UniTuple(types.uint32, 2)(shared, types.int64), code

    @intrinsic
    def store4(typing, shared, index, a, b, c, d):
        """Four uint32 to a shared array from `index` on (a multiple of 4) by one 128-bit store."""
        u = types.uint32

        def code(context, builder, signature, arguments):
            vector = ir.Constant(ir.VectorType(INT, 4), ir.Undefined)
            for i, word in enumerate(arguments[2:]):
                vector = builder.insert_element(vector, word, INT(i))
            address = element(context, builder, shared, *arguments[:2])
            builder.store(vector, builder.bitcast(address, vector.type.as_pointer())).align = 16
            return context.get_dummy_value()

        return types.void(shared, types.int64, u, u, u, u), code

    @intrinsic
    def copy4(typing, shared, to, array, start):
        """Starts copying four words from global to shared memory; both indices multiples of 4. sm_80 on."""
        assembly = ir.InlineAsm(
            ir.FunctionType(VOID, [INT, LONG]),
            "cp.async.cg.shared.global [$0], [$1], 16;",
            "r,l,~{memory}",
            side_effect=True,
        )

        def code(context, builder, signature, arguments):
            near = element(context, builder, shared, *arguments[:2])
            far = element(context, builder, array, *arguments[2:])
            near = builder.ptrtoint(builder.addrspacecast(near, near.type.pointee.as_pointer(3)), INT)
            far = builder.ptrtoint(builder.addrspacecast(far, far.type.pointee.as_pointer(1)), LONG)
            builder.call(assembly, [near, far])
            return context.get_dummy_value()

        return types.void(shared, types.int64, array, types.int64), code

    @intrinsic
    def copies_done(typing):
        """Waits for the copies that this thread has started."""
        assembly = ir.InlineAsm(ir.FunctionType(VOID, []), "cp.async.wait_all;", "~{memory}", side_effect=True)

        def code(context, builder, signature, arguments):
            builder.call(assembly, [])
            return context.get_dummy_value()

        return types.void(), code

    WARP = ("convergent",)  # all lanes execute it together: it must not be moved into a branch

    def int8(a: str, b: str):
        """The byte product for A of sign a and B of sign b ("s8" or "u8"); sums wrap at 2^32."""
        text = (
            f"mma.sync.aligned.m16n8k32.row.col.s32.{a}.{b}.s32 "
            "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
        )

        @intrinsic
        def mma(typing, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
            i, u = types.int32, types.uint32
            return types.UniTuple(i, 4)(*[u] * 6, *[i] * 4), ptx(text, [i] * 4, [u] * 6 + [i] * 4, WARP)

        return mma

    @intrinsic
    def mma_8x8x4(typing, a, b, c0, c1):
        """a: row g, column t; b: row t, column g; c: row g, columns 2 t and 2 t + 1."""
        d = types.float64
        text = "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {$0,$1}, {$2}, {$3}, {$4,$5};"
        return types.UniTuple(d, 2)(d, d, d, d), ptx(text, [d] * 2, [d] * 4, WARP)

    @device
    def mma_f64(a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, c0, c1, c2, c3):
        c0, c1 = mma_8x8x4(a0, b0, c0, c1)
        c2, c3 = mma_8x8x4(a1, b0, c2, c3)
        c0, c1 = mma_8x8x4(a2, b1, c0, c1)
        c2, c3 = mma_8x8x4(a3, b1, c2, c3)
        c0, c1 = mma_8x8x4(a4, b2, c0, c1)
        c2, c3 = mma_8x8x4(a5, b2, c2, c3)
        c0, c1 = mma_8x8x4(a6, b3, c0, c1)
        c2, c3 = mma_8x8x4(a7, b3, c2, c3)
        return c0, c1, c2, c3

    @intrinsic
    def mma_f64_sm90(typing, a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, c0, c1, c2, c3):
        d = types.float64
        text = (
            "mma.sync.aligned.m16n8k16.row.col.f64.f64.f64.f64 {$0,$1,$2,$3}, "
            "{$4,$5,$6,$7,$8,$9,$10,$11}, {$12,$13,$14,$15}, {$16,$17,$18,$19};"
        )
        return types.UniTuple(d, 4)(*[d] * 16), ptx(text, [d] * 4, [d] * 16, WARP)


# ---- the same for the simulator: one lane at a time, in Python -----------------------------------------------------
else:
    from fastpath.cuda.simulated import exchange

    def half(word):
        return np.float32(np.uint16(int(word) & 0xFFFF).view(np.float16))

    def f32_of_word(word):
        return np.uint32(word).view(np.float32)

    def pick(a, b, which):
        both = int(a) | int(b) << 32
        return np.uint32(sum((both >> 8 * (int(which) >> 4 * i & 7) & 255) << 8 * i for i in range(4)))

    def load2(shared, index):
        assert index % 2 == 0, "a 64-bit load that is not aligned"
        return shared[int(index)], shared[int(index) + 1]

    def store4(shared, index, *words):
        assert index % 4 == 0, "a 128-bit store that is not aligned"
        shared[int(index) : int(index) + 4] = words

    def copy4(shared, to, array, start):
        assert to % 4 == 0 and start % 4 == 0, "a 128-bit copy that is not aligned"
        for i in range(4):
            shared[int(to) + i] = array[int(start) + i]

    def copies_done():
        pass

    G, T = np.arange(32) // 4, np.arange(32) % 4  # of each lane

    class Shared:
        """A result that the lane which comes first works out for all."""

        def __init__(self):
            self.lock, self.result = threading.Lock(), None

    def collective(work):
        """What a warp does together: work([arguments of lane 0, ...]) -> [result of lane 0, ...]."""

        def call(*mine):
            everyone = exchange((mine, Shared()))
            shared = everyone[0][1]
            with shared.lock:
                if shared.result is None:
                    shared.result = work([theirs for theirs, _ in everyone])
            return shared.result[threading.current_thread().thread_id % 32]

        return call

    def parts(C):
        """C (16 x 8) as the lanes hold it, four numbers each."""
        return np.stack([C[G, 2 * T], C[G, 2 * T + 1], C[G + 8, 2 * T], C[G + 8, 2 * T + 1]], axis=1)

    def int8(sign_a, sign_b):
        type_of = {"s8": np.int8, "u8": np.uint8}

        @collective
        def mma(lanes):
            words = np.array([held[:6] for held in lanes], np.uint32)
            a = np.ascontiguousarray(words[:, :4]).view(type_of[sign_a])
            b = np.ascontiguousarray(words[:, 4:]).view(type_of[sign_b])
            A, B = np.zeros((16, 8, 4), np.int64), np.zeros((8, 8, 4), np.int64)  # B: column, then k
            for i in range(4):
                A[G + 8 * (i % 2), T + 4 * (i // 2)] = a[:, 4 * i : 4 * i + 4]
            for i in range(2):
                B[G, T + 4 * i] = b[:, 4 * i : 4 * i + 4]
            C = parts(A.reshape(16, 32) @ B.reshape(8, 32).T) + np.array([held[6:] for held in lanes], np.int64)
            return C.astype(np.int32)

        return mma

    @collective
    def mma_f64(lanes):
        numbers = np.array(lanes)  # (lane, number)
        A, B = np.zeros((16, 16)), np.zeros((16, 8))
        for i in range(8):
            A[G + 8 * (i % 2), T + 4 * (i // 2)] = numbers[:, i]
        for i in range(4):
            B[T + 4 * i, G] = numbers[:, 8 + i]
        return parts(A @ B) + numbers[:, 12:]

    mma_f64_sm90 = mma_f64


mma_ss, mma_su, mma_us, mma_uu = int8("s8", "s8"), int8("s8", "u8"), int8("u8", "s8"), int8("u8", "u8")


# ---- a warp's product of float64 tiles in shared memory ------------------------------------------------------------
def multiplier(version: str, rows: int, columns: int, pitch: int, step_k: int, step_n: int):
    """A device function: sums += A (16 rows x 16) B (16 x 8 columns), float64, both in shared memory.

    version: "plain" (multiply-add in each lane, any GPU), "sm_80" or "sm_90" (tensor cores). A(m, k) lies at
    a0 + m pitch + k of array a, B(k, n) at b0 + k step_k + n step_n of b. sums is the lane's local array, number i of
    tile (r, c) at 4 (r columns + c) + i; the loops are constant, so it becomes registers.
    """

    @device
    def plain(sums, a, a0, b, b0, g, t):
        a0 = u32(a0 + g * u32(pitch))
        b0 = u32(b0 + t * u32(2 * step_n))
        for k in range(16):
            for r in range(2 * rows):
                left = a[a0 + u32(8 * r * pitch + k)]
                for c in range(columns):
                    i = 4 * ((r >> 1) * columns + c) + 2 * (r & 1)
                    right = b0 + u32(k * step_k + 8 * c * step_n)
                    sums[i] += left * b[right]
                    sums[i + 1] += left * b[right + u32(step_n)]

    mma = mma_f64_sm90 if version == "sm_90" else mma_f64

    @device
    def tensor(sums, a, a0, b, b0, g, t):
        a0 = u32(a0 + g * u32(pitch) + t)
        b0 = u32(b0 + t * u32(step_k) + g * u32(step_n))
        for c in range(columns):
            k = b0 + u32(8 * c * step_n)
            y0, y1, y2, y3 = b[k], b[k + u32(4 * step_k)], b[k + u32(8 * step_k)], b[k + u32(12 * step_k)]
            for r in range(rows):
                m = a0 + u32(16 * r * pitch)
                n = m + u32(8 * pitch)
                x0, x1, x2, x3 = a[m], a[n], a[m + u32(4)], a[n + u32(4)]
                x4, x5, x6, x7 = a[m + u32(8)], a[n + u32(8)], a[m + u32(12)], a[n + u32(12)]
                i = 4 * (r * columns + c)
                c0, c1, c2, c3 = sums[i], sums[i + 1], sums[i + 2], sums[i + 3]
                c0, c1, c2, c3 = mma(x0, x1, x2, x3, x4, x5, x6, x7, y0, y1, y2, y3, c0, c1, c2, c3)
                sums[i], sums[i + 1], sums[i + 2], sums[i + 3] = c0, c1, c2, c3

    return plain if version == "plain" else tensor
