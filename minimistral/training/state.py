"""What a run needs to go on as if it had never stopped: state.safetensors, seen whole or not at all."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minimistral.checkpoint.files import shown
from minimistral.errors import BadInput
from minimistral.whole_file import whole_file

NAME = "state.safetensors"
FORMAT = "minimistral-training-1"


@dataclass
class State:
    """A run after `step` steps. The tensors are changed in place."""

    parameters: dict[str, np.ndarray]
    means: dict[str, np.ndarray] = field(default_factory=dict)  # AdamW's, by the parameters' names
    squares: dict[str, np.ndarray] = field(default_factory=dict)
    step: int = 0
    document: int = 0  # the next one's number
    tokens: int = 0  # trained on so far
    seconds: float = 0.0  # of all the sessions so far
    metrics: list[dict] = field(default_factory=list)  # a line a step

    def __post_init__(self) -> None:
        for moments in (self.means, self.squares):
            for name, w in self.parameters.items():
                moments.setdefault(name, np.zeros_like(w))


def write_state(folder: Path, state: State, run: dict) -> None:
    """Put the state in the folder, in place of the one before. run: what must be the same for it to be gone on with."""
    from safetensors.numpy import save

    groups = {"parameters": state.parameters, "means": state.means, "squares": state.squares}
    tensors = {f"{group}/{name}": w for group, named in groups.items() for name, w in named.items()}
    tensors["metrics"] = np.frombuffer(json.dumps(state.metrics).encode(), np.uint8)
    numbers = {"step": state.step, "document": state.document, "tokens": state.tokens, "seconds": state.seconds}
    about = {"format": FORMAT, "run": json.dumps(run), "state": json.dumps(numbers)}
    with whole_file(folder / NAME) as partial:
        partial.write_bytes(save(tensors, about))  # save_file has temporary names of its own, which a kill would leave


def read_state(folder: Path) -> tuple[State, dict]:
    """The state in a folder, and its `run`. BadInput if there is none, or it is damaged."""
    from safetensors import SafetensorError, safe_open

    path = folder / NAME
    if not path.is_file():
        raise BadInput(f"{shown(path)}: not there, expected the state of a run to go on with")
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise BadInput(f"{shown(path)}: format {shown(about.get('format'))}, expected {FORMAT}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        metrics = json.loads(tensors.pop("metrics").tobytes())
        groups: dict[str, dict] = {"parameters": {}, "means": {}, "squares": {}}
        for name, tensor in tensors.items():
            group, _, own = name.partition("/")
            groups[group][own] = tensor
        return State(**groups, **json.loads(about["state"]), metrics=metrics), json.loads(about["run"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{shown(path)}: damaged: {shown(error)}") from None


def resume(folder: Path, parameters: dict[str, np.ndarray], run: dict) -> State:
    """The state in the folder, its numbers written over `parameters`. BadInput, naming what differs, for another run."""
    state, before = read_state(folder)
    check_same(folder / NAME, before, run)
    for name, w in parameters.items():
        w[...] = state.parameters[name]
    state.parameters = parameters
    return state


def check_same(path: Path, before: dict, now: dict) -> None:
    """BadInput, naming the first that differs, if `now` is not the run that the file at `path` belongs to.

    >>> check_same(Path("state.safetensors"), {"seed": 1, "steps": 300}, {"seed": 1, "steps": 400})
    Traceback (most recent call last):
        ...
    minimistral.errors.BadInput: state.safetensors: steps: the run has 300, found 400; expected the same to go on
    """
    before, now = json.loads(json.dumps(before)), json.loads(json.dumps(now))  # tuples become lists
    for key in [*before, *(key for key in now if key not in before)]:
        if before.get(key) != now.get(key):
            found = f"the run has {shown(before.get(key), 200)}, found {shown(now.get(key), 200)}"
            raise BadInput(f"{shown(path)}: {key}: {found}; expected the same to go on")
