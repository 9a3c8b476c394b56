"""A report in words: what the terminal and the page both say."""

from itertools import groupby

from minimistral.check.report import Report

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


def finding_in_words(found: dict) -> tuple[str, list[tuple[str, str]]]:
    """One entry of the report's diagnosis: the sentence, and what stands under it: (word, text)."""
    lesson = f"lesson {found['lesson']} (minimistral notebooks); " if found["lesson"] else ""
    file, function = found["see"].split(" ")
    under = [
        ("you compute", found.get("computes")),
        ("it should be", found.get("instead")),
        ("made in", found["where"]),
        ("explains", f"{100 * found['explains']:.4g} % of the difference" if found["explains"] else ""),
        ("or else", ", ".join(found["or_else"])),
        ("right line", f"{file}:{found['line']} {function}"),
        ("read", f"{lesson}{found['page']}"),
        ("seen in", found.get("source")),
    ]
    variant = f" ({found['variant']})" if found["variant"] else ""
    harmless = ". It is harmless: no logit changes" if found["harmless"] else ""
    said = found["sentence"] or "it is what none of the known mistakes gives"
    return f"{found['id']}{variant} at {found['stage']}: {said}{harmless}", [(w, text) for w, text in under if text]


def number(x: float | None) -> str:
    """An error for a table.

    >>> number(0.000123), number(45678.0), number(0.5), number(None)
    ('1.2e-04', '4.6e+04', '0.50', 'not finite')
    """
    if x is None:
        return "not finite"
    return f"{x:.2f}" if 0.01 <= x < 1000 else f"{x:.1e}" if x else "0"
