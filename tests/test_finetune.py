"""Fine-tuning: LoRA's gradients, what counts in the loss, what bad data is told, and that a base is not changed."""

import json
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from minimistral.chat import encode_chat
from minimistral.config import Config
from minimistral.errors import BadInput
from minimistral.stories.conversations import lookup
from minimistral.tokenizer import Tokenizer
from minimistral.training import lora
from minimistral.training.batch import packed
from minimistral.training.chat_data import Encoding, file_documents, place, story_documents
from minimistral.training.documents import ANSWER, SHORT
from minimistral.training.finetune import lora_loss_and_gradients, lora_loss_only
from minimistral.weights import random_tensors, tensor_shapes

SMALL = Config(dim=12, n_layers=2, head_dim=6, hidden_dim=20, n_heads=4, n_kv_heads=2, vocab_size=31, window=3)


def random_lora(base: dict, rank: int, seed: int) -> dict:
    """A and B that are both not zero, so that every gradient is felt."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.3, w.shape) for name, w in lora.lora_parameters(base, rank, seed).items()}


# --- LoRA -------------------------------------------------------------------------------------------------------------


def test_a_and_b_have_the_shapes_of_the_seven_matrices_and_nothing_else_learns():
    base = random_tensors(SMALL)
    made = lora.lora_parameters(base, 3, seed=0)
    assert len(made) == 2 * 7 * SMALL.n_layers
    for name, (n_out, *n_in) in tensor_shapes(SMALL).items():
        a, b = lora.names_of(name)
        if n_in and name.startswith("layers."):
            assert (made[a].shape, made[b].shape) == ((3, *n_in), (n_out, 3)), name
            assert made[a].dtype == made[b].dtype == np.float32
            assert made[a].any() and not made[b].any(), name
        else:
            assert a not in made and b not in made, name


def test_it_starts_as_the_base_to_the_bit_and_shares_what_does_not_learn():
    base = random_tensors(SMALL)
    model = lora.merged(base, lora.lora_parameters(base, 3, seed=0), scale=2.0)
    assert list(model) == list(base)
    for name, w in base.items():
        assert (model[name].view(np.uint32) == w.view(np.uint32)).all(), name
    assert model["norm.weight"] is base["norm.weight"]
    assert model["tok_embeddings.weight"] is base["tok_embeddings.weight"]


def test_the_same_seed_draws_the_same_and_another_draws_another():
    base = random_tensors(SMALL)
    first, same, other = (lora.lora_parameters(base, 3, seed) for seed in (5, 5, 6))
    a = "layers.1.attention.wv.lora_a"
    assert (first[a] == same[a]).all() and (first[a] != other[a]).any()
    assert (first[a] != first["layers.0.attention.wv.lora_a"]).any()


def test_only_the_chosen_matrices_learn():
    made = lora.lora_parameters(random_tensors(SMALL), 2, 0, ("wq", "wv"))
    assert {name.split(".", 2)[2] for name in made} == {f"attention.{w}.lora_{ab}" for w in ("wq", "wv") for ab in "ab"}


def test_a_rank_larger_than_the_matrix_is_told():
    with pytest.raises(BadInput, match=r"--lora-rank: 13, expected at most 12: layers\.0\.attention\.wq\.weight is"):
        lora.lora_parameters(random_tensors(SMALL), 13, 0)


@pytest.mark.parametrize("seed", range(4))
def test_gradients_of_a_and_b_are_those_of_torch_autograd(seed):
    torch = pytest.importorskip("torch", reason="autograd is what the gradients are compared with")
    rank, alpha = seed + 1, 3.0 + seed
    base = random_tensors(SMALL, seed, "float64")
    thin = random_lora(base, rank, seed)
    leaves = {name: torch.tensor(w, requires_grad=True) for name, w in thin.items()}
    x = np.random.default_rng(seed).normal(size=(5, 64))
    total, gradients = 0, {}
    for name, w in base.items():
        a, b = lora.names_of(name)
        if a not in thin:
            continue
        inputs = torch.tensor(x[:, : w.shape[1]])
        # As LoRA is usually drawn: the thin path computed beside the wide one, nothing merged.
        y = inputs @ torch.tensor(w).T + alpha / rank * (inputs @ leaves[a].T) @ leaves[b].T
        total = total + torch.sin(y).sum()
        w_merged = w + alpha / rank * thin[b] @ thin[a]
        gradients[name] = np.cos(inputs.numpy() @ w_merged.T).T @ inputs.numpy()
    total.backward()
    got = lora.lora_gradients(gradients, thin, alpha / rank)
    assert set(got) == set(leaves)
    for name, leaf in leaves.items():
        expected = leaf.grad.numpy()
        assert np.linalg.norm(got[name] - expected) <= 1e-12 * np.linalg.norm(expected), name


# --- the data ---------------------------------------------------------------------------------------------------------


def turn(question, answer):
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def line(messages) -> str:
    return json.dumps({"messages": messages})


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """A tokenizer with the control pieces [INST] and [/INST], and one without."""
    sentencepiece = pytest.importorskip("sentencepiece")
    folder, made = tmp_path_factory.mktemp("tokenizers"), {}
    for name, pieces in (("with", ["[INST]", "[/INST]"]), ("without", [])):
        (folder / "corpus.txt").write_text(
            "the fox ran home to the wood. who ran home? where is the very long bear?\n" * 5
        )
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / "corpus.txt"), model_prefix=str(folder / name), vocab_size=300, model_type="bpe",
            byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, unk_id=0, bos_id=1,
            eos_id=2, pad_id=-1, control_symbols=pieces, minloglevel=2,
        )  # fmt: skip
        made[name] = Tokenizer(folder / f"{name}.model")
    return made


@pytest.fixture(scope="module")
def tokenizer(tokenizers):
    return tokenizers["without"]


def write(tmp_path, *lines):
    path = tmp_path / "chat.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path, tokenizer, template="v0.1", longest=10**6):
    return file_documents(path, Encoding(tokenizer, template, longest, "the model's context"), seed=0)


@pytest.mark.parametrize("template", ["v0.1", "v0.2", "v0.3"])
def test_the_loss_counts_the_answers_and_their_eos_and_nothing_else(tokenizers, tmp_path, template):
    tokenizer = tokenizers["with"]
    messages = [*turn("Who ran?", "The fox."), *turn("Where?", "Home, to the wood.")]
    ids, weights = read(write(tmp_path, line(messages)), tokenizer, template).training(0)
    assert (ids.dtype, weights.dtype, ids.shape) == (np.int64, np.float32, weights.shape)
    assert ids.tolist() == encode_chat(messages, tokenizer, template)
    assert ids[0] == tokenizer.bos_id and ids[-1] == tokenizer.eos_id and weights[-1] == 1
    runs = [list(run) for _, run in groupby(zip(ids.tolist(), weights.tolist(), strict=True), key=lambda pair: pair[1])]
    said = [(run[0][1], [token for token, _ in run]) for run in runs]
    assert [counts for counts, _ in said] == [0, 1, 0, 1]
    for (_, tokens), answer in zip(said[1::2], ("The fox.", "Home, to the wood."), strict=True):
        assert tokens[-1] == tokenizer.eos_id and tokenizer.decode(tokens[:-1]) == answer


def test_about_stories_a_short_answer_counts_more_but_not_where_it_is_held_out_and_seeds_differ(tokenizers):
    documents = story_documents(Encoding(tokenizers["with"], "v0.3", 10**6, "the model's context"))
    for n in range(20):
        ids, weights = documents.training(n)
        runs = [list(run) for _, run in groupby(zip(ids.tolist(), weights.tolist(), strict=True), lambda pair: pair[1])]
        for run in (run for run in runs if run[0][1]):
            assert run[0][1] == (ANSWER if len(run) < SHORT else 1)
    others = story_documents(Encoding(tokenizers["with"], "v0.3", 10**6, "the model's context"), seed=1)
    assert others.training(0)[0].tolist() != documents.training(0)[0].tolist()
    near = story_documents(Encoding(tokenizers["with"], "v0.3", 10**6, "the model's context"), lookups=True)
    assert near.training(3)[0].tolist() == encode_chat(lookup(3), tokenizers["with"], "v0.3")
    assert [ids.tolist() for ids, _ in near.validation] == [ids.tolist() for ids, _ in documents.validation]
    assert near.identity != documents.identity
    assert {float(w) for _, weights in documents.validation for w in weights} == {0, 1}


BAD = {  # what stands on line 2 -> what is said after "FILE: line 2: "
    "{": "not JSON: ",
    "hello": "not JSON: ",
    '{"messages": [], "messages": []}': "not JSON: messages is given twice",
    "[1, 2]": "a JSON list, expected an object",
    '"messages"': "a JSON str, expected an object",
    "{}": 'no messages, expected {"messages": [{"role": ',
    '{"text": "Once"}': "no messages, expected",
    '{"messages": "hello"}': "messages is no list, expected",
    '{"messages": []}': "messages: none, expected a user message",
    '{"messages": [3]}': "message 1: 3, expected an object with role and content",
    line([{"role": "user"}]): "message 1: no content",
    line([{"role": "bear", "content": "hi"}]): 'message 1: role "bear", expected system, user or assistant',
    line([*turn("a", "b"), {"role": "assistant", "content": "c"}]): "message 3: role assistant, expected user",
    line([{"role": "user", "content": "a"}, *turn("b", "c")]): "message 2: role user, expected assistant",
    line([{"role": "assistant", "content": "a"}]): "message 1: role assistant, expected user",
    line([{"role": "user", "content": "a"}]): "message 1: the last has role user, expected an answer",
    line([*turn("a", "b"), {"role": "user", "content": "c"}]): "message 3: the last has role user, expected an answer",
    line([{"role": "system", "content": "be kind"}]): "messages: a system message alone",
    line(turn("a", "")): 'message 2: content "", expected some text',
    line(turn("  ", "b")): "message 1: only blanks",
    line(turn("a", " \n")): "message 2: only blanks",
    line(turn("a", 7)): "message 2: content 7",
    line(turn("a", "\ud800")): "message 2: character 0 is half a surrogate pair",
    line(turn("a", "very " * 60 + "long")): "a conversation of ",
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_line_is_told_with_file_and_number(tokenizer, tmp_path, bad):
    path = write(tmp_path, line(turn("Who?", "A fox.")), bad, line(turn("Who?", "A bear.")))
    with pytest.raises(BadInput) as told:
        read(path, tokenizer, longest=60)
    message = str(told.value)
    assert message.startswith(f"{path}: line 2: {BAD[bad]}") and message.isprintable(), message


def test_a_conversation_longer_than_the_context_is_told_with_both_numbers(tokenizer, tmp_path):
    messages = turn("Who?", "A fox.")
    path, n = write(tmp_path, line(messages)), len(encode_chat(messages, tokenizer, "v0.1"))
    assert len(read(path, tokenizer, longest=n).training(0)[0]) == n
    told = f"line 1: a conversation of {n} tokens, expected at most {n - 1}, the model's context"
    with pytest.raises(BadInput, match=told):
        read(path, tokenizer, longest=n - 1)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", ": empty, expected a line"),
        (b"\n  \n\n", ": only blank lines, expected a line"),
        (b"\x7fELF\x02\x01\x01\x00\x00", ": line 1: a zero byte: a binary file, expected text in UTF-8"),
        (b'{"messages": \xff\xfe}\n', ": line 1: not UTF-8: byte 0xff at 13"),
        (b"\n\n\x80\n", ": line 3: not UTF-8: byte 0x80 at 0"),
    ],
)
def test_a_file_that_is_no_chat_is_told(tokenizer, tmp_path, data, told):
    path = tmp_path / "chat.jsonl"
    path.write_bytes(data)
    with pytest.raises(BadInput) as error:
        read(path, tokenizer)
    assert str(error.value).startswith(f"{path}{told}") and str(error.value).isprintable()


def test_a_missing_file_or_a_folder_is_told(tokenizer, tmp_path):
    for path, why in ((tmp_path / "none.jsonl", "cannot be read"), (tmp_path, "is a folder, expected a file")):
        with pytest.raises(BadInput, match=why):
            read(path, tokenizer)


def test_blank_lines_and_windows_line_ends_are_passed_over(tokenizer, tmp_path):
    path = tmp_path / "chat.jsonl"
    path.write_bytes(b"\r\n".join([line(turn("a", "b")).encode(), b"", line(turn("c", "d")).encode(), b""]))
    documents = read(path, tokenizer)
    assert len({tuple(documents.training(n)[0]) for n in range(20)}) == 2


def test_one_conversation_in_twenty_is_never_trained_on(tokenizer, tmp_path):
    answers = [f"fox number {n}" for n in range(45)]
    path = write(tmp_path, *[line(turn("Who?", answer)) for answer in answers])
    documents = read(path, tokenizer)
    trained = {tuple(documents.training(n)[0]) for n in range(200)}
    kept = [tuple(ids) for ids, _ in documents.validation]
    assert (len(trained), len(kept)) == (43, 2) and trained.isdisjoint(kept)
    assert documents.characters == len(answers[19]) + len(answers[39])


def test_each_round_has_every_document_once_in_another_order():
    orders = [place(n, 9, seed=3) for n in range(27)]
    rounds = [orders[i : i + 9] for i in (0, 9, 18)]
    assert all(sorted(order) == list(range(9)) for order in rounds)
    assert rounds[0] != rounds[1] != rounds[2]
    assert orders != [place(n, 9, seed=4) for n in range(27)]


# --- LoRA through the whole model -------------------------------------------------------------------------------------


def small_batch():
    rng = np.random.default_rng(5)
    documents = [(rng.integers(0, 31, n), rng.integers(0, 2, n).astype(np.float32)) for n in (9, 5, 7)]
    return packed(documents)


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_of_a_and_b_through_the_model_are_finite_differences(tied):
    config, scale, eps = replace(SMALL, tied_embeddings=tied), 1.7, 1e-5
    base, batch = random_tensors(config, 2, "float64"), small_batch()
    thin = random_lora(base, 2, seed=4)
    loss, gradients = lora_loss_and_gradients(base, scale, thin, config, batch)
    assert loss == lora_loss_only(base, scale, thin, config, batch)
    assert list(gradients) == list(thin)
    rng = np.random.default_rng(6)
    for name, w in thin.items():
        direction = rng.normal(size=w.shape)
        up, down = (
            lora_loss_only(base, scale, thin | {name: w + sign * eps * direction}, config, batch) for sign in (1, -1)
        )
        expected = (up - down) / (2 * eps)
        assert abs((gradients[name] * direction).sum() - expected) <= 1e-6 * max(1, abs(expected)), name
