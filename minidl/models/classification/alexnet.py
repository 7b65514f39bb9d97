"""AlexNet: Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
networks", 2012, section 3.5 and figure 2.

    layer                            output    2012     torchvision
    convolution 11x11, stride 4      55x55     96       64
    3x3 maximum, stride 2            27x27
    convolution 5x5                  27x27     256      192
    3x3 maximum, stride 2            13x13
    convolution 3x3                  13x13     384      384
    convolution 3x3                  13x13     384      256
    convolution 3x3                  13x13     256      256
    3x3 maximum, stride 2             6x6
    fully connected                            4096     4096
    fully connected                            4096     4096
    fully connected                            classes  classes

The network of 2012 was divided between two GPUs with 3 GB each: the second, fourth and fifth
convolution see only the maps of their own GPU, here two groups. Local response normalisation
follows the ReLU of the first two convolutions (section 3.3), dropout the ReLU of the hidden layers.

torchvision's has one tower and no normalisation, after Krizhevsky, "One weird trick for
parallelizing convolutional neural networks", 2014 (which has 384 maps in the fourth convolution,
too), and its dropout stands before the hidden layers.
"""

from __future__ import annotations

from collections.abc import Sequence

from ... import nn
from ...autograd import Tensor

__all__ = ["AlexNet", "AlexNetOf2012", "alexnet", "local_response_norm"]


class AlexNet(nn.Module):
    """torchvision's form, with its names of parameters.

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        dropout: probability before each hidden layer.
        widths: maps of the five convolutions.
        hidden: units of the two hidden layers.
        pooled: height and width of the maps that the first of them sees.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        dropout: float = 0.5,
        widths: Sequence[int] = (64, 192, 384, 256, 256),
        hidden: int = 4096,
        pooled: int = 6,
    ) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = widths
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, c1, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(c1, c2, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(c2, c3, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)  # nothing to do for 224x224
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(c5 * pooled**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class AlexNetOf2012(nn.Module):
    """The form of the paper; arguments as `AlexNet`, dropout after the hidden layers."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        dropout: float = 0.5,
        widths: Sequence[int] = (96, 256, 384, 384, 256),
        hidden: int = 4096,
        pooled: int = 6,
    ) -> None:
        super().__init__()
        c1, c2, c3, c4, c5 = widths
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, c1, 11, stride=4, padding=2),
            nn.ReLU(),
            local_response_norm(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(c1, c2, 5, padding=2, groups=2),
            nn.ReLU(),
            local_response_norm(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(c2, c3, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1, groups=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(pooled)  # nothing to do for 224x224
        self.classifier = nn.Sequential(
            nn.Linear(c5 * pooled**2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, num_classes),
        )
        convolutions = [m for m in self.features if isinstance(m, nn.Conv2d)]
        linears = [m for m in self.classifier if isinstance(m, nn.Linear)]
        # Section 5: biases of 1 give the ReLUs of these layers positive inputs at first.
        lifted = [convolutions[i] for i in (1, 3, 4)] + linears[:2]
        for layer in convolutions + linears:
            nn.init.normal_(layer.weight, 0.0, 0.01)
            nn.init.constant_(layer.bias, 1.0 if layer in lifted else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def local_response_norm() -> nn.LocalResponseNorm:
    """Section 3.3: k = 2, n = 5, alpha = 0.0001, beta = 0.75."""
    # The paper's alpha stands before the sum of five squares, the layer's before their mean.
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def alexnet(
    num_classes: int = 1000,
    *,
    in_channels: int = 3,
    variant: str = "torchvision",
    dropout: float = 0.5,
) -> AlexNet | AlexNetOf2012:
    """AlexNet: Krizhevsky, Sutskever, Hinton, 2012, section 3.5 and figure 2.

    Published error on ImageNet (validation) 40.7 %, 18.2 % of five guesses (table 2, one network).

    Args:
        num_classes: number of outputs.
        in_channels: channels of the pictures.
        variant: "torchvision" (61,100,840 parameters) or "2012" (60,965,224).
        dropout: probability.

    Returns:
        a network from (N, in_channels, 224, 224) to scores (N, num_classes); other sizes from 63
        are pooled to the same number of features.

    Raises:
        ValueError: an unknown variant.
    """
    if variant == "torchvision":
        return AlexNet(num_classes, in_channels=in_channels, dropout=dropout)
    if variant == "2012":
        return AlexNetOf2012(num_classes, in_channels=in_channels, dropout=dropout)
    raise ValueError(f"alexnet: variant is 'torchvision' or '2012', not {variant!r}")
