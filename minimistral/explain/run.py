"""What a page shows, taken from a real run of the model: arrays and words, nothing of HTML."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.explain.pieces import Token, piece_shown, tokens_shown
from minimistral.mistral import Mistral
from minimistral.rms_norm import rms_norm
from minimistral.rolling_cache import slot_of, slot_positions

CANDIDATES, CANDIDATES_BY_LAYER = 8, 5  # shown after each token; if the model ended after a layer
LONGEST = 512  # tokens: a page for people
MOST = 1_250_000  # numbers in a page, a weight or a candidate each: it stays under 2 MB


@dataclass(frozen=True)
class Candidates:
    """The likeliest next tokens at one depth of the model, and how the one that really came was placed.

    ids and p (T, some); came_p and came_rank (T,): NaN and 0 where nothing came.
    """

    ids: np.ndarray
    p: np.ndarray
    came_p: np.ndarray
    came_rank: np.ndarray


@dataclass(frozen=True)
class Run:
    """One run over T tokens, the first `given` of them the prompt's."""

    name: str
    config: Config
    tokens: list[Token]
    given: int
    came: list[int | None]  # the id that came after each token; None: nothing did
    layers: list[int]  # those that are kept, and the heads
    heads: list[int]
    weights: np.ndarray  # (kept layers, kept heads, T queries, T keys)
    candidates: Candidates  # of the whole model
    by_depth: list[Candidates]  # after the embedding, and after each kept layer
    pieces: dict[int, str]  # of every candidate
    options: dict[str, float]  # how the tokens after the prompt were drawn


def look(
    model: Mistral,
    ids: Sequence[int],
    given: int | None = None,
    ended: bool = False,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    options: dict[str, float] | None = None,
) -> Run:
    """Run the model over `ids` and keep what can be shown. `ended`: after the last of them it drew the end of the text.

    layers, heads: those to keep; None: all. BadInput if that is too much for a page.
    """
    config = model.config
    layers = list(range(config.n_layers) if layers is None else layers)
    heads = list(range(config.n_heads) if heads is None else heads)
    check_size(len(ids), layers, heads, config)
    kept = [f"layers.{i}.{stage}" for i in layers for stage in ("scores", "output")]
    stages = model.trace(ids, only=["embedding", *kept, "logits"])
    came = [*map(int, ids[1:]), model.eos_id if ended else None]
    streams = [stages["embedding"], *(stages[f"layers.{i}.output"] for i in layers)]
    by_depth = [likeliest(softmax(lens(model, h)), came, CANDIDATES_BY_LAYER) for h in streams]
    final = likeliest(softmax(stages["logits"]), came, CANDIDATES)
    return Run(
        name=model.folder.name if model.folder else "model",
        config=config,
        tokens=tokens_shown(model.tokenizer, ids),
        given=len(ids) if given is None else given,
        came=came,
        layers=layers,
        heads=heads,
        weights=np.stack([softmax(stages[f"layers.{i}.scores"][heads]) for i in layers]),
        candidates=final,
        by_depth=by_depth,
        pieces={i: piece_shown(model.tokenizer, i) for i in named_ids(came, final, *by_depth)},
        options=options or {},
    )


def check_size(T: int, layers: Sequence[int], heads: Sequence[int], config: Config) -> None:
    """BadInput if a page could not hold a run of T tokens, or would be no page for people."""
    if T > LONGEST:
        raise BadInput(f"explain: {T} tokens with those to come, expected at most {LONGEST} in a page")
    weights = len(heads) * sum(pairs(T, config.layer_window(i)) for i in layers)
    numbers = weights + T * CANDIDATES_BY_LAYER * 10 * (len(layers) + 1)  # a candidate takes the room of 10
    if numbers > MOST:
        raise BadInput(
            f"explain: {T} tokens, {len(layers)} layers and {len(heads)} heads are {numbers} numbers, expected at most "
            f"{MOST} in a page; take fewer tokens, or some layers and heads: --layers {config.n_layers - 1} --heads 0"
        )


def pairs(T: int, window: int | None) -> int:
    """How many pairs of a query and a key that it sees there are.

    >>> pairs(4, None), pairs(4, 2)
    (10, 7)
    """
    return sum(min(t + 1, window or t + 1) for t in range(T))


def softmax(scores: np.ndarray) -> np.ndarray:
    """Along the last axis, in float64; -inf weighs nothing."""
    scores = scores.astype(np.float64)
    p = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def lens(model: Mistral, stream: np.ndarray) -> np.ndarray:
    """The logits there would be if the model ended here: the residual stream (T, dim) through final norm and output."""
    return model.output(rms_norm(stream, model.weights.norm, model.config.norm_eps, model.arithmetic))


def likeliest(p: np.ndarray, came: Sequence[int | None], top: int) -> Candidates:
    """The `top` likeliest of each row of p (T, vocab_size), the lowest id first among equals."""
    ids = np.argsort(-p, axis=-1, kind="stable")[:, :top]
    placed = [
        (np.nan, 0) if i is None else (row[i], 1 + int((row > row[i]).sum())) for row, i in zip(p, came, strict=True)
    ]
    came_p, came_rank = map(np.array, zip(*placed, strict=True))
    return Candidates(ids, np.take_along_axis(p, ids, axis=-1), came_p, came_rank)


def named_ids(came: Sequence[int | None], *many: Candidates) -> list[int]:
    """All ids that are candidates or came, in order."""
    return sorted({int(i) for c in many for i in c.ids.flat} | {i for i in came if i is not None})


def ring(T: int, window: int) -> tuple[list[int], list[int]]:
    """Token by token: the slot that it is written to, and the position that it overwrites there (-1: none).

    >>> ring(5, window=3)
    ([0, 1, 2, 0, 1], [-1, -1, -1, 0, 1])
    """
    slots = slot_of(np.arange(T), window).tolist()
    return slots, [int(slot_positions(t, window)[slot]) for t, slot in enumerate(slots)]


def first_in_reach(T: int, config: Config) -> list[list[int]]:
    """[k][t]: the first position that can have had any effect on what layer k writes at position t.

    >>> first_in_reach(6, Config(8, 2, 4, 16, 2, 1, 10, window=3))  # two more positions back with each layer
    [[0, 0, 0, 1, 2, 3], [0, 0, 0, 0, 0, 1]]
    """
    first, back = [], 0
    for i in range(config.n_layers):
        back += (config.layer_window(i) or T) - 1
        first.append([max(0, t - back) for t in range(T)])
    return first
