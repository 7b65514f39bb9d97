"""Convolution as matrix products by cuBLAS: kernels/im2col.cu, and back.

Tensor cores multiply 16-bit numbers, and float32 as TF32, ten times as fast as the other cores
multiply float32. They are cuBLAS's (and cuDNN's) to use, so where they may be used the windows are
laid out as a matrix (C kh kw, N Ho Wo), though that writes and reads kh kw times the image. In
float32 proper the implicit products of conv.cu, which write no matrix, are the better way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..base import Array
from ..geometry import ConvGeometry
from ..precision import cudnn as switches
from .launcher import contiguous, is_real, types
from .linalg import LinalgKernels

__all__ = ["ColumnKernels"]

COLUMN_BYTES = 1 << 28  # of a matrix of windows at a time: 256 MB

Size = tuple[int, int]


class ColumnKernels(LinalgKernels):
    """The three faces by matrix products; arguments as in `backend/plain/conv.py`."""

    def by_columns(self, dtype: Any) -> bool:
        """Whether tensor cores may compute a convolution of this dtype."""
        return is_real(dtype) and (
            dtype.itemsize == 2 or (dtype == np.float32 and switches.allow_tf32)
        )

    def columns_forward(
        self, x: Array, w: Array, geometry: ConvGeometry, bias: Array | None
    ) -> Array:
        size = geometry.output_size(x.shape[2:])
        y = self.xp.empty((x.shape[0], w.shape[0], *size), x.dtype)
        matrix = w.reshape(geometry.groups, w.shape[0] // geometry.groups, -1)
        if _is_pointwise(geometry):  # the image is the matrix
            pixels = x.reshape(*x.shape[:2], -1)
            y = self.product(matrix, pixels, switches.allow_tf32).reshape(y.shape)
        else:
            for images in self._images(x, geometry, size):
                columns = self._columns(contiguous(self.xp, x[images]), geometry, size)
                product = self.product(matrix, columns, switches.allow_tf32)
                # (O, N, Ho Wo) -> (N, O, Ho Wo)
                part = product.reshape(w.shape[0], -1, *size).transpose(1, 0, 2, 3)
                y[images] = part
        if bias is not None:
            y += bias[:, None, None]
        return y

    def columns_input_grad(self, g: Array, w: Array, geometry: ConvGeometry, size: Size) -> Array:
        shape = (g.shape[0], geometry.groups * w.shape[1], *size)
        matrix = w.reshape(geometry.groups, w.shape[0] // geometry.groups, -1).swapaxes(1, 2)
        if _is_pointwise(geometry):
            pixels = g.reshape(*g.shape[:2], -1)
            return self.product(matrix, pixels, switches.allow_tf32).reshape(shape)
        dx = self.xp.empty(shape, g.dtype)
        for images in self._images(dx, geometry, g.shape[2:]):
            rows = self._by_channel(g[images], geometry)
            columns = self.product(matrix, rows, switches.allow_tf32)
            self._fold(columns, dx[images], geometry, g.shape[2:])
        return dx

    def columns_weight_grad(self, x: Array, g: Array, geometry: ConvGeometry) -> Array:
        shape = (g.shape[1], x.shape[1] // geometry.groups, *geometry.kernel)
        total: Any = None
        for images in self._images(x, geometry, g.shape[2:]):
            rows = self._by_channel(g[images], geometry)
            columns = self._columns(contiguous(self.xp, x[images]), geometry, g.shape[2:])
            part = self.product(rows, columns.swapaxes(1, 2), switches.allow_tf32)
            if total is None and images.stop >= len(x):
                return part.reshape(shape)
            part = part.astype(types(x.dtype)[1], copy=False)
            total = part if total is None else total + part
        return total.reshape(shape).astype(x.dtype, copy=False)

    def _images(self, x: Array, geometry: ConvGeometry, size: Size) -> Iterator[slice]:
        """Slices of the batch whose columns fit into COLUMN_BYTES."""
        kh, kw = geometry.kernel
        each = x.shape[1] * kh * kw * size[0] * size[1] * x.dtype.itemsize
        count = max(1, COLUMN_BYTES // each)
        return (slice(first, first + count) for first in range(0, len(x), count))

    def _by_channel(self, g: Array, geometry: ConvGeometry) -> Array:
        """(N, O, Ho, Wo) as (groups, O / groups, N Ho Wo)."""
        rows = self.xp.ascontiguousarray(g.transpose(1, 0, 2, 3))
        return rows.reshape(geometry.groups, g.shape[1] // geometry.groups, -1)

    def _columns(self, x: Array, geometry: ConvGeometry, size: Size) -> Array:
        """(groups, C / groups kh kw, N Ho Wo) of x (N, C, H, W), in C order."""
        kh, kw = geometry.kernel
        columns = self.xp.empty((x.shape[1] * kh * kw, len(x), *size), x.dtype)
        args = (x, columns, *x.shape, *size, *_way(geometry))
        self.launch_each("im2col.cu", "mdl_im2col", columns.size, args, **types(x.dtype)[0])
        return columns.reshape(geometry.groups, -1, len(x) * size[0] * size[1])

    def _fold(self, columns: Array, x: Array, geometry: ConvGeometry, size: Size) -> None:
        """The adjoint of `_columns`, into x (N, C, H, W)."""
        args = (columns, x, *x.shape, *size, *_way(geometry))
        self.launch_each("im2col.cu", "mdl_col2im", x.size, args, **types(x.dtype)[0])


def _is_pointwise(geometry: ConvGeometry) -> bool:
    plain = geometry.kernel == geometry.stride == (1, 1) and geometry.groups == 1
    return plain and geometry.padding == ((0, 0), (0, 0))


def _way(geometry: ConvGeometry) -> tuple[int, ...]:
    (top, _), (left, _) = geometry.padding
    return (*geometry.kernel, *geometry.stride, top, left, *geometry.dilation)
