"""OverFeat as a detector: Sermanet, Eigen, Zhang, Mathieu, Fergus, LeCun, "OverFeat: integrated
recognition, localization and detection using convolutional networks", 2013, sections 3.3 to 5.

A classifier that slides over the picture at several sizes, and at each of its places also says
where the box of the object ends:

    picture at each scale -> layers 1-5 -> pooling with offsets -> classifier  -> class scores
                                                                -> regressor   -> a box a class

Both heads are fully connected layers as convolutions, so all places cost one pass. A place is a
window of the picture: of the size that the network was made for, 231x231 pixels for the fast one.

Fine stride (section 3.3, figure 3). The last maximum of p x p pixels leaves windows only every
p-th place of the maps before it. The paper takes the maximum p x p times, shifted by 0 to p - 1
pixels each way, runs the heads on each result, and interleaves what they say. The same comes of
taking it at every pixel and letting the heads look at every p-th one of these (their first
convolution dilated by p), which is what is done here.

Training (sections 4.2 and 5): all places of all scales at once. A window that overlaps an object by
half or more shows it, the others show background; of those the most offending ones are learned. The
regressor learns, with squared error, of the windows that show an object where its edges are, in
shares of the window. (In the paper it is trained after the classifier, on the features that this
has learned; here both at once.)

Merging (section 4.3). No suppression: boxes that agree become one, and its score is the sum of
theirs, so that many weak votes are worth a strong one. Two boxes are the better a match, the nearer
their centres and the larger their intersection. The paper does not say how it adds the two. Here

    match_score = (distance of the centres) / sqrt(mean area) + 1 - IoU

the least of all pairs is merged into the mean of their edges, until it is above a threshold. Boxes
of different classes are not merged; in the paper classes are those with the highest scores at each
scale, here all places count whose class is more probable than a threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ... import nn
from ...autograd import Tensor, no_grad, tensor
from ...autograd.tensor import wrap
from ...backend import Array, of
from ...boxes import Matcher, clip_boxes_to_image
from ...nn import functional as F
from ..classification.overfeat import ACCURATE, FAST, Layer, OverFeat
from .dense import highest
from .detector import Detector, check_pictures
from .sliding_window_detector import Look, by_size, match_windows, snapped, window_boxes

__all__ = [
    "OverFeatDetector",
    "decode",
    "encode",
    "match_scores",
    "merge",
    "overfeat_detector",
    "overfeat_detector_small",
]


# -- boxes -----------------------------------------------------------------------------------------


def encode(boxes: Array, windows: Array) -> Array:
    """Where the edges of boxes are in windows: 0 at the upper left corner, 1 at the lower right.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels.
        windows: (R, 4), likewise.
    """
    xp = of(boxes).xp
    corner, size = windows[:, :2], windows[:, 2:] - windows[:, :2]
    return (boxes - xp.tile(corner, (1, 2))) / xp.tile(size, (1, 2))


def decode(codes: Array, windows: Array) -> Array:
    """The boxes (R, 4) that `encode` was made of."""
    xp = of(codes).xp
    corner, size = windows[:, :2], windows[:, 2:] - windows[:, :2]
    return codes * xp.tile(size, (1, 2)) + xp.tile(corner, (1, 2))


def match_scores(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """How badly a box matches others: 0 for itself, above 1 for those that it does not overlap.

    Args:
        box: (4,) x1, y1, x2, y2, pixels, with an area.
        boxes: (R, 4), likewise.

    Returns:
        (R,): the distance of the centres over the root of the mean area, and 1 - IoU.
    """
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    both = np.maximum(sides, 0.0).prod(axis=1)
    areas = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    shift = 0.5 * (box[:2] + box[2:] - boxes[:, :2] - boxes[:, 2:])
    distance = np.sqrt((shift**2).sum(axis=1) / (0.5 * areas))
    return distance + 1.0 - both / (areas - both)


def merge(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Greedy merging of the boxes of one class (section 4.3).

    One pair after the other, so on the host.

    Args:
        boxes: (R, 4) x1, y1, x2, y2, pixels, with areas.
        scores: (R,).
        threshold: the pair of least match score is merged as long as that is not above.

    Returns:
        boxes (K, 4), each merge the mean of its two, and the sums of their scores (K,), by falling
        score.
    """
    boxes, scores = boxes.copy(), scores.copy()
    alive = np.ones(len(boxes), bool)
    table = np.full((len(boxes), len(boxes)), np.inf)
    for i in range(1, len(boxes)):
        table[i, :i] = match_scores(boxes[i], boxes[:i])
    while len(boxes):
        i, j = divmod(int(table.argmin()), len(boxes))  # j < i
        if not table[i, j] <= threshold:
            break
        boxes[j] = 0.5 * (boxes[i] + boxes[j])
        scores[j] += scores[i]
        alive[i] = False
        table[i] = table[:, i] = np.inf
        new = np.where(alive, match_scores(boxes[j], boxes), np.inf)
        table[j, :j], table[j + 1 :, j] = new[:j], new[j + 1 :]
    order = np.argsort(-scores[alive], kind="stable")
    return boxes[alive][order], scores[alive][order]


# -- the network -----------------------------------------------------------------------------------


class OverFeatDetector(Detector):
    """The classifier of OverFeat, and a regressor on the same features.

    Args:
        num_classes: kinds of objects.
        scales: lengths of the shorter side that pictures are resized to.
        layers, window, hidden: as in `OverFeat`.
        box_hidden: units of the two hidden layers of the regressor.
        in_channels: channels of the pictures.
        dropout: probability after each hidden layer.
        negatives: how many windows of background are learned of a picture at a scale.
        box_weight: of the regressor's loss.
        score_thresh: windows of which a class has a higher probability vote for it.
        candidates: the most votes for a class that are merged, those of highest probability.
        merge_thresh: of `merge`.
        detections_per_img: the most predictions of a picture.

    Attributes:
        network: an `OverFeat` of num_classes + 1 outputs, background first.
        size: height and width of a window in pixels of the resized picture.
        stride: from one window to the next, likewise; p times finer than the network's own.
    """

    def __init__(
        self,
        num_classes: int,
        scales: Sequence[int],
        layers: tuple[Layer, ...] = FAST,
        window: int = 6,
        hidden: tuple[int, int] = (3072, 4096),
        box_hidden: tuple[int, int] = (4096, 1024),
        *,
        in_channels: int = 3,
        dropout: float = 0.5,
        negatives: int = 32,
        box_weight: float = 1.0,
        score_thresh: float = 0.3,
        candidates: int = 200,
        merge_thresh: float = 0.8,
        detections_per_img: int = 100,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.scales = tuple(scales)
        self.negatives = negatives
        self.box_weight = box_weight
        self.score_thresh = score_thresh
        self.candidates = candidates
        self.merge_thresh = merge_thresh
        self.detections_per_img = detections_per_img
        self.matcher = Matcher(0.5, 0.5, allow_low_quality_matches=True)
        self.network = OverFeat(
            num_classes + 1, layers, window, hidden, in_channels=in_channels, dropout=dropout
        )
        self.regressor = nn.Sequential(
            nn.Conv2d(layers[-1].maps, box_hidden[0], window),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(box_hidden[0], box_hidden[1], 1),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv2d(box_hidden[1], 4 * num_classes, 1),
        )
        for layer in self.regressor:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, 0.0, 0.01)
                nn.init.zeros_(layer.bias)
        with no_grad():  # the first guess is the window
            self.regressor[-1].bias.copy_(np.tile([0.0, 0.0, 1.0, 1.0], num_classes))
        self.pooling = layers[-1].pooling
        self.stride, self.size = 1, window * self.pooling
        for i, one in enumerate(reversed(layers)):
            pooling = one.pooling if i else 1  # the last maximum is taken at every pixel
            self.stride *= one.stride * pooling
            self.size = (self.size * pooling - 1) * one.stride + one.window - 2 * one.padding

    def looks(self, image: Tensor) -> list[Look]:
        """An image (C, H, W) at each scale, pixels from -1 to 1, and the windows of its places."""
        image = image * 2.0 - 1.0
        size = image.shape[-2], image.shape[-1]
        found = []
        for scale in self.scales:
            h, w = [snapped(n, scale / min(size), self.size, self.stride) for n in size]
            picture = F.interpolate(image[None], (h, w), mode="bilinear")[0]
            boxes = window_boxes((h, w), size, self.size, self.stride, image.data)
            found.append(Look(picture, boxes))
        return found

    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Class scores and edges at every place of pictures (N, C, h, w), row by row.

        Returns:
            (N, M, num_classes + 1), and (N, M, num_classes, 4) as from `encode`.
        """
        features = self.network.features
        if self.pooling > 1:
            x = F.max_pool2d(features[:-1](x), self.pooling, 1)
        else:
            x = features(x)
        scores, edges = [self._slide(head, x) for head in (self.network.classifier, self.regressor)]
        return scores, edges.unflatten(2, (self.num_classes, 4))

    def _slide(self, head: nn.Sequential, x: Tensor) -> Tensor:
        """(N, M, outputs) of a head that looks at every `pooling`-th pixel of maps (N, C, h, w)."""
        first = head[0]
        x = F.conv2d(x, first.weight, first.bias, dilation=self.pooling)
        return head[1:](x).flatten(2).transpose(1, 2)

    def losses(self, images: Any, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Of all scales: cross-entropy, and the squared error of the edges.

        Returns:
            "loss_class", the mean over windows that show an object and the `negatives` most
            offending ones of the others of each picture and scale; "loss_box", the mean over
            windows that show an object.
        """
        images = check_pictures("OverFeatDetector", images, targets, self.num_classes)
        looks = [self.looks(image) for image in images]
        parts = []
        for same in zip(*looks, strict=True):  # all pictures at one scale
            for indices, batch in by_size([look.picture for look in same]):
                scores, edges = self.outputs(batch)
                for row, i in enumerate(indices):
                    parts.append(self._of_picture(scores[row], edges[row], same[i], targets[i]))
        by_class, learned, by_box, objects = [sum(part) for part in zip(*parts, strict=True)]
        return {
            "loss_class": by_class / learned.clamp(min=1.0),
            "loss_box": by_box / objects.clamp(min=1.0) * self.box_weight,
        }

    def _of_picture(
        self, scores: Tensor, edges: Tensor, look: Look, target: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The sums of both losses, and of how many windows they are: of classes, of edges."""
        xp, dtype = of(look.boxes).xp, scores.dtype
        labels, boxes = match_windows(look.boxes, target, self.matcher)
        loss = F.cross_entropy(scores, wrap(labels), reduction="none")
        positive = labels > 0
        offending = highest(xp.where(positive, -1.0, loss.data), self.negatives)
        chosen = positive.copy()
        chosen[offending] = True
        is_chosen, is_positive = wrap(chosen.astype(dtype)), wrap(positive.astype(dtype))
        # Of the edges of all classes those of the window's own.
        mine = wrap(labels[:, None] == xp.arange(1, self.num_classes + 1)).to(dtype)
        wanted = wrap(encode(boxes, look.boxes).astype(dtype, copy=False))
        square = ((edges - wanted[:, None]) ** 2).sum(2) * mine
        return (loss * is_chosen).sum(), is_chosen.sum(), square.sum(), is_positive.sum()

    def predict(self, images: Any) -> list[dict[str, Tensor]]:
        """Boxes that windows of all scales agree on; their scores are sums, and may be above 1.

        On a GPU this waits: boxes are merged on the host.
        """
        images = check_pictures("OverFeatDetector", images)
        with no_grad():
            looks = [self.looks(image) for image in images]
            votes: list[list[tuple[Array, Array]]] = [[] for _ in images]
            for same in zip(*looks, strict=True):
                for indices, batch in by_size([look.picture for look in same]):
                    scores, edges = self.outputs(batch)
                    sure = F.softmax(scores, 2).data[..., 1:]
                    for row, i in enumerate(indices):
                        votes[i].append((sure[row], self._boxes(edges.data[row], same[i].boxes)))
            return [self._elect(image, vote) for image, vote in zip(images, votes, strict=True)]

    def _boxes(self, edges: Array, windows: Array) -> Array:
        """(M, num_classes, 4) pixels of the picture."""
        windows = of(edges).xp.repeat(windows, self.num_classes, axis=0)
        return decode(edges.reshape(-1, 4), windows).reshape(edges.shape)

    def _elect(self, image: Tensor, votes: Sequence[tuple[Array, Array]]) -> dict[str, Tensor]:
        """The predictions of a picture, from the votes of all its windows."""
        backend = of(image.data)
        size = image.shape[1], image.shape[2]
        sure, boxes = [backend.to_host(backend.xp.concatenate(v)) for v in zip(*votes, strict=True)]
        found = []
        for label in range(self.num_classes):
            mine = clip_boxes_to_image(boxes[:, label], size)
            seen = (mine[:, 2:] > mine[:, :2]).all(axis=1)
            voting = np.flatnonzero(seen & (sure[:, label] > self.score_thresh))
            voting = voting[np.argsort(-sure[voting, label], kind="stable")][: self.candidates]
            merged, scores = merge(mine[voting], sure[voting, label], self.merge_thresh)
            found.append((merged, np.full(len(scores), label, np.int64), scores))
        all_boxes, labels, scores = [np.concatenate(part) for part in zip(*found, strict=True)]
        best = np.argsort(-scores, kind="stable")[: self.detections_per_img]
        result = {"boxes": all_boxes[best], "labels": labels[best], "scores": scores[best]}
        return {name: tensor(value, device=image.device) for name, value in result.items()}


def overfeat_detector(
    num_classes: int = 200, *, variant: str = "fast", in_channels: int = 3, **options: Any
) -> OverFeatDetector:
    """OverFeat as a detector: Sermanet et al. 2013, sections 4 and 5; 298,661,737 parameters.

    Published mean AP on the ILSVRC 2013 detection challenge 24.3 % (section 5, after the
    competition), with six scales, trained first on ImageNet's 1,000 classes.

    Args:
        num_classes: kinds of objects.
        variant: the layers, see `overfeat`: "fast" or "accurate".
        in_channels: channels of the pictures.
        options: of `OverFeatDetector`.

    Returns:
        a `Detector`, for pictures of any size, at the six scales of table 5.

    Raises:
        ValueError: an unknown variant.
    """
    if variant not in ("fast", "accurate"):
        raise ValueError(f"overfeat_detector: variant is 'fast' or 'accurate', not {variant!r}")
    layers, window, hidden = (
        (FAST, 6, (3072, 4096)) if variant == "fast" else (ACCURATE, 5, (4096, 4096))
    )
    scales = options.pop("scales", (245, 281, 317, 389, 425, 461))
    return OverFeatDetector(
        num_classes, scales, layers, window, hidden, in_channels=in_channels, **options
    )


def overfeat_detector_small(
    num_classes: int = 13, *, in_channels: int = 3, **options: Any
) -> OverFeatDetector:
    """OverFeat for pictures of about 64x64: windows of 32x32 in steps of 4, at three scales.

    239,026 parameters for 13 classes. Objects from 16 to 40 pixels. Made for `minidl.data.Scenes`.
    Arguments and result as `overfeat_detector`.
    """
    layers = (Layer(16, 5, 1, 2, 2), Layer(32, 3, 1, 1, 2), Layer(64, 3, 1, 1, 2))
    net = OverFeatDetector(
        num_classes,
        options.pop("scales", (60, 84, 116)),
        layers,
        4,
        (96, 96),
        (96, 48),
        in_channels=in_channels,
        dropout=options.pop("dropout", 0.0),
        **options,
    )
    # The paper's deviation of 0.01 is for thousands of inputs a unit.
    for head in (net.network, net.regressor):
        for module in head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    nn.init.normal_(net.regressor[-1].weight, 0.0, 0.01)
    return net
