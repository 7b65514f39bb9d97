"""Assignments are found, loaded, and refused where they are none."""

import pytest

from minidl.teach.assign.assignment import find, known, load

from .conftest import write_assignment


def test_an_assignment_is_loaded_whole(tiny, folder):
    assert (tiny.key, tiny.title, tiny.folder) == ("A9", "Three sums", folder)
    assert (tiny.files, tiny.imports) == (("tiny.py",), ("numpy",))
    assert (tiny.seconds, tiny.megabytes) == (1, 200)
    names = [(check.name, check.hidden, check.points) for check in tiny.checks]
    assert names == [
        ("twice a matrix", False, 4),
        ("mean of rows", True, 3),
        ("sum of all", True, 3),
    ]


def test_a_handout_has_no_hidden_checks(tmp_path):
    gone = {"hidden.py": None, "bugs.py": None}
    assert load(write_assignment(tmp_path / "a9_tiny", **gone)).hidden == ()


def test_it_is_found_by_number_name_and_path(tmp_path, monkeypatch):
    folder = write_assignment(tmp_path / "lessons" / "assignments" / "a9_tiny")
    monkeypatch.chdir(tmp_path)
    assert known()["A9"] == folder
    for name in ("A9", "a9", "a9_tiny", str(folder), "lessons/assignments/a9_tiny"):
        assert find(name) == folder
    with pytest.raises(FileNotFoundError, match=r"no assignment 'A77'; there are: .*A9"):
        find("A77")


@pytest.mark.parametrize("file", ["assignment.py", "calls.py", "public.py"])
def test_a_missing_file_is_named(tmp_path, file):
    folder = write_assignment(tmp_path / "a9_tiny", **{file: None})
    with pytest.raises(FileNotFoundError, match="a9_tiny"):
        load(folder)


def test_two_checks_of_one_name_are_refused(tmp_path):
    from .conftest import FILES

    hidden = FILES["hidden.py"].replace("def sum_of_all", "def twice_a_matrix")
    with pytest.raises(ValueError, match="two checks named 'twice a matrix'"):
        load(write_assignment(tmp_path / "a9_tiny", **{"hidden.py": hidden}))


def test_no_checks_are_refused(tmp_path):
    changed = {"public.py": "", "hidden.py": None}
    with pytest.raises(ValueError, match="has no checks"):
        load(write_assignment(tmp_path / "a9_tiny", **changed))
