"""CIFAR-10 (Krizhevsky 2009): 60,000 colour images of 32 x 32 pixels in ten classes.

The binary version: six files of 10,000 records, each a byte of label and 3 x 32 x 32 bytes of
red, green and blue, row by row. Five files are for training, the sixth for testing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .dataset import ArrayDataset
from .download import download as fetch

__all__ = ["CIFAR10"]

RECORD = 1 + 3 * 32 * 32  # bytes
RECORDS = 10_000  # in a file
ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"  # in the archive


class CIFAR10(ArrayDataset):
    """CIFAR-10 in its official binary version.

    Args:
        root: the folder of `data_batch_1.bin` ... `data_batch_5.bin` and `test_batch.bin`; also
            found in `root/cifar-10-batches-bin` and `root/cifar10`, or taken from
            `root/cifar-10-binary.tar.gz`.
        train: the training images, or else the 10,000 test images.
        transform: see `ArrayDataset`.
        download: fetch the archive (162 MB) into `root` if files are missing.
        batches: which of the five training files to read.

    Attributes:
        images: (N, 3, 32, 32) uint8, RGB; samples come out as float32 in [0, 1].
        labels: (N,) int64.
        classes: names of the classes.
        mean, std: of the 50,000 training images in [0, 1], channel by channel, for `Normalize`.

    Raises:
        FileNotFoundError: a file is missing; the message says which and where to put it.
        ConnectionError: the download failed.
        ValueError: a file is damaged or another one.
    """

    mirrors = ("https://www.cs.toronto.edu/~kriz/",)
    md5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of the archive, as its author's page gives it
    class_names = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    mean = (0.49140, 0.48216, 0.44653)
    std = (0.24703, 0.24349, 0.26159)

    def __init__(
        self,
        root: str | Path,
        train: bool = True,
        transform: Callable[..., np.ndarray] | None = None,
        download: bool = False,
        batches: Sequence[int] = (1, 2, 3, 4, 5),
    ) -> None:
        if not batches or not set(batches) <= {1, 2, 3, 4, 5}:
            raise ValueError(f"CIFAR10: batches are some of 1 to 5, got {batches}")
        self.root = Path(root)
        self.train = train
        self.batches = tuple(batches)
        files = [f"data_batch_{i}.bin" for i in self.batches] if train else ["test_batch.bin"]
        records = np.concatenate([_read(path) for path in self._locate(files, download)])
        images = np.ascontiguousarray(records[:, 1:]).reshape(-1, 3, 32, 32)
        super().__init__(images, records[:, 0], transform, self.class_names)

    def _locate(self, files: list[str], download: bool) -> list[Path]:
        """The paths of binary files, unpacked from the archive if need be."""
        folders = (self.root, self.root / FOLDER, self.root / "cifar10")

        def find(file: str) -> Path | None:
            return next((d / file for d in folders if (d / file).is_file()), None)

        archive = self.root / ARCHIVE
        missing = [file for file in files if find(file) is None]
        if missing and download and not archive.is_file():
            fetch([mirror + ARCHIVE for mirror in self.mirrors], archive, self.md5)
        if missing and archive.is_file():
            _unpack(archive, missing, self.root / FOLDER)
        paths = []
        for file in files:
            path = find(file)
            if path is None:
                raise FileNotFoundError(
                    f"CIFAR10: no {file} in {', '.join(str(d) for d in folders)}; pass "
                    f"download=True, or get {self.mirrors[0]}{ARCHIVE} and put it into "
                    f"{self.root}; with only some training files, name them: batches=(1,)"
                )
            paths.append(path)
        return paths

    def __repr__(self) -> str:
        which = f", batches={self.batches}" if self.train else ""
        return f"CIFAR10({str(self.root)!r}, train={self.train}{which})"


def _read(path: Path) -> np.ndarray:
    """The records of a binary file, (10000, 3073) uint8."""
    size = path.stat().st_size
    if size != RECORD * RECORDS:
        raise ValueError(
            f"CIFAR10: {path} has {size} bytes, an official file has {RECORD * RECORDS}; "
            "delete it and get it again"
        )
    records = np.fromfile(path, np.uint8).reshape(RECORDS, RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(f"CIFAR10: {path} has a label {records[:, 0].max()}, classes are 0 to 9")
    return records


def _unpack(archive: Path, files: list[str], folder: Path) -> None:
    """Take `files` out of the archive; they appear in `folder` when all of it proved sound."""
    import gzip
    import shutil
    import tarfile
    import tempfile
    import zlib

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            tempfile.TemporaryDirectory(dir=folder) as temporary,
            gzip.open(archive) as stream,
            tarfile.open(fileobj=stream) as tar,
        ):
            for file in files:
                source = tar.extractfile(f"{FOLDER}/{file}")
                if source is None:
                    raise KeyError(f"{file} is not a file")
                with source, open(Path(temporary, file), "wb") as target:
                    shutil.copyfileobj(source, target)
            while stream.read(1 << 20):  # gzip compares its checksum at the end
                pass
            for file in files:
                os.replace(Path(temporary, file), folder / file)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, KeyError) as error:
        raise ValueError(
            f"CIFAR10: {archive} is damaged or another archive ({error}); delete it, get it again"
        ) from error
