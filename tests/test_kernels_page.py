"""docs/kernels.md shows what is in docs/kernels_cuda.json, and says what was not run on a GPU."""

import json
import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_table_of_registers_is_the_committed_data():
    rows = json.loads((DOCS / "kernels_cuda.json").read_text())
    shown = re.findall(
        r"^\| (.+) \| (\d+) \| (\d*) \| (\d*) \| (\d*) \| (\d+) \|$", (DOCS / "kernels.md").read_text(), re.MULTILINE
    )
    assert len(shown) > 25
    for name, threads, *registers, shared in shown:
        found = {r["target"]: r for r in rows if r["kernel"] == name}
        assert [str(found[t]["registers"]) if t in found else "" for t in ("sm_75", "sm_80", "sm_90")] == registers, (
            name
        )
        assert {r["threads"] for r in found.values()} == {int(threads)}
        assert max(r["shared_bytes"] for r in found.values()) == int(shared), name
    left_out = {r["kernel"] for r in rows} - {name for name, *_ in shown}
    assert all("float16" in name or "float32" in name or "head_dim" in name for name in left_out)


def test_no_kernel_spills():
    assert not [r for r in json.loads((DOCS / "kernels_cuda.json").read_text()) if r["spill_bytes"] or r["stack_bytes"]]


def test_the_page_says_that_no_gpu_was_used():
    """To be taken away with the sentence, on the day that docs/data has a GPU's report."""
    assert "**Not yet verified on a GPU.**" in (DOCS / "kernels.md").read_text()
    assert not list((DOCS / "data").glob("gpu*"))
