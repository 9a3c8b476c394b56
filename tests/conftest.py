"""What several tests share."""

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import their own helpers
os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # processes that tests start see the checkout too

collect_ignore = [
    "adversarial.py",
    "oracle.py",
    "oracle_model.py",
    "known_bits.py",
    "checkpoint_folders.py",
]  # no tests: the first needs PyTorch

STORIES = Path(__file__).parents[2] / "shared" / "data" / "stories260K"


@pytest.fixture(scope="session")
def stories260k() -> Path:
    """A real trained model in both layouts; not part of the project."""
    if not STORIES.is_dir():
        pytest.skip("stories260K is not here (expected in shared/data beside the project)")
    return STORIES


@pytest.fixture(scope="module")
def browser():
    """Chromium: playwright's own, or the one of the system."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        own, names = playwright.chromium.executable_path, ("chromium", "chromium-browser", "google-chrome")
        path = own if Path(own).exists() else next(filter(None, map(shutil.which, names)), None)
        if path is None:
            pytest.skip("no Chromium: `playwright install chromium`, or one on the PATH")
        launched = playwright.chromium.launch(executable_path=path)
        yield launched
        launched.close()
