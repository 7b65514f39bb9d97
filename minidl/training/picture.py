"""A picture file as the input of a trained network.

Digits are prepared as those of MNIST were (LeCun 1998, section III.A): the ink is scaled to fit a
box of 20 x 20 pixels, and its centre of mass is put into the middle of 28 x 28. A network sees what
it has learned from, however large the picture is and wherever on it somebody wrote.
"""

from __future__ import annotations

import os

import numpy as np

from ..data import read_image

__all__ = ["as_grey", "prepare_digit", "prepare_picture"]

BOX = 20 / 28  # of the picture, the longer side of the ink
FAINT = 0.2  # of the strongest ink: less is paper


def prepare_picture(path: str | os.PathLike[str], shape: tuple[int, int, int]) -> np.ndarray:
    """Read a picture file for a network whose images have a given shape.

    Args:
        path: a picture of any size and kind that Pillow reads.
        shape: (C, H, W) of the network's images: with 1 channel a digit, see `prepare_digit`; with
            3 the middle square of the picture, resized.

    Returns:
        `shape`, float32 in [0, 1].

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a picture.
    """
    channels, height, width = shape
    if channels == 3 and height == width:
        return read_image(os.fspath(path), height)
    return prepare_digit(as_grey(read_image(os.fspath(path)))[0], height)[None]


def as_grey(picture: np.ndarray) -> np.ndarray:
    """A picture (3, H, W) without colours: (1, H, W)."""
    red, green, blue = picture
    return (0.299 * red + 0.587 * green + 0.114 * blue)[None]  # luma, ITU-R recommendation BT.601


def prepare_digit(grey: np.ndarray, size: int = 28) -> np.ndarray:
    """Bring a picture of one character into the form of MNIST: light ink on black.

    Args:
        grey: (H, W) in [0, 1], ink darker or lighter than the paper, which may be noisy or shaded
            from one side to the other.
        size: of the result, in pixels.

    Returns:
        (size, size) float32 in [0, 1]; all 0 where the picture has one colour. A picture of that
        size already is neither moved nor scaled.
    """
    from PIL import Image

    if grey.shape == (size, size):  # in that form already
        edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
        return np.abs(grey - np.median(edge)).astype(np.float32)  # the edge is paper
    grey = _averaged(grey, 8 * size)
    ink = np.abs(grey - _paper(grey))
    if ink.max() < 1 / 255:
        return np.zeros((size, size), np.float32)
    ink = ink / ink.max()
    ink[ink < FAINT] = 0.0
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]

    height, width = ink.shape
    scale = BOX * size / max(height, width)
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    picture = Image.fromarray(ink.astype(np.float32))
    small = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    # Bilinear reduction is an average: thin strokes come out faint, unlike MNIST's.
    small = small / small.max()

    weight = small.sum()
    top = round(size / 2 - float((small.sum(1) @ np.arange(height)) / weight))
    left = round(size / 2 - float((small.sum(0) @ np.arange(width)) / weight))
    top, left = np.clip(top, 0, size - height), np.clip(left, 0, size - width)
    result = np.zeros((size, size), np.float32)
    result[top : top + height, left : left + width] = small
    return result


def _averaged(grey: np.ndarray, most: int) -> np.ndarray:
    """The picture at `most` pixels at the most on its longer side: averages quieten noise."""
    from PIL import Image

    factor = max(1.0, max(grey.shape) / most)
    height, width = (max(1, round(side / factor)) for side in grey.shape)
    picture = Image.fromarray(grey.astype(np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


def _paper(grey: np.ndarray) -> np.ndarray:
    """What the paper alone would look like: the plane that fits the picture's margin best."""
    height, width = grey.shape
    margin = max(1, min(height, width) // 20)
    edge = np.ones(grey.shape, bool)
    edge[margin:-margin, margin:-margin] = False
    y, x = np.indices(grey.shape)
    terms = np.stack([np.ones(grey.size), y.ravel(), x.ravel()], axis=1)
    plane, *_ = np.linalg.lstsq(terms[edge.ravel()], grey[edge], rcond=None)
    return (terms @ plane).reshape(grey.shape)
