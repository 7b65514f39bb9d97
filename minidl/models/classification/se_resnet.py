"""Squeeze-and-excitation networks: Hu, Shen, Sun, CVPR 2018, table 1.

    stage      output    SE-ResNet-50           SE-ResNeXt-50 (32x4d)         101 layers
    layer0     112x112   7x7, 64, stride 2
    pool0       56x56    3x3, stride 2
    layer1      56x56    3 of 64/256, fc 16     3 of 128/256, C=32, fc 16     3
    layer2      28x28    4 of 128/512, fc 32    4 of 256/512, C=32, fc 32     4
    layer3      14x14    6 of 256/1024, fc 64   6 of 512/1024, C=32, fc 64   23
    layer4       7x7     3 of 512/2048, fc 128  3 of 1024/2048, C=32, fc 128  3
    last_linear          mean of each map, linear to the classes
    multiply-adds        3.87 G                 4.25 G                        7.60 G  (table 2)

Each bottleneck ends with a gate: the mean of each channel, a layer of a sixteenth of the width
("fc"), one of the full width, a sigmoid; its result multiplies the channels. 3 of 64/256 are three
bottlenecks of 64 channels inside and 256 outside.

These are the authors' networks (Caffe): SE-ResNet has the stride of a block in its first 1x1,
SE-ResNeXt in its 3x3, and the max-pooling covers the last row and column instead of padding on all
sides. Parameters are called as in timm (legacy_seresnet50 ...). `resnet50(se=True)` is the same
idea on torchvision's ResNet-50.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from ..blocks import SqueezeExcitation
from .resnet import Bottleneck, BottleneckV1, make_downsample

__all__ = [
    "SENet",
    "SEResNeXtBottleneck",
    "SEResNetBottleneck",
    "se_resnet50",
    "se_resnet101",
    "se_resnext50_32x4d",
]


class SEResNetBottleneck(BottleneckV1):
    """The bottleneck with the stride in its first 1x1, and a gate. Figure 3.

    Args:
        inplanes: input channels.
        planes: a quarter of the output channels.
        stride: of the block.
        downsample: brings x to the shape of the sum; None: x as it is.
        groups, base_width: the 3x3 has `groups` groups of planes * base_width / 64 channels.
        reduction: r, channels / inner width of the gate.
    """

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        reduction: int = 16,
    ) -> None:
        super().__init__(inplanes, planes, stride, downsample, groups, base_width)
        channels = planes * self.expansion
        self.se_module = SqueezeExcitation(channels, max(1, channels // reduction))

    def residual(self, x: Tensor) -> Tensor:
        return self.se_module(super().residual(x))


class SEResNeXtBottleneck(SEResNetBottleneck):
    """The same with the stride in the 3x3."""

    stride_in_1x1 = False


class SENet(nn.Module):
    """The networks of table 1.

    Args:
        block: `SEResNetBottleneck` or `SEResNeXtBottleneck`.
        layers: number of blocks in each of the four stages.
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        width: `planes` of layer1; those of the others are 2, 4 and 8 times as many.
        groups: of the 3x3.
        width_per_group: channels of a group where `planes` is 64.
        reduction: r, channels / inner width of a gate; 16 in the paper.
        dropout: probability before the classifier; none in the paper's networks.
    """

    def __init__(
        self,
        block: type[SEResNetBottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        width: int = 64,
        groups: int = 1,
        width_per_group: int = 64,
        reduction: int = 16,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.layer0 = nn.Sequential()
        self.layer0.add_module("conv1", nn.Conv2d(in_channels, width, 7, 2, 3, bias=False))
        self.layer0.add_module("bn1", nn.BatchNorm2d(width))
        self.layer0.add_module("relu1", nn.ReLU())
        self.pool0 = nn.MaxPool2d(3, 2, ceil_mode=True)
        inplanes = width
        for i, blocks in enumerate(layers):
            planes = width * 2**i
            channels = planes * Bottleneck.expansion
            stage = nn.Sequential()
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                downsample = make_downsample("B", inplanes, channels, stride)
                stage.append(
                    block(inplanes, planes, stride, downsample, groups, width_per_group, reduction)
                )
                inplanes = channels
            self.add_module(f"layer{i + 1}", stage)
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(inplanes, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He et al. 2015, "Delving deep into rectifiers", equation 14
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """The maps that layer4 makes of (N, in_channels, H, W)."""
        x = self.pool0(self.layer0(x))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        x = self.global_pool(self.forward_features(x)).flatten(1)
        return self.last_linear(self.dropout(x))


def se_resnet50(num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.0) -> SENet:
    """SE-ResNet-50: Hu et al. 2018, table 1; 28,088,024 parameters, 3.87 G multiply-adds.

    Top-1 error 23.29 %, ResNet-50 24.80 % (table 2).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the classifier.

    Returns:
        a network from (N, in_channels, 224, 224), or another size, to scores (N, num_classes).
    """
    block, layers = SEResNetBottleneck, (3, 4, 6, 3)
    return SENet(block, layers, num_classes, in_channels=in_channels, dropout=dropout)


def se_resnet101(num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.0) -> SENet:
    """SE-ResNet-101: Hu et al. 2018, table 2; 49,326,872 parameters, 7.60 G multiply-adds.

    Top-1 error 22.38 %, ResNet-101 23.17 % (table 2). Arguments as `se_resnet50`.
    """
    block, layers = SEResNetBottleneck, (3, 4, 23, 3)
    return SENet(block, layers, num_classes, in_channels=in_channels, dropout=dropout)


def se_resnext50_32x4d(
    num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.0
) -> SENet:
    """SE-ResNeXt-50 (32x4d): Hu et al. 2018, table 1; 27,559,896 parameters, 4.25 G multiply-adds.

    Top-1 error 21.10 %, ResNeXt-50 22.11 % (table 2). Arguments as `se_resnet50`.
    """
    return SENet(
        SEResNeXtBottleneck,
        (3, 4, 6, 3),
        num_classes,
        in_channels=in_channels,
        groups=32,
        width_per_group=4,
        dropout=dropout,
    )
