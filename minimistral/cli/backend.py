"""--backend: which program computes the model. The only place that may ever load `fastpath`."""

from pathlib import Path
from typing import TYPE_CHECKING

from minimistral.cli.options import read_memory, read_window
from minimistral.errors import BadInput

if TYPE_CHECKING:
    from minimistral.mistral import Mistral

BACKENDS = ("auto", "numpy", "cpu", "cuda")


def check_backend(backend: str, arithmetic: str) -> None:
    """BadInput if this backend is none, or cannot compute this."""
    if backend not in BACKENDS:
        raise BadInput(f"--backend: {backend!r}, expected one of {', '.join(BACKENDS)}")
    if backend in ("cpu", "cuda"):
        if arithmetic != "exact":
            raise BadInput(f"--backend: {backend} computes exact only, found --arithmetic {arithmetic}; try numpy")
        raise BadInput(f"--backend: {backend} needs the fastpath package, which is not in this version yet; try numpy")


def load(model: Path | None, arithmetic: str, backend: str, memory: str | None, window: str | None) -> "Mistral":
    """The model that the options name. BadInput for an option or a folder that cannot be used."""
    bytes_kept, keys = read_memory(memory), read_window(window)
    check_backend(backend, arithmetic)
    from minimistral.mistral import Mistral

    return Mistral.from_pretrained(model, arithmetic, bytes_kept, keys)
