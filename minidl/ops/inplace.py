"""Changes in place: x += y, x.add_(y), x.zero_() ...

Where gradients must flow (operations are recorded, and x or an operand requires a gradient), x
becomes the result of the ordinary operation and its old memory is left alone: what saved it for
backward stays right. A leaf that requires a gradient cannot be changed like this, nor a view: the
tensor whose memory it shares would keep its old values.

Otherwise (under no_grad, or without any gradient) the numbers are written into x's memory, where
all views of it see them, and its version rises: a backward that needs the old numbers reports it.

Either way x keeps its dtype and shape, and the result must fit in them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..autograd.modes import mode
from ..autograd.tensor import DEFAULT_FLOAT
from ..backend import of
from ..backend.random import host_generator
from .common import _CATEGORY, as_tensor, astype, check_broadcast, quiet
from .indexing import check_writable, setitem

__all__: list[str] = []

# Operations that exist in place as a method of the same name with an underscore.
METHODS = [
    *("abs", "neg", "square", "reciprocal", "pow", "clamp", "exp", "log", "sqrt", "sin", "cos"),
    *("relu", "sigmoid", "tanh", "erf", "masked_fill", "scatter", "scatter_add", "index_put"),
    *("tril", "triu"),
]


def _recorded(x: Tensor, *others: Any) -> bool:
    """Whether gradients flow through a change of `x`."""
    return mode.recording and (
        x.requires_grad or any(isinstance(y, Tensor) and y.requires_grad for y in others)
    )


def _fitting(op: str, x: Tensor, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Refuse a result that does not fit into `x`."""
    if shape != x.shape:
        raise ValueError(f"{op}: a result of shape {shape} does not fit into {x.shape}")
    if _CATEGORY[dtype.kind] > _CATEGORY[x.dtype.kind]:
        raise TypeError(
            f"{op}: a result of dtype {dtype} does not fit into a tensor of {x.dtype}; write "
            "x = x + y instead of x += y"
        )


def become(name: str, x: Tensor, function: Callable[[Tensor], Tensor], *others: Any) -> Tensor:
    """`function(x)` put into x itself, which is returned; `others` are its other operands."""
    recorded = _recorded(x, *others)
    if recorded:
        x.check_change()
    result = function(x if recorded else x.detach())
    _fitting(name, x, result.shape, result.dtype)
    if recorded:
        return x.adopt(astype(result, x.dtype))
    check_writable(x, name)
    x.data[...] = result.data
    x.bump_version()
    return x


def in_place(method: str) -> Callable[..., Tensor]:
    """The form of Tensor's `method` that changes the tensor itself."""
    name = f"{method}_"

    def change(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return become(
            name,
            self,
            lambda x: getattr(x, method)(*args, **kwargs),
            *args,
            *kwargs.values(),
        )

    change.__name__ = name
    change.__doc__ = (
        f"`{method}` into the tensor itself, which is returned. See minidl/ops/inplace.py."
    )
    return change


# -- arithmetic: without a temporary array --------------------------------------------------------


@quiet
def _arithmetic(self: Tensor, method: str, ufunc: str, other: Any) -> Tensor:
    """self = self (+ - * /) other, in self's memory where no gradient flows."""
    name = f"{method}_"
    if isinstance(other, np.generic):
        other = other.item()
    number = isinstance(other, (bool, int, float))
    if not number:
        other = as_tensor(other, self)
    if _recorded(self, other):
        return become(name, self, lambda x: getattr(x, method)(other), other)
    operand = other if number else other.data
    dtype = np.result_type(operand) if number else operand.dtype
    if ufunc == "true_divide" and dtype.kind in "biu":
        dtype = DEFAULT_FLOAT
    check_broadcast(name, self.data, operand)
    _fitting(name, self, np.broadcast_shapes(self.shape, np.shape(operand)), dtype)
    check_writable(self, name)
    if not number and other._version is self._version and other is not self:
        operand = operand.copy()  # another view of the memory that is written to
    getattr(of(self.data).xp, ufunc)(self.data, operand, out=self.data, casting="unsafe")
    self.bump_version()
    return self


def add_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """self += alpha * other, in place."""
    return _arithmetic(self, "add", "add", other if alpha == 1 else _scaled(other, alpha))


def sub_(self: Tensor, other: Any, *, alpha: float = 1) -> Tensor:
    """self -= alpha * other, in place."""
    return _arithmetic(self, "sub", "subtract", other if alpha == 1 else _scaled(other, alpha))


def mul_(self: Tensor, other: Any) -> Tensor:
    """self *= other, in place."""
    return _arithmetic(self, "mul", "multiply", other)


def div_(self: Tensor, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """self /= other, in place."""
    if rounding_mode is not None:
        return _rounded_div(self, other, rounding_mode=rounding_mode)
    return _arithmetic(self, "div", "true_divide", other)


_rounded_div = in_place("div")


def _scaled(other: Any, alpha: float) -> Any:
    return as_tensor(other) * alpha if not isinstance(other, (int, float)) else other * alpha


def augmented(method: str, change: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`x += y` and the like.

    Python runs x[key] += y as `part = x[key]; part += y; x[key] = part`. So the recorded form on a
    view made by indexing is an ordinary operation: the assignment that follows puts it in place.
    """

    def operator(self: Tensor, other: Any) -> Tensor:
        if self._view == "Slice" and _recorded(self, other):
            return astype(getattr(self, method)(other), self.dtype)
        return change(self, other)

    return operator


# -- filled, copied, drawn ------------------------------------------------------------------------


def fill_(self: Tensor, value: Any) -> Tensor:
    """Every element becomes `value`."""
    setitem(self, ..., value)
    return self


def zero_(self: Tensor) -> Tensor:
    """Every element becomes 0."""
    return fill_(self, 0)


def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """The values of `src`, which broadcasts and may be of any dtype and on any device."""
    if isinstance(src, Tensor):
        src = src.to(self.device)
    setitem(self, ..., src)
    return self


def normal_(
    self: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    *,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """Filled with numbers from the normal distribution, drawn on the host."""
    return _draw(
        self, generator, lambda rng, kind: rng.standard_normal(self.shape, kind), std, mean
    )


def uniform_(
    self: Tensor,
    low: float = 0.0,
    high: float = 1.0,
    *,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """Filled with numbers drawn uniformly from [low, high) on the host."""
    return _draw(self, generator, lambda rng, kind: rng.random(self.shape, kind), high - low, low)


def bernoulli_(
    self: Tensor, p: float = 0.5, *, generator: np.random.Generator | None = None
) -> Tensor:
    """Filled with 1 with probability p, else 0, drawn on the host."""
    rng = host_generator() if generator is None else generator
    setitem(self, ..., rng.random(self.shape, np.float32) < p)
    return self


def _draw(
    self: Tensor,
    generator: np.random.Generator | None,
    draw: Callable[[np.random.Generator, Any], Any],
    scale: float,
    shift: float,
) -> Tensor:
    if not self.is_floating_point():
        raise TypeError(f"random real numbers need a floating-point tensor, got {self.dtype}")
    rng = host_generator() if generator is None else generator
    precision = np.float64 if self.dtype == np.float64 else np.float32
    setitem(self, ..., draw(rng, precision) * float(scale) + float(shift))
    return self
