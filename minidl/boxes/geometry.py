"""Areas, overlaps, clipping and forms of boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import Array, of, quiet

__all__ = [
    "as_boxes",
    "box_area",
    "box_convert",
    "box_iou",
    "clip_boxes_to_image",
    "generalized_box_iou",
    "remove_small_boxes",
]

FORMATS = ("xyxy", "xywh", "cxcywh")


def as_boxes(op: str, boxes: Any) -> Array:
    """`boxes` checked to be an array (R, 4), in float32 or float64.

    Raises:
        TypeError: not an array.
        ValueError: not (R, 4).
    """
    if isinstance(boxes, Tensor):
        raise TypeError(f"{op}: boxes must be an array, got a Tensor; pass its .data")
    of(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{op}: boxes must be (R, 4), got {boxes.shape}")
    return boxes if boxes.dtype in (np.float32, np.float64) else boxes.astype(np.float32)


@quiet
def box_area(boxes: Array) -> Array:
    """The area of each box.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels.

    Returns:
        (R,) square pixels.

    Raises:
        TypeError, ValueError: not an array (R, 4).
    """
    boxes = as_boxes("box_area", boxes)
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


@quiet
def box_iou(boxes1: Array, boxes2: Array) -> Array:
    """Intersection over union of each pair of boxes.

    Args:
        boxes1: (N, 4) x1, y1, x2, y2, pixels.
        boxes2: (M, 4).

    Returns:
        (N, M), from 0 to 1. Two boxes without area have 0 (torchvision: NaN); a NaN in a box gives
        NaN.

    Raises:
        TypeError, ValueError: not arrays (R, 4).
    """
    first, second = as_boxes("box_iou", boxes1), as_boxes("box_iou", boxes2)
    return of(first).box_iou(first, second)


@quiet
def generalized_box_iou(boxes1: Array, boxes2: Array) -> Array:
    """IoU, less the share of the smallest box around both that neither covers.

    Unlike IoU it tells near boxes from far ones where they do not overlap. Rezatofighi et al. 2019.

    Args:
        boxes1: (N, 4) x1, y1, x2, y2, pixels.
        boxes2: (M, 4).

    Returns:
        (N, M), from -1 to 1. Two equal boxes without area have 0 (torchvision: NaN); a NaN in a box
        gives NaN.

    Raises:
        TypeError, ValueError: not arrays (R, 4).
    """
    first, second = [as_boxes("generalized_box_iou", boxes) for boxes in (boxes1, boxes2)]
    backend = of(first)
    xp = backend.xp
    iou = backend.box_iou(first, second)
    a, b = first[:, None], second
    hull = xp.maximum(a[..., 2:], b[:, 2:]) - xp.minimum(a[..., :2], b[:, :2])  # (N, M, 2)
    hull = hull[..., 0] * hull[..., 1]
    # union = (area + area) / (1 + iou), as area + area = union + intersection
    union = (box_area(first)[:, None] + box_area(second)) / (1.0 + iou)
    return iou - (hull - union) / xp.where(hull == 0, 1.0, hull)


def clip_boxes_to_image(boxes: Array, size: tuple[int, int]) -> Array:
    """Boxes with their corners moved into the image. What lay outside of it has no area left.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels.
        size: (H, W) of the image, pixels.

    Returns:
        (R, 4).

    Raises:
        TypeError, ValueError: not an array (R, 4).
    """
    boxes = as_boxes("clip_boxes_to_image", boxes)
    xp = of(boxes).xp
    height, width = [float(n) for n in size]
    x, y = xp.clip(boxes[:, 0::2], 0.0, width), xp.clip(boxes[:, 1::2], 0.0, height)
    return xp.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


@quiet
def remove_small_boxes(boxes: Array, min_size: float) -> Array:
    """The indices of boxes of which both sides are at least `min_size`.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels.
        min_size: pixels.

    Returns:
        (K,) int64, rising. Boxes with a NaN are not among them. On a GPU this waits: the host must
        learn how many there are.

    Raises:
        TypeError, ValueError: not an array (R, 4).
    """
    boxes = as_boxes("remove_small_boxes", boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    return of(boxes).xp.nonzero((sides >= min_size).all(axis=1))[0]


@quiet
def box_convert(boxes: Array, in_fmt: str, out_fmt: str) -> Array:
    """Boxes in another form.

    Args:
        boxes: (R, 4), pixels.
        in_fmt, out_fmt: "xyxy" (two corners), "xywh" (a corner, width, height) or "cxcywh" (the
            centre, width, height).

    Returns:
        (R, 4), a new array.

    Raises:
        TypeError: not an array.
        ValueError: not (R, 4), or an unknown form.
    """
    boxes = as_boxes("box_convert", boxes)
    for name in (in_fmt, out_fmt):
        if name not in FORMATS:
            raise ValueError(f"box_convert: {name!r} is unknown; use one of {', '.join(FORMATS)}")
    xp = of(boxes).xp
    first, second = boxes[:, :2], boxes[:, 2:]
    if in_fmt == out_fmt:
        return boxes.copy()
    if in_fmt == "xyxy":
        corner, size = first, second - first
    else:
        corner, size = first - (second * 0.5 if in_fmt == "cxcywh" else 0.0), second
    if out_fmt == "xyxy":
        pair = corner, corner + size
    else:
        pair = corner + (size * 0.5 if out_fmt == "cxcywh" else 0.0), size
    return xp.concatenate(pair, axis=1)
