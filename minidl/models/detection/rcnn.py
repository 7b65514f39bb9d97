"""R-CNN: Girshick, Donahue, Darrell, Malik, "Rich feature hierarchies for accurate object detection
and semantic segmentation", 2014.

A network that classifies pictures becomes a detector: selective search proposes some 2,000 regions,
each of them is warped to the size of a picture, and what the network makes of it is classified.
It is trained in stages, each with rules of its own of what a region shows:

    stage         learns from                                  what
    fine_tune     regions that overlap an object by 0.5, the   the network, with a softmax layer
                  others as background; 32 and 96 a step       of all classes and background
    (extract)     -                                            features of all regions, kept
    train_svms    the objects, and of the regions that         a linear SVM for each class, on fc7
                  overlap none of the class by 0.3 the hard
    train_boxes   regions that overlap an object by 0.6        for each class what leads from pool5
                                                               to the object's box

(sections 2.3 and 3.5, appendices B and C). `train_rcnn` is these four, one after the other. Before
them the network is trained to classify ImageNet; `regions.load_classifier` brings such weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import nn
from ...autograd import Tensor, no_grad, tensor
from ...backend import Array, of
from ...backend.random import host_generator
from ...boxes import (
    BalancedPositiveNegativeSampler,
    BoxCoder,
    Matcher,
    box_iou,
    crop_and_warp,
    nms,
)
from ...nn import functional as F
from ...ops.shape import cat
from ...optim import Optimizer
from ..classification.alexnet import AlexNetOf2012
from .detector import IMAGE_MEAN, IMAGE_STD, Detector, check_pictures
from .regions import (
    CachedProposals,
    Proposals,
    RegionMatcher,
    Regions,
    detections,
    match_regions,
    small_backbone,
    small_proposals,
)
from .roi_heads import TwoMLPHead

__all__ = [
    "RCNN",
    "RegionFeatures",
    "StagedDetector",
    "extract",
    "fine_tune",
    "fit_ridge",
    "fit_svms",
    "mine_hard_negatives",
    "new_classifier",
    "rcnn_alexnet",
    "rcnn_small",
    "svm_answers",
    "train_boxes",
    "train_rcnn",
    "train_svms",
]

# Not in the paper but in its authors' program: features are scaled so that their mean length is 20,
# each SVM has 0.001 as the weight of its hinge losses, twice as much for positives, and its bias is
# a feature that is always 10 (so that what is kept small is less the bias than the rest).
FEATURE_NORM = 20.0
SVM_COST, POSITIVE_COST, BIAS_FEATURE = 1e-3, 2.0, 10.0
# A negative is hard while its score is above the margin; it is put away again below the other.
HARD, EASY = -1.0001, -1.2


class StagedDetector(Detector):
    """What R-CNN and SPP-net have in common: all but how a region gets its features.

    A subclass defines `pooled`.

    Args:
        backbone: to the last maps, whose pooled values are the features "pool5".
        head: these to features (R, F), "fc7".
        classifier: these to scores (R, num_classes + 1), column 0 being background.
        num_classes: kinds of objects, background not among them.
        proposals: a function of a picture, a Tensor (3, H, W), that returns an array (R, 4) of
            boxes in its pixels; default: selective search, remembered.
        regions_per_step: regions that are learned from in a step of fine-tuning.
        positive_fraction: share of those with an object among them, where there are so many.
        foreground: intersection over union with an object from which on a region shows it, for
            fine-tuning.
        background: (low, high) of that for regions that show none; see `RegionMatcher`.
        negative_overlap: regions below it are negatives of an SVM.
        negative_nms: where two negatives of a picture overlap by more, one is left out; None: none.
        regression_overlap: regions from it on teach the box regressors.
        score_thresh: of detections, as probabilities; svm_thresh: likewise, as margins of SVMs.
        nms_thresh, detections_per_img: as in `regions.detections`.

    Attributes:
        has_svms: buffer, whether the scores of `predict` are margins of the SVMs. Until these are
            trained they are probabilities of the softmax layer (R-CNN, appendix B: with the paper's
            network 3 points less mean AP).
        svm_weight (num_classes, F), svm_bias (num_classes,), box_weight (num_classes, 4, P),
        box_bias (num_classes, 4): buffers. They are 0 before training; then boxes are those of the
            proposals.

    Only the draw of regions is random, and the order of proposals where selective search finds more
    than are used; both are seeded by `manual_seed`.
    """

    has_svms: Tensor
    svm_weight: Tensor
    svm_bias: Tensor
    box_weight: Tensor
    box_bias: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: TwoMLPHead,
        classifier: nn.Linear,
        num_classes: int,
        *,
        proposals: Proposals | None = None,
        regions_per_step: int = 128,
        positive_fraction: float = 0.25,
        foreground: float = 0.5,
        background: tuple[float, float] = (0.0, 0.5),
        negative_overlap: float = 0.3,
        negative_nms: float | None = None,
        regression_overlap: float = 0.6,
        score_thresh: float = 0.05,
        svm_thresh: float = -1.0,
        nms_thresh: float = 0.3,
        detections_per_img: int = 100,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = backbone
        self.head = head
        self.classifier = classifier
        self.proposals = CachedProposals() if proposals is None else proposals
        self.sampler = BalancedPositiveNegativeSampler(regions_per_step, positive_fraction)
        self.matcher = RegionMatcher(foreground, background)
        self.negative_overlap, self.negative_nms = negative_overlap, negative_nms
        self.regression_overlap = regression_overlap
        self.score_thresh, self.svm_thresh = score_thresh, svm_thresh
        self.nms_thresh, self.detections_per_img = nms_thresh, detections_per_img
        self.coder = BoxCoder()
        pooled, features = head.fc6.in_features, classifier.in_features
        for name, shape in (
            ("svm_weight", (num_classes, features)),
            ("svm_bias", (num_classes,)),
            ("box_weight", (num_classes, 4, pooled)),
            ("box_bias", (num_classes, 4)),
        ):
            self.register_buffer(name, tensor(np.zeros(shape, np.float32)))
        self.register_buffer("has_svms", tensor(np.array(False)))

    def pooled(self, images: Sequence[Tensor], boxes: Sequence[Array]) -> Tensor:
        """The features "pool5" (R, P) of all regions of all images.

        Args:
            images: (3, H, W) each.
            boxes: of each (R_i, 4), in its pixels.
        """
        raise NotImplementedError

    def losses(self, images: Any, targets: Any) -> dict[str, Tensor]:
        """The loss of fine-tuning, of regions drawn from all these images together.

        Args:
            images, targets: see detector.py.

        Returns:
            "loss_classifier", the mean cross-entropy.

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        images = check_pictures(f"{type(self).__name__}.losses", images, targets, self.num_classes)
        return self.region_losses(images, self.match(images, targets))

    def predict(self, images: Any) -> list[dict[str, Tensor]]:
        """What is in each image: "boxes", "labels" and "scores"; see detector.py.

        Scores are margins of the SVMs, any numbers, if these are trained. A region may be found as
        several classes.

        Raises:
            TypeError, ValueError: as `check_pictures`.
        """
        images = check_pictures(f"{type(self).__name__}.predict", images)
        return [self._predict_one(image) for image in images]

    def _predict_one(self, image: Tensor) -> dict[str, Tensor]:
        with no_grad():
            boxes = self.proposals(image)
            pooled = self.pooled([image], [boxes])
            features = self.head(pooled)
            if bool(self.has_svms):
                scores = F.linear(features, self.svm_weight, self.svm_bias)
            else:
                scores = F.softmax(self.classifier(features), 1)[:, 1:]
            codes = F.linear(pooled, self.box_weight.flatten(0, 1), self.box_bias.flatten())
            return detections(
                self.coder.decode(codes.unflatten(1, (-1, 4)).data, boxes),
                scores.data,
                (image.shape[1], image.shape[2]),
                self.svm_thresh if bool(self.has_svms) else self.score_thresh,
                self.nms_thresh,
                self.detections_per_img,
            )

    def match(
        self, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]
    ) -> list[Regions]:
        """What the proposals of each picture, and its objects, show; for fine-tuning."""
        return [
            match_regions(self.proposals(image), target, self.matcher)
            for image, target in zip(images, targets, strict=True)
        ]

    def region_losses(
        self, images: Sequence[Tensor], regions: Sequence[Regions]
    ) -> dict[str, Tensor]:
        """`losses` of pictures whose regions have been matched."""
        labels = of(regions[0].labels).xp.concatenate([mine.labels for mine in regions])
        (positive,), (negative,) = self.sampler([labels])
        drawn, boxes, start = positive | negative, [], 0
        for mine in regions:
            boxes.append(mine.boxes[drawn[start : start + len(mine.labels)]])
            start += len(mine.labels)
        labels = labels[drawn]
        scores = self.classifier(self.head(self.pooled(images, boxes)))
        loss = F.cross_entropy(scores, Tensor(labels), reduction="sum")
        return {"loss_classifier": loss * (1.0 / max(len(labels), 1))}


class RCNN(StagedDetector):
    """Each region is cropped, warped to the size of a picture, and computed alone.

    For `losses` the paper draws regions from the whole training set: only crops go through the
    network, so all of it may be given, or `fine_tune` used.

    Args:
        backbone: crops (R, 3, crop_size, crop_size) to the last pooled maps.
        head, classifier, num_classes: as in `StagedDetector`, and `options`.
        crop_size: height and width of a crop, pixels.
        context: of these, on each side, around the region.
        crops_per_pass: in evaluation mode so many crops are computed at once.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: TwoMLPHead,
        classifier: nn.Linear,
        num_classes: int,
        *,
        crop_size: int = 227,
        context: int = 16,
        crops_per_pass: int = 128,
        **options: Any,
    ) -> None:
        super().__init__(backbone, head, classifier, num_classes, **options)
        self.crop_size, self.context = crop_size, context
        self.crops_per_pass = crops_per_pass

    def pooled(self, images: Sequence[Tensor], boxes: Sequence[Array]) -> Tensor:
        """As `StagedDetector`. What lies outside of a picture is grey: the mean of ImageNet."""
        crops = [
            Tensor(crop_and_warp(image.data, mine, self.crop_size, self.context, IMAGE_MEAN))
            for image, mine in zip(images, boxes, strict=True)
            if len(mine)
        ]
        if not crops:
            none = np.zeros((0, self.head.fc6.in_features))
            return tensor(none, dtype=images[0].dtype, device=images[0].device)
        x = cat(crops)
        mean, std = [
            tensor(np.array(values), dtype=x.dtype, device=x.device).reshape(1, -1, 1, 1)
            for values in (IMAGE_MEAN, IMAGE_STD)
        ]
        x = (x - mean) / std
        # In training all at once: batch norm must see the whole batch.
        step = len(x) if self.training else self.crops_per_pass
        return cat([self.backbone(x[i : i + step]).flatten(1) for i in range(0, len(x), step)])


# -- the stages -----------------------------------------------------------------------------------


def train_rcnn(
    model: StagedDetector,
    images: Sequence[Tensor],
    targets: Sequence[Mapping[str, Tensor]],
    optimizer: Optimizer,
    steps: int,
    batch_size: int | None = None,
) -> list[float]:
    """All stages, one after the other.

    Args:
        model: an `RCNN` or `SPPNet`, changed in place.
        images, targets: the training set; see detector.py.
        optimizer: for fine-tuning. The paper's is SGD with a rate of 0.001, a hundredth of that
            with which the network was trained on ImageNet; a network that starts from chance needs
            more.
        steps: of fine-tuning.
        batch_size: as in `fine_tune`.

    Returns:
        the losses of fine-tuning.

    Raises:
        TypeError, ValueError: as `check_pictures`.

    Example:
        >>> model = rcnn_small(num_classes=3)
        >>> train_rcnn(model, images, targets, optim.Adam(model.parameters(), 1e-3), 300)
        >>> model.predict(images[:1])
    """
    losses = fine_tune(model, images, targets, optimizer, steps, batch_size)
    features = list(extract(model, images, targets))
    train_svms(model, features)
    train_boxes(model, features)
    return losses


def fine_tune(
    model: StagedDetector,
    images: Sequence[Tensor],
    targets: Sequence[Mapping[str, Tensor]],
    optimizer: Optimizer,
    steps: int,
    batch_size: int | None = None,
) -> list[float]:
    """Train the network to say what a region shows, or that it shows background. Section 2.3.

    Args:
        model, images, targets, optimizer: as in `train_rcnn`.
        steps: each with 32 regions with an object and 96 without.
        batch_size: they are drawn from so many pictures, others in each step; None: from all. Where
            regions share the features of their picture, from all of them would be dear.

    Returns:
        the loss of each step.
    """
    images = check_pictures("fine_tune", images, targets, model.num_classes)
    regions = model.match(images, targets)
    losses = []
    model.train()
    for _ in range(steps):
        order = host_generator().permutation(len(images))[:batch_size]
        optimizer.zero_grad()
        (loss,) = model.region_losses(
            [images[i] for i in order], [regions[i] for i in order]
        ).values()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


class RegionFeatures(NamedTuple):
    """What the later stages need to know of the regions of a picture. Arrays on the host.

    Attributes:
        features: (R, F) "fc7".
        answers: (R, num_classes) for each SVM: 1 is positive, -1 negative, 0 neither.
        pooled: (Q, P) "pool5" of those regions from which box regressors learn.
        labels: (Q,) the class of the object that each of these shows.
        codes: (Q, 4) what leads from each to the object.
    """

    features: np.ndarray
    answers: np.ndarray
    pooled: np.ndarray
    labels: np.ndarray
    codes: np.ndarray


def extract(
    model: StagedDetector, images: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]]
) -> Iterator[RegionFeatures]:
    """The features of all regions, computed once, picture by picture, and what they show.

    For 5,000 photographs of VOC these are some 160 GB: the paper's authors wrote them to a disk.
    """
    model.eval()
    for image, target in zip(images, targets, strict=True):
        proposals = model.proposals(image)
        boxes, numbers = target["boxes"].data.astype(proposals.dtype), target["labels"].data
        xp = of(boxes).xp
        regions = xp.concatenate([proposals, boxes])
        with no_grad():
            pooled = model.pooled([image], [regions])
            features = model.head(pooled).data
        overlaps = box_iou(boxes, regions)  # (M, R)
        matches = Matcher(model.regression_overlap, model.regression_overlap)(overlaps)
        near = xp.nonzero(matches >= 0)[0]
        shown = matches[near]
        codes = model.coder.encode(boxes[shown], regions[near])
        found = (features, pooled.data[near], numbers[shown], codes, regions, boxes, numbers)
        features, close, labels, codes, regions, boxes, numbers = [
            of(values).to_host(values) for values in found
        ]
        answers = svm_answers(
            regions, boxes, numbers, model.num_classes, model.negative_overlap, model.negative_nms
        )
        yield RegionFeatures(features, answers, close, labels, codes)


def svm_answers(
    regions: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    negative_overlap: float = 0.3,
    negative_nms: float | None = None,
) -> np.ndarray:
    """What each region is for the SVM of each class. Section 2.3, appendix B.

    Args:
        regions: (R, 4) x1, y1, x2, y2, pixels; the last M are the objects themselves.
        boxes: (M, 4), of the objects.
        labels: (M,) their classes.
        num_classes, negative_overlap, negative_nms: as in `StagedDetector`.

    Returns:
        (R, num_classes) int8: 1 for the objects of the class, -1 for regions that overlap all of
        them by less than `negative_overlap`, 0 for the others, which show a part of one.
    """
    most = np.zeros((num_classes, len(regions)))
    np.maximum.at(most, labels, box_iou(boxes, regions))
    answers = -np.less(most.T, negative_overlap).astype(np.int8)
    if negative_nms is not None:
        for column in answers.T:
            negative = np.flatnonzero(column)
            column[negative] = 0
            # Of equal scores the first is left.
            kept = nms(regions[negative], np.zeros(len(negative)), negative_nms)
            column[negative[kept]] = -1
    answers[np.arange(len(regions) - len(boxes), len(regions)), labels] = 1
    return answers


def train_svms(
    model: StagedDetector,
    features: Sequence[RegionFeatures],
    cost: float = SVM_COST,
    passes: int = 10,
) -> None:
    """Train a linear SVM for each class; from now on `predict` uses them. Section 2.3.

    Args:
        model: changed in place.
        features: of the training set, from `extract`.
        cost: of each unit of hinge loss; see `fit_svms`.
        passes: over the training set at most; see `mine_hard_negatives`.

    Raises:
        ValueError: there is no region.
    """
    x = np.concatenate([mine.features for mine in features])
    answers = np.concatenate([mine.answers for mine in features])
    if len(x) == 0:
        raise ValueError("train_svms: there is no region to learn from; give pictures with objects")
    scale = _to_norm(x)
    starts = np.cumsum([len(mine.features) for mine in features])[:-1]
    weight, bias = mine_hard_negatives(
        np.split(x * scale, starts), np.split(answers, starts), cost, passes
    )
    with no_grad():
        model.svm_weight.copy_(tensor(weight * scale))
        model.svm_bias.copy_(tensor(bias))
        model.has_svms.copy_(tensor(np.array(True)))


def mine_hard_negatives(
    features: Sequence[np.ndarray],
    answers: Sequence[np.ndarray],
    cost: float = SVM_COST,
    passes: int = 10,
    retrain: int = 2000,
) -> tuple[np.ndarray, np.ndarray]:
    """SVMs of all regions, of which only those few are kept that matter. Section 2.3.

    A negative far below the margin has no part in the solution. So the SVMs are trained on the
    positives and on those negatives that were found to be hard: picture after picture, its
    negatives that the SVMs do not tell surely join them, now and then the SVMs are trained anew,
    and what has become easy leaves. When in a pass over all pictures none joins, this is the
    solution for all regions.

    Args:
        features: for each picture (R_i, D).
        answers: for each picture (R_i, C): 1, -1 or 0, see `svm_answers`.
        cost: see `fit_svms`.
        passes: over all pictures, at most.
        retrain: after so many new hard negatives, of all classes together.

    Returns:
        weight (C, D) and bias (C,).
    """
    x, y = np.concatenate(features), np.concatenate(answers)
    stops = np.cumsum([len(mine) for mine in features])
    kept = y > 0
    alpha = np.zeros(y.shape, x.dtype)
    weight, bias = np.zeros((y.shape[1], x.shape[1]), x.dtype), np.zeros(y.shape[1], x.dtype)
    for _ in range(passes):
        found, waiting = 0, 0
        for stop, mine in zip(stops, features, strict=True):
            here = slice(stop - len(mine), stop)
            hard = (y[here] < 0) & ~kept[here] & (x[here] @ weight.T + bias > HARD)
            kept[here] |= hard
            found, waiting = found + hard.sum(), waiting + hard.sum()
            if waiting >= retrain or (waiting and stop == len(x)):
                weight, bias, alpha = fit_svms(x, np.where(kept, y, 0), cost, alpha=alpha)
                kept &= (y > 0) | (x @ weight.T + bias > EASY)
                waiting = 0
        if found == 0:
            break
    return weight, bias


def fit_svms(
    features: np.ndarray,
    answers: np.ndarray,
    cost: float = SVM_COST,
    positive_cost: float = POSITIVE_COST,
    *,
    alpha: np.ndarray | None = None,
    tolerance: float = 0.01,
    epochs: int = 1000,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear SVMs by hinge loss, those of all classes side by side.

    For each class the weights w and bias b that make this small:

        |w|^2 / 2 + |b / 10|^2 / 2 + sum of cost * max(0, 1 - y (w x + b))

    by dual coordinate descent (Hsieh et al. 2008, algorithm 1), as in the paper's program: w is a
    sum of alpha y x over the regions, and one region after the other its alpha, from 0 to its cost,
    is made the best one.

    Args:
        features: (N, D) x.
        answers: (N, C) y of each class: 1, -1, or 0 where a region has no part in its SVM.
        cost: of a unit of hinge loss.
        positive_cost: of positives so many times as much.
        alpha: (N, C) where to start from.
        tolerance: stop when the sum over classes is proven to be larger than the least possible
            one by no more than this share.
        epochs: times that each region is looked at, at most.

    Returns:
        weight (C, D), bias (C,) and alpha (N, C).
    """
    x = np.concatenate([features, np.full_like(features[:, :1], BIAS_FEATURE)], axis=1)
    limit = cost * np.where(answers > 0, positive_cost, answers < 0).astype(x.dtype)
    alpha = np.zeros_like(limit) if alpha is None else np.minimum(alpha, limit)
    signs = answers.astype(x.dtype)
    squares = (x * x).sum(axis=1)
    taking_part = np.flatnonzero(answers.any(axis=1))
    for _ in range(epochs):
        w = (alpha * signs).T @ x  # (C, D + 1), anew each time: sums of small steps drift
        squared = (w * w).sum()
        loss = (limit * np.maximum(1.0 - signs * (x @ w.T), 0.0)).sum()
        # Primal less dual objective; the least possible value lies between the two.
        if squared + loss - alpha.sum() <= tolerance * (0.5 * squared + loss):
            break
        for i in host_generator().permutation(taking_part):
            wished = alpha[i] + (1.0 - signs[i] * (w @ x[i])) / squares[i]
            change = np.clip(wished, 0.0, limit[i]) - alpha[i]
            if change.any():
                alpha[i] += change
                w += np.outer(change * signs[i], x[i])
    return w[:, :-1], w[:, -1] * BIAS_FEATURE, alpha


def train_boxes(
    model: StagedDetector, features: Sequence[RegionFeatures], ridge: float = 1000.0
) -> None:
    """Train for each class what leads from a region to the object. Appendix C, equation 5.

    Args:
        model: changed in place.
        features: of the training set, from `extract`. Without a region near an object nothing is
            learned, and boxes stay those of the proposals; so it is for each class.
        ridge: lambda, for features of mean length 20.
    """
    pooled = np.concatenate([mine.pooled for mine in features])
    codes = np.concatenate([mine.codes for mine in features])
    labels = np.concatenate([mine.labels for mine in features])
    scale = _to_norm(pooled)
    for label in range(model.num_classes):
        mine = labels == label
        weight, bias = fit_ridge(pooled[mine] * scale, codes[mine], ridge)
        with no_grad():
            model.box_weight[label].copy_(tensor(weight * scale))
            model.box_bias[label].copy_(tensor(bias))


def fit_ridge(x: np.ndarray, y: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """weight and bias that make |y - x weight^T - bias|^2 + ridge |weight|^2 small.

    Args:
        x: (N, P); N may be 0, then all is 0.
        y: (N, K).
        ridge: lambda, above 0.

    Returns:
        weight (K, P) and bias (K,), in the dtype of x.
    """
    if len(x) == 0:
        return np.zeros((y.shape[1], x.shape[1]), x.dtype), np.zeros(y.shape[1], x.dtype)
    x_mean, y_mean = x.mean(axis=0, dtype=np.float64), y.mean(axis=0, dtype=np.float64)
    x_rest, y_rest = x - x_mean, y - y_mean
    count, features = x.shape
    if count < features:  # the same with a smaller system: (x^T x + l) x^T = x^T (x x^T + l)
        weight = x_rest.T @ np.linalg.solve(x_rest @ x_rest.T + ridge * np.eye(count), y_rest)
    else:
        weight = np.linalg.solve(x_rest.T @ x_rest + ridge * np.eye(features), x_rest.T @ y_rest)
    bias = y_mean - x_mean @ weight
    return weight.T.astype(x.dtype), bias.astype(x.dtype)


def _to_norm(x: np.ndarray) -> float:
    """What features (N, D) are multiplied by so that their mean length is `FEATURE_NORM`."""
    lengths = np.linalg.norm(x, axis=1)
    return FEATURE_NORM / float(lengths.mean()) if lengths.any() else 1.0


# -- networks -------------------------------------------------------------------------------------


def rcnn_alexnet(
    num_classes: int = 20, *, dropout: float = 0.5, proposals: Proposals | None = None
) -> RCNN:
    """R-CNN on AlexNet: Girshick et al. 2014; 56,954,261 parameters, and SVMs and regressors.

    58.5 % mean AP on VOC 2007 (table 2), from weights trained on ImageNet:
    `load_classifier(model.backbone, model.head, alexnet(variant="2012"))`, of regions.py.

    Args:
        num_classes: kinds of objects, background not among them.
        dropout: probability after fc6 and fc7.
        proposals: as in `StagedDetector`.

    Returns:
        a detector, to be trained by `train_rcnn`.
    """
    return RCNN(
        AlexNetOf2012(1, hidden=1, pooled=1).features,
        TwoMLPHead(256 * 6 * 6, 4096, dropout),
        new_classifier(4096, num_classes),
        num_classes,
        proposals=proposals,
    )


def rcnn_small(
    num_classes: int = 13,
    *,
    width: int = 16,
    hidden: int = 128,
    crop_size: int = 32,
    proposals: Proposals | None = None,
) -> RCNN:
    """R-CNN that learns on a CPU, for pictures of 64 to 128 pixels.

    Crops of 32 x 32, four convolutions with batch norm, maps of 4 x 4, two hidden layers.

    Args:
        num_classes: kinds of objects, background not among them; 13: all of `Scenes`.
        width: channels of the first convolution; the last have four times as many.
        hidden: units of fc6 and fc7.
        crop_size: height and width of a crop, a multiple of 8; a frame of 2 pixels is context.
        proposals: as in `StagedDetector`; default: selective search with boxes from 8 pixels on.

    Returns:
        a detector for pictures with three channels, to be trained by `train_rcnn`.
    """
    return RCNN(
        nn.Sequential(*small_backbone(width), nn.MaxPool2d(2)),
        TwoMLPHead(4 * width * (crop_size // 8) ** 2, hidden),
        new_classifier(hidden, num_classes),
        num_classes,
        crop_size=crop_size,
        context=2,
        proposals=small_proposals() if proposals is None else proposals,
    )


def new_classifier(in_features: int, num_classes: int) -> nn.Linear:
    """The softmax layer for fine-tuning, which takes the place of that of ImageNet."""
    layer = nn.Linear(in_features, num_classes + 1)
    nn.init.normal_(layer.weight, 0.0, 0.01)
    nn.init.zeros_(layer.bias)
    return layer
