"""Padding as a layer. Arguments as in torch.nn."""

from __future__ import annotations

from collections.abc import Sequence

from ..autograd import Tensor
from . import functional as F
from .conv import tuple_of
from .module import Module

__all__ = [
    "ConstantPad1d",
    "ConstantPad2d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ZeroPad1d",
    "ZeroPad2d",
]


class _Pad(Module):
    """Pads the last `count` dimensions.

    Args:
        padding: one number for all sides, or (left, right) or (left, right, top, bottom).
    """

    count: int
    mode = "constant"
    value = 0.0

    def __init__(self, padding: int | Sequence[int]) -> None:
        super().__init__()
        self.padding = tuple_of(padding, 2 * self.count)

    def forward(self, input: Tensor) -> Tensor:
        if self.mode == "constant":
            return F.pad(input, self.padding, value=self.value)
        return F.pad(input, self.padding, mode=self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad1d(_Pad):
    """Zeros around (N, C, L)."""

    count = 1


class ZeroPad2d(_Pad):
    """Zeros around (N, C, H, W)."""

    count = 2


class _ConstantPad(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """A constant around (N, C, L)."""

    count = 1


class ConstantPad2d(_ConstantPad):
    """A constant around (N, C, H, W)."""

    count = 2


class ReflectionPad1d(_Pad):
    """(N, C, L) mirrored at its edge pixels."""

    count = 1
    mode = "reflect"


class ReflectionPad2d(_Pad):
    """(N, C, H, W) mirrored at its edge pixels."""

    count = 2
    mode = "reflect"


class ReplicationPad1d(_Pad):
    """(N, C, L) with its edge pixels repeated."""

    count = 1
    mode = "replicate"


class ReplicationPad2d(_Pad):
    """(N, C, H, W) with its edge pixels repeated."""

    count = 2
    mode = "replicate"
