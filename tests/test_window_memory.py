"""What the window remembers: the task asks what it says, the scores are right, and the page says what the data say.

After a new study: its window-memory.json and .png go to docs/data/, then

python tests/test_window_memory.py > docs/window_memory.md
"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minimistral.errors import BadInput
from minimistral.mistral import Mistral
from minimistral.training.initial import initial_parameters
from minimistral.training.model import loss_only
from minimistral.window_memory import models, run, task
from minimistral.window_memory.command import main

DOCS = Path(__file__).parents[1] / "docs"
DATA = DOCS / "data" / "window-memory.json"
TINY = models.Study((5, None), (2,), ((32, 2), (48, 1)), 96, 3e-3, (1, 2, 4, 8, 9, 16), 8)
HEAD = """\
# What the window remembers

With a window of W keys, k layers see k (W - 1) + 1 tokens; the paper says about k x W. That is how far information *can*
go. How far does it go in a trained model? Small models ({parameters} parameters, {layers} layers, width 64, 4 query and 2
key/value heads) were trained by [minimistral.training](../minimistral/training/model.py) to carry facts:

    {sample}

A fact is an object and its colour (`lamp red`); `lamp?` asks for the colour, after anything from 1 to {last} words about other
things. Four facts stand in a text, so the right one has to be looked up. The answer is the target at the question and is
never written: no question helps a later one by a new mention, and no other word takes part in the loss. All models see the
same {steps} batches of {batch_words} words; the texts of a batch grow longer: {curriculum} words. All of it:

    python -m minimistral.window_memory --output memory --jobs 2
    python -m minimistral.window_memory --output memory-small --small --jobs 2

The second is a small version, five minutes on two cores; [lesson 18](../notebooks/18_window_memory.ipynb) trains a smaller one
still, and reads this one. Asked are fresh texts, about {asked} questions for each of {bins} bins
of distances, by `Mistral` in float32; each fact is asked for once, and with colours alike a guess is right {chance} of the time.

![Recall against distance, a panel for each window and one for full attention](data/window-memory.png)

"""


def spread(rows: list[dict]) -> str:
    """A share in per cent, of one or more rows."""
    found = models.pooled(rows)
    low, high = (100 * bound for bound in found["interval"])
    return f"{100 * found['accuracy']:.1f} % ({low:.1f} to {high:.1f})"


def table(data: dict) -> list[str]:
    """A row a model."""
    lines = [
        "| window | layers | sees back, k (W - 1) | 95 % right up to | 50 % right up to | of what it sees | facts removed |",
        "| --- " * 7 + "|",
    ]
    for m in data["models"]:
        seen = None if m["window"] is None else m["reach"] - 1
        cells = [
            "full" if seen is None else str(m["window"]),
            str(m["layers"]),
            "all" if seen is None else str(seen),
            str(m["95 % right up to"]),
            str(m["50 % right up to"]),
            "" if seen is None else f"{100 * min(1, m['50 % right up to'] / seen):.0f} %",
            spread([m["control"]]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def by_depth(windowed: list[dict]) -> str:
    """The share right at the last four distances that k layers see, model by model."""
    parts = []
    for depth in sorted({m["layers"] for m in windowed}):
        some = [m for m in windowed if m["layers"] == depth]
        shares = ", ".join(f"{100 * m['last within']['accuracy']:.0f} %" for m in some)
        parts.append(f"with {depth} layers {shares} (W = {', '.join(str(m['window']) for m in some)})")
    return "; ".join(parts)


def conclusions(found: list[dict]) -> list[str]:
    """What the table says, a line for each depth; the words after it are about the committed data."""
    lines = ["## What was found", ""]
    windowed = [m for m in found if m["window"] is not None]
    for depth in sorted({m["layers"] for m in found}):
        some = [m for m in windowed if m["layers"] == depth]
        shares = sorted({round(100 * min(1, m["50 % right up to"] / (m["reach"] - 1))) for m in some})
        safe = ", ".join(f"{m['95 % right up to'] / m['window']:.1f} W" for m in some)
        lines.append(
            f"- {depth} layers: half of the answers are right up to {' to '.join(map(str, {shares[0]: 0, shares[-1]: 0}))} % of what "
            f"they see, 95 % of them up to {safe} (W = {', '.join(str(m['window']) for m in some)})."
        )
    return [
        *lines,
        (
            "- Up to: by bins of distances, of which the last may stretch across the bound. Within it recall falls: at the last "
            f"four distances that are seen it is, {by_depth(windowed)}."
        ),
        "- Past what the layers see every model guesses: that bound is a wall.",
        (
            "- Up to the wall a memory has to be learnt. Two and four layers learn to hand a fact on nearly as far as they see; "
            "eight, with the same steps and batches, do not. Nor do eight with full attention, which need hand nothing on: so "
            "these fall short by their training, and not by their window. More steps for them were not tried."
        ),
    ]


def page(data: dict) -> str:
    """The whole page."""
    study, found = data["study"], data["models"]
    sizes = sorted({m["parameters"] for m in found})
    about = {
        "parameters": f"{sizes[0]} to {sizes[-1]}",
        "layers": ", ".join(map(str, study["layers"])),
        "sample": task.in_words(task.test_text(np.random.default_rng(4), 5, 6).tokens[:30]),
        "last": study["edges"][-1] - 1,
        "steps": sum(n for _, n in study["curriculum"]),
        "curriculum": ", ".join(str(length) for length, _ in study["curriculum"]),
        "batch_words": study["batch_words"],
        "asked": study["asked"],
        "bins": len(study["edges"]) - 1,
        "chance": f"{100 * study['chance']:.1f} %",
    }
    windowed = [m for m in found if m["window"] is not None]
    around = {key: spread([m[key] for m in windowed]) for key in ("last within", "between the bounds", "beyond both")}
    minutes = sum(sum(m["processor seconds"].values()) for m in found + data["sudden"]) / 60
    (gone,) = data["sudden"]
    same = next(m for m in found if (m["window"], m["layers"]) == (gone["window"], gone["layers"]))
    within, within_same = (spread([b for b in m["bins"] if b["high"] <= m["window"]]) for m in (gone, same))
    lines = [
        HEAD.format(**about),
        *conclusions(found),
        "",
        "## By model",
        "",
        *table(data),
        "",
        (
            "Distances in words, from the question back to the colour word; 'up to' is the end of the last bin before the first "
            "that falls short. 'Of what it sees': the half-way distance against k (W - 1)."
        ),
        "",
        "## At the bound",
        "",
        f"- The last four distances that k layers see: {around['last within']} right, all windowed models together.",
        (
            f"- Past k (W - 1), up to the paper's k W: {around['between the bounds']}. W keys are seen, the query's own included, "
            "so k W is never quite reached."
        ),
        f"- Past both: {around['beyond both']}, and chance is {about['chance']}.",
        "",
        "## The curriculum",
        "",
        (
            f"The model with W = {gone['window']} and {gone['layers']} layers, with as many steps but all of them on the longest "
            f"texts, is right {within} of the time at distances below W (with the curriculum {within_same}), and half right up to "
            f"{gone['50 % right up to']} (with it {same['50 % right up to']})."
        ),
        "",
        f"{minutes:.0f} core-minutes in all.",
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(5))
def test_a_question_has_its_answer_at_its_distance_and_nowhere_nearer(seed):
    rng = np.random.default_rng(seed)
    for text in (task.training_text(rng, 64), task.test_text(rng, 7, 12)):
        asked = np.flatnonzero(text.distances)
        assert len(asked) >= task.FACTS
        for t in asked:
            at = t - text.distances[t]
            thing = task.WORDS[text.tokens[t]].removesuffix("?")
            assert text.tokens[at] == text.answers[t]
            assert task.in_words(text.tokens[at - 1 : at + 1]) == f"{thing} {task.WORDS[text.answers[t]]}"
            assert (text.tokens == task.ID[thing]).sum() == 1
        assert (text.answers > 0).sum() == len(asked)


def test_the_distances_asked_are_those_of_the_bin_and_all_of_them_come():
    rng = np.random.default_rng(0)
    found = np.concatenate([task.test_text(rng, 7, 12).distances for _ in range(40)])
    assert set(found[found > 0].tolist()) == {7, 8, 9, 10, 11}


def test_the_control_names_no_object_and_no_colour_but_asks_the_same():
    rng = np.random.default_rng(0)
    text = task.test_text(rng, 7, 12)
    control = task.without_facts(rng, text)
    words = set(task.in_words(control.tokens).split())
    assert not words & {*task.OBJECTS, *task.COLOURS}
    assert words & {f"{name}?" for name in task.OBJECTS}
    assert (control.answers == text.answers).all()
    changed = control.tokens != text.tokens
    assert changed.sum() == 2 * task.FACTS


def test_training_sees_what_mistral_reads():
    config = replace(models.SIZE, window=5)
    parameters = initial_parameters(config, 3)
    texts = [task.training_text(np.random.default_rng(n), length) for n, length in enumerate((40, 57))]
    model, nats = Mistral.from_tensors(parameters, config, "float32"), 0.0
    for text in texts:
        z = model(text.tokens).astype(np.float64)
        log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
        asked = np.flatnonzero(text.distances)
        nats -= log_p[asked, text.answers[asked]].sum()
    assert loss_only(parameters, config, task.batch_of(texts)) == pytest.approx(nats, rel=1e-5)


def test_every_model_is_trained_on_the_same_texts(monkeypatch):
    seen = []
    monkeypatch.setattr(models, "batch_of", lambda texts: seen.append(texts) or task.batch_of(texts))
    for window in TINY.windows:
        models.train(TINY, models.config_of(window, 2))
    first, second = seen[:3], seen[3:]
    assert [[len(text.tokens) for text in batch] for batch in first] == [[32, 32, 32]] * 2 + [[48, 48]]
    assert all(
        (a.tokens == b.tokens).all() for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_training_lowers_the_loss_and_the_same_seed_gives_the_same_weights():
    study = TINY._replace(curriculum=((32, 25),), batch_words=256)
    parameters, losses = models.train(study, models.config_of(5, 2))
    again, _ = models.train(study, models.config_of(5, 2))
    assert np.mean(losses[-3:]) < losses[0] - 0.5
    assert all((parameters[name] == again[name]).all() for name in parameters)


class Reader:
    """Stands for a model: it knows the fact if it lies within what k layers see, and else says 'lamp', which is wrong."""

    def __init__(self, config):
        self.seen = config.n_layers * (config.window - 1)

    def new_cache(self):
        return None

    def hidden(self, sequences, caches):
        (tokens,) = sequences
        h = np.ones(len(tokens), int)
        for t, token in enumerate(tokens):
            name = task.WORDS[token]
            facts = np.flatnonzero(tokens == task.ID.get(name.removesuffix("?"), -1)) if name.endswith("?") else []
            if len(facts) and t - (facts[0] + 1) <= self.seen:
                h[t] = tokens[facts[0] + 1]
        return h

    def output(self, h):
        return np.eye(len(task.WORDS))[h]


def test_a_model_that_reads_to_the_end_of_its_reach_scores_so(monkeypatch):
    monkeypatch.setattr(models, "Mistral", SimpleNamespace(from_tensors=lambda weights, config, _: Reader(config)))
    found = models.recall(TINY, models.config_of(5, 2), {})
    assert [row["accuracy"] for row in found["bins"]] == [1, 1, 1, 1, 0]  # the fourth bin is distance 8 alone
    assert found["last within"]["accuracy"] == 1
    assert found["between the bounds"]["accuracy"] == found["beyond both"]["accuracy"] == 0
    assert found["control"]["accuracy"] == 0
    assert models.reached(found["bins"], 0.95) == 8
    assert all(row["asked"] >= TINY.asked for row in found["bins"])


def test_the_whole_study_is_run_and_what_is_finished_is_not_done_again(tmp_path, monkeypatch):
    for kind, study in (("tiny", TINY), ("tiny, sudden", models.sudden(TINY, 5, 2))):
        monkeypatch.setitem(run.STUDIES, kind, study)
    monkeypatch.setattr(run, "ProcessPoolExecutor", lambda jobs, mp_context: ThreadPoolExecutor(jobs))
    assert sorted(run.run("tiny", tmp_path, "numpy", 1)) == ["W5-L2", "W5-L2", "full-L2"]
    (tmp_path / "full-L2.json").unlink()  # as after a run that was stopped
    assert list(run.run("tiny", tmp_path, "numpy", 1)) == ["full-L2"]
    report = run.whole_report("tiny", tmp_path)
    assert [m["window"] for m in report["models"]] == [5, None]
    assert len(page(report).splitlines()) > 30


def test_a_finished_model_is_kept_and_another_study_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(run.STUDIES, "tiny", TINY)
    name = run.one_model("tiny", 5, 2, tmp_path, "numpy")
    kept = run.finished(tmp_path, TINY, name)
    assert kept["reach"] == 9 and kept["paper's bound"] == 10
    assert run.finished(tmp_path, TINY, run.name_of(None, 2)) is None
    assert (tmp_path / f"{name}.safetensors").exists()
    with pytest.raises(BadInput, match="other settings"):
        run.finished(tmp_path, TINY._replace(seed=1), name)
    (tmp_path / f"{name}.json").write_text("{")
    with pytest.raises(BadInput, match="cannot be read"):
        run.finished(tmp_path, TINY, name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "0"], "--jobs: '0', expected a whole number from 1 to 64"),
        (["--backend", "cuda"], "--backend: 'cuda', expected one of auto, numpy, cpu"),
        (["--output", "a-file"], "--output: a-file: "),
        (["--epochs", "3"], "unrecognized arguments: --epochs 3"),
    ],
)
def test_a_bad_command_line_is_one_clear_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    assert main(["--output", "folder", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def made_up_report() -> dict:
    """A report with every key, from counts that were not measured."""
    rows = [
        models.shares(low, high, 8, 8 if high < 9 else 1) for low, high in zip((1, 2, 4, 8), (2, 4, 8, 16), strict=True)
    ]
    around = {key: rows[-1] for key in ("last within", "between the bounds", "beyond both")}
    both = {"parameters": 7, "95 % right up to": 7, "50 % right up to": 7, "bins": rows, "control": rows[-1], "layers": 2,
            "processor seconds": {"training": 60}}  # fmt: skip
    windowed = both | around | {"window": 5, "reach": 9, "paper's bound": 10}
    full = both | {"window": None, "reach": None, "paper's bound": None}
    return {"study": run.as_json(TINY), "models": [windowed, full], "sudden": [windowed]}


def test_the_figure_says_in_words_what_it_shows():
    pytest.importorskip("matplotlib", reason="the figure needs matplotlib")
    from minimistral.window_memory.figure import figure

    picture = figure(made_up_report())
    assert "window 5, 2 layers: half right up to 7" in picture.alt
    panel, full = picture.axes[:2]
    assert len(panel.lines) == 5 and len(full.lines) == 2  # chance and the curve; k (W - 1), k W, W
    assert [line.get_xdata()[0] for line in panel.lines[2:]] == [8, 10, 5]


def test_the_table_has_a_row_a_model():
    text = page(made_up_report())
    assert "| 5 | 2 | 8 | 7 | 7 | 88 % | 12.5 %" in text
    assert "| full | 2 | all | 7 | 7 |  | 12.5 %" in text


def test_the_page_is_what_the_data_say():
    if not DATA.exists():
        pytest.skip("docs/data/window-memory.json: the study has not been run")
    assert (DOCS / "window_memory.md").read_text(encoding="utf-8") == page(json.loads(DATA.read_text(encoding="utf-8")))
    assert (DOCS / "data" / "window-memory.png").exists()


if __name__ == "__main__":
    print(page(json.loads(DATA.read_text(encoding="utf-8"))), end="")
