"""Sliding windows: all of them, one by one and at once; what they show; learning."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.boxes import BalancedPositiveNegativeSampler, Matcher, box_iou
from minidl.models.detection.sliding_window_detector import (
    SlidingWindowDetector,
    WindowClassifier,
    by_size,
    match_windows,
    sliding_window_detector,
    snapped,
    window_boxes,
)

from .detection import (
    assert_loss_gradients_are_right,
    assert_predictions,
    assert_robust,
    assert_same_on,
    objects,
    odd_batches,
    overfit,
    scenes,
)


def narrow(sizes=(20.0, 32.0), ratios=(0.7, 1.5), **options):
    network = WindowClassifier(4, widths=(3, 4), hidden=6)
    for name, p in network.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(p, -0.5, 0.5)
    return SlidingWindowDetector(network, 3, sizes, ratios, **options)


# -- windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "scale", "expected"),
    [(64, 1.0, 64), (64, 0.5, 32), (65, 1.0, 64), (66, 1.01, 68), (10, 1.0, 28), (64, 0.1, 28)],
)
def test_a_resized_picture_ends_where_its_last_window_ends(length, scale, expected):
    assert snapped(length, scale, 28, 4) == expected


def test_windows_lie_row_by_row_in_pixels_of_the_picture():
    like = np.zeros(0, np.float32)
    # Two rows of three, in a picture of which two pixels became one.
    boxes = window_boxes((10, 14), (20, 28), 6, 4, like)
    expected = [[8 * x, 8 * y, 8 * x + 12, 8 * y + 12] for y in range(2) for x in range(3)]
    np.testing.assert_allclose(boxes, expected)
    assert boxes.dtype == np.float32


@pytest.mark.parametrize("size", [(64, 64), (41, 90), (9, 30), (1, 1)])
def test_windows_cover_the_picture_at_every_size_and_shape(size):
    net = narrow()
    looks = net.looks(md.rand(3, *size))
    assert len(looks) == 4
    for look in looks:
        h, w = look.picture.shape[1:]
        assert len(look.boxes) == ((h - 28) // 4 + 1) * ((w - 28) // 4 + 1)
        np.testing.assert_allclose(look.boxes.min(axis=0)[:2], 0)
        np.testing.assert_allclose(look.boxes.max(axis=0)[2:], size[::-1], rtol=1e-6)


def test_windows_have_about_the_sizes_and_shapes_that_were_asked_for():
    looks = narrow((20.0,), (0.5, 2.0)).looks(md.rand(3, 200, 200))
    for look, (h, w) in zip(looks, ((14.1, 28.3), (28.3, 14.1)), strict=True):
        sides = look.boxes[:, 2:] - look.boxes[:, :2]
        np.testing.assert_allclose(sides, np.broadcast_to([w, h], sides.shape), rtol=0.03)


def test_a_window_is_cut_out_where_its_box_says():
    net = narrow()
    picture = md.rand(3, 36, 44)
    windows = net.cut(picture, [0, 4, 7, 14])  # three rows of five
    for window, (top, left) in zip(windows, ((0, 0), (0, 16), (4, 8), (8, 16)), strict=True):
        expected = picture.data[:, top : top + 28, left : left + 28]
        np.testing.assert_array_equal(window.data, expected)


def test_pictures_of_one_size_come_together():
    a, b, c = md.rand(3, 4, 5), md.rand(3, 5, 4), md.rand(3, 4, 5)
    found = list(by_size([a, b, c]))
    assert [indices for indices, _ in found] == [[0, 2], [1]]
    assert [batch.shape for _, batch in found] == [(2, 3, 4, 5), (1, 3, 5, 4)]
    np.testing.assert_array_equal(found[0][1].data[1], c.data)


# -- one by one and at once ----------------------------------------------------------------------


def test_one_pass_gives_what_each_window_gives_by_itself():
    net = narrow().double()
    looks = net.looks(md.rand(3, 50, 61).double())
    with md.no_grad():
        for look in looks:
            once = net.at_once(look.picture[None])
            every = net.one_by_one(look, batch_size=7)
            assert once.shape == (1, len(look.boxes), 4)
            np.testing.assert_allclose(once.data[0], every.data, rtol=1e-9, atol=1e-12)
    assert np.ptp(every.data, axis=0).min() > 1e-3  # windows differ


def test_both_ways_find_the_same_objects():
    net = narrow(score_thresh=0.2)
    images = [md.rand(3, 40, 52), md.rand(3, 33, 40)]
    at_once = net.predict(images)
    net.dense = False
    for one, other in zip(at_once, net.predict(images), strict=True):
        assert len(one["scores"]) > 0
        for name, value in one.items():
            np.testing.assert_allclose(value.data, other[name].data, rtol=1e-4, atol=1e-5)


def test_one_pass_costs_a_fraction():
    cost = sliding_window_detector(3).multiply_adds(64, 64)
    # By hand: 24 x 24 x 16 x 75 and 8 x 8 x 32 x 400, 512 x 128 and 128 x 4 for each window.
    one = 24 * 24 * 16 * 75 + 8 * 8 * 32 * 400 + 512 * 128 + 128 * 4
    assert cost["one by one"] == one * cost["windows"]
    print(cost)
    assert 5 * cost["at once"] < cost["one by one"]


# -- what windows show ---------------------------------------------------------------------------


def test_windows_show_the_object_they_overlap_enough_or_most():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [3, 0, 13, 10], [20, 0, 30, 10]], np.float32)
    target = objects([[0, 0, 10, 10], [26, 0, 36, 10]], [2, 0])
    # Overlaps with the first object 1, .8, .54 and 0; of the last window with the second one .25.
    labels, wanted = match_windows(boxes, target, Matcher(0.6, 0.5, True))
    assert labels.tolist() == [3, 3, -1, 1]
    np.testing.assert_array_equal(wanted[[0, 1, 3]], [[0, 0, 10, 10]] * 2 + [[26, 0, 36, 10]])
    labels, _ = match_windows(boxes, target, Matcher(0.6, 0.5))
    assert labels.tolist() == [3, 3, -1, 0]
    labels, _ = match_windows(boxes, objects([]), Matcher(0.6, 0.5, True))
    assert labels.tolist() == [0, 0, 0, 0]


def test_what_is_learned_are_windows_and_what_they_show():
    net = narrow(sampler=BalancedPositiveNegativeSampler(10**6, 1.0))  # all that count
    image, target = md.rand(3, 40, 40), objects([[5, 6, 28, 25], [20, 20, 40, 38]], [1, 2])
    scores, wanted = [], []
    for look in net.looks(image):
        scores.append(net.one_by_one(look).data)
        wanted.append(look.boxes)
    scores, boxes = np.concatenate(scores), np.concatenate(wanted)
    overlaps = box_iou(target["boxes"].data, boxes)
    log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    total, count = 0.0, 0
    for k, overlap in enumerate(overlaps.T):
        mine = [i for i in range(2) if overlap[i] > 0 and overlap[i] == overlaps[i].max()]
        if overlap.max() >= 0.6 or mine:
            label = [2, 3][int(overlap.argmax())]
        elif overlap.max() < 0.5:
            label = 0
        else:
            continue
        total, count = total - log_p[k, label], count + 1
    assert count > 30
    (loss,) = net.losses([image], [target]).values()
    assert float(loss) == pytest.approx(total / count, rel=1e-4)


def test_background_is_the_first_output():
    net = narrow((28.0,), (1.0,))
    net.network.classifier[-1].weight.data[...] = 0
    net.network.classifier[-1].bias.data[...] = [3, 0, 2, 0]
    (found,) = net.predict([md.rand(3, 28, 28)])
    p = np.exp([3.0, 0, 2, 0]) / np.exp([3.0, 0, 2, 0]).sum()
    np.testing.assert_allclose(found["scores"].data[0], p[2], rtol=1e-5)
    assert found["labels"].data[0] == 1
    np.testing.assert_allclose(found["boxes"].data[0], [0, 0, 28, 28])


def test_gradients_of_the_losses_are_right():
    network = WindowClassifier(4, widths=(2, 2), hidden=3)
    net = SlidingWindowDetector(
        network, 3, (28.0,), (1.0,), sampler=BalancedPositiveNegativeSampler(2, 0.5)
    )
    images, targets = [md.rand(3, 28, 36)], [objects([[0, 1, 26, 28]], [1])]
    assert_loss_gradients_are_right(net, images, targets)


# -- the network ---------------------------------------------------------------------------------


def test_the_network_has_the_stated_size():
    assert sum(p.numel() for p in sliding_window_detector().parameters()) == 81_518


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_losses_and_predictions_on_a_gpu_are_those_of_the_cpu(device):
    images, targets = scenes(2, 40)
    assert_same_on(device, narrow((28.0,), (1.0,)), images, targets)


def test_bad_annotations_are_errors_that_name_the_picture():
    images = [md.rand(3, 28, 28)] * 2
    with pytest.raises(ValueError, match="SlidingWindowDetector: image 1"):
        narrow((28.0,)).losses(images, [objects([]), objects([[3, 3, 3, 6]])])
    with pytest.raises(ValueError, match="SlidingWindowDetector: image 0: labels"):
        narrow((28.0,)).losses(images, [objects([[1, 1, 3, 6]], [3]), objects([])])
    with pytest.raises(ValueError, match="SlidingWindowDetector: 2 images but 1 targets"):
        narrow((28.0,)).losses(images, [objects([])])


@pytest.mark.parametrize("name", odd_batches())
def test_odd_batches_are_legal(name):
    assert_robust(narrow((28.0,)), *odd_batches()[name])


def test_a_batch_is_seen_as_a_list_is():
    net = narrow((28.0,), (1.0,))
    images = md.rand(2, 3, 40, 40)
    assert_predictions(net.predict(images), list(images), 3)
    for one, other in zip(net.predict(images), net.predict(list(images)), strict=True):
        np.testing.assert_array_equal(one["boxes"].data, other["boxes"].data)
    with pytest.raises(ValueError, match="SlidingWindowDetector: no images"):
        net.predict([])
    assert float(net.losses(images, [objects([])] * 2)["loss_class"]) > 0


@pytest.mark.slow
def test_eight_scenes_are_learned_by_heart():
    learned = overfit(sliding_window_detector(3), *scenes(8), steps=200, lr=2e-3, every=25)
    print(f"AP50 {learned.ap:.3f} after {learned.steps} steps")
    assert learned.ap >= 0.95
