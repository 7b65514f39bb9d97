"""Sliding windows: a classifier of windows, and background among its classes, looks at every window
of a picture. Detection as one would first think of it.

A window has a fixed number of pixels, objects have not: so the picture is resized for each size and
shape that objects have, until such an object fills a window, and the window slides over it in steps
of the network's stride. Where it shows an object, the class gets a high score; of windows that
overlap the surest is left.

    picture --resize--> for each size and shape --windows--> network --softmax--> non-maximum
                                                                                  suppression

Neighbouring windows share most of their pixels, and of the work. `at_once` does that only once:
with its linear layers as convolutions the network computes, for the whole picture in one pass, what
it gives for each of its windows (Sermanet et al. 2013, "OverFeat", section 3.5; Long et al. 2015,
section 3.1). Both ways give the same scores, as the convolutions add no zeros around: a window then
looks the same to a network that sees nothing else and to one that sees all of the picture.

Windows are learned as pictures of their own. One that overlaps an object by 0.6 or more shows its
class, and so does the one that overlaps it most; one that overlaps none by 0.5 shows background.
Some of both are drawn in each step. There is no box regression: a box is as good as the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import nn
from ...autograd import Tensor, no_grad, tensor
from ...backend import Array, of
from ...boxes import BalancedPositiveNegativeSampler, Matcher, box_iou
from ...nn import functional as F
from ...ops.shape import cat, stack
from ..segmentation.fcn import convolutionalize
from .detector import Detector, check_pictures
from .yolo_v1 import best_detections

__all__ = [
    "Look",
    "SlidingWindowDetector",
    "WindowClassifier",
    "by_size",
    "match_windows",
    "sliding_window_detector",
    "snapped",
    "window_boxes",
]


class Look(NamedTuple):
    """A picture at one size, and the windows that slide over it.

    Attributes:
        picture: (C, h, w).
        boxes: (M, 4) x1, y1, x2, y2 of the windows in pixels of the picture as given, row by row.
    """

    picture: Tensor
    boxes: Array


def snapped(length: int, scale: float, window: int, step: int) -> int:
    """About `scale` times the length, so that the last window ends where the picture ends.

    At least one window, even if it is larger than that.
    """
    return window + step * max(0, round((length * scale - window) / step))


def window_boxes(
    resized: tuple[int, int], size: tuple[int, int], window: int, step: int, like: Array
) -> Array:
    """The windows that slide over a resized picture, in pixels of the picture as it was.

    Args:
        resized: (h, w).
        size: (H, W) of the picture.
        window: height and width of a window, pixels of the resized picture.
        step: from one window to the next, likewise.
        like: an array of the device and dtype that are wanted.

    Returns:
        (M, 4) x1, y1, x2, y2, row by row.
    """
    xp = of(like).xp
    y, x = [xp.arange(0, n - window + 1, step).astype(like.dtype) for n in resized]
    y, x = [axis.reshape(-1) for axis in xp.meshgrid(y, x, indexing="ij")]
    down, across = [n / m for n, m in zip(size, resized, strict=True)]
    return xp.stack([x * across, y * down, (x + window) * across, (y + window) * down], axis=1)


def by_size(pictures: Sequence[Tensor]) -> Iterator[tuple[list[int], Tensor]]:
    """Batches (n, C, H, W) of pictures of one size each, and which of the pictures they are."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, picture in enumerate(pictures):
        groups.setdefault(picture.shape, []).append(i)
    for indices in groups.values():
        yield indices, stack([pictures[i] for i in indices])


def match_windows(
    boxes: Array, target: Mapping[str, Tensor], matcher: Matcher
) -> tuple[Array, Array]:
    """What each window of a picture shows.

    Args:
        boxes: (M, 4) x1, y1, x2, y2 of the windows, pixels.
        target: "boxes" (R, 4) and "labels" (R,) from 0; R may be 0.
        matcher: decides by the overlaps.

    Returns:
        (M,) int64: 0 background, k + 1 an object of class k, -1 neither; and (M, 4) the box of the
        object, of other windows any box.
    """
    xp = of(boxes).xp
    objects = target["boxes"].data.astype(boxes.dtype, copy=False)
    if len(objects) == 0:
        return xp.zeros(len(boxes), np.int64), boxes
    matches = matcher(box_iou(objects, boxes))
    index = xp.maximum(matches, 0)
    labels = target["labels"].data.astype(np.int64, copy=False)[index] + 1
    between = matches == Matcher.BETWEEN_THRESHOLDS
    return xp.where(matches >= 0, labels, xp.where(between, -1, 0)), objects[index]


class WindowClassifier(nn.Module):
    """A convolutional network for windows of 28x28, after LeNet-5: two convolutions of 5x5.

    Its parts are called as those of VGG, so that `convolutionalize` knows them.

    Args:
        num_outputs: classes, background being the first.
        in_channels: channels of the windows.
        widths: maps of the convolutions.
        hidden: units of the hidden layer.

    Attributes:
        window: height and width of the windows.
        stride: pixels between neighbours of its last maps: the smallest step of the window.
    """

    window = 28
    stride = 4

    def __init__(
        self,
        num_outputs: int,
        in_channels: int = 3,
        widths: tuple[int, int] = (16, 32),
        hidden: int = 128,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(widths[0], widths[1], 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(4)  # nothing to do for 28x28
        self.classifier = nn.Sequential(
            nn.Linear(widths[1] * 4 * 4, hidden), nn.ReLU(), nn.Linear(hidden, num_outputs)
        )
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, 28, 28) to scores (N, num_outputs)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class SlidingWindowDetector(Detector):
    """A classifier of windows, slid over the picture at several sizes and shapes.

    Args:
        network: from windows (N, C, window, window) to scores (N, num_classes + 1), background
            first; with `features`, `avgpool` and `classifier` as VGG, and `window` and `stride` in
            pixels. Its convolutions add no zeros.
        num_classes: kinds of objects.
        sizes: the square roots of the windows' areas, in pixels of the picture.
        aspect_ratios: height / width of the windows in the picture.
        sampler: how many windows of a picture are learned in a step, and how many of them show
            objects at most.
        dense: whether `predict` looks at all windows at once, or at one after the other.
        score_thresh, nms_thresh, detections_per_img: as in `YOLOv1`.
    """

    def __init__(
        self,
        network: nn.Module,
        num_classes: int,
        sizes: Sequence[float],
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        *,
        sampler: BalancedPositiveNegativeSampler | None = None,
        dense: bool = True,
        score_thresh: float = 0.05,
        nms_thresh: float = 0.3,
        detections_per_img: int = 100,
    ) -> None:
        super().__init__()
        self.network = network
        self.num_classes = num_classes
        self.sizes = tuple(sizes)
        self.aspect_ratios = tuple(aspect_ratios)
        self.matcher = Matcher(0.6, 0.5, allow_low_quality_matches=True)
        self.sampler = sampler or BalancedPositiveNegativeSampler(64, 0.25)
        self.dense = dense
        self.score_thresh = score_thresh
        self.nms_thresh = nms_thresh
        self.detections_per_img = detections_per_img

    def looks(self, image: Tensor) -> list[Look]:
        """An image (C, H, W) at each of the sizes and shapes, pixels from -1 to 1."""
        image = image * 2.0 - 1.0
        size = image.shape[-2], image.shape[-1]
        window, step = self.network.window, self.network.stride
        found = []
        for side in self.sizes:
            for ratio in self.aspect_ratios:
                shape = side * ratio**0.5, side / ratio**0.5
                h, w = [
                    snapped(n, window / wanted, window, step)
                    for n, wanted in zip(size, shape, strict=True)
                ]
                picture = F.interpolate(image[None], (h, w), mode="bilinear")[0]
                boxes = window_boxes((h, w), size, window, step, image.data)
                found.append(Look(picture, boxes))
        return found

    def cut(self, picture: Tensor, numbers: Iterable[int]) -> list[Tensor]:
        """Windows (C, window, window) of a picture (C, h, w), by their numbers among the boxes."""
        window, step = self.network.window, self.network.stride
        in_a_row = (picture.shape[2] - window) // step + 1
        corners = [(step * (i // in_a_row), step * (i % in_a_row)) for i in numbers]
        return [picture[:, top : top + window, left : left + window] for top, left in corners]

    def losses(self, images: Any, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Cross-entropy of windows drawn at random, as pictures of their own.

        On a GPU this waits: the host must learn which windows are drawn.

        Returns:
            "loss_class", the mean over the windows.
        """
        images = check_pictures("SlidingWindowDetector", images, targets, self.num_classes)
        looks = [self.looks(image) for image in images]
        labels = []
        for mine, target in zip(looks, targets, strict=True):
            boxes = of(mine[0].boxes).xp.concatenate([look.boxes for look in mine])
            labels.append(match_windows(boxes, target, self.matcher)[0])
        windows, shown = [], []
        for mine, label, *masks in zip(looks, labels, *self.sampler(labels), strict=True):
            drawn = masks[0] | masks[1]
            shown.append(label[of(drawn).xp.nonzero(drawn)[0]])
            flags = of(drawn).to_host(drawn)
            ends = np.cumsum([len(look.boxes) for look in mine])
            for look, chosen in zip(mine, np.split(flags, ends[:-1]), strict=True):
                windows += self.cut(look.picture, np.flatnonzero(chosen).tolist())
        wanted = of(shown[0]).xp.concatenate(shown)
        return {"loss_class": F.cross_entropy(self.network(stack(windows)), Tensor(wanted))}

    def one_by_one(self, look: Look, batch_size: int = 256) -> Tensor:
        """Scores (M, num_classes + 1) of all windows of a picture, each by itself."""
        numbers = range(len(look.boxes))
        return cat(
            [
                self.network(stack(self.cut(look.picture, numbers[i : i + batch_size])))
                for i in numbers[::batch_size]
            ]
        )

    def at_once(self, pictures: Tensor) -> Tensor:
        """The same scores (N, M, num_classes + 1) of pictures (N, C, h, w), in one pass."""
        maps = convolutionalize(self.network, padding=False)(pictures)
        return maps.flatten(2).transpose(1, 2)

    def predict(self, images: Any) -> list[dict[str, Tensor]]:
        """Windows by the probabilities of their classes, after non-maximum suppression."""
        images = check_pictures("SlidingWindowDetector", images)
        with no_grad():
            boxes: list[list[Array]] = [[] for _ in images]
            scores: list[list[Array]] = [[] for _ in images]
            looks = [self.looks(image) for image in images]
            for same in zip(*looks, strict=True):  # all pictures, for objects of one shape
                for indices, batch in by_size([look.picture for look in same]):
                    if self.dense:
                        found = self.at_once(batch)
                    else:
                        found = stack([self.one_by_one(same[i]) for i in indices])
                    for i, sure in zip(indices, F.softmax(found, 2).data, strict=True):
                        boxes[i].append(same[i].boxes)
                        scores[i].append(sure[:, 1:])
            return [
                best_detections(
                    of(image.data).xp.concatenate(box),
                    of(image.data).xp.concatenate(score),
                    (image.shape[1], image.shape[2]),
                    score_thresh=self.score_thresh,
                    nms_thresh=self.nms_thresh,
                    detections_per_img=self.detections_per_img,
                )
                for image, box, score in zip(images, boxes, scores, strict=True)
            ]

    def multiply_adds(self, height: int, width: int, in_channels: int = 3) -> dict[str, int]:
        """What it costs to look at one picture.

        Args:
            height, width: of the picture, pixels.
            in_channels: its channels.

        Returns:
            "windows", how many there are, and multiply-adds: "one by one" and "at once".
        """
        window = self.network.window
        one = nn.summary(self.network, (1, in_channels, window, window)).multiply_adds
        dense = convolutionalize(self.network, padding=False)
        looks = self.looks(tensor(np.zeros((in_channels, height, width), np.float32)))
        count = sum(len(look.boxes) for look in looks)
        once = [nn.summary(dense, (1, *look.picture.shape)).multiply_adds for look in looks]
        return {"windows": count, "one by one": one * count, "at once": sum(once)}


def sliding_window_detector(
    num_classes: int = 13, *, in_channels: int = 3, **options: Any
) -> SlidingWindowDetector:
    """Sliding windows of 28x28 over pictures of about 64x64; 81,518 parameters for 13 classes.

    Objects from 16 to 40 pixels, at twelve sizes and shapes. Made for `minidl.data.Scenes`.

    Args:
        num_classes: kinds of objects.
        in_channels: channels of the pictures.
        options: of `SlidingWindowDetector`: dense, score_thresh, nms_thresh, detections_per_img.

    Returns:
        a `Detector`, for pictures of any size.
    """
    network = WindowClassifier(num_classes + 1, in_channels)
    return SlidingWindowDetector(
        network, num_classes, (18.0, 23.0, 29.0, 37.0), (0.6, 1.0, 1.67), **options
    )
