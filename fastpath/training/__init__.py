"""The pieces of minimistral.training by the same names, compiled: equal to rounding, whatever the number of threads.

    >>> import numpy as np, fastpath.training as pieces
    >>> pieces.swiglu(np.float32([[1, -1]]), np.float32([[2, 2]])).round(4)
    array([[ 1.4621, -0.5379]], dtype=float32)

pieces      what is called: shapes, empty results, and which kernel
products    matrix products, by BLAS, one thread each
kernels     compiling and the cache;   compiled: flags;   threads: how work is shared
attention, rows, numbers    what the kernels compute;   tiles, softmax: their inner loops

Best with OPENBLAS_NUM_THREADS=1: then BLAS's work is shared by the same threads, and their number changes no bit.
"""

from fastpath.training.pieces import (
    adamw,
    attention,
    attention_backward,
    cross_entropy,
    cross_entropy_backward,
    embedding,
    embedding_backward,
    linear,
    linear_backward,
    rms_norm,
    rms_norm_backward,
    rope,
    rope_backward,
    rope_table,
    swiglu,
    swiglu_backward,
)
from fastpath.training.threads import use_threads

__all__ = [
    "adamw",
    "attention",
    "attention_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "embedding",
    "embedding_backward",
    "linear",
    "linear_backward",
    "rms_norm",
    "rms_norm_backward",
    "rope",
    "rope_backward",
    "rope_table",
    "swiglu",
    "swiglu_backward",
    "use_threads",
]
