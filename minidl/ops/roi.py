"""Regions of interest: boxes of any size on a feature map, brought to one size.

- RoIPool (Girshick 2015, "Fast R-CNN", section 2.1) rounds the box to whole pixels, divides it into
  bins, rounds again, and takes the largest pixel of each bin.
- RoIAlign (He et al. 2017, "Mask R-CNN", section 3) rounds nothing: each bin is the mean of a few
  samples, interpolated between the pixels.
- Position-sensitive RoIPool (Dai et al. 2016, "R-FCN", section 2) takes bin (i, j) from a channel
  of its own, which has learned to answer there.

RoIAlign is linear in the map, out = A_y F A_x^T for each box, and the gradient A_y^T G A_x is its
adjoint: each one's backward is the other. RoIPool reads by indices and its gradient adds by them,
as in max-pooling (`pool.py`). Boxes are constants: nothing is differentiated for them.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..autograd.tensor import wrap
from ..backend import of, quiet
from ..backend.roi_grid import RoiGrid, pool_windows
from .common import as_float, as_tensor, check_devices, masked
from .matmul import matmul
from .pool import PoolScatter
from .shape import permute, reshape

__all__ = ["ps_roi_pool", "roi_align", "roi_pool"]


class RoIAlign(Function):
    """out[k] = A_y F A_x^T for box k and every channel F of its image.    dF = adjoint(dout)"""

    def forward(self, x: Any, rois: Any, grid: RoiGrid) -> Any:
        self.grid, self.shape = grid, x.shape
        self.save_for_backward(rois)
        return of(x).roi_align(x, rois, grid)

    def backward(self, grad: Tensor) -> Any:
        (rois,) = self.saved_tensors
        return RoIAlignAdjoint.apply(grad, rois.data, self.grid, self.shape)


class RoIAlignAdjoint(Function):
    """F = the sum over boxes of A_y^T g[k] A_x.    dg = align(dF)"""

    def forward(self, g: Any, rois: Any, grid: RoiGrid, shape: tuple[int, int, int, int]) -> Any:
        self.grid = grid
        self.save_for_backward(rois)
        return of(g).roi_align_adjoint(g, rois, grid, shape)

    def backward(self, grad: Tensor) -> Any:
        (rois,) = self.saved_tensors
        return RoIAlign.apply(grad, rois.data, self.grid)


class RoIPool(Function):
    """out[k, c, i, j] = the largest x under the bin.    dx = dout scattered to these places"""

    def forward(self, x: Any, rois: Any, grid: RoiGrid) -> Any:
        values, places = of(x).roi_pool(x, rois, grid, self.recording)
        self.shape = x.shape
        # All maps together are one flat plane, into which PoolScatter and PoolGather index.
        self.save_for_backward(None if places is None else places.reshape(1, -1))
        return values

    def backward(self, grad: Tensor) -> Any:
        (places,) = self.saved_tensors
        return PoolScatter.apply(grad, places, self.shape)


# -- the public functions -------------------------------------------------------------------------


def roi_align(
    input: Tensor,
    boxes: Any,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Each box of a feature map resampled to `output_size`, without rounding.

    Samples beyond -1 or the map's size count as 0, those between there and the outermost pixel as
    that pixel. A box has at least length 1, or with `aligned` its own: without area it gives 0.

    Args:
        input: (N, C, H, W).
        boxes: (K, 5) with rows (image, x1, y1, x2, y2), or for each image an array (K_i, 4) of
            corners, in pixels of the picture; finite. Constants: they receive no gradient.
        output_size: a number or a pair (ph, pw): of bins.
        spatial_scale: pixels of the map for one pixel of the picture: 1/16 after a stride of 16.
        sampling_ratio: samples a bin along each axis; if not positive, ceil(box / bins).
        aligned: shift boxes by half a pixel, so that they lie on the map as on the picture. False
            is what was published; True what detectors use since.

    Returns:
        (K, C, ph, pw). A NaN or infinity in the map may spread over all bins of a box.

    Raises:
        TypeError: boxes are neither an array nor a list of arrays.
        ValueError: wrong ranks or sizes.
        IndexError: a box names an image that is not there (not found on a GPU).
    """
    x, rois, bins = _arguments("roi_align", input, boxes, output_size)
    samples = max(operator.index(sampling_ratio), 0)
    return RoIAlign.apply(x, rois, RoiGrid(bins, float(spatial_scale), samples, bool(aligned)))


def roi_pool(
    input: Tensor, boxes: Any, output_size: int | Sequence[int], spatial_scale: float = 1.0
) -> Tensor:
    """The largest pixel in each of `output_size` bins of each box.

    Args:
        input, boxes, output_size, spatial_scale: as in `roi_align`. Corners are rounded to pixels,
            and both belong to the box. A bin outside of the map gives 0.

    Returns:
        (K, C, ph, pw). A NaN counts as the largest.

    Raises:
        TypeError, ValueError, IndexError: as in `roi_align`.
    """
    x, rois, bins = _arguments("roi_pool", input, boxes, output_size)
    return RoIPool.apply(x, rois, RoiGrid(bins, float(spatial_scale)))


def ps_roi_pool(
    input: Tensor, boxes: Any, output_size: int | Sequence[int], spatial_scale: float = 1.0
) -> Tensor:
    """The mean of each bin, taken from the channel that belongs to the bin (R-FCN).

    Bin (i, j) of output channel c is pooled from input channel (c ph + i) pw + j.

    Args:
        input: (N, C ph pw, H, W).
        boxes, output_size, spatial_scale: as in `roi_align`. Corners are rounded to pixels; the
            second one does not belong to the box. A bin outside of the map gives 0.

    Returns:
        (K, C, ph, pw). (torchvision's forward leaves the last row and column of the map out, its
        backward does not; here both take them in.) A NaN or infinity in the map may spread over
        other boxes of its image.

    Raises:
        TypeError, IndexError: as in `roi_align`.
        ValueError: wrong ranks or sizes, or channels that are no multiple of ph pw.
    """
    x, rois, (ph, pw) = _arguments("ps_roi_pool", input, boxes, output_size)
    images, channels, height, width = x.shape
    if channels % (ph * pw):
        raise ValueError(
            f"ps_roi_pool: input has {channels} channels, which is no multiple of the {ph} x {pw} "
            f"bins (input {x.shape}); each bin needs a channel of its own"
        )
    rows, columns = _mean_weights(rois, RoiGrid((ph, pw), float(spatial_scale)), (height, width))
    rows = wrap(rows.astype(x.dtype).transpose(1, 0, 2)[:, None])  # (ph, 1, K, H)
    columns = wrap(columns.astype(x.dtype).transpose(1, 0, 2)[None, ..., None])  # (1, pw, K, W, 1)
    count, each = len(rois), channels // (ph * pw)
    result = wrap(of(x.data).xp.zeros((count, each, ph, pw), x.dtype))
    for n in range(images):
        # As matrices (H, C W), one for each bin: the rows' means are one product for all boxes.
        planes = permute(reshape(x[n], (each, ph, pw, height, width)), (1, 2, 3, 0, 4))
        mixed = matmul(rows, reshape(planes, (ph, pw, height, each * width)))
        mixed = matmul(reshape(mixed, (ph, pw, count, each, width)), columns)
        mine = (rois[:, 0] == n)[:, None, None, None]
        result = result + masked(permute(mixed[..., 0], (2, 3, 0, 1)), mine)
    return result


@quiet
def _mean_weights(rois: Any, grid: RoiGrid, size: tuple[int, int]) -> list[Any]:
    """For each axis (K, bins, n): 1 / length for the pixels of a bin's window, else 0."""
    xp = of(rois).xp
    weights = []
    for axis, n in enumerate(size):
        start, stop = pool_windows(xp, rois, axis, grid, n, False)
        pixels = xp.arange(n)
        inside = (pixels >= start[:, :, None]) & (pixels < stop[:, :, None])
        weights.append(inside / xp.maximum(stop - start, 1.0)[:, :, None])
    return weights


# -- arguments ------------------------------------------------------------------------------------


def _arguments(
    op: str, input: Any, boxes: Any, output_size: Any
) -> tuple[Tensor, Any, tuple[int, int]]:
    """The map, the boxes as an array (K, 5) on its device, and the numbers of bins."""
    x = as_float(input)
    if x.ndim != 4:
        raise ValueError(f"{op}: input must be (N, C, H, W), got {x.ndim} dimensions {x.shape}")
    if 0 in x.shape[2:]:
        raise ValueError(f"{op}: the map must not be empty, got input {x.shape}")
    sizes = list(output_size) if isinstance(output_size, Sequence) else [output_size] * 2
    try:
        bins = tuple([operator.index(n) for n in sizes])
    except TypeError:
        bins = ()
    if len(bins) != 2 or min(bins) < 1:
        raise ValueError(f"{op}: output_size must be one or two positive integers, got {sizes}")
    return x, as_rois(op, x, boxes), bins


def as_rois(op: str, x: Tensor, boxes: Any) -> Any:
    """Boxes in one array (K, 5), in float64 for a map of float64, else in float32.

    In float16 a coordinate above 2048 would be rounded to a multiple of two pixels.
    """
    backend = of(x.data)
    xp, dtype = backend.xp, np.float64 if x.dtype == np.float64 else np.float32
    if isinstance(boxes, (list, tuple)):
        if len(boxes) != x.shape[0]:
            raise ValueError(
                f"{op}: {len(boxes)} arrays of boxes for {x.shape[0]} images (input {x.shape}); "
                "give one for each image, (0, 4) where there is none"
            )
        check_devices(op, x, *boxes)
        parts = [xp.zeros((0, 5), dtype)]
        for n, part in enumerate(boxes):
            corners = as_tensor(part, x).data
            if corners.ndim != 2 or corners.shape[1] != 4:
                raise ValueError(f"{op}: boxes of image {n} must be (K, 4), got {corners.shape}")
            image = xp.full((len(corners), 1), n, dtype)
            parts.append(xp.concatenate([image, corners.astype(dtype)], axis=1))
        return xp.concatenate(parts)
    if not hasattr(boxes, "shape"):
        raise TypeError(
            f"{op}: boxes must be an array (K, 5) or a list of arrays (K_i, 4), got "
            f"{type(boxes).__name__}"
        )
    check_devices(op, x, boxes)
    rois = as_tensor(boxes, x).data
    if rois.ndim != 2 or rois.shape[1] != 5:
        raise ValueError(
            f"{op}: boxes must be (K, 5) with rows (image, x1, y1, x2, y2), got {rois.shape}; "
            "boxes (K_i, 4) go into a list with one array for each image"
        )
    try:
        backend.check_index(op, rois[:, 0], x.shape[0], 0, False)
    except IndexError as error:
        raise IndexError(
            f"{op}: a box is on an image that is not there; the first column of boxes {rois.shape} "
            f"counts the images of input {x.shape} from 0 ({error})"
        ) from None
    return rois.astype(dtype)
