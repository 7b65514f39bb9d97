"""Scores of segmentations, all from one table of counts: Long, Shelhamer, Darrell, "Fully
convolutional networks for semantic segmentation", CVPR 2015, section 5.

n_ij is how many pixels of class i were predicted as class j, t_i = sum_j n_ij how many there are of
class i, p_i = sum_j n_ji how many were predicted:

    pixel accuracy          sum_i n_ii / sum_i t_i
    mean accuracy           mean over i of n_ii / t_i
    mean IoU                mean over i of n_ii / (t_i + p_i - n_ii)
    frequency weighted IoU  sum_i t_i n_ii / (t_i + p_i - n_ii) / sum_i t_i

A class that never occurs has no score; means leave it out and say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import Array, of
from .score import Score

__all__ = ["ConfusionMatrix"]

NOTHING = -(2**63)  # an ignore_index that no label has


class ConfusionMatrix:
    """How many pixels of each class were predicted as which, counted over batches.

    Counting stays on the device of the batches and waits for nothing; reading a score does.

    Args:
        num_classes: C; or the names of the classes.
        ignore_index: pixels with this label count nothing; None: all labels count.

    Attributes:
        num_classes, ignore_index: as given.
        classes: the names of the classes, else their numbers as text.

    Raises:
        ValueError: fewer than two classes.

    Example:
        >>> counts = ConfusionMatrix(["sky", "road"], ignore_index=255)
        >>> for images, masks in loader:
        ...     counts.update(model(images), masks)
        >>> counts.mean_iou()
        0.75
    """

    def __init__(self, num_classes: int | Sequence[str], ignore_index: int | None = None) -> None:
        if isinstance(num_classes, int):
            num_classes = [str(i) for i in range(num_classes)]
        self.classes = list(num_classes)
        self.num_classes = len(self.classes)
        self.ignore_index = ignore_index
        if self.num_classes < 2:
            raise ValueError(
                f"ConfusionMatrix: needs at least two classes, got {self.num_classes}; foreground "
                "and background are two"
            )
        self.reset()

    # -- counting --------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget all counts."""
        # For each device that batches came from: the table, row by row, and behind it how many
        # pixels had a label or a prediction that is no class.
        self._counts: dict[Any, Array] = {}

    def update(self, output: Tensor | Array, target: Tensor | Array) -> None:
        """Count the pixels of a batch.

        Args:
            output: scores (N, C, ...), of which the highest is the prediction; for two classes also
                (N, 1, ...), which predict class 1 above 0; or predicted classes, integers of the
                target's shape.
            target: labels, integers (N, ...).

        Raises:
            TypeError: labels, or predicted classes, that are not integers.
            ValueError: shapes that do not fit.
            IndexError: a label or a prediction that is no class (on the CPU; elsewhere a ValueError
                follows when a score is read).
        """
        scores, labels = (x.data if isinstance(x, Tensor) else x for x in (output, target))
        backend = of(labels)
        if labels.dtype.kind not in "iu":
            raise TypeError(f"ConfusionMatrix: labels must be integers, got {labels.dtype}")
        predicted = self._predictions(scores, labels)
        xp, classes = backend.xp, self.num_classes
        ignored = NOTHING if self.ignore_index is None else self.ignore_index
        labels, predicted = labels.astype(np.int64), predicted.astype(np.int64)
        backend.check_classes("ConfusionMatrix", labels, classes, ignored)
        backend.check_classes("ConfusionMatrix, predictions", predicted, classes, NOTHING)
        labels, predicted = labels.reshape(-1), predicted.reshape(-1)
        counts = labels != ignored
        known = (labels >= 0) & (labels < classes) & (predicted >= 0) & (predicted < classes)
        cell = xp.where(known, labels * classes + predicted, classes * classes)
        place = (type(labels), backend.index_of(labels))
        if place not in self._counts:
            zeros = np.zeros(classes * classes + 1, np.int64)
            self._counts[place] = backend.asarray(zeros, None, place[1])
        backend.scatter_add(self._counts[place], (cell,), counts.astype(np.int64))

    def _predictions(self, scores: Array, labels: Array) -> Array:
        shape = (labels.shape[0], *labels.shape[1:]) if labels.ndim else ()
        if scores.shape == shape:
            if scores.dtype.kind not in "iu":
                raise TypeError(
                    f"ConfusionMatrix: an output of the target's shape {shape} holds predicted "
                    f"classes, which must be integers, got {scores.dtype}; scores have a dimension "
                    "of classes after the first"
                )
            return scores
        if labels.ndim and scores.ndim == labels.ndim + 1:
            channels, positions = scores.shape[1], (scores.shape[0], *scores.shape[2:])
            if positions == shape and channels == self.num_classes:
                return scores.argmax(axis=1)
            if positions == shape and channels == 1 and self.num_classes == 2:
                return (scores[:, 0] > 0).astype(np.int64)
        raise ValueError(
            f"ConfusionMatrix: output {scores.shape} does not fit target {labels.shape} with "
            f"{self.num_classes} classes; needed are scores (N, {self.num_classes}, ...) or "
            "classes (N, ...) for labels (N, ...)"
        )

    def merge(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Add the counts of another one, as of another process; returns self.

        Raises:
            ValueError: the other one has other classes.
        """
        if other.classes != self.classes:
            raise ValueError(
                f"ConfusionMatrix: cannot merge counts of {other.num_classes} classes "
                f"({', '.join(other.classes)}) into {self.num_classes} ({', '.join(self.classes)})"
            )
        self._set(self._total() + other._total())
        return self

    def state_dict(self) -> dict[str, Any]:
        """The counts as an array (C, C), for `load_state_dict`."""
        return {"matrix": self.matrix}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from the counts of a `state_dict()`.

        Raises:
            ValueError: of another number of classes.
        """
        matrix = np.asarray(state["matrix"], dtype=np.int64)
        if matrix.shape != (self.num_classes, self.num_classes):
            raise ValueError(
                f"ConfusionMatrix: counts of shape {matrix.shape} for {self.num_classes} classes"
            )
        self._set(np.append(matrix.reshape(-1), 0))

    def _set(self, total: np.ndarray) -> None:
        self._counts = {(np.ndarray, None): total}

    def _total(self) -> np.ndarray:
        """All counts on the host; waits for the devices."""
        total = np.zeros(self.num_classes**2 + 1, np.int64)
        for counts in self._counts.values():
            total += of(counts).to_host(counts)
        return total

    # -- scores ----------------------------------------------------------------------------------

    @property
    def matrix(self) -> np.ndarray:
        """The counts (C, C), int64: rows are the truth, columns the predictions.

        Raises:
            ValueError: a label or a prediction was no class.
        """
        total = self._total()
        if total[-1]:
            raise ValueError(
                f"ConfusionMatrix: {total[-1]} pixels have a label or a prediction outside 0 to "
                f"{self.num_classes - 1} that is not ignore_index ({self.ignore_index})"
            )
        return total[:-1].reshape(self.num_classes, self.num_classes)

    def pixel_accuracy(self) -> Score:
        """The share of pixels whose class was predicted."""
        matrix = self.matrix
        return _ratio(np.trace(matrix), matrix.sum(), "no pixel was counted")

    def class_accuracy(self) -> list[Score]:
        """For each class the share of its pixels that were predicted as it: the recall."""
        matrix = self.matrix
        return [
            _ratio(matrix[i, i], matrix[i].sum(), f"no pixel is {name}")
            for i, name in enumerate(self.classes)
        ]

    def class_iou(self) -> list[Score]:
        """For each class the pixels that are it and predicted as it, among those that are either.

        Also called the Jaccard index.
        """
        matrix = self.matrix
        either = matrix.sum(axis=0) + matrix.sum(axis=1) - np.diagonal(matrix)
        return [
            _ratio(matrix[i, i], either[i], f"no pixel is {name} or predicted as it")
            for i, name in enumerate(self.classes)
        ]

    def mean_accuracy(self) -> Score:
        """The mean of `class_accuracy` over the classes that occur."""
        return self._mean(self.class_accuracy())

    def mean_iou(self) -> Score:
        """The mean of `class_iou` over the classes that occur or were predicted."""
        return self._mean(self.class_iou())

    def frequency_weighted_iou(self) -> Score:
        """The mean of `class_iou` over pixels, each with that of its class."""
        sizes = self.matrix.sum(axis=1)
        total = sum(
            float(score) * float(n) for score, n in zip(self.class_iou(), sizes, strict=True) if n
        )
        return _ratio(total, sizes.sum(), "no pixel was counted")

    def scores(self) -> dict[str, Score]:
        """The four scores of the paper, by name."""
        return {
            "pixel_accuracy": self.pixel_accuracy(),
            "mean_accuracy": self.mean_accuracy(),
            "mean_iou": self.mean_iou(),
            "frequency_weighted_iou": self.frequency_weighted_iou(),
        }

    def _mean(self, scores: list[Score]) -> Score:
        there = [float(score) for score in scores if not score.reason]
        if not there:
            return Score(float("nan"), "no pixel was counted")
        absent = [name for name, score in zip(self.classes, scores, strict=True) if score.reason]
        reason = f"without classes that do not occur: {', '.join(absent)}" if absent else ""
        return Score(sum(there) / len(there), reason)

    def __repr__(self) -> str:
        return (
            f"ConfusionMatrix({self.classes!r}, ignore_index={self.ignore_index}): "
            f"{self._total().sum()} pixels"
        )


def _ratio(part: Any, whole: Any, reason: str) -> Score:
    if not whole:
        return Score(float("nan"), reason)
    return Score(float(part) / float(whole))
