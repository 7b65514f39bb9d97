"""Activation functions on the GPU, each in one pass: the kernels of kernels/activation.cu.

`relu`, `where` and `masked` stay in their plain form: it is one kernel of CuPy's already.
"""

from __future__ import annotations

from typing import Any

from ..base import Array
from ..plain.activation import ActivationKernels as PlainActivationKernels
from .launcher import KernelLauncher, contiguous, types

__all__ = ["ActivationKernels"]


class ActivationKernels(KernelLauncher, PlainActivationKernels):
    """The arguments and results are those of `backend/plain/activation.py`."""

    xp: Any

    def sigmoid(self, x: Array) -> Array:
        return self._map("mdl_sigmoid", x)

    def gelu(self, x: Array) -> Array:
        return self._map("mdl_gelu", x)

    def gelu_slope(self, x: Array) -> Array:
        return self._map("mdl_gelu_slope", x)

    def silu(self, x: Array) -> Array:
        return self._map("mdl_silu", x)

    def silu_slope(self, x: Array) -> Array:
        return self._map("mdl_silu_slope", x)

    def softplus(self, x: Array) -> Array:
        return self._map("mdl_softplus", x)

    def mish(self, x: Array) -> Array:
        return self._map("mdl_mish", x)

    def hardswish(self, x: Array) -> Array:
        return self._map("mdl_hardswish", x)

    def hardswish_slope(self, x: Array) -> Array:
        return self._map("mdl_hardswish_slope", x)

    def _map(self, kernel: str, x: Array) -> Array:
        flat = contiguous(self.xp, x).reshape(-1)
        y = self.xp.empty(flat.shape, x.dtype)
        self.launch_each("activation.cu", kernel, flat.size, (flat, y), **types(x.dtype)[0])
        return y.reshape(x.shape)
