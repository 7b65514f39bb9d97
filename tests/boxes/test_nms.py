"""Non-maximum suppression against a slow loop over pairs."""

import numpy as np
import pytest

import minidl as md
from minidl.backend import by_name
from minidl.boxes import batched_nms, nms

from .. import strict_cupy


def overlap(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either else 0.0


def slow_nms(boxes, scores, threshold, labels=None):
    left = sorted(range(len(boxes)), key=lambda i: (-scores[i], i))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [
            i
            for i in left
            if overlap(boxes[best], boxes[i]) <= threshold
            or (labels is not None and labels[i] != labels[best])
        ]
    return kept


def random_boxes(rng, count):
    corners = rng.uniform(0, 50, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(1, 30, (count, 2))], axis=1)


@pytest.mark.parametrize("count", [0, 1, 2, 40, 200])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.9])
def test_the_same_boxes_are_left_as_by_a_slow_loop(count, threshold):
    rng = np.random.default_rng(count)
    boxes, labels = random_boxes(rng, count), rng.integers(0, 4, count)
    scores = rng.integers(0, 20, count) / 20.0  # many are equal
    keep = nms(boxes, scores, threshold)
    assert keep.dtype == np.int64
    assert keep.tolist() == slow_nms(boxes, scores, threshold)
    keep = batched_nms(boxes, scores, labels, threshold)
    assert keep.dtype == np.int64
    assert keep.tolist() == slow_nms(boxes, scores, threshold, labels)


def test_an_overlap_equal_to_the_threshold_removes_nothing():
    boxes = np.array([[0, 0, 2, 1], [1, 0, 3, 1]], np.float32)  # 1/3
    scores = np.array([0.9, 0.8], np.float32)
    assert nms(boxes, scores, float(np.float32(1 / 3))).tolist() == [0, 1]
    assert nms(boxes, scores, 0.33).tolist() == [0]


def test_equal_scores_keep_their_order_and_nan_comes_last():
    boxes = np.array([[0, 0, 2, 2]] * 3 + [[5, 5, 6, 6]], np.float32)
    assert nms(boxes, np.array([0.5, 0.5, 0.5, 0.5], np.float32), 0.5).tolist() == [0, 3]
    scores = np.array([np.nan, 0.2, 0.1, np.inf], np.float32)
    assert nms(boxes, scores, 0.5).tolist() == [3, 1]
    assert nms(boxes[[0, 3]], scores[:2], 0.5).tolist() == [1, 0]


def test_boxes_without_area_or_with_a_nan_neither_remove_nor_are_removed():
    boxes = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 2, 2], [0, np.nan, 2, 2]], np.float32)
    for scores in ([4, 3, 2, 1], [1, 2, 3, 4]):
        assert len(nms(boxes, np.array(scores, np.float32), 0.1)) == 4


def test_classes_do_not_mix_however_far_apart_their_boxes_are():
    """Shifting the boxes of each class, as is often done, would lose their digits here."""
    near = np.array([[0, 0, 1, 1], [0.25, 0, 1.25, 1]], np.float32)
    boxes = np.concatenate([near, near, [[1e8, 1e8, 1e8 + 64, 1e8 + 64]]]).astype(np.float32)
    labels, scores = np.array([0, 0, 900, 900, 5]), np.array([5, 4, 3, 2, 1], np.float32)
    assert batched_nms(boxes, scores, labels, 0.5).tolist() == [0, 2, 4]
    assert batched_nms(boxes, scores, labels, 0.7).tolist() == [0, 1, 2, 3, 4]


def test_wrong_arguments_name_the_function():
    boxes, scores = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)
    for call, error, message in [
        (lambda: nms(boxes[:, :3], scores, 0.5), ValueError, r"nms: boxes must be \(R, 4\)"),
        (lambda: nms(boxes, scores[:2], 0.5), ValueError, r"nms: scores must be \(R,\) = \(3,\)"),
        (lambda: nms(boxes, md.zeros(3), 0.5), TypeError, "nms: scores must be an array"),
        (
            lambda: batched_nms(boxes, scores, scores, 0.5),
            TypeError,
            "batched_nms: idxs must be integers, got float32",
        ),
        (
            lambda: batched_nms(boxes, scores, np.zeros(2, int), 0.5),
            ValueError,
            "batched_nms: idxs must be",
        ),
    ]:
        with pytest.raises(error, match=message):
            call()


def test_a_device_waits_only_for_how_many_are_left():
    rng, strict = np.random.default_rng(0), by_name("strict")
    boxes, labels = random_boxes(rng, 40).astype(np.float32), rng.integers(0, 3, 40)
    scores = rng.random(40).astype(np.float32)
    there = [strict.asarray(a) for a in (boxes, scores, labels)]
    strict_cupy.syncs.clear()
    kept = nms(*there[:2], 0.4), batched_nms(*there, 0.4)
    assert len(strict_cupy.syncs) == 2
    strict_cupy.syncs.clear()
    with strict_cupy.allow_sync():
        mine = [strict.to_host(a).tolist() for a in kept]
    assert mine == [slow_nms(boxes, scores, 0.4), slow_nms(boxes, scores, 0.4, labels)]
