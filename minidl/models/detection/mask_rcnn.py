"""Mask R-CNN: He, Gkioxari, Dollár, Girshick, "Mask R-CNN", 2017: Faster R-CNN, and of each object
which pixels are its own.

A third head stands beside the two of Faster R-CNN (figure 4, right):

    proposal --RoIAlign--> 14x14 --four 3x3, ReLU--> --2x2, stride 2, ReLU--> 28x28
                                 --1x1--> a mask of 28x28 logits for each class

- training: the true mask is cut out of the picture by the same box, at 28x28; the loss is binary
  cross-entropy over the mask of the true class alone (section 3). So classes do not compete for
  pixels: what the object is has been said already.
- prediction: the boxes found, not the proposals, go through this head, since they fit better; the
  mask of the class found is enlarged to its box and put into the picture: `paste_masks`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import nn
from ...autograd import Tensor
from ...backend import Array, of
from ...nn import functional as F
from .detector import Batch, Objects, PictureTransform, Size, Sizes, Targets
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
    "MaskHead",
    "MaskPredictor",
    "MaskRCNN",
    "MaskRoIHeads",
    "maskrcnn_resnet50_fpn",
    "maskrcnn_small",
    "paste_masks",
]


class MaskHead(nn.Sequential):
    """3x3 convolutions with ReLU on what was cut out.

    Args:
        in_channels: of the maps.
        layers: channels of each convolution.
    """

    def __init__(self, in_channels: int, layers: Sequence[int] = (256, 256, 256, 256)) -> None:
        super().__init__()
        for channels in layers:
            conv = nn.Conv2d(in_channels, channels, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(conv.bias)
            self.append(nn.Sequential(conv, nn.ReLU()))
            in_channels = channels


class MaskPredictor(nn.Module):
    """Twice the size, and a mask for each class.

    Args:
        in_channels: of the maps.
        dim_reduced: channels in between.
        num_classes: without background, which here has a mask, too, the first, never used: so are
            torchvision's weights.
    """

    def __init__(self, in_channels: int, dim_reduced: int, num_classes: int) -> None:
        super().__init__()
        self.conv5_mask = nn.ConvTranspose2d(in_channels, dim_reduced, 2, 2)
        self.mask_fcn_logits = nn.Conv2d(dim_reduced, num_classes + 1, 1)
        for layer in (self.conv5_mask, self.mask_fcn_logits):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(K, in_channels, m, m) to logits (K, C + 1, 2m, 2m)."""
        return self.mask_fcn_logits(F.relu(self.conv5_mask(x)))


class MaskRoIHeads(RoIHeads):
    """`RoIHeads` with masks.

    Args:
        args, options: of `RoIHeads`.
        mask_parts: what cuts boxes out of maps, as `nn.MultiScaleRoIAlign`, a `MaskHead`, a
            `MaskPredictor`.
    """

    def __init__(self, *args: Any, mask_parts: Sequence[nn.Module], **options: Any) -> None:
        super().__init__(*args, **options)
        self.mask_roi_pool, self.mask_head, self.mask_predictor = mask_parts

    def mask_logits(
        self, features: Features, boxes: Sequence[Array], labels: Sequence[Array], sizes: Sizes
    ) -> Tensor:
        """(K, 2m, 2m): of the boxes of all images the masks of their classes, counted from 1."""
        logits = self.mask_predictor(self.mask_head(self.mask_roi_pool(features, boxes, sizes)))
        xp = of(logits.data).xp
        return logits[Tensor(xp.arange(len(logits))), Tensor(xp.concatenate(labels))]

    def losses(
        self, features: Features, samples: Sequence[Samples], targets: Targets, sizes: Sizes
    ) -> dict[str, Tensor]:
        """As `RoIHeads`; and "loss_mask", the mean over the pixels of all positive samples."""
        losses = super().losses(features, samples, targets, sizes)
        boxes = [sample.positive for sample in samples]
        labels = [sample.labels[: len(sample.matches)] for sample in samples]
        logits = self.mask_logits(features, boxes, labels, sizes)
        xp, kind, wanted = of(logits.data).xp, logits.dtype, []
        for sample, target in zip(samples, targets, strict=True):
            masks = Tensor(target["masks"].data[:, None].astype(kind))
            # The images of this batch are masks: row k is (which of them, the box of sample k).
            which = sample.matches[:, None].astype(kind)
            rois = xp.concatenate([which, sample.positive.astype(kind)], axis=1)
            wanted.append(F.roi_align(masks, rois, logits.shape[1:]).data[:, 0])
        answers = Tensor(xp.concatenate(wanted))
        loss = F.binary_cross_entropy_with_logits(logits, answers, reduction="sum")
        return {**losses, "loss_mask": loss / max(answers.numel(), 1)}

    def detect(self, features: Features, proposals: Sequence[Array], sizes: Sizes) -> Objects:
        """As `RoIHeads`; and "roi_masks" (R, 2m, 2m), probabilities on a grid over the box."""
        result = super().detect(features, proposals, sizes)
        boxes = [found["boxes"].data for found in result]
        labels = [found["labels"].data + 1 for found in result]
        logits = self.mask_logits(features, boxes, labels, sizes)
        parts = F.sigmoid(logits).split([len(own) for own in boxes])
        return [{**found, "roi_masks": part} for found, part in zip(result, parts, strict=True)]


class MaskRCNN(FasterRCNN):
    """A `FasterRCNN` with `MaskRoIHeads`: targets need "masks", predictions have them.

    Attributes:
        mask_thresh: masks found are bool (R, H, W), where the probability is at least this; None:
            they are the probabilities, float32.
    """

    needs = ("masks",)
    mask_thresh: float | None = 0.5

    def finish(self, found: Objects, batch: Batch) -> Objects:
        """Masks on the grids of their boxes to masks of the pictures."""
        for own, size in zip(found, batch.original_sizes, strict=True):
            grids, boxes = own.pop("roi_masks").data, own["boxes"].data
            own["masks"] = Tensor(paste_masks(grids, boxes, size, self.mask_thresh))
        return found


def paste_masks(masks: Array, boxes: Array, size: Size, threshold: float | None = 0.5) -> Array:
    """Masks on grids over boxes, enlarged to their boxes in the picture.

    Bilinear interpolation is two matrices: rows of the picture by rows of the grid, and the same
    for columns; what RoIAlign does, the other way round. As torchvision does it: a border of one
    cell of zeros around the grid, the box enlarged as much and cut to whole pixels.

    Args:
        masks: (R, m, m), probabilities.
        boxes: (R, 4) x1, y1, x2, y2, pixels.
        size: (H, W) of the picture.
        threshold: from which on a pixel belongs to the mask; None: probabilities are wanted.

    Returns:
        (R, H, W), bool; or without threshold of the masks' dtype. Zero beyond the box.
    """
    xp, cells = of(masks).xp, masks.shape[1] + 2
    middle = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * (cells / (cells - 2))
    first, last = xp.trunc(middle - half), xp.trunc(middle + half)
    weights = []
    for axis, length in ((1, size[0]), (0, size[1])):
        start, end = first[:, axis, None], last[:, axis, None]
        pixels = xp.arange(length).astype(masks.dtype)
        place = (pixels - start + 0.5) * (cells / xp.maximum(end - start + 1, 1)) - 0.5
        place = xp.clip(place, 0, cells - 1)[:, :, None]
        # Cell j counts as much as the place is nearer to it than to the next one.
        near = xp.maximum(1 - xp.abs(place - xp.arange(1, cells - 1)), 0)
        inside = (pixels >= start) & (pixels <= end)
        weights.append((near * inside[:, :, None]).astype(masks.dtype))
    rows, columns = weights
    result = xp.empty((len(masks), *size), masks.dtype if threshold is None else np.bool_)
    for k in range(0, len(masks), 16):  # a hundred masks of a large picture are half a gigabyte
        some = slice(k, k + 16)
        pasted = rows[some] @ masks[some] @ columns[some].transpose(0, 2, 1)
        result[some] = pasted if threshold is None else pasted >= threshold
    return result


def maskrcnn_resnet50_fpn(
    num_classes: int = 90,
    *,
    backbone_name: str = "resnet50",
    min_size: int = 800,
    max_size: int = 1333,
    trainable_backbone_layers: int | None = None,
    **options: Any,
) -> MaskRCNN:
    """Mask R-CNN on a pyramid of ResNet-50: He et al. 2017; 44,401,393 parameters.

    So with batch norm that is frozen, see `fasterrcnn_resnet50_fpn`.
    AP on COCO 37.9 of boxes, 34.6 of masks (torchvision's weights). Arguments as there.
    """
    backbone = resnet_fpn_backbone(backbone_name, trainable_backbone_layers, **options)
    channels = backbone.out_channels
    roi_heads = MaskRoIHeads(
        *fpn_box_parts(channels, num_classes),
        mask_parts=(
            nn.MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2),
            MaskHead(channels),
            MaskPredictor(256, 256, num_classes),
        ),
    )
    transform = PictureTransform(min_size, max_size)
    return MaskRCNN(backbone, fpn_rpn(channels), roi_heads, transform, num_classes)


def maskrcnn_small(num_classes: int = 13, *, min_size: int = 128, max_size: int = 256) -> MaskRCNN:
    """A Mask R-CNN for pictures of 64 to 256 pixels; arguments as `fasterrcnn_small`."""
    roi_heads = MaskRoIHeads(
        *small_box_parts(num_classes),
        batch_size_per_image=64,
        mask_parts=(
            small_roi_align(14),
            MaskHead(64, (64, 64)),
            MaskPredictor(64, 64, num_classes),
        ),
    )
    transform = PictureTransform(min_size, max_size)
    return MaskRCNN(small_backbone(), small_rpn(), roi_heads, transform, num_classes)
