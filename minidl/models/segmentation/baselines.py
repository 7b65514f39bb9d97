"""Segmentation as one would first think of it: two baselines, and what they cost.

Sliding window: classify the window around every pixel, as if it were a picture of its own. Ciresan,
Giusti, Gambardella, Schmidhuber, "Deep neural networks segment neuronal membranes in electron
microscopy images", 2012, table 1, network N4:

    layer      1     2     3     4     5     6     7     8     9    10
    stage    conv   max  conv   max  conv   max  conv   max  full  full
    maps       48    48    48    48    48    48    48    48   200  classes
    window    4x4   2x2   5x5   2x2   4x4   2x2   4x4   2x2
    output  92x92 46x46 42x42 21x21 18x18   9x9   6x6   3x3   1x1   1x1

Beyond the edges of the picture its mirror image is seen. Windows of neighbours share
almost all of their pixels, and of the work: `SlidingWindow.dense` does it only once. A maximum
that the windows take at every second pixel it takes at all pixels, and lets what follows look at
every second of these (Long et al. 2015, section 3.2): the same scores, with fewer multiply-adds.

Full resolution: convolutions of 3x3 with zeros around, one after the other, all on maps of the
picture's size; nothing is computed twice, but each layer is dear, and sees only one pixel further.

`multiply_adds` compares them with U-Net.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from ...ops.shape import stack
from ..blocks import mirror_around
from .unet import UNet

__all__ = ["FullResolution", "SlidingWindow", "full_resolution", "multiply_adds", "sliding_window"]


class SlidingWindow(nn.Module):
    """A classifier of windows, applied around every pixel.

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        kernels: window of each convolution; each is followed by ReLU and a 2x2 maximum.
        width: their maps.
        hidden: units of the hidden layer.
        last: height and width of the maps that the hidden layer sees.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 1,
        *,
        kernels: Sequence[int] = (4, 5, 4, 4),
        width: int = 48,
        hidden: int = 200,
        last: int = 3,
    ) -> None:
        super().__init__()
        features = nn.Sequential()
        channels = in_channels
        for kernel in kernels:
            features.extend([nn.Conv2d(channels, width, kernel), nn.ReLU(), nn.MaxPool2d(2)])
            channels = width
        self.window = last
        for kernel in reversed(kernels):
            self.window = 2 * self.window + kernel - 1
        self.classifier = nn.Sequential(
            *features,
            nn.Flatten(),
            nn.Linear(width * last**2, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes, H, W) of pictures (N, in_channels, H, W), window by window."""
        n, _, height, width = x.shape
        x = self._with_margin(x)
        rows = []
        for top in range(height):
            strip = x[:, :, top : top + self.window]
            windows = stack([strip[..., i : i + self.window] for i in range(width)], 1)
            scores = self.classifier(windows.flatten(0, 1))
            rows.append(scores.unflatten(0, (n, width)).transpose(1, 2))
        return stack(rows, 2)

    def dense(self, x: Tensor) -> Tensor:
        """The same scores, each layer computed once for the whole picture."""
        x = self._with_margin(x)
        spread = 1  # distance of the pixels that were neighbours in a window
        for layer in self.classifier:
            if isinstance(layer, nn.Conv2d):
                x = F.conv2d(x, layer.weight, layer.bias, dilation=spread)
            elif isinstance(layer, nn.MaxPool2d):
                x = F.max_pool2d(x, 2, 1, dilation=spread)
                spread *= 2
            elif isinstance(layer, nn.Linear):
                size = math.isqrt(layer.in_features // x.shape[1])
                weight = layer.weight.unflatten(1, (x.shape[1], size, size))
                x = F.conv2d(x, weight, layer.bias, dilation=spread)
            elif isinstance(layer, nn.ReLU):
                x = layer(x)
        return x

    def _with_margin(self, x: Tensor) -> Tensor:
        before = self.window // 2
        after = self.window - 1 - before
        return mirror_around(x, before, after, before, after)


class FullResolution(nn.Sequential):
    """3x3 convolutions with ReLU, all at the size of the picture; the last gives the scores.

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        depth: number of convolutions.
        width: maps of all but the last.
    """

    def __init__(
        self, num_classes: int = 2, in_channels: int = 1, *, depth: int = 16, width: int = 64
    ) -> None:
        super().__init__()
        channels = in_channels
        for _ in range(depth - 1):
            self.extend([nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()])
            channels = width
        self.append(nn.Conv2d(channels, num_classes, 3, padding=1))
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)


def multiply_adds(
    height: int, width: int, num_classes: int = 2, in_channels: int = 1
) -> dict[str, int]:
    """Multiply-adds with which one picture is segmented, for each way to do it.

    Args:
        height, width: of the picture in pixels.
        num_classes: number of scores a pixel.
        in_channels: channels of the picture.

    Returns:
        "sliding window": network N4 at every pixel; "sliding window, dense": the same scores by
        `SlidingWindow.dense`; "full resolution": 16 convolutions to 64 maps; "U-Net": that of
        `unet(padding="same")`, for a picture enlarged to multiples of 16; "U-Net at full
        resolution": its convolutions without the maxima between them.
    """
    with nn.init.skip_init():
        windows = SlidingWindow(num_classes, in_channels)
        full = FullResolution(num_classes, in_channels)
        unet = UNet(num_classes, in_channels, padding="same")
    size = windows.window
    one_window = nn.summary(windows.classifier, (1, in_channels, size, size)).multiply_adds
    one_square = nn.summary(unet, (1, in_channels, 16, 16)).multiply_adds
    return {
        "sliding window": one_window * height * width,
        "sliding window, dense": _dense(windows, height, width),
        "full resolution": _weights(full) * height * width,
        "U-Net": one_square * -(-height // 16) * -(-width // 16),
        "U-Net at full resolution": _weights(unet) * height * width,
    }


def _weights(net: nn.Module) -> int:
    """The weights of all convolutions: multiply-adds of each pixel, were all maps of one size."""
    return sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d))


def _dense(net: SlidingWindow, height: int, width: int) -> int:
    """The multiply-adds of `SlidingWindow.dense`."""
    total, spread, margin = 0, 1, net.window - 1
    for layer in net.classifier:
        if isinstance(layer, nn.Conv2d):
            margin -= spread * (layer.kernel_size[0] - 1)
        elif isinstance(layer, nn.MaxPool2d):
            margin -= spread
            spread *= 2
        elif isinstance(layer, nn.Linear):
            margin = 0
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            total += layer.weight.numel() * (height + margin) * (width + margin)
    return total


def sliding_window(num_classes: int = 2, *, in_channels: int = 1) -> SlidingWindow:
    """Sliding window: Ciresan et al. 2012, table 1, network N4; 219,290 parameters.

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.

    Returns:
        a network from (N, in_channels, H, W), of any size, to scores (N, num_classes, H, W). What
        is trained, on windows of 95x95, is its `classifier`: a gradient of whole pictures would
        keep the maps of all windows.
    """
    return SlidingWindow(num_classes, in_channels)


def full_resolution(
    num_classes: int = 2, *, in_channels: int = 1, depth: int = 16, width: int = 64
) -> FullResolution:
    """Full resolution: convolutions without downsampling; no paper; 518,786 parameters.

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        depth: number of convolutions; a score sees 2 * depth + 1 pixels each way.
        width: maps of all but the last.

    Returns:
        a network from (N, in_channels, H, W), of any size, to scores (N, num_classes, H, W).
    """
    return FullResolution(num_classes, in_channels, depth=depth, width=width)
