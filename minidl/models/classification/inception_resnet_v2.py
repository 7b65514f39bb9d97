"""Inception-ResNet-v2: Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the
impact of residual connections on learning", 2016, figure 15.

Inception modules as residual branches. A 1x1 convolution without activation brings each to as many
maps as its input has, and it is scaled down before the sum, without which networks of more than
1000 maps died early in training (section 3.3).

    stage           output         module
    conv2d_1a       149x149x32     3x3, stride 2, no padding
    conv2d_2a       147x147x32     3x3, no padding
    conv2d_2b       147x147x64     3x3
    maxpool_3a       73x73x64      3x3, stride 2
    conv2d_3b        73x73x80      1x1
    conv2d_4a        71x71x192     3x3, no padding
    maxpool_5a       35x35x192     3x3, stride 2
    mixed_5b        35x35x320      Inception without shortcut
    repeat          35x35x320      10 x block35 (Inception-ResNet-A), scale 0.17
    mixed_6a        17x17x1088     reduction A, with k, l, m, n = 256, 256, 384, 384
    repeat_1        17x17x1088     20 x block17 (Inception-ResNet-B), scale 0.1
    mixed_7a         8x8x2080      reduction B
    repeat_2         8x8x2080       9 x block8 (Inception-ResNet-C), scale 0.2
    block8           8x8x2080       1 x block8, without scale and ReLU
    conv2d_7b        8x8x1536      1x1
    mean, dropout    1x1x1536
    linear          classes

This is the network that its authors released. Figure 15 has half of the blocks (5, 10, 5), the stem
of Inception-v4 and slightly other numbers of maps (figures 16 to 19).

Names of modules and parameters are timm's.
"""

from __future__ import annotations

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from ...ops.shape import cat
from .inception_blocks import BasicConv2d, Branches, Width, column, mean_pool, row, scaled_by
from .inception_v4 import reduction_a

__all__ = ["InceptionResNetV2", "ResidualInception", "inception_resnet_v2"]


class ResidualInception(nn.Module):
    """relu(x + scale * conv2d(branches)), from (N, channels, H, W) to the same shape.

    Args:
        channels: of the input.
        branches: modules side by side.
        joint: sum of their maps.
        scale: of the residual.
        relu: whether there is a ReLU after the sum.
    """

    def __init__(
        self,
        channels: int,
        branches: list[nn.Module],
        joint: int,
        scale: float,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.scale = scale
        self.relu = relu
        for i, branch in enumerate(branches):
            self.add_module(f"branch{i}", branch)
        self.branches = len(branches)
        self.conv2d = nn.Conv2d(joint, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = [getattr(self, f"branch{i}")(x) for i in range(self.branches)]
        y = x + self.conv2d(cat(parts, 1)) * self.scale
        return F.relu(y) if self.relu else y


def mixed_5b(in_channels: int, w: Width) -> Branches:
    """(N, in_channels, H, W) to 96 + 64 + 96 + 64 maps."""
    return Branches(
        {
            "branch0": BasicConv2d(in_channels, w(96), 1),
            "branch1": nn.Sequential(
                BasicConv2d(in_channels, w(48), 1), BasicConv2d(w(48), w(64), 5, padding=2)
            ),
            "branch2": nn.Sequential(
                BasicConv2d(in_channels, w(64), 1),
                BasicConv2d(w(64), w(96), 3, padding=1),
                BasicConv2d(w(96), w(96), 3, padding=1),
            ),
            "branch3": nn.Sequential(mean_pool(), BasicConv2d(in_channels, w(64), 1)),
        }
    )


def block35(channels: int, w: Width) -> ResidualInception:
    """Figure 16: 1x1, 3x3 and two 3x3."""
    branches = [
        BasicConv2d(channels, w(32), 1),
        nn.Sequential(BasicConv2d(channels, w(32), 1), BasicConv2d(w(32), w(32), 3, padding=1)),
        nn.Sequential(
            BasicConv2d(channels, w(32), 1),
            BasicConv2d(w(32), w(48), 3, padding=1),
            BasicConv2d(w(48), w(64), 3, padding=1),
        ),
    ]
    return ResidualInception(channels, branches, 2 * w(32) + w(64), 0.17)


def block17(channels: int, w: Width) -> ResidualInception:
    """Figure 17: 1x1, and 7x7 in factors."""
    branches = [
        BasicConv2d(channels, w(192), 1),
        nn.Sequential(
            BasicConv2d(channels, w(128), 1), row(w(128), w(160), 7), column(w(160), w(192), 7)
        ),
    ]
    return ResidualInception(channels, branches, 2 * w(192), 0.1)


def mixed_7a(in_channels: int, w: Width) -> Branches:
    """Figure 18: from 17x17 to 8x8, in_channels to 384 + 288 + 320 + in_channels maps."""
    return Branches(
        {
            "branch0": nn.Sequential(
                BasicConv2d(in_channels, w(256), 1), BasicConv2d(w(256), w(384), 3, stride=2)
            ),
            "branch1": nn.Sequential(
                BasicConv2d(in_channels, w(256), 1), BasicConv2d(w(256), w(288), 3, stride=2)
            ),
            "branch2": nn.Sequential(
                BasicConv2d(in_channels, w(256), 1),
                BasicConv2d(w(256), w(288), 3, padding=1),
                BasicConv2d(w(288), w(320), 3, stride=2),
            ),
            "branch3": nn.MaxPool2d(3, 2),
        }
    )


def block8(channels: int, w: Width, scale: float = 0.2, relu: bool = True) -> ResidualInception:
    """Figure 19: 1x1, and 3x3 in factors."""
    branches = [
        BasicConv2d(channels, w(192), 1),
        nn.Sequential(
            BasicConv2d(channels, w(192), 1), row(w(192), w(224), 3), column(w(224), w(256), 3)
        ),
    ]
    return ResidualInception(channels, branches, w(192) + w(256), scale, relu)


class InceptionResNetV2(nn.Module):
    """The network of the table above.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer.
        blocks: how many block35, block17 and block8, of these without the last.
        width: multiplies all numbers of maps.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        dropout: float = 0.2,
        blocks: tuple[int, int, int] = (10, 20, 9),
        width: float = 1.0,
    ) -> None:
        super().__init__()
        w = scaled_by(width)
        self.conv2d_1a = BasicConv2d(in_channels, w(32), 3, stride=2)
        self.conv2d_2a = BasicConv2d(w(32), w(32), 3)
        self.conv2d_2b = BasicConv2d(w(32), w(64), 3, padding=1)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b = BasicConv2d(w(64), w(80), 1)
        self.conv2d_4a = BasicConv2d(w(80), w(192), 3)
        self.maxpool_5a = nn.MaxPool2d(3, 2)
        self.mixed_5b = mixed_5b(w(192), w)
        channels = 2 * w(96) + 2 * w(64)
        self.repeat = nn.Sequential(*(block35(channels, w) for _ in range(blocks[0])))
        self.mixed_6a = reduction_a(channels, w(256), w(256), w(384), w(384))
        channels += 2 * w(384)
        self.repeat_1 = nn.Sequential(*(block17(channels, w) for _ in range(blocks[1])))
        self.mixed_7a = mixed_7a(channels, w)
        channels += w(384) + w(288) + w(320)
        self.repeat_2 = nn.Sequential(*(block8(channels, w) for _ in range(blocks[2])))
        self.block8 = block8(channels, w, scale=1.0, relu=False)
        self.conv2d_7b = BasicConv2d(channels, w(1536), 1)
        self.head_drop = nn.Dropout(dropout)
        self.classif = nn.Linear(w(1536), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(x)))
        x = self.conv2d_4a(self.conv2d_3b(self.maxpool_3a(x)))
        x = self.mixed_5b(self.maxpool_5a(x))
        x = self.mixed_6a(self.repeat(x))
        x = self.mixed_7a(self.repeat_1(x))
        x = self.conv2d_7b(self.block8(self.repeat_2(x)))
        return self.classif(self.head_drop(x.mean((2, 3))))


def inception_resnet_v2(
    num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.2
) -> InceptionResNetV2:
    """Inception-ResNet-v2: Szegedy, Ioffe, Vanhoucke, Alemi, 2016, figure 15.

    55,843,464 parameters; published error on ImageNet (validation, one crop, table 2) 19.9 %.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer.

    Returns:
        a network from (N, in_channels, 299, 299) to scores (N, num_classes); other sizes from 75
        serve, too.
    """
    return InceptionResNetV2(num_classes, in_channels=in_channels, dropout=dropout)
