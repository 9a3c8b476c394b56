"""LoRA (Hu et al. 2021, arXiv 2106.09685): a large matrix learns through two thin ones, and is merged at the end.

    w' = w + s B A        w (out, in), B (out, rank), A (rank, in), s = alpha / rank

Only A and B are trained. Here the merged w' is what runs forward and backward, so the model code knows nothing of LoRA:
it gives dw', and `lora_gradients` makes dA and dB of it. That costs one more copy of the model in memory; what LoRA
saves is the optimiser's state and the file it is kept in, which hold A and B alone.
"""

import numpy as np

from minimistral.errors import BadInput
from minimistral.weights import LAYER_NAMES

MATRICES = tuple(name for name in LAYER_NAMES if not name.endswith("norm"))  # wq wk wv wo w1 w2 w3, of every layer
TARGETS = (*MATRICES, "output")  # what may learn; the output matrix is the embedding where these are tied


def lora_shapes(
    shapes: dict[str, tuple[int, ...]], rank: int, targets: tuple[str, ...] = MATRICES
) -> dict[str, tuple[int, int]]:
    """A's and B's shapes for these TARGETS: {"<matrix>.lora_a": (rank, in), "<matrix>.lora_b": (out, rank)}.

    shapes: of all tensors of the model. BadInput for a rank that is larger than a matrix.

    >>> lora_shapes({"layers.0.attention.wk.weight": (4, 6), "norm.weight": (6,)}, rank=2)
    {'layers.0.attention.wk.lora_a': (2, 6), 'layers.0.attention.wk.lora_b': (4, 2)}
    """
    output = "output.weight" if "output.weight" in shapes else "tok_embeddings.weight"
    endings = tuple(output if name == "output" else f".{LAYER_NAMES[name]}.weight" for name in targets)
    thin = {}
    for name, shape in shapes.items():
        if name.endswith(endings):
            if rank > min(shape):
                raise BadInput(f"--lora-rank: {rank}, expected at most {min(shape)}: {name} is {shape}")
            a, b = names_of(name)
            thin[a], thin[b] = (rank, shape[1]), (shape[0], rank)
    return thin


def lora_parameters(
    base: dict[str, np.ndarray], rank: int, seed: int, targets: tuple[str, ...] = MATRICES
) -> dict[str, np.ndarray]:
    """A and B to start from. A is random (uniform; A x is about as large as x) and B is zero.

    So the model starts as the base, and dB, which is made with A, is not zero. With both zero nothing would ever move.
    """
    rng = np.random.default_rng(seed)
    dtype = base["tok_embeddings.weight"].dtype

    def drawn(name: str, shape: tuple[int, int]) -> np.ndarray:
        if name.endswith("lora_b"):
            return np.zeros(shape, dtype)
        return ((rng.random(shape) - 0.5) * (12 / shape[1]) ** 0.5).astype(dtype)

    shapes = lora_shapes({name: w.shape for name, w in base.items()}, rank, targets)
    return {name: drawn(name, shape) for name, shape in shapes.items()}


def names_of(weight: str) -> tuple[str, str]:
    """What A and B of a matrix are called.

    >>> names_of("layers.3.feed_forward.w2.weight")
    ('layers.3.feed_forward.w2.lora_a', 'layers.3.feed_forward.w2.lora_b')
    """
    stem = weight.removesuffix("weight")
    return f"{stem}lora_a", f"{stem}lora_b"


def merged(base: dict[str, np.ndarray], lora: dict[str, np.ndarray], scale: float) -> dict[str, np.ndarray]:
    """w' = w + s B A where there is an A and a B; every other tensor is the base's own array, not a copy.

    >>> base = {"layers.0.attention.wk.weight": np.ones((2, 3)), "norm.weight": np.ones(3)}
    >>> a, b = np.array([[1.0, 0, 2]]), np.array([[1.0], [3]])  # rank 1
    >>> lora = {"layers.0.attention.wk.lora_a": a, "layers.0.attention.wk.lora_b": b}
    >>> merged(base, lora, scale=2)["layers.0.attention.wk.weight"]
    array([[ 3.,  1.,  5.],
           [ 7.,  1., 13.]])
    """

    def one(name: str, w: np.ndarray) -> np.ndarray:
        a, b = names_of(name)
        return w + w.dtype.type(scale) * (lora[b] @ lora[a]) if a in lora else w

    return {name: one(name, w) for name, w in base.items()}


def lora_gradients(
    gradients: dict[str, np.ndarray], lora: dict[str, np.ndarray], scale: float
) -> dict[str, np.ndarray]:
    """The gradients of A and B, from those of the merged matrices: dA = s B^T dw', dB = s dw' A^T.

    Why: w'[o,i] = w[o,i] + s sum_r B[o,r] A[r,i], so by the chain rule, summing over every w' that A[r,i] reaches,
        dA[r,i] = sum_o dw'[o,i] s B[o,r]         which is s (B^T dw')[r,i]
        dB[o,r] = sum_i dw'[o,i] s A[r,i]         which is s (dw' A^T)[o,r]
    With x the matrix's input and dy what comes back, dw' = dy^T x, so dB = s dy^T (x A^T): the same as if B A x had
    been computed beside w x, as LoRA is usually drawn.

    >>> gradients = {"layers.0.attention.wk.weight": np.array([[1.0, 2, 0], [0, 1, 1]])}  # dw' (2, 3)
    >>> a, b = np.array([[1.0, 0, 2]]), np.array([[1.0], [3]])  # rank 1
    >>> lora = {"layers.0.attention.wk.lora_a": a, "layers.0.attention.wk.lora_b": b}
    >>> for gradient in lora_gradients(gradients, lora, scale=2).values():
    ...     print(gradient.tolist())
    [[2.0, 10.0, 6.0]]
    [[2.0], [4.0]]
    """
    found = {}
    for name, dw in gradients.items():
        a, b = names_of(name)
        if a in lora:
            s = dw.dtype.type(scale)
            found[a] = s * (lora[b].T @ dw)  # (rank, in)
            found[b] = s * (dw @ lora[a].T)  # (out, rank)
    return found
