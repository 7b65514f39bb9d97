"""Resizing and average pooling on the GPU: the kernel of kernels/resample.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..axis_map import AxisMap
from ..base import Array
from ..plain.resample import Maps, in_order
from ..plain.resample import ResampleKernels as PlainResampleKernels
from .launcher import KernelLauncher, contiguous, is_real, types

__all__ = ["ResampleKernels"]

# Both axes at once take the product of their taps for each result, one after the other the sum,
# but an image in between. Bilinear enlarging has 4 taps, its gradient 16 at a factor of 2.
TAPS = 16


class ResampleKernels(KernelLauncher, PlainResampleKernels):
    """The arguments and results are those of `backend/plain/resample.py`."""

    xp: Any

    def resample(self, x: Array, maps: Maps) -> Array:
        vertical, horizontal = maps
        if not is_real(x.dtype) or (vertical is None and horizontal is None):
            return super().resample(x, maps)
        if _taps(vertical) * _taps(horizontal) <= TAPS:
            return self._resample(x, vertical, horizontal)
        dtype = x.dtype
        y = x.astype(types(dtype)[1], copy=False)  # not rounded to float16 in between
        for axis, map in in_order(maps):
            y = self._resample(y, map, None) if axis == 1 else self._resample(y, None, map)
        return y.astype(dtype, copy=False)

    def _resample(self, x: Array, vertical: AxisMap | None, horizontal: AxisMap | None) -> Array:
        defines, wide = types(x.dtype)
        height, width = x.shape[1:]
        rows = height if vertical is None else vertical.output_size
        columns = width if horizontal is None else horizontal.output_size
        y = self.xp.empty((x.shape[0], rows, columns), x.dtype)
        args = (
            contiguous(self.xp, x), *self._map_tables(vertical, wide),
            *self._map_tables(horizontal, wide), y, 0 if vertical is None else _taps(vertical),
            0 if horizontal is None else _taps(horizontal), height, width, rows, columns,
        )  # fmt: skip
        self.launch_each("resample.cu", "mdl_resample", y.size, args, **defines)
        return y

    def _map_tables(self, map: AxisMap | None, wide: Any) -> tuple[Array | None, Array | None]:
        """A map's indices (int32) and weights on the device, uploaded once."""
        if map is None:
            return None, None
        key = (self.xp, self.current_device(), wide)

        def upload() -> tuple[Array, Array]:
            indices = np.ascontiguousarray(map.indices, np.int32)
            weights = np.ascontiguousarray(map.weights, wide)
            return self.xp.asarray(indices), self.xp.asarray(weights)

        return map.keep(key, upload)


def _taps(map: AxisMap | None) -> int:
    return 1 if map is None else len(map.indices)
