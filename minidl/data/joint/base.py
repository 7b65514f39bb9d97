"""What all joint transforms share: how a target follows its image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from ..dataset import batch_generator
from ..moves import Border, Move

__all__ = [
    "PER_OBJECT",
    "Compose",
    "Fill",
    "ImageOnly",
    "JointTransform",
    "Pair",
    "Target",
    "boxes_of",
    "boxes_of_masks",
]

Target = Any  # a class map (H, W), or a dictionary
Pair = tuple[np.ndarray, Target]
Fill = float | Sequence[float] | Literal["mean"]
PER_OBJECT = ("boxes", "labels", "masks", "keypoints", "iscrowd", "difficult", "area")


class JointTransform:
    """The base class: a transform defines `plan(height, width, rng)`, the move of one image.

    Its constructor's arguments are attributes of the same names, which `repr` shows.

    Attributes:
        fill: what an image has outside of its borders: a number, one for each channel, or "mean":
            of each channel of the image.
        ignore_index: what a class map has there.
        keep: which objects stay: "any" of which something is left in the image; "center": of these
            only those whose centre (of the box, as it was) is in the image.
        keypoint_pairs: pairs of numbers of keypoints that change places in a mirror.
    """

    fill: Fill = 0.0
    ignore_index: int = 255
    keep: Literal["any", "center"] = "any"
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
        move = self.plan_for(parts, height, width, rng or batch_generator())
        if move is None:
            return image, target
        moved = self._move(move, parts)
        image = move.image(image, self._fill_of(image))
        return image, moved if isinstance(target, dict) else moved["mask"]

    def plan(self, height: int, width: int, rng: np.random.Generator) -> Move | None:
        """What happens to an image of that size; None: nothing."""
        raise NotImplementedError

    def plan_for(
        self, parts: dict[str, Any], height: int, width: int, rng: np.random.Generator
    ) -> Move | None:
        """What happens to an image with that target: for transforms that look where objects are."""
        return self.plan(height, width, rng)

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
        if self.keep == "center" and count:
            left &= _centres_inside(move, boxes_of(parts))
        if "area" in parts:
            moved["area"] = _move_areas(parts, moved)
        if not left.all():
            moved |= {key: moved[key][left] for key in PER_OBJECT if key in moved}
        return moved

    def _fill_of(self, image: np.ndarray) -> Any:
        """A number, or an array (C, 1, 1)."""
        if isinstance(self.fill, str):
            return image.mean(axis=(1, 2), keepdims=True)
        if isinstance(self.fill, (int, float)):
            return self.fill
        if len(self.fill) != len(image):
            raise ValueError(
                f"{type(self).__name__}: fill has {len(self.fill)} values for the {len(image)} "
                f"channels of an image {image.shape}"
            )
        return np.asarray(self.fill, image.dtype)[:, None, None]

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


def _centres_inside(move: Move, boxes: np.ndarray) -> np.ndarray:
    x, y = move.points((boxes[:, :2] + boxes[:, 2:]) / 2).T
    height, width = move.size
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _move_areas(parts: dict[str, Any], moved: dict[str, Any]) -> np.ndarray:
    def size(target: dict[str, Any]) -> Any:
        if "masks" in target:
            return target["masks"].sum(axis=(1, 2))
        if "boxes" in target:
            return np.prod(target["boxes"][:, 2:] - target["boxes"][:, :2], axis=1)
        return 1.0

    area = parts["area"]
    return (area * (size(moved) / np.maximum(size(parts), 1e-9))).astype(area.dtype, copy=False)


def boxes_of(parts: dict[str, Any]) -> np.ndarray:
    """The boxes (R, 4) of a target's objects, or those of their masks; without either none.

    Raises:
        ValueError: there are objects, but neither boxes nor masks.
    """
    if "boxes" in parts:
        return parts["boxes"]
    if "masks" in parts:
        return boxes_of_masks(parts["masks"])
    others = [key for key in PER_OBJECT if key in parts and len(parts[key])]
    if others:
        raise ValueError(
            f"a target whose objects have only {', '.join(others)} does not say where they are; it "
            "needs boxes or masks"
        )
    return np.zeros((0, 4), np.float32)


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
