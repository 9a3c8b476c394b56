"""An X-ray of a run: what each token looks at, what the ring holds, what could come, as a page (docs/explain.md)."""

from minimistral.explain.page import page, write_page
from minimistral.explain.run import Run, look

__all__ = ["Run", "look", "page", "write_page"]
