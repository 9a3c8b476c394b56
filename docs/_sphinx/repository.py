"""Links to files and folders of the repository that are no page of the site: each gets a page with its text.

So a link such as ../minimistral/rope.py works on a code host and in the site, and `minimistral/rope.py` is a link too.
"""

import ast
from collections.abc import Iterator
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

LANGUAGES = {".py": "python", ".c": "c", ".md": "markdown", ".css": "css", ".html": "html", ".js": "js"}
LINKS = (addnodes.download_reference, addnodes.pending_xref)


def text_of(path: Path) -> str | None:
    """The text of a file; None if it is none, or no text."""
    try:
        return path.read_text("utf-8") if path.is_file() else None
    except UnicodeDecodeError:
        return None


def has_modules(path: Path) -> bool:
    return any(path.glob("*.py"))


def within(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    """Whether a node stands inside one of these."""
    while (node := node.parent) is not None:
        if isinstance(node, kinds):
            return True
    return False


def page_of(path: Path, root: Path) -> str:
    return f"source/{path.relative_to(root).as_posix()}"


class LinksToFiles(SphinxTransform):
    default_priority = 100

    def apply(self) -> None:
        here = (self.app.srcdir / self.env.docname).parent
        for node in list(self.document.findall(lambda node: isinstance(node, LINKS))):
            if isinstance(node, addnodes.download_reference) or not node.get("refdomain"):
                self.link(node, node.children, here / node["reftarget"])
        for node in list(self.document.findall(nodes.literal)):
            text = node.astext()
            if "/" in text and " " not in text and not within(node, (nodes.title, nodes.reference, *LINKS)):
                self.link(node, [node.deepcopy()], self.app.srcdir / text)

    def link(self, node: nodes.Element, shown: list[nodes.Node], path: Path) -> None:
        """Put a link to the path's page in place of a node, if there is such a text or folder in the repository."""
        path, root = path.resolve(), Path(self.app.srcdir)
        pagename = self.env.path2doc(path)
        if root not in path.parents or not (text_of(path) or has_modules(path)):
            return
        if pagename not in self.env.found_docs:
            pagename = page_of(path, root)
        uri = self.app.builder.get_relative_uri(self.env.docname, pagename)
        made = nodes.reference("", "", *shown, refuri=uri, internal=True)
        if pagename.startswith("source/"):
            made["repository"] = path.relative_to(root).as_posix()
        node.replace_self(made)


def linked(app: Sphinx) -> set[Path]:
    """All files and folders that a page links to, and the modules of these folders."""
    trees = (app.env.get_doctree(name) for name in app.env.found_docs)
    links = (link for tree in trees for link in tree.findall(nodes.reference) if "repository" in link)
    paths = {Path(app.srcdir) / link["repository"] for link in links}
    return paths.union(*(path.glob("*.py") for path in paths))


def pages(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    root = Path(app.srcdir)
    for path in sorted(linked(app)):
        name = path.relative_to(root).as_posix()
        body = folder_body(app, path) if path.is_dir() else file_body(app, path)
        yield page_of(path, root), {"title": name, "body": f"<h1>{escape(name)}</h1>\n{body}"}, "page.html"


def file_body(app: Sphinx, path: Path) -> str:
    language = LANGUAGES.get(path.suffix, "text")
    return app.builder.highlighter.highlight_block(text_of(path), language, linenos="inline")


def folder_body(app: Sphinx, folder: Path) -> str:
    """The modules of a folder, each with the first line of its docstring."""
    rows = []
    for path in sorted(folder.glob("*.py")):
        said = (ast.get_docstring(ast.parse(text_of(path))) or "").split("\n")[0]
        pages = [page_of(p, Path(app.srcdir)) for p in (folder, path)]
        rows.append(f'<dt><a href="{app.builder.get_relative_uri(*pages)}">{path.name}</a></dt><dd>{escape(said)}</dd>')
    return f"<dl>{''.join(rows)}</dl>"


def setup(app: Sphinx) -> dict:
    app.add_transform(LinksToFiles)
    app.connect("html-collect-pages", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
