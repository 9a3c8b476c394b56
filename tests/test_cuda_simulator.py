"""The CUDA kernels on Numba's simulator: their tests, small, in a process of their own (the choice is made at import)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
HERE = Path(__file__).parent


@pytest.mark.parametrize("file", ["test_cuda_kernels.py", "test_cuda_model.py"])
def test_kernels_have_the_references_bits_on_the_simulator(file):
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", str(HERE / file)]
    run = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=HERE.parent, timeout=900
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) > 15
