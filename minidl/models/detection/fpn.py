"""Feature pyramids: maps of several resolutions, each of which knows what the picture shows.

Lin et al. 2017, "Feature pyramid networks for object detection", figure 3. The maps of a backbone
grow coarser and more meaningful from stage to stage. A pyramid passes the meaning back down:

    C5 --1x1--> (+) ----------> 3x3 --> P5         C_k: last map of stage k, 1/2^k of the picture
                 | twice the size                  P_k: of the same size, all with 256 channels
    C4 --1x1--> (+) ----------> 3x3 --> P4
                 | twice the size
    C3 --1x1--> (+) ----------> 3x3 --> P3

so that small objects are found on a fine map, large ones on a coarse one, by the same head.

- `FeaturePyramid`: the above. `PathAggregation` (PANet): from P2 up again, so that what fine maps
  see reaches the coarse ones by a few layers, and not through the whole backbone.
- `LastLevelMaxPool`, `LastLevelP6P7`: coarser levels for large objects.
- `ResNetBody`, `VGGBody`: networks for classification, without the classifier.
- `BackboneWithFPN`, `resnet_fpn_backbone`: both together. Parameters are called as in torchvision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from ...nn.freezing import freeze
from ...nn.fused import norm_relu
from ..classification.resnet import BasicBlock, Bottleneck, ResNet
from ..classification.vgg import VGG

__all__ = [
    "BackboneWithFPN",
    "FeaturePyramid",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "PathAggregation",
    "ResNetBody",
    "VGGBody",
    "freeze_body",
    "resnet_fpn_backbone",
]


class FeaturePyramid(nn.Module):
    """The pyramid of Lin et al. 2017, section 3.

    Args:
        in_channels_list: channels of the maps that come in, from fine to coarse.
        out_channels: of all maps that go out.
        extra_blocks: makes coarser levels, as `LastLevelMaxPool`; None: there are none.
    """

    def __init__(
        self,
        in_channels_list: Sequence[int],
        out_channels: int,
        extra_blocks: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList()
        self.layer_blocks = nn.ModuleList()
        for in_channels in in_channels_list:
            inner = nn.Conv2d(in_channels, out_channels, 1)
            layer = nn.Conv2d(out_channels, out_channels, 3, padding=1)
            # In a Sequential each, for the sake of torchvision's names.
            self.inner_blocks.append(nn.Sequential(_initialised(inner)))
            self.layer_blocks.append(nn.Sequential(_initialised(layer)))
        self.extra_blocks = extra_blocks

    def forward(self, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Maps (N, C_k, H_k, W_k) by name, from fine to coarse, to (N, out_channels, H_k, W_k).

        Names stay; those of extra levels come last.
        """
        levels = self.levels(list(x.values()))
        result = dict(zip(x, levels, strict=True))
        if self.extra_blocks is not None:
            result |= self.extra_blocks(levels[-1], list(x.values())[-1])
        return result

    def levels(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The maps that come in, from fine to coarse, to those that go out."""
        merged = [inner(x) for inner, x in zip(self.inner_blocks, maps, strict=True)]
        for k in range(len(merged) - 2, -1, -1):
            # Not by a factor of 2: of an odd number of rows the coarser map has more than half.
            merged[k] = merged[k] + F.interpolate(merged[k + 1], merged[k].shape[2:])
        return [layer(x) for layer, x in zip(self.layer_blocks, merged, strict=True)]


class PathAggregation(FeaturePyramid):
    """A pyramid, and a path from its finest level up again: PANet.

    Liu et al. 2018, "Path aggregation network for instance segmentation", section 3.1: N_2 is P_2,
    and N_k+1 is a 3x3 convolution of P_k+1 plus N_k, brought to its size by one of stride 2; ReLU
    after each. Arguments as `FeaturePyramid`.
    """

    def __init__(
        self,
        in_channels_list: Sequence[int],
        out_channels: int,
        extra_blocks: nn.Module | None = None,
    ) -> None:
        super().__init__(in_channels_list, out_channels, extra_blocks)
        self.down_blocks = nn.ModuleList()
        self.out_blocks = nn.ModuleList()
        for _ in in_channels_list[1:]:
            down = nn.Conv2d(out_channels, out_channels, 3, 2, padding=1)
            out = nn.Conv2d(out_channels, out_channels, 3, padding=1)
            self.down_blocks.append(_initialised(down))
            self.out_blocks.append(_initialised(out))

    def levels(self, maps: Sequence[Tensor]) -> list[Tensor]:
        finest, *coarser = super().levels(maps)
        result = [finest]
        for down, out, x in zip(self.down_blocks, self.out_blocks, coarser, strict=True):
            result.append(F.relu(out(F.relu(down(result[-1])) + x)))
        return result


class LastLevelMaxPool(nn.Module):
    """P6: every other pixel of P5. Used for anchors of 512 pixels; Lin et al. 2017, section 4.1."""

    def forward(self, p5: Tensor, c5: Tensor) -> dict[str, Tensor]:
        """The coarsest levels of pyramid and backbone to the extra levels by name."""
        return {"pool": F.max_pool2d(p5, 1, 2)}


class LastLevelP6P7(nn.Module):
    """P6 and P7, by convolutions of stride 2. Lin et al. 2017, "Focal loss", section 4.

    Args:
        in_channels: those of the pyramid, then P6 is made of P5 (as torchvision does it), or those
            of the backbone's last map, then of that (as in the paper).
        out_channels: of the pyramid.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.p6 = _initialised(nn.Conv2d(in_channels, out_channels, 3, 2, padding=1))
        self.p7 = _initialised(nn.Conv2d(out_channels, out_channels, 3, 2, padding=1))
        self.use_p5 = in_channels == out_channels

    def forward(self, p5: Tensor, c5: Tensor) -> dict[str, Tensor]:
        """The coarsest levels of pyramid and backbone to the extra levels by name."""
        p6 = self.p6(p5 if self.use_p5 else c5)
        return {"p6": p6, "p7": self.p7(F.relu(p6))}


def _initialised(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_uniform_(layer.weight, a=1)
    nn.init.zeros_(layer.bias)
    return layer


class ResNetBody(ResNet):
    """The last maps of a ResNet's stages, by name: "0", "1" ...

    Args:
        block, layers: as `ResNet`.
        returned_layers: which of the stages 1 to 4.
        options: keyword arguments of `ResNet`: width, norm_layer, in_channels ...

    Attributes:
        channels: of the maps.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: Sequence[int],
        returned_layers: Sequence[int] = (1, 2, 3, 4),
        **options: Any,
    ) -> None:
        super().__init__(block, layers, **options)
        del self.avgpool, self.dropout, self.fc
        self.returned_layers = tuple(returned_layers)
        self.channels = [self.inplanes // 2 ** (4 - k) for k in self.returned_layers]

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """(N, in_channels, H, W) to maps (N, C_k, H / 2^(k + 1), W / 2^(k + 1)) of stages k."""
        x = self.maxpool(norm_relu(self.bn1, self.conv1(x), self.relu))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return {str(i): maps[k - 1] for i, k in enumerate(self.returned_layers)}


class VGGBody(nn.Module):
    """The convolutions of VGG-16 without the last pooling: one map, 1/16 of the picture, "0".

    Args:
        widths: as `VGG`.
    """

    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512, 512)) -> None:
        super().__init__()
        self.features = VGG("D", widths=widths, hidden=1).features[:-1]
        self.out_channels = widths[-1]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to a map (N, widths[-1], H / 16, W / 16)."""
        return {"0": self.features(x)}


class BackboneWithFPN(nn.Module):
    """A body that gives several maps, and a pyramid of them.

    Args:
        body: from pictures to maps by name, with `channels`, as `ResNetBody`.
        fpn: from these to maps of equal channels, as `FeaturePyramid`.

    Attributes:
        out_channels: of the pyramid.
    """

    def __init__(self, body: ResNetBody, fpn: FeaturePyramid) -> None:
        super().__init__()
        self.body, self.fpn = body, fpn
        self.out_channels = fpn.layer_blocks[0][0].out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) to the levels of the pyramid by name, from fine to coarse."""
        return self.fpn(self.body(x))


# Blocks, and how many of them a stage has: He et al. 2015, table 1.
RESNETS: dict[str, tuple[type[BasicBlock | Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}


def resnet_fpn_backbone(
    backbone_name: str,
    trainable_layers: int | None = None,
    returned_layers: Sequence[int] = (1, 2, 3, 4),
    extra_blocks: nn.Module | None = None,
    *,
    out_channels: int = 256,
    fpn: type[FeaturePyramid] = FeaturePyramid,
    **options: Any,
) -> BackboneWithFPN:
    """A residual network with a pyramid on top.

    Args:
        backbone_name: "resnet18", "resnet34", "resnet50", "resnet101" or "resnet152".
        trainable_layers: None: all is trained, as where nothing has been learned yet. For a body
            with weights that others trained: from 0 to 5, see `freeze_body`; batch norm is then
            nn.FrozenBatchNorm2d.
        returned_layers: which of the stages 1 to 4 the pyramid is made of.
        extra_blocks: makes coarser levels; default `LastLevelMaxPool()`.
        out_channels: of all levels.
        fpn: `FeaturePyramid` or `PathAggregation`.
        options: keyword arguments of `ResNet`: width, norm_layer, in_channels ...

    Returns:
        a network from (N, 3, H, W) to levels (N, out_channels, H_k, W_k) by name: "0", "1" ... and
        those of extra_blocks. H and W must be multiples of 32.

    Raises:
        ValueError: an unknown backbone, or trainable_layers out of range.
    """
    if backbone_name not in RESNETS:
        raise ValueError(
            f"resnet_fpn_backbone: {backbone_name!r} is unknown; known are {', '.join(RESNETS)}"
        )
    block, layers = RESNETS[backbone_name]
    if trainable_layers is not None:
        options.setdefault("norm_layer", nn.FrozenBatchNorm2d)
    body = ResNetBody(block, layers, returned_layers, **options)
    if trainable_layers is not None:
        freeze_body(body, trainable_layers)
    extra = LastLevelMaxPool() if extra_blocks is None else extra_blocks
    return BackboneWithFPN(body, fpn(body.channels, out_channels, extra))


def freeze_body(body: ResNet, trainable_layers: int) -> None:
    """Train only the last stages of a residual network, and leave all its BatchNorm as it is.

    A detector sees two pictures at a time, too few for statistics: those of ImageNet stay. The
    first layers see edges and colours in whatever data set.

    Args:
        body: changed in place.
        trainable_layers: of layer4, layer3, layer2, layer1 and conv1 so many are trained.

    Raises:
        ValueError: not from 0 to 5.
    """
    stages = ("layer4", "layer3", "layer2", "layer1", "conv1")
    if not 0 <= trainable_layers <= len(stages):
        raise ValueError(f"freeze_body: trainable_layers is from 0 to 5, got {trainable_layers}")
    for name, child in body.named_children():
        if name not in stages[:trainable_layers]:
            freeze(child)
    for layer in body.modules():
        if isinstance(layer, nn.BatchNorm2d):
            freeze(layer)
