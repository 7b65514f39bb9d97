"""The region proposal network: where in the picture there is something at all.

Ren et al. 2015, "Faster R-CNN: towards real-time object detection with region proposal networks",
section 3.1. At each position of a feature map lie a few anchors, boxes of several sizes and shapes.
A small network looks at the position and says of each anchor whether it is an object, and how to
move it so that it fits:

    features --3x3, ReLU--> --1x1--> objectness, one logit an anchor
                            --1x1--> deltas, four numbers an anchor: see boxes/coder.py

- training: anchors that overlap an object by 0.7 or more (and for each object those that overlap it
  most) are positive, those below 0.3 negative; 256 of them, half of them positive if there are so
  many, give the loss (`losses`).
- the proposals are the best anchors, moved, without those that overlap better ones by more than 0.7
  (`proposals`). They are constants to what follows: no gradient goes back through their corners.

Of each level of a pyramid the same network looks at the map; a level has anchors of one size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ... import nn
from ...autograd import Tensor
from ...backend import Array, of
from ...boxes import (
    AnchorGenerator,
    BalancedPositiveNegativeSampler,
    BoxCoder,
    Matcher,
    batched_nms,
    box_iou,
    clip_boxes_to_image,
    remove_small_boxes,
)
from ...nn import functional as F
from ...ops.shape import cat
from .detector import Size, Sizes, Targets

__all__ = ["Level", "RPNHead", "RegionProposalNetwork", "per_anchor"]


class RPNHead(nn.Module):
    """Objectness and deltas of all anchors at each position.

    Args:
        in_channels: of the maps.
        num_anchors: at each position.
        softmax: two scores an anchor, "background" and "object", as in the paper; of them only the
            difference counts, softmax of two is the sigmoid of that. False: one score, the logit.
        channels: of its hidden maps; None: in_channels.
    """

    def __init__(
        self, in_channels: int, num_anchors: int, softmax: bool = False, channels: int | None = None
    ) -> None:
        super().__init__()
        channels = channels or in_channels
        conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.conv = nn.Sequential(nn.Sequential(conv, nn.ReLU()))  # torchvision's names
        self.cls_logits = nn.Conv2d(channels, num_anchors * (2 if softmax else 1), 1)
        self.bbox_pred = nn.Conv2d(channels, num_anchors * 4, 1)
        self.softmax = softmax
        for layer in (conv, self.cls_logits, self.bbox_pred):
            nn.init.normal_(layer.weight, 0.0, 0.01)  # section 3.1.3
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A map (N, C, H, W) to logits (N, A, H, W) and deltas (N, 4 A, H, W)."""
        x = self.conv(x)
        logits = self.cls_logits(x)
        if self.softmax:
            background, something = logits.chunk(2, 1)
            logits = something - background
        return logits, self.bbox_pred(x)


class Level(NamedTuple):
    """What the head says of the anchors on one map; A = H W times the anchors at a position.

    Attributes:
        objectness: (N, A), logits.
        deltas: (N, A, 4).
        anchors: array (A, 4), the same for all pictures, pixels of the batch.
    """

    objectness: Tensor
    deltas: Tensor
    anchors: Array


def per_anchor(x: Tensor, numbers: int) -> Tensor:
    """A head's output (N, A numbers, H, W) as (N, H W A, numbers): in the order of anchors."""
    count, channels, height, width = x.shape
    x = x.reshape(count, channels // numbers, numbers, height, width)
    return x.permute(0, 3, 4, 1, 2).reshape(count, -1, numbers)


class RegionProposalNetwork(nn.Module):
    """The head, what it learns, and the proposals that are made of what it says.

    Args:
        anchor_generator: the anchors of each map.
        head: as `RPNHead`.
        fg_iou_thresh, bg_iou_thresh: overlaps from which on an anchor is positive, and below which
            it is negative.
        batch_size_per_image: anchors of each image that give the loss.
        positive_fraction: their share of positive ones, at most.
        nms_thresh: overlap above which the worse of two proposals is dropped.
        pre_nms_top_n, post_nms_top_n: how many proposals there are: the best of each level before,
            and of the image after suppression; each a pair, for losses and for predictions.
        ignore_crossing: leave anchors that cross the border of the picture out of the loss, as in
            the paper (section 3.3).
    """

    min_size = 1e-3  # pixels: a proposal without area has no deltas

    def __init__(
        self,
        anchor_generator: AnchorGenerator,
        head: nn.Module,
        fg_iou_thresh: float = 0.7,
        bg_iou_thresh: float = 0.3,
        batch_size_per_image: int = 256,
        positive_fraction: float = 0.5,
        nms_thresh: float = 0.7,
        pre_nms_top_n: tuple[int, int] = (2000, 1000),
        post_nms_top_n: tuple[int, int] = (2000, 1000),
        ignore_crossing: bool = False,
    ) -> None:
        super().__init__()
        self.anchor_generator = anchor_generator
        self.head = head
        self.box_coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        self.matcher = Matcher(fg_iou_thresh, bg_iou_thresh, allow_low_quality_matches=True)
        self.sampler = BalancedPositiveNegativeSampler(batch_size_per_image, positive_fraction)
        self.pre_nms_top_n, self.post_nms_top_n = pre_nms_top_n, post_nms_top_n
        self.nms_thresh, self.ignore_crossing = nms_thresh, ignore_crossing

    def forward(self, features: Mapping[str, Tensor], image_size: Size) -> list[Level]:
        """What the head says of all anchors.

        Args:
            features: maps (N, C, H_k, W_k), one for each size of the anchor generator.
            image_size: (H, W) of the batch, pixels.
        """
        maps = list(features.values())
        levels = []
        for x, anchors in zip(maps, self.anchor_generator(image_size, maps), strict=True):
            logits, deltas = self.head(x)
            levels.append(Level(per_anchor(logits, 1).squeeze(2), per_anchor(deltas, 4), anchors))
        return levels

    def proposals(self, levels: Sequence[Level], sizes: Sizes, training: bool) -> list[Array]:
        """The boxes that may contain something.

        Args:
            levels: of `forward`.
            sizes: (h, w) of each picture in the batch.
            training: whether as many are wanted as for losses, or as for predictions.

        Returns:
            for each image an array (K, 4), pixels of the batch, within the picture, by falling
            objectness.
        """
        which = 0 if training else 1
        xp, result = of(levels[0].anchors).xp, []
        for i, size in enumerate(sizes):
            boxes, scores, numbers = [], [], []
            for number, level in enumerate(levels):
                count = min(self.pre_nms_top_n[which], len(level.anchors))
                best = level.objectness[i].detach().topk(count)
                index = best.indices.data
                deltas = level.deltas.data[i][index]
                boxes.append(self.box_coder.decode(deltas, level.anchors[index]))
                scores.append(best.values.data)
                numbers.append(xp.full(count, number))
            every = clip_boxes_to_image(xp.concatenate(boxes), size)
            large = remove_small_boxes(every, self.min_size)
            every, score = every[large], xp.concatenate(scores)[large]
            # Within a level: boxes of different levels have different sizes.
            kept = batched_nms(every, score, xp.concatenate(numbers)[large], self.nms_thresh)
            result.append(every[kept[: self.post_nms_top_n[which]]])
        return result

    def losses(self, levels: Sequence[Level], targets: Targets, sizes: Sizes) -> dict[str, Tensor]:
        """Equation 1 of the paper, over the anchors drawn.

        The paper has the second part divided by the number of positions, about 2,400, and
        multiplied by 10: very nearly what is done here, divided by the number of anchors, 256.

        Args:
            levels: of `forward`.
            targets: for each image "boxes" (R, 4), pixels of the batch.
            sizes: (h, w) of each picture in the batch.

        Returns:
            "loss_objectness", "loss_rpn_box_reg".
        """
        xp = of(levels[0].anchors).xp
        anchors = xp.concatenate([level.anchors for level in levels])
        logits = cat([level.objectness for level in levels], 1).reshape(-1)
        deltas = cat([level.deltas for level in levels], 1).reshape(-1, 4)
        truth = [target["boxes"].data for target in targets]
        matches = [self.match(anchors, *pair) for pair in zip(truth, sizes, strict=True)]
        # A match becomes 1, BELOW_LOW_THRESHOLD (-1) 0, BETWEEN_THRESHOLDS (-2) -1: ignored.
        labels = [xp.minimum(match, 0) + 1 for match in matches]
        positive, negative = self.sampler(labels)
        chosen = [xp.nonzero(mask)[0] for mask in positive]
        wanted = [
            self.box_coder.encode(boxes[match[index]], anchors[index])
            for boxes, match, index in zip(truth, matches, chosen, strict=True)
        ]
        rows = xp.concatenate([index + i * len(anchors) for i, index in enumerate(chosen)])
        moves = Tensor(xp.concatenate(wanted).astype(deltas.dtype))
        moved = F.smooth_l1_loss(deltas[Tensor(rows)], moves, "sum", beta=1 / 9)
        drawn = xp.nonzero(xp.concatenate(positive) | xp.concatenate(negative))[0]
        answers = Tensor(xp.concatenate(labels)[drawn].astype(logits.dtype))
        bce = F.binary_cross_entropy_with_logits
        objectness = bce(logits[Tensor(drawn)], answers, reduction="sum")
        count = max(len(drawn), 1)
        return {"loss_objectness": objectness / count, "loss_rpn_box_reg": moved / count}

    def match(self, anchors: Array, boxes: Array, size: Size) -> Array:
        """(A,): for each anchor the index of its true box, or what `Matcher` says there is not."""
        xp = of(anchors).xp
        overlaps = box_iou(boxes, anchors)
        if not self.ignore_crossing:
            return self.matcher(overlaps)
        inside = (anchors[:, :2] >= 0).all(axis=1)
        inside &= (anchors[:, 2] <= size[1]) & (anchors[:, 3] <= size[0])
        matches = self.matcher(xp.where(inside, overlaps, 0.0))
        return xp.where(inside, matches, self.matcher.BETWEEN_THRESHOLDS)
