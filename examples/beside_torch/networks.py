"""U-Net, SegNet-Basic and FCN written with torch, for comparisons: of each layer the name, the
sizes and the order are those of `minidl.models.segmentation`, so that weights fit as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["FCN8s", "SegNetBasic", "UNet"]


class UNet(nn.Module):
    """U-Net with zeros around each convolution and batch norm before each ReLU.

    Args:
        classes: number of scores a pixel.
        in_channels: channels of the pictures.
        widths: channels of each level.
        dropout: probability after each of the last two levels of the way down.
    """

    def __init__(
        self, classes: int, in_channels: int, widths: Sequence[int], dropout: float
    ) -> None:
        super().__init__()

        def double(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.Conv2d(after, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            )

        before = [in_channels, *widths[:-1]]
        upwards = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.down = nn.ModuleList([double(b, w) for b, w in zip(before, widths, strict=True)])
        self.upconv = nn.ModuleList([nn.ConvTranspose2d(low, w, 2, 2) for low, w in upwards])
        self.up = nn.ModuleList([double(2 * w, w) for _, w in upwards])
        self.head = nn.Conv2d(widths[0], classes, 1)
        self.dropout = dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: list[torch.Tensor] = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            if i >= len(self.down) - 2:
                x = F.dropout(x, self.dropout, self.training)
            found.append(x)
        found.pop()
        for upconv, block in zip(self.upconv, self.up, strict=True):
            x = block(torch.cat([found.pop(), upconv(x)], 1))
        return self.head(x)


class SegNetBasic(nn.Module):
    """SegNet-Basic: 7x7 convolutions, maxima put back to where they were.

    Args:
        classes: number of scores a pixel.
        width: channels of all maps.
        stages: number of encoders, and of decoders.
    """

    def __init__(self, classes: int, width: int, stages: int = 4) -> None:
        super().__init__()

        def convolution(before: int) -> list[nn.Module]:
            layer = nn.Conv2d(before, width, 7, padding=3, bias=False)
            return [layer, nn.BatchNorm2d(width)]

        self.encoder = nn.ModuleList(
            [nn.Sequential(*convolution(width if i else 3), nn.ReLU()) for i in range(stages)]
        )
        self.decoder = nn.ModuleList([nn.Sequential(*convolution(width)) for _ in range(stages)])
        self.classifier = nn.Conv2d(width, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75)
        places = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[2:]
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            places.append((indices, size))
        for stage in self.decoder:
            indices, size = places.pop()
            x = stage(F.max_unpool2d(x, indices, 2, output_size=size))
        return self.classifier(x)


class FCN8s(nn.Module):
    """FCN-8s, crops as in the authors' files.

    Args:
        classes: number of scores a pixel.
        convs: convolutions of each of the five stages.
        widths: their channels.
        hidden: channels of fc6 and fc7.
        dropout: probability after fc6 and fc7.
    """

    def __init__(
        self,
        classes: int,
        convs: Sequence[int],
        widths: Sequence[int],
        hidden: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.convs = tuple(convs)
        before, around = 3, 100
        for i, (count, width) in enumerate(zip(convs, widths, strict=True), 1):
            for j in range(1, count + 1):
                self.add_module(f"conv{i}_{j}", nn.Conv2d(before, width, 3, padding=around))
                before, around = width, 1
        self.fc6 = nn.Conv2d(before, hidden, 7)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.score_fr = nn.Conv2d(hidden, classes, 1)
        self.score_pool4 = nn.Conv2d(widths[3], classes, 1)
        self.score_pool3 = nn.Conv2d(widths[2], classes, 1)
        self.upscore2 = nn.ConvTranspose2d(classes, classes, 4, 2, bias=False)
        self.upscore_pool4 = nn.ConvTranspose2d(classes, classes, 4, 2, bias=False)
        self.upscore8 = nn.ConvTranspose2d(classes, classes, 16, 8, bias=False)
        self.upscore8.weight.requires_grad_(False)
        self.dropout = dropout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        pools = []
        for i, count in enumerate(self.convs, 1):
            for j in range(1, count + 1):
                x = self.get_submodule(f"conv{i}_{j}")(x).relu()
            x = F.max_pool2d(x, 2, ceil_mode=True)
            pools.append(x)
        for layer in (self.fc6, self.fc7):
            x = F.dropout(layer(x).relu(), self.dropout, self.training)
        x = self.upscore2(self.score_fr(x))
        h, w = x.shape[2:]
        x = self.upscore_pool4(x + self.score_pool4(pools[3])[..., 5 : 5 + h, 5 : 5 + w])
        h, w = x.shape[2:]
        x = self.upscore8(x + self.score_pool3(pools[2])[..., 9 : 9 + h, 9 : 9 + w])
        return x[..., 31 : 31 + height, 31 : 31 + width]
