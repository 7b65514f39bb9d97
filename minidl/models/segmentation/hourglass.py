"""Stacked hourglass: Newell, Yang, Deng, "Stacked hourglass networks for human pose estimation",
2016, figures 1, 3 and 4; order of the layers as in the authors' code.

    stage                           output    channels
    7x7, stride 2                   128x128    64
    residual                        128x128   128
    2x2 maximum                      64x64    128
    residual, residual               64x64    128, 256
    stack, 8 times:
      hourglass                      64x64    256      down to 4x4 and up again
      residual                       64x64    256
      1x1                            64x64    256
      1x1                            64x64    one heat map a keypoint or class
      1x1 of the last two            64x64    256      added to what the stack began with

An hourglass (figure 3) keeps a copy of its maps, one residual further, and halves the size; on the
smaller maps work a residual, a smaller hourglass and a residual; the result is enlarged and added
to the copy. After four halvings a residual takes the place of the smaller hourglass.

A residual (figure 4, left) is He's of 2016: 1x1 to half of the channels, 3x3, 1x1 to all of them,
each after batch norm and ReLU. Its shortcut is a 1x1 convolution where the channels change.

Every stack's heat maps are compared with the truth (intermediate supervision, section 3.2).
Convolutions start as any layer here does; the paper does not say how.
"""

from __future__ import annotations

from typing import Any

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F

__all__ = ["Hourglass", "Residual", "StackedHourglass", "stacked_hourglass"]


class Residual(nn.Module):
    """A bottleneck with batch norm and ReLU before each convolution, figure 4.

    Args:
        in_channels, out_channels: of the maps.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        half = out_channels // 2
        self.residual = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, half, 1),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, half, 3, padding=1),
            nn.BatchNorm2d(half),
            nn.ReLU(),
            nn.Conv2d(half, out_channels, 1),
        )
        self.shortcut = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv2d(in_channels, out_channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.residual(x)


class Hourglass(nn.Module):
    """Down `depth` times, and up again, figure 3: (N, channels, H, W) to the same shape.

    Args:
        depth: how often the size is halved.
        channels: of all maps.
    """

    def __init__(self, depth: int, channels: int) -> None:
        super().__init__()
        self.across = Residual(channels, channels)
        self.pool = nn.MaxPool2d(2)
        self.down = Residual(channels, channels)
        self.inner = Hourglass(depth - 1, channels) if depth > 1 else Residual(channels, channels)
        self.up = Residual(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        low = self.up(self.inner(self.down(self.pool(x))))
        return self.across(x) + F.interpolate(low, x.shape[2:], mode="nearest")


class StackedHourglass(nn.Module):
    """The network of figure 1.

    Args:
        num_classes: heat maps of each stack.
        in_channels: channels of the pictures.
        stacks: number of hourglasses.
        depth: how often each halves the size.
        channels: of the maps in an hourglass.
        stem: channels of the first convolution; the first residual doubles them.
        enlarge: whether heat maps are enlarged to the size of the picture.
    """

    def __init__(
        self,
        num_classes: int = 16,
        in_channels: int = 3,
        *,
        stacks: int = 8,
        depth: int = 4,
        channels: int = 256,
        stem: int = 64,
        enlarge: bool = False,
    ) -> None:
        super().__init__()
        self.enlarge = enlarge
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, stem, 7, 2, 3),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            Residual(stem, 2 * stem),
            nn.MaxPool2d(2),
            Residual(2 * stem, 2 * stem),
            Residual(2 * stem, channels),
        )
        self.hourglass = nn.ModuleList()
        self.features = nn.ModuleList()
        self.heat = nn.ModuleList()
        self.features_back = nn.ModuleList()
        self.heat_back = nn.ModuleList()
        for i in range(stacks):
            self.hourglass.append(Hourglass(depth, channels))
            self.features.append(
                nn.Sequential(
                    Residual(channels, channels),
                    nn.Conv2d(channels, channels, 1),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                )
            )
            self.heat.append(nn.Conv2d(channels, num_classes, 1))
            if i < stacks - 1:
                self.features_back.append(nn.Conv2d(channels, channels, 1))
                self.heat_back.append(nn.Conv2d(num_classes, channels, 1))

    def forward(self, x: Tensor) -> Any:
        """Heat maps of the last stack, (N, num_classes, H / 4, W / 4); in training a tuple of all.

        The last stack's are the first of the tuple, as for any network with auxiliary outputs.
        """
        size = x.shape[2:]
        x = self.stem(x)
        outputs = []
        last = len(self.hourglass) - 1
        for i in range(last + 1):
            features = self.features[i](self.hourglass[i](x))
            heat = self.heat[i](features)
            outputs.append(heat)
            if i < last:
                x = x + self.features_back[i](features) + self.heat_back[i](heat)
        if not self.training:
            outputs = outputs[-1:]
        if self.enlarge:
            outputs = [F.interpolate(heat, size, mode="bilinear") for heat in outputs]
        return tuple(reversed(outputs)) if self.training else outputs[0]


def stacked_hourglass(
    num_classes: int = 16, *, in_channels: int = 3, stacks: int = 8, enlarge: bool = False
) -> StackedHourglass:
    """Stacked hourglass: Newell, Yang, Deng, 2016, figures 1, 3 and 4; 25,434,112 parameters.

    Published on MPII (test): 90.9 % of the keypoints found (PCKh@0.5, table 2).

    Args:
        num_classes: heat maps of each stack: the 16 joints of a person, or classes.
        in_channels: channels of the pictures.
        stacks: number of hourglasses.
        enlarge: whether heat maps are enlarged to the size of the picture by bilinear
            interpolation, as scores of classes are; the paper's are not.

    Returns:
        a network from (N, in_channels, 256, 256), or another size from 64, to heat maps (N,
        num_classes, 64, 64), a quarter of the size; in training to a tuple of one for each stack,
        the last stack's first.
    """
    return StackedHourglass(num_classes, in_channels, stacks=stacks, enlarge=enlarge)
