"""Recording a PyTorch model with hooks, with no change to its code: `record(model, input_ids, "run.safetensors")`.

A map says where each stage is seen: what comes out of a module, what goes into one, or what a function returns that a
module's forward calls. `HUGGING_FACE` is the map of transformers' Mistral (Ministral and Llama are built the same).
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.record.recorder import Recorder, token_ids

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


class Place(NamedTuple):
    """Where a stage is seen.

    module    its path, as get_submodule takes it; "{i}" stands for the layer, in the stage's name too
    side      "output" or "input" of the module
    which     of several inputs or outputs: the position, or the name
    calls     a function that the module's forward calls by this name: then `which` is of its results
    nth       which of its calls, if one forward calls it more than once
    reshape   the tensor's new shape, or a function that gives it one, where it is not (1, T, ...)
    """

    module: str
    side: str = "output"
    which: int | str = 0
    calls: str | None = None
    nth: int = 0
    reshape: tuple[int, ...] | Callable[["Tensor"], "Tensor"] | None = None


Names = Mapping[str, Place | str]  # a path alone: the module's output
Seen = Callable[[str, Any], None]


def heads_second(x: "Tensor") -> "Tensor":
    """(1, heads, T, head_dim) -> (1, T, heads, head_dim)."""
    return x.transpose(1, 2)


_LAYER = "model.layers.{i}"
HUGGING_FACE: Names = {
    "embedding": "model.embed_tokens",
    "layers.{i}.attention_norm": f"{_LAYER}.input_layernorm",
    "layers.{i}.q": f"{_LAYER}.self_attn.q_proj",
    "layers.{i}.k": f"{_LAYER}.self_attn.k_proj",
    "layers.{i}.v": f"{_LAYER}.self_attn.v_proj",
    "layers.{i}.q_rope": Place(f"{_LAYER}.self_attn", calls="apply_rotary_pos_emb", which=0, reshape=heads_second),
    "layers.{i}.k_rope": Place(f"{_LAYER}.self_attn", calls="apply_rotary_pos_emb", which=1, reshape=heads_second),
    "layers.{i}.attention": Place(f"{_LAYER}.self_attn.o_proj", side="input"),
    "layers.{i}.attention_output": f"{_LAYER}.self_attn",
    "layers.{i}.attention_residual": Place(f"{_LAYER}.post_attention_layernorm", side="input"),
    "layers.{i}.ffn_norm": f"{_LAYER}.post_attention_layernorm",
    "layers.{i}.gate": f"{_LAYER}.mlp.gate_proj",
    "layers.{i}.up": f"{_LAYER}.mlp.up_proj",
    "layers.{i}.ffn_hidden": Place(f"{_LAYER}.mlp.down_proj", side="input"),
    "layers.{i}.ffn_output": f"{_LAYER}.mlp",
    "layers.{i}.output": _LAYER,
    "norm": "model.norm",
    "logits": "lm_head",
}


def record(
    model: "Module",
    input_ids: Any,
    path: Path | str | None = None,
    names: Names | None = None,
    *,
    only: str | Iterable[str] | None = None,
    dtype: str | None = None,
    layout: str | None = None,
    config: Config | Path | str | None = None,
    run: Callable[["Tensor"], Any] | None = None,
) -> Recorder:
    """Run a model once and record its stages; with a path, write the trace.

    input_ids: (T,) or (1, T), one sequence. names: {stage: Place, or a module's path}; None: Hugging Face's Mistral.
    only: shell patterns of the stages to keep (logits are always kept). dtype: the format computed in; None: the
    coarsest of all that is seen. layout: None means "hf" without names and "mistral" with. config: sizes to hold the
    shapes against; None: from Hugging Face's config. run: how the ids, (1, T) on the model's device, are run; None: in
    one call. A run in several calls (chunks, a cache) is recorded too: each call's rows follow the last one's.
    """
    import torch

    ids = token_ids(input_ids)
    places = expanded(HUGGING_FACE if names is None else names, model)
    rec = Recorder(
        ids,
        dtype,
        layout or ("hf" if names is None else "mistral"),
        implementation_of(model),
        sizes_of(model) if config is None else config,
    )
    wanted = chosen(places, only)

    def seen(stage: str, found: Any) -> None:
        tensor = taken(stage, found, places[stage])
        rec.saw(str(tensor.dtype).removeprefix("torch."))
        if stage in wanted:
            rec(stage, tensor)

    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    run = run or model
    with ExitStack() as stack, torch.no_grad():
        stack.enter_context(evaluating(model))
        stack.enter_context(watched(model, places, seen))
        run(torch.from_numpy(ids)[None].to(device))
    missed = [stage for stage in wanted if stage not in rec.stages]
    if missed:
        place = places[missed[0]]
        what = f"{place.calls} was not called in {place.module}" if place.calls else f"{place.module} was not called"
        raise BadInput(f"{missed[0]}: {what}; is the model compiled, or its code another than the names are for?")
    if path is not None:
        rec.save(path)
    return rec


def expanded(names: Names, model: "Module") -> dict[str, Place]:
    """The map with its layers written out. BadInput for a path that the model does not have."""
    modules = dict(model.named_modules())
    places = {}
    for stage, given in names.items():
        place = given if isinstance(given, Place) else Place(given)
        layers = [i for i in range(len(modules)) if place.module.format(i=i) in modules] if "{i}" in stage else [""]
        for i in layers:
            places[stage.replace("{i}", str(i))] = place._replace(module=place.module.replace("{i}", str(i)))
        if not layers or place.module.format(i=layers[0]) not in modules:
            raise BadInput(
                f"{stage}: {type(model).__name__} has no module {place.module}; "
                "expected a transformers MistralForCausalLM, or names={stage: path of a module}"
            )
    return places


def chosen(places: Mapping[str, Place], only: str | Iterable[str] | None) -> set[str]:
    """The stages that shell patterns choose, and logits; None: all."""
    patterns = ["*"] if only is None else [only, "logits"] if isinstance(only, str) else [*only, "logits"]
    for pattern in patterns:
        if not any(fnmatchcase(stage, pattern) for stage in places):
            raise BadInput(f"only: {pattern!r} matches no stage of {', '.join(list(places)[:4])} ...")
    return {stage for stage in places if any(fnmatchcase(stage, pattern) for pattern in patterns)}


@contextmanager
def watched(model: "Module", places: Mapping[str, Place], seen: Seen) -> Iterator[None]:
    """For the time of the `with`, `seen(stage, what is there)` is called at each place."""
    functions: dict[tuple[str, str], dict[str, Place]] = {}
    with ExitStack() as stack:
        for stage, place in places.items():
            if place.calls:
                functions.setdefault((place.module, place.calls), {})[stage] = place
            else:
                watch_module(stack, model.get_submodule(place.module), stage, place, seen)
        for (path, function), own in functions.items():
            watch_function(stack, model.get_submodule(path), function, own, seen)
        yield


def watch_module(stack: ExitStack, module: "Module", stage: str, place: Place, seen: Seen) -> None:
    """A hook that shows what goes into a module, or what comes out; it is off when the stack is left."""
    if place.side == "input":

        def before(module, args, kwargs):
            seen(stage, dict(enumerate([*args, *kwargs.values()])) | kwargs)

        stack.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
    else:
        stack.callback(module.register_forward_hook(lambda module, args, output: seen(stage, output)).remove)


def watch_function(stack: ExitStack, module: "Module", function: str, own: dict[str, Place], seen: Seen) -> None:
    """While the module's forward runs, and no longer, its file's name `function` stands for one that shows its results."""
    names = namespace(module, function)
    right = names[function]

    def before(module, args):
        calls = 0

        @wraps(right)
        def shown(*args, **kwargs):
            nonlocal calls
            results = right(*args, **kwargs)
            for stage, place in own.items():
                if place.nth == calls:
                    seen(stage, results)
            calls += 1
            return results

        names[function] = shown

    def after(*_):
        names[function] = right

    stack.callback(after)
    stack.callback(module.register_forward_pre_hook(before).remove)
    stack.callback(module.register_forward_hook(after, always_call=True).remove)


def namespace(module: "Module", function: str) -> dict[str, Any]:
    """The global names of the file in which the module's class, or one that it is made from, is written."""
    for kind in type(module).__mro__:
        names = vars(sys.modules[kind.__module__])
        if callable(names.get(function)):
            return names
    raise BadInput(f"names: {type(module).__module__} has no function {function}, which {type(module).__name__} calls")


def taken(stage: str, found: Any, place: Place) -> "Tensor":
    """The one tensor that is meant, of all that a module was given or gave."""
    if not hasattr(found, "detach"):
        try:
            found = found[place.which]
        except (LookupError, TypeError):
            raise BadInput(f"{stage}: no {place.side} {place.which!r} of {place.calls or place.module}") from None
    if not hasattr(found, "detach"):
        where = f"{place.side} {place.which!r} of {place.calls or place.module}"
        raise BadInput(f"{stage}: {where} is a {type(found).__name__}, expected a tensor")
    if place.reshape is None:
        return found
    return place.reshape(found) if callable(place.reshape) else found.reshape(place.reshape)


@contextmanager
def evaluating(model: "Module") -> Iterator[None]:
    """Without dropout; afterwards each module is in the mode in which it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def sizes_of(model: "Module") -> Config | None:
    """From the config of a transformers model; None for any other."""
    c = getattr(model, "config", None)
    try:
        return Config(
            dim=c.hidden_size,
            n_layers=c.num_hidden_layers,
            head_dim=getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads,
            hidden_dim=c.intermediate_size,
            n_heads=c.num_attention_heads,
            n_kv_heads=c.num_key_value_heads,
            vocab_size=c.vocab_size,
        )
    except AttributeError:
        return None


def implementation_of(model: "Module") -> str:
    """What the trace says of who made it."""
    package = type(model).__module__.split(".")[0]
    if package != "transformers":
        return type(model).__name__
    return f"transformers {sys.modules[package].__version__}, {model.config._attn_implementation}"
