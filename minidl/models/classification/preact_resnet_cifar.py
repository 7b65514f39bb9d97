"""Residual units in five orders, six shortcuts, and networks of up to 1001 layers for CIFAR.

He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", ECCV 2016. Figure 4: the same
two convolutions, and where batch norm and ReLU stand around them; table 2: what that does to the
error of CIFAR-10 (in %, ResNet-110 and ResNet-164).

    order                  residual branch                     after +    110    164
    original               conv bn relu conv bn                relu       6.61   5.93
    bn_after_addition      conv bn relu conv                   bn relu    8.17   6.50
    relu_before_addition   conv bn relu conv bn relu                      7.84   6.14
    relu_only              relu conv bn relu conv bn                      6.71   5.91
    full                   bn relu conv bn relu conv                      6.37   5.46

Where nothing stands after the addition, the sum of all branches so far travels unchanged along the
shortcuts, from any unit to any later one, and the gradient back.

    stage      output size   channels, two-layer units   bottlenecks (1x1, 3x3, 1x1)
    conv1      32x32         16                          16
    layer1     32x32         16                          64
    layer2     16x16         32                          128
    layer3      8x8          64                          256

With n units in a stage there are 6n + 2 layers of two-layer units, 9n + 2 of bottlenecks.

Table 1: what the shortcut and the residual are multiplied with before they are added, in ResNet-110
of the original order. g is a sigmoid of a 1x1 convolution of the input, as in highway networks, b
the initial value of its bias.

    shortcut             on shortcut   on residual   error
    identity             1             1              6.61
    scaling              0.5           0.5           12.35
    exclusive_gating     1 - g         g              8.70 with b = -6; fails with b > -6
    shortcut_gating      1 - g         1             12.86 with b = 0; 6.91 with b = -6
    dropout              dropout 0.5   1             fails: above 20
    1x1 convolution      `resnet_cifar.resnet110(shortcut="C")`: 12.22
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F
from .resnet_cifar import make_shortcut

__all__ = [
    "ORDERS",
    "Merge",
    "Order",
    "PreActResNetCIFAR",
    "ResidualUnit",
    "preact_resnet110",
    "preact_resnet164",
    "preact_resnet1001",
]


class Order(NamedTuple):
    """Where "bn" and "relu" stand: before and after each convolution, after the last one, after +.

    The convolution at the beginning of a network is followed by what follows each, and its
    classifier preceded by what precedes each.
    """

    before: str
    after: str
    last: str
    addition: str


# Figure 4
ORDERS = {
    "original": Order("", "bn relu", "bn", "relu"),
    "bn_after_addition": Order("", "bn relu", "", "bn relu"),
    "relu_before_addition": Order("", "bn relu", "bn relu", ""),
    "relu_only": Order("relu", "bn", "bn", ""),
    "full": Order("bn relu", "", "", ""),
}


def steps(words: str, number: str, channels: int) -> dict[str, nn.Module]:
    """The modules that "bn", "relu" or "bn relu" stand for, by name."""
    kinds = {"bn": nn.BatchNorm2d(channels), "relu": nn.ReLU()}
    return {f"{word}{number}": kinds[word] for word in words.split()}


class Merge(nn.Module):
    """The sum of shortcut and residual, each with its factor of table 1.

    The paper does not say how a unit that changes the shape is gated: here like the others, its
    gate with its stride and the zeros of its shortcut gated, too.

    Args:
        in_planes: channels of the input of the unit.
        planes: channels of shortcut and residual.
        stride: of the unit.
        kind: "identity", "scaling", "exclusive_gating", "shortcut_gating" or "dropout".
        gate_bias: initial bias of a gate.
    """

    KINDS = ("identity", "scaling", "exclusive_gating", "shortcut_gating", "dropout")

    def __init__(
        self, in_planes: int, planes: int, stride: int, kind: str, gate_bias: float
    ) -> None:
        super().__init__()
        self.kind = kind
        self.gate: nn.Conv2d | None = None
        self.dropout = nn.Dropout(0.5) if kind == "dropout" else None
        if kind in ("exclusive_gating", "shortcut_gating"):
            self.gate = nn.Conv2d(in_planes, planes, 1, stride)
            nn.init.constant_(self.gate.bias, gate_bias)

    def forward(self, x: Tensor, shortcut: Tensor, residual: Tensor) -> Tensor:
        if self.kind == "scaling":
            return 0.5 * (shortcut + residual)
        if self.dropout is not None:
            return self.dropout(shortcut) + residual
        if self.gate is not None:
            g = F.sigmoid(self.gate(x))
            if self.kind == "exclusive_gating":
                residual = g * residual
            return (1.0 - g) * shortcut + residual
        return shortcut + residual

    def extra_repr(self) -> str:
        return self.kind


class ResidualUnit(nn.Module):
    """shortcut(x) + residual(x) with batch norm and ReLU in one of the five orders.

    Args:
        in_planes: input channels.
        planes: output channels.
        stride: of the first convolution.
        order: a row of `ORDERS`.
        bottleneck: 1x1 to planes / 4, 3x3, 1x1 to planes; otherwise two 3x3.
        first: whether this is the first unit of the network.
        shortcut: see `Merge`.
        gate_bias: see `Merge`.
    """

    def __init__(
        self,
        in_planes: int,
        planes: int,
        stride: int,
        order: Order,
        bottleneck: bool = False,
        first: bool = False,
        shortcut: str = "identity",
        gate_bias: float = -6.0,
    ) -> None:
        super().__init__()
        inner = planes // 4 if bottleneck else planes
        kernels = (1, 3, 1) if bottleneck else (3, 3)
        widths = [in_planes, *[inner] * (len(kernels) - 1), planes]
        self.before = nn.Sequential(steps(order.before, "1", in_planes))
        residual: dict[str, nn.Module] = {}
        for i, kernel in enumerate(kernels, 1):
            before, after = widths[i - 1], widths[i]
            if i > 1:
                residual |= steps(order.before, str(i), before)
            step = stride if i == 1 else 1
            conv = nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False)
            residual[f"conv{i}"] = conv
            residual |= steps(order.last if i == len(kernels) else order.after, str(i), after)
        self.residual = nn.Sequential(residual)
        self.merge = Merge(in_planes, planes, stride, shortcut, gate_bias)
        self.after = nn.Sequential(steps(order.addition, "", planes))
        # Two-layer units change shape without parameters, as the 110-layer network of 2015 does;
        # bottlenecks by a 1x1 convolution, as in the authors' code. Its batch norm, if any, is that
        # of the convolution it is added to: the paper shows neither for the other four orders.
        changes = stride != 1 or in_planes != planes
        if bottleneck and changes:
            projection = {"conv": nn.Conv2d(in_planes, planes, 1, stride, bias=False)}
            norm = steps("bn" if "bn" in order.last else "", "", planes)
            self.shortcut: nn.Module = nn.Sequential(projection | norm)
        else:
            self.shortcut = make_shortcut("A", in_planes, planes, stride) or nn.Identity()
        # Section 4.1: the activation after the very first convolution comes before the two paths
        # part. A projection starts from the activated input, too.
        self.shared = first or (bottleneck and changes)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.before(x)
        start = activated if self.shared else x
        return self.after(self.merge(start, self.shortcut(start), self.residual(activated)))


class PreActResNetCIFAR(nn.Module):
    """Three stages of residual units.

    Args:
        blocks: n, the number of units in each stage.
        num_classes: number of outputs.
        order: "full", "relu_only", "relu_before_addition", "bn_after_addition" or "original".
        bottleneck: units of three convolutions instead of two.
        in_channels: channels of the pictures.
        width: channels of the first convolution.
        shortcut: "identity", "scaling", "exclusive_gating", "shortcut_gating" or "dropout".
        gate_bias: initial bias of the gates, if any.

    Raises:
        ValueError: an unknown order or shortcut.
    """

    def __init__(
        self,
        blocks: int,
        num_classes: int = 10,
        order: str = "full",
        bottleneck: bool = False,
        in_channels: int = 3,
        width: int = 16,
        shortcut: str = "identity",
        gate_bias: float = -6.0,
    ) -> None:
        super().__init__()
        if order not in ORDERS:
            raise ValueError(f"PreActResNetCIFAR: order is one of {list(ORDERS)}, not {order!r}")
        if shortcut not in Merge.KINDS:
            raise ValueError(
                f"PreActResNetCIFAR: shortcut is one of {list(Merge.KINDS)}, not {shortcut!r}"
            )
        row = ORDERS[order]
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.after1 = nn.Sequential(steps(row.after, "", width))
        widths: Sequence[int] = (width, 2 * width, 4 * width)
        if bottleneck:
            widths = [4 * planes for planes in widths]
        in_planes = width
        for number, planes in enumerate(widths, 1):
            stage = nn.Sequential()
            for i in range(blocks):
                stride = 2 if number > 1 and i == 0 else 1
                first = number == 1 and i == 0
                stage.append(
                    ResidualUnit(
                        in_planes, planes, stride, row, bottleneck, first, shortcut, gate_bias
                    )
                )
                in_planes = planes
            self.add_module(f"layer{number}", stage)
        self.before_linear = nn.Sequential(steps(row.before, "", in_planes))
        self.linear = nn.Linear(in_planes, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # As in the authors' code: He et al. 2015, equation 14, by outgoing weights
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.after1(self.conv1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.before_linear(x).mean((2, 3)))


def preact_resnet110(
    num_classes: int = 10,
    *,
    in_channels: int = 3,
    order: str = "full",
    shortcut: str = "identity",
    gate_bias: float = -6.0,
) -> PreActResNetCIFAR:
    """Pre-activation ResNet-110 for CIFAR: He, Zhang, Ren, Sun, 2016, figure 4 and table 2.

    54 two-layer units; zeros where the number of channels grows. Published error on CIFAR-10:
    6.37 %; of the other orders and shortcuts see the tables of this file.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        order: "full" pre-activation, or "relu_only", "relu_before_addition", "bn_after_addition",
            "original".
        shortcut: "identity", or "scaling", "exclusive_gating", "shortcut_gating", "dropout": the
            paper's table 1, where the order is "original".
        gate_bias: initial bias of the gates, if any.

    Returns:
        a network from (N, in_channels, 32, 32) to scores (N, num_classes).

    Raises:
        ValueError: an unknown order or shortcut.
    """
    return PreActResNetCIFAR(
        18, num_classes, order, False, in_channels, shortcut=shortcut, gate_bias=gate_bias
    )


def preact_resnet164(
    num_classes: int = 10, *, in_channels: int = 3, order: str = "full"
) -> PreActResNetCIFAR:
    """Pre-activation ResNet-164 for CIFAR: He, Zhang, Ren, Sun, 2016, tables 2 and 4.

    54 bottlenecks. Published error on CIFAR-10: 5.46 %. Arguments, result and errors as
    `preact_resnet110`.
    """
    return PreActResNetCIFAR(18, num_classes, order, True, in_channels)


def preact_resnet1001(
    num_classes: int = 10, *, in_channels: int = 3, order: str = "full"
) -> PreActResNetCIFAR:
    """Pre-activation ResNet-1001 for CIFAR: He, Zhang, Ren, Sun, 2016, table 4.

    333 bottlenecks. Published error on CIFAR-10: 4.92 %, with batches of 64 4.62 %. Arguments,
    result and errors as `preact_resnet110`.
    """
    return PreActResNetCIFAR(111, num_classes, order, True, in_channels)
