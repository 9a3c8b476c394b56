"""Small checkpoint folders in every form, and 200 and more ways to damage them; each is replayed by its name."""

import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from minimistral.checkpoint import write_checkpoint
from minimistral.checkpoint.tensor_file import TensorFile, write_tensors
from minimistral.config import Config
from minimistral.weights import random_tensors

# Sizes that all differ, and head_dim is not dim / n_heads.
SMALL = Config(
    dim=20, n_layers=3, head_dim=4, hidden_dim=28, n_heads=6, n_kv_heads=2, vocab_size=31, window=5, context_len=64
)
FORMS = ("mistral", "mistral-shards", "hf", "hf-shards")


def split(path: Path, names: list[str]) -> dict[str, str]:
    """Deal the tensors of one safetensors file out to several; {tensor: file name}."""
    file = TensorFile(path)
    places = {}
    for i, name in enumerate(names):
        mine = {key: file[key] for j, key in enumerate(sorted(file.entries)) if j % len(names) == i}
        announced = {key: (value.dtype, value.shape) for key, value in mine.items()}
        write_tensors(path.parent / name, announced, ((key, iter([value])) for key, value in mine.items()))
        places |= dict.fromkeys(mine, name)
    path.unlink()
    return places


def make(folder: Path, form: str, config: Config = SMALL, dtype: str = "float32", seed: int = 0) -> Path:
    """A random checkpoint in one of FORMS."""
    layout = form.split("-")[0]
    write_checkpoint(folder, config, random_tensors(config, seed), layout, dtype)
    if form == "mistral-shards":
        split(folder / "consolidated.safetensors", [f"consolidated-0000{i}-of-00002.safetensors" for i in (1, 2)])
    if form == "hf-shards":
        places = split(folder / "model.safetensors", [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)])
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


Damage = Callable[[Path], None]


def edit_json(name: str, **changes) -> Damage:
    """Set keys of a JSON file; the string "(removed)" takes one out."""

    def damage(folder: Path) -> None:
        found = json.loads((folder / name).read_text())
        found = {k: v for k, v in (found | changes).items() if v != "(removed)"}
        (folder / name).write_text(json.dumps(found))

    return damage


def replace(name: str, content: bytes) -> Damage:
    """Other bytes in place of a file."""
    return lambda folder: (folder / name).write_bytes(content) and None


def edit_header(name: str, change: Callable[[dict, random.Random], None], seed: int = 0) -> Damage:
    """Change a safetensors header as JSON, leaving the tensors' bytes alone."""

    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        change(header, random.Random(seed))
        text = json.dumps(header).encode()
        (folder / name).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])

    return damage


def cut(name: str, seed: int) -> Damage:
    """The file ends somewhere before its end."""

    def damage(folder: Path) -> None:
        size = (folder / name).stat().st_size
        os.truncate(folder / name, random.Random(seed).randrange(size))

    return damage


def poison(name: str, value: float, seed: int) -> Damage:
    """One value of one tensor becomes NaN or infinite."""

    def damage(folder: Path) -> None:
        file, rng = TensorFile(folder / name), random.Random(seed)
        tensor = rng.choice(sorted(file.entries))
        entry = file.entries[tensor]
        at = file.data_start + entry.start + rng.randrange((entry.end - entry.start) // 4) * 4
        with open(folder / name, "r+b") as f:
            f.seek(at)
            f.write(np.float32(value).tobytes())

    return damage


def instead(name: str, what: str) -> Damage:
    """Something that is no file in a file's place."""

    def damage(folder: Path) -> None:
        path = folder / name
        path.unlink()
        if what == "folder":
            path.mkdir()
        elif what == "pipe":
            os.mkfifo(path)
        elif what == "loop":
            path.symlink_to(path)
        elif what == "dangling":
            path.symlink_to("nowhere")

    return damage


def _first(header: dict, rng: random.Random) -> dict:
    return header[rng.choice(sorted(k for k in header if k != "__metadata__"))]


def _set(key: str, value: object) -> Callable[[dict, random.Random], None]:
    return lambda header, rng: _first(header, rng).__setitem__(key, value)


def _shift(header: dict, rng: random.Random) -> None:
    _first(header, rng)["data_offsets"] = [o + rng.choice([-8, -4, 4, 8]) for o in _first(header, rng)["data_offsets"]]


def _transpose(header: dict, rng: random.Random) -> None:
    names = sorted(k for k, v in header.items() if len(v.get("shape", [])) == 2 and len(set(v["shape"])) == 2)
    header[rng.choice(names)]["shape"].reverse()


def _drop(header: dict, rng: random.Random) -> None:
    header.pop(rng.choice(sorted(k for k in header if k != "__metadata__")))


def _rename(header: dict, rng: random.Random) -> None:
    name = rng.choice(sorted(k for k in header if k != "__metadata__"))
    header[name + rng.choice(["\n", "\x1b[2J", "x", "\u202e", "\ud800", " "])] = header.pop(name)


def _exchange(header: dict, rng: random.Random) -> None:
    """Two tensors' places and shapes exchanged."""
    names = {tuple(v["shape"]): k for k, v in header.items() if k != "__metadata__"}
    a, b = rng.sample(sorted(names.values()), 2)
    header[a], header[b] = header[b], header[a]


def _wider(fields: dict) -> None:
    fields |= {"dtype": "F8_E4M3", "shape": [*fields["shape"][:-1], fields["shape"][-1] * 4]}


HEADER_CHANGES = {
    "drop": _drop,
    "rename": _rename,
    "transpose": _transpose,
    "exchange": _exchange,
    "shift": _shift,
    "dtype-int8": _set("dtype", "I8"),
    "dtype-float8": _set("dtype", "F8_E4M3"),
    "dtype-float64": _set("dtype", "F64"),
    "dtype-int32": _set("dtype", "I32"),
    "dtype-float8-wider": lambda header, rng: _wider(_first(header, rng)),
    "dtype-unknown": _set("dtype", "F7\n"),
    "dtype-number": _set("dtype", 3),
    "dtype-list": _set("dtype", []),
    "shape-negative": _set("shape", [-1, 4]),
    "shape-huge": _set("shape", [2**40, 2**40]),
    "shape-strings": _set("shape", ["4", "5"]),
    "shape-bool": _set("shape", [True]),
    "shape-float": _set("shape", [4.0]),
    "shape-null": _set("shape", None),
    "shape-long": _set("shape", [1] * 5000),
    "offsets-one": _set("data_offsets", [0]),
    "offsets-strings": _set("data_offsets", ["0", "4"]),
    "offsets-negative": _set("data_offsets", [-4, 0]),
    "offsets-reversed": _set("data_offsets", [64, 0]),
    "offsets-beyond": _set("data_offsets", [2**50, 2**50 + 4]),
    "fields-missing": lambda header, rng: _first(header, rng).pop("shape") and None,
    "fields-null": lambda header, rng: header.update(dict.fromkeys(list(header)[1:3])),
    "metadata-list": lambda header, rng: header.update(__metadata__=[1]),
}
NOT_COUNTS = (0, -1, 2**40, 10**30, "64", 1.5, True, [], {}, math.nan, math.inf)
NOT_JSON = {
    "empty": b"",
    "text": b"hello",
    "cut": b'{"dim": 20, ',
    "binary": bytes(range(256)),
    "not-utf8": b'{"dim": "\xff"}',
    "list": b"[1, 2]",
    "number": b"3",
    "null": b"null",
    "deep": b'{"a":' + b"[" * 200_000,
    "twice": b'{"dim": 20, "dim": 20}',
    "nested": b'{"model_type": "mistral", "weight_map": ' + b"[" * 900 + b"]" * 900 + b"}",
    "digits": b'{"dim": ' + b"9" * 10_000 + b"}",
    "huge": b'{"a": "' + b"x" * 9 * 2**20 + b'"}',
}


def _config_damages() -> Iterator[tuple[str, str, Damage]]:
    sizes = {
        "mistral": ("params.json", ("dim", "n_layers", "hidden_dim", "n_heads", "n_kv_heads", "vocab_size")),
        "hf": (
            "config.json",
            ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "num_key_value_heads"),
        ),
    }
    for form, (file, keys) in sizes.items():
        for key in (*keys, "head_dim", "sliding_window", "max_position_embeddings"):
            rng = random.Random(f"{form} {key}")
            for value in rng.sample(NOT_COUNTS, 4):
                if form == "mistral" and key == "sliding_window" and value == {}:
                    continue
                yield f"{form}/{key}={value!r}", form, edit_json(file, **{key: value})
        for key in keys:
            yield f"{form}/{key}-off-by-one", form, edit_json(file, **{key: 7})
        for kind in ("folder", "pipe", "loop", "dangling"):
            yield f"{form}/{file}-is-a-{kind}", form, instead(file, kind)
        yield f"{form}/{file}-gone", form, lambda folder, file=file: (folder / file).unlink()
        for kind, content in NOT_JSON.items():
            yield f"{form}/{file}-{kind}", form, replace(file, content)
    for key in ("dim", "n_layers", "hidden_dim", "n_heads", "vocab_size"):
        yield f"mistral/{key}-missing", "mistral", edit_json("params.json", **{key: "(removed)"})
    for key, value in {"norm_eps": 0, "rope_theta": -1.0, "moe": {"num_experts": 8}, "n_layers": 999}.items():
        yield f"mistral/{key}={value!r}", "mistral", edit_json("params.json", **{key: value})
    for value in ([], [5, 5], [5, "5", None], [5, 0, 5], [None, 5] * 100_000):
        yield f"mistral/sliding_window={str(value)[:20]}", "mistral", edit_json("params.json", sliding_window=value)
    unsupported = {
        "model_type": "gpt2",
        "hidden_act": "gelu",
        "hidden_size": json.loads("[" * 900 + "]" * 900),
        "attention_bias": True,
        "num_local_experts": 8,
        "quantization_config": {"quant_method": "awq"},
        "rope_scaling": {"type": "linear", "factor": 2.0},
        "rope_parameters": {"rope_theta": 5.0, "rope_type": "default"},
        "rms_norm_eps": "1e-5",
        "tie_word_embeddings": "no",
        "layer_types": ["sliding_attention"],
        "eos_token_id": "</s>",
        "use_sliding_window": 0,
        "rope_theta": math.nan,
    }
    for key, value in unsupported.items():
        yield f"hf/{key}={str(value)[:40]}", "hf", edit_json("config.json", **{key: value})


def _tensor_damages() -> Iterator[tuple[str, str, Damage]]:
    files = {"mistral": "consolidated.safetensors", "hf": "model.safetensors"}
    for form, file in files.items():
        for seed in range(6):
            yield f"{form}/cut-{seed}", form, cut(file, seed)
            yield f"{form}/nan-{seed}", form, poison(file, math.nan, seed)
            yield f"{form}/infinity-{seed}", form, poison(file, -math.inf, seed)
        for kind in ("folder", "pipe", "loop", "dangling"):
            yield f"{form}/{file}-is-a-{kind}", form, instead(file, kind)
        yield f"{form}/empty", form, replace(file, b"")
        yield (
            f"{form}/git-lfs-pointer",
            form,
            replace(file, b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        )
        yield f"{form}/four-bytes", form, replace(file, b"1234")
        yield f"{form}/header-endless", form, replace(file, b"\xff" * 8 + b"{}")
        yield f"{form}/header-empty", form, replace(file, bytes(8) + b"{}")
        yield f"{form}/header-not-json", form, replace(file, (9).to_bytes(8, "little") + b"{'a': 1}}")
        deep = b'{"a":' + b"[" * 100_000
        yield f"{form}/header-deep", form, replace(file, len(deep).to_bytes(8, "little") + deep)
        twice = b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}}'
        yield f"{form}/header-twice", form, replace(file, len(twice).to_bytes(8, "little") + twice)
        yield f"{form}/header-only", form, replace(file, (2).to_bytes(8, "little") + b"{}")
        yield (
            f"{form}/something-follows",
            form,
            lambda f, n=file: (f / n).write_bytes((f / n).read_bytes() + b"12345678"),
        )
        yield f"{form}/pickle", form, replace(file, b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix")
        for kind, change in HEADER_CHANGES.items():
            yield f"{form}/header-{kind}", form, edit_header(file, change, seed=len(kind))


def _folder_damages() -> Iterator[tuple[str, str, Damage]]:
    index = "model.safetensors.index.json"

    def weight_map(value: object) -> Damage:
        return edit_json(index, weight_map=value)

    def point(place: object) -> Damage:
        def damage(folder: Path) -> None:
            found = json.loads((folder / index).read_text())
            found["weight_map"]["model.norm.weight"] = place
            (folder / index).write_text(json.dumps(found))

        return damage

    second = "model-00002-of-00003.safetensors"
    yield "hf-shards/shard-gone", "hf-shards", lambda folder: (folder / second).unlink()
    yield "hf-shards/shard-cut", "hf-shards", cut(second, 3)
    for place in (
        "../x.safetensors",
        "/etc/passwd",
        "nowhere.safetensors",
        "model.bin",
        "",
        3,
        None,
        "a\0.safetensors",
    ):
        yield f"hf-shards/index-points-to-{place!r}", "hf-shards", point(place)

    def next_shard(folder: Path) -> None:
        places = json.loads((folder / index).read_text())["weight_map"]
        others = sorted(set(places.values()) - {places["model.norm.weight"]})
        point(others[0])(folder)

    yield "hf-shards/index-wrong-shard", "hf-shards", next_shard
    for value in (None, [], {}, 3, "(removed)"):
        yield f"hf-shards/weight_map={value!r}", "hf-shards", weight_map(value)
    for kind, content in NOT_JSON.items():
        yield f"hf-shards/index-{kind}", "hf-shards", replace(index, content)
    one, two = (f"consolidated-0000{i}-of-00002.safetensors" for i in (1, 2))
    yield "mistral-shards/shard-gone", "mistral-shards", lambda folder: (folder / two).unlink()
    yield "mistral-shards/shard-twice", "mistral-shards", lambda f: shutil.copyfile(f / one, f / two) and None
    yield (
        "mistral-shards/third-shard",
        "mistral-shards",
        lambda f: (f / one).rename(f / one.replace("-00001", "-00003")),
    )
    yield "mistral-shards/shard-cut", "mistral-shards", cut(one, 5)

    def only_pickle(folder: Path) -> None:
        (folder / "consolidated.safetensors").rename(folder / "consolidated.00.pth")

    yield "mistral/only-a-pickle", "mistral", only_pickle
    yield "mistral/gone", "mistral", shutil.rmtree
    yield "hf/only-tensors", "hf", lambda folder: (folder / "config.json").unlink()
    yield "hf/only-config", "hf", lambda folder: (folder / "model.safetensors").unlink()

    def a_file(folder: Path) -> None:
        shutil.rmtree(folder)
        folder.write_text("a file")

    yield "mistral/is-a-file", "mistral", a_file


def damages() -> dict[str, tuple[str, Damage]]:
    """{name: (form, damage)}."""
    return {name: (form, d) for part in (_config_damages, _tensor_damages, _folder_damages) for name, form, d in part()}
