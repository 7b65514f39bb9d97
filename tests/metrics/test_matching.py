"""minidl/metrics/matching.py: overlaps and pairs are those of slow and obvious loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.metrics import matching
from minidl.metrics.matching import COCO_SIGMAS, Pairs, best_pairs, box_overlaps, match, oks

from .test_detection import overlap


def test_overlaps_of_boxes_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 8, (2, 30, 2)).astype(float)
    boxes, others = (np.concatenate([c, c + rng.integers(0, 5, c.shape)], axis=1) for c in corner)
    crowd = rng.random(30) < 0.3
    got = box_overlaps(boxes, others, crowd)
    expected = [[overlap(a, b, c) for b, c in zip(others, crowd, strict=True)] for a in boxes]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-15)
    assert (got > 0).any()


def obvious_oks(points, other, box, area, sigmas):
    labelled = [k for k in range(len(other)) if other[k][2] > 0]
    total = 0.0
    for k in labelled or range(len(other)):
        dx, dy = points[k][0] - other[k][0], points[k][1] - other[k][1]
        if not labelled:
            width, height = box[2] - box[0], box[3] - box[1]
            dx = max(box[0] - width - points[k][0], 0) + max(points[k][0] - box[2] - width, 0)
            dy = max(box[1] - height - points[k][1], 0) + max(points[k][1] - box[3] - height, 0)
        total += math.exp(-(dx**2 + dy**2) / (2 * area * (2 * sigmas[k]) ** 2))
    return total / len(labelled or other)


def test_similarity_of_keypoints_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    points, others = rng.uniform(0, 30, (4, 17, 3)), rng.uniform(0, 30, (5, 17, 3))
    others[..., 2] = rng.integers(0, 3, (5, 17))
    others[3, :, 2] = 0  # nothing is labelled
    boxes = np.array([[10.0, 12, 14, 15]] * 5)
    areas, sigmas = rng.uniform(500, 4000, 5), np.array(COCO_SIGMAS)
    expected = [
        [obvious_oks(p, *row, sigmas) for row in zip(others, boxes, areas, strict=True)]
        for p in points
    ]
    got = oks(points, others, boxes, areas, sigmas)
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-15)
    assert got.shape == (4, 5)
    assert 0 < got[:, 3].min() < 1


def test_one_keypoint_off_by_its_tolerance():
    """For d = s 2 sigma the similarity is exp(-1 / 2)."""
    other = np.array([[[5.0, 5.0, 2.0]]])
    box, area, sigma = np.array([[0.0, 0, 10, 10]]), np.array([100.0]), np.array([0.1])
    got = oks(other + [2.0, 0, 0], other, box, area, sigma)
    np.testing.assert_allclose(got, [[math.exp(-0.5)]], rtol=1e-12)


def obvious_match(table, group, score, threshold, ignored, many):
    """`table` (D, G): overlaps, 0 between groups."""
    found, taken = np.full(len(score), -1), set()
    for d in sorted(range(len(score)), key=lambda d: -score[d]):
        free = [g for g in range(len(ignored)) if table[d, g] >= threshold]
        free = [g for g in free if many[g] or g not in taken]
        real = [g for g in free if not ignored[g]] or free
        if real:
            found[d] = max(real, key=lambda g: (table[d, g], g))
            taken.add(found[d])
    return found


@st.composite
def problems(draw):
    detections, objects = draw(st.integers(0, 8)), draw(st.integers(0, 6))

    def some(values, count):
        return draw(st.lists(st.sampled_from(values), min_size=count, max_size=count))

    group, of = np.array(some([0, 1], detections), int), np.array(some([0, 1], objects), int)
    table = np.array(some([0.0, 0.5, 0.6, 0.7, 0.9], detections * objects))
    table = table.reshape(detections, objects) * (group[:, None] == of)
    score = np.array(some([0.1, 0.2, 0.3], detections), float)
    ignored = np.array(some([False, True], 2 * objects), bool).reshape(2, objects)
    return table, group, score, ignored, np.array(some([False, False, True], objects), bool)


@settings(max_examples=150, deadline=None)
@given(problems())
def test_pairs_are_those_of_a_loop(problem):
    table, group, score, ignored, many = problem
    detection, found = np.nonzero(table >= 0.5)
    pairs = Pairs(detection, found, table[detection, found])
    thresholds = np.array([0.5, 0.65, 0.9])
    got = match(pairs, group, score, thresholds, ignored, many)
    assert got.shape == (2, 3, len(score))
    for a in range(2):
        for t, threshold in enumerate(thresholds):
            expected = obvious_match(table, group, score, threshold, ignored[a], many)
            np.testing.assert_array_equal(got[a, t], expected)


def test_portions_do_not_change_the_pairs(monkeypatch):
    rng = np.random.default_rng(0)
    group, of = np.arange(60) // 6, np.arange(30) // 3
    table = np.where(group[:, None] == of, rng.uniform(0.3, 1, (60, 30)), 0)
    detection, found = np.nonzero(table >= 0.5)
    pairs = Pairs(detection, found, table[detection, found])
    arguments = pairs, group, rng.random(60), np.array([0.5, 0.7]), np.zeros((1, 30), bool)
    whole = match(*arguments, many=np.zeros(30, bool))
    monkeypatch.setattr(matching, "PORTION", 7)
    np.testing.assert_array_equal(match(*arguments, many=np.zeros(30, bool)), whole)
    assert (whole >= 0).sum() > 30


def test_the_best_pair_of_a_detection_is_the_first_of_equals():
    pairs = Pairs(np.array([0, 0, 2, 2, 2]), np.array([1, 3, 0, 1, 4]), np.array([5, 6, 7, 9, 9.0]))
    assert best_pairs(pairs).tolist() == [1, 3]
    none = np.zeros(0, int)
    assert best_pairs(Pairs(none, none, np.zeros(0))).tolist() == []


def test_tolerances_of_keypoints_are_cocos():
    coco = pytest.importorskip("pycocotools.cocoeval", reason="needs pycocotools (reference)")
    np.testing.assert_allclose(COCO_SIGMAS, coco.Params("keypoints").kpt_oks_sigmas, rtol=1e-12)
