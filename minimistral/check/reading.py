"""Where to read on: the right line, a lesson, a page."""

import ast
import re
from pathlib import Path
from typing import NamedTuple

from minimistral.check.stages import kind_of

PAGE, UNKNOWN_PAGE = "docs/mistakes.md", "docs/find_the_bug.md"
LESSONS = {  # a file, or a function of it, and the lesson about it
    "tokenizer.py": "01_tokens",
    "rms_norm.py": "03_rms_norm",
    "rope.py": "04_rope",
    "floating.py": "04_rope",
    "layouts.py": "04_rope",
    "attention.py": "05_attention",
    "heads_of": "06_gqa",
    "window.py": "07_sliding_window",
    "rolling_cache.py": "08_rolling_cache",
    "attend": "09_chunked_prefill",
    "swiglu.py": "10_swiglu",
    "feed_forward": "10_swiglu",
    "transformer.py": "11_whole_model",
}


STAGES = {  # the kinds of stage, and the function that makes them
    "attention_norm ffn_norm norm": "minimistral/rms_norm.py rms_norm",
    "q k v": "minimistral/transformer.py projections",
    "q_rope k_rope": "minimistral/rope.py rotate",
    "attention": "minimistral/attention.py attention_scores",
    "embedding attention_output attention_residual output": "minimistral/transformer.py transformer",
    "gate up ffn_output": "minimistral/transformer.py feed_forward",
    "ffn_hidden": "minimistral/swiglu.py swiglu",
    "logits": "minimistral/transformer.py output",
}


ALSO = {  # the other functions that make a stage
    "attention": ("minimistral/attention.py attention_values", "minimistral/window.py window_mask"),
}
WHOLE = "minimistral/transformer.py transformer"  # makes all of them


class Reading(NamedTuple):
    file: str
    line: int
    function: str
    lesson: str | None


def reading(see: str) -> Reading:
    """Of a function; the line's number is where it begins.

    >>> reading("minimistral/attention.py heads_of")._replace(line=0)
    Reading(file='minimistral/attention.py', line=0, function='heads_of', lesson='06_gqa')
    """
    file, function = see.split(" ")
    lesson = LESSONS.get(function) or LESSONS.get(file.rsplit("/", 1)[-1])
    return Reading(file, line_of(file, function), function, lesson)


def maker_of(stage: str) -> str:
    """The file and the function that make a stage here.

    >>> maker_of("layers.3.ffn_norm")
    'minimistral/rms_norm.py rms_norm'
    """
    return next(see for kinds, see in STAGES.items() if kind_of(stage) in kinds.split(" "))


def line_of_stage(stage: str) -> int:
    """Where its maker names it, as `stage(f"{name}.output", ...)`; or else where the function begins.

    >>> source = (Path(__file__).parents[2] / "minimistral/transformer.py").read_text(encoding="utf-8").splitlines()
    >>> source[line_of_stage("layers.3.attention_residual") - 1].split(" = ")[0].strip()
    'h'
    """
    file, function = maker_of(stage).split(" ")
    begin = line_of(file, function)
    lines = (Path(__file__).parents[2] / file).read_text(encoding="utf-8").splitlines()[begin - 1 :]
    end = next((n for n, line in enumerate(lines[1:], 1) if line.startswith(("def ", "class "))), len(lines))
    named = (n for n, line in enumerate(lines[:end]) if re.search(rf'stage\(f?"({{name}}\.)?{kind_of(stage)}"', line))
    return begin + next(named, 0)


def line_of(file: str, function: str) -> int:
    """Where a function, a class or a method (`Class.method`) begins."""
    within = ast.parse((Path(__file__).parents[2] / file).read_text(encoding="utf-8"))
    for name in function.split("."):
        made = (node for node in ast.walk(within) if isinstance(node, ast.FunctionDef | ast.ClassDef))
        within = next(node for node in made if node.name == name)
    return within.lineno
