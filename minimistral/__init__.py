"""minimistral: Mistral 7B (arXiv 2310.06825) as a NumPy reference that teaches, with the same bits everywhere.

>>> from minimistral import Mistral
>>> model = Mistral.from_pretrained()  # the embedded storyteller
>>> model([1]).shape == (1, model.config.vocab_size)
True
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minimistral.config import MISTRAL_7B, Config
    from minimistral.errors import BadInput
    from minimistral.mistral import Mistral
    from minimistral.window import reach, window_mask

__version__ = "0.1.0"
__all__ = ["MISTRAL_7B", "BadInput", "Config", "Mistral", "reach", "window_mask"]

# Imported when first asked for: `import minimistral` and `minimistral --help` stay quick.
_HOME = {
    "MISTRAL_7B": "config",
    "BadInput": "errors",
    "Config": "config",
    "Mistral": "mistral",
    "reach": "window",
    "window_mask": "window",
}


def __getattr__(name: str):
    if name in _HOME:
        return getattr(import_module(f"minimistral.{_HOME[name]}"), name)
    raise AttributeError(f"module 'minimistral' has no attribute {name!r}")
