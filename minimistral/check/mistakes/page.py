"""docs/mistakes.md: all known mistakes in a table, made from the mistakes themselves.

python -m minimistral.check.mistakes.page > docs/mistakes.md
"""

from minimistral.check.mistakes import MISTAKES, Mistake

INTRODUCTION = """# Mistakes that `minimistral check` knows

What people wrote where a Mistral has another line: {count} families, each under the id that a report gives. `i` is the
position of a query, `W` the window, `T` the number of tokens, `d` the width of a head, `h` a query head (or the residual
stream), `w` a weight. The fourth column is where somebody made the mistake in public and wrote down how it looked; the
last one is where the right line is here. (`python -m minimistral.check.mistakes.page` makes this page.)

| id | you compute | it should be | made in public | the right line |
| --- | --- | --- | --- | --- |
"""


CLOSING = """
Two of them may be the same numbers: with chunks of `W` or more, `cache-write-before-read` leaves nothing of earlier
chunks, as `window-blocked` does. A report names one and says that the other does as well. `rope-position-offset` in all
queries and keys leaves every logit as it is, and is called harmless. What none of them explains is called `unknown`, with
what can be said of it (`minimistral/check/describe.py`).

To add one: write the wrong line as a function in the module of its piece under `minimistral/check/mistakes/`, beside
the right one in `minimistral/check/lines.py`, and a `Mistake` of ten lines. Its tests are generated
(`tests/test_mistakes.py`).
"""


def page() -> str:
    """The whole page."""
    return INTRODUCTION.format(count=len(MISTAKES)) + "".join(map(row, MISTAKES)) + CLOSING


def row(m: Mistake) -> str:
    file, function = m.see.split(" ")
    cells = f"`{m.id}`: {m.sentence}", f"`{m.computes}`", f"`{m.instead}`", links(m.source), f"`{file}` `{function}`"
    return "| " + " | ".join(cells) + " |\n"


def links(source: str) -> str:
    """ "owner/name #1, #2; owner/other #3" as links.

    >>> links("likejazz/llama3.np")
    '[likejazz/llama3.np](https://github.com/likejazz/llama3.np)'
    """
    shown = []
    for repository, *numbers in map(str.split, filter(None, source.split("; "))):
        where = f"https://github.com/{repository}"
        numbers = [number.strip("#,") for number in numbers]
        shown.append(
            f"{repository} " + ", ".join(f"[#{n}]({where}/issues/{n})" for n in numbers)
            if numbers
            else f"[{repository}]({where})"
        )
    return "; ".join(shown)


if __name__ == "__main__":
    print(page(), end="")
