"""minimistral finetune: a trained model learns to answer, goes to transformers as it is, and every mistake is one line."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minimistral.chat import encode_chat
from minimistral.checkpoint import convert, open_checkpoint, write_checkpoint
from minimistral.cli import main
from minimistral.config import Config
from minimistral.mistral import Mistral
from minimistral.weights import random_tensors

ANIMALS, COLOURS = ("fox", "bear", "cat", "dog", "hen"), ("red", "blue", "green", "black", "white")
SMALL = {"dim": 12, "n_layers": 2, "head_dim": 6, "hidden_dim": 20, "n_heads": 4, "n_kv_heads": 2, "vocab_size": 300}


@pytest.fixture
def command(capsys):
    """Run a command line in this process: (status, standard output, standard error)."""

    def run(*arguments):
        status = main([str(a) for a in arguments])
        return status, *capsys.readouterr()

    return run


def chat(seed: int, conversations: int = 50) -> str:
    """Little conversations: the colour that was just said is asked for."""
    rng, lines = np.random.default_rng(seed), []
    for _ in range(conversations):
        animal, colour = rng.choice(ANIMALS), rng.choice(COLOURS)
        question = f"The {animal} had a {colour} hat. What colour was the hat?"
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": f"The hat was {colour}."}]
        lines.append(json.dumps({"messages": messages}))
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`model`: a small random one with a tokenizer without control pieces; `chat.jsonl`."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("finetune")
    (folder / "chat.jsonl").write_text(chat(0))
    (folder / "corpus.txt").write_text(chat(1))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "corpus.txt"), model_prefix=str(folder / "tokenizer"), vocab_size=300, model_type="bpe",
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, unk_id=0, bos_id=1,
        eos_id=2, pad_id=-1, minloglevel=2,
    )  # fmt: skip
    config = Config(**SMALL, window=30, context_len=90)
    write_checkpoint(folder / "model", config, random_tensors(config, seed=3), "mistral", "bfloat16")
    shutil.copy(folder / "tokenizer.model", folder / "model")
    return folder


def files_of(folder) -> dict:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def metrics(folder) -> list:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# --- the result -------------------------------------------------------------------------------------------------------

FULL = ("--learning-rate", 2e-3)
LORA = ("--lora-rank", 4, "--learning-rate", 5e-3, "--lora-target", "wq,wk,wv,wo,w1,w2,w3,output")


@pytest.mark.parametrize("options", [LORA, FULL], ids=["lora", "full"])
def test_stories260k_learns_to_answer_and_transformers_goes_on_with_the_same_text(
    command, stories260k, tmp_path, options
):
    torch = pytest.importorskip("torch", reason="transformers needs PyTorch: pip install 'minimistral[oracle]'")
    transformers = pytest.importorskip("transformers", reason="pip install 'minimistral[oracle]'")
    base, before = stories260k / "native", files_of(stories260k / "native")
    (tmp_path / "chat.jsonl").write_text(chat(0))
    status, out, err = command(
        "finetune", base, "--data", tmp_path / "chat.jsonl", "--output", tmp_path / "tuned", "--layout", "hf",
        "--dtype", "float32", "--steps", 60, "--batch-tokens", 400, "--validate-every", 20, "--backend", "numpy",
        *options,
    )  # fmt: skip
    assert (status, out.count("\n")) == (0, 1), err
    assert files_of(base) == before
    found = metrics(tmp_path / "tuned")
    held_out = [line["validation_loss"] for line in found if "validation_loss" in line]
    assert found[0]["loss"] > 3 and found[-1]["loss"] < 0.05 and held_out[-1] < 0.05

    ours = Mistral.from_pretrained(tmp_path / "tuned", "float32")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "tuned", local_files_only=True).eval()
    assert theirs.dtype == torch.float32
    question = [{"role": "user", "content": "The cat had a green hat. What colour was the hat?"}]
    prompts = [ours.tokenizer.encode("Once upon a time"), encode_chat(question, ours.tokenizer, "v0.1")]
    for prompt in prompts:
        with torch.inference_mode():
            expected = theirs.generate(
                torch.tensor([prompt]), max_new_tokens=60, do_sample=False, eos_token_id=None, pad_token_id=0
            )[0].tolist()
        assert greedy(ours, prompt, 60) == expected
    assert ours.tokenizer.decode(ours.generate(prompts[1], temperature=0)) == "The hat was green."


def greedy(model, prompt: list, count: int) -> list:
    """The prompt and `count` tokens more, also behind EOS, where `generate` would end."""
    ids, cache, part = list(prompt), model.new_cache(), prompt
    for _ in range(count):
        part = [int(np.argmax(model.next_logits(part, cache)))]
        ids += part
    return ids


def quick(place, output, *more) -> list:
    """A command line that takes a second."""
    return [
        "finetune", place / "model", "--data", place / "chat.jsonl", "--output", output, "--steps", 6,
        "--batch-tokens", 200, "--save-every", 2, "--validate-every", 3, "--backend", "numpy", *more,
    ]  # fmt: skip


def test_layout_and_type_are_the_bases_unless_said(command, place, tmp_path):
    for name, more, expected in (
        ("same", (), ("mistral", "bfloat16")),
        ("other", ("--layout", "hf", "--dtype", "float16"), ("hf", "float16")),
    ):
        assert command(*quick(place, tmp_path / name, *more))[0] == 0
        made = open_checkpoint(tmp_path / name)
        assert (made.layout, made.dtype, made.config) == (*expected, open_checkpoint(place / "model").config)
        assert (tmp_path / name / "tokenizer.model").read_bytes() == (place / "tokenizer.model").read_bytes()
        assert made.notes == []
    assert made.token_ids == {"bos_token_id": 1, "eos_token_id": 2}


def test_both_layouts_of_a_base_give_the_same_model(command, place, tmp_path):
    convert(place / "model", tmp_path / "hf-base", "hf")
    for base, output in ((place / "model", "a"), (tmp_path / "hf-base", "b")):
        line = quick(place, tmp_path / output, "--dtype", "float32", "--lora-rank", 2, "--layout", "mistral")
        assert command("finetune", base, *line[2:])[0] == 0
    a, b = (open_checkpoint(tmp_path / name).tensors for name in "ab")
    for name in a:
        assert (a[name].view(np.uint32) == b[name].view(np.uint32)).all(), name


@pytest.mark.parametrize("more", [(), ("--lora-rank", 3)], ids=["full", "lora"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(command, monkeypatch, place, tmp_path, more):
    from minimistral.training import finetune

    assert command(*quick(place, tmp_path / "whole", *more))[0] == 0
    written = finetune.write_tuned

    def stop(result, base, tuned):
        written(result, base, tuned)
        if tuned.state.step == 4:
            raise OSError("the disk is gone")

    monkeypatch.setattr(finetune, "write_tuned", stop)
    assert command(*quick(place, tmp_path / "parts", *more))[0] == 2
    monkeypatch.undo()
    status, _, err = command(*quick(place, tmp_path / "parts", *more))
    assert status == 2 and "holds a run; --resume goes on with it" in err
    assert command(*quick(place, tmp_path / "parts", *more, "--resume"))[0] == 0
    whole, parts = files_of(tmp_path / "whole"), files_of(tmp_path / "parts")
    assert whole["consolidated.safetensors"] == parts["consolidated.safetensors"]
    assert [line["loss"] for line in metrics(tmp_path / "whole")] == [
        line["loss"] for line in metrics(tmp_path / "parts")
    ]


def test_the_state_of_lora_holds_a_and_b_alone(command, place, tmp_path):
    assert command(*quick(place, tmp_path / "tuned", "--lora-rank", 2, "--lora-target", "wq,wv"))[0] == 0
    kept = [name for name in load_file(tmp_path / "tuned" / "state.safetensors") if name.startswith("parameters/")]
    assert sorted(kept) == sorted(
        f"parameters/layers.{i}.attention.{w}.lora_{ab}" for i in (0, 1) for w in ("wq", "wv") for ab in "ab"
    )


def test_the_model_of_lora_is_the_base_and_b_a_where_it_learnt(command, place, tmp_path):
    line = quick(place, tmp_path / "tuned", "--lora-rank", 2, "--lora-alpha", 3, "--lora-target", "w2,output")
    assert command(*line, "--dtype", "float32")[0] == 0
    base, made = (open_checkpoint(folder).tensors for folder in (place / "model", tmp_path / "tuned"))
    thin = load_file(tmp_path / "tuned" / "state.safetensors")
    for name in made:
        expected = np.array(base[name], np.float64)
        stem = f"parameters/{name.removesuffix('weight')}"
        if name.endswith("w2.weight") or name == "output.weight":
            change = 3 / 2 * thin[f"{stem}lora_b"].astype(np.float64) @ thin[f"{stem}lora_a"]
            assert np.abs(change).max() > 1e-4, name
            expected += change
        else:
            assert f"{stem}lora_a" not in thin
        assert np.abs(made[name] - expected).max() < 1e-6, name


@pytest.mark.parametrize(
    "more", [("--lora-rank", 2), ("--seed", 1), ("--template", "v0.3"), ("--layout", "hf"), ("--lora-alpha", 3)]
)
def test_a_run_does_not_go_on_as_another(command, place, control, tmp_path, more):
    start = ["--lora-rank", 2] if more[0] == "--lora-alpha" else []
    line = ["finetune", control, *quick(place, tmp_path / "tuned", *start)[2:]]
    assert command(*line, "--template", "v0.1")[0] == 0
    before = files_of(tmp_path / "tuned")
    status, out, err = command(*line, "--template", "v0.1", *more, "--resume")
    assert (status, out) == (2, "")
    assert "state.safetensors: " in err and "expected the same to go on" in err.splitlines()[-1]
    assert files_of(tmp_path / "tuned") == before


def test_lora_does_not_go_on_over_another_base(command, place, tmp_path):
    shutil.copytree(place / "model", tmp_path / "model")
    line = quick(place, tmp_path / "tuned", "--lora-rank", 2, "--resume")
    line[1] = tmp_path / "model"
    assert command(*line[:-1])[0] == 0
    weights = tmp_path / "model" / "consolidated.safetensors"
    data = bytearray(weights.read_bytes())
    data[-2] ^= 1  # the last number, by its last bit
    weights.write_bytes(data)
    status, _, err = command(*line)
    assert status == 2 and "state.safetensors: crc32 of the base: " in err


@pytest.fixture(scope="module")
def control(place):
    """The model with another tokenizer, which has the control pieces."""
    import sentencepiece

    shutil.copytree(place / "model", place / "control")
    sentencepiece.SentencePieceTrainer.train(
        input=str(place / "corpus.txt"), model_prefix=str(place / "control" / "tokenizer"), vocab_size=300,
        model_type="bpe", byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1, control_symbols=["[INST]", "[/INST]"], minloglevel=2,
    )  # fmt: skip
    return place / "control"


def test_the_template_is_the_one_that_chat_will_use_and_another_is_noted(command, place, control, tmp_path):
    for folder, expected in ((place / "model", "v0.1"), (control, "v0.3")):
        output = tmp_path / folder.name
        status, _, err = command("finetune", folder, *quick(place, output)[2:])
        assert status == 0 and "chat takes" not in err
        assert json.loads((output / "training.json").read_text())["template"] == expected
    status, _, err = command("finetune", control, *quick(place, tmp_path / "c", "--template", "v0.2")[2:])
    assert status == 0 and "chat takes v0.3 with this tokenizer, unless it is given --template v0.2" in err


def test_it_is_said_when_the_layers_alone_can_hardly_learn_to_stop(command, place, stories260k, tmp_path):
    line = ["finetune", stories260k / "hf", *quick(place, "", "--lora-rank", 2)[2:]]
    line[line.index("")] = tmp_path / "a"
    _, _, err = command(*line)
    assert "EOS looks to this model like 252 other tokens, so its layers can hardly learn to end an answer" in err
    line[line.index(tmp_path / "a")] = tmp_path / "b"
    _, _, err = command(*line, "--lora-target", "wq,output")
    assert "EOS" not in err


def test_stories_without_end_are_data_too(command, place, tmp_path):
    pytest.importorskip("minimistral.stories.conversations")
    config = Config(**SMALL, window=30, context_len=4000)
    write_checkpoint(tmp_path / "model", config, random_tensors(config, seed=3))
    shutil.copy(place / "tokenizer.model", tmp_path / "model")
    status, out, err = command(
        "finetune", tmp_path / "model", "--data", "stories", "--output", tmp_path / "tuned", "--steps", 1,
        "--batch-tokens", 2000, "--backend", "numpy",
    )  # fmt: skip
    assert status == 0 and "held out" in out, err


# --- what is told -----------------------------------------------------------------------------------------------------

BAD = [
    (("--data", "nowhere.jsonl"), "--data: nowhere.jsonl: cannot be read: No such file or directory"),
    (("--lora-rank", "0"), "--lora-rank: '0', expected a whole number from 1 to 2147483647"),
    (("--lora-rank", "13"), "--lora-rank: 13, expected at most 12: layers.0.attention.wq.weight is (24, 12)"),
    (("--lora-rank", "2", "--lora-alpha", "nan"), "--lora-alpha: 'nan', expected a number from 2.23e-308 to 1e+06"),
    (("--lora-alpha", "2"), "--lora-alpha: '2', but no --lora-rank, expected both"),
    (("--lora-target", "wq"), "--lora-target: 'wq', but no --lora-rank, expected both"),
    (("--lora-rank", "2", "--lora-target", "w4"), "--lora-target: 'w4', expected some of wq, wk, wv, wo, w1, w2, w3, output"),
    (("--template", "v9"), '--template: template: "v9", expected one of v0.1, v0.2, v0.3'),
    (("--template", "v0.3"), "--template: template v0.3: the tokenizer has no control piece [INST], expected template"),
    (("--layout", "gguf"), "--layout: 'gguf', expected one of hf, mistral"),
    (("--dtype", "int4"), "--dtype: 'int4', expected one of bfloat16, float16, float32"),
    (("--backend", "tpu"), "--backend: 'tpu', expected one of auto, numpy, cpu"),
    (("--steps", "0"), "--steps: '0', expected a whole number from 1"),
    (("--learning-rate", "0"), "--learning-rate: '0', expected a number from 2.23e-308 to 10"),
    (("--batch-tokens", "20"), "line 1: a conversation of "),
    (("--resume",), "--resume: "),
]  # fmt: skip


@pytest.mark.parametrize(("options", "told"), BAD)
def test_a_mistake_is_one_line_and_leaves_nothing(command, place, tmp_path, monkeypatch, options, told):
    monkeypatch.chdir(tmp_path)
    status, out, err = command(*quick(place, tmp_path / "tuned", *options))
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and told in err
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ": empty, expected a line "),
        ("{}\n", ': line 1: no messages, expected {"messages": '),
        ("\0\1\2", ": line 1: a zero byte: a binary file, expected text in UTF-8"),
        (chat(2, 2) + "oops\n", ": line 3: not JSON: "),
        (chat(2, 1) + chat(2, 1).replace("assistant", "user"), ": line 2: message 2: role user, expected assistant"),
        (chat(2, 1) + chat(2, 1).replace("hat?", "hat? " * 40), ": line 2: a conversation of "),
    ],
)
def test_bad_data_are_one_line_with_file_and_number(command, place, tmp_path, text, told):
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    line = quick(place, tmp_path / "tuned")
    line[line.index(place / "chat.jsonl")] = path
    status, out, err = command(*line)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: --data: {path}{told}") and err.count("\n") == 1
    assert not (tmp_path / "tuned").exists()


def test_a_conversation_that_fits_a_batch_but_not_the_context_is_told_so(command, place, tmp_path):
    path = tmp_path / "long.jsonl"
    path.write_text(chat(2, 1).replace("hat?", "hat? " * 40))
    status, _, err = command(
        "finetune", place / "model", "--data", path, "--output", tmp_path / "tuned", "--batch-tokens", 4000
    )
    assert status == 2 and "tokens, expected at most 90, the model's context" in err


@pytest.mark.parametrize("size", [299, 301])
def test_a_tokenizer_of_another_vocabulary_is_told(command, place, tmp_path, size):
    config = Config(**SMALL | {"vocab_size": size})
    write_checkpoint(tmp_path / "model", config, random_tensors(config))
    shutil.copy(place / "tokenizer.model", tmp_path / "model")
    line = quick(place, tmp_path / "tuned")
    line[1] = tmp_path / "model"
    status, _, err = command(*line)
    told = f"error: {tmp_path}/model: the tokenizer has 300 pieces, expected {size}, the model's vocabulary\n"
    assert (status, err) == (2, told)


def test_a_folder_without_a_tokenizer_is_told(command, place, tmp_path):
    shutil.copytree(place / "model", tmp_path / "model")
    (tmp_path / "model" / "tokenizer.model").unlink()
    line = quick(place, tmp_path / "tuned")
    line[1] = tmp_path / "model"
    status, _, err = command(*line)
    assert status == 2 and "has no tokenizer" in err


def test_the_base_is_never_the_output(command, place):
    before = files_of(place / "model")
    for more in ((), ("--resume",)):
        status, _, err = command(*quick(place, place / "model", *more))
        assert status == 2 and "is the model itself, expected another folder" in err
    assert files_of(place / "model") == before


def test_a_base_with_nan_is_told_by_its_tensor(command, place, tmp_path):
    config = Config(**SMALL)
    tensors = random_tensors(config)
    write_checkpoint(tmp_path / "model", config, tensors, "mistral", "float32")
    shutil.copy(place / "tokenizer.model", tmp_path / "model")
    path = tmp_path / "model" / "consolidated.safetensors"
    found = load_file(path)
    found["layers.1.attention.wk.weight"][3, 2] = np.nan
    save_file(found, path)
    line = quick(place, tmp_path / "tuned")
    line[1] = tmp_path / "model"
    status, _, err = command(*line)
    assert status == 2 and "layers.1.attention.wk.weight: NaN at index (3, 2), expected finite numbers" in err


def test_a_model_that_does_not_fit_is_told_before_it_is_read(command, place, tmp_path, monkeypatch):
    from minimistral.checkpoint import load

    monkeypatch.setattr(load, "free_memory", lambda: 100_000)
    status, _, err = command(*quick(place, tmp_path / "tuned"))
    assert status == 2 and "fine-tuning needs " in err and "(16 bytes a parameter), 0.0001 GB are free" in err
    assert "--lora-rank 8 needs less" in err
