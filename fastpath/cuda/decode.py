"""Generation's inner step, all of it on the GPU: token ids stay there, and one CUDA graph launches every kernel.

What changes from step to step lies in device arrays: token ids (which the last step's draw left), slots, cosines and
sines of the positions, and the uniform numbers of the draws. The graph's arguments are frozen, so it is made again only
when a cache has grown. A step of one sequence is 10 launches a layer and 4 more.
"""

import numpy as np
from numba import cuda

from fastpath.cuda.forward import FEW, Forward
from fastpath.cuda.graph import capture, run
from fastpath.cuda.intrinsics import SIMULATED
from fastpath.cuda.ring import DeviceCache
from fastpath.cuda.sample import sample
from minimistral.errors import BadInput
from minimistral.sampling import LARGEST_VOCABULARY, uniform


class Decoder:
    """Draws the next token of each sequence, step after step."""

    def __init__(
        self, forward: Forward, caches: list[DeviceCache], tokens: list[int], options, seeds, notes: list[str]
    ):
        """tokens: each sequence's last, not yet seen by its cache; options: temperature, top_p, top_k."""
        vocabulary, B = forward.config.vocab_size, len(caches)
        if vocabulary > LARGEST_VOCABULARY:
            raise BadInput(f"vocabulary: sampling is exact up to {LARGEST_VOCABULARY} tokens, found {vocabulary}")
        self.forward, self.caches, self.options, self.seeds, self.notes = forward, caches, options, seeds, notes
        self.buffers = forward.new_buffers(B)
        self.buffers.tokens.copy_to_device(np.array(tokens, np.int32))
        self.logits = cuda.device_array((B, vocabulary), np.float32)
        self.counts = cuda.device_array((B, vocabulary), np.int64)
        self.graph = None
        self.may_capture = not SIMULATED and B <= FEW  # more rows go through kernels that take memory as they run
        self._inputs = self._next(0)

    def _next(self, ahead: int) -> np.ndarray:
        """Buffers.inputs for the step after `ahead` more."""
        starts = [cache.length + ahead for cache in self.caches]
        numbers = [uniform(seed, start + 1) for seed, start in zip(self.seeds, starts, strict=True)]  # drawn: one later
        return self.forward.inputs(starts, [1] * len(starts), self.caches, numbers)

    def step(self) -> list[int]:
        """One token more a sequence. NotFinite as in a call; the caches are then as they were."""
        b, f = self.buffers, self.forward
        if f.reserve(b, [1] * b.T, self.caches):
            self.graph = None
        b.inputs.copy_to_device(self._inputs)
        if self.graph is not None:
            run(self.graph)
        else:
            self.launch(0)  # also compiles what a capture cannot
            self.graph = self._captured() if self.may_capture else None
        self._inputs = self._next(1)  # while the GPU works
        found = b.outputs.copy_to_host()
        f.check(found[b.T :])
        for cache in self.caches:
            cache.length += 1
        return found[: b.T].tolist()

    def launch(self, stream) -> None:
        """Every kernel of a step, in order."""
        b, f = self.buffers, self.forward
        f.launch(b, self.caches, stream)
        f.linear(b.x, b.x_max, f.weights.output, self.logits, stream)
        sample(self.logits, *self.options, b.uniform, self.counts, b.tokens, b.flags, f.index["logits"], stream)

    def _captured(self):
        """The step as a graph; None, and a note, where that fails: the kernels are then launched one by one."""
        try:
            return capture(self.launch)
        except Exception as error:  # noqa: BLE001  (whatever a driver says: the slower way gives the same bits)
            self.may_capture = False
            self.notes.append(
                f"decode: no CUDA graph ({type(error).__name__}: {error}); kernels are launched one by one"
            )
            return None
