"""ZFNet: Zeiler, Fergus, "Visualizing and understanding convolutional networks", 2013, figure 3.

Its authors looked at the features of AlexNet, found the first layer's too coarse and changed two
things (section 4.1): windows of 7x7 instead of 11x11 with stride 2 instead of 4.

    layer                                        output
    convolution 7x7, stride 2                    96 110 110
    3x3 maximum, stride 2; response norm         96  55  55
    convolution 5x5, stride 2                   256  26  26
    3x3 maximum, stride 2; response norm        256  13  13
    convolution 3x3                             384  13  13
    convolution 3x3                             384  13  13
    convolution 3x3                             256  13  13
    3x3 maximum, stride 2                       256   6   6
    fully connected                            4096
    fully connected                            4096
    fully connected                            classes

Maps are joined fully: there is one tower. The paper does not give the constants of the
normalisation across maps; they are AlexNet's here.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from .alexnet import local_response_norm

__all__ = ["ZFNet", "zfnet"]


class ZFNet(nn.Module):
    """The network of figure 3.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability after each hidden layer.
        widths: maps of the five convolutions.
        hidden: units of the two hidden layers.
        pooled: height and width of the maps that the first of them sees.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        dropout: float = 0.5,
        widths: Sequence[int] = (96, 256, 384, 384, 256),
        hidden: int = 4096,
        pooled: int = 6,
    ) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = widths
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, c1, 7, stride=2, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            local_response_norm(),
            nn.Conv2d(c1, c2, 5, stride=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            local_response_norm(),
            nn.Conv2d(c2, c3, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)  # nothing to do for 224x224
        self.classifier = nn.Sequential(
            nn.Linear(c5 * pooled**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():  # section 3: all weights "initialized to 0.01", no biases
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def zfnet(num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5) -> ZFNet:
    """ZFNet: Zeiler, Fergus, 2013, figure 3.

    62,357,608 parameters; published error on ImageNet (validation) 38.4 %, 16.5 % of five guesses
    (table 2, one network).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability after each hidden layer.

    Returns:
        a network from (N, in_channels, 224, 224) to scores (N, num_classes); other sizes from 63
        are pooled to the same number of features.
    """
    return ZFNet(num_classes, in_channels=in_channels, dropout=dropout)
