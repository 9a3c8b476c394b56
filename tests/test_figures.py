"""Pictures are made from real arrays, say what they show, and the committed one is the function's."""

import inspect
import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from minimistral.figures import figures
from minimistral.figures.answer import answer_picture
from minimistral.figures.picture import Film, Picture

ROOT = Path(__file__).parents[1]
FIGURES = figures()


def picture_of(made) -> Picture:
    """The picture itself; of a film its last frame."""
    if isinstance(made, Film):
        made.draw(made.picture, made.n_frames - 1)
        return made.picture
    return made


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_says_what_it_shows_and_labels_its_axes(name):
    made = FIGURES[name]()
    assert isinstance(made, Picture | Film)
    picture = picture_of(made)
    assert len(made.alt) > 20 and "\n" not in made.alt
    assert inspect.getdoc(FIGURES[name]) and all(
        p.default is not inspect.Parameter.empty for p in inspect.signature(FIGURES[name]).parameters.values()
    )
    for axes in (a for a in picture.axes if a.axison and a.get_label() != "<colorbar>"):
        xs = [s.get_xlabel() for s in [axes, *axes.get_shared_x_axes().get_siblings(axes)]]
        ys = [s.get_ylabel() for s in [axes, *axes.get_shared_y_axes().get_siblings(axes)]]
        named = [
            re.search("[a-z]", str([t.get_text() for t in ticks]))
            for ticks in (axes.get_xticklabels(), axes.get_yticklabels())
        ]
        assert any(xs) or named[0] or picture.get_supxlabel() or not axes.get_xticks().size, (
            f"{axes.get_title()}: x has no label"
        )
        assert any(ys) or named[1] or picture.get_supylabel() or not axes.get_yticks().size, (
            f"{axes.get_title()}: y has no label"
        )
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png")
    assert len(buffer.getvalue()) < 150_000 and picture.get_figwidth() <= 11.5


def test_importing_the_figures_does_not_load_matplotlib():
    code = "import sys; from minimistral.figures import figures; figures(); print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_the_grid_picture_shows_one_result_for_integers_and_many_for_float32():
    picture = FIGURES["sums-on-a-grid"]()
    labels = [label for axes in picture.axes for label in axes.get_legend_handles_labels()[1]]
    assert "exact: 1 result" in labels
    assert any(label.startswith("float32: ") and int(label.split()[1]) > 10 for label in labels)


def test_the_committed_picture_has_the_functions_size():
    from matplotlib.image import imread

    width, height = FIGURES["sums-on-a-grid"]().get_size_inches()
    picture = imread(ROOT / "docs" / "pictures" / "grid.png")
    assert picture.shape[:2] == (round(height * 110), round(width * 110))
    assert (ROOT / "docs" / "pictures" / "grid.png").stat().st_size < 150_000


@pytest.mark.parametrize("shape", [(3, 5), (7,), (2, 3, 4), (100, 90)])
def test_a_wrong_array_is_drawn_beside_the_right_one(shape):
    right = np.random.default_rng(0).standard_normal(shape)
    mine = right.copy()
    mine[(1,) * len(shape)] = np.nan
    mine[(0,) * len(shape)] += 1
    picture = answer_picture(mine, right, ("row", "column"))
    titles = [axes.get_title() for axes in picture.axes[:3]]
    expected = ["yours and right", "difference", ""] if len(shape) == 1 else ["yours", "right", "difference"]
    assert [re.sub(r" at .*", "", t) for t in [*titles, ""]][:3] == expected
    picture.savefig(io.BytesIO(), format="png")


def test_a_mask_of_zeros_and_ones_is_drawn_as_a_mask_and_its_axes_have_names():
    right = np.tri(4, 6, dtype=bool)
    as_bools, as_floats = (answer_picture(mine, right, ("query", "key")) for mine in (~right, 1.0 - right))
    assert len(as_floats.axes) == len(as_bools.axes) == 3, "no scale of colours"
    assert (as_floats.axes[0].get_ylabel(), as_floats.axes[0].get_xlabel()) == ("query", "key")


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_picture_is_written_whole_with_its_words_inside(suffix, tmp_path):
    path = tmp_path / f"masks{suffix}"
    FIGURES["window-masks"]().save(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix != ".pdf":
        assert b"two masks" in path.read_bytes()


@pytest.mark.parametrize("suffix", [".gif", ".html"])
def test_a_film_is_written_whole_and_asks_nothing_of_the_network(suffix, tmp_path):
    path = tmp_path / f"ring{suffix}"
    FIGURES["ring-film"]().save(path, dpi=50)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == ".html":
        page = path.read_text()
        assert "https://" not in page.replace("https://www.w3.org", "") and page.count("data:image/png") == 13
    else:
        assert path.read_bytes()[:6] == b"GIF89a"
