"""Boxes as differences to other boxes: what a regressor learns.

Girshick et al. 2014, "Rich feature hierarchies" (R-CNN), appendix C: with P the box one starts from
and G the one that is wanted, both by centre and size,

    t_x = (G_x - P_x) / P_w        t_w = log(G_w / P_w)
    t_y = (G_y - P_y) / P_h        t_h = log(G_h / P_h)

which do not change when the picture is shifted or scaled.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import Tensor, no_grad
from ..autograd.tensor import wrap
from ..backend import Array, of, quiet
from ..ops.common import as_tensor, astype
from ..ops.elementwise import clamp, exp
from ..ops.shape import stack
from .geometry import as_boxes

__all__ = ["BOX_CLIP", "BoxCoder"]

# A side grows to at most 1000 pixels from 16, the stride of VGG16: exp must not overflow where the
# regressor is still wild. As in Detectron.
BOX_CLIP = math.log(1000.0 / 16)


class BoxCoder:
    """Boxes to the differences that a regressor learns, and back.

    Args:
        weights: four numbers by which t_x, t_y, t_w, t_h are multiplied, so that all have a spread
            of about 1: (1, 1, 1, 1) for region proposals, (10, 10, 5, 5) for detectors.
        bbox_xform_clip: the most that t_w and t_h count when decoded.

    Raises:
        ValueError: not four positive weights.
    """

    def __init__(
        self,
        weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
        bbox_xform_clip: float = BOX_CLIP,
    ) -> None:
        self.weights = tuple([float(weight) for weight in weights])
        if len(self.weights) != 4 or not min(self.weights) > 0:
            raise ValueError(f"BoxCoder: weights must be four positive numbers, got {weights}")
        self.bbox_xform_clip = float(bbox_xform_clip)

    @quiet
    def encode(self, reference_boxes: Array, proposals: Array) -> Array:
        """What leads from each proposal to the box that is wanted.

        Args:
            reference_boxes: (R, 4) x1, y1, x2, y2, pixels: the boxes wanted.
            proposals: (R, 4): the boxes one starts from.

        Returns:
            (R, 4) t_x, t_y, t_w, t_h, each times its weight.

        Raises:
            TypeError: not arrays.
            ValueError: not (R, 4) both, or (on the CPU; elsewhere the result is infinite or NaN) a
                box without area or with a NaN.
        """
        op = "BoxCoder.encode"
        wanted, start = as_boxes(op, reference_boxes), as_boxes(op, proposals)
        if wanted.shape != start.shape:
            raise ValueError(
                f"{op}: reference_boxes {wanted.shape} and proposals {start.shape} go in pairs"
            )
        backend = of(wanted)
        backend.check_boxes(op, "reference_boxes", wanted)
        backend.check_boxes(op, "proposals", start)
        xp = backend.xp
        differences = []
        for axis in (0, 1):
            (g, g_size), (p, p_size) = [_centre_and_size(boxes, axis) for boxes in (wanted, start)]
            shift = self.weights[axis] * (g - p) / p_size
            growth = self.weights[2 + axis] * xp.log(g_size / p_size)
            differences.append((shift, growth))
        (x, w), (y, h) = differences
        return xp.stack([x, y, w, h], axis=1)

    def decode(self, rel_codes: Any, boxes: Array) -> Any:
        """The boxes to which the differences lead.

        Args:
            rel_codes: (R, 4), or (R, C, 4) where there is one for each class; an array, or a
                Tensor, through which gradients flow (for losses of overlaps).
            boxes: (R, 4) x1, y1, x2, y2, pixels: the boxes one starts from, constants.

        Returns:
            an array or a Tensor, as rel_codes, of its shape: x1, y1, x2, y2 in pixels. Float16
            codes give float32. A NaN in a code gives NaN.

        Raises:
            TypeError: boxes are no array.
            ValueError: shapes do not fit.
        """
        if not isinstance(rel_codes, Tensor):
            of(rel_codes)
            with no_grad():
                return self.decode(wrap(rel_codes), boxes).data
        start = as_boxes("BoxCoder.decode", boxes)
        shape = rel_codes.shape
        if len(shape) not in (2, 3) or shape[-1] != 4 or shape[0] != len(start):
            raise ValueError(
                f"BoxCoder.decode: rel_codes must be (R, 4) or (R, C, 4) for boxes "
                f"{start.shape}, got {shape}"
            )
        wide = rel_codes.dtype if rel_codes.dtype in (np.float32, np.float64) else np.float32
        codes, start = astype(rel_codes, wide), start.astype(wide, copy=False)
        sides = []
        for axis in (0, 1):
            centre, size = [
                as_tensor(a if len(shape) == 2 else a[:, None])
                for a in _centre_and_size(start, axis)
            ]
            middle = codes[..., axis] / self.weights[axis] * size + centre
            growth = clamp(codes[..., 2 + axis] / self.weights[2 + axis], max=self.bbox_xform_clip)
            half = exp(growth) * size * 0.5
            sides.append((middle - half, middle + half))
        (x1, x2), (y1, y2) = sides
        return stack([x1, y1, x2, y2], -1)

    def __repr__(self) -> str:
        return f"BoxCoder(weights={self.weights}, bbox_xform_clip={self.bbox_xform_clip:.6g})"


def _centre_and_size(boxes: Array, axis: int) -> tuple[Array, Array]:
    size = boxes[:, 2 + axis] - boxes[:, axis]
    return boxes[:, axis] + 0.5 * size, size
