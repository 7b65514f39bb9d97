"""RandAugment: Cubuk, Zoph, Shlens, Le, "RandAugment", 2019, figure 2.

N of 14 changes, chosen at random with replacement, one after the other, all of one strength M:

    change                              range (AutoAugment, 2018, table 6)     direction
    Identity, AutoContrast, Equalize    -
    Rotate                              0 to 30 degrees                        either, by chance
    ShearX, ShearY                      0 to 0.3 pixels a pixel                either
    TranslateX, TranslateY              0 to 150 pixels of 331                 either
    Brightness, Color,                  factor 1 to 1.9, or 1 to 0.1           either
      Contrast, Sharpness
    Posterize                           8 to 4 bits a channel
    Solarize                            inverts bytes from 255 up to all

The authors' changes are those of the Python Imaging Library. Here each is written as arithmetic on
whole batches of bytes, (N, C, H, W) uint8, with Pillow's roundings: results are equal bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .base import Transform

__all__ = ["RandAugment"]


class RandAugment(Transform):
    """`num_ops` random changes of one strength for each image.

    Images in [0, 1] are rounded to bytes for it. It comes before `Normalize`.

    Args:
        num_ops: N.
        magnitude: M; of `num_magnitude_bins` steps from 0, no change, to the end of each range.
        num_magnitude_bins: 31, so that M is 0 to 30 (torchvision's; published M up to 28 are on
            this scale). On the scale of 0 to 10 that the paper starts from, it is 11.
        fill: the value, in [0, 1], of pixels that come from outside the image.

    Raises:
        ValueError: no such magnitude; images without 1 or 3 channels.
    """

    def __init__(
        self,
        num_ops: int = 2,
        magnitude: int = 9,
        num_magnitude_bins: int = 31,
        fill: float = 0.0,
    ) -> None:
        if num_ops < 0:
            raise ValueError(f"RandAugment: num_ops must not be negative, got {num_ops}")
        if not 0 <= magnitude < num_magnitude_bins or num_magnitude_bins < 2:
            raise ValueError(
                f"RandAugment: magnitude must be one of 0 to num_magnitude_bins - 1 = "
                f"{num_magnitude_bins - 1}, got {magnitude}"
            )
        self.num_ops = num_ops
        self.magnitude = magnitude
        self.num_magnitude_bins = num_magnitude_bins
        self.fill = fill

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        count, channels, height, width = batch.shape
        if channels not in (1, 3):
            raise ValueError(f"RandAugment: needs 1 or 3 channels, got a batch {batch.shape}")
        strength = self.magnitude / (self.num_magnitude_bins - 1)
        fill = round(255 * self.fill)
        images = np.round(np.clip(batch, 0.0, 1.0) * 255).astype(np.uint8)
        for _ in range(self.num_ops):
            chosen = rng.integers(len(CHANGES), size=count)
            signs = np.where(rng.random(count) < 0.5, 1.0, -1.0)
            for number, change in enumerate(CHANGES.values()):
                which = np.flatnonzero(chosen == number)
                if which.size:
                    amount = change.amount(strength, height, width)
                    amounts = amount * signs[which] if change.signed else amount + 0 * signs[which]
                    images[which] = change.apply(images[which], amounts, fill)
        return images.astype(batch.dtype) / np.asarray(255, batch.dtype)


# -- colours --------------------------------------------------------------------------------------
# Each is a function of bytes (N, C, H, W), amounts (N,) and the byte outside; the result is new.


def identity(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Nothing."""
    return images


def auto_contrast(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Stretch each channel linearly, its darkest byte to 0 and its brightest to 255."""
    low = images.min(axis=(2, 3), keepdims=True).astype(np.float64)
    high = images.max(axis=(2, 3), keepdims=True).astype(np.float64)
    flat = high == low
    scale = 255.0 / np.where(flat, 1.0, high - low)
    stretched = np.clip(np.trunc(images * scale - low * scale), 0, 255).astype(np.uint8)
    return np.where(flat, images, stretched)


def equalize(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Give each channel a histogram as flat as a table of bytes to bytes can make it."""
    planes = images.reshape(-1, images.shape[2] * images.shape[3])  # (N C, H W)
    count = len(planes)
    offsets = 256 * np.arange(count)[:, None]
    histogram = np.bincount((planes + offsets).ravel(), minlength=256 * count).reshape(count, 256)
    brightest = planes.max(axis=1)
    # The average number of pixels a byte of the result gets, the brightest byte left out.
    step = (planes.shape[1] - histogram[np.arange(count), brightest]) // 255
    before = np.cumsum(histogram, axis=1) - histogram
    table = (step[:, None] // 2 + before) // np.maximum(step, 1)[:, None]
    table = np.where(step[:, None] == 0, np.arange(256), np.minimum(table, 255))
    return table.ravel()[planes + offsets].astype(np.uint8).reshape(images.shape)


def posterize(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Keep the upper `amounts` bits of each byte."""
    dropped = (8 - amounts.astype(np.int64)).reshape(-1, 1, 1, 1)
    return (images.astype(np.int64) >> dropped << dropped).astype(np.uint8)


def solarize(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Invert the bytes that are not below `amounts`."""
    return np.where(images < amounts.reshape(-1, 1, 1, 1), images, 255 - images)


def brightness(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Away from black, or towards it."""
    return blend(np.zeros_like(images), images, 1.0 + amounts)


def color(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Away from the grey picture, or towards it."""
    return blend(grey(images), images, 1.0 + amounts)


def contrast(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Away from the mean of the grey picture, or towards it."""
    mean = np.floor(grey(images).mean(axis=(2, 3), keepdims=True) + 0.5).astype(np.uint8)
    return blend(mean, images, 1.0 + amounts)


def sharpness(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Away from the smoothed picture, or towards it."""
    return blend(smooth(images), images, 1.0 + amounts)


def blend(start: np.ndarray, end: np.ndarray, part: np.ndarray) -> np.ndarray:
    """start + part * (end - start), also beyond both, for bytes."""
    part = part.astype(np.float32).reshape(-1, 1, 1, 1)
    base = start.astype(np.float32)
    return np.clip(np.trunc(base + part * (end - base)), 0, 255).astype(np.uint8)


def grey(images: np.ndarray) -> np.ndarray:
    """Luma (N, 1, H, W), ITU-R recommendation BT.601 in 65536ths."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, i : i + 1].astype(np.int64) for i in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16).astype(np.uint8)


def smooth(images: np.ndarray) -> np.ndarray:
    """The mean of each 3 x 3 pixels, the middle one counted five times; the edge stays."""
    result = images.copy()
    height, width = images.shape[2:]
    if height < 3 or width < 3:
        return result
    wide = images.astype(np.int64)
    total = 4 * wide[:, :, 1:-1, 1:-1]
    for dy in range(3):
        for dx in range(3):
            total = total + wide[:, :, dy : height - 2 + dy, dx : width - 2 + dx]
    result[:, :, 1:-1, 1:-1] = (total + 6) // 13
    return result


# -- geometry -------------------------------------------------------------------------------------


def shear_x(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Each row is moved in proportion to its distance from the top."""
    return nearest(images, (1.0, amounts, 0.0), (0.0, 1.0, 0.0), fill)


def shear_y(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Each column is moved in proportion to its distance from the left."""
    return nearest(images, (1.0, 0.0, 0.0), (amounts, 1.0, 0.0), fill)


def translate_x(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Moved to the left or right by whole pixels."""
    return nearest(images, (1.0, 0.0, np.trunc(amounts)), (0.0, 1.0, 0.0), fill)


def translate_y(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Moved up or down by whole pixels."""
    return nearest(images, (1.0, 0.0, 0.0), (0.0, 1.0, np.trunc(amounts)), fill)


def rotate(images: np.ndarray, amounts: np.ndarray, fill: int) -> np.ndarray:
    """Turned about the centre, counter-clockwise, by degrees."""
    angle = -np.deg2rad(amounts)
    cos, sin = np.round(np.cos(angle), 15), np.round(np.sin(angle), 15)
    x, y = images.shape[3] / 2.0, images.shape[2] / 2.0
    return nearest(
        images, (cos, sin, x - cos * x - sin * y), (-sin, cos, y + sin * x - cos * y), fill
    )


Row = tuple[float | np.ndarray, float | np.ndarray, float | np.ndarray]


def nearest(images: np.ndarray, from_x: Row, from_y: Row, fill: int) -> np.ndarray:
    """Each pixel (x, y) is the source's at a linear function of its place, nearest neighbour.

    Args:
        images: bytes (N, C, H, W).
        from_x, from_y: (a, b, c), numbers or (N,): the source's place is a x + b y + c.
        fill: the byte outside.
    """
    count, channels, height, width = images.shape
    x, y = np.arange(width), np.arange(height)[:, None]

    def place(row: Row) -> np.ndarray:
        a, b, c = (np.broadcast_to(value, (count,)).reshape(-1, 1, 1) for value in row)
        # The middle of a pixel, in 65536ths.
        start, a, b = (
            np.floor(v * 65536.0 + 0.5).astype(np.int64) for v in (c + (a + b) / 2, a, b)
        )
        return (start + a * x + b * y) >> 16  # (N, H, W)

    column, line = place(from_x), place(from_y)
    inside = (column >= 0) & (column < width) & (line >= 0) & (line < height)
    source = np.where(inside, line * width + column, 0).reshape(count, 1, -1)
    flat = np.take_along_axis(images.reshape(count, channels, -1), source, axis=2)
    return np.where(inside[:, None], flat.reshape(images.shape), np.uint8(fill))


# -- the table ------------------------------------------------------------------------------------


class Change(NamedTuple):
    """One of the fourteen.

    Attributes:
        apply: function of (bytes, amounts, the byte outside).
        amount: of (strength from 0 to 1, height, width).
        signed: whether chance decides the amount's sign.
    """

    apply: Callable[[np.ndarray, np.ndarray, int], np.ndarray]
    amount: Callable[[float, int, int], float]
    signed: bool = False


CHANGES: dict[str, Change] = {
    "Identity": Change(identity, lambda s, h, w: 0.0),
    "AutoContrast": Change(auto_contrast, lambda s, h, w: 0.0),
    "Equalize": Change(equalize, lambda s, h, w: 0.0),
    "Rotate": Change(rotate, lambda s, h, w: 30.0 * s, signed=True),
    "Solarize": Change(solarize, lambda s, h, w: 255.0 * (1.0 - s)),
    "Color": Change(color, lambda s, h, w: 0.9 * s, signed=True),
    "Posterize": Change(posterize, lambda s, h, w: 8.0 - round(4.0 * s)),
    "Contrast": Change(contrast, lambda s, h, w: 0.9 * s, signed=True),
    "Brightness": Change(brightness, lambda s, h, w: 0.9 * s, signed=True),
    "Sharpness": Change(sharpness, lambda s, h, w: 0.9 * s, signed=True),
    "ShearX": Change(shear_x, lambda s, h, w: 0.3 * s, signed=True),
    "ShearY": Change(shear_y, lambda s, h, w: 0.3 * s, signed=True),
    "TranslateX": Change(translate_x, lambda s, h, w: 150.0 / 331.0 * w * s, signed=True),
    "TranslateY": Change(translate_y, lambda s, h, w: 150.0 / 331.0 * h * s, signed=True),
}
