"""Max-pooling and the gather and scatter that differentiate it, plain form.

All three work on stacks of planes: (P, H, W), or flat (P, H W). Where a maximum was found is kept
as an index into the flat plane; -1 means nowhere. Reading by these indices (gather) and adding by
them (scatter) are each other's adjoints: max-pooling, its gradient, max-unpooling and the gradient
of that are all one of the two.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..geometry import ConvGeometry

__all__ = ["PoolKernels", "index_dtype", "lowest"]


class PoolKernels:
    """Max-pooling with indices; gather and scatter by indices into planes."""

    xp: Any
    scatter_add: Any  # a kernel of IndexingKernels

    def max_pool(self, x: Any, geometry: ConvGeometry, indices: bool) -> tuple[Any, Any]:
        """The largest element in every window, and where it was.

        Args:
            x: planes (P, H, W).
            geometry: of the windows; padding never wins.
            indices: whether to look for the places too.

        Returns:
            values (P, Ho, Wo) and places (P, Ho, Wo) as indices into the flat plane, or None. Of
            equal elements the first in reading order counts, of several NaNs the last, as in
            torch. A window that meets no pixel has the lowest value and the place -1.
        """
        xp = self.xp
        (dh, dw), (kh, kw), (sh, sw) = geometry.dilation, geometry.kernel, geometry.stride
        (top, _), (left, _) = geometry.padding
        count, height, width = x.shape
        rows, columns = geometry.output_size((height, width))

        padded = xp.full((count, *geometry.padded_size((height, width))), lowest(x.dtype), x.dtype)
        padded[:, top : top + height, left : left + width] = x
        best = xp.full((count, rows, columns), lowest(x.dtype), x.dtype)
        if indices:
            place = xp.full(best.shape, -1, index_dtype(height * width))
        for a in range(kh):
            for b in range(kw):
                below = slice(a * dh, a * dh + (rows - 1) * sh + 1, sh)
                beside = slice(b * dw, b * dw + (columns - 1) * sw + 1, sw)
                tap = padded[:, below, beside]
                if not indices:
                    best = xp.maximum(best, tap)
                    continue
                row = xp.arange(rows)[:, None] * sh + (a * dh - top)
                column = xp.arange(columns) * sw + (b * dw - left)
                inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
                # place < 0: the first pixel of a window is taken even if it is -inf.
                better = inside & ((tap > best) | (tap != tap) | (place < 0))
                best = xp.where(better, tap, best)
                place = xp.where(better, (row * width + column).astype(place.dtype), place)
        return best, place if indices else None

    def pool_gather(self, x: Any, indices: Any) -> Any:
        """x[p, indices[p, o]] for planes x (P, K) and indices (P, O); 0 where the index is -1."""
        xp = self.xp
        taken = xp.take_along_axis(x, xp.maximum(indices, 0).astype(np.int64), axis=1)
        return xp.where(indices < 0, 0, taken).astype(x.dtype, copy=False)

    def pool_scatter(self, x: Any, indices: Any, size: int) -> Any:
        """Planes (P, size) of zeros, with x (P, O) added at indices (P, O); -1 adds nowhere."""
        xp = self.xp
        count = x.shape[0]
        out = xp.zeros((count, size), x.dtype)
        starts = xp.arange(count)[:, None] * size
        values = xp.where(indices < 0, 0, x).astype(x.dtype, copy=False)
        flat = xp.maximum(indices, 0).astype(np.int64) + starts
        self.scatter_add(out.reshape(-1), (flat.reshape(-1),), values.reshape(-1))
        return out

    def unique_indices(self, indices: Any, size: int) -> Any:
        """`indices` (P, O) into planes of `size`, with -1 for all but one of equal ones in a row.

        Which one is left: the last on the CPU; on a GPU it is not determined.
        """
        xp = self.xp
        count, each = indices.shape
        flat = (indices + xp.arange(count)[:, None] * size).reshape(-1)
        order = xp.arange(count * each)
        owner = xp.zeros(count * size, order.dtype)
        owner[flat] = order
        kept = (owner[flat] == order).reshape(count, each)
        return xp.where(kept, indices, -1).astype(index_dtype(size))


def lowest(dtype: Any) -> float | int:
    """The number that no other of the dtype is below."""
    dtype = np.dtype(dtype)
    return np.iinfo(dtype).min if dtype.kind in "iu" else -math.inf


def index_dtype(size: int) -> Any:
    """The smaller dtype that can number the elements of a plane of `size`."""
    return np.int32 if size < 2**31 else np.int64
