"""The data sets that a recipe can name, and what is known of them without their files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..data import CIFAR10, MNIST, Digits

__all__ = ["SOURCES", "Source", "find_source"]


@dataclass(frozen=True)
class Source:
    """A data set of labelled images.

    Attributes:
        words: what it is.
        shape: (C, H, W) of an image.
        classes: names of the classes.
        mean, std: of the training images in [0, 1], by channel, for normalising.
        training_images: how many there are where all of the files are.
        reader: function of (folder, train, download) that returns the data set.
    """

    words: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: Any
    std: Any
    training_images: int
    reader: Callable[[str, bool, bool], Any]

    def read(self, root: str | None = None, train: bool = True, download: bool = False) -> Any:
        """The training or the test images.

        Args:
            root: the folder of the files; default: the environment variable MINIDL_DATA, else
                "data".
            train: the training images, or else the test images.
            download: fetch files that are missing.

        Raises:
            FileNotFoundError: files are missing; the message says where to put them.
            ConnectionError: the download failed.
            ValueError: a file is damaged.
        """
        try:
            return self.reader(root or os.environ.get("MINIDL_DATA", "data"), train, download)
        except FileNotFoundError as error:  # it speaks to a programmer
            text = str(error).replace("pass download=True", "--download fetches it")
            raise FileNotFoundError(text) from None


def _read_cifar10(root: str, train: bool, download: bool) -> CIFAR10:
    """CIFAR-10, or those of its five training files that are there."""
    folders = (root, os.path.join(root, "cifar-10-batches-bin"), os.path.join(root, "cifar10"))
    found = [
        number
        for number in range(1, 6)
        if any(os.path.isfile(os.path.join(d, f"data_batch_{number}.bin")) for d in folders)
    ]
    if download or not found:
        return CIFAR10(root, train, download=download)
    return CIFAR10(root, train, batches=found)


SOURCES: dict[str, Source] = {
    "digits": Source(
        "5,000 handwritten digits that come with minidl",
        (1, 28, 28),
        MNIST.class_names,
        Digits.mean,
        Digits.std,
        4_000,
        lambda root, train, download: Digits(train),
    ),
    "mnist": Source(
        "MNIST, 60,000 + 10,000 handwritten digits",
        (1, 28, 28),
        MNIST.class_names,
        MNIST.mean,
        MNIST.std,
        60_000,
        lambda root, train, download: MNIST(root, train, download=download),
    ),
    "cifar10": Source(
        "CIFAR-10, 50,000 + 10,000 small colour pictures of ten kinds of things",
        (3, 32, 32),
        CIFAR10.class_names,
        CIFAR10.mean,
        CIFAR10.std,
        50_000,
        _read_cifar10,
    ),
}


def find_source(name: str) -> Source:
    """The data set of a name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in SOURCES:
        raise ValueError(f"unknown data set {name!r}; known are {', '.join(SOURCES)}")
    return SOURCES[name]
