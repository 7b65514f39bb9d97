"""Data sets, batches made by worker threads, transforms, and readers of well-known data sets."""

from . import transforms
from .cifar import CIFAR10
from .dataset import (
    ArrayDataset,
    ConcatDataset,
    Dataset,
    Subset,
    TensorDataset,
    batch_generator,
    random_split,
)
from .folder import ImageFolder, read_image
from .loader import DataLoader, default_collate
from .mnist import KMNIST, MNIST, Digits, FashionMNIST, digits

__all__ = [
    "CIFAR10",
    "KMNIST",
    "MNIST",
    "ArrayDataset",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "Digits",
    "FashionMNIST",
    "ImageFolder",
    "Subset",
    "TensorDataset",
    "batch_generator",
    "default_collate",
    "digits",
    "random_split",
    "read_image",
    "transforms",
]
