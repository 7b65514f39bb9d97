"""RetinaNet: Lin et al., "Focal loss for dense object detection", 2017.

One pass over the picture, as in SSD, but by a feature pyramid (fpn.py), and with an answer to the
question of section 3: of a hundred thousand anchors a handful contain something; each of the others
is easy, but there are so many that their small losses drown the rest. So the loss of an anchor
shrinks with how sure the network is of the truth:

    FL(p_t) = -alpha_t (1 - p_t)^2 log p_t                                      (equation 5)

with p_t the probability given to the truth and alpha_t = 1/4 for objects, 3/4 for background. All
anchors count; none are drawn or mined.

    level    of the picture    anchors, 3 shapes each, pixels
    P3       1/8                32  40  50
    P4       1/16               64  80 101
    P5       1/32              128 161 203
    P6       1/64              256 322 406
    P7       1/128             512 645 812

Two heads, the same for all levels: four 3x3 convolutions and one more, for each of nine anchors at
a position a probability of each class (there is no class "background": all may be improbable), and
a correction of the box. At first each class has the probability 0.01 (section 4.1), or else the
loss of all the background at once would tear the network apart.

An anchor shows the object that it overlaps by 0.5 or more, and nothing below 0.4; between the two
it does not count. Names, and results, are those of torchvision's retinanet_resnet50_fpn: it makes
P6 of P5 and not of C5, and takes L1 where the paper has smooth L1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ... import nn
from ...autograd import Tensor, no_grad
from ...backend import Array, of
from ...boxes import AnchorGenerator, BoxCoder, Matcher, retinanet_anchors
from ...nn import functional as F
from ..blocks import ConvNormAct
from ..classification.resnet import BasicBlock
from .dense import assign, best_of, highest, rows
from .detector import Batch, Detector, PictureTransform, check_pictures
from .fpn import BackboneWithFPN, FeaturePyramid, LastLevelP6P7, ResNetBody, resnet_fpn_backbone

__all__ = ["RetinaNet", "RetinaNetHead", "retinanet_resnet50_fpn", "retinanet_small"]

Norm = Callable[[int], nn.Module]

# Names in files written before torchvision 0.13, its own weights among them, and their names since.
RENAMED = (
    (r"(inner_blocks|layer_blocks)\.(\d+)\.(weight|bias)$", r"\1.\2.0.\3"),
    *[(rf"_head\.conv\.{2 * k}\.(weight|bias)$", rf"_head.conv.{k}.0.\1") for k in range(4)],
)


class RetinaNet(Detector):
    """A backbone with levels of equal channels, and two heads that all of them share.

    Args:
        backbone: makes of pictures (N, C, H, W) a dictionary of levels; its attribute
            `out_channels` says how many channels they have.
        anchor_generator: the anchors of each level, as many at a position everywhere.
        num_classes: kinds of objects.
        transform: brings pictures to the size that the network sees.
        num_convs: convolutions of each head before the last one.
        norm: makes a normalisation of so many channels after each of them; None: none.
        score_thresh: candidates must have a higher score.
        topk_candidates: of each level so many go into non-maximum suppression.
        nms_thresh: overlap from which on the lower score loses there.
        detections_per_img: the most detections in a picture.
        fg_iou_thresh, bg_iou_thresh: overlaps from which on, and below which, anchors show an
            object or background.

    Raises:
        ValueError: levels with unequal numbers of anchors.
    """

    def __init__(
        self,
        backbone: nn.Module,
        anchor_generator: AnchorGenerator,
        num_classes: int,
        transform: PictureTransform,
        *,
        num_convs: int = 4,
        norm: Norm | None = None,
        score_thresh: float = 0.05,
        nms_thresh: float = 0.5,
        detections_per_img: int = 300,
        fg_iou_thresh: float = 0.5,
        bg_iou_thresh: float = 0.4,
        topk_candidates: int = 1000,
    ) -> None:
        super().__init__()
        count, *others = anchor_generator.num_anchors_per_location()
        if any(other != count for other in others):
            raise ValueError(
                "RetinaNet: all levels share their heads and so need as many anchors at a "
                f"position, got {[count, *others]}"
            )
        self.num_classes = num_classes
        self.backbone = backbone
        self.head = RetinaNetHead(backbone.out_channels, count, num_classes, num_convs, norm)
        self.anchor_generator = anchor_generator
        self.transform = transform
        self.box_coder = BoxCoder()
        self.matcher = Matcher(fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches=True)
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img
        self.topk_candidates = topk_candidates

    def losses(self, images: Any, targets: Any) -> dict[str, Tensor]:
        """The focal loss of the classes, and L1 of the corrections.

        Each is divided by the number of matched anchors of its picture; then the mean is taken.

        Args:
            images, targets: see detector.py.

        Returns:
            "classification" and "bbox_regression".

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        images = check_pictures("RetinaNet.losses", images, targets, self.num_classes)
        batch, targets = self.transform(images, targets)
        logits, codes, levels = self.answers(batch)
        xp = of(levels[0]).xp
        wanted = assign(xp.concatenate(levels), targets, self.matcher, self.box_coder)

        dtype = codes.dtype
        positive = wanted.matches >= 0  # (N, B)
        counted = wanted.matches != Matcher.BETWEEN_THRESHOLDS
        share = 1.0 / xp.maximum(positive.sum(axis=1, keepdims=True), 1) / len(images)  # (N, 1)
        truth = positive[:, :, None] & (wanted.labels[:, :, None] == xp.arange(self.num_classes))
        by_class = F.sigmoid_focal_loss(logits, Tensor(truth.astype(dtype))).sum(2)
        by_code = F.l1_loss(codes, Tensor(wanted.codes), reduction="none").sum(2)
        return {
            "classification": (by_class * Tensor((counted * share).astype(dtype))).sum(),
            "bbox_regression": (by_code * Tensor((positive * share).astype(dtype))).sum(),
        }

    def predict(self, images: Any) -> list[dict[str, Tensor]]:
        """What is in each image: "boxes", "labels" and "scores"; see detector.py.

        A box may be found as several classes.

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        images = check_pictures("RetinaNet.predict", images)
        with no_grad():
            batch, _ = self.transform(images)
            logits, codes, levels = self.answers(batch)
            found = [
                self._detections(logit, code, levels, size)
                for logit, code, size in zip(logits.data, codes.data, batch.sizes, strict=True)
            ]
            return self.transform.restore(found, batch.sizes, batch.original_sizes)

    def answers(self, batch: Batch) -> tuple[Tensor, Tensor, list[Array]]:
        """What the network says of a batch.

        Returns:
            logits (N, B, num_classes); codes (N, B, 4), by which anchors are corrected; and these,
            for each level an array (B_k, 4), in pixels of the batch, B in all.
        """
        levels = list(self.backbone(batch.images).values())
        logits, codes = self.head(levels)
        size = (batch.images.shape[2], batch.images.shape[3])
        return logits, codes, self.anchor_generator(size, levels)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """As any module's; torchvision's older names are understood."""
        renamed = {}
        for path, value in state_dict.items():
            for old, new in RENAMED:
                path = re.sub(old, new, path)
            renamed[path] = value
        return super().load_state_dict(renamed, strict)

    def _detections(
        self, logits: Array, codes: Array, levels: Sequence[Array], size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Of one picture: logits (B, num_classes), codes (B, 4)."""
        xp = of(logits).xp
        candidates, start = [], 0  # numbers in logits, row by row
        for anchors in levels:
            end = start + len(anchors)
            index = highest(logits[start:end].reshape(-1), self.topk_candidates)
            candidates.append(index + start * self.num_classes)
            start = end
        index = xp.concatenate(candidates)
        row = index // self.num_classes
        return best_of(
            self.box_coder.decode(codes[row], xp.concatenate(levels)[row]),
            F.sigmoid(Tensor(logits.reshape(-1)[index])).data,
            index % self.num_classes,
            size,
            self.score_thresh,
            self.nms_thresh,
            self.detections_per_img,
        )


class RetinaNetHead(nn.Module):
    """Classes and corrections of all anchors of all levels. Figure 3 (c) and (d).

    Args:
        in_channels: of all levels, and of the convolutions.
        num_anchors: at a position.
        num_classes: kinds of objects.
        num_convs: convolutions before the last one.
        norm: makes a normalisation of so many channels after each of them; None: none.
        prior_probability: of each class at first.
    """

    def __init__(
        self,
        in_channels: int,
        num_anchors: int,
        num_classes: int,
        num_convs: int = 4,
        norm: Norm | None = None,
        prior_probability: float = 0.01,
    ) -> None:
        super().__init__()
        self.classification_head = ClassificationHead(
            in_channels, num_anchors, num_classes, num_convs, norm, prior_probability
        )
        self.regression_head = RegressionHead(in_channels, num_anchors, num_convs, norm)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """From levels (N, C, h, w) to logits (N, B, num_classes) and codes (N, B, 4)."""
        return self.classification_head(levels), self.regression_head(levels)


class ClassificationHead(nn.Module):
    """Arguments as `RetinaNetHead`."""

    def __init__(
        self,
        in_channels: int,
        num_anchors: int,
        num_classes: int,
        num_convs: int,
        norm: Norm | None,
        prior_probability: float,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv = _convs(in_channels, num_convs, norm)
        self.cls_logits = nn.Conv2d(in_channels, num_anchors * num_classes, 3, padding=1)
        _init(self)
        odds = (1.0 - prior_probability) / prior_probability
        nn.init.constant_(self.cls_logits.bias, -math.log(odds))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        return rows([self.cls_logits(self.conv(x)) for x in levels], self.num_classes)


class RegressionHead(nn.Module):
    """Arguments as `RetinaNetHead`."""

    def __init__(
        self, in_channels: int, num_anchors: int, num_convs: int, norm: Norm | None
    ) -> None:
        super().__init__()
        self.conv = _convs(in_channels, num_convs, norm)
        self.bbox_reg = nn.Conv2d(in_channels, num_anchors * 4, 3, padding=1)
        _init(self)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        return rows([self.bbox_reg(self.conv(x)) for x in levels], 4)


def _convs(channels: int, count: int, norm: Norm | None) -> nn.Sequential:
    return nn.Sequential(*[ConvNormAct(channels, channels, norm=norm) for _ in range(count)])


def _init(head: nn.Module) -> None:
    """Section 4.1: new layers are drawn with standard deviation 0.01, biases are 0."""
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0.0, 0.01)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


# -- builders -------------------------------------------------------------------------------------


def retinanet_resnet50_fpn(
    num_classes: int = 91,
    *,
    backbone_name: str = "resnet50",
    min_size: int = 800,
    max_size: int = 1333,
    trainable_backbone_layers: int | None = None,
    norm_layer: Norm | None = None,
) -> RetinaNet:
    """RetinaNet on a pyramid of ResNet-50: Lin et al., 2017, section 4; 34,014,999 parameters.

    Not counted are scale and shift of batch norm in the backbone, 53,120, which are not trained
    where it is frozen. Published: COCO AP 35.7 % at 800 pixels (table 1e).

    Args:
        num_classes: kinds of objects; 91 as in torchvision, whose label 0 is never used.
        backbone_name: "resnet18" to "resnet152".
        min_size, max_size: pixels to which the shorter side of a picture is brought, unless the
            longer one became more than max_size.
        trainable_backbone_layers: None to train everything, from the start; with a backbone that
            others trained 0 to 5, see `freeze_body` in fpn.py; 3 is usual.
        norm_layer: makes the normalisation of so many channels in the backbone; default
            nn.BatchNorm2d. torchvision's own weights were trained with
            functools.partial(nn.BatchNorm2d, eps=0.0).

    Returns:
        a detector: see detector.py.
    """
    backbone = resnet_fpn_backbone(
        backbone_name,
        trainable_backbone_layers,
        returned_layers=(2, 3, 4),
        extra_blocks=LastLevelP6P7(256, 256),
        norm_layer=norm_layer,
    )
    transform = PictureTransform(min_size, max_size)
    return RetinaNet(backbone, retinanet_anchors(), num_classes, transform)


def retinanet_small(num_classes: int = 13, *, size: int = 64, width: int = 32) -> RetinaNet:
    """A small RetinaNet: after Lin et al., 2017; for pictures of 64 to 128 pixels, on two cores.

    A residual network of nine convolutions and a pyramid of three levels; heads of three
    convolutions, with group normalisation; by default for the classes of `minidl.data.Scenes`.

    Args:
        num_classes: kinds of objects.
        size: pixels to which the shorter side of a picture is brought; square anchors have sides of
            a quarter of it and more, three to each doubling.
        width: channels of the first stage.

    Returns:
        a detector: see detector.py.
    """
    body = ResNetBody(BasicBlock, (1, 1, 1, 1), (2, 3, 4), width=width)
    backbone = BackboneWithFPN(body, FeaturePyramid(body.channels, 2 * width))
    sizes = [[n * size / 64 * 2 ** (k / 3) for k in range(3)] for n in (16, 32, 64)]
    return RetinaNet(
        backbone,
        AnchorGenerator(sizes, (0.5, 1.0, 2.0)),
        num_classes,
        PictureTransform(size, 2 * size),
        num_convs=2,
        norm=lambda channels: nn.GroupNorm(8, channels),
    )
