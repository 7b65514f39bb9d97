"""Floor 4: networks. Builders are plain functions: `minidl.models.resnet20(num_classes=10)`."""

from .classification import (
    lenet5,
    mlp,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
)

__all__ = ["lenet5", "mlp", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]

# (C, H, W) of the pictures each network was made for.
INPUT_SHAPES: dict[str, tuple[int, int, int]] = {
    "lenet5": (1, 28, 28),
    "mlp": (1, 28, 28),
    "resnet20": (3, 32, 32),
    "resnet32": (3, 32, 32),
    "resnet44": (3, 32, 32),
    "resnet56": (3, 32, 32),
    "resnet110": (3, 32, 32),
}
