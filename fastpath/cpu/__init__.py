"""The model on every CPU, compiled by Numba. `CpuMistral` is loaded when it is asked for: Numba takes half a second.

model       what the kernels are asked, and what they found
layers      the forward pass, as one kernel that all threads run
linear      products with weights;   simd: their inner loops, in LLVM's vectors;   simple: the same in plain loops
attention   scores, softmax and values;   ring: the rolling buffer
numbers     grids, exp, RMSNorm for one row;   bits: what Numba has no name for
kernels     compiling and the cache;   team, meeting: threads;   compiled: whether it was done before
steps.md    what each step of making it fast gained
"""


def __getattr__(name: str):
    if name == "CpuMistral":
        from fastpath.cpu.model import CpuMistral

        return CpuMistral
    raise AttributeError(name)
