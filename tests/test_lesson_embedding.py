"""Lesson 02: its solutions are what the model does, and its pictures are drawn from the model's own stream."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib")

from minimistral import Mistral
from minimistral.exercises import find, guesses
from minimistral.figures.embedding import TABLE, TEXT, shares_of_the_stream, who_wrote_how_much, written


def test_the_solution_fetches_the_rows_that_the_model_starts_from():
    model = Mistral.from_pretrained(arithmetic="float32")
    ids = model.tokenizer.encode(TEXT)
    table = model.weights.tok_embeddings.astype(np.float32)
    assert np.array_equal(find("embed").solution(table, ids), model.trace(ids, only="embedding")["embedding"])
    assert guesses()["fetched-row"].right == list(TABLE[4])


def test_the_parts_sum_to_the_final_stream_and_the_picture_shows_their_shares():
    model = Mistral.from_pretrained(arithmetic="float64")
    pieces, names, parts = written(TEXT)
    final = model.trace(model.tokenizer.encode(TEXT), only="layers.5.output")["layers.5.output"]
    assert parts.shape == (len(names), len(pieces), 192) == (13, 29, 192)
    assert np.abs(parts.sum(axis=0) - final).max() < 1e-12
    drawn = np.asarray(shares_of_the_stream().axes[0].images[0].get_array()) / 100
    mine = np.stack([find("stream-shares").solution(parts[:, t]) for t in range(29)], axis=1)
    assert np.abs(drawn - mine).max() < 1e-9 and np.abs(drawn.sum(axis=0) - 1).max() < 1e-9


def test_the_line_of_the_stream_is_the_size_after_each_layer():
    parts = written(TEXT)[2]
    line = who_wrote_how_much().axes[0].lines[0].get_ydata()
    sizes = [np.median(np.sqrt((parts[: 1 + 2 * k].sum(axis=0) ** 2).mean(axis=-1))) for k in range(7)]
    assert np.allclose(line, sizes, rtol=1e-12)
