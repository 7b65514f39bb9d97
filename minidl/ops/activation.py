"""Activation functions.

Each class has the formula and its derivative; the derivative at a kink is torch's. With
`inplace=True` a function puts its result into its input: see `minidl/ops/inplace.py`.
"""

from __future__ import annotations

import math
from typing import Any

from ..autograd import Function, Tensor
from ..autograd.tensor import wrap
from ..backend import of
from .autocast import autocasts
from .common import as_float, as_tensor, binary, masked, sum_to
from .elementwise import clamp, exp, sigmoid, tanh
from .inplace import become

__all__ = [
    "elu",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "silu",
    "softplus",
]

# The fixed point of Klambauer et al., "Self-normalizing neural networks", 2017.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


class Relu(Function):
    """y = max(x, 0).    d/dx = 1 where x > 0, else 0"""

    def forward(self, x: Any) -> Any:
        y = of(x).relu(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return masked(grad, y.data != 0)


class LeakyRelu(Function):
    """x where x > 0, else slope x.    d/dx = 1 where x > 0, else slope"""

    def forward(self, x: Any, slope: float) -> Any:
        self.slope = slope
        self.save_for_backward(x)
        xp = of(x).xp
        return xp.maximum(x, x * slope) if slope <= 1 else xp.minimum(x, x * slope)

    def backward(self, grad: Tensor) -> Any:
        x = self.saved_tensors[0].data
        number = x.dtype.type
        return grad * wrap(of(x).where(x > 0, number(1), number(self.slope)))


class PRelu(Function):
    """x where x > 0, else w x.    d/dx = 1 or w, d/dw = x where x <= 0"""

    def forward(self, x: Any, w: Any) -> Any:
        self.save_for_backward(x, w)
        return of(x).where(x > 0, x, x * w)

    def backward(self, grad: Tensor) -> Any:
        x, w = self.saved_tensors
        positive = x.data > 0
        need_x, need_w = self.needs_input_grad
        below = masked(grad, ~positive)
        return (
            masked(grad, positive) + below * w if need_x else None,
            sum_to(below * x, w.shape) if need_w else None,
        )


class Elu(Function):
    """scale x where x > 0, else scale alpha (e^x - 1).    d/dx = scale, or scale alpha e^x"""

    def forward(self, x: Any, alpha: float, scale: float) -> Any:
        self.alpha, self.scale = alpha, scale
        self.save_for_backward(x)
        xp = of(x).xp
        y = xp.expm1(x.clip(-math.inf, 0.0)) * alpha + of(x).relu(x)
        return y if scale == 1 else y * scale

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        negative = x.data <= 0
        slope = masked(exp(clamp(x, max=0)), negative) * (self.alpha * self.scale)
        return grad * (slope + wrap(~negative * x.dtype.type(self.scale)))


class Gelu(Function):
    """y = x P(x), P(x) = (1 + erf(x / sqrt 2)) / 2.    The gradient is GeluGrad

    P is the distribution function of the normal law (Hendrycks and Gimpel 2016).
    """

    def forward(self, x: Any) -> Any:
        y = of(x).gelu(x)
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: Tensor) -> Any:
        x, y = self.saved_tensors
        return GeluGrad.apply(grad, x, y=y.data)


class GeluGrad(Function):
    """dx = grad (P(x) + x p(x)), p(x) = P'(x) = e^(-x^2 / 2) / sqrt(2 pi).

    d/dgrad = P(x) + x p(x), d/dx = grad p(x) (2 - x^2). y = x P(x) is given as it is known.
    """

    def forward(self, grad: Any, x: Any, y: Any) -> Any:
        self.save_for_backward(grad, x, y)
        return of(x).gelu_grad(grad, x, y)

    def backward(self, v: Tensor) -> Any:
        grad, x, y = self.saved_tensors
        need_grad, need_x = self.needs_input_grad
        by_x = None
        if need_x:
            square = x * x
            density = exp(square * -0.5) * (1 / math.sqrt(2 * math.pi))
            by_x = v * grad * (density * (2 - square))
        return GeluGrad.apply(v, x, y=y.data) if need_grad else None, by_x


class GeluTanh(Function):
    """y = x (1 + t) / 2, t = tanh(a (x + b x^3)).    d/dx = (1 + t + x t') / 2

    t' = (1 - t^2) a (1 + 3 b x^2). Hendrycks and Gimpel's approximation of Gelu, with
    a = sqrt(2 / pi) and b = 0.044715.
    """

    A = math.sqrt(2 / math.pi)
    B = 0.044715

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        y = of(x).xp.tanh((x * x * self.B + 1) * x * self.A)
        y += 1
        y *= x
        y *= 0.5
        return y

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        square = x * x
        t = tanh((square * self.B + 1) * x * self.A)
        slope = (square * (3 * self.B) + 1) * self.A
        return grad * ((1 + t + x * (1 - t * t) * slope) * 0.5)


class Silu(Function):
    """y = x s(x), s the sigmoid.    The gradient is SiluGrad"""

    def forward(self, x: Any) -> Any:
        y = of(x).silu(x)
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: Tensor) -> Any:
        x, y = self.saved_tensors
        return SiluGrad.apply(grad, x, y=y.data)


class SiluGrad(Function):
    """dx = grad s (1 + x (1 - s)), s the sigmoid of x.

    d/dgrad = s (1 + x (1 - s)), d/dx = grad s (1 - s) (2 + x (1 - 2 s)). y = x s is given as it is
    known.
    """

    def forward(self, grad: Any, x: Any, y: Any) -> Any:
        self.save_for_backward(grad, x, y)
        return of(x).silu_grad(grad, x, y)

    def backward(self, v: Tensor) -> Any:
        grad, x, y = self.saved_tensors
        need_grad, need_x = self.needs_input_grad
        by_x = None
        if need_x:
            s = sigmoid(x)
            by_x = v * grad * (s * (1 - s) * (2 + x * (1 - 2 * s)))
        return SiluGrad.apply(v, x, y=y.data) if need_grad else None, by_x


class Softplus(Function):
    """y = log(1 + e^(beta x)) / beta.    d/dx = sigmoid(beta x)

    Where beta x > threshold, y = x and the derivative is 1.
    """

    def forward(self, x: Any, beta: float, threshold: float) -> Any:
        self.beta, self.threshold = beta, threshold
        self.save_for_backward(x)
        z = x if beta == 1 else x * beta
        y = of(x).softplus(z)
        return of(x).where(z > threshold, x, y if beta == 1 else y / beta)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        z = x * self.beta
        linear = z.data > self.threshold
        return grad * (masked(sigmoid(z), ~linear) + wrap(linear.astype(x.dtype)))


class Hardtanh(Function):
    """y = min(max(x, low), high).    d/dx = 1 where low < x < high, else 0"""

    def forward(self, x: Any, low: float, high: float) -> Any:
        self.low, self.high = low, high
        y = x.clip(low, high)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        y = self.saved_tensors[0].data
        outside = y <= self.low  # so, and not by what is inside, as a NaN passes its gradient on
        outside |= y >= self.high
        return masked(grad, ~outside)


class Hardsigmoid(Function):
    """min(max(x + 3, 0), 6) / 6.    d/dx = 1/6 where -3 < x < 3, else 0"""

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return (x + 3).clip(0.0, 6.0) / 6

    def backward(self, grad: Tensor) -> Any:
        x = self.saved_tensors[0].data
        return masked(grad / 6, (x > -3) & (x < 3))


class Hardswish(Function):
    """y = x min(max(x + 3, 0), 6) / 6.    The gradient is HardswishGrad

    Howard et al., "Searching for MobileNetV3", 2019.
    """

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return of(x).hardswish(x)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        return HardswishGrad.apply(grad, x)


class HardswishGrad(Function):
    """dx = grad times 0 where x <= -3, 1 where x >= 3, x / 3 + 1/2 between.

    d/dgrad is that slope, d/dx = grad / 3 between, else 0.
    """

    def forward(self, grad: Any, x: Any) -> Any:
        self.save_for_backward(grad, x)
        return of(x).hardswish_grad(grad, x)

    def backward(self, v: Tensor) -> Any:
        grad, x = self.saved_tensors
        need_grad, need_x = self.needs_input_grad
        between = (x.data > -3) & (x.data < 3)
        return (
            HardswishGrad.apply(v, x) if need_grad else None,
            masked(v * grad / 3, between) if need_x else None,
        )


class Mish(Function):
    """y = x t, t = tanh(log(1 + e^x)).    d/dx = t + x (1 - t^2) sigmoid(x)

    Misra, "Mish: a self regularized non-monotonic activation function", 2019.
    """

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return of(x).mish(x)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        t = tanh(softplus(x))
        return grad * (t + x * (1 - t * t) * sigmoid(x))


def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(input, 0), elementwise.

    Raises:
        TypeError: a bool tensor.
    """
    if inplace:
        return become("relu", input, relu)
    x = as_tensor(input)
    if x.data.dtype.kind == "b":
        raise TypeError(f"relu: needs numbers, got a bool tensor of shape {x.shape}")
    return Relu.apply(x)


def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """`input` where it is positive, else negative_slope * input."""
    if inplace:
        return become("leaky_relu", input, lambda x: leaky_relu(x, negative_slope))
    if negative_slope == 0:
        return relu(as_float(input))  # inf * 0 is not wanted
    return LeakyRelu.apply(as_float(input), float(negative_slope))


def prelu(input: Any, weight: Tensor) -> Tensor:
    """`input` where it is positive, else weight * input, with a learned weight (He et al. 2015).

    Args:
        input: (N, C, ...) or any shape.
        weight: (1,) or (), one weight for all; or (C,), one for each channel (dimension 1).

    Raises:
        ValueError: the number of weights is neither 1 nor that of the channels.
    """
    x, w = as_float(input), as_float(weight)
    if w.ndim > 1:
        raise ValueError(f"prelu: weight must have 0 or 1 dimensions, got shape {w.shape}")
    if w.data.size != 1:
        channels = x.shape[1] if x.ndim > 1 else 1
        if w.data.size != channels:
            raise ValueError(
                f"prelu: {w.data.size} weights for {channels} channel(s) (input {x.shape}, weight "
                f"{w.shape}); give one weight, or one for each channel"
            )
        w = w.reshape((-1,) + (1,) * (x.ndim - 2))
    elif w.ndim and not x.ndim:
        w = w.reshape(())
    return binary(PRelu, x, w)


def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """`input` where it is positive, else alpha * (exp(input) - 1) (Clevert et al. 2015)."""
    if inplace:
        return become("elu", input, lambda x: elu(x, alpha))
    return Elu.apply(as_float(input), float(alpha), 1.0)


def selu(input: Any, inplace: bool = False) -> Tensor:
    """elu with the alpha and the scale that keep mean 0 and variance 1 (Klambauer et al. 2017)."""
    if inplace:
        return become("selu", input, selu)
    return Elu.apply(as_float(input), SELU_ALPHA, SELU_SCALE)


def gelu(input: Any, approximate: str = "none") -> Tensor:
    """input times the chance that a normal number is smaller (Hendrycks and Gimpel 2016).

    Args:
        approximate: "none", or "tanh" for the approximation by a tanh.

    Raises:
        ValueError: another `approximate`.
    """
    if approximate == "none":
        return Gelu.apply(as_float(input))
    if approximate == "tanh":
        return GeluTanh.apply(as_float(input))
    raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")


def silu(input: Any, inplace: bool = False) -> Tensor:
    """input * sigmoid(input), also called swish (Ramachandran et al. 2017)."""
    if inplace:
        return become("silu", input, silu)
    return Silu.apply(as_float(input))


@autocasts
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * input)) / beta, a smooth relu.

    Args:
        beta: how sharp the bend at 0 is.
        threshold: where beta * input is greater, the result is `input` itself.
    """
    return Softplus.apply(as_float(input), float(beta), float(threshold))


def hardtanh(
    input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """`input` held between `min_val` and `max_val`; no gradient at the bounds (`clamp` has one).

    Raises:
        ValueError: min_val > max_val.
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} is greater than max_val {max_val}")
    if inplace:
        return become("hardtanh", input, lambda x: hardtanh(x, min_val, max_val))
    x = as_tensor(input)
    number = float if x.is_floating_point() else int
    return Hardtanh.apply(x, number(min_val), number(max_val))


def relu6(input: Any, inplace: bool = False) -> Tensor:
    """min(max(input, 0), 6)."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardsigmoid(input: Any, inplace: bool = False) -> Tensor:
    """relu6(input + 3) / 6: a sigmoid of three straight lines."""
    if inplace:
        return become("hardsigmoid", input, hardsigmoid)
    return Hardsigmoid.apply(as_float(input))


def hardswish(input: Any, inplace: bool = False) -> Tensor:
    """input * relu6(input + 3) / 6: a silu without the exponential (Howard et al. 2019)."""
    if inplace:
        return become("hardswish", input, hardswish)
    return Hardswish.apply(as_float(input))


def mish(input: Any, inplace: bool = False) -> Tensor:
    """input * tanh(softplus(input)) (Misra 2019)."""
    if inplace:
        return become("mish", input, mish)
    return Mish.apply(as_float(input))
