"""SegNet: Badrinarayanan, Kendall, Cipolla, "SegNet: a deep convolutional encoder-decoder
architecture for image segmentation", 2015, figure 2 and section 3.

    stage   encoder, at 1/2^(stage-1) of the size      decoder, at the same size
    1       3 -> 64 -> 64, maximum                     64 -> 64 -> classes
    2       64 -> 128 -> 128, maximum                  128 -> 128 -> 64
    3       128 -> 256 -> 256 -> 256, maximum          256 -> 256 -> 256 -> 128
    4       256 -> 512 -> 512 -> 512, maximum          512 -> 512 -> 512 -> 256
    5       512 -> 512 -> 512 -> 512, maximum          512 -> 512 -> 512 -> 512

Each arrow is a 3x3 convolution, batch norm and ReLU; the last has only the convolution. The encoder
is VGG-16 without its linear layers. A decoder puts each value back where the maximum of its
encoder had found it, zeros elsewhere, and lets convolutions fill the gaps: to remember where takes
two bits a window, U-Net's copies of whole maps take all of them (section 3.1).

SegNet-Basic (section 3.1) has four encoders and four decoders of one 7x7 convolution to 64 maps
each, without bias; batch norm everywhere, ReLU in the encoders only; a 1x1 convolution to the
classes; and before all this the contrast normalisation of the authors' network file.

Initial weights are He's (section 3.3).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor

__all__ = ["SegNet", "SegNetBasic", "conv_stage", "segnet", "segnet_basic"]


def conv_stage(
    channels: Sequence[int], layer: type[nn.Conv2d | nn.ConvTranspose2d] = nn.Conv2d
) -> nn.Sequential:
    """3x3 convolutions from each of `channels` to the next, each with batch norm and ReLU.

    Args:
        channels: of the input and of each layer.
        layer: the kind of convolution.
    """
    stage = nn.Sequential()
    for before, after in itertools.pairwise(channels):
        stage.extend([layer(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()])
    return stage


class SegNet(nn.Module):
    """The network of figure 2.

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        convs: convolutions of each stage.
        widths: their channels.
    """

    def __init__(
        self,
        num_classes: int = 12,
        in_channels: int = 3,
        *,
        convs: Sequence[int] = (2, 2, 3, 3, 3),
        widths: Sequence[int] = (64, 128, 256, 512, 512),
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()  # in the order in which it runs: the smallest maps first
        before = (in_channels, *widths)
        for i, (count, width) in enumerate(zip(convs, widths, strict=True)):
            self.encoder.append(conv_stage([before[i]] + [width] * count))
            after = width if i == 0 else before[i]
            self.decoder.insert(0, conv_stage([width] * count + [after]))
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)
        del self.decoder[-1][-3:]  # the last convolution gives the scores
        self.decoder[-1].append(nn.Conv2d(widths[0], num_classes, 3, padding=1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        places = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[2:]
            x, indices = self.pool(x)
            places.append((indices, size))
        for stage in self.decoder:
            indices, size = places.pop()
            x = stage(self.unpool(x, indices, size))
        return x


class SegNetBasic(nn.Module):
    """The smaller network for comparisons, section 3.1.

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        stages: number of encoders, and of decoders.
        width: channels of all maps.
    """

    def __init__(
        self, num_classes: int = 12, in_channels: int = 3, *, stages: int = 4, width: int = 64
    ) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for i in range(stages):
            channels = in_channels if i == 0 else width
            convolution = nn.Conv2d(channels, width, 7, padding=3, bias=False)
            self.encoder.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()))
            convolution = nn.Conv2d(width, width, 7, padding=3, bias=False)
            self.decoder.append(nn.Sequential(convolution, nn.BatchNorm2d(width)))
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        places = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[2:]
            x, indices = self.pool(x)
            places.append((indices, size))
        for stage in self.decoder:
            indices, size = places.pop()
            x = stage(self.unpool(x, indices, size))
        return self.classifier(x)


def segnet(num_classes: int = 12, *, in_channels: int = 3) -> SegNet:
    """SegNet: Badrinarayanan, Kendall, Cipolla, 2015, figure 2; 29,449,932 parameters.

    Published on CamVid (11 classes, 3.5 k pictures): mean accuracy of the classes 71.20 %,
    mean IoU 60.10 %.

    Args:
        num_classes: number of scores a pixel; the 12 are the 11 of CamVid and what has no name.
        in_channels: channels of the pictures.

    Returns:
        a network from (N, in_channels, H, W), of any size from 32, to scores (N, num_classes, H,
        W); made for 360x480.
    """
    return SegNet(num_classes, in_channels)


def segnet_basic(num_classes: int = 12, *, in_channels: int = 3) -> SegNetBasic:
    """SegNet-Basic: Badrinarayanan, Kendall, Cipolla, 2015, section 3.1; 1,416,140 parameters.

    1,416,075 with the 11 classes of CamVid. Arguments as `segnet`, any size from 16.
    """
    return SegNetBasic(num_classes, in_channels)
