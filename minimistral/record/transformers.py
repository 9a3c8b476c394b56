"""A model of transformers from a folder, for `minimistral record-hf`; everything that can be wrong is said first."""

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING

from minimistral.checkpoint import Checkpoint, open_checkpoint
from minimistral.checkpoint.files import shown
from minimistral.errors import BadInput
from minimistral.record.recorder import DTYPES, one_of

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

ATTENTION = ("eager", "sdpa", "flex_attention")


def check_options(dtype: str | None, attention: str, device: str) -> None:
    """BadInput for a name that is not known, or if PyTorch or transformers is not installed."""
    if dtype is not None:
        one_of("--dtype", dtype, DTYPES)
    one_of("--attention", attention, ATTENTION)
    if device.split(":")[0] not in ("cpu", "cuda"):
        raise BadInput(f"--device: {device!r}, expected cpu or cuda")
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"  # read when they are imported
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise BadInput(f"record-hf: {error.name} is not installed; pip install 'minimistral[oracle]'") from None
    if device != "cpu" and not torch.cuda.is_available():
        raise BadInput(f"--device: {device}, but PyTorch {torch.__version__} finds no GPU")


def checkpoint_of(folder: Path) -> Checkpoint:
    """The folder as we read it. BadInput if it is in Mistral's layout alone, which transformers does not read."""
    names = os.listdir(folder) if folder.is_dir() else []
    if "config.json" not in names and "params.json" in names:
        raise BadInput(
            f"{shown(folder)}: in Mistral's layout, which transformers does not read; "
            f"minimistral convert {shown(folder)} OUT --layout hf makes a folder that it does"
        )
    return open_checkpoint(folder)


def load(folder: Path, dtype: str, attention: str, device: str) -> "Module":
    """transformers' own model, from the folder alone. BadInput with the first line of what it says if it cannot."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    keyword = "dtype" if int(transformers.__version__.split(".")[0]) >= 5 else "torch_dtype"
    how = {keyword: getattr(torch, dtype), "attn_implementation": attention, "local_files_only": True}
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(folder, **how).to(device).eval()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise BadInput(f"{shown(folder)}: transformers {transformers.__version__} cannot read it: {line}") from None


def run_in_chunks(model: "Module", ids: "Tensor", size: int) -> None:
    """ids (1, T) in chunks through transformers' cache."""
    import transformers

    takes_config = "config" in inspect.signature(transformers.DynamicCache.__init__).parameters
    cache = transformers.DynamicCache(**({"config": model.config} if takes_config else {}))
    # Release 5.24 calls it cache; the ones before, past_key_values.
    parameters = inspect.signature(type(model).forward).parameters
    keyword = "cache" if "cache" in parameters else "past_key_values"
    for chunk in ids.split(size, dim=1):
        model(chunk, use_cache=True, **{keyword: cache})
