"""Functions of one number, applied to every element.

Where the derivative is a function of the result, the result is saved: it is kept alive by the next
operation anyway. The derivatives are written with differentiable operations, so that they can be
differentiated again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..autograd.tensor import wrap
from ..backend import of
from .autocast import autocasts
from .common import (
    as_float,
    as_tensor,
    astype,
    cast_like,
    check_broadcast,
    masked,
    operands,
    sum_to,
)

__all__ = [
    "abs",
    "absolute",
    "clamp",
    "clip",
    "cos",
    "erf",
    "exp",
    "expm1",
    "log",
    "log1p",
    "log2",
    "log10",
    "logsigmoid",
    "rsqrt",
    "sigmoid",
    "sin",
    "sqrt",
    "tan",
    "tanh",
]


class Exp(Function):
    """y = e^x.    d/dx = y"""

    def forward(self, x: Any) -> Any:
        y = of(x).xp.exp(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return grad * y


class Expm1(Function):
    """y = e^x - 1, exact for small x.    d/dx = y + 1"""

    def forward(self, x: Any) -> Any:
        y = of(x).xp.expm1(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return grad * (y + 1)


class Log(Function):
    """log(x) to the base e.    d/dx = 1 / x"""

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return of(x).xp.log(x)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        return grad / x


class Log2(Function):
    """log(x) to the base 2.    d/dx = 1 / (x log 2)"""

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return of(x).xp.log2(x)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        return grad / (x * math.log(2))


class Log10(Function):
    """log(x) to the base 10.    d/dx = 1 / (x log 10)"""

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return of(x).xp.log10(x)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        return grad / (x * math.log(10))


class Log1p(Function):
    """log(1 + x), exact for small x.    d/dx = 1 / (1 + x)"""

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return of(x).xp.log1p(x)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        return grad / (x + 1)


class Sqrt(Function):
    """y = x^(1/2).    d/dx = 1 / (2 y), infinite at 0"""

    def forward(self, x: Any) -> Any:
        y = of(x).xp.sqrt(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return grad / (y * 2)


class Rsqrt(Function):
    """y = x^(-1/2).    d/dx = -y^3 / 2"""

    def forward(self, x: Any) -> Any:
        xp = of(x).xp
        y = xp.reciprocal(xp.sqrt(x))
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return grad * (y * y * y) * -0.5


class Abs(Function):
    """|x|.    d/dx = sign(x), 0 at 0"""

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return of(x).xp.abs(x)

    def backward(self, grad: Tensor) -> Any:
        x = self.saved_tensors[0].data
        return grad * wrap(of(x).sign(x))


class Sin(Function):
    """sin(x).    d/dx = cos(x)"""

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return of(x).xp.sin(x)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        return grad * cos(x)


class Cos(Function):
    """cos(x).    d/dx = -sin(x)"""

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return of(x).xp.cos(x)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        return -(grad * sin(x))


class Tan(Function):
    """y = tan(x).    d/dx = 1 + y^2"""

    def forward(self, x: Any) -> Any:
        y = of(x).xp.tan(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return grad * (y * y + 1)


class Tanh(Function):
    """y = tanh(x).    d/dx = 1 - y^2"""

    def forward(self, x: Any) -> Any:
        y = of(x).xp.tanh(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return grad * (1 - y * y)


class Sigmoid(Function):
    """y = 1 / (1 + e^-x).    d/dx = y (1 - y)"""

    def forward(self, x: Any) -> Any:
        y = of(x).sigmoid(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return grad * (y * (1 - y))


class LogSigmoid(Function):
    """log(1 / (1 + e^-x)) = min(x, 0) - log(1 + e^-|x|).    d/dx = 1 / (1 + e^x)"""

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return -of(x).softplus(-x)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        return grad * sigmoid(-x)


class Erf(Function):
    """2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x.    d/dx = 2 / sqrt(pi) e^(-x^2)"""

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return of(x).erf(x)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        return grad * (exp(-(x * x)) * (2 / math.sqrt(math.pi)))


class Clamp(Function):
    """min(max(x, low), high) for numbers.    d/dx = 1 where low <= x <= high, else 0"""

    def forward(self, x: Any, low: Any, high: Any) -> Any:
        self.bounds = low, high
        self.save_for_backward(x)
        if x.dtype.kind != "f":
            xp = of(x).xp
            x = x if low is None else xp.maximum(x, low)
            return x if high is None else xp.minimum(x, high)
        low = -math.inf if low is None else low
        high = math.inf if high is None else high
        return x.clip(low if low < high else high, high)

    def backward(self, grad: Tensor) -> Any:
        x = self.saved_tensors[0].data
        low, high = self.bounds
        if low is None:
            return masked(grad, x <= high)
        if high is None:
            return masked(grad, x >= low)
        return masked(grad, (x >= low) & (x <= high))


class ClampTensor(Function):
    """min(max(x, low), high) for arrays (or None) low and high, which broadcast.

    A bound has the gradient of the elements that it replaces; where low >= high, that is high.
    """

    def forward(self, x: Any, low: Any, high: Any) -> Any:
        xp = of(x).xp
        self.save_for_backward(x, low, high)
        y = x if low is None else xp.maximum(x, low)
        return y if high is None else xp.minimum(y, high)

    def backward(self, grad: Tensor) -> Any:
        tensors = self.saved_tensors
        x, low, high = [None if t is None else t.data for t in tensors]
        if low is None:
            masks = [x <= high, None, x > high]
        elif high is None:
            masks = [x >= low, x < low, None]
        else:
            masks = [
                (x >= low) & (x <= high),
                (x < low) & (low < high),
                (x > high) | (low > high),
            ]
        return tuple(
            sum_to(masked(grad, mask), t.shape) if need else None
            for t, mask, need in zip(tensors, masks, self.needs_input_grad, strict=True)
        )


@autocasts
def exp(input: Any) -> Tensor:
    """e to the power of `input`."""
    return Exp.apply(as_float(input))


@autocasts
def expm1(input: Any) -> Tensor:
    """e to the power of `input`, less 1, without the loss of digits near 0."""
    return Expm1.apply(as_float(input))


@autocasts
def log(input: Any) -> Tensor:
    """The logarithm to the base e: -inf at 0, NaN below."""
    return Log.apply(as_float(input))


@autocasts
def log2(input: Any) -> Tensor:
    """The logarithm to the base 2."""
    return Log2.apply(as_float(input))


@autocasts
def log10(input: Any) -> Tensor:
    """The logarithm to the base 10."""
    return Log10.apply(as_float(input))


@autocasts
def log1p(input: Any) -> Tensor:
    """log(1 + input), without the loss of digits near 0."""
    return Log1p.apply(as_float(input))


def sqrt(input: Any) -> Tensor:
    """The square root: NaN below 0. Its gradient at 0 is infinite."""
    return Sqrt.apply(as_float(input))


@autocasts
def rsqrt(input: Any) -> Tensor:
    """1 / sqrt(input)."""
    return Rsqrt.apply(as_float(input))


def abs(input: Any) -> Tensor:
    """The absolute value. Its gradient at 0 is 0."""
    return Abs.apply(as_tensor(input))


def sin(input: Any) -> Tensor:
    """The sine of an angle in radians."""
    return Sin.apply(as_float(input))


def cos(input: Any) -> Tensor:
    """The cosine of an angle in radians."""
    return Cos.apply(as_float(input))


@autocasts
def tan(input: Any) -> Tensor:
    """The tangent of an angle in radians."""
    return Tan.apply(as_float(input))


def tanh(input: Any) -> Tensor:
    """The hyperbolic tangent, from -1 to 1."""
    return Tanh.apply(as_float(input))


def sigmoid(input: Any) -> Tensor:
    """The logistic function 1 / (1 + exp(-input)), from 0 to 1."""
    return Sigmoid.apply(as_float(input))


def logsigmoid(input: Any) -> Tensor:
    """log(sigmoid(input)), without overflow or loss of digits."""
    return LogSigmoid.apply(as_float(input))


def erf(input: Any) -> Tensor:
    """The error function, from -1 to 1: the chance that |z| < sqrt(2) input for a normal z."""
    return Erf.apply(as_float(input))


def clamp(input: Any, min: Any = None, max: Any = None) -> Tensor:
    """`input` held between `min` and `max`.

    The gradient passes where min <= input <= max, the bounds included. Where min > max the result
    is `max`.

    Args:
        min: a number, a tensor that broadcasts with `input`, or None for no bound.
        max: likewise; not both None.

    Raises:
        ValueError: no bound, or shapes that do not broadcast.
    """
    if min is None and max is None:
        raise ValueError("clamp: at least one of min and max must be given")
    x = as_tensor(input)
    if x.data.dtype.kind == "b":
        x = astype(x, np.int64)
    low, high = min, max
    if low is not None:
        x, low = operands(x, low)
    if high is not None:
        x, high = operands(x, high)
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        return Clamp.apply(x, low, high)
    low, high = [None if v is None else cast_like(v, x) for v in (low, high)]
    check_broadcast("clamp", *[v for v in (x, low, high) if v is not None])
    return ClampTensor.apply(x, low, high)


absolute = abs
clip = clamp
