"""R-FCN: Dai, Li, He, Sun, "R-FCN: object detection via region-based fully convolutional networks",
2016.

Faster R-CNN computes its second stage anew for each proposal. Here all layers with weights see the
whole picture, and for a proposal there is nothing left to do but to look and to vote:

    picture --ResNet-101--> conv4 --region proposal network--> proposals
                              |                                    |
                            conv5, 1x1 to 1024                     |
                              |--1x1--> k^2 (C + 1) maps --RoIPool--> k x k bins --mean--> scores
                              |--1x1--> k^2 4 maps --------RoIPool--> k x k bins --mean--> deltas

A map that says "person" is the same wherever in the box the person stands, and so of no use for
telling where the box should end. Therefore there are k^2 of each class, the first of which has
learned to answer to the upper left part of a person, and so on; bin (i, j) of a proposal is taken
from the map of that part (position-sensitive RoIPool), and the mean of all bins is the score
(figures 1 to 4). Boxes are found in the same way, by the same four numbers for all classes.

Scores cost next to nothing, so all proposals can be scored in training and the hardest of them
learned from (online hard example mining: Shrivastava et al. 2016; section 2.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ... import nn
from ...autograd import Tensor, no_grad
from ...backend import Array, of
from ...boxes import AnchorGenerator, BalancedPositiveNegativeSampler, rpn_anchors
from ...nn import functional as F
from ..blocks import ConvNormAct
from ..classification.resnet import Bottleneck
from .detector import PictureTransform, Size
from .faster_rcnn import FasterRCNN
from .fpn import ResNetBody
from .regions import small_backbone
from .roi_heads import Features, RoIHeads, Samples
from .rpn import Level, RegionProposalNetwork, RPNHead

__all__ = [
    "RFCN",
    "PositionSensitiveHeads",
    "PositionSensitiveMaps",
    "Vote",
    "hardest",
    "rfcn_resnet101",
    "rfcn_small",
]


class PositionSensitiveMaps(nn.Module):
    """The last convolutions: score maps and box maps, one of each kind for each of k x k bins.

    Args:
        in_channels: of the map they see.
        num_classes: without background, which has maps of its own, the first.
        bins: k.
    """

    def __init__(self, in_channels: int, num_classes: int, bins: int) -> None:
        super().__init__()
        self.score_maps = nn.Conv2d(in_channels, (num_classes + 1) * bins**2, 1)
        self.box_maps = nn.Conv2d(in_channels, 4 * bins**2, 1)
        for layer in (self.score_maps, self.box_maps):
            nn.init.normal_(layer.weight, 0.0, 0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, in_channels, H, W) to maps (N, (C + 1) k^2, H, W) and (N, 4 k^2, H, W)."""
        return self.score_maps(x), self.box_maps(x)


class Vote(nn.Module):
    """All bins have the same voice. Equation 2."""

    def forward(self, x: Tensor) -> Tensor:
        """(K, C, k, k) to (K, C)."""
        return x.mean((2, 3))


class PositionSensitiveHeads(RoIHeads):
    """`RoIHeads` with the order reversed: first the layers with weights, then the regions.

    Args:
        maps: as `PositionSensitiveMaps`, on the map "0" of the backbone.
        bins: k, as in `maps`.
        spatial_scale: of that map, as in `functional.ps_roi_pool`.
        hard_examples: None: regions are drawn at random, as in `RoIHeads`. Else so many of each
            picture are learned from, those of all proposals whose losses are the largest.
        options: as in `RoIHeads`.
    """

    def __init__(
        self,
        maps: nn.Module,
        bins: int,
        spatial_scale: float,
        *,
        hard_examples: int | None = None,
        **options: Any,
    ) -> None:
        pool = nn.PSRoIPool(bins, spatial_scale)
        super().__init__(pool, maps, Vote(), beta=1.0, **options)
        self.hard_examples = hard_examples
        if hard_examples is not None:  # more than there ever are
            self.sampler = BalancedPositiveNegativeSampler(1 << 30, 1.0)

    def forward(
        self, features: Features, boxes: Sequence[Array], sizes: Sequence[Size]
    ) -> tuple[Tensor, Tensor]:
        """As `RoIHeads`: logits (K, C + 1) and deltas (K, C + 1, 4), those of all classes equal."""
        scores, codes = self.box_head(features["0"])
        logits, deltas = [
            self.box_predictor(self.box_roi_pool(maps, list(boxes))) for maps in (scores, codes)
        ]
        return logits, deltas.unsqueeze(1).expand(-1, logits.shape[1], -1)

    def losses(
        self,
        features: Features,
        samples: Sequence[Samples],
        targets: Sequence[Mapping[str, Tensor]],
        sizes: Sequence[Size],
    ) -> dict[str, Tensor]:
        """As `RoIHeads`, of all samples or of the hardest."""
        if self.hard_examples is not None:
            each = self.loss_of_each(features, samples, targets, sizes)
            pairs = zip(samples, each, strict=True)
            samples = [hardest(sample, loss, self.hard_examples) for sample, loss in pairs]
        return super().losses(features, samples, targets, sizes)

    @no_grad()
    def loss_of_each(
        self,
        features: Features,
        samples: Sequence[Samples],
        targets: Sequence[Mapping[str, Tensor]],
        sizes: Sequence[Size],
    ) -> list[Array]:
        """For each image (K,) what each of its samples adds to the two losses. No gradients."""
        logits, deltas = self(features, [sample.boxes for sample in samples], sizes)
        losses, start = [], 0
        for sample, target in zip(samples, targets, strict=True):
            stop = start + len(sample.boxes)
            labels = Tensor(sample.labels)
            loss = F.cross_entropy(logits[start:stop], labels, reduction="none").data
            positive = len(sample.matches)  # they come first; column 1 is that of all classes
            true = target["boxes"].data[sample.matches]
            wanted = self.box_coder.encode(true, sample.positive).astype(deltas.dtype)
            moved = F.smooth_l1_loss(
                deltas[start : start + positive, 1],
                Tensor(wanted),
                reduction="none",
                beta=self.beta,
            )
            loss[:positive] += moved.sum(1).data
            losses.append(loss)
            start = stop
        return losses


def hardest(sample: Samples, loss: Array, count: int) -> Samples:
    """Of the samples of one picture the `count` with the largest losses, in their order.

    Args:
        sample: K of them, the positive ones first.
        loss: (K,).
        count: fewer where there are not so many.
    """
    xp = of(loss).xp
    chosen = xp.sort(xp.argsort(-loss, kind="stable")[:count])
    positive = chosen[chosen < len(sample.matches)]
    return Samples(sample.boxes[chosen], sample.labels[chosen], sample.matches[positive])


class RFCN(FasterRCNN):
    """Faster R-CNN with `PositionSensitiveHeads`; all else is as there."""


class EarlyProposals(RegionProposalNetwork):
    """A region proposal network on the map "early" of the backbone."""

    def forward(self, features: Mapping[str, Tensor], image_size: Size) -> list[Level]:
        """As `RegionProposalNetwork`."""
        return super().forward({"early": features["early"]}, image_size)


class RFCNBody(nn.Module):
    """ResNet with conv5 on maps of 1/16, and a 1x1 convolution after it. Section 2, "backbone".

    conv5 has no stride; what it would have skipped its 3x3 windows skip (dilation 2).

    Args:
        layers: blocks of the four stages.
        out_channels: of the last convolution.
        options: keyword arguments of `ResNet`.
    """

    def __init__(
        self, layers: Sequence[int] = (3, 4, 23, 3), out_channels: int = 1024, **options: Any
    ) -> None:
        super().__init__()
        options = {"replace_stride_with_dilation": (False, False, True), **options}
        self.body = ResNetBody(Bottleneck, layers, (3, 4), **options)
        self.reduce = nn.Conv2d(self.body.channels[1], out_channels, 1)
        nn.init.normal_(self.reduce.weight, 0.0, 0.01)
        nn.init.zeros_(self.reduce.bias)
        self.early_channels, self.out_channels = self.body.channels[0], out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to "early" and "0", (N, early_channels or out_channels, H / 16, W / 16)."""
        early, late = self.body(x).values()
        return {"early": early, "0": F.relu(self.reduce(late))}


class SmallRFCNBody(nn.Module):
    """Six convolutions, the last two of them dilated, as no layer after them sees more.

    Args:
        width: channels of the first; the last have four times as many.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.out_channels = self.early_channels = 4 * width
        self.early = small_backbone(width)
        self.late = nn.Sequential(
            ConvNormAct(4 * width, 4 * width, dilation=2),
            ConvNormAct(4 * width, 4 * width, dilation=2),
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to "early" and "0", both (N, out_channels, H / 4, W / 4)."""
        early = self.early(x)
        return {"early": early, "0": self.late(early)}


def rfcn_resnet101(
    num_classes: int = 20,
    *,
    bins: int = 7,
    hard_examples: int | None = 128,
    min_size: int = 600,
    max_size: int = 1000,
) -> RFCN:
    """R-FCN on ResNet-101: Dai et al. 2016; 50,600,767 parameters.

    79.5 % mean AP on VOC 2007 (table 4, trained on 2007 and 2012), from weights trained on
    ImageNet: `model.backbone.body.load_state_dict(resnet101().state_dict(), strict=False)`.

    Args:
        num_classes: kinds of objects, background not among them.
        bins: k; 3 costs about a point (table 2).
        hard_examples: proposals of a picture that are learned from, those of the largest losses;
            None: drawn at random.
        min_size, max_size: of pictures, see `PictureTransform`.

    Returns:
        a detector: see detector.py.
    """
    backbone = RFCNBody()
    rpn = EarlyProposals(
        rpn_anchors(),
        RPNHead(backbone.early_channels, 9, softmax=True, channels=512),
        pre_nms_top_n=(12000, 6000),  # of the authors' program; the others: section 2.3
        post_nms_top_n=(2000, 300),
        ignore_crossing=True,
    )
    heads = PositionSensitiveHeads(
        PositionSensitiveMaps(backbone.out_channels, num_classes, bins),
        bins,
        1 / 16,
        hard_examples=hard_examples,
        batch_size_per_image=128,
        nms_thresh=0.3,
    )
    return RFCN(backbone, rpn, heads, PictureTransform(min_size, max_size), num_classes)


def rfcn_small(
    num_classes: int = 13,
    *,
    width: int = 16,
    bins: int = 3,
    hard_examples: int | None = 64,
    min_size: int = 96,
    max_size: int = 192,
) -> RFCN:
    """R-FCN that learns on a CPU, for pictures of 64 to 128 pixels.

    Six convolutions with batch norm, stride 4, 3 x 3 bins, nine anchors at each position.

    Args:
        num_classes: kinds of objects, background not among them; 13: all of `Scenes`.
        width: channels of the first convolution; the last have four times as many.
        bins, hard_examples, min_size, max_size: as in `rfcn_resnet101`.

    Returns:
        a detector for pictures with three channels: see detector.py.
    """
    backbone = SmallRFCNBody(width)
    rpn = EarlyProposals(
        AnchorGenerator(((16, 28, 48),), ((0.5, 1.0, 2.0),)),
        RPNHead(backbone.early_channels, 9),
        batch_size_per_image=64,
        pre_nms_top_n=(500, 300),
        post_nms_top_n=(200, 50),
    )
    heads = PositionSensitiveHeads(
        PositionSensitiveMaps(backbone.out_channels, num_classes, bins),
        bins,
        1 / 4,
        hard_examples=hard_examples,
        batch_size_per_image=64,
        nms_thresh=0.3,
    )
    return RFCN(backbone, rpn, heads, PictureTransform(min_size, max_size), num_classes)
