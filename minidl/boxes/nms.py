"""Non-maximum suppression: of boxes that overlap, only the one with the highest score is left."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import Array, of, quiet
from .geometry import as_boxes

__all__ = ["batched_nms", "check_labels", "check_row", "nms"]


@quiet
def nms(boxes: Array, scores: Array, iou_threshold: float) -> Array:
    """Which boxes are left when each one removes those of lower score that overlap it.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels.
        scores: (R,).
        iou_threshold: boxes are removed whose intersection over union is larger.

    Returns:
        (K,) int64: indices of the boxes left, by falling score; of equal scores the first comes
        first, a NaN last. A box without area or with a NaN neither removes nor is removed. On
        a GPU this waits once, when all is computed: the host must learn how many are left.

    Raises:
        TypeError: boxes or scores are not arrays.
        ValueError: shapes do not fit.
    """
    return _nms("nms", boxes, scores, None, iou_threshold)


@quiet
def batched_nms(boxes: Array, scores: Array, idxs: Array, iou_threshold: float) -> Array:
    """`nms` within each class: boxes of different classes do not remove each other.

    Args:
        boxes, scores, iou_threshold: as in `nms`.
        idxs: (R,) integers: the class of each box.

    Returns:
        (K,) int64: indices of the boxes left, of all classes, by falling score.

    Raises:
        TypeError: boxes, scores or idxs are not arrays, or idxs not integers.
        ValueError: shapes do not fit.
    """
    return _nms("batched_nms", boxes, scores, idxs, iou_threshold)


def _nms(op: str, boxes: Array, scores: Array, labels: Array | None, threshold: float) -> Array:
    boxes = as_boxes(op, boxes)
    check_row(op, "scores", scores, boxes)
    backend = of(boxes)
    # Sorting is stable: equal scores stay in their order.
    order = backend.xp.argsort(-scores.astype(np.float64), kind="stable")
    if labels is not None:
        labels = check_labels(op, labels, boxes)[order]
    return order[backend.nms(boxes[order], labels, float(threshold))]


def check_labels(op: str, labels: Any, boxes: Array) -> Array:
    """Classes of boxes, checked to be integers (R,), as int64.

    Raises:
        TypeError: not an array of integers.
        ValueError: not one for each box.
    """
    check_row(op, "idxs", labels, boxes)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{op}: idxs must be integers, got {labels.dtype}")
    return labels.astype(np.int64)


def check_row(op: str, name: str, row: Any, boxes: Array) -> None:
    """Raise an error unless `row` is an array with one number for each box."""
    if isinstance(row, Tensor):
        raise TypeError(f"{op}: {name} must be an array, got a Tensor; pass its .data")
    of(row)
    if row.shape != boxes.shape[:1]:
        raise ValueError(f"{op}: {name} must be (R,) = {boxes.shape[:1]}, got {row.shape}")
