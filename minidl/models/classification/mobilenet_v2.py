"""MobileNetV2: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: inverted residuals and linear
bottlenecks", 2018, table 2.

A residual unit turned inside out: the shortcut joins the narrow ends, in between a depthwise
convolution works on t times as many channels, and the last convolution has no activation, because
ReLU would lose information of so few channels (section 3.2).

    input         operator       t   c     n   s
    224x224x3     conv 3x3       -     32  1   2
    112x112x32    bottleneck     1     16  1   1
    112x112x16    bottleneck     6     24  2   2
     56x56x24     bottleneck     6     32  3   2
     28x28x32     bottleneck     6     64  4   2
     14x14x64     bottleneck     6     96  3   1
     14x14x96     bottleneck     6    160  3   2
      7x7x160     bottleneck     6    320  1   1
      7x7x320     conv 1x1       -   1280  1   1
      7x7x1280    mean, linear   -      k  -   -

(t is the expansion, c the number of output channels, n how often the unit is repeated, s the
stride of the first of them.)

Parameters are called as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from ..blocks import ConvNormAct, init_fan_out, inverted_residual, make_divisible

__all__ = ["TABLE_2", "InvertedResidual", "MobileNetV2", "mobilenet_v2"]

# (t, c, n, s) of the bottlenecks
TABLE_2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """The bottleneck of table 1: 1x1 to t times the channels, 3x3 depthwise, 1x1 without ReLU.

    Args:
        in_channels, out_channels: of the unit; equal ones are joined by a shortcut if stride is 1.
        stride: of the depthwise convolution.
        expand_ratio: t; 1: the first convolution is left out.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expand_ratio: int) -> None:
        super().__init__()
        *front, project = inverted_residual(
            in_channels, in_channels * expand_ratio, out_channels, stride=stride, act=nn.ReLU6
        )
        self.conv = nn.Sequential(*front, *project)
        self.use_res_connect = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """The network of table 2.

    Args:
        num_classes: number of outputs.
        width_mult: multiplies all numbers of channels, see `make_divisible`; below 1 not that of
            the last convolution (section 4, "trade-off hyper parameters").
        in_channels: channels of the pictures.
        dropout: probability before the linear layer; the paper does not say, torchvision's is 0.2.
        small_input: strides 1 for the first convolution and for the units of 24 channels.
        setting: rows (t, c, n, s) of bottlenecks.
        first_channels, last_channels: of the first and the last convolution.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        *,
        in_channels: int = 3,
        dropout: float = 0.2,
        small_input: bool = False,
        setting: Sequence[tuple[int, int, int, int]] = TABLE_2,
        first_channels: int = 32,
        last_channels: int = 1280,
    ) -> None:
        super().__init__()
        channels = make_divisible(first_channels * width_mult)
        last = make_divisible(last_channels * max(1.0, width_mult))
        self.features = nn.Sequential(
            ConvNormAct(in_channels, channels, 3, 1 if small_input else 2, act=nn.ReLU6)
        )
        for row, (t, c, n, s) in enumerate(setting):
            out = make_divisible(c * width_mult)
            for i in range(n):
                stride = s if i == 0 and not (small_input and row == 1) else 1
                self.features.append(InvertedResidual(channels, out, stride, t))
                channels = out
        self.features.append(ConvNormAct(channels, last, 1, act=nn.ReLU6))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        init_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def mobilenet_v2(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    width_mult: float = 1.0,
    dropout: float = 0.2,
    small_input: bool = False,
) -> MobileNetV2:
    """MobileNetV2: Sandler, Howard, Zhu, Zhmoginov, Chen, 2018, table 2.

    3,504,872 parameters, 300 million multiply-adds at 224x224, published error on ImageNet 28.0 %
    (table 4); with width_mult=1.4: 25.3 % for 585 million.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        width_mult: multiplies the numbers of channels; results are rounded to multiples of 8.
        dropout: probability before the linear layer.
        small_input: for pictures of about 32x32, as is customary for CIFAR: the first two of the
            five strides become 1, so that 32x32 ends as 4x4 and not as 1x1. The same parameters.

    Returns:
        a network from (N, in_channels, H, W) to scores (N, num_classes).
    """
    return MobileNetV2(
        num_classes,
        width_mult,
        in_channels=in_channels,
        dropout=dropout,
        small_input=small_input,
    )
