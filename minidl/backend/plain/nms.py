"""Non-maximum suppression, plain form: box after box, each against all others at once."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["NmsKernels"]


class NmsKernels:
    """Overlaps of boxes, and which of many boxes are left."""

    xp: Any

    def box_iou(self, a: Any, b: Any) -> Any:
        """Intersection over union of each of `a` (N, 4) with each of `b` (M, 4): (N, M).

        0 for two boxes without area, NaN where a coordinate is NaN.
        """
        xp, a = self.xp, a[:, None]
        width = xp.minimum(a[..., 2], b[:, 2]) - xp.maximum(a[..., 0], b[:, 0])
        height = xp.minimum(a[..., 3], b[:, 3]) - xp.maximum(a[..., 1], b[:, 1])
        both = xp.maximum(width, 0.0) * xp.maximum(height, 0.0)
        areas = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b)]
        either = areas[0] + areas[1] - both
        return both / xp.where(either == 0, 1.0, either)

    def check_boxes(self, op: str, name: str, boxes: Any) -> None:
        """Raise ValueError where a box (R, 4) has no area, a NaN or an infinite corner.

        A device is not asked: the answer would have to be waited for. There such a box gives
        infinities or NaN, so try a program on the CPU first.
        """

    def nms(self, boxes: Any, labels: Any, threshold: float) -> Any:
        """Greedy suppression: a box that is left removes the later ones that overlap it too much.

        Args:
            boxes: (R, 4) x1, y1, x2, y2, sorted by falling score; float32 or float64.
            labels: (R,) int64, or None: only boxes of one label remove each other.
            threshold: overlaps (intersection over union) above it are too much.

        Returns:
            (R,) bool: whether the box is left. A box without area or with a NaN overlaps nothing.
        """
        xp, count = self.xp, len(boxes)
        removed = xp.zeros(count, np.bool_)
        for i in range(count - 1):
            hit = self.box_iou(boxes[i : i + 1], boxes[i + 1 :])[0] > threshold
            if labels is not None:
                hit = hit & (labels[i] == labels[i + 1 :])
            removed[i + 1 :] |= hit & ~removed[i]
        return ~removed
