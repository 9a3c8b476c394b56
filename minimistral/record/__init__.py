"""Making a trace of another implementation, to be checked (docs/record.md).

recorder   an object that any Python code calls with a stage's name and array: NumPy, JAX, PyTorch, plain code
torch      hooks on a PyTorch model, with no change to its code: Hugging Face's Mistral, or any module with a map of names
"""

from minimistral.record.recorder import Recorder

__all__ = ["Recorder"]
