"""A report in words: what the terminal and the page both say."""

import re
from itertools import groupby

from minimistral.check.report import Report
from minimistral.check.stages import kind_of

FEW = 12  # stages: all are shown
ROWS = 40  # of the table, before it is cut to what is wrong


def stages_shown(report: Report) -> list[str | int]:
    """Names of stages, and between them how many that are right are left out.

    All wrong ones (at most ROWS), and the first and last of each run of right ones; of the whole if these are too many.
    """
    names = list(report.stages)
    wrong = set(report.wrong[:ROWS])
    if len(names) <= FEW:
        return list(names)
    right = [n not in wrong for n in names]
    last = len(names) - 1
    ends = {n for i, n in enumerate(names) if i in (0, last) or not (right[i - 1] and right[i + 1])}
    if len(wrong | ends) > ROWS:
        ends = {next((n for n in names if n not in wrong), names[0]), names[-1]}
    shown: list[str | int] = []
    for whole, run in groupby(names, key=lambda n: n in wrong | ends):
        run = list(run)
        shown += run if whole or len(run) == 1 else [len(run)]
    return shown


def headline(report: Report) -> str:
    """The verdict, in a sentence."""
    dtype = report.trace.dtype
    if report.agrees:
        n = len(report.stages)
        return f"agrees: {f'all {n} recorded stages are' if n > 1 else 'the logits are'} right for {dtype}"
    first = report.first_difference
    at = report.first_wrong_position(first)
    alone = int((report.by_position(first) > 1).sum()) == 1
    where = f"at position {at} alone" if alone else f"from position {at} on{marked(at, report.window(first))}"
    others = len(report.wrong) - 1
    more = f", and {others} other stage{'s' * (others > 1)} by {'themselves' if others > 1 else 'itself'}" * bool(
        others
    )
    return f"differs: first at {first}, {where}{more}"


def marked(position: int, window: int | None) -> str:
    """Is it where the window begins to matter?

    >>> marked(8, 8), marked(5, 8)
    (' (W = 8)', '')
    """
    return f" (W = {window})" if position == window else ""


def grouped(diagnosis: list[dict]) -> list[tuple[dict, int]]:
    """Each finding, and how many more are like it: an unknown fault of the same stage in other layers is told once."""
    groups: dict[tuple, list[dict]] = {}
    for n, found in enumerate(diagnosis):
        groups.setdefault(likeness(found) if found["id"] == "unknown" else (n,), []).append(found)
    return [(found, len(others)) for found, *others in groups.values()]


def likeness(found: dict) -> tuple[str, str]:
    """The kind of stage and the words, without how large the error is.

    >>> likeness({"stage": "layers.3.q", "sentence": "All 9 positions are wrong. The error is 0.1 to 1 of a row's length."})
    ('q', 'All 9 positions are wrong.')
    """
    words = re.sub(r" ?The error (is|grows) .*", "", found["sentence"])
    return kind_of(found["stage"]), re.sub(r"\d+\.\d+(e[-+]\d+)?", "#", words)


def finding_in_words(found: dict, others: int = 0) -> tuple[str, list[tuple[str, str]]]:
    """One entry of the report's diagnosis: the sentence, and what stands under it: (word, text).

    others: how many are like it, in other layers.
    """
    under = [
        ("you compute", found.get("computes")),
        ("it should be", found.get("instead")),
        ("made in", found["where"]),
        ("explains", f"{100 * found['explains']:.4g} % of the difference" if found["explains"] else ""),
        ("or else", ", ".join(found["or_else"])),
        ("next", found["next"]),
        ("right line", "" if found["anywhere"] else lines_in_words(found)),
        ("read", reading_in_words(found)),
        ("seen in", found.get("source")),
    ]
    variant = f" ({found['variant']})" if found["variant"] else ""
    harmless = ". It is harmless: no logit changes" if found["harmless"] else ""
    said = found["sentence"] or "it is what none of the known mistakes gives"
    alike = f" (and {others} other layer{'s' * (others > 1)} alike)" if others else ""
    sentence = f"{found['id']}{variant} at {found['stage']}{alike}: {said}{harmless}"
    return sentence, [(word, text) for word, text in under if text]


def lines_in_words(found: dict) -> str:
    """`minimistral/window.py:6 window_mask`, and the others if it is one of several."""
    words = []
    for read in (found, *found["see_also"]):
        file, function = read["see"].split(" ")
        words.append(f"{file}:{read['line']} {function}")
    return ", ".join(words)


def reading_in_words(found: dict) -> str:
    """Lessons and a page."""
    read = () if found["anywhere"] else (found, *found["see_also"])
    lessons = list(dict.fromkeys(entry["lesson"] for entry in read if entry["lesson"]))
    words = f"lesson{'s' * (len(lessons) > 1)} {', '.join(lessons)} (minimistral notebooks); " if lessons else ""
    return words + found["page"]


def number(x: float | None) -> str:
    """An error for a table.

    >>> number(0.000123), number(45678.0), number(0.5), number(None)
    ('1.2e-04', '4.6e+04', '0.50', 'not finite')
    """
    if x is None:
        return "not finite"
    return f"{x:.2f}" if 0.01 <= x < 1000 else f"{x:.1e}" if x else "0"
