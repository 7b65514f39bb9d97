"""minidl/metrics/seen.py: batches are taken in, in any order and in parts, or refused by name."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl.metrics import COCOAveragePrecision, VOCAveragePrecision

from .test_detection import CLASSES, SQUARE, computed, image, same, scenes


@settings(max_examples=40, deadline=None)
@given(scenes(), st.booleans(), st.randoms(use_true_random=False))
def test_neither_order_nor_parts_change_the_result(images, named, random):
    if not named:
        images = [(p, {k: v for k, v in t.items() if k != "image_id"}) for p, t in images]
    shuffled = list(images)
    random.shuffle(shuffled)
    for make in (COCOAveragePrecision, VOCAveragePrecision):
        whole = computed(make(CLASSES), images)
        parts = [make(CLASSES), make(CLASSES)]
        for part, some in zip(parts, (shuffled[:2], shuffled[2:]), strict=True):
            part.update([p for p, _ in some], [t for _, t in some])
        assert same(whole, parts[0].merge(pickle.loads(pickle.dumps(parts[1]))).compute())
        assert len(parts[0]) == len(images)


def test_tensors_are_taken_too():
    prediction, target = image([[0, 0.5, *SQUARE]], [[0, *SQUARE]], image_id=np.int64(3))
    as_tensors = [{k: md.tensor(v) for k, v in part.items()} for part in (prediction, target)]
    expected = computed(COCOAveragePrecision(1), [(prediction, target)])
    assert same(expected, computed(COCOAveragePrecision(1), [as_tensors]))


def test_input_is_left_as_it_was():
    pair = image([[0, 0.5, *SQUARE], [1, 0.9, *SQUARE]], [[1, *SQUARE]], iscrowd=np.zeros(1))
    before = copy.deepcopy(pair)
    computed(COCOAveragePrecision(2), [pair])
    for part, old in zip(pair, before, strict=True):
        assert all(np.array_equal(part[key], old[key]) for key in old)


# -- what is wrong is told -------------------------------------------------------------------------

GOOD = image([[0, 0.5, *SQUARE]], [[0, *SQUARE]], image_id=7)


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        ({"scores": [math.nan]}, {}, "image 7: scores 0 is not finite: nan"),
        ({"boxes": [[0, 0, 1, math.inf]]}, {}, "image 7: boxes 0 is not finite"),
        ({"labels": [1]}, {}, "image 7: label 1 is none of the 1 classes"),
        ({"labels": [0.5]}, {}, "label 0.5 is none"),
        ({"labels": [0, 0]}, {}, "image 7: 2 labels for 1"),
        ({"boxes": [[0, 0, 1]]}, {}, r"boxes must be \('R', 4\), got \(1, 3\)"),
        ({"boxes": None}, {}, "image 7: has no 'boxes', only 'labels', 'scores'"),
        ({}, {"labels": [-1]}, "image 7, target: label -1 is none"),
        ({}, {"boxes": [[3, 3, 3, 9]]}, r"image 7, target: box 0 has no area: \[3.0, 3.0, 3.0, 9"),
        ({}, {"iscrowd": [0, 1]}, "target: 2 iscrowd for 1"),
        ({}, {"image_id": [1, 2]}, "image_id must be one int or text"),
    ],
)
def test_a_bad_image_is_told_by_name_and_changes_nothing(prediction, target, message):
    def changed(part, by):
        part = part | {key: value for key, value in by.items() if value is not None}
        return {key: value for key, value in part.items() if by.get(key, 0) is not None}

    score = COCOAveragePrecision(1)
    other = GOOD[0], GOOD[1] | {"image_id": 6}
    bad = changed(GOOD[0], prediction), changed(GOOD[1], target)
    with pytest.raises(ValueError, match=message):
        score.update([other[0], bad[0]], [other[1], bad[1]])
    assert len(score) == 0
    score.update([other[0]], [other[1]])


def test_an_image_counts_once():
    score = COCOAveragePrecision(1)
    score.update([GOOD[0]], [GOOD[1]])
    with pytest.raises(ValueError, match="image 7: was already counted"):
        score.update([GOOD[0]], [GOOD[1]])
    with pytest.raises(ValueError, match="already counted"):
        COCOAveragePrecision(1).update([GOOD[0]] * 2, [GOOD[1]] * 2)
    with pytest.raises(ValueError, match=r"both have counted images \[7\]"):
        score.merge(copy.deepcopy(score))
    score.reset()
    score.update([GOOD[0]], [GOOD[1]])
    with pytest.raises(ValueError, match="2 predictions and 1 targets"):
        score.update([GOOD[0]] * 2, [GOOD[1]])


def test_masks_must_be_of_yes_and_no_and_one_size():
    target = {"labels": [0], "masks": np.ones((1, 4, 4), bool)}
    soft = {"labels": [0], "scores": [0.5], "masks": np.full((1, 4, 4), 0.7)}
    with pytest.raises(TypeError, match="masks must be bool, got float64; compare"):
        COCOAveragePrecision(1, "masks").update([soft], [target])
    for pixels, message in (
        (np.ones((1, 4, 5), bool), "one size"),
        (np.ones((4, 4), bool), r"must be \(R, H, W\), got \(4, 4\)"),
        (np.ones((2, 4, 4), bool), "2 masks for 1"),
    ):
        with pytest.raises(ValueError, match=message):
            COCOAveragePrecision(1, "masks").update([soft | {"masks": pixels}], [target])
    empty = {"labels": [0], "masks": np.zeros((1, 4, 4), bool)}
    with pytest.raises(ValueError, match="mask 0 is empty"):
        COCOAveragePrecision(1, "masks").update([soft | {"masks": target["masks"]}], [empty])
    with pytest.raises(ValueError, match="has no 'masks'"):
        COCOAveragePrecision(1, "masks").update([GOOD[0]], [GOOD[1]])
