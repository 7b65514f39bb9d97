"""What scores of detectors keep of each image, taken in batch by batch: the base of those in
detection.py.

Of an image they keep the surest detections, the objects, and which of them overlap; not the boxes
and masks. An evaluation of many thousand images so needs little memory, and parts of it that other
processes made can be put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .. import masks as runs
from ..autograd import Tensor
from ..backend import of
from .matching import Pairs, box_overlaps, match, oks

__all__ = ["AveragePrecision", "Kind", "Seen"]

Kind = Literal["boxes", "masks", "keypoints"]


@dataclass
class Seen:
    """What scores need to know of one image, or of several (then numbered through).

    Of detections: label (D,), score, area, and the rank among those of its class. Of objects: label
    (G,), area, iscrowd, and void: those that count neither when found nor when missed.
    """

    label: np.ndarray
    score: np.ndarray
    area: np.ndarray
    rank: np.ndarray
    object_label: np.ndarray
    object_area: np.ndarray
    iscrowd: np.ndarray
    void: np.ndarray
    pairs: Pairs
    image_id: Any = None
    image: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    PLAIN = ("label", "score", "area", "rank", "object_label", "object_area", "iscrowd", "void")

    def key(self) -> tuple[str, Any]:
        """What decides the order of images: their ids, else nothing but what is in them."""
        if self.image_id is not None:
            return type(self.image_id).__name__, self.image_id
        arrays = [getattr(self, name) for name in self.PLAIN]
        arrays += [self.pairs.detection, self.pairs.object, self.pairs.overlap]
        return "", b"".join(array.tobytes() for array in arrays)


class AveragePrecision:
    """What the scores of detection.py share: taking in batches, and an order of the images."""

    least: float  # overlaps below this one are of no consequence
    most: int | None = None  # detections of a class in an image that are looked at
    sigmas: np.ndarray

    def __init__(self, classes: int | Sequence[str], kind: Kind) -> None:
        if isinstance(classes, int):
            classes = [str(i) for i in range(classes)]
        self.classes = list(classes)
        self.kind = kind
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise ValueError(
                f"{type(self).__name__}: needs at least one class and no name twice, got {classes}"
            )
        if kind not in ("boxes", "masks", "keypoints"):
            raise ValueError(
                f"{type(self).__name__}: kind must be 'boxes', 'masks' or 'keypoints', got {kind!r}"
            )
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._images: list[Seen] = []
        self._ids: set[Any] = set()

    def __len__(self) -> int:
        """How many images were seen."""
        return len(self._images)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.classes!r}, kind={self.kind!r}): {len(self)} images"

    def update(
        self, predictions: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take in a batch, in any order of images.

        Args:
            predictions: for each image what was detected: "scores" (D,); "labels" (D,) from 0; and
                of "boxes" (D, 4) x1, y1, x2, y2, "masks" (D, H, W) bool or a list of
                `minidl.masks.RLE`, "keypoints" (D, K, 3) what `kind` names. Arrays or tensors.
            targets: for each image what is there: "labels" (G,), "boxes" (not for masks) and what
                `kind` names, as above; where there are any, "iscrowd" (G,), "difficult" (G,),
                "area" (G,) square pixels (default: of the mask, or else of the box), and
                "image_id", an int or text, which decides the order among equal scores. Without it,
                that order depends on nothing but what is in the images.

        Raises:
            ValueError: lists of other lengths; shapes that do not fit; a label that is no class, a
                value that is not finite, an object without area; an image_id seen before.
            TypeError: masks that are not bool.
        """
        name = type(self).__name__
        if len(predictions) != len(targets):
            raise ValueError(
                f"{name}: {len(predictions)} predictions and {len(targets)} targets; needs one of "
                "each for an image"
            )
        batch = []
        ids = set(self._ids)
        for number, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
            image_id = _plain_id(target.get("image_id"))
            where = f"{name}, image {number if image_id is None else image_id!r}"
            if image_id is not None and image_id in ids:
                raise ValueError(f"{where}: was already counted")
            ids.add(image_id)
            batch.append(self._look(where, prediction, target, image_id))
        self._images += batch
        self._ids = ids - {None}

    def merge(self, other: AveragePrecision) -> AveragePrecision:
        """Add the images of another one, as of another process; returns self.

        Raises:
            ValueError: the other one is of another type, has other classes or settings, or has seen
                an image that this one has.
        """
        if self._settings() != other._settings():
            raise ValueError(f"cannot merge {other!r} into {self!r}: other classes or settings")
        twice = self._ids & other._ids
        if twice:
            raise ValueError(
                f"{type(self).__name__}: both have counted images {sorted(twice, key=str)[:5]}"
            )
        self._images += other._images
        self._ids |= other._ids
        return self

    def _settings(self) -> tuple[Any, ...]:
        return type(self), self.classes, self.kind, self.least, self.most

    # -- one image -------------------------------------------------------------------------------

    def _look(
        self, where: str, prediction: Mapping[str, Any], target: Mapping[str, Any], image_id: Any
    ) -> Seen:
        theirs = f"{where}, target"
        score = _numbers(where, prediction, "scores", ())
        label = self._labels(where, prediction, len(score))
        objects = self._labels(theirs, target, None)
        count = len(objects)
        iscrowd, difficult = (
            _numbers(theirs, target, key, (), count).astype(bool)
            if key in target
            else np.zeros(count, bool)
            for key in ("iscrowd", "difficult")
        )
        # The surest of each class, those given first among equals.
        order = np.lexsort((-score, label))
        starts = np.flatnonzero(np.diff(label[order], prepend=-1))
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        if self.most is not None:
            order, rank = order[rank < self.most], rank[rank < self.most]
        area, object_area, overlap, unmarked = self._compare(
            where, prediction, target, order, len(score), iscrowd
        )
        if "area" in target:
            object_area = _numbers(theirs, target, "area", (), count)
        label = label[order]
        detection, found = np.nonzero((overlap >= self.least) & (label[:, None] == objects))
        pairs = Pairs(detection, found, overlap[detection, found])
        void = difficult | iscrowd | unmarked
        return Seen(
            *(label, score[order], area, rank, objects, object_area, iscrowd, void, pairs, image_id)
        )

    def _compare(
        self,
        where: str,
        prediction: Mapping[str, Any],
        target: Mapping[str, Any],
        order: np.ndarray,
        count: int,
        iscrowd: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Areas of detections and objects, overlaps (D, G), and objects without a keypoint."""
        theirs, objects = f"{where}, target", len(iscrowd)
        none = np.zeros(objects, bool)
        if self.kind == "masks":
            first = _runs(where, prediction, count)
            first = [first[i] for i in order]
            second = _runs(theirs, target, objects)
            areas, others = (np.array([runs.area(m) for m in r], float) for r in (first, second))
            if not others.all() and "area" not in target:
                raise ValueError(f"{theirs}: mask {int(np.argmin(others))} is empty")
            return areas, others, runs.iou(first, second, iscrowd), none
        truth = _numbers(theirs, target, "boxes", (4,), objects)
        flat = ~(truth[:, 2:] > truth[:, :2]).all(axis=1)
        if flat.any():
            bad = int(flat.argmax())
            raise ValueError(f"{theirs}: box {bad} has no area: {truth[bad].tolist()}")
        others = _areas(truth)
        if self.kind == "boxes":
            boxes = _numbers(where, prediction, "boxes", (4,), count)[order]
            return _areas(boxes), others, box_overlaps(boxes, truth, iscrowd), none
        shape = (len(self.sigmas), 3)
        points = _numbers(where, prediction, "keypoints", shape, count)[order]
        marked = _numbers(theirs, target, "keypoints", shape, objects)
        size = _numbers(theirs, target, "area", (), objects) if "area" in target else others
        extent = np.ptp(points[..., :2], axis=1) if len(points) else np.zeros((0, 2))
        overlap = oks(points, marked, truth, size, self.sigmas)
        return extent[:, 0] * extent[:, 1], others, overlap, (marked[..., 2] > 0).sum(axis=1) == 0

    def _labels(self, where: str, part: Mapping[str, Any], count: int | None) -> np.ndarray:
        labels = _numbers(where, part, "labels", (), count)
        whole = labels.astype(np.int64)
        wrong = (whole != labels) | (whole < 0) | (whole >= len(self.classes))
        if wrong.any():
            raise ValueError(
                f"{where}: label {labels[wrong][0]:g} is none of the {len(self.classes)} classes; "
                "labels are whole numbers from 0, without a background"
            )
        return whole

    # -- all images ------------------------------------------------------------------------------

    def _all(self) -> Seen:
        """Detections and objects of all images, numbered through, in an order of their own."""
        images = sorted(self._images, key=Seen.key)
        if not images:
            none, no = np.zeros(0), np.zeros(0, np.int64)
            flags = np.zeros(0, bool)
            return Seen(no, none, none, no, no, none, flags, flags, Pairs(no, no, none), image=no)
        columns = {name: np.concatenate([getattr(i, name) for i in images]) for name in Seen.PLAIN}
        detections = np.array([len(i.label) for i in images])
        objects = np.array([len(i.object_label) for i in images])
        offsets = zip(
            images,
            np.cumsum(detections) - detections,
            np.cumsum(objects) - objects,
            strict=True,
        )
        moved = [
            (i.pairs.detection + first, i.pairs.object + second, i.pairs.overlap)
            for i, first, second in offsets
        ]
        pairs = Pairs(*(np.concatenate(column) for column in zip(*moved, strict=True)))
        return Seen(**columns, pairs=pairs, image=np.repeat(np.arange(len(images)), detections))

    def _match(
        self, seen: Seen, thresholds: np.ndarray, ignored: np.ndarray, many: np.ndarray
    ) -> np.ndarray:
        group = seen.image * len(self.classes) + seen.label
        return match(seen.pairs, group, seen.score, thresholds, ignored, many)


# -- what comes in ---------------------------------------------------------------------------------


def _host(value: Any) -> np.ndarray:
    array = value.data if isinstance(value, Tensor) else value
    if isinstance(array, (list, tuple, int, float, np.generic)):
        return np.asarray(array)
    return of(array).to_host(array)


def _plain_id(value: Any) -> Any:
    if value is None or isinstance(value, (str, int)):
        return value
    array = _host(value)
    if array.size != 1:
        raise ValueError(f"image_id must be one int or text, got shape {array.shape}")
    return array.reshape(-1)[0].item()


def _numbers(
    where: str, part: Mapping[str, Any], key: str, tail: tuple[int, ...], count: int | None = None
) -> np.ndarray:
    """part[key] as float64 (count, *tail), all finite."""
    if key not in part:
        raise ValueError(f"{where}: has no {key!r}, only {', '.join(map(repr, part)) or 'nothing'}")
    values = np.asarray(_host(part[key]), dtype=np.float64)
    if not values.size:
        values = values.reshape(0, *tail)
    if values.shape[1:] != tail or values.ndim != len(tail) + 1:
        raise ValueError(f"{where}: {key} must be {('R', *tail)}, got {values.shape}")
    if count is not None and len(values) != count:
        raise ValueError(f"{where}: {len(values)} {key} for {count} labels or scores")
    finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
    if not finite.all():
        bad = int(np.argmin(finite))
        raise ValueError(f"{where}: {key} {bad} is not finite: {values[bad].tolist()}")
    return values


def _runs(where: str, part: Mapping[str, Any], count: int) -> list[runs.RLE]:
    if "masks" not in part:
        raise ValueError(f"{where}: has no 'masks', only {', '.join(map(repr, part))}")
    value = part["masks"]
    if isinstance(value, (list, tuple)) and all(isinstance(m, runs.RLE) for m in value):
        made = list(value)
    else:
        pixels = _host(value)
        if pixels.dtype != np.bool_:
            raise TypeError(
                f"{where}: masks must be bool, got {pixels.dtype}; compare probabilities with 0.5"
            )
        if pixels.ndim != 3:
            raise ValueError(f"{where}: masks must be (R, H, W), got {pixels.shape}")
        made = [runs.encode(mask) for mask in pixels]
    if len(made) != count:
        raise ValueError(f"{where}: {len(made)} masks for {count} labels or scores")
    return made


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
