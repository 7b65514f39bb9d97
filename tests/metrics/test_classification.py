"""Scores of classifiers, against counting one by one."""

import numpy as np
import pytest

import minidl as md
from minidl.metrics import accuracy, topk_accuracy


def count_right(output, target):
    right = total = 0
    for place in np.ndindex(*target.shape):
        scores = output[(place[0], slice(None), *place[1:])]
        right += int(np.argmax(scores) == target[place])
        total += 1
    return right / total


@pytest.mark.parametrize("shape", [(7, 4), (1, 1), (3, 5, 6), (2, 3, 4, 5)])
def test_accuracy_is_the_share_of_right_answers(shape):
    rng = np.random.default_rng(0)
    output = rng.standard_normal(shape).astype(np.float32)
    target = rng.integers(shape[1], size=(shape[0], *shape[2:]))
    share = accuracy(md.Tensor(output), md.Tensor(target))
    assert share.shape == ()
    assert share.dtype == np.float32
    assert share.item() == pytest.approx(count_right(output, target), abs=1e-6)


@pytest.mark.parametrize("shape", [(7, 4), (3, 5, 6)])
def test_of_probabilities_the_highest_is_the_right_class(shape):
    rng = np.random.default_rng(0)
    output, target = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    share = accuracy(md.Tensor(output), md.Tensor(target))
    assert share.item() == pytest.approx(count_right(output, target.argmax(axis=1)), abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_topk_accuracy_counts_classes_with_fewer_than_k_above_them(k):
    rng = np.random.default_rng(1)
    output = rng.integers(0, 4, (50, 5)).astype(np.float32)  # with ties
    target = rng.integers(5, size=50)
    right = [np.sum(row > row[t]) < k for row, t in zip(output, target, strict=True)]
    share = topk_accuracy(md.Tensor(output), md.Tensor(target), k)
    assert share.item() == pytest.approx(np.mean(right), abs=1e-6)


def test_the_best_of_one_is_accuracy():
    rng = np.random.default_rng(2)
    output, target = md.Tensor(rng.standard_normal((40, 6))), md.Tensor(rng.integers(6, size=40))
    assert topk_accuracy(output, target, 1).item() == accuracy(output, target).item()


def test_scores_stay_on_the_device_without_waiting_for_it():
    output = md.Tensor(np.eye(4, dtype=np.float32), device="strict")
    target = md.Tensor(np.array([0, 1, 2, 0]), device="strict")
    for share in (accuracy(output, target), topk_accuracy(output, target, 2)):
        assert share.device == "strict"
    assert accuracy(output, target).item() == 0.75


@pytest.mark.parametrize("metric", [accuracy, topk_accuracy])
def test_shapes_that_do_not_fit_are_named(metric):
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(4,\)"):
        metric(md.Tensor(np.zeros((5, 3))), md.Tensor(np.zeros(4, np.int64)))
    with pytest.raises(ValueError, match="do not fit"):
        metric(md.Tensor(np.zeros(5)), md.Tensor(np.zeros(5, np.int64)))


def test_topk_accuracy_of_maps_is_refused():
    with pytest.raises(ValueError, match=r"output must be \(N, C\)"):
        topk_accuracy(md.Tensor(np.zeros((2, 3, 4))), md.Tensor(np.zeros((2, 4), np.int64)))
