"""Windows of pictures with class maps: what a segmentation network is trained and tested on.

A network without padding, as U-Net's, answers for the middle of what it sees. So the picture gets a
margin, of true pixels where there are any and else of mirrored ones (Ronneberger et al. 2015,
figure 2), and the class map has just the size of the answer. A network with padding has no margin.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..data import batch_generator

__all__ = ["Window", "mirrored", "seen_for"]

TRIES = 10  # windows looked at for a pixel that counts


def seen_for(model: Any, size: int) -> tuple[int, int]:
    """How much a network sees to answer for a side of `size` pixels, and what it then answers for.

    Args:
        model: a network whose `output_size(n)` says what it answers for, or raises a ValueError
            where it does not take n pixels; without one, it answers for all it sees.

    Returns:
        (seen, answered): the smallest that fit, answered at least `size`.
    """
    if not hasattr(model, "output_size"):
        return size, size
    for seen in range(size, size + 2**10):
        try:
            answered = model.output_size(seen)
        except ValueError:
            continue
        if answered >= size:
            return seen, answered
    raise ValueError(f"{type(model).__name__} answers for no picture of {size} pixels")


def mirrored(start: int, length: int, size: int) -> np.ndarray:
    """Places start, start + 1, ... of a side of `size` pixels that goes on as its mirror image."""
    if size == 1:
        return np.zeros(length, np.int64)
    places = np.arange(start, start + length) % (2 * (size - 1))
    return np.minimum(places, 2 * (size - 1) - places)


class Window:
    """Cuts a window out of a class map, and out of its image what the network sees for that.

    Args:
        model: see `seen_for`.
        size: height and width of the window, at a random place (what is smaller lies somewhere
            within it); None: the whole picture.
        ignore_index: the label around the picture, where the window reaches beyond.

    The window is as much larger as the network's answer has to be.
    """

    def __init__(self, model: Any, size: int | None, ignore_index: int) -> None:
        self.model = model
        self.size = size
        self.ignore_index = ignore_index
        self._sides: dict[int, tuple[int, int]] = {}  # what `seen_for` said

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The image (C, h', w') and the class map (h, w)."""
        (seen_h, h), (seen_w, w) = (self._seen_for(self.size or n) for n in mask.shape)
        for _ in range(TRIES):
            top, left = (
                self._start(n, part, rng) for n, part in zip(mask.shape, (h, w), strict=True)
            )
            window = _cut(mask, top, left, h, w, self.ignore_index)
            if self.size is None or (window != self.ignore_index).any():
                break
        rows = mirrored(top - (seen_h - h) // 2, seen_h, mask.shape[0])
        columns = mirrored(left - (seen_w - w) // 2, seen_w, mask.shape[1])
        return np.ascontiguousarray(image[:, rows[:, None], columns]), window

    def _seen_for(self, size: int) -> tuple[int, int]:
        if size not in self._sides:
            self._sides[size] = seen_for(self.model, size)
        return self._sides[size]

    def _start(self, total: int, part: int, rng: np.random.Generator | None) -> int:
        if self.size is None:
            return (total - part) // 2
        low, high = sorted([0, total - part])
        return int((rng or batch_generator()).integers(low, high + 1))

    def __repr__(self) -> str:
        return f"Window(size={self.size}, ignore_index={self.ignore_index})"


def _cut(mask: np.ndarray, top: int, left: int, h: int, w: int, beyond: int) -> np.ndarray:
    window = np.full((h, w), beyond, mask.dtype)
    rows = slice(max(top, 0), min(top + h, mask.shape[0]))
    columns = slice(max(left, 0), min(left + w, mask.shape[1]))
    inside = mask[rows, columns]
    y, x = rows.start - top, columns.start - left
    window[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return window
