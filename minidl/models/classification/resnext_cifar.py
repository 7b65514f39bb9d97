"""ResNeXt for CIFAR: many narrow paths in each block instead of a wide one.

Xie, Girshick, Dollar, Tu, He, "Aggregated residual transformations for deep neural networks", CVPR
2017, section 5.3: a 3x3 convolution and three stages of three bottlenecks, 29 layers with weights.
The 3x3 convolution of a bottleneck has C groups (the cardinality), of d channels in the first
stage, of twice as many in each later one. ResNeXt-29, Cxd:

    stage      output size   blocks
    conv1      32x32         3x3, 64
    layer1     32x32         3 of [1x1, C d;  3x3, C d, C groups;  1x1,  256]
    layer2     16x16         3 of [1x1, 2C d; 3x3, 2C d, C groups; 1x1,  512]
    layer3      8x8          3 of [1x1, 4C d; 3x3, 4C d, C groups; 1x1, 1024]
               1x1           mean of each map, linear

The bottleneck is that of ResNeXt for larger pictures, the stride in its 3x3 convolution; parameters
are called as there.
"""

from __future__ import annotations

from ... import nn
from ...autograd import Tensor
from ...nn.fused import norm_relu
from .resnet import Bottleneck, make_downsample

__all__ = ["ResNeXtCIFAR", "resnext29_8x64d", "resnext29_16x64d"]


class ResNeXtCIFAR(nn.Module):
    """The networks of section 5.3.

    Args:
        cardinality: C, groups of each 3x3 convolution.
        base_width: d, channels of a group in the first stage where `width` is 64.
        blocks: in each stage.
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        width: channels of the first convolution; the stages have 4, 8 and 16 times as many.
    """

    def __init__(
        self,
        cardinality: int,
        base_width: int,
        blocks: int = 3,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 64,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inplanes = width
        for number in (1, 2, 3):
            planes = width * 2 ** (number - 1)
            channels = planes * Bottleneck.expansion
            stage = nn.Sequential()
            for i in range(blocks):
                stride = 2 if number > 1 and i == 0 else 1
                downsample = make_downsample("B", inplanes, channels, stride)
                block = Bottleneck(inplanes, planes, stride, downsample, cardinality, base_width)
                stage.append(block)
                inplanes = channels
            self.add_module(f"layer{number}", stage)
        self.fc = nn.Linear(inplanes, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # As in the authors' code: He et al. 2015, equation 14, by the outgoing weights of
                # all groups together
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = norm_relu(self.bn1, self.conv1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def resnext29_8x64d(num_classes: int = 10, *, in_channels: int = 3) -> ResNeXtCIFAR:
    """ResNeXt-29, 8x64d, for CIFAR: Xie, Girshick, Dollar, Tu, He, 2017, section 5.3 and table 7.

    Published error on CIFAR-10, mean of ten runs: 3.65 %.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.

    Returns:
        a network from (N, in_channels, 32, 32) to scores (N, num_classes).
    """
    return ResNeXtCIFAR(8, 64, 3, num_classes, in_channels)


def resnext29_16x64d(num_classes: int = 10, *, in_channels: int = 3) -> ResNeXtCIFAR:
    """ResNeXt-29, 16x64d, for CIFAR: Xie, Girshick, Dollar, Tu, He, 2017, section 5.3 and table 7.

    Published error on CIFAR-10, mean of ten runs: 3.58 %. Arguments as `resnext29_8x64d`.
    """
    return ResNeXtCIFAR(16, 64, 3, num_classes, in_channels)
