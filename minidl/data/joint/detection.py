"""Transforms that detectors are trained with: other sizes and places of objects.

- `RandomIoUCrop` and `RandomZoomOut`: Liu et al. 2016, "SSD: single shot multibox detector",
  section 2.2 and 3.6: crops make objects large, canvases make them small.
- `RandomShortestSize`: Ren et al. 2015, "Faster R-CNN", section 3.3.

Names, arguments and defaults are those of `torchvision.transforms.v2`, but for the two that follow
the paper: a canvas is filled by the image's mean, and a crop is tried 50 times.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...backend import of
from ..moves import Crop, Move, Resize
from .arguments import known_fill, probability
from .base import Fill, JointTransform, boxes_of

__all__ = ["RandomIoUCrop", "RandomShortestSize", "RandomZoomOut"]


class RandomIoUCrop(JointTransform):
    """Cut a window that overlaps an object by at least so much, or leave the image whole.

    One of `sampler_options` is drawn: the least overlap. Then windows are drawn until there is one
    that has the centre of an object inside, and with one of these objects that overlap; its sides
    are a share of the image's each, uniform from `min_scale` to `max_scale`. After `trials` windows
    in vain another option is drawn, and after all of them the image stays whole. Objects whose
    centre is outside of the window are dropped, the others are cut. In an image without objects any
    window will do.

    Args:
        min_scale, max_scale: of the window's sides, as shares of the image's.
        min_aspect_ratio, max_aspect_ratio: of the window's width / height.
        sampler_options: intersection over union of window and object; 0: any window with the centre
            of an object, 1 or more: the whole image. Default: 0, .1, .3, .5, .7, .9, 1.
        trials: windows drawn for each option.
    """

    keep = "center"

    def __init__(
        self,
        min_scale: float = 0.3,
        max_scale: float = 1.0,
        min_aspect_ratio: float = 0.5,
        max_aspect_ratio: float = 2.0,
        sampler_options: Sequence[float] | None = None,
        trials: int = 50,
    ) -> None:
        for what, low, high, most in (
            ("scale", min_scale, max_scale, 1.0),
            ("aspect_ratio", min_aspect_ratio, max_aspect_ratio, float("inf")),
        ):
            if not 0 < low <= high <= most:
                raise ValueError(
                    f"RandomIoUCrop: needs 0 < min_{what} <= max_{what} <= {most:g}, got {low} "
                    f"and {high}"
                )
        if trials < 1 or (sampler_options is not None and not len(sampler_options)):
            raise ValueError(
                f"RandomIoUCrop: needs at least one option and one trial, got {sampler_options} "
                f"and {trials}"
            )
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.min_aspect_ratio = min_aspect_ratio
        self.max_aspect_ratio = max_aspect_ratio
        self.sampler_options = (
            [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0] if sampler_options is None else [*sampler_options]
        )
        self.trials = trials

    def plan_for(
        self, parts: dict[str, Any], height: int, width: int, rng: np.random.Generator
    ) -> Move | None:
        boxes = boxes_of(parts).astype(np.float64)
        for least in rng.permutation(self.sampler_options):
            if least >= 1.0:
                return None
            windows = self._windows(height, width, rng)
            windows = windows[_fits(windows, boxes, least)]
            if len(windows):
                left, top, right, bottom = windows[0].tolist()
                return Crop(top, left, bottom - top, right - left)
        return None

    def _windows(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """Of `trials` windows those of an allowed shape: (T, 4) x1, y1, x2, y2, whole pixels."""
        total = np.array([width, height])
        share = rng.uniform(self.min_scale, self.max_scale, (self.trials, 2))
        place = rng.random((self.trials, 2))
        size = (share * total).astype(np.int64)
        start = (place * (total - size + 1)).astype(np.int64)
        # width / height, written without a division: a side may be 0 pixels.
        w, h = size.T
        allowed = (self.min_aspect_ratio * h <= w) & (w <= self.max_aspect_ratio * h) & (w * h > 0)
        return np.concatenate([start, start + size], axis=1)[allowed]


def _fits(windows: np.ndarray, boxes: np.ndarray, least: float) -> np.ndarray:
    """(T,) bool: which windows have the centre of a box inside whose overlap is the least."""
    if not len(boxes):
        return np.ones(len(windows), bool)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    corner, end = windows[:, None, :2], windows[:, None, 2:]
    inside = ((corner <= centre) & (centre < end)).all(axis=2)  # (T, R)
    overlap = of(boxes).box_iou(windows.astype(np.float64), boxes)
    return (inside & (overlap >= least)).any(axis=1)


class RandomZoomOut(JointTransform):
    """Lay the image somewhere on a larger canvas, with probability p.

    Args:
        fill: the canvas: a number, one for each channel, or "mean", those of the image.
        side_range: the canvas's sides over the image's, uniform in (low, high) for both.
        p: the probability.
        ignore_index: a class map's value on the canvas.
    """

    def __init__(
        self,
        fill: Fill = "mean",
        side_range: tuple[float, float] = (1.0, 4.0),
        p: float = 0.5,
        ignore_index: int = 255,
    ) -> None:
        low, high = side_range
        if not 1 <= low <= high < float("inf"):
            raise ValueError(
                f"RandomZoomOut: side_range must be (low, high) with 1 <= low <= high, got "
                f"{side_range}"
            )
        self.fill = known_fill("RandomZoomOut", fill)
        self.side_range = side_range
        self.p = probability("RandomZoomOut", p)
        self.ignore_index = ignore_index

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move | None:
        if rng.random() >= self.p:
            return None
        side = rng.uniform(*self.side_range)
        h, w = int(height * side), int(width * side)
        top, left = rng.integers(h - height + 1), rng.integers(w - width + 1)
        return Crop(-int(top), -int(left), h, w)


class RandomShortestSize(JointTransform):
    """Resize until the shorter side has `min_size` pixels, but the longer one at most `max_size`.

    Args:
        min_size: pixels; of several one is drawn for each image.
        max_size: pixels; None: any.
    """

    def __init__(self, min_size: int | Sequence[int], max_size: int | None = None) -> None:
        self.min_size = [min_size] if isinstance(min_size, int) else [*min_size]
        if not self.min_size or min(self.min_size) < 1 or (max_size is not None and max_size < 1):
            raise ValueError(
                f"RandomShortestSize: sizes must be positive, got min_size={min_size} and "
                f"max_size={max_size}"
            )
        self.max_size = max_size

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move | None:
        short, long = min(height, width), max(height, width)
        # The scale as a fraction: rounded, 800 pixels could become 799.
        wanted, present = self.min_size[int(rng.integers(len(self.min_size)))], short
        if self.max_size is not None and self.max_size * short < wanted * long:
            wanted, present = self.max_size, long
        h, w = (max(1, side * wanted // present) for side in (height, width))
        return None if (h, w) == (height, width) else Resize(height, width, h, w)
