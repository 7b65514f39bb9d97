"""Transforms that move pixels: flips, crops, rotation, zoom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .arguments import Range, probability, range_around_zero, scale_range, sides, uniform
from .base import Transform

__all__ = [
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "RandomZoom",
]


class RandomHorizontalFlip(Transform):
    """Mirror left to right, each image with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability("RandomHorizontalFlip", p)

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.random(len(batch)) < self.p
        result = batch.copy()
        result[chosen] = batch[chosen][:, :, :, ::-1]
        return result


class RandomVerticalFlip(Transform):
    """Mirror top to bottom, each image with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability("RandomVerticalFlip", p)

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        chosen = rng.random(len(batch)) < self.p
        result = batch.copy()
        result[chosen] = batch[chosen][:, :, ::-1]
        return result


class RandomCrop(Transform):
    """Cut a window at a random place, after padding; (32, padding=4) is CIFAR's usual shift.

    Args:
        size: of the window in pixels, (H, W) or one number.
        padding: pixels to add before: one number for all sides, (left and right, top and bottom)
            or (left, top, right, bottom).
        fill: the value of added pixels in mode "constant".
        padding_mode: as `numpy.pad`: "constant", "edge", "reflect", "symmetric".
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        padding: int | Sequence[int] | None = None,
        fill: float = 0.0,
        padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant",
    ) -> None:
        if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
            raise ValueError(f"RandomCrop: unknown padding_mode {padding_mode!r}")
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.padding = sides(padding or 0)
        self.fill = fill
        self.padding_mode = padding_mode

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        left, top, right, bottom = self.padding
        how: dict[str, Any] = {"mode": self.padding_mode}
        if self.padding_mode == "constant":
            how["constant_values"] = self.fill
        padded = np.pad(batch, ((0, 0), (0, 0), (top, bottom), (left, right)), **how)
        (height, width), (h, w) = padded.shape[2:], self.size
        if h > height or w > width:
            raise ValueError(
                f"RandomCrop: a window of {self.size} does not fit into images of "
                f"{batch.shape[2:]}, {(height, width)} with the padding"
            )
        count = len(batch)
        y = rng.integers(height - h + 1, size=count)
        x = rng.integers(width - w + 1, size=count)
        # A view of all windows, (N, C, height - h + 1, width - w + 1, h, w), of which N are copied.
        windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
        return np.ascontiguousarray(windows[np.arange(count), :, y, x])


class RandomResizedCrop(Transform):
    """Cut a window of random area and shape, and resize it (Szegedy et al. 2014, section 6).

    The resize is bilinear; where it shrinks, each pixel is a weighted mean of all that it covers.

    Args:
        size: of the result in pixels, (H, W) or one number.
        scale: the window's share of the area, uniform in (low, high).
        ratio: its width / height, log-uniform in (low, high).
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: Range = (0.08, 1.0),
        ratio: Range = (3.0 / 4.0, 4.0 / 3.0),
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.scale = scale_range("RandomResizedCrop", scale)
        self.ratio = scale_range("RandomResizedCrop", ratio)

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        height, width = batch.shape[2:]
        top, left, h, w = self._windows(len(batch), height, width, rng)
        kind = np.promote_types(batch.dtype, np.float32)
        rows = _resize_weights(top, h, self.size[0], height).astype(kind)  # (N, h, H)
        columns = _resize_weights(left, w, self.size[1], width).astype(kind)  # (N, w, W)
        result = rows[:, None] @ batch @ columns[:, None].swapaxes(2, 3)
        return result.astype(batch.dtype, copy=False)

    def _windows(
        self, count: int, height: int, width: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(top, left, height, width) of each image's window, (N,) each, in whole pixels."""
        tries = 10  # as torchvision: of ten windows, the first that fits
        area = uniform(rng, self.scale, (tries, count)) * (height * width)
        bounds = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = np.exp(uniform(rng, bounds, (tries, count)))
        h, w = np.round(np.sqrt(area / ratio)), np.round(np.sqrt(area * ratio))
        fits = (h > 0) & (h <= height) & (w > 0) & (w <= width)
        first = np.argmax(fits, axis=0), np.arange(count)
        found = fits[first]
        # Else the largest window in the middle whose shape is allowed.
        nearest = min(max(width / height, self.ratio[0]), self.ratio[1])
        h = np.where(found, h[first], min(height, round(width / nearest)))
        w = np.where(found, w[first], min(width, round(height * nearest)))
        chance = rng.random((2, count))
        top = np.where(found, np.floor(chance[0] * (height - h + 1)), (height - h) // 2)
        left = np.where(found, np.floor(chance[1] * (width - w + 1)), (width - w) // 2)
        return top, left, h, w


def _resize_weights(start: np.ndarray, length: np.ndarray, size: int, total: int) -> np.ndarray:
    """How much each of `total` pixels counts in each of `size` resized ones, (N, size, total), for
    windows of `length` (N,) pixels from `start` (N,): a triangle about the place of the resized
    pixel, one pixel of the coarser grid to either side.
    """
    step = (length / size)[:, None, None]
    start, length = start[:, None, None], length[:, None, None]
    place = start + (np.arange(size)[:, None] + 0.5) * step  # (N, size, 1)
    pixel = np.arange(total) + 0.5
    weights = 1.0 - np.abs(pixel - place) / np.maximum(step, 1.0)
    weights *= (weights > 0.0) & (pixel > start) & (pixel < start + length)
    weights /= weights.sum(axis=2, keepdims=True)
    return weights


class RandomRotation(Transform):
    """Rotate about the centre, bilinear.

    Args:
        degrees: counter-clockwise, uniform in the range (low, high); a number d means (-d, d).
        fill: the value outside the image.
    """

    def __init__(self, degrees: float | Range, fill: float = 0.0) -> None:
        self.degrees = range_around_zero(degrees)
        self.fill = fill

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        angle = np.deg2rad(uniform(rng, self.degrees, len(batch)))
        return _warp(batch, angle, np.ones(len(batch)), np.zeros((2, len(batch))), self.fill)


class RandomZoom(Transform):
    """Enlarge or shrink about the centre, keeping the size of the picture, bilinear.

    Args:
        scale: factor, uniform in (low, high); 2 makes things twice as large.
        fill: the value outside the image.
    """

    def __init__(self, scale: Range = (0.8, 1.2), fill: float = 0.0) -> None:
        self.scale = scale_range("RandomZoom", scale)
        self.fill = fill

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        zoom = uniform(rng, self.scale, len(batch))
        return _warp(batch, np.zeros(len(batch)), zoom, np.zeros((2, len(batch))), self.fill)


class RandomAffine(Transform):
    """Rotate and zoom about the centre, then shift: one bilinear interpolation for all three.

    Args:
        degrees: clockwise (as torchvision's), uniform in (low, high); a number d means (-d, d).
        translate: the largest shift to either side as a fraction of (width, height).
        scale: the zoom, uniform in (low, high).
        fill: the value outside the image.
    """

    def __init__(
        self,
        degrees: float | Range,
        translate: tuple[float, float] | None = None,
        scale: Range | None = None,
        fill: float = 0.0,
    ) -> None:
        self.degrees = range_around_zero(degrees)
        for fraction in translate or ():
            probability("RandomAffine: translate", fraction)
        self.translate = translate
        self.scale = None if scale is None else scale_range("RandomAffine", scale)
        self.fill = fill

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        count, _, height, width = batch.shape
        angle = -np.deg2rad(uniform(rng, self.degrees, count))
        zoom = uniform(rng, self.scale or (1.0, 1.0), count)
        reach = np.multiply(self.translate or (0.0, 0.0), (width, height))
        # Whole pixels, as torchvision's.
        shift = np.round(rng.uniform(-1.0, 1.0, size=(2, count)) * reach[:, None])
        return _warp(batch, angle, zoom, shift, self.fill)


def _warp(
    batch: np.ndarray, angle: np.ndarray, zoom: np.ndarray, shift: np.ndarray, fill: float
) -> np.ndarray:
    """Each image turned counter-clockwise by `angle` (N,) radians, enlarged `zoom` (N,) times, and
    moved by `shift` (2, N) pixels to the right and down.

    For each pixel of the result, the place in the source where it comes from, and the mean of the
    four pixels around that place weighted by nearness.
    """
    count, channels, height, width = batch.shape
    kind = np.promote_types(batch.dtype, np.float32)  # float16 is too coarse for places
    cx, cy = (width - 1) / 2, (height - 1) / 2
    cos, sin = ((f(angle) / zoom).astype(kind)[:, None, None] for f in (np.cos, np.sin))
    dx, dy = shift.astype(kind)[:, :, None, None]
    x = np.arange(width, dtype=kind) - cx - dx  # (N, 1, W)
    y = np.arange(height, dtype=kind)[:, None] - cy - dy  # (N, H, 1)
    # The inverse map: turn back, shrink back. y points down, so counter-clockwise is -sin.
    from_x = x * cos - y * sin + cx
    from_y = x * sin + y * cos + cy

    # A frame of `fill`, so that a place outside is read from the frame instead of tested for. The
    # place -1 needs one row before; the place `height`, with its lower neighbour, two rows after.
    framed = np.pad(batch, ((0, 0), (0, 0), (1, 2), (1, 2)), constant_values=fill)
    from_x = np.clip(from_x, -1.0, float(width)) + 1.0
    from_y = np.clip(from_y, -1.0, float(height)) + 1.0
    left, top = np.floor(from_x), np.floor(from_y)
    wx, wy = (from_x - left)[:, None], (from_y - top)[:, None]  # (N, 1, H, W)

    row = framed.shape[3]
    place = top.astype(np.intp) * row + left.astype(np.intp)  # within one channel, (N, H, W)
    planes = np.arange(count * channels).reshape(count, channels, 1, 1) * (framed.shape[2] * row)
    place = planes + place[:, None]  # (N, C, H, W), into the flat array
    flat = framed.reshape(-1)
    upper = flat[place]
    upper += (flat[place + 1] - upper) * wx
    place += row
    lower = flat[place]
    lower += (flat[place + 1] - lower) * wx
    lower -= upper
    lower *= wy
    upper += lower
    return upper
