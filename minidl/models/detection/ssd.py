"""SSD: Liu et al., "SSD: Single shot multibox detector", 2016.

One pass over the picture, no proposals: maps of several sizes, and on each of them, for each of the
"default boxes" around each of its positions, a class and a correction of the box.

    SSD300, figure 2         map       boxes at a position    boxes
    conv4_3, its pixels      38x38     4                      5,776
      scaled to length 20
    fc7, of VGG-16           19x19     6                      2,166
      made convolutional
    conv8_2                  10x10     6                        600
    conv9_2                   5x5      6                        150
    conv10_2                  3x3      4                         36
    conv11_2                  1x1      4                          4
                                                              8,732

In training each object is matched with the default box that overlaps it most, and with all that
overlap it by half; all others are background. Of those there are thousands; only three for each
matched box count, the ones that the network is most wrong about ("hard negative mining", section
2.2). With N matched boxes the loss is

    (cross entropy of those and of the hard negatives + smooth L1 of the corrections) / N

The network, its parameters' names and its results are those of torchvision's ssd300_vgg16; it
differs from the paper in the scales of the boxes, which are the ones of the paper for COCO
(section 3.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import nn
from ...autograd import Tensor, no_grad
from ...backend import Array, of
from ...boxes import BoxCoder, DefaultBoxGenerator, SSDMatcher, ssd300_boxes
from ...nn import functional as F
from ...ops.creation import full
from ..blocks import ConvNormAct
from ..classification.vgg import VGG
from .dense import assign, best_of, highest, rows
from .detector import (
    IMAGE_MEAN,
    IMAGE_STD,
    Batch,
    Detector,
    PictureTransform,
    check_pictures,
)

__all__ = [
    "SSD",
    "SmallFeatures",
    "VGGFeatures",
    "hard_negatives",
    "ssd300_vgg16",
    "ssd_small",
]

# Mean of the pixels of ImageNet from 0 to 255, as VGG-16's first training had them: not scaled.
VGG_MEAN = (0.48235, 0.45882, 0.40784)
VGG_STD = (1 / 255, 1 / 255, 1 / 255)


class SSD(Detector):
    """A network that gives maps, and on each of them default boxes.

    Args:
        backbone: makes of pictures (N, C, H, W) a list of maps; its attribute `out_channels` says
            how many channels each has.
        anchor_generator: the default boxes of each map.
        size: (H, W) that all pictures are resized to.
        num_classes: kinds of objects.
        image_mean, image_std: of the pictures, see `PictureTransform`.
        score_thresh: candidates must have a higher score.
        topk_candidates: of each class so many go into non-maximum suppression.
        nms_thresh: overlap from which on the lower score loses there.
        detections_per_img: the most detections in a picture.
        iou_thresh: boxes that overlap an object so much are matched with it.
        positive_fraction: share of matched boxes among those that count: 1/4 is 3 negatives each.

    Raises:
        ValueError: backbone and anchor_generator have not the same number of maps.
    """

    def __init__(
        self,
        backbone: nn.Module,
        anchor_generator: DefaultBoxGenerator,
        size: tuple[int, int],
        num_classes: int,
        *,
        image_mean: Sequence[float] = VGG_MEAN,
        image_std: Sequence[float] = VGG_STD,
        score_thresh: float = 0.01,
        nms_thresh: float = 0.45,
        detections_per_img: int = 200,
        iou_thresh: float = 0.5,
        topk_candidates: int = 400,
        positive_fraction: float = 0.25,
    ) -> None:
        super().__init__()
        channels: list[int] = backbone.out_channels
        counts = anchor_generator.num_anchors_per_location()
        if len(channels) != len(counts):
            raise ValueError(
                f"SSD: the backbone gives {len(channels)} maps, anchor_generator is made for "
                f"{len(counts)}"
            )
        self.num_classes = num_classes
        self.backbone = backbone
        self.head = SSDHead(channels, counts, num_classes + 1)
        self.anchor_generator = anchor_generator
        self.transform = PictureTransform(
            image_mean=image_mean, image_std=image_std, size_divisible=1, fixed_size=size
        )
        self.box_coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
        self.matcher = SSDMatcher(iou_thresh)
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img
        self.topk_candidates = topk_candidates
        self.negatives = (1.0 - positive_fraction) / positive_fraction

    def losses(self, images: Any, targets: Any) -> dict[str, Tensor]:
        """The loss of the classes and that of the corrections, equations 1 to 3.

        Args:
            images, targets: see detector.py.

        Returns:
            "classification" and "bbox_regression". Both are 0 for a batch without objects.

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        images = check_pictures("SSD.losses", images, targets, self.num_classes)
        batch, targets = self.transform(images, targets)
        logits, codes, boxes = self.answers(batch)
        wanted = assign(boxes, targets, self.matcher, self.box_coder)

        xp = of(boxes).xp
        positive = wanted.matches >= 0  # (N, B)
        classes = xp.where(positive, wanted.labels + 1, 0)  # 0 is background
        by_class = F.cross_entropy(logits.movedim(2, 1), Tensor(classes), reduction="none")
        by_code = F.smooth_l1_loss(codes, Tensor(wanted.codes), reduction="none").sum(2)
        counted = positive | hard_negatives(by_class.data, positive, self.negatives)

        dtype = codes.dtype
        share = Tensor((1.0 / xp.maximum(positive.sum(), 1)).astype(dtype))
        return {
            "classification": (by_class * Tensor(counted.astype(dtype))).sum() * share,
            "bbox_regression": (by_code * Tensor(positive.astype(dtype))).sum() * share,
        }

    def predict(self, images: Any) -> list[dict[str, Tensor]]:
        """What is in each image: "boxes", "labels" and "scores"; see detector.py.

        A box may be found as several classes.

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        images = check_pictures("SSD.predict", images)
        with no_grad():
            batch, _ = self.transform(images)
            logits, codes, boxes = self.answers(batch)
            scores = F.softmax(logits, 2).data[:, :, 1:]
            found = [
                self._detections(score, code, boxes, size)
                for score, code, size in zip(scores, codes.data, batch.sizes, strict=True)
            ]
            return self.transform.restore(found, batch.sizes, batch.original_sizes)

    def answers(self, batch: Batch) -> tuple[Tensor, Tensor, Array]:
        """What the network says of a batch.

        Returns:
            logits (N, B, num_classes + 1), column 0 being background; codes (N, B, 4), by which the
            default boxes are corrected; and these, an array (B, 4), pixels of the batch.
        """
        maps = self.backbone(batch.images)
        logits, codes = self.head(maps)
        boxes = self.anchor_generator((batch.images.shape[2], batch.images.shape[3]), maps)
        return logits, codes, of(boxes[0]).xp.concatenate(boxes)

    def _detections(
        self, scores: Array, codes: Array, boxes: Array, size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Of one picture: scores (B, num_classes), codes (B, 4)."""
        xp = of(scores).xp
        index = highest(scores, self.topk_candidates)  # (k, num_classes) of boxes
        labels = xp.broadcast_to(xp.arange(self.num_classes), index.shape)
        candidates = xp.take_along_axis(scores, index, axis=0)
        boxes = self.box_coder.decode(codes, boxes)[index.reshape(-1)]
        return best_of(
            boxes,
            candidates.reshape(-1),
            labels.reshape(-1),
            size,
            self.score_thresh,
            self.nms_thresh,
            self.detections_per_img,
        )


def hard_negatives(loss: Array, positive: Array, ratio: float) -> Array:
    """The boxes of background that the network is most wrong about.

    Args:
        loss: (N, B) of the class of each box.
        positive: (N, B) bool: boxes that are matched with an object.
        ratio: how many there are for each of these, in each picture; fewer where there are no more
            (then torchvision counts some positive boxes twice).

    Returns:
        (N, B) bool.
    """
    xp = of(loss).xp
    loss = xp.where(positive, -np.inf, loss)
    order = xp.argsort(-loss, axis=1)  # the most wrong first
    place = xp.argsort(order, axis=1)  # of each box in that order
    return (place < ratio * positive.sum(axis=1, keepdims=True)) & ~positive


class SSDHead(nn.Module):
    """On each map a 3x3 convolution that says classes, and one that says corrections.

    Args:
        in_channels: of each map.
        num_anchors: boxes at a position, for each map.
        num_columns: classes with background.
    """

    def __init__(
        self, in_channels: Sequence[int], num_anchors: Sequence[int], num_columns: int
    ) -> None:
        super().__init__()
        self.classification_head = SSDScoringHead(in_channels, num_anchors, num_columns)
        self.regression_head = SSDScoringHead(in_channels, num_anchors, 4)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """From maps (N, C, h, w) to (N, B, num_columns) and (N, B, 4)."""
        return self.classification_head(maps), self.regression_head(maps)


class SSDScoringHead(nn.Module):
    """So many columns for each box of each map; arguments as `SSDHead`."""

    def __init__(
        self, in_channels: Sequence[int], num_anchors: Sequence[int], num_columns: int
    ) -> None:
        super().__init__()
        self.num_columns = num_columns
        self.module_list = nn.ModuleList(
            nn.Conv2d(channels, count * num_columns, 3, padding=1)
            for channels, count in zip(in_channels, num_anchors, strict=True)
        )
        init_xavier(self)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        heads = zip(self.module_list, maps, strict=True)
        return rows([conv(x) for conv, x in heads], self.num_columns)


def init_xavier(module: nn.Module) -> None:
    """Section 3: new layers start with "xavier" weights and biases 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)


# -- the maps -------------------------------------------------------------------------------------


class VGGFeatures(nn.Module):
    """Six maps of a picture of 300x300, from VGG-16 and what follows it. Figure 2.

    VGG-16's fc6 saw 7x7 positions, after a fifth halving of the map. That pooling has stride 1 here
    and fc6 3x3 weights, six positions apart: they see the same area, and the map stays large.

    Args:
        widths: channels of VGG-16's five sizes.
        fc: channels of fc6 and fc7.
        extra: for each of conv8 to conv11 the channels of its 1x1 and its 3x3 convolution, the
            stride and the padding of the latter.
        in_channels: of the pictures.

    Attributes:
        out_channels: of each map.
    """

    def __init__(
        self,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        fc: int = 1024,
        extra: Sequence[tuple[int, int, int, int]] = (
            (256, 512, 2, 1),
            (128, 256, 2, 1),
            (128, 256, 1, 0),
            (128, 256, 1, 0),
        ),
        *,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        vgg = VGG("D", 1, in_channels=in_channels, widths=widths, hidden=1, pooled=1)
        layers = list(vgg.features)
        pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        layers[pools[2]].ceil_mode = True  # 75 pixels become 38
        fully_connected = nn.Sequential(
            nn.MaxPool2d(3, 1, padding=1),
            nn.Conv2d(widths[4], fc, 3, padding=6, dilation=6),
            nn.ReLU(),
            nn.Conv2d(fc, fc, 1),
            nn.ReLU(),
        )
        blocks, channels = nn.ModuleList(), fc
        for narrow, wide, stride, padding in extra:
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(channels, narrow, 1),
                    nn.ReLU(),
                    nn.Conv2d(narrow, wide, 3, stride, padding),
                    nn.ReLU(),
                )
            )
            channels = wide
        for module in (fully_connected, blocks):
            init_xavier(module)

        # Section 3.1: conv4_3 has other lengths than the later maps; 20 is where its scale starts.
        self.scale_weight = nn.Parameter(full((widths[3],), 20.0))
        self.features = nn.Sequential(*layers[: pools[3]])  # to conv4_3
        to_conv5 = layers[pools[3] : pools[4]]
        self.extra = nn.ModuleList([nn.Sequential(*to_conv5, fully_connected), *blocks])
        self.out_channels = [widths[3], fc, *[wide for _, wide, _, _ in extra]]

    def forward(self, x: Tensor) -> list[Tensor]:
        """From (N, C, H, W) to six maps; of 300x300 pixels with 38, 19, 10, 5, 3 and 1 a side."""
        x = self.features(x)
        maps = [F.normalize(x) * self.scale_weight.reshape(1, -1, 1, 1)]
        for block in self.extra:
            x = block(x)
            maps.append(x)
        return maps

    def load_vgg16(self, vgg: VGG) -> None:
        """Start from a trained classifier: section 3, "Base network".

        Its convolutions are taken as they are; of fc6's windows of 7x7 each third row and column,
        and of the units of fc6 and fc7, here fewer, every fourth (of 4096 for 1024).

        Args:
            vgg: a `vgg16` whose convolutions have as many channels as those here.

        Raises:
            ValueError: shapes do not fit.
        """
        conv5, fully_connected = self.extra[0][:-1], self.extra[0][-1]
        own = [m for m in (*self.features, *conv5) if isinstance(m, nn.Conv2d)]
        own += [fully_connected[1], fully_connected[3]]
        given = [m for m in (*vgg.features, *vgg.classifier) if hasattr(m, "weight")][:15]
        fc6, fc7 = given[-2:]
        size = own[-2].weight.shape
        step = fc6.out_features // size[0]
        window = fc6.weight.reshape(-1, size[1], 7, 7)[::step, :, ::3, ::3]
        weights = [m.weight for m in given[:-2]]
        weights += [window, fc7.weight[::step, ::step].unsqueeze(2).unsqueeze(3)]
        biases = [m.bias for m in given[:-2]] + [fc6.bias[::step], fc7.bias[::step]]
        for mine, weight, bias in zip(own, weights, biases, strict=True):
            if mine.weight.shape != weight.shape:
                raise ValueError(
                    f"VGGFeatures.load_vgg16: weights {mine.weight.shape} here, {weight.shape} "
                    "there; give a vgg16 of the same widths"
                )
            with no_grad():
                mine.weight.copy_(weight)
                mine.bias.copy_(bias)


class SmallFeatures(nn.Module):
    """Maps of an eighth, a 16th, ... of the picture, by convolutions with batch norm.

    The coarsest has none: of a single position and a single picture there are no statistics.

    Args:
        widths: channels at a half, a quarter, an eighth ... of the size; the first two are no maps.
        in_channels: of the pictures.

    Attributes:
        out_channels: of each map.
    """

    def __init__(self, widths: Sequence[int], *, in_channels: int = 3) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        channels = in_channels
        for i, width in enumerate(widths, 1):
            norm = nn.BatchNorm2d if i < len(widths) else None
            self.blocks.append(
                nn.Sequential(
                    ConvNormAct(channels, width, stride=2, norm=norm),
                    ConvNormAct(width, width, norm=norm),
                )
            )
            channels = width
        self.out_channels = list(widths[2:])

    def forward(self, x: Tensor) -> list[Tensor]:
        """From (N, C, H, W) to a map for each of `out_channels`."""
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps[2:]


# -- builders -------------------------------------------------------------------------------------


def ssd300_vgg16(num_classes: int = 90) -> SSD:
    """SSD300: Liu et al., 2016, figure 2 (on VGG-16).

    35,641,826 parameters with COCO's 90 classes, 26,285,486 with VOC's 20; 8,732 default boxes.
    Published: VOC 2007 test mAP 74.3 % trained on VOC 07+12 (table 1); COCO test-dev AP 23.2 %
    (table 5).

    The paper starts from a VGG-16 trained on ImageNet, with pixels from 0 to 255 less their mean:
    `model.backbone.load_vgg16(vgg)`.

    Args:
        num_classes: kinds of objects without background; torchvision counts one more.

    Returns:
        a detector, see detector.py; pictures are resized to 300x300.
    """
    return SSD(VGGFeatures(), ssd300_boxes(), (300, 300), num_classes)


def ssd_small(num_classes: int = 13, *, size: int = 64, width: int = 24) -> SSD:
    """A small SSD: after Liu et al., 2016; for pictures of 64 to 128 pixels, on two cores.

    Four maps of a convolutional network with batch norm; by default for the classes of
    `minidl.data.Scenes`.

    Args:
        num_classes: kinds of objects.
        size: height and width that all pictures are resized to, pixels.
        width: channels of the first layer.
    """
    backbone = SmallFeatures([width, 2 * width, 4 * width, 4 * width, 4 * width, 4 * width])
    boxes = DefaultBoxGenerator([[2, 3]] * 4, min_ratio=0.2, max_ratio=0.9)
    return SSD(
        backbone, boxes, (size, size), num_classes, image_mean=IMAGE_MEAN, image_std=IMAGE_STD
    )
