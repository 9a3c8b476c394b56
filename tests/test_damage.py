"""Damaged checkpoint folders: each gives one clear line, quickly, and in little memory."""

import importlib.util
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from checkpoint_folders import FORMS, damages, make

from minimistral.arithmetic import by_name
from minimistral.checkpoint import load_weights, open_checkpoint
from minimistral.errors import BadInput

ROOT = Path(__file__).parents[1]
SECONDS, BYTES = 10, 2**30
DAMAGES = damages()
BY_COMMAND = random.Random(7).sample(sorted(DAMAGES), 12)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {form: make(folder / form, form) for form in FORMS}


@pytest.fixture
def damaged(whole, tmp_path):
    def make_damaged(name: str) -> Path:
        form, damage = DAMAGES[name]
        folder = tmp_path / "model"
        shutil.copytree(whole[form], folder)
        damage(folder)
        return folder

    return make_damaged


def use_all(folder: Path) -> None:
    """What a run does: open, and use every weight."""
    weights = load_weights(open_checkpoint(folder), by_name("exact"))
    for array in (weights.tok_embeddings, weights.norm, weights.output):
        assert array.size
    for layer in weights.layers:
        assert all(array.size for array in layer)


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def test_there_are_200_damages_and_the_whole_folders_are_good(whole):
    assert len(DAMAGES) >= 200
    for folder in whole.values():
        use_all(folder)


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_folder_gives_one_line(name, damaged):
    folder = damaged(name)

    def too_long(*_):
        raise TimeoutError(name)

    before, start = peak_bytes(), time.monotonic()
    previous = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with pytest.raises(BadInput) as error:
            use_all(folder)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    message = str(error.value)
    assert message.isprintable() and 10 < len(message) < 1000, repr(message)
    assert str(folder) in message
    assert time.monotonic() - start < SECONDS
    assert peak_bytes() - before < BYTES / 4


@pytest.mark.parametrize("form", FORMS)
def test_random_bytes_give_one_line_or_a_good_model(form, whole, tmp_path):
    refused = 0
    for seed in range(60):
        rng, folder = random.Random(f"{form} {seed}"), tmp_path / str(seed)
        shutil.copytree(whole[form], folder)
        path = rng.choice(sorted(folder.iterdir()))
        data = bytearray(path.read_bytes())
        for _ in range(rng.choice([1, 4, 64])):
            data[rng.randrange(min(len(data), 4000))] = rng.choice([0, 10, 34, 48, 57, 91, 123, 128, 255])
        path.write_bytes(data)
        try:
            use_all(folder)
        except BadInput as error:
            refused += 1
            assert str(error).isprintable(), (seed, error)
    assert refused > 30


def test_names_with_control_characters_stay_on_one_line(whole, tmp_path):
    folder = tmp_path / "two\nlines \x1b[31m \udcff"
    shutil.copytree(whole["hf"], folder)
    use_all(folder)
    (folder / "config.json").write_text("no")
    with pytest.raises(BadInput, match=r"two\\nlines \\x1b\[31m \\udcff.config.json") as error:
        use_all(folder)
    assert str(error.value).isprintable()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["params.json", "consolidated.safetensors", "."])
def test_files_without_rights_are_bad_input(whole, tmp_path, name):
    folder = shutil.copytree(whole["mistral"], tmp_path / "model")
    (folder / name).chmod(0)
    with pytest.raises(BadInput, match="cannot be read: Permission denied"):
        use_all(folder)
    (folder / name).chmod(0o700)


@pytest.mark.skipif(importlib.util.find_spec("minimistral.__main__") is None, reason="no command line yet")
@pytest.mark.parametrize("name", BY_COMMAND)
def test_command_says_one_line_and_exits_2(name, damaged):
    command = [sys.executable, "-m", "minimistral", "generate", "--model", str(damaged(name))]
    command += ["--tokens", "1 2", "--max-new-tokens", "1"]
    limit = f"import resource, sys, os; resource.setrlimit(resource.RLIMIT_DATA, ({BYTES}, {BYTES}))"
    launch = [sys.executable, "-c", f"{limit}; os.execv(sys.argv[1], sys.argv[1:])", *command]
    result = subprocess.run(launch, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT, check=False)
    assert result.returncode == 2, result
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
