"""Softmax and its logarithm along one dimension, and their gradients. Formulas: ops/softmax.py."""

from __future__ import annotations

from typing import Any

from .norm import quiet, wide_dtype

__all__ = ["SoftmaxKernels"]

Array = Any


class SoftmaxKernels:
    """Each takes arrays of any shape and returns one of that shape and dtype, computed in float32
    or wider."""

    xp: Any

    @quiet
    def softmax(self, x: Array, dim: int, log: bool) -> Array:
        """softmax(x), or log softmax(x), along dimension `dim`, which is not empty."""
        xp = self.xp
        y = x.astype(wide_dtype(x.dtype), copy=False)
        y = y - y.max(axis=dim, keepdims=True)
        if log:
            y -= xp.log(self._total(xp.exp(y), dim))
        else:
            xp.exp(y, out=y)
            y /= self._total(y, dim)
        return y.astype(x.dtype, copy=False)

    @quiet
    def softmax_grad(self, y: Array, grad: Array, dim: int, log: bool) -> Array:
        """The gradient to x, given the result y and the gradient to it."""
        wide = wide_dtype(y.dtype)
        p, g = y.astype(wide, copy=False), grad.astype(wide, copy=False)
        if log:
            dx = g - self.xp.exp(p) * self._total(g, dim)
        else:
            dx = p * (g - self._total(g * p, dim))
        return dx.astype(y.dtype, copy=False)

    def _total(self, x: Array, dim: int) -> Array:
        return self.sum(x, (dim,), True)  # type: ignore[attr-defined]
