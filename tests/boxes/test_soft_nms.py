"""Soft non-maximum suppression against the paper's loop."""

import math

import numpy as np
import pytest

import minidl as md
from minidl.backend import by_name
from minidl.boxes import batched_soft_nms, nms, soft_nms

from .. import strict_cupy
from .test_nms import overlap, random_boxes

DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]


def slow_soft_nms(boxes, scores, method, iou_threshold, sigma, least, labels=None):
    """Bodla et al. 2017, figure 3."""
    left = {i: s for i, s in enumerate(scores.tolist()) if s > least}
    kept = []
    while left:
        best = max(left, key=lambda i: (left[i], -i))
        kept.append((best, left.pop(best)))
        for i in list(left):
            if labels is not None and labels[i] != labels[best]:
                continue
            iou = overlap(boxes[best], boxes[i])
            if method == "gaussian":
                left[i] *= math.exp(-(iou**2) / sigma)
            elif iou > iou_threshold:
                left[i] *= 1 - iou
            if left[i] <= least:
                del left[i]
    return [i for i, _ in kept], [s for _, s in kept]


@pytest.mark.parametrize("method", ["linear", "gaussian"])
@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_boxes_and_scores_equal_the_papers_loop(method, count):
    rng = np.random.default_rng(count)
    boxes, labels = random_boxes(rng, count), rng.integers(0, 3, count)
    scores = rng.integers(0, 30, count) / 30.0  # some are equal
    for options in [(0.3, 0.5, 0.001), (0.5, 0.2, 0.3), (0.0, 2.0, 0.0)]:
        keep, final = soft_nms(boxes, scores, method, *options)
        expected, lowered = slow_soft_nms(boxes, scores, method, *options)
        assert keep.dtype == np.int64
        assert final.dtype == np.float64
        assert keep.tolist() == expected
        assert np.allclose(final, lowered)
        keep, final = batched_soft_nms(boxes, scores, labels, method, *options)
        expected, lowered = slow_soft_nms(boxes, scores, method, *options, labels)
        assert keep.tolist() == expected
        assert np.allclose(final, lowered)


def test_scores_by_hand():
    boxes = np.array([[0, 0, 2, 1], [1, 0, 3, 1], [8, 8, 9, 9]], np.float32)  # iou 1/3
    scores = np.array([0.9, 0.6, 0.5], np.float32)
    keep, final = soft_nms(boxes, scores)
    assert keep.tolist() == [0, 2, 1]
    assert np.allclose(final, [0.9, 0.5, 0.4])
    assert final.dtype == np.float32
    keep, final = soft_nms(boxes, scores, "gaussian", sigma=0.5)
    assert np.allclose(final, [0.9, 0.5, 0.6 * math.exp(-2 / 9)])
    assert soft_nms(boxes, scores, score_threshold=0.45)[0].tolist() == [0, 2]
    assert nms(boxes, scores, 0.3).tolist() == [0, 2], "plain suppression loses the second"


def test_equal_boxes_of_equal_score():
    boxes = np.array([[0, 0, 4, 4]] * 3, np.float32)
    keep, final = soft_nms(boxes, np.full(3, 0.5, np.float32))
    assert keep.tolist() == [0]  # 1 - iou is 0
    keep, final = soft_nms(boxes, np.full(3, 0.5, np.float32), "gaussian")
    assert keep.tolist() == [0, 1, 2]
    assert np.allclose(final, 0.5 * np.exp([0.0, -2.0, -4.0]))


def test_boxes_without_area_or_with_a_nan_lower_nothing():
    boxes = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 2, 2], [0, np.nan, 2, 2]], np.float32)
    scores = np.array([4, 3, 2, 1], np.float32)
    for method in ("linear", "gaussian"):
        keep, final = soft_nms(boxes, scores, method)
        assert keep.tolist() == [0, 1, 2, 3]
        assert final.tolist() == scores.tolist()
    keep, final = soft_nms(boxes, np.array([np.nan, 1, -np.inf, np.inf], np.float32))
    assert keep.tolist() == [3, 1]


def test_arguments_are_left_alone():
    rng = np.random.default_rng(0)
    boxes, scores = random_boxes(rng, 20), rng.random(20)
    copies = boxes.copy(), scores.copy()
    soft_nms(boxes, scores)
    assert np.array_equal(boxes, copies[0])
    assert np.array_equal(scores, copies[1])


def test_wrong_arguments_name_the_function():
    boxes, scores = np.zeros((3, 4), np.float32), np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="soft_nms: method 'hard' is unknown"):
        soft_nms(boxes, scores, "hard")
    with pytest.raises(ValueError, match="soft_nms: sigma must be positive, got 0"):
        soft_nms(boxes, scores, sigma=0)
    with pytest.raises(ValueError, match=r"soft_nms: boxes must be \(R, 4\)"):
        soft_nms(boxes[:, :3], scores)
    with pytest.raises(ValueError, match=r"soft_nms: scores must be \(R,\) = \(3,\)"):
        soft_nms(boxes, scores[:2])
    with pytest.raises(TypeError, match="batched_soft_nms: idxs must be integers"):
        batched_soft_nms(boxes, scores, scores)
    with pytest.raises(TypeError, match="batched_soft_nms: boxes must be an array, got a Tensor"):
        batched_soft_nms(md.zeros(3, 4), scores, np.zeros(3, int))


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_waits_only_for_how_many_are_left(device):
    rng, backend = np.random.default_rng(0), by_name(device)
    boxes, labels = random_boxes(rng, 25).astype(np.float32), rng.integers(0, 3, 25)
    scores = rng.random(25).astype(np.float32)
    there = [backend.asarray(a) for a in (boxes, scores, labels)]
    strict_cupy.syncs.clear()
    made = batched_soft_nms(*there, "gaussian")
    assert len(strict_cupy.syncs) <= 1  # a real GPU keeps no list
    strict_cupy.syncs.clear()
    with strict_cupy.allow_sync():
        keep, final = [backend.to_host(a) for a in made]
    expected = batched_soft_nms(boxes, scores, labels, "gaussian")
    assert np.array_equal(keep, expected[0])
    assert np.allclose(final, expected[1])
