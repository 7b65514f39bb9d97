"""VGG: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition",
2014, table 1.

Windows of 3x3 only: two of them, one after the other, see 5x5 and three 7x7 pixels, with fewer
weights and more non-linearities (section 2.3).

    configuration        A        A-LRN    B        C        D        E
    name                 vgg11             vgg13             vgg16    vgg19
    224x224   64 maps    3        3 LRN    3 3      3 3      3 3      3 3
              2x2 maximum
    112x112  128 maps    3        3        3 3      3 3      3 3      3 3
              2x2 maximum
     56x56   256 maps    3 3      3 3      3 3      3 3 1    3 3 3    3 3 3 3
              2x2 maximum
     28x28   512 maps    3 3      3 3      3 3      3 3 1    3 3 3    3 3 3 3
              2x2 maximum
     14x14   512 maps    3 3      3 3      3 3      3 3 1    3 3 3    3 3 3 3
              2x2 maximum
              fully connected 4096, 4096, classes

(3 is a convolution with windows of 3x3, 1 with 1x1, LRN is local response normalisation.) The
parameters are called as in torchvision, from which are also the networks with batch norm before
each ReLU (Ioffe and Szegedy 2015), which are not in the
paper.

Initial weights are He's (2015), as in torchvision. The paper draws those of A from a normal
distribution of standard deviation 0.1, for pixels from 0 to 255, and takes layers of a trained A
for the deeper networks (section 3.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from .alexnet import local_response_norm

__all__ = [
    "TABLE_1",
    "VGG",
    "vgg11",
    "vgg11_bn",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg16_bn",
    "vgg19",
    "vgg19_bn",
]

# For each of the five sizes the windows of its convolutions.
TABLE_1: dict[str, tuple[tuple[int | str, ...], ...]] = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "A-LRN": ((3, "LRN"), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}


class VGG(nn.Module):
    """A network of table 1.

    Args:
        configuration: a column of `TABLE_1`.
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        batch_norm: whether there is batch norm before each ReLU of a convolution.
        dropout: probability after each hidden layer.
        widths: maps at each size.
        hidden: units of the two hidden layers.
        pooled: height and width of the maps that the first of them sees.
    """

    def __init__(
        self,
        configuration: str,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        batch_norm: bool = False,
        dropout: float = 0.5,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        hidden: int = 4096,
        pooled: int = 7,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels = in_channels
        for windows, width in zip(TABLE_1[configuration], widths, strict=True):
            for window in windows:
                if isinstance(window, str):
                    self.features.append(local_response_norm())
                    continue
                self.features.append(nn.Conv2d(channels, width, window, padding=window // 2))
                if batch_norm:
                    self.features.append(nn.BatchNorm2d(width))
                self.features.append(nn.ReLU())
                channels = width
            self.features.append(nn.MaxPool2d(2))
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)  # nothing to do for 224x224
        self.classifier = nn.Sequential(
            nn.Linear(channels * pooled**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def vgg11(
    num_classes: int = 1000, *, in_channels: int = 3, variant: str = "A", dropout: float = 0.5
) -> VGG:
    """VGG-11: Simonyan, Zisserman, 2014, table 1, configurations A and A-LRN.

    132,863,336 parameters; published error on ImageNet (validation, one size, table 3) 29.6 %,
    A-LRN 29.7 %.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        variant: "A", or "A-LRN" with local response normalisation after the first convolution.
        dropout: probability after each hidden layer.

    Returns:
        a network from (N, in_channels, 224, 224) to scores (N, num_classes); other sizes from 32
        are pooled to the same number of features.

    Raises:
        ValueError: an unknown variant.
    """
    if variant not in ("A", "A-LRN"):
        raise ValueError(f"vgg11: variant is 'A' or 'A-LRN', not {variant!r}")
    return VGG(variant, num_classes, in_channels=in_channels, dropout=dropout)


def vgg13(num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-13: Simonyan, Zisserman, 2014, table 1, configuration B.

    133,047,848 parameters; published error on ImageNet (validation, one size, table 3) 28.7 %.
    Arguments as `vgg11`.
    """
    return VGG("B", num_classes, in_channels=in_channels, dropout=dropout)


def vgg16(
    num_classes: int = 1000, *, in_channels: int = 3, variant: str = "D", dropout: float = 0.5
) -> VGG:
    """VGG-16: Simonyan, Zisserman, 2014, table 1, configurations C and D.

    D has 138,357,544 parameters and 15.5 billion multiply-adds at 224x224, C 133,638,952
    parameters; published error on ImageNet (validation, one size, table 3) 25.6 % (D) and 27.3 %
    (C), both trained on several sizes.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        variant: "D", or "C", where the last convolutions at the three smaller sizes are 1x1.
        dropout: probability after each hidden layer.

    Returns:
        a network from (N, in_channels, 224, 224) to scores (N, num_classes); other sizes from 32
        are pooled to the same number of features.

    Raises:
        ValueError: an unknown variant.
    """
    if variant not in ("C", "D"):
        raise ValueError(f"vgg16: variant is 'C' or 'D', not {variant!r}")
    return VGG(variant, num_classes, in_channels=in_channels, dropout=dropout)


def vgg19(num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-19: Simonyan, Zisserman, 2014, table 1, configuration E.

    143,667,240 parameters, 19.6 billion multiply-adds at 224x224 (He et al. 2015, figure 3);
    published error on ImageNet (validation, one size, table 3) 25.5 %. Arguments as `vgg11`.
    """
    return VGG("E", num_classes, in_channels=in_channels, dropout=dropout)


def vgg11_bn(num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-11 with batch norm: configuration A and Ioffe, Szegedy, 2015. Arguments as `vgg11`."""
    return VGG("A", num_classes, in_channels=in_channels, batch_norm=True, dropout=dropout)


def vgg13_bn(num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-13 with batch norm: configuration B and Ioffe, Szegedy, 2015. Arguments as `vgg11`."""
    return VGG("B", num_classes, in_channels=in_channels, batch_norm=True, dropout=dropout)


def vgg16_bn(num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-16 with batch norm: configuration D and Ioffe, Szegedy, 2015. Arguments as `vgg11`."""
    return VGG("D", num_classes, in_channels=in_channels, batch_norm=True, dropout=dropout)


def vgg19_bn(num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5) -> VGG:
    """VGG-19 with batch norm: configuration E and Ioffe, Szegedy, 2015. Arguments as `vgg11`."""
    return VGG("E", num_classes, in_channels=in_channels, batch_norm=True, dropout=dropout)
