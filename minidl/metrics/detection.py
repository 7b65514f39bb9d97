"""Average precision of detectors: the lecture's, Pascal VOC's and COCO's.

Detections of a class are taken from all images together, the surest first. Each is true (it found
an object that no surer one had found) or false; after n of them

    precision = true / n        recall = true / number of objects

and average precision is the area under precision over recall. The three differ in the rule of what
is true, in how the area is measured, and in which objects and detections do not count at all.

Everingham et al., "The Pascal visual object classes challenge", IJCV 2010, section 4.2; Lin et al.,
"Microsoft COCO: common objects in context", ECCV 2014, and the tools of that data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from .matching import COCO_SIGMAS, best_pairs
from .score import Score
from .seen import AveragePrecision, Kind, Seen

__all__ = ["COCOAveragePrecision", "VOCAveragePrecision"]

NAN = float("nan")


class VOCAveragePrecision(AveragePrecision):
    """Average precision at one threshold of overlap, as Pascal VOC and as lectures have it.

    Args:
        classes: the names of the classes, in the order of their labels, or their number.
        iou_threshold: from which overlap on an object counts as found (VOC: 0.5).
        rule: "voc": a detection is compared with the object of its class it overlaps most, and is
            false if a surer one has found that; overlap must reach the threshold. "lecture": it is
            compared with those not found yet, and overlap must exceed the threshold.
        points: "all": the area under the precision that can be had at a recall or above (VOC from
            2010 on); 11: the mean of that precision at recalls 0, 0.1, ..., 1 (VOC 2007).
        kind: what overlaps: "boxes", "masks" or "keypoints" (their similarity).
        sigmas: (K,) tolerance of each keypoint; default: COCO's 17.

    Objects marked "difficult" or "iscrowd" do not count, nor do detections that find them.

    Example:
        >>> score = VOCAveragePrecision(dataset.classes)
        >>> for images, targets in loader:
        ...     score.update(detector.predict(images), targets)
        >>> score.compute()["mAP"]
        0.71
    """

    def __init__(
        self,
        classes: int | Sequence[str],
        iou_threshold: float = 0.5,
        rule: Literal["voc", "lecture"] = "voc",
        points: Literal["all", 11] = "all",
        kind: Kind = "boxes",
        sigmas: Sequence[float] = COCO_SIGMAS,
    ) -> None:
        for wrong, message in (
            (not 0 < iou_threshold <= 1, f"iou_threshold must be in (0, 1], got {iou_threshold}"),
            (rule not in ("voc", "lecture"), f"rule must be 'voc' or 'lecture', got {rule!r}"),
            (points not in ("all", 11), f"points must be 'all' or 11, got {points!r}"),
        ):
            if wrong:
                raise ValueError(f"VOCAveragePrecision: {message}")
        self.iou_threshold = iou_threshold
        self.rule = rule
        self.points = points
        strict = np.nextafter(iou_threshold, 2.0)
        self.least = float(iou_threshold if rule == "voc" else strict)
        self.sigmas = np.asarray(sigmas, np.float64)
        super().__init__(classes, kind)

    def _settings(self) -> tuple[Any, ...]:
        return (*super()._settings(), self.rule, self.points, self.sigmas.tolist())

    def compute(self) -> dict[str, Any]:
        """The scores of all images so far.

        Returns:
            "mAP": mean over the classes that occur; "per_class": for each class its "AP",
            "objects", "true" and "false" (how many detections were); "curves": for each class
            "recall", "precision" and "scores" (n,), the surest detection first. A score that does
            not exist is NaN and has a `reason`.
        """
        seen = self._all()
        taken = self._take(seen)
        ignored = (taken >= 0) & seen.void[taken] if len(seen.void) else np.zeros(len(taken), bool)
        result: dict[str, Any] = {"mAP": Score(NAN), "per_class": {}, "curves": {}}
        for number, name in enumerate(self.classes):
            objects = int((~seen.void & (seen.object_label == number)).sum())
            mine = np.flatnonzero((seen.label == number) & ~ignored)
            mine = mine[np.argsort(-seen.score[mine], kind="stable")]
            hit = taken[mine] >= 0
            true = np.cumsum(hit)
            precision = true / np.arange(1, len(hit) + 1)
            if objects:
                ap = Score(_area(true, precision, objects, self.points))
            else:
                ap = Score(NAN, f"no object that counts is {name}")
            result["per_class"][name] = {
                "AP": ap,
                "objects": objects,
                "true": int(hit.sum()),
                "false": int((~hit).sum()),
            }
            result["curves"][name] = {
                "recall": true / objects if objects else np.full(len(true), NAN),
                "precision": precision,
                "scores": seen.score[mine],
            }
        aps = {name: row["AP"] for name, row in result["per_class"].items()}
        result["mAP"] = _mean(aps, "no object that counts")
        return result

    def scores(self) -> dict[str, Score]:
        """The number that stands for all: "mAP". (`compute` has the others.)"""
        return {"mAP": self.compute()["mAP"]}

    def _take(self, seen: Seen) -> np.ndarray:
        """(D,) the object that each detection found, -1 for a false one."""
        if self.rule == "lecture":
            thresholds = np.array([self.least])
            return self._match(seen, thresholds, seen.void[None], many=seen.void)[0, 0]
        taken = np.full(len(seen.score), -1)
        best = best_pairs(seen.pairs)
        detection, found = seen.pairs.detection[best], seen.pairs.object[best]
        surest = np.argsort(-seen.score[detection], kind="stable")
        detection, found = detection[surest], found[surest]
        _, first = np.unique(found, return_index=True)
        claims = seen.void[found]  # what does not count may be found again and again
        claims[first] = True
        taken[detection[claims]] = found[claims]
        return taken


def _area(true: np.ndarray, precision: np.ndarray, objects: int, points: str | int) -> float:
    """The area under the curve, after n detections `true[n]` of `objects` found."""
    if not len(true):
        return 0.0
    # The best precision that can be had at this recall or a higher one.
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if points == 11:
        # With the rounding of the tools that published numbers come from: the seventh of these is
        # 0.6000000000000001, which a recall of 9 in 15 does not reach.
        at = np.searchsorted(true / objects, np.linspace(0.0, 1.0, 11))
        return float(np.append(best, 0.0)[at].sum() / 11)
    rise = np.diff(true, prepend=0) > 0
    return float(best[rise].sum() / objects)


class COCOAveragePrecision(AveragePrecision):
    """COCO's twelve scores of boxes or masks, or ten of keypoints, equal to those of its tools.

    AP is a mean over ten thresholds of overlap, 0.5 to 0.95, of precision at 101 recalls, and over
    classes; AR the mean over thresholds of the recall that a number of detections reaches.

    Args:
        classes: the names of the classes, in the order of their labels, or their number.
        kind: what overlaps: "boxes", "masks" or "keypoints".
        max_detections: how many detections of a class in an image are looked at, rising; default:
            (1, 10, 100), of keypoints (20,). AP is measured with the last.
        sigmas: (K,) tolerance of each keypoint; default: COCO's 17.

    "iscrowd" objects (and those without a keypoint) do not count, nor do detections that find them;
    a crowd may be found many times. For scores of small, medium or large objects, so it is with
    objects of other sizes and what finds them, and with false detections of other sizes.

    Example:
        >>> score = COCOAveragePrecision(dataset.classes, kind="masks")
        >>> for images, targets in loader:
        ...     score.update(detector.predict(images), targets)
        >>> score.compute()["AP50"]
        0.55
    """

    THRESHOLDS = np.linspace(0.5, 0.95, 10)
    RECALLS = np.linspace(0.0, 1.0, 101)
    # Square pixels, both ends included. Keypoints: small people have none worth marking.
    AREAS = {"all": (0.0, 1e10), "s": (0.0, 32.0**2), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}

    def __init__(
        self,
        classes: int | Sequence[str],
        kind: Kind = "boxes",
        max_detections: Sequence[int] | None = None,
        sigmas: Sequence[float] = COCO_SIGMAS,
    ) -> None:
        limits = max_detections or ((20,) if kind == "keypoints" else (1, 10, 100))
        if list(limits) != sorted(set(limits)) or limits[0] < 1:
            raise ValueError(
                f"COCOAveragePrecision: max_detections must rise from 1 on, got {limits}"
            )
        self.max_detections = tuple(limits)
        self.least = float(self.THRESHOLDS[0])
        self.most = self.max_detections[-1]
        self.sigmas = np.asarray(sigmas, np.float64)
        super().__init__(classes, kind)
        names = [name for name in self.AREAS if kind != "keypoints" or name != "s"]
        self._ranges = {name: self.AREAS[name] for name in names}

    def _settings(self) -> tuple[Any, ...]:
        return (*super()._settings(), self.max_detections, self.sigmas.tolist())

    def compute(self) -> dict[str, Any]:
        """The scores of all images so far.

        Returns:
            "AP", "AP50", "AP75"; "APs", "APm", "APl" for small, medium and large objects (below 32
            x 32, up to 96 x 96, and above); "AR1", "AR10", "AR100", "ARs", "ARm", "ARl". Keypoints:
            no "APs" and "ARs", and "AR", "AR50", "AR75" with 20 detections. "per_class": for each
            class the same, and "objects"; "curves": for each class "recall", "precision" and
            "scores" (n,) at overlap 0.5, the surest detection first. A score that does not exist is
            NaN and has a `reason`.
        """
        seen = self._all()
        limits = np.array(list(self._ranges.values()))[:, :, None]
        ignored, beside = (
            (area < limits[:, 0]) | (area > limits[:, 1]) for area in (seen.object_area, seen.area)
        )
        ignored = ignored | seen.void
        # An overlap of 1 may come out a little below.
        found = self._match(
            seen, np.minimum(self.THRESHOLDS, 1 - 1e-10), ignored, many=seen.iscrowd
        )
        hit = found >= 0
        passed = np.where(hit, _take_rows(ignored, found), beside[:, None])
        result: dict[str, Any] = {"per_class": {}, "curves": {}}
        for number, name in enumerate(self.classes):
            mine = np.flatnonzero(seen.label == number)
            mine = mine[np.argsort(-seen.score[mine], kind="stable")]
            objects = (~ignored & (seen.object_label == number)).sum(axis=1)
            counted = ~passed[:, :, mine]
            true, false = hit[:, :, mine] & counted, ~hit[:, :, mine] & counted
            row = self._scores(name, true, false, objects, seen.rank[mine])
            result["per_class"][name] = row | {"objects": int(objects[0])}
            result["curves"][name] = _curve(true[0, 0], false[0, 0], objects[0], seen.score[mine])
        rows = result["per_class"]
        means = {
            key: _mean({name: rows[name][key] for name in rows}, _missing(key))
            for key in self._keys()
        }
        return means | result

    def scores(self) -> dict[str, Score]:
        """The three that are quoted most: "AP", "AP50" and "AP75". (`compute` has the others.)"""
        found = self.compute()
        return {key: found[key] for key in ("AP", "AP50", "AP75")}

    def _keys(self) -> list[str]:
        sizes = [name for name in self._ranges if name != "all"]
        recalls = [f"AR{most}" for most in self.max_detections]
        if self.kind == "keypoints":
            recalls = ["AR", "AR50", "AR75"]
        return ["AP", "AP50", "AP75", *(f"AP{s}" for s in sizes)] + [
            *recalls,
            *(f"AR{s}" for s in sizes),
        ]

    def _scores(
        self,
        name: str,
        true: np.ndarray,
        false: np.ndarray,
        objects: np.ndarray,
        rank: np.ndarray,
    ) -> dict[str, Score]:
        """Of one class: `true` and `false` (A, T, n), `objects` (A,), `rank` (n,)."""
        values: dict[str, tuple[float, int]] = {}  # name -> (value, number of its area range)
        precision = self._precision(true, false, objects)
        share = np.maximum(objects, 1)
        recall = true.sum(axis=2) / share[:, None]
        for i, area in enumerate(self._ranges):
            size = "" if area == "all" else area
            values[f"AP{size}"] = float(precision[i].mean()), i
            values[f"AR{size}"] = float(recall[i].mean()), i
        for suffix, t in (("50", 0), ("75", 5)):
            values[f"AP{suffix}"] = float(precision[0, t].mean()), 0
            values[f"AR{suffix}"] = float(recall[0, t]), 0
        if self.kind != "keypoints":
            for most in self.max_detections:
                first = true[0][:, rank < most].sum(axis=1) / share[0]
                values[f"AR{most}"] = float(first.mean()), 0
        scores = {}
        for key in self._keys():
            value, i = values[key]
            there = objects[i] > 0
            scores[key] = Score(value) if there else Score(NAN, f"{_missing(key)} is {name}")
        return scores

    def _precision(self, true: np.ndarray, false: np.ndarray, objects: np.ndarray) -> np.ndarray:
        """(A, T, 101): the best precision at each recall or above it; 0 beyond the last."""
        ways, thresholds, count = true.shape
        found, wrong = np.cumsum(true, axis=2), np.cumsum(false, axis=2)
        best = np.zeros((ways, thresholds, count + 1))
        precision = found / np.maximum(found + wrong, 1)
        best[..., :count] = np.maximum.accumulate(precision[..., ::-1], axis=2)[..., ::-1]
        at = np.zeros((ways, thresholds, len(self.RECALLS)), np.int64)
        for a in range(ways):
            recall = found[a] / max(int(objects[a]), 1)
            for t in range(thresholds):
                at[a, t] = np.searchsorted(recall[t], self.RECALLS)
        return np.take_along_axis(best, at, axis=2)


def _curve(
    true: np.ndarray, false: np.ndarray, objects: int, scores: np.ndarray
) -> dict[str, np.ndarray]:
    counted = true | false
    found = np.cumsum(true[counted])
    return {
        "recall": found / objects if objects else np.full(len(found), NAN),
        "precision": found / np.arange(1, len(found) + 1),
        "scores": scores[counted],
    }


def _missing(key: str) -> str:
    """Why a score by that name does not exist."""
    size = {"s": "small ", "m": "medium-sized ", "l": "large "}.get(key[2:], "")
    return f"no {size}object that counts"


def _take_rows(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """table[a, index[a, t, d]] for table (A, G); whatever for an index of -1."""
    if not table.shape[1]:
        return np.zeros(index.shape, bool)
    return table[np.arange(len(table))[:, None, None], index]


def _mean(scores: dict[str, Score], reason: str) -> Score:
    """The mean over the classes that have a score."""
    there = [float(score) for score in scores.values() if score == score]
    if not there:
        return Score(NAN, reason)
    absent = [name for name, score in scores.items() if score != score]
    if not absent:
        return Score(sum(there) / len(there))
    named = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
    return Score(
        sum(there) / len(there),
        f"without {len(absent)} of {len(scores)} classes, for {reason}: {named}",
    )
