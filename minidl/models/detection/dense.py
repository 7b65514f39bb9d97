"""What one-stage detectors share: an answer for each of the many boxes laid over a picture.

From the maps of a head to rows, one for each box; from the true objects to what each row should
say; from rows to detections. Everything but the last is on arrays of fixed shape: boxes that do not
count are not taken out but counted 0, and so a GPU need not be waited for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...autograd import Tensor
from ...backend import Array, of
from ...boxes import BoxCoder, Matcher, batched_nms, box_iou, clip_boxes_to_image
from ...ops.shape import cat

__all__ = ["Wanted", "assign", "best_of", "highest", "rows"]


def rows(maps: Sequence[Tensor], columns: int) -> Tensor:
    """The maps of a head as one row for each box, in the order of `boxes.AnchorGenerator`.

    Args:
        maps: for each level (N, A * columns, h, w); A, the boxes at a position, may differ.
        columns: numbers that a box has.

    Returns:
        (N, sum of h w A, columns).
    """
    parts = []
    for answers in maps:
        n, channels, h, w = answers.shape
        answers = answers.reshape(n, channels // columns, columns, h, w).permute(0, 3, 4, 1, 2)
        parts.append(answers.reshape(n, h * w * (channels // columns), columns))
    return cat(parts, 1)


class Wanted(NamedTuple):
    """What each of B boxes should say of N pictures; arrays.

    Attributes:
        matches: (N, B) int64: the object a box is matched with, or what `Matcher` says instead, a
            number below 0.
        labels: (N, B) int64: the label of that object; anything where there is none.
        codes: (N, B, 4): what leads from the box to that object; anything where there is none.
    """

    matches: Array
    labels: Array
    codes: Array


def assign(
    boxes: Array, targets: Sequence[Mapping[str, Tensor]], matcher: Matcher, coder: BoxCoder
) -> Wanted:
    """Match boxes that are laid over each picture with the objects in it.

    Args:
        boxes: (B, 4) x1, y1, x2, y2, pixels.
        targets: for each of N pictures "boxes" (R, 4) in the same pixels and "labels" (R,).
        matcher: decides by the overlaps.
        coder: writes objects as differences to boxes.
    """
    xp = of(boxes).xp
    wanted = []
    for target in targets:
        objects = target["boxes"].data.astype(boxes.dtype, copy=False)
        labels = target["labels"].data.astype(np.int64, copy=False)
        matches = matcher(box_iou(objects, boxes))
        if len(objects) == 0:  # something to look up, as nobody's object
            objects, labels = boxes[:1], xp.zeros(1, np.int64)
        index = xp.maximum(matches, 0)
        wanted.append(Wanted(matches, labels[index], coder.encode(objects[index], boxes)))
    return Wanted(*[xp.stack(part) for part in zip(*wanted, strict=True)])


def highest(scores: Array, count: int) -> Array:
    """Where the `count` highest of scores (B, ...) are along the first dimension, in no order.

    Returns:
        (min(count, B), ...) indices.
    """
    xp = of(scores).xp
    if count >= len(scores):
        index = xp.arange(len(scores)).reshape(-1, *(1,) * (scores.ndim - 1))
        return xp.broadcast_to(index, scores.shape)
    return xp.argpartition(scores, len(scores) - count, axis=0)[len(scores) - count :]


def best_of(
    boxes: Array,
    scores: Array,
    labels: Array,
    size: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    limit: int,
) -> dict[str, Tensor]:
    """Of candidates in one picture those that are its detections.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels; cut off at the edges of the picture.
        scores: (R,); candidates at or below score_thresh are none.
        labels: (R,) integers; candidates of one label that overlap by more than nms_thresh are one.
        size: (H, W) of the picture.
        limit: the most detections, those of the highest scores.

    Returns:
        "boxes", "labels" and "scores", by falling score. A GPU is waited for.
    """
    sure = of(scores).xp.nonzero(scores > score_thresh)[0]
    boxes, scores, labels = clip_boxes_to_image(boxes[sure], size), scores[sure], labels[sure]
    kept = batched_nms(boxes, scores, labels, nms_thresh)[:limit]
    found: dict[str, Any] = {"boxes": boxes[kept], "labels": labels[kept], "scores": scores[kept]}
    return {name: Tensor(array) for name, array in found.items()}
