"""Another dtype or another device: `x.to(...)` and its short forms.

Both are differentiable: the gradient is cast, or moved, back.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import Function, Tensor
from ..autograd.tensor import DEFAULT_FLOAT, wrap
from ..backend import by_name, of
from ..backend import device as device_of
from .common import astype
from .shape import clone

__all__ = ["to"]


class Move(Function):
    """The same numbers on another device; the gradient is moved back."""

    def forward(self, x: Any, target: device_of, non_blocking: bool = False) -> Any:
        backend = of(x)
        index = backend.index_of(x)
        self.source = device_of(backend.name if index is None else f"{backend.name}:{index}")
        there = by_name(target)
        if non_blocking and there.is_pinned(x):
            return there.send(x, target.index).receive()
        return there.asarray(x, None, target.index)

    def backward(self, grad: Tensor) -> Any:
        return Move.apply(grad, target=self.source)


def to(
    input: Tensor,
    *args: Any,
    dtype: Any = None,
    device: Any = None,
    non_blocking: bool = False,
    copy: bool = False,
) -> Tensor:
    """`input` in another dtype and on another device; itself if nothing changes.

    Args:
        args: a dtype, a device, a device and a dtype, or a tensor to be like in both.
        non_blocking: whether a copy of pinned memory (`x.pin_memory()`) to a GPU may go on while
            this returns; do not change `input` then. Copies of other memory to a GPU never wait,
            copies from it do.
        copy: make a copy in any case.

    Raises:
        TypeError: an argument that is none of these.
        ValueError, RuntimeError: an unknown device, or one that cannot be used.
    """
    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif isinstance(arg, device_of) or (isinstance(arg, str) and _names_device(arg)):
            device = arg
        else:
            dtype = arg
    result = input
    if dtype is not None:
        try:
            dtype = np.dtype(dtype)
        except TypeError:
            raise TypeError(f"to: {dtype!r} is neither a dtype, a device nor a tensor") from None
        if dtype.kind not in "biufV":
            raise TypeError(f"to: tensors hold booleans, integers or floats, not {dtype}")
        result = astype(result, dtype)
    if device is not None:
        target = device_of(device)
        if target.index is None and target.type == result.device.type:
            target = result.device  # "cuda" is wherever on a GPU it is
        if target != result.device:
            result = Move.apply(result, target=target, non_blocking=non_blocking)
    return clone(result) if copy and result is input else result


def _names_device(text: str) -> bool:
    try:
        device_of(text)
    except ValueError:
        return False
    return True


def pin_memory(input: Tensor, device: Any = "cuda") -> Tensor:
    """A CPU tensor in memory that a GPU can copy from by itself; itself if it is there already.

    Raises:
        RuntimeError: there is no GPU, or the tensor is on one.
    """
    backend = by_name(device)
    if of(input.data).name != "cpu":
        raise RuntimeError(f"pin_memory: only CPU tensors can be pinned, this is on {input.device}")
    if backend.is_pinned(input.data):
        return input
    memory = backend.pinned(input.shape, input.dtype)
    memory[...] = input.data
    return wrap(memory)


def is_pinned(input: Tensor, device: Any = "cuda") -> bool:
    """Whether the tensor lies in pinned memory; touches no GPU where there is none."""
    try:
        return by_name(device).is_pinned(input.data)
    except RuntimeError:
        return False


def type_(input: Tensor, dtype: Any) -> Tensor:
    """`x.type(dtype)`: `input` in another dtype."""
    return to(input, dtype=dtype)


def float_(input: Tensor) -> Tensor:
    """`x.float()`: as float32."""
    return astype(input, DEFAULT_FLOAT)


def double(input: Tensor) -> Tensor:
    """As float64."""
    return astype(input, np.float64)


def half(input: Tensor) -> Tensor:
    """As float16."""
    return astype(input, np.float16)


def long(input: Tensor) -> Tensor:
    """As int64."""
    return astype(input, np.int64)


def int_(input: Tensor) -> Tensor:
    """`x.int()`: as int32."""
    return astype(input, np.int32)


def bool_(input: Tensor) -> Tensor:
    """`x.bool()`: true where it is not zero."""
    return astype(input, np.bool_)
