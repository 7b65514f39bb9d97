"""Highway networks: each layer learns how much of its input to carry on unchanged.

Srivastava, Greff, Schmidhuber, "Training very deep networks", NIPS 2015 (first "Highway networks",
2015). Equation 3, with a transform H and a transform gate T that is a layer of its own:

    y = H(x) T(x) + x (1 - T(x)),    T(x) = sigmoid(W x + b)

b starts negative, so that a new network mostly carries and its gradient reaches the first layer
however many there are.

Fully connected, for MNIST (section 3): a plain layer, then 9, 19, 49 or 99 highway
layers of 50 units, then a linear layer. The plain networks it is compared with have 71 units, which
costs as much: about 5,000 parameters a layer.

Convolutional, for CIFAR (section 3, table 2), Highway-19 after FitNet-4 of Romero et al. 2015:

    stage          output size   Highway-19       Highway-32
    stage1         32x32         1 + 4 of  32     1 + 9 of 32     3x3; the first one plain
                   16x16         2x2 maximum
    stage2         16x16         1 + 5 of  80     1 + 9 of 48
                    8x8          2x2 maximum
    stage3          8x8          1 + 5 of 128     1 + 9 of 64
    reduce          8x8          1x1, 100         1x1, 100
                    1x1          mean of each map, linear
    parameters                   2.3 million      1.25 million

Where the numbers are from: depth and size are the paper's, and so is the negative bias, which its
experiments draw from -10 to -1; -4 for MNIST is ours, with which 50 layers start to learn at once.
The widths of Highway-19, the 1x1 convolution, dropout, the bias of -2 and the initial weights are
those of the authors' published Caffe network (except conv1, whose weights it fills with variance 1,
apparently by a misspelt argument; here they start as the others). The widths of Highway-32 are
published nowhere: these are ours, equal stages that give its size.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor
from ...nn import functional as F

__all__ = ["HighwayCIFAR", "HighwayLayer", "HighwayMLP", "highway19", "highway32", "highway_mlp"]

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


class HighwayLayer(nn.Module):
    """activation(transform(x)) T + x (1 - T) with T = sigmoid(gate(x)): equation 3.

    Args:
        transform, gate: two layers of the same kind, whose output has the shape of their input.
        gate_bias: initial bias of the gate.
        activation: a module.
    """

    def __init__(
        self, transform: nn.Module, gate: nn.Module, gate_bias: float, activation: nn.Module
    ) -> None:
        super().__init__()
        self.transform = transform
        self.gate = gate
        self.activation = activation
        nn.init.constant_(gate.bias, gate_bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.activation(self.transform(x))
        t = F.sigmoid(self.gate(x))
        return x + t * (h - x)  # h t + x (1 - t), with one product


# -- fully connected -------------------------------------------------------------------------------


class HighwayMLP(nn.Module):
    """A plain layer, highway (or plain) layers, a linear layer.

    Weights start as in He et al. 2015, "Delving deep into rectifiers", biases at 0.

    Args:
        in_features: numbers of a picture.
        width: units of each hidden layer.
        depth: number of hidden layers.
        num_classes: number of outputs.
        gate_bias: initial bias of the gates; None: no gates, a plain network.
        activation: "relu" or "tanh".

    Raises:
        ValueError: an unknown activation, or no hidden layer.
    """

    def __init__(
        self,
        in_features: int,
        width: int,
        depth: int,
        num_classes: int = 10,
        gate_bias: float | None = -4.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"HighwayMLP: activation is 'relu' or 'tanh', not {activation!r}")
        if depth < 1:
            raise ValueError(f"HighwayMLP: needs one hidden layer at least, got depth={depth}")
        act = ACTIVATIONS[activation]
        self.first = nn.Sequential(he_linear(in_features, width, activation), act())
        self.layers = nn.Sequential()
        for _ in range(depth - 1):
            transform = he_linear(width, width, activation)
            if gate_bias is None:
                self.layers.append(nn.Sequential(transform, act()))
            else:
                gate = he_linear(width, width, "sigmoid")
                self.layers.append(HighwayLayer(transform, gate, gate_bias, act()))
        self.linear = he_linear(width, num_classes, "linear")

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.layers(self.first(x.flatten(1))))


def he_linear(in_features: int, out_features: int, nonlinearity: str) -> nn.Linear:
    """A linear layer whose output has the variance that keeps it through that nonlinearity."""
    layer = nn.Linear(in_features, out_features)
    nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)
    nn.init.zeros_(layer.bias)
    return layer


def highway_mlp(
    num_classes: int = 10,
    *,
    in_channels: int = 1,
    depth: int = 50,
    variant: str = "highway",
    gate_bias: float = -4.0,
    activation: str = "relu",
) -> HighwayMLP:
    """Fully connected highway network for MNIST: Srivastava, Greff, Schmidhuber, 2015, section 3.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        depth: number of hidden layers; the paper's are 10, 20, 50 and 100.
        variant: "highway" (50 units a layer) or "plain" (71 units, no gates).
        gate_bias: initial bias of the gates.
        activation: "relu" or "tanh".

    Returns:
        a network from (N, in_channels, 28, 28) to scores (N, num_classes).

    Raises:
        ValueError: an unknown variant or activation, or no hidden layer.
    """
    pixels = in_channels * 28 * 28
    if variant == "highway":
        return HighwayMLP(pixels, 50, depth, num_classes, gate_bias, activation)
    if variant == "plain":
        return HighwayMLP(pixels, 71, depth, num_classes, None, activation)
    raise ValueError(f"highway_mlp: variant is 'highway' or 'plain', not {variant!r}")


# -- convolutional ---------------------------------------------------------------------------------


class HighwayCIFAR(nn.Module):
    """The convolutional networks of the table above.

    Args:
        widths: maps of each stage.
        depths: number of 3x3 convolutions of each stage, the plain first one included.
        reduced: maps of the 1x1 convolution.
        num_classes: number of outputs.
        drop_rate: probability of dropout on the picture, after each stage and before the scores.
        gate_bias: initial bias of the gates.
        in_channels: channels of the pictures.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        reduced: int = 100,
        num_classes: int = 10,
        drop_rate: float = 0.2,
        gate_bias: float = -2.0,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(drop_rate)
        self.stages = nn.ModuleList()
        channels = in_channels
        for width, depth in zip(widths, depths, strict=True):
            stage = nn.Sequential(xavier_conv(channels, width, 3), nn.ReLU())
            for _ in range(depth - 1):
                transform, gate = xavier_conv(width, width, 3), xavier_conv(width, width, 3)
                stage.append(HighwayLayer(transform, gate, gate_bias, nn.ReLU()))
            self.stages.append(stage)
            channels = width
        self.reduce = xavier_conv(channels, reduced, 1)
        self.linear = nn.Linear(reduced, num_classes)
        nn.init.normal_(self.linear.weight, std=0.05)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(x)
        for i, stage in enumerate(self.stages):
            if i > 0:
                x = self.dropout(F.max_pool2d(x, 2))
            x = stage(x)
        x = F.relu(self.reduce(x)).mean((2, 3))
        return self.linear(self.dropout(x))


def xavier_conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """A convolution with Caffe's "xavier" weights: uniform, of variance 1 / fan_in; biases 0."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
    nn.init.zeros_(layer.bias)
    return layer


def highway19(
    num_classes: int = 10, *, in_channels: int = 3, drop_rate: float = 0.2, gate_bias: float = -2.0
) -> HighwayCIFAR:
    """Highway-19 for CIFAR: Srivastava, Greff, Schmidhuber, 2015, section 3 and table 2.

    Published error on CIFAR-10: 7.54 %, in the mean 7.72 % (as in He et al. 2015, table 6).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        drop_rate: probability of dropout on the picture, after each stage and before the scores.
        gate_bias: initial bias of the gates.

    Returns:
        a network from (N, in_channels, 32, 32) to scores (N, num_classes).
    """
    widths, depths = (32, 80, 128), (5, 6, 6)
    return HighwayCIFAR(widths, depths, 100, num_classes, drop_rate, gate_bias, in_channels)


def highway32(
    num_classes: int = 10, *, in_channels: int = 3, drop_rate: float = 0.2, gate_bias: float = -2.0
) -> HighwayCIFAR:
    """Highway-32 for CIFAR: Srivastava, Greff, Schmidhuber, 2015, table 2 (widths are ours).

    Published error on CIFAR-10 (with the authors' widths; as in He et al. 2015, table 6): 8.80 %.
    Arguments and result as `highway19`.
    """
    widths, depths = (32, 48, 64), (10, 10, 10)
    return HighwayCIFAR(widths, depths, 100, num_classes, drop_rate, gate_bias, in_channels)
