"""Inception-v2, or BN-Inception: Ioffe, Szegedy, "Batch normalization: accelerating deep network
training by reducing internal covariate shift", 2015, appendix and figure 5.

GoogLeNet with batch norm after each convolution, with two 3x3 instead of each 5x5 convolution, one
module more at 28x28, and modules of stride 2 (3c, 4e) instead of two of the max poolings, which
pass the pooled maps on as they are.

    stage           output          1x1  3x3     3x3  double  double  pool
                                         reduce       reduce
    conv 7x7, / 2   112x112x64
    max pool / 2     56x56x64
    conv 3x3         56x56x192            64     192
    max pool / 2     28x28x192
    inception 3a     28x28x256       64   64      64   64       96    avg  32
    inception 3b     28x28x320       64   64      96   64       96    avg  64
    inception 3c     14x14x576        -  128     160   64       96    max   -
    inception 4a     14x14x576      224   64      96   96      128    avg 128
    inception 4b     14x14x576      192   96     128   96      128    avg 128
    inception 4c     14x14x608      160  128     160  128      160    avg 128
    inception 4d     14x14x608       96  128     192  160      192    avg 128
    inception 4e      7x7x1056        -  128     192  192      256    max   -
    inception 5a      7x7x1024      352  192     320  160      224    avg 128
    inception 5b      7x7x1024      352  192     320  192      224    max 128
    mean              1x1x1024
    linear            classes

The paper prints 576 and 1024 maps after 4c, 4d and 4e, which is not the sum of their branches; here
as in the networks that others trained after it the branches count. Those have biases in their
convolutions, too, although batch norm takes them off again (section 3.2). The first convolution of
the paper is a separable one, here it is whole.

Parameters are called in the manner of torchvision's GoogLeNet and Inception-v3.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ... import nn
from ...autograd import Tensor
from .inception_blocks import BasicConv2d, Branches

__all__ = ["FIGURE_5", "InceptionV2", "inception", "inception_v2"]

# 1x1, 3x3 reduce, 3x3, double 3x3 reduce, double 3x3, kind of pooling, maps after it;
# without 1x1 convolution (0): of stride 2.
Row = tuple[int, int, int, int, int, str, int]

FIGURE_5: dict[str, Row] = {
    "3a": (64, 64, 64, 64, 96, "avg", 32),
    "3b": (64, 64, 96, 64, 96, "avg", 64),
    "3c": (0, 128, 160, 64, 96, "max", 0),
    "4a": (224, 64, 96, 96, 128, "avg", 128),
    "4b": (192, 96, 128, 96, 128, "avg", 128),
    "4c": (160, 128, 160, 128, 160, "avg", 128),
    "4d": (96, 128, 192, 160, 192, "avg", 128),
    "4e": (0, 128, 192, 192, 256, "max", 0),
    "5a": (352, 192, 320, 160, 224, "avg", 128),
    "5b": (352, 192, 320, 192, 224, "max", 128),
}


def inception(in_channels: int, row: Row, *, bias: bool = True) -> Branches:
    """The module of a row, from (N, in_channels, H, W) to so many maps, at stride 2 (H/2, W/2).

    Args:
        in_channels: of the input.
        row: of `FIGURE_5`.
        bias: whether convolutions have biases.
    """
    conv = partial(BasicConv2d, bias=bias)
    n1, reduce3, n3, reduce_double, n_double, kind, proj = row
    stride = 1 if n1 else 2
    pool: nn.Module = nn.MaxPool2d(3, stride, 1) if kind == "max" else nn.AvgPool2d(3, stride, 1)
    branches: dict[str, nn.Module] = {}
    if n1:
        branches["branch1x1"] = conv(in_channels, n1, 1)
    branches["branch3x3"] = nn.Sequential(
        conv(in_channels, reduce3, 1), conv(reduce3, n3, 3, stride, 1)
    )
    branches["branch3x3dbl"] = nn.Sequential(
        conv(in_channels, reduce_double, 1),
        conv(reduce_double, n_double, 3, 1, 1),
        conv(n_double, n_double, 3, stride, 1),
    )
    branches["branch_pool"] = nn.Sequential(pool, conv(in_channels, proj, 1)) if proj else pool
    return Branches(branches)


class InceptionV2(nn.Module):
    """The network of figure 5.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        bias: whether convolutions have biases.
        dropout: probability before the linear layer.
        stem: maps of the first three convolutions.
        table: name -> row of each Inception module.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        bias: bool = True,
        dropout: float = 0.0,
        stem: tuple[int, int, int] = (64, 64, 192),
        table: Mapping[str, Row] = FIGURE_5,
    ) -> None:
        super().__init__()
        self.conv1 = BasicConv2d(in_channels, stem[0], 7, 2, 3, bias=bias)
        self.maxpool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = BasicConv2d(stem[0], stem[1], 1, bias=bias)
        self.conv3 = BasicConv2d(stem[1], stem[2], 3, 1, 1, bias=bias)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.modules_of_table = tuple(table)
        channels = stem[2]
        for name, row in table.items():
            self.add_module(f"inception{name}", inception(channels, row, bias=bias))
            # Without maps of its own the pooling passes its input on.
            channels = row[0] + row[2] + row[4] + (row[6] or channels)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool1(self.conv1(x))
        x = self.maxpool2(self.conv3(self.conv2(x)))
        for name in self.modules_of_table:
            x = getattr(self, f"inception{name}")(x)
        return self.fc(self.dropout(x.mean((2, 3))))


def inception_v2(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    bias: bool = True,
    dropout: float = 0.0,
) -> InceptionV2:
    """Inception-v2 (BN-Inception): Ioffe, Szegedy, 2015, figure 5.

    11,295,240 parameters (11,285,224 without biases of convolutions), 2.0 billion multiply-adds at
    224x224; published error on ImageNet (validation, one crop, figure 3) 25.2 %.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        bias: whether convolutions have biases, as in the networks that are around; the paper's
            have none (section 3.2).
        dropout: probability before the linear layer; the paper takes it off (section 4.2.1).

    Returns:
        a network from (N, in_channels, 224, 224) to scores (N, num_classes); other sizes serve,
        too.
    """
    return InceptionV2(num_classes, in_channels=in_channels, bias=bias, dropout=dropout)
