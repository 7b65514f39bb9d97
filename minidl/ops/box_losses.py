"""Losses of pairs of boxes: how far one is from covering the other. Names as in torchvision.ops.

Boxes are (x1, y1, x2, y2), half-open. The overlap itself says nothing about boxes that do not
overlap: its gradient is 0 there. The other losses add what draws such boxes together.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Tensor
from .common import as_float, as_tensor, astype, check_devices
from .elementwise import clamp
from .reduction import mean, sum
from .selection import maximum, minimum

__all__ = ["box_iou_loss", "distance_box_iou_loss", "generalized_box_iou_loss"]


def box_iou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7
) -> Tensor:
    """1 - IoU, the intersection over union of each pair. Yu et al. 2016, "UnitBox".

    Args:
        boxes1, boxes2: (..., 4) x1, y1, x2, y2, of one shape.
        reduction: "none" (a loss for each pair), "sum" or "mean" (0 where there is no pair).
        eps: added to what is divided by, in square pixels.

    Returns:
        (...), or 0-d, from 0 to 1, of the boxes' dtype.

    Raises:
        ValueError: not (..., 4) both, or another reduction.
    """
    a, b, dtype = _pair("box_iou_loss", boxes1, boxes2, reduction)
    both, either = _areas(a, b)
    return _reduce(1.0 - both / (either + eps), reduction, dtype)


def generalized_box_iou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7
) -> Tensor:
    """1 - IoU, and the share of the smallest box around both that neither covers.

    Rezatofighi et al. 2019, "Generalized intersection over union", algorithm 1.

    Args:
        boxes1, boxes2, reduction, eps: as in `box_iou_loss`.

    Returns:
        (...), or 0-d, from 0 to 2.

    Raises:
        ValueError: as in `box_iou_loss`.
    """
    a, b, dtype = _pair("generalized_box_iou_loss", boxes1, boxes2, reduction)
    both, either = _areas(a, b)
    width, height = _hull(a, b)
    hull = width * height
    loss = 1.0 - both / (either + eps) + (hull - either) / (hull + eps)
    return _reduce(loss, reduction, dtype)


def distance_box_iou_loss(
    boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7
) -> Tensor:
    """1 - IoU, and the squared distance of the centres over that of the corners of both's hull.

    Zheng et al. 2020, "Distance-IoU loss", equation 7.

    Args:
        boxes1, boxes2, reduction, eps: as in `box_iou_loss`.

    Returns:
        (...), or 0-d, from 0 to 2.

    Raises:
        ValueError: as in `box_iou_loss`.
    """
    a, b, dtype = _pair("distance_box_iou_loss", boxes1, boxes2, reduction)
    both, either = _areas(a, b)
    width, height = _hull(a, b)
    x, y = [(a[k] + a[k + 2] - b[k] - b[k + 2]) * 0.5 for k in (0, 1)]
    diagonal = width * width + height * height + eps
    return _reduce(1.0 - both / (either + eps) + (x * x + y * y) / diagonal, reduction, dtype)


# -- helpers --------------------------------------------------------------------------------------

Sides = list[Tensor]  # x1, y1, x2, y2


def _pair(op: str, boxes1: Any, boxes2: Any, reduction: str) -> tuple[Sides, Sides, Any]:
    """The corners of both, in float32 at least (areas leave float16), and the result's dtype."""
    first = as_float(boxes1)
    second = as_float(as_tensor(boxes2, first))
    check_devices(op, first, second)
    if first.shape != second.shape or first.shape[-1:] != (4,):
        raise ValueError(
            f"{op}: boxes must be (..., 4) in pairs, got {first.shape} and {second.shape}"
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{op}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")
    dtype = np.promote_types(first.dtype, second.dtype)
    wide = np.promote_types(dtype, np.float32)
    a, b = astype(first, wide), astype(second, wide)
    return [a[..., k] for k in range(4)], [b[..., k] for k in range(4)], dtype


def _areas(a: Sides, b: Sides) -> tuple[Tensor, Tensor]:
    """The areas of intersection and union."""
    width, height = [clamp(minimum(a[k + 2], b[k + 2]) - maximum(a[k], b[k]), 0.0) for k in (0, 1)]
    both = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return both, areas[0] + areas[1] - both


def _hull(a: Sides, b: Sides) -> tuple[Tensor, Tensor]:
    """Width and height of the smallest box around both."""
    width, height = [maximum(a[k + 2], b[k + 2]) - minimum(a[k], b[k]) for k in (0, 1)]
    return width, height


def _reduce(loss: Tensor, reduction: str, dtype: Any) -> Tensor:
    if reduction == "sum" or (reduction == "mean" and loss.numel() == 0):
        loss = sum(loss)
    elif reduction == "mean":
        loss = mean(loss)
    return astype(loss, dtype)
