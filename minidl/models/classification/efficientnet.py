"""EfficientNet: Tan, Le, "EfficientNet: rethinking model scaling for convolutional neural
networks", 2019, table 1.

    stage   input      operator              channels   layers
    1       224x224    conv 3x3                  32       1
    2       112x112    MBConv1, 3x3              16       1
    3       112x112    MBConv6, 3x3              24       2
    4        56x56     MBConv6, 5x5              40       2
    5        28x28     MBConv6, 3x3              80       3
    6        14x14     MBConv6, 5x5             112       3
    7        14x14     MBConv6, 5x5             192       4
    8         7x7      MBConv6, 3x3             320       1
    9         7x7      conv 1x1, mean, linear  1280       1

MBConv is MobileNetV2's bottleneck with squeeze-and-excitation and SiLU. This is B0, found by a
search. The others make it deeper, wider and look at larger pictures, all three together: see
`compound_scaling`.

    network             B0    B1    B2    B3    B4    B5    B6    B7
    layers times       1.0   1.1   1.2   1.4   1.8   2.2   2.6   3.1
    channels times     1.0   1.0   1.1   1.2   1.4   1.6   1.8   2.0
    picture            224   240   260   300   380   456   528   600
    dropout            0.2   0.2   0.3   0.3   0.4   0.4   0.5   0.5

These numbers are from the authors' code; the paper prints only the rule. B1, B2 and B3 are the rule
at phi = 1/2, 1 and 2, rounded to a digit. From B4 on channels and pictures are those of phi = 3.8,
5, 6 and 7, but the layers of 3.2, 4.3, 5.2 and 6.2.

Parameters are called as in torchvision, and as there batch norm has the authors' eps of 0.001 and
momentum of 0.01 in B5 to B7 only; B0 to B4 have the usual 0.00001 and 0.1.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ... import nn
from ...autograd import Tensor
from ..blocks import (
    ConvNormAct,
    SqueezeExcitation,
    init_fan_out,
    inverted_residual,
    make_divisible,
)

__all__ = [
    "TABLE_1",
    "EfficientNet",
    "MBConv",
    "Scaling",
    "compound_scaling",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
]

# (expansion, kernel size, stride, output channels, layers) of stages 2 to 8
TABLE_1 = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)

# the authors' batch norm: they write the momentum as 0.99, the part that is kept
AUTHORS_NORM = functools.partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class Scaling(NamedTuple):
    """What a network has times B0's layers, times B0's channels, and how large its pictures are."""

    depth: float
    width: float
    resolution: int


def compound_scaling(
    phi: float, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15
) -> Scaling:
    """Equation 3: how to spend 2^phi times the multiply-adds of B0.

    The cost grows with depth width^2 resolution^2. So alpha beta^2 gamma^2 should be about 2; the
    search with small networks (section 4) found values that make it 1.92.

    Args:
        phi: the doublings; 0 is B0.
        alpha, beta, gamma: growth of depth, width and resolution for each.

    Returns:
        alpha^phi, beta^phi and 224 gamma^phi, in whole pixels.

    Example:
        >>> scaling = compound_scaling(1.5)
        >>> net = EfficientNet(width_mult=scaling.width, depth_mult=scaling.depth)
    """
    return Scaling(alpha**phi, beta**phi, round(224 * gamma**phi))


class MBConv(nn.Module):
    """MobileNetV2's bottleneck with squeeze-and-excitation and SiLU; its branch may be left out.

    Args:
        in_channels, out_channels: of the unit; equal ones are joined by a shortcut if stride is 1.
        expand_ratio: channels in between are so many times in_channels.
        kernel_size, stride: of the depthwise convolution.
        stochastic_depth_prob: with which the branch beside a shortcut is left out in training.
        norm: makes the normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        expand_ratio: int,
        kernel_size: int,
        stride: int,
        stochastic_depth_prob: float = 0.0,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        expanded = in_channels * expand_ratio
        # a quarter of the block's input, not of what is squeezed
        gate = SqueezeExcitation(expanded, max(1, in_channels // 4), activation=nn.SiLU)
        self.block = nn.Sequential(
            *inverted_residual(
                in_channels,
                expanded,
                out_channels,
                kernel_size,
                stride,
                norm=norm,
                act=nn.SiLU,
                gate=gate,
            )
        )
        self.stochastic_depth = nn.StochasticDepth(stochastic_depth_prob, "row")
        self.use_res_connect = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        branch = self.block(x)
        return x + self.stochastic_depth(branch) if self.use_res_connect else branch


class EfficientNet(nn.Module):
    """The network of table 1, made wider and deeper.

    Args:
        num_classes: number of outputs.
        width_mult: multiplies all numbers of channels, see `make_divisible`.
        depth_mult: multiplies the layers of stages 2 to 8; rounded up.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer.
        stochastic_depth_prob: of leaving out a branch; from 0 it grows with the depth up to this.
        norm: makes the normalisation.
        setting: rows (expansion, kernel size, stride, output channels, layers) of the stages.
        first_channels: of the first convolution. The last has four times those of the last stage.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        depth_mult: float = 1.0,
        *,
        in_channels: int = 3,
        dropout: float = 0.2,
        stochastic_depth_prob: float = 0.2,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        setting: Sequence[tuple[int, int, int, int, int]] = TABLE_1,
        first_channels: int = 32,
    ) -> None:
        super().__init__()
        channels = make_divisible(first_channels * width_mult)
        depths = [math.ceil(layers * depth_mult) for *_, layers in setting]
        total, done = sum(depths), 0
        self.features = nn.Sequential(
            ConvNormAct(in_channels, channels, 3, 2, norm=norm, act=nn.SiLU)
        )
        for (expand_ratio, kernel_size, stride, c, _), depth in zip(setting, depths, strict=True):
            out = make_divisible(c * width_mult)
            stage = nn.Sequential()
            for i in range(depth):
                p = stochastic_depth_prob * done / total
                step = stride if i == 0 else 1
                stage.append(MBConv(channels, out, expand_ratio, kernel_size, step, p, norm))
                channels = out
                done += 1
            self.features.append(stage)
        self.features.append(ConvNormAct(channels, 4 * channels, 1, norm=norm, act=nn.SiLU))
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * channels, num_classes))
        # As the authors' code: convolutions by outgoing weights, the linear layer uniform.
        init_fan_out(self)
        bound = 1.0 / math.sqrt(num_classes)
        nn.init.uniform_(self.classifier[1].weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def efficientnet_b0(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    dropout: float = 0.2,
    stochastic_depth_prob: float = 0.2,
) -> EfficientNet:
    """EfficientNet-B0: Tan, Le, 2019, table 1.

    5,288,548 parameters, 0.39 billion multiply-adds at 224x224, published error on ImageNet 22.9 %
    (table 2; so those of the others).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer.
        stochastic_depth_prob: of leaving out the last residual branch; the first ones less.

    Returns:
        a network from (N, in_channels, H, W) to scores (N, num_classes).
    """
    return EfficientNet(
        num_classes,
        in_channels=in_channels,
        dropout=dropout,
        stochastic_depth_prob=stochastic_depth_prob,
    )


def efficientnet_b1(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    dropout: float = 0.2,
    stochastic_depth_prob: float = 0.2,
) -> EfficientNet:
    """EfficientNet-B1: Tan, Le, 2019, section 4.

    7,794,184 parameters, 0.70 billion multiply-adds at 240x240, 20.9 %; as `efficientnet_b0`.
    """
    return EfficientNet(
        num_classes,
        1.0,
        1.1,
        in_channels=in_channels,
        dropout=dropout,
        stochastic_depth_prob=stochastic_depth_prob,
    )


def efficientnet_b2(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    dropout: float = 0.3,
    stochastic_depth_prob: float = 0.2,
) -> EfficientNet:
    """EfficientNet-B2: Tan, Le, 2019, section 4.

    9,109,994 parameters, 1.0 billion multiply-adds at 260x260, 19.9 %; as `efficientnet_b0`.
    """
    return EfficientNet(
        num_classes,
        1.1,
        1.2,
        in_channels=in_channels,
        dropout=dropout,
        stochastic_depth_prob=stochastic_depth_prob,
    )


def efficientnet_b3(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    dropout: float = 0.3,
    stochastic_depth_prob: float = 0.2,
) -> EfficientNet:
    """EfficientNet-B3: Tan, Le, 2019, section 4.

    12,233,232 parameters, 1.8 billion multiply-adds at 300x300, 18.4 %; as `efficientnet_b0`.
    """
    return EfficientNet(
        num_classes,
        1.2,
        1.4,
        in_channels=in_channels,
        dropout=dropout,
        stochastic_depth_prob=stochastic_depth_prob,
    )


def efficientnet_b4(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    dropout: float = 0.4,
    stochastic_depth_prob: float = 0.2,
) -> EfficientNet:
    """EfficientNet-B4: Tan, Le, 2019, section 4.

    19,341,616 parameters, 4.2 billion multiply-adds at 380x380, 17.1 %; as `efficientnet_b0`.
    """
    return EfficientNet(
        num_classes,
        1.4,
        1.8,
        in_channels=in_channels,
        dropout=dropout,
        stochastic_depth_prob=stochastic_depth_prob,
    )


def efficientnet_b5(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    dropout: float = 0.4,
    stochastic_depth_prob: float = 0.2,
) -> EfficientNet:
    """EfficientNet-B5: Tan, Le, 2019, section 4.

    30,389,784 parameters, 9.9 billion multiply-adds at 456x456, 16.4 %; as `efficientnet_b0`.
    """
    return EfficientNet(
        num_classes,
        1.6,
        2.2,
        in_channels=in_channels,
        dropout=dropout,
        stochastic_depth_prob=stochastic_depth_prob,
        norm=AUTHORS_NORM,
    )


def efficientnet_b6(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    dropout: float = 0.5,
    stochastic_depth_prob: float = 0.2,
) -> EfficientNet:
    """EfficientNet-B6: Tan, Le, 2019, section 4.

    43,040,704 parameters, 19 billion multiply-adds at 528x528, 16.0 %; as `efficientnet_b0`.
    """
    return EfficientNet(
        num_classes,
        1.8,
        2.6,
        in_channels=in_channels,
        dropout=dropout,
        stochastic_depth_prob=stochastic_depth_prob,
        norm=AUTHORS_NORM,
    )


def efficientnet_b7(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    dropout: float = 0.5,
    stochastic_depth_prob: float = 0.2,
) -> EfficientNet:
    """EfficientNet-B7: Tan, Le, 2019, section 4.

    66,347,960 parameters, 37 billion multiply-adds at 600x600, 15.7 %; as `efficientnet_b0`.
    """
    return EfficientNet(
        num_classes,
        2.0,
        3.1,
        in_channels=in_channels,
        dropout=dropout,
        stochastic_depth_prob=stochastic_depth_prob,
        norm=AUTHORS_NORM,
    )
