"""Boxes laid over a picture without looking at it, and boxes cut out of it at one size."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence

import numpy as np

from ..autograd import Tensor, no_grad
from ..autograd.tensor import wrap
from ..backend import Array, of
from ..ops.roi import roi_align
from .geometry import as_boxes

__all__ = ["crop_and_warp", "sliding_windows"]


def sliding_windows(
    image_size: tuple[int, int],
    sizes: Sequence[int],
    aspect_ratios: Sequence[float] = (1.0,),
    stride: float = 0.5,
) -> np.ndarray:
    """All windows of some sizes and shapes, at equal distances, wholly inside the picture.

    Args:
        image_size: (H, W), pixels.
        sizes: the square roots of the windows' areas, pixels.
        aspect_ratios: height / width.
        stride: between neighbouring windows, as a share of their width or height.

    Returns:
        (R, 4) float32 x1, y1, x2, y2 in pixels, on the host: size after size, shape after shape,
        row by row. The last window of a row ends at the border, so that every pixel is in some
        window. A window larger than the picture is left out.

    Raises:
        ValueError: a size, ratio or stride that is not positive.
    """
    if not min(stride, *sizes, *aspect_ratios, *image_size) > 0:
        raise ValueError(
            "sliding_windows: sizes, aspect_ratios, stride and image_size must be positive, got "
            f"{sizes}, {aspect_ratios}, {stride}, {image_size}"
        )
    windows = [np.zeros((0, 4))]
    for size, ratio in itertools.product(sizes, aspect_ratios):
        sides = round(size * math.sqrt(ratio)), round(size / math.sqrt(ratio))
        if min(sides) < 1 or sides[0] > image_size[0] or sides[1] > image_size[1]:
            continue
        y, x = [
            np.linspace(0, whole - side, math.ceil((whole - side) / (stride * side)) + 1).round()
            for whole, side in zip(image_size, sides, strict=True)
        ]
        y, x = [axis.ravel() for axis in np.meshgrid(y, x, indexing="ij")]
        windows.append(np.stack([x, y, x + sides[1], y + sides[0]], axis=1))
    return np.concatenate(windows).astype(np.float32)


def crop_and_warp(
    image: Array,
    boxes: Array,
    output_size: int | tuple[int, int],
    padding: int = 16,
    fill: Sequence[float] | float | None = None,
    sampling_ratio: int = -1,
) -> Array:
    """Each box of a picture, stretched to one size, with a frame of what is around it.

    Girshick et al. 2014 (R-CNN), appendix A: the box is enlarged so that in the result the frame is
    `padding` pixels wide, whatever the size of the box. What lies outside of the picture has the
    picture's mean colour.

    Args:
        image: (C, H, W), an array of floating-point numbers.
        boxes: (R, 4) x1, y1, x2, y2, pixels.
        output_size: a number or a pair (h, w), with the frame.
        padding: pixels of the result on each side.
        fill: a number for each channel, or one for all; default: the mean of the picture.
        sampling_ratio: as in `roi_align`, which does it: -1 takes the mean of all pixels that fall
            on one of a smaller result, 1 takes one sample each.

    Returns:
        (R, C, h, w) of the image's dtype.

    Raises:
        TypeError: not arrays, or an image of integers.
        ValueError: not (C, H, W) and (R, 4), a frame that leaves no room, or (on the CPU; elsewhere
            the crop is of no use) a box without area or with a NaN.
    """
    op = "crop_and_warp"
    if isinstance(image, Tensor):
        raise TypeError(f"{op}: image must be an array, got a Tensor; pass its .data")
    backend = of(image)
    if image.ndim != 3 or 0 in image.shape:
        raise ValueError(f"{op}: image must be (C, H, W), with pixels, got {image.shape}")
    if image.dtype.kind != "f":
        raise TypeError(f"{op}: image must hold floating-point numbers, got {image.dtype}")
    boxes = as_boxes(op, boxes)
    backend.check_boxes(op, "boxes", boxes)
    size = output_size if isinstance(output_size, tuple) else (output_size, output_size)
    height, width = [operator.index(n) for n in size]
    if not 0 <= 2 * padding < min(height, width):
        raise ValueError(
            f"{op}: a frame of {padding} pixels leaves no room in an output of {height} x {width}"
        )
    larger = []
    for axis, whole in ((0, width), (1, height)):
        centre = 0.5 * (boxes[:, axis] + boxes[:, 2 + axis])
        half = (boxes[:, 2 + axis] - boxes[:, axis]) * (0.5 * whole / (whole - 2 * padding))
        larger.append((centre - half, centre + half))
    (x1, x2), (y1, y2) = larger
    xp = backend.xp
    if fill is None:
        mean = image.mean(axis=(1, 2), keepdims=True)
    else:
        levels = np.broadcast_to(np.asarray(fill, image.dtype), (len(image),)).reshape(-1, 1, 1)
        mean = backend.asarray(np.ascontiguousarray(levels), None, backend.index_of(image))
    with no_grad():
        # RoIAlign has 0 outside of the picture: subtract what is to be there, and add it again.
        crops = roi_align(
            wrap((image - mean)[None]),
            [xp.stack([x1, y1, x2, y2], axis=1)],
            (height, width),
            sampling_ratio=sampling_ratio,
            aligned=True,
        )
    return crops.data + mean
