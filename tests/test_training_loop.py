"""The optimiser against PyTorch's, documents and batches against what they were made of, and how training stops."""

import math
from dataclasses import replace
from itertools import islice, pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from minimistral.chat import encode_chat
from minimistral.config import Config
from minimistral.errors import BadInput, NotFinite
from minimistral.stories import story
from minimistral.stories.conversations import conversation
from minimistral.tokenizer import Tokenizer
from minimistral.training import pieces
from minimistral.training.adamw import adamw, decay_of
from minimistral.training.clipping import clip_by_global_norm
from minimistral.training.documents import (
    ANSWER,
    SHORT,
    Documents,
    counted,
    question_documents,
    read_texts,
    story_documents,
    story_words,
    text_documents,
    training_stories,
    with_recall,
)
from minimistral.training.initial import initial_parameters
from minimistral.training.loop import Settings, train
from minimistral.training.packing import next_batch, validation_batches
from minimistral.training.presets import PRESETS, check_memory, preset_named
from minimistral.training.schedule import learning_rate
from minimistral.training.state import NAME
from minimistral.training.tokenizer import train_tokenizer

CONFIG = Config(dim=12, n_layers=3, head_dim=4, hidden_dim=20, n_heads=6, n_kv_heads=2, vocab_size=29, window=5,
                context_len=40, tied_embeddings=True)  # fmt: skip
SETTINGS = Settings(steps=12, batch_tokens=60, learning_rate=1e-2, warm_up=3, save_every=5, validate_every=4)


def counting(n: int):
    """Document n counts on from n; lengths are mixed."""
    return counted([1, *(3 + (n + i) % 26 for i in range(4 + 5 * n % 17)), 2])


COUNTING = Documents("counting", counting, [counting(10**6 + n) for n in range(3)], 50, {})


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(train_tokenizer(islice(training_stories(), 200), 400))
    return Tokenizer(path)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adamw_is_pytorchs(decay):
    torch = pytest.importorskip("torch", reason="PyTorch is the other side")
    rng = np.random.default_rng(0)
    w, m, v = rng.standard_normal((5, 7)), np.zeros((5, 7)), np.zeros((5, 7))
    theirs = torch.nn.Parameter(torch.tensor(w))
    optimizer = torch.optim.AdamW([theirs], lr=3e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay)
    for step in range(1, 8):
        gradient = rng.standard_normal((5, 7)) * 10.0 ** rng.integers(-6, 3)
        theirs.grad = torch.tensor(gradient)
        optimizer.step()
        adamw(w, gradient, m, v, step, 3e-2, (0.9, 0.95), 1e-8, decay)
        np.testing.assert_allclose(w, theirs.detach().numpy(), rtol=1e-12)


def test_adamw_keeps_float32():
    w, m, v = (np.ones((2, 3), np.float32) for _ in range(3))
    adamw(w, w.copy(), m, v, 1, 1e-3, (0.9, 0.95), 1e-8, 0.1)
    assert {x.dtype for x in (w, m, v)} == {np.dtype(np.float32)}


def test_matrices_decay_and_norms_do_not():
    decays = {name: decay_of(w, 0.1) for name, w in initial_parameters(CONFIG, 0).items()}
    assert {name for name, decay in decays.items() if decay == 0} == {n for n in decays if "norm" in n}


def test_clipping_keeps_the_direction_and_bounds_the_norm_of_all_together():
    rng = np.random.default_rng(0)
    gradients = {"a": rng.standard_normal((4, 6)), "b": rng.standard_normal(9)}
    before = np.concatenate([g.ravel() for g in gradients.values()])
    assert clip_by_global_norm(gradients, 1.0) == pytest.approx(np.linalg.norm(before))
    after = np.concatenate([g.ravel() for g in gradients.values()])
    np.testing.assert_allclose(after, before / np.linalg.norm(before))
    assert clip_by_global_norm(gradients, 1.5) == pytest.approx(1.0)
    np.testing.assert_array_equal(np.concatenate([g.ravel() for g in gradients.values()]), after)


def test_the_rate_rises_in_a_line_and_falls_to_the_floor():
    rates = [learning_rate(step, 200, 3e-3, 40, 0.05) for step in range(1, 201)]
    np.testing.assert_allclose(np.diff(rates[:40]), 3e-3 / 40)
    assert max(rates) == rates[39] == 3e-3 and rates[-1] == pytest.approx(0.05 * 3e-3)
    assert (np.diff(rates[39:]) < 0).all() and rates[119] == pytest.approx(3e-3 * 1.05 / 2)


def test_a_schedule_without_warm_up_or_of_one_step_is_finite():
    assert all(0 < learning_rate(step, 3, 1.0, 0) <= 1 for step in (1, 2, 3)) and learning_rate(1, 1, 1.0, 0) > 0


def test_first_weights_have_the_widths_they_are_said_to_have():
    config = PRESETS["storyteller"].config
    p = initial_parameters(config, 0)
    assert p["tok_embeddings.weight"].std() == pytest.approx(0.3, rel=0.02)
    assert p["layers.2.attention.wq.weight"].std() == pytest.approx(192**-0.5, rel=0.02)
    assert p["layers.5.feed_forward.w2.weight"].std() == pytest.approx(0.3 * 512**-0.5, rel=0.02)
    assert set(p["norm.weight"]) == {np.float32(0.1)} and set(p["layers.0.ffn_norm.weight"]) == {np.float32(1)}
    assert {w.dtype for w in p.values()} == {np.dtype(np.float32)}


def test_a_batch_is_the_next_whole_documents_that_fit():
    n, seen = 0, []
    for _ in range(30):
        batch, after = next_batch(COUNTING, n, 60)
        assert after > n and len(batch.tokens) <= 60 < len(batch.tokens) + len(counting(after)[0]) - 1
        expected = np.concatenate([counting(i)[0][:-1] for i in range(n, after)])
        np.testing.assert_array_equal(batch.tokens, expected)
        seen += range(n, after)
        n = after
    assert seen == list(range(n))


def test_a_document_longer_than_a_batch_is_refused():
    with pytest.raises(BadInput, match="document 2: 15 tokens, expected at most 7, those of a batch"):
        next_batch(COUNTING, 2, 7)


def test_validation_takes_every_document_once():
    documents = [counting(n) for n in range(20)]
    batches = list(validation_batches(documents, 50))
    np.testing.assert_array_equal(np.concatenate([b.tokens for b in batches]),
                                  np.concatenate([ids[:-1] for ids, _ in documents]))  # fmt: skip
    assert len(batches) > 3 and all(len(b.tokens) <= 50 for b in batches)


def test_document_n_is_story_n(tokenizer):
    documents = story_documents(tokenizer, 5000)
    for n in (0, 63, 64, 1000, 1):
        ids, weights = documents.training(n)
        assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id and (weights == 1).all()
        assert tokenizer.decode(ids.tolist()) == story(n, "train")
    assert tokenizer.decode(documents.validation[3][0].tolist()) == story(3, "validation")
    assert documents.characters == sum(len(story(n, "validation")) for n in range(len(documents.validation)))


def test_questions_and_stories_come_in_turn(tokenizer):
    documents = question_documents(tokenizer, 5000)
    for n in (0, 31, 32, 1):
        assert documents.training(2 * n)[0].tolist() == story_documents(tokenizer, 5000).training(n)[0].tolist()
        messages, (ids, weights) = conversation(n, "train"), documents.training(2 * n + 1)
        assert ids.tolist() == encode_chat(messages, tokenizer, "v0.3")
        assert (weights[np.isin(ids, [tokenizer.bos_id, 3, 4])] == 0).all()
        answers = [tokenizer.encode(m["content"], bos=False) for m in messages if m["role"] == "assistant"]
        assert weights[ids == tokenizer.eos_id].tolist() == [ANSWER if len(a) + 1 < SHORT else 1 for a in answers]
        assert np.isin(weights, [0, 1, ANSWER]).all() and (weights == 1).any()


def test_names_count_more_where_they_return_and_nothing_else_does(tokenizer):
    plain = question_documents(tokenizer, 5000, 0)
    more = with_recall(plain, tokenizer, 6)
    own = set(story_words(tokenizer).tolist())
    assert {tokenizer.decode([i]).strip() for i in own} >= {"Mia", "red"} & {
        tokenizer.decode([i]).strip() for i in range(400)
    }
    for n in range(12):
        (ids, before), (same, after) = plain.training(n), more.training(n)
        assert ids.tolist() == same.tolist()
        again = np.array([i in own and i in ids[:at] for at, i in enumerate(ids.tolist())])
        np.testing.assert_array_equal(after, np.where(again & (before > 0), np.maximum(before, 6), before))
    assert all((weights == 1).all() for _, weights in more.validation)


@pytest.mark.parametrize("kind", [story_documents, question_documents])
def test_another_seed_has_other_documents(tokenizer, kind):
    mine, others = ([kind(tokenizer, 5000, seed).training(n)[0].tolist() for n in range(4)] for seed in (0, 1))
    assert not [ids for ids in mine if ids in others]


def test_a_long_story_is_cut_at_the_length_of_a_document(tokenizer):
    assert len(story_documents(tokenizer, 20).training(5)[0]) == 21


def novel(tmp_path, n_stories=40):
    path = tmp_path / "novel.txt"
    path.write_text("\n".join(story(n) for n in range(n_stories)), encoding="utf-8")
    return path


def test_an_epoch_of_a_file_has_every_target_once_and_no_false_beginning_or_end(tmp_path, tokenizer):
    path = novel(tmp_path)
    text = path.read_text()
    documents = text_documents(read_texts(path), tokenizer, 64, seed=1)
    ids = tokenizer.encode(text[: len(text) * 9 // 10])  # BOS first
    count = -(-(len(ids) - 1) // 64)
    orders = []
    for epoch in range(2):
        pieces_of_epoch = [documents.training(n)[0].tolist() for n in range(epoch * count, (epoch + 1) * count)]
        assert max(map(len, pieces_of_epoch)) == 65
        pairs = sorted((a, b) for piece in pieces_of_epoch for a, b in pairwise(piece))
        assert pairs == sorted(pairwise(ids))
        whole = [i for piece in pieces_of_epoch for i in piece]
        assert whole.count(tokenizer.bos_id) == 1 and whole.count(tokenizer.eos_id) == 0
        orders.append(pieces_of_epoch)
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0])
    again = text_documents(read_texts(path), tokenizer, 64, seed=1)
    assert again.training(count + 2)[0].tolist() == orders[1][2]
    assert text_documents(read_texts(path), tokenizer, 64, seed=2).training(0)[0].tolist() != orders[0][0]


def test_the_last_tenth_of_a_file_is_held_out(tmp_path, tokenizer):
    path = novel(tmp_path)
    text = path.read_text()
    documents = text_documents(read_texts(path), tokenizer, 64, seed=1)
    ids = [documents.validation[0][0].tolist(), *(d[0].tolist()[1:] for d in documents.validation[1:])]
    held_out = [i for part in ids for i in part]
    assert tokenizer.decode(held_out) == text[len(text) * 9 // 10 :]
    assert held_out[-1] == tokenizer.eos_id and held_out[0] != tokenizer.bos_id
    assert 0 < len(text) - len(text) * 9 // 10 - documents.characters < 12  # the first token is no target


def test_each_file_of_a_folder_is_a_document(tmp_path, tokenizer):
    (tmp_path / "inner").mkdir()
    for n in range(20):
        (tmp_path / ("inner" if n % 2 else "") / f"{n}.txt").write_text(story(n), encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    documents = text_documents(read_texts(tmp_path), tokenizer, 5000, seed=1)
    trained = {tokenizer.decode(documents.training(n)[0].tolist()) for n in range(18)}
    held_out = {tokenizer.decode(ids.tolist()) for ids, _ in documents.validation}
    assert len(held_out) == 2 and trained | held_out == {story(n) for n in range(20)}
    ids, _ = documents.training(7)
    assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id


def test_text_that_looks_like_a_control_piece_is_not_encoded_as_one(tokenizer):
    model = tokenizer._model
    assert [model.IdToPiece(i) for i in range(5)] == ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    for text in ("[INST]", "a [INST] b [/INST]", "[/INST]", "<s></s>"):
        ids = tokenizer.encode(text, bos=False)
        assert min(ids) > 4 and tokenizer.decode(ids) == text


def test_a_tokenizer_needs_room_for_the_bytes_and_data_for_its_pieces():
    with pytest.raises(BadInput, match="vocab_size 100, expected at least 262"):
        train_tokenizer(["some text"], 100)
    with pytest.raises(BadInput, match="the data have pieces for a vocabulary of at most 3[0-9][0-9], expected 2048"):
        train_tokenizer(["some text and some more"], 2048)
    with pytest.raises(BadInput, match="more different characters than a vocabulary of 262 has room for"):
        train_tokenizer(["".join(chr(c) for c in range(0x4E00, 0x4F00))], 262)


def test_training_learns_and_says_so():
    state = train(CONFIG, initial_parameters(CONFIG, 0), COUNTING, replace(SETTINGS, steps=120))
    first, last = state.metrics[0], state.metrics[-1]
    assert first["loss"] > 3 and last["loss"] < 1.6 and last["validation_loss"] < 1.6
    targets = sum(len(ids) - 1 for ids, _ in COUNTING.validation)
    assert last["validation_loss_per_character"] == pytest.approx(last["validation_loss"] * targets / 50)
    assert [m["step"] for m in state.metrics] == list(range(1, 121)) and last["tokens"] == state.tokens
    assert [m["step"] for m in state.metrics if "validation_loss" in m] == list(range(4, 121, 4))


def test_two_batches_for_a_step_are_one_of_both():
    """Accumulated gradients are those of the sum over all tokens, not a mean of means."""
    longer = Documents("two", lambda n: counting(n // 2 * 5 + n % 2 * 3), [], 0, {})
    single = replace(SETTINGS, steps=3, batch_tokens=10**6)

    def by(documents_a_batch, accumulate):
        def batch(documents, first, room):
            from minimistral.training.batch import packed

            return packed([documents.training(first + i) for i in range(documents_a_batch)]), first + documents_a_batch

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("minimistral.training.loop.next_batch", batch)
            return train(CONFIG, initial_parameters(CONFIG, 0), longer, replace(single, accumulate=accumulate))

    one, two = by(2, 1), by(1, 2)
    assert one.document == two.document == 6 and one.tokens == two.tokens
    for a, b in zip(one.metrics, two.metrics, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
        assert a["gradient_norm"] == pytest.approx(b["gradient_norm"], rel=1e-5)


def test_recompute_gives_the_same_bits():
    plain = train(CONFIG, initial_parameters(CONFIG, 0), COUNTING, SETTINGS).parameters
    again = train(CONFIG, initial_parameters(CONFIG, 0), COUNTING, replace(SETTINGS, recompute=True)).parameters
    assert all(plain[name].tobytes() == again[name].tobytes() for name in plain)


def spoilt(change, at=6):
    """Parameters, and a progress function that changes them after step `at`."""
    parameters = initial_parameters(CONFIG, 0)

    def progress(line, steps):
        if line["step"] == at:
            change(parameters)

    return parameters, progress


def test_a_nan_stops_with_step_and_layer_and_leaves_the_last_state(tmp_path):
    def change(parameters):
        parameters["layers.1.attention.wv.weight"][2, 3] = np.nan

    parameters, progress = spoilt(change)
    with pytest.raises(NotFinite, match=r"step 7: layers\.1\.[a-z_]+: a value is NaN or infinite") as found:
        train(CONFIG, parameters, COUNTING, SETTINGS, folder=tmp_path, progress=progress)
    assert "\n" not in str(found.value)
    whole = train(CONFIG, initial_parameters(CONFIG, 0), COUNTING, replace(SETTINGS, save_every=5), folder=tmp_path)
    expected = train(CONFIG, initial_parameters(CONFIG, 0), COUNTING, SETTINGS)
    assert all(whole.parameters[n].tobytes() == w.tobytes() for n, w in expected.parameters.items())


def test_a_bad_gradient_stops_with_step_and_layer(tmp_path):
    calls = []

    def swiglu_backward(dy, gate, up):
        dgate, dup = pieces.swiglu_backward(dy, gate, up)
        calls.append(1)
        return (dgate * np.float32(np.nan) if len(calls) == 3 * 4 + 2 else dgate), dup  # step 5, the middle layer

    names = {name: getattr(pieces, name) for name in pieces.__all__}
    bad = SimpleNamespace(**names | {"swiglu_backward": swiglu_backward}, __name__="bad")
    with pytest.raises(NotFinite, match=r"step 5: layers\.1\.feed_forward\.w1: a value of its gradient is NaN"):
        train(CONFIG, initial_parameters(CONFIG, 0), COUNTING, SETTINGS, bad, tmp_path)
    assert (tmp_path / NAME).exists()


def test_a_loss_that_explodes_stops_with_step_and_layer():
    def change(parameters):
        parameters["norm.weight"] *= 300

    parameters, progress = spoilt(change)
    limit = 2 * math.log(29)
    with pytest.raises(NotFinite, match=rf"step 7: \S+: has the largest gradient .* explodes: .*, above {limit:.4g}"):
        train(CONFIG, parameters, COUNTING, SETTINGS, progress=progress)


def test_a_step_that_spoils_a_parameter_is_not_saved(tmp_path):
    def bad_adamw(w, gradient, mean, square, step, *rest):
        pieces.adamw(w, gradient, mean, square, step, *rest)
        if step == 10 and w.shape == (20, 12):
            w[0, 0] = np.inf

    names = {name: getattr(pieces, name) for name in pieces.__all__}
    bad = SimpleNamespace(**names | {"adamw": bad_adamw}, __name__="bad")
    with pytest.raises(NotFinite, match=r"step 10: layers\.0\.feed_forward\.w1: .* after the step"):
        train(CONFIG, initial_parameters(CONFIG, 0), COUNTING, SETTINGS, bad, tmp_path)
    from minimistral.training.state import read_state

    assert read_state(tmp_path)[0].step == 5


def test_presets_are_models_that_can_be_built():
    for name in PRESETS:
        config = preset_named(name).config
        assert config.n_heads % config.n_kv_heads == 0 and config.head_dim % 2 == 0
        assert preset_named(name).settings.batch_tokens >= config.context_len or name == "table1"
    with pytest.raises(BadInput, match="--preset: 'huge', expected one of storyteller, tiny"):
        preset_named("huge")


def test_a_model_that_does_not_fit_memory_is_refused_before_it_is_made():
    with pytest.raises(BadInput, match=r"7.24 billion parameters need 116 GB .*16 bytes each\), 20 GB are free"):
        check_memory(PRESETS["table1"].config, "--preset table1", 20 * 10**9)
    check_memory(PRESETS["storyteller"].config, "--preset storyteller", 10**8)
