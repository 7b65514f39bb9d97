"""Pieces that networks of several files are made of. Names of parameters as in torchvision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import nn
from ..autograd import Tensor
from ..nn import functional as F

__all__ = [
    "ConvNormAct",
    "FeedForward",
    "PatchTokens",
    "SeparableConv2d",
    "SqueezeExcitation",
    "init_fan_out",
    "init_token_mlp",
    "inverted_residual",
    "make_divisible",
    "mirror_around",
]


class ConvNormAct(nn.Sequential):
    """Convolution, normalisation, activation: children "0", "1" and "2".

    Args:
        in_channels, out_channels, kernel_size, stride, groups, dilation: of the convolution.
        padding: default: half of the dilated kernel, which keeps the size where the stride is 1.
        norm: makes the normalisation of so many channels; None: none, the convolution has a bias.
        act: makes the activation; None: none.
        bias: of the convolution; default: only without normalisation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | None = None,
        *,
        groups: int = 1,
        dilation: int = 1,
        norm: Callable[[int], nn.Module] | None = nn.BatchNorm2d,
        act: Callable[[], nn.Module] | None = nn.ReLU,
        bias: bool | None = None,
    ) -> None:
        if padding is None:
            padding = (kernel_size - 1) // 2 * dilation
        layers: list[Any] = [
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                padding,
                dilation,
                groups,
                bias=norm is None if bias is None else bias,
            )
        ]
        if norm is not None:
            layers.append(norm(out_channels))
        if act is not None:
            layers.append(act())
        super().__init__(*layers)
        self.out_channels = out_channels


class SqueezeExcitation(nn.Module):
    """Each channel times a gate in (0, 1) computed from the means of all. Hu et al. 2018, fig. 3.

    Args:
        input_channels: channels in and out.
        squeeze_channels: width in between; the paper's is input_channels / 16.
        activation: makes the inner non-linearity.
        scale_activation: makes the gate's.
    """

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Callable[[], nn.Module] = nn.ReLU,
        scale_activation: Callable[[], nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, x: Tensor) -> Tensor:
        gate = self.activation(self.fc1(self.avgpool(x)))
        return x * self.scale_activation(self.fc2(gate))


class PatchTokens(nn.Module):
    """Pictures (N, C, H, W) cut into patches, each made a vector by `proj`: (N, patches, D).

    Args:
        in_channels: C.
        width: D.
        patch_size: height and width of a patch.
        image_size: height and width of the pictures, a multiple of it.

    Attributes:
        count: the number of patches.

    Raises:
        ValueError: the pictures cannot be divided into patches.
    """

    def __init__(self, in_channels: int, width: int, patch_size: int, image_size: int) -> None:
        super().__init__()
        if image_size < patch_size or image_size % patch_size:
            raise ValueError(
                f"PatchTokens: image_size {image_size} must be a multiple of patch_size "
                f"{patch_size}"
            )
        self.image_size = image_size
        self.count = (image_size // patch_size) ** 2
        self.proj = nn.Conv2d(in_channels, width, patch_size, patch_size)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"PatchTokens: pictures must be (N, C, {self.image_size}, {self.image_size}), got "
                f"{x.shape}; build the network with another image_size"
            )
        return self.proj(x).flatten(2).transpose(1, 2)


class FeedForward(nn.Module):
    """Two linear layers, GELU in between, on the last dimension. Names as in timm.

    Args:
        width: features in and out.
        hidden: features in between.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


def init_token_mlp(net: nn.Module, head: nn.Linear) -> None:
    """Initial values of a network of tokens without attention, as in timm.

    The patches' map has standard deviation 1 / sqrt(inputs), linear layers are drawn by
    `init.xavier_uniform_`; biases are 0, but next to 0 in a `FeedForward`; the head is 0.
    """
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.trunc_normal_(module.weight, std=math.prod(module.weight.shape[1:]) ** -0.5)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if name.rpartition(".")[2] in ("fc1", "fc2"):
                nn.init.normal_(module.bias, std=1e-6)
            else:
                nn.init.zeros_(module.bias)
    nn.init.zeros_(head.weight)


def mirror_around(x: Tensor, top: int, bottom: int, left: int, right: int) -> Tensor:
    """Maps with margins that mirror them at their outermost pixels: 3 2 | 1 2 3 | 2 1.

    As `pad(..., mode="reflect")`, but margins may be of any width: then mirror images repeat.

    Args:
        x: (N, C, H, W).
        top, bottom, left, right: widths of the margins in pixels.

    Returns:
        (N, C, top + H + bottom, left + W + right).
    """
    for dim, before, after in ((2, top, bottom), (3, left, right)):
        size, added = x.shape[dim], 0
        while added < max(before, after):
            # Up to its last pixel a mirrored picture is symmetric, and can be mirrored again.
            step = min(x.shape[dim] - 1, max(before, after) - added) or 1
            widths = (step, step, 0, 0) if dim == 3 else (0, 0, step, step)
            x = F.pad(x, widths, mode="reflect" if x.shape[dim] > 1 else "replicate")
            added += step
        x = x.narrow(dim, added - before, before + size + after)
    return x


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `channels`, but not less than 90 % of it.

    The rounding of all MobileNets and EfficientNets, as their authors' code has it.

    Args:
        channels: a number of channels times a width multiplier.
        divisor: what the result is a multiple of; also its smallest value.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def inverted_residual(
    in_channels: int,
    expanded_channels: int,
    out_channels: int,
    kernel_size: int = 3,
    stride: int = 1,
    *,
    norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
    act: Callable[[], nn.Module] = nn.ReLU6,
    gate: nn.Module | None = None,
) -> list[Any]:
    """The residual branch of MobileNetV2's bottleneck, Sandler et al. 2018, table 1.

    Args:
        in_channels: of the input.
        expanded_channels: to which a 1x1 convolution leads, unless they are as many already.
        out_channels: to which the last 1x1 convolution leads, without activation.
        kernel_size, stride: of the depthwise convolution in between.
        norm, act: make the normalisation and the activation.
        gate: follows the depthwise convolution, like EfficientNet's squeeze-and-excitation.

    Returns:
        the modules, one after the other: two to four.
    """
    layers: list[Any] = []
    if expanded_channels != in_channels:
        layers.append(ConvNormAct(in_channels, expanded_channels, 1, norm=norm, act=act))
    layers.append(
        ConvNormAct(
            expanded_channels,
            expanded_channels,
            kernel_size,
            stride,
            groups=expanded_channels,
            norm=norm,
            act=act,
        )
    )
    if gate is not None:
        layers.append(gate)
    layers.append(ConvNormAct(expanded_channels, out_channels, 1, norm=norm, act=None))
    return layers


def init_fan_out(network: nn.Module, linear_std: float = 0.01) -> None:
    """Initial weights of networks with ReLU whose papers do not state them, as torchvision's.

    Convolutions: normal with variance 2 / (outgoing weights), He et al. 2015, equation 14; linear
    layers: normal with a small standard deviation. Biases are zero.

    Args:
        network: all its layers are changed.
        linear_std: standard deviation of the weights of linear layers.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, linear_std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class SeparableConv2d(nn.Sequential):
    """A depthwise convolution, then a 1x1 one, nothing in between. Chollet 2016, section 1.2.

    Args:
        in_channels, out_channels: of the pair.
        kernel_size, stride: of the depthwise convolution.
        padding: of it; default: what keeps the size where the stride is 1.
        names: of the two convolutions, as the ports call them.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | None = None,
        *,
        names: tuple[str, str] = ("conv1", "pointwise"),
    ) -> None:
        depthwise = nn.Conv2d(
            in_channels,
            in_channels,
            kernel_size,
            stride,
            kernel_size // 2 if padding is None else padding,
            groups=in_channels,
            bias=False,
        )
        pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        super().__init__(dict(zip(names, (depthwise, pointwise), strict=True)))
