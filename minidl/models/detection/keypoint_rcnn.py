"""Keypoint R-CNN: He, Gkioxari, Dollár, Girshick, "Mask R-CNN", 2017, section 5: of each object
where its points are: nose, left eye ... right ankle.

A third head stands beside the two of Faster R-CNN, as in Mask R-CNN:

    proposal --RoIAlign--> 14x14 --eight 3x3, ReLU--> --4x4, stride 2--> 28x28
                                 --bilinear--> a map of 56x56 logits for each point

A point is at one place. So its map is a choice among 3,136 places: softmax over positions, cross-
entropy against the place where the point is (and not, as with masks, 3,136 answers of yes or no).

    losses    a point at x lies in column floor((x - x1) 56 / (x2 - x1)) of its box; points that are
              not labelled, or outside of the box, do not count
    predict   the map is resized to the pixels of the box by bicubic interpolation; the largest
              value's pixel, its middle, is the point
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import nn
from ...autograd import Tensor
from ...backend import Array, of
from ...nn import functional as F
from .detector import Objects, PictureTransform, Sizes, Targets
from .faster_rcnn import (
    FasterRCNN,
    fpn_box_parts,
    fpn_rpn,
    small_backbone,
    small_box_parts,
    small_roi_align,
    small_rpn,
)
from .fpn import resnet_fpn_backbone
from .roi_heads import Features, RoIHeads, Samples

__all__ = [
    "KeypointHead",
    "KeypointPredictor",
    "KeypointRCNN",
    "KeypointRoIHeads",
    "heatmaps_to_keypoints",
    "keypointrcnn_resnet50_fpn",
    "keypointrcnn_small",
    "keypoints_to_places",
]


class KeypointHead(nn.Sequential):
    """3x3 convolutions with ReLU on what was cut out.

    Args:
        in_channels: of the maps.
        layers: channels of each convolution.
    """

    def __init__(self, in_channels: int, layers: Sequence[int] = (512,) * 8) -> None:
        super().__init__()
        for channels in layers:
            conv = nn.Conv2d(in_channels, channels, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)
            self.append(conv)
            self.append(nn.ReLU())
            in_channels = channels


class KeypointPredictor(nn.Module):
    """A map for each point, four times as large as what comes in.

    Args:
        in_channels: of the maps.
        num_keypoints: points of an object.
    """

    def __init__(self, in_channels: int, num_keypoints: int) -> None:
        super().__init__()
        self.kps_score_lowres = nn.ConvTranspose2d(in_channels, num_keypoints, 4, 2, padding=1)
        nn.init.kaiming_normal_(self.kps_score_lowres.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.kps_score_lowres.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(R, in_channels, m, m) to logits (R, K, 4m, 4m)."""
        x = self.kps_score_lowres(x)
        return F.interpolate(x, scale_factor=2, mode="bilinear")


class KeypointRoIHeads(RoIHeads):
    """`RoIHeads` with keypoints.

    Args:
        args, options: of `RoIHeads`.
        keypoint_parts: what cuts boxes out of maps, as `nn.MultiScaleRoIAlign`, a `KeypointHead`, a
            `KeypointPredictor`.
    """

    def __init__(self, *args: Any, keypoint_parts: Sequence[nn.Module], **options: Any) -> None:
        super().__init__(*args, **options)
        self.keypoint_roi_pool, self.keypoint_head, self.keypoint_predictor = keypoint_parts

    def heatmaps(self, features: Features, boxes: Sequence[Array], sizes: Sizes) -> Tensor:
        """(R, K, m, m): logits of each point over the boxes of all images."""
        cut = self.keypoint_roi_pool(features, boxes, sizes)
        return self.keypoint_predictor(self.keypoint_head(cut))

    def losses(
        self, features: Features, samples: Sequence[Samples], targets: Targets, sizes: Sizes
    ) -> dict[str, Tensor]:
        """As `RoIHeads`; and "loss_keypoint", the mean over the points that count."""
        losses = super().losses(features, samples, targets, sizes)
        maps = self.heatmaps(features, [sample.positive for sample in samples], sizes)
        xp, size = of(maps.data).xp, maps.shape[-1]
        places = []
        for sample, target in zip(samples, targets, strict=True):
            points = target["keypoints"].data[sample.matches]
            places.append(keypoints_to_places(points, sample.positive, size))
        wanted = xp.concatenate(places).reshape(-1)
        count = xp.maximum((wanted >= 0).sum(), 1).astype(maps.dtype)
        logits = maps.reshape(-1, size * size)
        loss = F.cross_entropy(logits, Tensor(wanted), ignore_index=-1, reduction="sum")
        return {**losses, "loss_keypoint": loss / Tensor(count)}

    def detect(self, features: Features, proposals: Sequence[Array], sizes: Sizes) -> Objects:
        """As `RoIHeads`; and "keypoints" (R, K, 3) x, y, 1, "keypoints_scores" (R, K)."""
        result = super().detect(features, proposals, sizes)
        boxes = [found["boxes"].data for found in result]
        maps = self.heatmaps(features, boxes, sizes).split([len(found) for found in boxes])
        for found, own, where in zip(result, maps, boxes, strict=True):
            points, scores = heatmaps_to_keypoints(own, where)
            found |= {"keypoints": points, "keypoints_scores": scores}
        return result


class KeypointRCNN(FasterRCNN):
    """A `FasterRCNN` with `KeypointRoIHeads`: targets need "keypoints", predictions have them."""

    needs = ("keypoints",)


def keypoints_to_places(keypoints: Array, boxes: Array, size: int) -> Array:
    """The cells of a grid over boxes in which points lie.

    Args:
        keypoints: (R, K, 3) x, y, visible, pixels.
        boxes: (R, 4) x1, y1, x2, y2, pixels.
        size: cells of the grid along each side.

    Returns:
        (R, K) int64, row * size + column; -1 where the point is not labelled (visible is 0) or
        outside of the box.
    """
    xp = of(boxes).xp
    counts, cells = keypoints[:, :, 2] > 0, []
    for axis in (0, 1):
        start, end = boxes[:, axis, None], boxes[:, 2 + axis, None]
        x = keypoints[:, :, axis]
        cell = xp.floor((x - start) * (size / (end - start)))
        cell = xp.where(x == end, size - 1, cell)  # on the right or lower edge: still in the box
        counts &= (cell >= 0) & (cell < size)
        cells.append(cell)
    return xp.where(counts, cells[1] * size + cells[0], -1).astype(np.int64)


def heatmaps_to_keypoints(maps: Tensor, boxes: Array) -> tuple[Tensor, Tensor]:
    """The most likely place of each point.

    Maps are resized one by one, since boxes differ; for their sizes a GPU is waited for.

    Args:
        maps: (R, K, m, m), logits on a grid over boxes.
        boxes: (R, 4) x1, y1, x2, y2, pixels.

    Returns:
        (R, K, 3) x, y, 1, pixels, and (R, K), the logits there.
    """
    backend, (objects, count) = of(boxes), maps.shape[:2]
    sides = backend.xp.maximum(boxes[:, 2:] - boxes[:, :2], 1)
    pixels = backend.xp.ceil(sides)
    points = backend.xp.ones((objects, count, 3), boxes.dtype)
    scores = backend.xp.empty((objects, count), boxes.dtype)
    for k, (width, height) in enumerate(backend.to_host(pixels).astype(int).tolist()):
        map = F.interpolate(maps[k].unsqueeze(1), (height, width), mode="bicubic")
        values, index = [best.data for best in map.reshape(count, -1).max(1)]
        scores[k] = values
        for axis, cell in ((0, index % width), (1, index // width)):
            step = sides[k, axis] / pixels[k, axis]
            points[k, :, axis] = boxes[k, axis] + (cell + 0.5).astype(boxes.dtype) * step
    return Tensor(points), Tensor(scores)


def keypointrcnn_resnet50_fpn(
    num_classes: int = 1,
    num_keypoints: int = 17,
    *,
    backbone_name: str = "resnet50",
    min_size: int = 800,
    max_size: int = 1333,
    trainable_backbone_layers: int | None = None,
    **options: Any,
) -> KeypointRCNN:
    """Keypoint R-CNN on a pyramid of ResNet-50: He et al. 2017, section 5; 59,137,258 parameters.

    So with batch norm that is frozen, see `fasterrcnn_resnet50_fpn`.
    AP on COCO 54.6 of boxes of persons, 65.0 of keypoints (torchvision's weights).

    Args:
        num_classes: kinds of objects without background: persons.
        num_keypoints: points of an object.
        backbone_name, min_size, max_size, trainable_backbone_layers, options: as there.
    """
    backbone = resnet_fpn_backbone(backbone_name, trainable_backbone_layers, **options)
    channels = backbone.out_channels
    roi_heads = KeypointRoIHeads(
        *fpn_box_parts(channels, num_classes),
        keypoint_parts=(
            nn.MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2),
            KeypointHead(channels),
            KeypointPredictor(512, num_keypoints),
        ),
    )
    transform = PictureTransform(min_size, max_size)
    return KeypointRCNN(backbone, fpn_rpn(channels), roi_heads, transform, num_classes)


def keypointrcnn_small(
    num_classes: int = 13, num_keypoints: int = 5, *, min_size: int = 128, max_size: int = 256
) -> KeypointRCNN:
    """A Keypoint R-CNN for pictures of 64 to 256 pixels that two cores train in minutes.

    Args:
        num_classes, min_size, max_size: as in `fasterrcnn_small`.
        num_keypoints: points of an object.
    """
    roi_heads = KeypointRoIHeads(
        *small_box_parts(num_classes),
        batch_size_per_image=64,
        keypoint_parts=(
            small_roi_align(14),
            KeypointHead(64, (64, 64)),
            KeypointPredictor(64, num_keypoints),
        ),
    )
    transform = PictureTransform(min_size, max_size)
    return KeypointRCNN(small_backbone(), small_rpn(), roi_heads, transform, num_classes)
