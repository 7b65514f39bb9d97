"""MobileNet: Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam, "MobileNets: efficient
convolutional neural networks for mobile vision applications", 2017, table 1.

A convolution of K x K taps from M to N channels is replaced by two: a depthwise one, which treats
each channel alone, and a 1x1 one, which mixes them: K K M + M N multiply-adds a pixel instead of
K K M N (section 3.1). Each is followed by batch norm and ReLU (figure 3).

    input         layers                     output channels   stride
    224x224x3     conv 3x3                     32              2
    112x112x32    depthwise 3x3, conv 1x1      64              1
    112x112x64    depthwise 3x3, conv 1x1     128              2
     56x56x128    depthwise 3x3, conv 1x1     128              1
     56x56x128    depthwise 3x3, conv 1x1     256              2
     28x28x256    depthwise 3x3, conv 1x1     256              1
     28x28x256    depthwise 3x3, conv 1x1     512              2
     14x14x512    depthwise 3x3, conv 1x1     512              1, five times
     14x14x512    depthwise 3x3, conv 1x1    1024              2
      7x7x1024    depthwise 3x3, conv 1x1    1024              1
      7x7x1024    mean, linear                  k

(The paper prints stride 2 for the last depthwise convolution, too, but keeps its 7x7 pixels.)

Two numbers make it smaller: the width multiplier (section 3.3) scales the channels, table 6; the
resolution multiplier (section 3.4) is nothing but smaller pictures, 192, 160 or 128 pixels wide,
table 7. Both act on the multiply-adds with about their square.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from ..blocks import ConvNormAct, init_fan_out, make_divisible

__all__ = ["TABLE_1", "DepthwiseSeparable", "MobileNetV1", "mobilenet_v1"]

# (output channels, stride) of the depthwise separable convolutions
TABLE_1 = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
)


class DepthwiseSeparable(nn.Sequential):
    """Figure 3, right: 3x3 depthwise, batch norm, ReLU; 1x1, batch norm, ReLU.

    Args:
        in_channels, out_channels: of the pair.
        stride: of the depthwise convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            ConvNormAct(in_channels, in_channels, 3, stride, groups=in_channels),
            ConvNormAct(in_channels, out_channels, 1),
        )


class MobileNetV1(nn.Module):
    """The network of table 1.

    Args:
        num_classes: number of outputs.
        width_mult: multiplies all numbers of channels, see `make_divisible`.
        in_channels: channels of the pictures.
        variant: "separable", or "full", with full 3x3 convolutions in place of the pairs.
        setting: (output channels, stride) of the pairs.
        first_channels: of the first convolution.

    Raises:
        ValueError: an unknown variant.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        *,
        in_channels: int = 3,
        variant: str = "separable",
        setting: Sequence[tuple[int, int]] = TABLE_1,
        first_channels: int = 32,
    ) -> None:
        super().__init__()
        if variant not in ("separable", "full"):
            raise ValueError(f"MobileNetV1: variant is 'separable' or 'full', not {variant!r}")
        channels = make_divisible(first_channels * width_mult)
        self.features = nn.Sequential(ConvNormAct(in_channels, channels, 3, 2))
        for c, stride in setting:
            out = make_divisible(c * width_mult)
            if variant == "separable":
                self.features.append(DepthwiseSeparable(channels, out, stride))
            else:
                self.features.append(ConvNormAct(channels, out, 3, stride))
            channels = out
        self.classifier = nn.Linear(channels, num_classes)
        init_fan_out(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))


def mobilenet_v1(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    width_mult: float = 1.0,
    variant: str = "separable",
) -> MobileNetV1:
    """MobileNet: Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam, 2017, table 1.

    4,231,976 parameters, 569 million multiply-adds at 224x224, published error on ImageNet 29.4 %;
    with full convolutions 29.3 million, 4866 million, 28.3 % (table 4).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        width_mult: multiplies the numbers of channels; the paper's are 1, 0.75, 0.5 and 0.25.
        variant: "separable"; "full": table 4's comparison, with full convolutions.

    Returns:
        a network from (N, in_channels, H, W) to scores (N, num_classes); the resolution multiplier
        is the choice of H and W.
    """
    return MobileNetV1(num_classes, width_mult, in_channels=in_channels, variant=variant)
