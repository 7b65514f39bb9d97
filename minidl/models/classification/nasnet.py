"""NASNet-A: Zoph, Vasudevan, Shlens, Le, "Learning transferable architectures for scalable image
recognition", 2017, figure 4 (the cells) and figure 2 (how they are stacked).

A search on CIFAR-10 found two cells; the network for ImageNet repeats them. Each takes the outputs
of the two cells before it, h and h' (the earlier one), brings both to its width, and makes five
sums of two operations:

    normal cell                            reduction cell (operations on h, h' have stride 2)
    s0 = separable 5x5 h + separable 3x3 h'    s0 = separable 5x5 h + separable 7x7 h'
    s1 = separable 5x5 h' + separable 3x3 h'   s1 = max pool h      + separable 7x7 h'
    s2 = mean pool h + h'                      s2 = mean pool h     + separable 5x5 h'
    s3 = mean pool h' + mean pool h'           s3 = mean pool s0    + s1
    s4 = separable 3x3 h + h                   s4 = separable 3x3 s0 + max pool h
    output: h', s0, s1, s2, s3, s4             output: s1, s2, s3, s4

Pooling is 3x3. NASNet-A (N @ P) with F = P / 24:

    layer                 width    output at 331x331, F = 168
    conv 3x3, stride 2    -        165x165x96
    reduction cell        F / 4     83x83x168
    reduction cell        F / 2     42x42x336
    N normal cells        F         42x42x1008
    reduction cell        2 F       21x21x1344
    N normal cells        2 F       21x21x2016
    reduction cell        4 F       11x11x2688
    N normal cells        4 F       11x11x4032
    ReLU, mean, linear    -         classes

As in the authors' TensorFlow code, padding makes n pixels ceil(n / 2) at stride 2, with the larger
half of it at the end ("SAME"), and means leave it out. Their auxiliary classifier, a help in
training, is not built. Parameters are called as in timm's `nasnetalarge`.
"""

from __future__ import annotations

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from ...ops.shape import cat
from ..blocks import SeparableConv2d

__all__ = ["NASNet", "NormalCell", "ReductionCell", "nasnet_a_large", "nasnet_a_mobile"]

NAMES = ("depthwise_conv2d", "pointwise_conv2d")


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """With the authors' eps; the momentum is timm's, theirs is 0.0003."""
    return nn.BatchNorm2d(channels, eps=0.001)


class ActConvNorm(nn.Module):
    """ReLU, 1x1 convolution, batch norm: brings an input to the width of a cell."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn = batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(F.relu(x)))


class Separable(nn.Module):
    """ReLU, separable convolution, batch norm, twice; the first one has the stride.

    Args:
        in_channels, out_channels: of the whole.
        kernel_size: odd, of both depthwise convolutions.
        stride: 1 or 2.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.side = kernel_size // 2
        self.stride = stride
        padding = self.side if stride == 1 else 0
        self.separable_1 = SeparableConv2d(
            in_channels, out_channels, kernel_size, stride, padding, names=NAMES
        )
        self.bn_sep_1 = batch_norm(out_channels)
        self.separable_2 = SeparableConv2d(out_channels, out_channels, kernel_size, names=NAMES)
        self.bn_sep_2 = batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        if self.stride == 2:
            top, left = (self.side - 1 + n % 2 for n in x.shape[2:])
            x = F.pad(x, (left, self.side, top, self.side))
        x = self.bn_sep_1(self.separable_1(x))
        return self.bn_sep_2(self.separable_2(F.relu(x)))


def max_pool(x: Tensor) -> Tensor:
    """3x3 with stride 2: an even size needs padding at the end only, which `ceil_mode` gives."""
    h, w = x.shape[2:]
    return F.max_pool2d(x, 3, 2, (h % 2, w % 2), ceil_mode=True)


def mean_pool(x: Tensor, stride: int = 1) -> Tensor:
    """The mean of the pixels of the picture in 3x3."""
    h, w = x.shape[2:]
    padding = (1, 1) if stride == 1 else (h % 2, w % 2)
    return F.avg_pool2d(x, 3, stride, padding, ceil_mode=stride == 2, count_include_pad=False)


class Cell(nn.Module):
    """What both cells share: their inputs brought to one width and size, and dropped paths.

    Args:
        prev_channels: channels of h', the output of the cell before the last.
        in_channels: channels of h, the last cell's output.
        width: channels of everything in the cell.
        prev: how h' is adapted. "same": by a 1x1 convolution. "halved": it has twice the size of
            h; 1x1 convolutions of every second pixel, and of those between, give half of the
            width each (the authors' code: factorized reduction). "raw": not at all.

    Attributes:
        drop: leaves out each operation's result in training; see `NASNet.set_drop_path`.
    """

    def __init__(
        self, prev_channels: int, in_channels: int, width: int, prev: str = "same"
    ) -> None:
        super().__init__()
        self.prev = prev
        if prev == "same":
            self.conv_prev_1x1 = ActConvNorm(prev_channels, width)
        elif prev == "halved":
            conv = nn.Conv2d(prev_channels, width // 2, 1, stride=2, bias=False)
            self.path_1 = nn.Sequential({"conv": conv})
            conv = nn.Conv2d(prev_channels, width // 2, 1, stride=2, bias=False)
            # one pixel less at the beginning, one of zeros more at the end
            self.path_2 = nn.Sequential({"pad": nn.ZeroPad2d((-1, 1, -1, 1)), "conv": conv})
            self.final_path_bn = batch_norm(width)
        self.conv_1x1 = ActConvNorm(in_channels, width)
        self.drop = nn.StochasticDepth(0.0, "row")

    def adapted(self, x: Tensor, x_prev: Tensor) -> tuple[Tensor, Tensor]:
        """h and h' of the cell's width."""
        if self.prev == "same":
            x_prev = self.conv_prev_1x1(x_prev)
        elif self.prev == "halved":
            x_prev = F.relu(x_prev)
            x_prev = self.final_path_bn(cat([self.path_1(x_prev), self.path_2(x_prev)], 1))
        return self.conv_1x1(x), x_prev


class NormalCell(Cell):
    """Figure 4, left: from (N, in_channels, H, W) to (N, 6 width, H, W). Arguments as `Cell`."""

    def __init__(
        self, prev_channels: int, in_channels: int, width: int, prev: str = "same"
    ) -> None:
        super().__init__(prev_channels, in_channels, width, prev)
        self.comb_iter_0_left = Separable(width, width, 5)
        self.comb_iter_0_right = Separable(width, width, 3)
        self.comb_iter_1_left = Separable(width, width, 5)
        self.comb_iter_1_right = Separable(width, width, 3)
        self.comb_iter_4_left = Separable(width, width, 3)

    def forward(self, x: Tensor, x_prev: Tensor) -> Tensor:
        h, prev = self.adapted(x, x_prev)
        drop = self.drop
        s0 = drop(self.comb_iter_0_left(h)) + drop(self.comb_iter_0_right(prev))
        s1 = drop(self.comb_iter_1_left(prev)) + drop(self.comb_iter_1_right(prev))
        s2 = drop(mean_pool(h)) + prev
        mean = mean_pool(prev)
        s3 = drop(mean) + drop(mean)
        s4 = drop(self.comb_iter_4_left(h)) + h
        return cat([prev, s0, s1, s2, s3, s4], 1)


class ReductionCell(Cell):
    """Figure 4, right: to (N, 4 width, ceil(H / 2), ceil(W / 2)). Arguments as `Cell`."""

    def __init__(
        self, prev_channels: int, in_channels: int, width: int, prev: str = "same"
    ) -> None:
        super().__init__(prev_channels, in_channels, width, prev)
        beside = prev_channels if prev == "raw" else width
        self.comb_iter_0_left = Separable(width, width, 5, 2)
        self.comb_iter_0_right = Separable(beside, width, 7, 2)
        self.comb_iter_1_right = Separable(beside, width, 7, 2)
        self.comb_iter_2_right = Separable(beside, width, 5, 2)
        self.comb_iter_4_left = Separable(width, width, 3)

    def forward(self, x: Tensor, x_prev: Tensor) -> Tensor:
        h, prev = self.adapted(x, x_prev)
        drop = self.drop
        largest = max_pool(h)
        s0 = drop(self.comb_iter_0_left(h)) + drop(self.comb_iter_0_right(prev))
        s1 = drop(largest) + drop(self.comb_iter_1_right(prev))
        s2 = drop(mean_pool(h, 2)) + drop(self.comb_iter_2_right(prev))
        s3 = drop(mean_pool(s0)) + s1
        s4 = drop(self.comb_iter_4_left(s0)) + drop(largest)
        return cat([s1, s2, s3, s4], 1)


class NASNet(nn.Module):
    """NASNet-A (cells @ penultimate).

    Args:
        cells: N, normal cells in each of the three stages.
        penultimate: P, channels before the linear layer, a multiple of 96.
        stem_channels: of the first convolution.
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer.
        skip_reduction_input: which h' the cell after a reduction cell gets: that of the reduction
            cell (as in the authors' large network), or the reduction cell's input (mobile).

    Raises:
        ValueError: a number of channels that cannot be divided.
    """

    def __init__(
        self,
        cells: int,
        penultimate: int,
        stem_channels: int,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        dropout: float = 0.5,
        skip_reduction_input: bool = True,
    ) -> None:
        super().__init__()
        if penultimate % 96:
            raise ValueError(
                f"NASNet: penultimate must be a multiple of 96, so that a 24th of it can be halved "
                f"twice; got {penultimate}"
            )
        width = penultimate // 24
        conv = nn.Conv2d(in_channels, stem_channels, 3, stride=2, bias=False)
        self.conv0 = nn.Sequential({"conv": conv, "bn": batch_norm(stem_channels)})
        self.cell_stem_0 = ReductionCell(stem_channels, stem_channels, width // 4, "raw")
        self.cell_stem_1 = ReductionCell(stem_channels, width, width // 2, "halved")
        before, channels = width, 2 * width  # of h' and of h
        self.order: list[str] = []
        for stage in range(3):
            if stage:
                width *= 2
                name = f"reduction_cell_{stage - 1}"
                self.add_module(name, ReductionCell(before, channels, width))
                self.order.append(name)
                before, channels = before if skip_reduction_input else channels, 4 * width
            for i in range(cells):
                name = f"cell_{stage * cells + i}"
                prev = "same" if i else "halved"
                self.add_module(name, NormalCell(before, channels, width, prev))
                self.order.append(name)
                before, channels = channels, 6 * width
        self.skip_reduction_input = skip_reduction_input
        self.dropout = nn.Dropout(dropout)
        self.last_linear = nn.Linear(channels, num_classes)
        # Initial weights: those of the layers, as in timm. The paper does not state any.

    def set_drop_path(self, p: float) -> None:
        """ScheduledDropPath: in training, results of operations are left out.

        Over the course of training the authors raise p linearly, from 0 to 0.3 in the large
        network; the mobile one is trained without.

        Args:
            p: probability in the last cell; in those before it grows linearly with the depth.
        """
        cells = [m for m in self.modules() if isinstance(m, Cell)]
        for number, cell in enumerate(cells, 1):
            cell.drop.p = p * number / len(cells)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv0(x)
        prev = self.cell_stem_0(first, first)
        x = self.cell_stem_1(prev, first)
        for name in self.order:
            out = getattr(self, name)(x, prev)
            if not (name.startswith("reduction") and self.skip_reduction_input):
                prev = x
            x = out
        return self.last_linear(self.dropout(F.relu(x).mean((2, 3))))


def nasnet_a_mobile(
    num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5
) -> NASNet:
    """NASNet-A (4 @ 1056): Zoph, Vasudevan, Shlens, Le, 2017, table 3.

    5,289,978 parameters, 564 million multiply-adds at 224x224, published error on ImageNet 26.0 %.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before the linear layer.

    Returns:
        a network from (N, in_channels, H, W) to scores (N, num_classes).
    """
    return NASNet(
        4,
        1056,
        32,
        num_classes,
        in_channels=in_channels,
        dropout=dropout,
        skip_reduction_input=False,
    )


def nasnet_a_large(
    num_classes: int = 1000, *, in_channels: int = 3, dropout: float = 0.5
) -> NASNet:
    """NASNet-A (6 @ 4032): Zoph, Vasudevan, Shlens, Le, 2017, table 2.

    88,753,150 parameters, 23.8 billion multiply-adds at 331x331, 17.3 %; as `nasnet_a_mobile`.
    """
    return NASNet(6, 4032, 96, num_classes, in_channels=in_channels, dropout=dropout)
