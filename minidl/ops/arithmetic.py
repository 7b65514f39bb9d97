"""Addition, subtraction, multiplication, division, powers.

Operands broadcast. The gradient of a broadcast operand is summed over the axes along which it was
repeated. A Python scalar has no gradient and never changes the tensor's dtype.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..backend import of
from .autocast import autocasts
from .common import (
    as_float,
    as_tensor,
    astype,
    binary,
    check_broadcast,
    masked,
    operands,
    sum_to,
    zeros_like,
)

__all__ = [
    "add",
    "div",
    "divide",
    "floor_divide",
    "mul",
    "multiply",
    "neg",
    "negative",
    "pow",
    "reciprocal",
    "remainder",
    "square",
    "sub",
    "subtract",
    "true_divide",
]


class Add(Function):
    """a + b.    d/da = 1, d/db = 1"""

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes = np.shape(a), np.shape(b)
        return a + b

    def backward(self, grad: Tensor) -> Any:
        need_a, need_b = self.needs_input_grad
        return (
            sum_to(grad, self.shapes[0]) if need_a else None,
            sum_to(grad, self.shapes[1]) if need_b else None,
        )


class Sub(Function):
    """a - b.    d/da = 1, d/db = -1"""

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes = np.shape(a), np.shape(b)
        return a - b

    def backward(self, grad: Tensor) -> Any:
        need_a, need_b = self.needs_input_grad
        return (
            sum_to(grad, self.shapes[0]) if need_a else None,
            neg(sum_to(grad, self.shapes[1])) if need_b else None,
        )


class Mul(Function):
    """a b.    d/da = b, d/db = a"""

    scalar: float | None  # the operand that is a number

    def forward(self, a: Any, b: Any) -> Any:
        if self.recording:
            self.shapes = np.shape(a), np.shape(b)
            if isinstance(b, (int, float)):
                self.scalar = b
            elif isinstance(a, (int, float)):
                self.scalar = a
            else:
                need_a, need_b = self.needs_input_grad
                self.scalar = None
                self.save_for_backward(a if need_b else None, b if need_a else None)
        return a * b

    def backward(self, grad: Tensor) -> Any:
        need_a, need_b = self.needs_input_grad
        if self.scalar is not None:
            scaled = mul(grad, self.scalar)
            return (scaled if need_a else None, scaled if need_b else None)
        a, b = self.saved_tensors
        return (
            sum_to(mul(grad, b), self.shapes[0]) if need_a else None,
            sum_to(mul(grad, a), self.shapes[1]) if need_b else None,
        )


class Neg(Function):
    """-a.    d/da = -1"""

    def forward(self, a: Any) -> Any:
        return -a

    def backward(self, grad: Tensor) -> Any:
        return neg(grad)


class Div(Function):
    """y = a / b.    d/da = 1 / b, d/db = -y / b"""

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes = np.shape(a), np.shape(b)
        y = a / b
        if _is_number(b):
            self.divisor = b
        else:
            self.divisor = None
            self.save_for_backward(b, y if self.needs_input_grad[1] else None)
        return y

    def backward(self, grad: Tensor) -> Any:
        if self.divisor is not None:
            return div(grad, self.divisor)
        need_a, need_b = self.needs_input_grad
        b, y = self.saved_tensors
        over_b = div(grad, b)
        return (
            sum_to(over_b, self.shapes[0]) if need_a else None,
            sum_to(neg(mul(over_b, y)), self.shapes[1]) if need_b else None,
        )


class RoundedDiv(Function):
    """a / b rounded towards zero ("trunc") or down ("floor"): steps, so the gradient is zero."""

    def forward(self, a: Any, b: Any, rounding_mode: str) -> Any:
        self.shapes = np.shape(a), np.shape(b)
        return _divide("div", a, b, rounding_mode)

    def backward(self, grad: Tensor) -> Any:
        need_a, need_b = self.needs_input_grad[:2]
        zeros = zeros_like(grad)
        return (
            sum_to(zeros, self.shapes[0]) if need_a else None,
            sum_to(zeros, self.shapes[1]) if need_b else None,
        )


class FloorDivide(Function):
    """a // b. As in torch, asking for its gradient is an error."""

    def forward(self, a: Any, b: Any) -> Any:
        return _divide("floor_divide", a, b, "floor")


class Remainder(Function):
    """a - b floor(a / b), which has the sign of b.    d/da = 1, d/db = -floor(a / b)"""

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes = np.shape(a), np.shape(b)
        self.dividend = a if _is_number(a) else None
        if self.needs_input_grad[1]:
            self.save_for_backward(None if _is_number(a) else a, b)
        return _divide("remainder", a, b, "remainder")

    def backward(self, grad: Tensor) -> Any:
        need_a, need_b = self.needs_input_grad
        grad_b = None
        if need_b:
            a, b = self.saved_tensors
            quotient = div(self.dividend if a is None else a, b, rounding_mode="floor")
            grad_b = sum_to(neg(mul(grad, quotient)), self.shapes[1])
        return sum_to(grad, self.shapes[0]) if need_a else None, grad_b


class Square(Function):
    """x^2.    d/dx = 2 x"""

    def forward(self, x: Any) -> Any:
        self.save_for_backward(x)
        return x * x

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        return mul(grad, mul(x, 2))


class Reciprocal(Function):
    """y = 1 / x.    d/dx = -y^2"""

    def forward(self, x: Any) -> Any:
        y = of(x).xp.reciprocal(x)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return neg(mul(grad, mul(y, y)))


class PowScalar(Function):
    """x^n for a number n.    d/dx = n x^(n - 1), and 0 for n = 0"""

    def forward(self, x: Any, n: float) -> Any:
        self.n = n
        self.save_for_backward(x)
        return of(x).power(x, n)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        if self.n == 0:
            return zeros_like(grad)
        return mul(grad, mul(pow(x, self.n - 1), self.n))


class Pow(Function):
    """y = a^b.    d/da = b a^(b - 1), and 0 where b = 0; d/db = y log(a), and 0 where a = 0 <= b

    a may be a number.
    """

    def forward(self, a: Any, b: Any) -> Any:
        self.shapes = np.shape(a), np.shape(b)
        self.base = a if _is_number(a) else None
        try:
            y = a**b
        except ValueError:
            check_broadcast("pow", a, b)
            raise ValueError(
                "pow: integers to negative powers are not integers; make the base a "
                "floating-point tensor"
            ) from None
        self.save_for_backward(a if self.base is None else None, b, y)
        return y

    def backward(self, grad: Tensor) -> Any:
        need_a, need_b = self.needs_input_grad
        a, b, y = self.saved_tensors
        grad_a = grad_b = None
        if need_a:
            slope = mul(b, pow(a, sub(b, 1)))
            grad_a = sum_to(masked(mul(grad, slope), b.data != 0), self.shapes[0])
        if need_b:
            flat: Any = b.data >= 0
            if self.base is None:
                log_a, flat = a.log(), flat & (a.data == 0)
            elif self.base == 0:
                log_a = -math.inf
            else:
                log_a, flat = math.log(self.base) if self.base > 0 else math.nan, None
            grad_b = mul(grad, mul(y, log_a))
            grad_b = sum_to(grad_b if flat is None else masked(grad_b, ~flat), self.shapes[1])
        return grad_a, grad_b


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha * other, elementwise with broadcasting."""
    if alpha != 1:
        other = mul(other, alpha)
    return binary(Add, input, other)


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input - alpha * other, elementwise with broadcasting."""
    if alpha != 1:
        other = mul(other, alpha)
    return binary(Sub, input, other)


def mul(input: Any, other: Any) -> Tensor:
    """input * other, elementwise with broadcasting."""
    return binary(Mul, input, other)


def neg(input: Tensor) -> Tensor:
    """-input.

    Raises:
        TypeError: a bool tensor, which is turned by `logical_not`, or ~.
    """
    x = as_tensor(input)
    if x.data.dtype.kind == "b":
        raise TypeError(f"neg: needs numbers, got a bool tensor of shape {x.shape}; use ~x")
    return Neg.apply(x)


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, elementwise with broadcasting.

    Args:
        rounding_mode: None: true division, of integers too. "trunc": rounded towards zero, as in
            C. "floor": rounded down, as Python's `//`. With one of these, integers give integers,
            and the gradient is zero.

    Raises:
        ValueError: unknown `rounding_mode`.
        ZeroDivisionError: rounded division of integers by zero.
    """
    if rounding_mode is None:
        return binary(Div, input, other, to_float=True)
    if rounding_mode not in ("trunc", "floor"):
        raise ValueError(
            f"div: rounding_mode must be None, 'trunc' or 'floor', got {rounding_mode!r}"
        )
    a, b = operands(input, other)
    check_broadcast("div", a, b)
    return RoundedDiv.apply(a, b, rounding_mode)


def floor_divide(input: Any, other: Any) -> Tensor:
    """input / other rounded down, as Python's `//`. Has no gradient: see `div(rounding_mode=)`.

    Raises:
        ZeroDivisionError: integers divided by zero.
    """
    return binary(FloorDivide, input, other)


def remainder(input: Any, other: Any) -> Tensor:
    """The remainder of `floor_divide`, as Python's `%`: it has the sign of `other`.

    Raises:
        ZeroDivisionError: integers divided by zero.
    """
    return binary(Remainder, input, other)


def square(input: Any) -> Tensor:
    """input * input; of a bool tensor, as integers."""
    x = as_tensor(input)
    return Square.apply(astype(x, np.int64) if x.data.dtype.kind == "b" else x)


@autocasts
def reciprocal(input: Any) -> Tensor:
    """1 / input."""
    return Reciprocal.apply(as_float(input))


@autocasts
def pow(input: Any, exponent: Any) -> Tensor:
    """`input` to the power of `exponent`, elementwise with broadcasting.

    0 to the power of 0 is 1; a negative base with a fractional exponent gives NaN.

    Args:
        input: the base, a tensor or a number.
        exponent: a tensor or a number; at least one of the two is a tensor.

    Raises:
        ValueError: integers to negative integer powers, which are no integers.
    """
    base, exponent = operands(input, exponent)
    if isinstance(exponent, Tensor):
        return binary(Pow, base, exponent)
    kind = base.data.dtype.kind
    if kind in "iu" and exponent < 0:
        raise ValueError(
            f"pow: integers to the negative power {exponent} are not integers; "
            "make the base a floating-point tensor"
        )
    if kind == "b":
        base = astype(base, np.int64)
    if exponent == 2:
        return Square.apply(base)
    return PowScalar.apply(base, exponent)


divide = true_divide = div
multiply = mul
negative = neg
subtract = sub


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float))


def _divide(op: str, a: Any, b: Any, rounding: str) -> Any:
    """The rounded quotient, or the remainder of the division rounded down."""
    if (b if _is_number(a) else a).dtype.kind in "fV":
        if rounding == "trunc":
            return of(b if _is_number(a) else a).xp.trunc(a / b)
        return a // b if rounding == "floor" else a % b
    try:
        # NumPy gives 0 and warns, torch raises, and so do we; a GPU says nothing.
        with np.errstate(divide="raise"):
            if rounding == "remainder":
                return a % b
            quotient = a // b
    except FloatingPointError:
        raise ZeroDivisionError(f"{op}: integer division by zero") from None
    if rounding == "trunc":  # down and towards zero differ where something negative remains
        quotient = quotient + ((quotient < 0) & (quotient * b != a))
    return quotient
