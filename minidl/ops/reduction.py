"""Reductions: sum, mean, variance, extremes, products, norms, over some dimensions or all.

Sum is the adjoint of Spread, which repeats along the dimensions that were summed; the others are
differentiated with these two. Arguments are torch's; `axis` and `keepdims`, NumPy's names, are
accepted too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..autograd.tensor import wrap
from ..backend import of
from .autocast import autocasts
from .common import as_float, as_tensor, astype, check_dim, check_dims, masked, numpy_names, quiet
from .elementwise import abs, exp
from .selection import TakeAlong, ValuesIndices, maximum, minimum
from .shape import cat, narrow, reshape, squeeze

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "cumsum",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "prod",
    "std",
    "sum",
    "var",
]

Dims = int | Sequence[int] | None


class Sum(Function):
    """The sum over some axes. The adjoint of Spread."""

    def forward(self, x: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
        self.shape, self.axes, self.keepdim = x.shape, axes, keepdim
        return _sum(x, axes, keepdim)

    def backward(self, grad: Tensor) -> Any:
        return spread(grad, self.shape, self.axes, self.keepdim)


class Spread(Function):
    """Repeated to `shape` along the axes that a reduction took away. The adjoint of Sum."""

    view = True

    def forward(self, x: Any, shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool) -> Any:
        self.axes, self.keepdim = axes, keepdim
        if not keepdim:
            x = x.reshape(tuple([1 if i in axes else n for i, n in enumerate(shape)]))
        return of(x).xp.broadcast_to(x, shape)

    def backward(self, grad: Tensor) -> Any:
        return Sum.apply(grad, self.axes, self.keepdim)


def spread(x: Tensor, shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool) -> Tensor:
    """What a reduction of `shape` over `axes` gave, repeated to `shape` again. A view."""
    return Spread.apply(x, shape, axes, keepdim)


class Mean(Function):
    """The sum over some axes, divided by the number of elements summed.    d/dx = 1 / n"""

    def forward(self, x: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
        self.shape, self.axes, self.keepdim = x.shape, axes, keepdim
        self.count = _count(x.shape, axes)
        return _sum(x, axes, keepdim, self.count)

    def backward(self, grad: Tensor) -> Any:
        return spread(grad / self.count, self.shape, self.axes, self.keepdim)


class Var(Function):
    """s^2 = sum (x - mean)^2 / (n - correction).    d/dx = 2 (x - mean) / (n - correction)"""

    def forward(self, x: Any, axes: tuple[int, ...], correction: float, keepdim: bool) -> Any:
        self.axes, self.keepdim = axes, keepdim
        self.freedom = _count(x.shape, axes) - correction
        self.save_for_backward(x)
        return _variance(x, axes, self.freedom, keepdim).astype(x.dtype)

    def backward(self, grad: Tensor) -> Any:
        (x,) = self.saved_tensors
        scale = 2 / self.freedom if self.freedom else math.inf
        deviation = x - Mean.apply(x, self.axes, True)
        return spread(grad * scale, x.shape, self.axes, self.keepdim) * deviation


class Std(Function):
    """s, the root of Var.    d/dx = (x - mean) / (s (n - correction)), and 0 where s = 0"""

    def forward(self, x: Any, axes: tuple[int, ...], correction: float, keepdim: bool) -> Any:
        self.axes, self.keepdim = axes, keepdim
        self.freedom = _count(x.shape, axes) - correction
        y = of(x).xp.sqrt(_variance(x, axes, self.freedom, keepdim)).astype(x.dtype)
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: Tensor) -> Any:
        x, y = self.saved_tensors
        scale = 1 / self.freedom if self.freedom else math.inf
        scaled = masked(grad * scale / y, y.data != 0)
        deviation = x - Mean.apply(x, self.axes, True)
        return spread(scaled, x.shape, self.axes, self.keepdim) * deviation


class Extreme(Function):
    """The maximum or minimum over some axes. Equals share the gradient evenly."""

    def forward(
        self, x: Any, name: str, axes: tuple[int, ...], keepdim: bool, nan_shares: bool
    ) -> Any:
        self.axes, self.keepdim, self.nan_shares = axes, keepdim, nan_shares
        y = getattr(x, name)(axis=axes, keepdims=keepdim)
        self.save_for_backward(x, y)
        return y

    @quiet
    def backward(self, grad: Tensor) -> Any:
        x, y = self.saved_tensors
        extreme = spread(y, x.shape, self.axes, self.keepdim)
        chosen = x.data == extreme.data
        if self.nan_shares:
            chosen |= x.data != x.data
        share = chosen.astype(grad.dtype)
        share /= share.sum(axis=self.axes, keepdims=True)
        return spread(grad, x.shape, self.axes, self.keepdim) * wrap(share)


class LogSumExp(Function):
    """y = log sum e^x over some axes, without overflow.    d/dx = e^(x - y), the softmax"""

    def forward(self, x: Any, axes: tuple[int, ...], keepdim: bool) -> Any:
        self.axes, self.keepdim = axes, keepdim
        xp = of(x).xp
        if _count(x.shape, axes):
            peak = x.max(axis=axes, keepdims=True)
            peak = xp.where(xp.isfinite(peak), peak, x.dtype.type(0))  # inf - inf would be NaN
        else:
            peak = xp.zeros([1 if i in axes else n for i, n in enumerate(x.shape)], x.dtype)
        y = xp.log(_sum(xp.exp(x - peak), axes, True)) + peak
        if not keepdim:
            y = y.reshape([n for i, n in enumerate(x.shape) if i not in axes])
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: Tensor) -> Any:
        x, y = self.saved_tensors
        softmax = exp(x - spread(y, x.shape, self.axes, self.keepdim))
        return spread(grad, x.shape, self.axes, self.keepdim) * softmax


class Norm(Function):
    """y = (sum |x|^p)^(1/p) over some axes.    d/dx = x |x|^(p - 2) / y^(p - 1), and 0 where y = 0

    p is finite and not 0.
    """

    def forward(self, x: Any, p: float, axes: tuple[int, ...], keepdim: bool) -> Any:
        self.p, self.axes, self.keepdim = p, axes, keepdim
        kernels, wide = of(x), _wide(x)
        if p == 2:
            y = kernels.xp.sqrt(_sum(wide * wide, axes, keepdim))
        else:
            y = _sum(kernels.power(kernels.xp.abs(wide), p), axes, keepdim) ** (1 / p)
        y = y.astype(x.dtype)
        self.save_for_backward(x, y)
        return y

    def backward(self, grad: Tensor) -> Any:
        x, y = self.saved_tensors
        p = self.p
        if p == 2:
            scale = masked(grad / y, y.data != 0)
            return spread(scale, x.shape, self.axes, self.keepdim) * x
        scale = masked(grad / y ** (p - 1), y.data != 0)
        slope = x * masked(abs(x) ** (p - 2), x.data != 0)
        return spread(scale, x.shape, self.axes, self.keepdim) * slope


class CumSum(Function):
    """Running sums along an axis, from its start or from its end. Either is the other's adjoint."""

    def forward(self, x: Any, axis: int, from_end: bool) -> Any:
        self.axis, self.from_end = axis, from_end
        xp = of(x).xp
        column = xp.atleast_1d(_wide(x))
        if from_end:
            y = xp.flip(xp.cumsum(xp.flip(column, axis), axis=axis), axis)
        else:
            y = xp.cumsum(column, axis=axis, dtype=_sum_dtype(x))
        return y.reshape(x.shape).astype(y.dtype if x.dtype.kind in "biu" else x.dtype, copy=False)

    def backward(self, grad: Tensor) -> Any:
        return CumSum.apply(grad, self.axis, not self.from_end)


@autocasts
def sum(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The sum over one dimension, several or all.

    Args:
        dim: None or (): all.
        keepdim: keep the summed dimensions, with length 1.
        dtype: cast to it before summing. Default: the input's; int64 for integers and bool.
        axis, keepdims: NumPy's names of dim and keepdim.

    Returns:
        the input's shape without `dim`.
    """
    x = as_tensor(input)
    if dtype is not None:
        x = astype(x, dtype)
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("sum", dim, keepdim, axis, keepdims)
    return Sum.apply(x, check_dims("sum", dim, x.data.ndim), keepdim)


@autocasts
def mean(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The mean over one dimension, several or all; NaN of nothing. Arguments as `sum`.

    Raises:
        TypeError: the input is not floating-point, and `dtype` does not make it so.
    """
    x = _float_only("mean", input if dtype is None else astype(as_tensor(input), dtype))
    if axis is not None or keepdims is not None:
        dim, keepdim = numpy_names("mean", dim, keepdim, axis, keepdims)
    return Mean.apply(x, check_dims("mean", dim, x.data.ndim), keepdim)


@autocasts
def var(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The variance over one dimension, several or all: sum (x - mean)^2 / (n - correction).

    Args:
        dim: None or (): all. A bool here is `unbiased`, as in torch.
        unbiased: an older name: True is correction=1, False correction=0.
        keepdim: keep the reduced dimensions, with length 1.
        correction: default 1 (Bessel's). NumPy's default is 0.
        axis, keepdims: NumPy's names of dim and keepdim.

    Returns:
        the input's shape without `dim`; NaN or inf where n <= correction.

    Raises:
        TypeError: the input is not floating-point, or both unbiased and correction are given.
    """
    return Var.apply(*_moments("var", input, dim, unbiased, keepdim, correction, axis, keepdims))


@autocasts
def std(
    input: Tensor,
    dim: Dims | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The standard deviation, the root of `var`, with its arguments. Gradient 0 where it is 0."""
    return Std.apply(*_moments("std", input, dim, unbiased, keepdim, correction, axis, keepdims))


def amax(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The maximum over one dimension, several or all; NaN if one element is NaN.

    Equals share the gradient evenly. Arguments as `sum`.

    Raises:
        IndexError: a maximum of nothing.
    """
    return _extreme("amax", "max", input, dim, keepdim, axis, keepdims)


def amin(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The minimum over one dimension, several or all; see `amax`."""
    return _extreme("amin", "min", input, dim, keepdim, axis, keepdims)


def max(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    axis: int | None = None,
    keepdims: bool | None = None,
) -> Any:
    """The maximum; NaN if one element is NaN.

    Args:
        dim: None: of all elements, and equals share the gradient evenly. An int: along that
            dimension. A tensor: `maximum(input, dim)`.
        keepdim: keep the dimension, with length 1.
        axis, keepdims: NumPy's names of dim and keepdim.

    Returns:
        a tensor; with an int, (values, indices), of which the first of equals gets the gradient.

    Raises:
        IndexError: a maximum of nothing.
        TypeError: several dimensions; use amax.
    """
    if isinstance(dim, Tensor):
        return maximum(input, dim)
    return _max("max", input, *numpy_names("max", dim, keepdim, axis, keepdims))


def min(
    input: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    axis: int | None = None,
    keepdims: bool | None = None,
) -> Any:
    """The minimum; see `max`."""
    if isinstance(dim, Tensor):
        return minimum(input, dim)
    return _max("min", input, *numpy_names("min", dim, keepdim, axis, keepdims))


@autocasts
def prod(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: int | None = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The product along one dimension or of all elements; 1 of nothing.

    A tree of pairwise products, so that the gradient is right where elements are 0 (there, the
    product divided by the element is not the product of the others).

    Args:
        dim: None: all.
        keepdim: keep the dimension, with length 1.
        dtype: cast to it before multiplying. Default: the input's; int64 for integers and bool.
        axis, keepdims: NumPy's names of dim and keepdim.
    """
    x = as_tensor(input)
    if dtype is not None:
        x = astype(x, dtype)
    dim, keepdim = numpy_names("prod", dim, keepdim, axis, keepdims)
    shape = tuple([1] * x.ndim)
    if dim is not None:
        dim = check_dim("prod", dim, x.ndim)
        shape = tuple([1 if i == dim else n for i, n in enumerate(x.shape)])
    if not keepdim:
        shape = tuple([n for i, n in enumerate(shape) if dim is not None and i != dim])
    if x.data.dtype.kind in "biu":
        return wrap(x.data.prod(axis=dim if x.ndim else None, dtype=np.int64).reshape(shape))
    if dim is None or not x.ndim:
        x, dim = reshape(x, -1), 0
    count = x.shape[dim]
    if count < 2:
        # The sum of one or of nothing, and what is missing to the product.
        return sum(x, dim).reshape(shape) + (1 - count)
    while count > 1:
        half = count // 2
        pairs = narrow(x, dim, 0, half) * narrow(x, dim, half, half)
        x = cat([pairs, narrow(x, dim, 2 * half, 1)], dim) if count % 2 else pairs
        count -= half
    return reshape(x, shape)


@autocasts
def logsumexp(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """log of the sum of exp(input) over one dimension, several or all, without overflow.

    -inf of nothing. Arguments as `sum`.
    """
    x = as_float(input)
    dim, keepdim = numpy_names("logsumexp", dim, keepdim, axis, keepdims)
    return LogSumExp.apply(x, check_dims("logsumexp", dim, x.ndim), keepdim)


@autocasts
def norm(
    input: Tensor,
    p: float | str | None = "fro",
    dim: Dims = None,
    keepdim: bool = False,
    dtype: Any = None,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The p-norm of the elements, (sum |x|^p)^(1/p), over one dimension, several or all.

    Args:
        p: a number; "fro" or None: 2; inf: the largest |x|; -inf: the smallest; 0: how many
            elements are not 0 (which has no gradient).
        dim: None or (): all.
        keepdim: keep the reduced dimensions, with length 1.
        dtype: cast to it first.
        axis, keepdims: NumPy's names of dim and keepdim.

    Returns:
        the input's shape without `dim`. The gradient is 0 where the norm is 0.

    Raises:
        TypeError: the input is not floating-point.
        ValueError: p is another string.
        IndexError: p is infinite and there are no elements.
    """
    x = _float_only("norm", input if dtype is None else astype(as_tensor(input), dtype))
    dim, keepdim = numpy_names("norm", dim, keepdim, axis, keepdims)
    if p is None or p == "fro":
        p = 2
    if isinstance(p, str):
        raise ValueError(f"norm: p must be a number or 'fro', got {p!r}")
    if p == math.inf:
        return amax(abs(x), dim, keepdim)
    if p == -math.inf:
        return amin(abs(x), dim, keepdim)
    if p == 0:
        return wrap(_sum((x.data != 0).astype(x.dtype), check_dims("norm", dim, x.ndim), keepdim))
    if p == 1:
        return sum(abs(x), dim, keepdim)
    return Norm.apply(x, float(p), check_dims("norm", dim, x.ndim), keepdim)


@autocasts
def cumsum(
    input: Tensor, dim: int | None = None, *, dtype: Any = None, axis: int | None = None
) -> Tensor:
    """Running sums along a dimension: y[i] = x[0] + ... + x[i].

    Args:
        dim: the dimension (torch has no default here either).
        dtype: cast to it first. Default: the input's; int64 for integers and bool.
        axis: NumPy's name of dim.
    """
    x = as_tensor(input)
    if dtype is not None:
        x = astype(x, dtype)
    dim, _ = numpy_names("cumsum", dim, False, axis, None)
    if dim is None:
        raise TypeError("cumsum: dim is missing; flatten() first for running sums of all elements")
    return CumSum.apply(x, check_dim("cumsum", dim, x.ndim), False)


def any(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Whether an element is not 0, over one dimension, several or all. Returns a bool tensor.

    False of nothing. Arguments as `sum`.
    """
    return _test("any", input, dim, keepdim, axis, keepdims)


def all(
    input: Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    axis: Dims = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Whether no element is 0, over one dimension, several or all. Returns a bool tensor.

    True of nothing. Arguments as `sum`.
    """
    return _test("all", input, dim, keepdim, axis, keepdims)


def _count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    return math.prod([shape[i] for i in axes])


def _wide(x: Any) -> Any:
    """float16 as float32, in which sums are taken."""
    return x.astype(np.float32) if x.dtype.itemsize < 4 and x.dtype.kind in "fV" else x


def _sum_dtype(x: Any) -> Any:
    """The dtype of a sum of integers: int64, as in torch. None: floats keep theirs."""
    return np.int64 if x.dtype.kind in "biu" else None


def _sum(x: Any, axes: tuple[int, ...], keepdim: bool, divisor: float | None = None) -> Any:
    """The sum, or a mean, in the dtype of x, but added up in float32 where x is float16."""
    if x.dtype.itemsize < 4 and x.dtype.kind in "fV":
        total = x.sum(axis=axes, dtype=np.float32, keepdims=keepdim)
        return (total if divisor is None else total / divisor).astype(x.dtype)
    total = of(x).sum(x, axes, keepdim, _sum_dtype(x))
    return total if divisor is None else total / divisor


def _variance(x: Any, axes: tuple[int, ...], freedom: float, keepdim: bool) -> Any:
    """The sum of squared deviations over `freedom`; in float32 where x is float16."""
    wide = _wide(x)
    deviation = wide - _sum(wide, axes, True, _count(x.shape, axes))
    deviation *= deviation
    return _sum(deviation, axes, keepdim, freedom if freedom > 0 else 0)


def _float_only(op: str, input: Any) -> Tensor:
    x = as_tensor(input)
    if x.data.dtype.kind not in "fV":
        raise TypeError(
            f"{op}: needs a floating-point tensor, got {x.dtype} of shape {x.shape}; "
            "use .float() first"
        )
    return x


def _moments(
    op: str,
    input: Any,
    dim: Any,
    unbiased: bool | None,
    keepdim: bool,
    correction: float | None,
    axis: Any,
    keepdims: bool | None,
) -> tuple[Tensor, tuple[int, ...], float, bool]:
    """The arguments of var and std, settled."""
    x = _float_only(op, input)
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None:
        if correction is not None:
            raise TypeError(f"{op}: unbiased and correction are two names of one thing; give one")
        correction = 1 if unbiased else 0
    dim, keepdim = numpy_names(op, dim, keepdim, axis, keepdims)
    return x, check_dims(op, dim, x.ndim), 1 if correction is None else correction, keepdim


def _extreme(
    op: str, name: str, input: Any, dim: Any, keepdim: bool, axis: Any, keepdims: bool | None
) -> Tensor:
    x = as_tensor(input)
    dim, keepdim = numpy_names(op, dim, keepdim, axis, keepdims)
    axes = check_dims(op, dim, x.ndim)
    _check_choice(op, x, axes)
    return Extreme.apply(x, name, axes, keepdim, False)


def _max(op: str, input: Any, dim: Any, keepdim: bool) -> Any:
    x = as_tensor(input)
    if isinstance(dim, (tuple, list)):
        raise TypeError(f"{op}: dim must be one dimension, got {dim}; use a{op} for several")
    axes = check_dims(op, dim, x.ndim)
    _check_choice(op, x, axes)
    if dim is None:
        return Extreme.apply(x, op, axes, keepdim, True)
    if not x.ndim:
        return ValuesIndices(sum(x), wrap(of(x.data).xp.zeros((), np.int64)))
    index = getattr(x.data, f"arg{op}")(axis=axes[0], keepdims=True)
    values = TakeAlong.apply(x, index, axes[0])
    if keepdim:
        return ValuesIndices(values, wrap(index))
    return ValuesIndices(squeeze(values, axes[0]), wrap(index.squeeze(axes[0])))


def _check_choice(op: str, x: Tensor, axes: tuple[int, ...]) -> None:
    if x.ndim and not _count(x.shape, axes):
        raise IndexError(f"{op}: dimensions {axes} of shape {x.shape} have no element to choose")


def _test(op: str, input: Any, dim: Any, keepdim: bool, axis: Any, keepdims: bool | None) -> Tensor:
    x = as_tensor(input).data
    dim, keepdim = numpy_names(op, dim, keepdim, axis, keepdims)
    return wrap(getattr(x, op)(axis=check_dims(op, dim, x.ndim), keepdims=keepdim))
