"""The course comes into a reader's folder whole, and never over their work."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from minimistral import course
from minimistral.course import as_file, copy_course, lessons, not_run
from minimistral.errors import BadInput

ROOT = Path(__file__).parents[1]


def test_the_lessons_are_those_of_the_checkout_and_go_into_the_wheel():
    assert lessons() == sorted((ROOT / "notebooks").glob("*.ipynb"))
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"notebooks": "minimistral/notebooks"}


def test_an_installed_package_gives_its_own_lessons(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_start_here.ipynb").write_text("{}")
    monkeypatch.setattr(course, "PACKAGE", tmp_path)
    assert [path.name for path in lessons()] == ["00_start_here.ipynb"]
    (tmp_path / "notebooks" / "00_start_here.ipynb").unlink()
    with pytest.raises(BadInput, match="no notebooks; install minimistral again"):
        lessons()


def test_all_are_copied_once_and_an_edited_one_stays(tmp_path):
    names = [path.name for path in lessons()]
    folder = tmp_path / "deep" / "course"
    assert copy_course(folder) == (names, [])
    assert copy_course(folder) == ([], [])
    edited, lost = folder / names[0], folder / names[-1]
    edited.write_text("mine")
    lost.unlink()
    assert copy_course(folder) == ([lost.name], [edited.name])
    assert edited.read_text() == "mine" and lost.read_bytes() == as_file(not_run(lessons()[-1]))
    assert sorted(os.listdir(folder)) == names, "nothing half-written is left"


def test_what_a_cell_shows_is_not_copied_and_all_else_is(tmp_path):
    """The result stands under its guess in the checkout; a reader is to guess first."""
    copy_course(tmp_path)
    for path in lessons():
        ours, theirs = (json.loads(file.read_text()) for file in (path, tmp_path / path.name))
        assert any(cell.get("outputs") for cell in ours["cells"]), path.name
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in theirs["cells"]), path.name
        assert [(c["id"], c["source"]) for c in theirs["cells"]] == [(c["id"], c["source"]) for c in ours["cells"]]


def test_what_lies_where_a_lesson_goes_is_kept_whatever_it_is(tmp_path):
    names = [path.name for path in lessons()]
    (tmp_path / names[0]).mkdir()
    (tmp_path / names[1]).symlink_to(tmp_path / "nowhere")
    assert copy_course(tmp_path)[1] == names[:2]
    assert not (tmp_path / "nowhere").exists() and (tmp_path / names[0]).is_dir()


def test_a_file_in_the_way_is_one_clear_line(tmp_path):
    (tmp_path / "course").write_text("")
    with pytest.raises(BadInput, match="course: not a folder"):
        copy_course(tmp_path / "course")


def test_jupyterlab_is_opened_at_the_first_lesson(tmp_path):
    """With a JupyterLab that only says how it was called."""
    (tmp_path / "jupyterlab.py").write_text("import sys; print(sys.argv[1:])")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run([sys.executable, "-m", "minimistral", "notebooks", "--to", "mine"], cwd=tmp_path, text=True,
                          env=environment, capture_output=True, timeout=60, check=True)  # fmt: skip
    assert done.stdout.splitlines()[0] == "mine"
    assert done.stdout.splitlines()[1] == str([os.path.join("mine", "00_start_here.ipynb")])
    assert done.stderr == f"note: {len(lessons())} lessons copied\n"


def test_the_lessons_are_notebooks_without_a_solution():
    for path in lessons():
        cells = json.loads(path.read_text())["cells"]
        assert not any("BEGIN SOLUTION" in "".join(cell["source"]) for cell in cells), path.name


def row(path: Path) -> str:
    """A lesson's line in docs/course.md, from the notebook itself."""
    cells = json.loads(path.read_text())["cells"]
    first = "".join(cells[0]["source"])
    title, minutes = first.splitlines()[0].removeprefix("# "), re.search(r"\*\*(\d+) minutes", first)[1]
    asked = [cell["id"].removeprefix("check-") for cell in cells if cell["id"].startswith("check-")]
    names = ", ".join(f"`{name}`" for name in asked)
    return f"| [{path.stem[:2]}](../notebooks/{path.name}) | {title} | {minutes} | {names} |"


def test_the_page_of_the_course_lists_every_lesson_with_its_exercises():
    page = (ROOT / "docs" / "course.md").read_text()
    assert re.findall(r"^\| \[\d\d\].*$", page, re.MULTILINE) == [row(path) for path in lessons()]


if __name__ == "__main__":
    print("\n".join(row(path) for path in lessons()))
