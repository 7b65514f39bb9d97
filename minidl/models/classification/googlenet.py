"""GoogLeNet: Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich, "Going
deeper with convolutions", 2014, table 1.

An Inception module looks at its input through windows of three sizes and a pooling at once. 1x1
convolutions before the larger windows ("reduce") and after the pooling keep the cost down; without
them (figure 2a, `NaiveInception` here) it would grow from module to module.

    stage           output          1x1  3x3     3x3  5x5     5x5  pool
                                         reduce       reduce       proj
    conv 7x7, / 2   112x112x64
    max pool / 2     56x56x64
    conv 3x3         56x56x192            64     192
    max pool / 2     28x28x192
    inception 3a     28x28x256       64   96     128  16       32   32
    inception 3b     28x28x480      128  128     192  32       96   64
    max pool / 2     14x14x480
    inception 4a     14x14x512      192   96     208  16       48   64
    inception 4b     14x14x512      160  112     224  24       64   64
    inception 4c     14x14x512      128  128     256  24       64   64
    inception 4d     14x14x528      112  144     288  32       64   64
    inception 4e     14x14x832      256  160     320  32      128  128
    max pool / 2      7x7x832
    inception 5a      7x7x832       256  160     320  32      128  128
    inception 5b      7x7x1024      384  192     384  48      128  128
    mean, dropout     1x1x1024
    linear            classes

Two auxiliary classifiers on 4a and 4d help the gradient on its way in training; their losses count
0.3 each (section 5).

torchvision's network, whose names of parameters these are, differs: batch norm after each
convolution and no response normalisation (figure 3), 3x3 where the paper has 5x5, 2x2 instead of
3x3 in the last max pooling, dropout 0.2 instead of 0.4. variant="2014" is the paper's. (Table 1
gives the first convolution 2,700 weights, so its authors will have split it into a depthwise and a
pointwise one; the text does not say so, and nobody builds it like that.)
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from .alexnet import local_response_norm
from .inception_blocks import BasicConv2d, Branches

__all__ = [
    "TABLE_1",
    "GoogLeNet",
    "GoogLeNetOutputs",
    "NaiveInception",
    "googlenet",
    "inception",
]

# 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj
Row = tuple[int, int, int, int, int, int]

TABLE_1: dict[str, Row] = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}

AUXILIARY = {"4a": "aux1", "4d": "aux2"}  # the modules that a classifier stands on (section 5)


class GoogLeNetOutputs(NamedTuple):
    """What the network returns in training: scores (N, num_classes) of its three classifiers."""

    logits: Tensor
    aux_logits2: Tensor
    aux_logits1: Tensor


def inception(
    in_channels: int, row: Row, *, batch_norm: bool = True, large_window: int = 5
) -> Branches:
    """The module of figure 2b, from (N, in_channels, H, W) to (N, sum of four, H, W).

    Args:
        in_channels: of the input.
        row: of table 1: maps of 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool proj.
        batch_norm: whether there is batch norm after each convolution.
        large_window: of the third branch; torchvision has 3.
    """
    conv = partial(BasicConv2d, batch_norm=batch_norm)
    n1, reduce3, n3, reduce5, n5, proj = row
    return Branches(
        {
            "branch1": conv(in_channels, n1, 1),
            "branch2": nn.Sequential(conv(in_channels, reduce3, 1), conv(reduce3, n3, 3, 1, 1)),
            "branch3": nn.Sequential(
                conv(in_channels, reduce5, 1),
                conv(reduce5, n5, large_window, 1, large_window // 2),
            ),
            "branch4": nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(in_channels, proj, 1)),
        }
    )


class NaiveInception(Branches):
    """The module of figure 2a, to n1 + n3 + n5 + in_channels maps.

    Larger windows see all maps of the input, and the pooling passes all of them on.

    Args:
        in_channels: of the input.
        n1, n3, n5: maps of the 1x1, 3x3 and 5x5 convolutions.
    """

    def __init__(self, in_channels: int, n1: int, n3: int, n5: int) -> None:
        super().__init__(
            {
                "branch1": BasicConv2d(in_channels, n1, 1, batch_norm=False),
                "branch2": BasicConv2d(in_channels, n3, 3, padding=1, batch_norm=False),
                "branch3": BasicConv2d(in_channels, n5, 5, padding=2, batch_norm=False),
                "branch4": nn.MaxPool2d(3, 1, 1),
            }
        )


class InceptionAux(nn.Module):
    """An auxiliary classifier: pooling to 4x4, 1x1 convolution, two linear layers (section 5).

    Args:
        in_channels: of the input.
        channels: of the convolution.
        hidden: units of the first linear layer.
        num_classes: number of outputs.
        pool: from the maps of a stage to 4x4.
        batch_norm: whether there is batch norm after the convolution.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        hidden: int,
        num_classes: int,
        pool: nn.Module,
        batch_norm: bool,
    ) -> None:
        super().__init__()
        self.pool = pool
        self.conv = BasicConv2d(in_channels, channels, 1, batch_norm=batch_norm)
        self.fc1 = nn.Linear(channels * 4 * 4, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)
        self.dropout = nn.Dropout(0.7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.pool(x)).flatten(1)
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


class GoogLeNet(nn.Module):
    """The network of table 1; see `googlenet`.

    Args:
        num_classes: number of outputs.
        variant: "torchvision" or "2014".
        aux_logits: whether there are auxiliary classifiers.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer; default: 0.2 or the paper's 0.4.
        stem: maps of the first three convolutions.
        table: name -> row of each Inception module; 4a and 4d are those with classifiers.
        aux: maps and units of the auxiliary classifiers.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        variant: str = "torchvision",
        aux_logits: bool = True,
        *,
        in_channels: int = 3,
        dropout: float | None = None,
        stem: tuple[int, int, int] = (64, 64, 192),
        table: Mapping[str, Row] = TABLE_1,
        aux: tuple[int, int] = (128, 1024),
    ) -> None:
        super().__init__()
        if variant not in ("torchvision", "2014"):
            raise ValueError(f"googlenet: variant is 'torchvision' or '2014', not {variant!r}")
        paper = variant == "2014"
        self.aux_logits = aux_logits
        self.modules_of_table = tuple(table)
        conv = partial(BasicConv2d, batch_norm=not paper)
        self.conv1 = conv(in_channels, stem[0], 7, 2, 3)
        self.conv2 = conv(stem[0], stem[1], 1)
        self.conv3 = conv(stem[1], stem[2], 3, 1, 1)
        self.norm1 = local_response_norm() if paper else nn.Identity()
        self.norm2 = local_response_norm() if paper else nn.Identity()
        for i, window in ((1, 3), (2, 3), (3, 3), (4, 3 if paper else 2)):
            self.add_module(f"maxpool{i}", nn.MaxPool2d(window, 2, ceil_mode=True))
        channels = stem[2]
        for name, row in table.items():
            module = inception(channels, row, batch_norm=not paper, large_window=5 if paper else 3)
            self.add_module(f"inception{name}", module)
            channels = row[0] + row[2] + row[4] + row[5]
            if aux_logits and name in AUXILIARY:
                # From 14x14 both give 4x4; the paper's windows fit no other size.
                pool = nn.AvgPool2d(5, 3) if paper else nn.AdaptiveAvgPool2d(4)
                head = InceptionAux(channels, *aux, num_classes, pool, not paper)
                self.add_module(AUXILIARY[name], head)
        if dropout is None:
            dropout = 0.4 if paper else 0.2
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)
        self._initialise(paper)

    def _initialise(self, paper: bool) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                if paper:  # which is silent; as its replication in Caffe
                    nn.init.xavier_uniform_(module.weight)
                    nn.init.constant_(module.bias, 0.2 if isinstance(module, nn.Conv2d) else 0.0)
                else:
                    nn.init.trunc_normal_(module.weight, 0.0, 0.01)

    def forward(self, x: Tensor) -> Tensor | GoogLeNetOutputs:
        x = self.norm1(self.maxpool1(self.conv1(x)))
        x = self.maxpool2(self.norm2(self.conv3(self.conv2(x))))
        aux = {}
        stage = self.modules_of_table[0][0]
        for name in self.modules_of_table:
            if name[0] != stage:  # a new size
                x = getattr(self, f"maxpool{stage}")(x)
                stage = name[0]
            x = getattr(self, f"inception{name}")(x)
            if self.training and self.aux_logits and name in AUXILIARY:
                aux[name] = getattr(self, AUXILIARY[name])(x)
        x = self.fc(self.dropout(x.mean((2, 3))))
        return GoogLeNetOutputs(x, aux["4d"], aux["4a"]) if aux else x


def googlenet(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    variant: str = "torchvision",
    aux_logits: bool = True,
    dropout: float | None = None,
) -> GoogLeNet:
    """GoogLeNet: Szegedy, Liu, Jia et al., 2014, table 1.

    1.5 billion multiply-adds; published error of five guesses on ImageNet (validation, one network
    and crop, table 3) 10.07 %.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        variant: "torchvision" (13,004,888 parameters, 6,624,904 without auxiliary classifiers) or
            "2014" (13,378,280 and 6,998,552).
        aux_logits: whether there are auxiliary classifiers.
        dropout: probability before the linear layer; default: 0.2, in the paper 0.4.

    Returns:
        a network from (N, in_channels, 224, 224) to scores (N, num_classes); in training, if it
        has auxiliary classifiers, to GoogLeNetOutputs. Other sizes serve too, but the auxiliary
        classifiers of 2014 want 224x224.

    Raises:
        ValueError: an unknown variant.
    """
    return GoogLeNet(num_classes, variant, aux_logits, in_channels=in_channels, dropout=dropout)
