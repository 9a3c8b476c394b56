"""A lesson's title gets its number, and its pictures the alt texts that stand beside them in the notebook."""

import base64
import hashlib
import json
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


def words(notebook: Path) -> dict[str, str]:
    """{SHA-256 of a picture, which is the name that its file gets: its alt text}."""
    found = {}
    for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            for kind, about in output.get("metadata", {}).items():
                if kind.startswith("image/") and "alt" in about:
                    picture = base64.b64decode("".join(output["data"][kind]))
                    found[hashlib.sha256(picture).hexdigest()] = about["alt"]
    return found


class Lesson(SphinxTransform):
    default_priority = 100

    def apply(self) -> None:
        page = Path(self.env.doc2path(self.env.docname))
        if page.suffix != ".ipynb":
            return
        title = next(self.document.findall(nodes.title))
        title.insert(0, nodes.Text(f"{page.stem[:2]} \u00b7 "))
        known = words(page)
        for image in self.document.findall(nodes.image):
            image["alt"] = known.get(Path(image["uri"]).stem, "")


def setup(app: Sphinx) -> dict:
    app.add_transform(Lesson)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
