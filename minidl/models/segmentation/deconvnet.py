"""DeconvNet: Noh, Hong, Han, "Learning deconvolution network for semantic segmentation", 2015,
figure 2; layer by layer in the table of its supplement.

    stage   size      convolutions, down             transposed convolutions, up
    1       224x224   3 -> 64 -> 64, maximum         64 -> 64 -> 64
    2       112x112   64 -> 128 -> 128, maximum      128 -> 128 -> 64
    3        56x56    128 -> 256 x 3, maximum        256 -> 256 -> 256 -> 128
    4        28x28    256 -> 512 x 3, maximum        512 -> 512 -> 512 -> 256
    5        14x14    512 -> 512 x 3, maximum        512 -> 512 -> 512 -> 512
    fc6       7x7     7x7: 512 -> 4096               7x7: 4096 -> 512
    fc7       1x1     1x1: 4096 -> 4096

VGG-16, and VGG-16 again with all arrows reversed. The windows are 3x3 but for fc6 and fc7; batch
norm and ReLU follow each layer (section 4.2.1). Maxima are undone as in SegNet, by putting values
back where they were found. A 1x1 convolution gives the scores.

Initial weights of transposed layers are normal (section 4.2.2 does not say with which variance);
those of the others, where no trained VGG-16 is taken, as well: He's.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from .segnet import conv_stage

__all__ = ["DeconvNet", "deconvnet"]


class DeconvNet(nn.Module):
    """The network of figure 2.

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        convs: layers of each stage.
        widths: their channels.
        hidden: channels of fc6 and fc7.
        window: height and width of fc6.
    """

    def __init__(
        self,
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        convs: Sequence[int] = (2, 2, 3, 3, 3),
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        hidden: int = 4096,
        window: int = 7,
    ) -> None:
        super().__init__()
        self.window = window
        self.conv = nn.ModuleList()
        self.deconv = nn.ModuleList()  # in the order in which it runs: the smallest maps first
        before = (in_channels, *widths)
        for i, (count, width) in enumerate(zip(convs, widths, strict=True)):
            self.conv.append(conv_stage([before[i]] + [width] * count))
            after = width if i == 0 else before[i]
            self.deconv.insert(0, conv_stage([width] * count + [after], nn.ConvTranspose2d))
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)
        last = widths[-1]
        self.fc = nn.Sequential(
            nn.Conv2d(last, hidden, window),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden, last, window),
            nn.BatchNorm2d(last),
            nn.ReLU(),
        )
        self.head = nn.Conv2d(widths[0], num_classes, 1)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        least = self.window * 2 ** len(self.conv)
        if min(x.shape[2:]) < least:
            raise ValueError(
                f"DeconvNet: pictures are {least}x{least} or larger, as fc6 sees "
                f"{self.window}x{self.window} of the smallest maps; got {x.shape}"
            )
        places = []
        for stage in self.conv:
            x = stage(x)
            size = x.shape[2:]
            x, indices = self.pool(x)
            places.append((indices, size))
        x = self.fc(x)
        for stage in self.deconv:
            indices, size = places.pop()
            x = stage(self.unpool(x, indices, size))
        return self.head(x)


def deconvnet(num_classes: int = 21, *, in_channels: int = 3) -> DeconvNet:
    """DeconvNet: Noh, Hong, Han, 2015, figure 2; 251,805,653 parameters.

    Published on VOC 2012 (test), applied to 50 proposals a picture: mean IoU 69.6 %, 72.5 %
    together with FCN-8s and a random field (table 1).

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.

    Returns:
        a network from (N, in_channels, 224, 224), or larger, to scores (N, num_classes, 224, 224).
    """
    return DeconvNet(num_classes, in_channels)
