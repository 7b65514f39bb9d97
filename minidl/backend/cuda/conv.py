"""Convolution on the GPU: the implicit matrix products of kernels/conv.cu.

The three faces are two kernels: forward and the gradient to the input gather pixels by a table of
taps, the gradient to the weight sums over all pixels in parts. cuDNN is not needed. Depthwise
convolution has kernels of its own, and what tensor cores may compute goes to cuBLAS (columns.py).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..base import Array
from ..geometry import ConvGeometry
from .columns import ColumnKernels
from .depthwise import DepthwiseKernels, is_depthwise
from .launcher import contiguous, types

__all__ = ["ConvKernels"]

TABLES = 1024  # tables of taps that are kept: of up to 100 kB each

Size = tuple[int, int]


class ConvKernels(ColumnKernels, DepthwiseKernels):
    xp: Any

    def conv_forward(
        self, x: Array, w: Array, geometry: ConvGeometry, bias: Array | None = None
    ) -> Array:
        if is_depthwise(w.shape, geometry):
            return self.depthwise_forward(x, w, geometry, bias)
        if x.size and w.size and self.by_columns(x.dtype):
            return self.columns_forward(x, w, geometry, bias)
        groups = geometry.groups
        size = geometry.output_size(x.shape[2:])
        out = self.xp.empty((x.shape[0], w.shape[0], *size), x.dtype)
        (top, _), (left, _) = geometry.padding
        taps = _taps(w.shape[1], *x.shape[2:], geometry.kernel, geometry.dilation, False)
        rows, depth = w.shape[0] // groups, int(np.prod(w.shape[1:]))
        self._gather(
            x, w, taps, bias, out, rows, depth, groups, geometry.stride, (-top, -left), (1, 1)
        )
        return out

    def conv_input_grad(self, g: Array, w: Array, geometry: ConvGeometry, size: Size) -> Array:
        if is_depthwise(w.shape, geometry):
            return self.depthwise_input_grad(g, w, geometry, size)
        if g.size and w.size and self.by_columns(g.dtype):
            return self.columns_input_grad(g, w, geometry, size)
        groups = geometry.groups
        channels = w.shape[1]
        out = self.xp.empty((g.shape[0], groups * channels, *size), g.dtype)
        (top, _), (left, _) = geometry.padding
        # (groups, O / groups, C / groups, kh kw) -> (groups, C / groups, O / groups, kh kw)
        turned = w.reshape(groups, w.shape[0] // groups, channels, -1).transpose(0, 2, 1, 3)
        depth = turned.shape[2] * turned.shape[3]
        taps = _taps(turned.shape[2], *g.shape[2:], geometry.kernel, geometry.dilation, True)
        self._gather(
            g, turned, taps, None, out, channels, depth, groups, (1, 1), (top, left),
            geometry.stride,
        )  # fmt: skip
        return out

    def _gather(
        self,
        source: Array,
        matrix: Array,
        taps: np.ndarray,
        bias: Array | None,
        out: Array,
        rows: int,
        depth: int,
        groups: int,
        step: Size,
        start: Size,
        part: Size,
    ) -> None:
        xp = self.xp
        if out.size == 0:
            return
        bm, bn, bk, tm, tn = tile(rows)
        batch, (height, width) = out.shape[0], out.shape[2:]
        grid = (-(-batch * height * width // bn), -(-rows // bm), groups)
        args = (
            contiguous(xp, source), contiguous(xp, matrix), self._on_device(taps),
            None if bias is None else contiguous(xp, bias), out, int(bias is not None), batch,
            source.shape[1] // groups, *source.shape[2:], rows, depth, height, width,
            *step, *start, *part,
        )  # fmt: skip
        self.launch(
            "conv.cu", "mdl_conv_gather", grid, (bm // tm * (bn // tn),), args,
            **types(out.dtype)[0], BM=bm, BN=bn, BK=bk, TM=tm, TN=tn,
        )  # fmt: skip

    def conv_weight_grad(self, x: Array, g: Array, geometry: ConvGeometry) -> Array:
        xp, groups = self.xp, geometry.groups
        channels, rows = x.shape[1] // groups, g.shape[1] // groups
        depth = channels * geometry.kernel[0] * geometry.kernel[1]
        out = xp.zeros((g.shape[1], channels, *geometry.kernel), x.dtype)
        if is_depthwise(out.shape, geometry):
            return self.depthwise_weight_grad(x, g, geometry)
        if x.size and g.size and self.by_columns(x.dtype):
            return self.columns_weight_grad(x, g, geometry)
        pixels = g.shape[0] * g.shape[2] * g.shape[3]
        if out.size == 0 or pixels == 0:
            return out
        bm, bn, bk, tm, tn = tile(rows)
        bn = min(bn, 64)
        tn = min(tn, 4)
        bk = 16
        threads = bm // tm * (bn // tn)
        tiles = -(-rows // bm) * -(-depth // bn) * groups
        # Enough blocks to fill a large GPU several times, each with some work for its launch.
        splits = max(1, min(1024 // tiles, pixels // (bk * 16), 65535 // groups))
        defines, wide = types(out.dtype)
        parts = xp.empty((splits, *out.shape), wide)
        (top, _), (left, _) = geometry.padding
        taps = _taps(channels, *x.shape[2:], geometry.kernel, geometry.dilation, False)
        args = (
            contiguous(xp, g), contiguous(xp, x), self._on_device(taps), parts, x.shape[0], groups,
            channels, *x.shape[2:], rows, depth, *g.shape[2:], *geometry.stride, -top, -left,
            splits,
        )  # fmt: skip
        options = {**defines, "BM": bm, "BN": bn, "BK": bk, "TM": tm, "TN": tn}
        grid = (-(-depth // bn), -(-rows // bm), groups * splits)
        self.launch("conv.cu", "mdl_conv_weight_grad", grid, (threads,), args, **options)
        count = out.size
        blocks = min(-(-count // 256), 1024)
        self.launch(
            "conv.cu", "mdl_conv_add_splits", (blocks,), (256,), (parts, out, splits, count),
            **options,
        )  # fmt: skip
        return out

    def _on_device(self, taps: np.ndarray) -> Array:
        """The table of taps, uploaded once. (Images of many sizes need many tables.)"""
        cache: dict[Any, Any] = self.__dict__.setdefault("_tables", {})
        key = (id(taps), self.current_device())
        entry = cache.get(key)
        if entry is None:
            if len(cache) == TABLES:
                cache.clear()
            entry = cache[key] = (taps, self.xp.asarray(taps))  # `taps` kept, so that id stays its
        return entry[1]


def tile(rows: int) -> tuple[int, int, int, int, int]:
    """BM, BN, BK, TM, TN for a matrix of so many rows: none wasted on a layer with few channels."""
    if rows <= 16:
        return 16, 256, 16, 4, 4
    if rows <= 32:
        return 32, 128, 16, 4, 4
    if rows <= 64:
        return 64, 64, 16, 4, 4
    return 128, 128, 8, 8, 8


@lru_cache(maxsize=TABLES)
def _taps(
    channels: int, height: int, width: int, kernel: Size, dilation: Size, mirrored: bool
) -> np.ndarray:
    """(channels kh kw, 3) int32: where each term of the sum lies, as the kernels want it."""
    sign = -1 if mirrored else 1
    c, r, s = np.indices((channels, *kernel)).reshape(3, -1)
    table = [c * height * width, sign * r * dilation[0], sign * s * dilation[1]]
    return np.ascontiguousarray(np.stack(table, axis=1), dtype=np.int32)
