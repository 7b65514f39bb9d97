"""Transforms that hide a part of the image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from .arguments import Range, probability, scale_range, uniform
from .base import Transform

__all__ = ["Cutout", "RandomErasing"]


class Cutout(Transform):
    """Overwrite a square at a random place with one value (DeVries and Taylor 2017, section 3).

    Its centre is any pixel of the image, so that a part of it may lie outside. The paper's squares:
    16 pixels for CIFAR-10, 8 for CIFAR-100, of images already normalised, where 0 is the mean.

    Args:
        size: of the square's sides, in pixels.
        value: what to write.
    """

    def __init__(self, size: int, value: float = 0.0) -> None:
        if size < 1:
            raise ValueError(f"Cutout: size must be at least one pixel, got {size}")
        self.size = size
        self.value = value

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        count, _, height, width = batch.shape
        top = rng.integers(height, size=(count, 1)) - self.size // 2
        left = rng.integers(width, size=(count, 1)) - self.size // 2
        y, x = np.arange(height), np.arange(width)
        rows = (y >= top) & (y < top + self.size)  # (N, H)
        columns = (x >= left) & (x < left + self.size)  # (N, W)
        hidden = rows[:, None, :, None] & columns[:, None, None, :]
        return np.where(hidden, np.asarray(self.value, batch.dtype), batch)


class RandomErasing(Transform):
    """Overwrite a random rectangle (Zhong 2017, algorithm 1), each image with probability p.

    Args:
        p: the probability.
        scale: the rectangle's share of the area, uniform in (low, high).
        ratio: its height / width, log-uniform in (low, high).
        value: what to write: a number, one for each channel, or "random" for standard normal noise.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: Range = (0.02, 0.33),
        ratio: Range = (0.3, 3.3),
        value: float | Sequence[float] | Literal["random"] = 0.0,
    ) -> None:
        self.p = probability("RandomErasing", p)
        self.scale = scale_range("RandomErasing", scale)
        self.ratio = scale_range("RandomErasing", ratio)
        if isinstance(value, str) and value != "random":
            raise ValueError(f'RandomErasing: value must be numbers or "random", got {value!r}')
        self.value = value

    def apply(self, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        count, channels, height, width = batch.shape
        tries = 10  # as torchvision: of ten rectangles, the first that fits; else none
        area = uniform(rng, self.scale, (tries, count)) * (height * width)
        ratio = np.exp(
            uniform(rng, (math.log(self.ratio[0]), math.log(self.ratio[1])), (tries, count))
        )
        h, w = np.round(np.sqrt(area * ratio)), np.round(np.sqrt(area / ratio))
        fits = (h < height) & (w < width)
        first = np.argmax(fits, axis=0), np.arange(count)
        h, w = h[first][:, None], w[first][:, None]  # (N, 1)
        top = np.floor(rng.random((count, 1)) * (height - h + 1))
        left = np.floor(rng.random((count, 1)) * (width - w + 1))
        chosen = (rng.random((count, 1)) < self.p) & fits[first][:, None]
        rows = (np.arange(height) >= top) & (np.arange(height) < top + h) & chosen  # (N, H)
        columns = (np.arange(width) >= left) & (np.arange(width) < left + w)  # (N, W)
        erased = rows[:, None, :, None] & columns[:, None, None, :]
        if isinstance(self.value, str):
            value = rng.standard_normal(batch.shape, dtype=np.float32).astype(batch.dtype)
        else:
            value = np.asarray(self.value, batch.dtype).reshape(-1, 1, 1)
            if len(value) not in (1, channels):
                raise ValueError(
                    f"RandomErasing: {len(value)} values for {channels} channels "
                    f"(batch {batch.shape})"
                )
        return np.where(erased, value, batch)
