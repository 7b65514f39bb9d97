"""Residual networks for CIFAR: He, Zhang, Ren, Sun, "Deep residual learning", 2015, section 4.2.

A 3x3 convolution, then three stages of n blocks of two 3x3 convolutions, then the mean of each map
and a linear layer: 6n + 2 layers with weights.

    stage      output size   channels
    conv1      32x32         16
    layer1     32x32         16
    layer2     16x16         32
    layer3      8x8          64

Parameters are called as in the widely used PyTorch port (`layer1.0.conv1.weight`,
`linear.weight`), whose weight files load once the prefix `module.` is taken off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F

__all__ = [
    "BasicBlock",
    "ResNetCIFAR",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
]


class BasicBlock(nn.Module):
    """relu(shortcut(x) + bn(conv(relu(bn(conv(x)))))), with 3x3 convolutions.

    Args:
        in_planes: input channels.
        planes: output channels.
        stride: of the first convolution.
        shortcut: what brings x to the shape of the sum; None: nothing is needed.
    """

    expansion = 1  # output channels / planes

    def __init__(
        self,
        in_planes: int,
        planes: int,
        stride: int = 1,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential() if shortcut is None else shortcut

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.shortcut(x))


class PadShortcut(nn.Module):
    """Option A: every `stride`-th pixel, and channels of zeros on both sides. No parameters."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra = planes - in_planes

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        before = self.extra // 2
        return F.pad(x, (0, 0, 0, 0, before, self.extra - before))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, extra={self.extra}"


def projection(in_planes: int, planes: int, stride: int) -> nn.Sequential:
    """Options B and C: a 1x1 convolution with batch norm."""
    return nn.Sequential(
        nn.Conv2d(in_planes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
    )


def make_shortcut(option: str, in_planes: int, planes: int, stride: int) -> nn.Module | None:
    """The shortcut of a block (section 3.3): A pads, B projects where shapes differ, C always."""
    if option == "C":
        return projection(in_planes, planes, stride)
    if stride == 1 and in_planes == planes:
        return None
    if option == "B":
        return projection(in_planes, planes, stride)
    return PadShortcut(in_planes, planes, stride)


class ResNetCIFAR(nn.Module):
    """The network of section 4.2.

    Args:
        blocks: n, the number of blocks in each stage.
        num_classes: number of outputs.
        shortcut: "A", "B" or "C"; see `make_shortcut`.
        in_channels: channels of the pictures.
        block: the class of the blocks, called with (in_planes, planes, stride, shortcut).

    Raises:
        ValueError: an unknown shortcut.
    """

    def __init__(
        self,
        blocks: int,
        num_classes: int = 10,
        shortcut: str = "A",
        in_channels: int = 3,
        block: Callable[..., Any] = BasicBlock,
    ) -> None:
        super().__init__()
        if shortcut not in ("A", "B", "C"):
            raise ValueError(f"ResNetCIFAR: shortcut is 'A', 'B' or 'C', not {shortcut!r}")
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        planes = 16
        for name, width, stride in (("layer1", 16, 1), ("layer2", 32, 2), ("layer3", 64, 2)):
            stage = nn.Sequential()
            for i in range(blocks):
                step = stride if i == 0 else 1
                way = make_shortcut(shortcut, planes, width, step)
                stage.append(block(planes, width, step, way))
                planes = width
            self.add_module(name, stage)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He et al. 2015 ("Delving deep into rectifiers"), equation 14: by outgoing weights
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def resnet20(num_classes: int = 10, shortcut: str = "A", in_channels: int = 3) -> ResNetCIFAR:
    """ResNet-20 for CIFAR: 269,722 parameters. Published error on CIFAR-10: 8.75 %.

    Args:
        num_classes: number of outputs.
        shortcut: "A" pads with zeros, "B" projects where the shape changes, "C" everywhere.
        in_channels: channels of the pictures.

    Returns:
        a network from (N, in_channels, 32, 32) to scores (N, num_classes).
    """
    return ResNetCIFAR(3, num_classes, shortcut, in_channels)


def resnet32(num_classes: int = 10, shortcut: str = "A", in_channels: int = 3) -> ResNetCIFAR:
    """ResNet-32 for CIFAR, 7.51 %; arguments as `resnet20`."""
    return ResNetCIFAR(5, num_classes, shortcut, in_channels)


def resnet44(num_classes: int = 10, shortcut: str = "A", in_channels: int = 3) -> ResNetCIFAR:
    """ResNet-44 for CIFAR, 7.17 %; arguments as `resnet20`."""
    return ResNetCIFAR(7, num_classes, shortcut, in_channels)


def resnet56(num_classes: int = 10, shortcut: str = "A", in_channels: int = 3) -> ResNetCIFAR:
    """ResNet-56 for CIFAR, 6.97 %; arguments as `resnet20`."""
    return ResNetCIFAR(9, num_classes, shortcut, in_channels)


def resnet110(num_classes: int = 10, shortcut: str = "A", in_channels: int = 3) -> ResNetCIFAR:
    """ResNet-110 for CIFAR, 6.43 % (needs a first epoch at a tenth of the rate); as `resnet20`."""
    return ResNetCIFAR(18, num_classes, shortcut, in_channels)
