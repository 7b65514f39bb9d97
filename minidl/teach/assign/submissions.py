"""Submissions as they come: a file, a folder, a zip, or a folder or zip of many of these.

Everything is read as bytes and nothing is unpacked onto the disk, so an archive cannot write
anywhere. Links are not followed. Whatever is not taken is named in a note: nothing is passed over
in silence, and a submission that lacks its files is graded too (with 0 points).
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .assignment import Assignment

__all__ = ["Submission", "collect", "read_one"]

FILE_BYTES = 2**20  # of one submitted file: Python source is smaller
ARCHIVE_BYTES = 50 * 2**20  # of an archive in a submission
ENTRIES = 20_000
CLUTTER = ("__MACOSX", "__pycache__", ".DS_Store", ".git", ".ipynb_checkpoints", "Thumbs.db")


@dataclass
class Submission:
    """What one student handed in.

    Attributes:
        name: as it is reported.
        files: the submitted files that were found, by name.
        notes: what there is to say about it, for the student too.
    """

    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Entry:
    """A file in a folder or an archive, not yet read."""

    parts: tuple[str, ...]  # its path; a folder without files has the last part ""
    size: int
    read: Callable[[], bytes]
    problem: str = ""  # why it is not read


def collect(path: str | Path, assignment: Assignment, single: bool = False) -> list[Submission]:
    """The submissions that a path holds.

    Args:
        path: a file; a folder or zip with the submitted files; or one with many of these.
        assignment: it says which files are submitted.
        single: whether the path is one submission, whatever it looks like.

    Raises:
        FileNotFoundError: there is nothing at that path.
    """
    path = Path(path)
    if path.is_dir():
        entries = list(_of_folder(path))
    elif not path.exists():
        raise FileNotFoundError(f"there is no {path}")
    elif path.suffix.lower() == ".zip":
        try:
            entries = list(_of_zip(path.read_bytes()))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
            return [Submission(str(path), {}, [f"the archive cannot be read: {error}"])]
    else:
        return [_from_file(str(path), _entry(path, (path.name,)), assignment)]
    name = os.path.normpath(path)
    if single or _has_files(entries, assignment):
        return [_from_entries(name, entries, assignment)]
    return _split(name, entries, assignment)


def read_one(path: str | Path, assignment: Assignment) -> Submission:
    """The one submission that a path holds."""
    return collect(path, assignment, single=True)[0]


def _split(name: str, entries: list[_Entry], assignment: Assignment) -> list[Submission]:
    """A folder of submissions: each of its folders, Python files and archives is one."""
    found: dict[str, Submission] = {}
    groups: dict[str, list[_Entry]] = {}
    others = []
    for entry in entries:
        if _depth(entry):
            inner = _Entry(entry.parts[1:], entry.size, entry.read, entry.problem)
            groups.setdefault(entry.parts[0], []).append(inner)
        elif entry.parts[0].endswith((".py", ".zip")):
            file = entry.parts[0]
            found[file] = _from_file(os.path.join(name, file), entry, assignment)
        else:
            others.append(entry.parts[0])
    if len(groups) == 1 and not found:  # a folder around all: Moodle's, or the archiver's
        [(group, within)] = groups.items()
        if not _has_files(within, assignment) and any(_depth(entry) for entry in within):
            return _split(os.path.join(name, group), within, assignment)
    for group, within in groups.items():
        found[group] = _from_entries(os.path.join(name, group), within, assignment)
    if not found:
        return [_from_entries(name, entries, assignment)]
    submissions = [found[key] for key in sorted(found)]
    if others:
        listed = ", ".join(sorted(others)[:10]) + (" ..." if len(others) > 10 else "")
        submissions[0].notes.append(f"(in {name}, not submissions: {listed})")
    return submissions


def _from_file(name: str, entry: _Entry, assignment: Assignment) -> Submission:
    """A submission that is a file: Python, or an archive."""
    file = entry.parts[-1]
    if file.lower().endswith(".zip"):
        return _from_entries(name, [entry], assignment)
    target = file if file in assignment.files else assignment.files[0]
    submission = Submission(name)
    if len(assignment.files) > 1 and file not in assignment.files:
        submission.notes.append(f"{file} is none of {', '.join(assignment.files)}")
    else:
        _take(submission, target, entry)
        if target != file:
            submission.notes.append(f"{file} is taken as {target}")
    _note_missing(submission, assignment, [entry])
    return submission


def _from_entries(name: str, entries: list[_Entry], assignment: Assignment) -> Submission:
    """A submission that is a folder or an archive."""
    submission = Submission(name)
    for entry in [e for e in entries if e.parts[-1].lower().endswith(".zip")]:
        where = "/".join(entry.parts)
        if entry.problem or entry.size > ARCHIVE_BYTES:
            submission.notes.append(f"{where} is not opened: {entry.problem or 'it is too large'}")
            continue
        try:
            inside = list(_of_zip(entry.read()))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError) as error:
            submission.notes.append(f"{where} cannot be read: {error}")
            continue
        entries = entries + inside
    for file in assignment.files:
        places = sorted((e for e in entries if e.parts[-1] == file), key=_depth)
        nearest = [entry for entry in places if _depth(entry) == _depth(places[0])]
        if len(nearest) > 1:
            where = ", ".join("/".join(entry.parts) for entry in nearest[:5])
            submission.notes.append(f"{file} is there {len(nearest)} times ({where}); which one?")
        elif nearest:
            _take(submission, file, nearest[0])
            if _depth(nearest[0]):
                submission.notes.append(f"{file} found as {'/'.join(nearest[0].parts)}")
    _note_missing(submission, assignment, entries)
    return submission


def _take(submission: Submission, file: str, entry: _Entry) -> None:
    where = "/".join(entry.parts)
    if entry.problem:
        submission.notes.append(f"{where} is not read: {entry.problem}")
    elif entry.size > FILE_BYTES:
        submission.notes.append(f"{where} is not read: it has more than 1 MB")
    else:
        try:
            submission.files[file] = entry.read()
        except (OSError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError) as error:
            submission.notes.append(f"{where} cannot be read: {error}")


def _note_missing(submission: Submission, assignment: Assignment, entries: list[_Entry]) -> None:
    missing = [file for file in assignment.files if file not in submission.files]
    if missing:
        there = sorted({"/".join(entry.parts) for entry in entries if entry.parts[-1]})
        listed = ", ".join(there[:10]) + (" ..." if len(there) > 10 else "")
        submission.notes.append(f"missing: {', '.join(missing)}; there is: {listed or 'nothing'}")


def _has_files(entries: list[_Entry], assignment: Assignment) -> bool:
    """Whether submitted files lie at the top."""
    return any(e.parts[-1] in assignment.files for e in entries if not _depth(e))


def _depth(entry: _Entry) -> int:
    return len(entry.parts) - 1


# -- folders and archives -------------------------------------------------------------------------


def _of_folder(root: Path) -> Iterator[_Entry]:
    count = 0
    for folder, folders, files in os.walk(root):  # does not follow links to folders
        parts = Path(folder).relative_to(root).parts
        folders[:] = sorted(name for name in folders if name not in CLUTTER)
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                yield _Entry((*parts, name), 0, bytes, "it is a link")
        files = [name for name in files if name not in CLUTTER]
        if not files and not folders and parts:
            yield _Entry((*parts, ""), 0, bytes)
        for name in sorted(files):
            count += 1
            if count > ENTRIES:
                raise ValueError(f"{root} holds more than {ENTRIES} files")
            yield _entry(Path(folder, name), (*parts, name))


def _entry(path: Path, parts: tuple[str, ...]) -> _Entry:
    facts = path.lstat()
    problem = ""
    if not stat.S_ISREG(facts.st_mode):
        problem = "it is a link" if stat.S_ISLNK(facts.st_mode) else "it is no file"
    return _Entry(parts, facts.st_size, path.read_bytes, problem)


def _of_zip(content: bytes) -> Iterator[_Entry]:
    archive = zipfile.ZipFile(io.BytesIO(content))
    infos = archive.infolist()
    if len(infos) > ENTRIES:
        raise ValueError(f"it holds more than {ENTRIES} files")
    for info in infos:
        # Only the last part is ever used as a name; ".." and roots lead nowhere.
        whole = info.filename.replace("\\", "/").split("/")
        parts = tuple(part for part in whole if part not in ("", ".", ".."))
        if set(parts) & set(CLUTTER) or not parts:
            continue
        problem = ""
        if stat.S_ISLNK(info.external_attr >> 16):
            problem = "it is a link"
        elif info.flag_bits & 1:
            problem = "it is encrypted"

        def read(info: zipfile.ZipInfo = info) -> bytes:
            most = ARCHIVE_BYTES
            with archive.open(info) as file:
                data = file.read(most + 1)  # never more than this, whatever the archive says
            if len(data) > most:
                raise ValueError("it is larger than it says")
            return data

        if info.is_dir():
            yield _Entry((*parts, ""), 0, bytes)
        else:
            yield _Entry(parts, info.file_size, read, problem)
