"""The cross entropy of a softmax on the GPU: kernels/cross_entropy.cu and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import Array
from ..plain.losses import LossKernels as PlainLossKernels
from .launcher import KernelLauncher, contiguous, is_real, types

__all__ = ["LossKernels"]

THREADS = 256
LANES = 32  # threads for one row, at most


class LossKernels(KernelLauncher, PlainLossKernels):
    """The arguments and results are those of `backend/plain/losses.py`."""

    xp: Any

    def cross_entropy(
        self,
        x: Array,
        target: Array,
        weight: Array | None,
        ignore_index: int,
        smoothing: float,
    ) -> tuple[Array, Array, Array]:
        if not is_real(x.dtype) or x.size == 0:
            return super().cross_entropy(x, target, weight, ignore_index, smoothing)
        xp = self.xp
        defines, wide = types(x.dtype)
        classes, length = x.shape[1:]
        loss, rows = xp.empty(target.shape, wide), xp.empty(target.shape, wide)
        p = xp.empty(x.shape, wide)
        lanes = _lanes(classes, length)
        args = (
            contiguous(xp, x), _of(xp, target, np.int64), _of(xp, weight, wide), loss, p, rows,
            int(weight is not None), ignore_index, smoothing, classes, length, target.size,
        )  # fmt: skip
        self.launch(
            "cross_entropy.cu", "mdl_cross_entropy", (-(-target.size * lanes // THREADS),),
            (THREADS,), args, **defines, LANES=lanes,
        )  # fmt: skip
        return loss, p, rows

    def cross_entropy_grad(
        self,
        p: Array,
        grad: Array,
        target: Array,
        weight: Array | None,
        ignore_index: int,
        smoothing: float,
    ) -> Array:
        xp = self.xp
        wide = p.dtype
        weight = _of(xp, weight, wide)
        average = None
        if weight is not None and smoothing:
            average = weight.mean().reshape(1)
        dx = xp.empty(p.shape, wide)
        args = (
            contiguous(xp, p), _of(xp, grad, wide), _of(xp, target, np.int64), weight, average, dx,
            int(weight is not None), ignore_index, smoothing, *p.shape[1:],
        )  # fmt: skip
        kernel = "mdl_cross_entropy_grad"
        self.launch_each("cross_entropy_grad.cu", kernel, dx.size, args, **types(wide)[0])
        return dx


def _lanes(classes: int, length: int) -> int:
    """How many threads share a row: one where rows lie side by side or have few classes."""
    lanes = 1
    while length == 1 and lanes < LANES and 8 * lanes <= classes:
        lanes *= 2
    return lanes


def _of(xp: Any, array: Array | None, dtype: Any) -> Array | None:
    return None if array is None else contiguous(xp, array.astype(dtype, copy=False))
