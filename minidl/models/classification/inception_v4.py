"""Inception-v4: Szegedy, Ioffe, Vanhoucke, Alemi, "Inception-v4, Inception-ResNet and the impact of
residual connections on learning", 2016, figure 9.

Uniform modules, each kind in one figure of the paper:

    stage             output         figure
    stem              35x35x384      3
    4 x inception_a   35x35x384      4
    reduction_a       17x17x1024     7, with k, l, m, n = 192, 224, 256, 384
    7 x inception_b   17x17x1024     5
    reduction_b        8x8x1536      8
    3 x inception_c    8x8x1536      6
    mean, dropout      1x1x1536
    linear            classes

Names of modules and parameters are timm's.
"""

from __future__ import annotations

from ... import nn
from ...autograd import Tensor
from ...ops.shape import cat
from .inception_blocks import BasicConv2d, Branches, Width, column, mean_pool, row, scaled_by

__all__ = ["InceptionC", "InceptionV4", "inception_v4"]


def stem(in_channels: int, w: Width) -> list[nn.Module]:
    """Figure 3, from 299x299 to 35x35: three convolutions and three times two branches."""
    return [
        BasicConv2d(in_channels, w(32), 3, stride=2),
        BasicConv2d(w(32), w(32), 3),
        BasicConv2d(w(32), w(64), 3, padding=1),
        Branches(
            {"maxpool": nn.MaxPool2d(3, 2), "conv": BasicConv2d(w(64), w(96), 3, stride=2)},
        ),
        Branches(
            {
                "branch0": nn.Sequential(
                    BasicConv2d(w(64) + w(96), w(64), 1), BasicConv2d(w(64), w(96), 3)
                ),
                "branch1": nn.Sequential(
                    BasicConv2d(w(64) + w(96), w(64), 1),
                    row(w(64), w(64), 7),
                    column(w(64), w(64), 7),
                    BasicConv2d(w(64), w(96), 3),
                ),
            }
        ),
        Branches(
            {
                "conv": BasicConv2d(2 * w(96), w(192), 3, stride=2),
                "maxpool": nn.MaxPool2d(3, 2),
            },
        ),
    ]


def inception_a(in_channels: int, w: Width) -> Branches:
    """Figure 4: (N, in_channels, H, W) to four times 96 maps."""
    return Branches(
        {
            "branch0": BasicConv2d(in_channels, w(96), 1),
            "branch1": nn.Sequential(
                BasicConv2d(in_channels, w(64), 1), BasicConv2d(w(64), w(96), 3, padding=1)
            ),
            "branch2": nn.Sequential(
                BasicConv2d(in_channels, w(64), 1),
                BasicConv2d(w(64), w(96), 3, padding=1),
                BasicConv2d(w(96), w(96), 3, padding=1),
            ),
            "branch3": nn.Sequential(mean_pool(), BasicConv2d(in_channels, w(96), 1)),
        }
    )


def reduction_a(in_channels: int, k: int, l: int, m: int, n: int) -> Branches:
    """Figure 7: from 35x35 to 17x17, in_channels to n + m + in_channels maps; see table 1."""
    return Branches(
        {
            "branch0": BasicConv2d(in_channels, n, 3, stride=2),
            "branch1": nn.Sequential(
                BasicConv2d(in_channels, k, 1),
                BasicConv2d(k, l, 3, padding=1),
                BasicConv2d(l, m, 3, stride=2),
            ),
            "branch2": nn.MaxPool2d(3, 2),
        }
    )


def inception_b(in_channels: int, w: Width) -> Branches:
    """Figure 5: (N, in_channels, H, W) to 384 + 256 + 256 + 128 maps."""
    return Branches(
        {
            "branch0": BasicConv2d(in_channels, w(384), 1),
            "branch1": nn.Sequential(
                BasicConv2d(in_channels, w(192), 1),
                row(w(192), w(224), 7),
                column(w(224), w(256), 7),
            ),
            "branch2": nn.Sequential(
                BasicConv2d(in_channels, w(192), 1),
                column(w(192), w(192), 7),
                row(w(192), w(224), 7),
                column(w(224), w(224), 7),
                row(w(224), w(256), 7),
            ),
            "branch3": nn.Sequential(mean_pool(), BasicConv2d(in_channels, w(128), 1)),
        }
    )


def reduction_b(in_channels: int, w: Width) -> Branches:
    """Figure 8: from 17x17 to 8x8, in_channels to 192 + 320 + in_channels maps."""
    return Branches(
        {
            "branch0": nn.Sequential(
                BasicConv2d(in_channels, w(192), 1), BasicConv2d(w(192), w(192), 3, stride=2)
            ),
            "branch1": nn.Sequential(
                BasicConv2d(in_channels, w(256), 1),
                row(w(256), w(256), 7),
                column(w(256), w(320), 7),
                BasicConv2d(w(320), w(320), 3, stride=2),
            ),
            "branch2": nn.MaxPool2d(3, 2),
        }
    )


class InceptionC(nn.Module):
    """Figure 6: (N, in_channels, H, W) to six times 256 maps.

    Two branches end in 1x3 and 3x1 side by side.

    Args:
        in_channels: of the input.
        w: from a number of maps of the paper to the number here.
    """

    def __init__(self, in_channels: int, w: Width) -> None:
        super().__init__()
        self.branch0 = BasicConv2d(in_channels, w(256), 1)
        self.branch1_0 = BasicConv2d(in_channels, w(384), 1)
        self.branch1_1a = row(w(384), w(256), 3)
        self.branch1_1b = column(w(384), w(256), 3)
        self.branch2_0 = BasicConv2d(in_channels, w(384), 1)
        self.branch2_1 = column(w(384), w(448), 3)
        self.branch2_2 = row(w(448), w(512), 3)
        self.branch2_3a = row(w(512), w(256), 3)
        self.branch2_3b = column(w(512), w(256), 3)
        self.branch3 = nn.Sequential(mean_pool(), BasicConv2d(in_channels, w(256), 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch1_0(x)
        branch1 = [self.branch1_1a(y), self.branch1_1b(y)]
        y = self.branch2_2(self.branch2_1(self.branch2_0(x)))
        branch2 = [self.branch2_3a(y), self.branch2_3b(y)]
        return cat([self.branch0(x), *branch1, *branch2, self.branch3(x)], 1)


class InceptionV4(nn.Module):
    """The network of figure 9.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer.
        blocks: how many inception_a, inception_b and inception_c.
        width: multiplies all numbers of maps.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        dropout: float = 0.2,
        blocks: tuple[int, int, int] = (4, 7, 3),
        width: float = 1.0,
    ) -> None:
        super().__init__()
        w = scaled_by(width)
        self.features = nn.Sequential(*stem(in_channels, w))
        channels = 2 * w(96) + w(192)
        for _ in range(blocks[0]):
            self.features.append(inception_a(channels, w))
            channels = 4 * w(96)
        self.features.append(reduction_a(channels, w(192), w(224), w(256), w(384)))
        channels += w(384) + w(256)
        for _ in range(blocks[1]):
            self.features.append(inception_b(channels, w))
            channels = w(384) + 2 * w(256) + w(128)
        self.features.append(reduction_b(channels, w))
        channels += w(192) + w(320)
        for _ in range(blocks[2]):
            self.features.append(InceptionC(channels, w))
            channels = 6 * w(256)
        self.head_drop = nn.Dropout(dropout)
        self.last_linear = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x).mean((2, 3))
        return self.last_linear(self.head_drop(x))


def inception_v4(
    num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.2
) -> InceptionV4:
    """Inception-v4: Szegedy, Ioffe, Vanhoucke, Alemi, 2016, figure 9.

    42,679,816 parameters; published error on ImageNet (validation, one crop, table 2) 20.0 %.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer.

    Returns:
        a network from (N, in_channels, 299, 299) to scores (N, num_classes); other sizes from 75
        serve, too.
    """
    return InceptionV4(num_classes, in_channels=in_channels, dropout=dropout)
