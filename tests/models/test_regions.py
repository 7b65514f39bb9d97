import numpy as np
import pytest

import minidl as md
from minidl import tensor
from minidl.boxes import box_iou
from minidl.models.detection.regions import (
    CachedProposals,
    RegionMatcher,
    detections,
    match_regions,
)

from .detection import objects, scenes


class Source:
    """Counts how often it is asked."""

    def __init__(self, boxes):
        self.boxes, self.asked = np.array(boxes, np.float32), 0

    def __call__(self, image):
        self.asked += 1
        return self.boxes


def test_proposals_of_a_picture_are_found_once():
    source = Source([[0, 0, 5, 5]])
    proposals = CachedProposals(source)
    image = md.rand(3, 8, 8)
    first = proposals(image)
    np.testing.assert_array_equal(proposals(tensor(image.data.copy())), first)
    assert source.asked == 1
    proposals(image[:, :, :7])
    proposals(image.double())
    assert source.asked == 3


def test_what_a_caller_does_to_proposals_is_not_remembered():
    proposals = CachedProposals(Source([[0, 0, 5, 5]]))
    image = md.rand(3, 8, 8)
    proposals(image)[...] = 7
    np.testing.assert_array_equal(proposals(image), [[0, 0, 5, 5]])


def test_the_picture_that_was_not_asked_for_for_longest_is_forgotten():
    source = Source([[0, 0, 5, 5]])
    proposals = CachedProposals(source, capacity=2)
    a, b, c = md.rand(3, 3, 8, 8)
    for image in (a, b, a, c):  # b is forgotten
        proposals(image)
    assert source.asked == 3
    proposals(a)
    assert source.asked == 3
    proposals(b)
    assert source.asked == 4


def test_proposals_are_cut_off_at_the_picture_and_only_the_first_are_used():
    source = Source([[-3, -3, 4, 4], [9, 9, 12, 12], [1, 1, 1.5, 6], [0, 0, 8, 6], [0, 0, 2, 2]])
    found = CachedProposals(source, most=4)(md.rand(3, 6, 8))
    np.testing.assert_array_equal(found, [[0, 0, 4, 4], [0, 0, 8, 6]])
    assert found.dtype == np.float32


@pytest.mark.parametrize("boxes", [np.zeros((2, 5)), np.zeros(4), [[0, 0, np.nan, 1]]])
def test_a_source_that_returns_no_boxes_is_an_error(boxes):
    with pytest.raises(ValueError, match="must return finite boxes"):
        CachedProposals(Source(boxes))(md.rand(3, 8, 8))


def test_selective_search_is_the_default_and_finds_most_objects():
    images, targets = scenes(10)
    proposals = CachedProposals()
    best = [
        box_iou(target["boxes"].data, proposals(image)).max(axis=1)
        for image, target in zip(images, targets, strict=True)
    ]
    assert (np.concatenate(best) >= 0.5).mean() >= 0.8


def test_regions_show_the_object_they_overlap_most_or_background_or_neither():
    target = objects([[0, 0, 10, 10], [20, 0, 30, 10]], [4, 2])
    proposals = np.array(
        [
            [0, 0, 10, 5],  # half of the first
            [0, 0, 10, 4.9],
            [20, 1, 30, 10],  # most of the second
            [0, 0, 10, 1],  # a tenth
            [0, 0, 10, 0.9],
            [50, 50, 60, 60],  # nothing
        ],
        np.float32,
    )
    regions = match_regions(proposals, target, RegionMatcher(0.5, (0.1, 0.5)))
    np.testing.assert_array_equal(regions.labels, [5, 0, 3, 0, -1, -1, 5, 3])
    assert regions.labels.dtype == np.int64
    np.testing.assert_array_equal(regions.boxes, np.concatenate([proposals, target["boxes"].data]))


def test_between_background_and_an_object_a_region_shows_neither():
    target = objects([[0, 0, 10, 10]], [0])
    proposals = np.array([[0, 0, 10, h] for h in (2, 3, 4, 6)], np.float32)
    regions = match_regions(proposals, target, RegionMatcher(0.6, (0.0, 0.3)))
    np.testing.assert_array_equal(regions.labels, [0, -1, -1, 1, 1])


def test_in_a_picture_without_objects_all_regions_show_background():
    matcher = RegionMatcher(0.5, (0.1, 0.5))
    proposals = np.array([[0, 0, 10, 10], [0, 0, 3, 3]], np.float32)
    regions = match_regions(proposals, objects([]), matcher)
    np.testing.assert_array_equal(regions.labels, [0, 0])
    regions = match_regions(np.zeros((0, 4), np.float32), objects([]), matcher)
    assert [field.shape for field in regions] == [(0, 4), (0,)]


def test_detections_are_suppressed_within_their_class_only():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 40, 40]], np.float32)
    scores = np.array([[0.9, 0.2], [0.8, 0.3], [0.04, 0.5]], np.float32)
    found = detections(boxes[:, None], scores, (30, 30), 0.05, 0.5, 100)
    np.testing.assert_array_equal(found["labels"].data, [0, 1, 1])
    np.testing.assert_array_equal(found["scores"].data, np.float32([0.9, 0.5, 0.3]))
    np.testing.assert_array_equal(
        found["boxes"].data, [[0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 10, 9]]
    )
    found = detections(boxes[:, None], scores, (30, 30), 0.05, 0.5, 2)
    assert found["scores"].shape == (2,)


def test_detections_of_each_class_have_boxes_of_their_own():
    boxes = np.array([[[0, 0, 1, 1], [0, 0, 2, 2]]], np.float64)
    found = detections(boxes, np.array([[0.5, 0.6]]), (9, 9), 0.0, 0.5, 100)
    np.testing.assert_array_equal(found["boxes"].data, [[0, 0, 2, 2], [0, 0, 1, 1]])
    assert found["boxes"].dtype == found["scores"].dtype == np.float32


def test_no_regions_no_detections():
    found = detections(np.zeros((0, 3, 4)), np.zeros((0, 3)), (9, 9), 0.0, 0.5, 100)
    assert [found[name].shape for name in ("boxes", "labels", "scores")] == [(0, 4), (0,), (0,)]
