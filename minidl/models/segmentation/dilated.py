"""Dilated convolutions: Yu, Koltun, "Multi-scale context aggregation by dilated convolutions",
2016.

The front end (section 4) is VGG-16 that stays at 1/8 of the size: the maxima 4 and 5 are left out,
and what followed each looks at every second pixel instead. Nothing is put around maps; the picture
has a margin of 186 pixels and more, mirrored at its edges.

    layer            window   dilation   maps
    conv1_1, 1_2     3x3        1          64     maximum
    conv2_1, 2_2     3x3        1         128     maximum
    conv3_1 .. 3_3   3x3        1         256     maximum
    conv4_1 .. 4_3   3x3        1         512
    conv5_1 .. 5_3   3x3        2         512
    fc6              7x7        4        4096
    fc7              1x1                 4096
    final            1x1               classes

The context module (section 3, table 1) sees 67x67 of these scores with eight layers:

    layer            1     2     3     4     5     6     7     8
    window          3x3   3x3   3x3   3x3   3x3   3x3   3x3   1x1
    dilation         1     1     2     4     8    16     1     1
    sees             3     5     9    17    33    65    67    67
    maps, basic      C     C     C     C     C     C     C     C
    maps, large     2C    2C    4C    8C   16C   32C   32C     C

C is the number of classes; all but the last have ReLU. It starts as the identity (equations 4 and
5): it is put behind a front end that works already. Zeros of width 33 around the scores keep their
size (section 5). Bilinear interpolation brings them to the size of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ... import nn
from ...autograd import Tensor, no_grad
from ...nn import functional as F
from ..blocks import mirror_around

__all__ = ["ContextModule", "DilatedVGG", "FrontEnd", "dilated_vgg16"]

DILATIONS = (1, 1, 2, 4, 8, 16, 1)  # table 1, before the 1x1
WIDTHS = {"basic": (1, 1, 1, 1, 1, 1, 1, 1), "large": (2, 2, 4, 8, 16, 32, 32, 1)}  # times C


class FrontEnd(nn.Module):
    """VGG-16 without the last two maxima, section 4.

    Args:
        num_classes: number of scores at each place.
        in_channels: channels of the pictures.
        dropout: probability after fc6 and fc7.
        convs: convolutions of each of the five stages.
        widths: their channels.
        hidden: channels of fc6 and fc7.
        window: height and width of fc6, an odd number.
    """

    def __init__(
        self,
        num_classes: int = 21,
        in_channels: int = 3,
        *,
        dropout: float = 0.5,
        convs: Sequence[int] = (2, 2, 3, 3, 3),
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        hidden: int = 4096,
        window: int = 7,
    ) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {}
        channels = in_channels
        for i, (count, width) in enumerate(zip(convs, widths, strict=True), 1):
            for j in range(1, count + 1):
                dilation = 2 if i == 5 else 1
                layers[f"conv{i}_{j}"] = nn.Conv2d(channels, width, 3, dilation=dilation)
                layers[f"relu{i}_{j}"] = nn.ReLU()
                channels = width
            if i <= 3:
                layers[f"pool{i}"] = nn.MaxPool2d(2)
        layers["fc6"] = nn.Conv2d(channels, hidden, window, dilation=4)
        layers["relu6"] = nn.ReLU()
        layers["drop6"] = nn.Dropout(dropout)
        layers["fc7"] = nn.Conv2d(hidden, hidden, 1)
        layers["relu7"] = nn.ReLU()
        layers["drop7"] = nn.Dropout(dropout)
        layers["final"] = nn.Conv2d(hidden, num_classes, 1)
        self.layers = nn.Sequential(layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

        # A score sees this many pixels on each side of the 8x8 to which it belongs.
        seen = 1
        for layer in reversed(self.layers):
            if isinstance(layer, nn.MaxPool2d):
                seen *= 2
            elif isinstance(layer, nn.Conv2d):
                seen += (layer.kernel_size[0] - 1) * layer.dilation[0]
        self.margin = (seen - 8) // 2

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, num_classes, H / 8, W / 8), rounded up, of pictures (N, in_channels, H, W)."""
        below, beside = (-n % 8 for n in x.shape[2:])  # to whole squares of 8x8
        m = self.margin
        return self.layers(mirror_around(x, m, m + below, m, m + beside))


class ContextModule(nn.Sequential):
    """The layers of table 1, on score maps: (N, C, H, W) to (N, C, H, W).

    Args:
        num_classes: C.
        form: "basic" or "large".
        std: of the noise in the initial weights of the large form (sigma of equation 5).

    Raises:
        ValueError: an unknown form.
    """

    def __init__(self, num_classes: int, form: str = "basic", *, std: float = 0.001) -> None:
        super().__init__()
        if form not in WIDTHS:
            raise ValueError(f"ContextModule: form is 'basic' or 'large', not {form!r}")
        before = num_classes
        around = sum(DILATIONS)  # all zeros that the layers need, at once
        for factor, dilation in zip(WIDTHS[form], DILATIONS, strict=False):
            after = factor * num_classes
            self.append(nn.Conv2d(before, after, 3, padding=around, dilation=dilation))
            self.append(nn.ReLU())
            before, around = after, 0
        self.append(nn.Conv2d(before, num_classes, 1))
        for layer in self:
            if isinstance(layer, nn.Conv2d):
                identity_(layer.weight, num_classes, std if form == "large" else 0.0)
                nn.init.zeros_(layer.bias)


def identity_(weight: Tensor, num_classes: int, std: float = 0.0) -> Tensor:
    """Weights that hand on each of `num_classes` maps, which may be there several times.

    Equation 5: output b takes from the middle pixel of those inputs a that stand for the same
    class, floor(a C / inputs) = floor(b C / outputs), with weight C / outputs; equation 4, as
    many inputs and outputs as classes, is a special case.

    Args:
        weight: (outputs, inputs, k, k), both multiples of `num_classes`; changed in place.
        num_classes: C.
        std: of normal noise wherever the weight is not C / outputs.
    """
    outputs, inputs = weight.shape[:2]
    nn.init.normal_(weight, 0.0, std)
    of_output = np.arange(outputs) * num_classes // outputs
    of_input = np.arange(inputs) * num_classes // inputs
    b, a = np.nonzero(of_output[:, None] == of_input[None, :])
    centre = weight.shape[-1] // 2
    with no_grad():
        weight[b, a, centre, centre] = num_classes / outputs
    return weight


class DilatedVGG(nn.Module):
    """Front end, context module and interpolation to the size of the picture.

    Args:
        front_end: makes scores at 1/8 of the size.
        context: changes these; None: nothing does.
    """

    def __init__(self, front_end: FrontEnd, context: ContextModule | None = None) -> None:
        super().__init__()
        self.front_end = front_end
        self.context = context

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        scores = self.front_end(x)
        if self.context is not None:
            scores = self.context(scores)
        scores = F.interpolate(scores, scale_factor=8, mode="bilinear")
        return scores[:, :, :height, :width]


def dilated_vgg16(
    num_classes: int = 21, *, in_channels: int = 3, context: str = "basic", dropout: float = 0.5
) -> DilatedVGG:
    """Dilated VGG-16 with context: Yu, Koltun, 2016, section 4 and table 1; 134,374,973 parameters.

    141,149,720 with the large context module, 134,346,581 with none. Published mean IoU on VOC 2012
    (validation): front end 69.8 %, with basic context 71.3 %, with large context 72.1 % (table 3);
    front end on the test set 67.6 % (table 2).

    Args:
        num_classes: number of scores a pixel.
        in_channels: channels of the pictures.
        context: "basic", "large" or "none".
        dropout: probability after fc6 and fc7.

    Returns:
        a network from (N, in_channels, H, W), of any size, to scores (N, num_classes, H, W).

    Raises:
        ValueError: an unknown context.
    """
    if context not in ("none", *WIDTHS):
        raise ValueError(f"dilated_vgg16: context is 'basic', 'large' or 'none', not {context!r}")
    return DilatedVGG(
        FrontEnd(num_classes, in_channels, dropout=dropout),
        None if context == "none" else ContextModule(num_classes, context),
    )
