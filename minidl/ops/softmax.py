"""Softmax, its logarithm and its mirror image, along one dimension.

Scores are lowered by their largest first, which changes nothing in the result and keeps exp from
overflowing.
"""

from __future__ import annotations

import warnings
from typing import Any

from ..autograd import Function, Tensor
from ..backend import of
from ..backend.plain.norm import wide_dtype
from .arithmetic import mul, neg, sub
from .common import as_float, astype, check_dim, quiet
from .elementwise import exp
from .reduction import sum

__all__ = ["log_softmax", "softmax", "softmin"]


class Softmax(Function):
    """y_i = exp(x_i) / sum_j exp(x_j).    grad_x = y (grad - sum_j grad_j y_j)"""

    @quiet
    def forward(self, x: Any, dim: int) -> Any:
        self.dim = dim
        xp = of(x).xp
        wide = x.astype(wide_dtype(x.dtype), copy=False)
        y = xp.exp(wide - wide.max(axis=dim, keepdims=True))
        y /= of(x).sum(y, (dim,), True)
        y = y.astype(x.dtype, copy=False)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return mul(y, sub(grad, sum(mul(grad, y), self.dim, keepdim=True)))


class LogSoftmax(Function):
    """y_i = x_i - log sum_j exp(x_j).    grad_x = grad - exp(y) sum_j grad_j"""

    @quiet
    def forward(self, x: Any, dim: int) -> Any:
        self.dim = dim
        xp = of(x).xp
        wide = x.astype(wide_dtype(x.dtype), copy=False)
        y = wide - wide.max(axis=dim, keepdims=True)
        y -= xp.log(of(x).sum(xp.exp(y), (dim,), True))
        y = y.astype(x.dtype, copy=False)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return sub(grad, mul(exp(y), sum(grad, self.dim, keepdim=True)))


def _apply(op: str, function: type[Function], input: Any, dim: int | None, dtype: Any) -> Tensor:
    x = as_float(input)
    if dtype is not None:
        x = astype(x, dtype)
    if dim is None:
        dim = 0 if x.ndim in (0, 1, 3) else 1
        warnings.warn(f"{op}: dim was not given; taking {dim}, as torch does", stacklevel=3)
    axis = check_dim(op, dim, x.ndim)
    if x.ndim == 0:
        return function.apply(x.reshape(1), dim=0).reshape(())
    if x.data.size == 0:  # nothing to find the largest of
        return mul(x, 1)
    return function.apply(x, dim=axis)


def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x_i) / sum_j exp(x_j) along `dim`: positive numbers with sum 1.

    Args:
        input: any shape; -inf gives 0.
        dim: the dimension that is summed to 1.
        dtype: cast `input` to it first.

    Raises:
        IndexError: there is no dimension `dim`.
    """
    return _apply("softmax", Softmax, input, dim, dtype)


def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """`softmax(-input)`."""
    return _apply("softmin", Softmax, neg(as_float(input)), dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """x_i - log sum_j exp(x_j) along `dim`, without the overflow of log(softmax(x)).

    Arguments and errors as `softmax`.
    """
    return _apply("log_softmax", LogSoftmax, input, dim, dtype)
