"""Which detection found which object: overlaps, and the rules that pair them one to one.

All images are paired at once. Only pairs of a detection and an object of one image and class that
overlap enough are kept; there are few, and each detection has a short list of candidates. Then the
best detections of all images take their objects, after them the second best, and so on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["COCO_SIGMAS", "Pairs", "best_pairs", "box_overlaps", "match", "oks"]

# How far off people are who mark the same keypoint, as a share of the object's size: COCO's
# keypoint challenge. Nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles.
COCO_SIGMAS = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062),
    *(0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)


def box_overlaps(boxes: np.ndarray, others: np.ndarray, iscrowd: np.ndarray) -> np.ndarray:
    """Intersection over union; over a crowd, intersection over the area of the first box.

    Args:
        boxes: (D, 4) float64 x1, y1, x2, y2, pixels.
        others: (G, 4).
        iscrowd: (G,) bool.

    Returns:
        (D, G) float64; 0 for boxes without area.
    """
    first = boxes[:, None]
    sides = np.minimum(first[..., 2:], others[:, 2:]) - np.maximum(first[..., :2], others[:, :2])
    shared = np.maximum(sides[..., 0], 0.0) * np.maximum(sides[..., 1], 0.0)
    area, other = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others)]
    whole = np.where(iscrowd, area[:, None], area[:, None] + other - shared)
    return shared / np.where(whole == 0, 1.0, whole)


def oks(
    keypoints: np.ndarray,
    others: np.ndarray,
    boxes: np.ndarray,
    areas: np.ndarray,
    sigmas: np.ndarray,
) -> np.ndarray:
    """Object keypoint similarity: what IoU is to boxes (Ronchi and Perona 2017, equation 1).

    The mean over the labelled keypoints of exp(-d^2 / (2 s^2 (2 sigma)^2)), for d the distance in
    pixels and s^2 the area of the object. An object without labelled keypoints is similar to
    whatever lies in twice its box around its middle, and less to what does not (COCO's tools).

    Args:
        keypoints: (D, K, 3) float64 x, y and anything.
        others: (G, K, 3) x, y, visible; 0 means not labelled.
        boxes: (G, 4) of the others, x1, y1, x2, y2.
        areas: (G,) of the others, square pixels.
        sigmas: (K,).

    Returns:
        (D, G) float64 from 0 to 1.
    """
    labelled = others[..., 2] > 0
    unmarked = labelled.sum(axis=1) == 0
    x, y = keypoints[:, None, :, 0], keypoints[:, None, :, 1]  # (D, 1, K)
    dx, dy = x - others[..., 0], y - others[..., 1]  # (D, G, K)
    if unmarked.any():
        size = boxes[:, 2:] - boxes[:, :2]
        low, high = boxes[:, :2] - size, boxes[:, 2:] + size
        off = [
            np.maximum(low[:, None, i] - p, 0.0) + np.maximum(p - high[:, None, i], 0.0)
            for i, p in enumerate((x, y))
        ]
        dx, dy = (np.where(unmarked[:, None], o, d) for o, d in zip(off, (dx, dy), strict=True))
    scale = 2.0 * (2.0 * sigmas) ** 2 * (areas + np.spacing(1.0))[:, None]
    counted = labelled | unmarked[:, None]
    similar = np.where(counted, np.exp(-(dx**2 + dy**2) / scale), 0.0)
    return similar.sum(axis=2) / counted.sum(axis=1)


PORTION = 2**21  # candidates looked at in one go, over ways and thresholds: some 40 MB


@dataclass
class Pairs:
    """Detections and objects that overlap, numbered through all images.

    Args:
        detection: (P,) int64, rising.
        object: (P,) int64, rising within a detection.
        overlap: (P,) float64.
    """

    detection: np.ndarray
    object: np.ndarray
    overlap: np.ndarray


def best_pairs(pairs: Pairs) -> np.ndarray:
    """For each detection its pair of the largest overlap, the first one of equals: (n,) indices."""
    order = np.lexsort((-pairs.overlap, pairs.detection))
    first = np.ones(len(order), bool)
    first[1:] = np.diff(pairs.detection[order]) != 0
    return order[first]


def match(
    pairs: Pairs,
    group: np.ndarray,
    score: np.ndarray,
    thresholds: np.ndarray,
    ignored: np.ndarray,
    many: np.ndarray,
) -> np.ndarray:
    """Pair detections with objects, each with at most one, those of high score first.

    In turn, each detection takes of the objects it overlaps by the threshold or more that are not
    taken yet the one of the largest overlap, the last of equals. An ignored object is only taken
    where there is no other; one with `many` may be taken again and again, as a crowd. (The rule of
    COCO's tools; the lecture's is the same for objects that are neither.)

    Args:
        pairs: all of them of one group each.
        group: (D,) what a detection belongs to: its image and class.
        score: (D,).
        thresholds: (T,) of the overlap.
        ignored: (A, G) bool: A ways to say which objects are ignored.
        many: (G,) bool.

    Returns:
        (A, T, D) int32: the object that each detection took, or -1.
    """
    ways, objects = ignored.shape
    found = np.full((ways, len(thresholds), len(score)), -1, np.int32)
    if not len(pairs.detection):
        return found
    who, first, count = np.unique(pairs.detection, return_index=True, return_counts=True)
    width = count.max()
    # (n, width): the candidates of each detection, padded with an object that is always taken.
    candidates = np.full((len(who), width), objects)
    overlaps = np.full((len(who), width), -1.0)
    row = np.repeat(np.arange(len(who)), count)
    column = np.arange(len(row)) - np.repeat(first, count)
    candidates[row, column] = pairs.object
    overlaps[row, column] = pairs.overlap

    # Whose turn is it when: the place of a detection among those of its group.
    order = np.lexsort((who, -score[who], group[who]))
    starts = np.flatnonzero(np.diff(group[who][order], prepend=-1))
    turn = np.empty(len(who), np.int64)
    turn[order] = np.arange(len(who)) - np.repeat(starts, np.diff(starts, append=len(who)))
    by_turn = np.argsort(turn, kind="stable")
    ends = np.cumsum(np.bincount(turn))

    taken = np.zeros((ways, len(thresholds), objects + 1), bool)
    taken[..., objects] = True
    ignored = np.append(ignored, np.zeros((ways, 1), bool), axis=1)
    many = np.append(many, False)
    enough = thresholds[:, None, None]
    # Detections of one turn do not compete, so any number of them can go at once.
    portion = max(1, PORTION // (ways * len(thresholds) * width))
    for now in _portions(by_turn, ends, portion):
        choice, overlap = candidates[now], overlaps[now]  # (n, width)
        free = (overlap >= enough) & ~taken[:, :, choice]  # (A, T, n, width)
        real = free & ~ignored[:, None, choice]
        use = np.where(real.any(axis=-1, keepdims=True), real, free)
        value = np.where(use, overlap, -1.0)[..., ::-1]
        best = width - 1 - value.argmax(axis=-1)  # the last of equals
        a, t, n = np.nonzero(use.any(axis=-1))
        taker = choice[n, best[a, t, n]]
        found[a, t, who[now][n]] = taker
        taken[a, t, taker] |= ~many[taker]
    return found


def _portions(order: np.ndarray, ends: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """`order`, cut at `ends` and into pieces of at most `size`."""
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        for start in range(begin, end, size):
            yield order[start : min(start + size, end)]
