"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["remove_leftovers", "replace_file"]


@contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[str]:
    """Write `path` by way of a temporary file beside it.

    Yields the temporary file's name. When the block ends without an error, the file is forced to
    the disk and takes the place of `path` in one step; else it is removed and `path` is as it was.
    So a crash, a kill or a full disk at any moment leaves the old file or the new one.

    Raises:
        OSError: the folder cannot be made or written.

    Example:
        >>> with replace_file("notes.txt") as temporary:
        ...     Path(temporary).write_text("all of it")
    """
    path = os.path.realpath(path)  # what a link points to is replaced, not the link
    folder, name = os.path.split(path)
    # The temporary file has a folder of its own, so that what its writer may put beside it is
    # removed with it; in the same folder as `path`, since only within a disk a move is one step.
    try:
        os.makedirs(folder, exist_ok=True)
        workshop = tempfile.mkdtemp(prefix=f".{name}.", suffix=".part", dir=folder)
    except OSError as error:  # of the name that the user gave
        raise type(error)(error.errno, error.strerror, path) from None
    try:
        temporary = os.path.join(workshop, name)
        with open(temporary, "wb") as file:
            mode = os.fstat(file.fileno()).st_mode  # what the user's umask allows
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, mode)  # some writers make files for their owner only
        os.replace(temporary, path)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    if hasattr(os, "O_DIRECTORY"):  # the new name, too, is safe only once the folder is written
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove what `replace_file` left in `folder` if it was killed there: `.NAME.XXXX.part`.

    Only where nobody else is writing at the same time.
    """
    for leftover in Path(folder).glob(".*.part"):
        shutil.rmtree(leftover, ignore_errors=True)
