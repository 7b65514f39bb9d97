"""Pieces of the Inception networks: convolution with batch norm, and branches side by side.

Szegedy et al. 2014, "Going deeper with convolutions", figure 2, and its successors: several ways
lead from the same input, each with windows of another size, and their maps are put one after
another. Parameters are called as in torchvision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ... import nn
from ...autograd import Tensor
from ...nn.fused import norm_relu
from ...ops.shape import cat

__all__ = ["BasicConv2d", "Branches", "Width", "column", "mean_pool", "row", "scaled_by"]

Size = int | tuple[int, int]

# From a number of maps of the paper to the number in a network; see `scaled_by`.
Width = Callable[[int], int]


class BasicConv2d(nn.Module):
    """relu(bn(conv(x))); without batch norm relu(conv(x)).

    Args:
        in_channels, out_channels, kernel_size, stride, padding: of the convolution.
        batch_norm: whether there is batch norm (with eps 0.001, as in all Inception networks).
        bias: of the convolution; default: only without batch norm, which would take it off again.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: int = 1,
        padding: Size = 0,
        *,
        batch_norm: bool = True,
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        bias = not batch_norm if bias is None else bias
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return norm_relu(self.bn, self.conv(x))


class Branches(nn.Module):
    """Several ways from one input (N, C, H, W); what they return, joined along the channels.

    Args:
        branches: name -> module, in the order in which their outputs are joined.
    """

    def __init__(self, branches: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> Tensor:
        return cat([branch(x) for branch in self.children()], 1)


def row(in_channels: int, out_channels: int, taps: int) -> BasicConv2d:
    """`BasicConv2d` with a window of 1 x taps that keeps the size."""
    return BasicConv2d(in_channels, out_channels, (1, taps), padding=(0, taps // 2))


def column(in_channels: int, out_channels: int, taps: int) -> BasicConv2d:
    """`BasicConv2d` with a window of taps x 1 that keeps the size."""
    return BasicConv2d(in_channels, out_channels, (taps, 1), padding=(taps // 2, 0))


def mean_pool() -> nn.AvgPool2d:
    """The mean of the pixels within 3x3 that keeps the size; the margins do not count."""
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def scaled_by(width: float) -> Width:
    """What multiplies numbers of maps by `width` and rounds them, to 1 at least."""
    return lambda channels: max(1, round(channels * width))
