"""A report as one page: HTML without scripts or anything from elsewhere, light and dark, narrow and wide."""

import base64
import io
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from minimistral.check.report import Report
from minimistral.check.shown import finding_in_words, grouped, headline, number, stages_shown
from minimistral.whole_file import whole_file

if TYPE_CHECKING:
    from minimistral.figures.picture import Picture

STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --soft: #f3f3f0; --line: #d5d5d0; --wrong: #b34700; --right: #00664a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e6e2; --paper: #191919; --soft: #262626; --line: #444; --wrong: #ff9a57; --right: #4fd0a5; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 70rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; line-height: 1.25; margin: 0.5rem 0; border-left: 0.4rem solid; padding-left: 0.7rem; }
h2 { font-size: 1.1rem; margin: 1.8rem 0 0.5rem; }
.wrong { color: var(--wrong); } .right { color: var(--right); }
.about { margin: 0.2rem 0; opacity: 0.85; }
section { background: var(--soft); border-radius: 0.5rem; padding: 0.2rem 1rem 0.8rem; margin: 1rem 0; }
dl { display: grid; grid-template-columns: 8rem 1fr; gap: 0.3rem 1rem; margin: 0; }
dt { opacity: 0.8; } dd { margin: 0; }
.formula { font-family: ui-monospace, monospace; font-size: 1.05rem; }
img { display: block; width: 100%; height: auto; background: #fff; border-radius: 0.5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
td { white-space: nowrap; }
td:first-child { font-family: ui-monospace, monospace; }
tr.wrong { font-weight: bold; }
tr.new td { border-top: 2px solid var(--line); }
@media (max-width: 40rem) {
  body { padding: 0.7rem; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 0.5rem; }
  table { font-size: 0.75rem; } th, td { padding: 0.2rem 0.3rem; }
  td:last-child:not([colspan]) { white-space: normal; } th:nth-child(3), td:nth-child(3) { display: none; }
}
"""
EACH = "Each is computed again from those recorded before it, so a fault shows only where it is made."
WORDS = {"you compute": "formula wrong", "it should be": "formula right"}


def write_page(path: Path, report: Report) -> None:
    """Under a temporary name first. BadInput if it cannot be written."""
    with whole_file(path, "--html") as partial:
        partial.write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """The whole page."""
    about = report.as_json()
    of = f" of {about['implementation']}" if about["implementation"] else ""
    checked = f"{about['tokens']} tokens in {about['dtype']}{of}, against {about['model']}"
    verdict = headline(report)
    return "\n".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(Path(about['trace']).name)} {about['verdict']}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
        f'<p class="about">{escape(about["trace"])}: {escape(checked)}</p>',
        f'<h1 class="{"right" if report.agrees else "wrong"}">{escape(verdict[0].upper() + verdict[1:])}</h1>',
        *(finding(found, others) for found, others in grouped(about["diagnosis"])),
        *(f'<p class="about">Note: {escape(note)}</p>' for note in about["notes"]),
        "<h2>Where</h2>",
        picture(report),
        "<h2>Stages</h2>",
        f"<p>{EACH} 1 budget is what {about['dtype']} explains.</p>",
        table(report, {e["name"]: e for e in about["stages"]}),
        "</body>\n</html>\n",
    ])  # fmt: skip


def finding(found: dict, others: int) -> str:
    """A box: the sentence, the two formulas, what to read. others: like it, in other layers."""
    sentence, under = finding_in_words(found, others)
    rows = (
        f'<dt>{escape(word)}</dt><dd class="{WORDS.get(word, "")}">{escape(text)}</dd>'.replace(' class=""', "")
        for word, text in under
    )
    return f"<section>\n<h2>{escape(sentence)}</h2>\n<dl>{''.join(rows)}</dl>\n</section>"


def picture(report: Report) -> str:
    """Inline; where matplotlib is missing, a sentence in its place."""
    if find_spec("matplotlib") is None:
        return "<p>No picture: matplotlib is not installed.</p>"
    from minimistral.figures.check import errors, errors_narrow

    wide, narrow = errors(report), inline(errors_narrow(report))
    image = f'<img alt="{escape(wide.alt)}" src="{inline(wide)}">'
    return f'<picture><source media="(max-width: 40rem)" srcset="{narrow}">{image}</picture>'


def inline(drawn: "Picture") -> str:
    """A picture as an address."""
    png = io.BytesIO()
    drawn.savefig(png, format="png", dpi=130)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def table(report: Report, entries: dict[str, dict]) -> str:
    rows, layer = [], None
    for shown in stages_shown(report):
        if isinstance(shown, int):
            rows.append(f'<tr><td colspan="5">... {shown} right</td></tr>')
            continue
        e, here = entries[shown], shown.rpartition(".")[0]
        kinds = " ".join(filter(None, ["" if e["ok"] else "wrong", "new" if layer not in (None, here) else ""]))
        layer = here
        mark = "right" if e["ok"] else "first wrong" if shown == report.first_difference else "wrong"
        if e["first_wrong_position"] is not None:
            mark += f", from {e['first_wrong_position']}"
        numbers = "".join(f"<td>{number(e[key])}</td>" for key in ("worst", "local_relative_l2", "relative_l2"))
        rows.append(f'<tr class="{kinds}"><td>{escape(shown)}</td>{numbers}<td>{mark}</td></tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in
                   ("stage", "error, budgets", "of its size", "with all before it", ""))  # fmt: skip
    return f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{chr(10).join(rows)}\n</tbody></table></div>'
