"""A picture that knows its alt text, and one that moves. Loads matplotlib."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from minimistral.errors import BadInput
from minimistral.whole_file import whole_file

DPI = 100


class Picture(Figure):
    """A matplotlib figure that says in words what it shows, in a notebook too."""

    def __init__(self, width: float, height: float, alt: str):
        super().__init__(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")
        self.alt = alt

    def __repr__(self) -> str:
        return f"<picture: {self.alt}>"

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=DPI)
        png = base64.b64encode(buffer.getvalue()).decode()
        return {"image/png": png, "text/plain": repr(self)}, {"image/png": {"alt": self.alt}}

    def save(self, path: Path, dpi: float = DPI) -> None:
        """Write it as .png, .svg or .pdf, with the alt text inside; under a temporary name first. BadInput if it cannot."""
        path = Path(path)
        kinds = {".png": "Description", ".svg": "Description", ".pdf": "Subject"}
        if path.suffix not in kinds:
            raise BadInput(f"{path}: a picture is written as {', '.join(kinds)}")
        about = {kinds[path.suffix]: self.alt}
        with whole_file(path) as partial:
            self.savefig(partial, format=path.suffix[1:], dpi=dpi, metadata=about)


class Film:
    """A picture drawn again for each frame: draw(picture, frame) for frame 0, 1, ... n_frames - 1.

    A film whose axes have fixed places calls `picture.set_layout_engine("none")` first.
    """

    def __init__(self, picture: Picture, draw: Callable[[Picture, int], None], n_frames: int, seconds: float = 1.0):
        self.picture, self.draw, self.n_frames, self.seconds = picture, draw, n_frames, seconds
        self.alt = picture.alt

    def __repr__(self) -> str:
        return f"<film of {self.n_frames} pictures: {self.alt}>"

    def _animation(self):
        from matplotlib.animation import FuncAnimation

        def step(frame: int) -> None:
            self.picture.clear()
            self.draw(self.picture, frame)

        return FuncAnimation(
            self.picture, step, frames=self.n_frames, init_func=lambda: None, interval=1000 * self.seconds
        )

    def save(self, path: Path, dpi: float = DPI) -> None:
        """Write it as .gif, or as a page (.html) with buttons; under a temporary name first. BadInput if it cannot."""
        from matplotlib.animation import PillowWriter

        path = Path(path)
        if path.suffix == ".gif":
            writer = PillowWriter(fps=1 / self.seconds)
            with whole_file(path) as partial:
                self._animation().save(partial, writer=writer, dpi=dpi)
        elif path.suffix == ".html":
            page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{self.alt}</title>\n'
            page += offline(self._animation().to_jshtml(fps=1 / self.seconds)) + "</html>\n"
            with whole_file(path) as partial:
                partial.write_text(page, encoding="utf-8")
        else:
            raise BadInput(f"{path}: a moving picture is written as .gif or .html")

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder) / "film.gif")
            gif = base64.b64encode((Path(folder) / "film.gif").read_bytes()).decode()
        return {"image/gif": gif, "text/plain": repr(self)}, {"image/gif": {"alt": self.alt}}


ICONS = {"minus": "-", "fast-backward": "|<", "step-backward": "<", "play": "\u25b6", "pause": "II",
         "step-forward": ">", "fast-forward": ">|", "plus": "+"}  # fmt: skip


def offline(page: str) -> str:
    """matplotlib's player, with letters in place of the icons that it would load from the network."""
    letters = "".join(f".fa-{name}::before{{content:'{letter}'}}" for name, letter in ICONS.items())
    turned = ".fa-flip-horizontal{display:inline-block;transform:scaleX(-1)}"
    style = f"<style>.fa{{font-style:normal}}{turned}{letters}</style>"
    return re.sub(r'<link rel="stylesheet"\s+href="https://[^"]*">', style, page)
