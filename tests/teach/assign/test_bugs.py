"""Planted bugs: each one piece of text, found once."""

import pytest

from minidl.teach.assign import Bug

FILES = {"a.py": b"x = 1\ny = 2\n"}


def test_a_bug_replaces_its_piece_of_text():
    bug = Bug("two", cause="off", old="x = 1", new="x = 2")
    assert bug.planted(FILES) == {"a.py": b"x = 2\ny = 2\n"}
    assert FILES == {"a.py": b"x = 1\ny = 2\n"}


@pytest.mark.parametrize(("old", "new"), [("=", "=="), ("z", "w"), ("x", "x")])
def test_a_bug_that_cannot_be_planted_is_an_error(old, new):
    with pytest.raises(ValueError, match=r"its old text must occur once in a\.py"):
        Bug("bad", "none", old, new).planted(FILES)


def test_of_several_files_one_is_named():
    files = {**FILES, "b.py": b"x = 1\n"}
    with pytest.raises(ValueError, match=r"name its file= among a.py, b.py"):
        Bug("two", "off", "x = 1", "x = 2").planted(files)
    planted = Bug("two", "off", "x = 1", "x = 2", file="b.py").planted(files)
    assert planted == {**files, "b.py": b"x = 2\n"}
