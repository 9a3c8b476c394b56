"""How the site is made: `pip install '.[docs]'`, then `sphinx-build -W docs build/site`; no network is needed."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]  # the checkout is documented, not what happens to be installed

from minimistral import __version__

project, release = "minimistral", __version__
root_doc = "docs/index"
include_patterns = ["README.md", "docs/*.md", "notebooks/*.ipynb", "fastpath/cpu/steps.md",
                    "minimistral/embedded/*/README.md"]  # fmt: skip
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
extensions += [f"_sphinx.{name}" for name in ("commands", "docstrings", "formulas", "lessons", "repository")]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # what is committed is shown; tests/test_notebooks.py runs it
smartquotes = False  # an option is --json, not a dash and json

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
viewcode_follow_imported_members = True
default_role = "code"

html_title = "minimistral"
html_theme = "furo"
html_static_path, templates_path = ["_static"], ["_templates"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_additional_pages = {"index": "to_first_page.html"}  # the site has the repository's own folders, so links fit both
html_copy_source = html_show_copyright = False
html_math_renderer = "mathml"
pygments_style, pygments_dark_style = "a11y-light", "a11y-dark"
LIGHT = {
    "color-brand-primary": "#00609a",
    "color-brand-content": "#00609a",
    "color-background-primary": "#fffefb",
    "color-background-secondary": "#f7f5f0",
    "color-background-border": "#dedad0",
    "color-foreground-primary": "#1f2126",
}
DARK = {
    "color-brand-primary": "#74bff2",
    "color-brand-content": "#74bff2",
    "color-background-primary": "#191c22",
    "color-background-secondary": "#111318",
    "color-background-border": "#343943",
    "color-foreground-primary": "#ebe8e1",
}
html_theme_options = {"light_css_variables": LIGHT, "dark_css_variables": DARK, "navigation_with_keys": False}


def setup(app: Sphinx) -> None:
    app.srcdir = ROOT  # a page lies below the source folder, and the lessons lie beside docs/
