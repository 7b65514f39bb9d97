"""Fetching the official files of a data set: resumed, checked, and in place only when whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["download", "md5_of"]

CHUNK = 1 << 16  # bytes
TIMEOUT = 30.0  # seconds without an answer


def download(
    urls: Sequence[str], path: str | Path, md5: str | None = None, progress: bool = True
) -> Path:
    """Fetch a file from the first of several addresses that delivers it.

    What has come is kept in `path` + ".part", from which a later call continues (HTTP Range). The
    file gets its name in one step, when it is complete and its checksum right.

    Args:
        urls: addresses of the same file, tried in turn.
        path: where to put it; folders are made.
        md5: its MD5 checksum in hexadecimal; None: only its length is checked.
        progress: show a progress bar.

    Returns:
        the path.

    Raises:
        ConnectionError: no address delivered it. The message says what each answered, and which
            file to put where by hand.
    """
    import http.client

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    answers = []
    for url in urls:
        try:
            begun = part.exists()
            _fetch(url, part, path.name, progress)
            if md5 is not None and begun and md5_of(part) != md5:
                # The beginning may have been another file's. Once more, from nothing.
                part.unlink()
                _fetch(url, part, path.name, progress)
            if md5 is not None and (found := md5_of(part)) != md5:
                part.unlink()
                raise OSError(f"delivered a file with checksum {found}")
        except (OSError, http.client.HTTPException) as error:
            answers.append(f"\n  {url}: {error}")
            continue
        os.replace(part, path)
        return path
    checksum = "" if md5 is None else f" (MD5 {md5})"
    raise ConnectionError(
        f"could not download {path.name}:{''.join(answers)}\n"
        f"Try again, or get the file{checksum} in another way and put it at {path}"
    )


def md5_of(path: str | Path) -> str:
    """The MD5 checksum of a file, in hexadecimal."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _fetch(url: str, part: Path, name: str, progress: bool) -> None:
    """Complete the file `part` from one address."""
    import urllib.error
    import urllib.request

    from tqdm import tqdm

    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "minidl"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # Range Not Satisfiable: the file is no longer than what is here
            raise
        error.close()
        if error.headers.get("Content-Range") != f"bytes */{done}":
            part.unlink()
            _fetch(url, part, name, progress)
        return
    with response:
        resumed = response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        if not (done and response.status == 206 and resumed):
            done = 0  # the server sends the whole file
        length = response.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        with (
            open(part, "ab" if done else "wb") as file,
            tqdm(
                total=total,
                initial=done,
                unit="B",
                unit_scale=True,
                desc=name,
                disable=not progress,
            ) as bar,
        ):
            while chunk := response.read(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    size = part.stat().st_size
    if total is not None and size != total:
        raise ConnectionError(f"the connection ended after {size} of {total} bytes")
