"""Replacing a file: whole or not at all, whatever happens on the way."""

import errno
import os
import stat
import sys

import pytest

from minidl.io import remove_leftovers, replace_file


def write(path, text):
    with replace_file(path) as temporary, open(temporary, "w") as file:
        file.write(text)


def test_the_new_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "deep" / "er" / "note.txt"
    write(path, "one")
    write(str(path), "two")
    assert path.read_text() == "two"
    assert os.listdir(path.parent) == ["note.txt"]


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "note.txt"
    write(path, "old")

    def write_half(error):
        with replace_file(path) as temporary, open(temporary, "w") as file:
            file.write("half of the n")
            raise error

    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            write_half(error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["note.txt"]


STEPS = ["tempfile.mkdtemp", "os.fsync", "os.chmod", "os.replace"]


@pytest.mark.parametrize("step", STEPS)
def test_whichever_step_fails_the_old_file_stays(tmp_path, monkeypatch, step):
    path = tmp_path / "note.txt"
    write(path, "old")

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"minidl.io.atomic.{step}", fail)
    with pytest.raises(OSError, match="No space left"):
        write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["note.txt"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.parametrize("step", STEPS)
def test_whichever_step_is_killed_the_old_file_stays(tmp_path, step):
    import minidl.io.atomic as atomic

    path = tmp_path / "note.txt"
    write(path, "old")
    child = os.fork()
    if not child:  # dies like a killed process: without any cleaning up
        owner, name = step.split(".")
        setattr(getattr(atomic, owner), name, lambda *args, **kwargs: os._exit(9))
        write(path, "new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert path.read_text() == "old"
    remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["note.txt"]


def test_leftovers_are_removed_and_other_files_are_not(tmp_path):
    write(tmp_path / "note.txt", "whole")
    (tmp_path / ".note.txt.abc.part").mkdir()
    (tmp_path / ".note.txt.abc.part" / "note.txt").write_text("half")
    (tmp_path / "mine.part").write_text("mine")
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["mine.part", "note.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with replace_file(tmp_path / "a") as temporary:
            os.unlink(temporary)
            os.close(os.open(temporary, os.O_CREAT, 0o600))  # a writer that is secretive
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_link_stays_a_link_and_what_it_points_to_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "disk" / "real.txt")
    write(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "disk" / "real.txt").read_text() == "new"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="this system has other permissions")
def test_a_folder_that_may_not_be_written_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "note.txt"
    write(path, "old")
    user = os.geteuid()
    tmp_path.chmod(0o555)
    try:
        if user == 0:  # the superuser may write everywhere: be somebody else
            os.seteuid(65534)
        with pytest.raises(PermissionError, match=r"note\.txt"):
            write(path, "new")
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o755)
    assert path.read_text() == "old"


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write(tmp_path / "file" / "note.txt", "new")
