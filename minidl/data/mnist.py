"""MNIST and the data sets in its format: 28 x 28 grey images of ten classes.

MNIST (LeCun 1998), Fashion-MNIST (Xiao 2017), Kuzushiji-MNIST (Clanuwat 2018): 60,000 training and
10,000 test images each, in four files of the IDX format. And `Digits`, a piece of MNIST that comes
with the package.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from .dataset import ArrayDataset
from .download import download as fetch

__all__ = ["KMNIST", "MNIST", "Digits", "FashionMNIST", "digits", "read_idx"]

Transform = Callable[..., np.ndarray]

# Third byte of an IDX file; numbers are stored with the most significant byte first.
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | Path) -> np.ndarray:
    """Read a file of the IDX format (LeCun's MNIST page), packed with gzip or not.

    Returns:
        an array of the shape and type that the file states.

    Raises:
        ValueError: the file is damaged or not of this format; the message names it.
    """
    path = Path(path)
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged ({error}); delete it and get it again") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_TYPES:
        raise ValueError(f"{path} is not an IDX file: it begins with {content[:4].hex(' ')}")
    kind, ndim = np.dtype(IDX_TYPES[content[2]]), content[3]
    start = 4 + 4 * ndim
    shape = tuple(int(n) for n in np.frombuffer(content[4:start].ljust(4 * ndim, b"\0"), ">i4"))
    expected = start + int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if len(content) != expected:
        raise ValueError(
            f"{path} has {len(content)} bytes unpacked, but states a shape {shape}, which takes "
            f"{expected}; delete it and get it again"
        )
    values = np.frombuffer(content, kind, offset=start).reshape(shape)
    return values.astype(kind.newbyteorder("="))


class _IdxImages(ArrayDataset):
    """A data set of four IDX files, in `root`, `root/<name in lower case>` or `root/<name>/raw`."""

    mirrors: ClassVar[tuple[str, ...]]
    md5: ClassVar[dict[str, str]]  # of the official .gz files
    class_names: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        root: str | Path,
        train: bool = True,
        transform: Transform | None = None,
        download: bool = False,
    ) -> None:
        name = type(self).__name__
        part = "train" if train else "t10k"
        images_path = self._locate(Path(root), f"{part}-images-idx3-ubyte.gz", download)
        labels_path = self._locate(Path(root), f"{part}-labels-idx1-ubyte.gz", download)
        images, labels = read_idx(images_path), read_idx(labels_path)
        if images.ndim != 3 or images.dtype != np.uint8:
            raise ValueError(
                f"{name}: {images_path} does not hold images, but {images.dtype} {images.shape}"
            )
        if labels.shape != images.shape[:1]:
            raise ValueError(
                f"{name}: {labels_path} has labels of shape {labels.shape} for "
                f"{len(images)} images in {images_path}"
            )
        if labels.size and labels.max() >= len(self.class_names):
            raise ValueError(
                f"{name}: {labels_path} has a label {labels.max()}, classes are 0 to "
                f"{len(self.class_names) - 1}"
            )
        super().__init__(images[:, None], labels, transform, self.class_names)
        self.root = Path(root)
        self.train = train

    def _locate(self, root: Path, file: str, download: bool) -> Path:
        """The path of an official file, unpacked or not, fetched if it is wanted and missing."""
        name = type(self).__name__
        # Folders named after the data set come first: the files of all three have the same names.
        own = root / name / "raw"  # torchvision's place
        for folder in (own, root / name.lower(), root):
            for candidate in (folder / file, folder / file.removesuffix(".gz")):
                if candidate.is_file():
                    return candidate
        urls = [mirror + file for mirror in self.mirrors]
        if download:
            return fetch(urls, own / file, self.md5.get(file))
        raise FileNotFoundError(
            f"{name}: no {file} in {root}, {root / name.lower()} or {own}; "
            f"pass download=True, or get it from {urls[0]} and put it there"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r}, train={self.train})"


class MNIST(_IdxImages):
    """Handwritten digits (LeCun 1998).

    Args:
        root: the folder where the four official files are, packed or not; also found in
            `root/mnist` and, as torchvision has them, in `root/MNIST/raw`.
        train: the 60,000 training images, or else the 10,000 test images.
        transform: see `ArrayDataset`.
        download: fetch missing files into `root/MNIST/raw`.

    Attributes:
        images: (N, 1, 28, 28) uint8; samples come out as float32 in [0, 1].
        labels: (N,) int64.
        classes: names of the classes.
        mean, std: of the training images in [0, 1], for `Normalize`.

    Raises:
        FileNotFoundError: a file is missing; the message says which and where to put it.
        ConnectionError: a download failed.
        ValueError: a file is damaged or another one.
    """

    mirrors = (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    )
    md5 = {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }
    class_names = tuple("0123456789")
    mean, std = 0.13066, 0.30811  # computed from the 60,000 training images


class FashionMNIST(_IdxImages):
    """Pictures of clothes in MNIST's format (Xiao, Rasul, Vollgraf 2017); arguments as `MNIST`."""

    mirrors = (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    )
    md5 = {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }
    class_names = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )


class KMNIST(_IdxImages):
    """Cursive Japanese characters in MNIST's format (Clanuwat 2018); arguments as `MNIST`."""

    mirrors = ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",)
    md5 = {
        "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
        "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
        "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
        "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
    }
    class_names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


class Digits(ArrayDataset):
    """5,000 training digits of MNIST that come with minidl: see digits/README.md.

    Args:
        train: the 4,000 training images (400 a class), or else the 1,000 test images (100 a class).
        transform: see `ArrayDataset`.

    Attributes:
        images: (N, 1, 28, 28) uint8; samples come out as float32 in [0, 1].
        labels: (N,) int64.
        classes: names of the classes.
        mean, std: of the training images in [0, 1], for `Normalize`.
    """

    mean, std = 0.13154, 0.30877  # computed from the 4,000 training images

    def __init__(self, train: bool = True, transform: Transform | None = None) -> None:
        part = "train" if train else "test"
        with np.load(Path(__file__).with_name("digits") / "digits.npz") as file:
            images, labels = file[f"{part}_images"], file[f"{part}_labels"]
        super().__init__(images[:, None], labels, transform, MNIST.class_names)
        self.train = train

    def __repr__(self) -> str:
        return f"Digits(train={self.train})"


def digits(train: bool = True, transform: Transform | None = None) -> Digits:
    """The digits that come with minidl; arguments as `Digits`."""
    return Digits(train, transform)
