"""Ways to move the pixels of an image, and of everything that is drawn on it.

A move says where each pixel of the result comes from (for images, interpolated; for labels, nearest
neighbour) and where each point of the source goes (for boxes and keypoints). Places are continuous:
pixel (i, j) covers i <= y < i + 1 and j <= x < j + 1, its middle is at i + 0.5, j + 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

__all__ = ["Crop", "Flip", "Move", "Resize", "Warp", "elastic", "rotation"]

Border = Literal["constant", "reflect"]
Fill = float | np.ndarray


class Move:
    """The base class.

    Attributes:
        size: (H', W') of the result.
        straight: whether upright boxes stay upright.
        mirrors: whether left becomes right.
    """

    size: tuple[int, int]
    straight = True
    mirrors = False

    def image(self, image: np.ndarray, fill: Fill) -> np.ndarray:
        """(C, H, W) -> (C, H', W'); what comes from outside is `fill`: a number, or (C, 1, 1)."""
        raise NotImplementedError

    def labels(self, labels: np.ndarray, fill: int) -> np.ndarray:
        """(..., H, W) -> (..., H', W'), each value one of the source's, or `fill`."""
        raise NotImplementedError

    def points(self, points: np.ndarray) -> np.ndarray:
        """(P, 2) x, y -> (P, 2); NaN for a point that has no place in the result."""
        raise NotImplementedError


class Flip(Move):
    """Left to right, or with `vertical` top to bottom."""

    def __init__(self, height: int, width: int, vertical: bool = False) -> None:
        self.size = (height, width)
        self.mirrors = not vertical

    def image(self, image: np.ndarray, fill: Fill) -> np.ndarray:
        return np.ascontiguousarray(image[..., ::-1] if self.mirrors else image[..., ::-1, :])

    def labels(self, labels: np.ndarray, fill: int) -> np.ndarray:
        return self.image(labels, fill)

    def points(self, points: np.ndarray) -> np.ndarray:
        moved, axis = points.copy(), 0 if self.mirrors else 1
        moved[:, axis] = self.size[1 - axis] - moved[:, axis]
        return moved


class Crop(Move):
    """A window of h x w pixels from (top, left) on, which may reach beyond the image."""

    def __init__(self, top: int, left: int, h: int, w: int) -> None:
        self.top, self.left, self.size = top, left, (h, w)

    def image(self, image: np.ndarray, fill: Fill) -> np.ndarray:
        (h, w), (height, width) = self.size, image.shape[-2:]
        result = np.full((*image.shape[:-2], h, w), fill, image.dtype)
        y0, y1 = max(self.top, 0), min(self.top + h, height)
        x0, x1 = max(self.left, 0), min(self.left + w, width)
        if y0 < y1 and x0 < x1:
            inside = np.s_[..., y0 - self.top : y1 - self.top, x0 - self.left : x1 - self.left]
            result[inside] = image[..., y0:y1, x0:x1]
        return result

    def labels(self, labels: np.ndarray, fill: int) -> np.ndarray:
        return self.image(labels, fill)

    def points(self, points: np.ndarray) -> np.ndarray:
        return points - np.asarray([self.left, self.top], points.dtype)


class Resize(Move):
    """height x width pixels become h x w: bilinear; where it shrinks, means of what is covered."""

    def __init__(self, height: int, width: int, h: int, w: int) -> None:
        self.source, self.size = (height, width), (h, w)

    def image(self, image: np.ndarray, fill: Fill) -> np.ndarray:
        kind = np.promote_types(image.dtype, np.float32)
        rows, columns = (
            _resize_weights(n, total).astype(kind)
            for n, total in zip(self.size, self.source, strict=True)
        )
        return (rows @ image.astype(kind, copy=False) @ columns.T).astype(image.dtype, copy=False)

    def labels(self, labels: np.ndarray, fill: int) -> np.ndarray:
        rows, columns = (
            (2 * np.arange(n) + 1) * total // (2 * n)
            for n, total in zip(self.size, self.source, strict=True)
        )
        return np.ascontiguousarray(labels[..., rows[:, None], columns])

    def points(self, points: np.ndarray) -> np.ndarray:
        scale = [self.size[1] / self.source[1], self.size[0] / self.source[0]]
        return points * np.asarray(scale, points.dtype)


def _resize_weights(size: int, total: int) -> np.ndarray:
    """How much each of `total` pixels counts in each of `size` resized ones, (size, total): a
    triangle about the resized pixel's place, one pixel of the coarser grid to either side.
    """
    step = total / size
    place = (np.arange(size)[:, None] + 0.5) * step
    weights = np.maximum(1.0 - np.abs(np.arange(total) + 0.5 - place) / max(step, 1.0), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


class Warp(Move):
    """Each pixel of the result comes from a place of its own in the source.

    Args:
        rows, columns: (H, W), y and x in the source of each pixel's middle; the size stays.
        forward: where points (P, 2) of the source go.
        border: what lies outside of the source: "constant", the fill, or "reflect", the image
            mirrored at its border pixels.
    """

    straight = False

    def __init__(
        self,
        rows: np.ndarray,
        columns: np.ndarray,
        forward: Callable[[np.ndarray], np.ndarray],
        border: Border = "constant",
    ) -> None:
        self.size = (rows.shape[0], rows.shape[1])
        self.forward = forward
        # From here on in the numbers of pixels, whose middles are whole.
        self.rows, self.columns = rows - 0.5, columns - 0.5
        if border == "reflect":
            self.rows = _reflect(self.rows, self.size[0])
            self.columns = _reflect(self.columns, self.size[1])

    def image(self, image: np.ndarray, fill: Fill) -> np.ndarray:
        height, width = self.size
        kind = np.promote_types(image.dtype, np.float32)
        # A frame of `fill`: the place -1 needs one row before, the place `height`, with the lower
        # of its two neighbours, two rows behind.
        framed = np.full((len(image), image.shape[1] + 3, image.shape[2] + 3), fill, kind)
        framed[:, 1:-2, 1:-2] = image
        y = np.clip(self.rows, -1.0, height) + 1.0
        x = np.clip(self.columns, -1.0, width) + 1.0
        top, left = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
        wy, wx = (y - top).astype(kind), (x - left).astype(kind)
        flat = framed.reshape(len(image), -1)
        place = top * framed.shape[2] + left

        def row(place: np.ndarray) -> np.ndarray:
            left = flat[:, place]
            return left + (flat[:, place + 1] - left) * wx

        upper, lower = row(place), row(place + framed.shape[2])
        return (upper + (lower - upper) * wy).astype(image.dtype, copy=False)

    def labels(self, labels: np.ndarray, fill: int) -> np.ndarray:
        height, width = self.size
        y, x = (np.floor(v + 0.5).astype(np.intp) for v in (self.rows, self.columns))
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        found = labels[..., np.where(inside, y, 0), np.where(inside, x, 0)]
        return np.where(inside, found, np.asarray(fill, labels.dtype))

    def points(self, points: np.ndarray) -> np.ndarray:
        return self.forward(points)


def _reflect(place: np.ndarray, n: int) -> np.ndarray:
    """Places outside 0 to n - 1 folded back at both ends."""
    if n == 1:
        return np.zeros_like(place)
    period = 2.0 * (n - 1)
    folded = place % period
    return np.minimum(folded, period - folded)


def rotation(height: int, width: int, degrees: float, border: Border = "constant") -> Warp:
    """The move that turns the image counter-clockwise about its middle."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    middle = np.array([width / 2.0, height / 2.0])
    x = np.arange(width) + 0.5 - middle[0]
    y = np.arange(height)[:, None] + 0.5 - middle[1]
    # From the result to the source it is turned back. y points down: counter-clockwise is -sin.
    columns, rows = x * cos - y * sin + middle[0], x * sin + y * cos + middle[1]

    def forward(points: np.ndarray) -> np.ndarray:
        centred = points - middle
        turned = centred @ np.array([[cos, -sin], [sin, cos]]) + middle
        return turned.astype(points.dtype, copy=False)

    return Warp(rows, columns, forward, border)


def elastic(
    height: int, width: int, displacements: np.ndarray, border: Border = "constant"
) -> Warp:
    """The move that takes each pixel from a place displaced smoothly.

    Args:
        displacements: (2, G, G) pixels, down and to the right, at G x G points spread evenly over
            the image from corner to corner; between them bicubic (Keys 1981).
    """
    grid = displacements.shape[1]

    def weights(y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        by_row = _cubic_weights(y * ((grid - 1) / height), grid)
        by_column = _cubic_weights(x * ((grid - 1) / width), grid)
        return by_row, by_column

    y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
    by_row, by_column = weights(y, x)
    down, right = by_row @ displacements @ by_column.T  # (H, W) each

    def displacement(points: np.ndarray) -> np.ndarray:
        """Of points (P, 2), to the right and down."""
        rows, columns = weights(points[:, 1], points[:, 0])
        return np.einsum("pi,dij,pj->pd", rows, displacements[::-1], columns)

    def forward(points: np.ndarray) -> np.ndarray:
        # A point p goes where q + displacement(q) = p: q = p - displacement(q), again and again,
        # which converges unless the image folds over itself there.
        source = points.astype(np.float64)
        moved = source.copy()
        for _ in range(50):
            moved = source - displacement(moved)
        error = np.abs(moved + displacement(moved) - source).max(axis=1)
        moved[error > 0.5] = np.nan
        return moved.astype(points.dtype)

    return Warp(y[:, None] + down, x + right, forward, border)


def _cubic_weights(place: np.ndarray, count: int) -> np.ndarray:
    """How much each of `count` points counts at each place from 0 to count - 1, (P, count).

    The cubic convolution of Keys, "Cubic convolution interpolation for digital image processing",
    1981, a = -1/2; beyond the ends the points continue on a straight line.
    """
    place = np.clip(place, 0.0, count - 1.0)
    left = np.minimum(np.floor(place), count - 2.0)
    distance = np.abs(place[:, None] - (left[:, None] + np.arange(-1, 3)))  # to four points
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    four = np.where(distance <= 1.0, near, np.where(distance < 2.0, far, 0.0))
    weights = np.zeros((len(place), count + 2))  # one more point at each end
    np.put_along_axis(weights, left.astype(np.intp)[:, None] + np.arange(4), four, axis=1)
    weights[:, 1] += 2.0 * weights[:, 0]
    weights[:, 2] -= weights[:, 0]
    weights[:, -2] += 2.0 * weights[:, -1]
    weights[:, -3] -= weights[:, -1]
    return weights[:, 1:-1]
