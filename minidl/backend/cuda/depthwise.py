"""Depthwise convolution on the GPU: kernels/depthwise.cu and kernels/depthwise_weight.cu."""

from __future__ import annotations

from typing import Any

from ..base import Array
from ..geometry import ConvGeometry
from .launcher import KernelLauncher, contiguous, types

__all__ = ["DepthwiseKernels", "is_depthwise"]

THREADS = 128
BLOCKS = 2048  # for the gradient to the weight, in all
TAPS = 49  # a thread keeps the sums of so many in registers, at most
FILTERS = 4  # a channel; with more of them, a matrix product reads the image less often


def is_depthwise(shape: tuple[int, ...], geometry: ConvGeometry) -> bool:
    """Whether weights (O, C / groups, kh, kw) are better served by the kernels of this file."""
    (kh, kw), groups = geometry.kernel, geometry.groups
    fits = kh * kw <= TAPS and shape[0] <= 65535
    return fits and groups > 1 and shape[1] == 1 and shape[0] <= FILTERS * groups


class DepthwiseKernels(KernelLauncher):
    """The faces of convolution for one channel a group; arguments as in `backend/plain/conv.py`."""

    xp: Any

    def depthwise_forward(
        self, x: Array, w: Array, geometry: ConvGeometry, bias: Array | None
    ) -> Array:
        xp = self.xp
        size = geometry.output_size(x.shape[2:])
        out = xp.empty((x.shape[0], w.shape[0], *size), x.dtype)
        args = (
            contiguous(xp, x), contiguous(xp, w), None if bias is None else contiguous(xp, bias),
            out, int(bias is not None), x.shape[1], w.shape[0] // x.shape[1], *x.shape[2:], *size,
            *_way(geometry),
        )  # fmt: skip
        self.launch_each("depthwise.cu", "mdl_depthwise", out.size, args, **_defines(x, geometry))
        return out

    def depthwise_input_grad(
        self, g: Array, w: Array, geometry: ConvGeometry, size: tuple[int, int]
    ) -> Array:
        xp, channels = self.xp, geometry.groups
        out = xp.empty((g.shape[0], channels, *size), g.dtype)
        args = (
            contiguous(xp, g), contiguous(xp, w), out, channels, w.shape[0] // channels, *size,
            *g.shape[2:], *_way(geometry),
        )  # fmt: skip
        kernel = "mdl_depthwise_input_grad"
        self.launch_each("depthwise.cu", kernel, out.size, args, **_defines(g, geometry))
        return out

    def depthwise_weight_grad(self, x: Array, g: Array, geometry: ConvGeometry) -> Array:
        xp, channels, filters = self.xp, x.shape[1], g.shape[1]
        shape = (filters, 1, *geometry.kernel)
        pixels = g.shape[0] * g.shape[2] * g.shape[3]
        if pixels == 0 or filters == 0:
            return xp.zeros(shape, x.dtype)
        splits = max(1, min(-(-pixels // (4 * THREADS)), BLOCKS // filters))
        parts = xp.empty((splits, *shape), types(x.dtype)[1])
        args = (
            contiguous(xp, g), contiguous(xp, x), parts, x.shape[0], channels, filters // channels,
            *x.shape[2:], *g.shape[2:], *_way(geometry),
        )  # fmt: skip
        self.launch(
            "depthwise_weight.cu", "mdl_depthwise_weight_grad", (splits, filters), (THREADS,), args,
            **_defines(x, geometry),
        )  # fmt: skip
        return parts.sum(axis=0).astype(x.dtype, copy=False)


def _defines(x: Array, geometry: ConvGeometry) -> dict[str, Any]:
    return {**types(x.dtype)[0], "KH": geometry.kernel[0], "KW": geometry.kernel[1]}


def _way(geometry: ConvGeometry) -> tuple[int, ...]:
    (top, _), (left, _) = geometry.padding
    return (*geometry.stride, top, left, *geometry.dilation)
