"""Wide residual networks for CIFAR: Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016.

Table 1, a network of depth 6n + 4 and widening factor k:

    stage      output size   layers
    conv1      32x32         3x3, 16
    layer1     32x32         n blocks of 3x3, 16k and 3x3, 16k
    layer2     16x16         n blocks of 3x3, 32k and 3x3, 32k
    layer3      8x8          n blocks of 3x3, 64k and 3x3, 64k
               1x1           mean of each map, linear

The depth counts convolutions; three of them are the projections with which the stages begin. The
blocks are those with full pre-activation of He et al. 2016, with dropout between the convolutions
(section 2.4, figure 1d).
"""

from __future__ import annotations

from ... import nn
from ...autograd import Tensor
from ...nn.fused import norm_relu

__all__ = ["WideBlock", "WideResNetCIFAR", "wide_resnet16_4", "wide_resnet28_10"]


class WideBlock(nn.Module):
    """shortcut + conv(dropout(relu(bn(conv(relu(bn(x))))))), with 3x3 convolutions.

    Where the number of channels changes, the shortcut is a 1x1 convolution of relu(bn(x)).

    Args:
        in_planes: input channels.
        planes: output channels.
        stride: of the first convolution.
        drop_rate: probability of dropout.
    """

    def __init__(self, in_planes: int, planes: int, stride: int, drop_rate: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.dropout = nn.Dropout(drop_rate)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Conv2d(in_planes, planes, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = norm_relu(self.bn1, x)
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        out = norm_relu(self.bn2, self.conv1(activated))
        return shortcut + self.conv2(self.dropout(out))


class WideResNetCIFAR(nn.Module):
    """The networks of table 1.

    Args:
        depth: 6n + 4 for n blocks in each stage.
        widen_factor: k.
        num_classes: number of outputs.
        drop_rate: probability of dropout in each block.
        in_channels: channels of the pictures.
        width: channels of the first convolution; the stages have k, 2k and 4k times as many.

    Raises:
        ValueError: a depth that is not 6n + 4.
    """

    def __init__(
        self,
        depth: int,
        widen_factor: int,
        num_classes: int = 10,
        drop_rate: float = 0.0,
        in_channels: int = 3,
        width: int = 16,
    ) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"WideResNetCIFAR: depth is 6n + 4 (10, 16, 22, 28, ...), not {depth}")
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        in_planes = width
        for number in (1, 2, 3):
            planes = width * widen_factor * 2 ** (number - 1)
            stage = nn.Sequential()
            for i in range(blocks):
                stride = 2 if number > 1 and i == 0 else 1
                stage.append(WideBlock(in_planes, planes, stride, drop_rate))
                in_planes = planes
            self.add_module(f"layer{number}", stage)
        self.bn = nn.BatchNorm2d(in_planes)
        self.linear = nn.Linear(in_planes, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # As in the authors' code: He et al. 2015, equation 14, by outgoing weights
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.linear(norm_relu(self.bn, x).mean((2, 3)))


def wide_resnet28_10(
    num_classes: int = 10, *, in_channels: int = 3, drop_rate: float = 0.0
) -> WideResNetCIFAR:
    """WRN-28-10 for CIFAR: Zagoruyko and Komodakis, 2016, tables 1 and 5.

    Published error on CIFAR-10, median of five runs: 4.00 %, with drop_rate 0.3 3.89 %.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        drop_rate: probability of dropout in each block; the paper's is 0.3 on CIFAR.

    Returns:
        a network from (N, in_channels, 32, 32) to scores (N, num_classes).
    """
    return WideResNetCIFAR(28, 10, num_classes, drop_rate, in_channels)


def wide_resnet16_4(
    num_classes: int = 10, *, in_channels: int = 3, drop_rate: float = 0.0
) -> WideResNetCIFAR:
    """WRN-16-4 for CIFAR: Zagoruyko and Komodakis, 2016, table 1.

    Arguments and result as `wide_resnet28_10`.
    """
    return WideResNetCIFAR(16, 4, num_classes, drop_rate, in_channels)
