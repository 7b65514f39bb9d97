"""OverFeat as a detector: offsets of the pooling, windows, merging by hand; learning."""

import numpy as np
import pytest

import minidl as md
from minidl import nn, tensor
from minidl.boxes import box_iou
from minidl.models.classification.overfeat import Layer
from minidl.models.detection.overfeat_detector import (
    OverFeatDetector,
    decode,
    encode,
    match_scores,
    merge,
    overfeat_detector,
    overfeat_detector_small,
)
from minidl.nn import functional as F

from .detection import (
    assert_loss_gradients_are_right,
    assert_robust,
    assert_same_on,
    objects,
    odd_batches,
    overfit,
    scenes,
)

NARROW = (Layer(4, 3, 2, 0, 2), Layer(5, 3, 1, 0, 2))


def narrow(layers=NARROW, window=2, scales=(25, 33), **options):
    """Windows of 25x25 in steps of 4, a few hundred numbers."""
    options = {"dropout": 0.0, "score_thresh": 0.0, "negatives": 6} | options
    net = OverFeatDetector(3, scales, layers, window, (6, 5), (5, 4), **options)
    for p in net.parameters():
        if p.ndim > 1:
            nn.init.kaiming_normal_(p, nonlinearity="relu")
        elif p.shape != (12,):
            nn.init.uniform_(p, -0.3, 0.3)
    return net


# -- places --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", [1, 2, 3])
def test_the_fine_stride_is_the_pooling_at_every_offset(pooling):
    net = narrow((Layer(4, 3, 1, 0, 2), Layer(5, 3, 1, 0, pooling)))
    x = md.randn(2, 3, 33, 36)
    with md.no_grad():
        scores, edges = net.outputs(x)
        maps = net.network.features[:5](x)  # all but the last maximum
        rows, columns = [n - 2 * pooling + 1 for n in maps.shape[2:]]
        expected = np.zeros((2, 4, rows, columns))
        expected_edges = np.zeros((2, 12, rows, columns))
        for dy in range(pooling):
            for dx in range(pooling):
                shifted = F.max_pool2d(maps[:, :, dy:, dx:], pooling)
                for head, into in (
                    (net.network.classifier, expected),
                    (net.regressor, expected_edges),
                ):
                    into[:, :, dy::pooling, dx::pooling] = head(shifted).data
    assert scores.shape == (2, rows * columns, 4)
    found = scores.data.transpose(0, 2, 1).reshape(expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    found = edges.flatten(2).data.transpose(0, 2, 1).reshape(expected_edges.shape)
    np.testing.assert_allclose(found, expected_edges, rtol=1e-4, atol=1e-5)


def test_a_place_says_what_the_network_says_of_its_window():
    net = narrow()
    assert (net.size, net.stride) == (25, 4)  # 2 -> 4 -> 6 -> 12 -> 25
    (look, _) = net.looks(md.rand(3, 35, 50))
    assert look.picture.shape == (3, 25, 37)  # 50 * 25 / 35 = 35.7, nearest to 25 + 3 * 4
    (look,) = narrow(scales=(33,)).looks(md.rand(3, 33, 41))
    with md.no_grad():
        scores, _ = net.outputs(look.picture[None])
        assert scores.shape[1] == len(look.boxes) == 3 * 5
        for place, (x1, y1, x2, y2) in enumerate(look.boxes.astype(int)):
            assert (x2 - x1, y2 - y1) == (25, 25)
            window = look.picture[None, :, y1:y2, x1:x2]
            expected = net.network.dense(window).data[0, :, 0, 0]
            np.testing.assert_allclose(scores.data[0, place], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("variant", "size", "stride", "parameters"),
    [("fast", 231, 16, 298_661_737), ("accurate", 221, 12, 251_260_009)],
)
def test_windows_of_the_papers_networks(variant, size, stride, parameters):
    with nn.init.skip_init():
        net = overfeat_detector(variant=variant)
    # Section 3.3: the network's own stride of 36 becomes 12 (of the fast one: 32 becomes 16).
    assert (net.size, net.stride) == (size, stride)
    assert sum(p.numel() for p in net.parameters()) == parameters
    window, maps = (6, 1024) if variant == "fast" else (5, 1024)
    box = window**2 * maps * 4096 + 4096 + 4096 * 1024 + 1024 + 1024 * 800 + 800
    assert sum(p.numel() for p in net.regressor.parameters()) == box
    with pytest.raises(ValueError, match="variant is 'fast' or 'accurate', not 'slow'"):
        overfeat_detector(variant="slow")


# -- boxes ---------------------------------------------------------------------------------------


def test_edges_are_shares_of_the_window():
    windows = np.array([[10.0, 20, 30, 60], [0, 0, 10, 10]])
    boxes = np.array([[15.0, 10, 30, 70], [0, 0, 10, 10]])
    codes = encode(boxes, windows)
    np.testing.assert_allclose(codes, [[0.25, -0.25, 1, 1.25], [0, 0, 1, 1]])
    np.testing.assert_allclose(decode(codes, windows), boxes)


def test_match_scores_by_hand():
    box = np.array([0.0, 0, 10, 10])
    others = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [20, 0, 30, 10], [0, 0, 20, 20]])
    found = match_scores(box, others)
    # The same; half over: 5 / 10 + 1 - 50 / 150; beside: 20 / 10 + 1; a quarter of the other:
    # centres 5 and 5 apart, over the root of (100 + 400) / 2, and 1 - 100 / 400.
    expected = [0, 0.5 + 2 / 3, 3, 50**0.5 / 250**0.5 + 0.75]
    np.testing.assert_allclose(found, expected)


def test_boxes_that_agree_become_one_with_the_sum_of_their_scores():
    boxes = np.array([[0.0, 0, 10, 10], [40, 0, 50, 10], [2, 0, 12, 10], [0, 2, 10, 12]])
    scores = np.array([0.5, 0.9, 0.4, 0.3])
    merged, sums = merge(boxes, scores, 0.8)
    # Of equal matches the first pair, boxes 2 and 0: [1, 0, 11, 10]; then that with box 3.
    np.testing.assert_allclose(merged, [[0.5, 1, 10.5, 11], [40, 0, 50, 10]])
    np.testing.assert_allclose(sums, [1.2, 0.9])
    np.testing.assert_array_equal(boxes[0], [0, 0, 10, 10])  # what was given stays


def test_nothing_is_merged_above_the_threshold_and_all_below_infinity():
    boxes = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [30, 0, 40, 10]])
    scores = np.array([0.2, 0.3, 0.4])
    merged, sums = merge(boxes, scores, 1.1)
    np.testing.assert_allclose(merged, boxes[::-1])
    np.testing.assert_allclose(sums, [0.4, 0.3, 0.2])
    merged, sums = merge(boxes, scores, 100.0)
    np.testing.assert_allclose(merged, [[16.25, 0, 26.25, 10]])
    np.testing.assert_allclose(sums, [0.9])


def test_merging_is_what_a_search_through_all_pairs_gives():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 30, (25, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(8, 20, (25, 2))], axis=1)
    scores = rng.uniform(size=25)
    left = [(box, score) for box, score in zip(boxes, scores, strict=True)]
    while True:
        pairs = [
            (match_scores(left[i][0], left[j][0][None])[0], i, j)
            for i in range(len(left))
            for j in range(i)
        ]
        best, i, j = min(pairs)
        if best > 0.9:
            break
        (a, p), (b, q) = left.pop(i), left.pop(j)
        left.append(((a + b) / 2, p + q))
    left.sort(key=lambda pair: -pair[1])
    merged, sums = merge(boxes, scores, 0.9)
    assert 3 < len(merged) < 20
    np.testing.assert_allclose(sums, [score for _, score in left])
    np.testing.assert_allclose(merged, [box for box, _ in left])


@pytest.mark.parametrize("count", [0, 1])
def test_no_box_and_one_box_stay(count):
    boxes, scores = np.ones((count, 4)) * [0, 0, 3, 4], np.full(count, 0.5)
    merged, sums = merge(boxes, scores, 0.8)
    np.testing.assert_array_equal(merged, boxes)
    np.testing.assert_array_equal(sums, scores)


# -- losses --------------------------------------------------------------------------------------


def test_losses_are_what_a_loop_over_windows_adds_up():
    net = narrow(negatives=5)
    images = [md.rand(3, 33, 41), md.rand(3, 33, 33)]
    targets = [objects([[0, 0, 22, 20], [14, 8, 36, 30]], [2, 0]), objects([])]
    by_class, learned, by_box, count = 0.0, 0, 0.0, 0
    for image, target in zip(images, targets, strict=True):
        for look in net.looks(image):
            scores, edges = [a.data[0].astype(float) for a in net.outputs(look.picture[None])]
            log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
            shows = [None] * len(look.boxes)
            if len(target["boxes"]):
                overlaps = box_iou(target["boxes"].data, look.boxes)
                for k, overlap in enumerate(overlaps.T):
                    most = overlap.max() > 0 and (overlap == overlaps.max(axis=1)).any()
                    if overlap.max() >= 0.5 or most:
                        shows[k] = int(overlap.argmax())
            offending = sorted(-log_p[k, 0] for k, shown in enumerate(shows) if shown is None)[-5:]
            by_class, learned = by_class + sum(offending), learned + len(offending)
            for k, shown in enumerate(shows):
                if shown is None:
                    continue
                label = int(target["labels"].data[shown])
                by_class, learned = by_class - log_p[k, label + 1], learned + 1
                x1, y1, x2, y2 = look.boxes[k]
                a, b, c, d = target["boxes"].data[shown]
                w, h = x2 - x1, y2 - y1
                wanted = [(a - x1) / w, (b - y1) / h, (c - x1) / w, (d - y1) / h]
                by_box += ((edges[k, label] - wanted) ** 2).sum()
                count += 1
    assert count > 2
    found = {name: float(loss) for name, loss in net.losses(images, targets).items()}
    expected = {"loss_class": by_class / learned, "loss_box": by_box / count}
    assert found == pytest.approx(expected, rel=1e-4)


def test_gradients_of_the_losses_are_right():
    images = [md.rand(3, 29, 25), md.rand(3, 25, 25)]
    targets = [objects([[0, 3, 20, 24]], [1]), objects([])]
    assert_loss_gradients_are_right(narrow(scales=(25,)), images, targets)


# -- predictions ---------------------------------------------------------------------------------


def test_votes_of_all_scales_are_added_up_class_by_class():
    net = narrow(scales=(25, 29), score_thresh=0.25)
    given = []  # for each scale probabilities and edges of its places
    for places in (1, 4):
        p = np.full((1, places, 4), 0.01)
        edges = np.tile([0.0, 0.0, 1.0, 1.0], (1, places, 3, 1))
        p[0, 0] = [0.1, 0.5, 0.3, 0.1]
        given.append((tensor(np.log(p)), tensor(edges)))
    given[1][1].data[0, 0] = [0.0, 0.0, 29 / 25, 29 / 25]  # the whole picture
    outputs = iter(given)
    net.outputs = lambda x: next(outputs)
    (found,) = net.predict([md.rand(3, 25, 25)])
    assert found["labels"].data.tolist()[:2] == [0, 1]
    np.testing.assert_allclose(found["scores"].data[:2], [1.0, 0.6], rtol=1e-6)
    np.testing.assert_allclose(found["boxes"].data[:2], [[0, 0, 25, 25]] * 2, rtol=1e-5)
    # The other places say nothing, all classes alike: .25 is not above the threshold.
    assert len(found["scores"]) == 2


def test_the_small_network_has_the_stated_size():
    net = overfeat_detector_small()
    assert sum(p.numel() for p in net.parameters()) == 239_026
    assert (net.size, net.stride) == (32, 4)


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_losses_and_predictions_on_a_gpu_are_those_of_the_cpu(device):
    images, targets = scenes(2, 32)
    assert_same_on(device, narrow(score_thresh=0.3), images, targets)


def test_bad_annotations_are_errors_that_name_the_picture():
    images = [md.rand(3, 25, 25)] * 2
    with pytest.raises(ValueError, match="OverFeatDetector: image 1"):
        narrow().losses(images, [objects([]), objects([[3, 3, 3, 6]])])
    with pytest.raises(ValueError, match="OverFeatDetector: image 0: labels"):
        narrow().losses(images, [objects([[1, 1, 3, 6]], [3]), objects([])])
    with pytest.raises(ValueError, match="OverFeatDetector: 2 images but 1 targets"):
        narrow().losses(images, [objects([])])


@pytest.mark.parametrize("name", odd_batches())
def test_odd_batches_are_legal(name):
    net = narrow(score_thresh=0.3, candidates=20)
    assert_robust(net, *odd_batches()[name], probabilities=False)


@pytest.mark.slow
def test_eight_scenes_are_learned_by_heart():
    learned = overfit(overfeat_detector_small(3), *scenes(8), steps=120)
    print(f"AP50 {learned.ap:.3f} after {learned.steps} steps")
    assert learned.ap >= 0.95
