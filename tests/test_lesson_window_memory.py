"""Lesson 18: its table is the study's, its solutions are the package's, and its pictures show what was counted.

After a new study (docs/data/window-memory.json):

python tests/test_lesson_window_memory.py > minimistral/figures/window_memory.json
"""

import json
from pathlib import Path

import numpy as np
import pytest

from minimistral import Mistral
from minimistral.exercises import find, guesses
from minimistral.figures.window_memory import FILE, measured, recalled, trained
from minimistral.receptive_field import reachable
from minimistral.training.initial import initial_parameters
from minimistral.window import reach
from minimistral.window_memory import models, task

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "data" / "window-memory.json"
COUNTED = ("low", "high", "asked", "right")
AROUND = ("last within", "between the bounds", "beyond both")


def small_table(study: dict) -> str:
    """Of the study's report what the lesson needs, a line a model: counts as (low, high, asked, right)."""

    def model(m: dict) -> str:
        around = {name: [m[name][key] for key in COUNTED] for name in AROUND if name in m}
        bins = [[row[key] for key in COUNTED] for row in m["bins"]]
        return json.dumps({"window": m["window"], "layers": m["layers"], "around": around, "bins": bins})

    kinds = [f'"{kind}": [\n' + ",\n".join(map(model, study[kind])) + "\n]" for kind in ("models", "sudden")]
    return "{\n" + ",\n".join(kinds) + "\n}\n"


def test_the_packaged_table_is_the_studys():
    study = json.loads(DATA.read_text(encoding="utf-8"))
    assert FILE.read_text(encoding="utf-8") == small_table(study)
    for kind in ("models", "sudden"):
        for ours, theirs in zip(measured(kind), study[kind], strict=True):
            assert (ours["window"], ours["layers"], ours["bins"]) == tuple(
                theirs[k] for k in ("window", "layers", "bins")
            )
            assert ours["around"] == {name: theirs[name] for name in ours["around"]}
            assert ours["back"] == (None if theirs["window"] is None else theirs["reach"] - 1)


@pytest.mark.parametrize("seed", range(20))
def test_the_drop_is_where_the_mask_ends(seed):
    n_layers, window = find("predict-drop").make_inputs(np.random.default_rng(seed))
    back = find("predict-drop").solution(n_layers, window)
    assert back == reach(n_layers, window) - 1
    seen = reachable(n_layers, window, T=back + 5)[-1]
    assert len(seen) - 1 - int(seen.argmax()) == back


@pytest.mark.parametrize("seed", range(20))
def test_right_up_to_is_the_studys_own_measure(seed):
    bins, share = find("right-up-to").make_inputs(np.random.default_rng(seed))
    assert find("right-up-to").solution(bins, share) == models.reached(
        [models.shares(*map(int, b)) for b in bins], share
    )
    _, high, asked, right = bins[4]
    assert right / asked == share and find("right-up-to").solution(bins, share) == high - 1
    bins[0, 3] = 0
    assert find("right-up-to").solution(bins, share) == 0


def test_what_is_guessed_of_chance_is_so():
    assert guesses()["never-saw-it"].right == task.CHANCE
    assert guesses()["knows-half"].right == 0.5 + 0.5 * task.CHANCE


def scores_that_change(model: Mistral, distance: int) -> int:
    """At a question, if the colour it asks for is another."""
    text = task.test_text(np.random.default_rng(distance), distance, distance + 1)
    question = np.flatnonzero(text.distances)[0]
    changed, red = text.tokens.copy(), task.ID["red"]
    changed[question - distance] = red + (changed[question - distance] - red + 1) % 8
    assert changed[question - distance] in [task.ID[colour] for colour in task.COLOURS]
    return int((model(text.tokens) != model(changed))[question].sum())


def test_every_score_depends_on_the_colour_up_to_the_wall_and_none_past_it():
    config = models.config_of(8, 2)
    model = Mistral.from_tensors(initial_parameters(config, seed=0), config)
    found = {distance: scores_that_change(model, distance) for distance in (1, 13, 14, 15, 16)}
    assert found == {1: 49, 13: 49, 14: 49, 15: guesses()["one-too-far"].right, 16: 0} and len(task.WORDS) == 49


def test_an_untrained_model_knows_no_colour_and_a_few_steps_teach_it_what_is_near():
    study = models.FULL._replace(curriculum=(), batch_words=720, edges=(1, 2, 14, 16, 20), asked=50)
    for row in recalled(trained(study, 8, 2), study):
        assert row["accuracy"] < task.CHANCE
    near, _, *past = recalled(trained(study._replace(curriculum=((20, 60),)), 8, 2), study)
    assert near["accuracy"] > 0.5 and max(row["accuracy"] for row in past) < 0.3


def test_what_the_lesson_says_of_depth_is_what_the_study_counted():
    far = {(m["window"], m["layers"]): models.reached(m["bins"], 0.95) for m in measured()}
    windows = (16, 32, 64, None)
    assert sum(far[w, 8] >= far[w, 2] for w in windows) == guesses()["deeper-is-farther"].right
    least = min(windows, key=lambda w: far[w, 8])
    assert least is None and guesses()["what-tells"].right == "full"


def test_the_pictures_show_what_was_counted_and_where_the_wall_is():
    pytest.importorskip("matplotlib")
    from minimistral.figures.window_memory import (
        around_the_wall,
        recall_by_distance,
        recall_by_reach,
        recall_of_small_models,
    )

    panels = recall_by_distance().axes
    assert [axes.get_title() for axes in panels] == ["2 layers", "4 layers", "8 layers"]
    for axes, layers in zip(panels, (2, 4, 8), strict=True):
        assert [text.get_text() for text in axes.texts if text.get_text() != "chance"] == [
            str(layers * (window - 1)) for window in (16, 32, 64)
        ]
        assert sum(len(line.get_xdata()) == 25 for line in axes.lines) == 4
    last = [line for line in recall_by_reach().axes[0].lines if len(line.get_xdata()) == 25][-1]
    assert last.get_xdata()[0] == 1 / 504 and last.get_ydata()[0] == measured()[-2]["bins"][0]["accuracy"]
    assert "last four distances within k (W - 1) 39.9 %" in around_the_wall().alt
    rows = [models.shares(1, 2, 8, 8), models.shares(2, 3, 8, 1)]
    picture = recall_of_small_models({"so": rows}, back=1, paper=2)
    assert "so 100 % up to 1, 12 % after it" in picture.alt
    curve = next(line for line in picture.axes[0].lines if line.get_label() == "so")
    assert curve.get_xdata().tolist() == [1, 2] and curve.get_ydata().tolist() == [1, 0.125]


if __name__ == "__main__":
    print(small_table(json.loads(DATA.read_text(encoding="utf-8"))), end="")
