"""Data sets, batches made by worker threads, transforms, and readers of well-known data sets."""

from . import joint, transforms
from .cifar import CIFAR10
from .coco import CocoDetection, write_coco_results
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
from .objects import list_collate
from .scenes import Scenes
from .segmentation import (
    CamVid,
    ImageMaskFolder,
    ISBIMembranes,
    VOCSegmentation,
    median_frequency_weights,
    read_mask,
)
from .voc import VOCDetection
from .yolo import YOLODetection, write_yolo

__all__ = [
    "CIFAR10",
    "KMNIST",
    "MNIST",
    "ArrayDataset",
    "CamVid",
    "CocoDetection",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "Digits",
    "FashionMNIST",
    "ISBIMembranes",
    "ImageFolder",
    "ImageMaskFolder",
    "Scenes",
    "Subset",
    "TensorDataset",
    "VOCDetection",
    "VOCSegmentation",
    "YOLODetection",
    "batch_generator",
    "default_collate",
    "digits",
    "joint",
    "list_collate",
    "median_frequency_weights",
    "random_split",
    "read_image",
    "read_mask",
    "transforms",
    "write_coco_results",
    "write_yolo",
]
