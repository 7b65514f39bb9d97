"""Residual and plain networks for CIFAR: He, Zhang, Ren, Sun, "Deep residual learning", 2015.

Section 4.2: a 3x3 convolution, then three stages of n blocks of two 3x3 convolutions, then the mean
of each map and a linear layer: 6n + 2 layers with weights.

    stage      output size   channels
    conv1      32x32         16
    layer1     32x32         16
    layer2     16x16         32
    layer3      8x8          64

A plain network has the same layers without shortcuts. It is the other half of the experiment that
the paper begins with: more layers make a plain network worse, also on the data it is trained on
(figure 6, left), and a residual one better.

Stochastic depth: Huang, Sun, Liu, Sedra, Weinberger, "Deep networks with stochastic depth", 2016.

Parameters are called as in the widely used PyTorch port (`layer1.0.conv1.weight`,
`linear.weight`), whose weight files load once the prefix `module.` is taken off.
"""

from __future__ import annotations

import numpy as np

from ... import nn
from ...autograd import Tensor
from ...backend import of
from ...backend.random import next_offset
from ...nn import functional as F
from ...nn.fused import norm_relu

__all__ = [
    "BasicBlock",
    "PadShortcut",
    "PlainBlock",
    "ResNetCIFAR",
    "plain20",
    "plain32",
    "plain44",
    "plain56",
    "plain110",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
]


class PlainBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x)))))), with 3x3 convolutions.

    Args:
        in_planes: input channels.
        planes: output channels.
        stride: of the first convolution.
    """

    def __init__(self, in_planes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)

    def transform(self, x: Tensor) -> Tensor:
        """All but the last ReLU."""
        return self.bn2(self.conv2(norm_relu(self.bn1, self.conv1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.transform(x))


class BasicBlock(PlainBlock):
    """relu(shortcut(x) + bn(conv(relu(bn(conv(x)))))), with 3x3 convolutions.

    With a survival probability below 1 the whole sum but the shortcut is left out now and then in
    training, for the whole batch, and not even computed; in evaluation it is multiplied by that
    probability (Huang et al. 2016, equations 2 and 5).

    Args:
        in_planes: input channels.
        planes: output channels.
        stride: of the first convolution.
        shortcut: what brings x to the shape of the sum; None: nothing is needed.
        survival: probability with which the block is computed in training.
    """

    def __init__(
        self,
        in_planes: int,
        planes: int,
        stride: int = 1,
        shortcut: nn.Module | None = None,
        survival: float = 1.0,
    ) -> None:
        super().__init__(in_planes, planes, stride)
        self.shortcut = nn.Sequential() if shortcut is None else shortcut
        self.survival = survival

    def forward(self, x: Tensor) -> Tensor:
        if self.survival == 1:
            return F.relu(self.transform(x) + self.shortcut(x))
        if not self.training:
            return F.relu(self.survival * self.transform(x) + self.shortcut(x))
        if happens(self.survival):
            return F.relu(self.transform(x) + self.shortcut(x))
        return F.relu(self.shortcut(x))


def happens(probability: float) -> bool:
    """One random event. Drawn on the host, which must know what to compute next."""
    seed, offset = next_offset(1)
    return bool(of(np.empty(0)).philox_uniform((1,), seed, offset)[0] < probability)


class PadShortcut(nn.Module):
    """Option A: every `stride`-th pixel, and channels of zeros on both sides. No parameters."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra = planes - in_planes

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        before = self.extra // 2
        return F.pad(x, (0, 0, 0, 0, before, self.extra - before))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, extra={self.extra}"


def projection(in_planes: int, planes: int, stride: int) -> nn.Sequential:
    """Options B and C: a 1x1 convolution with batch norm."""
    return nn.Sequential(
        nn.Conv2d(in_planes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
    )


def make_shortcut(option: str, in_planes: int, planes: int, stride: int) -> nn.Module | None:
    """The shortcut of a block (section 3.3): A pads, B projects where shapes differ, C always."""
    if option == "C":
        return projection(in_planes, planes, stride)
    if stride == 1 and in_planes == planes:
        return None
    if option == "B":
        return projection(in_planes, planes, stride)
    return PadShortcut(in_planes, planes, stride)


class ResNetCIFAR(nn.Module):
    """The networks of section 4.2.

    Args:
        blocks: n, the number of blocks in each stage.
        num_classes: number of outputs.
        shortcut: "A", "B" or "C", see `make_shortcut`; "none": a plain network.
        in_channels: channels of the pictures.
        width: channels of the first stage; the others have two and four times as many.
        stochastic_depth_prob: probability with which the last block is left out in training; that
            of the others grows towards it in equal steps from the input's, which is 0.

    Raises:
        ValueError: an unknown shortcut, a probability outside [0, 1), or one in a plain network.
    """

    def __init__(
        self,
        blocks: int,
        num_classes: int = 10,
        shortcut: str = "A",
        in_channels: int = 3,
        width: int = 16,
        stochastic_depth_prob: float = 0.0,
    ) -> None:
        super().__init__()
        if shortcut not in ("A", "B", "C", "none"):
            raise ValueError(f"ResNetCIFAR: shortcut is 'A', 'B', 'C' or 'none', not {shortcut!r}")
        if not 0 <= stochastic_depth_prob < 1 or (shortcut == "none" and stochastic_depth_prob):
            raise ValueError(
                "ResNetCIFAR: stochastic_depth_prob is in [0, 1), and 0 in a plain network, got "
                f"{stochastic_depth_prob} with shortcut={shortcut!r}"
            )
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        in_planes = width
        for number in (1, 2, 3):
            planes = width * 2 ** (number - 1)
            stage = nn.Sequential()
            for i in range(blocks):
                stride = 2 if number > 1 and i == 0 else 1
                if shortcut == "none":
                    stage.append(PlainBlock(in_planes, planes, stride))
                else:
                    way = make_shortcut(shortcut, in_planes, planes, stride)
                    # Huang et al. 2016, equation 4: linear decay
                    depth = ((number - 1) * blocks + i + 1) / (3 * blocks)
                    survival = 1 - depth * stochastic_depth_prob
                    stage.append(BasicBlock(in_planes, planes, stride, way, survival))
                in_planes = planes
            self.add_module(f"layer{number}", stage)
        self.linear = nn.Linear(in_planes, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He et al. 2015 ("Delving deep into rectifiers"), equation 14: by outgoing weights
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = norm_relu(self.bn1, self.conv1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


# -- residual networks -----------------------------------------------------------------------------


def resnet20(
    num_classes: int = 10,
    shortcut: str = "A",
    in_channels: int = 3,
    *,
    stochastic_depth_prob: float = 0.0,
) -> ResNetCIFAR:
    """ResNet-20 for CIFAR: He, Zhang, Ren, Sun, 2015, section 4.2 and table 6.

    Published error on CIFAR-10: 8.75 %.

    Args:
        num_classes: number of outputs.
        shortcut: "A" pads with zeros, "B" projects where the shape changes, "C" everywhere.
        in_channels: channels of the pictures.
        stochastic_depth_prob: probability with which the last block is left out in training (0.5
            in Huang et al. 2016); it falls linearly towards the input.

    Returns:
        a network from (N, in_channels, 32, 32) to scores (N, num_classes).
    """
    return ResNetCIFAR(
        3, num_classes, shortcut, in_channels, stochastic_depth_prob=stochastic_depth_prob
    )


def resnet32(
    num_classes: int = 10,
    shortcut: str = "A",
    in_channels: int = 3,
    *,
    stochastic_depth_prob: float = 0.0,
) -> ResNetCIFAR:
    """ResNet-32 for CIFAR: He, Zhang, Ren, Sun, 2015, section 4.2 and table 6.

    Published error on CIFAR-10: 7.51 %. Arguments and result as `resnet20`.
    """
    return ResNetCIFAR(
        5, num_classes, shortcut, in_channels, stochastic_depth_prob=stochastic_depth_prob
    )


def resnet44(
    num_classes: int = 10,
    shortcut: str = "A",
    in_channels: int = 3,
    *,
    stochastic_depth_prob: float = 0.0,
) -> ResNetCIFAR:
    """ResNet-44 for CIFAR: He, Zhang, Ren, Sun, 2015, section 4.2 and table 6.

    Published error on CIFAR-10: 7.17 %. Arguments and result as `resnet20`.
    """
    return ResNetCIFAR(
        7, num_classes, shortcut, in_channels, stochastic_depth_prob=stochastic_depth_prob
    )


def resnet56(
    num_classes: int = 10,
    shortcut: str = "A",
    in_channels: int = 3,
    *,
    stochastic_depth_prob: float = 0.0,
) -> ResNetCIFAR:
    """ResNet-56 for CIFAR: He, Zhang, Ren, Sun, 2015, section 4.2 and table 6.

    Published error on CIFAR-10: 6.97 %. Arguments and result as `resnet20`.
    """
    return ResNetCIFAR(
        9, num_classes, shortcut, in_channels, stochastic_depth_prob=stochastic_depth_prob
    )


def resnet110(
    num_classes: int = 10,
    shortcut: str = "A",
    in_channels: int = 3,
    *,
    stochastic_depth_prob: float = 0.0,
) -> ResNetCIFAR:
    """ResNet-110 for CIFAR: He, Zhang, Ren, Sun, 2015, section 4.2 and table 6.

    Published error on CIFAR-10: 6.43 %, the best of five runs; it starts at a tenth of the learning
    rate until the training error is below 80 %. With stochastic_depth_prob 0.5: 5.23 % against
    6.41 % without (Huang et al. 2016, table 1). Arguments and result as `resnet20`.
    """
    return ResNetCIFAR(
        18, num_classes, shortcut, in_channels, stochastic_depth_prob=stochastic_depth_prob
    )


# -- plain networks --------------------------------------------------------------------------------


def plain20(num_classes: int = 10, *, in_channels: int = 3) -> ResNetCIFAR:
    """Plain network of 20 layers for CIFAR: He, Zhang, Ren, Sun, 2015, section 4.2 and figure 6.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.

    Returns:
        a network from (N, in_channels, 32, 32) to scores (N, num_classes).
    """
    return ResNetCIFAR(3, num_classes, "none", in_channels)


def plain32(num_classes: int = 10, *, in_channels: int = 3) -> ResNetCIFAR:
    """Plain network of 32 layers for CIFAR: He, Zhang, Ren, Sun, 2015, section 4.2 and figure 6.

    Arguments and result as `plain20`.
    """
    return ResNetCIFAR(5, num_classes, "none", in_channels)


def plain44(num_classes: int = 10, *, in_channels: int = 3) -> ResNetCIFAR:
    """Plain network of 44 layers for CIFAR: He, Zhang, Ren, Sun, 2015, section 4.2 and figure 6.

    Arguments and result as `plain20`.
    """
    return ResNetCIFAR(7, num_classes, "none", in_channels)


def plain56(num_classes: int = 10, *, in_channels: int = 3) -> ResNetCIFAR:
    """Plain network of 56 layers for CIFAR: He, Zhang, Ren, Sun, 2015, section 4.2 and figure 6.

    Arguments and result as `plain20`.
    """
    return ResNetCIFAR(9, num_classes, "none", in_channels)


def plain110(num_classes: int = 10, *, in_channels: int = 3) -> ResNetCIFAR:
    """Plain network of 110 layers for CIFAR: He, Zhang, Ren, Sun, 2015, section 4.2 and figure 6.

    The paper leaves its error out of the figure: it is above 60 %. Arguments as `plain20`.
    """
    return ResNetCIFAR(18, num_classes, "none", in_channels)
