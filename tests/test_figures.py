"""Pictures are made from real arrays, and the committed ones are those."""

import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from pathlib import Path

from minimistral.figures import grid_figure

DOCS = Path(__file__).parents[1] / "docs"


def test_the_grid_picture_shows_one_result_for_integers_and_many_for_float32():
    figure = grid_figure()
    labels = [label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]]
    assert "exact: 1 result" in labels
    assert any(label.startswith("float32: ") and int(label.split()[1]) > 10 for label in labels)


def test_the_committed_picture_has_the_functions_size():
    from matplotlib.image import imread

    width, height = grid_figure().get_size_inches()
    picture = imread(DOCS / "pictures" / "grid.png")
    assert picture.shape[:2] == (round(height * 110), round(width * 110))
    assert (DOCS / "pictures" / "grid.png").stat().st_size < 150_000
