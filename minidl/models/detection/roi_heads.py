"""The second stage: what a proposal contains, and where exactly it is.

Girshick 2015, "Fast R-CNN", section 2. Each proposal is cut out of the feature maps at one size,
7x7, and goes through a small network of its own:

    proposal --RoIAlign--> 7x7 --fc6, fc7--> --cls_score--> C + 1 scores, the first for background
                                             --bbox_pred--> 4 (C + 1) deltas, four for each class

- training: of the proposals, and the true boxes themselves, 512 are drawn, a quarter of them
  positive if there are so many: those that overlap an object by one half or more (`sample`). All
  of them give the first loss, the positive ones the second, by the deltas of the true class
  (`losses`).
- prediction: each class moves the proposal its own way; what has a score above 0.05 stays, without
  those that overlap better ones of the class by more than one half (`detect`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ... import nn
from ...autograd import Tensor
from ...backend import Array, of
from ...boxes import (
    BalancedPositiveNegativeSampler,
    BoxCoder,
    Matcher,
    batched_nms,
    box_iou,
    clip_boxes_to_image,
    remove_small_boxes,
)
from ...nn import functional as F
from .detector import Objects, Sizes, Targets

__all__ = ["FastRCNNPredictor", "RoIHeads", "Samples", "TwoMLPHead"]

Features = Mapping[str, Tensor]


class TwoMLPHead(nn.Module):
    """Two hidden layers on what was cut out.

    Args:
        in_channels: numbers that come in: C ph pw.
        representation_size: units of each layer.
        dropout: probability after each; Fast R-CNN on VGG-16 has 0.5.
    """

    def __init__(self, in_channels: int, representation_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc6 = nn.Linear(in_channels, representation_size)
        self.fc7 = nn.Linear(representation_size, representation_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(K, C, ph, pw) to (K, representation_size)."""
        x = self.dropout(F.relu(self.fc6(x.flatten(1))))
        return self.dropout(F.relu(self.fc7(x)))


class FastRCNNPredictor(nn.Module):
    """Scores and deltas of all classes. Girshick 2015, section 2.1, initial values section 4.1.

    Args:
        in_channels: numbers that come in.
        num_classes: without background, which has a column of its own here, the first.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(in_channels, num_classes + 1)
        self.bbox_pred = nn.Linear(in_channels, (num_classes + 1) * 4)
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, 0.0, std)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(K, in_channels) to logits (K, C + 1) and deltas (K, C + 1, 4)."""
        logits = self.cls_score(x)
        return logits, self.bbox_pred(x).reshape(*logits.shape, 4)


class Samples(NamedTuple):
    """The proposals of one image that give the loss. The positive ones come first.

    Attributes:
        boxes: array (K, 4), pixels of the batch.
        labels: array (K,): 0 is background, c + 1 class c.
        matches: array (P,): for each of the P positive ones the index of its true box.
    """

    boxes: Array
    labels: Array
    matches: Array

    @property
    def positive(self) -> Array:
        """(P, 4), the boxes that are positive."""
        return self.boxes[: len(self.matches)]


class RoIHeads(nn.Module):
    """From proposals to losses, or to detections.

    Args:
        box_roi_pool: cuts boxes out of maps, as `nn.MultiScaleRoIAlign`.
        box_head: as `TwoMLPHead`.
        box_predictor: as `FastRCNNPredictor`.
        fg_iou_thresh, bg_iou_thresh: overlaps from which on a proposal is positive, and below which
            it is negative.
        batch_size_per_image: proposals of each image that give the loss.
        positive_fraction: their share of positive ones, at most.
        bbox_reg_weights: of the `BoxCoder`.
        score_thresh: scores of detections are above it.
        nms_thresh: overlap above which the worse of two detections of one class is dropped.
        detections_per_img: how many there are at most.
        beta: of the smooth L1 loss: 1/9 as in torchvision, 1 as in the paper.
    """

    min_size = 1e-2  # pixels: of the sides of a detection, at least

    def __init__(
        self,
        box_roi_pool: nn.Module,
        box_head: nn.Module,
        box_predictor: nn.Module,
        fg_iou_thresh: float = 0.5,
        bg_iou_thresh: float = 0.5,
        batch_size_per_image: int = 512,
        positive_fraction: float = 0.25,
        bbox_reg_weights: tuple[float, float, float, float] = (10.0, 10.0, 5.0, 5.0),
        score_thresh: float = 0.05,
        nms_thresh: float = 0.5,
        detections_per_img: int = 100,
        beta: float = 1 / 9,
    ) -> None:
        super().__init__()
        self.box_roi_pool, self.box_head = box_roi_pool, box_head
        self.box_predictor = box_predictor
        self.matcher = Matcher(fg_iou_thresh, bg_iou_thresh)
        self.sampler = BalancedPositiveNegativeSampler(batch_size_per_image, positive_fraction)
        self.box_coder = BoxCoder(bbox_reg_weights)
        self.score_thresh, self.nms_thresh = score_thresh, nms_thresh
        self.detections_per_img, self.beta = detections_per_img, beta

    def forward(self, features: Features, boxes: Sequence[Array], sizes: Sizes) -> Any:
        """What the network says of boxes.

        Args:
            features: maps of the batch, by name.
            boxes: for each image (K_i, 4), pixels of the batch.
            sizes: (h, w) of each picture in the batch.

        Returns:
            logits (K, C + 1) and deltas (K, C + 1, 4), for the boxes of all images.
        """
        return self.box_predictor(self.box_head(self.box_roi_pool(features, boxes, sizes)))

    def sample(self, proposals: Sequence[Array], targets: Targets) -> list[Samples]:
        """Some proposals of each image, each with its true class.

        Args:
            proposals: for each image (K_i, 4), pixels of the batch.
            targets: "boxes" and "labels" of each image.
        """
        xp = of(proposals[0]).xp
        pools, labels, matches = [], [], []
        for boxes, target in zip(proposals, targets, strict=True):
            true = target["boxes"].data.astype(boxes.dtype, copy=False)
            # At first no proposal fits; the true boxes do.
            pools.append(xp.concatenate([boxes, true]))
            matches.append(self.matcher(box_iou(true, pools[-1])))
            # Matches -2 (between the thresholds) and -1 (background) are the last but one of these
            # and the last.
            kinds = xp.concatenate([target["labels"].data + 1, xp.array([-1, 0])])
            labels.append(kinds[matches[-1]])
        result = []
        for i, (positive, negative) in enumerate(zip(*self.sampler(labels), strict=True)):
            first = xp.nonzero(positive)[0]
            drawn = xp.concatenate([first, xp.nonzero(negative)[0]])
            result.append(Samples(pools[i][drawn], labels[i][drawn], matches[i][first]))
        return result

    def losses(
        self, features: Features, samples: Sequence[Samples], targets: Targets, sizes: Sizes
    ) -> dict[str, Tensor]:
        """Equation 1 of Fast R-CNN, the mean over all samples.

        Args:
            features: maps of the batch, by name.
            samples: of `sample`.
            targets: the true objects, in pixels of the batch.
            sizes: (h, w) of each picture in the batch.

        Returns:
            "loss_classifier", "loss_box_reg".
        """
        xp = of(samples[0].boxes).xp
        logits, deltas = self(features, [sample.boxes for sample in samples], sizes)
        labels = Tensor(xp.concatenate([sample.labels for sample in samples]))
        wanted = [
            self.box_coder.encode(target["boxes"].data[sample.matches], sample.positive)
            for sample, target in zip(samples, targets, strict=True)
        ]
        positive = Tensor(xp.nonzero(labels.data > 0)[0])
        answers = Tensor(xp.concatenate(wanted).astype(deltas.dtype))
        classes = F.cross_entropy(logits, labels, reduction="sum")
        moved = F.smooth_l1_loss(deltas[positive, labels[positive]], answers, "sum", self.beta)
        count = max(len(labels), 1)
        return {"loss_classifier": classes / count, "loss_box_reg": moved / count}

    def detect(self, features: Features, proposals: Sequence[Array], sizes: Sizes) -> Objects:
        """The objects in each image, by falling score.

        Args:
            features: maps of the batch, by name.
            proposals: for each image (K_i, 4), pixels of the batch.
            sizes: (h, w) of each picture in the batch.

        Returns:
            for each image "boxes" (R, 4), pixels of the batch, "labels" (R,) from 0, "scores" (R,).
        """
        xp = of(proposals[0]).xp
        logits, deltas = self(features, proposals, sizes)
        every, moves = F.softmax(logits, 1).data[:, 1:], deltas.data[:, 1:]
        result: list[dict[str, Any]] = []
        start = 0
        for own, size in zip(proposals, sizes, strict=True):
            mine = slice(start, start + len(own))
            start += len(own)
            rows, labels = xp.nonzero(every[mine] > self.score_thresh)
            scores = every[mine][rows, labels]
            boxes = self.box_coder.decode(moves[mine][rows, labels], own[rows])
            boxes = clip_boxes_to_image(boxes, size)
            large = remove_small_boxes(boxes, self.min_size)
            boxes, labels, scores = boxes[large], labels[large], scores[large]
            kept = batched_nms(boxes, scores, labels, self.nms_thresh)[: self.detections_per_img]
            found = {"boxes": boxes[kept], "labels": labels[kept], "scores": scores[kept]}
            result.append({name: Tensor(value) for name, value in found.items()})
        return result
