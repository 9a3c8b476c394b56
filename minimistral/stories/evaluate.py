"""How many held-out questions a model answers exactly, by kind and by how far back the fact was told.

    python -m minimistral.stories.evaluate --model DIR --n 500 --json FILE

The text, question and combination of words are of the validation split. An answer is right if it is the expected sentence,
letter for letter, drawn greedily up to EOS. Distance: the tokens from the end of the last telling of the fact to the end of
the prompt, so a fact at a distance of the window or less is seen directly by the first token of the answer.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from minimistral.errors import BadInput
from minimistral.mistral import Mistral
from minimistral.stories.questions import UNKNOWN, HeldOut, held_out_questions
from minimistral.whole_file import whole_file

LONGEST = 48  # tokens of an answer; the longest right one has about 30
BATCH = 32  # prompts at once
RULER = 64  # tokens in place of the window, for a model without one
WINDOWS = (0.5, 1, 1.5, 2, 3, 4, 6)  # where distances are divided


class Judged(NamedTuple):
    """One answer."""

    kind: str
    distance: int | None  # tokens; None: the text does not say
    expected: str
    answer: str

    @property
    def right(self) -> bool:
        return self.answer == self.expected


class Row(NamedTuple):
    """right of count answers, of one kind or at some distance."""

    by: str  # all, kind or distance
    name: str
    right: int
    count: int


def accuracy(model: Mistral, n: int, seed: int = 0, template: str | None = None) -> list[Row]:
    """Exact answers to n held-out questions: of all, by kind, by distance. template: None for what the tokenizer fits."""
    return rows(judged(model, held_out_questions(n, seed), template), model.config.window)


def judged(
    model: Mistral,
    questions: Iterable[HeldOut],
    template: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Judged]:
    """The model's answer to each question, in their order. Prompts of like length go together, for speed alone."""
    from minimistral.chat import default_template, encode_chat

    questions = list(questions)
    template = default_template(model.tokenizer) if template is None else template
    prompts = [encode_chat(question.messages, model.tokenizer, template) for question in questions]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: dict[int, str] = {}
    for start in range(0, len(order), BATCH):
        some = order[start : start + BATCH]
        answers |= dict(zip(some, _answers(model, [prompts[i] for i in some]), strict=True))
        if progress is not None:
            progress(len(answers), len(order))
    return [
        Judged(q.kind, _distance(q, len(prompts[i]), model.tokenizer, template), q.answer, answers[i])
        for i, q in enumerate(questions)
    ]


def _answers(model: Mistral, prompts: list[list[int]]) -> list[str]:
    """The greedy answer to each prompt, without spaces at its ends."""
    drawn: list[list[int]] = [[] for _ in prompts]
    for step in model.generate(prompts, LONGEST, temperature=0):
        for ids, token in zip(drawn, step, strict=True):
            if token is not None:
                ids.append(token)
    return [model.tokenizer.decode(ids).strip() for ids in drawn]


def _distance(question: HeldOut, length: int, tokenizer, template: str) -> int | None:
    """The length of the prompt less that of the prompt that ends with the telling of the fact."""
    from minimistral.chat import encode_chat

    if question.offset is None:
        return None
    begun = [{"role": "user", "content": question.messages[-1]["content"][: question.offset]}]
    return length - len(encode_chat([*question.messages[:-1], *begun], tokenizer, template))


def rows(answers: list[Judged], window: int | None) -> list[Row]:
    """The counts: of all, by kind, and by distance in windows.

    >>> rows([Judged("who", 5, "Tom.", "Tom."), Judged("who", 40, "Mia.", "Tom.")], window=32)[-2:]
    [Row(by='distance', name='0 to 16 tokens', right=1, count=1), Row(by='distance', name='33 to 48 tokens', right=0, count=1)]
    """
    groups: dict[tuple[str, str], list[bool]] = {("all", "all"): []}
    kinds = sorted({a.kind for a in answers} - {UNKNOWN}) + [UNKNOWN]
    names = _distances(window or RULER)
    groups |= {("kind", kind): [] for kind in kinds} | {("distance", name): [] for _, name in names}
    for a in answers:
        groups["all", "all"].append(a.right)
        groups["kind", a.kind].append(a.right)
        if a.distance is not None:
            groups["distance", next(name for most, name in names if a.distance <= most)].append(a.right)
    return [Row(by, name, sum(right), len(right)) for (by, name), right in groups.items() if right]


def _distances(window: int) -> list[tuple[float, str]]:
    """(the largest distance, the name) of each group."""
    ends = [0, *(int(window * w) for w in WINDOWS)]
    names = [(end, f"{start + bool(start)} to {end} tokens") for start, end in pairwise(ends)]
    return [*names, (float("inf"), f"more than {ends[-1]} tokens")]


def report(model: Mistral, answers: list[Judged], n: int, seed: int, template: str) -> dict:
    """What the command writes: the conditions, the counts, and the first wrong answers as examples."""
    wrong = [a for a in answers if not a.right][:20]
    return {
        "questions": n,
        "seed": seed,
        "template": template,
        "window": model.config.window,
        "n_layers": model.config.n_layers,
        "rows": [row._asdict() for row in rows(answers, model.config.window)],
        "wrong": [a._asdict() for a in wrong],
    }


def table(rows_: list[Row]) -> str:
    """The counts as a Markdown table.

    >>> print(table([Row("kind", "who", 9, 10)]))
    | questions | right | of | exact |
    | --- | ---: | ---: | ---: |
    | who | 9 | 10 | 90.0 % |
    """
    lines = ["| questions | right | of | exact |", "| --- | ---: | ---: | ---: |"]
    return "\n".join(
        lines + [f"| {r.name} | {r.right} | {r.count} | {r.right / r.count:.1%} |".replace("%", " %") for r in rows_]
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    from minimistral.cli.module import Parser

    parser = Parser(prog="python -m minimistral.stories.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=None, help="a checkpoint folder (default: the embedded model)")
    parser.add_argument("--n", default="500", help="how many questions")
    parser.add_argument("--seed", default="0", help="which questions")
    parser.add_argument("--template", default=None, help="v0.1, v0.2 or v0.3 (default: what the tokenizer fits)")
    parser.add_argument("--arithmetic", default="float32", help="exact, float32, ...")
    parser.add_argument("--json", default=None, help="write the report to this file")
    options = parser.parse_args(arguments)
    for name, least in (("n", 1), ("seed", 0)):
        text = getattr(options, name)
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) >= least):
            raise BadInput(f"--{name}: {text!r}, expected a whole number from {least} to 999999999")
        setattr(options, name, int(text))
    return options


def run(arguments: Sequence[str] | None) -> None:
    """The command. BadInput for bad options and for a folder that cannot be used."""
    from minimistral.chat import check_template, default_template
    from minimistral.cli.terminal import progress

    options = _options(arguments)
    if options.json and not Path(options.json).parent.is_dir():  # said before the work, not after it
        raise BadInput(f"--json: {options.json}: its folder does not exist")
    model = Mistral.from_pretrained(options.model, options.arithmetic)
    template = options.template or default_template(model.tokenizer)
    check_template(model.tokenizer, template)
    with progress("questions") as show:
        answers = judged(model, held_out_questions(options.n, options.seed), template, show)
    found = report(model, answers, options.n, options.seed, template)
    if options.json:
        with whole_file(Path(options.json), "--json") as partial:
            partial.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(rows(answers, model.config.window)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit status."""
    from minimistral.cli.module import status_of

    return status_of(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
