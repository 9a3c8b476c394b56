"""Mistral on an NVIDIA GPU. Light to import: the kernels are loaded when a model is made."""

import importlib.util
import threading
from collections.abc import Iterator

import numpy as np

from minimistral import Mistral, sampling
from minimistral.arithmetic import Arithmetic
from minimistral.arithmetic.exact import TERMS
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.transformer import Stage, finite
from minimistral.weights import Weights, tensor_shapes

OLDEST = (7, 5)  # compute capability that the kernels are compiled and read for


def available() -> str | None:
    """None if this machine can run it, else what is missing."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "the numba-cuda package (pip install 'minimistral[cuda]')"
    try:
        from numba import cuda
        from numba.cuda import config
    except Exception as error:  # noqa: BLE001  (a broken installation says so in many ways)
        return f"a numba-cuda that can be loaded ({type(error).__name__}: {error})"
    if config.ENABLE_CUDASIM:
        return None
    if not cuda.is_available():
        return "an NVIDIA GPU with its driver (none was found)"
    found = cuda.get_current_device().compute_capability
    if found < OLDEST:
        return "compute capability {}.{} or later (found {}.{})".format(*OLDEST, *found)
    return None


class CudaMistral(Mistral):
    """A Mistral whose forward pass runs on the GPU; the same calls, errors and bits."""

    backend = "cuda"
    chunk = 1024  # larger than NumPy's: launching costs as much for few rows as for many

    def __init__(self, config: Config, weights: Weights, arithmetic: Arithmetic, plain: bool = False):
        """plain: pre-fill by the kernels of decoding too, a row at a time: slow, and a second opinion.

        BadInput if this machine or this model cannot be used.
        """
        if (missing := available()) is not None:
            raise BadInput(f"backend: cuda needs {missing}")
        if arithmetic.name != "exact":
            raise BadInput(f"backend: cuda computes exact only, found arithmetic {arithmetic.name}")
        super().__init__(config, weights, arithmetic)
        check_sizes(config)
        check_memory(config, weights, free_memory())
        from fastpath.cuda.forward import Forward
        from fastpath.cuda.ring import DeviceCache

        self.cache_class = DeviceCache
        self.forward = Forward(config, weights, plain)
        self._lock = threading.RLock()  # two callers would write the same buffers

    def new_cache(self):
        """An empty rolling buffer on the GPU, for one sequence."""
        return self.cache_class(self.config)

    def hidden(self, sequences: list[np.ndarray], caches: list, stage: Stage = finite) -> np.ndarray:
        """Token ids of each sequence -> the residual stream after the final norm, all rows of all: (T, dim)."""
        with self._lock:
            return self.forward.hidden(sequences, caches, stage)

    def output(self, h: np.ndarray, stage: Stage = finite) -> np.ndarray:
        """Rows of `hidden` -> logits: (T, dim) -> (T, vocab_size)."""
        return stage("logits", self.forward.logits(h))

    def _steps(self, prompts, caches, max_new_tokens, options, seeds, progress) -> Iterator[list[int | None]]:
        """As the reference's, but after the prompts' own draw the tokens stay on the GPU."""
        from fastpath.cuda.decode import Decoder

        alive, eos, decoder, last = list(range(len(prompts))), self.eos_id, None, {}
        for n in range(max_new_tokens):
            alive = [i for i in alive if not self.context_full(caches[i].length + (1 if n else len(prompts[i])))]
            if not alive:
                return
            own = [caches[i] for i in alive]
            if n == 0:
                logits = self.next_logits([prompts[i] for i in alive], own, progress=progress)
                lengths = [cache.length for cache in own]
                drawn = [
                    sampling.sample(s, *options, seeds[i], p) for s, i, p in zip(logits, alive, lengths, strict=True)
                ]
            else:
                if decoder is None or len(own) != decoder.buffers.T:  # sequences only ever leave
                    tokens = [last[i] for i in alive]
                    decoder = Decoder(self.forward, own, tokens, options, [seeds[i] for i in alive], self.notes)
                drawn = decoder.step()
            last = dict(zip(alive, drawn, strict=True))
            step: list[int | None] = [None] * len(prompts)
            for i, token in last.items():
                step[i] = None if token == eos else token
            alive = [i for i in alive if step[i] is not None]
            if alive:
                yield step


def check_sizes(config: Config) -> None:
    """BadInput for what exact arithmetic or the kernels cannot take."""
    for name, terms in (
        ("dim", config.dim),
        ("hidden_dim", config.hidden_dim),
        ("q", config.n_heads * config.head_dim),
    ):
        if terms > TERMS:
            raise BadInput(f"exact arithmetic sums at most {TERMS} terms, found {name} of {terms}; try float32")
    if config.head_dim % 2 or config.head_dim > 512:
        raise BadInput(f"head_dim: {config.head_dim}, expected an even number up to 512")


def check_memory(config: Config, weights: Weights, free: int) -> None:
    """BadInput if the weights do not fit `free` bytes."""
    numbers = sum(int(np.prod(shape, dtype=np.int64)) for shape in tensor_shapes(config).values())
    if config.tied_embeddings:  # the output matrix is a gridded copy
        numbers += config.vocab_size * config.dim
    needed = numbers * weights.tok_embeddings.dtype.itemsize
    if needed > free:
        raise BadInput(
            f"backend: cuda needs {needed / 1e9:.1f} GB of GPU memory for the weights, {free / 1e9:.1f} GB is free"
        )


def free_memory() -> int:
    """Bytes that the GPU has free; the simulator has what it wants."""
    from numba import cuda
    from numba.cuda import config

    return 2**63 if config.ENABLE_CUDASIM else cuda.current_context().get_memory_info().free
