"""The model on every CPU, compiled by Numba."""

from fastpath.cpu.model import CpuMistral

__all__ = ["CpuMistral"]
