"""params.json and config.json: the same dozen numbers under two sets of names, each checked as it is read.

What a file leaves out gets the default of the code that the file was made for, and a note says so. What this model
cannot compute (experts, biases, quantised weights, other activations, stretched rotations) is refused by name.
"""

from pathlib import Path
from typing import NamedTuple

from minimistral.checkpoint.files import as_json, read_json, shown
from minimistral.config import Config, Window
from minimistral.errors import BadInput

LARGEST = 2**31 - 1  # of any size: what a file may ask for without being absurd
MAX_LAYERS = 10_000  # a pattern of windows is repeated over the layers, so this bounds memory
# What each file calls Table 1's entries.
PARAMS = {
    "dim": "dim",
    "n_layers": "n_layers",
    "head_dim": "head_dim",
    "hidden_dim": "hidden_dim",
    "n_heads": "n_heads",
    "n_kv_heads": "n_kv_heads",
    "vocab_size": "vocab_size",
    "norm_eps": "norm_eps",
}
CONFIG = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "head_dim": "head_dim",
    "hidden_dim": "intermediate_size",
    "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads",
    "vocab_size": "vocab_size",
    "norm_eps": "rms_norm_eps",
}
MODEL_TYPES = ("mistral", "ministral", "llama")
SLIDING, FULL = "sliding_attention", "full_attention"
TOKEN_IDS = ("bos_token_id", "eos_token_id")


class Facts(NamedTuple):
    """What a config file says: the architecture, the ids kept for a converted folder, and notes for the reader."""

    config: Config
    token_ids: dict[str, object]
    notes: list[str]


class _Fields:
    """A config file's fields, each checked as it is taken; every message begins with the file's name."""

    def __init__(self, path: Path):
        self.where = shown(path)
        self.found = read_json(path)
        self.notes: list[str] = []

    def wrong(self, key: str, expected: str) -> BadInput:
        found = as_json(self.found[key]) if key in self.found else "missing"
        return BadInput(f"{self.where}: {key}: {found}, expected {expected}")

    def get(self, key: str) -> object:
        return self.found.get(key)

    def size(self, key: str, default: int | None = None) -> int:
        """A whole number from 1; a missing one is an error unless there is a default."""
        value = self.get(key)
        if value is None and default is not None:
            return default
        if not _is_size(value):
            raise self.wrong(key, f"a whole number from 1 to {LARGEST}")
        return value

    def flag(self, key: str) -> bool:
        value = self.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return bool(value)

    def refuse(self, key: str, why: str) -> None:
        """An error if the file asks for something that this model has not."""
        if self.get(key) not in (None, False, [], {}):
            raise BadInput(f"{self.where}: {key}: {why}")


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def read_params(path: Path) -> Facts:
    """Mistral's params.json."""
    fields = _Fields(path)
    if fields.get("model_type") not in (None, "transformer"):
        raise fields.wrong("model_type", "transformer")
    fields.refuse("yarn", "stretched rotations (yarn) are not supported")
    fields.refuse("llama_4_scaling", "position-dependent scaling is not supported")
    _refuse_unsupported(fields)
    window = fields.get("sliding_window")
    key = "sliding_window" if window is not None else "_sliding_window"
    window = _window_list(fields, key, fields.get(key), fields.size("n_layers"))
    theta = _theta(fields, fields.get("rope_theta"))
    if theta is None:
        theta = 1e6 if window is None else 1e4  # as the released code has it
        fields.notes.append(f"{fields.where}: rope_theta: not given, {theta:.0f} taken as in Mistral's own code")
    return _facts(fields, PARAMS, window, theta, default_eps=1e-5)


def read_config(path: Path) -> Facts:
    """Hugging Face's config.json."""
    fields = _Fields(path)
    if fields.get("model_type") not in MODEL_TYPES:
        raise fields.wrong("model_type", f"one of {', '.join(MODEL_TYPES)}")
    if fields.get("hidden_act") not in (None, "silu", "swish"):
        raise fields.wrong("hidden_act", "silu")
    for key in ("attention_bias", "mlp_bias", "use_bias"):
        fields.refuse(key, "biases are not supported")
    _refuse_unsupported(fields)
    theta = _hf_theta(fields)
    if theta is None:
        theta = 1e4
        fields.notes.append(f"{fields.where}: rope_theta: not given, 10000 taken as in transformers")
    return _facts(fields, CONFIG, _hf_window(fields), theta, default_eps=1e-6)


def _refuse_unsupported(fields: _Fields) -> None:
    fields.refuse("moe", "a mixture of experts is not a Mistral 7B; expected one feed-forward a layer")
    fields.refuse("num_local_experts", "a mixture of experts is not a Mistral 7B; expected one feed-forward a layer")
    for key in ("quantization_config", "quantization"):
        fields.refuse(key, "quantised weights are not supported; expected the bfloat16, float16 or float32 release")


def _facts(fields: _Fields, names: dict[str, str], window: Window, theta: float, default_eps: float) -> Facts:
    dim, n_heads = fields.size(names["dim"]), fields.size(names["n_heads"])
    n_layers = fields.size(names["n_layers"])
    if n_layers > MAX_LAYERS:
        raise fields.wrong(names["n_layers"], f"at most {MAX_LAYERS}")
    config = Config(
        dim=dim,
        n_layers=n_layers,
        head_dim=_head_dim(fields, names["head_dim"], dim, n_heads),
        hidden_dim=fields.size(names["hidden_dim"]),
        n_heads=n_heads,
        n_kv_heads=_kv_heads(fields, names["n_kv_heads"], n_heads),
        vocab_size=fields.size(names["vocab_size"]),
        window=window,
        context_len=_optional_size(fields, "max_position_embeddings"),
        norm_eps=_eps(fields, names["norm_eps"], default_eps),
        rope_theta=theta,
        tied_embeddings=_tied(fields),
    )
    return Facts(config, _token_ids(fields), fields.notes)


def _optional_size(fields: _Fields, key: str) -> int | None:
    return None if fields.get(key) is None else fields.size(key)


def _head_dim(fields: _Fields, key: str, dim: int, n_heads: int) -> int:
    if fields.get(key) is None and dim % n_heads:
        raise fields.wrong(key, f"a whole number, as {dim} / {n_heads} heads is none")
    head_dim = fields.size(key, dim // n_heads or None)
    if head_dim % 2 or head_dim > 512:
        raise BadInput(f"{fields.where}: {key}: {head_dim}, expected an even number up to 512")
    return head_dim


def _kv_heads(fields: _Fields, key: str, n_heads: int) -> int:
    left_out = key not in fields.found
    n_kv_heads = fields.size(key, 8 if left_out and fields.get("model_type") in ("mistral", "ministral") else n_heads)
    if left_out:
        fields.notes.append(f"{fields.where}: {key}: not given, {n_kv_heads} taken")
    if n_heads % n_kv_heads:
        raise BadInput(f"{fields.where}: {key}: {n_kv_heads}, expected a divisor of the {n_heads} query heads")
    return n_kv_heads


def _eps(fields: _Fields, key: str, default: float) -> float:
    value = fields.get(key)
    if value is None:
        fields.notes.append(f"{fields.where}: {key}: not given, {default} taken")
        return default
    if not _is_number(value) or not 0 < value < 1:
        raise fields.wrong(key, "a number between 0 and 1")
    return float(value)


def _tied(fields: _Fields) -> bool:
    keys = [key for key in ("tie_word_embeddings", "tied_embeddings") if fields.get(key) is not None]
    values = {fields.flag(key) for key in keys}
    if len(values) > 1:
        raise BadInput(f"{fields.where}: tie_word_embeddings and tied_embeddings contradict each other")
    return True in values


def _token_ids(fields: _Fields) -> dict[str, object]:
    """BOS and EOS ids, only kept for a converted folder: the tokenizer's own are used."""
    kept = {}
    for key in TOKEN_IDS:
        value = fields.get(key)
        ids = value if isinstance(value, list) else [value]
        if value is None:
            continue
        if not ids or not all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i <= LARGEST for i in ids):
            raise fields.wrong(key, "a token id or a list of them")
        kept[key] = value
    return kept


def _theta(fields: _Fields, value: object, key: str = "rope_theta") -> float | None:
    if value is not None and not (_is_number(value) and 1 <= value <= 1e18):
        raise BadInput(f"{fields.where}: {key}: {as_json(value)}, expected a number from 1 to 1e18")
    return None if value is None else float(value)


def _hf_theta(fields: _Fields) -> float | None:
    """rope_theta stands at the top level (transformers 4) or in rope_parameters, perhaps by kind of layer (5)."""
    found = {_theta(fields, fields.get("rope_theta"))}
    for place in ("rope_parameters", "rope_scaling"):
        rope = fields.get(place)
        if rope is None:
            continue
        if not isinstance(rope, dict):
            raise fields.wrong(place, "an object or null")
        for kind in (SLIDING, FULL, None):
            parameters = rope if kind is None else rope.get(kind)
            if parameters is not None:
                found.add(_rope_theta(fields, place if kind is None else f"{place}.{kind}", parameters))
    found.discard(None)
    if len(found) > 1:
        raise BadInput(f"{fields.where}: rope_theta: {sorted(found)} in different places, expected one value")
    return found.pop() if found else None


def _rope_theta(fields: _Fields, place: str, parameters: object) -> float | None:
    if not isinstance(parameters, dict):
        raise BadInput(f"{fields.where}: {place}: {as_json(parameters)}, expected an object")
    for key in ("rope_type", "type"):
        if parameters.get(key) not in (None, "default"):
            kind = as_json(parameters[key])
            raise BadInput(f'{fields.where}: {place}.{key}: {kind} is not supported, expected "default"')
    if parameters.get("partial_rotary_factor") not in (None, 1):
        raise BadInput(f"{fields.where}: {place}.partial_rotary_factor: not supported, expected 1")
    return _theta(fields, parameters.get("rope_theta"), f"{place}.rope_theta")


def _window_list(fields: _Fields, key: str, value: object, n_layers: int) -> Window:
    """null, one window for all layers, or a list that is repeated over the layers."""
    if value is None or _is_size(value):
        return value
    if not isinstance(value, list) or not value or not all(w is None or _is_size(w) for w in value):
        raise fields.wrong(key, "null, a whole number from 1, or a list of these")
    if n_layers > MAX_LAYERS or n_layers % len(value):
        raise fields.wrong(key, f"a list whose length divides the {n_layers} layers")
    return _simplest(value * (n_layers // len(value)))


def _simplest(windows: list[int | None]) -> Window:
    return windows[0] if len(set(windows)) == 1 else tuple(windows)


def _hf_window(fields: _Fields) -> Window:
    """sliding_window, for the layers that layer_types calls sliding (without layer_types: for all)."""
    model_type, types = fields.get("model_type"), fields.get("layer_types")
    window = _optional_size(fields, "sliding_window")
    if fields.get("use_sliding_window") is not None and not fields.flag("use_sliding_window"):
        return None
    if model_type == "llama":
        if window is not None:
            fields.notes.append(f"{fields.where}: sliding_window: {window} ignored, as Llama has no window")
        return None
    if "sliding_window" not in fields.found and model_type == "mistral" and types is None:
        fields.notes.append(f"{fields.where}: sliding_window: not given, 4096 taken as in transformers")
        return 4096
    if types is None:
        return window
    n_layers = fields.size("num_hidden_layers")
    if not isinstance(types, list) or len(types) != n_layers or not all(t in (SLIDING, FULL) for t in types):
        raise fields.wrong("layer_types", f"a list of {n_layers} times {SLIDING} or {FULL}")
    if window is None and SLIDING in types:
        raise fields.wrong("sliding_window", f"a whole number, as layer_types has {SLIDING}")
    windows = _simplest([window if t == SLIDING else None for t in types])
    if isinstance(windows, tuple) and model_type == "mistral":
        fields.notes.append(f"{fields.where}: layer_types: kept to here; transformers' Mistral class ignores them")
    return windows


def params_json(config: Config, token_ids: dict[str, object]) -> dict:
    """params.json of a config. max_position_embeddings and the token ids are additions that Mistral's code ignores."""
    found = {key: getattr(config, name) for name, key in PARAMS.items()}
    found["rope_theta"] = config.rope_theta
    found["sliding_window"] = list(config.window) if isinstance(config.window, tuple) else config.window
    if config.tied_embeddings:
        found["tied_embeddings"] = True
    if config.context_len is not None:
        found["max_position_embeddings"] = config.context_len
    return found | token_ids


def config_json(config: Config, token_ids: dict[str, object], dtype: str) -> dict:
    """config.json of a config: per-layer windows make it a Ministral. BadInput for two different windows."""
    per_layer = isinstance(config.window, tuple)
    windows = set(config.window) - {None} if per_layer else {config.window}
    if len(windows) > 1:
        raise BadInput(f"window: {sorted(windows)} in one model, but config.json has room for one size")
    found = {
        "architectures": ["MinistralForCausalLM" if per_layer else "MistralForCausalLM"],
        "model_type": "ministral" if per_layer else "mistral",
        "hidden_act": "silu",
    }
    found |= {key: getattr(config, name) for name, key in CONFIG.items()}
    found["rope_theta"] = config.rope_theta
    found["sliding_window"] = windows.pop() if windows else None
    if per_layer:
        found["layer_types"] = [FULL if w is None else SLIDING for w in config.window]
    if config.context_len is not None:
        found["max_position_embeddings"] = config.context_len
    found["tie_word_embeddings"] = config.tied_embeddings
    found["torch_dtype"] = dtype
    return found | token_ids
