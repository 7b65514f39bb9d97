"""Fully convolutional networks: Long, Shelhamer, Darrell, "Fully convolutional networks for
semantic segmentation", 2015; the nets are those of the authors' voc-fcn32s, -16s and -8s.

    layer            window      stride   maps      of the picture, in pixels
    conv1_1, 1_2     3x3          1         64      100 zeros around the picture
    conv2_1, 2_2     3x3          2        128
    conv3_1 .. 3_3   3x3          4        256      pool3: stride 8
    conv4_1 .. 4_3   3x3          8        512      pool4: stride 16
    conv5_1 .. 5_3   3x3         16        512      pool5: stride 32
    fc6              7x7         32       4096      the fully connected layers of VGG-16
    fc7              1x1         32       4096
    score_fr         1x1         32       classes

                     FCN-32s                FCN-16s                FCN-8s
    upscore2                                4x4, stride 2, + pool4 4x4, stride 2, + pool4
    upscore_pool4                                                  4x4, stride 2, + pool3
    last upscore     64x64, stride 32       32x32, stride 16       16x16, stride 8
    crops            19                     5, 27                  5, 9, 31
    mean IoU, VOC    59.4                   62.4                   62.7

Where a line says "+ pool", the scores that a 1x1 convolution makes of that finer layer are added
(section 4.2). Scores of a layer are enlarged by transposed convolutions that start as bilinear
interpolation; the last one stays it (section 4.3). The zeros let fc6 fit small pictures; the crops
are where, given them, the pixels of one map lie in the other. Layers that make scores start at 0.

Fully connected layers as convolutions (section 3.1): `convolutionalize`. FCN on ResNet-50,
`fcn_resnet50`, is torchvision's: no zeros around, a dilated backbone, plain interpolation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import nn
from ...autograd import Tensor, no_grad
from ...nn import functional as F
from ...nn.fused import norm_relu
from ..classification.resnet import Bottleneck, ResNet
from ..classification.vgg import VGG

__all__ = [
    "FCN",
    "FCNResNet",
    "bilinear_",
    "convolutionalize",
    "fcn8s",
    "fcn16s",
    "fcn32s",
    "fcn_resnet50",
]


def convolutionalize(network: nn.Module, *, padding: bool = True) -> nn.Sequential:
    """A classifier that slides: its linear layers as convolutions (section 3.1, figure 2).

    On a picture of the size that `network` was made for the result gives the same scores, (N,
    classes, 1, 1). On a larger one it gives a map of scores, as if the classifier had been applied
    at every 32nd pixel (for VGG-16), but computes what windows share only once.

    With `padding=True` that is not quite the same: a classifier applied to a window sees zeros
    around it, a sliding one the neighbouring pixels. With `padding=False` no convolution adds
    zeros, windows are larger in return (404x404 for VGG-16), and the map is exactly what the
    network gives for each of them.

    Args:
        network: has `features`, `avgpool` and a `classifier` of linear layers, as `vgg16` and
            `alexnet`; it stays as it is.
        padding: whether convolutions add zeros, as in `network`.

    Returns:
        from (N, C, H, W) to (N, classes, H', W'). Its parameters are views of the network's:
        nothing is copied, and who trains the one trains the other.

    Raises:
        TypeError: a network without these parts.
    """
    parts: list[Any] = [getattr(network, n, None) for n in ("features", "avgpool", "classifier")]
    if None in parts or not isinstance(parts[1], nn.AdaptiveAvgPool2d):
        raise TypeError(
            f"convolutionalize: {type(network).__name__} has no features, avgpool and classifier, "
            "one after the other; give a VGG or an AlexNet"
        )
    features, avgpool, classifier = parts
    result = nn.Sequential()
    for layer in features:
        if isinstance(layer, nn.Conv2d) and not padding:
            layer = _same_convolution(layer)
        result.append(layer)
    window = avgpool.output_size
    for layer in classifier:
        if isinstance(layer, nn.Linear):
            layer = _as_convolution(layer, window)
            window = 1
        result.append(layer)
    return result.train(network.training)


def _same_convolution(layer: nn.Conv2d) -> nn.Conv2d:
    """The same without padding."""
    with nn.init.skip_init():
        result = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,
            layer.stride,
            0,
            layer.dilation,
            layer.groups,
            bias=layer.bias is not None,
        )
    result.weight, result.bias = layer.weight, layer.bias
    return result


def _as_convolution(layer: nn.Linear, window: int) -> nn.Conv2d:
    """A linear layer on maps of window x window, flattened, as a convolution."""
    channels = layer.in_features // window**2
    with nn.init.skip_init():
        result = nn.Conv2d(channels, layer.out_features, window)
    shape = result.weight.shape
    result.weight = nn.Parameter(layer.weight.data.reshape(shape))
    result.bias = layer.bias
    return result


def bilinear_(weight: Tensor) -> Tensor:
    """Weights of a transposed convolution that enlarges each map by bilinear interpolation.

    A window of 2s (or 2s - 1) and stride s enlarge by s.

    Args:
        weight: (C, C, k, k), changed in place: channel i comes from channel i.

    Raises:
        ValueError: another shape.
    """
    if weight.ndim != 4 or weight.shape[0] != weight.shape[1] or weight.shape[2] != weight.shape[3]:
        raise ValueError(f"bilinear_: the weight is (C, C, k, k), not of shape {weight.shape}")
    size = weight.shape[-1]
    factor = (size + 1) // 2
    centre = factor - 1.0 if size % 2 else factor - 0.5
    tent = 1.0 - np.abs(np.arange(size) - centre) / factor
    with no_grad():
        return weight.copy_(np.eye(weight.shape[0])[:, :, None, None] * np.outer(tent, tent))


class FCN(nn.Module):
    """FCN-32s, -16s or -8s on VGG-16. Parameters are called as the authors' layers.

    Args:
        num_classes: number of scores a pixel.
        stride: 32, 16 or 8: that of the finest layer whose scores are used.
        in_channels: channels of the pictures.
        dropout: probability after fc6 and fc7.
        convs: convolutions of each of the five stages.
        widths: their channels.
        hidden: channels of fc6 and fc7.

    Raises:
        ValueError: another stride.
    """

    def __init__(
        self,
        num_classes: int = 21,
        stride: int = 8,
        in_channels: int = 3,
        *,
        dropout: float = 0.5,
        convs: Sequence[int] = (2, 2, 3, 3, 3),
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        hidden: int = 4096,
    ) -> None:
        super().__init__()
        if stride not in (32, 16, 8):
            raise ValueError(f"FCN: stride is 32, 16 or 8, not {stride}")
        self.stride = stride
        self.convs = tuple(convs)
        channels, around = in_channels, 100
        for i, (count, width) in enumerate(zip(convs, widths, strict=True), 1):
            for j in range(1, count + 1):
                self.add_module(f"conv{i}_{j}", nn.Conv2d(channels, width, 3, padding=around))
                channels, around = width, 1
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.fc6 = nn.Conv2d(channels, hidden, 7)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.dropout = nn.Dropout(dropout)
        self.score_fr = nn.Conv2d(hidden, num_classes, 1)
        scores = [self.score_fr]

        def enlarge(factor: int) -> nn.ConvTranspose2d:
            return nn.ConvTranspose2d(num_classes, num_classes, 2 * factor, factor, bias=False)

        if stride <= 16:
            self.upscore2 = enlarge(2)
            self.score_pool4 = nn.Conv2d(widths[3], num_classes, 1)
            scores.append(self.score_pool4)
        if stride == 8:
            self.upscore_pool4 = enlarge(2)
            self.score_pool3 = nn.Conv2d(widths[2], num_classes, 1)
            scores.append(self.score_pool3)
        last = enlarge(stride)
        last.weight.requires_grad_(False)
        self.add_module("upscore" if stride == 32 else f"upscore{stride}", last)

        for module in self.modules():
            if isinstance(module, nn.ConvTranspose2d):
                bilinear_(module.weight)
            elif isinstance(module, nn.Conv2d):
                if module in scores:
                    nn.init.zeros_(module.weight)
                else:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def load_vgg16(self, vgg: VGG) -> None:
        """Start from the weights of a classifier, without its last layer (section 4.1).

        Args:
            vgg: a `vgg16` with as many channels everywhere.
        """
        given = [m for m in convolutionalize(vgg) if isinstance(m, nn.Conv2d)][:-1]
        own = [m for m in self._backbone() if isinstance(m, nn.Conv2d)]
        for mine, theirs in zip(own, given, strict=True):
            with no_grad():
                mine.weight.copy_(theirs.weight)
                mine.bias.copy_(theirs.bias)

    def _backbone(self) -> list[nn.Module]:
        """The convolutions from conv1_1 to fc7."""
        names = [f"conv{i}_{j}" for i, n in enumerate(self.convs, 1) for j in range(1, n + 1)]
        return [getattr(self, name) for name in [*names, "fc6", "fc7"]]

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        pools = []
        for i, count in enumerate(self.convs, 1):
            for j in range(1, count + 1):
                x = F.relu(getattr(self, f"conv{i}_{j}")(x))
            x = self.pool(x)
            pools.append(x)
        x = self.dropout(F.relu(self.fc6(x)))
        x = self.dropout(F.relu(self.fc7(x)))
        x = self.score_fr(x)
        if self.stride == 32:
            return _cut(self.upscore(x), 19, height, width)
        x = self.upscore2(x)
        x = x + _cut(self.score_pool4(pools[3]), 5, *x.shape[2:])
        if self.stride == 16:
            return _cut(self.upscore16(x), 27, height, width)
        x = self.upscore_pool4(x)
        x = x + _cut(self.score_pool3(pools[2]), 9, *x.shape[2:])
        return _cut(self.upscore8(x), 31, height, width)


def _cut(x: Tensor, offset: int, height: int, width: int) -> Tensor:
    """Height x width of maps (N, C, H, W), from row and column `offset`."""
    return x[:, :, offset : offset + height, offset : offset + width]


class DilatedResNet(ResNet):
    """The maps of layer3 and layer4, both at stride 8. Arguments as `ResNet`."""

    def __init__(self, layers: Sequence[int], in_channels: int, width: int) -> None:
        super().__init__(
            Bottleneck,
            layers,
            replace_stride_with_dilation=(False, True, True),
            in_channels=in_channels,
            width=width,
        )
        del self.avgpool, self.dropout, self.fc

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x = self.maxpool(norm_relu(self.bn1, self.conv1(x), self.relu))
        x = self.layer3(self.layer2(self.layer1(x)))
        return x, self.layer4(x)


class FCNHead(nn.Sequential):
    """Maps to scores, as torchvision does it.

    Args:
        in_channels: of the maps.
        channels: number of classes.
        dropout: probability before the last convolution.
    """

    def __init__(self, in_channels: int, channels: int, dropout: float = 0.1) -> None:
        between = in_channels // 4
        super().__init__(
            nn.Conv2d(in_channels, between, 3, padding=1, bias=False),
            nn.BatchNorm2d(between),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(between, channels, 1),
        )


class FCNResNet(nn.Module):
    """FCN on a dilated ResNet. Parameters are called as in torchvision.

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        aux_loss: whether there is a second head, on layer3, for training.
        layers: blocks of each stage of the ResNet.
        width: of the ResNet.
        dropout: probability before the last convolution of a head.
    """

    def __init__(
        self,
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        aux_loss: bool = False,
        layers: Sequence[int] = (3, 4, 6, 3),
        width: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.backbone = DilatedResNet(layers, in_channels, width)
        channels = self.backbone.inplanes
        self.classifier = FCNHead(channels, num_classes, dropout)
        self.aux_classifier = FCNHead(channels // 2, num_classes, dropout) if aux_loss else None

    def forward(self, x: Tensor) -> Any:
        """Scores (N, num_classes, H, W); with a second head, in training, those of both."""
        size = x.shape[2:]
        layer3, layer4 = self.backbone(x)
        scores = F.interpolate(self.classifier(layer4), size, mode="bilinear")
        if self.aux_classifier is None or not self.training:
            return scores
        return scores, F.interpolate(self.aux_classifier(layer3), size, mode="bilinear")


def fcn32s(num_classes: int = 21, *, in_channels: int = 3, dropout: float = 0.5) -> FCN:
    """FCN-32s: Long, Shelhamer, Darrell, 2015, section 4.1; 136,152,917 parameters.

    Of these 1,806,336 are the fixed interpolation. Mean IoU on VOC 2011 59.4 % (table 3).

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        dropout: probability after fc6 and fc7.

    Returns:
        a network from (N, in_channels, H, W), of any size, to scores (N, num_classes, H, W).
        `load_vgg16` lets it start from a classifier. A finer network starts from a coarser one:
        `fcn16s().load_state_dict(fcn32s().state_dict(), strict=False)`.
    """
    return FCN(num_classes, 32, in_channels, dropout=dropout)


def fcn16s(num_classes: int = 21, *, in_channels: int = 3, dropout: float = 0.5) -> FCN:
    """FCN-16s: Long, Shelhamer, Darrell, 2015, section 4.2; 134,815,994 parameters.

    Mean IoU on VOC 2011 62.4 % (table 3). Arguments as `fcn32s`.
    """
    return FCN(num_classes, 16, in_channels, dropout=dropout)


def fcn8s(num_classes: int = 21, *, in_channels: int = 3, dropout: float = 0.5) -> FCN:
    """FCN-8s: Long, Shelhamer, Darrell, 2015, section 4.2; 134,489,759 parameters.

    Mean IoU on VOC 2011 62.7 % (table 3). Arguments as `fcn32s`.
    """
    return FCN(num_classes, 8, in_channels, dropout=dropout)


def fcn_resnet50(
    num_classes: int = 21, *, in_channels: int = 3, aux_loss: bool = False, dropout: float = 0.1
) -> FCNResNet:
    """FCN on ResNet-50: torchvision, after Long et al. 2015; 32,957,013 parameters.

    35,322,218 with the second head; torchvision's weights, trained on COCO, have it and mean IoU
    60.5 % on the classes of VOC.

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        aux_loss: whether there is a second head, on layer3, for training.
        dropout: probability before the last convolution of a head.

    Returns:
        a network from (N, in_channels, H, W), of any size, to scores (N, num_classes, H, W); in
        training with a second head to a pair of them (main, aux). (torchvision's returns a
        dictionary with "out" and "aux".)
    """
    return FCNResNet(num_classes, in_channels, aux_loss=aux_loss, dropout=dropout)
