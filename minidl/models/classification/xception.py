"""Xception: Chollet, "Xception: deep learning with depthwise separable convolutions", 2016, fig. 5.

An Inception module in the extreme: mix channels and pixels entirely apart. All convolutions but the
first two are separable: a 3x3 one for each channel, then a 1x1 one, and no ReLU in between
(section 4.7 measures that it would hurt). Every block has a shortcut, the first and the last two
layers have none.

    flow      layers                                               output
    entry     conv 32, 3x3, stride 2; conv 64, 3x3                 147x147x64
              2 x separable 128, max pool; shortcut: 1x1           74x74x128
              2 x (ReLU, separable 256), max pool; shortcut        37x37x256
              2 x (ReLU, separable 728), max pool; shortcut        19x19x728
    middle    3 x (ReLU, separable 728), shortcut; eight times     19x19x728
    exit      ReLU, separable 728, ReLU, separable 1024,
              max pool; shortcut: 1x1                              10x10x1024
              separable 1536, ReLU; separable 2048, ReLU           10x10x2048
              mean; linear                                         classes

Each convolution is followed by batch norm. Pooling is 3x3 with stride 2. Parameters are called as
in timm's `legacy_xception`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from ..blocks import SeparableConv2d

__all__ = ["Block", "Xception", "xception"]


class Block(nn.Module):
    """Separable convolutions beside a shortcut; where the shape changes it is a 1x1 convolution.

    Args:
        in_channels: of the input.
        widths: output channels of the separable convolutions, one after the other.
        stride: 2: a max pooling ends the branch.
        start_with_relu: whether ReLU precedes the first convolution, as it does the others.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        stride: int = 1,
        start_with_relu: bool = True,
    ) -> None:
        super().__init__()
        layers: list[Any] = []
        channels = in_channels
        for width in widths:
            layers += [nn.ReLU(), SeparableConv2d(channels, width), nn.BatchNorm2d(width)]
            channels = width
        if not start_with_relu:
            layers = layers[1:]
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride, 1))
        self.rep = nn.Sequential(*layers)
        self.projects = stride > 1 or channels != in_channels
        if self.projects:
            self.skip = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.skipbn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.skipbn(self.skip(x)) if self.projects else x
        return self.rep(x) + shortcut


class Xception(nn.Module):
    """The network of figure 5.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer; section 4.3: 0.5 on ImageNet.
        stem: channels of the first two convolutions.
        entry: of the three blocks of the entry flow.
        middle: number of blocks of the middle flow.
        exit: channels at the end of the last block and of the two convolutions after it.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        dropout: float = 0.5,
        stem: tuple[int, int] = (32, 64),
        entry: Sequence[int] = (128, 256, 728),
        middle: int = 8,
        exit: tuple[int, int, int] = (1024, 1536, 2048),
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, stem[0], 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem[0])
        self.conv2 = nn.Conv2d(stem[0], stem[1], 3, bias=False)
        self.bn2 = nn.BatchNorm2d(stem[1])
        channels = stem[1]
        blocks: list[Block] = []
        for width in entry:
            blocks.append(Block(channels, (width, width), 2, start_with_relu=bool(blocks)))
            channels = width
        blocks += [Block(channels, (channels,) * 3) for _ in range(middle)]
        blocks.append(Block(channels, (channels, exit[0]), 2))
        self.blocks = [f"block{i}" for i in range(1, len(blocks) + 1)]
        for name, block in zip(self.blocks, blocks, strict=True):
            self.add_module(name, block)
        self.conv3 = SeparableConv2d(exit[0], exit[1])
        self.bn3 = nn.BatchNorm2d(exit[1])
        self.conv4 = SeparableConv2d(exit[1], exit[2])
        self.bn4 = nn.BatchNorm2d(exit[2])
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(exit[2], num_classes)
        for module in self.modules():  # as timm: the paper does not say
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        for name in self.blocks:
            x = getattr(self, name)(x)
        x = F.relu(self.bn3(self.conv3(x)))
        x = F.relu(self.bn4(self.conv4(x)))
        return self.fc(self.dropout(x.mean((2, 3))))


def xception(num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5) -> Xception:
    """Xception: Chollet, 2016, figure 5.

    22,855,952 parameters (table 3), made for pictures of 299x299. Published error on ImageNet
    21.0 %, of five guesses 5.5 % (table 1).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer.

    Returns:
        a network from (N, in_channels, H, W) to scores (N, num_classes).
    """
    return Xception(num_classes, in_channels=in_channels, dropout=dropout)
