"""Soft non-maximum suppression: boxes that overlap a better one lose score instead of vanishing.

Bodla et al. 2017, "Soft-NMS: improving object detection with one line of code". Of two objects that
stand before each other, plain suppression finds one.
"""

from __future__ import annotations

import numpy as np

from ..backend import Array, of, quiet
from .geometry import as_boxes
from .nms import check_labels, check_row

__all__ = ["batched_soft_nms", "soft_nms"]

METHODS = ("linear", "gaussian")


@quiet
def soft_nms(
    boxes: Array,
    scores: Array,
    method: str = "linear",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    score_threshold: float = 0.001,
) -> tuple[Array, Array]:
    """Boxes by falling score, where each one lowers the scores of those that it overlaps.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels.
        scores: (R,).
        method: "linear", score * (1 - iou) where the intersection over union is above
            `iou_threshold` (equation 2); or "gaussian", score * exp(-iou^2 / sigma) (equation 3).
        iou_threshold: for "linear".
        sigma: for "gaussian".
        score_threshold: boxes whose score falls to it, or a NaN, are left out.

    Returns:
        (K,) int64, indices of the boxes left, and (K,) their new scores, in falling order. A box
        without area or with a NaN lowers no score, and its own is not lowered. On a GPU this waits
        once, when all is computed: the host must learn how many are left.

    Raises:
        TypeError: boxes or scores are not arrays.
        ValueError: shapes do not fit, another method, or a sigma that is not positive.
    """
    return _soft_nms("soft_nms", boxes, scores, None, method, iou_threshold, sigma, score_threshold)


@quiet
def batched_soft_nms(
    boxes: Array,
    scores: Array,
    idxs: Array,
    method: str = "linear",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    score_threshold: float = 0.001,
) -> tuple[Array, Array]:
    """`soft_nms` within each class: boxes of different classes leave each other's scores alone.

    Args:
        boxes, scores, method, iou_threshold, sigma, score_threshold: as in `soft_nms`.
        idxs: (R,) integers: the class of each box.

    Returns:
        as `soft_nms`, of all classes together.

    Raises:
        TypeError: boxes, scores or idxs are not arrays, or idxs not integers.
        ValueError: as `soft_nms`.
    """
    op = "batched_soft_nms"
    labels = check_labels(op, idxs, as_boxes(op, boxes))
    return _soft_nms(op, boxes, scores, labels, method, iou_threshold, sigma, score_threshold)


def _soft_nms(
    op: str,
    boxes: Array,
    scores: Array,
    labels: Array | None,
    method: str,
    iou_threshold: float,
    sigma: float,
    score_threshold: float,
) -> tuple[Array, Array]:
    boxes = as_boxes(op, boxes)
    check_row(op, "scores", scores, boxes)
    if method not in METHODS:
        raise ValueError(f"{op}: method {method!r} is unknown; use one of {', '.join(METHODS)}")
    if not sigma > 0:
        raise ValueError(f"{op}: sigma must be positive, got {sigma}")
    backend = of(boxes)
    xp, count = backend.xp, len(boxes)
    left = scores.astype(boxes.dtype)
    waiting = xp.where(left > score_threshold, left, -np.inf)
    keep, final = xp.zeros(count, np.int64), xp.zeros(count, boxes.dtype)
    for k in range(count):
        best = waiting.argmax()[None]
        keep[k : k + 1], final[k : k + 1] = best, waiting[best]
        iou = backend.box_iou(boxes[best], boxes)[0]
        # Comparisons with NaN are false, so that it lowers nothing.
        if method == "linear":
            factor = xp.where(iou > iou_threshold, 1.0 - iou, 1.0)
        else:
            factor = xp.where(iou > 0, xp.exp(iou * iou * (-1.0 / sigma)), 1.0)
        if labels is not None:
            factor = xp.where(labels == labels[best], factor, 1.0)
        lowered = waiting * factor
        # -inf is what has had its turn, or fell too low; it is never multiplied by 0.
        waiting = xp.where(lowered > score_threshold, lowered, -np.inf)
        waiting[best] = -np.inf
    chosen = xp.nonzero(final > score_threshold)[0]
    return keep[chosen], final[chosen]
