"""RoIAlign, its adjoint and RoIPool, plain form.

RoIAlign is separable (He et al. 2017, "Mask R-CNN", section 3): a bin is a mean of interpolated
samples on a regular grid, so for each box there are two small matrices with

    out = A_y F A_x^T        for every channel F,        and its adjoint is        A_y^T G A_x.

Which image a box is on is known to the device only, and asking would mean waiting. So here every
image is pooled with every box, and then the right ones are chosen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..roi_grid import RoiGrid, align_weights, pool_windows
from .pool import index_dtype

__all__ = ["RoiKernels"]


class RoiKernels:
    """Regions of interest of a batch of feature maps, brought to one size."""

    xp: Any

    def roi_align(self, x: Any, rois: Any, grid: RoiGrid) -> Any:
        """The mean of interpolated samples in every bin of every box.

        Args:
            x: (N, C, H, W).
            rois: (K, 5): image and corners (n, x1, y1, x2, y2), float64 for x of float64, else
                float32.

        Returns:
            (K, C, ph, pw) of x's dtype. A NaN or infinity under a box may spread over its bins.
        """
        xp = self.xp
        (_, channels, height, width), count = x.shape, len(rois)
        shape = (count, channels, *grid.bins)
        out = xp.zeros(shape, rois.dtype)
        if 0 in (*x.shape, *shape):
            return out.astype(x.dtype)
        rows, columns = self._matrices(rois, grid, (height, width))
        for n, image in enumerate(x.astype(rois.dtype, copy=False)):
            plane = image.transpose(1, 0, 2).reshape(height, channels * width)
            mixed = xp.matmul(rows.reshape(-1, height), plane)  # (K ph, C W)
            mixed = mixed.reshape(count, grid.bins[0] * channels, width)
            mixed = xp.matmul(mixed, columns.transpose(0, 2, 1))  # (K, ph C, pw)
            mixed = mixed.reshape(count, grid.bins[0], channels, grid.bins[1])
            out = xp.where(_on_image(rois, n), mixed.transpose(0, 2, 1, 3), out)
        return out.astype(x.dtype, copy=False)

    def roi_align_adjoint(
        self, grad: Any, rois: Any, grid: RoiGrid, shape: tuple[int, int, int, int]
    ) -> Any:
        """The adjoint of `roi_align`: every bin's number spread over the pixels it came from.

        Args:
            grad: (K, C, ph, pw).
            shape: (N, C, H, W), of the map.

        Returns:
            Zeros of `shape`, with the boxes added, of grad's dtype.
        """
        xp = self.xp
        (images, channels, height, width), count = shape, len(rois)
        out = xp.zeros(shape, grad.dtype)
        if 0 in (*shape, *grad.shape):
            return out
        rows, columns = self._matrices(rois, grid, (height, width))
        wide = grad.astype(rois.dtype, copy=False)
        for n in range(images):
            mine = xp.where(_on_image(rois, n), wide, 0.0).transpose(0, 2, 1, 3)
            mine = mine.reshape(count, grid.bins[0] * channels, grid.bins[1])
            spread = xp.matmul(mine, columns)  # (K, ph C, W)
            spread = spread.reshape(count * grid.bins[0], channels * width)
            plane = xp.matmul(rows.reshape(-1, height).T, spread)  # (H, C W)
            plane = plane.reshape(height, channels, width).transpose(1, 0, 2)
            out[n] = plane.astype(grad.dtype, copy=False)
        return out

    def _matrices(self, rois: Any, grid: RoiGrid, size: tuple[int, int]) -> tuple[Any, Any]:
        """A_y (K, ph, H) and A_x (K, pw, W)."""
        xp = self.xp
        rows, columns = [
            align_weights(xp, rois, axis, grid, xp.arange(n, dtype=rois.dtype), n)
            for axis, n in enumerate(size)
        ]
        return rows, columns

    def roi_pool(self, x: Any, rois: Any, grid: RoiGrid, indices: bool) -> tuple[Any, Any]:
        """The largest pixel in every bin of every box, and where it was.

        Args:
            x: (N, C, H, W).
            rois: (K, 5), as in `roi_align`.
            indices: whether to look for the places too.

        Returns:
            values (K, C, ph, pw) and places of that shape, indices into the flat x, or None. Of
            equal pixels the first in reading order counts; a NaN is larger than all others. A bin
            outside of the image has value 0 and place -1.
        """
        xp = self.xp
        (images, channels, height, width), count = x.shape, len(rois)
        shape = (count, channels, *grid.bins)
        values = xp.zeros(shape, x.dtype)
        places = xp.full(shape, -1, index_dtype(x.size))
        if 0 in (*x.shape, *shape):
            return values, places if indices else None
        windows = [pool_windows(xp, rois, axis, grid, x.shape[2 + axis], True) for axis in (0, 1)]
        (rows, columns) = [
            (xp.arange(n) >= start[:, :, None]) & (xp.arange(n) < stop[:, :, None])
            for n, (start, stop) in zip((height, width), windows, strict=True)
        ]  # (K, bins, n)
        image = xp.clip(rois[:, 0].astype(np.int64), 0, images - 1)
        plane = xp.take(x, image, axis=0).reshape(count, channels, height * width)
        base = (image[:, None] * channels + xp.arange(channels)) * (height * width)
        for i in range(grid.bins[0]):
            for j in range(grid.bins[1]):
                inside = rows[:, i, :, None] & columns[:, j, None, :]
                inside = inside.reshape(count, 1, height * width)
                pixel = xp.where(inside, plane, -np.inf).argmax(axis=-1)  # (K, C)
                # Where all that is inside is -inf, the largest may have been found outside.
                within = xp.take_along_axis(inside[:, 0], pixel, axis=1)
                pixel = xp.where(within, pixel, inside.argmax(axis=-1))
                found = inside.any(axis=-1)
                value = xp.take_along_axis(plane, pixel[:, :, None], axis=2)[:, :, 0]
                values[:, :, i, j] = xp.where(found, value, 0.0)
                places[:, :, i, j] = xp.where(found, base + pixel, -1)
        return values, places if indices else None


def _on_image(rois: Any, n: int) -> Any:
    return (rois[:, 0] == n)[:, None, None, None]
