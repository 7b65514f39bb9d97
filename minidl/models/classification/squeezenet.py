"""SqueezeNet: Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer, "SqueezeNet: AlexNet-level accuracy
with 50x fewer parameters and <0.5MB model size", 2016, table 1.

A fire module squeezes its input to few channels by 1x1 convolutions, then expands them by 1x1 and
by 3x3 convolutions side by side, to four times as many each. Pooling comes late, so that most maps
are large (section 3.1).

    layer      output         squeeze   expand 1x1   expand 3x3
    conv1      111x111x96     7x7 convolution of stride 2
    maxpool1    55x55x96      3x3 of stride 2, as all of them
    fire2       55x55x128        16         64           64
    fire3       55x55x128        16         64           64
    fire4       55x55x256        32        128          128
    maxpool4    27x27x256
    fire5       27x27x256        32        128          128
    fire6       27x27x384        48        192          192
    fire7       27x27x384        48        192          192
    fire8       27x27x512        64        256          256
    maxpool8    13x13x512
    fire9       13x13x512        64        256          256
    conv10      13x13x1000    1x1 convolution
    avgpool10    1x1x1000

(The table's 111 pixels come from pictures of 227, though it says 224; these give 109, 54, 27, 13.)
Version 1.1, by the same authors later, begins with 64 channels of 3x3 and pools two modules
earlier, which saves more than half of the multiply-adds.

Parameters are called as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from ...ops.shape import cat

__all__ = ["VERSION_1_0", "VERSION_1_1", "Fire", "SqueezeNet", "squeezenet1_0", "squeezenet1_1"]

POOL = 0
# the squeeze of each fire module, and where is pooled between them
VERSION_1_0 = (POOL, 16, 16, 32, POOL, 32, 48, 48, 64, POOL, 64)
VERSION_1_1 = (POOL, 16, 16, POOL, 32, 32, POOL, 48, 48, 64, 64)


class Fire(nn.Module):
    """Figure 1: 1x1 convolutions to few channels; 1x1 and 3x3 side by side, each with ReLU.

    Args:
        inplanes: channels of the input.
        squeeze_planes: of the middle.
        expand1x1_planes, expand3x3_planes: of the two parts of the output.
    """

    def __init__(
        self, inplanes: int, squeeze_planes: int, expand1x1_planes: int, expand3x3_planes: int
    ) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inplanes, squeeze_planes, 1)
        self.expand1x1 = nn.Conv2d(squeeze_planes, expand1x1_planes, 1)
        self.expand3x3 = nn.Conv2d(squeeze_planes, expand3x3_planes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return F.relu(cat([self.expand1x1(x), self.expand3x3(x)], 1))


class SqueezeNet(nn.Module):
    """The network of table 1.

    Args:
        first_channels, first_kernel: of the first convolution.
        layers: for each fire module the channels of its squeeze; POOL: a max pooling.
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the last convolution; the paper's is 0.5.
    """

    def __init__(
        self,
        first_channels: int = 96,
        first_kernel: int = 7,
        layers: Sequence[int] = VERSION_1_0,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, first_channels, first_kernel, stride=2), nn.ReLU()
        )
        channels = first_channels
        for squeeze in layers:
            if squeeze == POOL:
                self.features.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            else:
                self.features.append(Fire(channels, squeeze, 4 * squeeze, 4 * squeeze))
                channels = 8 * squeeze
        last = nn.Conv2d(channels, num_classes, 1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), last, nn.ReLU())
        for module in self.modules():  # as torchvision: the paper leaves it to a file of its code
            if isinstance(module, nn.Conv2d):
                if module is last:
                    nn.init.normal_(module.weight, 0.0, 0.01)
                else:
                    nn.init.kaiming_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)).mean((2, 3))


def squeezenet1_0(
    num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5
) -> SqueezeNet:
    """SqueezeNet 1.0: Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer, 2016, table 1.

    1,248,424 parameters, published error on ImageNet 42.5 %, of five guesses 19.7 % (table 2).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the last convolution.

    Returns:
        a network from (N, in_channels, H, W) to scores (N, num_classes), which are not negative.
    """
    return SqueezeNet(num_classes=num_classes, in_channels=in_channels, dropout=dropout)


def squeezenet1_1(
    num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5
) -> SqueezeNet:
    """SqueezeNet 1.1: Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer, 2016, the authors' code.

    1,235,496 parameters; as `squeezenet1_0`, as accurate with 2.4 times fewer multiply-adds.
    """
    return SqueezeNet(64, 3, VERSION_1_1, num_classes, in_channels=in_channels, dropout=dropout)
