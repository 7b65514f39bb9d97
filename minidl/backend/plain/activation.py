"""Activations that take many passes over their array, each in as few buffers as it can.

A `_slope` is the derivative of the function of that name. Formulas: `minidl/ops/activation.py`.
"""

from __future__ import annotations

import math
from typing import Any

from .elementwise import ElementwiseKernels

__all__ = ["ActivationKernels"]


class ActivationKernels(ElementwiseKernels):
    """Functions of one number: each takes an array, and returns one of its shape and dtype."""

    def gelu(self, x: Any) -> Any:
        y = self.erf(x * math.sqrt(0.5))
        y += 1
        y *= x
        y *= 0.5
        return y

    def gelu_slope(self, x: Any) -> Any:
        xp = self.xp
        y = self.erf(x * math.sqrt(0.5))
        y += 1
        y *= 0.5
        density = xp.multiply(x, x, out=xp.empty_like(x))
        density *= -0.5
        xp.exp(density, out=density)
        density *= x
        density *= 1 / math.sqrt(2 * math.pi)
        y += density
        return y

    def gelu_grad(self, grad: Any, x: Any, y: Any) -> Any:
        """The gradient to x, given the gradient to y = gelu(x)."""
        dx = self.gelu_slope(x)
        dx *= grad
        return dx

    def silu(self, x: Any) -> Any:
        y = self.sigmoid(x)
        y *= x
        return y

    def silu_slope(self, x: Any) -> Any:
        s = self.sigmoid(x)
        y = 1 - s
        y *= x
        y += 1
        y *= s
        return y

    def silu_grad(self, grad: Any, x: Any, y: Any) -> Any:
        """The gradient to x, given the gradient to y = silu(x)."""
        dx = self.silu_slope(x)
        dx *= grad
        return dx

    def softplus(self, x: Any) -> Any:
        """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|): neither overflows nor loses digits."""
        xp = self.xp
        y = xp.abs(x, out=xp.empty_like(x))
        xp.negative(y, out=y)
        xp.exp(y, out=y)
        xp.log1p(y, out=y)
        y += self.relu(x)
        return y

    def mish(self, x: Any) -> Any:
        y = self.softplus(x)
        self.xp.tanh(y, out=y)
        y *= x
        return y

    def hardswish(self, x: Any) -> Any:
        y = (x + 3).clip(0.0, 6.0)
        y *= x
        y /= 6
        return y

    def hardswish_slope(self, x: Any) -> Any:
        y = x / 3
        y += 0.5
        return self.where(x < 3, self.masked(y, x > -3), x.dtype.type(1))

    def hardswish_grad(self, grad: Any, x: Any) -> Any:
        """The gradient to x, given the gradient to hardswish(x)."""
        dx = self.hardswish_slope(x)
        dx *= grad
        return dx
