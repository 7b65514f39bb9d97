"""Residual networks for ImageNet: He, Zhang, Ren, Sun, "Deep residual learning", 2015, table 1.

    stage      output    18          34          50            101            152
    conv1      112x112   7x7, 64, stride 2
    maxpool     56x56    3x3, stride 2
    layer1      56x56    2 of 64     3 of 64     3 of 64/256    3 of 64/256    3 of 64/256
    layer2      28x28    2 of 128    4 of 128    4 of 128/512   4 of 128/512   8 of 128/512
    layer3      14x14    2 of 256    6 of 256    6 of 256/1024  23 of 256/1024 36 of 256/1024
    layer4       7x7     2 of 512    3 of 512    3 of 512/2048  3 of 512/2048  3 of 512/2048
    avgpool, fc          mean of each map, linear to the classes
    multiply-adds        1.8 G       3.6 G       3.8 G          7.6 G          11.3 G

"2 of 64" are two blocks of two 3x3 convolutions with 64 channels; "3 of 64/256" are three
bottlenecks: 1x1 to 64 channels, 3x3, 1x1 to 256. The first block of layer2, 3 and 4 has stride 2.

In the paper the first convolution of a block has the stride. In a bottleneck that is a 1x1, which
then skips three pixels of four; the networks here have it in the 3x3, as torchvision and most
others do ("v1.5": ResNet-50 then needs 4.09 G). `variant="v1"` is the paper's.

From the same file, since they are the same network with other numbers:

- plain networks, which have no shortcuts (same paper, figure 3 and table 2);
- Wide ResNet-50-2: Zagoruyko, Komodakis, "Wide residual networks", 2016, table 8;
- ResNeXt: Xie et al., "Aggregated residual transformations", 2017, table 1;
- ResNet-D: He T. et al., "Bag of tricks for image classification", 2018, figure 2;
- squeeze-excitation: Hu et al. 2018; stochastic depth: Huang et al. 2016; scale 0 of the last
  normalisation: Goyal et al. 2017, section 5.1; dropout before the classifier: as arguments.

Parameters are called as in torchvision; those of ResNet-D and squeeze-excitation as in timm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ... import nn
from ...autograd import Tensor
from ...nn.fused import norm_relu
from ..blocks import SqueezeExcitation
from .resnet_cifar import PadShortcut

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "BottleneckV1",
    "ResNet",
    "plain18",
    "plain34",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet50d",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
    "wide_resnet101_2",
]

Norm = Callable[[int], nn.Module]


def conv3x3(
    inplanes: int, planes: int, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(inplanes, planes, 3, stride, dilation, dilation, groups, bias=False)


def conv1x1(inplanes: int, planes: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inplanes, planes, 1, stride, bias=False)


class Block(nn.Module):
    """relu(shortcut(x) + residual(x)): what both kinds of block have in common.

    A subclass makes its convolutions, then calls `finish`.
    """

    expansion: int  # output channels / planes
    stride_in_1x1 = False
    relu: nn.ReLU
    downsample: nn.Module | None
    se: SqueezeExcitation | None
    drop: nn.StochasticDepth | None

    def finish(
        self, channels: int, downsample: nn.Module | None, plain: bool, squeeze: int, drop: float
    ) -> None:
        """What comes after the convolutions, which give so many channels; see `BasicBlock`."""
        self.relu = nn.ReLU()
        self.se = SqueezeExcitation(channels, squeeze) if squeeze else None
        self.drop = nn.StochasticDepth(drop, "row") if drop else None
        self.downsample = downsample
        self.plain = plain

    def residual(self, x: Tensor) -> Tensor:
        """What is added to the shortcut, (N, planes * expansion, H / stride, W / stride)."""
        raise NotImplementedError

    def last_norm(self) -> Any:
        """The normalisation that the residual ends with."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        out = self.residual(x)
        if self.se is not None:
            out = self.se(out)
        if self.drop is not None:
            out = self.drop(out)
        if not self.plain:
            out = out + (x if self.downsample is None else self.downsample(x))
        return self.relu(out)


class BasicBlock(Block):
    """Two 3x3 convolutions; the first has the stride. Figure 5, left.

    Args:
        inplanes: input channels.
        planes: output channels.
        stride: of the block.
        downsample: brings x to the shape of the sum; None: x as it is.
        groups, base_width, dilation: 1, 64 and 1; others only in a bottleneck.
        norm_layer: makes the normalisation of so many channels.
        plain: no shortcut at all.
        squeeze: inner channels of squeeze-excitation; 0: none.
        drop: probability with which the residual of a picture is left out in training.

    Raises:
        ValueError: groups, base_width or dilation for which this block has no form.
    """

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Norm = nn.BatchNorm2d,
        *,
        plain: bool = False,
        squeeze: int = 0,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        if (groups, base_width, dilation) != (1, 64, 1):
            raise ValueError(
                f"BasicBlock: groups={groups}, width_per_group={base_width}, dilation={dilation}: "
                "only a Bottleneck has groups, other widths and dilation"
            )
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = norm_layer(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = norm_layer(planes)
        self.finish(planes, downsample, plain, squeeze, drop)

    def residual(self, x: Tensor) -> Tensor:
        out = norm_relu(self.bn1, self.conv1(x), self.relu)
        return self.bn2(self.conv2(out))

    def last_norm(self) -> Any:
        return self.bn2


class Bottleneck(Block):
    """1x1 to few channels, 3x3, 1x1 to four times `planes`. Figure 5, right; ResNeXt: figure 3c.

    Args:
        inplanes: input channels.
        planes: a quarter of the output channels.
        groups, base_width: the 3x3 has `groups` groups of planes * base_width / 64 channels.
        dilation: of the 3x3.
        stride, downsample, norm_layer, plain, squeeze, drop: as in `BasicBlock`.
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: nn.Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Norm = nn.BatchNorm2d,
        *,
        plain: bool = False,
        squeeze: int = 0,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        width = planes * base_width // 64 * groups
        channels = planes * self.expansion
        first, second = (stride, 1) if self.stride_in_1x1 else (1, stride)
        self.conv1 = conv1x1(inplanes, width, first)
        self.bn1 = norm_layer(width)
        self.conv2 = conv3x3(width, width, second, groups, dilation)
        self.bn2 = norm_layer(width)
        self.conv3 = conv1x1(width, channels)
        self.bn3 = norm_layer(channels)
        self.finish(channels, downsample, plain, squeeze, drop)

    def residual(self, x: Tensor) -> Tensor:
        out = norm_relu(self.bn1, self.conv1(x), self.relu)
        out = norm_relu(self.bn2, self.conv2(out), self.relu)
        return self.bn3(self.conv3(out))

    def last_norm(self) -> Any:
        return self.bn3


class BottleneckV1(Bottleneck):
    """The paper's bottleneck: the stride in the first 1x1 convolution."""

    stride_in_1x1 = True


def make_downsample(
    shortcut: str, inplanes: int, channels: int, stride: int, norm_layer: Norm = nn.BatchNorm2d
) -> nn.Module | None:
    """The shortcut of a block (section 3.3), or None where it is the identity.

    Args:
        shortcut: "A": zeros for the channels that are missing; "B": a 1x1 convolution where the
            shape changes; "C": everywhere; "D": as B, after the mean of 2x2 pixels where the
            stride is 2, so that none is skipped (ResNet-D); "none".
        inplanes, channels: in and out.
        stride: of the block.
        norm_layer: makes the normalisation of so many channels.
    """
    same = stride == 1 and inplanes == channels
    if shortcut == "none" or (same and shortcut != "C"):
        return None
    if shortcut == "A":
        return PadShortcut(inplanes, channels, stride)
    if shortcut == "D":
        pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
        return nn.Sequential(
            nn.Identity() if stride == 1 else pool,
            conv1x1(inplanes, channels),
            norm_layer(channels),
        )
    return nn.Sequential(conv1x1(inplanes, channels, stride), norm_layer(channels))


class ResNet(nn.Module):
    """The networks of table 1 and their relatives. The first arguments are torchvision's.

    Convolutions start with variance 2 / (outgoing weights of a unit): He et al. 2015, "Delving
    deep into rectifiers", equation 14.

    Args:
        block: `BasicBlock`, `Bottleneck` or `BottleneckV1`.
        layers: number of blocks in each of the four stages.
        num_classes: number of outputs.
        zero_init_residual: the scale of the last normalisation of each block starts at 0, so that
            the block starts as its shortcut.
        groups: of the 3x3 in a bottleneck.
        width_per_group: channels of a group where `planes` is 64.
        replace_stride_with_dilation: for layer2, layer3 and layer4: stride 1 there, and what
            follows dilated, so that maps stay large and every weight sees what it saw.
        norm_layer: makes the normalisation of so many channels; default nn.BatchNorm2d.
        in_channels: channels of the pictures.
        width: `planes` of layer1; those of the others are 2, 4 and 8 times as many.
        shortcut: "A", "B", "C", "D" or "none"; see `make_downsample`.
        deep_stem: three 3x3 convolutions, to width / 2, width / 2 and width, in place of the 7x7.
        se: squeeze-excitation at the end of each residual.
        se_reduction: its inner width is channels / se_reduction.
        stochastic_depth_prob: the residual of block l of L is left out of the sum, for each picture
            with probability l / L times this (Huang et al. 2016, equation 4, where it is 0.5; there
            drawn once for the batch).
        dropout: probability before the classifier.

    Raises:
        ValueError: an unknown shortcut; not four stages; replace_stride_with_dilation has not
            three elements; stochastic depth without shortcuts.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None,
        norm_layer: Norm | None = None,
        *,
        in_channels: int = 3,
        width: int = 64,
        shortcut: str = "B",
        deep_stem: bool = False,
        se: bool = False,
        se_reduction: int = 16,
        stochastic_depth_prob: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        dilate = (False, *(replace_stride_with_dilation or (False, False, False)))
        if len(layers) != 4 or len(dilate) != 4:
            raise ValueError(
                f"ResNet: layers has 4 elements, replace_stride_with_dilation 3; got {layers} and "
                f"{replace_stride_with_dilation}"
            )
        if shortcut not in ("A", "B", "C", "D", "none"):
            raise ValueError(f"ResNet: shortcut is 'A', 'B', 'C', 'D' or 'none', not {shortcut!r}")
        if shortcut == "none" and stochastic_depth_prob:
            raise ValueError(
                "ResNet: stochastic depth needs shortcuts; where a block without one is left out, "
                "nothing is left of the picture"
            )
        norm = nn.BatchNorm2d if norm_layer is None else norm_layer
        self.conv1 = _stem(in_channels, width, norm, deep_stem)
        self.bn1 = norm(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)

        inplanes, dilation, number = width, 1, 0
        for i in range(4):
            planes, stride = width * 2**i, 1 if i == 0 else 2
            before = dilation
            if dilate[i]:
                stride, dilation = 1, dilation * stride
            stage = nn.Sequential()
            for j in range(layers[i]):
                number += 1
                channels = planes * block.expansion
                step = stride if j == 0 else 1
                # Dilation begins behind the convolution that had the stride.
                begins = j == 0 and not block.stride_in_1x1
                stage.append(
                    block(
                        inplanes,
                        planes,
                        step,
                        make_downsample(shortcut, inplanes, channels, step, norm),
                        groups,
                        width_per_group,
                        before if begins else dilation,
                        norm,
                        plain=shortcut == "none",
                        squeeze=max(1, channels // se_reduction) if se else 0,
                        drop=stochastic_depth_prob * number / sum(layers),
                    )
                )
                inplanes = channels
            self.add_module(f"layer{i + 1}", stage)

        self.inplanes = inplanes
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(inplanes, num_classes)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, Block) and zero_init_residual:
                nn.init.zeros_(module.last_norm().weight)

    def forward_features(self, x: Tensor) -> Tensor:
        """The maps that layer4 makes of (N, in_channels, H, W): (N, inplanes, H / 32, W / 32)."""
        x = self.maxpool(norm_relu(self.bn1, self.conv1(x), self.relu))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.forward_features(x)).flatten(1)
        return self.fc(self.dropout(x))


def _stem(in_channels: int, width: int, norm: Norm, deep: bool) -> nn.Module:
    """The first convolution, or the three of ResNet-C and -D (normalised but for the last)."""
    if not deep:
        return nn.Conv2d(in_channels, width, 7, 2, padding=3, bias=False)
    half = width // 2
    return nn.Sequential(
        conv3x3(in_channels, half, 2),
        norm(half),
        nn.ReLU(),
        conv3x3(half, half),
        norm(half),
        nn.ReLU(),
        conv3x3(half, width),
    )


def _bottleneck(name: str, variant: str) -> type[Bottleneck]:
    if variant not in ("v1.5", "v1"):
        raise ValueError(
            f"{name}: variant is 'v1.5' (stride in the 3x3) or 'v1' (the paper's, in the 1x1), not "
            f"{variant!r}"
        )
    return Bottleneck if variant == "v1.5" else BottleneckV1


def resnet18(num_classes: int = 1000, *, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-18: He et al. 2015, table 1; 11,689,512 parameters, 1.8 G multiply-adds.

    Top-1 error on ImageNet, mean of ten crops: 27.88 % (table 2; with shortcut="A").

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        options: keyword arguments of `ResNet`: shortcut, zero_init_residual, deep_stem, se,
            stochastic_depth_prob, dropout, norm_layer, replace_stride_with_dilation, width ...

    Returns:
        a network from (N, in_channels, 224, 224), or another size, to scores (N, num_classes).
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, in_channels=in_channels, **options)


def resnet34(num_classes: int = 1000, *, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-34: He et al. 2015, table 1; 21,797,672 parameters, 3.6 G multiply-adds.

    Top-1 error, mean of ten crops: 25.03 % with shortcut="A", 24.52 % "B", 24.19 % "C" (table 3).
    Arguments as `resnet18`.
    """
    return ResNet(BasicBlock, (3, 4, 6, 3), num_classes, in_channels=in_channels, **options)


def resnet50(
    num_classes: int = 1000, *, in_channels: int = 3, variant: str = "v1.5", **options: Any
) -> ResNet:
    """ResNet-50: He et al. 2015, table 1; 25,557,032 parameters, 4.1 G multiply-adds (v1: 3.8).

    Top-1 error, mean of ten crops: 22.85 % (table 3).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        variant: "v1.5", as in torchvision: the stride of a bottleneck is in its 3x3; "v1", the
            paper's: in the first 1x1.
        options: keyword arguments of `ResNet`, as in `resnet18`.

    Returns:
        a network from (N, in_channels, 224, 224), or another size, to scores (N, num_classes).

    Raises:
        ValueError: an unknown variant.
    """
    block = _bottleneck("resnet50", variant)
    return ResNet(block, (3, 4, 6, 3), num_classes, in_channels=in_channels, **options)


def resnet101(
    num_classes: int = 1000, *, in_channels: int = 3, variant: str = "v1.5", **options: Any
) -> ResNet:
    """ResNet-101: He et al. 2015, table 1; 44,549,160 parameters, 7.8 G multiply-adds (v1: 7.6).

    Top-1 error, mean of ten crops: 21.75 % (table 3). Arguments as `resnet50`.
    """
    block = _bottleneck("resnet101", variant)
    return ResNet(block, (3, 4, 23, 3), num_classes, in_channels=in_channels, **options)


def resnet152(
    num_classes: int = 1000, *, in_channels: int = 3, variant: str = "v1.5", **options: Any
) -> ResNet:
    """ResNet-152: He et al. 2015, table 1; 60,192,808 parameters, 11.5 G multiply-adds (v1: 11.3).

    Top-1 error, mean of ten crops: 21.43 % (table 3). Arguments as `resnet50`.
    """
    block = _bottleneck("resnet152", variant)
    return ResNet(block, (3, 8, 36, 3), num_classes, in_channels=in_channels, **options)


def plain18(num_classes: int = 1000, *, in_channels: int = 3, **options: Any) -> ResNet:
    """Plain-18: He et al. 2015, table 2; ResNet-18 without shortcuts, 11,515,688 parameters.

    Top-1 error, mean of ten crops: 27.94 %. Arguments as `resnet18`, without `shortcut`.
    """
    layers = (2, 2, 2, 2)
    return ResNet(
        BasicBlock, layers, num_classes, in_channels=in_channels, shortcut="none", **options
    )


def plain34(num_classes: int = 1000, *, in_channels: int = 3, **options: Any) -> ResNet:
    """Plain-34: He et al. 2015, figure 3 and table 2; without shortcuts, 21,623,848 parameters.

    Top-1 error, mean of ten crops: 28.54 %, more than plain-18. Arguments as `plain18`.
    """
    layers = (3, 4, 6, 3)
    return ResNet(
        BasicBlock, layers, num_classes, in_channels=in_channels, shortcut="none", **options
    )


def resnet50d(num_classes: int = 1000, *, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNet-50-D: He T. et al. 2018, figure 2; 25,576,264 parameters, 4.3 G multiply-adds.

    No convolution of stride 2 skips pixels: those of 3x3 have the stride, and shortcuts average
    before they project. The 7x7 is three 3x3. Top-1 accuracy 77.16 %, ResNet-50 75.87 % (table 5).
    Arguments as `resnet18`, without `shortcut` and `deep_stem`.
    """
    return ResNet(
        Bottleneck,
        (3, 4, 6, 3),
        num_classes,
        in_channels=in_channels,
        shortcut="D",
        deep_stem=True,
        **options,
    )


def wide_resnet50_2(num_classes: int = 1000, *, in_channels: int = 3, **options: Any) -> ResNet:
    """Wide ResNet-50-2: Zagoruyko and Komodakis 2016, table 8; 68,883,240 parameters.

    The 3x3 of each bottleneck has twice the channels: 11.4 G multiply-adds. Top-1 error 21.9 %.
    Arguments as `resnet18`.
    """
    return ResNet(
        Bottleneck,
        (3, 4, 6, 3),
        num_classes,
        width_per_group=128,
        in_channels=in_channels,
        **options,
    )


def wide_resnet101_2(num_classes: int = 1000, *, in_channels: int = 3, **options: Any) -> ResNet:
    """Wide ResNet-101-2: torchvision, after Zagoruyko and Komodakis 2016; 126,886,696 parameters.

    22.8 G multiply-adds. Arguments as `resnet18`.
    """
    return ResNet(
        Bottleneck,
        (3, 4, 23, 3),
        num_classes,
        width_per_group=128,
        in_channels=in_channels,
        **options,
    )


def resnext50_32x4d(num_classes: int = 1000, *, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNeXt-50 (32x4d): Xie et al. 2017, table 1; 25,028,904 parameters, 4.2 G multiply-adds.

    The 3x3 of each bottleneck has 32 groups, of 4 channels in layer1. Top-1 error 22.2 %, ResNet-50
    23.9 % (table 3). Arguments as `resnet18`.
    """
    return ResNet(
        Bottleneck,
        (3, 4, 6, 3),
        num_classes,
        groups=32,
        width_per_group=4,
        in_channels=in_channels,
        **options,
    )


def resnext101_32x8d(num_classes: int = 1000, *, in_channels: int = 3, **options: Any) -> ResNet:
    """ResNeXt-101 (32x8d): torchvision, after Xie et al. 2017; 88,791,336 parameters.

    16.4 G multiply-adds. Arguments as `resnet18`.
    """
    return ResNet(
        Bottleneck,
        (3, 4, 23, 3),
        num_classes,
        groups=32,
        width_per_group=8,
        in_channels=in_channels,
        **options,
    )
