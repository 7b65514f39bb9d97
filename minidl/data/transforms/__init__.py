"""Random changes to training images that leave their class as it is. Names of torchvision.

Each transform takes a whole batch, a NumPy array (N, C, H, W) of floats, and a NumPy generator, and
gives a new array of the same dtype; every image draws its own chance. Without a generator it draws
from `batch_generator()`. The input is never changed. For colours, values lie in [0, 1], so those
come before `Normalize`.

`MixUp` and `CutMix` change the labels too: they take (images, labels), and `Mixed` is a data set
whose batches pass through them.
"""

from .base import Compose, Normalize, ToFloat, Transform
from .colour import ColorJitter, RandomPhotometricDistort
from .geometry import (
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomVerticalFlip,
    RandomZoom,
)
from .mixing import CutMix, Mixed, MixUp, RandomChoice
from .occlusion import Cutout, RandomErasing
from .randaugment import RandAugment

__all__ = [
    "ColorJitter",
    "Compose",
    "CutMix",
    "Cutout",
    "MixUp",
    "Mixed",
    "Normalize",
    "RandAugment",
    "RandomAffine",
    "RandomChoice",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomPhotometricDistort",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomVerticalFlip",
    "RandomZoom",
    "ToFloat",
    "Transform",
]
