"""Fast R-CNN: Girshick, "Fast R-CNN", 2015.

One network for the whole picture, and one step of training for all its parts. R-CNN computes the
features of each region anew and is trained in three stages; here

    picture --backbone--> map --RoIPool--> 7x7 of each region --fc6, fc7--> scores, and for each
    regions ------------------------^                                       class where exactly

is trained as a whole (figure 1). The right half is roi_heads.py, the loss also; what is here is
where the regions come from: from outside, by default from selective search. Faster R-CNN puts a
network in that place.

A batch has few pictures and many regions of each (2 and 64, a quarter of them with an object): so
they share the convolutions, backwards too (section 2.3). Compared with R-CNN that made training
nine times faster. Prediction then spends its time in fc6 and fc7; `compress_linear` is the answer
of section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ... import nn
from ...autograd import Tensor, no_grad, tensor
from ...backend import Array, of
from ...boxes import BoxCoder, box_iou
from .detector import Batch, Detector, PictureTransform, check_pictures
from .faster_rcnn import SingleScaleRoIPool
from .fpn import VGGBody
from .regions import CachedProposals, Proposals, RegionMatcher, SmallBody, small_proposals
from .roi_heads import FastRCNNPredictor, RoIHeads, TwoMLPHead

__all__ = [
    "FastRCNN",
    "FastRCNNHeads",
    "NormalizedCoder",
    "compress_linear",
    "fast_rcnn_small",
    "fast_rcnn_vgg16",
]


class NormalizedCoder(nn.Module):
    """A `BoxCoder` whose codes have mean 0 and spread 1 over the training set. Section 2.3.

    Attributes:
        mean, std: buffers (4,): a code is (t - mean) / std. At first 0 and (0.1, 0.1, 0.2, 0.2),
            with which the author's program works; `FastRCNN.fit_targets` measures them.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.coder = BoxCoder()
        self.register_buffer("mean", tensor(np.zeros(4, np.float32)))
        self.register_buffer("std", tensor(np.array([0.1, 0.1, 0.2, 0.2], np.float32)))

    def encode(self, reference_boxes: Array, proposals: Array) -> Array:
        """As `BoxCoder.encode`: arrays (R, 4) to codes (R, 4)."""
        codes = self.coder.encode(reference_boxes, proposals)
        return (codes - self.mean.data) / self.std.data

    def decode(self, rel_codes: Array, boxes: Array) -> Array:
        """As `BoxCoder.decode`: arrays (R, 4) to boxes (R, 4)."""
        return self.coder.decode(rel_codes * self.std.data + self.mean.data, boxes)


class FastRCNNHeads(RoIHeads):
    """`RoIHeads` by the numbers of the paper.

    Args:
        box_roi_pool, box_head, box_predictor: as in `RoIHeads`, and `options`.
        foreground: intersection over union with an object from which on a region shows it.
        background: (low, high) of that for regions that show none; see `RegionMatcher`.
    """

    box_coder: Any  # a NormalizedCoder, in place of the BoxCoder that `RoIHeads` makes

    def __init__(
        self,
        box_roi_pool: nn.Module,
        box_head: nn.Module,
        box_predictor: nn.Module,
        *,
        foreground: float = 0.5,
        background: tuple[float, float] = (0.1, 0.5),
        batch_size_per_image: int = 64,
        nms_thresh: float = 0.3,
        **options: Any,
    ) -> None:
        super().__init__(
            box_roi_pool,
            box_head,
            box_predictor,
            batch_size_per_image=batch_size_per_image,
            nms_thresh=nms_thresh,
            beta=1.0,
            **options,
        )
        self.matcher = RegionMatcher(foreground, background)
        self.box_coder = NormalizedCoder()


class FastRCNN(Detector):
    """Regions from outside, and one network for all of them.

    Only the draw of regions is random, and the order of proposals where selective search finds more
    than are used; both are seeded by `manual_seed`.

    Args:
        backbone: from pictures (N, 3, H, W) to maps by name, as `VGGBody`.
        roi_heads: says what a region shows, and where that is exactly.
        transform: brings pictures to their size and into batches.
        num_classes: kinds of objects, without background.
        proposals: a function of a picture, a Tensor (3, H, W) as it was given, that returns an
            array (R, 4) of boxes in its pixels; default: selective search, remembered.
    """

    def __init__(
        self,
        backbone: nn.Module,
        roi_heads: FastRCNNHeads,
        transform: PictureTransform,
        num_classes: int,
        proposals: Proposals | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.roi_heads = roi_heads
        self.transform = transform
        self.num_classes = num_classes
        self.proposals = CachedProposals() if proposals is None else proposals

    def losses(self, images: Any, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Equation 1, the mean over the regions drawn, with lambda = 1.

        Args:
            images, targets: see detector.py. The paper's batches are of two pictures.

        Returns:
            "loss_classifier", "loss_box_reg", scalars.

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        images = check_pictures("FastRCNN", images, targets, self.num_classes)
        batch, targets = self.transform(images, targets)
        samples = self.roi_heads.sample(self.propose(images, batch), targets)
        features = self.backbone(batch.images)
        return self.roi_heads.losses(features, samples, targets, batch.sizes)

    @no_grad()
    def predict(self, images: Any) -> list[dict[str, Tensor]]:
        """The objects in each image.

        Args:
            images: see detector.py.

        Returns:
            for each image "boxes" (R, 4), pixels, "labels" (R,), "scores" (R,) from 0 to 1,
            falling. A region may be found as several classes.

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        images = check_pictures("FastRCNN", images)
        batch, _ = self.transform(images)
        features = self.backbone(batch.images)
        found = self.roi_heads.detect(features, self.propose(images, batch), batch.sizes)
        return self.transform.restore(found, batch.sizes, batch.original_sizes)

    def propose(self, images: Sequence[Tensor], batch: Batch) -> list[Array]:
        """The proposals of each picture (R, 4), in pixels of the batch."""
        found = [{"boxes": Tensor(self.proposals(image))} for image in images]
        # The other way round: from the sizes as given to those in the batch.
        moved = self.transform.restore(found, batch.original_sizes, batch.sizes)
        return [mine["boxes"].data for mine in moved]

    def fit_targets(self, samples: Iterable[tuple[Tensor, Mapping[str, Tensor]]]) -> None:
        """Measure the mean and spread of codes, so that those learned have mean 0 and spread 1.

        Before training: with other numbers, what the network has learned means other boxes.

        Args:
            samples: (image, target) of the training set.

        Raises:
            ValueError: no region shows an object, or one of the four numbers never differs.
        """
        coder, codes = self.roi_heads.box_coder, [np.zeros((0, 4), np.float32)]
        for image, target in samples:
            batch, (moved,) = self.transform([image], [target])
            (proposals,) = self.propose([image], batch)
            true = moved["boxes"].data
            matches = self.roi_heads.matcher(box_iou(true, proposals))
            mine = matches >= 0
            found = coder.coder.encode(true[matches[mine]], proposals[mine])
            codes.append(of(found).to_host(found))
        together = np.concatenate(codes)
        if len(together) == 0 or not (together.std(axis=0) > 0).all():
            raise ValueError(
                f"FastRCNN.fit_targets: {len(together)} regions show an object, and their codes "
                "must differ; give more samples, or leave the default"
            )
        with no_grad():
            coder.mean.copy_(tensor(together.mean(axis=0)))
            coder.std.copy_(tensor(together.std(axis=0)))


def compress_linear(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Two layers for one, whose product is the nearest of this rank: section 3.1, equation 5.

    W = U S V^T, of whose singular values the largest `rank` are kept: first S V^T, without bias,
    then U with the bias. That is rank (u + v) weights and multiply-adds for u v. Where regions are
    many, most of the time goes into these layers:

        >>> head = model.roi_heads.box_head
        >>> head.fc6 = compress_linear(head.fc6, 1024)  # as in the paper
        >>> head.fc7 = compress_linear(head.fc7, 256)

    Args:
        layer: v inputs, u outputs; it stays as it is.
        rank: from 1 to min(u, v).

    Returns:
        the two layers, of its dtype and on its device.

    Raises:
        ValueError: another rank.
    """
    most = min(layer.weight.shape)
    if not 1 <= rank <= most:
        raise ValueError(f"compress_linear: rank is 1 to {most} for {layer}, not {rank}")
    weight = layer.weight.data
    u, s, vt = of(weight).xp.linalg.svd(weight, full_matrices=False)
    place = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    first = nn.Linear(layer.in_features, rank, bias=False, **place)
    second = nn.Linear(rank, layer.out_features, bias=layer.bias is not None, **place)
    with no_grad():
        first.weight.copy_(Tensor(s[:rank, None] * vt[:rank]))
        second.weight.copy_(Tensor(u[:, :rank]))
        if layer.bias is not None:
            second.bias.copy_(layer.bias)
    return nn.Sequential(first, second)


def fast_rcnn_vgg16(
    num_classes: int = 20,
    *,
    dropout: float = 0.5,
    proposals: Proposals | None = None,
    min_size: int = 600,
    max_size: int = 1000,
) -> FastRCNN:
    """Fast R-CNN on VGG-16: Girshick 2015; 134,690,729 parameters.

    66.9 % mean AP on VOC 2007 (table 1, trained on VOC 2007), from weights trained on ImageNet:
    `load_classifier(model.backbone.features, model.roi_heads.box_head, vgg)`, of regions.py. The
    paper leaves conv1 and conv2 as they were there (section 4.5):
    `nn.freezing.freeze(model.backbone.features[:10])`.

    Args:
        num_classes: kinds of objects, background not among them.
        dropout: probability after fc6 and fc7.
        proposals: as in `FastRCNN`.
        min_size, max_size: of pictures, see `PictureTransform`.

    Returns:
        a detector: see detector.py.
    """
    roi_heads = FastRCNNHeads(
        SingleScaleRoIPool(7, 1 / 16),
        TwoMLPHead(512 * 7 * 7, 4096, dropout),
        FastRCNNPredictor(4096, num_classes),
    )
    transform = PictureTransform(min_size, max_size)
    return FastRCNN(VGGBody(), roi_heads, transform, num_classes, proposals)


def fast_rcnn_small(
    num_classes: int = 13,
    *,
    width: int = 16,
    hidden: int = 128,
    proposals: Proposals | None = None,
    min_size: int = 96,
    max_size: int = 192,
) -> FastRCNN:
    """Fast R-CNN that learns on a CPU, for pictures of 64 to 128 pixels.

    Four convolutions with batch norm, stride 4, RoIPool 5 x 5, two hidden layers.

    Args:
        num_classes: kinds of objects, background not among them; 13: all of `Scenes`.
        width: channels of the first convolution; the last have four times as many.
        hidden: units of fc6 and fc7.
        proposals: as in `FastRCNN`; default: selective search with boxes from 8 pixels on.
        min_size, max_size: of pictures, see `PictureTransform`.

    Returns:
        a detector for pictures with three channels: see detector.py.
    """
    body = SmallBody(width)
    roi_heads = FastRCNNHeads(
        SingleScaleRoIPool(5, 1 / 4),
        TwoMLPHead(body.out_channels * 5 * 5, hidden),
        FastRCNNPredictor(hidden, num_classes),
    )
    transform = PictureTransform(min_size, max_size)
    proposals = small_proposals() if proposals is None else proposals
    return FastRCNN(body, roi_heads, transform, num_classes, proposals)
