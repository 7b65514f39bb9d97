"""Pre-activation residual networks for ImageNet: He et al., "Identity mappings", 2016, figure 1(b).

    stage      output    50               101               152
    stem       112x112   7x7, 64, stride 2
    pool        56x56    3x3, stride 2
    stages.0    56x56    3 of 64/256      3 of 64/256       3 of 64/256
    stages.1    28x28    4 of 128/512     4 of 128/512      8 of 128/512
    stages.2    14x14    6 of 256/1024    23 of 256/1024    36 of 256/1024
    stages.3     7x7     3 of 512/2048    3 of 512/2048     3 of 512/2048
    norm, head           normalisation and ReLU, mean of each map, linear to the classes

Normalisation and ReLU come before each convolution, nothing comes after the sum: from any unit to
any other there is a path that changes nothing (equation 4). Where the shape changes, the shortcut
is a 1x1 convolution of the activated input. "3 of 64/256" are bottlenecks of 64 channels inside.

Two things are as in timm (resnetv2_50 ...), whose names the parameters have: the stride is in the
3x3 (`stride_in_1x1=True`: in the first 1x1, as in the authors' code), and the first normalisation
follows the max-pooling, in the first unit. The head is a 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from ...nn.fused import norm_relu
from .resnet import conv1x1, conv3x3

__all__ = ["PreActBottleneck", "ResNetV2", "resnetv2_50", "resnetv2_101", "resnetv2_152"]


class PreActBottleneck(nn.Module):
    """shortcut + conv(relu(bn(conv(relu(bn(conv(relu(bn(x)))))))), with 1x1, 3x3 and 1x1.

    Args:
        in_chs: input channels.
        out_chs: output channels, four times those inside.
        stride: of the block.
        stride_in_1x1: whether the first 1x1 has it, else the 3x3.
        project: a 1x1 convolution as shortcut, where the shape changes.
        drop: probability with which the residual of a picture is left out in training.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        stride: int = 1,
        stride_in_1x1: bool = False,
        project: bool = False,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        inside = out_chs // 4
        first, second = (stride, 1) if stride_in_1x1 else (1, stride)
        self.downsample: nn.Sequential | None = None
        if project:
            self.downsample = nn.Sequential()
            self.downsample.add_module("conv", conv1x1(in_chs, out_chs, stride))
        self.norm1 = nn.BatchNorm2d(in_chs)
        self.conv1 = conv1x1(in_chs, inside, first)
        self.norm2 = nn.BatchNorm2d(inside)
        self.conv2 = conv3x3(inside, inside, second)
        self.norm3 = nn.BatchNorm2d(inside)
        self.conv3 = conv1x1(inside, out_chs)
        self.relu = nn.ReLU()
        self.drop_path = nn.StochasticDepth(drop, "row") if drop else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        active = norm_relu(self.norm1, x, self.relu)
        shortcut = x if self.downsample is None else self.downsample(active)
        out = self.conv1(active)
        out = self.conv2(norm_relu(self.norm2, out, self.relu))
        out = self.conv3(norm_relu(self.norm3, out, self.relu))
        return shortcut + self.drop_path(out)


class ResNetV2(nn.Module):
    """The networks of the table.

    Args:
        layers: number of units in each stage.
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        width: channels of the stem; inside the units of the stages 1, 2, 4 and 8 times as many.
        stride_in_1x1: whether the first 1x1 of a unit has its stride, else the 3x3.
        stochastic_depth_prob: of the last unit; the first ones have less (see `ResNet`).
        dropout: probability before the classifier.
    """

    def __init__(
        self,
        layers: Sequence[int],
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        width: int = 64,
        stride_in_1x1: bool = False,
        stochastic_depth_prob: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        self.stem.add_module("conv", nn.Conv2d(in_channels, width, 7, 2, 3, bias=False))
        self.stem.add_module("pool", nn.MaxPool2d(3, 2, padding=1))
        self.stages = nn.Sequential()
        in_chs, number = width, 0
        for i, units in enumerate(layers):
            out_chs = 4 * width * 2**i
            blocks = nn.Sequential()
            for j in range(units):
                number += 1
                blocks.append(
                    PreActBottleneck(
                        in_chs,
                        out_chs,
                        stride=2 if i > 0 and j == 0 else 1,
                        stride_in_1x1=stride_in_1x1,
                        project=j == 0,
                        drop=stochastic_depth_prob * number / sum(layers),
                    )
                )
                in_chs = out_chs
            stage = nn.Sequential()
            stage.add_module("blocks", blocks)
            self.stages.append(stage)
        self.norm = nn.BatchNorm2d(in_chs)
        self.relu = nn.ReLU()
        self.head = nn.Sequential()
        self.head.add_module("global_pool", nn.AdaptiveAvgPool2d(1))
        self.head.add_module("drop", nn.Dropout(dropout))
        self.head.add_module("fc", nn.Conv2d(in_chs, num_classes, 1))
        self.head.add_module("flatten", nn.Flatten())
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module is not self.head[2]:
                # the authors' code: variance 2 / (outgoing weights)
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head[2].weight, 0.0, 0.01)
        nn.init.zeros_(self.head[2].bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """The activated maps of the last stage for (N, in_channels, H, W)."""
        return norm_relu(self.norm, self.stages(self.stem(x)), self.relu)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.forward_features(x))


def resnetv2_50(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    stride_in_1x1: bool = False,
    stochastic_depth_prob: float = 0.0,
    dropout: float = 0.0,
) -> ResNetV2:
    """Pre-activation ResNet-50: He et al. 2016, figure 1(b); 25,549,352 parameters.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        stride_in_1x1: whether the first 1x1 of a unit has its stride, else the 3x3.
        stochastic_depth_prob: of the last unit; see `ResNet`.
        dropout: probability before the classifier.

    Returns:
        a network from (N, in_channels, 224, 224), or another size, to scores (N, num_classes).
    """
    return ResNetV2(
        (3, 4, 6, 3),
        num_classes,
        in_channels=in_channels,
        stride_in_1x1=stride_in_1x1,
        stochastic_depth_prob=stochastic_depth_prob,
        dropout=dropout,
    )


def resnetv2_101(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    stride_in_1x1: bool = False,
    stochastic_depth_prob: float = 0.0,
    dropout: float = 0.0,
) -> ResNetV2:
    """Pre-activation ResNet-101: He et al. 2016, figure 1(b); 44,541,480 parameters.

    Arguments as `resnetv2_50`.
    """
    return ResNetV2(
        (3, 4, 23, 3),
        num_classes,
        in_channels=in_channels,
        stride_in_1x1=stride_in_1x1,
        stochastic_depth_prob=stochastic_depth_prob,
        dropout=dropout,
    )


def resnetv2_152(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    stride_in_1x1: bool = False,
    stochastic_depth_prob: float = 0.0,
    dropout: float = 0.0,
) -> ResNetV2:
    """Pre-activation ResNet-152: He et al. 2016, table 5; 60,185,128 parameters.

    Top-1 error at 320x320, one crop: 21.1 %; the original ResNet-152: 21.3 %. Arguments as
    `resnetv2_50`.
    """
    return ResNetV2(
        (3, 8, 36, 3),
        num_classes,
        in_channels=in_channels,
        stride_in_1x1=stride_in_1x1,
        stochastic_depth_prob=stochastic_depth_prob,
        dropout=dropout,
    )
