"""Softmax, its logarithm and its mirror image, along one dimension.

Scores are lowered by their largest first, which changes nothing in the result and keeps exp from
overflowing.
"""

from __future__ import annotations

import warnings
from typing import Any

from ..autograd import Function, Tensor
from ..backend import of
from .arithmetic import mul, neg, sub
from .autocast import autocasts
from .common import as_float, astype, check_dim
from .elementwise import exp
from .reduction import sum

__all__ = ["log_softmax", "softmax", "softmin"]


class Softmax(Function):
    """y_i = exp(x_i) / sum_j exp(x_j), or its logarithm. The gradient is `SoftmaxGrad`."""

    def forward(self, x: Any, dim: int, log: bool) -> Any:
        self.dim, self.log = dim, log
        y = of(x).softmax(x, dim, log)
        self.save_for_backward(y)
        return y

    def backward(self, grad: Tensor) -> Any:
        (y,) = self.saved_tensors
        return SoftmaxGrad.apply(y, grad, dim=self.dim, log=self.log)


class SoftmaxGrad(Function):
    """dx_i = y_i (g_i - sum_j g_j y_j); for the logarithm dx_i = g_i - exp(y_i) sum_j g_j.

    Let v be the gradient with respect to dx.

        d/dy = v (g - sum g y) - g sum v y,    d/dg = y (v - sum v y), which is SoftmaxGrad(y, v);
        d/dy = -v exp(y) sum g,                d/dg = v - sum v exp(y)    for the logarithm.
    """

    def forward(self, y: Any, grad: Any, dim: int, log: bool) -> Any:
        self.dim, self.log = dim, log
        self.save_for_backward(y, grad)
        return of(y).softmax_grad(y, grad, dim, log)

    def backward(self, v: Tensor) -> Any:
        y, g = self.saved_tensors
        need_y, need_g = self.needs_input_grad

        def total(x: Tensor) -> Tensor:
            return sum(x, self.dim, keepdim=True)

        if self.log:
            p = mul(v, exp(y))
            return (
                neg(mul(p, total(g))) if need_y else None,
                sub(v, total(p)) if need_g else None,
            )
        by_y = None
        if need_y:
            by_y = sub(mul(v, sub(g, total(mul(g, y)))), mul(g, total(mul(v, y))))
        by_g = SoftmaxGrad.apply(y, v, dim=self.dim, log=False) if need_g else None
        return by_y, by_g


def _apply(op: str, log: bool, input: Any, dim: int | None, dtype: Any) -> Tensor:
    x = as_float(input)
    if dtype is not None:
        x = astype(x, dtype)
    if dim is None:
        dim = 0 if x.ndim in (0, 1, 3) else 1
        warnings.warn(f"{op}: dim was not given; taking {dim}, as torch does", stacklevel=4)
    axis = check_dim(op, dim, x.ndim)
    if x.ndim == 0:
        return Softmax.apply(x.reshape(1), dim=0, log=log).reshape(())
    if x.data.size == 0:  # nothing to find the largest of
        return mul(x, 1)
    return Softmax.apply(x, dim=axis, log=log)


@autocasts
def softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """exp(x_i) / sum_j exp(x_j) along `dim`: positive numbers with sum 1.

    Args:
        input: any shape; -inf gives 0.
        dim: the dimension that is summed to 1.
        dtype: cast `input` to it first.

    Raises:
        IndexError: there is no dimension `dim`.
    """
    return _apply("softmax", False, input, dim, dtype)


@autocasts
def softmin(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """`softmax(-input)`."""
    return _apply("softmin", False, neg(as_float(input)), dim, dtype)


@autocasts
def log_softmax(input: Tensor, dim: int | None = None, dtype: Any = None) -> Tensor:
    """x_i - log sum_j exp(x_j) along `dim`, without the overflow of log(softmax(x)).

    Arguments and errors as `softmax`.
    """
    return _apply("log_softmax", True, input, dim, dtype)
