"""Pieces that networks of several files are made of. Names of parameters as in torchvision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import nn
from ..autograd import Tensor

__all__ = ["ConvNormAct", "SqueezeExcitation"]


class ConvNormAct(nn.Sequential):
    """Convolution, normalisation, activation: children "0", "1" and "2".

    Args:
        in_channels, out_channels, kernel_size, stride, groups, dilation: of the convolution.
        padding: default: half of the dilated kernel, which keeps the size where the stride is 1.
        norm: makes the normalisation of so many channels; None: none, the convolution has a bias.
        act: makes the activation; None: none.
        bias: of the convolution; default: only without normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | None = None,
        *,
        groups: int = 1,
        dilation: int = 1,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        act: Callable[[], nn.Module] | None = nn.ReLU,
        bias: bool | None = None,
    ) -> None:
        if padding is None:
            padding = (kernel_size - 1) // 2 * dilation
        layers: list[Any] = [
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                padding,
                dilation,
                groups,
                bias=norm is None if bias is None else bias,
            )
        ]
        if norm is not None:
            layers.append(norm(out_channels))
        if act is not None:
            layers.append(act())
        super().__init__(*layers)
        self.out_channels = out_channels


class SqueezeExcitation(nn.Module):
    """Each channel times a gate in (0, 1) computed from the means of all. Hu et al. 2018, fig. 3.

    Args:
        input_channels: channels in and out.
        squeeze_channels: width in between; the paper's is input_channels / 16.
        activation: makes the inner non-linearity.
        scale_activation: makes the gate's.
    """

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
        scale_activation: Callable[[], nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, x: Tensor) -> Tensor:
        gate = self.activation(self.fc1(self.avgpool(x)))
        return x * self.scale_activation(self.fc2(gate))
