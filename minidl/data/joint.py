"""Random changes of an image together with its ground truth, for segmentation and detection.

Each transform takes one image, a NumPy array (C, H, W) of floats, its target, and a NumPy generator
(without one it draws from `batch_generator()`), and gives a new pair; the input is never changed. A
target is a class map (H, W), or a dictionary of any of

    "mask"       (H, W) integers: the class of each pixel
    "masks"      (R, H, W) bool: the pixels of each object
    "boxes"      (R, 4) x1, y1, x2, y2, pixels, half-open
    "labels"     (R,) integers: the class of each object; likewise "iscrowd" and "difficult"
    "keypoints"  (R, K, 3) x, y, visible; those that leave the image become 0, 0, 0
    "area"       (R,) floats, square pixels; it changes as the object's mask does, or else its box

and whatever else, which stays as it is. Images are interpolated, labels are taken from the nearest
neighbour, so that no class appears that was not there. An object of which nothing is left in the
image is dropped from all of these. Where there are masks, the box of an object that was cut, turned
or bent is that of its mask; else it is the box around the moved outline of the box, cut to the
image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import moves
from .dataset import batch_generator
from .moves import Border, Move

__all__ = [
    "CenterCrop",
    "Compose",
    "ImageOnly",
    "JointTransform",
    "RandomCrop",
    "RandomElastic",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomScale",
    "RandomVerticalFlip",
    "Resize",
    "boxes_of_masks",
]

Target = Any  # a class map (H, W), or a dictionary
Pair = tuple[np.ndarray, Target]
PER_OBJECT = ("boxes", "labels", "masks", "keypoints", "iscrowd", "difficult", "area")


class JointTransform:
    """The base class: a transform defines `plan(height, width, rng)`, the move of one image.

    Its constructor's arguments are attributes of the same names, which `repr` shows.

    Attributes:
        fill: what an image has outside of its borders.
        ignore_index: what a class map has there.
        keypoint_pairs: pairs of numbers of keypoints that change places in a mirror.
    """

    fill: float = 0.0
    ignore_index: int = 255
    border: Border = "constant"
    keypoint_pairs: Sequence[tuple[int, int]] = ()

    def __call__(
        self, image: np.ndarray, target: Target, rng: np.random.Generator | None = None
    ) -> Pair:
        """The moved image and target.

        Raises:
            TypeError: the image is not a NumPy array of floats.
            ValueError: shapes that do not fit; mirrored borders and a target with objects.
        """
        name = type(self).__name__
        if not isinstance(image, np.ndarray) or image.dtype.kind != "f":
            got = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
            raise TypeError(f"{name}: needs a NumPy array of floats, got {got}")
        if image.ndim != 3:
            raise ValueError(f"{name}: needs an image (C, H, W), got shape {image.shape}")
        parts = target if isinstance(target, dict) else {"mask": target}
        _check(name, image, parts)
        if self.border == "reflect" and any(key in parts for key in PER_OBJECT):
            raise ValueError(
                f"{name}: border='reflect' shows objects a second time, without boxes; use "
                "'constant' for targets with objects"
            )
        height, width = image.shape[1:]
        move = self.plan(height, width, rng or batch_generator())
        if move is None:
            return image, target
        moved = self._move(move, parts)
        image = move.image(image, self.fill)
        return image, moved if isinstance(target, dict) else moved["mask"]

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move | None:
        """What happens to an image of that size; None: nothing."""
        raise NotImplementedError

    def _move(self, move: Move, parts: dict[str, Any]) -> dict[str, Any]:
        moved = dict(parts)
        if "mask" in parts:
            moved["mask"] = move.labels(parts["mask"], self.ignore_index)
        count = next((len(parts[key]) for key in PER_OBJECT if key in parts), 0)
        left = np.ones(count, bool)
        if "masks" in parts:
            moved["masks"] = move.labels(parts["masks"], 0)
            left &= moved["masks"].any(axis=(1, 2))
        if "boxes" in parts:
            moved["boxes"] = _move_boxes(move, parts["boxes"], moved.get("masks"))
            left &= (moved["boxes"][:, 2:] > moved["boxes"][:, :2]).all(axis=1)
        if "keypoints" in parts:
            moved["keypoints"] = self._move_keypoints(move, parts["keypoints"])
        if "area" in parts:
            moved["area"] = _move_areas(parts, moved)
        if not left.all():
            moved |= {key: moved[key][left] for key in PER_OBJECT if key in moved}
        return moved

    def _move_keypoints(self, move: Move, keypoints: np.ndarray) -> np.ndarray:
        x, y = move.points(keypoints[..., :2].reshape(-1, 2)).T
        height, width = move.size
        visible = keypoints[..., 2].reshape(-1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (visible > 0)
        moved = np.where(inside, np.stack([x, y, visible]), 0.0).T
        moved = moved.reshape(keypoints.shape).astype(keypoints.dtype, copy=False)
        if move.mirrors:
            for a, b in self.keypoint_pairs:
                moved[:, [a, b]] = moved[:, [b, a]]
        return moved

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({arguments})"


def _check(name: str, image: np.ndarray, parts: dict[str, Any]) -> None:
    size = image.shape[1:]
    for key, ndim in (("mask", 2), ("masks", 3)):
        if key in parts and (parts[key].ndim != ndim or parts[key].shape[-2:] != size):
            form = "(H, W)" if ndim == 2 else "(R, H, W)"
            raise ValueError(
                f"{name}: target's {key} must be {form} with the size {size} of the image, got "
                f"{parts[key].shape}"
            )
    for key, tail, form in (("boxes", (4,), "(R, 4)"), ("keypoints", (3,), "(R, K, 3)")):
        if key in parts and (
            parts[key].shape[-1:] != tail or parts[key].ndim != form.count(",") + 1
        ):
            raise ValueError(f"{name}: target's {key} must be {form}, got {parts[key].shape}")
    counts = {key: len(parts[key]) for key in PER_OBJECT if key in parts}
    if len(set(counts.values())) > 1:
        raise ValueError(f"{name}: target has other numbers of objects: {counts}")


def _move_boxes(move: Move, boxes: np.ndarray, masks: np.ndarray | None) -> np.ndarray:
    """Boxes around the moved outlines, cut to the image; of masks, where that is more exact."""
    # Between corners, a bent side may bulge.
    steps = np.array([0.0, 1.0]) if move.straight else np.linspace(0.0, 1.0, 9)
    ends = np.zeros_like(steps), np.ones_like(steps)
    along = np.concatenate([steps, steps, *ends])
    across = np.concatenate([*ends, steps, steps])
    x = boxes[:, None, 0] + along * (boxes[:, None, 2] - boxes[:, None, 0])
    y = boxes[:, None, 1] + across * (boxes[:, None, 3] - boxes[:, None, 1])
    outline = np.stack([x, y], axis=-1)
    points = move.points(outline.reshape(-1, 2)).reshape(outline.shape)
    lost = np.isnan(points)
    low = np.where(lost, np.inf, points).min(axis=1)
    high = np.where(lost, -np.inf, points).max(axis=1)
    height, width = move.size
    moved = np.concatenate([low, high], axis=1)
    limits = np.array([width, height, width, height])
    cut = np.clip(moved, 0, limits)
    if masks is not None:
        inexact = (cut != moved).any(axis=1) | (not move.straight)
        cut = np.where(inexact[:, None], boxes_of_masks(masks), cut)
    return cut.astype(boxes.dtype, copy=False)


def _move_areas(parts: dict[str, Any], moved: dict[str, Any]) -> np.ndarray:
    def size(target: dict[str, Any]) -> Any:
        if "masks" in target:
            return target["masks"].sum(axis=(1, 2))
        if "boxes" in target:
            return np.prod(target["boxes"][:, 2:] - target["boxes"][:, :2], axis=1)
        return 1.0

    area = parts["area"]
    return (area * (size(moved) / np.maximum(size(parts), 1e-9))).astype(area.dtype, copy=False)


def boxes_of_masks(masks: np.ndarray) -> np.ndarray:
    """The smallest box around each mask.

    Args:
        masks: (R, H, W) bool.

    Returns:
        (R, 4) float32 x1, y1, x2, y2, pixels, half-open; 0, 0, 0, 0 for an empty mask.
    """
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
        if columns.size:
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes


class Compose:
    """Several joint transforms, one after the other.

    Args:
        transforms: each a callable of (image, target, generator).
    """

    def __init__(self, transforms: Sequence[Callable[..., Pair]]) -> None:
        self.transforms = list(transforms)

    def __call__(
        self, image: np.ndarray, target: Target, rng: np.random.Generator | None = None
    ) -> Pair:
        rng = rng or batch_generator()
        for transform in self.transforms:
            image, target = transform(image, target, rng)
        return image, target

    def __repr__(self) -> str:
        return f"Compose(transforms={self.transforms!r})"


class ImageOnly:
    """A transform of `minidl.data.transforms` that moves no pixel, applied to the image.

    Args:
        transform: a callable of (a batch (1, C, H, W), a NumPy generator), as `ColorJitter` or
            `Normalize`.
    """

    def __init__(self, transform: Callable[..., np.ndarray]) -> None:
        self.transform = transform

    def __call__(
        self, image: np.ndarray, target: Target, rng: np.random.Generator | None = None
    ) -> Pair:
        changed = self.transform(image[None], rng or batch_generator())[0]
        if changed.shape[1:] != image.shape[1:]:
            raise ValueError(
                f"ImageOnly: {self.transform!r} changed the size from {image.shape[1:]} to "
                f"{changed.shape[1:]}, and the target would not fit any more"
            )
        return changed, target

    def __repr__(self) -> str:
        return f"ImageOnly({self.transform!r})"


class RandomHorizontalFlip(JointTransform):
    """Mirror left to right with probability p.

    Args:
        p: the probability.
        keypoint_pairs: pairs of numbers of keypoints that change places, as left and right eye.
    """

    def __init__(self, p: float = 0.5, keypoint_pairs: Sequence[tuple[int, int]] = ()) -> None:
        self.p = _probability("RandomHorizontalFlip", p)
        self.keypoint_pairs = keypoint_pairs

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move | None:
        return moves.Flip(height, width) if rng.random() < self.p else None


class RandomVerticalFlip(JointTransform):
    """Mirror top to bottom with probability p."""

    def __init__(self, p: float = 0.5) -> None:
        self.p = _probability("RandomVerticalFlip", p)

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move | None:
        return moves.Flip(height, width, vertical=True) if rng.random() < self.p else None


class RandomCrop(JointTransform):
    """Cut a window at a random place; what reaches beyond the image is filled.

    Args:
        size: of the window in pixels, (H, W) or one number.
        padding: by how many pixels it may reach beyond the image on each side. An image smaller
            than the window lies somewhere inside of it in any case.
        fill: the image's value there.
        ignore_index: the class map's value there.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        padding: int = 0,
        fill: float = 0.0,
        ignore_index: int = 255,
    ) -> None:
        self.size = _size("RandomCrop", size)
        if padding < 0:
            raise ValueError(f"RandomCrop: padding must not be negative, got {padding}")
        self.padding = padding
        self.fill = fill
        self.ignore_index = ignore_index

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
        self, size: int | tuple[int, int], fill: float = 0.0, ignore_index: int = 255
    ) -> None:
        self.size = _size("CenterCrop", size)
        self.fill = fill
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
        self.size = _size("Resize", size)

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
        fill: the image's value outside of its borders.
        ignore_index: the class map's value there.
        border: "constant": these values; "reflect": image and class map mirrored at the border.
    """

    def __init__(
        self,
        degrees: float | tuple[float, float],
        fill: float = 0.0,
        ignore_index: int = 255,
        border: Border = "constant",
    ) -> None:
        self.degrees = degrees if isinstance(degrees, tuple) else (-abs(degrees), abs(degrees))
        self.fill = fill
        self.ignore_index = ignore_index
        self.border = _border("RandomRotation", border)

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
        fill: float = 0.0,
        ignore_index: int = 255,
        border: Border = "constant",
    ) -> None:
        if sigma < 0 or grid < 2:
            raise ValueError(
                f"RandomElastic: needs sigma >= 0 and grid >= 2, got {sigma} and {grid}"
            )
        self.sigma = sigma
        self.grid = grid
        self.fill = fill
        self.ignore_index = ignore_index
        self.border = _border("RandomElastic", border)

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move:
        displacements = rng.normal(0.0, self.sigma, (2, self.grid, self.grid))
        return moves.elastic(height, width, displacements, self.border)


def _probability(name: str, p: float) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be in [0, 1], got {p}")
    return p


def _size(name: str, size: int | tuple[int, int]) -> tuple[int, int]:
    h, w = (size, size) if isinstance(size, int) else size
    if h < 1 or w < 1:
        raise ValueError(f"{name}: size must be positive, got {size}")
    return h, w


def _border(name: str, border: Border) -> Border:
    if border not in ("constant", "reflect"):
        raise ValueError(f"{name}: border must be 'constant' or 'reflect', got {border!r}")
    return border
