"""Networks that name what is in a picture, one file an architecture."""

from .lenet import lenet5
from .mlp import mlp
from .resnet_cifar import resnet20, resnet32, resnet44, resnet56, resnet110

__all__ = ["lenet5", "mlp", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]
