"""Scores of segmentations, against counting pixel by pixel and against a worked example."""

import math

import numpy as np
import pytest

import minidl as md
from minidl.metrics import ConfusionMatrix

from ..strict_cupy import forbid_sync


def count(predicted, labels, classes, ignored=None):
    matrix = np.zeros((classes, classes), int)
    for place in np.ndindex(*labels.shape):
        if labels[place] != ignored:
            matrix[labels[place], predicted[place]] += 1
    return matrix


def score_by_sets(predicted, labels, classes, ignored):
    """The four scores from sets of places, as the definitions say."""
    places = [p for p in np.ndindex(*labels.shape) if labels[p] != ignored]
    truth = [{p for p in places if labels[p] == c} for c in range(classes)]
    found = [{p for p in places if predicted[p] == c} for c in range(classes)]
    both = [len(t & f) for t, f in zip(truth, found, strict=True)]
    either = [len(t | f) for t, f in zip(truth, found, strict=True)]
    iou = [b / e if e else None for b, e in zip(both, either, strict=True)]
    recall = [b / len(t) for b, t in zip(both, truth, strict=True) if t]
    return {
        "pixel_accuracy": sum(both) / len(places),
        "mean_accuracy": sum(recall) / len(recall),
        "mean_iou": sum(i for i in iou if i is not None) / sum(i is not None for i in iou),
        "frequency_weighted_iou": sum(
            len(t) * i for t, i in zip(truth, iou, strict=True) if i is not None
        )
        / len(places),
    }


@pytest.mark.parametrize("ignored", [None, 255, 1])
def test_scores_are_those_of_counting_pixel_by_pixel(ignored):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (5, 6, 7))
    predicted = np.where(rng.random(labels.shape) < 0.6, labels, rng.integers(0, 4, labels.shape))
    if ignored == 255:
        labels[rng.random(labels.shape) < 0.2] = 255
    counts = ConfusionMatrix(5, ignored)  # class 4 never occurs
    counts.update(predicted, labels)
    counts.reset()
    counts.update(predicted[:3], labels[:3])
    counts.update(md.Tensor(predicted[3:]), md.Tensor(labels[3:]))
    np.testing.assert_array_equal(counts.matrix, count(predicted, labels, 5, ignored))
    expected = score_by_sets(predicted, labels, 5, ignored)
    assert counts.scores() == pytest.approx(expected, abs=1e-12)


def test_a_worked_example():
    """Four pixels of class 0, three of which are found; two of class 1, both found."""
    counts = ConfusionMatrix(["ground", "car", "tree"], ignore_index=255)
    labels = np.array([[0, 0, 0, 0, 1, 1, 255]])
    counts.update(np.array([[0, 0, 0, 1, 1, 1, 2]]), labels)
    np.testing.assert_array_equal(counts.matrix, [[3, 1, 0], [0, 2, 0], [0, 0, 0]])
    assert counts.pixel_accuracy() == 5 / 6
    assert counts.mean_accuracy() == (3 / 4 + 1) / 2
    assert counts.class_iou()[:2] == [3 / 4, 2 / 3]
    assert counts.mean_iou() == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert counts.frequency_weighted_iou() == pytest.approx((4 * 3 / 4 + 2 * 2 / 3) / 6)


def test_a_class_that_never_occurs_is_nan_with_a_reason():
    counts = ConfusionMatrix(["ground", "car", "tree"])
    counts.update(np.array([[0, 2]]), np.array([[0, 0]]))
    accuracy, iou = counts.class_accuracy(), counts.class_iou()
    assert math.isnan(accuracy[1])
    assert accuracy[1].reason == "no pixel is car"
    assert math.isnan(accuracy[2])
    assert math.isnan(iou[1])
    assert iou[1].reason == "no pixel is car or predicted as it"
    assert iou[2] == 0.0  # predicted, but never there: no score is missing, it is bad
    assert counts.mean_iou() == pytest.approx((1 / 2 + 0) / 2)
    assert counts.mean_iou().reason == "without classes that do not occur: car"
    assert counts.mean_accuracy().reason == "without classes that do not occur: car, tree"
    for score in ConfusionMatrix(2).scores().values():
        assert math.isnan(score)
        assert score.reason == "no pixel was counted"


def test_scores_of_networks_are_taken_by_their_highest():
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    labels = rng.integers(0, 3, (2, 4, 5))
    counts = ConfusionMatrix(3)
    counts.update(md.Tensor(scores), md.Tensor(labels))
    np.testing.assert_array_equal(counts.matrix, count(scores.argmax(1), labels, 3))
    one = ConfusionMatrix(2)
    one.update(scores[:, :1], (labels > 0).astype(np.uint8))
    np.testing.assert_array_equal(one.matrix, count((scores[:, 0] > 0) * 1, (labels > 0) * 1, 2))


def test_counts_merge_and_resume():
    rng = np.random.default_rng(2)
    predicted, labels = rng.integers(0, 3, (2, 4, 10))
    whole, first, second = ConfusionMatrix(3), ConfusionMatrix(3), ConfusionMatrix(3)
    whole.update(predicted, labels)
    first.update(predicted[:1], labels[:1])
    second.update(predicted[1:], labels[1:])
    first.merge(second)
    np.testing.assert_array_equal(first.matrix, whole.matrix)
    resumed = ConfusionMatrix(3)
    resumed.load_state_dict(first.state_dict())
    resumed.update(predicted, labels)
    np.testing.assert_array_equal(resumed.matrix, 2 * whole.matrix)
    np.testing.assert_array_equal(first.matrix, whole.matrix)
    with pytest.raises(ValueError, match=r"cannot merge counts of 2 classes \(0, 1\) into 3"):
        first.merge(ConfusionMatrix(2))
    with pytest.raises(ValueError, match=r"shape \(2, 2\) for 3 classes"):
        first.load_state_dict({"matrix": np.zeros((2, 2))})


def test_counting_on_a_device_does_not_wait_for_it():
    rng = np.random.default_rng(3)
    scores, labels = rng.standard_normal((2, 3, 4)), rng.integers(0, 3, (2, 4))
    labels[0, 0] = 255
    on_device = [md.tensor(a, device="strict") for a in (scores, labels)]
    counts = ConfusionMatrix(3, ignore_index=255)
    counts.update(*on_device)  # the empty table travels once
    with forbid_sync():
        counts.update(*on_device)
    counts.update(scores, labels)  # and a batch from the host
    np.testing.assert_array_equal(counts.matrix, 3 * count(scores.argmax(1), labels, 3, 255))


def test_what_is_no_class_is_refused_or_found_when_a_score_is_read():
    counts = ConfusionMatrix(3, ignore_index=255)
    with pytest.raises(IndexError, match=r"ConfusionMatrix: target 3 at \(0, 1\)"):
        counts.update(np.array([[0, 1]]), np.array([[0, 3]]))
    with pytest.raises(IndexError, match="ConfusionMatrix, predictions: target -1"):
        counts.update(np.array([[0, -1]]), np.array([[0, 1]]))
    assert counts.matrix.sum() == 0
    counts.update(
        md.tensor(np.array([[0, 1]]), device="strict"),
        md.tensor(np.array([[0, 3]]), device="strict"),
    )
    with pytest.raises(ValueError, match="1 pixels have a label or a prediction outside 0 to 2"):
        counts.mean_iou()


@pytest.mark.parametrize(
    ("output", "target", "error", "message"),
    [
        (
            np.zeros((2, 4, 5)),
            np.zeros((2, 5), int),
            ValueError,
            r"\(2, 4, 5\) does not fit target",
        ),
        (np.zeros((2, 3, 5)), np.zeros((2, 4), int), ValueError, "does not fit"),
        (np.zeros((2, 1, 5)), np.zeros((2, 5), int), ValueError, "does not fit"),
        (np.zeros((2, 3, 5)), np.zeros((2, 5)), TypeError, "labels must be integers"),
        (np.zeros((2, 5)), np.zeros((2, 5), int), TypeError, "must be integers, got float64"),
    ],
)
def test_what_does_not_fit_is_named(output, target, error, message):
    with pytest.raises(error, match=message):
        ConfusionMatrix(3).update(output, target)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="at least two classes"):
        ConfusionMatrix(1)


def test_scores_are_scikit_learns():
    sklearn = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn as an oracle")
    rng = np.random.default_rng(4)
    predicted, labels = rng.integers(0, 4, (2, 300))
    counts = ConfusionMatrix(4)
    counts.update(predicted, labels)
    np.testing.assert_array_equal(counts.matrix, sklearn.confusion_matrix(labels, predicted))
    iou = sklearn.jaccard_score(labels, predicted, average=None)
    np.testing.assert_allclose(counts.class_iou(), iou)
    assert counts.mean_accuracy() == pytest.approx(
        sklearn.balanced_accuracy_score(labels, predicted)
    )
