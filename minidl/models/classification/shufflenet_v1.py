"""ShuffleNet: Zhang, Zhou, Lin, Sun, "ShuffleNet: an extremely efficient convolutional neural
network for mobile devices", 2017, table 1.

In a bottleneck with a depthwise convolution nearly all the work is in the 1x1 convolutions. With g
groups they cost a g-th; so that groups do not stay among themselves, channels are shuffled between
the first and the second (section 3.1). What is saved is spent on more channels: the more groups,
the wider the network, at about the same cost.

    layer      output size   stride   repeat   output channels with 1, 2, 3, 4, 8 groups
    conv1      112x112       2        1          24    24    24    24    24
    maxpool     56x56        2        1          24    24    24    24    24
    stage2      28x28        2, 1     1, 3      144   200   240   272   384
    stage3      14x14        2, 1     1, 7      288   400   480   544   768
    stage4       7x7         2, 1     1, 3      576   800   960  1088  1536
    mean, fc     1x1                          classes
    million multiply-adds                       143   140   137   133   137
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from ...ops.shape import cat
from ..blocks import ConvNormAct, init_fan_out

__all__ = ["TABLE_1", "ShuffleNetV1", "ShuffleUnit", "shufflenet_v1"]

TABLE_1 = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # groups -> channels of stage2


def whole_groups(channels: float, groups: int) -> int:
    """The number of channels, rounded up so that `groups` divides it."""
    return math.ceil(channels / groups) * groups


class ShuffleUnit(nn.Module):
    """Figure 2, (b) for stride 1 and (c) for stride 2: a bottleneck of 1/4 of the output channels.

    Args:
        in_channels, out_channels: of the unit; the same for stride 1. For stride 2 the branch has
            the difference, and the input, averaged over 3x3, is put before it.
        stride: of the depthwise convolution.
        groups: of the 1x1 convolutions.
        first_groups: of the first of them, if others; the very first unit has 1 (section 3.3).

    Raises:
        ValueError: channels that have to change at stride 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        groups: int,
        first_groups: int | None = None,
    ) -> None:
        super().__init__()
        if stride == 1 and in_channels != out_channels:
            raise ValueError(
                f"ShuffleUnit: {in_channels} and {out_channels} channels cannot be added; a unit "
                f"of stride 1 leaves their number as it is"
            )
        width = whole_groups(out_channels / 4, groups)
        branch = out_channels if stride == 1 else out_channels - in_channels
        self.compress = ConvNormAct(in_channels, width, 1, groups=first_groups or groups)
        self.shuffle = nn.ChannelShuffle(groups)
        self.depthwise = ConvNormAct(width, width, 3, stride, groups=width, act=None)
        self.expand = ConvNormAct(width, branch, 1, groups=groups, act=None)
        self.pool = None if stride == 1 else nn.AvgPool2d(3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.expand(self.depthwise(self.shuffle(self.compress(x))))
        return F.relu(x + branch if self.pool is None else cat([self.pool(x), branch], 1))


class ShuffleNetV1(nn.Module):
    """The network of table 1.

    Args:
        num_classes: number of outputs.
        groups: g, of the 1x1 convolutions.
        in_channels: channels of the pictures.
        first_channels: of conv1.
        width: channels of stage2; those of stage3 and stage4 are twice and four times as many.
        repeats: units in the three stages.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        groups: int = 3,
        *,
        in_channels: int = 3,
        first_channels: int = 24,
        width: int = TABLE_1[3],
        repeats: Sequence[int] = (4, 8, 4),
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(in_channels, first_channels, 3, 2)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = first_channels
        stages = []
        for i, count in enumerate(repeats):
            out = width * 2**i
            stage = nn.Sequential(ShuffleUnit(channels, out, 2, groups, 1 if i == 0 else groups))
            stage.extend(ShuffleUnit(out, out, 1, groups) for _ in range(count - 1))
            stages.append(stage)
            channels = out
        self.stage2, self.stage3, self.stage4 = stages
        self.fc = nn.Linear(channels, num_classes)
        init_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.stage4(self.stage3(self.stage2(x)))
        return self.fc(x.mean((2, 3)))


def shufflenet_v1(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    groups: int = 3,
    width_mult: float = 1.0,
) -> ShuffleNetV1:
    """ShuffleNet: Zhang, Zhou, Lin, Sun, 2017, table 1.

    With 3 groups 1,865,728 parameters, 137 million multiply-adds at 224x224, published error on
    ImageNet 32.6 % (table 2); width_mult=2: 524 million, 26.3 % (table 5).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        groups: 1, 2, 3, 4 or 8.
        width_mult: multiplies the channels of the stages: the paper's 0.25x, 0.5x, 1.5x and 2x.

    Returns:
        a network from (N, in_channels, H, W) to scores (N, num_classes).

    Raises:
        ValueError: a number of groups that table 1 does not have.
    """
    if groups not in TABLE_1:
        raise ValueError(f"shufflenet_v1: groups is one of {list(TABLE_1)}, not {groups}")
    # Not 24 times the multiplier: these give the multiply-adds that the paper prints (38 million at
    # 0.5x and 13 at 0.25x, table 2; 292 at 1.5x and 524 at 2x, table 5).
    first = 12 if width_mult < 1 else 24 if width_mult < 2 else 48
    return ShuffleNetV1(
        num_classes,
        groups,
        in_channels=in_channels,
        first_channels=whole_groups(first, groups),
        width=whole_groups(TABLE_1[groups] * width_mult, groups),
    )
