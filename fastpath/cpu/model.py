"""Mistral on the CPU's compiled kernels."""

from minimistral import Mistral


class CpuMistral(Mistral):
    """A Mistral whose forward pass is compiled; the same calls, errors and bits."""

    backend = "cpu"
