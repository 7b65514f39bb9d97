"""Linear maps along the axes of images (average pooling, resizing), plain form.

Both a map and its transpose gather: each output fetches the inputs it needs. Nothing is scattered,
so the sums have the same order, and the same bits, in every run.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..axis_map import AxisMap

__all__ = ["ResampleKernels", "in_order"]

Maps = tuple[AxisMap | None, AxisMap | None]


class ResampleKernels:
    """Y = A_y X A_x^T for every plane X of a stack."""

    xp: Any
    asarray: Any  # these two are Backend's own
    index_of: Any

    def resample(self, x: Any, maps: Maps) -> Any:
        """Every plane of `x` (P, H, W) under `maps` (vertical, horizontal); None leaves an axis.

        Returns:
            (P, outputs of the vertical map, outputs of the horizontal map), of x's dtype and
            never in x's memory. float16 is summed in float32.
        """
        dtype = x.dtype
        y = x.astype(np.float32) if dtype == np.float16 else x
        for axis, map in in_order(maps):
            y = self._along(y, axis, map)
        return x.copy() if y is x else y.astype(dtype, copy=False)

    def _along(self, x: Any, axis: int, map: AxisMap) -> Any:
        xp, device = self.xp, self.index_of(x)
        indices = map.keep(
            ("indices", xp, device), lambda: self.asarray(map.indices, np.int64, device)
        )
        if map.selects:
            return xp.take(x, indices[0], axis=axis)
        weights = map.keep(
            ("weights", xp, device, x.dtype), lambda: self.asarray(map.weights, x.dtype, device)
        )
        if axis == 1:
            weights = weights[:, :, None]
        taken = xp.take(x, indices, axis=axis)  # the axis has become two: (K, outputs)
        if map.ragged:  # 0 times infinity would be NaN
            taken = xp.where(weights != 0, taken, 0)
        return (taken * weights).sum(axis=axis, dtype=x.dtype)


def in_order(maps: Maps) -> list[tuple[int, AxisMap]]:
    """(axis, map) of the maps there are, in the order that takes the least work.

    Shrinking goes before growing. Rows are cheaper to work on than columns, so they are the axis
    that sees the larger image: rows shrink first and grow last.
    """
    steps = [(axis, map) for axis, map in zip((1, 2), maps, strict=True) if map is not None]
    growing = [(axis, map) for axis, map in steps if map.output_size > map.size]
    return [step for step in steps if step not in growing] + growing[::-1]
