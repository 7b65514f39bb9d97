"""U-Net: Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image
segmentation", 2015, figure 1.

    level   size down    channels    size up     what is copied across, cropped
    1       572 - 568        64      392 - 388   568 -> 392
    2       284 - 280       128      200 - 196   280 -> 200
    3       140 - 136       256      104 - 100   136 -> 104
    4        68 -  64       512       56 -  52    64 ->  56
    5        32 -  28      1024

At each level stand two 3x3 convolutions with ReLU; their maps are smaller by 4 pixels than what
they see, as nothing is put around it. A 2x2 maximum leads down; a 2x2 transposed convolution of
stride 2 leads up and halves the channels. What was found on the way down is cut to size and joined
to what comes up; a 1x1 convolution gives the scores. Each score is computed from true pixels alone:
a tile of 572x572 gives the middle 388x388, and tiles that overlap by 184 give a picture of any size
(figure 2).

Dropout (section 3.1, "at the end of the contracting path") follows the last two levels, with
probability 0.5, as in the authors' network file. Initial weights are normal with variance 2 / N, N
the inputs of a unit (section 3).

Not in the paper: padding="same", where zeros around each convolution keep the size; batch norm
(Ioffe and Szegedy 2015) before each ReLU; and residual blocks (He et al. 2015, figure 2), where
what two convolutions find is added to what they saw, brought to as many channels by a 1x1
convolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from ...ops.shape import cat

__all__ = ["DoubleConv", "ResidualDoubleConv", "UNet", "centre_crop", "unet"]


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each with ReLU.

    Args:
        in_channels, out_channels: of the maps.
        padding: 0: maps lose 4 pixels; 1: they keep their size.
        batch_norm: whether there is batch norm before each ReLU.
    """

    def __init__(
        self, in_channels: int, out_channels: int, padding: int, batch_norm: bool = False
    ) -> None:
        super().__init__()
        for channels in (in_channels, out_channels):
            self.append(nn.Conv2d(channels, out_channels, 3, 1, padding, bias=not batch_norm))
            if batch_norm:
                self.append(nn.BatchNorm2d(out_channels))
            self.append(nn.ReLU())


class ResidualDoubleConv(nn.Module):
    """relu(what two convolutions find + the shortcut). Arguments as `DoubleConv`.

    The shortcut is a 1x1 convolution where the number of channels changes, else the input; without
    padding it is cut to the size of what is added.
    """

    def __init__(
        self, in_channels: int, out_channels: int, padding: int, batch_norm: bool = False
    ) -> None:
        super().__init__()
        self.residual = DoubleConv(in_channels, out_channels, padding, batch_norm)
        self.residual.pop()  # the last ReLU comes after the sum
        self.shortcut = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        found = self.residual(x)
        return F.relu(found + self.shortcut(centre_crop(x, found.shape[2:])))


class UNet(nn.Module):
    """The network of figure 1.

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        widths: channels of each level.
        padding: "valid", the paper's: scores for the middle of the picture; "same": for all of it.
        batch_norm: whether there is batch norm before each ReLU.
        residual: whether the blocks are residual.
        dropout: probability after each of the last two levels of the way down.

    Raises:
        ValueError: an unknown padding, or fewer than two levels.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 1,
        *,
        widths: Sequence[int] = (64, 128, 256, 512, 1024),
        padding: str = "valid",
        batch_norm: bool = False,
        residual: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if padding not in ("valid", "same"):
            raise ValueError(f"UNet: padding is 'valid' or 'same', not {padding!r}")
        if len(widths) < 2:
            raise ValueError(f"UNet: needs two levels or more, got widths {tuple(widths)}")
        self.padding = padding
        block = ResidualDoubleConv if residual else DoubleConv
        around = 1 if padding == "same" else 0
        self.down = nn.ModuleList()
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.upconv = nn.ModuleList()
        self.up = nn.ModuleList()
        channels = in_channels
        for width in widths:
            self.down.append(block(channels, width, around, batch_norm))
            channels = width
        for width in widths[-2::-1]:
            self.upconv.append(nn.ConvTranspose2d(channels, width, 2, 2))
            self.up.append(block(2 * width, width, around, batch_norm))
            channels = width
        self.head = nn.Conv2d(channels, num_classes, 1)

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            elif isinstance(module, nn.ConvTranspose2d):  # windows do not overlap: N = C_in
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / module.in_channels))
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def output_size(self, size: int) -> int:
        """Height or width of the scores for a picture of that height or width.

        Raises:
            ValueError: padding is "valid" and a maximum would be taken of an odd number of pixels,
                or nothing is left.
        """
        if self.padding == "same":
            return size
        n = self._through(size)
        if n is None:
            near = range(size + 1, size + 2**10)
            fitting = next(k for k in near if self._through(k) is not None)
            raise ValueError(
                f"UNet: a picture of {size} pixels does not fit: without padding each 2x2 maximum "
                f"needs an even size; the next that fits is {fitting}, or use padding='same'"
            )
        return n

    def _through(self, n: int) -> int | None:
        """The output size, or None where the input does not fit."""
        for _ in range(len(self.upconv)):
            n -= 4
            if n <= 0 or n % 2:
                return None
            n //= 2
        n -= 4
        for _ in range(len(self.upconv)):
            n = 2 * n - 4
        return n if n > 0 else None

    def forward(self, x: Tensor) -> Tensor:
        for size in x.shape[2:]:
            self.output_size(size)  # complains of sizes that do not fit
        found = []
        last = len(self.down) - 1
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else self.pool(x))
            if i >= last - 1:
                x = self.dropout(x)
            found.append(x)
        found.pop()
        for upconv, block in zip(self.upconv, self.up, strict=True):
            across = found.pop()
            if self.padding == "same":  # an odd size lost a row or column to the maximum
                x = upconv(x, output_size=across.shape[2:])
            else:
                x = upconv(x)
                across = centre_crop(across, x.shape[2:])
            x = block(cat([across, x], 1))
        return self.head(x)


def centre_crop(x: Tensor, size: Sequence[int]) -> Tensor:
    """The middle (N, C, *size) of maps (N, C, H, W)."""
    if tuple(size) == x.shape[2:]:
        return x
    top, left = ((n - m) // 2 for n, m in zip(x.shape[2:], size, strict=True))
    return x[:, :, top : top + size[0], left : left + size[1]]


def unet(
    num_classes: int = 2,
    *,
    in_channels: int = 1,
    padding: str = "valid",
    width: int = 64,
    batch_norm: bool = False,
    residual: bool = False,
    dropout: float = 0.5,
) -> UNet:
    """U-Net: Ronneberger, Fischer, Brox, 2015, figure 1; 31,030,658 parameters.

    Published on the membranes of ISBI 2012: warping error 0.000353, pixel error 0.0611, means over
    seven rotations (table 1); mean IoU on cells 0.9203 (PhC-U373) and 0.7756 (DIC-HeLa; table 2).

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        padding: "valid", the paper's: scores for the middle of the picture; "same": for all of it.
        width: channels of the first level, twice as many at each of the four below.
        batch_norm: whether there is batch norm before each ReLU.
        residual: whether the blocks are residual.
        dropout: probability after each of the last two levels of the way down.

    Returns:
        a network from (N, in_channels, H, W) to scores (N, num_classes, H - 184, W - 184), for H
        and W of 188, 204, ... 572, ...; with padding="same" to (N, num_classes, H, W), for any
        size from 16.

    Raises:
        ValueError: an unknown padding.
    """
    return UNet(
        num_classes,
        in_channels,
        widths=[width * 2**i for i in range(5)],
        padding=padding,
        batch_norm=batch_norm,
        residual=residual,
        dropout=dropout,
    )
