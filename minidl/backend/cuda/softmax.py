"""Softmax on the GPU, in one launch each way: the kernels of kernels/softmax.cu."""

from __future__ import annotations

import math
from typing import Any

from ..base import Array
from ..plain.softmax import SoftmaxKernels as PlainSoftmaxKernels
from .launcher import KernelLauncher, contiguous, is_real, types

__all__ = ["SoftmaxKernels"]

THREADS = 256  # of a block, as in softmax.cu
EACH = 4  # numbers that a lane takes at least, of a row that it shares


class SoftmaxKernels(KernelLauncher, PlainSoftmaxKernels):
    """The arguments and results are those of `backend/plain/softmax.py`."""

    xp: Any

    def softmax(self, x: Array, dim: int, log: bool) -> Array:
        if not is_real(x.dtype):
            return super().softmax(x, dim, log)
        y = self.xp.empty(x.shape, x.dtype)
        self._softmax("mdl_softmax", (contiguous(self.xp, x), y), dim, log)
        return y

    def softmax_grad(self, y: Array, grad: Array, dim: int, log: bool) -> Array:
        if not is_real(y.dtype):
            return super().softmax_grad(y, grad, dim, log)
        dx = self.xp.empty(y.shape, y.dtype)
        args = contiguous(self.xp, y), contiguous(self.xp, grad), dx
        self._softmax("mdl_softmax_grad", args, dim, log)
        return dx

    def _softmax(self, kernel: str, arrays: tuple[Array, ...], dim: int, log: bool) -> None:
        """Launch `kernel` over the rows along `dim` of contiguous arrays of one shape."""
        shape = arrays[0].shape
        classes, length = shape[dim], math.prod(shape[dim + 1 :])
        rows = math.prod(shape[:dim]) * length
        if rows == 0:
            return
        lanes = _lanes(classes, length)
        args = (*arrays, int(log), classes, length, rows)
        grid = (-(-rows * lanes // THREADS),)
        defines = types(arrays[0].dtype)[0]
        self.launch("softmax.cu", kernel, grid, (THREADS,), args, **defines, LANES=lanes)


def _lanes(classes: int, length: int) -> int:
    """How many threads share a row: one where rows lie side by side or are short, at most all."""
    lanes = 1
    while length == 1 and lanes < THREADS and 2 * EACH * lanes <= classes:
        lanes *= 2
    return lanes
