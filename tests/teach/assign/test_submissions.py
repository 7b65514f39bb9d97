"""Submissions in every form they come in; nothing is passed over in silence."""

import io
import stat
import zipfile

import pytest

from minidl.teach.assign.submissions import collect, read_one

CODE = b"def double(x): return 2 * x\n"


def zipped(**files):
    """The bytes of a zip; double underscores in names are slashes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def put(path, content=CODE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_is_a_submission_whatever_its_name(tiny, tmp_path):
    [got] = collect(put(tmp_path / "tiny.py"), tiny)
    assert (got.files, got.notes) == ({"tiny.py": CODE}, [])
    [got] = collect(put(tmp_path / "ada_lovelace.py"), tiny)
    assert got.files == {"tiny.py": CODE}
    assert got.notes == ["ada_lovelace.py is taken as tiny.py"]


def test_a_folder_with_the_file_is_one_submission(tiny, tmp_path):
    put(tmp_path / "tiny.py")
    put(tmp_path / "numpy.py", b"evil")
    put(tmp_path / "other" / "tiny.py", b"old")
    [got] = collect(tmp_path, tiny)
    assert got.files == {"tiny.py": CODE}


def test_a_folder_of_folders_files_and_archives_is_many(tiny, tmp_path):
    put(tmp_path / "ada" / "tiny.py")
    put(tmp_path / "bob.py")
    put(tmp_path / "cleo.zip", zipped(**{"tiny.py": CODE}))
    put(tmp_path / "dan" / "work" / "tiny.py")
    put(tmp_path / "eve" / "tinny.py")
    (tmp_path / "fay").mkdir()
    put(tmp_path / "gus" / "hand-in.zip", zipped(**{"src/tiny.py": CODE}))
    put(tmp_path / "hal.zip", b"no archive")
    put(tmp_path / "grades.csv")
    found = {got.name.rpartition("/")[2]: got for got in collect(tmp_path, tiny)}
    names = ["ada", "bob.py", "cleo.zip", "dan", "eve", "fay", "gus", "hal.zip"]
    assert list(found) == names
    assert [bool(found[name].files) for name in names] == [1, 1, 1, 1, 0, 0, 1, 0]
    assert "not submissions: grades.csv" in found["ada"].notes[0]
    assert found["dan"].notes == ["tiny.py found as work/tiny.py"]
    assert found["eve"].notes == ["missing: tiny.py; there is: tinny.py"]
    assert found["fay"].notes == ["missing: tiny.py; there is: nothing"]
    assert "hal.zip cannot be read" in found["hal.zip"].notes[0]


def test_a_single_one_is_not_split(tiny, tmp_path):
    put(tmp_path / "tinny.py")
    put(tmp_path / "notes" / "a.txt")
    got = read_one(tmp_path, tiny)
    assert got.files == {}
    assert got.notes == ["missing: tiny.py; there is: notes/a.txt, tinny.py"]


def test_archives_of_many_are_as_moodle_and_gradescope_write_them(tiny, tmp_path):
    moodle = {
        "Ada Lovelace_123_assignsubmission_file/tiny.py": CODE,
        "Bob B_124_assignsubmission_file/tiny.zip": zipped(**{"x/tiny.py": CODE}),
    }
    got = collect(put(tmp_path / "moodle.zip", zipped(**moodle)), tiny)
    assert [len(one.files) for one in got] == [1, 1]
    gradescope = {
        "assignment_1_export/submission_1/tiny.py": CODE,
        "assignment_1_export/submission_2/empty.txt": b"",
        "assignment_1_export/submission_metadata.yml": b"",
        "__MACOSX/assignment_1_export/._x": b"",
    }
    got = collect(put(tmp_path / "gradescope.zip", zipped(**gradescope)), tiny)
    assert [one.name.rpartition("/")[2] for one in got] == ["submission_1", "submission_2"]
    assert [len(one.files) for one in got] == [1, 0]
    assert "submission_metadata.yml" in got[0].notes[0]


def test_an_empty_archive_or_folder_is_a_submission_without_files(tiny, tmp_path):
    for path in (put(tmp_path / "none.zip", zipped()), tmp_path / "empty"):
        if not path.suffix:
            path.mkdir()
        [got] = collect(path, tiny)
        assert got.files == {}
        assert got.notes == ["missing: tiny.py; there is: nothing"]


def test_a_path_without_anything_is_an_error(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no"):
        collect(tmp_path / "nobody", tiny)


def test_links_are_not_followed(tiny, tmp_path):
    secret = put(tmp_path / "secret" / "tiny.py", b"the solution")
    try:
        (tmp_path / "ada").mkdir()
        (tmp_path / "ada" / "tiny.py").symlink_to(secret)
        (tmp_path / "bob").mkdir()
        (tmp_path / "bob" / "src").symlink_to(secret.parent, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    for name in ("ada", "bob"):
        got = read_one(tmp_path / name, tiny)
        assert got.files == {}
        assert any("missing: tiny.py" in note for note in got.notes)
    assert "tiny.py is not read: it is a link" in read_one(tmp_path / "ada", tiny).notes


def test_archives_that_mean_harm(tiny, tmp_path):
    link = zipfile.ZipInfo("tiny.py")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert read_one(put(tmp_path / "link.zip", out.getvalue()), tiny).files == {}

    climbing = zipped(**{"../../tiny.py": CODE, "/etc/tiny.txt": b""})
    before = set(tmp_path.rglob("*"))
    got = read_one(put(tmp_path / "climb.zip", climbing), tiny)
    assert got.files == {"tiny.py": CODE}
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "climb.zip"}

    bomb = zipped(**{"tiny.py": b"\0" * (51 * 2**20)})
    got = read_one(put(tmp_path / "bomb.zip", bomb), tiny)
    assert got.files == {}
    assert "tiny.py is not read: it has more than 1 MB" in got.notes

    lying = bytearray(zipped(**{"tiny.py": b"\0" * (51 * 2**20)}))
    entry = lying.rfind(b"PK\x01\x02")
    lying[entry + 24 : entry + 28] = (100).to_bytes(4, "little")
    got = read_one(put(tmp_path / "lying.zip", bytes(lying)), tiny)
    assert len(got.files.get("tiny.py", b"")) <= 100

    nested = CODE
    for _ in range(5):
        nested = zipped(**{"a.zip": nested})
    assert read_one(put(tmp_path / "nested.zip", nested), tiny).files == {}

    for cut in range(0, len(climbing), 7):
        read_one(put(tmp_path / "cut.zip", climbing[:cut]), tiny)


def test_two_files_of_the_name_are_not_guessed_between(tiny, tmp_path):
    put(tmp_path / "a" / "tiny.py")
    put(tmp_path / "b" / "tiny.py")
    got = read_one(tmp_path, tiny)
    assert got.files == {}
    assert got.notes[0].startswith("tiny.py is there 2 times (a/tiny.py, b/tiny.py)")
