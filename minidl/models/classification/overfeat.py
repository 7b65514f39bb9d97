"""OverFeat: Sermanet, Eigen, Zhang, Mathieu, Fergus, LeCun, "OverFeat: integrated recognition,
localization and detection using convolutional networks", 2013.

The fast network, table 1, for pictures of 231x231:

    layer      1     2     3      4      5      6     7     8
    stage    conv  conv  conv   conv   conv   full  full  full
    maps       96   256   512   1024   1024   3072  4096  classes
    window  11x11   5x5   3x3    3x3    3x3    6x6   1x1   1x1
    stride      4     1     1      1      1
    padding     0     0     1      1      1
    pooling   2x2   2x2     -      -    2x2
    output  28x28 12x12 12x12  12x12    6x6    1x1   1x1   1x1

The accurate network, table 3, for pictures of 221x221:

    layer      1     2     3      4      5      6     7     8     9
    stage    conv  conv  conv   conv   conv   conv  full  full  full
    maps       96   256   512    512   1024   1024  4096  4096  classes
    window    7x7   7x7   3x3    3x3    3x3    3x3   5x5   1x1   1x1
    stride      2     1     1      1      1      1
    padding     0     0     1      1      1      1
    pooling   3x3   2x2     -      -      -    3x3
    output  36x36 15x15 15x15  15x15  15x15    5x5   1x1   1x1   1x1

Windows of the pooling do not overlap, and there is no contrast normalisation. The fully connected
layers are convolutions: slid over a larger picture the network computes, sharing all common work,
what it would compute for each part of it (section 3.5).
"""

from __future__ import annotations

from typing import NamedTuple

from ... import nn
from ...autograd import Tensor

__all__ = ["ACCURATE", "FAST", "Layer", "OverFeat", "overfeat"]


class Layer(NamedTuple):
    """A convolution: maps, window, stride, padding, and the window of the pooling (1: none)."""

    maps: int
    window: int
    stride: int
    padding: int
    pooling: int


FAST = (
    Layer(96, 11, 4, 0, 2),
    Layer(256, 5, 1, 0, 2),
    Layer(512, 3, 1, 1, 1),
    Layer(1024, 3, 1, 1, 1),
    Layer(1024, 3, 1, 1, 2),
)
ACCURATE = (
    Layer(96, 7, 2, 0, 3),
    Layer(256, 7, 1, 0, 2),
    Layer(512, 3, 1, 1, 1),
    Layer(512, 3, 1, 1, 1),
    Layer(1024, 3, 1, 1, 1),
    Layer(1024, 3, 1, 1, 3),
)


class OverFeat(nn.Module):
    """The networks of tables 1 and 3.

    Args:
        num_classes: number of outputs.
        layers: the convolutions.
        window: of the first fully connected layer.
        hidden: units of the two hidden fully connected layers.
        in_channels: channels of the pictures.
        dropout: probability after each hidden layer.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        layers: tuple[Layer, ...] = FAST,
        window: int = 6,
        hidden: tuple[int, int] = (3072, 4096),
        *,
        in_channels: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels = in_channels
        for layer in layers:
            self.features.append(
                nn.Conv2d(channels, layer.maps, layer.window, layer.stride, layer.padding)
            )
            self.features.append(nn.ReLU())
            if layer.pooling > 1:
                self.features.append(nn.MaxPool2d(layer.pooling))
            channels = layer.maps
        self.classifier = nn.Sequential(
            nn.Conv2d(channels, hidden[0], window),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(hidden[0], hidden[1], 1),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(hidden[1], num_classes, 1),
        )
        for module in self.modules():  # section 3.1; of the biases it says nothing
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.01)
                nn.init.zeros_(module.bias)

    def dense(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes, H, W) at each place of the sliding window."""
        return self.classifier(self.features(x))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes): for each class the best place (section 3.3)."""
        return self.dense(x).amax((2, 3))


def overfeat(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    variant: str = "fast",
    dropout: float = 0.5,
) -> OverFeat:
    """OverFeat: Sermanet, Eigen, Zhang, Mathieu, Fergus, LeCun, 2013, tables 1 and 3.

    Published error of five guesses on ImageNet (test, several networks and sizes) 13.6 %
    (section 3.4).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        variant: "fast" (145,920,872 parameters) or "accurate" (144,656,488).
        dropout: probability after each hidden layer.

    Returns:
        a network from (N, in_channels, 231, 231), accurate (N, in_channels, 221, 221), to scores
        (N, num_classes). Larger pictures are scanned: `dense` gives the scores at each place,
        calling the network the best of them.

    Raises:
        ValueError: an unknown variant.
    """
    if variant not in ("fast", "accurate"):
        raise ValueError(f"overfeat: variant is 'fast' or 'accurate', not {variant!r}")
    layers, window, hidden = (
        (FAST, 6, (3072, 4096)) if variant == "fast" else (ACCURATE, 5, (4096, 4096))
    )
    return OverFeat(num_classes, layers, window, hidden, in_channels=in_channels, dropout=dropout)
