"""What all detectors have in common: how they are called, and what happens to a picture first.

A detector has two faces: `losses(images, targets)`, whose sum training makes small, and
`predict(images)`, the objects it finds. Which of them runs is decided by what it is given, never by
the mode it is in: so losses can be watched on test pictures, too.

    images     list of Tensors (C, H, W) float32 in [0, 1], each of its own size; or (N, C, H, W)
    targets    for each image a dictionary
                   "boxes"      (R, 4) float32   x1, y1, x2, y2, pixels, half-open
                   "labels"     (R,) int64       from 0; background has no number
                   "masks"      (R, H, W) bool   for detectors that need them
                   "keypoints"  (R, K, 3)        x, y, visible (0: not labelled), likewise
    predictions  the same, with "scores" (R,), by falling score

R may be 0. `PictureTransform` brings pictures to the size that a network wants, several of them
into one batch, and what was found there back to the picture that was given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import nn
from ...autograd import Tensor, tensor
from ...backend import of
from ...nn import functional as F
from ...ops.shape import stack

__all__ = ["Batch", "Detector", "PictureTransform", "check_pictures"]

# Mean and standard deviation of the pixels of ImageNet: backbones are trained on them.
IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)

Size = tuple[int, int]
Sizes = Sequence[Size]
Targets = Sequence[Mapping[str, Tensor]]
Objects = list[dict[str, Tensor]]


class Detector(nn.Module):
    """The base of all detectors: a subclass says how it learns and what it finds.

    Attributes:
        num_classes: kinds of objects, background not among them.
    """

    num_classes: int

    def losses(self, images: Any, targets: Targets) -> dict[str, Tensor]:
        """The parts of the loss by name, whose sum is to be made small. In every mode.

        Args:
            images, targets: see the text of this file.

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        raise NotImplementedError

    def predict(self, images: Any) -> Objects:
        """What is in each image, in pixels of the image as given, by falling score. No gradients.

        Args:
            images: see the text of this file.

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        raise NotImplementedError

    def forward(self, images: Any, targets: Any = None) -> Any:
        """`predict(images)`, or with targets `losses(images, targets)`."""
        return self.predict(images) if targets is None else self.losses(images, targets)


class Batch(NamedTuple):
    """Pictures of any size as one tensor.

    Attributes:
        images: (N, C, H, W), the pictures in the upper left corner, zeros beyond.
        sizes: (h, w) of each picture in it.
        original_sizes: (H, W) of each picture as it was given.
    """

    images: Tensor
    sizes: list[Size]
    original_sizes: list[Size]


class PictureTransform:
    """Normalise, resize and batch pictures, targets along with them; and the way back.

    The shorter side becomes `min_size`, unless the longer one became more than `max_size` then.
    Results are those of torchvision's GeneralizedRCNNTransform.

    Args:
        min_size, max_size: pixels.
        image_mean, image_std: of each channel; taken from the pixels, and divided by.
        size_divisible: height and width of a batch are multiples of it, so that maps of half the
            size, and half of that, cover it exactly.
        fixed_size: (H, W) of all pictures, whatever their shape, in place of min_size and max_size.
    """

    def __init__(
        self,
        min_size: int = 800,
        max_size: int = 1333,
        image_mean: Sequence[float] = IMAGE_MEAN,
        image_std: Sequence[float] = IMAGE_STD,
        size_divisible: int = 32,
        fixed_size: Size | None = None,
    ) -> None:
        self.min_size, self.max_size = min_size, max_size
        self.image_mean, self.image_std = tuple(image_mean), tuple(image_std)
        self.size_divisible, self.fixed_size = size_divisible, fixed_size

    def __call__(self, images: Any, targets: Targets = ()) -> tuple[Batch, Objects]:
        """The batch, and the targets as they are in it (copies).

        Args:
            images: list of (C, H, W), or (N, C, H, W).
            targets: for each image a dictionary; "boxes", "masks" and "keypoints" are resized.

        Raises:
            ValueError: images have not as many channels as image_mean.
        """
        pictures = [self._resized(self._normalised(image)) for image in images]
        sizes, original = [_size(x) for x in pictures], [_size(image) for image in images]
        step, (height, width) = self.size_divisible, np.max(sizes, axis=0).tolist()
        height, width = math.ceil(height / step) * step, math.ceil(width / step) * step
        padded = [F.pad(x, (0, width - x.shape[2], 0, height - x.shape[1])) for x in pictures]
        moved = self.restore(targets, original, sizes) if targets else []
        return Batch(stack(padded), sizes, original), moved

    def restore(self, found: Targets, sizes: Sizes, original_sizes: Sizes) -> Objects:
        """Predictions, made in pixels of the batch, in pixels of the pictures as given.

        Args:
            found: for each picture a dictionary, of which "boxes", "keypoints" and "masks"
                (R, h, w), if they are there, are resized.
            sizes, original_sizes: of the `Batch`.
        """
        return [
            {name: _to_size(name, value, old, new) for name, value in objects.items()}
            for objects, old, new in zip(found, sizes, original_sizes, strict=True)
        ]

    def _normalised(self, image: Tensor) -> Tensor:
        if len(self.image_mean) != image.shape[0]:
            raise ValueError(
                f"PictureTransform: images have {image.shape[0]} channels, image_mean "
                f"{len(self.image_mean)}; give image_mean and image_std of that length"
            )
        mean, std = [
            tensor(values, dtype=image.dtype, device=image.device).reshape(-1, 1, 1)
            for values in (self.image_mean, self.image_std)
        ]
        return (image - mean) / std

    def _resized(self, image: Tensor) -> Tensor:
        size = self.fixed_size or self._size_of(*_size(image))
        if size == _size(image):
            return image
        return F.interpolate(image.unsqueeze(0), size, mode="bilinear").squeeze(0)

    def _size_of(self, height: int, width: int) -> Size:
        scale = min(self.min_size / min(height, width), self.max_size / max(height, width))
        # A thin picture may be scaled down by much, but something of it stays.
        return max(math.floor(height * scale), 1), max(math.floor(width * scale), 1)

    def __repr__(self) -> str:
        return (
            f"PictureTransform(min_size={self.min_size}, max_size={self.max_size}, "
            f"image_mean={self.image_mean}, image_std={self.image_std}, "
            f"size_divisible={self.size_divisible}, fixed_size={self.fixed_size})"
        )


def _size(image: Tensor) -> Size:
    return image.shape[-2], image.shape[-1]


def _to_size(name: str, value: Tensor, old: Size, new: Size) -> Tensor:
    """An entry of a target, with the picture resized from `old` to `new` (H, W)."""
    if old == new or name not in ("boxes", "keypoints", "masks"):
        return value
    if name == "masks":
        return F.interpolate(value.unsqueeze(1), new).squeeze(1)  # the nearest pixel
    # In float32, as torchvision computes it.
    y, x = [float(np.float32(n) / np.float32(o)) for n, o in zip(new, old, strict=True)]
    moved = value.data.copy()
    xs, ys = (slice(0, 4, 2), slice(1, 4, 2)) if name == "boxes" else (0, 1)
    moved[..., xs] *= x
    moved[..., ys] *= y
    return Tensor(moved)


# -- checks ---------------------------------------------------------------------------------------


def check_pictures(
    op: str,
    images: Any,
    targets: Any = None,
    num_classes: int | None = None,
    needs: Sequence[str] = (),
) -> list[Tensor]:
    """The images as a list, after a look at them and at their targets.

    What is wrong with an annotation is found here, where it has a name, and not as a NaN an hour
    later. Values are looked at on the CPU only: on a GPU one would wait for the answer.

    Args:
        op: who asks, for the message.
        images: list of Tensors (C, H, W), or a Tensor (N, C, H, W).
        targets: for each image a dictionary with "boxes" and "labels"; or None.
        num_classes: labels must be below; None: they may be anything from 0.
        needs: what targets must have besides: "masks", "keypoints".

    Raises:
        TypeError: images or targets are no Tensors, or not of the right kind of number.
        ValueError: no images, ranks or lengths that do not fit, boxes without area or with a NaN,
            labels outside of the classes.
    """
    if isinstance(images, Tensor):
        if images.ndim != 4:
            raise ValueError(f"{op}: images must be (N, C, H, W) or a list, got {images.shape}")
        pictures = list(images)
    else:
        pictures = list(images)
    if not pictures:
        raise ValueError(f"{op}: no images; a batch has at least one")
    for i, image in enumerate(pictures):
        if not isinstance(image, Tensor) or not image.is_floating_point():
            what = image.dtype if isinstance(image, Tensor) else type(image).__name__
            raise TypeError(f"{op}: image {i} must be a Tensor of floats in [0, 1], got {what}")
        if image.ndim != 3 or 0 in image.shape or image.shape[0] != pictures[0].shape[0]:
            raise ValueError(
                f"{op}: image {i} must be (C, H, W), with pixels and as many channels as the "
                f"others, got {image.shape}"
            )
    if targets is not None:
        if len(targets) != len(pictures):
            raise ValueError(
                f"{op}: {len(pictures)} images but {len(targets)} targets; each image has one, "
                "which may be empty: boxes (0, 4), labels (0,)"
            )
        for i, target in enumerate(targets):
            _check_target(f"{op}: image {i}", target, pictures[i], num_classes, needs)
    return pictures


def _check_target(
    op: str, target: Any, image: Tensor, num_classes: int | None, needs: Sequence[str]
) -> None:
    for name in ("boxes", "labels", *needs):
        if not isinstance(target, Mapping) or not isinstance(target.get(name), Tensor):
            raise TypeError(f"{op}: its target must be a dictionary with {name!r}, a Tensor")
    boxes, labels = target["boxes"], target["labels"]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{op}: boxes must be (R, 4), got {boxes.shape}")
    if not boxes.is_floating_point() or labels.dtype.kind not in "iu":
        raise TypeError(
            f"{op}: boxes must be floats and labels integers, got {boxes.dtype} and {labels.dtype}"
        )
    count = len(boxes)
    if labels.shape != (count,):
        raise ValueError(f"{op}: {count} boxes need labels ({count},), got {labels.shape}")
    for name, shape in (("masks", (count, *image.shape[1:])), ("keypoints", (count, -1, 3))):
        if name not in needs:
            continue
        found = target[name].shape
        if len(found) != 3 or any(m not in (-1, n) for m, n in zip(shape, found, strict=True)):
            wanted = str(shape).replace("-1", "K")
            raise ValueError(f"{op}: {name} must be {wanted}, got {found}")
    of(boxes.data).check_boxes(op, "boxes", boxes.data)
    highest = math.inf if num_classes is None else num_classes - 1
    of(labels.data).check_range(f"{op}: labels", labels.data, 0, highest)
