"""What an answer gives back, as JSON: numbers, arrays, words, and lists of them. Anything else is only named."""

import base64
import builtins
import json
import sys

import numpy as np

KINDS = "biuf"  # booleans, whole numbers, floats: what can be judged
DEEPEST, LONGEST_TEXT = 6, 100_000


def as_plain(value: object, depth: int = 0) -> object:
    """A value as JSON can hold it, whatever its own methods say: subclasses of numbers and arrays become plain ones.

    >>> as_plain([1, 2.5, "a", ...])
    {'list': [1, 2.5, 'a', {'dots': 0}]}
    """
    if value is None or value is True or value is False or type(value) in (int, float):
        return value if type(value) is not int or abs(value) < 2**63 else {"other": "int"}
    if value is ...:
        return {"dots": 0}
    if isinstance(value, str):
        return str.__str__(value)[:LONGEST_TEXT]
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if type(value) in (list, tuple) and depth < DEEPEST:
        return {type(value).__name__: [as_plain(one, depth + 1) for one in value]}
    try:
        array = np.asarray(value)
    except Exception:  # noqa: BLE001 (a student's class may do anything)
        array = np.array(None)
    if array.dtype.kind not in KINDS:
        return {"other": type(value).__name__}
    content = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"array": content, "dtype": array.dtype.str, "shape": list(array.shape)}


def from_plain(plain: object) -> object:
    """The value again. ValueError if the text was not made by `as_plain`: a hand-in may have written it.

    >>> from_plain(as_plain((1.5, b"a", ["b"])))
    (1.5, b'a', ['b'])
    """
    if plain is None or isinstance(plain, bool | int | float | str):
        return plain
    if "dots" in plain:
        return ...
    if "bytes" in plain:
        return base64.b64decode(plain["bytes"])
    for name, kind in (("list", list), ("tuple", tuple)):
        if name in plain:
            return kind(from_plain(one) for one in plain[name])
    if "array" in plain:
        dtype = np.dtype(str(plain["dtype"]))
        if dtype.kind not in KINDS:
            raise ValueError(f"an array of {dtype}")
        return np.frombuffer(base64.b64decode(plain["array"]), dtype).reshape(plain["shape"]).copy()[()]
    return type(str(plain.get("other"))[:60] or "object", (), {})()


def read_message(line: bytes) -> dict | None:
    """A line of the runner as a dictionary; None if it is none."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def exception_of(module: object, name: object) -> Exception:
    """An empty exception of the named type, if that is Python's, NumPy's or ours; else a plain one."""
    ours = str(module).split(".")[0] in ("minimistral", "numpy")
    kind = getattr(
        builtins if module == "builtins" else sys.modules.get(str(module)) if ours else None, str(name), None
    )
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = Exception
    return kind.__new__(kind)
