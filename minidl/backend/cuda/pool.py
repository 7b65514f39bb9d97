"""Max-pooling on the GPU: the kernels of kernels/pool.cu."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import Array
from ..geometry import ConvGeometry
from ..plain.pool import PoolKernels as PlainPoolKernels
from ..plain.pool import index_dtype, lowest
from .indexing import sums
from .launcher import C_TYPES, KernelLauncher, contiguous, is_real, types

__all__ = ["PoolKernels"]


class PoolKernels(KernelLauncher, PlainPoolKernels):
    """The arguments and results are those of `backend/plain/pool.py`; other than floats go there.

    Where windows overlap, `pool_scatter` adds in any order, and more than two additions to one
    place may differ in the last bit from run to run; not under `deterministic`.
    """

    xp: Any

    def max_pool(self, x: Array, geometry: ConvGeometry, indices: bool) -> tuple[Any, Any]:
        if not is_real(x.dtype):
            return super().max_pool(x, geometry, indices)
        xp = self.xp
        (top, _), (left, _) = geometry.padding
        size = geometry.output_size(x.shape[1:])
        values = xp.empty((x.shape[0], *size), x.dtype)
        dtype = index_dtype(x.shape[1] * x.shape[2])
        places = xp.empty(values.shape, dtype) if indices else None
        args = (
            contiguous(xp, x), values, places, int(indices), *x.shape[1:], *size, *geometry.kernel,
            *geometry.stride, top, left, *geometry.dilation, lowest(x.dtype),
        )  # fmt: skip
        self.launch_each("pool.cu", "mdl_max_pool", values.size, args, **_types(x, dtype))
        return values, places

    def pool_gather(self, x: Array, indices: Array) -> Array:
        if not is_real(x.dtype):
            return super().pool_gather(x, indices)
        xp = self.xp
        out = xp.empty(indices.shape, x.dtype)
        args = (contiguous(xp, x), contiguous(xp, indices), out, x.shape[1], indices.shape[1])
        self.launch_each("pool.cu", "mdl_pool_gather", out.size, args, **_types(x, indices.dtype))
        return out

    def pool_scatter(self, x: Array, indices: Array, size: int) -> Array:
        if not is_real(x.dtype) or sums.deterministic:
            return super().pool_scatter(x, indices, size)
        xp = self.xp
        out = xp.zeros((x.shape[0], size), x.dtype)
        args = (contiguous(xp, x), contiguous(xp, indices), out, size, indices.shape[1])
        self.launch_each("pool.cu", "mdl_pool_scatter", x.size, args, **_types(x, indices.dtype))
        return out


def _types(x: Array, index: Any) -> dict[str, str]:
    return {**types(x.dtype)[0], "place_t": C_TYPES[np.dtype(index)]}
