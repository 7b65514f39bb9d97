"""Transforms that move the pixels of an image: flips, crops, sizes, rotation, bending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from .. import moves
from ..moves import Border, Move
from .arguments import image_size, known_border, known_fill, probability
from .base import Fill, JointTransform

__all__ = [
    "CenterCrop",
    "RandomCrop",
    "RandomElastic",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomScale",
    "RandomVerticalFlip",
    "Resize",
]


class RandomHorizontalFlip(JointTransform):
    """Mirror left to right with probability p.

    Args:
        p: the probability.
        keypoint_pairs: pairs of numbers of keypoints that change places, as left and right eye.
    """

    def __init__(self, p: float = 0.5, keypoint_pairs: Sequence[tuple[int, int]] = ()) -> None:
        self.p = probability("RandomHorizontalFlip", p)
        self.keypoint_pairs = keypoint_pairs

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move | None:
        return moves.Flip(height, width) if rng.random() < self.p else None


class RandomVerticalFlip(JointTransform):
    """Mirror top to bottom with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = probability("RandomVerticalFlip", p)

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move | None:
        return moves.Flip(height, width, vertical=True) if rng.random() < self.p else None


class RandomCrop(JointTransform):
    """Cut a window at a random place; what reaches beyond the image is filled.

    Args:
        size: of the window in pixels, (H, W) or one number.
        padding: by how many pixels it may reach beyond the image on each side. An image smaller
            than the window lies somewhere inside of it in any case.
        fill: the image's value there: a number, one for each channel, or "mean", those of the
            image.
        ignore_index: the class map's value there.
        keep: "any": every object of which something is left; "center": only those whose centre is
            inside (the rule of SSD), so that no sliver of an object has to be found.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        padding: int = 0,
        fill: Fill = 0.0,
        ignore_index: int = 255,
        keep: Literal["any", "center"] = "any",
    ) -> None:
        self.size = image_size("RandomCrop", size)
        if padding < 0:
            raise ValueError(f"RandomCrop: padding must not be negative, got {padding}")
        if keep not in ("any", "center"):
            raise ValueError(f"RandomCrop: keep must be 'any' or 'center', got {keep!r}")
        self.padding = padding
        self.fill = known_fill("RandomCrop", fill)
        self.ignore_index = ignore_index
        self.keep = keep

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move:
        def start(total: int, part: int) -> int:
            low, high = sorted([-self.padding, total + self.padding - part])
            return int(rng.integers(low, high + 1))

        h, w = self.size
        return moves.Crop(start(height, h), start(width, w), h, w)


class CenterCrop(JointTransform):
    """Cut a window from the middle; what reaches beyond the image is filled.

    Args:
        size, fill, ignore_index: as in `RandomCrop`.
    """

    def __init__(
        self, size: int | tuple[int, int], fill: Fill = 0.0, ignore_index: int = 255
    ) -> None:
        self.size = image_size("CenterCrop", size)
        self.fill = known_fill("CenterCrop", fill)
        self.ignore_index = ignore_index

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move:
        h, w = self.size
        return moves.Crop((height - h) // 2, (width - w) // 2, h, w)


class Resize(JointTransform):
    """Bring to one size, bilinear; where it shrinks, each pixel is a mean of all that it covers.

    Args:
        size: of the result in pixels, (H, W) or one number.
    """

    def __init__(self, size: int | tuple[int, int]) -> None:
        self.size = image_size("Resize", size)

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move:
        return moves.Resize(height, width, *self.size)


class RandomScale(JointTransform):
    """Enlarge or shrink, with the size of the picture; crop afterwards.

    Args:
        scale: the factor's range (low, high), log-uniform; 2 makes things twice as large.
        stretch: the range of the factor by which width grows more than height, log-uniform.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.5, 2.0),
        stretch: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        for name, (low, high) in (("scale", scale), ("stretch", stretch)):
            if not 0 < low <= high < float("inf"):
                raise ValueError(
                    f"RandomScale: {name} must be (low, high) with 0 < low <= high, got "
                    f"{(low, high)}"
                )
        self.scale = scale
        self.stretch = stretch

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move:
        factor, stretch = (np.exp(rng.uniform(*np.log(r))) for r in (self.scale, self.stretch))
        h = max(1, round(height * factor / np.sqrt(stretch)))
        w = max(1, round(width * factor * np.sqrt(stretch)))
        return moves.Resize(height, width, h, w)


class RandomRotation(JointTransform):
    """Turn about the middle; the size stays.

    Args:
        degrees: counter-clockwise, uniform in the range (low, high); a number d means (-d, d).
        fill: the image's value outside of its borders, as in `RandomCrop`.
        ignore_index: the class map's value there.
        border: "constant": these values; "reflect": image and class map mirrored at the border.
    """

    def __init__(
        self,
        degrees: float | tuple[float, float],
        fill: Fill = 0.0,
        ignore_index: int = 255,
        border: Border = "constant",
    ) -> None:
        self.degrees = degrees if isinstance(degrees, tuple) else (-abs(degrees), abs(degrees))
        self.fill = known_fill("RandomRotation", fill)
        self.ignore_index = ignore_index
        self.border = known_border("RandomRotation", border)

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move:
        return moves.rotation(height, width, rng.uniform(*self.degrees), self.border)


class RandomElastic(JointTransform):
    """Bend the image smoothly (Simard et al. 2003), as U-Net does (Ronneberger et al. 2015).

    Displacements are drawn from a normal distribution at a coarse grid of points and interpolated
    by bicubic functions between them (Ronneberger, section 3.1).

    Args:
        sigma: standard deviation of the displacements, pixels.
        grid: points along each side.
        fill, ignore_index, border: as in `RandomRotation`.
    """

    def __init__(
        self,
        sigma: float = 10.0,
        grid: int = 3,
        fill: Fill = 0.0,
        ignore_index: int = 255,
        border: Border = "constant",
    ) -> None:
        if sigma < 0 or grid < 2:
            raise ValueError(
                f"RandomElastic: needs sigma >= 0 and grid >= 2, got {sigma} and {grid}"
            )
        self.sigma = sigma
        self.grid = grid
        self.fill = known_fill("RandomElastic", fill)
        self.ignore_index = ignore_index
        self.border = known_border("RandomElastic", border)

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move:
        displacements = rng.normal(0.0, self.sigma, (2, self.grid, self.grid))
        return moves.elastic(height, width, displacements, self.border)
