"""Formulas as MathML: browsers draw it themselves, so no script and no font has to come with the site."""

import re
from html import escape

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

GROWS = re.compile(r"\\[bB]ig[lr]?(?![a-z])")  # a bracket in MathML is as tall as what it holds, without being told


def mathml(node: nodes.Element, block: bool) -> str:
    """One formula; a warning, and its source, where it cannot be read."""
    try:
        return tex2mathml(GROWS.sub("", node.astext()), as_block=block)
    except MathError as error:
        logging.getLogger(__name__).warning("formula: %s", error, location=node)
        return f"<code>{escape(node.astext())}</code>"


def inline(self, node: nodes.math) -> None:
    self.body.append(mathml(node, block=False))
    raise nodes.SkipNode


def displayed(self, node: nodes.math_block) -> None:
    self.body.append(f'<div class="formula">{mathml(node, block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    app.add_html_math_renderer("mathml", (inline, None), (displayed, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
