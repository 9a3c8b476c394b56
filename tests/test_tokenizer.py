"""The tokenizer: round trips, and a stream that is the same text as decoding at once, never half a character."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from minimistral.errors import BadInput
from minimistral.tokenizer import Tokenizer, find_tokenizer

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "storyteller": ROOT / "minimistral" / "embedded" / "storyteller",
    "stories260K": ROOT.parent / "shared" / "data" / "stories260K" / "native",
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
KOREAN, EMOJI = "안녕하세요, 미스트랄", "👩\u200d👩\u200d👧 🇰🇷 🤷🏽"


# Tokenizers trained here, one for each way of treating spaces: as Mistral does, by default, without a prefix.
TRAINED = {
    "as-mistral": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False},
    "defaults": {},
    "no-prefix": {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False},
    "no-prefix-collapsed": {"add_dummy_prefix": False},
}


def train(folder: Path, options: dict) -> None:
    import sentencepiece

    lines = [f"The {a} {b} looked for it." for a in ("big", "red", "old") for b in ("cat", "dog")] * 9
    with open(folder / "tokenizer.model", "wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_writer=file, vocab_size=320, model_type="bpe", byte_fallback=True,
             minloglevel=2, hard_vocab_limit=False, **options
        )  # fmt: skip


@pytest.fixture(params=[*FOLDERS, *TRAINED], scope="module")
def folder(request, tmp_path_factory) -> Path:
    if request.param in TRAINED:
        path = tmp_path_factory.mktemp(request.param)
        train(path, TRAINED[request.param])
        return path
    path = FOLDERS[request.param]
    if not (path / "tokenizer.model").is_file():
        pytest.skip(f"the tokenizer of {request.param} is not here")
    return path


@pytest.fixture(scope="module")
def tokenizer(folder) -> Tokenizer:
    return find_tokenizer(folder)


@pytest.fixture(scope="module")
def official(folder):
    return pytest.importorskip("sentencepiece").SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def streamed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    stream = tokenizer.stream()
    return [stream.push(i) for i in ids] + [stream.finish()]


@settings(deadline=None, max_examples=300)
@given(text=TEXTS)
@example(text="")
@example(text=" ")
@example(text="  two spaces, before and after  ")
@example(text="a\n\nb\tc\r\n")
@example(text="\0")
@example(text=KOREAN)
@example(text=EMOJI)
@example(text="<s></s><unk><0x41>")
def test_text_streams_as_sentencepiece_decodes_it(tokenizer, official, text):
    ids = tokenizer.encode(text, bos=False)
    assert ids == official.encode(text)
    assert tokenizer.decode(ids) == "".join(streamed(tokenizer, ids)) == official.decode(ids)
    assert tokenizer.decode(tokenizer.encode(text)) == official.decode(ids)


@pytest.mark.parametrize(
    "text", ["Once upon a time, there was a little girl.", KOREAN, EMOJI, "one\ntwo", " led by a space"]
)
def test_text_comes_back(tokenizer, official, text):
    makes_one_space_of_many = official.decode(official.encode("a \n b")) != "a \n b"  # as the model was trained
    expected = " ".join(text.split()) if makes_one_space_of_many else text
    assert tokenizer.decode(tokenizer.encode(text)) == expected


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_ids_stream_as_they_decode(tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1)))
    parts = streamed(tokenizer, ids)
    assert "".join(parts) == tokenizer.decode(ids)
    assert "".join(parts).encode().decode() == "".join(parts)


@pytest.mark.parametrize("text", [KOREAN, EMOJI])
def test_no_half_character_is_given_out(tokenizer, text):
    parts = streamed(tokenizer, tokenizer.encode(text))
    assert "\ufffd" not in "".join(parts) and "" in parts  # bytes of a character were held back
    assert all(text.startswith("".join(parts[:n])) for n in range(len(parts)))


def test_a_character_that_ends_too_soon_shows_at_the_end(tokenizer):
    ids = tokenizer.encode("한")[:-1]
    assert streamed(tokenizer, ids)[-1] == "\ufffd"


def test_control_tokens_give_nothing_and_bos_comes_once(tokenizer):
    ids = tokenizer.encode("Once")
    assert ids[0] == tokenizer.bos_id and ids.count(tokenizer.bos_id) == 1
    assert tokenizer.encode("") == [tokenizer.bos_id]
    assert tokenizer.decode([tokenizer.bos_id, *ids, tokenizer.eos_id]) == "Once"
    assert tokenizer.decode([]) == tokenizer.decode([tokenizer.bos_id]) == ""


def test_one_leading_space_is_dropped_at_the_start_only(tokenizer, official):
    ids = tokenizer.encode("Once upon", bos=False)
    twice = official.decode(ids + ids)
    assert twice in ("Once upon Once upon", "Once uponOnce upon")  # with a prefix, and without
    assert tokenizer.decode(ids + ids) == tokenizer.decode([tokenizer.bos_id, *ids, *ids]) == twice


def test_ids_out_of_range_and_broken_text_are_bad_input(tokenizer):
    for token in (-1, tokenizer.vocab_size, 10**12):
        with pytest.raises(BadInput, match="expected an id from 0 to"):
            tokenizer.decode([token])
    with pytest.raises(BadInput, match="surrogate"):
        tokenizer.encode("a\ud800")


def test_the_names_of_mistrals_folders_are_found(tmp_path, folder):
    for name in ("tokenizer.model.v1", "tokenizer.model.v3", "tokenizer.model"):
        shutil.copy(folder / "tokenizer.model", tmp_path / name)
        assert find_tokenizer(tmp_path).encode("Once")
        (tmp_path / "tokenizer.model.v1").write_bytes(b"broken: not the one that is taken")
    (tmp_path / "tokenizer.model").unlink()
    assert find_tokenizer(tmp_path).encode("Once")


@pytest.mark.parametrize("name", ["tokenizer.json", "tekken.json", "model.safetensors", None])
def test_a_folder_without_one_says_what_is_missing_and_where_it_is_found(tmp_path, name):
    if name:
        (tmp_path / name).touch()
    with pytest.raises(
        BadInput, match=r"expected sentencepiece's tokenizer.model; it is published with the weights"
    ) as error:
        find_tokenizer(tmp_path)
    assert name is None or "json" not in name or f"has only {name}" in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("content", [b"", b"hello", bytes(1000), b"\x0a\xff\xff\xff\xff\x0f", None])
def test_a_broken_one_is_bad_input(tmp_path, content):
    path = tmp_path / "tokenizer.model"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(BadInput, match=r"tokenizer.model: ") as error:
        find_tokenizer(tmp_path)
    assert str(error.value).isprintable()


def test_sentencepiece_is_imported_only_when_a_tokenizer_is_read():
    import subprocess
    import sys

    assert find_spec("sentencepiece")
    code = "import sys, minimistral.tokenizer; sys.exit('sentencepiece' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
