"""Inception-v3: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception architecture
for computer vision", 2015, table 1.

A window of 5x5 becomes two of 3x3 (figure 5), one of n x n becomes 1 x n after n x 1 (figure 6):
7x7 costs 14 instead of 49 weights. On the smallest maps 1x3 and 3x1 stand side by side, for more
features (figure 7). Sizes shrink in modules of stride 2 (figure 10).

    stage               output         module
    Conv2d_1a_3x3       149x149x32     3x3, stride 2, no padding
    Conv2d_2a_3x3       147x147x32     3x3, no padding
    Conv2d_2b_3x3       147x147x64     3x3
    maxpool1             73x73x64      3x3, stride 2
    Conv2d_3b_1x1        73x73x80      1x1
    Conv2d_4a_3x3        71x71x192     3x3, no padding
    maxpool2             35x35x192     3x3, stride 2
    Mixed_5b            35x35x256      InceptionA
    Mixed_5c, 5d        35x35x288      InceptionA
    Mixed_6a            17x17x768      InceptionB, stride 2
    Mixed_6b ... 6e     17x17x768      InceptionC with 128, 160, 160, 192 maps inside
    Mixed_7a             8x8x1280      InceptionD, stride 2
    Mixed_7b, 7c         8x8x2048      InceptionE
    mean, dropout        1x1x2048
    linear              classes

Where table 1 and the authors' released network differ, this is the latter, as everywhere
(InceptionA, for one, has a 5x5 window again). One auxiliary classifier stands on Mixed_6e.

Names of modules and parameters are torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from ...ops.shape import cat
from .inception_blocks import BasicConv2d, Width, column, row, scaled_by

__all__ = [
    "Inception3",
    "InceptionA",
    "InceptionAux",
    "InceptionB",
    "InceptionC",
    "InceptionD",
    "InceptionE",
    "InceptionOutputs",
    "inception_v3",
]


class InceptionOutputs(NamedTuple):
    """What the network returns in training: scores (N, num_classes) of its two classifiers."""

    logits: Tensor
    aux_logits: Tensor


class InceptionA(nn.Module):
    """Figure 5: 1x1, 5x5, two 3x3 and pooling side by side.

    Args:
        in_channels: of the input.
        pool_features: maps of the branch with pooling.
        w: from a number of maps of the paper to the number here.

    Attributes:
        out_channels: of the output; so in the other modules.
    """

    def __init__(self, in_channels: int, pool_features: int, w: Width) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, w(64), 1)
        self.branch5x5_1 = BasicConv2d(in_channels, w(48), 1)
        self.branch5x5_2 = BasicConv2d(w(48), w(64), 5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, w(64), 1)
        self.branch3x3dbl_2 = BasicConv2d(w(64), w(96), 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(w(96), w(96), 3, padding=1)
        self.branch_pool = BasicConv2d(in_channels, w(pool_features), 1)
        self.out_channels = 2 * w(64) + w(96) + w(pool_features)

    def forward(self, x: Tensor) -> Tensor:
        branch1x1 = self.branch1x1(x)
        branch5x5 = self.branch5x5_2(self.branch5x5_1(x))
        branch3x3dbl = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        branch_pool = self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
        return cat([branch1x1, branch5x5, branch3x3dbl, branch_pool], 1)


class InceptionB(nn.Module):
    """Figure 10: from 35x35 to 17x17 by 3x3, two 3x3 and pooling; arguments as `InceptionA`."""

    def __init__(self, in_channels: int, w: Width) -> None:
        super().__init__()
        self.branch3x3 = BasicConv2d(in_channels, w(384), 3, stride=2)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, w(64), 1)
        self.branch3x3dbl_2 = BasicConv2d(w(64), w(96), 3, padding=1)
        self.branch3x3dbl_3 = BasicConv2d(w(96), w(96), 3, stride=2)
        self.out_channels = w(384) + w(96) + in_channels

    def forward(self, x: Tensor) -> Tensor:
        branch3x3 = self.branch3x3(x)
        branch3x3dbl = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return cat([branch3x3, branch3x3dbl, F.max_pool2d(x, 3, stride=2)], 1)


class InceptionC(nn.Module):
    """Figure 6, n = 7: 1x1, one and two factorised 7x7, and pooling side by side.

    Args:
        in_channels: of the input.
        channels_7x7: maps between the factors.
        w: as in `InceptionA`.
    """

    def __init__(self, in_channels: int, channels_7x7: int, w: Width) -> None:
        super().__init__()
        c7 = w(channels_7x7)
        self.branch1x1 = BasicConv2d(in_channels, w(192), 1)
        self.branch7x7_1 = BasicConv2d(in_channels, c7, 1)
        self.branch7x7_2 = row(c7, c7, 7)
        self.branch7x7_3 = column(c7, w(192), 7)
        self.branch7x7dbl_1 = BasicConv2d(in_channels, c7, 1)
        self.branch7x7dbl_2 = column(c7, c7, 7)
        self.branch7x7dbl_3 = row(c7, c7, 7)
        self.branch7x7dbl_4 = column(c7, c7, 7)
        self.branch7x7dbl_5 = row(c7, w(192), 7)
        self.branch_pool = BasicConv2d(in_channels, w(192), 1)
        self.out_channels = 4 * w(192)

    def forward(self, x: Tensor) -> Tensor:
        branch1x1 = self.branch1x1(x)
        branch7x7 = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        branch7x7dbl = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        branch7x7dbl = self.branch7x7dbl_5(self.branch7x7dbl_4(branch7x7dbl))
        branch_pool = self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
        return cat([branch1x1, branch7x7, branch7x7dbl, branch_pool], 1)


class InceptionD(nn.Module):
    """From 17x17 to 8x8 by 3x3, a factorised 7x7 with 3x3, and pooling; as `InceptionA`."""

    def __init__(self, in_channels: int, w: Width) -> None:
        super().__init__()
        self.branch3x3_1 = BasicConv2d(in_channels, w(192), 1)
        self.branch3x3_2 = BasicConv2d(w(192), w(320), 3, stride=2)
        self.branch7x7x3_1 = BasicConv2d(in_channels, w(192), 1)
        self.branch7x7x3_2 = row(w(192), w(192), 7)
        self.branch7x7x3_3 = column(w(192), w(192), 7)
        self.branch7x7x3_4 = BasicConv2d(w(192), w(192), 3, stride=2)
        self.out_channels = w(320) + w(192) + in_channels

    def forward(self, x: Tensor) -> Tensor:
        branch3x3 = self.branch3x3_2(self.branch3x3_1(x))
        branch7x7x3 = self.branch7x7x3_2(self.branch7x7x3_1(x))
        branch7x7x3 = self.branch7x7x3_4(self.branch7x7x3_3(branch7x7x3))
        return cat([branch3x3, branch7x7x3, F.max_pool2d(x, 3, stride=2)], 1)


class InceptionE(nn.Module):
    """Figure 7: branches that end in 1x3 and 3x1 side by side; arguments as `InceptionA`."""

    def __init__(self, in_channels: int, w: Width) -> None:
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, w(320), 1)
        self.branch3x3_1 = BasicConv2d(in_channels, w(384), 1)
        self.branch3x3_2a = row(w(384), w(384), 3)
        self.branch3x3_2b = column(w(384), w(384), 3)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, w(448), 1)
        self.branch3x3dbl_2 = BasicConv2d(w(448), w(384), 3, padding=1)
        self.branch3x3dbl_3a = row(w(384), w(384), 3)
        self.branch3x3dbl_3b = column(w(384), w(384), 3)
        self.branch_pool = BasicConv2d(in_channels, w(192), 1)
        self.out_channels = w(320) + 4 * w(384) + w(192)

    def forward(self, x: Tensor) -> Tensor:
        branch1x1 = self.branch1x1(x)
        y = self.branch3x3_1(x)
        branch3x3 = [self.branch3x3_2a(y), self.branch3x3_2b(y)]
        y = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branch3x3dbl = [self.branch3x3dbl_3a(y), self.branch3x3dbl_3b(y)]
        branch_pool = self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
        return cat([branch1x1, *branch3x3, *branch3x3dbl, branch_pool], 1)


class InceptionAux(nn.Module):
    """The auxiliary classifier (section 4), on maps of 17x17.

    Args:
        in_channels: of the input.
        num_classes: number of outputs.
        w: as in `InceptionA`.
    """

    def __init__(self, in_channels: int, num_classes: int, w: Width) -> None:
        super().__init__()
        self.conv0 = BasicConv2d(in_channels, w(128), 1)
        self.conv1 = BasicConv2d(w(128), w(768), 5)
        self.fc = nn.Linear(w(768), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool2d(x, 5, stride=3)  # 17x17 to 5x5
        x = self.conv1(self.conv0(x))
        return self.fc(x.mean((2, 3)))


class Inception3(nn.Module):
    """The network of table 1.

    Args:
        num_classes: number of outputs.
        aux_logits: whether there is an auxiliary classifier.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer.
        width: multiplies all numbers of maps.
        pool_features: for each InceptionA, maps of its branch with pooling; up to three.
        channels_7x7: for each InceptionC, maps between its factors; up to four.
        blocks_7: how many InceptionE; up to two.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        aux_logits: bool = True,
        *,
        in_channels: int = 3,
        dropout: float = 0.5,
        width: float = 1.0,
        pool_features: Sequence[int] = (32, 64, 64),
        channels_7x7: Sequence[int] = (128, 160, 160, 192),
        blocks_7: int = 2,
    ) -> None:
        super().__init__()
        w = scaled_by(width)
        self.aux_logits = aux_logits
        self.Conv2d_1a_3x3 = BasicConv2d(in_channels, w(32), 3, stride=2)
        self.Conv2d_2a_3x3 = BasicConv2d(w(32), w(32), 3)
        self.Conv2d_2b_3x3 = BasicConv2d(w(32), w(64), 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, stride=2)
        self.Conv2d_3b_1x1 = BasicConv2d(w(64), w(80), 1)
        self.Conv2d_4a_3x3 = BasicConv2d(w(80), w(192), 3)
        self.maxpool2 = nn.MaxPool2d(3, stride=2)
        channels = w(192)
        self.mixed: list[str] = []  # the modules from here on, in order

        def add(name: str, module: nn.Module) -> int:
            self.add_module(name, module)
            self.mixed.append(name)
            return module.out_channels

        for letter, features in zip("bcd", pool_features, strict=False):
            channels = add(f"Mixed_5{letter}", InceptionA(channels, features, w))
        channels = add("Mixed_6a", InceptionB(channels, w))
        for letter, c7 in zip("bcde", channels_7x7, strict=False):
            channels = add(f"Mixed_6{letter}", InceptionC(channels, c7, w))
        if aux_logits:
            self.AuxLogits = InceptionAux(channels, num_classes, w)
        self.aux_after = self.mixed[-1]
        channels = add("Mixed_7a", InceptionD(channels, w))
        for letter in "bc"[:blocks_7]:
            channels = add(f"Mixed_7{letter}", InceptionE(channels, w))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        self._initialise()

    def _initialise(self) -> None:
        """As the authors' released network and torchvision; the paper does not say."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, 0.0, 0.1)
        if self.aux_logits:
            nn.init.trunc_normal_(self.AuxLogits.conv1.conv.weight, 0.0, 0.01)
            nn.init.trunc_normal_(self.AuxLogits.fc.weight, 0.0, 0.001)

    def forward(self, x: Tensor) -> Tensor | InceptionOutputs:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.maxpool1(x)))
        x = self.maxpool2(x)
        aux = None
        for name in self.mixed:
            x = getattr(self, name)(x)
            if name == self.aux_after and self.aux_logits and self.training:
                aux = self.AuxLogits(x)
        x = self.fc(self.dropout(x.mean((2, 3))))
        return x if aux is None else InceptionOutputs(x, aux)


def inception_v3(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    aux_logits: bool = True,
    dropout: float = 0.5,
) -> Inception3:
    """Inception-v3: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, 2015, table 1.

    27,161,264 parameters, 23,834,568 without the auxiliary classifier; 5.7 billion multiply-adds
    at 299x299 (the abstract says 5); published error on ImageNet (validation, one crop, table 3)
    21.2 %.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        aux_logits: whether there is an auxiliary classifier.
        dropout: probability before the linear layer.

    Returns:
        a network from (N, in_channels, 299, 299) to scores (N, num_classes); in training, if it
        has the auxiliary classifier, to InceptionOutputs. Other sizes from 75 serve, too, with the
        auxiliary classifier from 299.
    """
    return Inception3(num_classes, aux_logits, in_channels=in_channels, dropout=dropout)
