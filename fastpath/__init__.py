"""The same model with the same bits as `arithmetic="exact"`, compiled: for every CPU, and for NVIDIA GPUs.

    >>> import fastpath
    >>> model = fastpath.load(backend="cpu")  # the embedded storyteller; or a folder
    >>> model.next_logits([1, 5, 9]).shape
    (2048,)

cpu/     kernels for CPUs, compiled by Numba
cuda/    kernels for NVIDIA GPUs, compiled by Numba CUDA
verify   finds out whether a backend gives the reference's bits
"""

from pathlib import Path

from minimistral import Mistral
from minimistral.errors import BadInput

BACKENDS = ("cpu", "cuda")


def model_class(backend: str) -> type[Mistral]:
    """Mistral as this backend computes it. BadInput if there is none of this name, or this machine lacks it."""
    if backend == "cpu":
        from fastpath.cpu import CpuMistral

        return CpuMistral
    if backend == "cuda":
        from fastpath.cuda import CudaMistral, available

        if (missing := available()) is not None:
            raise BadInput(f"backend: cuda needs {missing}")
        return CudaMistral
    raise BadInput(f"backend: {backend!r}, expected one of {', '.join(BACKENDS)}")


def load(
    path: str | Path | None = None,
    backend: str = "cpu",
    memory: int | None = None,
    window: int | str | None = "config",
) -> Mistral:
    """A model from a Mistral or Hugging Face folder (None: the embedded storyteller), as Mistral.from_pretrained."""
    return model_class(backend).from_pretrained(path, memory=memory, window=window)
