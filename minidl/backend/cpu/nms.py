"""Non-maximum suppression on the CPU: a block of boxes at a time against all that are left.

Whom a block of boxes removes among itself is found out box by box, but from one small table of
overlaps. Those of the block that stay then meet all later boxes in a few passes over long arrays,
and what they hit is gone for good: later blocks are taken from ever fewer boxes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..plain.nms import NmsKernels
from .workspace import scratch

__all__ = ["CpuNmsKernels"]

BLOCK = 64  # boxes; measured: 32 takes a twentieth longer
TABLE = 1 << 16  # overlaps in one pass: three arrays of 256 KB stay in the cache


class CpuNmsKernels(NmsKernels):
    """Non-maximum suppression for NumPy."""

    def check_boxes(self, op: str, name: str, boxes: Any) -> None:
        # Written so that a NaN, which compares as false, is found too.
        good = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        if not good.all():
            k = int(np.argmin(good))
            fault = "no area" if np.isfinite(boxes[k]).all() else "a NaN or an infinite corner"
            raise ValueError(
                f"{op}: {name} {boxes.shape}: box {k}, {tuple(boxes[k].tolist())}, has {fault}; "
                "boxes are (x1, y1, x2, y2) with x1 < x2 and y1 < y2: drop it or mend it"
            )

    def nms(self, boxes: Any, labels: Any, threshold: float) -> Any:
        keep = np.zeros(len(boxes), np.bool_)
        if labels is not None:
            for label in np.unique(labels):
                own = np.flatnonzero(labels == label)
                keep[own] = self.nms(boxes[own], None, threshold)
            return keep
        x1, y1, x2, y2 = boxes.T
        columns = np.stack([x1, y1, x2, y2, (x2 - x1) * (y2 - y1)])
        left = np.arange(len(boxes))
        while left.size:
            block, left = left[:BLOCK], left[BLOCK:]
            own, columns = columns[:, :BLOCK], columns[:, BLOCK:]
            stays = np.ones(len(block), np.bool_)
            hits = _hits(own, own, threshold)
            for i in range(len(block)):
                if stays[i]:
                    stays[i + 1 :] &= ~hits[i, i + 1 :]
            keep[block[stays]] = True
            own = own[:, stays]
            gone = np.zeros(left.size, np.bool_)
            rows = max(1, TABLE // max(1, left.size))
            for first in range(0, int(stays.sum()), rows):
                part = own[:, first : first + rows]
                gone |= _hits(part, columns, threshold).any(axis=0)
            left, columns = left[~gone], columns[:, ~gone]
        return keep


def _hits(a: np.ndarray, b: np.ndarray, threshold: float) -> np.ndarray:
    """Whether each of `a` (5, N) overlaps each of `b` (5, M) more than `threshold`: (N, M).

    The rows are x1, y1, x2, y2 and the area. The same operations as `box_iou`.
    """
    shape = (a.shape[1], b.shape[1])
    both, side, either = [scratch(f"nms{k}", shape, a.dtype) for k in range(3)]
    x1, y1, x2, y2, area = [column[:, None] for column in a]
    np.minimum(x2, b[2], out=both)
    both -= np.maximum(x1, b[0], out=side)
    np.minimum(y2, b[3], out=side)
    side -= np.maximum(y1, b[1], out=either)
    zero = np.zeros((), a.dtype)
    np.maximum(both, zero, out=both)
    both *= np.maximum(side, zero, out=side)
    np.add(area, b[4], out=either)
    either -= both
    np.divide(both, either, out=both)  # 0 / 0 is NaN: no hit
    return both > threshold
