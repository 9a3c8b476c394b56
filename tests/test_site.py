"""The documentation site: built without a warning and without a network, and looked through in a browser without one.

The pages' own claims are tried where they are made: the numbers of docs/paper.md, the code and commands of the new pages.
"""

import doctest
import json
import re
import subprocess
import sys
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import minimistral
from minimistral import MISTRAL_7B, costs, reach
from minimistral.cli import main
from minimistral.cli.program import EXAMPLES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OFFLINE = """
import socket, sys

def refused(*arguments, **options):
    raise OSError(f"the build asked for the network: {arguments}")

socket.getaddrinfo = socket.create_connection = socket.socket.connect = refused
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""


# --- what the pages say -----------------------------------------------------------------------------------------------


def test_the_numbers_of_the_page_on_the_paper_are_counted():
    page = (DOCS / "paper.md").read_text()
    p, pairs = costs.parameters(MISTRAL_7B), costs.attended_pairs
    whole, windowed, dense = pairs(16_384), pairs(16_384, 4096), costs.computed_pairs(16_384, 4096, 4096)
    full = costs.prefill_flops(minimistral.Config(**{**vars(MISTRAL_7B), "window": None}), 16_384)
    for n in (p["total"], reach(32, 4096), reach(32, 4097) - 1, windowed, dense):
        assert f"{n:,}".replace(",", " ") in page
    for share in ("feed_forward", "attention"):
        assert f"{100 * p[share] / p['total']:.1f} %" in page
    assert f"{whole / windowed:.3f} times fewer pairs" in page and f"{dense / windowed:.2f} times as many" in page
    assert f"{full / costs.prefill_flops(MISTRAL_7B, 16_384):.3f} times fewer FLOPs" in page
    cache = costs.cache_bytes(MISTRAL_7B, 32_768)
    assert (cache, cache * 8, cache * 32) == (512 * 2**20, 4 * 2**30, 16 * 2**30)
    assert "512 MiB instead of 4 GiB" in page and "4 GiB instead of 16 GiB" in page
    seconds = re.search(r"takes (\S+) s\nover all keys and (\S+) s", (DOCS / "kernels.md").read_text())
    assert f"{seconds[1]} s without and {seconds[2]} s with the window" in page


def test_the_code_on_the_windows_page_runs():
    code = re.search(r"```python\n(.*?)```", (DOCS / "w_or_w_plus_one.md").read_text(), re.DOTALL)[1]
    exec(compile(code, "docs/w_or_w_plus_one.md", "exec"), {})  # noqa: S102
    assert code.count("assert") == 4


def test_vectors_with_a_mistake_end_with_status_1_as_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    lines = re.findall(r"^    minimistral (vectors .*)$", (DOCS / "vectors_in_ci.md").read_text(), re.MULTILINE)
    assert [line.split()[1] for line in lines] == ["suite", "suite", "wrong", "suite"]
    make, _, fail, judge = (line.split() for line in lines)
    assert (main(make), main(fail), main(judge)) == (0, 0, 1)
    assert "window-plus-one" in capsys.readouterr().out


def test_every_file_of_the_documentation_has_its_own_page():
    """A new page is found by its name in a list (Sphinx warns where it is in none); a new lesson by itself."""
    listed = {
        name for page in DOCS.glob("*.md") for name in re.findall(r"^(\w[\w-]*)$", page.read_text(), re.MULTILINE)
    }
    assert {page.stem for page in DOCS.glob("*.md")} - listed == {"index"}
    assert "../notebooks/*" in (DOCS / "tutorial.md").read_text().splitlines()


def test_a_docstring_is_plain_text(monkeypatch):
    pytest.importorskip("sphinx", reason="sphinx is not installed: pip install '.[docs]'")
    monkeypatch.syspath_prepend(str(DOCS))
    from _sphinx import docstrings

    assert doctest.testmod(docstrings).attempted == 1 and doctest.testmod(docstrings).failed == 0
    lines = ["silu(g) * up", "", "    y = x_", "", "a  one", "b  two", "", ">>> 1"]
    docstrings.convert(None, "function", "f", None, None, lines)
    assert lines == [
        "silu(g) \\* up",
        "",
        "::",
        "",
        "        y = x_",
        "",
        "::",
        "",
        "    a  one",
        "    b  two",
        "",
        ">>> 1",
        "",
    ]


# --- the site ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page has: its ids, its links, what it loads, its pictures' words, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links, self.loads, self.alts, self.tags, self.words = {""}, [], [], [], set(), []
        self.feed(path.read_text("utf-8"))
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        about = dict(attrs)
        self.tags.add(tag)
        self.ids |= {about[key] for key in ("id", "name") if about.get(key)}
        if tag == "a" and "href" in about:
            self.links.append(about["href"])
        if tag == "link" and about.get("rel") not in ("search", "index", "next", "prev"):
            self.loads.append(about["href"])
        if "src" in about:
            self.loads.append(about["src"])
        if tag == "img":
            self.alts.append(about.get("alt", ""))

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built once, by the README's command; no socket may be opened."""
    for name in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install '.[docs]'")
    place = tmp_path_factory.mktemp("build") / "site"
    done = subprocess.run([sys.executable, "-c", OFFLINE, "-W", "-q", "docs", str(place)], cwd=ROOT, text=True,
                          capture_output=True, timeout=1200, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return place


@pytest.fixture(scope="module")
def pages(site):
    return read_pages(site)


def broken_links(site: Path, pages: dict[str, Page]) -> list[tuple[str, str]]:
    """(page, link) of links that lead nowhere, and of what a page loads from elsewhere; external links by syntax only."""
    broken = []
    for name, page in pages.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                external = link in page.links and parts.scheme in ("http", "https") and parts.netloc and " " not in link
                broken += [] if external or parts.scheme == "data" else [(name, link)]
                continue
            target = ((site / name).parent / unquote(parts.path) if parts.path else site / name).resolve()
            there = target.relative_to(site.resolve()).as_posix()
            anchors = pages[there].ids if there in pages else {""}
            if not target.is_file() or unquote(parts.fragment) not in anchors:
                broken.append((name, link))
    return broken


def read_pages(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path) for path in sorted(site.rglob("*.html"))}


def test_planted_broken_links_are_found(tmp_path):
    right = ["b.html", "b.html#here", "#top", "https://example.org/x", "%62.html"]
    wrong = ["c.html", "b.html#there", "#nowhere", "https:///x", "ftp://example.org", "//example.org/x"]
    links = "".join(f'<a href="{link}">x</a>' for link in right + wrong)
    loads = '<script src="https://example.org/x.js"></script><link rel="stylesheet" href="no.css"><img src="data:x">'
    (tmp_path / "a.html").write_text(f'<p id="top">{links}{loads}</p>')
    (tmp_path / "b.html").write_text('<h1 id="here">x</h1>')
    wrong += ["https://example.org/x.js", "no.css"]
    assert broken_links(tmp_path, read_pages(tmp_path)) == [("a.html", link) for link in wrong]


def test_every_link_leads_to_a_page_and_a_place_in_it(site, pages):
    assert broken_links(site, pages) == []
    assert len(pages) > 100 and any(urlsplit(link).fragment for link in pages["docs/record.html"].links)


def test_every_lesson_is_there_with_its_pictures_in_words_and_its_formulas(pages):
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        page = pages[f"notebooks/{path.stem}.html"]
        assert page.alts and all(page.alts), path.name
        assert ("math" in page.tags) == ("$" in prose), path.name
        assert f"notebooks/{path.stem}.html" in str(pages["docs/tutorial.html"].links), path.name


@pytest.mark.parametrize("verb", [verb.__name__.replace("_", "-") for verb in EXAMPLES])
def test_every_option_of_a_command_is_on_the_page_of_commands(verb, pages, capsys):
    assert main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    page = pages["docs/commands.html"]
    assert f"minimistral-{verb}" in page.ids
    missing = {option for option in re.findall(r"--[a-z][a-z-]+", said) if option not in page.text}
    assert missing <= {"--help"}


def test_every_public_name_is_on_the_page_of_python(pages):
    names = {f"minimistral.{name}" for name in minimistral.__all__} | {"fastpath.load", "fastpath.verify.verify"}
    assert names <= pages["docs/api.html"].ids


def test_a_file_of_the_repository_has_a_page_with_its_text(pages):
    for name in ("minimistral/window.py", "tests/reader_in_c/mistral.c", "docs/check.schema.json"):
        words = (ROOT / name).read_text().split()
        found = re.sub(r"\b\d+\b", "", pages[f"source/{name}.html"].text)
        assert all(word in found for word in words if re.fullmatch(r"[A-Za-z_]{4,}", word)), name
    assert "../source/minimistral/window.py.html" in pages["docs/where_is_it.html"].links
    assert "../source/minimistral/exercises.html" in pages["docs/course.html"].links


# --- in a browser -----------------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def visit(browser, address):
    """Open a page of the site; what goes wrong with any is collected in `visit.wrong`. Only the site can be reached."""
    context = browser.new_context(viewport={"width": 400, "height": 800})
    context.set_default_timeout(180_000)  # a machine may be busy
    tab, wrong = context.new_page(), []

    def failed(request):
        if "ABORTED" not in request.failure:  # as when the next page is opened before this one's icon is there
            wrong.append((tab.url, request.url))

    context.route(
        lambda url: not url.startswith(address), lambda route: (wrong.append(route.request.url), route.abort())
    )
    tab.on("console", lambda said: wrong.append((tab.url, said.text)) if said.type in ("error", "warning") else None)
    tab.on("pageerror", lambda error: wrong.append((tab.url, str(error))))
    tab.on("requestfailed", failed)
    tab.on("response", lambda answer: wrong.append((tab.url, answer.url)) if answer.status >= 400 else None)

    def go(name: str):
        tab.goto(address + name)
        return tab

    go.wrong = wrong
    yield go
    context.close()


def test_no_page_asks_for_anything_else_or_complains_or_is_too_wide_for_a_telephone(visit, pages):
    copies = [name for name in pages if name.startswith(("source/", "_modules/"))]
    for name in [name for name in pages if name not in copies] + copies[:3]:
        tab = visit(name)
        if name == "index.html":
            tab.wait_for_url("**/docs/index.html")
        width = tab.evaluate("document.documentElement.scrollWidth")
        assert width <= 400, (name, width)
    assert visit.wrong == []


def test_a_search_for_rolling_buffer_finds_its_lesson(visit):
    tab = visit("search.html?q=rolling+buffer")
    tab.wait_for_selector("#search-results li a")
    tab.wait_for_function("document.querySelector('#search-results .search-summary').innerText.includes('matching')")
    found = tab.eval_on_selector_all("#search-results li a", "links => links.map(link => link.pathname)")
    assert "/notebooks/08_rolling_cache.html" in found and "/docs/where_is_it.html" in found
    tab.wait_for_load_state("networkidle")
    assert visit.wrong == []


def test_light_and_dark_differ_and_both_can_be_read(visit):
    tab = visit("notebooks/07_sliding_window.html")
    seen = {}
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        seen[scheme] = tab.evaluate("""() => [document.body, document.querySelector('article p')].map((element, i) =>
            getComputedStyle(element)[i ? 'color' : 'backgroundColor'].match(/\\d+/g).slice(0, 3).map(Number))""")
    assert seen["light"] != seen["dark"]
    for paper, ink in seen.values():
        assert abs(sum(paper) - sum(ink)) > 450, seen


def test_it_can_be_read_from_the_disk_too(browser, site):
    context, wrong = browser.new_context(offline=True), []
    context.set_default_timeout(180_000)
    tab = context.new_page()
    tab.on("console", lambda said: wrong.append(said.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.goto((site / "index.html").as_uri())
    tab.wait_for_url("**/docs/index.html")
    tab.click(".sidebar-tree >> text=Tutorial")
    tab.click("article >> text=08 ·")
    assert "Slot i mod W" in tab.title() and wrong == []
    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    context.close()
