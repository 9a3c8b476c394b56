"""--backend: which program computes the model. The only place that may ever load `fastpath`."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from minimistral.cli import terminal
from minimistral.cli.options import read_memory, read_window
from minimistral.errors import BadInput

if TYPE_CHECKING:
    from types import ModuleType

    from minimistral.mistral import Mistral

BACKENDS = ("auto", "numpy", "cpu", "cuda")
TRAINING = ("auto", "numpy", "cpu")
LOADING, COMPILING = 0.5, 20.0  # seconds that loading or compiling the CPU's kernels may take
NUMPY_TOKEN = 0.008, 0.7e-9  # seconds a token takes NumPy in `exact`, and more for each parameter (measured, 2 cores)


def check_backend(backend: str, arithmetic: str) -> None:
    """BadInput if this backend is none, or cannot compute this."""
    if backend not in BACKENDS:
        raise BadInput(f"--backend: {backend!r}, expected one of {', '.join(BACKENDS)}")
    if backend in ("cpu", "cuda") and arithmetic != "exact":
        raise BadInput(f"--backend: {backend} computes exact only, found --arithmetic {arithmetic}; try numpy")


def load(
    model: Path | None, arithmetic: str, backend: str, memory: str | None, window: str | None, tokens: int = 0
) -> "Mistral":
    """The model that the options name, to run about so many tokens. BadInput for what cannot be used.

    auto: the compiled CPU kernels if so many tokens earn back the time to load them, or to compile them if that was
    not done before; else NumPy. (Not cuda: it has not been verified on a GPU yet, so it must be asked for.)
    """
    bytes_kept, keys = read_memory(memory), read_window(window)
    check_backend(backend, arithmetic)
    chosen = backend_class("numpy" if backend == "auto" else backend)
    loaded = chosen.from_pretrained(model, arithmetic, bytes_kept, keys)
    if backend != "auto":
        return loaded
    if arithmetic == "exact" and compiled_pays(loaded, tokens):
        compiled = backend_class("cpu")(loaded.config, loaded.weights, loaded.arithmetic)
        compiled.notes, compiled.folder = loaded.notes, loaded.folder
        loaded = compiled
    terminal.tell_person([f"computed by {'NumPy' if type(loaded) is chosen else 'the compiled CPU kernels'}"])
    return loaded


def compiled_pays(model: "Mistral", tokens: int) -> bool:
    """Whether the CPU's kernels will have finished sooner than NumPy, compiling included."""
    try:
        from fastpath.cpu.compiled import compiled_before
    except ImportError:
        return False
    from minimistral.costs import parameters

    each = NUMPY_TOKEN[0] + NUMPY_TOKEN[1] * parameters(model.config)["total"]
    return tokens * each > 2 * (LOADING if compiled_before() else COMPILING)


def backend_class(backend: str) -> type["Mistral"]:
    """Mistral as "numpy", "cpu" or "cuda" computes it. BadInput if that is not here."""
    if backend == "numpy":
        from minimistral.mistral import Mistral

        return Mistral
    try:
        import fastpath

        return fastpath.model_class(backend)
    except ImportError as error:
        raise BadInput(f"--backend: {backend}: {error.name or error} is not installed; try numpy") from None


def load_backend(model: Path, arithmetic: str, backend: str, memory: int | None = None) -> "Mistral":
    """The folder's model in one backend. BadInput if it cannot be loaded."""
    return backend_class(backend).from_pretrained(model, arithmetic, memory)


def leave_threads_to_training(backend: str) -> None:
    """The compiled pieces share out BLAS's products themselves, if BLAS has one thread; to be said before NumPy loads.

    Then no bit depends on the number of threads.
    """
    if backend != "numpy" and "numpy" not in sys.modules:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def training_pieces(backend: str) -> "ModuleType":
    """The module of pieces that training uses. auto: the compiled CPU kernels if they are here, else NumPy."""
    if backend not in TRAINING:
        raise BadInput(f"--backend: {backend!r}, expected one of {', '.join(TRAINING)}")
    if backend != "numpy":
        try:
            import fastpath.training

            return fastpath.training
        except ImportError as error:
            if backend == "cpu":
                missing = error.name or error
                raise BadInput(f"--backend: {backend}: {missing} is not installed; try numpy") from None
    from minimistral.training import pieces

    return pieces


def fastpath_verify():
    """The module fastpath.verify. BadInput if it cannot be loaded."""
    try:
        import fastpath.verify
    except ImportError as error:
        raise BadInput(f"verify: {error.name or error} is not installed") from None
    return fastpath.verify
