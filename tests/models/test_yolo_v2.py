"""YOLO v2: clusters of shapes, boxes that stay in their cells, who finds what; learning."""

import numpy as np
import pytest

import minidl as md
from minidl import nn, tensor
from minidl.data import Scenes
from minidl.models.detection.yolo_v2 import (
    SCENE_ANCHORS,
    Assigned,
    Passthrough,
    YOLOv2,
    average_iou,
    dimension_clusters,
    shape_iou,
    yolo_v2,
    yolo_v2_small,
)

from .detection import (
    assert_loss_gradients_are_right,
    assert_robust,
    assert_same_on,
    objects,
    odd_batches,
    overfit,
    scenes,
)

ANCHORS = ((1.0, 1.0), (0.5, 2.0))


def narrow(anchors=ANCHORS, **options):
    """2x2 cells of 4 pixels, two anchors, a few hundred numbers."""
    layers = (((3, 4, 1), "M"), ("M", (3, 5, 1)))
    net = YOLOv2(3, anchors, layers, 6, 2, 8, **options)
    nn.init.normal_(net.head[-1].weight, 0.0, 0.3)
    return net


def logit(p):
    return np.log(p / (1 - p))


# -- dimension clusters --------------------------------------------------------------------------


def test_the_overlap_of_shapes_is_that_of_boxes_with_one_centre():
    found = shape_iou(np.array([[2.0, 4.0], [1.0, 1.0]]), np.array([[4.0, 2.0], [2.0, 2.0]]))
    # 2x2 of 8 + 8 - 4, 2x2 of 8 + 4 - 4, 1x1 within 4x2, and within 2x2.
    np.testing.assert_allclose(found, [[4 / 12, 4 / 8], [1 / 8, 1 / 4]])


def test_clusters_are_found_where_they_are():
    rng = np.random.default_rng(0)
    centres = np.array([[8.0, 12.0], [40.0, 16.0], [50.0, 70.0]])
    sizes = np.concatenate([c * rng.uniform(0.9, 1.1, (40, 2)) for c in centres])
    found = dimension_clusters(rng.permutation(sizes), 3)
    np.testing.assert_allclose(found, centres, rtol=0.05)
    assert average_iou(sizes, found) > 0.9


def test_overlap_and_not_the_euclidean_distance_decides():
    # In pixels 10 and 30 are as far apart as 80 and 100, but they overlap less.
    sizes = np.array([[10.0, 10], [30, 30], [80, 80], [100, 100]])
    found = dimension_clusters(sizes, 2)
    np.testing.assert_allclose(found, [[10, 10], [70, 70]])


def test_one_cluster_is_the_mean_and_as_many_as_sizes_are_the_sizes():
    sizes = np.array([[3.0, 1.0], [1.0, 2.0], [3.0, 1.0]], np.float32)
    np.testing.assert_allclose(dimension_clusters(sizes, 1), [[7 / 3, 4 / 3]], rtol=1e-6)
    every = dimension_clusters(sizes, 2)
    np.testing.assert_array_equal(every, [[1, 2], [3, 1]])
    assert every.dtype == np.float32
    assert average_iou(sizes, every) == 1


def test_more_clusters_overlap_more_and_a_seed_repeats_them():
    sizes = np.random.default_rng(1).uniform(5, 60, (200, 2))
    overlaps = [average_iou(sizes, dimension_clusters(sizes, k)) for k in (1, 3, 9)]
    assert overlaps == sorted(overlaps)
    assert overlaps[0] + 0.2 < overlaps[2]
    md.manual_seed(3)
    first = dimension_clusters(sizes, 5, restarts=1)
    md.manual_seed(3)
    np.testing.assert_array_equal(first, dimension_clusters(sizes, 5, restarts=1))


@pytest.mark.parametrize(
    ("sizes", "k", "message"),
    [
        (np.ones((4, 3)), 2, r"must be \(R, 2\) positive widths and heights, got \(4, 3\)"),
        (np.zeros((4, 2)), 2, r"positive widths and heights, got \(4, 2\), some of them not"),
        (np.full((4, 2), np.nan), 2, r"some of them not"),
        (np.ones((4, 2)), 2, r"k must be from 1 to the 1 different sizes, got 2"),
        (np.ones((4, 2)), 0, r"got 0"),
    ],
)
def test_sizes_that_cannot_be_clustered_are_refused(sizes, k, message):
    with pytest.raises(ValueError, match=message):
        dimension_clusters(sizes, k)


@pytest.mark.slow
def test_the_anchors_of_the_small_network_fit_the_scenes():
    data = Scenes(300, 64, 5, "instances")
    boxes = np.concatenate([data[i][1]["boxes"].data for i in range(300)])
    sizes = (boxes[:, 2:] - boxes[:, :2]) / 8
    best = average_iou(sizes, dimension_clusters(sizes, 5))
    assert average_iou(sizes, np.array(SCENE_ANCHORS)) > best - 0.01
    assert best > 0.75


# -- boxes ---------------------------------------------------------------------------------------


def test_boxes_are_decoded_from_cells_and_anchors():
    net = narrow()
    outputs = np.zeros((8, 8))
    outputs[6] = [logit(0.25), logit(0.75), np.log(2), np.log(0.5), 0, 0, 0, 0]
    boxes = net.decode(outputs)
    assert boxes.shape == (8, 4)
    # All 0: the anchor in the middle of its cell of 4 pixels. Anchor 1 is 2 wide and 8 high.
    np.testing.assert_allclose(boxes[0], [0, 0, 4, 4])
    np.testing.assert_allclose(boxes[1], [1, -2, 3, 6])
    np.testing.assert_allclose(boxes[2], [4, 0, 8, 4])
    np.testing.assert_allclose(boxes[4], [0, 4, 4, 8])
    # The lower right cell: centre (4 + 1, 4 + 3), 8 wide and 2 high.
    np.testing.assert_allclose(boxes[6], [1, 6, 9, 8])


def test_centres_cannot_leave_their_cells_and_sizes_do_not_overflow():
    wild = np.random.default_rng(0).normal(0, 1e4, (8, 8))
    boxes = narrow().decode(wild.astype(np.float32))
    assert np.isfinite(boxes).all()
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    corner = 4 * np.array([[0, 0], [0, 0], [1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [1, 1]])
    assert (middle >= corner - 1e-3).all()
    assert (middle <= corner + 4 + 1e-3).all()


def test_passing_through_puts_neighbours_behind_each_other():
    x = np.arange(2 * 4 * 6.0).reshape(1, 2, 4, 6)
    y = Passthrough()(tensor(x)).data
    assert y.shape == (1, 8, 2, 3)
    for dy in range(2):
        for dx in range(2):
            part = y[0, 2 * (2 * dy + dx) : 2 * (2 * dy + dx) + 2]
            np.testing.assert_array_equal(part, x[0, :, dy::2, dx::2])


# -- who finds what ------------------------------------------------------------------------------


def test_the_anchor_of_the_objects_cell_and_shape_is_responsible():
    net = narrow()
    outputs = np.zeros((8, 8))
    # A square in the upper right cell, a tall box in the lower left one.
    boxes = np.array([[4, 1, 7, 4], [0, 2, 2, 8]], np.float64)
    found = net.assign(outputs, boxes, np.array([2, 1]))
    assert np.flatnonzero(found.chosen).tolist() == [2, 5]
    assert found.labels[[2, 5]].tolist() == [2, 1]
    # Centre (5.5, 2.5): (1.5 / 4, 2.5 / 4) into the cell; 3 pixels against the anchor's 4.
    np.testing.assert_allclose(found.boxes[2], [0.375, 0.625, np.log(0.75), np.log(0.75)])
    # Centre (1, 5); 2 x 6 pixels against 2 x 8.
    np.testing.assert_allclose(found.boxes[5], [0.25, 0.25, 0, np.log(0.75)])
    # 3x3 of 16; anchor 5 is at [1, 2, 3, 10], 1x6 of 16 + 12 - 6.
    np.testing.assert_allclose(found.iou[[2, 5]], [9 / 16, 6 / 22])


def test_the_last_of_objects_that_want_one_anchor_gets_it():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 3, 3], [5, 5, 8, 8]], np.float64)
    found = narrow().assign(np.zeros((8, 8)), boxes, np.array([0, 1, 2]))
    assert np.flatnonzero(found.chosen).tolist() == [0, 6]
    assert found.labels[[0, 6]].tolist() == [1, 2]
    np.testing.assert_allclose(found.iou[0], 9 / 16)


def test_two_objects_of_other_shapes_in_one_cell_are_both_found():
    boxes = np.array([[0, 0, 4, 4], [1, -2, 3, 6]], np.float64)
    found = narrow().assign(np.zeros((8, 8)), boxes, np.array([0, 1]))
    assert np.flatnonzero(found.chosen).tolist() == [0, 1]
    np.testing.assert_allclose(found.iou[:2], 1)


def test_boxes_that_overlap_an_object_are_not_said_to_be_empty():
    outputs = np.zeros((8, 8))
    outputs[2] = [-50, 0, 0, 0, 0, 0, 0, 0]  # to the left edge of its cell: [2, 0, 6, 4]
    object_ = np.array([[0.5, 0, 4.5, 4]])  # wants anchor 0, [0, 0, 4, 4]: 3.5 * 4 of 18
    found = narrow().assign(outputs, object_, np.array([0]))
    assert np.flatnonzero(found.chosen).tolist() == [0]
    assert np.flatnonzero(found.ignored).tolist() == [0]  # anchor 2: 2.5 * 4 of 22
    found = narrow(ignore_thresh=0.4).assign(outputs, object_, np.array([0]))
    assert np.flatnonzero(found.ignored).tolist() == [0, 2]


def test_a_picture_without_objects_has_nothing_to_find():
    found = narrow().assign(np.ones((8, 8)), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    assert not found.chosen.any()
    assert not found.ignored.any()
    assert [a.shape for a in found] == [(8,), (8,), (8, 4), (8,), (8,)]


# -- the loss ------------------------------------------------------------------------------------


def test_the_losses_by_hand():
    net = YOLOv2(2, [(1.0, 1.0)], (((3, 2, 1), "M"), ("M",)), 2, 1, 4)
    outputs = np.zeros((1, 3, 7))
    outputs[0, 0] = [0, logit(0.3), 0.5, 0.0, logit(0.8), 1.0, -1.0]
    outputs[0, 1, 4] = logit(0.4)
    outputs[0, 2, 4] = logit(0.9)
    assigned = Assigned(
        np.array([[True, False, False]]),
        np.array([[False, False, True]]),
        np.array([[[0.6, 0.3, 0.1, -0.2]] + [[np.nan] * 4] * 2]),
        np.array([[0.7, 0.0, 0.0]]),
        np.array([[1, 0, 0]]),
    )
    found = {k: float(v) for k, v in net.region_loss(tensor(outputs), assigned).items()}
    assert found == pytest.approx(
        {
            "loss_box": 0.5 * (0.1**2 + 0.4**2 + 0.2**2),
            "loss_object": 0.5 * 5 * 0.1**2,
            "loss_no_object": 0.5 * 0.4**2,
            "loss_class": 2 + np.log1p(np.exp(-2)),
        }
    )


def test_losses_are_averaged_over_the_pictures():
    net = narrow().eval()
    images, targets = scenes(1, 16)
    once = net.losses(images, targets)
    twice = net.losses(images * 2, targets * 2)
    for name, loss in once.items():
        assert float(loss) == pytest.approx(float(twice[name]), rel=1e-5)


def test_gradients_of_the_losses_are_right():
    net = narrow().double().eval()
    images = [md.rand(3, 8, 8), md.rand(3, 10, 6)]
    targets = [objects([[0.5, 1, 4.5, 3], [4, 4, 7, 8]], [2, 0]), objects([[2, 3, 5, 9]], [1])]
    batch, moved = net.transform([image.double() for image in images], targets)
    outputs = net.outputs(batch.images).data
    # Who is responsible, and the overlap, are constants of the loss.
    fixed = [
        net.assign(o, t["boxes"].data, t["labels"].data)
        for o, t in zip(outputs, moved, strict=True)
    ]
    fixed = Assigned(*[np.stack(a) for a in zip(*fixed, strict=True)])
    assert_loss_gradients_are_right(
        net, images, targets, losses=lambda *_: net.region_loss(net.outputs(batch.images), fixed)
    )


# -- the network ---------------------------------------------------------------------------------


def test_the_network_has_the_parameters_of_the_authors_weight_files():
    with nn.init.skip_init():
        net = yolo_v2(80)
    trained = sum(p.numel() for p in net.parameters())
    statistics = sum(b.numel() for name, b in net.named_buffers() if name.endswith(("mean", "var")))
    # yolov2.weights, for COCO, has 203,934,260 bytes: 16 of header, then float32.
    assert 4 * (trained + statistics) + 16 == 203_934_260
    with nn.init.skip_init():
        assert sum(p.numel() for p in yolo_v2().parameters()) == 50_655_389
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == 18 + 2 + 1 + 2


def test_the_small_network_has_the_stated_size():
    assert sum(p.numel() for p in yolo_v2_small().parameters()) == 709_514


def test_other_sizes_of_pictures_make_other_grids():
    net = yolo_v2_small(3)
    images, targets = scenes(2)
    for size in (32, 96):
        net.resize(size)
        assert net.outputs(net.transform(images)[0].images).shape == (2, (size // 8) ** 2 * 5, 8)
        assert np.isfinite(float(sum(net.losses(images, targets).values())))
    with pytest.raises(ValueError, match="a multiple of the stride 8, got 60"):
        net.resize(60)


def test_evaluation_treats_each_picture_alone():
    net = narrow(score_thresh=0.05).eval()
    images, _ = scenes(3)
    together = net.predict(images)
    (alone,) = net.predict(images[1:2])
    assert len(alone["scores"]) > 1
    for name, value in alone.items():
        np.testing.assert_allclose(value.data, together[1][name].data, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_losses_and_predictions_on_a_gpu_are_those_of_the_cpu(device):
    images, targets = scenes(2, 16)
    assert_same_on(device, narrow(), images, targets)


def test_bad_annotations_are_errors_that_name_the_picture():
    images = [md.rand(3, 8, 8)] * 2
    with pytest.raises(ValueError, match="YOLOv2: image 1"):
        narrow().losses(images, [objects([]), objects([[3, 3, 3, 6]])])
    with pytest.raises(ValueError, match="YOLOv2: image 0: labels"):
        narrow().losses(images, [objects([[1, 1, 3, 6]], [3]), objects([])])
    with pytest.raises(ValueError, match="YOLOv2: 2 images but 1 targets"):
        narrow().losses(images, [objects([])])


@pytest.mark.parametrize("name", odd_batches())
def test_odd_batches_are_legal(name):
    assert_robust(narrow(score_thresh=0.0), *odd_batches()[name])


@pytest.mark.slow
def test_eight_scenes_are_learned_by_heart():
    learned = overfit(yolo_v2_small(3), *scenes(8), steps=200)
    print(f"AP50 {learned.ap:.3f} after {learned.steps} steps")
    assert learned.ap >= 0.95
