"""What the operations share: operands of mixed types, broadcasting undone, and masks."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..autograd.tensor import DEFAULT_FLOAT, wrap
from ..backend import of, quiet

__all__ = [
    "BroadcastTo",
    "Cast",
    "Masked",
    "SumTo",
    "as_float",
    "as_tensor",
    "astype",
    "binary",
    "broadcast_to",
    "cast_like",
    "check_broadcast",
    "check_devices",
    "check_dim",
    "check_dims",
    "masked",
    "numpy_names",
    "operands",
    "quiet",
    "sum_to",
    "zeros_like",
]

# Categories of dtypes, in rising order: the higher one decides the result (as in torch).
_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "V": 2}


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """`value` as a Tensor: itself if it is one, else on the device of `like`."""
    if isinstance(value, Tensor):
        return value
    return Tensor(value, device=None if like is None else like.device)


def cast_like(value: Any, like: Tensor) -> Tensor:
    """A tensor in the dtype of `like`, or a number as a 0-d tensor of its dtype and device."""
    if isinstance(value, Tensor):
        return astype(value, like.data.dtype)
    return Tensor(value, dtype=like.data.dtype, device=like.device)


def check_dim(op: str, dim: Any, ndim: int) -> int:
    """`dim` counted from the front; -1 is the last dimension. A 0-d tensor counts as one of 1-d.

    Raises:
        IndexError: there is no such dimension; the message names `op`.
        TypeError: not an integer.
    """
    try:
        dim, count = operator.index(dim), max(ndim, 1)
    except TypeError:
        raise TypeError(f"{op}: a dimension is given as an integer, not as {dim!r}") from None
    if not -count <= dim < count:
        raise IndexError(
            f"{op}: dimension {dim} is out of range for a tensor with {ndim} dimension(s); "
            f"expected {-count} to {count - 1}"
        )
    return dim % count


def check_dims(op: str, dim: Any, ndim: int) -> tuple[int, ...]:
    """The dimensions to reduce, counted from the front: one, several, or (None, ()) all of them.

    Raises:
        IndexError: there is no such dimension.
        ValueError: a dimension is named twice.
    """
    if dim is None:
        return tuple(range(ndim))
    if not isinstance(dim, (tuple, list)):
        return (check_dim(op, dim, ndim),)[:ndim]
    if not dim:
        return tuple(range(ndim))
    dims = tuple([check_dim(op, d, ndim) for d in dim])
    if len(set(dims)) < len(dims):
        raise ValueError(f"{op}: a dimension is named twice in {tuple(dim)}")
    return dims[:ndim]


def numpy_names(op: str, dim: Any, keepdim: bool, axis: Any, keepdims: bool | None) -> Any:
    """(dim, keepdim) where they may have been given under NumPy's names."""
    if axis is not None:
        if dim is not None:
            raise TypeError(f"{op}: dim and axis are two names of one argument; give one")
        dim = axis
    return dim, keepdim if keepdims is None else keepdims


def as_float(input: Any) -> Tensor:
    """`input` as a floating-point Tensor: integers become the default float dtype."""
    x = as_tensor(input)
    return x if x.data.dtype.kind in "fV" else astype(x, DEFAULT_FLOAT)


def operands(input: Any, other: Any, to_float: bool = False) -> tuple[Any, Any]:
    """The two operands of an elementwise operation, ready for arrays.

    A Tensor stays a Tensor, cast if the other one's dtype decides; a scalar becomes a Python
    number, which never changes a dtype within its category (a NumPy scalar would: NEP 50).

    Args:
        to_float: whether the operation has floating-point results only (true division).
    """
    if isinstance(input, Tensor) and isinstance(other, Tensor):
        dtype = input.data.dtype
        if dtype is other.data.dtype and (dtype.kind in "fV" or not to_float):
            return input, other  # by far the most frequent case
    elif not isinstance(input, Tensor) and not isinstance(other, Tensor):
        input = as_tensor(input)
    a, b = _operand(input, other), _operand(other, input)
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.data.dtype is not b.data.dtype and a.data.dtype != b.data.dtype:
            dtype = _promote(a.data, b.data)
            a, b = astype(a, dtype), astype(b, dtype)
        if to_float and a.data.dtype.kind not in "fV":
            a, b = astype(a, DEFAULT_FLOAT), astype(b, DEFAULT_FLOAT)
    elif isinstance(a, Tensor):
        if a.data.dtype.kind not in "fV" and (to_float or type(b) is float):
            a = astype(a, DEFAULT_FLOAT)
    elif b.data.dtype.kind not in "fV" and (to_float or type(a) is float):
        b = astype(b, DEFAULT_FLOAT)
    return a, b


def binary(function: type[Function], input: Any, other: Any, to_float: bool = False) -> Tensor:
    """`function` of two operands that broadcast; its name appears in errors."""
    a, b = operands(input, other, to_float)
    try:
        return function.apply(a, b)
    except ValueError:
        check_broadcast(function.__name__.lower(), a, b)
        raise


def check_broadcast(op: str, *operands: Any) -> None:
    """Raise an error that names `op` if the operands' shapes do not broadcast."""
    shapes = [tuple(np.shape(x)) for x in operands]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            f"{op}: shapes {' and '.join(map(str, shapes))} do not broadcast; counted from the "
            "last dimension, lengths must be equal or 1"
        ) from None


def check_devices(op: str, *operands: Any) -> None:
    """Raise an error that names `op` if tensors among the operands are on different devices."""
    tensors = [x for x in operands if isinstance(x, Tensor)]
    if len({type(x.data) for x in tensors}) > 1:
        found = ", ".join(f"{x.shape} on {x.device}" for x in tensors)
        raise RuntimeError(f"{op}: tensors are on different devices ({found}); use .to(device)")


def _operand(value: Any, partner: Any) -> Any:
    kind = type(value)
    if kind is float or kind is int or isinstance(value, Tensor) or kind is bool:
        return value
    if isinstance(value, np.generic):
        return value.item()
    return as_tensor(value, partner if isinstance(partner, Tensor) else None)


def _promote(a: Any, b: Any) -> np.dtype:
    """The dtype of a result: of the higher category; within one, NumPy's promotion.

    A 0-d tensor yields to one with dimensions, as in torch.
    """
    high, low = (a, b) if _CATEGORY[a.dtype.kind] >= _CATEGORY[b.dtype.kind] else (b, a)
    if _CATEGORY[high.dtype.kind] > _CATEGORY[low.dtype.kind]:
        return high.dtype
    if a.ndim and not b.ndim:
        return a.dtype
    if b.ndim and not a.ndim:
        return b.dtype
    return np.promote_types(a.dtype, b.dtype)


class Cast(Function):
    """The same numbers in another dtype; the gradient is cast back.

    Attributes:
        shared: whether several graphs begin with this result, as with a weight that `autocast`
            casts once: then the first backward pass does not end it.
    """

    shared = False

    def forward(self, x: Any, dtype: Any) -> Any:
        self.dtype = x.dtype
        return x.astype(dtype)

    def backward(self, grad: Tensor) -> Any:
        return astype(grad, self.dtype)

    def free(self) -> None:
        if not self.shared:
            super().free()


def astype(input: Tensor, dtype: Any) -> Tensor:
    """`input` in another dtype; itself if it has that dtype already."""
    dtype = np.dtype(dtype)
    return input if input.data.dtype == dtype else Cast.apply(input, dtype)


class BroadcastTo(Function):
    """Repeat along axes of length 1 and new leading axes. A view; the adjoint of SumTo."""

    view = True

    def forward(self, x: Any, shape: tuple[int, ...]) -> Any:
        self.shape = x.shape
        return of(x).xp.broadcast_to(x, shape)

    def backward(self, grad: Tensor) -> Any:
        return sum_to(grad, self.shape)


def broadcast_to(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`input` broadcast to `shape`, without a copy: do not write into the result."""
    return input if input.data.shape == shape else BroadcastTo.apply(input, shape)


class SumTo(Function):
    """Sum over the axes along which `shape` was broadcast. The adjoint of BroadcastTo."""

    def forward(self, x: Any, shape: tuple[int, ...]) -> Any:
        self.shape = x.shape
        lead = x.ndim - len(shape)
        axes = tuple(range(lead)) + tuple(
            i + lead for i, n in enumerate(shape) if n == 1 and x.shape[i + lead] != 1
        )
        return x.sum(axis=axes, keepdims=True).reshape(shape)

    def backward(self, grad: Tensor) -> Any:
        return broadcast_to(grad, self.shape)


def sum_to(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`input` summed to `shape`: what broadcasting did, undone for a gradient."""
    return input if input.data.shape == shape else SumTo.apply(input, shape)


class Masked(Function):
    """x where the mask is true, else 0. Its own adjoint.

    The product x * mask would be the same but for inf and NaN, which it lets through as NaN.
    """

    def forward(self, x: Any, mask: Any) -> Any:
        self.save_for_backward(mask)
        return of(x).masked(x, mask)

    def backward(self, grad: Tensor) -> Any:
        (mask,) = self.saved_tensors
        return masked(grad, mask.data)


def masked(input: Tensor, mask: Any) -> Tensor:
    """`input` where `mask`, a boolean array that broadcasts to its shape, is true, else 0."""
    return Masked.apply(input, mask)


def zeros_like(input: Tensor) -> Tensor:
    """Zeros of the shape and dtype of `input`: the gradient of a step function."""
    x = input.data
    return wrap(of(x).xp.zeros(x.shape, x.dtype))
