"""Fully connected layers."""

from __future__ import annotations

from typing import Any

from ..autograd import Tensor
from . import functional as F
from .init import reset_linear
from .module import Module, Parameter, new_tensor, parameter_if

__all__ = ["Linear"]


class Linear(Module):
    """y = x W^T + b, on the last dimension.

    Args:
        in_features: length of the last dimension of the input.
        out_features: length of the last dimension of the output.
        bias: whether b is added.
        device: where the parameters are made.
        dtype: their dtype; default float32.

    Attributes:
        weight: (out_features, in_features), at first uniform within 1 / sqrt(in_features).
        bias: (out_features,), likewise; or None.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(new_tensor((out_features, in_features), 0, device, dtype))
        self.register_parameter("bias", parameter_if(bias, (out_features,), 0, device, dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new initial values."""
        reset_linear(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
