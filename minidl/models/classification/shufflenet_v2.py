"""ShuffleNet V2: Ma, Zhang, Zheng, Sun, "ShuffleNet V2: practical guidelines for efficient CNN
architecture design", 2018, table 5.

    layer      output size   stride   repeat   output channels at 0.5x, 1x, 1.5x, 2x
    conv1      112x112       2        1          24    24    24    24
    maxpool     56x56        2        1          24    24    24    24
    stage2      28x28        2, 1     1, 3       48   116   176   244
    stage3      14x14        2, 1     1, 7       96   232   352   488
    stage4       7x7         2, 1     1, 3      192   464   704   976
    conv5        7x7         1        1        1024  1024  1024  2048
    mean, fc     1x1                          classes

A unit of stride 1 splits its channels, sends one half through three convolutions and leaves the
other as it is (figure 3c); one of stride 2 sends all of them both ways, which doubles them (3d).
Concatenation in place of a sum, equal numbers of channels and no groups are what the paper's
measurements of memory access recommend; the shuffle then mixes the halves.

Parameters are called as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from ...ops.shape import cat
from ..blocks import ConvNormAct

__all__ = [
    "ShuffleNetV2",
    "ShuffleUnit",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
]


class ShuffleUnit(nn.Module):
    """Figure 3, (c) for stride 1 and (d) for stride 2.

    Args:
        in_channels: of the input; for stride 1 equal to out_channels.
        out_channels: of the output, an even number.
        stride: of the depthwise convolutions.

    Raises:
        ValueError: channels that cannot be halved, or that would have to change at stride 1.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        if out_channels % 2 or (stride == 1 and in_channels != out_channels):
            raise ValueError(
                f"ShuffleUnit: out_channels must be even, and in_channels the same at stride 1; "
                f"got {in_channels} to {out_channels} channels with stride {stride}"
            )
        half = out_channels // 2
        self.stride = stride
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                *ConvNormAct(in_channels, in_channels, 3, stride, groups=in_channels, act=None),
                *ConvNormAct(in_channels, half, 1),
            )
        self.branch2 = nn.Sequential(
            *ConvNormAct(in_channels if stride > 1 else half, half, 1),
            *ConvNormAct(half, half, 3, stride, groups=half, act=None),
            *ConvNormAct(half, half, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, 1) if self.stride == 1 else (x, x)
        return F.channel_shuffle(cat([self.branch1(left), self.branch2(right)], 1), 2)


class ShuffleNetV2(nn.Module):
    """The network of table 5.

    Args:
        stages_repeats: units in stage2, stage3 and stage4.
        stages_out_channels: of conv1, the three stages and conv5.
        num_classes: number of outputs.
        in_channels: channels of the pictures.
    """

    def __init__(
        self,
        stages_repeats: Sequence[int],
        stages_out_channels: Sequence[int],
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        first, *widths, last = stages_out_channels
        self.conv1 = ConvNormAct(in_channels, first, 3, 2)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = first
        stages = []
        for repeats, width in zip(stages_repeats, widths, strict=True):
            stage = nn.Sequential(ShuffleUnit(channels, width, 2))
            stage.extend(ShuffleUnit(width, width, 1) for _ in range(repeats - 1))
            stages.append(stage)
            channels = width
        self.stage2, self.stage3, self.stage4 = stages
        self.conv5 = ConvNormAct(channels, last, 1)
        self.fc = nn.Linear(last, num_classes)
        # Initial weights: those of the layers, as in torchvision. The paper does not state any.

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(x))
        x = self.stage4(self.stage3(self.stage2(x)))
        return self.fc(self.conv5(x).mean((2, 3)))


def shufflenet_v2_x0_5(num_classes: int = 1000, *, in_channels: int = 3) -> ShuffleNetV2:
    """ShuffleNet V2 0.5x: Ma, Zhang, Zheng, Sun, 2018, table 5.

    1,366,792 parameters, 41 million multiply-adds at 224x224, published error on ImageNet 39.7 %
    (table 8).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.

    Returns:
        a network from (N, in_channels, H, W) to scores (N, num_classes).
    """
    return ShuffleNetV2((4, 8, 4), (24, 48, 96, 192, 1024), num_classes, in_channels=in_channels)


def shufflenet_v2_x1_0(num_classes: int = 1000, *, in_channels: int = 3) -> ShuffleNetV2:
    """ShuffleNet V2 1x: Ma, Zhang, Zheng, Sun, 2018, table 5.

    2,278,604 parameters, 146 million multiply-adds, 30.6 %; as `shufflenet_v2_x0_5`.
    """
    return ShuffleNetV2((4, 8, 4), (24, 116, 232, 464, 1024), num_classes, in_channels=in_channels)


def shufflenet_v2_x1_5(num_classes: int = 1000, *, in_channels: int = 3) -> ShuffleNetV2:
    """ShuffleNet V2 1.5x: Ma, Zhang, Zheng, Sun, 2018, table 5.

    3,503,624 parameters, 299 million multiply-adds, 27.4 %; as `shufflenet_v2_x0_5`.
    """
    return ShuffleNetV2((4, 8, 4), (24, 176, 352, 704, 1024), num_classes, in_channels=in_channels)


def shufflenet_v2_x2_0(num_classes: int = 1000, *, in_channels: int = 3) -> ShuffleNetV2:
    """ShuffleNet V2 2x: Ma, Zhang, Zheng, Sun, 2018, table 5.

    7,393,996 parameters, 591 million multiply-adds, 25.1 %; as `shufflenet_v2_x0_5`.
    """
    return ShuffleNetV2((4, 8, 4), (24, 244, 488, 976, 2048), num_classes, in_channels=in_channels)
