"""YOLO v1: which cell, which predictor, what each line of the loss costs; learning; odd inputs."""

import numpy as np
import pytest

import minidl as md
from minidl import nn, tensor
from minidl.models.detection.yolo_v1 import (
    CellTruth,
    YOLOv1,
    best_detections,
    cell_truth,
    responsible,
    yolo_v1,
    yolo_v1_small,
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

ROOM = {"score_thresh": 0.01, "nms_thresh": 0.5, "detections_per_img": 100}


def narrow(**options):
    """2x2 cells of 8 pixels, a net of a few hundred numbers that finds something untrained."""
    layers = ((3, 4, 1), "M", (3, 5, 2), "M")
    net = YOLOv1(3, 2, 2, layers, 6, 16, dropout=0.0, **options)
    nn.init.normal_(net.classifier[-1].weight, 0.0, 0.1)
    nn.init.constant_(net.classifier[-1].bias, 0.4)
    return net


def no_object(count=4):
    return CellTruth(np.zeros((1, count), bool), np.zeros((1, count, 4)), np.zeros((1, count), int))


# -- cells and predictors ------------------------------------------------------------------------


def test_the_cell_of_the_centre_has_to_find_the_object():
    # Pictures of 40 pixels, 4x4 cells of 10. Centres: (15, 22), the lower right corner, (15, 24).
    boxes = np.array([[10, 12, 20, 32], [30, 30, 50, 50], [5, 23, 25, 25]], np.float32)
    truth = cell_truth(boxes, np.array([2, 0, 1]), 40, 4)
    assert np.flatnonzero(truth.occupied).tolist() == [2 * 4 + 1, 15]
    # Half of the second cell from the left, a fifth of the third from above.
    np.testing.assert_allclose(truth.boxes[9], [0.5, 0.2, 0.25, 0.5], rtol=1e-6)
    np.testing.assert_allclose(truth.boxes[15], [1.0, 1.0, 0.5, 0.5], rtol=1e-6)
    assert truth.labels[[9, 15]].tolist() == [2, 0]  # and not 1: the first of two in a cell counts


def test_a_picture_without_objects_has_no_occupied_cell():
    truth = cell_truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), 40, 4)
    assert not truth.occupied.any()
    assert [a.shape for a in truth] == [(16,), (16, 4), (16,)]
    assert truth.boxes.dtype == np.float32


def test_the_box_of_largest_overlap_is_responsible():
    # With one cell a box is its centre and size in shares of the picture.
    truth = np.array([0.5, 0.5, 0.4, 0.4])
    predicted = np.array([[0.5, 0.5, 0.2, 0.2], [0.5, 0.5, 0.4, 0.2], [0.6, 0.5, 0.4, 0.4]])
    chosen, iou = responsible(predicted, truth, 1)
    # Areas .04 and .08 within .16; .12 of .2 where one is moved by a quarter.
    np.testing.assert_allclose(iou, [0.25, 0.5, 0.6])
    assert chosen.tolist() == [False, False, True]


def test_of_equal_overlaps_the_first_box_is_responsible():
    truth = np.array([0.5, 0.5, 0.4, 0.4])
    chosen, iou = responsible(np.array([[0.5, 0.5, 0.2, 0.2]] * 3), truth, 1)
    assert iou[0] == iou[1] == iou[2]
    assert chosen.tolist() == [True, False, False]


def test_where_no_box_overlaps_the_nearest_is_responsible():
    truth = np.array([0.2, 0.2, 0.1, 0.1])
    predicted = np.array([[0.2, 0.8, 0.1, 0.1], [0.6, 0.2, 0.2, 0.1], [0.2, 0.7, 0.3, 0.3]])
    chosen, iou = responsible(predicted, truth, 1)
    assert not iou.any()
    # Distances .6, sqrt(.4^2 + .1^2) and sqrt(.5^2 + .2^2 + .2^2).
    assert chosen.tolist() == [False, True, False]


def test_a_smallest_overlap_goes_before_a_smallest_distance():
    truth = np.array([0.5, 0.5, 0.2, 0.2])
    predicted = np.array([[0.5, 0.5, 0.0, 0.0], [0.95, 0.95, 0.8, 0.8]])
    chosen, iou = responsible(predicted, truth, 1)
    assert iou[0] == 0
    assert iou[1] > 0
    assert chosen.tolist() == [False, True]


# -- the loss ------------------------------------------------------------------------------------


def one_cell(boxes, confidences, scores, truth, label):
    """The losses of a network with one cell, from numbers."""
    net = YOLOv1(len(scores), 1, len(boxes), ((1, 1, 1),), 2, 1)
    if truth is None:
        cell = no_object(1)
    else:
        cell = CellTruth(np.array([[True]]), np.array([[truth]]), np.array([[label]]))
    given = [tensor(np.array([[value]], np.float64)) for value in (boxes, confidences, scores)]
    chosen, iou = responsible(net.shapes(given[0].data), cell.boxes, 1)
    losses = net.equation_3(*given, cell, chosen, iou)
    return {name: float(value) for name, value in losses.items()}


def test_the_losses_of_one_cell_by_hand():
    losses = one_cell(
        boxes=[[0.5, 0.5, 0.8, 0.5], [0.9, 0.5, 0.1, 0.1]],  # roots: the first is .64 x .25
        confidences=[0.7, 0.2],
        scores=[0.9, 0.2, -0.1],
        truth=[0.6, 0.5, 0.64, 0.49],
        label=0,
    )
    # Intersection .54 * .25, as .1 of the width stands out; union .16 + .3136 - .135.
    iou = 0.135 / 0.3386
    assert losses == pytest.approx(
        {
            "loss_box": 5 * (0.1**2 + 0 + 0 + (0.5 - 0.7) ** 2),
            "loss_object": (0.7 - iou) ** 2,
            "loss_no_object": 0.5 * 0.2**2,
            "loss_class": 0.1**2 + 0.2**2 + 0.1**2,
        }
    )


def test_a_cell_without_object_costs_only_its_confidences():
    losses = one_cell([[0.3] * 4] * 2, [0.4, -0.2], [5.0, 6.0], None, 0)
    assert losses == pytest.approx(
        {
            "loss_box": 0.0,
            "loss_object": 0.0,
            "loss_no_object": 0.5 * (0.4**2 + 0.2**2),
            "loss_class": 0.0,
        }
    )


def test_losses_are_what_a_loop_over_pictures_cells_and_boxes_adds_up():
    rng = np.random.default_rng(0)
    net = YOLOv1(3, 4, 2, (), 5, 4, coord_weight=2.0, no_object_weight=0.25)
    count, cells = 3, 16
    raw = rng.normal(0.3, 0.4, (count, cells, 2, 5))
    scores = rng.normal(size=(count, cells, 3))
    targets = []
    for i in range(count):
        corner = rng.uniform(0, 3, (2 * i, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(0.1, 1, (2 * i, 2))], 1)
        targets.append((boxes, rng.integers(0, 3, 2 * i)))

    expected = dict.fromkeys(("loss_box", "loss_object", "loss_no_object", "loss_class"), 0.0)
    for i, (boxes, labels) in enumerate(targets):
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        for cell in range(cells):
            row, column = divmod(cell, 4)
            here = [
                k
                for k, (x, y) in enumerate(middle)
                if column <= x < column + 1 and row <= y < row + 1
            ]
            if not here:
                expected["loss_no_object"] += 0.25 * (raw[i, cell, :, 4] ** 2).sum() / count
                continue
            x1, y1, x2, y2 = boxes[here[0]]
            overlaps, distances = [], []
            for x, y, w, h, _ in raw[i, cell]:
                cx, cy, w, h = x + column, y + row, w * w * 4, h * h * 4
                across = min(x2, cx + w / 2) - max(x1, cx - w / 2)
                down = min(y2, cy + h / 2) - max(y1, cy - h / 2)
                both = across * down if across > 0 and down > 0 else 0.0
                overlaps.append(both / (w * h + (x2 - x1) * (y2 - y1) - both))
                off = (cx - (x1 + x2) / 2, cy - (y1 + y2) / 2, w - (x2 - x1), h - (y2 - y1))
                distances.append(sum(d**2 for d in off))
            best = int(np.argmax(overlaps)) if max(overlaps) > 0 else int(np.argmin(distances))
            x, y, w, h, c = raw[i, cell, best]
            expected["loss_object"] += (c - overlaps[best]) ** 2 / count
            expected["loss_no_object"] += 0.25 * raw[i, cell, 1 - best, 4] ** 2 / count
            wanted = (middle[here[0]][0] - column, middle[here[0]][1] - row)
            wanted += (((x2 - x1) / 4) ** 0.5, ((y2 - y1) / 4) ** 0.5)
            off = sum((a - b) ** 2 for a, b in zip((x, y, w, h), wanted, strict=True))
            expected["loss_box"] += 2.0 * off / count
            off = scores[i, cell] - np.eye(3)[labels[here[0]]]
            expected["loss_class"] += (off**2).sum() / count

    net.outputs = lambda x: tuple(tensor(a) for a in (raw[..., :4], raw[..., 4], scores))
    images = [md.zeros(3, 4, 4)] * count
    given = [{"boxes": tensor(b), "labels": tensor(k)} for b, k in targets]
    found = {name: float(loss) for name, loss in net.losses(images, given).items()}
    assert found == pytest.approx(expected)
    assert expected["loss_box"] > 0


def test_gradients_of_the_losses_are_right():
    net = narrow()
    images, targets = (
        [md.rand(3, 16, 16), md.rand(3, 20, 12)],
        [
            objects([[1, 2, 9, 7], [8, 8, 15, 16]], [2, 0]),
            objects([[2, 3, 9, 19]], [1]),
        ],
    )
    net.double()
    wide = [image.double() for image in images]
    batch, moved = net.transform(wide, targets)
    truths = [cell_truth(t["boxes"].data, t["labels"].data, 16, 2) for t in moved]
    truth = CellTruth(*[np.stack(a) for a in zip(*truths, strict=True)])
    # The choice and the overlap are constants of the loss.
    fixed = responsible(net.shapes(net.outputs(batch.images)[0].data), truth.boxes, 2)
    assert_loss_gradients_are_right(
        net,
        images,
        targets,
        losses=lambda *_: net.equation_3(*net.outputs(batch.images), truth, *fixed),
    )


def test_no_gradient_flows_through_the_overlap():
    net = narrow()
    outputs = net.outputs(md.rand(1, 3, 16, 16))
    net.outputs = lambda x: outputs
    losses = net.losses([md.rand(3, 16, 16)], [objects([[1, 2, 9, 7]])])
    boxes, confidences, _ = md.grad(losses["loss_object"], outputs, allow_unused=True)
    assert confidences.data.any()
    assert boxes is None


# -- predictions ---------------------------------------------------------------------------------


def test_boxes_are_decoded_from_cells_and_roots():
    net = YOLOv1(2, 2, 1, (), 3, 2, score_thresh=0.1)
    boxes, confidences, scores = np.zeros((1, 4, 1, 4)), np.zeros((1, 4, 1)), np.zeros((1, 4, 2))
    boxes[0, 2, 0] = [0.5, 0.25, 0.5, 0.5]  # lower left cell; a quarter of the picture
    confidences[0, 2], scores[0, 2] = 0.8, [0.5, 0.2]
    net.outputs = lambda x: (tensor(boxes), tensor(confidences), tensor(scores))
    (found,) = net.predict([md.zeros(3, 80, 40)])
    # Of 40 x 80 pixels: centre (10, 50), 10 wide and 20 high.
    np.testing.assert_allclose(found["boxes"].data, [[5, 40, 15, 60]] * 2)
    np.testing.assert_allclose(found["scores"].data, [0.4, 0.16])  # .8 * .5, .8 * .2
    assert found["labels"].data.tolist() == [0, 1]


def test_boxes_that_are_seen_no_more_weak_or_doubled_are_left_out():
    boxes = np.array(
        [[0, 0, 10, 10], [1, 0, 10, 10], [20, 0, 30, 10], [-9, 0, -1, 5], [5, 5, 15, 15]],
        np.float32,
    )
    scores = np.array([[0.8, 0.0], [0.9, 0.3], [0.005, 0.2], [0.9, 0.9], [0.6, 0.0]], np.float32)
    found = best_detections(boxes, scores, (12, 26), **ROOM)
    np.testing.assert_allclose(found["scores"].data, [0.9, 0.6, 0.3, 0.2])
    assert found["labels"].data.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(
        found["boxes"].data, [[1, 0, 10, 10], [5, 5, 15, 12], [1, 0, 10, 10], [20, 0, 26, 10]]
    )
    few = best_detections(boxes, scores, (12, 26), **(ROOM | {"detections_per_img": 2}))
    np.testing.assert_allclose(few["scores"].data, [0.9, 0.6])


# -- the network ---------------------------------------------------------------------------------


def test_the_network_of_figure_3_has_24_convolutions_and_7_x_7_x_30_outputs():
    with nn.init.skip_init():
        net = yolo_v1()
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 24
    assert sum(p.numel() for p in net.parameters()) == 271_703_550
    assert net.classifier[-1].out_features == 7 * 7 * 30
    stride = 1
    for m in net.modules():
        if isinstance(m, (nn.Conv2d, nn.MaxPool2d)):
            stride *= m.stride[0] if isinstance(m.stride, tuple) else m.stride
    assert stride == 64


def test_the_small_network_has_the_stated_size():
    assert sum(p.numel() for p in yolo_v1_small().parameters()) == 967_296


def test_a_grid_that_the_convolutions_do_not_make_is_refused():
    with pytest.raises(ValueError, match=r"cells of 4 pixels, and 7 x 7 of them make pictures of"):
        YOLOv1(3, 7, 2, ((3, 4, 2), "M"), 6, 16)


def test_evaluation_treats_each_picture_alone():
    net = narrow(batch_norm=True).eval()
    images, _ = scenes(3)
    together = net.predict(images)
    (alone,) = net.predict(images[1:2])
    assert len(alone["scores"]) > 1
    for name, value in alone.items():
        np.testing.assert_allclose(value.data, together[1][name].data, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("device", ["strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_losses_and_predictions_on_a_gpu_are_those_of_the_cpu(device):
    net = narrow(batch_norm=True)
    images, targets = scenes(2, 16)
    assert_same_on(device, net, images, targets)


def test_bad_annotations_are_errors_that_name_the_picture():
    images = [md.rand(3, 16, 16)] * 2
    with pytest.raises(ValueError, match="YOLOv1: image 1"):
        narrow().losses(images, [objects([]), objects([[3, 3, 3, 6]])])
    with pytest.raises(ValueError, match="YOLOv1: image 0: labels"):
        narrow().losses(images, [objects([[1, 1, 3, 6]], [3]), objects([])])
    with pytest.raises(ValueError, match="YOLOv1: 2 images but 1 targets"):
        narrow().losses(images, [objects([])])


@pytest.mark.parametrize("name", odd_batches())
def test_odd_batches_are_legal(name):
    assert_robust(narrow(batch_norm=True, score_thresh=0.0), *odd_batches()[name])


@pytest.mark.slow
def test_eight_scenes_are_learned_by_heart():
    learned = overfit(yolo_v1_small(3, dropout=0.0), *scenes(8), steps=200)
    print(f"AP50 {learned.ap:.3f} after {learned.steps} steps")
    assert learned.ap >= 0.95
