"""Damaged checkpoint folders: each gives one clear line, quickly, and in little memory."""

import importlib.util
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
