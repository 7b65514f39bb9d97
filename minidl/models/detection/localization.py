"""Localisation: what is in the picture, and where, when there is one object. The step between
classification and detection: a classifier with a second head.

    picture -> backbone -> features -> linear -> class scores     cross-entropy    weight 0.8
                                    -> linear -> x, y, rw, rh     squared error    weight 0.2

x and y are the centre of the box, rw and rh the square roots of its width and height, all in shares
of the picture: so all are from 0 to 1 whatever its size, and by the roots a pixel too much matters
more on a small box than on a large one (as in YOLO, Redmon et al. 2016). One network learns both,
so their losses are added up, by weights that say what one cares more about: four parts class, one
part box. For such weights to mean something the losses must be of like size: so the errors of a box
are counted in tenths of the picture (in whole pictures their squares would be hundredths, and the
boxes hardly learned). A box regressor beside a classifier is from Sermanet et al. 2013, "OverFeat",
section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import nn
from ...autograd import Tensor, no_grad, tensor
from ...autograd.tensor import wrap
from ...backend import Array, of
from ...boxes import box_area, box_convert, clip_boxes_to_image
from ...nn import functional as F
from ..blocks import ConvNormAct
from ..classification.resnet import resnet18
from .detector import IMAGE_MEAN, IMAGE_STD, Detector, PictureTransform, check_pictures

__all__ = [
    "Localizer",
    "decode",
    "encode",
    "features_of",
    "localization_resnet18",
    "localization_small",
]

TENTHS = 10.0  # to a picture


def encode(boxes: Array, size: tuple[int, int]) -> Array:
    """Boxes as the network is to give them: the centre and the roots of the size, from 0 to 1.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels.
        size: (H, W) of the picture, pixels.

    Returns:
        (R, 4) x, y, sqrt w, sqrt h, in shares of the picture.
    """
    xp, (height, width) = of(boxes).xp, size
    x, y, w, h = box_convert(boxes, "xyxy", "cxcywh").T
    w, h = xp.sqrt(w / float(width)), xp.sqrt(h / float(height))
    return xp.stack([x / float(width), y / float(height), w, h], axis=1)


def decode(codes: Array, size: tuple[int, int]) -> Array:
    """What `encode` was made of, cut off at the edges of the picture; a root below 0 counts as 0.

    Args:
        codes: (R, 4) x, y, sqrt w, sqrt h, in shares of the picture.
        size: (H, W) of the picture, pixels.

    Returns:
        (R, 4) x1, y1, x2, y2, pixels.
    """
    xp, (height, width) = of(codes).xp, size
    x, y, w, h = codes.T
    half_w, half_h = 0.5 * xp.maximum(w, 0.0) ** 2, 0.5 * xp.maximum(h, 0.0) ** 2
    left, right = [(x + sign * half_w) * float(width) for sign in (-1, 1)]
    top, bottom = [(y + sign * half_h) * float(height) for sign in (-1, 1)]
    return clip_boxes_to_image(xp.stack([left, top, right, bottom], axis=1), size)


def features_of(classifier: nn.Module) -> tuple[nn.Module, int]:
    """A classifier without its last linear layer, which is changed to `nn.Identity`.

    Args:
        classifier: any network whose scores come from a linear layer: `resnet50`, `vgg16`,
            `mobilenet_v2`, `densenet121`, `vit_b_16`... It is changed in place.

    Returns:
        the network, from pictures to (N, D), and D.

    Raises:
        TypeError: it has no linear layer, or others after it.
    """
    layers = [(name, m) for name, m in classifier.named_modules() if not list(m.children())]
    path, last = layers[-1]
    if not isinstance(last, nn.Linear):
        raise TypeError(
            f"features_of: the last layer of {type(classifier).__name__} is "
            f"{type(last).__name__}, not Linear; give Localizer a backbone that ends in (N, D)"
        )
    parent, _, child = path.rpartition(".")
    setattr(classifier.get_submodule(parent), child, nn.Identity())
    return classifier, last.in_features


class Localizer(Detector):
    """A backbone with two heads: what it is, and where.

    It always gives one prediction a picture. Of a picture with several objects the one of largest
    area is learned; from a picture without objects nothing is.

    Args:
        backbone: a network from (N, C, H, W) to features (N, D), see `features_of`.
        features: D.
        num_classes: kinds of objects.
        image_size: (H, W) that pictures are resized to.
        image_mean, image_std: of each channel; taken from the pixels, and divided by.
        class_weight, box_weight: of the two losses.
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        num_classes: int,
        image_size: tuple[int, int] = (224, 224),
        *,
        image_mean: Sequence[float] = IMAGE_MEAN,
        image_std: Sequence[float] = IMAGE_STD,
        class_weight: float = 0.8,
        box_weight: float = 0.2,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.image_size = image_size
        self.class_weight = class_weight
        self.box_weight = box_weight
        self.transform = PictureTransform(
            image_mean=image_mean, image_std=image_std, size_divisible=1, fixed_size=image_size
        )
        self.backbone = backbone
        self.classifier = nn.Linear(features, num_classes)
        self.regressor = nn.Linear(features, 4)
        # The first guess: a box of half the width and height in the middle of the picture.
        nn.init.normal_(self.regressor.weight, 0.0, 0.01)
        with no_grad():
            self.regressor.bias.copy_(np.array([0.5, 0.5, 0.5**0.5, 0.5**0.5]))

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores (N, num_classes) and x, y, sqrt w, sqrt h (N, 4) of a batch."""
        features = self.backbone(x)
        return self.classifier(features), self.regressor(features)

    def losses(self, images: Any, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Cross-entropy, and the mean squared error of the four numbers in tenths of the picture.

        Returns:
            "loss_class" and "loss_box", means over the pictures that have an object, times their
            weights.
        """
        check_pictures("Localizer", images, targets, num_classes=self.num_classes)
        batch, targets = self.transform(images, targets)
        scores, codes = self.outputs(batch.images)
        chosen = [_largest(target) for target in targets]
        xp = of(scores.data).xp
        labels = xp.concatenate([label for _, label in chosen]).astype(np.int64)
        wanted = encode(xp.concatenate([box for box, _ in chosen]), self.image_size)
        shown = [len(target["boxes"]) > 0 for target in targets]
        share = 1.0 / max(sum(shown), 1)  # of each picture with an object
        weight = tensor([share * s for s in shown], dtype=scores.dtype, device=scores.device)
        by_class = F.cross_entropy(scores, wrap(labels), reduction="none")
        by_box = ((TENTHS * (codes - wrap(wanted.astype(codes.dtype)))) ** 2).mean(1)
        return {
            "loss_class": (by_class * weight).sum() * self.class_weight,
            "loss_box": (by_box * weight).sum() * self.box_weight,
        }

    def predict(self, images: Any) -> list[dict[str, Tensor]]:
        """The most probable class of each picture, its probability, and the box."""
        check_pictures("Localizer", images)
        with no_grad():
            batch, _ = self.transform(images)
            scores, codes = self.outputs(batch.images)
            sure, labels = F.softmax(scores, 1).max(1)
            boxes = decode(codes.data, self.image_size)
            found = [
                {
                    "boxes": wrap(boxes[i : i + 1]),
                    "labels": labels[i : i + 1],
                    "scores": sure[i : i + 1],
                }
                for i in range(len(boxes))
            ]
            return self.transform.restore(found, batch.sizes, batch.original_sizes)


def _largest(target: Mapping[str, Tensor]) -> tuple[Array, Array]:
    """The box (1, 4) and label (1,) of the largest object; of none, anything."""
    boxes, labels = target["boxes"].data, target["labels"].data
    xp = of(boxes).xp
    if len(boxes) == 0:
        return xp.ones((1, 4), boxes.dtype), xp.zeros(1, np.int64)
    best = box_area(boxes).argmax().reshape(1)
    return boxes[best], labels[best]


def localization_resnet18(
    num_classes: int = 20, *, in_channels: int = 3, image_size: tuple[int, int] = (224, 224)
) -> Localizer:
    """Localisation with ResNet-18 as the backbone; 11,188,824 parameters.

    Args:
        num_classes: kinds of objects.
        in_channels: channels of the pictures; other than three are not normalised.
        image_size: (H, W) that pictures are resized to.

    Returns:
        a `Detector` that finds one object in a picture of any size.
    """
    backbone, features = features_of(resnet18(in_channels=in_channels))
    return Localizer(backbone, features, num_classes, image_size, **_scaling(in_channels))


def localization_small(num_classes: int = 13, *, in_channels: int = 3) -> Localizer:
    """Localisation for pictures of 64x64: four convolutions and a linear layer.

    What is where is still known behind its convolutions, as maps of 4x4 become features without
    taking their mean. 194,081 parameters for 13 classes. Made for `minidl.data.Scenes`. Arguments
    and result as `localization_resnet18`.
    """
    backbone = nn.Sequential()
    channels = in_channels
    for width in (16, 32, 64, 64):
        backbone.extend([ConvNormAct(channels, width), nn.MaxPool2d(2)])
        channels = width
    backbone.extend([nn.Flatten(), nn.Linear(channels * 4 * 4, 128), nn.ReLU()])
    return Localizer(backbone, 128, num_classes, (64, 64), **_scaling(in_channels))


def _scaling(in_channels: int) -> dict[str, Any]:
    """ImageNet's mean and deviation for three channels, pixels as they are for others."""
    if in_channels == 3:
        return {"image_mean": IMAGE_MEAN, "image_std": IMAGE_STD}
    return {"image_mean": (0.0,) * in_channels, "image_std": (1.0,) * in_channels}
