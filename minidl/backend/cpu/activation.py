"""Activations on NumPy: the plain kernels, piece by piece.

A piece stays in the cache from the first pass to the last, and the pieces are spread over the
threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..plain.activation import ActivationKernels
from ..quiet import quiet
from .planes import for_planes

__all__ = ["CpuActivationKernels"]


class CpuActivationKernels(ActivationKernels):
    def erf(self, x: Any) -> Any:
        return _in_pieces(super().erf, x)

    def sigmoid(self, x: Any) -> Any:
        return _in_pieces(super().sigmoid, x)

    def gelu(self, x: Any) -> Any:
        return _in_pieces(super().gelu, x)

    def gelu_slope(self, x: Any) -> Any:
        return _in_pieces(super().gelu_slope, x)

    def silu(self, x: Any) -> Any:
        return _in_pieces(super().silu, x)

    def silu_slope(self, x: Any) -> Any:
        return _in_pieces(super().silu_slope, x)

    def softplus(self, x: Any) -> Any:
        return _in_pieces(super().softplus, x)

    def mish(self, x: Any) -> Any:
        return _in_pieces(super().mish, x)

    def hardswish(self, x: Any) -> Any:
        return _in_pieces(super().hardswish, x)

    def hardswish_slope(self, x: Any) -> Any:
        return _in_pieces(super().hardswish_slope, x)


# Arrays with fewer elements are one piece.
FEW = 1 << 16
# How many arrays of the size of a piece share the cache: the input and one more.
BUFFERS = 2


def _in_pieces(kernel: Callable[[Any], Any], x: Any) -> Any:
    if x.size < FEW:
        return kernel(x)
    flat = np.ascontiguousarray(x).reshape(-1)
    y = np.empty(x.shape, x.dtype)
    parts = y.reshape(-1)

    @quiet  # the state of NumPy's warnings belongs to a thread
    def work(piece: slice) -> None:
        parts[piece] = kernel(flat[piece])

    for_planes(work, x.size, BUFFERS * x.itemsize)
    return y
