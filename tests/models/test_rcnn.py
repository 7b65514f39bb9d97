import copy
import math

import numpy as np
import pytest

import minidl as md
from minidl import nn, optim, tensor
from minidl.backend import of
from minidl.boxes import crop_and_warp
from minidl.models.classification.alexnet import AlexNetOf2012
from minidl.models.detection.rcnn import (
    BIAS_FEATURE,
    EASY,
    RegionFeatures,
    extract,
    fine_tune,
    fit_ridge,
    fit_svms,
    mine_hard_negatives,
    rcnn_alexnet,
    rcnn_small,
    svm_answers,
    train_boxes,
    train_rcnn,
    train_svms,
)
from minidl.models.detection.regions import CachedProposals, load_classifier

from .detection import (
    NUM_CLASSES,
    assert_loss_gradients_are_right,
    assert_predictions,
    assert_robust,
    assert_same_on,
    average_precision,
    moved,
    objects,
    odd_batches,
    scenes,
)
from .segmentation import shake


def narrow(**options):
    return rcnn_small(NUM_CLASSES, width=2, hidden=8, crop_size=16, **options)


def given(*boxes):
    """A source of proposals that does not look."""
    return CachedProposals(lambda image: np.array(boxes, np.float32).reshape(-1, 4))


def clouds(count=40, features=3, classes=2, seed=0):
    """Features that can almost be told apart, and their answers (N, C) 1, -1 or 0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, features))
    answers = np.where(x @ rng.normal(size=(features, classes)) + 0.3 > 0, 1, -1)
    answers[rng.random(answers.shape) < 0.1] *= -1
    answers[rng.random(answers.shape) < 0.1] = 0
    return x, answers.astype(np.int8)


def primal(x, answers, weight, bias, cost, positive_cost):
    """What SVMs make small, of all classes together."""
    limit = cost * np.where(answers > 0, positive_cost, np.where(answers < 0, 1.0, 0.0))
    hinge = np.maximum(1 - answers * (x @ weight.T + bias), 0)
    squares = (weight**2).sum() + ((bias / BIAS_FEATURE) ** 2).sum()
    return squares / 2 + (limit * hinge).sum()


def test_alexnet_has_as_many_parameters_as_its_layers_say():
    with nn.init.skip_init():
        net = rcnn_alexnet()
    alexnet = 60_965_224
    assert sum(p.numel() for p in net.parameters()) == alexnet - 4097 * 1000 + 4097 * 21
    assert net.svm_weight.shape == (20, 4096)
    assert net.box_weight.shape == (20, 4, 9216)


# -- support vector machines ----------------------------------------------------------------------


def test_two_points_are_separated_in_the_middle():
    # w x + b = 1 and -1 at x = 3 and 1; the bias is nearly free.
    weight, bias, alpha = fit_svms(
        np.array([[3.0], [1.0]]), np.array([[1], [-1]]), cost=100.0, tolerance=1e-6, epochs=100_000
    )
    np.testing.assert_allclose(weight, [[1.0]], rtol=0.03)
    np.testing.assert_allclose(bias, [-2.0], rtol=0.03)
    assert (alpha > 0).all()


def test_no_other_weights_make_the_svms_sum_smaller():
    md.manual_seed(0)
    x, answers = clouds()
    weight, bias, _ = fit_svms(x, answers, 0.02, 2.0, tolerance=1e-5)
    least = primal(x, answers, weight, bias, 0.02, 2.0)
    rng = np.random.default_rng(1)
    for size in (1e-2, 1e-1, 1.0):
        for _ in range(50):
            w, b = (v + size * rng.normal(size=v.shape) for v in (weight, bias))
            assert primal(x, answers, w, b, 0.02, 2.0) >= least * (1 - 1e-5)


def test_each_class_has_the_svm_that_it_would_have_alone():
    md.manual_seed(0)
    x, answers = clouds(classes=3)
    together = fit_svms(x, answers, 0.02, tolerance=1e-5)
    for c in range(3):
        here = answers[:, c] != 0  # without what has no part in it
        alone = fit_svms(x[here], answers[here, c : c + 1], 0.02, tolerance=1e-5)
        np.testing.assert_allclose(together[0][c], alone[0][0], atol=5e-3)
        np.testing.assert_allclose(together[1][c], alone[1][0], atol=5e-2)


def test_regions_without_a_part_in_any_svm_have_no_weight():
    x, answers = clouds()
    answers[:5] = 0
    assert not fit_svms(x, answers, 0.02)[2][:5].any()


def test_float32_stays_float32():
    x, answers = clouds()
    for values in fit_svms(x.astype(np.float32), answers):
        assert values.dtype == np.float32
    for values in mine_hard_negatives([x.astype(np.float32)], [answers]):
        assert values.dtype == np.float32
    for values in fit_ridge(x.astype(np.float32), x.astype(np.float32), 1.0):
        assert values.dtype == np.float32


def test_hard_negatives_alone_give_the_svms_of_all_regions():
    md.manual_seed(0)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(1.5, 1, (30, 4)), rng.normal(-2.5, 2, (300, 4))])
    answers = np.array([[1, -1]] * 15 + [[-1, 1]] * 15 + [[-1, -1]] * 300, np.int8)
    order = rng.permutation(len(x))
    x, answers = x[order], answers[order]  # 330, 33 a picture
    weight, bias, _ = fit_svms(x, answers, 0.01, tolerance=1e-3)
    expected = primal(x, answers, weight, bias, 0.01, 2.0)
    seen = []

    def spy(features, given, *rest, **options):
        seen.append((given < 0).any(axis=1).sum())
        return fit_svms(features, given, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minidl.models.detection.rcnn.fit_svms", spy)
        weight, bias = mine_hard_negatives(
            np.split(x, 10), np.split(answers, 10), 0.01, passes=20, retrain=60
        )
    found = primal(x, answers, weight, bias, 0.01, 2.0)
    assert found <= expected * 1.02  # each is trained to one percent
    assert len(seen) > 2
    assert seen[-1] < 0.6 * len(x)  # most were easy, and not kept
    assert ((x @ weight.T + bias < EASY) & (answers < 0)).mean() > 0.4


def test_without_hard_negatives_there_is_nothing_to_train():
    weight, bias = mine_hard_negatives([np.ones((2, 3))], [np.zeros((2, 1), np.int8)])
    assert not weight.any()
    assert not bias.any()


def test_objects_are_positive_and_regions_far_from_all_of_the_class_negative():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
    regions = np.array(
        [
            [0, 0, 10, 2.9],  # overlaps the first by 0.29
            [0, 0, 10, 3.1],
            [0, 0, 10, 9],
            [40, 40, 50, 50],
            *boxes,
        ],
        np.float32,
    )
    answers = svm_answers(regions, boxes, np.array([2, 0]), 3)
    expected = [[-1, -1, -1], [-1, -1, 0], [-1, -1, 0], [-1, -1, -1], [-1, -1, 1], [1, -1, -1]]
    np.testing.assert_array_equal(answers, expected)


def test_of_negatives_that_are_alike_one_is_left():
    boxes = np.array([[0, 0, 10, 10]], np.float32)
    regions = np.array(
        [[20, 0, 30, 10], [20, 0, 30, 9], [20, 0, 30, 6], [0, 0, 10, 9], *boxes], np.float32
    )
    answers = svm_answers(regions, boxes, np.array([0]), 1, negative_nms=0.7)
    np.testing.assert_array_equal(answers[:, 0], [-1, 0, -1, 0, 1])


def test_a_picture_without_objects_has_negatives_only():
    regions = np.array([[0, 0, 5, 5]], np.float32)
    answers = svm_answers(regions, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 2)
    np.testing.assert_array_equal(answers, [[-1, -1]])


# -- ridge regression -----------------------------------------------------------------------------


@pytest.mark.parametrize("count", [3, 30])
def test_ridge_regression_has_no_slope_at_its_solution(count):
    rng = np.random.default_rng(0)
    x, y = rng.normal(2, 1, (count, 6)), rng.normal(5, 1, (count, 4))
    weight, bias = fit_ridge(x, y, 2.5)
    missing = y - x @ weight.T - bias
    np.testing.assert_allclose(missing.sum(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(missing.T @ x, 2.5 * weight, atol=1e-9)


def test_without_regions_boxes_stay_as_they_are():
    weight, bias = fit_ridge(np.zeros((0, 6)), np.zeros((0, 4)), 1000.0)
    assert weight.shape == (4, 6)
    assert not weight.any()
    assert not bias.any()


def test_box_regressors_lead_from_features_to_the_object():
    net = narrow()
    rng = np.random.default_rng(0)
    pooled = rng.normal(1, 1, (50, net.head.fc6.in_features)).astype(np.float32)
    slope = rng.normal(0, 0.01, (4, pooled.shape[1])).astype(np.float32)
    codes = pooled @ slope.T + np.float32([0.1, -0.2, 0.3, 0.0])
    empty = np.zeros((0, 8), np.float32)
    # Class 1 only; class 2 has not been seen.
    features = [
        RegionFeatures(empty, np.zeros((0, 3), np.int8), pooled, np.full(50, 1), codes),
        RegionFeatures(empty, np.zeros((0, 3), np.int8), pooled[:0], np.zeros(0, int), codes[:0]),
    ]
    train_boxes(net, features, ridge=1e-3)
    found = pooled @ net.box_weight.data[1].T + net.box_bias.data[1]
    np.testing.assert_allclose(found, codes, atol=1e-3)
    assert not net.box_weight.data[2].any()


# -- the detector ---------------------------------------------------------------------------------


def test_a_region_has_the_features_of_its_crop():
    net = shake(narrow()).eval()
    images = [md.rand(3, 40, 50), md.rand(3, 30, 30)]
    boxes = [np.array([[5, 5, 20, 30], [0, 0, 50, 40]], np.float32), np.zeros((0, 4), np.float32)]
    found = net.pooled(images, boxes).data
    crops = crop_and_warp(images[0].data, boxes[0], 16, 2, (0.485, 0.456, 0.406))
    mean, std = (
        np.array(v, np.float32).reshape(3, 1, 1)
        for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    expected = net.backbone(tensor((crops - mean) / std)).flatten(1).data
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_crops_in_several_passes_are_the_same():
    net = shake(narrow()).eval()
    images, _ = scenes(1)
    boxes = [net.proposals(images[0])]
    assert len(boxes[0]) > 7
    expected = net.pooled(images, boxes).data
    net.crops_per_pass = 7
    np.testing.assert_allclose(net.pooled(images, boxes).data, expected, rtol=1e-4, atol=1e-5)


def test_a_step_has_32_regions_with_an_object_and_96_without_of_all_pictures():
    rng = np.random.default_rng(0)
    near = np.array([10, 10, 30, 30]) + rng.uniform(-2, 2, (30, 4))
    far = np.array([40, 40, 60, 60]) + rng.uniform(-3, 3, (80, 4))
    net = narrow(proposals=given(*near, *far))
    seen = []
    pooled = net.pooled

    def spy(images, boxes):
        seen.extend(boxes)
        return pooled(images, boxes)

    net.pooled = spy
    images = [md.rand(3, 64, 64) for _ in range(4)]
    net.losses(images, [objects([[10, 10, 30, 30]])] * 4)
    shows = np.concatenate(seen)[:, 0] < 30
    assert shows.sum() == 32
    assert (~shows).sum() == 96
    assert all(len(boxes) > 0 for boxes in seen)


def test_scores_are_those_of_softmax_until_there_are_svms():
    net = shake(narrow(proposals=given([10, 10, 30, 40]))).eval()
    image = md.rand(3, 64, 64)
    boxes = net.proposals(image)
    features = net.head(net.pooled([image], [boxes]))
    probabilities = nn.functional.softmax(net.classifier(features), 1).data[0, 1:]
    (found,) = net.predict([image])
    kept = np.sort(probabilities[probabilities > 0.05])[::-1]
    np.testing.assert_allclose(found["scores"].data, kept, rtol=1e-5)
    np.testing.assert_allclose(found["boxes"].data, np.repeat(boxes, len(kept), 0), rtol=1e-5)

    net.svm_weight.data[...] = np.random.default_rng(0).normal(size=net.svm_weight.shape)
    net.svm_bias.data[...] = [0.1, 0.2, -50]
    net.has_svms.data[...] = True
    net.box_bias.data[1] = 0.25, 0, 0, 0  # class 1: a quarter of the width to the right
    margins = (features.data @ net.svm_weight.data.T + net.svm_bias.data)[0]
    (found,) = net.predict([image])
    order = [c for c in np.argsort(-margins) if margins[c] > -1]
    np.testing.assert_array_equal(found["labels"].data, order)
    np.testing.assert_allclose(found["scores"].data, margins[order], rtol=1e-4)
    expected = [[15, 10, 35, 40] if c == 1 else [10, 10, 30, 40] for c in order]
    np.testing.assert_allclose(found["boxes"].data, expected, rtol=1e-5)


def test_extracted_features_are_those_of_predict_and_know_what_they_show():
    net = shake(narrow(proposals=given([10, 10, 30, 30], [12, 10, 30, 30], [50, 50, 60, 60])))
    image = md.rand(3, 64, 64)
    (found,) = extract(net, [image], [objects([[10, 10, 30, 30]], [1])])
    assert found.features.shape == (4, 8)
    expected = [[-1, 0, -1], [-1, 0, -1], [-1, -1, -1], [-1, 1, -1]]
    np.testing.assert_array_equal(found.answers, expected)
    np.testing.assert_array_equal(found.labels, [1, 1, 1])  # overlaps 1, 0.9 and 1
    assert found.pooled.shape == (3, net.head.fc6.in_features)
    np.testing.assert_allclose(found.codes[1], [-1 / 18, 0, math.log(20 / 18), 0], atol=1e-6)


def test_stages_change_only_what_is_theirs():
    md.manual_seed(0)
    images, targets = scenes(2)
    net = narrow()
    optimizer = optim.SGD(net.parameters(), 0.01, momentum=0.9)
    losses = fine_tune(net, images, targets, optimizer, 3)
    assert len(losses) == 3
    assert not bool(net.has_svms)
    state = {name: value.data.copy() for name, value in net.state_dict().items()}
    features = list(extract(net, images, targets))
    train_svms(net, features)
    train_boxes(net, features)
    changed = {n for n, v in net.state_dict().items() if (v.data != state[n]).any()}
    assert changed == {"svm_weight", "svm_bias", "box_weight", "box_bias", "has_svms"}
    assert_predictions(net.predict(images), images, NUM_CLASSES, probabilities=False)
    other = narrow()
    other.load_state_dict(net.state_dict())
    assert bool(other.has_svms)


def test_svms_of_scaled_features_are_those_of_the_features():
    md.manual_seed(0)
    images, targets = scenes(4)
    net = shake(narrow())
    features = list(extract(net, images, targets))
    train_svms(net, features)
    x = np.concatenate([mine.features for mine in features])
    scale = 20 / np.linalg.norm(x, axis=1).mean()
    weight, bias = mine_hard_negatives(
        [mine.features * scale for mine in features], [mine.answers for mine in features]
    )
    expected = x * scale @ weight.T + bias
    found = x @ net.svm_weight.data.T + net.svm_bias.data
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


def test_svms_need_regions_and_boxes_stay_without_them():
    net = narrow(proposals=given())
    features = list(extract(net, [md.rand(3, 64, 64)], [objects([])]))
    with pytest.raises(ValueError, match="there is no region to learn from"):
        train_svms(net, features)
    train_boxes(net, features)
    assert not net.box_weight.data.any()


def test_it_starts_from_the_weights_of_a_classifier():
    options = {"widths": (2, 4, 4, 4, 4), "hidden": 8}
    network = AlexNetOf2012(10, **options)
    net = narrow()
    net.backbone = AlexNetOf2012(1, **options).features
    net.head = type(net.head)(4 * 36, 8)
    load_classifier(net.backbone, net.head, network.eval())
    net.eval()
    x = md.randn(1, 3, 227, 227)
    expected = network.classifier[:6](network.features(x).flatten(1)).data
    np.testing.assert_allclose(net.head(net.backbone(x)).data, expected, rtol=1e-5)


# -- what all detectors must do -------------------------------------------------------------------


def test_gradients_of_the_losses_are_right():
    md.manual_seed(0)
    images, targets = scenes(2, (32, 40))
    net = shake(narrow(proposals=given([2, 2, 20, 30], [10, 0, 40, 25])))
    assert_loss_gradients_are_right(net, images, targets)


@pytest.mark.parametrize("name", odd_batches())
def test_odd_pictures_do_no_harm(name):
    images, targets = odd_batches()[name]
    assert_robust(narrow(), images, targets)


@pytest.mark.parametrize("name", odd_batches())
def test_odd_pictures_do_the_stages_no_harm(name):
    images, targets = odd_batches()[name]
    net = narrow()
    losses = train_rcnn(net, images, targets, optim.SGD(net.parameters(), 0.01), 1)
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_gpu_gives_what_the_cpu_gives(device):
    md.manual_seed(0)
    images, targets = scenes(2)
    assert_same_on(device, shake(narrow()), images, targets)


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_stages_give_on_a_gpu_what_they_give_on_the_cpu(device):
    images, targets = scenes(2)
    here = shake(narrow()).double()
    there = copy.deepcopy(here).to(device)
    found = []
    for net, place in ((here, "cpu"), (there, device)):
        md.manual_seed(0)
        own, truth = moved([image.double() for image in images], targets, place)
        losses = train_rcnn(net, own, truth, optim.SGD(net.parameters(), 0.01), 2)
        state = {name: of(v.data).to_host(v.data) for name, v in net.state_dict().items()}
        found.append((losses, state))
    (expected_losses, expected), (losses, state) = found
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-6)
    for name in ("svm_weight", "svm_bias", "box_weight", "box_bias"):
        np.testing.assert_allclose(state[name], expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_eight_scenes_are_learned_by_heart():
    md.manual_seed(0)
    images, targets = scenes(8)
    net = rcnn_small(NUM_CLASSES)
    train_rcnn(net, images, targets, optim.Adam(net.parameters(), lr=1e-3), steps=40)
    assert bool(net.has_svms)
    assert average_precision(net, images, targets) >= 0.95
