"""minimistral: Mistral 7B (arXiv 2310.06825) as a NumPy reference that teaches, with the same bits everywhere.

>>> from minimistral import Mistral
>>> model = Mistral.from_pretrained()  # the embedded storyteller
>>> model([1]).shape == (1, model.config.vocab_size)
True
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minimistral.mistral import Mistral

__version__ = "0.1.0"
__all__ = ["Mistral"]


def __getattr__(name: str):
    # Imported when first asked for: `import minimistral` and `minimistral --help` stay quick.
    if name == "Mistral":
        from minimistral.mistral import Mistral

        return Mistral
    raise AttributeError(f"module 'minimistral' has no attribute {name!r}")
