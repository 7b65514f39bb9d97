"""Comparisons, tests, logic, and rounding: functions whose values jump.

Comparisons and logic give bool tensors outside the graph. Rounding and `sign` stay in the graph
with a gradient of zero, as in torch: a training step through them runs, and learns nothing there.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from ..autograd import Function, Tensor
from ..autograd.tensor import wrap
from ..backend import of
from .common import as_tensor, check_broadcast, check_devices, operands, quiet, zeros_like

__all__ = [
    "allclose",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "ceil",
    "eq",
    "equal",
    "floor",
    "ge",
    "greater",
    "greater_equal",
    "gt",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "ne",
    "not_equal",
    "round",
    "sign",
    "trunc",
]


def _arrays(op: str, input: Any, other: Any, compute: Callable[[Any, Any], Any]) -> Tensor:
    """`compute` on the two operands as arrays or numbers, cast to one dtype as torch casts them."""
    a, b = operands(input, other)
    left, right = getattr(a, "data", a), getattr(b, "data", b)
    if type(left) is not type(right):
        check_devices(op, a, b)
    try:
        return wrap(compute(left, right))
    except ValueError:
        check_broadcast(op, a, b)
        raise


def eq(input: Any, other: Any) -> Tensor:
    """input == other, elementwise with broadcasting. Returns a bool tensor."""
    return _arrays("eq", input, other, operator.eq)


def ne(input: Any, other: Any) -> Tensor:
    """input != other, elementwise with broadcasting. Returns a bool tensor."""
    return _arrays("ne", input, other, operator.ne)


def lt(input: Any, other: Any) -> Tensor:
    """input < other, elementwise with broadcasting. Returns a bool tensor."""
    return _arrays("lt", input, other, operator.lt)


def le(input: Any, other: Any) -> Tensor:
    """input <= other, elementwise with broadcasting. Returns a bool tensor."""
    return _arrays("le", input, other, operator.le)


def gt(input: Any, other: Any) -> Tensor:
    """input > other, elementwise with broadcasting. Returns a bool tensor."""
    return _arrays("gt", input, other, operator.gt)


def ge(input: Any, other: Any) -> Tensor:
    """input >= other, elementwise with broadcasting. Returns a bool tensor."""
    return _arrays("ge", input, other, operator.ge)


def operator_eq(input: Tensor, other: Any) -> Any:
    """input == other: `eq`, or False if `other` is nothing that can be compared with numbers."""
    return eq(input, other) if _comparable(other) else NotImplemented


def operator_ne(input: Tensor, other: Any) -> Any:
    """input != other: `ne`, or True if `other` is nothing that can be compared with numbers."""
    return ne(input, other) if _comparable(other) else NotImplemented


def _comparable(x: Any) -> bool:
    """Whether x is a tensor, a number, an array, or a list of numbers, as far as one look tells."""
    return isinstance(x, (Tensor, bool, int, float, list, tuple)) or hasattr(x, "dtype")


def isclose(
    input: Tensor,
    other: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> Tensor:
    """Where |input - other| <= atol + rtol |other|; equal infinities are close.

    Args:
        equal_nan: whether NaN is close to NaN.

    Raises:
        TypeError: tensors of different dtypes.
    """
    return _close("isclose", input, other, rtol, atol, equal_nan)


def allclose(
    input: Tensor,
    other: Tensor,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    equal_nan: bool = False,
) -> bool:
    """Whether `isclose` holds everywhere. Waits for a GPU.

    Raises:
        TypeError: tensors of different dtypes.
    """
    return bool(_close("allclose", input, other, rtol, atol, equal_nan).data.all())


def _close(
    op: str, input: Tensor, other: Tensor, rtol: float, atol: float, equal_nan: bool
) -> Tensor:
    if input.dtype != other.dtype:
        raise TypeError(
            f"{op}: both tensors must have one dtype, got {input.dtype} and {other.dtype}; "
            "convert one with .to(dtype)"
        )

    @quiet
    def compute(a: Any, b: Any) -> Any:
        xp = of(a).xp
        if a.dtype.kind not in "fV":
            a, b = a.astype("float64"), b.astype("float64")
        near = (xp.abs(a - b) <= atol + rtol * xp.abs(b)) & xp.isfinite(b)
        same = a == b
        return near | same | ((a != a) & (b != b)) if equal_nan else near | same

    return _arrays(op, input, other, compute)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether shapes are the same and all elements are equal (NaN is not). Waits for a GPU."""
    check_devices("equal", input, other)
    return input.shape == other.shape and bool(eq(input, other).data.all())


def isnan(input: Any) -> Tensor:
    """Where `input` is NaN. Returns a bool tensor."""
    x = as_tensor(input).data
    return wrap(of(x).xp.isnan(x))


def isinf(input: Any) -> Tensor:
    """Where `input` is infinite, positive or negative. Returns a bool tensor."""
    x = as_tensor(input).data
    return wrap(of(x).xp.isinf(x))


def isfinite(input: Any) -> Tensor:
    """Where `input` is neither NaN nor infinite. Returns a bool tensor."""
    x = as_tensor(input).data
    return wrap(of(x).xp.isfinite(x))


def logical_and(input: Any, other: Any) -> Tensor:
    """Where both are not 0. Returns a bool tensor."""
    return _arrays("logical_and", input, other, lambda a, b: _true(a) & _true(b))


def logical_or(input: Any, other: Any) -> Tensor:
    """Where one or both are not 0. Returns a bool tensor."""
    return _arrays("logical_or", input, other, lambda a, b: _true(a) | _true(b))


def logical_xor(input: Any, other: Any) -> Tensor:
    """Where exactly one is not 0. Returns a bool tensor."""
    return _arrays("logical_xor", input, other, lambda a, b: _true(a) ^ _true(b))


def logical_not(input: Any) -> Tensor:
    """Where `input` is 0. Returns a bool tensor."""
    return wrap(as_tensor(input).data == 0)


def _true(x: Any) -> Any:
    return x != 0


def bitwise_and(input: Any, other: Any) -> Tensor:
    """input & other: of bool tensors "and", of integers bit by bit."""
    return _bitwise("bitwise_and", input, other, operator.and_)


def bitwise_or(input: Any, other: Any) -> Tensor:
    """input | other: of bool tensors "or", of integers bit by bit."""
    return _bitwise("bitwise_or", input, other, operator.or_)


def bitwise_xor(input: Any, other: Any) -> Tensor:
    """input ^ other: of bool tensors "either, but not both", of integers bit by bit."""
    return _bitwise("bitwise_xor", input, other, operator.xor)


def bitwise_not(input: Any) -> Tensor:
    """~input: of bool tensors "not", of integers every bit turned."""
    x = as_tensor(input).data
    _check_bits("bitwise_not", x)
    return wrap(~x)


def _bitwise(op: str, input: Any, other: Any, function: Callable[[Any, Any], Any]) -> Tensor:
    def compute(a: Any, b: Any) -> Any:
        _check_bits(op, a, b)
        return function(a, b)

    return _arrays(op, input, other, compute)


def _check_bits(op: str, *arrays: Any) -> None:
    for x in arrays:
        if isinstance(x, float) or (hasattr(x, "dtype") and x.dtype.kind not in "biu"):
            raise TypeError(
                f"{op}: needs bool or integer tensors, got {getattr(x, 'dtype', 'float')}; "
                "compare first, as in (x > 0) & (y > 0)"
            )


class Step(Function):
    """A function that is constant between jumps: the gradient is zero."""

    def forward(self, x: Any, compute: Callable[[Any], Any]) -> Any:
        return compute(x)

    def backward(self, grad: Tensor) -> Any:
        return zeros_like(grad)


def sign(input: Any) -> Tensor:
    """-1, 0 or 1; 0 for NaN. The gradient is zero."""
    x = as_tensor(input)
    if x.data.dtype.kind == "b":
        return wrap(x.data.copy())
    return Step.apply(x, of(x.data).sign)


def floor(input: Any) -> Tensor:
    """The next integer below, as a number of the same dtype. The gradient is zero."""
    return _rounded("floor", input, "floor")


def ceil(input: Any) -> Tensor:
    """The next integer above, as a number of the same dtype. The gradient is zero."""
    return _rounded("ceil", input, "ceil")


def trunc(input: Any) -> Tensor:
    """The next integer towards zero, as a number of the same dtype. The gradient is zero."""
    return _rounded("trunc", input, "trunc")


def round(input: Any, *, decimals: int = 0) -> Tensor:
    """The nearest integer (of two, the even one), as a number of the same dtype.

    The gradient is zero.

    Args:
        decimals: the number of digits kept after the point; negative: zeros before it.
    """
    if decimals:
        x = as_tensor(input)
        return Step.apply(x, lambda a: of(a).xp.round(a, decimals))
    return _rounded("round", input, "rint")


def _rounded(op: str, input: Any, function: str) -> Tensor:
    x = as_tensor(input)
    kind = x.data.dtype.kind
    if kind == "b":
        raise TypeError(f"{op}: needs numbers, got a bool tensor of shape {x.shape}")
    if kind in "iu":
        return wrap(x.data.copy())
    return Step.apply(x, getattr(of(x.data).xp, function))


greater = gt
greater_equal = ge
less = lt
less_equal = le
not_equal = ne
