"""The peer: the same weights in Hugging Face transformers, asked for the same thing.

It keeps a cache, computes only the last position's logits (logits_to_keep=1), runs in inference mode, and has the
window set in its config: the work is equal, so a ratio of times means something.
"""

import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np

from minimistral.bench.sides import Side
from minimistral.config import Config
from minimistral.errors import BadInput

DTYPES = ("float32", "bfloat16", "float16")


def need_peer() -> None:
    """BadInput if PyTorch or transformers is not installed."""
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise BadInput(
            f"--against transformers: {error.name} is not installed; pip install 'minimistral[oracle]'"
        ) from None


def peer_side(
    folder: Path, config: Config, dtype: str, compiled: bool, device: str, threads: int | None, room: int
) -> Side:
    """transformers' Mistral from a Hugging Face folder. device: "cpu" or "cuda"; room: tokens a cache may have to hold.

    compiled: through torch.compile, which needs a cache of fixed size.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the folder is all there is to read
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    if threads is not None:
        torch.set_num_threads(threads)
    model = _read(folder, getattr(torch, dtype)).to(device).eval()
    if getattr(model.config, "sliding_window", None) != config.window:
        raise BadInput(f"--against transformers: it reads a window of {model.config.sliding_window} from {folder.name}")
    forward = torch.compile(model.forward) if compiled else model.forward
    # Release 5.24 calls it cache; the ones before, past_key_values.
    parameters = inspect.signature(type(model).forward).parameters
    keyword = "cache" if "cache" in parameters else "past_key_values"

    def start(batch: int) -> Any:
        if compiled:
            return transformers.StaticCache(config=model.config, max_cache_len=room)
        if "config" in inspect.signature(transformers.DynamicCache.__init__).parameters:
            return transformers.DynamicCache(config=model.config)
        return transformers.DynamicCache()

    @torch.inference_mode()
    def feed(cache: Any, tokens: np.ndarray) -> np.ndarray:
        ids = torch.from_numpy(tokens).to(device)
        logits = forward(ids, use_cache=True, logits_to_keep=1, **{keyword: cache}).logits[:, -1]
        return logits.float().cpu().numpy()  # on a GPU, this also waits for the result

    name = f"transformers {dtype}{' compiled' if compiled else ''}"
    facts = {"backend": device, "arithmetic": dtype, "peer": True, "compiled": compiled}
    facts["attention"] = str(model.config._attn_implementation)
    facts["weights_bytes"] = sum(p.nbytes for p in model.parameters())
    return Side(name, start, feed, _cache_bytes, getattr(torch, dtype).itemsize, facts)


def _read(folder: Path, dtype):
    import transformers

    parameters = {"local_files_only": True}
    major = int(transformers.__version__.split(".")[0])
    parameters["dtype" if major >= 5 else "torch_dtype"] = dtype
    try:
        return transformers.AutoModelForCausalLM.from_pretrained(folder, **parameters)
    except (OSError, ValueError, KeyError) as error:
        line = str(error).strip().splitlines()[0]
        raise BadInput(f"--against transformers: {folder.name}: it cannot be read: {line}") from None


def _cache_bytes(cache: Any) -> int:
    layers = getattr(cache, "layers", [])
    tensors = [t for layer in layers for t in (getattr(layer, "keys", None), getattr(layer, "values", None))]
    return sum(t.nbytes for t in tensors if t is not None)
