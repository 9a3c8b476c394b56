"""Held-out quality: perplexity is what its definition says, and the page says what the data say.

After a new measurement:

python -m minimistral.quality --json docs/data/quality.json
python tests/test_quality.py > docs/quality.md
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from checkpoint_folders import SMALL, make

from minimistral import quality
from minimistral.mistral import Mistral

DOCS = Path(__file__).parents[1] / "docs"
DATA = DOCS / "data" / "quality.json"
TEXTS = [np.random.default_rng(n).integers(31, size=length).tolist() for n, length in enumerate((9, 17, 2, 26, 5, 11))]
HEAD = """\
# Held-out quality

The embedded storyteller on {of}: {texts} texts, {tokens} tokens, BOS before and EOS after each. Written by

    python -m minimistral.quality --json docs/data/quality.json
    python tests/test_quality.py > docs/quality.md

Nats are the mean of -log p of a token given those before it; perplexity is e^nats. The model was trained with W = {window} in
each of its {layers} layers. The columns to the right are nats by the position that predicts, all texts together; {counts}
texts reach them.

"""
TAIL = """
- The arithmetic: `exact` and `float32` read the same bfloat16 weights and differ in rounding alone; `bfloat16` also rounds
  every activation. {arithmetic}
- The loss past the window, W = {window}: {past}. A token past W has lost the first ones from its own window; what the layers
  hand on of them is another question ([window_memory.md](window_memory.md)).
- A smaller window (W = {smaller}: {smaller_nats} nats): what a head learnt to look for further back is not there any more.
- A larger one (W = {larger}: {larger_nats} nats; none: {none_nats}) changes nothing up to W. Past it, keys are seen at
  distances that training never showed: RoPE turns them by angles that no head was fitted to, so nothing keeps their scores
  low, and softmax takes weight for them from the keys that count.
"""


def page(data: dict) -> str:
    """The whole page."""
    rows = {(r["arithmetic"], r["window"]): r for r in data["rows"]}
    window = data["window"]
    own, (smaller, larger) = rows["float32", window], (window // 2, 2 * window)
    inside = [n for n, (low, _) in zip(own["by position"], data["positions"], strict=True) if low < window]
    beyond = [n for n, (low, _) in zip(own["by position"], data["positions"], strict=True) if low >= window]
    exact, narrow = rows["exact", window]["nats"], rows["bfloat16", window]["nats"]
    about = {
        "window": window,
        "arithmetic": f"Here bfloat16 is {narrow - exact:+.4f} nats away from exact, and float32 {own['nats'] - exact:+.5f}.",
        "past": f"{', '.join(f'{n:.3f}' for n in beyond)} nats; just before it {inside[-1]:.3f}",
        "smaller": smaller,
        "larger": larger,
        "smaller_nats": f"{rows['float32', smaller]['difference']:+.3f}",
        "larger_nats": f"{rows['float32', larger]['difference']:+.3f}",
        "none_nats": f"{rows['float32', None]['difference']:+.3f}",
    }
    counts = ", ".join(map(str, data["texts that reach them"]))
    head = {key: data[key] for key in ("of", "texts", "tokens", "window", "layers")}
    return HEAD.format(counts=counts, **head) + "\n".join(quality.table(data)) + "\n" + TAIL.format(**about)


def test_the_loss_of_a_token_is_that_of_its_prefix_alone():
    model = Mistral.random(SMALL, arithmetic="float64")
    found = quality.losses(model, TEXTS)
    assert [len(nats) for nats in found] == [len(text) - 1 for text in TEXTS]
    for text, nats in zip(TEXTS, found, strict=True):
        for t in (0, len(text) - 2):
            z = model.next_logits(text[: t + 1])
            assert nats[t] == pytest.approx(-math.log(math.exp(z[text[t + 1]]) / sum(map(math.exp, z))), rel=1e-12)


def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary():
    model = Mistral.random(SMALL)
    model.weights.output[...] = 0
    found = quality.losses(model, TEXTS)
    row = quality.row("exact", 5, found, found, [(0, 2), (2, 25)])
    assert row["perplexity"] == 31
    assert row["by position"] == [round(math.log(31), 4)] * 2
    assert row["difference"] == row["standard error"] == 0


def test_the_difference_is_of_all_tokens_and_its_error_near_the_jackknifes():
    rng = np.random.default_rng(0)
    own = [rng.random(size) for size in rng.integers(20, 60, size=40)]
    other = [nats + 0.1 + 0.05 * rng.standard_normal() for nats in own]
    row = quality.row("float32", 3, other, own, [(0, 60)])
    size, total = (np.array([f(o, n) for o, n in zip(own, other, strict=True)])
                   for f in (lambda o, n: len(o), lambda o, n: (n - o).sum()))  # fmt: skip
    left_out = (total.sum() - total) / (size.sum() - size)
    jackknife = math.sqrt((len(own) - 1) / len(own) * ((left_out - left_out.mean()) ** 2).sum())
    assert row["difference"] == pytest.approx(total.sum() / size.sum(), abs=1e-5)
    assert row["standard error"] == pytest.approx(jackknife, rel=0.05)


def test_another_window_changes_what_lies_past_it_and_nothing_before(tmp_path):
    report = quality.measure(make(tmp_path / "model", "mistral"), 5, TEXTS)
    assert [(r["arithmetic"], r["window"]) for r in report["rows"][:4]] == [
        ("exact", 5), ("exact", None), ("float32", 5), ("float32", None)]  # fmt: skip
    assert report["positions"][:4] == [[0, 1], [1, 2], [2, 5], [5, 10]]
    assert report["texts that reach them"][0] == len(TEXTS)
    rows = {r["window"]: r["by position"] for r in report["rows"] if r["arithmetic"] == "float32"}
    assert rows[None][:3] == rows[10][:3] == rows[5][:3] and rows[2][:2] == rows[5][:2]
    assert rows[None][3] != rows[5][3] and rows[2][2] != rows[5][2]
    assert rows[10][3] == rows[None][3] and rows[20] != rows[10]
    own = next(r for r in report["rows"] if r["arithmetic"] == "float32")
    assert f"| float32 | 5 | {own['perplexity']:.3f} | +0.0000 ± 0.0000 |" in page({"of": "drawn ids"} | report)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--texts", "0"], "--texts: '0', expected a whole number from 1 to 1000000"),
        (["--text", "missing.txt"], "missing.txt"),
        (["--text", "empty.txt"], "--text: empty.txt: 0 tokens, expected 2 or more"),
        (["--json", "no/such.json"], "--json: "),
    ],
)
def test_a_bad_command_line_is_one_clear_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("")
    assert quality.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1


def test_a_text_is_cut_into_pieces_that_each_begin_anew(tmp_path):
    tokenizer = Mistral.from_pretrained().tokenizer
    (tmp_path / "a.txt").write_text("The fox sat in the old house and looked at the moon. " * 3)
    pieces = quality.file_texts(tokenizer, tmp_path / "a.txt", 20, 100)
    assert all(piece[0] == tokenizer.bos_id and len(piece) <= 20 for piece in pieces)
    ids = tokenizer.encode((tmp_path / "a.txt").read_text(), bos=False)
    assert [t for piece in pieces for t in piece[1:]] == ids
    assert quality.file_texts(tokenizer, tmp_path / "a.txt", 20, 2) == pieces[:2]


def test_the_page_is_what_the_data_say():
    if not DATA.exists():
        pytest.skip("docs/data/quality.json: not measured yet")
    assert (DOCS / "quality.md").read_text(encoding="utf-8") == page(json.loads(DATA.read_text(encoding="utf-8")))


if __name__ == "__main__":
    print(page(json.loads(DATA.read_text(encoding="utf-8"))), end="")
