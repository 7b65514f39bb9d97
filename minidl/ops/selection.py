"""Choosing among elements: where, maximum, sort, top-k, argmax.

What is chosen gets the gradient, what is not gets none. The choice itself (masks, indices) is a
constant. TakeAlong and PutAlong, which read and write at chosen places, are each other's adjoint.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autograd import Function, Tensor
from ..autograd.tensor import wrap
from ..backend import of
from .common import (
    as_tensor,
    binary,
    cast_like,
    check_broadcast,
    check_devices,
    check_dim,
    masked,
    numpy_names,
    operands,
    sum_to,
)

__all__ = [
    "ValuesIndices",
    "argmax",
    "argmin",
    "argsort",
    "masked_fill",
    "maximum",
    "minimum",
    "nonzero",
    "sort",
    "topk",
    "where",
]


class ValuesIndices(NamedTuple):
    """Chosen elements and where they were: what sort, topk and max(dim=...) return."""

    values: Tensor
    indices: Tensor  # int64, along one dimension of the input


class Where(Function):
    """a where the mask is true, else b. A number a or b has no gradient."""

    def forward(self, a: Any, b: Any, mask: Any) -> Any:
        self.shapes = np.shape(a), np.shape(b)
        self.save_for_backward(mask)
        if not hasattr(a, "dtype"):
            a = b.dtype.type(a)
        elif not hasattr(b, "dtype"):
            b = a.dtype.type(b)
        return of(mask).where(mask, a, b)

    def backward(self, grad: Tensor) -> Any:
        mask = self.saved_tensors[0].data
        need_a, need_b = self.needs_input_grad[:2]
        return (
            sum_to(masked(grad, mask), self.shapes[0]) if need_a else None,
            sum_to(masked(grad, ~mask), self.shapes[1]) if need_b else None,
        )


class Maximum(Function):
    """The greater of a and b, NaN if one is. The gradient goes to it, half to each of a pair."""

    def forward(self, a: Any, b: Any) -> Any:
        self.save_for_backward(a, b)
        return of(a).xp.maximum(a, b)

    def backward(self, grad: Tensor) -> Any:
        a, b = self.saved_tensors
        return _share(self, grad, a, b, a.data < b.data, b.data < a.data)


class Minimum(Function):
    """The smaller of a and b, NaN if one is. The gradient goes to it, half to each of a pair."""

    def forward(self, a: Any, b: Any) -> Any:
        self.save_for_backward(a, b)
        return of(a).xp.minimum(a, b)

    def backward(self, grad: Tensor) -> Any:
        a, b = self.saved_tensors
        return _share(self, grad, a, b, a.data > b.data, b.data > a.data)


def _share(
    node: Function, grad: Tensor, a: Tensor, b: Tensor, a_loses: Any, b_loses: Any
) -> tuple[Tensor | None, Tensor | None]:
    need_a, need_b = node.needs_input_grad
    tie = (a.data == b.data).astype(grad.dtype)
    shared = grad * wrap(1 - 0.5 * tie)
    return (
        sum_to(masked(shared, ~a_loses), a.shape) if need_a else None,
        sum_to(masked(shared, ~b_loses), b.shape) if need_b else None,
    )


class TakeAlong(Function):
    """y[.., j, ..] = x[.., index[.., j, ..], ..] along an axis. The adjoint of PutAlong.

    index is int64, of the shape of x but for `axis`; no place is named twice.
    """

    def forward(self, x: Any, index: Any, axis: int) -> Any:
        self.shape, self.axis = x.shape, axis
        self.save_for_backward(index)
        xp = of(x).xp
        y = xp.take_along_axis(xp.atleast_1d(x), xp.atleast_1d(index), axis)
        return y.reshape(index.shape)

    def backward(self, grad: Tensor) -> Any:
        index = self.saved_tensors[0].data
        return PutAlong.apply(grad, index, self.axis, self.shape)


class PutAlong(Function):
    """x[.., index[.., j, ..], ..] = y[.., j, ..] along an axis, 0 elsewhere."""

    def forward(self, y: Any, index: Any, axis: int, shape: tuple[int, ...]) -> Any:
        self.axis = axis
        self.save_for_backward(index)
        xp = of(y).xp
        x = xp.zeros(shape or (1,), y.dtype)
        xp.put_along_axis(x, xp.atleast_1d(index), xp.atleast_1d(y), axis)
        return x.reshape(shape)

    def backward(self, grad: Tensor) -> Any:
        index = self.saved_tensors[0].data
        return TakeAlong.apply(grad, index, self.axis)


def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """`input` where `condition` is true, else `other`; all three broadcast.

    With `condition` alone: `nonzero(condition, as_tuple=True)`.

    Args:
        condition: a bool tensor.
        input, other: tensors or numbers.

    Raises:
        TypeError: `condition` is not bool, or only one of `input` and `other` is given.
        ValueError: shapes that do not broadcast.
    """
    condition = as_tensor(condition)
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    if input is None or other is None:
        raise TypeError("where: give both input and other, or neither")
    mask = condition.data
    if mask.dtype.kind != "b":
        raise TypeError(
            f"where: condition must be a bool tensor, got {mask.dtype}; compare, as in x != 0"
        )
    if not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = as_tensor(input, like=condition)
    a, b = operands(input, other)
    check_devices("where", condition, a, b)
    try:
        return Where.apply(a, b, mask)
    except ValueError:
        check_broadcast("where", condition, a, b)
        raise


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input` with `value` where `mask` is true.

    Args:
        mask: a bool tensor that broadcasts with `input`.
        value: a number or a 0-d tensor; cast to the dtype of `input`.

    Raises:
        TypeError: `mask` is not bool.
        ValueError: `value` is a tensor with dimensions, or shapes do not broadcast.
    """
    input, mask = as_tensor(input), as_tensor(mask)
    if mask.data.dtype.kind != "b":
        raise TypeError(f"masked_fill: mask must be a bool tensor, got {mask.dtype}")
    if isinstance(value, Tensor):
        if value.data.ndim:
            raise ValueError(
                f"masked_fill: value must be a number or a 0-d tensor, got shape {value.shape}; "
                "for a tensor use where(mask, value, input)"
            )
        value = cast_like(value, input)
    elif isinstance(value, np.generic):
        value = value.item()  # a number of NumPy's would decide the dtype
    check_devices("masked_fill", input, mask, value)
    try:
        return Where.apply(value, input, mask.data)
    except ValueError:
        check_broadcast("masked_fill", input, mask)
        raise


def maximum(input: Any, other: Any) -> Tensor:
    """The greater of two, elementwise with broadcasting; NaN if one is NaN.

    Where they are equal, each gets half of the gradient.
    """
    return binary(Maximum, *_tensors(input, other))


def minimum(input: Any, other: Any) -> Tensor:
    """The smaller of two, elementwise with broadcasting; NaN if one is NaN.

    Where they are equal, each gets half of the gradient.
    """
    return binary(Minimum, *_tensors(input, other))


def sort(
    input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False
) -> ValuesIndices:
    """The elements along a dimension in rising order. NaN counts as the greatest.

    Args:
        descending: falling order instead.
        stable: keep equal elements in their order (slower on the CPU).

    Returns:
        (values, indices), both of the input's shape; indices int64.
    """
    input = as_tensor(input)
    dim = check_dim("sort", dim, input.ndim)
    index = _argsort(input.data, dim, descending, stable)
    return ValuesIndices(TakeAlong.apply(input, index, dim), wrap(index))


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The indices that sort the input along a dimension; see `sort`. Returns int64."""
    x = as_tensor(input).data
    return wrap(_argsort(x, check_dim("argsort", dim, x.ndim), descending, stable))


def topk(
    input: Tensor,
    k: int,
    dim: int = -1,
    largest: bool = True,
    sorted: bool = True,
) -> ValuesIndices:
    """The k largest elements along a dimension, the largest first. NaN counts as the greatest.

    Args:
        k: how many, from 0 to the length of the dimension.
        largest: False: the k smallest, the smallest first.
        sorted: False: in no particular order.

    Returns:
        (values, indices), of the input's shape with k in place of the dimension; indices int64.

    Raises:
        ValueError: k is out of range.
    """
    input = as_tensor(input)
    dim = check_dim("topk", dim, input.ndim)
    x = input.data
    xp = of(x).xp
    column = xp.atleast_1d(x)
    count = column.shape[dim]
    if not 0 <= k <= count:
        raise ValueError(
            f"topk: k = {k} is out of range for dimension {dim} of shape {input.shape}; "
            f"expected 0 to {count}"
        )
    if 0 < k < count:
        cut = count - k if largest else k - 1
        order = xp.argpartition(column, cut, axis=dim)
        index = order[_along(dim, slice(cut, None) if largest else slice(k))]
        if sorted:
            among = _argsort(xp.take_along_axis(column, index, dim), dim, largest, False)
            index = xp.take_along_axis(index, among, dim)
    else:
        index = _argsort(column, dim, largest, False)[_along(dim, slice(k))]
    if not x.ndim and k:
        index = index.reshape(())
    return ValuesIndices(TakeAlong.apply(input, index, dim), wrap(index))


def argmax(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    axis: int | None = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The index of the greatest element, the first of equals; NaN counts as the greatest.

    Args:
        dim: the dimension to search; None: all, the index into the flattened input.
        keepdim: keep the dimension, with length 1.
        axis, keepdims: NumPy's names of the same.

    Returns:
        int64, the input's shape without `dim`.

    Raises:
        IndexError: nothing to choose from.
    """
    return _arg("argmax", input, *numpy_names("argmax", dim, keepdim, axis, keepdims))


def argmin(
    input: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    axis: int | None = None,
    keepdims: bool | None = None,
) -> Tensor:
    """The index of the smallest element, the first of equals; see `argmax`."""
    return _arg("argmin", input, *numpy_names("argmin", dim, keepdim, axis, keepdims))


def nonzero(input: Tensor, as_tuple: bool = False) -> Any:
    """The indices of the elements that are not 0, in row-major order. Waits for a GPU.

    Args:
        as_tuple: return one tensor for each dimension instead, ready for indexing.

    Returns:
        int64 (count, ndim), or a tuple of ndim tensors (count,).
    """
    x = as_tensor(input).data
    xp = of(x).xp
    found = xp.nonzero(xp.atleast_1d(x))
    if as_tuple:
        return tuple(wrap(index) for index in found)
    if not x.ndim:
        return wrap(xp.zeros((found[0].shape[0], 0), "int64"))
    return wrap(xp.stack(found, axis=1))


def _tensors(input: Any, other: Any) -> tuple[Tensor, Tensor]:
    """Both operands as tensors of one dtype."""
    a, b = operands(input, other)
    if not isinstance(a, Tensor):
        a = cast_like(a, b)
    return a, cast_like(b, a)


def _argsort(x: Any, dim: int, descending: bool, stable: bool) -> Any:
    xp = of(x).xp
    shape, x = x.shape, xp.atleast_1d(x)
    kind = "stable" if stable else None
    if descending:
        # Sorting the turned input and turning the result keeps equals in order, and puts NaN first.
        index = xp.flip(xp.argsort(xp.flip(x, dim), axis=dim, kind=kind), dim)
        index = x.shape[dim] - 1 - index
    else:
        index = xp.argsort(x, axis=dim, kind=kind)
    return index.reshape(shape)


def _along(dim: int, part: slice) -> tuple[slice, ...]:
    """The index that takes `part` of a dimension."""
    return (slice(None),) * dim + (part,)


def _arg(op: str, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    x = as_tensor(input).data
    if dim is None:
        if not x.size:
            raise IndexError(f"{op}: an empty tensor of shape {x.shape} has no extreme; give dim")
        index = getattr(x, op)()
        return wrap(index.reshape((1,) * x.ndim) if keepdim else index)
    dim = check_dim(op, dim, x.ndim)
    if not x.ndim:
        return wrap(of(x).xp.zeros((), "int64"))
    if not x.shape[dim]:
        raise IndexError(f"{op}: dimension {dim} of shape {x.shape} is empty")
    return wrap(getattr(x, op)(axis=dim, keepdims=keepdim))
