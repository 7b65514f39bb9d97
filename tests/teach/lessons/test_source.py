"""Lessons as they are written: cells, titles, abilities, and where they are looked for."""

import re

import pytest

from minidl.teach.lessons import source
from minidl.teach.lessons.source import cells_of, choose, find_lessons

LESSON = """\
# %% [markdown]
# # 01. Rows and columns
#
# After this lesson you can
#
# - say what a *row* is, even
#   over two lines;
# - add two.
#
# Needs: nothing.

# %%
x = 1  # %% is no marker here

# %% a cell with a title
print(x)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(source, "BESIDE_THE_PACKAGE", tmp_path / "elsewhere" / "lessons")
    return tmp_path


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(LESSON)


def test_cells_have_their_kind_their_line_and_their_text():
    prose, code, last = cells_of(LESSON)
    assert (prose.kind, prose.line) == ("markdown", 1)
    assert prose.text.startswith("# 01. Rows and columns\n\nAfter")
    assert (code.kind, code.line, code.text) == ("code", 12, "x = 1  # %% is no marker here")
    assert (last.kind, last.line, last.text) == ("code", 15, "print(x)")


def test_what_stands_before_the_first_marker_is_a_cell_only_if_there_is_something():
    assert [c.text for c in cells_of("x = 1\n# %%\ny = 2\n")] == ["x = 1", "y = 2"]
    assert [c.text for c in cells_of("\n\n# %%\ny = 2\n")] == ["y = 2"]


def test_lessons_are_found_by_number_with_title_and_abilities(here):
    put(here / "lessons", "02_b.py", "01_a.py", "helper.py")
    first, second = find_lessons()
    assert (first.stem, first.number, second.stem) == ("01_a", "01", "02_b")
    assert first.title == "01. Rows and columns"
    assert first.abilities == ("say what a *row* is, even over two lines;", "add two.")


def test_lessons_beside_the_package_are_taken_where_the_current_folder_has_none(here):
    put(here / "elsewhere" / "lessons", "01_far.py")
    assert [x.stem for x in find_lessons()] == ["01_far"]
    put(here / "lessons", "01_near.py")
    assert [x.stem for x in find_lessons()] == ["01_near"]


def test_without_lessons_the_error_says_to_clone_the_repository(here):
    with pytest.raises(FileNotFoundError, match="clone it"):
        find_lessons()


def test_a_lesson_without_a_heading_is_refused(here):
    put(here / "lessons", "01_a.py")
    (here / "lessons" / "01_a.py").write_text("# %%\nx = 1\n")
    with pytest.raises(ValueError, match=re.escape("01_a.py: a lesson begins with")):
        find_lessons()


@pytest.mark.parametrize("name", ["3", "03", "03_c", "03_c.py", "lessons/03_c.py"])
def test_a_lesson_is_named_by_number_stem_or_file(here, name):
    put(here / "lessons", "01_a.py", "03_c.py", "13_d.py")
    lessons = find_lessons()
    assert [x.stem for x in choose(lessons, [name])] == ["03_c"]
    assert [x.stem for x in choose(lessons, ["13", name])] == ["03_c", "13_d"]
    assert choose(lessons, []) == lessons


def test_a_name_that_no_lesson_has_is_an_error_that_lists_them(here):
    put(here / "lessons", "01_a.py", "03_c.py")
    with pytest.raises(ValueError, match="no lesson '2'; there are 01_a, 03_c"):
        choose(find_lessons(), ["2"])
