"""The model on NVIDIA GPUs, by Numba CUDA: the same bits as `arithmetic="exact"`.

Not yet run on a GPU. Tests run the kernels on Numba's simulator and compile each for three architectures; the same tests,
larger, are marked `gpu` and run where there is one.

model             CudaMistral, and whether this machine can run it
forward           the stages in order, as launches
decode, graph     one step of generation as one CUDA graph
gemv              linear layers for a few rows: bound by memory
matmul            linear layers for many rows: bound by arithmetic
rows, heads       what lies between the matrices
decode_attention  one query over the ring
window_attention  a chunk's queries, block by block inside the window
ring              keys and values in the GPU's memory
sample            logits to a token
exp, grids, widen, intrinsics   the arithmetic underneath; simulated: the same for Numba's simulator
compile           every kernel to PTX and cubin without a GPU
measure           what the kernels of decoding reach of a GPU's bandwidth
"""

from fastpath.cuda.model import CudaMistral, available

__all__ = ["CudaMistral", "available"]
