"""Random changes of an image together with its ground truth, for segmentation and detection.

Each transform takes one image, a NumPy array (C, H, W) of floats, its target, and a NumPy generator
(without one it draws from `batch_generator()`), and gives a new pair; the input is never changed. A
target is a class map (H, W), or a dictionary of any of

    "mask"       (H, W) integers: the class of each pixel
    "masks"      (R, H, W) bool: the pixels of each object
    "boxes"      (R, 4) x1, y1, x2, y2, pixels, half-open
    "labels"     (R,) integers: the class of each object; likewise "iscrowd" and "difficult"
    "keypoints"  (R, K, 3) x, y, visible; those that leave the image become 0, 0, 0
    "area"       (R,) floats, square pixels; it changes as the object's mask does, or else its box

and whatever else, which stays as it is. Images are interpolated, labels are taken from the nearest
neighbour, so that no class appears that was not there. An object of which nothing is left in the
image is dropped from all of these. Where there are masks, the box of an object that was cut, turned
or bent is that of its mask; else it is the box around the moved outline of the box, cut to the
image.

- base.py: how a target follows its image
- geometry.py: flips, crops, sizes, rotation, bending
- detection.py: what SSD and those after it train with; colours are `transforms`, by `ImageOnly`

SSD's (Liu et al. 2016, section 2.2), for a network of 300 x 300 pixels:

    >>> ssd = Compose([
    ...     ImageOnly(RandomPhotometricDistort()),  # of minidl.data.transforms
    ...     RandomZoomOut(),
    ...     RandomIoUCrop(),
    ...     RandomHorizontalFlip(),
    ...     Resize(300),
    ... ])
"""

from .base import Compose, ImageOnly, JointTransform, boxes_of_masks
from .detection import RandomIoUCrop, RandomShortestSize, RandomZoomOut
from .geometry import (
    CenterCrop,
    RandomCrop,
    RandomElastic,
    RandomHorizontalFlip,
    RandomRotation,
    RandomScale,
    RandomVerticalFlip,
    Resize,
)

__all__ = [
    "CenterCrop",
    "Compose",
    "ImageOnly",
    "JointTransform",
    "RandomCrop",
    "RandomElastic",
    "RandomHorizontalFlip",
    "RandomIoUCrop",
    "RandomRotation",
    "RandomScale",
    "RandomShortestSize",
    "RandomVerticalFlip",
    "RandomZoomOut",
    "Resize",
    "boxes_of_masks",
]
