"""Densely connected networks: every layer sees the maps of all layers before it in its block.

Huang, Liu, van der Maaten, Weinberger, "Densely connected convolutional networks", CVPR 2017. A
layer adds k maps (the growth rate) to those it got; between two blocks a transition halves the
size. In the bottleneck form (B) each 3x3 convolution is preceded by a 1x1 to 4k maps; in the
compressing form (C) a transition keeps half of the maps.

Table 1, for pictures of 224x224, all BC, k = 32:

    stage         output    121    169    201
    convolution   112x112   7x7, 64 maps, stride 2
    pooling        56x56    3x3 maximum, stride 2
    denseblock1    56x56      6      6      6   times (1x1, 3x3)
    transition1    28x28    1x1, 2x2 mean
    denseblock2    28x28     12     12     12
    transition2    14x14    1x1, 2x2 mean
    denseblock3    14x14     24     32     48
    transition3     7x7     1x1, 2x2 mean
    denseblock4     7x7      16     32     32
    classifier      1x1     mean of each map, linear

Section 3, for CIFAR: 3x3 convolution to 16 maps (2k in the BC form), three blocks of equal length
at 32x32, 16x16 and 8x8 with two transitions between them, mean of each map, linear. Of L layers a
block has (L - 4) / 3, in the BC form (L - 4) / 6 pairs.

Parameters are called as in torchvision, also where it has no such network.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from ...ops.shape import cat

__all__ = [
    "DenseNet",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "densenet_40_12",
    "densenet_bc_40_12",
    "densenet_bc_100_12",
]


class DenseNet(nn.Module):
    """The networks of table 1 and of section 3.

    Args:
        growth_rate: k, maps that each layer adds.
        block_config: number of layers in each block.
        num_init_features: maps of the first convolution.
        bn_size: the 1x1 convolution of a layer has bn_size * k maps; None: there is none.
        compression: theta, the share of its maps that a transition keeps.
        drop_rate: probability of dropout after each convolution but the first.
        stem: "imagenet" (7x7 of stride 2 and pooling) or "cifar" (3x3).
        num_classes: number of outputs.
        in_channels: channels of the pictures.

    Raises:
        ValueError: an unknown stem.
    """

    def __init__(
        self,
        growth_rate: int,
        block_config: Sequence[int],
        num_init_features: int,
        bn_size: int | None = 4,
        compression: float = 0.5,
        drop_rate: float = 0.0,
        stem: str = "imagenet",
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        if stem not in ("imagenet", "cifar"):
            raise ValueError(f"DenseNet: stem is 'imagenet' or 'cifar', not {stem!r}")
        features = nn.Sequential()
        channels = num_init_features
        if stem == "imagenet":
            features.add_module("conv0", nn.Conv2d(in_channels, channels, 7, 2, 3, bias=False))
            features.add_module("norm0", nn.BatchNorm2d(channels))
            features.add_module("relu0", nn.ReLU())
            features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        else:
            features.add_module("conv0", nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False))
        for i, layers in enumerate(block_config, 1):
            block = DenseBlock(layers, channels, growth_rate, bn_size, drop_rate)
            features.add_module(f"denseblock{i}", block)
            channels += layers * growth_rate
            if i < len(block_config):
                kept = int(compression * channels)
                features.add_module(f"transition{i}", transition(channels, kept, drop_rate))
                channels = kept
        features.add_module("norm5", nn.BatchNorm2d(channels))
        self.features = features
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # Section 4.2 refers to He et al. 2015, "Delving deep into rectifiers".
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(x))
        return self.classifier(x.mean((2, 3)))


class DenseBlock(nn.ModuleDict):
    """Layers that each add their maps to all those before. Children "denselayer1", ...

    The maps so far are kept joined and each layer's are put behind them. To join all of them anew
    in each layer would copy as much forward, but give every map one small gradient from each layer
    after it; this way the gradient comes back in one piece a layer.

    Args:
        layers: how many.
        in_channels: maps of the input.
        growth_rate: k, maps that each layer adds.
        bn_size: see `DenseNet`.
        drop_rate: see `DenseNet`.
    """

    def __init__(
        self,
        layers: int,
        in_channels: int,
        growth_rate: int,
        bn_size: int | None,
        drop_rate: float,
    ) -> None:
        super().__init__()
        for i in range(layers):
            channels = in_channels + i * growth_rate
            layer = dense_layer(channels, growth_rate, bn_size, drop_rate)
            self.add_module(f"denselayer{i + 1}", layer)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.values():
            x = cat([x, layer(x)], 1)
        return x


def dense_layer(
    in_channels: int, growth_rate: int, bn_size: int | None, drop_rate: float
) -> nn.Sequential:
    """BN, ReLU, 3x3 convolution; before it BN, ReLU, 1x1 convolution if there is a bottleneck."""
    if bn_size is None:
        return nn.Sequential(norm_relu_conv("1", in_channels, growth_rate, 3, drop_rate))
    width = bn_size * growth_rate
    return nn.Sequential(
        norm_relu_conv("1", in_channels, width, 1, drop_rate)
        | norm_relu_conv("2", width, growth_rate, 3, drop_rate)
    )


def transition(in_channels: int, out_channels: int, drop_rate: float) -> nn.Sequential:
    """BN, ReLU, 1x1 convolution, 2x2 mean: half the size, out_channels maps."""
    pool = {"pool": nn.AvgPool2d(2)}
    return nn.Sequential(norm_relu_conv("", in_channels, out_channels, 1, drop_rate) | pool)


def norm_relu_conv(
    number: str, in_channels: int, out_channels: int, kernel_size: int, drop_rate: float
) -> dict[str, nn.Module]:
    """The paper's composite function H, its parts by name; then dropout, if any (section 4.2)."""
    parts: dict[str, nn.Module] = {
        f"norm{number}": nn.BatchNorm2d(in_channels),
        f"relu{number}": nn.ReLU(),
        f"conv{number}": nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        ),
    }
    if drop_rate > 0:
        parts[f"drop{number}"] = nn.Dropout(drop_rate)
    return parts


# -- for pictures of 224x224 -----------------------------------------------------------------------


def densenet121(
    num_classes: int = 1000, *, in_channels: int = 3, drop_rate: float = 0.0
) -> DenseNet:
    """DenseNet-121: Huang, Liu, van der Maaten, Weinberger, 2017, table 1.

    Published error on ImageNet, one crop (table 3): top-1 25.02 %, top-5 7.71 %.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        drop_rate: probability of dropout after each convolution but the first. (torchvision's
            argument of this name acts on the 3x3 convolutions of the blocks only.)

    Returns:
        a network from (N, in_channels, H, W), made for 224x224, to scores (N, num_classes).
    """
    blocks = (6, 12, 24, 16)
    return DenseNet(32, blocks, 64, 4, 0.5, drop_rate, "imagenet", num_classes, in_channels)


def densenet161(
    num_classes: int = 1000, *, in_channels: int = 3, drop_rate: float = 0.0
) -> DenseNet:
    """DenseNet-161 (k = 48): Huang et al., first versions of the 2017 paper, table 1.

    Arguments and result as `densenet121`.
    """
    blocks = (6, 12, 36, 24)
    return DenseNet(48, blocks, 96, 4, 0.5, drop_rate, "imagenet", num_classes, in_channels)


def densenet169(
    num_classes: int = 1000, *, in_channels: int = 3, drop_rate: float = 0.0
) -> DenseNet:
    """DenseNet-169: Huang et al., 2017, table 1.

    Published error, one crop: top-1 23.80 %, top-5 6.85 %. Arguments and result as `densenet121`.
    """
    blocks = (6, 12, 32, 32)
    return DenseNet(32, blocks, 64, 4, 0.5, drop_rate, "imagenet", num_classes, in_channels)


def densenet201(
    num_classes: int = 1000, *, in_channels: int = 3, drop_rate: float = 0.0
) -> DenseNet:
    """DenseNet-201: Huang et al., 2017, table 1.

    Published error, one crop: top-1 22.58 %, top-5 6.34 %. Arguments and result as `densenet121`.
    """
    blocks = (6, 12, 48, 32)
    return DenseNet(32, blocks, 64, 4, 0.5, drop_rate, "imagenet", num_classes, in_channels)


# -- for CIFAR -------------------------------------------------------------------------------------


def densenet_40_12(
    num_classes: int = 10, *, in_channels: int = 3, drop_rate: float = 0.0
) -> DenseNet:
    """DenseNet (L = 40, k = 12) for CIFAR: Huang et al., 2017, section 3 and table 2.

    The basic form, without bottleneck and compression. Published error on CIFAR-10: 5.24 %, without
    augmentation (with drop_rate 0.2) 7.00 %.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        drop_rate: probability of dropout after each convolution but the first; the paper's is 0.2
            on data without augmentation.

    Returns:
        a network from (N, in_channels, 32, 32) to scores (N, num_classes).
    """
    return DenseNet(12, (12, 12, 12), 16, None, 1.0, drop_rate, "cifar", num_classes, in_channels)


def densenet_bc_40_12(
    num_classes: int = 10, *, in_channels: int = 3, drop_rate: float = 0.0
) -> DenseNet:
    """DenseNet-BC (L = 40, k = 12) for CIFAR: Huang et al., 2017, section 3 and figure 4.

    Six layers in a block. Arguments and result as `densenet_40_12`.
    """
    return DenseNet(12, (6, 6, 6), 24, 4, 0.5, drop_rate, "cifar", num_classes, in_channels)


def densenet_bc_100_12(
    num_classes: int = 10, *, in_channels: int = 3, drop_rate: float = 0.0
) -> DenseNet:
    """DenseNet-BC (L = 100, k = 12) for CIFAR: Huang et al., 2017, section 3 and table 2.

    Published error on CIFAR-10: 4.51 %, without augmentation (with drop_rate 0.2) 5.92 %. Arguments
    and result as `densenet_40_12`.
    """
    return DenseNet(12, (16, 16, 16), 24, 4, 0.5, drop_rate, "cifar", num_classes, in_channels)
