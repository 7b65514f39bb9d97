"""What one-stage detectors share."""

import numpy as np
import pytest

import minidl as md
from minidl.backend import of
from minidl.boxes import BoxCoder, Matcher
from minidl.models.detection.dense import assign, best_of, highest, rows

from .. import strict_cupy
from .detection import moved, objects

DEVICES = ["strict", pytest.param("cuda", marks=pytest.mark.gpu)]
BOXES = np.array([[0, 0, 8, 8], [8, 0, 16, 8], [0, 8, 8, 16], [8, 8, 16, 16]], np.float32)


def test_rows_go_level_by_level_position_by_position_and_box_by_box():
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(2, 3 * a, h, w)) for a, h, w in ((2, 3, 4), (1, 2, 2))]
    expected = [[], []]
    for n in range(2):
        for level in maps:
            for y in range(level.shape[2]):
                for x in range(level.shape[3]):
                    for a in range(level.shape[1] // 3):
                        expected[n].append(level[n, 3 * a : 3 * a + 3, y, x])
    result = rows([md.tensor(level) for level in maps], 3)
    assert result.shape == (2, 3 * 4 * 2 + 2 * 2, 3)
    np.testing.assert_array_equal(result.data, np.array(expected))


def test_each_box_is_assigned_the_object_that_it_overlaps_most():
    targets = [objects([[0, 0, 8, 6], [9, 8, 16, 16]], [5, 7]), objects([])]
    wanted = assign(BOXES, targets, Matcher(0.5, 0.5), BoxCoder((10.0, 10.0, 5.0, 5.0)))
    assert wanted.matches.tolist() == [[0, -1, -1, 1], [-1, -1, -1, -1]]
    assert wanted.labels.shape == (2, 4)
    assert wanted.labels[0, [0, 3]].tolist() == [5, 7]
    # From (4, 4), 8 x 8, to (4, 3), 8 x 6; and from (12, 12), 8 x 8, to (12.5, 12), 7 x 8.
    expected = [[0, -10 / 8, 0, 5 * np.log(6 / 8)], [10 * 0.5 / 8, 0, 5 * np.log(7 / 8), 0]]
    np.testing.assert_allclose(wanted.codes[0, [0, 3]], expected, rtol=1e-6)
    assert np.isfinite(wanted.codes).all()
    assert wanted.codes.dtype == np.float32


@pytest.mark.parametrize("device", DEVICES)
def test_boxes_are_assigned_on_a_gpu_without_waiting(device):
    targets = [objects([[0, 0, 8, 6], [9, 8, 16, 16]], [5, 7]), objects([])]
    matcher, coder = Matcher(0.5, 0.4, allow_low_quality_matches=True), BoxCoder()
    expected = assign(BOXES, targets, matcher, coder)
    boxes = md.tensor(BOXES, device=device).data
    _, targets = moved([], targets, device)
    with strict_cupy.forbid_sync():
        wanted = assign(boxes, targets, matcher, coder)
    for mine, other in zip(wanted, expected, strict=True):
        np.testing.assert_allclose(of(mine).to_host(mine), other, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 3, 10, 12])
def test_the_highest_scores_of_each_column_are_found(count):
    scores = np.random.default_rng(0).permutation(20).reshape(10, 2)
    index = highest(scores, count)
    assert index.shape == (min(count, 10), 2)
    found = np.sort(np.take_along_axis(scores, index, 0), axis=0)
    np.testing.assert_array_equal(found, np.sort(scores, axis=0)[-count:])


def test_candidates_become_detections_by_falling_score():
    boxes = np.array(
        [[-4, 0, 8, 8], [0, 0, 8, 8], [0, 0, 8, 8], [10, 10, 30, 30], [2, 2, 4, 4], [5, 5, 6, 6]],
        np.float32,
    )
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], np.float32)
    labels = np.array([1, 1, 0, 1, 0, 0])
    found = best_of(boxes, scores, labels, (16, 20), 0.4, 0.5, 3)
    # The second is the first's, of its class; the last has no score above 0.4, and the one before
    # is the fourth of three.
    assert found["boxes"].data.tolist() == [[0, 0, 8, 8], [0, 0, 8, 8], [10, 10, 20, 16]]
    assert found["labels"].data.tolist() == [1, 0, 1]
    np.testing.assert_array_equal(found["scores"].data, scores[[0, 2, 3]])
    assert len(best_of(boxes, scores, labels, (16, 20), 0.4, 0.5, 10)["labels"].data) == 4


def test_where_no_candidate_is_sure_enough_there_are_no_detections():
    found = best_of(BOXES, np.full(4, 0.3, np.float32), np.arange(4), (16, 16), 0.3, 0.5, 10)
    assert found["boxes"].shape == (0, 4)
    assert found["labels"].data.dtype == np.int64
    assert found["scores"].shape == (0,)
