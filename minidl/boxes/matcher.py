"""Which true box each predicted box is compared with in training, and which ones are compared.

Ren et al. 2015, "Faster R-CNN", section 3.1.2 (matching, mini-batches of half positives); Liu et
al. 2016, "SSD", section 2.2. Images without objects are legal: all their boxes are background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import Tensor
from ..backend import Array, Backend, of
from ..backend.random import next_offset

__all__ = ["BalancedPositiveNegativeSampler", "Matcher", "SSDMatcher"]


class Matcher:
    """To each predicted box the true box that it overlaps most, if it does so enough.

    Args:
        high_threshold: overlaps from here on are matches.
        low_threshold: overlaps below it are background; between the two nothing is said.
        allow_low_quality_matches: whether for each true box the predicted boxes that overlap it
            most (all of them, where several are equal) keep their own best match, however small.
            So no object stays without a box.

    Raises:
        ValueError: low_threshold is above high_threshold.
    """

    BELOW_LOW_THRESHOLD = -1
    BETWEEN_THRESHOLDS = -2

    def __init__(
        self, high_threshold: float, low_threshold: float, allow_low_quality_matches: bool = False
    ) -> None:
        if not low_threshold <= high_threshold:
            raise ValueError(
                f"{type(self).__name__}: low_threshold {low_threshold} must not be above "
                f"high_threshold {high_threshold}"
            )
        self.high_threshold = high_threshold
        self.low_threshold = low_threshold
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Array) -> Array:
        """The match of each predicted box.

        Args:
            match_quality_matrix: (M, N) overlaps of M true boxes with N predicted ones; M may be 0.

        Returns:
            (N,) int64: the index of a true box (of equal overlaps the first),
            BELOW_LOW_THRESHOLD or BETWEEN_THRESHOLDS. A true box that overlaps nothing is nobody's
            low-quality match (in torchvision it is the match of all that overlap nothing).

        Raises:
            TypeError: not an array.
            ValueError: not (M, N), or (on the CPU; elsewhere it is background) an overlap that is
                no number from 0 to 1.
        """
        quality = self._checked(match_quality_matrix)
        xp = of(quality).xp
        if len(quality) == 0:
            return xp.full(quality.shape[1], self.BELOW_LOW_THRESHOLD, np.int64)
        # A comparison in the dtype of the overlaps: 0.7 itself is not in float32.
        best, matches = quality.max(axis=0), quality.argmax(axis=0).astype(np.int64)
        result = xp.where(best >= self.high_threshold, matches, self.BETWEEN_THRESHOLDS)
        result = xp.where(best >= self.low_threshold, result, self.BELOW_LOW_THRESHOLD)
        if self.allow_low_quality_matches and quality.shape[1]:
            highest = quality.max(axis=1, keepdims=True)
            wanted = ((quality == highest) & (quality > 0)).any(axis=0)
            result = xp.where(wanted, matches, result)
        return result

    def _checked(self, matrix: Any) -> Array:
        op = type(self).__name__
        if isinstance(matrix, Tensor):
            raise TypeError(f"{op}: overlaps must be an array, got a Tensor; pass its .data")
        backend = of(matrix)
        if matrix.ndim != 2:
            raise ValueError(f"{op}: match_quality_matrix must be (M, N), got {matrix.shape}")
        backend.check_range(op, matrix, 0.0, 1.0)
        return matrix

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(high_threshold={self.high_threshold}, low_threshold="
            f"{self.low_threshold}, allow_low_quality_matches={self.allow_low_quality_matches})"
        )


class SSDMatcher(Matcher):
    """One threshold, and each true box gets the box that overlaps it most, whatever that one likes.

    Liu et al. 2016, section 2.2. Where several true boxes want one box, the last of them gets it.

    Args:
        threshold: overlaps from here on are matches.
    """

    def __init__(self, threshold: float) -> None:
        super().__init__(threshold, threshold)

    def __call__(self, match_quality_matrix: Array) -> Array:
        """As `Matcher`."""
        result = super().__call__(match_quality_matrix)
        count, boxes = match_quality_matrix.shape
        if count == 0 or boxes == 0:
            return result
        xp = of(result).xp
        best = match_quality_matrix.argmax(axis=1)[:, None]  # (M, 1)
        # A table instead of result[best] = ..., whose winner among equal indices is not defined.
        claims = xp.where(best == xp.arange(boxes), xp.arange(count)[:, None], -1).max(axis=0)
        return xp.where(claims >= 0, claims, result)


class BalancedPositiveNegativeSampler:
    """Some boxes of each image, drawn at random: so many positive ones, the others negative.

    Drawn by `manual_seed`, on the device, with the same outcome on all of them.

    Args:
        batch_size_per_image: how many boxes; fewer where an image has not so many.
        positive_fraction: which share of them is positive; where there are not so many, negative
            ones take their places.

    Raises:
        ValueError: a size below 0, a fraction outside 0 to 1.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        if batch_size_per_image < 0 or not 0 <= positive_fraction <= 1:
            raise ValueError(
                "BalancedPositiveNegativeSampler: batch_size_per_image must be 0 or more and "
                f"positive_fraction from 0 to 1, got {batch_size_per_image}, {positive_fraction}"
            )
        self.batch_size_per_image = int(batch_size_per_image)
        self.positive_fraction = positive_fraction

    def __call__(self, matched_idxs: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        """Which boxes are drawn.

        Args:
            matched_idxs: for each image (N_i,) numbers: 1 or more is positive, 0 negative, -1
                neither.

        Returns:
            two lists with a bool (N_i,) for each image: the positive and the negative boxes drawn.

        Raises:
            TypeError: not arrays.
            ValueError: not (N_i,).
        """
        drawn = [self._draw(labels) for labels in matched_idxs]
        return [positive for positive, _ in drawn], [negative for _, negative in drawn]

    def _draw(self, labels: Array) -> tuple[Array, Array]:
        op = "BalancedPositiveNegativeSampler"
        if isinstance(labels, Tensor):
            raise TypeError(f"{op}: matched_idxs must be arrays, got a Tensor; pass its .data")
        backend = of(labels)
        if labels.ndim != 1:
            raise ValueError(f"{op}: matched_idxs must be (N,) for each image, got {labels.shape}")
        count, limit = len(labels), self.batch_size_per_image
        # A random number for each box, with its index in the low digits so that none are equal.
        bits = backend.philox_bits(count, *next_offset(count)).astype(np.int64)
        numbers = bits * count + backend.xp.arange(count)
        most = int(limit * self.positive_fraction)
        positive = _lowest(backend, labels >= 1, numbers, most, most)
        negative = _lowest(backend, labels == 0, numbers, limit, limit - positive.sum())
        return positive, negative


def _lowest(backend: Backend, mask: Array, numbers: Array, most: int, count: Any) -> Array:
    """Of the true places of `mask`, those with the `count` lowest numbers, as a mask.

    How many there are is known to the device only; that it is not above `most` the host knows too,
    and so all shapes are fixed, and nobody waits.
    """
    xp = backend.xp
    result, most = xp.zeros(len(mask), np.bool_), min(most, len(mask))
    if most == 0:
        return result
    numbers = xp.where(mask, numbers, 1 << 62)
    if most < len(mask):
        first = xp.argpartition(numbers, most - 1)[:most]
        first = first[xp.argsort(numbers[first])]
    else:
        first = xp.argsort(numbers)
    result[first] = mask[first] & (xp.arange(most) < count)
    return result
