"""LeNet: the network of 1989 that read zip codes and LeNet-5, which read cheques.

LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel, "Backpropagation applied to handwritten
zip code recognition", Neural Computation 1, 1989, section 3 and figure 3. Units of a map share
their weights, but each has a bias of its own:

    layer                                     output     parameters
                                              1  16 16
    H1  5x5, stride 2                        12   8  8        1,068
    H2  5x5, stride 2, from 8 maps of H1     12   4  4        2,592
    H3  fully connected                      30               5,790
        fully connected                      10                 310
                                                              9,760

LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE, 1998, section II.B and figure 2:

    layer                                     output     parameters
                                              1  32 32
    C1  convolution 5x5                       6  28 28          156
    S2  subsampling 2x2                       6  14 14           12
    C3  convolution 5x5, sparse (table I)    16  10 10        1,516
    S4  subsampling 2x2                      16   5  5           32
    C5  convolution 5x5                     120   1  1       48,120
    F6  fully connected                      84              10,164
        distances to fixed codes             10                   0
                                                             60,000

The modern form has a full C3, max-pooling, ReLU and a linear last layer: 61,706 parameters.
"""

from __future__ import annotations

import math

import numpy as np

from ... import nn
from ...autograd import Tensor
from ...backend.random import host_generator
from ...nn import functional as F
from ...nn.module import new_tensor, parameter_if

__all__ = ["LeNet5", "LeNet5Of1998", "LeNet1989", "lenet5", "lenet1989"]


def lenet1989(num_classes: int = 10, *, in_channels: int = 1) -> LeNet1989:
    """LeNet-1989: LeCun, Boser, Denker et al., 1989, section 3.

    9,760 parameters; published error on the digits of zip codes 5.0 % (section 5).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.

    Returns:
        a network from (N, in_channels, 16, 16), -1 where the paper is empty and 1 where there is
        ink, to scores (N, num_classes) between -1.7159 and 1.7159. The paper trains them towards
        1 and -1 by mean squared error; cross entropy serves too.
    """
    return LeNet1989(num_classes, in_channels)


def lenet5(variant: str = "modern", num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    """LeNet-5: LeCun, Bottou, Bengio, Haffner, 1998, section II.B.

    For pictures of 32x32 pixels, or of 28x28, which it pads with zeros. Published error on MNIST
    0.95 %, with distorted training pictures 0.8 % (section III).

    Args:
        variant: "modern" (61,706 parameters) or "1998" (60,000).
        num_classes: number of outputs.
        in_channels: channels of the pictures.

    Returns:
        a network from (N, in_channels, 32, 32) to scores (N, num_classes) for cross entropy.

    Raises:
        ValueError: an unknown variant.
    """
    if variant == "modern":
        return LeNet5(num_classes, in_channels)
    if variant == "1998":
        return LeNet5Of1998(num_classes, in_channels)
    raise ValueError(f"lenet5: variant is 'modern' or '1998', not {variant!r}")


class LeNet1989(nn.Module):
    """The network of 1989; arguments as `lenet1989`."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        h1 = nn.Conv2d(in_channels, 12, 5, stride=2, bias=False)
        h2 = SparseConv(12, H2_CONNECTIONS, 5, stride=2, bias=False)
        self.h1 = UnitMaps(h1, (12, 8, 8), fan_in=in_channels * 25)
        self.h2 = UnitMaps(h2, (12, 4, 4), fan_in=8 * 25)
        self.h3 = nn.Linear(12 * 4 * 4, 30)
        self.output = nn.Linear(30, num_classes)
        nn.init.uniform_(h1.weight, -2.4 / (in_channels * 25), 2.4 / (in_channels * 25))
        for layer in (self.h3, self.output):
            uniform_by_fan_in(layer.weight, layer.bias, layer.in_features)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[2:] != (16, 16):
            raise ValueError(f"lenet1989: pictures are (N, C, 16, 16), got {x.shape}")
        x = squash(self.h1(x))
        x = squash(self.h2(x))
        x = squash(self.h3(x.flatten(1)))
        return squash(self.output(x))


class UnitMaps(nn.Module):
    """A convolution over a picture with a margin of -1, and a bias for each unit of each map.

    Args:
        conv: a 5x5 convolution without bias.
        shape: (C, H, W) of its output.
        fan_in: the number of inputs of a unit.
    """

    def __init__(self, conv: nn.Module, shape: tuple[int, int, int], fan_in: int) -> None:
        super().__init__()
        self.conv = conv
        self.bias = nn.Parameter(new_tensor(shape))
        nn.init.uniform_(self.bias, -2.4 / fan_in, 2.4 / fan_in)

    def forward(self, x: Tensor) -> Tensor:
        # Beyond the border lies background, whose value is -1 (section 3.3).
        return self.conv(F.pad(x, (2, 2, 2, 2), value=-1.0)) + self.bias


class LeNet5(nn.Module):
    """The modern form; arguments as `lenet5`."""

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(16 * 5 * 5, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = to_32_pixels(x)
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.flatten(1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


class LeNet5Of1998(nn.Module):
    """The form of the paper; arguments as `lenet5`.

    Scores are minus the squared distances to the codes (equation 7).
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels, 6, 5)
        self.s2 = Subsampling(6)
        self.c3 = SparseConv(6, C3_CONNECTIONS, 5)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, 5)
        self.f6 = nn.Linear(120, 84)
        self.register_buffer("codes", Tensor(codes(num_classes)))
        for layer in (self.c1, self.c5, self.f6):
            uniform_by_fan_in(layer.weight, layer.bias, math.prod(layer.weight.shape[1:]))

    def forward(self, x: Tensor) -> Tensor:
        x = to_32_pixels(x)
        x = squash(self.s2(squash(self.c1(x))))
        x = squash(self.s4(squash(self.c3(x))))
        x = squash(self.c5(x)).flatten(1)
        x = squash(self.f6(x))
        return -((x.unsqueeze(1) - self.codes) ** 2).sum(2)


class Subsampling(nn.Module):
    """The sum of each 2x2 square times a trained coefficient plus a trained bias, for each map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(new_tensor((channels, 1, 1)))
        self.bias = nn.Parameter(new_tensor((channels, 1, 1)))
        uniform_by_fan_in(self.weight, self.bias, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 2) * 4.0 * self.weight + self.bias


class SparseConv(nn.Module):
    """Convolution in which each output map sees some of the input maps only.

    Args:
        in_channels: number of input maps.
        connections: for each output map, the input maps it sees.
        kernel_size: taps, vertical and horizontal.
        stride: step between windows.
        bias: whether a number is added to each output map.
    """

    def __init__(
        self,
        in_channels: int,
        connections: tuple[tuple[int, ...], ...],
        kernel_size: int,
        stride: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.stride = stride
        count = sum(len(inputs) for inputs in connections)
        # One kernel for each connection; a kernel of zeros, put after them, for each other pair.
        self.weight = nn.Parameter(new_tensor((count, kernel_size, kernel_size)))
        self.register_parameter("bias", parameter_if(bias, (len(connections),)))
        which = np.full((len(connections), in_channels), count, np.int64)
        first = 0
        for output, inputs in enumerate(connections):
            last = first + len(inputs)
            which[output, list(inputs)] = range(first, last)
            bound = 2.4 / (len(inputs) * kernel_size**2)
            nn.init.uniform_(self.weight.data[first:last], -bound, bound)
            if bias:
                nn.init.uniform_(self.bias.data[output : output + 1], -bound, bound)
            first = last
        self.register_buffer("which", Tensor(which), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        kernels = F.pad(self.weight, (0, 0, 0, 0, 0, 1))
        return F.conv2d(x, kernels[self.which], self.bias, self.stride)


# The maps of H1 that each map of H2 sees. LeCun et al. 1989 say that there are eight, but not which
# (section 3.3). Here they are neighbours on a ring of twelve, so that each is seen by eight, too.
H2_CONNECTIONS = tuple(tuple((first + i) % 12 for i in range(8)) for first in range(12))

# LeCun et al. 1998, table I: the maps of S2 that each map of C3 sees.
C3_CONNECTIONS = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)

# The targets of F6: ten figures drawn on 7x12 pixels, +1 where there is ink (compare figure 3).
FIGURES = """
.#####. ...#... .#####. .#####. ....##. ####### .#####. ####### .#####. .#####.
##...## ..##... ##...## ##...## ...###. ##..... ##...## ##...## ##...## ##...##
##...## .###... ##...## .....## ..####. ##..... ##..... .....## ##...## ##...##
##...## ..##... .....## .....## .##.##. ##..... ##..... ....##. ##...## ##...##
##...## ..##... ....##. .....## ##..##. ##..... ##..... ....##. ##...## ##...##
##...## ..##... ...##.. ..####. ##..##. ######. ######. ...##.. .#####. .######
##...## ..##... ..##... .....## ####### .....## ##...## ...##.. ##...## .....##
##...## ..##... .##.... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ..##... ##..... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ..##... ##..... ##...## ....##. ##...## ##...## .##.... ##...## ##...##
##...## ..##... ##..... ##...## ....##. ##...## ##...## .##.... ##...## ##...##
.#####. .#####. ####### .#####. ....##. .#####. .#####. .##.... .#####. .#####.
"""


def codes(num_classes: int) -> np.ndarray:
    """(num_classes, 84) of -1 and +1: the figures for ten classes, else random codes."""
    if num_classes != 10:
        return host_generator().choice([-1.0, 1.0], (num_classes, 84)).astype(np.float32)
    rows = [line.split() for line in FIGURES.split("\n") if line]
    ink = [[[pixel == "#" for pixel in row[digit]] for row in rows] for digit in range(10)]
    return np.where(np.array(ink).reshape(10, 84), 1.0, -1.0).astype(np.float32)


def squash(x: Tensor) -> Tensor:
    """1.7159 tanh(2/3 x), which is 1 at 1 and -1 at -1 (equation 6 and appendix A)."""
    return 1.7159 * F.tanh(x * (2.0 / 3.0))


def uniform_by_fan_in(weight: Tensor, bias: Tensor, fan_in: int) -> None:
    """Uniform within 2.4 / fan_in, the paper's initial values (appendix A)."""
    for tensor in (weight, bias):
        nn.init.uniform_(tensor, -2.4 / fan_in, 2.4 / fan_in)


def to_32_pixels(x: Tensor) -> Tensor:
    """(N, C, 28, 28) with two rows and columns of zeros on each side; 32x32 as it is."""
    if x.ndim == 4 and x.shape[2:] == (28, 28):
        return F.pad(x, (2, 2, 2, 2))
    if x.ndim != 4 or x.shape[2:] != (32, 32):
        raise ValueError(f"lenet5: pictures are (N, C, 32, 32) or (N, C, 28, 28), got {x.shape}")
    return x
