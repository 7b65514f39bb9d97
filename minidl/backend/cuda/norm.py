"""Batch normalisation on the GPU: the kernels of kernels/norm.cu."""

from __future__ import annotations

from typing import Any

from ..base import Array
from ..plain.norm import NormKernels as PlainNormKernels
from .launcher import KernelLauncher, contiguous, is_real, types

__all__ = ["NormKernels"]

THREADS = 256
BLOCKS = 1024  # in all: several for each multiprocessor of a large GPU


class NormKernels(KernelLauncher, PlainNormKernels):
    """The arguments and results are those of `backend/plain/norm.py`."""

    xp: Any

    def batch_norm(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        eps: float,
        ceiling: float | None = None,
    ) -> tuple[Array, Array, Array]:
        if _is_plain(x):
            return super().batch_norm(x, weight, bias, eps, ceiling)
        xp = self.xp
        batch, channels, length = x.shape
        defines, wide = types(x.dtype)
        x = contiguous(xp, x)
        splits = _share(batch * length, channels)
        parts = xp.empty((2, splits, channels), wide)
        y, mean, var = xp.empty_like(x), xp.empty(channels, wide), xp.empty(channels, wide)
        grid = (splits, channels)
        self.launch("norm.cu", "mdl_norm_sums", grid, (THREADS,), (x, parts, *x.shape), **defines)
        args = (
            x, parts, _of(xp, weight, wide), _of(xp, bias, wide), y, mean, var,
            int(weight is not None), int(bias is not None), int(ceiling is not None), splits,
            *x.shape, eps, 0.0 if ceiling is None else ceiling,
        )  # fmt: skip
        self.launch("norm.cu", "mdl_norm_apply", grid, (THREADS,), args, **defines)
        return y, mean, var

    def batch_norm_grad(
        self,
        grad: Array,
        x: Array,
        weight: Array | None,
        mean: Array,
        invstd: Array,
        rectified: Array | None = None,
        ceiling: float | None = None,
    ) -> tuple[Array, Array, Array]:
        if _is_plain(x):
            return super().batch_norm_grad(grad, x, weight, mean, invstd, rectified, ceiling)
        xp = self.xp
        batch, channels, length = x.shape
        defines, wide = types(x.dtype)
        grad, x = contiguous(xp, grad), contiguous(xp, x)
        mean, invstd = _of(xp, mean, wide), _of(xp, invstd, wide)
        if rectified is not None:
            rectified = contiguous(xp, rectified)
        splits = _share(batch * length, channels)
        parts = xp.empty((2, splits, channels), wide)
        dx = xp.empty_like(x)
        weight_grad, bias_grad = xp.empty(channels, wide), xp.empty(channels, wide)
        grid, has_relu = (splits, channels), int(rectified is not None)
        top = 0.0 if ceiling is None else ceiling
        args = (grad, x, rectified, mean, invstd, parts, has_relu, *x.shape, top)
        self.launch("norm.cu", "mdl_norm_grad_sums", grid, (THREADS,), args, **defines)
        weight = _of(xp, weight, wide)
        args = (
            grad, x, rectified, mean, invstd, weight, parts, dx, weight_grad, bias_grad, has_relu,
            int(weight is not None), splits, *x.shape, top,
        )  # fmt: skip
        self.launch("norm.cu", "mdl_norm_grad_apply", grid, (THREADS,), args, **defines)
        return dx, weight_grad, bias_grad


def _is_plain(x: Array) -> bool:
    """Whether the plain kernels must do: nothing to add up, or too much for the grid or 32 bits."""
    too_large = x.shape[1] > 65535 or x.shape[0] * x.shape[2] >= 2**31
    return too_large or x.size == 0 or not is_real(x.dtype)


def _share(numbers: int, channels: int) -> int:
    """Into how many blocks the numbers of a channel are divided."""
    return max(1, min(-(-numbers // (4 * THREADS)), BLOCKS // channels))


def _of(xp: Any, vector: Array | None, dtype: Any) -> Array | None:
    if vector is None:
        return None
    return contiguous(xp, vector.astype(dtype, copy=False))
