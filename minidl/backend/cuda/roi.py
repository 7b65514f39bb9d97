"""RoIAlign, its adjoint and RoIPool on the GPU: the kernels of kernels/roi.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import Array
from ..plain.pool import index_dtype
from ..plain.roi import RoiKernels as PlainRoiKernels
from ..roi_grid import RoiGrid
from .launcher import C_TYPES, KernelLauncher, contiguous, types

__all__ = ["RoiKernels"]

CHANNELS = 8  # as in roi.cu


class RoiKernels(KernelLauncher, PlainRoiKernels):
    """The arguments and results are those of `backend/plain/roi.py`."""

    xp: Any

    def roi_align(self, x: Array, rois: Array, grid: RoiGrid) -> Array:
        xp = self.xp
        out = xp.empty((len(rois), x.shape[1], *grid.bins), x.dtype)
        if out.size == 0:
            return out
        rois, defines = contiguous(xp, rois), _defines(x.dtype, x.size)
        rows, row_ranges, _ = self._weights(rois, 0, grid, x.shape[2], defines)
        columns, column_ranges, _ = self._weights(rois, 1, grid, x.shape[3], defines)
        args = (
            contiguous(xp, x), rois, rows, row_ranges, columns, column_ranges, out,
            *x.shape, *grid.bins,
        )  # fmt: skip
        self.launch_each("roi.cu", "mdl_roi_align", out.size, args, **defines)
        return out

    def roi_align_adjoint(
        self, grad: Array, rois: Array, grid: RoiGrid, shape: tuple[int, int, int, int]
    ) -> Array:
        xp = self.xp
        if 0 in (*shape, *grad.shape):
            return xp.zeros(shape, grad.dtype)
        out = xp.empty(shape, grad.dtype)
        images, channels, height, width = shape
        rois, defines = contiguous(xp, rois), _defines(grad.dtype, out.size)
        rows, _, row_spans = self._weights(rois, 0, grid, height, defines)
        columns, _, column_spans = self._weights(rois, 1, grid, width, defines)
        count = images * -(-channels // CHANNELS) * height * width
        args = (
            contiguous(xp, grad), rois, rows, row_spans, columns, column_spans, out, len(rois),
            *shape[1:], *grid.bins,
        )  # fmt: skip
        self.launch_each("roi.cu", "mdl_roi_align_adjoint", count, args, **defines)
        return out

    def _weights(
        self, rois: Array, axis: int, grid: RoiGrid, size: int, defines: dict[str, str]
    ) -> tuple[Array, Array, Array]:
        """A matrix for each box, the pixels that each bin touches, and those of the whole box."""
        xp, count, bins = self.xp, len(rois), grid.bins[axis]
        weights = xp.zeros((count, bins, size), rois.dtype)
        ranges, spans = xp.empty((count, bins, 2), np.int32), xp.empty((count, 2), np.int32)
        args = (
            rois, weights, ranges, spans, axis, bins, size, grid.scale,
            0.5 if grid.aligned else 0.0, int(grid.aligned), grid.samples,
        )  # fmt: skip
        self.launch_each("roi.cu", "mdl_roi_weights", count, args, **defines)
        return weights, ranges, spans

    def roi_pool(
        self, x: Array, rois: Array, grid: RoiGrid, indices: bool
    ) -> tuple[Array, Array | None]:
        xp = self.xp
        values = xp.empty((len(rois), x.shape[1], *grid.bins), x.dtype)
        places = xp.empty(values.shape, index_dtype(x.size)) if indices else None
        if values.size == 0:
            return values, places
        args = (
            contiguous(xp, x), contiguous(xp, rois), values, places, int(indices), *x.shape,
            *grid.bins, grid.scale,
        )  # fmt: skip
        defines = _defines(x.dtype, x.size)
        self.launch_each("roi.cu", "mdl_roi_pool", values.size, args, **defines)
        return values, places


def _defines(dtype: Any, size: int) -> dict[str, str]:
    return {**types(dtype)[0], "place_t": C_TYPES[np.dtype(index_dtype(size))]}
