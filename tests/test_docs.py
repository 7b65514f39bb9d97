"""The documentation is true: the files it names exist, the code in it runs, the house is drawn as
it is."""

import pathlib
import re

import pytest

from .test_floors import FLOORS

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_files_that_are_named_exist(page):
    text = page.read_text()
    named = re.findall(r"`((?:minidl|tests|docs|benchmarks|\.ci)/[\w./-]*)`", text)
    named += re.findall(r"\]\((?!http)([^)#]+)", text)
    missing = [name for name in named if not (ROOT / name).exists()]
    missing = [name for name in missing if not (page.parent / name).exists()]
    assert not missing, f"{page.name} names what is not there: {missing}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_in_it_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for what it writes
    space: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S):
        exec(compile(block, page.name, "exec"), space)
    assert space is not None


def test_the_house_is_drawn_as_it_is():
    """Every room that exists stands in the README's table, on its floor."""
    rows = re.findall(r"^\| (\d) \| ([^|]*) \|", (ROOT / "README.md").read_text(), flags=re.M)
    drawn = {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms)}
    rooms = {p.name.removesuffix(".py") for p in (ROOT / "minidl").iterdir()}
    rooms = {r for r in rooms if not r.startswith("__") and r != "py.typed"}
    assert drawn == {room: FLOORS[room] for room in rooms}
